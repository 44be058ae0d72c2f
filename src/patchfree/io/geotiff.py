"""Writing GeoTIFF: class maps with colours and names, and layers of numbers.

A file is built in memory and written in one go, so that a full disk is an error and not half a map.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from affine import Affine
from jaxtyping import Float32, Integer
from rasterio.io import MemoryFile

from patchfree.files import write_bytes
from patchfree.labels import LandCover
from patchfree.scene import Grid

MOST_NAMED = 1024  # names are stored as a list with a place for every value up to the largest


def write_class_map(
    path: Path,
    values: Integer[np.ndarray, "h w"],
    legend: Sequence[LandCover],
    grid: Grid,
    *,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write class values (0 = no data) with colour table and class names.

    Names stand in the tags (namespace PATCHFREE), and beside the map in `<name>.aux.xml`, where GDAL and QGIS look.
    """
    highest = max((entry.value for entry in legend), default=0)
    dtype = "uint8" if highest <= 255 else "uint16"
    with MemoryFile() as memory:
        with _create(memory, grid, 1, dtype, nodata=0.0) as target:
            target.write(values.astype(dtype), 1)
            target.write_colormap(1, {0: (0, 0, 0, 0)} | {e.value: (*e.colour, 255) for e in legend})
            target.update_tags(ns="PATCHFREE", **{f"class_{e.value}": e.name for e in legend}, **(tags or {}))
            target.set_band_description(1, "class")
        data = bytes(memory.getbuffer())
    write_bytes(path, data)
    if highest <= MOST_NAMED:
        write_bytes(_sidecar(path), _category_names(legend, highest).encode())
    else:
        _sidecar(path).unlink(missing_ok=True)  # of an older map of this name
    return path


def write_layers(
    path: Path,
    layers: Float32[np.ndarray, "c h w"],
    names: Sequence[str],
    grid: Grid,
    *,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write named float bands; NaN is no data."""
    with MemoryFile() as memory:
        with _create(memory, grid, len(layers), "float32", nodata=np.nan) as target:
            target.write(layers)
            target.descriptions = tuple(names)
            target.update_tags(ns="PATCHFREE", **(tags or {}))
        data = bytes(memory.getbuffer())
    write_bytes(path, data)
    _sidecar(path).unlink(missing_ok=True)  # of an older map of this name
    return path


def _sidecar(path: Path) -> Path:
    """Where GDAL keeps what the format itself cannot hold."""
    return path.with_name(path.name + ".aux.xml")


def _create(memory: MemoryFile, grid: Grid, count: int, dtype: str, *, nodata: float) -> Any:  # noqa: ANN401
    profile: dict[str, Any] = {"driver": "GTiff", "height": grid.height, "width": grid.width, "count": count}
    profile |= {"dtype": dtype, "nodata": nodata, "compress": "deflate", "interleave": "band"}
    if min(grid.shape) >= 256:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    if grid.crs is not None:
        profile["crs"] = rasterio.crs.CRS.from_wkt(grid.crs)
    if grid.transform is not None:
        profile["transform"] = Affine(*grid.transform)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return memory.open(**profile)


def _category_names(legend: Sequence[LandCover], highest: int) -> str:
    names = {entry.value: entry.name for entry in legend} | {0: "no data"}
    lines = "".join(f"<Category>{escape(names.get(value, ''))}</Category>" for value in range(highest + 1))
    return f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{lines}</CategoryNames></PAMRasterBand></PAMDataset>\n'
