"""Scenes as `xarray.DataArray` and back (extra `xarray`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from patchfree.errors import MissingExtra, SceneError
from patchfree.scene import Bands, Grid, Scene, make_scene

if TYPE_CHECKING:
    import xarray

PIXELS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The transform of a scene without map position: x is the column, y the row."""


def to_xarray(scene: Scene) -> xarray.DataArray:
    """Band, y, x; NaN where there is no data; coordinates of the pixel centres, wavelengths, CRS as attributes.

    Raises:
        MissingExtra: xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise MissingExtra("xarray", "xarray", "Scene.to_xarray") from None
    grid = scene.grid
    a, b, c, d, e, f = grid.transform or PIXELS
    rows, cols = np.arange(grid.height) + 0.5, np.arange(grid.width) + 0.5
    coords: dict[str, object] = {"band": list(scene.bands.numbers)}
    if b == d == 0:  # a rotated grid has no one-dimensional coordinates
        coords |= {"x": a * cols + c, "y": e * rows + f}
    if scene.bands.wavelengths_nm is not None:
        coords["wavelength_nm"] = ("band", list(scene.bands.wavelengths_nm))
    if scene.bands.fwhm_nm is not None:
        coords["fwhm_nm"] = ("band", list(scene.bands.fwhm_nm))
    values = np.where(scene.valid, scene.values, np.float32(np.nan))
    attributes: dict[str, object] = {"bands_in_file": scene.bands.total}
    if grid.crs is not None:
        attributes["crs_wkt"] = grid.crs
    if grid.transform is not None:
        attributes["transform"] = grid.transform
    return xarray.DataArray(values, dims=("band", "y", "x"), coords=coords, attrs=attributes, name=scene.name)


def from_xarray(array: xarray.DataArray) -> Scene:
    """A scene from an array with dimensions (band, y, x) in any order; NaN is no data.

    Wavelengths come from a coordinate `wavelength_nm` or `wavelength` (nm), map position from the attributes that
    `to_xarray` writes, or from an evenly spaced `x` and `y` and the attribute `crs_wkt` or rioxarray's `spatial_ref`.

    Raises:
        SceneError: the dimensions are other ones.
    """
    names = {"band": ("band", "bands", "wavelength"), "y": ("y", "row", "lat"), "x": ("x", "col", "column", "lon")}
    found = {}
    for name, options in names.items():
        match = next((dim for dim in array.dims if str(dim).lower() in options), None)
        if match is None:
            raise SceneError(
                f"The array has the dimensions {tuple(array.dims)}; a scene needs band, y and x. Rename them with array.rename."
            )
        found[name] = match
    if array.dtype.kind not in "uifb":
        raise SceneError(f"The array holds {array.dtype}; a scene needs real numbers (integers or floats).")
    array = array.transpose(found["band"], found["y"], found["x"])
    values = np.array(array.values, np.float32)
    count = len(values)
    numbers = tuple(range(1, count + 1))
    if "band" in array.coords and np.issubdtype(array["band"].dtype, np.integer) and array["band"].ndim == 1:
        numbers = tuple(int(v) for v in array["band"].values)

    def spectral(*options: str) -> tuple[float, ...] | None:
        name = next((n for n in options if n in array.coords and array[n].size == count), None)
        return tuple(float(v) for v in array[name].values) if name else None

    total = int(array.attrs.get("bands_in_file", max(count, *numbers)))
    bands = Bands(numbers, total, spectral("wavelength_nm", "wavelength"), spectral("fwhm_nm", "fwhm"))
    grid = Grid(values.shape[1], values.shape[2], _crs(array), _transform(array, found))
    return make_scene(
        values,
        missing=~np.isfinite(values),
        bands=bands,
        grid=grid,
        name=str(array.name or "array"),
        details={"format": "xarray"},
    )


def _crs(array: xarray.DataArray) -> str | None:
    if "crs_wkt" in array.attrs:
        return str(array.attrs["crs_wkt"])
    if "spatial_ref" in array.coords:
        return array.coords["spatial_ref"].attrs.get("crs_wkt")
    return None


def _transform(
    array: xarray.DataArray, dims: dict[str, object]
) -> tuple[float, float, float, float, float, float] | None:
    if "transform" in array.attrs:
        a, b, c, d, e, f = (float(v) for v in array.attrs["transform"][:6])
        return a, b, c, d, e, f
    if dims["x"] not in array.coords or dims["y"] not in array.coords:
        return None
    x, y = np.asarray(array[dims["x"]].values, float), np.asarray(array[dims["y"]].values, float)
    if len(x) < 2 or len(y) < 2:
        return None
    dx, dy = (x[-1] - x[0]) / (len(x) - 1), (y[-1] - y[0]) / (len(y) - 1)
    if not (np.allclose(np.diff(x), dx, rtol=1e-3) and np.allclose(np.diff(y), dy, rtol=1e-3)):
        raise SceneError("The x or y coordinates are not evenly spaced; resample the array onto a regular grid first.")
    transform = (float(dx), 0.0, float(x[0] - dx / 2), 0.0, float(dy), float(y[0] - dy / 2))
    return None if transform == PIXELS else transform
