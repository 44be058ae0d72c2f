"""A part of an array that lies in a file as plain numbers.

Not through a memory map: mapped pages count as the program's memory, whole pages of the file come with a few of its
columns, and a file that is cut short while it is mapped kills the program.
"""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from patchfree.errors import SceneError


def read_part(
    path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, cut: tuple[slice, ...]
) -> Shaped[np.ndarray, ...]:
    """Read a part of an array, and nothing else.

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
    pieces = out.reshape(-1, prod(sizes[inner:]))
    outer = zip(bounds[:inner], strides[:inner], strict=True)
    places = product(*(range(start * step, stop * step, step) for (start, stop), step in outer))
    with path.open("rb", buffering=0) as file:
        for piece, place in zip(pieces, places, strict=True):
            file.seek(offset + sum(place) + bounds[inner][0] * strides[inner])
            wanted = piece.view(np.uint8).data
            while wanted:
                got = file.readinto(wanted)
                if not got:
                    raise SceneError(f"{path} is truncated: it ends within the pixels. Copy the file again.")
                wanted = wanted[got:]
    return out
