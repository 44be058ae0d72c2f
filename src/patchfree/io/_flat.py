"""A part of an array that lies in a file as plain numbers.

Not through a memory map: mapped pages count as the program's memory, whole pages of the file come with a few of its
columns, and a file that is cut short while it is mapped kills the program.
"""

from __future__ import annotations

from io import FileIO
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from patchfree.errors import SceneError

SMALL_GAP = 2**14  # bytes that are read in the time that it takes to begin another read
BUFFER = 2**22


def read_part(
    path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, cut: tuple[slice, ...]
) -> Shaped[np.ndarray, ...]:
    """Read a part of an array, and nothing else but small gaps within it.

    Args:
        path: the file.
        dtype: type of the numbers, byte order included.
        shape: of the whole array; its last axis runs fastest.
        offset: bytes before the array.
        cut: the wanted part of each axis, without steps.

    Raises:
        SceneError: the file ends too early.
    """
    bounds = [part.indices(length)[:2] for part, length in zip(cut, shape, strict=True)]
    sizes = [max(0, stop - start) for start, stop in bounds]
    strides = [dtype.itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape))]
    inner = len(shape) - 1  # this axis and those after it lie in one piece
    while inner > 0 and sizes[inner] == shape[inner]:
        inner -= 1
    out = np.empty(sizes, dtype)
    if not out.size:
        return out
    count, step = (sizes[inner - 1], strides[inner - 1]) if inner else (1, 0)
    # In groups of so many pieces that lie `step` bytes apart.
    pieces = out.reshape(-1, count, prod(sizes[inner:])).view(np.uint8)
    size = pieces.shape[-1]
    at_once = max(1, min(count, BUFFER // step)) if 0 < step - size <= SMALL_GAP else 1
    begin = offset + sum(start * stride for (start, _), stride in zip(bounds, strides, strict=True))
    apart = zip(sizes[: max(inner - 1, 0)], strides, strict=False)  # the axes above those of a group
    outer = product(*(range(0, n * stride, stride) for n, stride in apart))
    with path.open("rb", buffering=0) as file:
        for group, place in zip(pieces, outer, strict=True):
            for first in range(0, count, at_once):
                wanted = group[first : first + at_once]
                file.seek(begin + sum(place) + first * step)
                if len(wanted) == 1:
                    _fill(wanted[0], file)
                    continue
                whole = np.empty((len(wanted), step), np.uint8)
                _fill(whole.reshape(-1)[: size - step], file)  # the gap after the last piece may lie beyond the file
                wanted[:] = whole[:, :size]
    return out


def _fill(part: Shaped[np.ndarray, " n"], file: FileIO) -> None:
    """Read the next bytes of a file.

    Raises:
        SceneError: it ends too early.
    """
    left = part.data
    while left:
        got = file.readinto(left)
        if not got:
            raise SceneError(f"{file.name} is truncated: it ends within the pixels. Copy the file again.")
        left = left[got:]
