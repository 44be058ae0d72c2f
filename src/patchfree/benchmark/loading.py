"""Reading the scenes that are compared on, with their labels, in the forms in which they are published.

Dimension key: c bands, h rows, w columns, k classes, n pixels.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from jaxtyping import Bool, Float, Num
from scipy.spatial import cKDTree

from patchfree.benchmark.scenes import (
    BUILT_IN,
    Described,
    absent,
    find,
    missing_files,
    missing_official,
    roots_of,
    where_is,
)
from patchfree.errors import LabelError, PatchfreeError, SceneError
from patchfree.io import open_scene
from patchfree.io.reference import read_labels
from patchfree.labels import Labels, make_labels
from patchfree.scene import Bands, Grid, Scene, make_scene
from patchfree.split import Split, given_split


@dataclass(frozen=True, eq=False)
class Loaded:
    """A scene with all its reference labels, and its official split if it has one."""

    scene: Scene
    labels: Labels
    official: Split | None


@dataclass(frozen=True)
class Inputs:
    """What a task reads of a scene.

    Attributes:
        digest: a hash of it, or of why it cannot be read; names and titles do not count.
        classes: what the labels call their classes, in order; none where there are none.
    """

    digest: str
    classes: tuple[str, ...] = ()


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
    path, variable = find(described.scene, data, described)
    scene = _open(path, variable, described)
    official: tuple[Labels, Split] | None = None
    if not missing_official(described, data):
        # Several scenes have files of the same name: only those beside the scene are meant.
        parts = {
            part: _labels(files, data, described, scene, path, only_beside=True)
            for part, files in described.official.items()
        }
        official = given_split(parts["train"], parts["test"], val=parts.get("validation"))
    if described.abundances:
        labels = _largest_abundance(find(described.abundances, data, described)[0], scene)
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


def inputs(described: Described, data: Path | None) -> Inputs:
    """What is read for classification: scene, labels and official split.

    Whatever went wrong, the cells of this scene say it, and those of the others are done.
    """
    try:
        loaded = load(described, data)
    except Exception as error:
        return Inputs(_hash(repr(error)))
    official = loaded.official
    codes = b"" if official is None else official.codes().tobytes() + bytes(official.optimistic)
    classes = repr(loaded.labels.values) + repr(loaded.labels.index.shape)
    digest = _hash(loaded.scene.fingerprint(), classes, loaded.labels.index.astype(np.int32).tobytes(), codes)
    return Inputs(digest, tuple(entry.title for entry in loaded.labels.legend))


def anomalies_inputs(described: Described, data: Path | None) -> Inputs:
    """The same of a scene and the mask of its true anomalies."""
    try:
        scene, truth = load_anomalies(described, data)
    except Exception as error:
        return Inputs(_hash(repr(error)))
    return Inputs(_hash(scene.fingerprint(), truth.tobytes()))


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
    path, variable = find(described.scene, data, described)
    scene = _open(path, variable, described)
    return scene, _labels(described.anomalies, data, described, scene, path).index > 0


def _open(path: Path, variable: str | None, described: Described) -> Scene:
    listed = _listed_pixels(path) if described.abundances and path.suffix.casefold() == ".mat" else None
    given = partial(open_scene, nodata=described.nodata, drop_bands=described.drop_bands, axes=described.axes)
    try:
        scene = listed or given(f"{path}:{variable}" if variable else path)
    except SceneError:
        if variable is None:
            raise
        scene = given(path)  # copies of the public files differ in the names of their variables
    if described.bands is not None:  # what follows in the file is no band
        scene = scene.select([i for i, number in enumerate(scene.bands.numbers) if number <= described.bands])
    return dataclasses.replace(scene, name=described.title)


def _listed_pixels(path: Path) -> Scene | None:
    """A scene of the public unmixing references: `Y`, bands by pixels, of `nRow` x `nCol` pixels by columns; None if it is none."""
    stored = _stored(path, SceneError)
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


def _stored(path: Path, kind: type[PatchfreeError]) -> dict[str, Any]:
    """The variables of a MATLAB file.

    Raises:
        PatchfreeError: of this kind; it cannot be read.
    """
    try:
        return dict(scipy.io.loadmat(path))
    except Exception as error:  # a broken file raises whatever its bytes lead to
        raise kind(
            f"{path} cannot be read as a MATLAB file: {error}. Get the file from its publisher again."
        ) from error


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
    roots = roots_of(described, data)
    for name in names:
        found = where_is(name, roots, path) if only_beside else where_is(name, (path.parent, *roots))
        if found is None:
            continue
        file, variable = found
        for asked in dict.fromkeys((f"{file}:{variable}" if variable else str(file), str(file))):
            try:
                return read_labels(
                    asked,
                    scene,
                    class_field=described.class_field,
                    layer=described.layer,
                    label_scale=described.label_scale,
                )
            except LabelError as error:
                last = last or error
    raise last or SceneError(absent(names, data, described))


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
    stored = _stored(path, LabelError)
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
