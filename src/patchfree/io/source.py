"""A scene that stays on disk: bands, grid and what its file says; pixels are read window by window.

Dimension key: c bands, h rows, w columns.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from patchfree.errors import SceneError
from patchfree.io import HIDDEN, applied_masks, described, find_reader, hidden_pixels, lacking_masks, physical_values
from patchfree.io._kept import Kept
from patchfree.io._reader import Description, Reader
from patchfree.resample import describe_resampling, resampling_weights
from patchfree.scene import MADE_BANDS, MASKED, Bands, Grid, Scene, describe_matching
from patchfree.windows import Window

UNPACKING = RLock()
"""Large pieces are unpacked by one thread at a time, whatever the scene: each would take the memory of one. A pair reads two."""


@dataclass(frozen=True, eq=False)
class BandChoice:
    """How to get the bands that a run wants from those of a file.

    Attributes:
        wanted: the bands.
        positions: zero-based positions in the file of those that are read.
        weights: what each wanted band takes of each that is read; None if they are the same.
        note: what was made of what, or matched with what; empty if the bands are the same.
    """

    wanted: Bands
    positions: list[int]
    weights: Float32[np.ndarray, "c_wanted c_read"] | None = None
    note: str = ""


@dataclass(frozen=True)
class SceneSource:
    """A scene on disk, and how to read it; a small value that can be sent to another process.

    Attributes:
        path: as for `open_scene`.
        nodata: stored value that means "no data", in place of what the file says.
        axes: order of the axes of a bare array.
        mask: quality masks to leave out.
        drop_bands: one-based numbers of bands to leave out, beside those that the file flags as bad.
        resample: make bands that are not there as Gaussian means of finer ones.
    """

    path: str
    nodata: float | None = None
    axes: str | None = None
    mask: tuple[str, ...] = HIDDEN
    drop_bands: tuple[int, ...] = ()
    resample: bool = False

    @cached_property
    def reader(self) -> Reader:
        """The reader of its format; a file that cannot be read in windows is read once and kept."""
        found = find_reader(self.path, axes=self.axes)
        return Kept(found) if found.in_one_piece else found

    @cached_property
    def kept_bytes(self) -> int:
        """Memory that is taken while windows are read, beside what they hold; 0 where the file is read in small pieces."""
        return self.reader.kept_bytes

    @cached_property
    def description(self) -> Description:
        """What the file says of itself."""
        return described(self.reader, nodata=self.nodata, drop_bands=self.drop_bands)

    @cached_property
    def mask_notes(self) -> tuple[str, ...]:
        """What is to be said of quality masks that the product lacks."""
        return (*self.description.mask_notes, *lacking_masks(self._masks, self.mask))

    @cached_property
    def masked(self) -> tuple[str, ...]:
        """Names of the quality masks whose pixels are left out: those that are wanted, of those that the product has."""
        return applied_masks(self._masks, self.mask)

    @cached_property
    def _masks(self) -> tuple[str, ...]:
        """Names of the quality masks that the product has."""
        return tuple(self.reader.quality((slice(0, 1), slice(0, 1))))

    @property
    def grid(self) -> Grid:
        """Rows, columns, map position."""
        return self.description.grid

    def choice(self, wanted: Bands) -> BandChoice:
        """How to get these bands from the file: matched by wavelength, or by number if one side has none, or resampled.

        Raises:
            BandMismatch: the file lacks a band, or flags it as bad, and it cannot be made.
        """
        left_out = {*self.description.bad_bands, *self.drop_bands}
        whole = self.description.bands
        usable = [i for i, number in enumerate(whole.numbers) if number not in left_out]
        if not self.resample:
            positions = [usable[i] for i in whole.select(usable).positions_of(wanted)]
            return BandChoice(wanted, positions, note=describe_matching(whole.select(positions), wanted))
        weights = resampling_weights(whole.select(usable), wanted)
        used = np.flatnonzero(weights.any(0))
        return BandChoice(
            wanted, [usable[i] for i in used], weights[:, used].astype(np.float32), describe_resampling(weights)
        )

    def read(
        self, window: Window | None, choice: BandChoice
    ) -> tuple[Float32[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """The chosen bands in a window, and where all that they are made of hold data (0 elsewhere)."""
        with UNPACKING if self.kept_bytes and not self.reader.in_one_piece else nullcontext():
            values, missing = physical_values(self.reader, self.description, window)
        values, holes = values[choice.positions], np.asarray(missing[choice.positions].any(0))
        hidden = hidden_pixels(self.reader.quality(window), self.mask)
        if hidden is not None:
            holes |= hidden
        if choice.weights is not None:
            values = np.tensordot(choice.weights, values, 1)
        values[:, holes] = 0
        return values, ~holes

    def scene(self, choice: BandChoice) -> Scene:
        """The whole scene in memory, with the chosen bands.

        Raises:
            SceneError: no pixel holds data in all of them.
        """
        values, valid = self.read(None, choice)
        if not valid.any():
            raise nothing_to_map(self, choice)
        made: dict[str, Any] = {MADE_BANDS: choice.note} if choice.note else {}
        made |= {MASKED: self.masked} if self.masked else {}
        return Scene(Path(self.path).name, values, valid, choice.wanted, self.grid, self.description.notes, made)

    def signature(self) -> dict[str, Any]:
        """What tells this scene from another, without reading it: plain values for JSON."""
        return dataclasses.asdict(self) | {
            "files": [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in self.reader.files],
            "shape": list(self.grid.shape),
        }

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: how to read, and not what was read."""
        return dataclasses.asdict(self)


def nothing_to_map(source: SceneSource, choice: BandChoice) -> SceneError:
    """The error for a scene without data in these bands."""
    return SceneError(
        f"{source.path}: no pixel holds data in all {len(choice.wanted)} bands that the run needs. Check nodata and masks "
        "with `patchfree info`."
    )
