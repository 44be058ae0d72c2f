"""Map coordinates of labels in the scene's coordinate system."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from rasterio._err import CPLE_BaseError  # warp lets PROJ's errors through as they are
from rasterio.errors import RasterioError
from rasterio.warp import transform

from patchfree.errors import LabelError


def warp(points: Float[np.ndarray, "n 2"], source: str, target: str, name: str) -> Float[np.ndarray, "n 2"]:
    """Points (x, y or longitude, latitude) in another coordinate system.

    Raises:
        LabelError: no place on Earth has these coordinates.
    """
    try:
        moved = np.column_stack(transform(source, target, points[:, 0], points[:, 1]))
        if np.isfinite(moved).all():
            return moved
        reason = "infinite result"
    except (CPLE_BaseError, RasterioError) as error:
        reason = str(error)
    x, y = points[np.abs(points).sum(1).argmax()]
    raise LabelError(
        f"The coordinates of {name} cannot be moved from {source.split(',')[0]} to the scene's coordinate system "
        f"({reason}); the largest are {x:g}, {y:g}. Check that they are in the coordinate system that they claim."
    )
