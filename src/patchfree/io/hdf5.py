"""Plain HDF5 and NetCDF4 files: a named array, or the only one that can be a scene."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from patchfree.io._cf import NamedArrays
from patchfree.io._hdf5 import open_hdf5, unpacking_bytes
from patchfree.io._named import Array

OTHERS = (".kea", ".bag")  # HDF5 inside, and formats of their own that GDAL reads
UNSET = "This is a netCDF dimension but not a netCDF variable"  # how NetCDF4 marks a dimension without coordinates


def is_hdf5(path: Path) -> bool:
    """True for HDF5 by its first bytes, damaged files included, so that the message speaks of HDF5."""
    return path.is_file() and path.suffix.lower() not in OTHERS and bool(h5py.is_hdf5(path))


class Hdf5(NamedArrays):
    """An array of an HDF5 or NetCDF4 file."""

    def format_name(self) -> str:
        """NetCDF4 where the file says so."""
        with open_hdf5(self.path) as file:
            return "NetCDF4" if "_NCProperties" in file.attrs or "Conventions" in file.attrs else "HDF5"

    @contextmanager
    def arrays(self) -> Iterator[dict[str, Array]]:
        """Every array of the file, in all groups."""
        with open_hdf5(self.path) as file:
            found: dict[str, Array] = {}

            def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
                if isinstance(item, h5py.Dataset) and not _is_empty(item):
                    found[name] = Array(
                        name,
                        item.shape,
                        item.dtype,
                        dict(item.attrs),
                        _dimensions(item),
                        item.__getitem__,
                        unpacking_bytes(item),
                    )

            file.visititems(add)
            yield found


def _is_empty(item: h5py.Dataset) -> bool:
    """True for arrays without values, and for dimensions that have a length only."""
    name = item.attrs.get("NAME", b"")
    return item.shape is None or (
        isinstance(name, bytes | np.bytes_) and name.decode(errors="replace").startswith(UNSET)
    )


def _dimensions(item: h5py.Dataset) -> tuple[str, ...]:
    """Names of the axes: of the attached scales (NetCDF4), or their labels."""
    if item.is_scale and len(item.shape) == 1:
        return (item.name.rsplit("/", 1)[-1],)
    return tuple((axis[0].name.rsplit("/", 1)[-1] if len(axis) else axis.label) or "" for axis in item.dims)
