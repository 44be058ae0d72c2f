"""NetCDF files of the classic and the 64-bit-offset format, as models and older programs write them (SciPy reads them)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy.io import netcdf_file

from patchfree.errors import SceneError
from patchfree.io._cf import NamedArrays
from patchfree.io._named import Array

MAGIC = (b"CDF\x01", b"CDF\x02")


def is_netcdf3(path: Path) -> bool:
    """True by the first bytes, of damaged files too."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in MAGIC


class NetCDF3(NamedArrays):
    """An array of a NetCDF file that is no HDF5 inside."""

    def format_name(self) -> str:
        """The name people know."""
        return "NetCDF classic"

    @contextmanager
    def arrays(self) -> Iterator[dict[str, Array]]:
        """Every array of the file."""
        try:
            with netcdf_file(self.path, "r", mmap=True, maskandscale=False) as file:
                yield {name: _array(name, file) for name in file.variables}
        except SceneError:
            raise
        # What a damaged header raises depends on where it breaks off.
        except (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as error:
            raise SceneError(
                f"{self.path}: reading the NetCDF file failed ({error or type(error).__name__}). It is damaged or truncated; copy it again."
            ) from error


def _array(name: str, file: netcdf_file) -> Array:
    """An array, found anew for each part: one that is held keeps the file in memory after it is closed."""
    variable = file.variables[name]
    return Array(
        name,
        tuple(variable.shape),
        variable.data.dtype,
        dict(variable._attributes),  # SciPy has no public way to list them
        tuple(variable.dimensions),
        lambda cut: np.array(file.variables[name].data[cut]),
    )
