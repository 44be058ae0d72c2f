"""Feature maps on disk: plain files of numbers, written and read window by window.

Read and not mapped: mapped pages count as the program's memory. Each access opens the file anew, so that threads share no
position in it. Rows, columns, channels, so that a row of a window lies in one piece, and as the network's convolutions like it.

Dimension key: h rows, w columns, c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from patchfree.errors import OutputError
from patchfree.windows import Window


@dataclass(frozen=True)
class MapFile:
    """An array (h, w, c) in a file; what was never written is 0."""

    path: Path
    shape: tuple[int, int, int]
    dtype: str

    def create(self) -> None:
        """Make the file at its full size, without taking up the disk's space yet; one that is there stays.

        Raises:
            OutputError: it cannot be made.
        """
        try:
            with self.path.open("ab") as file:
                file.truncate(int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize)
        except OSError as error:
            raise self._failed(error) from error

    def write(self, window: Window, values: Shaped[np.ndarray, "h w c"]) -> None:
        """Write a window.

        Raises:
            OutputError: the disk is full.
        """
        rows, cols = window
        data = np.ascontiguousarray(values, self.dtype)
        if data.shape != (rows.stop - rows.start, cols.stop - cols.start, self.shape[2]):
            raise ValueError(f"Got {data.shape} for the window {window} of {self.shape}.")
        try:
            with self.path.open("r+b") as file:
                for place, line in zip(self._places(rows, cols.start), data, strict=True):
                    file.seek(place)
                    file.write(memoryview(line).cast("B"))
        except OSError as error:
            raise self._failed(error) from error

    def read(self, window: Window) -> Shaped[np.ndarray, "h w c"]:
        """Read a window."""
        rows, cols = window
        out = np.empty((rows.stop - rows.start, cols.stop - cols.start, self.shape[2]), self.dtype)
        with self.path.open("rb") as file:
            for place, line in zip(self._places(rows, cols.start), out, strict=True):
                wanted = memoryview(line).cast("B")
                file.seek(place)
                if file.readinto(wanted) != len(wanted):
                    raise OutputError(f"{self.path} is shorter than it should be. Delete its folder and start again.")
        return out

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)

    def _places(self, rows: slice, col: int) -> range:
        """Where each of these rows has this column, in bytes from the start of the file."""
        pixel = self.shape[2] * np.dtype(self.dtype).itemsize
        line = self.shape[1] * pixel
        return range(rows.start * line + col * pixel, rows.stop * line + col * pixel, line)

    def _failed(self, error: OSError) -> OutputError:
        size = float(np.prod(self.shape, dtype=float) * np.dtype(self.dtype).itemsize)
        shown = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
        return OutputError(
            f"{self.path} could not be written: {error.strerror or error}. It grows to {shown}. Free some space, or choose another "
            "place with --out, and run the same command again: the finished windows are kept."
        )
