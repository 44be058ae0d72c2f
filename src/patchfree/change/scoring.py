"""From two dates to a score a pixel, whatever the scenes' size, and to a map of change, without labels.

Dimension key: c bands of a date, h rows, w columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from scipy.stats import chi2

from patchfree import citations
from patchfree.change import DEFAULT, METHODS
from patchfree.change._contract import ChangeMethod, Fitted
from patchfree.change.normalise import normalisation
from patchfree.change.pair import pair_up
from patchfree.change.registration import Shift, find_shift
from patchfree.change.threshold import FALSE_ALARM, WAYS, Threshold, find_threshold, parted_at
from patchfree.errors import ConfigError
from patchfree.io import open_scene
from patchfree.io.geotiff import strips
from patchfree.io.pair import Dates
from patchfree.io.source import SceneSource
from patchfree.progress import Progress
from patchfree.scene import Bands, Grid, Scene
from patchfree.stream.budget import free_memory
from patchfree.unsupervised.scores import Context, name_of, named, score_windows, window_size
from patchfree.unsupervised.view import SceneView, Valid, Values, View
from patchfree.windows import Window

UNCHANGED, CHANGED = 1, 2  # as in `patchfree.change.reference.LEGEND`; 0 is no data
BYTES_WHOLE = 16
"""Memory that a pair in memory takes, for each band of each date and pixel: both dates, and both together."""


@dataclass(frozen=True, eq=False)
class Changes:
    """What changed between two dates.

    Attributes:
        scores: one a pixel, the higher the more likely changed; NaN without data at one of the dates.
        index: 1 unchanged, 2 changed, 0 without data.
        probability: of change, 0 to 1; NaN without data.
        names: of the two scenes.
        grid: BEFORE's rows, columns, map position.
        bands: the bands of a date that were used.
        method: name of the method.
        settings: how it was done: plain values for JSON.
        notes: what was decided on the way, one sentence each.
        view: both dates, to look at spectra again: BEFORE's bands, then AFTER's, normalised if that was asked for.
        threshold: where the scores were parted; None if that was not how the map was made.
        undecided: where it cannot be told at a chosen rate of error; None if none was chosen.
        shift: how far the dates are shifted against each other; None if that was not looked at.
        freedom: degrees of freedom of the chi-square distribution that the method states for squared scores; None if it states none.
    """

    scores: Float32[np.ndarray, "h w"]
    index: UInt8[np.ndarray, "h w"]
    probability: Float32[np.ndarray, "h w"]
    names: tuple[str, str]
    grid: Grid
    bands: Bands
    method: str
    settings: dict[str, Any]
    notes: tuple[str, ...]
    view: View = field(repr=False)
    threshold: Threshold | None = None
    shift: Shift | None = None
    undecided: Bool[np.ndarray, "h w"] | None = None
    freedom: int | None = None
    _references: tuple[str, ...] = ()

    @property
    def uncertainty(self) -> Float32[np.ndarray, "h w"]:
        """Entropy of the probability of change: 0 sure, 1 (bit) a toss-up; NaN without data."""
        found = np.empty_like(self.probability)
        for window in strips(self.grid):  # in double precision, which a whole scene has no room for
            p = np.clip(self.probability[window].astype(np.float64), 1e-12, 1 - 1e-12)
            found[window] = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
        return found

    @property
    def no_change_probability(self) -> Float32[np.ndarray, "h w"]:
        """Probability of a score at least as high at a pixel that has not changed, as `ir-mad` and `sfa` state it (Nielsen 2007).

        The reweighting narrows the distribution of real pairs: far more pixels have a small probability than should.

        Raises:
            ConfigError: the method states no distribution.
        """
        if self.freedom is None:
            raise ConfigError(f"The method {self.method} states no distribution of its scores; take ir-mad or sfa.")
        found = np.empty_like(self.scores)
        for window in strips(self.grid):
            found[window] = chi2.sf(self.scores[window].astype(np.float64) ** 2, self.freedom)
        return found

    @property
    def changed_share(self) -> float:
        """Share of the pixels with data that changed."""
        held = int((self.index > 0).sum())
        return float((self.index == CHANGED).sum() / held) if held else 0.0

    @property
    def references(self) -> list[str]:
        """References of the methods that were used."""
        return [citations.METHODS[key] for key in dict.fromkeys(self._references)]


class DatesView(View):
    """Two dates on disk."""

    def __init__(self, dates: Dates) -> None:
        self.dates, self.shape, self.bands = dates, dates.grid.shape, len(dates.bands)

    def read(self, window: Window) -> tuple[Values, Valid]:
        """Read from both files."""
        return self.dates.read(window)


@dataclass(frozen=True, eq=False)
class Opened:
    """Two dates, ready to be compared.

    Attributes:
        view: both, BEFORE's bands first.
        names: of the two scenes.
        grid: BEFORE's.
        bands: of a date.
        notes: how they were brought together.
        kept: bytes that files take that cannot be read in small pieces.
    """

    view: View
    names: tuple[str, str]
    grid: Grid
    bands: Bands
    notes: tuple[str, ...]
    kept: int = 0


def find_changes(
    before: Scene | SceneSource | str | Path,
    after: Scene | SceneSource | str | Path,
    *,
    method: str | ChangeMethod = DEFAULT,
    threshold: str | None = None,
    false_alarm: float = FALSE_ALARM,
    normalise: str | None = None,
    resampling: str = "bilinear",
    by_number: bool = False,
    memory: int | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Changes:
    """Find what changed between two dates, without labels.

    Scenes that do not fit into memory are read window by window, once for each statistic; the scores are those of the scenes
    in memory.

    Args:
        before: the scene of the first date, its path, or a `SceneSource` to say how to read it.
        after: that of the second date; warped onto BEFORE's grid where its grid differs.
        method: a name in `patchfree.change.METHODS`, or a method with settings of its own.
        threshold: how the scores are parted into changed and unchanged: "otsu", "mixture" or "chi-square"; None for the way of the
            method itself, if it has one (`pca-kmeans`), else "otsu".
        false_alarm: share of unchanged pixels above the threshold, for "chi-square".
        normalise: bring AFTER to BEFORE's radiometry first, by "ir-mad" or "pif".
        resampling: how AFTER is warped: "bilinear", "nearest", "cubic" or "average".
        by_number: match bands in their order, whatever wavelengths they state.
        memory: bytes that this may add to the program; None for half of what the machine has to spare. Scores, map and
            probabilities, 9 bytes a pixel, are always in memory.
        seed: repeats what is random.
        progress: called as the job goes on.

    Returns:
        Scores, map, probability of change, and what was decided on the way.

    Raises:
        ConfigError: there is no such method, its settings do not suit the pair, or the memory is too small.
        BandMismatch: the bands of the dates do not stand for each other.
        SceneError: a scene cannot be read, the grids do not fit, or the pair cannot be scored.

    Example:
        >>> found = find_changes("2019.tif", "2024.tif")  # doctest: +SKIP
        >>> found.changed_share  # doctest: +SKIP
        0.037
    """
    chosen = method_named(method)
    if threshold is not None and threshold not in WAYS:
        raise ConfigError(f"Got the threshold {threshold!r}; there are {', '.join(WAYS)}.")
    tell = progress or (lambda _: None)
    budget = free_memory() if memory is None else memory
    pair = opened(before, after, resampling=resampling, by_number=by_number, memory=budget)
    window_size(pair.view, chosen.halo, budget - pair.kept)  # refused before the work if there is too little memory
    notes = list(pair.notes)
    tell(Progress("compare", 0, 1))
    shift = find_shift(pair.view)
    if shift is not None and shift.note:
        notes.append(shift.note)
    context = Context(seed, tell=lambda done, of: tell(Progress("compare", done, of)), notes=notes)
    same, view, references = equal_dates(pair.view), pair.view, chosen.references
    if same:
        notes.append("BEFORE and AFTER hold the same numbers: nothing has changed. Check that they are two dates.")
    elif normalise is not None:
        change = normalisation(view, normalise, context)
        notes.append(change.note)
        view, references = change.applied(view), (*references, f"normalise-{normalise}")
        if any(field.name == "aligned" for field in dataclasses.fields(chosen)):
            chosen = dataclasses.replace(chosen, aligned=True)  # type: ignore[call-arg]
    fitted = Fitted(_nothing) if same else chosen.fit(view, context)
    scores, windows = score_windows(
        view,
        fitted.score,
        halo=chosen.halo,
        memory=budget - pair.kept,
        tell=lambda done, of: tell(Progress("score", done, of)),
    )
    way = "otsu" if same or (threshold is None and fitted.above is None) else threshold
    parted = (
        parted_at(scores, fitted.above or 0.0, chosen.title)
        if way is None
        else find_threshold(scores, way=way, freedom=fitted.freedom, false_alarm=false_alarm)
    )
    index = np.where(np.isfinite(scores), np.where(scores > parted.above, CHANGED, UNCHANGED), 0).astype(np.uint8)
    probability = np.where(index > 0, 0, np.nan).astype(np.float32) if same else parted.probability(scores)
    called = name_of(method, METHODS)
    return Changes(
        scores=scores,
        index=index,
        probability=probability,
        names=pair.names,
        grid=pair.grid,
        bands=pair.bands,
        method=called,
        settings={
            "method": called,
            **dataclasses.asdict(chosen),
            "threshold": parted.way,
            **({"false_alarm": false_alarm} if parted.way == "chi-square" else {}),
            "normalise": normalise,
            "seed": seed,
            "windows": windows,
        },
        notes=tuple(notes),
        view=view,
        threshold=parted,
        shift=shift,
        freedom=fitted.freedom,
        _references=(*references, *([] if way is None else [f"threshold-{way}"]), "phase-correlation"),
    )


def method_named(method: str | ChangeMethod) -> ChangeMethod:
    """The method of this name with its default settings, or the one given.

    Raises:
        ConfigError: there is none of this name.
    """
    return named(method, METHODS)


def opened(
    before: Scene | SceneSource | str | Path,
    after: Scene | SceneSource | str | Path,
    *,
    resampling: str,
    by_number: bool,
    memory: int,
) -> Opened:
    """Two dates in memory if they fit, else on disk.

    Raises:
        BandMismatch: the bands of the dates do not stand for each other.
        SceneError: a scene cannot be read, or the grids do not fit.
    """
    if not (isinstance(before, Scene) and isinstance(after, Scene)):
        sources = [
            each if isinstance(each, Scene | SceneSource) else SceneSource(str(each)) for each in (before, after)
        ]
        first, second = sources
        if isinstance(first, SceneSource) and isinstance(second, SceneSource):
            need = BYTES_WHOLE * sum(len(s.description.bands) * s.grid.height * s.grid.width for s in (first, second))
            if need > memory:
                return _on_disk(Dates(first, second, resampling=resampling, by_number=by_number))
        before, after = (_read(each) if isinstance(each, SceneSource) else each for each in sources)
    pair = pair_up(before, after, resampling=resampling, by_number=by_number)
    stacked = pair.stacked()
    return Opened(SceneView(stacked), (before.name, after.name), stacked.grid, pair.bands, stacked.notes)


def _on_disk(dates: Dates) -> Opened:
    half = range(len(dates.bands) // 2)
    view = DatesView(dates)
    return Opened(view, dates.names, dates.grid, dates.bands.select(half), dates.notes, dates.kept_bytes)


def _read(source: SceneSource) -> Scene:
    """The whole scene, bands without any data left out."""
    return open_scene(
        source.path, nodata=source.nodata, drop_bands=source.drop_bands, axes=source.axes, mask=source.mask
    )


def equal_dates(view: View) -> bool:
    """True if both dates hold the same numbers everywhere."""
    c = view.bands // 2
    return all(np.array_equal(spectra[:c], spectra[c:]) for spectra in view.blocks())


def _nothing(values: Values, valid: Valid) -> Float64[np.ndarray, "h w"]:
    """The scores of dates that do not differ."""
    del values
    return np.where(valid, 0.0, np.nan)
