"""The polygons of a class map, for work in a GIS: one feature for each connected area of a class.

Areas touch along pixel edges, so that the polygons cover exactly the mapped pixels, without gaps and overlaps.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from jaxtyping import Int

from patchfree.errors import ConfigError, LabelError, MissingExtra
from patchfree.files import replacing
from patchfree.ground import SQUARE_METRES_A_HECTARE, pixel_hectares
from patchfree.io import Description, Reader, find_reader
from patchfree.io._kept import Kept
from patchfree.io.geotiff import CACHE_BYTES, strips
from patchfree.labels import LandCover, make_labels
from patchfree.outlines import Classes, file_of, merge_small, outlines
from patchfree.scene import Grid

LAYER = "classes"
BATCH = 50_000  # polygons written at a time


def vectorize(class_map: str | Path, out: str | Path, *, min_area: str | None = None) -> Path:
    """Write the polygons of a class map as a GeoPackage with the layer `classes`.

    Attributes: `class` (value), `name`, `pixels`, and `area_ha` where the size of a pixel on the ground is known. Pixels
    belong together when they share an edge. Pixels without data (0) give no polygon. A map without position gives
    coordinates in pixels: x is the column, y the row, counted downwards from 0 (-row), as QGIS shows such a map.

    Args:
        class_map: class map, ours or not: any raster format that scenes have.
        out: GeoPackage to write; replaced if it exists.
        min_area: areas smaller than this are merged into their largest neighbour: "0.5ha", "5000m2" or "20px". An area
            stays as it is where it has no neighbour of this size, as in a small island amid no data.

    Returns:
        The path of the GeoPackage.

    Raises:
        SceneError: there is no such map, or it cannot be read.
        LabelError: it is no class map: several bands, or no whole numbers.
        ConfigError: `out` is no GeoPackage, or `min_area` cannot be understood.
        OutputError: the disk is full, or the place cannot be written.
        MissingExtra: the extra `vector` is not installed.
    """
    out = Path(out)
    if out.suffix.lower() != ".gpkg":
        raise ConfigError(f"Got {out.name}; polygons are written as a GeoPackage. Choose a name such as polygons.gpkg.")
    if out.is_dir() or out.resolve() == Path(class_map).resolve():
        raise ConfigError(
            f"{out} is {'a folder' if out.is_dir() else 'the map itself'}; choose another name for the polygons."
        )
    pyogrio, shapely = vector_libraries(out)
    reader = find_reader(class_map, layers=2)
    description = reader.describe()
    _check_class_map(class_map, description)
    grid = description.grid
    least = 1 if min_area is None else _pixels(min_area, grid)
    with replacing(out) as new:
        values, legend = _copied(Kept(reader) if reader.in_one_piece else reader, description, new.parent)
        features = _Features(pyogrio, new, legend, grid)
        values = merge_small(values, least, folder=new.parent)
        for areas, classes, last in outlines(values):
            pixels = np.rint(shapely.area(areas)).astype(np.int64)
            on_map = shapely.transform(areas, lambda points: placed(points, grid))
            features.add(shapely.to_wkb(on_map), classes, pixels, last=last)
    return out


def _copied(reader: Reader, description: Description, folder: Path) -> tuple[Classes, tuple[LandCover, ...]]:
    """The class values in a plain file, 0 where there is no data, and the classes that occur."""
    grid, found = description.grid, np.zeros(0, np.int64)
    copy = file_of(folder / "values", grid.shape, np.uint8 if description.dtype in (bool, np.uint8) else np.uint16)
    nodata = (description.nodata or (None,))[0]
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        for window in strips(grid):
            values = reader.read(window)[0].astype(np.int64)
            empty = reader.outside(window)
            if empty is not None:
                values[empty] = 0
            if nodata is not None and not np.isnan(nodata):
                values[values == nodata] = 0
            found = np.union1d(found, values)
            copy[window] = values  # class values that do not fit are refused below
    if not found.any():
        raise LabelError(
            f"{reader.path} holds no class: all pixels are 0 or without data. Check that it is the class map."
        )
    names = {entry.value: entry.name for entry in description.classes if entry.name}
    return copy, make_labels(found[None], names=names, source=reader.path.name).legend


def vector_libraries(out: Path) -> tuple[Any, Any]:
    """The packages that write features.

    Raises:
        MissingExtra: one is not installed.
    """
    try:
        import pyogrio
        import shapely
    except ImportError:
        raise MissingExtra("pyogrio", "vector", f"Writing {out.name}") from None
    return pyogrio, shapely


def _check_class_map(path: str | Path, description: Description) -> None:
    if len(description.bands) != 1:
        raise LabelError(
            f"{path} has {len(description.bands)} bands; a class map has one, with a whole number for each class. Give the map "
            "itself, such as run/map.tif."
        )
    if description.dtype.kind == "f":
        raise LabelError(
            f"{path} holds {description.dtype} numbers; a class map holds whole numbers. Give the map itself, such as "
            "run/map.tif, or convert it to integers first."
        )


def _pixels(text: str, grid: Grid) -> int:
    """The smallest area in pixels, from "0.5ha", "5000m2", "20px" or "20"; parts of a pixel count as one."""
    given = text.strip().lower()
    unit = next((u for u in ("ha", "m2", "m²", "px") if given.endswith(u)), "")
    try:
        value = float(given.removesuffix(unit))
        if not 0 < value < np.inf:
            raise ValueError
    except ValueError:
        raise ConfigError(f"Got the smallest area {text!r}; need an area such as 0.5ha, 5000m2 or 20px.") from None
    if unit in ("ha", "m2", "m²"):
        hectares = pixel_hectares(grid)
        if hectares is None:
            raise ConfigError(
                f"The smallest area {text} is an area on the ground, but the size of the map's pixels is not known: it has no "
                "coordinate system. Give pixels, such as 20px."
            )
        value *= 1 if unit == "ha" else 1 / SQUARE_METRES_A_HECTARE
        value /= hectares
    return int(np.ceil(round(value, 6)))


def placed(points: np.ndarray, grid: Grid) -> np.ndarray:
    """Pixel coordinates on the map."""
    a, b, c, d, e, f = grid.transform or (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    cols, rows = points[:, 0], points[:, 1]
    return np.column_stack([a * cols + b * rows + c, d * cols + e * rows + f])


class _Features:
    """The layer of a GeoPackage, written as polygons come, many at a time."""

    def __init__(self, pyogrio: Any, path: Path, legend: Sequence[LandCover], grid: Grid) -> None:  # noqa: ANN401
        self.pyogrio, self.path, self.grid = pyogrio, path, grid
        self.names = {entry.value: entry.name for entry in legend}
        self.hectares = pixel_hectares(grid)
        self.batch: list[tuple[np.ndarray, ...]] = []

    def add(
        self,
        geometries: np.ndarray,
        classes: Int[np.ndarray, " n"],
        pixels: Int[np.ndarray, " n"],
        *,
        last: bool = False,
    ) -> None:
        """Polygons as WKB, with the class value and the pixels of each."""
        self.batch.append((geometries, classes, pixels))
        if last or sum(len(part[0]) for part in self.batch) >= BATCH:
            self._write(*(np.concatenate(column) for column in zip(*self.batch, strict=True)))
            self.batch = []

    def _write(self, geometries: np.ndarray, classes: np.ndarray, pixels: np.ndarray) -> None:
        names = np.array([self.names[value] for value in classes.tolist()], object)
        columns = {"class": classes.astype(np.int32), "name": names, "pixels": pixels}
        if self.hectares is not None:
            columns["area_ha"] = pixels * self.hectares
        errors = self.pyogrio.errors
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # a map without position has none
            try:
                self.pyogrio.raw.write(
                    self.path,
                    geometries,
                    list(columns.values()),
                    list(columns),
                    layer=LAYER,
                    driver="GPKG",
                    geometry_type="Polygon",
                    crs=self.grid.crs,
                    append=self.path.exists(),
                )
            except (errors.DataSourceError, errors.DataLayerError, errors.FeatureError) as error:
                raise OSError(str(error)) from error
