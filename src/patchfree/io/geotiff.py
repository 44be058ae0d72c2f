"""Writing Cloud Optimized GeoTIFFs: class maps with colours and names, and layers of numbers.

Windows are put into a plain file beside the target, which GDAL's COG driver turns into tiles of 512 pixels with overviews;
neither needs the whole map in memory. GDAL can lose the error of a full disk when it closes a file, so both files are
checked before the new one takes the place of the old.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from jaxtyping import Float32, Integer, Shaped
from rasterio._err import CPLE_BaseError  # GDAL's own errors come through when a file is closed

from patchfree.errors import OutputError
from patchfree.files import replacing, write_bytes
from patchfree.io._reader import Window
from patchfree.io.qgis import remove_style, write_class_style
from patchfree.labels import LandCover
from patchfree.scene import Grid

MOST_NAMED = 1024  # names are stored as a list with a place for every value up to the largest
TILE = 512
CACHE_BYTES = 64_000_000  # of GDAL, in place of a twentieth of the machine's memory; more is not quicker


def write_class_map(
    path: Path,
    values: Integer[np.ndarray, "h w"],
    legend: Sequence[LandCover],
    grid: Grid,
    *,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write class values (0 = no data), in memory or a `numpy.memmap`, as `write_class_map_windows` does."""
    parts = ((window, values[window]) for window in strips(grid))
    return write_class_map_windows(path, parts, legend, grid, tags=tags)


def write_class_map_windows(
    path: Path,
    windows: Iterable[tuple[Window, Integer[np.ndarray, "_ _"]]],
    legend: Sequence[LandCover],
    grid: Grid,
    *,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write a class map that need not fit in memory, with colour table, class names and a style for QGIS.

    Names stand in the tags (namespace PATCHFREE), and beside the map in `<name>.aux.xml`, where GDAL and QGIS look.
    Overviews hold the most frequent class, so that none appears that is not there.

    Args:
        path: file to write.
        windows: rows and columns, and the class values there, in any order and size; what no window covers is 0, no
            data. Strips of 512 rows over the whole width (`strips`) are quickest.
        legend: the classes.
        grid: rows, columns, map position.
        tags: more tags for the namespace PATCHFREE.

    Raises:
        OutputError: the disk is full, or the place cannot be written; what was there is untouched.
    """
    highest = max((entry.value for entry in legend), default=0)
    dtype = "uint8" if highest <= 255 else "uint16"

    def describe(target: Any) -> None:  # noqa: ANN401 - rasterio is not typed
        target.write_colormap(1, {0: (0, 0, 0, 0)} | {e.value: (*e.colour, 255) for e in legend})
        target.update_tags(ns="PATCHFREE", **{f"class_{e.value}": e.name for e in legend}, **(tags or {}))
        target.set_band_description(1, "class")

    stored = ((window, part[None].astype(dtype)) for window, part in windows)
    _write(path, stored, describe, {"count": 1, "dtype": dtype, "nodata": 0.0} | _profile(grid), "MODE")
    if highest <= MOST_NAMED:
        write_bytes(_sidecar(path), _category_names(legend, highest).encode())
    else:
        _sidecar(path).unlink(missing_ok=True)  # of an older map of this name
    write_class_style(path, legend)
    return path


def write_layers(
    path: Path,
    layers: Float32[np.ndarray, "c h w"],
    names: Sequence[str],
    grid: Grid,
    *,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write named float bands, in memory or a `numpy.memmap`, as `write_layers_windows` does."""
    parts = ((window, layers[:, *window]) for window in strips(grid))
    return write_layers_windows(path, parts, names, grid, tags=tags)


def write_layers_windows(
    path: Path,
    windows: Iterable[tuple[Window, Float32[np.ndarray, "c _ _"]]],
    names: Sequence[str],
    grid: Grid,
    *,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write named float bands that need not fit in memory; NaN is no data. Overviews hold averages.

    Args:
        path: file to write.
        windows: rows and columns, and the values there, in any order and size; what no window covers is NaN.
        names: of the bands.
        grid: rows, columns, map position.
        tags: tags for the namespace PATCHFREE.

    Raises:
        OutputError: the disk is full, or the place cannot be written; what was there is untouched.
    """

    def describe(target: Any) -> None:  # noqa: ANN401 - rasterio is not typed
        target.descriptions = tuple(names)
        target.update_tags(ns="PATCHFREE", **(tags or {}))

    profile = {"count": len(names), "dtype": "float32", "nodata": np.nan} | _profile(grid)
    _write(path, windows, describe, profile, "AVERAGE")
    _sidecar(path).unlink(missing_ok=True)  # of an older map of this name
    remove_style(path)
    return path


def strips(grid: Grid) -> Iterator[Window]:
    """Windows over the whole width that fill a row of tiles each."""
    for top in range(0, grid.height, TILE):
        yield slice(top, min(top + TILE, grid.height)), slice(0, grid.width)


def _write(
    path: Path,
    windows: Iterable[tuple[Window, Shaped[np.ndarray, "c _ _"]]],
    describe: Callable[[Any], None],
    profile: dict[str, Any],
    resampling: str,
) -> None:
    """A plain file of the windows, then the COG made from it, then the check that the two agree."""
    with replacing(path) as new, rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        plain = new.with_name(f"{new.name}.plain")
        try:
            with rasterio.open(plain, "w", **profile) as target:
                describe(target)
                for (rows, cols), values in windows:
                    target.write(values, window=((rows.start, rows.stop), (cols.start, cols.stop)))
            _check_size(plain, profile)
            with rasterio.open(plain) as source:
                rasterio.shutil.copy(
                    source,
                    new,
                    driver="COG",
                    BLOCKSIZE=TILE,
                    COMPRESS="DEFLATE",
                    PREDICTOR="YES" if profile["dtype"] == "float32" else "NO",
                    OVERVIEW_RESAMPLING=resampling,
                    BIGTIFF="IF_SAFER",
                    SRC_MDD="PATCHFREE",
                )
                _check_same(source, new)
        except (rasterio.errors.RasterioError, CPLE_BaseError) as error:
            raise OutputError(
                f"{path} could not be written: {str(error.__cause__ or error).rstrip('.')}. What was there before is untouched. Free some space or "
                "choose another place, and run the same command again."
            ) from error


def _check_size(plain: Path, profile: dict[str, Any]) -> None:
    """The plain file is not compressed: all its tiles are there if it is as long as they are."""
    tiles = -(-profile["height"] // TILE) * -(-profile["width"] // TILE) * profile["count"]
    needed = tiles * TILE * TILE * np.dtype(profile["dtype"]).itemsize
    if plain.stat().st_size < needed:
        raise rasterio.errors.RasterioIOError(f"{plain.stat().st_size} of {needed} bytes were stored; the disk is full")


def _check_same(source: Any, copy: Path) -> None:  # noqa: ANN401 - rasterio is not typed
    with rasterio.open(copy) as target:
        for _, window in source.block_windows(1):  # tile by tile: a strip of many wide bands would be large
            if not np.array_equal(source.read(window=window), target.read(window=window), equal_nan=True):
                raise rasterio.errors.RasterioIOError("the stored file differs from what was written; the disk is full")


def _profile(grid: Grid) -> dict[str, Any]:
    profile: dict[str, Any] = {"driver": "GTiff", "height": grid.height, "width": grid.width, "interleave": "band"}
    profile |= {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "BIGTIFF": "IF_SAFER"}
    if grid.crs is not None:
        profile["crs"] = rasterio.crs.CRS.from_wkt(grid.crs)
    if grid.transform is not None:
        profile["transform"] = Affine(*grid.transform)
    return profile


def _sidecar(path: Path) -> Path:
    """Where GDAL keeps what the format itself cannot hold."""
    return path.with_name(path.name + ".aux.xml")


def _category_names(legend: Sequence[LandCover], highest: int) -> str:
    names = {entry.value: entry.name for entry in legend} | {0: "no data"}
    lines = "".join(f"<Category>{escape(names.get(value, ''))}</Category>" for value in range(highest + 1))
    return f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{lines}</CategoryNames></PAMRasterBand></PAMDataset>\n'
