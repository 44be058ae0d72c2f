"""NumPy files: `.npy` with one array, `.npz` with several."""

from __future__ import annotations

import zipfile
import zlib
from threading import Lock

import numpy as np
from jaxtyping import Shaped

from patchfree.errors import SceneError
from patchfree.io._flat import read_part
from patchfree.io._reader import Description, Reader, Window, bands_first, check_dtype, layout, part_of_axes
from patchfree.io._variables import Variable, pick_variable
from patchfree.scene import Bands, Grid

# NumPy reads a header as Python text, which before CPython 3.11.8 breaks in two threads at once (gh-106905).
HEADERS = Lock()


class Numpy(Reader):
    """A bare array: rows, columns, bands unless `axes` says otherwise."""

    named_variables = True

    def _array(self) -> tuple[str | None, Shaped[np.ndarray, ...]]:
        try:
            if self.path.suffix.lower() == ".npy":
                with HEADERS:
                    return None, np.load(self.path, mmap_mode="r", allow_pickle=False)
            with HEADERS, self.path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                variables = [Variable(name, archive[name].shape, archive[name].dtype) for name in archive.files]
                name = pick_variable(self.path, variables, self.variable, self.layers)
                return name, archive[name]
        except SceneError:
            raise
        except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            if "Object arrays" in str(error) or "Python objects" in str(error):
                raise SceneError(
                    f"{self.path} holds Python objects, not numbers; save a plain array with numpy.save."
                ) from None
            raise SceneError(f"{self.path} cannot be read as a NumPy file: {error}. Save it again.") from error

    def describe(self) -> Description:
        """Shape and type of the array."""
        name, array = self._array()
        check_dtype(self.path, array.dtype)
        height, width, count, first = layout(self.path, array.shape, self.axes, "hwb")
        notes = [] if array.ndim == 2 else [_axes_note(array.shape, first)]
        return Description(
            format="NumPy",
            dtype=array.dtype,
            bands=Bands(tuple(range(1, count + 1)), count),
            grid=Grid(height, width),
            notes=tuple(notes),
            details={"variable": name} if name else {},
        )

    @property
    def in_one_piece(self) -> bool:
        """An archive packs each array as a whole."""
        return self.path.suffix.lower() == ".npz"

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers; of `.npy` only the window is read from disk."""
        _, array = self._array()
        first = layout(self.path, array.shape, self.axes, "hwb")[3]
        if window is None or not isinstance(array, np.memmap):
            return bands_first(np.asarray(array), first, window)
        cut = part_of_axes(window, array.ndim, first)
        turned = not array.flags.c_contiguous  # Fortran's order: the first axis runs fastest
        shape, axes = (array.shape[::-1], cut[::-1]) if turned else (array.shape, cut)
        part = read_part(self.path, array.dtype, shape, array.offset, axes)
        return bands_first(part.T if turned else part, first, None)


def _axes_note(shape: tuple[int, ...], first: bool) -> str:
    axes = "bands, rows, columns" if first else "rows, columns, bands"
    return f"The array {shape} was taken as ({axes}); --axes says otherwise."
