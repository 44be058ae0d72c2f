"""An array inside a file that holds several, with its name, its axes and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchfree.io._hdf5 import numbers


@dataclass(frozen=True)
class Array:
    """An array in a file.

    Attributes:
        name: path inside the file, groups apart by "/", without one in front.
        shape: sizes.
        dtype: type of the stored numbers.
        attributes: what is said of it.
        dimensions: names of its axes, "" for one without a name.
        load: reads a part, given a slice for each axis.
        unpacking: memory that reading a part takes beside it, where the pieces are large.
        note: what a user should know of its state, found out when it is asked for; "" for nothing.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any]
    dimensions: tuple[str, ...]
    load: Callable[[tuple[slice, ...]], np.ndarray]
    unpacking: int = 0
    note: Callable[[], str] = str

    @property
    def last(self) -> str:
        """The name without its groups, in lower case."""
        return self.name.rsplit("/", 1)[-1].lower()

    def values(self) -> list[float]:
        """All numbers; for short arrays."""
        return numbers(self.load((slice(None),) * len(self.shape)))


def near(array: Array, arrays: dict[str, Array]) -> Iterator[Array]:
    """The arrays of the same group, then those of the groups around it, as names are looked up in NetCDF."""
    group = array.name.split("/")[:-1]
    for depth in range(len(group), -1, -1):
        for name, other in arrays.items():
            if name.split("/")[:-1] == group[:depth]:
                yield other
