"""The scenes that methods are compared on: `scenes.toml` describes them, the user's folder holds their files.

Dimension key: c bands, h rows, w columns, k classes, n pixels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from jaxtyping import Bool, Float, Num
from scipy.spatial import cKDTree

from patchfree.demo import indian_pines
from patchfree.errors import ConfigError, LabelError, PatchfreeError, SceneError
from patchfree.io import open_scene
from patchfree.io.reference import read_labels
from patchfree.labels import Labels, make_labels
from patchfree.scene import Bands, Grid, Scene, make_scene
from patchfree.split import Split, given_split

BUILT_IN = {"indian_pines": indian_pines}
PLAIN: tuple[tuple[str, type, str], ...] = (
    ("title", str, "a text"),
    ("cite", str, "a text"),
    ("bands", int, "a number of bands"),
    ("label_scale", int, "a whole number from 1"),
    ("official_random", bool, "true or false"),
)


@dataclass(frozen=True)
class Described:
    """A scene as `scenes.toml` describes it; docs of the fields stand at the top of that file."""

    name: str
    title: str
    scene: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    official: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    ignore_classes: tuple[int, ...] = ()
    bands: int | None = None
    label_scale: int = 1
    official_random: bool = False
    abundances: tuple[str, ...] = ()
    anomalies: tuple[str, ...] = ()
    built_in: str | None = None
    synthetic: dict[str, int] = field(default_factory=dict)
    protocols: tuple[str, ...] = ()
    cite: str = ""
    home: Path | None = None
    """Folder of the file that describes it; None for patchfree's own."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A scene with all its reference labels, and its official split if it has one."""

    scene: Scene
    labels: Labels
    official: Split | None


def described_scenes(file: Path | None = None) -> dict[str, Described]:
    """All scenes by name: those of patchfree, and those of a file of the user's, which win.

    Raises:
        ConfigError: the file is missing, is no TOML, or an entry has an unknown or a missing setting.
    """
    with (resources.files("patchfree.benchmark") / "scenes.toml").open("rb") as built_in:
        found = {name: _described(name, entry, "scenes.toml") for name, entry in tomllib.load(built_in).items()}
    if file is None:
        return found
    try:
        own = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} cannot be read as a list of scenes: {error}. Give a TOML file such as scenes.toml in patchfree."
        ) from error
    home = file.resolve().parent
    return found | {
        name: dataclasses.replace(_described(name, entry, str(file)), home=home) for name, entry in own.items()
    }


def _described(name: str, entry: Any, file: str) -> Described:  # noqa: ANN401 - whatever TOML holds
    if not isinstance(entry, dict):
        raise ConfigError(f"{file}: {name} = {entry!r} stands outside of a scene. Put it below a line [NAME].")
    known = {f.name for f in dataclasses.fields(Described)} - {"name", "home"}
    unknown = sorted(entry.keys() - known)
    if unknown:
        raise ConfigError(
            f"{file}: scene {name} has the unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}."
        )

    def names(value: Any) -> tuple[str, ...]:  # noqa: ANN401
        given = (value,) if isinstance(value, str) else value
        if not isinstance(given, list | tuple) or not all(isinstance(part, str) for part in given):
            raise ConfigError(f"{file}: scene {name} has {value!r} where a name or a list of names is needed.")
        return tuple(given)

    lists = {
        key: names(entry[key])
        for key in ("scene", "labels", "classes", "abundances", "anomalies", "protocols")
        if key in entry
    }
    given = entry.get("official", {})
    if not isinstance(given, dict):
        raise ConfigError(f"{file}: scene {name} has official = {given!r}; need {{ train = FILE, test = FILE }}.")
    official = {part: names(files) for part, files in given.items()}
    ignored = entry.get("ignore_classes", [])
    if not isinstance(ignored, list) or not all(type(value) is int for value in ignored):
        raise ConfigError(f"{file}: scene {name} has ignore_classes = {ignored!r}; need a list of class values.")
    for key, kind, what in PLAIN:
        if key in entry and (type(entry[key]) is not kind or (kind is int and entry[key] < 1)):
            raise ConfigError(f"{file}: scene {name} has {key} = {entry[key]!r}; need {what}.")
    settings: dict[str, Any] = {"name": name, "title": name} | entry | lists
    scene = Described(**settings | {"official": official, "ignore_classes": tuple(ignored)})
    if not (
        scene.built_in
        or scene.synthetic
        or (scene.scene and (scene.labels or official or scene.abundances or scene.anomalies))
    ):
        raise ConfigError(f"{file}: scene {name} needs `scene`, and `labels`, `official` or `anomalies`.")
    if official and not {"train", "test"} <= official.keys() <= {"train", "test", "validation"}:
        raise ConfigError(
            f"{file}: the official split of {name} has {', '.join(official)}; it needs train and test, and may have validation."
        )
    return scene


def load(described: Described, data: Path | None) -> Loaded:
    """Read a scene and its labels.

    Args:
        described: which.
        data: folder with the user's files; None where none is needed.

    Raises:
        SceneError: a file is not there.
        LabelError, SplitError: the labels do not fit.
    """
    if described.built_in or described.synthetic:
        scene, labels = BUILT_IN[described.built_in]() if described.built_in else _synthetic(described)
        return Loaded(scene, labels, None)
    path, _ = _find(described.scene, data, described)
    scene = _open(described.scene, data, described)
    official: tuple[Labels, Split] | None = None
    if described.official and _has_all(described, data, path):
        # Several scenes have files of the same name: only those beside the scene are meant.
        parts = {
            part: _labels(files, data, described, scene, path, only_beside=True)
            for part, files in described.official.items()
        }
        official = given_split(parts["train"], parts["test"], val=parts.get("validation"))
    if described.abundances:
        labels = _largest_abundance(_find(described.abundances, data, described)[0], scene)
    elif described.labels:
        labels = _labels(described.labels, data, described, scene, path)
    elif official is not None:
        labels = official[0]
    else:
        raise SceneError(missing_files(described, data))
    split = None if official is None else _official(*official, labels, described)
    dropped = set(described.ignore_classes)
    if dropped:
        labels = labels.without(dropped)
    if split is not None:
        kept = labels.index > 0
        split = dataclasses.replace(split, train=split.train & kept, val=split.val & kept, test=split.test & kept)
    return Loaded(scene, _named(labels, described.classes), split)


def _official(named: Labels, split: Split, labels: Labels, described: Described) -> Split:
    """The official split, where it says the same of every pixel as the labels do.

    Raises:
        LabelError: it does not.
    """
    if named.values != labels.values:
        raise LabelError(
            f"{described.title}: the official split has the classes {list(named.values)}, the labels have {list(labels.values)}."
        )
    other = int(((named.index > 0) & (named.index != labels.index)).sum())
    if other:
        raise LabelError(
            f"{described.title}: at {other:,} of {int((named.index > 0).sum()):,} pixels the official split names another class than the "
            "labels, or one where they have none. They are of different versions: get both from one place."
        )
    return dataclasses.replace(split, optimistic=described.official_random)


def fingerprint(described: Described, data: Path | None) -> str:
    """A hash of what is read for classification: scene, labels and official split; or of why they cannot be read."""
    try:
        loaded = load(described, data)
    except PatchfreeError as error:
        return _hash(str(error))
    official = loaded.official
    codes = b"" if official is None else official.codes().tobytes() + bytes(official.optimistic)
    classes = repr(loaded.labels.values) + repr(loaded.labels.index.shape)
    return _hash(loaded.scene.fingerprint(), classes, loaded.labels.index.astype(np.int32).tobytes(), codes)


def anomalies_fingerprint(described: Described, data: Path | None) -> str:
    """The same of a scene and the mask of its true anomalies."""
    try:
        scene, truth = load_anomalies(described, data)
    except PatchfreeError as error:
        return _hash(str(error))
    return _hash(scene.fingerprint(), truth.tobytes())


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def load_anomalies(described: Described, data: Path | None) -> tuple[Scene, Bool[np.ndarray, "h w"]]:
    """Read a scene and the mask of its true anomalies.

    Args:
        described: which.
        data: folder with the user's files.

    Raises:
        SceneError: a file is not there.
        LabelError: the mask does not fit.
    """
    path, _ = _find(described.scene, data, described)
    scene = _open(described.scene, data, described)
    return scene, _labels(described.anomalies, data, described, scene, path).index > 0


def missing_files(described: Described, data: Path | None) -> str | None:
    """What a scene lacks, for people; None if all its files are there."""
    for names in filter(None, (described.scene, described.labels, described.abundances, described.anomalies)):
        if not any(_where(name, _roots(described, data)) for name in names):
            return _absent(names, data, described)
    if described.official and not (described.labels or described.abundances):
        path, _ = _find(described.scene, data, described)
        for part in ("train", "test"):
            if not any(_where(name, _roots(described, data), path) for name in described.official[part]):
                return _absent(described.official[part], data, described)
    return None


def missing_official(described: Described, data: Path | None) -> str | None:
    """What a scene lacks for the protocol official, for people; None if it lacks nothing, or its scene file is not there either."""
    if not described.official:
        return f"{described.title} has no official split. Use per-class:N, fraction:F or separate."
    try:
        path, _ = _find(described.scene, data, described)
    except SceneError:
        return None
    roots = _roots(described, data)
    for part, files in described.official.items():
        if not any(_where(name, roots, path) for name in files):
            return f"The official split of {_absent(files, data, described)} ({part} pixels)"
    return None


def _open(names: Sequence[str], data: Path | None, described: Described) -> Scene:
    path, variable = _find(names, data, described)
    listed = _listed_pixels(path) if described.abundances and path.suffix.casefold() == ".mat" else None
    try:
        scene = listed or open_scene(f"{path}:{variable}" if variable else path)
    except SceneError:
        if variable is None:
            raise
        scene = open_scene(path)  # copies of the public files differ in the names of their variables
    if described.bands is not None and described.bands < len(scene.bands):
        scene = scene.select(range(described.bands))  # what follows in the file is no band
    return dataclasses.replace(scene, name=described.title)


def _listed_pixels(path: Path) -> Scene | None:
    """A scene of the public unmixing references: `Y`, bands by pixels, of `nRow` x `nCol` pixels by columns; None if it is none."""
    stored = scipy.io.loadmat(path)
    if not {"Y", "nRow", "nCol"} <= stored.keys():
        return None
    spectra, rows, cols = np.asarray(stored["Y"], np.float32), int(stored["nRow"].item()), int(stored["nCol"].item())
    if spectra.ndim != 2 or spectra.shape[1] != rows * cols:
        raise SceneError(
            f"{path.name} holds Y of the shape {spectra.shape}; need bands x {rows * cols} pixels ({rows} x {cols})."
        )
    values = np.ascontiguousarray(spectra.reshape(len(spectra), cols, rows).transpose(0, 2, 1))
    return make_scene(
        values,
        missing=~np.isfinite(values),
        bands=Bands(tuple(range(1, len(values) + 1)), len(values)),
        grid=Grid(rows, cols),
        name=path.stem,
    )


def _labels(
    names: Sequence[str],
    data: Path | None,
    described: Described,
    scene: Scene,
    path: Path,
    *,
    only_beside: bool = False,
) -> Labels:
    """The first of these labels that is there and fits; those near the scene's file before others of the same name."""
    last: LabelError | None = None
    roots = _roots(described, data)
    for name in names:
        found = _where(name, roots, path) if only_beside else _where(name, (path.parent, *roots))
        if found is None:
            continue
        path, variable = found
        for asked in dict.fromkeys((f"{path}:{variable}" if variable else str(path), str(path))):
            try:
                return read_labels(asked, scene, label_scale=described.label_scale)
            except LabelError as error:
                last = last or error
    raise last or SceneError(_absent(names, data, described))


def _find(names: Sequence[str], data: Path | None, described: Described) -> tuple[Path, str | None]:
    roots = _roots(described, data)
    found = next(filter(None, (_where(name, roots) for name in names)), None)
    if found is None:
        raise SceneError(_absent(names, data, described))
    return found


def _absent(names: Sequence[str], data: Path | None, described: Described) -> str:
    files = " or ".join(dict.fromkeys(name.partition(":")[0] for name in names))
    roots = " or ".join(str(root) for root in _roots(described, data))
    where = f"is not below {roots}" if roots else "is needed, and no --data folder was given"
    return (
        f"{described.title}: {files} {where}. Get the file from its publisher and put it there, or leave the scene out."
    )


def _has_all(described: Described, data: Path | None, path: Path) -> bool:
    """An official split that is not there is no reason to refuse a scene that has other labels."""
    roots = _roots(described, data)
    return all(any(_where(name, roots, path) for name in files) for files in described.official.values())


def _roots(described: Described, data: Path | None) -> tuple[Path, ...]:
    """Where files are looked for: below the data folder, and below that of the file that describes the scene."""
    return tuple(root for root in (data, described.home) if root is not None)


def _where(name: str, roots: Sequence[Path], beside: Path | None = None) -> tuple[Path, str | None] | None:
    """File and variable of this name, at any depth below one of these folders.

    With `beside`, a name without a folder is looked for near that file only.
    """
    file, _, variable = name.partition(":")
    if Path(file).is_absolute():
        return (Path(file), variable or None) if Path(file).exists() else None
    wanted = tuple(part.casefold() for part in Path(file).parts)
    if beside is not None and len(wanted) == 1:
        roots = (beside.parent,)
    found = next((root / file for root in roots if (root / file).exists()), None) or _below(wanted, roots)
    return None if found is None else (found, variable or None)


def _below(wanted: tuple[str, ...], roots: Sequence[Path]) -> Path | None:
    """The first path below these folders that ends in these parts, whatever their capitals."""
    for root in roots:
        for folder, folders, files in os.walk(root):
            folders.sort()
            for entry in sorted((*files, *folders)):
                path = Path(folder, entry)
                if tuple(part.casefold() for part in path.parts[-len(wanted) :]) == wanted:
                    return path
    return None


def _named(labels: Labels, classes: Sequence[str]) -> Labels:
    """The labels with these names for the values 1, 2, ...

    Raises:
        LabelError: the labels have names, and their values are only the order of these.
    """
    if classes and labels.numbered:
        raise LabelError(
            f"The labels name their classes ({', '.join(entry.name for entry in labels.legend)}), so `classes` in the description, which "
            "names class values, has no meaning. Leave it out."
        )
    known = dict(enumerate(classes, 1))
    return dataclasses.replace(
        labels, legend=tuple(dataclasses.replace(e, name=known.get(e.value, e.name)) for e in labels.legend)
    )


def _largest_abundance(path: Path, scene: Scene) -> Labels:
    """The material with the largest abundance at each pixel, from the public unmixing references.

    The file holds `A` (materials by pixels) and `M` (bands by materials). The order of the pixels, by rows or by columns, is not stated: it is
    the one with which M A is nearest to the scene.
    """
    stored = scipy.io.loadmat(path)
    if not {"A", "M"} <= stored.keys():
        raise LabelError(
            f"{path} holds {', '.join(k for k in stored if k[0] != '_')}; need A (materials by pixels) and M (bands by materials)."
        )
    shares: Float[np.ndarray, "k n"] = np.asarray(stored["A"], float)
    spectra = np.asarray(stored["M"], float)
    h, w = scene.grid.shape
    if shares.shape[1] != h * w or len(spectra) != len(scene.bands):
        raise LabelError(
            f"{path} is of {shares.shape[1]} pixels and {len(spectra)} bands; the scene has {h} x {w} pixels and {len(scene.bands)} bands."
        )
    mixed = (spectra @ shares).mean(0)
    brightness = scene.values.mean(0)

    def alike(by_rows: bool) -> float:
        return float(np.corrcoef(_laid_out(mixed, h, w, by_rows).ravel(), brightness.ravel())[0, 1])

    return make_labels(_laid_out(shares.argmax(0) + 1, h, w, alike(True) > alike(False)), source=path.name)


def _laid_out(values: Num[np.ndarray, " n"], h: int, w: int, by_rows: bool) -> Num[np.ndarray, "h w"]:
    """A list of pixels as rows and columns."""
    return values.reshape(h, w) if by_rows else values.reshape(w, h).T


def _synthetic(described: Described) -> tuple[Scene, Labels]:
    """Voronoi fields with a spectrum a class, a smooth gain and noise; every pixel is labelled."""
    rows, cols, bands, classes = (described.synthetic[key] for key in ("rows", "columns", "bands", "classes"))
    rng = np.random.default_rng(0)
    sites = rng.uniform((0, 0), (rows, cols), (12 * classes, 2))
    places = np.indices((rows, cols)).reshape(2, -1).T
    truth = (cKDTree(sites).query(places)[1] % classes + 1).reshape(rows, cols)
    spectra = rng.normal(1.0, 0.3, (classes, bands)).astype(np.float32)
    gain = (1 + 0.1 * np.sin(3 * places[:, 0] / rows) * np.cos(2 * places[:, 1] / cols)).reshape(rows, cols)
    values = (spectra[truth - 1] * gain[..., None]).transpose(2, 0, 1).astype(np.float32)
    values = np.ascontiguousarray(values + rng.normal(0, 0.5, values.shape).astype(np.float32))
    scene = make_scene(
        values,
        missing=np.zeros(values.shape, bool),
        bands=Bands(tuple(range(1, bands + 1)), bands, tuple(np.linspace(430.0, 860.0, bands).round(1).tolist())),
        grid=Grid(rows, cols),
        name=described.title,
    )
    return scene, make_labels(truth)
