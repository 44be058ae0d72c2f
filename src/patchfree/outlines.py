"""The areas of a class map as polygons, strip by strip: neither the map nor its polygons need fit in memory.

Every strip is traced by itself. An area that reaches the edge between two strips waits until it is known whole; then its
parts are united. Coordinates are whole numbers of pixels, so that nothing is rounded.

Dimension key: h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from jaxtyping import Int, Integer, UInt8, UInt16
from rasterio.features import rasterize, shapes, sieve
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Classes = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
Outlines = tuple[np.ndarray, Int[np.ndarray, " _"]]
"""Polygons, and the class value of each."""

STRIP_PIXELS = 4_000_000  # traced at a time
MOST_SIEVES = 100  # each lets the smallest areas grow; in practice a few are enough
LARGEST_AREA = 2**31 - 1  # pixels that GDAL can count


def outlines(values: Classes, *, rows: int | None = None) -> Iterator[tuple[np.ndarray, Int[np.ndarray, " _"], bool]]:
    """All areas of a class map whose pixels share edges, in batches; 0 gives none.

    Args:
        values: class values; a `numpy.memmap` is read strip by strip.
        rows: of a strip; None for as many as make `STRIP_PIXELS`.

    Yields:
        Polygons in pixel coordinates (column, row), the class value of each, and whether these are the last.
    """
    import shapely

    rows = rows or max(1, STRIP_PIXELS // values.shape[1])
    waiting = _Waiting(np.zeros(values.shape[1], np.int32))
    for top in range(0, len(values), rows):
        strip = np.asarray(values[top : top + rows])
        bottom = top + len(strip)
        areas, classes = _traced(shapely, strip, top)
        _, low, _, high = shapely.bounds(areas).reshape(-1, 4).T
        open_ = ((low == top) & (top > 0)) | ((high == bottom) & (bottom < len(values)))
        last = bottom == len(values)
        edges = top, None if last else bottom - 1
        joined, kinds = waiting.go_on(shapely, areas[open_], classes[open_], edges)
        yield np.concatenate([areas[~open_], joined]), np.concatenate([classes[~open_], kinds]), last


def merge_small(values: Classes, least: int, *, folder: Path | None = None) -> Classes:
    """Class values with every area of fewer than `least` pixels merged into its largest neighbour; 0 stays as it is.

    An area stays where it has no neighbour of this size: all of them, where `least` is more than the map holds.

    Args:
        values: class values.
        least: pixels.
        folder: where to keep the result and what is between; None for the memory.
    """
    if least <= 1:
        return values
    least = min(least, values.size, LARGEST_AREA)  # GDAL refuses more than the map holds
    mapped = values  # where it is not 0
    if values.dtype != np.uint8:  # GDAL takes a mask of this type only
        mapped = _room(folder, "mapped", values.shape, np.uint8)
        for part in _parts(values):
            mapped[part] = values[part] > 0
    for turn in range(MOST_SIEVES):
        # One pass leaves a small area alone if all of its neighbours are small too; merged, they may reach the size.
        merged = _room(folder, f"merged{turn % 2}", values.shape, values.dtype)
        sieve(values, least, out=merged, mask=mapped, connectivity=4)
        same = True
        for part in _parts(values):
            merged[part] *= mapped[part] > 0
            same &= np.array_equal(merged[part], values[part])
        if same:
            break
        values = merged
    return values


def file_of(path: Path, shape: tuple[int, int], dtype: Any) -> np.memmap[Any, Any]:  # noqa: ANN401 - a type of numpy
    """An array in a file, full of 0. The disk's space is taken now: a mapped page that finds none ends the program.

    Raises:
        OSError: the disk is full.
    """
    line = bytes(shape[1] * np.dtype(dtype).itemsize)
    with path.open("wb") as file:
        for _ in range(shape[0]):
            file.write(line)
    return np.memmap(path, dtype, "r+", shape=shape)


@dataclass
class _Waiting:
    """Areas that reach the lower edge of what is traced: the parts of each, and which one lies under each column."""

    above: Integer[np.ndarray, " w"]  # 0 for none, else the number of the area, from 1
    parts: list[list[Any]] = field(default_factory=list)
    classes: Int[np.ndarray, " _"] = field(default_factory=lambda: np.zeros(0, np.int64))

    def go_on(
        self,
        shapely: Any,  # noqa: ANN401 - loaded on use
        areas: np.ndarray,
        classes: Int[np.ndarray, " _"],
        edges: tuple[int, int | None],
    ) -> Outlines:
        """Join the areas of the next strip that reach its first or last row; gives what is whole now.

        Args:
            shapely: the package.
            areas: polygons of the strip.
            classes: class value of each.
            edges: the strip's first row, and its last one if others follow.
        """
        before = len(self.parts)
        parts = [*self.parts, *([area] for area in areas)]
        kinds = np.concatenate([self.classes, classes])
        first, last = (_row(areas, row, len(self.above), before) for row in edges)
        touching = (self.above > 0) & (first > 0)
        one, two = self.above[touching] - 1, first[touching] - 1
        joined = kinds[one] == kinds[two]
        links = coo_array((np.ones(joined.sum(), np.int8), (one[joined], two[joined])), shape=(len(parts),) * 2)
        _, group = connected_components(links, directed=False)
        groups: dict[int, list[int]] = {}
        for number, of in enumerate(group.tolist()):
            groups.setdefault(of, []).append(number)
        goes_on = set(group[last[last > 0] - 1].tolist())
        done, kept = ([members for of, members in groups.items() if (of in goes_on) is on] for on in (False, True))
        renamed = np.zeros(len(parts) + 1, np.int32)
        for number, members in enumerate(kept, 1):
            renamed[np.add(members, 1)] = number
        self.above = renamed[last]
        self.parts = [[part for number in members for part in parts[number]] for members in kept]
        self.classes = kinds[[members[0] for members in kept]] if kept else kinds[:0]
        whole = [_united(shapely, [part for number in members for part in parts[number]]) for members in done]
        return _array(whole), kinds[[members[0] for members in done]] if done else kinds[:0]


def _traced(shapely: Any, strip: Classes, top: int) -> Outlines:  # noqa: ANN401 - loaded on use
    areas, classes = [], []
    for shape, value in shapes(strip, mask=strip > 0, connectivity=4, transform=Affine.translation(0, top)):
        areas.append(shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]))
        classes.append(int(value))
    return _array(areas), np.array(classes, np.int64)


def _row(areas: np.ndarray, row: int | None, width: int, before: int) -> Integer[np.ndarray, " w"]:
    """The number of the area in each column of a row, counted on from those before; 0 for none."""
    if row is None or not len(areas):
        return np.zeros(width, np.int32)
    numbered = zip(areas, range(before + 1, before + 1 + len(areas)), strict=True)
    burnt: np.ndarray = rasterize(numbered, (1, width), transform=Affine.translation(0, row), dtype="int32")
    return burnt[0]


def _united(shapely: Any, parts: list[Any]) -> Any:  # noqa: ANN401 - loaded on use
    """One polygon of its parts, without the corners that the edges between strips have left on straight lines."""
    return parts[0] if len(parts) == 1 else shapely.simplify(shapely.union_all(parts), 0)


def _array(polygons: list[Any]) -> np.ndarray:
    found = np.empty(len(polygons), object)
    found[:] = polygons
    return found


def _room(folder: Path | None, name: str, shape: tuple[int, int], dtype: Any) -> np.ndarray:  # noqa: ANN401
    return np.zeros(shape, dtype) if folder is None else file_of(folder / name, shape, dtype)


def _parts(values: Classes) -> Iterator[slice]:
    rows = max(1, STRIP_PIXELS // values.shape[1])
    return (slice(top, top + rows) for top in range(0, len(values), rows))
