"""Several scenes of one sensor on one canvas, to train on all of them together.

The canvas keeps labels, splits and accuracies what they are for one scene: rasters with rows and columns. A network
never sees it: it runs on each scene by itself (`Scene.windows`), so that statistics over a whole scene are that scene's own, in
training as in mapping. The bands' mean and deviation are those of all scenes together, so that a darker scene stays darker.

Dimension key: c bands, h rows, w columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from patchfree.errors import BandMismatch, ConfigError, LabelError, SceneError
from patchfree.labels import Labels, LandCover
from patchfree.scene import Bands, Grid, Member, Scene
from patchfree.windows import shelves

GAP = 16
"""Pixels between two scenes: wider than the buffer that separate blocks have unless told otherwise."""
FEWEST_COMMON = 0.9
"""Share of each scene's bands that all must have; bands that one of them lacks are dropped."""
FARTHEST_MEAN = 100.0
"""Ratio of the mean values of two scenes beyond which they are in other units: 0..1 and 0..10000, not day and dusk."""
SCENE_COLUMNS, LABEL_COLUMNS = ("scene", "image"), ("labels", "label", "mask")

Use = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Pair:
    """A line of a list of scenes.

    Attributes:
        scene: path of the scene.
        labels: path of its labels.
        use: what its labels are for; None to split them like the labels of one scene.
    """

    scene: str
    labels: str
    use: Use | None


def read_pairs(path: str | Path) -> list[Pair]:
    """A list of scenes: a table with the columns `scene` and `labels`, and if wanted `use` (train, validation or test).

    Files are looked for beside the table.

    Raises:
        ConfigError: columns or entries are missing.
    """
    rows = read_list(path, {"scene": SCENE_COLUMNS, "labels": LABEL_COLUMNS}, what="scenes")
    return [Pair(row["scene"], row["labels"], row["use"]) for row in rows]


def read_list(path: str | Path, columns: Mapping[str, tuple[str, ...]], *, what: str) -> list[dict[str, Any]]:
    """A table of files, and if it has a column `use`, what each line is for.

    Args:
        path: the table, as CSV.
        columns: the columns that it must have, each with the names that it may have there.
        what: it is a list of, for messages.

    Returns:
        For each line the paths by column, looked for beside the table, and `use`: train, validation, test or None.

    Raises:
        ConfigError: columns or entries are missing.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                {(key or "").strip().lower(): (value or "").strip() for key, value in row.items() if key is not None}
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a list of {what}: {error}.") from error
    names = {kind: next((n for n in given if rows and n in rows[0]), None) for kind, given in columns.items()}
    if None in names.values():
        raise ConfigError(
            f"{path} is no list of {what}; need a first line `{','.join(columns)}` and a line for each of the {what} with its files."
        )
    found = []
    for number, row in enumerate(rows, 2):
        for kind, name in names.items():
            if not row[name or ""]:
                raise ConfigError(f"Line {number} of {path} lacks the {kind}.")
        use = row.get("use", "").lower() or None
        if use not in (None, "train", "validation", "test"):
            raise ConfigError(f"Line {number} of {path} has the use {use!r}; need train, validation, test or nothing.")
        found.append({kind: _beside(path, row[name or ""]) for kind, name in names.items()} | {"use": use})
    given = [row["use"] is not None for row in found]
    if any(given) and not all(given):
        raise ConfigError(
            f"Some lines of {path} say what they are for and others do not; fill the column `use` or drop it."
        )
    return found


def is_list(path: str | Path) -> bool:
    """True for a table of scenes with their labels."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".txt") or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = {name.strip().lower() for name in file.readline().split(",")}
    return bool(header & set(SCENE_COLUMNS)) and bool(header & set(LABEL_COLUMNS))


def _beside(table: Path, entry: str) -> str:
    """The path as written if something is there, else the one beside the table (a path may end in :variable)."""
    return entry if Path(entry.rpartition(":")[0] or entry).exists() else str(table.parent / entry)


def join_scenes(scenes: Sequence[Scene]) -> Scene:
    """Lay scenes of one sensor on one canvas.

    Bands are matched by wavelength, or by number where a scene states none, to those of the first scene; bands that one of
    the scenes lacks are dropped from all.

    Raises:
        ConfigError: there is no scene.
        BandMismatch: a scene has other bands.
        SceneError: a scene is in other units, or is there twice.
    """
    if not scenes:
        raise ConfigError("Got no scene; need at least one.")
    if len(scenes) == 1:
        return scenes[0]
    bands, dropped = _common_bands(scenes)
    _check_units(scenes)
    _check_listed_once(scenes)
    windows, shape = shelves([scene.grid.shape for scene in scenes], gap=GAP)
    values = np.zeros((len(bands), *shape), np.float32)
    valid = np.zeros(shape, bool)
    members, names = [], _names(scenes)
    for scene, name, window in zip(scenes, names, windows, strict=True):
        for i, position in enumerate(scene.bands.positions_of(bands)):  # band by band: no copy of the scene
            values[i][window] = scene.values[position]
        valid[window] = scene.valid
        members.append(Member(name, window, scene.grid, scene.cut))
    notes = [f"{name}: {note}" for scene, name in zip(scenes, names, strict=True) for note in scene.notes]
    if dropped:
        notes.insert(0, f"{dropped} bands that one of the scenes lacks were dropped from all.")
    title = f"{len(scenes)} scenes ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
    return Scene(title, values, valid, bands, Grid(*shape), tuple(notes), dict(scenes[0].details), tuple(members))


def join_labels(series: Scene, labels: Sequence[Labels]) -> Labels:
    """Lay the labels of each scene where it lies on the canvas.

    Classes are matched by name where both sides name them, else by value.

    Raises:
        LabelError: there are fewer or more labels than scenes, one does not fit its scene, or two scenes have another class
            under one value.
    """
    scenes = series.scenes
    if len(labels) != len(scenes):
        raise LabelError(f"Got {len(labels)} label rasters for {len(scenes)} scenes; need one for each.")
    for scene, own in zip(scenes, labels, strict=True):
        if own.index.shape != scene.grid.shape:
            raise LabelError(
                f"The labels of {scene.name} have {own.index.shape} pixels, the scene has {scene.grid.shape}; they must agree."
            )
    if len(scenes) == 1:
        return labels[0]
    legend: dict[int, LandCover] = {}
    matched = []
    for scene, own in zip(scenes, labels, strict=True):
        fitting = own.matching(tuple(legend.values())) if legend else own
        for entry in fitting.legend:
            known = legend.setdefault(entry.value, entry)
            if known.named and entry.named and known.name.strip().casefold() != entry.name.strip().casefold():
                raise LabelError(
                    f"The labels of {scene.name} call class {entry.value} '{entry.name}', those of a scene before it "
                    f"'{known.name}'. Give one class one value and one name in all label files."
                )
            if entry.named and not known.named:
                legend[entry.value] = entry
        matched.append(fitting)
    entries = tuple(legend[value] for value in sorted(legend))
    number = {entry.value: i for i, entry in enumerate(entries, 1)}
    index = np.zeros(series.grid.shape, np.int32)
    for member, own in zip(series.members, matched, strict=True):
        table = np.array([0, *(number[value] for value in own.values)], np.int32)
        index[member.window] = table[own.index]
    notes = [f"{m.name}: {note}" for m, own in zip(series.members, matched, strict=True) for note in own.notes]
    return Labels(index, entries, tuple(notes), all(own.numbered for own in labels))


def _common_bands(scenes: Sequence[Scene]) -> tuple[Bands, int]:
    """The bands of the first scene that all others have too, and how many it loses."""
    first = scenes[0].bands
    kept = list(range(len(first)))
    for scene in scenes[1:]:
        try:
            scene.bands.positions_of(first.select(kept))
        except BandMismatch:
            found = [i for i in kept if _has(scene.bands, first.select([i]))]
            if len(found) < FEWEST_COMMON * max(len(first), len(scene.bands)):
                known = first.wavelengths_nm and scene.bands.wavelengths_nm
                how = "" if known else ", by number, since one of the two states no wavelengths"
                raise BandMismatch(
                    f"{scene.name} and {scenes[0].name} are not of one sensor: they share {len(found)} of {len(scene.bands)} and "
                    f"{len(first)} bands{how}. List scenes of one sensor, and train a run for each of the others; or resample them to the same "
                    "bands first, and list the results."
                ) from None
            kept = found
            _check_together(scene, first.select(kept), scenes[0].name)
    return first.select(kept), len(first) - len(kept)


def _check_together(scene: Scene, wanted: Bands, name: str) -> None:
    """Bands that are there one by one must be so together.

    Raises:
        BandMismatch: two are the same band of this scene.
    """
    try:
        scene.bands.positions_of(wanted)
    except BandMismatch:
        raise BandMismatch(
            f"{scene.name} is sampled more coarsely than {name}: two of the {len(wanted)} bands that they share are one of its "
            f"{len(scene.bands)}. List scenes of one sensor, and train a run for each of the others."
        ) from None


def _has(bands: Bands, wanted: Bands) -> bool:
    try:
        bands.positions_of(wanted)
    except BandMismatch:
        return False
    return True


def _check_units(scenes: Sequence[Scene]) -> None:
    means = [float(np.abs(scene.values[:, scene.valid]).mean(dtype=np.float64)) for scene in scenes]
    low, high = int(np.argmin(means)), int(np.argmax(means))
    if means[high] > FARTHEST_MEAN * means[low]:
        raise SceneError(
            f"{scenes[low].name} has a mean value of {means[low]:.4g} and {scenes[high].name} one of {means[high]:.4g}: the two are "
            "probably in other units. Give both the same scale (in an ENVI header: reflectance scale factor)."
        )


def _check_listed_once(scenes: Sequence[Scene]) -> None:
    """Refuse one scene under two names: it could train with some labels and be tested on the same pixels with others."""
    for one, other in combinations(scenes, 2):
        if one.cut is not None and other.cut is not None:
            same = one.cut.source.signature() == other.cut.source.signature()
        else:
            same = one.values.shape == other.values.shape and all(map(np.array_equal, one.values, other.values))
        if same:
            raise SceneError(
                f"{one.name} and {other.name} hold the same values: they are one scene. List it once, with all of its labels in one file."
            )


def _names(scenes: Sequence[Scene]) -> list[str]:
    """A short name for each scene, fit for a folder, that no other has."""
    stems = [re.sub(r"[^\w-]+", "-", Path(scene.name).stem).strip("-") or "scene" for scene in scenes]
    found: list[str] = []
    for stem in stems:
        name, number = stem, 2
        while name.casefold() in (other.casefold() for other in found):
            name, number = f"{stem}-{number}", number + 1
        found.append(name)
    return found


def scenes_of(scene: Scene | Sequence[Scene], labels: Labels | Sequence[Labels]) -> tuple[Scene, Labels]:
    """One scene with its labels, or several on one canvas."""
    if isinstance(scene, Scene) and isinstance(labels, Labels):
        return scene, labels
    if isinstance(scene, Scene) or isinstance(labels, Labels):
        raise ConfigError("Got one scene and several labels, or the other way round; need as many labels as scenes.")
    series = join_scenes(scene)
    return series, join_labels(series, labels)
