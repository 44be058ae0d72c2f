"""Two dates of one place as one scene: BEFORE's bands, then AFTER's, on BEFORE's grid.

A small JSON file, `<name>.pair.json`, names the two scenes and says how to read them; whatever reads scenes then reads the pair,
whole or window by window:

    {"before": "2019.tif", "after": "2024.tif", "resampling": "bilinear"}

Optional: `nodata`, `axes`, `mask` (a list of quality masks), `drop_bands` (a list), `by_number` (true to match bands in their order).
Paths are taken as written or, where nothing is there, beside the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from patchfree.errors import SceneError
from patchfree.files import write_json
from patchfree.io._pairing import Matching, Warp, match_bands, onto_grid
from patchfree.io._reader import Description, Reader, Window
from patchfree.scene import DATES, Bands, Grid

if TYPE_CHECKING:
    from patchfree.io.source import BandChoice, SceneSource

SUFFIX = ".pair.json"
SETTINGS = {"nodata", "axes", "mask", "drop_bands", "resampling", "by_number"}


def is_pair(path: Path) -> bool:
    """True for a file that names two dates."""
    return path.name.lower().endswith(SUFFIX)


@dataclass(frozen=True)
class Dates:
    """Two scenes on disk, and how they become one.

    Attributes:
        before: the scene of the first date.
        after: the scene of the second date.
        resampling: how it is warped onto the first one's grid where that differs.
        by_number: match bands in their order, whatever wavelengths they state.
    """

    before: SceneSource
    after: SceneSource
    resampling: str = "bilinear"
    by_number: bool = False

    @cached_property
    def matching(self) -> Matching:
        """Which usable bands stand for each other."""
        return match_bands(_usable(self.before), _usable(self.after), by_number=self.by_number)

    @cached_property
    def warp(self) -> Warp | None:
        """How AFTER comes onto BEFORE's grid."""
        return onto_grid(self.before.grid, self.after.grid, resampling=self.resampling)

    @cached_property
    def _choices(self) -> tuple[BandChoice, BandChoice]:
        first, second = _usable(self.before), _usable(self.after)
        return (
            self.before.choice(first.select(self.matching.before)),
            self.after.choice(second.select(self.matching.after)),
        )

    @property
    def bands(self) -> Bands:
        """Those of the pair: BEFORE's, then AFTER's."""
        return self.matching.bands

    @property
    def grid(self) -> Grid:
        """BEFORE's."""
        return self.before.grid

    @property
    def kept_bytes(self) -> int:
        """Memory that stays taken while windows are read: by files that cannot be read in small pieces."""
        return self.before.kept_bytes + self.after.kept_bytes

    @property
    def notes(self) -> tuple[str, ...]:
        """How the two were brought together, and what each file says."""
        warped = (self.warp.note,) if self.warp else ()
        own = [(d, n) for d, s in (("BEFORE", self.before), ("AFTER", self.after)) for n in s.description.notes]
        return (*self.matching.notes, *warped, *(f"{date}: {note}" for date, note in own))

    @property
    def names(self) -> tuple[str, str]:
        """Of the two scenes."""
        return self.before.reader.path.name, self.after.reader.path.name

    def read(self, window: Window) -> tuple[Float32[np.ndarray, "c2 h w"], Bool[np.ndarray, "h w"]]:
        """Both dates in a window of BEFORE's grid, and where both hold data (0 elsewhere)."""
        first, second = self._choices
        values, held = self.before.read(window, first)
        if self.warp is None:
            other, other_held = self.after.read(window, second)
        else:
            other, other_held = self.warp.read(lambda part: self.after.read(part, second), len(second.wanted), window)
        valid = held & other_held
        both = np.concatenate([values, other])
        both[:, ~valid] = 0
        return both, valid

    def write(self, path: Path) -> Path:
        """Write the file that names the two; `path` ends in `.pair.json`."""
        one = self.before
        write_json(
            path,
            {
                "before": _absolute(one.path),
                "after": _absolute(self.after.path),
                "resampling": self.resampling,
                "by_number": self.by_number,
                "nodata": one.nodata,
                "axes": one.axes,
                "mask": list(one.mask),
                "drop_bands": list(one.drop_bands),
            },
        )
        return path


class PairFile(Reader):
    """Two dates that a file names."""

    @cached_property
    def dates(self) -> Dates:
        """The two scenes.

        Raises:
            SceneError: the file does not name two scenes.
        """
        from patchfree.io.source import SceneSource

        found = _settings(self.path)
        settings: dict[str, Any] = {
            "nodata": found.get("nodata"),
            "axes": found.get("axes"),
            "drop_bands": tuple(found.get("drop_bands") or ()),
        }
        if found.get("mask") is not None:
            settings["mask"] = tuple(found["mask"])
        before, after = (SceneSource(_place(self.path, found[date]), **settings) for date in ("before", "after"))
        return Dates(before, after, found.get("resampling", "bilinear"), bool(found.get("by_number", False)))

    @property
    def kept_bytes(self) -> int:
        """Memory that files take that cannot be read in small pieces."""
        return self.dates.kept_bytes

    @property
    def files(self) -> list[Path]:
        """This file and those of both scenes."""
        return [self.path, *self.dates.before.reader.files, *self.dates.after.reader.files]

    def describe(self) -> Description:
        """Bands of both dates, BEFORE's grid."""
        dates = self.dates
        return Description(
            format="pair of scenes",
            dtype=np.dtype(np.float32),
            bands=dates.bands,
            grid=dates.grid,
            notes=dates.notes,
            details={DATES: list(dates.names)},
        )

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """Physical values of both dates; NaN where one of them holds no data."""
        grid = self.dates.grid
        values, valid = self.dates.read(window or (slice(0, grid.height), slice(0, grid.width)))
        values[:, ~valid] = np.nan
        return values


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SceneError(f"{path} cannot be read as a pair of scenes: {error}.") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(date), str) for date in ("before", "after")):
        raise SceneError(f'{path} is no pair of scenes; need {{"before": "FILE", "after": "FILE"}}.')
    unknown = sorted(set(found) - SETTINGS - {"before", "after"})
    if unknown:
        raise SceneError(f"{path} has the setting {unknown[0]!r}; there are {', '.join(sorted(SETTINGS))}.")
    return found


def _place(table: Path, entry: str) -> str:
    """The path as written if something is there, else the one beside the file (a path may end in :variable)."""
    return (
        entry if Path(entry.rpartition(":")[0] or entry).exists() or Path(entry).exists() else str(table.parent / entry)
    )


def _absolute(path: str) -> str:
    """The path from the root, so that it can be read from anywhere (a path may end in :variable)."""
    stem, colon, variable = path.rpartition(":")
    return str(Path(path).resolve()) if Path(path).exists() or not colon else f"{Path(stem).resolve()}:{variable}"


def _usable(source: SceneSource) -> Bands:
    """The bands that the file does not flag as bad and that are not left out."""
    whole = source.description.bands
    left_out = {*source.description.bad_bands, *source.drop_bands}
    return whole.select([i for i, number in enumerate(whole.numbers) if number not in left_out])
