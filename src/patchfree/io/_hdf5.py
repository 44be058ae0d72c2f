"""Opening HDF5 files (NetCDF4 is HDF5 too), and reading from them with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from patchfree.errors import SceneError
from patchfree.io._reader import unpacking


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading; every failure inside, such as a block that cannot be unpacked, is a `SceneError`.

    Raises:
        SceneError: the file is damaged, or lacks what is looked for in it.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except SceneError:
        raise
    except KeyError as error:
        raise SceneError(
            f"{path} lacks a part that products of its kind have ({str(error).strip(chr(34))}). "
            "It was changed by another program or is incomplete; take the file as it was delivered."
        ) from error
    except (OSError, RuntimeError, ValueError, TypeError) as error:  # the last two: text where a number must stand
        raise SceneError(
            f"{path}: reading the HDF5 file failed ({error}). It is damaged or truncated; copy it again."
        ) from error


def holds(path: Path, *members: str) -> bool:
    """True for an HDF5 file that has all of these groups or arrays; False for every other file, damaged ones included."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return all(member in file for member in members)
    except (OSError, RuntimeError):
        return False


def unpacking_bytes(array: h5py.Dataset) -> int:
    """Memory that a window of an array takes to unpack a large chunk of it; 0 where what is stored is read in parts.

    HDF5 unpacks one at a time, in all threads together, and keeps none that is as large.
    """
    filters = array.id.get_create_plist().get_nfilters()
    if array.chunks is None or filters == 0:
        return 0
    piece = prod(array.chunks) * array.dtype.itemsize
    # Beside it lies what is packed, or a copy between two filters (measured with deflate, lzf and shuffle).
    return unpacking(piece, piece if filters > 1 else min(piece, array.id.get_storage_size()))


def text(value: Any) -> str:  # noqa: ANN401 - HDF5 stores text as bytes, str, or an array with one of them
    """Text as Python's `str`, whatever way it is stored."""
    plain = np.ravel(value)[0] if isinstance(value, np.ndarray) else value
    return plain.decode("utf-8", "replace") if isinstance(plain, bytes) else str(plain)


def numbers(value: Any) -> list[float]:  # noqa: ANN401 - as h5py gives attributes
    """The numbers of an attribute or a small array."""
    return [float(v) for v in np.ravel(value)]
