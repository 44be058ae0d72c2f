"""Polygons and points of a GeoPackage, GeoJSON or Shapefile as class values on a scene's grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from jaxtyping import Int
from rasterio.features import rasterize

from patchfree.errors import LabelError, MissingExtra, NoGeoreference
from patchfree.io._classes import class_values
from patchfree.io._warp import warp
from patchfree.scene import Grid

SUFFIXES = (".gpkg", ".geojson", ".json", ".shp", ".fgb", ".kml", ".gml")
USUAL_FIELDS = ("class", "class_id", "classid", "class_value", "label", "landcover", "land_cover", "category")


def read_vector(
    path: Path, grid: Grid, *, class_field: str | None, layer: str | None, areas: bool = False
) -> tuple[Int[np.ndarray, "h w"], dict[int, str], list[str]]:
    """Class values (0 where there is none), class names, notes.

    A polygon labels the pixels whose centre it covers; a point labels the pixel it falls into. A pixel that gets
    two classes gets none. Where all features are `areas` of one class, its value is 1 and attributes say nothing.
    """
    try:
        import pyogrio
        import shapely
    except ImportError:
        raise MissingExtra("pyogrio", "vector", f"Reading the labels {path.name}") from None
    if grid.crs is None or grid.transform is None:
        raise NoGeoreference(
            f"{path.name} holds map coordinates, but the scene is not georeferenced. Give the labels as a class raster "
            "of the scene's size, or as a CSV of points with the columns row,col,class."
        )
    meta, geometries, classes, notes = _read(pyogrio, path, class_field, layer, areas)
    shapes = shapely.from_wkb(geometries)
    present = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    if not present.all():
        notes.append(f"{(~present).sum()} features of {path.name} have no geometry and were left out.")
    shapes, classes = shapes[present], classes[present]
    if meta["crs"] is None:
        notes.append(f"{path.name} states no coordinate system; it was taken to be the scene's.")
    else:
        crs = grid.crs
        shapes = shapely.transform(shapely.force_2d(shapes), lambda points: warp(points, meta["crs"], crs, path.name))
    values, names = _class_values(classes, path)
    burnt = _burn(shapes, values, grid, path, notes)
    return burnt, names, notes


def _read(pyogrio: Any, path: Path, class_field: str | None, layer: str | None, areas: bool) -> tuple[Any, ...]:  # noqa: ANN401
    notes: list[str] = []
    try:
        # QGIS stores styles in a table of the file, which has no geometry.
        listed = pyogrio.list_layers(path)
        layers = [str(name) for name, kind in listed if kind is not None] or [str(name) for name, _ in listed]
        if layer is not None and layer not in layers:
            raise LabelError(f"{path} has no layer {layer!r}; it has {', '.join(layers)}.")
        if layer is None and len(layers) > 1:
            raise LabelError(f"{path} has {len(layers)} layers ({', '.join(layers)}); name one with --layer.")
        meta, _, geometries, columns = pyogrio.raw.read(path, layer=layer or layers[0])
    except pyogrio.errors.DataSourceError as error:
        raise LabelError(f"{path} cannot be read as vector data: {error}. Check that the file is complete.") from error
    fields = [str(name) for name in meta["fields"]]
    table = dict(zip(fields, columns, strict=True))
    if geometries is None or not len(geometries):
        raise LabelError(f"{path} holds no features; draw at least two polygons or points of each class.")
    if class_field is None and areas:
        return meta, geometries, np.ones(len(geometries), np.int64), notes
    if class_field is None:
        usual = [name for name in fields if name.lower() in USUAL_FIELDS]
        if len(usual) != 1 and len(fields) != 1:
            seen = "; ".join(
                f"{name}: {', '.join(map(str, np.unique(table[name].astype(str))[:4]))}" for name in fields
            )
            raise LabelError(
                f"Which attribute of {path.name} holds the class? Name it with --class-field. It has {seen or 'none'}."
            )
        class_field = (usual or fields)[0]
        notes.append(f"The attribute {class_field!r} of {path.name} was taken as the class.")
    if class_field not in table:
        raise LabelError(f"{path.name} has no attribute {class_field!r}; it has {', '.join(fields) or 'none'}.")
    return meta, geometries, table[class_field], notes


def _class_values(classes: Any, path: Path) -> tuple[list[int | None], dict[int, str]]:  # noqa: ANN401 - a column of any type
    """Whole numbers as given; names numbered 1..k in alphabetical order; None for a missing entry."""
    if classes.dtype.kind in "uif":
        numbers = [None if v != v else v for v in classes.tolist()]
        fractions = [v for v in numbers if v is not None and not float(v).is_integer()]
        if fractions:
            raise LabelError(f"The classes of {path.name} must be whole numbers or names, got {fractions[0]:g}.")
        return [None if v is None else int(v) for v in numbers], {}
    texts = [None if v is None or not str(v).strip() else str(v).strip() for v in classes.tolist()]
    return class_values(texts, path.name)


def _burn(
    shapes: Any,  # noqa: ANN401 - shapely is not typed
    values: list[int | None],
    grid: Grid,
    path: Path,
    notes: list[str],
) -> Int[np.ndarray, "h w"]:
    import shapely

    assert grid.transform is not None
    a, b, c, d, e, f = grid.transform
    pixels = ((0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height))
    corners = [(a * col + b * row + c, d * col + e * row + f) for col, row in pixels]
    inside = shapely.intersects(shapes, shapely.Polygon(corners))
    if not inside.any():
        xmin, ymin, xmax, ymax = shapely.total_bounds(shapes)
        xs, ys = zip(*corners, strict=True)
        raise LabelError(
            f"All {len(shapes)} features of {path.name} lie outside the scene: they cover x {xmin:.1f}..{xmax:.1f}, "
            f"y {ymin:.1f}..{ymax:.1f}, the scene covers x {min(xs):.1f}..{max(xs):.1f}, y {min(ys):.1f}..{max(ys):.1f} "
            "(scene's coordinate system). Check the coordinate system of both files."
        )
    if not inside.all():
        notes.append(f"{(~inside).sum()} of {len(shapes)} features of {path.name} lie outside the scene.")
    least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    lowest, highest = np.full(grid.shape, most), np.full(grid.shape, least)
    untouched = unnamed = 0
    for shape, value, within in zip(shapes, values, inside, strict=True):
        if not within:
            continue
        if value is None:
            unnamed += 1
            continue
        mask = rasterize([(shape, 1)], grid.shape, transform=Affine(a, b, c, d, e, f), dtype="uint8").astype(bool)
        untouched += not mask.any()
        lowest[mask] = np.minimum(lowest[mask], value)
        highest[mask] = np.maximum(highest[mask], value)
    if untouched:
        notes.append(f"{untouched} features of {path.name} cover no pixel centre and label nothing.")
    if unnamed:
        notes.append(f"{unnamed} features of {path.name} have no class and were left out.")
    labelled = lowest < most
    torn = labelled & (lowest != highest)
    if torn.any():
        notes.append(f"{torn.sum()} pixels lie in features of two classes and were left unlabelled.")
    return np.where(labelled & ~torn, highest, 0)
