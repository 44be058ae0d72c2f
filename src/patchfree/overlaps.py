"""Ground that several scenes show: what trains in one of them may not test in another.

Flight lines overlap, and a scene may be listed twice. On the canvas of a series such pixels lie apart, so they are looked for
by their map position.

Dimension key: h rows, w columns, n pixels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from affine import Affine
from jaxtyping import Bool, Float64, Int64
from rasterio._err import CPLE_BaseError  # warp lets PROJ's errors through as they are
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform
from scipy.spatial import cKDTree

from patchfree.errors import SplitError
from patchfree.scene import Grid, Scene
from patchfree.split import Split
from patchfree.windows import shifted


def apart_on_the_ground(split: Split, scene: Scene) -> Split:
    """The split without test pixels on ground that trains in another scene, nor nearer to it than the split's buffer.

    Likewise no validation pixel lies on ground that trains in another scene. Scenes without a map position are taken to lie apart.

    Args:
        split: of all scenes on the canvas.
        scene: the scenes on their canvas.

    Raises:
        SplitError: no test pixel is left of those that there were.
    """
    placed = [i for i, each in enumerate(scene.scenes) if each.ground.transform is not None and each.ground.crs]
    if len(placed) < 2:
        return split
    buffer = float(split.protocol.get("buffer_px", 0))
    test, val = split.test.copy(), split.val.copy()
    for other in placed:
        _, learnt = _spots(scene, other, split.train | split.val)
        _, trained = _spots(scene, other, split.train)
        for one in placed:
            if one != other:
                test.flat[_near(scene, one, test, other, learnt, buffer)] = False
                val.flat[_near(scene, one, val, other, trained, 0.0)] = False
    lost, less = int((split.test & ~test).sum()), int((split.val & ~val).sum())
    if not lost and not less:
        return split
    if split.test.any() and not test.any():
        raise SplitError(
            "Every test pixel lies on ground that trains in another scene of the list. Let scenes that overlap be for the same use, or "
            "list a scene once."
        )
    note = f"The scenes overlap: {lost:,} test and {less:,} validation pixels on ground that trains in another scene, or nearer to it than the buffer, are not used."
    return dataclasses.replace(split, test=test, val=val, notes=(*split.notes, note))


def _spots(
    scene: Scene, number: int, mask: Bool[np.ndarray, "h w"]
) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, "n 2"]]:
    """The masked pixels of one of the scenes: their places on the canvas, and their centres in rows and columns of that scene."""
    one, window = scene.scenes[number], scene.windows[number]
    whole = (slice(0, one.grid.height), slice(0, one.grid.width))
    places = one.cut.places if one.cut else ((whole, whole),)
    flat, centres = [], []
    for part, there in places:
        on_canvas = shifted(part, window)
        rows, cols = np.nonzero(mask[on_canvas])
        flat.append((rows + on_canvas[0].start) * mask.shape[1] + cols + on_canvas[1].start)
        centres.append(np.stack([rows + there[0].start + 0.5, cols + there[1].start + 0.5], 1))
    return np.concatenate(flat), np.concatenate(centres)


def _near(
    scene: Scene,
    one: int,
    mask: Bool[np.ndarray, "h w"],
    other: int,
    learnt: Float64[np.ndarray, "n 2"],
    buffer: float,
) -> Int64[np.ndarray, " m"]:
    """Places on the canvas of masked pixels of one scene whose ground, or ground within the buffer, is learnt in another."""
    flat, centres = _spots(scene, one, mask)
    if not len(flat) or not len(learnt):
        return flat[:0]
    ours, theirs = scene.scenes[one].ground, scene.scenes[other].ground
    found = _moved(learnt, theirs, ours)
    here = np.isfinite(found).all(1)
    found = found[here]
    if not len(found):
        return flat[:0]
    corner = learnt[here][:1]
    size = np.nanmax(np.abs(_moved(corner + 0.5, theirs, ours) - _moved(corner - 0.5, theirs, ours)))
    reach = buffer + (1 + size) / 2  # pixels that touch share ground, too, in part
    distance, _ = cKDTree(found).query(centres, p=np.inf, distance_upper_bound=reach - 1e-6)
    return flat[np.isfinite(distance)]


def _moved(centres: Float64[np.ndarray, "n 2"], source: Grid, target: Grid) -> Float64[np.ndarray, "n 2"]:
    """Rows and columns of one grid as rows and columns of another; not finite where there is no way."""
    assert source.transform is not None
    assert target.transform is not None
    places: Any = (centres[:, 1], centres[:, 0])  # the types of `affine` know of single numbers only
    places = Affine(*source.transform) @ places
    here, there = CRS.from_wkt(source.crs), CRS.from_wkt(target.crs)
    if here != there:
        try:
            places = transform(here, there, *places)
        except (CPLE_BaseError, RasterioError):  # a local system, or a place that the other cannot tell
            return np.full(centres.shape, np.nan)
    cols, rows = ~Affine(*target.transform) @ tuple(np.asarray(each) for each in places)
    return np.stack([rows, cols], 1)
