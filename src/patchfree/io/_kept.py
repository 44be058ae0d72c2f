"""Windows of a file that can only be read as a whole: it is read once, at the first window, and kept."""

from __future__ import annotations

from math import prod
from threading import Lock

import numpy as np
from jaxtyping import Bool, Shaped

from patchfree.io._reader import Description, Reader, Window


class Kept(Reader):
    """A reader that holds what another one has read, for windows.

    Args:
        reader: the other one. A scene that is wanted as a whole is its answer, and is not kept.
    """

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader.path, variable=reader.variable, axes=reader.axes, layers=reader.layers)
        self._reader = reader
        self._stored: Shaped[np.ndarray, "c h w"] | None = None
        self._one_at_a_time = Lock()  # or each of the threads that read windows would read the whole file

    @property
    def in_one_piece(self) -> bool:
        """True: that is why it is kept."""
        return True

    @property
    def kept_bytes(self) -> int:
        """All stored numbers."""
        about = self.describe()
        return prod((len(about.bands), *about.grid.shape)) * about.dtype.itemsize

    def describe(self) -> Description:
        """As the other reader has it."""
        return self._reader.describe()

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers."""
        if window is None:
            return self._reader.read()
        with self._one_at_a_time:
            if self._stored is None:
                self._stored = self._reader.read()
        return self._stored[:, *window]

    def outside(self, window: Window | None = None) -> Bool[np.ndarray, "h w"] | None:
        """As the other reader has it."""
        return self._reader.outside(window)

    def quality(self, window: Window | None = None) -> dict[str, Bool[np.ndarray, "h w"]]:
        """As the other reader has it."""
        return self._reader.quality(window)
