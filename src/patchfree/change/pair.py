"""A pair of scenes: two dates of one place, on one grid, with bands that stand for each other.

A pair is a scene: `Pair.stacked` has BEFORE's bands, then AFTER's, and holds data where both dates do. Training, maps, splits
and reports work on it as on any scene (decision 0006).

Dimension key: c bands of a date, h rows, w columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from patchfree.errors import SceneError
from patchfree.io._pairing import match_bands, onto_grid
from patchfree.scene import DATES, Bands, Scene


@dataclass(frozen=True, eq=False)
class Pair:
    """Two dates of one place.

    Attributes:
        before: the first date.
        after: the second date, on the first one's grid and with its bands.
        notes: how the two were brought together, one sentence each.
    """

    before: Scene
    after: Scene
    notes: tuple[str, ...] = ()

    @property
    def bands(self) -> Bands:
        """The bands of a date."""
        return self.before.bands

    def stacked(self) -> Scene:
        """One scene with the bands of both dates: BEFORE's 1 to c, then AFTER's c + 1 to 2c.

        A band of AFTER has the wavelength of the band of BEFORE that it stands for. Notes bear the date in front.
        """
        first, second = self.before, self.after
        values = _one_array(first.values, second.values)
        notes = tuple(
            f"{date}: {note}" for date, scene in (("BEFORE", first), ("AFTER", second)) for note in scene.notes
        )
        details: dict[str, Any] = {**first.details, DATES: [first.name, second.name]}
        return Scene(
            f"{first.name} to {second.name}",
            values,
            first.valid,
            match_bands(first.bands, second.bands, by_number=True).bands,
            first.grid,
            (*self.notes, *notes),
            details,
        )

    def swapped(self) -> Pair:
        """The pair with its dates the other way round."""
        return Pair(self.after, self.before, self.notes)


def _one_array(
    first: Float32[np.ndarray, "c h w"], second: Float32[np.ndarray, "c h w"]
) -> Float32[np.ndarray, "c2 h w"]:
    """Both dates in one array; not copied where they are the halves of one, as `pair_up` lays them."""
    base = first.base
    if (
        isinstance(base, np.ndarray)
        and base is second.base
        and base.shape == (2 * len(first), *first.shape[1:])
        and base.ctypes.data == first.ctypes.data
        and base.flags.c_contiguous
    ):
        return base
    return np.concatenate([first, second])


def pair_up(before: Scene, after: Scene, *, resampling: str = "bilinear", by_number: bool = False) -> Pair:
    """Two scenes as a pair: common bands, BEFORE's grid, and data only where both hold data.

    Args:
        before: the scene of the first date.
        after: the scene of the second date; warped onto BEFORE's grid where its grid differs and both are georeferenced.
        resampling: how it is warped: "bilinear", "nearest", "cubic" or "average".
        by_number: match bands in their order, whatever wavelengths they state.

    Raises:
        BandMismatch: the bands do not stand for each other.
        SceneError: the grids differ and one has no map position, or no pixel holds data at both dates.
        ConfigError: there is no such resampling.
    """
    matching = match_bands(before.bands, after.bands, by_number=by_number)
    warp = onto_grid(before.grid, after.grid, resampling=resampling)
    notes = [*matching.notes]
    c = len(matching.before)
    values = np.empty((2 * c, *before.grid.shape), np.float32)
    for band, position in enumerate(matching.before):
        values[band] = before.values[position]
    if warp is None:
        held = after.valid
        for band, position in enumerate(matching.after):
            values[c + band] = after.values[position]
        if (before.grid.transform is None) != (after.grid.transform is None):
            notes.append("Only one of the two dates has a map position; their pixels were taken to be the same.")
    else:
        notes.append(warp.note)
        chosen = after.select(matching.after)
        whole = (slice(0, before.grid.height), slice(0, before.grid.width))
        values[c:], held = warp.read(lambda window: (chosen.values[:, *window], chosen.valid[window]), c, whole)
    valid = before.valid & held
    if not valid.any():
        raise SceneError(
            f"No pixel holds data at both dates: BEFORE has {int(before.valid.sum())} pixels with data, AFTER {int(held.sum())} on BEFORE's grid. "
            "Check that both show the same place, and nodata and masks with `patchfree info`."
        )
    if not (valid == before.valid).all() or not (valid == held).all():
        notes.append(f"{int(valid.sum())} of {valid.size} pixels ({valid.mean():.1%}) hold data at both dates.")
        values[:, ~valid] = 0
    grid = before.grid
    bands = before.bands.select(matching.before)
    first = Scene(before.name, values[:c], valid, bands, grid, before.notes, before.details)
    second = Scene(after.name, values[c:], valid, bands, grid, after.notes, after.details)
    return Pair(first, second, tuple(notes))
