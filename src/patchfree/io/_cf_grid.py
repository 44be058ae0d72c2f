"""The map position of a named array: from its coordinates, its grid mapping, or the attributes that xarray users write."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import rasterio.crs
import rasterio.errors

from patchfree.io._hdf5 import numbers, text
from patchfree.io._named import Array, near
from patchfree.scene import Grid

NAMES = {
    "h": ("y", "lat", "latitude", "northing", "projection_y_coordinate"),
    "w": ("x", "lon", "longitude", "easting", "projection_x_coordinate"),
}
WKT = ("crs_wkt", "spatial_ref", "proj:wkt2")
DEGREES = re.compile(r"degrees?_?(north|east|n|e)\b", re.IGNORECASE)
STRAY = 0.1  # pixels that a coordinate may lie off an even spacing: single precision at 180 degrees needs some

Transform = tuple[float, float, float, float, float, float]


def find_grid(array: Array, arrays: dict[str, Array], order: tuple[str, ...], notes: list[str]) -> Grid:
    """Size and map position of an array whose axes are `order`."""
    sizes = {axis: size for axis, size in zip(order, array.shape, strict=True) if axis != "c"}
    axes = {
        axis: _coordinate(array, arrays, axis, array.dimensions[order.index(axis)], size)
        for axis, size in sizes.items()
    }
    mapping = _mapping(array, arrays)
    transform = _even(axes, notes) or _stated(array, mapping)
    crs = _crs(array, mapping, axes, notes) if transform else None
    return Grid(sizes["h"], sizes["w"], crs, transform)


def _coordinate(array: Array, arrays: dict[str, Array], axis: str, dimension: str, size: int) -> Array | None:
    """The array with the coordinate of each row or column: named as the dimension, or as usual."""
    fitting = [other for other in near(array, arrays) if other.shape == (size,) and other.dtype.kind in "uif"]
    for other in fitting:
        if dimension and other.last == dimension.lower() and _is_coordinate(other, axis):
            return other
    return next((other for other in fitting if other.last in NAMES[axis]), None)


def _is_coordinate(array: Array, axis: str) -> bool:
    """False for mere row numbers: a coordinate is called one, or has a unit or a standard name."""
    return array.last in NAMES[axis] or "units" in array.attributes or "standard_name" in array.attributes


def _mapping(array: Array, arrays: dict[str, Array]) -> dict[str, Any]:
    """The attributes of the grid mapping variable: the named one, or one of a usual name."""
    named = text(array.attributes.get("grid_mapping", "")).split(":")[0].split(" ")[0].strip("/").lower()
    others = list(near(array, arrays))
    for wanted in (named, "spatial_ref", "crs"):
        for other in others:
            if wanted and wanted in (other.last, other.name.lower()) and other is not array:
                return dict(other.attributes)
    return {}


def _even(axes: dict[str, Array | None], notes: list[str]) -> Transform | None:
    """The transform of evenly spaced coordinates, which are those of the pixel centres (CF)."""
    lines = {}
    for axis, coordinate in axes.items():
        if coordinate is None or coordinate.shape[0] < 2:
            return None
        values = np.array(coordinate.values())
        step = (values[-1] - values[0]) / (len(values) - 1)
        even = values[0] + step * np.arange(len(values))
        if not np.isfinite(values).all() or step == 0 or np.abs(values - even).max() > STRAY * abs(step):
            notes.append(f"The coordinate {coordinate.name!r} is not evenly spaced; the map position was left out.")
            return None
        lines[axis] = (float(values[0] - step / 2), float(step))
    if lines["h"][1] > 0:
        notes.append("The rows run from south to north, and so do those of maps made from it.")
    return lines["w"][1], 0.0, lines["w"][0], 0.0, lines["h"][1], lines["h"][0]


def _stated(array: Array, mapping: dict[str, Any]) -> Transform | None:
    """A transform in attributes: `GeoTransform` as GDAL writes it, or `transform` in the order of rasterio."""
    for source, key in ((mapping, "GeoTransform"), (array.attributes, "GeoTransform"), (array.attributes, "transform")):
        value = source.get(key)
        try:
            given = [float(v) for v in text(value).split()] if isinstance(value, str | bytes) else numbers(value or [])
        except (TypeError, ValueError):
            continue
        if key == "transform" and len(given) in (6, 9):
            a, b, c, d, e, f = given[:6]
            return a, b, c, d, e, f
        if key == "GeoTransform" and len(given) == 6:
            c, a, b, f, d, e = given
            return a, b, c, d, e, f
    return None


def _crs(array: Array, mapping: dict[str, Any], axes: dict[str, Array | None], notes: list[str]) -> str | None:
    """The coordinate system as WKT."""
    found = [text(source[key]) for source in (mapping, array.attributes) for key in WKT if key in source]
    found += [text(source[key]) for source in (array.attributes,) for key in ("crs", "proj:code") if key in source]
    for stated in found:
        try:
            return rasterio.crs.CRS.from_user_input(stated).to_wkt()
        except (rasterio.errors.CRSError, ValueError):
            notes.append(f"{stated[:60]!r} is no coordinate system that PROJ knows.")
    if "grid_mapping_name" in mapping and mapping["grid_mapping_name"] != "latitude_longitude":
        notes.append(
            f"The grid mapping {text(mapping['grid_mapping_name'])!r} has parameters but no crs_wkt; the coordinate system is "
            "left out. rioxarray's write_crs adds it."
        )
        return None
    units = [text(axis.attributes.get("units", "")) for axis in axes.values() if axis is not None]
    if len(units) == 2 and all(DEGREES.fullmatch(unit.strip()) for unit in units):
        notes.append("The coordinates are degrees without a stated datum; taken as WGS 84.")
        return rasterio.crs.CRS.from_epsg(4326).to_wkt()
    return None
