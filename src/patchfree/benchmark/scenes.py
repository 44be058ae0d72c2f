"""The scenes that methods are compared on: `scenes.toml` describes them, the user's folder holds their files.

Dimension key: c bands, h rows, w columns, k classes, n pixels.
"""

from __future__ import annotations

import dataclasses
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
from patchfree.errors import ConfigError, LabelError, SceneError
from patchfree.io import open_scene
from patchfree.io.reference import read_labels
from patchfree.labels import Labels, make_labels
from patchfree.scene import Bands, Grid, Scene, make_scene
from patchfree.split import Split, given_split

BUILT_IN = {"indian_pines": indian_pines}


@dataclass(frozen=True)
class Described:
    """A scene as `scenes.toml` describes it; docs of the fields stand at the top of that file."""

    name: str
    title: str
    scene: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    official: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    label_scale: int = 1
    abundances: tuple[str, ...] = ()
    anomalies: tuple[str, ...] = ()
    built_in: str | None = None
    synthetic: dict[str, int] = field(default_factory=dict)
    protocols: tuple[str, ...] = ()
    cite: str = ""


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
    return found | {name: _described(name, entry, str(file)) for name, entry in own.items()}


def _described(name: str, entry: Any, file: str) -> Described:  # noqa: ANN401 - whatever TOML holds
    if not isinstance(entry, dict):
        raise ConfigError(f"{file}: {name} = {entry!r} stands outside of a scene. Put it below a line [NAME].")
    known = {f.name for f in dataclasses.fields(Described)} - {"name"}
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
    official = {part: names(files) for part, files in entry.get("official", {}).items()}
    settings: dict[str, Any] = {"name": name, "title": name} | entry | lists | {"official": official}
    scene = Described(**settings)
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
            part: _labels(files, data, described, scene, beside=path) for part, files in described.official.items()
        }
        official = given_split(parts["train"], parts["test"], val=parts.get("validation"))
    if described.abundances:
        labels = _largest_abundance(_find(described.abundances, data, described)[0], scene)
    elif described.labels:
        labels = _labels(described.labels, data, described, scene)
    elif official is not None:
        labels = official[0]
    else:
        raise SceneError(missing_files(described, data))
    if official is not None:
        named, split = official
        if named.values != labels.values:
            raise LabelError(
                f"{described.title}: the official split has the classes {list(named.values)}, the labels have {list(labels.values)}."
            )
        return Loaded(scene, _named(labels, described.classes), split)
    return Loaded(scene, _named(labels, described.classes), None)


def load_anomalies(described: Described, data: Path | None) -> tuple[Scene, Bool[np.ndarray, "h w"]]:
    """Read a scene and the mask of its true anomalies.

    Args:
        described: which.
        data: folder with the user's files.

    Raises:
        SceneError: a file is not there.
        LabelError: the mask does not fit.
    """
    scene = _open(described.scene, data, described)
    return scene, _labels(described.anomalies, data, described, scene).index > 0


def missing_files(described: Described, data: Path | None) -> str | None:
    """What a scene lacks, for people; None if all its files are there."""
    for names in filter(None, (described.scene, described.labels, described.abundances, described.anomalies)):
        if not any(_where(name, data) for name in names):
            return _absent(names, data, described)
    if described.official and not (described.labels or described.abundances):
        path, _ = _find(described.scene, data, described)
        for part in ("train", "test"):
            if not any(_where(name, data, path) for name in described.official[part]):
                return _absent(described.official[part], data, described)
    return None


def _open(names: Sequence[str], data: Path | None, described: Described) -> Scene:
    path, variable = _find(names, data, described)
    try:
        scene = open_scene(f"{path}:{variable}" if variable else path)
    except SceneError:
        if variable is None:
            raise
        scene = open_scene(path)  # copies of the public files differ in the names of their variables
    return dataclasses.replace(scene, name=described.title)


def _labels(
    names: Sequence[str], data: Path | None, described: Described, scene: Scene, beside: Path | None = None
) -> Labels:
    last: LabelError | None = None
    for name in names:
        found = _where(name, data, beside)
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
    found = next(filter(None, (_where(name, data) for name in names)), None)
    if found is None:
        raise SceneError(_absent(names, data, described))
    return found


def _absent(names: Sequence[str], data: Path | None, described: Described) -> str:
    files = " or ".join(dict.fromkeys(name.partition(":")[0] for name in names))
    where = f"is not below {data}" if data else "is needed, and no --data folder was given"
    return (
        f"{described.title}: {files} {where}. Get the file from its publisher and put it there, or leave the scene out."
    )


def _has_all(described: Described, data: Path | None, beside: Path) -> bool:
    """An official split that is not there is no reason to refuse a scene that has other labels."""
    return all(any(_where(name, data, beside) for name in files) for files in described.official.values())


def _where(name: str, data: Path | None, beside: Path | None = None) -> tuple[Path, str | None] | None:
    """File and variable of this name: below the data folder, and, if `beside` is given, below that file's folder."""
    file, _, variable = name.partition(":")
    wanted = tuple(part.casefold() for part in Path(file).parts)
    if Path(file).is_absolute():
        return (Path(file), variable or None) if Path(file).exists() else None
    if data is None:
        return None
    root = beside.parent if beside is not None and len(wanted) == 1 else data
    for folder, folders, files in os.walk(root):
        folders.sort()
        for entry in sorted((*files, *folders)):
            path = Path(folder, entry)
            if tuple(part.casefold() for part in path.parts[-len(wanted) :]) == wanted:
                return path, variable or None
    return None


def _named(labels: Labels, classes: Sequence[str]) -> Labels:
    """The labels with these names for the values 1, 2, ..."""
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
