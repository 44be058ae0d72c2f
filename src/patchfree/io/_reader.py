"""What every raster format must offer: say what is there, and read a window of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Shaped

from patchfree.errors import SceneError
from patchfree.scene import Bands, Grid
from patchfree.windows import Window

__all__ = [
    "QUALITY",
    "Description",
    "LandClass",
    "Reader",
    "Window",
    "bands_first",
    "check_dtype",
    "in_nanometres",
    "layout",
    "part_of_axes",
    "unpacking",
]

SMALL_PIECE = 16_000_000
"""Bytes of a piece of a file that has room in the fixed part of every budget."""

QUALITY = ("cloud", "cirrus", "shadow", "haze", "snow", "water", "saturated", "bad")
"""Names that quality masks have, whatever the product calls them; "bad" is what the product itself advises against."""


@dataclass(frozen=True)
class LandClass:
    """A class as a file states it: its value, its name, its colour (red, green, blue; 0..255)."""

    value: int
    name: str | None = None
    colour: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Description:
    """What a raster file says of itself, before any pixel is read.

    Attributes:
        format: name of the format, for people.
        dtype: type of the stored numbers.
        bands: all bands of the file.
        grid: rows, columns, map position.
        nodata: stored value that means "no data", one a band; None if there is none. NaN always means it.
        scale: factor from stored to physical values, one a band.
        offset: added after `scale`, one a band.
        bad_bands: one-based numbers of the bands that the file flags as bad.
        classes: names and colours of class values, for label rasters.
        notes: what had to be assumed, one sentence each.
        mask_notes: those of the notes that say which quality masks are missing.
    """

    format: str
    dtype: np.dtype[Any]
    bands: Bands
    grid: Grid
    nodata: tuple[float | None, ...] | None = None
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    bad_bands: tuple[int, ...] = ()
    classes: tuple[LandClass, ...] = ()
    notes: tuple[str, ...] = ()
    mask_notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


class Reader(ABC):
    """One raster file (or one variable of it)."""

    named_variables: ClassVar[bool] = False
    """True where a file can hold several arrays, and `file:variable` names one."""

    def __init__(self, path: Path, *, variable: str | None = None, axes: str | None = None, layers: int = 3) -> None:
        """Remember what to read; nothing is opened yet.

        Args:
            path: the file.
            variable: name of an array inside the file, for formats that hold several.
            axes: order of the axes of a bare array, "hwb" or "bhw"; None for the format's custom.
            layers: dimensions looked for when no variable is named: 3 for a scene, 2 for labels.
        """
        self.path = path
        self.variable = variable
        self.axes = axes
        self.layers = layers

    @property
    def in_one_piece(self) -> bool:
        """True where the file must be read as a whole to get a window of it."""
        return False

    @property
    def kept_bytes(self) -> int:
        """Memory that is taken while windows are read, beside what they hold: for a whole file, or to unpack large pieces of it."""
        return 0

    @property
    def files(self) -> list[Path]:
        """Every file that the scene is read from; a map that is made inside its folder is not part of it."""
        if not self.path.is_dir():
            return [self.path]
        unfinished = (".unfinished", ".part")
        return [
            path
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and not any(part.endswith(unfinished) for part in path.relative_to(self.path).parts)
        ]

    @abstractmethod
    def describe(self) -> Description:
        """Read the metadata only."""

    @abstractmethod
    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers of all bands, without scale or mask; of a window if one is given."""

    def outside(self, window: Window | None = None) -> Bool[np.ndarray, "h w"] | None:
        """True where the file's own mask says that a pixel holds nothing; None if it has no such mask."""
        del window
        return None

    def quality(self, window: Window | None = None) -> dict[str, Bool[np.ndarray, "h w"]]:
        """Masks that the product brings of what hides or spoils the ground, by name (`QUALITY`); none if it has none."""
        del window
        return {}


def unpacking(piece: int, beside: int) -> int:
    """Memory that it takes to unpack a piece of so many bytes, with what the decoder holds beside it; 0 for a small piece."""
    return piece + beside if piece > SMALL_PIECE else 0


def check_dtype(path: Path, dtype: np.dtype[Any]) -> None:
    """Refuse what is not real numbers."""
    if dtype.kind not in "uifb":
        kind = {"c": "complex numbers", "U": "text", "S": "text", "O": "objects"}.get(dtype.kind, str(dtype))
        raise SceneError(
            f"{path} holds {kind} ({dtype}); patchfree needs real numbers (integers or floats). "
            "Convert it first, for instance to the magnitude of each value."
        )


def layout(path: Path, shape: tuple[int, ...], axes: str | None, custom: str) -> tuple[int, int, int, bool]:
    """Height, width, bands and whether bands come first, of a bare array without axis names."""
    if axes not in (None, "hwb", "bhw"):
        raise SceneError(f"Got axes={axes!r}; need 'hwb' (rows, columns, bands) or 'bhw' (bands, rows, columns).")
    if len(shape) == 2:
        return shape[0], shape[1], 1, False
    if len(shape) != 3:
        raise SceneError(
            f"{path}: the array has {len(shape)} dimensions {shape}; a scene has 3 (rows, columns, bands)."
        )
    if (axes or custom) == "bhw":
        return shape[1], shape[2], shape[0], True
    return shape[0], shape[1], shape[2], False


def part_of_axes(window: Window, dimensions: int, first: bool) -> tuple[slice, ...]:
    """The window as a slice for each axis of a bare array."""
    if dimensions == 2:
        return window
    return (slice(None), *window) if first else (*window, slice(None))


def bands_first(array: Shaped[np.ndarray, ...], first: bool, window: Window | None) -> Shaped[np.ndarray, "c h w"]:
    """The wanted window of a bare array, channel first."""
    rows, cols = window or (slice(None), slice(None))
    if array.ndim == 2:
        return array[rows, cols][None]
    return array[:, rows, cols] if first else np.moveaxis(array[rows, cols], 2, 0)


def in_nanometres(values: list[float], units: str | None) -> tuple[tuple[float, ...] | None, str | None]:
    """Wavelengths in nm, None if they are none, and a note when they were left out or their unit was guessed."""
    if (units or "").strip().lower() in ("wavenumber", "ghz", "mhz", "index"):
        return None, f"The bands are given in {units}, not as wavelengths; they are known by number only."
    if not all(value > 0 for value in values):
        return None, "The wavelengths are not all above 0; they were left out."
    known = {"nanometers": 1.0, "nanometres": 1.0, "nm": 1.0, "micrometers": 1000.0, "micrometres": 1000.0}
    known |= {"um": 1000.0, "µm": 1000.0, "μm": 1000.0, "microns": 1000.0, "nanometer": 1.0, "micrometer": 1000.0}
    factor = known.get((units or "").strip().lower())
    note = None
    if factor is None:
        factor = 1000.0 if max(values) < 100 else 1.0
        note = (
            f"The unit of the wavelengths is not stated (got {units!r}); taken as "
            f"{'micrometres' if factor == 1000 else 'nanometres'} from their size."
        )
    return tuple(round(float(v) * factor, 6) for v in values), note
