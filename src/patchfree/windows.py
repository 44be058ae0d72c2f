"""Windows over a raster: pure integer geometry.

A raster is cut into cores that cover it once; each is read with a halo. Cores and halos start at multiples of the network's
coarsest stride, so that every feature map of a window lies on the scene's own.
"""

from __future__ import annotations

from collections.abc import Sequence

Window = tuple[slice, slice]
"""Rows and columns, both with a start and a stop."""


def cover(shape: tuple[int, int], size: int, *, align: int = 1) -> list[Window]:
    """Cores that cover a raster once, row by row.

    Args:
        shape: rows and columns of the raster.
        size: rows and columns of a core, a multiple of `align`; the last ones may be smaller.
        align: cores start at multiples of this.

    Example:
        >>> [(r.start, r.stop, c.start, c.stop) for r, c in cover((5, 3), 4, align=2)]
        [(0, 4, 0, 3), (4, 5, 0, 3)]
    """
    if size < 1 or size % align:
        raise ValueError(f"Got size={size}; need a positive multiple of {align}.")
    starts = [range(0, length, size) for length in shape]
    return [
        (slice(row, min(row + size, shape[0])), slice(col, min(col + size, shape[1])))
        for row in starts[0]
        for col in starts[1]
    ]


def expand(core: Window, halo: int, shape: tuple[int, int], *, align: int = 1) -> Window:
    """A core with at least `halo` pixels around it, as far as the raster goes."""
    wide = -(-halo // align) * align
    rows, cols = (
        slice(max(0, part.start - wide), min(length, part.stop + wide))
        for part, length in zip(core, shape, strict=True)
    )
    return rows, cols


def inside(core: Window, window: Window, *, stride: int = 1) -> Window:
    """Where a core lies in its window, in pixels of a map of this stride."""
    rows, cols = (
        slice((part.start - around.start) // stride, -(-(part.stop - around.start) // stride))
        for part, around in zip(core, window, strict=True)
    )
    return rows, cols


def window_shape(window: Window) -> tuple[int, int]:
    """Rows and columns of a window."""
    rows, cols = window
    return rows.stop - rows.start, cols.stop - cols.start


def shifted(place: Window, window: Window) -> Window:
    """A place in a window, on the raster that the window lies on."""
    rows, cols = (
        slice(part.start + around.start, part.stop + around.start) for part, around in zip(place, window, strict=True)
    )
    return rows, cols


def at_stride(window: Window, stride: int) -> Window:
    """The window in pixels of a map of this stride."""
    rows, cols = (slice(part.start // stride, -(-part.stop // stride)) for part in window)
    return rows, cols


def shelves(
    shapes: Sequence[tuple[int, int]], *, gap: int, align: int = 1
) -> tuple[tuple[Window, ...], tuple[int, int]]:
    """Places for several rasters on one canvas, side by side on shelves, and the canvas's rows and columns.

    Args:
        shapes: rows and columns of each.
        gap: least rows and columns between two.
        align: each starts at multiples of this.

    Example:
        >>> windows, canvas = shelves([(4, 6), (3, 2), (5, 3)], gap=1)
        >>> [(r.start, r.stop, c.start, c.stop) for r, c in windows], canvas
        ([(0, 4, 0, 6), (5, 8, 0, 2), (5, 10, 3, 6)], (10, 6))
    """

    def up(place: int) -> int:
        return -(-place // align) * align

    area = sum((height + gap) * (width + gap) for height, width in shapes)
    wide = max(int(area**0.5), *(width for _, width in shapes))
    top, left, bottom, found = 0, 0, 0, []
    for height, width in shapes:
        if left and left + width > wide:
            top, left = up(bottom + gap), 0
        found.append((slice(top, top + height), slice(left, left + width)))
        left, bottom = up(left + width + gap), max(bottom, top + height)
    return tuple(found), (bottom, max(cols.stop for _, cols in found))
