"""The polygons of a class map, for work in a GIS: one feature for each connected area of a class.

Areas touch along pixel edges, so that the polygons cover exactly the mapped pixels, without gaps and overlaps.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from jaxtyping import Bool, Int32
from rasterio.features import shapes, sieve

from patchfree.errors import ConfigError, LabelError, MissingExtra
from patchfree.files import replacing
from patchfree.ground import SQUARE_METRES_A_HECTARE, pixel_hectares
from patchfree.io import Description, find_reader
from patchfree.io.reference import read_labels
from patchfree.labels import Labels
from patchfree.scene import Grid

LAYER = "classes"
MOST_SIEVES = 100  # each lets the smallest areas grow; in practice a few are enough


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
    description = find_reader(class_map, layers=2).describe()
    _check_class_map(class_map, description)
    grid = description.grid
    least = 1 if min_area is None else _pixels(min_area, grid)
    labels = read_labels(class_map, grid)
    index = merge_small(labels.index.astype(np.int32), least)
    geometries, classes = _outlines(shapely, index)
    pixels = np.rint(shapely.area(geometries)).astype(np.int64)
    geometries = shapely.transform(geometries, lambda points: placed(points, grid))
    _write(pyogrio, out, shapely.to_wkb(geometries), classes, pixels, labels, grid)
    return out


def merge_small(index: Int32[np.ndarray, "h w"], least: int) -> Int32[np.ndarray, "h w"]:
    """Classes with every area of fewer than `least` pixels merged into its largest neighbour; 0 stays as it is."""
    mapped: Bool[np.ndarray, "h w"] = index > 0
    for _ in range(MOST_SIEVES if least > 1 else 0):
        # One pass leaves a small area alone if all of its neighbours are small too; merged, they may reach the size.
        merged = np.where(mapped, sieve(index, least, mask=mapped, connectivity=4), 0).astype(np.int32)
        if np.array_equal(merged, index):
            break
        index = merged
    return index


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


def _outlines(shapely: Any, index: Int32[np.ndarray, "h w"]) -> tuple[Any, np.ndarray]:  # noqa: ANN401
    """Polygons in pixel coordinates (column, row), and the class number of each."""
    found = list(shapes(index, mask=index > 0, connectivity=4, transform=Affine.identity()))
    geometries = [shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in found]
    return np.array(geometries, object), np.array([int(value) for _, value in found])


def placed(points: np.ndarray, grid: Grid) -> np.ndarray:
    """Pixel coordinates on the map."""
    a, b, c, d, e, f = grid.transform or (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    cols, rows = points[:, 0], points[:, 1]
    return np.column_stack([a * cols + b * rows + c, d * cols + e * rows + f])


def _write(
    pyogrio: Any,  # noqa: ANN401 - loaded on use
    out: Path,
    geometries: np.ndarray,
    classes: np.ndarray,
    pixels: np.ndarray,
    labels: Labels,
    grid: Grid,
) -> None:
    names = np.array(["", *(entry.name for entry in labels.legend)], object)
    values = np.array([0, *labels.values], np.int32)
    columns = {"class": values[classes], "name": names[classes], "pixels": pixels}
    hectares = pixel_hectares(grid)
    if hectares is not None:
        columns["area_ha"] = pixels * hectares
    with replacing(out) as new, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # a map without position has none
        try:
            pyogrio.raw.write(
                new,
                geometries,
                list(columns.values()),
                list(columns),
                layer=LAYER,
                driver="GPKG",
                geometry_type="Polygon",
                crs=grid.crs,
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError) as error:
            raise OSError(str(error)) from error
