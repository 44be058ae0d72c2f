"""Named arrays with attributes, as NetCDF4, plain HDF5 and Zarr hold them: which one is the scene, and what describes it.

The conventions are those of CF (cfconventions.org) and of what rioxarray, GDAL and xarray write; what none of them says is
guessed from names and lengths, and noted. A format lists its arrays (`NamedArrays.arrays`); everything else is here.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Shaped

from patchfree.io._cf_grid import find_grid
from patchfree.io._hdf5 import numbers, text
from patchfree.io._named import Array, near
from patchfree.io._reader import Description, Reader, Window, check_dtype, in_nanometres, layout
from patchfree.io._variables import Variable, pick_variable
from patchfree.scene import Bands

WAVELENGTHS: tuple[str, ...] = ("wavelength", "wavelengths", "wavelength_nm", "wavelengths_nm", "lambda", "wl")
WAVELENGTHS += (
    "center_wavelength",
    "center_wavelengths",
    "centre_wavelength",
    "centre_wavelengths",
    "central_wavelength",
)
WIDTHS = ("fwhm", "fwhm_nm")
GOOD = ("good_wavelengths", "good_bands", "bbl")
CF_NAMES = ("radiation_wavelength", "sensor_band_central_radiation_wavelength")
AXES = {
    "c": ("band", "bands", "wavelength", "wavelengths", "wl", "lambda", "channel", "channels", "spectral", "b"),
    "h": ("y", "ydim", "lat", "latitude", "northing", "row", "rows", "line", "lines", "downtrack", "height"),
    "w": (
        "x",
        "xdim",
        "lon",
        "longitude",
        "easting",
        "col",
        "cols",
        "column",
        "columns",
        "width",
        "samples",
        "crosstrack",
    ),
}
"""What the dimensions of a scene are called, in lower case: bands, rows, columns."""


class NamedArrays(Reader):
    """A file with named arrays; formats only say how to list them."""

    named_variables = True

    @abstractmethod
    def arrays(self) -> AbstractContextManager[dict[str, Array]]:
        """All arrays by name; they can be read while the file is open.

        Raises:
            SceneError: the file is damaged.
        """

    @abstractmethod
    def format_name(self) -> str:
        """Name of the format, for people."""

    @property
    def kept_bytes(self) -> int:
        """What it takes to unpack large pieces of the chosen array."""
        with self.arrays() as arrays:
            return self._pick(arrays).unpacking

    def describe(self) -> Description:
        """The chosen array, its axes, and what attributes and other arrays say of it."""
        with self.arrays() as arrays:
            notes: list[str] = []
            array = self._pick(arrays)
            if self.variable is None and sum(len(other.shape) == len(array.shape) for other in arrays.values()) > 1:
                notes.append(f"Variable {array.name!r} {array.shape} was chosen by its shape.")
            notes += [said] if (said := array.note()) else []
            order = self._order(array, arrays, notes)
            sizes = {axis: array.shape[place] for place, axis in enumerate(order)}
            count = sizes.get("c", 1)
            bands, bad = _spectral(array, arrays, count, notes)
            fill = _fill(array, notes)
            scale, offset = (numbers(array.attributes.get(key, [])) for key in ("scale_factor", "add_offset"))
            return Description(
                format=self.format_name(),
                dtype=array.dtype,
                bands=bands,
                grid=find_grid(array, arrays, order, notes),
                nodata=None if fill is None else (fill,) * count,
                scale=(scale[0],) * count if scale and scale[0] != 1 else None,
                offset=(offset[0],) * count if offset and offset[0] != 0 else None,
                bad_bands=bad,
                notes=tuple(notes),
                details={"variable": array.name, "axes": "".join(order).replace("c", "b")},
            )

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers; only the window is read from disk."""
        rows, cols = window or (slice(None), slice(None))
        with self.arrays() as arrays:
            array = self._pick(arrays)
            order = self._order(array, arrays, [])
            part = array.load(tuple({"c": slice(None), "h": rows, "w": cols}[axis] for axis in order))
        if "c" not in order:
            part, order = part[None], ("c", *order)
        return np.asarray(part).transpose([order.index(axis) for axis in "chw"])

    def _pick(self, arrays: dict[str, Array]) -> Array:
        """The wanted array: named, in whole or without its groups, or the only one that fits."""
        named = None if self.variable is None else self.variable.strip("/")
        if named is not None and named not in arrays:
            short = [name for name, array in arrays.items() if array.last == named.lower()]
            named = short[0] if len(short) == 1 else named
        scenes = arrays.values() if named else [array for array in arrays.values() if not _is_position(array)]
        variables = [Variable(array.name, array.shape, array.dtype) for array in scenes]
        array = arrays[pick_variable(self.path, variables, named, self.layers)]
        check_dtype(self.path, array.dtype)
        return array

    def _order(self, array: Array, arrays: dict[str, Array], notes: list[str]) -> tuple[str, ...]:
        """What each axis is: "c" bands, "h" rows, "w" columns."""
        height, width, count, first = layout(self.path, array.shape, self.axes, "hwb")  # refuses other than 2 or 3 axes
        del height, width, count
        places = [
            next((axis for axis, names in AXES.items() if name.lower() in names), None) for name in array.dimensions
        ]
        if len(array.shape) == 2:
            return ("w", "h") if places == ["w", "h"] else ("h", "w")
        known = {place for place in places if place is not None}
        if self.axes is None and len(known) >= 2:
            (left,) = {"c", "h", "w"} - known or {""}
            named = tuple(place or left for place in places)
            if sorted(named) == ["c", "h", "w"]:
                return named
        if self.axes is None:
            lengths = {prod(other.shape) for other in arrays.values() if other.last in WAVELENGTHS}
            fitting = [place for place, size in enumerate(array.shape) if size in lengths]
            if len(fitting) == 1:
                order = ["h", "w"]
                order.insert(fitting[0], "c")
                notes.append(
                    f"The axes have no names; the one of {array.shape[fitting[0]]} fits the wavelengths, so it is the bands."
                )
                return tuple(order)
            notes.append(
                f"The axes of {array.shape} have no names known here; taken as (rows, columns, bands); --axes says otherwise."
            )
        return ("c", "h", "w") if first else ("h", "w", "c")


def _is_position(array: Array) -> bool:
    """True for latitudes and longitudes of each pixel: they look like labels by their shape."""
    return array.last in ("lat", "lon", "latitude", "longitude") or text(array.attributes.get("standard_name", "")) in (
        "latitude",
        "longitude",
    )


def _fill(array: Array, notes: list[str]) -> float | None:
    fills = {key: numbers(array.attributes[key]) for key in ("_FillValue", "missing_value") if key in array.attributes}
    given = [values[0] for values in fills.values() if values]
    if len({*map(repr, given)}) > 1:
        notes.append(f"_FillValue is {given[0]:g} and missing_value {given[1]:g}; only the first counts as no data.")
    return given[0] if given else None


def _spectral(array: Array, arrays: dict[str, Array], count: int, notes: list[str]) -> tuple[Bands, tuple[int, ...]]:
    """Wavelengths and widths in nm and flagged bands, from the array's attributes or from arrays of usual names."""
    others = [
        *near(array, arrays),
        *arrays.values(),
    ]  # the nearest first; product files keep them in groups of their own

    def find(names: tuple[str, ...]) -> tuple[list[float], str | None]:
        for key, value in array.attributes.items():
            if key.lower() in names and len(listed := _listed(value)) == count:
                return listed, None
        for other in others:
            called = other.last in names or (
                names == WAVELENGTHS and text(other.attributes.get("standard_name", "")) in CF_NAMES
            )
            if called and prod(other.shape) == count and other.dtype.kind in "uifb":
                units = other.attributes.get("units")
                return other.values(), "nm" if units is None and other.last.endswith("_nm") else units and text(units)
        return [], None

    numbers_ = tuple(range(1, count + 1))
    wavelengths, units = find(WAVELENGTHS)
    if count == 1 or not wavelengths:
        return Bands(numbers_, count), ()
    if (units or "").lower() in ("m", "meter", "metre", "meters", "metres"):  # the canonical unit of CF
        wavelengths, units = [v * 1e9 for v in wavelengths], "nm"
    wavelengths_nm, note = in_nanometres(wavelengths, units)
    notes += [note] if note else []
    widths, width_units = find(WIDTHS)
    fwhm_nm = None
    if wavelengths_nm and widths:
        fwhm_nm, note = in_nanometres(widths, width_units or ("um" if wavelengths_nm[0] > 2 * wavelengths[0] else "nm"))
        notes += [note] if note else []
    good, _ = find(GOOD)
    return Bands(numbers_, count, wavelengths_nm, fwhm_nm), tuple(
        n for n, ok in zip(numbers_, good, strict=False) if ok == 0
    )


def _listed(value: Any) -> list[float]:  # noqa: ANN401 - an attribute of any type
    try:
        return numbers(value)
    except (TypeError, ValueError):
        return []
