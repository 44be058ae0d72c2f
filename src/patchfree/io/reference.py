"""Reference labels of any kind (class raster, polygons, points, CSV) on a scene's grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Num

from patchfree.errors import LabelError, SceneError
from patchfree.io import Description, read_raster
from patchfree.io.mosaic import is_mosaic
from patchfree.io.points import read_points
from patchfree.io.roi import is_roi, read_roi
from patchfree.io.vector import SUFFIXES, read_vector
from patchfree.labels import Labels, make_labels
from patchfree.scene import Grid, Scene


def read_labels(
    path: str | Path,
    scene: Scene | Grid,
    *,
    class_field: str | None = None,
    layer: str | None = None,
    unlabelled: Sequence[int] = (0,),
    label_scale: int = 1,
    axes: str | None = None,
    areas: bool = False,
) -> Labels:
    """Read reference labels onto a scene's grid.

    Args:
        path: a class raster (any format that scenes have, PNG and BMP too), polygons or points (GeoPackage,
            GeoJSON, Shapefile), a CSV of points (row,col,class or x,y,class or lon,lat,class), or regions of interest as
            ENVI exports them to text.
        scene: the scene, or its grid.
        class_field: attribute of a vector file that holds the class.
        layer: layer of a vector file that has several.
        unlabelled: class values that mean "no label".
        label_scale: how many label pixels lie along one scene pixel, for a label raster on a finer grid without
            map position; a scene pixel is labelled where all of them agree.
        axes: order of the axes of a bare array.
        areas: all features or points of the file are areas of one class, whatever their attributes say.

    Raises:
        LabelError: the labels do not fit the scene, or hold no usable class.
        NoGeoreference: map coordinates are given, but the scene has none.
    """
    grid = scene.grid if isinstance(scene, Scene) else scene
    file = Path(path)
    if file.suffix.lower() in SUFFIXES and file.exists():
        values, names, notes = read_vector(file, grid, class_field=class_field, layer=layer, areas=areas)
        return _named(make_labels(values, names=names, unlabelled=unlabelled, notes=notes, source=file.name), names)
    if class_field or layer:
        raise LabelError(f"{file.name} is no vector file; leave out --class-field and --layer.")
    if file.suffix.lower() == ".csv" and file.exists() and not is_mosaic(file):
        points, names, notes = read_points(file, grid, areas=areas)
        return _named(make_labels(points, names=names, unlabelled=unlabelled, notes=notes, source=file.name), names)
    if is_roi(file):
        regions, names = read_roi(file, grid)
        return make_labels(regions, names=names, unlabelled=unlabelled, source=file.name)
    return _from_raster(path, grid, unlabelled=unlabelled, label_scale=label_scale, axes=axes)


def _named(labels: Labels, names: dict[int, str]) -> Labels:
    """Remember whether the values are only the alphabetical order of the names."""
    ours = dict(enumerate(sorted(names.values()), 1))
    return dataclasses.replace(labels, numbered=bool(names) and names == ours)


def _from_raster(
    path: str | Path, grid: Grid, *, unlabelled: Sequence[int], label_scale: int, axes: str | None
) -> Labels:
    name = Path(path).name
    try:
        description, stored = read_raster(path, axes=axes)
    except SceneError as error:
        raise LabelError(f"Labels: {error}") from error
    if stored.shape[0] != 1:
        raise LabelError(
            f"{name} has {stored.shape[0]} bands {stored.shape}; labels need one, with a whole number for each class. "
            "If this is the scene, it stands in the place of the labels. If this is a coloured picture of the classes, export "
            "the class values instead; if it holds several arrays, name one as FILE:VARIABLE."
        )
    values: Num[np.ndarray, "h w"] = stored[0].astype(np.uint8) if stored.dtype == bool else stored[0]
    notes = list(description.notes)
    nodata = (description.nodata or (None,))[0]
    if nodata is not None and not np.isnan(nodata):
        values = np.where(values == nodata, 0, values)
    if label_scale != 1:
        values, note = _coarsen(values, label_scale, name)
        notes.append(note)
    values = _on_grid(values, description, grid, name, label_scale, notes)
    names = {c.value: c.name for c in description.classes if c.name}
    colours = {c.value: c.colour for c in description.classes if c.colour}
    return make_labels(values, names=names, colours=colours, unlabelled=unlabelled, notes=notes, source=name)


def _coarsen(values: Num[np.ndarray, "h w"], scale: int, name: str) -> tuple[Num[np.ndarray, "h2 w2"], str]:
    """One label a block of scale x scale pixels, where all agree; else 0."""
    h, w = values.shape
    if scale < 1 or h % scale or w % scale:
        raise LabelError(f"{name} has {h} x {w} pixels, which is no multiple of --label-scale {scale}.")
    blocks = values.reshape(h // scale, scale, w // scale, scale)
    low, high = blocks.min((1, 3)), blocks.max((1, 3))
    mixed = int(((low != high) & (high > 0)).sum())
    return np.where(low == high, high, 0), (
        f"Labels were taken from a grid {scale} times finer; {mixed} scene pixels with mixed labels stay unlabelled."
    )


def _on_grid(
    values: Num[np.ndarray, "h w"], description: Description, grid: Grid, name: str, scale: int, notes: list[str]
) -> Num[np.ndarray, "h2 w2"]:
    """The label raster on the scene's grid: the same grid, or a part of it by whole pixels."""
    theirs = description.grid
    placed = grid.transform is not None and theirs.transform is not None and scale == 1
    if placed and grid.crs and theirs.crs and not _same_crs(grid.crs, theirs.crs):
        raise LabelError(
            f"{name} has another coordinate system ({_crs_name(theirs.crs)}) than the scene ({_crs_name(grid.crs)}). "
            "Warp it onto the scene's grid with nearest neighbour (gdalwarp -r near), or give the labels as polygons: "
            "those are reprojected."
        )
    if placed and (grid.transform != theirs.transform or values.shape != grid.shape):
        return _insert(values, theirs, grid, name, notes)
    if values.shape == grid.shape:
        return values
    h, w = values.shape
    k = h // grid.height if grid.height else 0
    advice = (
        f"The labels are exactly {k} times finer: pass --label-scale {k} to keep the scene pixels where they agree."
        if k > 1 and (h, w) == (k * grid.height, k * grid.width)
        else "Rows and columns are swapped: transpose one of them (for arrays, see --axes)."
        if (w, h) == grid.shape
        else "Give labels on the scene's own grid, or as polygons or points."
    )
    raise LabelError(f"{name} has {h} x {w} pixels, the scene has {grid.height} x {grid.width}. {advice}")


def _insert(
    values: Num[np.ndarray, "h w"], theirs: Grid, grid: Grid, name: str, notes: list[str]
) -> Num[np.ndarray, "h2 w2"]:
    """Labels of another extent on the same grid, moved by whole pixels."""
    assert grid.transform is not None
    assert theirs.transform is not None
    a, b, x0, d, e, y0 = grid.transform
    ours, other = np.array([a, b, d, e]), np.array(theirs.transform)[[0, 1, 3, 4]]
    shift = np.linalg.inv(ours.reshape(2, 2)) @ [theirs.transform[2] - x0, theirs.transform[5] - y0]
    col, row = (int(v) for v in np.rint(shift))
    # A grid that drifts by less than a twentieth of a pixel over its whole extent is the same grid.
    drift = np.abs(ours - other).max() * max(values.shape) / max(np.abs(ours).max(), 1e-12)
    if drift > 0.05 or np.abs(shift - [col, row]).max() > 0.05:
        raise LabelError(
            f"{name} is on another grid than the scene: pixel {other[0]:g} x {other[3]:g} against {a:g} x {e:g}, shifted by "
            f"{shift[1]:.2f} rows and {shift[0]:.2f} columns. Warp it onto the scene's grid with nearest neighbour "
            "(gdalwarp -r near), or give the labels as polygons."
        )
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + values.shape[0], grid.height), min(col + values.shape[1], grid.width)
    if top >= bottom or left >= right:
        raise LabelError(
            f"{name} lies outside the scene: {row} rows and {col} columns away. Check that both belong together."
        )
    out = np.zeros(grid.shape, values.dtype)
    out[top:bottom, left:right] = values[top - row : bottom - row, left - col : right - col]
    if (values.shape != grid.shape or row or col) and (values > 0).sum() > (out > 0).sum():
        notes.append(f"{int((values > 0).sum() - (out > 0).sum())} labelled pixels of {name} lie outside the scene.")
    return out


def _same_crs(one: str, two: str) -> bool:
    from rasterio.crs import CRS

    return one == two or bool(CRS.from_wkt(one) == CRS.from_wkt(two))


def _crs_name(wkt: str) -> str:
    from rasterio.crs import CRS

    crs = CRS.from_wkt(wkt)
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else wkt.split('"')[1]
