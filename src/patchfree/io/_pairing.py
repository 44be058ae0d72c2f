"""What two dates of one place have in common: bands that stand for each other, and one grid.

BEFORE gives the grid and the wavelengths; AFTER is matched to it, band by band, and warped onto its grid where the two differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from affine import Affine
from jaxtyping import Bool, Float32
from rasterio._err import CPLE_BaseError  # warp lets PROJ's errors through as they are
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject, transform

from patchfree.errors import BandMismatch, ConfigError, SceneError
from patchfree.scene import WAVELENGTH_TOLERANCE_NM, Bands, Grid
from patchfree.windows import Window, cover, shifted, window_shape

RESAMPLINGS = ("bilinear", "nearest", "cubic", "average")
"""Ways to warp AFTER onto BEFORE's grid."""
SAME_PX = 0.01
"""Grids whose corners lie closer than this are one grid."""
BLOCK_PX = 256
"""Warping goes by blocks that lie fixed on BEFORE's grid, so that a window holds what the whole scene holds."""
MARGIN_PX = 4  # around what a block needs, for the kernel of the resampling
LEAST_SHARED = 0.5
"""Share of the bands of the date with fewer bands that must have a partner."""
ANYWHERE = "EPSG:3857"  # stands for both coordinate systems where neither is known: no coordinate is changed

Read = Callable[[Window], tuple[Float32[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]]


@dataclass(frozen=True)
class Matching:
    """Which bands of two dates stand for each other.

    Attributes:
        before: zero-based positions of BEFORE's bands.
        after: those of AFTER's, one for each.
        bands: of the stacked scene: BEFORE's, then AFTER's. Both dates have BEFORE's wavelengths, so that each band of a date is
            known by the same wavelength in every pair; numbers count on.
        notes: what was matched with what.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    bands: Bands
    notes: tuple[str, ...] = ()


def match_bands(before: Bands, after: Bands, *, by_number: bool = False) -> Matching:
    """The bands that both dates have: by wavelength if both know it, else by number.

    Args:
        before: bands of BEFORE.
        after: bands of AFTER.
        by_number: take the bands in their order, whatever wavelengths they state.

    Raises:
        BandMismatch: fewer than half of the bands of one date have a partner, or the numbers of bands differ.
    """
    if before.wavelengths_nm is None or after.wavelengths_nm is None or by_number:
        first, second, note = _by_number(before, after, by_number)
    else:
        first, second, note = _by_wavelength(before, after)
    chosen = before.select(first)
    count = len(chosen)

    def twice(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return None if values is None else (*values, *values)

    numbers = tuple(range(1, 2 * count + 1))
    bands = Bands(numbers, 2 * count, twice(chosen.wavelengths_nm), twice(chosen.fwhm_nm))
    return Matching(tuple(first), tuple(second), bands, (note,) if note else ())


def _by_number(before: Bands, after: Bands, wanted: bool) -> tuple[list[int], list[int], str]:
    why = "as asked" if wanted else f"{'BEFORE' if before.wavelengths_nm is None else 'AFTER'} states no wavelengths"
    if before.total == after.total and before.numbers != after.numbers:
        common = [number for number in before.numbers if number in after.numbers]
        if not common:
            raise BandMismatch("The two dates share no usable band. Check the bad bands of both with `patchfree info`.")
        first = [before.numbers.index(number) for number in common]
        second = [after.numbers.index(number) for number in common]
        lost = f" {len(common)} of {before.total} bands are usable at both dates."
        return first, second, f"Bands were matched by number: {why}.{lost}"
    if len(before) != len(after):
        raise BandMismatch(
            f"BEFORE has {len(before)} bands and AFTER has {len(after)}, and they can only be matched by their numbers ({why}). "
            "Leave out the bands that one date lacks (--drop-bands works on both dates; write a file with the same bands otherwise), "
            "or add wavelengths to both files."
        )
    return list(range(len(before))), list(range(len(after))), f"Bands were matched by number: {why}."


def _by_wavelength(before: Bands, after: Bands) -> tuple[list[int], list[int], str]:
    """Bands that are nearest to each other both ways, and not farther apart than one band can be from itself."""
    apart = np.abs(np.subtract.outer(np.asarray(before.wavelengths_nm), np.asarray(after.wavelengths_nm)))
    # Where two detectors overlap, two bands can share a wavelength: the order of the file tells them apart.
    order = apart + 1e-6 * np.abs(np.subtract.outer(np.asarray(before.numbers), np.asarray(after.numbers)))
    to_after, to_before = order.argmin(1), order.argmin(0)
    first = [i for i, j in enumerate(to_after.tolist()) if to_before[j] == i and apart[i, j] <= WAVELENGTH_TOLERANCE_NM]
    second = [int(to_after[i]) for i in first]
    fewest = min(len(before), len(after))
    if len(first) < LEAST_SHARED * fewest or not first:
        alone = int(np.argmax(apart.min(1)))
        assert before.wavelengths_nm is not None
        raise BandMismatch(
            f"The two dates are not of one sensor: {len(first)} of BEFORE's {len(before)} and AFTER's {len(after)} bands have a partner within "
            f"{WAVELENGTH_TOLERANCE_NM:g} nm (BEFORE's band at {before.wavelengths_nm[alone]:.1f} nm is {apart[alone].min():.1f} nm from the nearest). "
            "If the bands mean the same in their order, pass --by-number (and think of --normalise)."
        )
    worst = max(float(apart[i, j]) for i, j in zip(first, second, strict=True))
    notes = []
    if len(first) < max(len(before), len(after)):
        notes.append(
            f"{len(first)} bands have a partner at the other date, of BEFORE's {len(before)} and AFTER's {len(after)}; the others were left out."
        )
    if worst > 0:
        notes.append(f"Bands were matched by wavelength; partners are up to {worst:.2g} nm apart.")
    return first, second, " ".join(notes)


def onto_grid(before: Grid, after: Grid, *, resampling: str = "bilinear") -> Warp | None:
    """How AFTER comes onto BEFORE's grid; None if it lies on it already.

    Raises:
        ConfigError: there is no such resampling.
        SceneError: the sizes differ, and the map position of one of the two is not known.
    """
    if resampling not in RESAMPLINGS:
        raise ConfigError(f"Got the resampling {resampling!r}; there are {', '.join(RESAMPLINGS)}.")
    if before.transform is None or after.transform is None:
        if before.shape != after.shape:
            lacking = (
                "neither has a map position" if before.transform is after.transform else "only one has a map position"
            )
            raise SceneError(
                f"BEFORE has {before.height} x {before.width} pixels, AFTER {after.height} x {after.width}, and {lacking}, so AFTER cannot be warped "
                "onto BEFORE's grid. Cut both to the same pixels, or give georeferenced files."
            )
        return None
    same_crs = before.crs is None or after.crs is None or CRS.from_wkt(before.crs) == CRS.from_wkt(after.crs)
    if before.shape == after.shape and same_crs and _corners_apart(before, after) < SAME_PX:
        return None
    return Warp(before, after, resampling, same_crs)


def _corners_apart(one: Grid, other: Grid) -> float:
    """Largest distance of the corners of two grids of one size, in pixels."""
    assert one.transform is not None
    assert other.transform is not None
    there, back = Affine(*other.transform), ~Affine(*one.transform)
    corners = [(0, 0), (one.width, 0), (0, one.height), (one.width, one.height)]
    return max(float(np.abs(np.subtract(back @ (there @ corner), corner)).max()) for corner in corners)


@dataclass(frozen=True, eq=False)
class Warp:
    """AFTER on BEFORE's grid.

    Attributes:
        before: the grid wanted.
        after: the grid that AFTER has.
        resampling: one of `RESAMPLINGS`.
        same_crs: True if only the pixels differ, not the coordinate system.
    """

    before: Grid
    after: Grid
    resampling: str
    same_crs: bool

    @property
    def note(self) -> str:
        """What was done, in a sentence."""
        return (
            f"AFTER ({self.after.height} x {self.after.width} pixels{'' if self.same_crs else ', another coordinate system'}) was warped onto BEFORE's grid "
            f"({self.before.height} x {self.before.width}), resampling {self.resampling}."
        )

    def read(
        self, read: Read, bands: int, window: Window
    ) -> tuple[Float32[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """AFTER in a window of BEFORE's grid, and where it holds data.

        Args:
            read: gives AFTER in a window of its own grid.
            bands: how many it gives.
            window: on BEFORE's grid.
        """
        shape = window_shape(window)
        values, valid = np.zeros((bands, *shape), np.float32), np.zeros(shape, bool)
        for block in cover(self.before.shape, BLOCK_PX):
            shared = _intersection(block, window)
            if shared is None:
                continue
            part, held = self._block(read, bands, block)
            inner = shifted(shared, (slice(-block[0].start, 0), slice(-block[1].start, 0)))
            outer = shifted(shared, (slice(-window[0].start, 0), slice(-window[1].start, 0)))
            values[:, *outer], valid[outer] = part[:, *inner], held[inner]
        return values, valid

    def _block(
        self, read: Read, bands: int, block: Window
    ) -> tuple[Float32[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        shape = window_shape(block)
        needed = self._needed(block)
        if needed is None:
            return np.zeros((bands, *shape), np.float32), np.zeros(shape, bool)
        assert self.before.transform is not None
        assert self.after.transform is not None
        given, held = read(needed)
        given = np.where(held, given, np.float32(np.nan))
        found = np.full((bands, *shape), np.nan, np.float32)
        reproject(
            given,
            found,
            src_transform=Affine(*self.after.transform) @ Affine.translation(needed[1].start, needed[0].start),
            src_crs=self.after.crs or self.before.crs or ANYWHERE,
            src_nodata=np.nan,
            dst_transform=Affine(*self.before.transform) @ Affine.translation(block[1].start, block[0].start),
            dst_crs=self.before.crs or self.after.crs or ANYWHERE,
            dst_nodata=np.nan,
            resampling=Resampling[self.resampling],
            tolerance=0,
        )
        valid: Bool[np.ndarray, "h w"] = np.asarray(np.isfinite(found).all(0))
        found[:, ~valid] = 0
        return found, valid

    def _needed(self, block: Window) -> Window | None:
        """The pixels of AFTER that a block lies on; None if it lies outside."""
        assert self.before.transform is not None
        assert self.after.transform is not None
        rows, cols = block
        edge = np.linspace(0, 1, 33)
        height, width = rows.stop - rows.start, cols.stop - cols.start
        x = cols.start + width * np.concatenate([edge, edge, 0 * edge, 0 * edge + 1])
        y = rows.start + height * np.concatenate([0 * edge, 0 * edge + 1, edge, edge])
        east, north = Affine(*self.before.transform) @ (x, y)
        if not self.same_crs:
            try:
                east, north = np.asarray(transform(self.before.crs, self.after.crs, east, north))
            except (CPLE_BaseError, RasterioError) as error:
                raise SceneError(
                    f"AFTER cannot be warped onto BEFORE's grid ({error}). Check the coordinate systems of both with `patchfree info`."
                ) from error
        col, row = ~Affine(*self.after.transform) @ (np.asarray(east), np.asarray(north))
        if not (np.isfinite(col).all() and np.isfinite(row).all()):
            return None
        found = []
        for place, length in ((row, self.after.height), (col, self.after.width)):
            # A coarser target takes the mean of more pixels: the kernel grows with the ratio.
            margin = MARGIN_PX + MARGIN_PX * int(np.ceil(np.ptp(place) / max(1, min(height, width))))
            start, stop = max(0, int(place.min()) - margin), min(length, int(np.ceil(place.max())) + margin)
            if start >= stop:
                return None
            found.append(slice(start, stop))
        return found[0], found[1]


def _intersection(one: Window, other: Window) -> Window | None:
    rows, cols = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (rows, cols) if rows.start < rows.stop and cols.start < cols.stop else None
