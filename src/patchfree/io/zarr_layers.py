"""Writing layers of numbers as Zarr version 3, for xarray and for reading parts over the network (extra `zarr`).

Coordinates and coordinate system follow the CF conventions (https://cfconventions.org, chapter 5.6) with the grid mapping
`spatial_ref`, where rioxarray looks for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from patchfree.errors import MissingExtra
from patchfree.files import replacing
from patchfree.ground import crs_units
from patchfree.io._reader import Window
from patchfree.io.geotiff import TILE
from patchfree.labels import LandCover
from patchfree.scene import Grid

PIXELS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The transform of a scene without map position: x is the column, y the row."""


def is_zarr(path: str | Path) -> bool:
    """True if the name asks for Zarr."""
    return Path(path).suffix.lower() == ".zarr"


def need_zarr(path: Path) -> Any:  # noqa: ANN401 - zarr is loaded on use
    """The package zarr.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import zarr
    except ImportError:
        raise MissingExtra("zarr", "zarr", f"Writing {path.name}") from None
    return zarr


def write_zarr(
    path: Path,
    windows: Iterable[tuple[Window, Float32[np.ndarray, "k _ _"]]],
    legend: Sequence[LandCover],
    grid: Grid,
    *,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write the array `probability` (class, y, x) in chunks of one class and 512 x 512 pixels; NaN is no data.

    The coordinate `class` holds the class values, and their names in its attribute `names`. The coordinates y and x are
    those of the pixel centres; a rotated grid has none, its transform stands in `spatial_ref`.

    Args:
        path: folder to write, `<name>.zarr`; a store that lies there is replaced when the new one is complete.
        windows: rows and columns, and the values there; strips of 512 rows are quickest.
        legend: the k classes.
        grid: rows, columns, map position.
        tags: more attributes of the store.

    Raises:
        MissingExtra: zarr is not installed.
        OutputError: the disk is full, or the place cannot be written; what was there is untouched.
    """
    zarr = need_zarr(path)
    shape = (len(legend), *grid.shape)
    with replacing(path) as new:
        group = zarr.open_group(new, mode="w", zarr_format=3, attributes={"Conventions": "CF-1.11", **(tags or {})})
        array = group.create_array(
            "probability",
            shape=shape,
            chunks=(1, min(TILE, grid.height), min(TILE, grid.width)),
            dtype="float32",
            fill_value=np.nan,
            dimension_names=("class", "y", "x"),
            attributes={"long_name": "probability of each class", "units": "1", **_grid_mapping(grid)},
        )
        for (rows, cols), values in windows:
            array[:, rows, cols] = values
        for name, (values, attributes) in _coordinates(legend, grid).items():
            coordinate = group.create_array(
                name,
                shape=values.shape,
                dtype=values.dtype,
                dimension_names=(name,) if values.ndim else (),
                attributes=attributes,
            )
            coordinate[...] = values
        with warnings.catch_warnings():
            # Not yet part of version 3, and ignored by readers that do not know it; xarray warns where it is missing.
            warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
            zarr.consolidate_metadata(new)
    return path


def _grid_mapping(grid: Grid) -> dict[str, str]:
    return {} if grid.transform is None else {"grid_mapping": "spatial_ref"}


def _coordinates(legend: Sequence[LandCover], grid: Grid) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Values and attributes of each coordinate."""
    names = {"long_name": "class value", "names": [entry.name for entry in legend]}
    found: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "class": (np.array([entry.value for entry in legend], np.int32), names)
    }
    a, b, c, d, e, f = grid.transform or PIXELS
    rows, cols = np.arange(grid.height) + 0.5, np.arange(grid.width) + 0.5
    if b == d == 0:  # a rotated grid has no one-dimensional coordinates
        about_x, about_y = _axes(grid)
        found |= {"x": (a * cols + c, about_x), "y": (e * rows + f, about_y)}
    if grid.transform is not None:
        about: dict[str, Any] = {"GeoTransform": f"{c!r} {a!r} {b!r} {f!r} {d!r} {e!r}"}
        if grid.crs is not None:
            about |= {"crs_wkt": grid.crs, "spatial_ref": grid.crs}
        found["spatial_ref"] = (np.array(0, np.int64), about)
    return found


def _axes(grid: Grid) -> tuple[dict[str, str], dict[str, str]]:
    """What the coordinates x and y are, in the words of CF."""
    if grid.crs is None:
        return {"axis": "X"}, {"axis": "Y"}
    units = crs_units(grid)
    if units == "degrees":
        return (
            {"axis": "X", "standard_name": "longitude", "units": "degrees_east"},
            {"axis": "Y", "standard_name": "latitude", "units": "degrees_north"},
        )
    stated = {"units": units} if units == "m" else {}
    return (
        {"axis": "X", "standard_name": "projection_x_coordinate", **stated},
        {"axis": "Y", "standard_name": "projection_y_coordinate", **stated},
    )
