"""MATLAB files: v5 to v7 through scipy, v7.3 (HDF5, axes reversed) through h5py."""

from __future__ import annotations

import warnings
import zlib
from math import prod

import h5py
import numpy as np
import scipy.io
from jaxtyping import Shaped
from scipy.io.matlab import MatReadError

from patchfree.errors import SceneError
from patchfree.io._hdf5 import open_hdf5, unpacking_bytes
from patchfree.io._reader import (
    Description,
    Reader,
    Window,
    bands_first,
    check_dtype,
    in_nanometres,
    layout,
    part_of_axes,
)
from patchfree.io._variables import Variable, pick_variable
from patchfree.scene import Bands, Grid

WAVELENGTH_NAMES = ("wavelength", "wavelengths", "wavelengths_nm", "wavelength_nm", "lambda", "wl")
MATLAB_DTYPES = {"single": "f4", "double": "f8", "logical": "u1", "char": "U1", "cell": "O", "struct": "O"}
REAL_IMAG = ("real", "imag")  # how MATLAB stores complex numbers in HDF5
COMPLEX = np.dtype("complex128")


class Matlab(Reader):
    """An array of a MATLAB file, found by its shape or named."""

    named_variables = True

    def _is_hdf5(self) -> bool:
        return bool(h5py.is_hdf5(self.path))

    def _variables(self) -> list[Variable]:
        try:
            if self._is_hdf5():
                with h5py.File(self.path) as file:
                    return [
                        Variable(name, item.shape[::-1], COMPLEX if item.dtype.names == REAL_IMAG else item.dtype)
                        for name, item in file.items()
                        if isinstance(item, h5py.Dataset)
                    ]
            return [
                Variable(name, tuple(shape), np.dtype(MATLAB_DTYPES.get(kind, kind if "int" in kind else "O")))
                for name, shape, kind in scipy.io.whosmat(self.path)
            ]
        except (ValueError, OSError, TypeError, NotImplementedError, MatReadError, zlib.error) as error:
            raise SceneError(
                f"{self.path} cannot be read as a MATLAB file: {error}. It is damaged or of another format; copy it again."
            ) from error

    @property
    def in_one_piece(self) -> bool:
        """Versions 5 to 7 pack each array as a whole."""
        return not self._is_hdf5()

    @property
    def kept_bytes(self) -> int:
        """What it takes to unpack large chunks; of versions 5 to 7 `Kept` says it."""
        if not self._is_hdf5():
            return 0
        name = pick_variable(self.path, self._variables(), self.variable, self.layers)
        with open_hdf5(self.path) as file:
            return unpacking_bytes(file[name])

    def _load(self, name: str, cut: tuple[slice, ...] = ()) -> Shaped[np.ndarray, ...]:
        """An array, or a part of it."""
        try:
            if self._is_hdf5():
                with h5py.File(self.path) as file:
                    data = file[name][cut[::-1]]
                    if data.dtype.names == REAL_IMAG:
                        return (data["real"] + 1j * data["imag"]).T
                    return np.asarray(data).T
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", scipy.io.matlab.MatReadWarning)
                return np.asarray(scipy.io.loadmat(self.path, variable_names=[name])[name])[cut]
        except (ValueError, OSError, TypeError, KeyError, EOFError, MatReadError, zlib.error) as error:
            raise SceneError(
                f"{self.path}: reading the variable {name!r} failed ({error}). The file is probably truncated; copy it again."
            ) from error

    def describe(self) -> Description:
        """Name, shape and type of the array, and wavelengths if a variable of a usual name fits."""
        variables = self._variables()
        name = pick_variable(self.path, variables, self.variable, self.layers)
        found = next(v for v in variables if v.name == name)
        check_dtype(self.path, found.dtype)
        height, width, count, first = layout(self.path, found.shape, self.axes, "hwb")
        notes = []
        if self.variable is None:
            notes.append(f"Variable {name!r} {found.shape} was chosen by its shape.")
        wavelengths = None
        for variable in variables:
            if variable.name.lower() in WAVELENGTH_NAMES and prod(variable.shape) == count > 1:
                given = np.ravel(self._load(variable.name)).astype(float).tolist()
                wavelengths, note = in_nanometres(given, None)
                notes += [note] if note else []
        return Description(
            format="MATLAB v7.3" if self._is_hdf5() else "MATLAB",
            dtype=found.dtype,
            bands=Bands(tuple(range(1, count + 1)), count, wavelengths),
            grid=Grid(height, width),
            notes=tuple(notes),
            details={"variable": name, "bands_first": first},
        )

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers; of version 7.3 only the window is read from disk."""
        variables = self._variables()
        name = pick_variable(self.path, variables, self.variable, self.layers)
        shape = next(v.shape for v in variables if v.name == name)
        first = layout(self.path, shape, self.axes, "hwb")[3]
        if window is None:
            return bands_first(self._load(name), first, None)
        cut = part_of_axes(window, len(shape), first)
        return bands_first(self._load(name, cut), first, None)
