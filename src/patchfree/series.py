"""Several scenes of one sensor on one canvas, to train on all of them together.

The canvas keeps labels, splits and accuracies what they are for one scene: rasters with rows and columns. A network
never sees it: it runs on each scene by itself (`Scene.windows`), so that statistics over a whole scene are that scene's own, in
training as in mapping. The bands' mean and deviation are those of all scenes together, so that a darker scene stays darker.

Dimension key: c bands, h rows, w columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

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
