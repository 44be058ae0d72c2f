"""PRISMA L2D (`.he5`): geocoded surface reflectance of the Italian Space Agency.

Two cubes, VNIR and SWIR, lie in the file as rows, bands, columns, longest wavelength first; here they come as one, shortest
wavelength first. Everything else, wavelengths included, stands in the attributes of the file's root.

Sources: PRISMA Products Specification Document, issue 2.3 (names, scaling); docs/products/prisma.md says what else was used,
and what had to be assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio.crs
import rasterio.errors
from jaxtyping import Bool, Shaped

from patchfree.errors import SceneError
from patchfree.io._hdf5 import holds, numbers, open_hdf5, unpacking_bytes
from patchfree.io._reader import Description, Reader, Window
from patchfree.scene import Bands, Grid

SWATHS = "HDFEOS/SWATHS"
FIELDS = f"{SWATHS}/PRS_L2D_HCO/Data Fields"
FULL_SCALE = 65535  # the stored number that stands for L2Scale...Max
PIXEL_M = 30.0
CODES = {"bad": 1, "saturated": 3}  # of the error matrices; 0 is fine, 2 is negative after the atmospheric correction
SHARE = 0.25  # bands that must have a code: single codes are common in the water vapour bands, and hide no pixel
BLOCK = 64  # rows read at once where only a mask of them is kept


def is_prisma(path: Path) -> bool:
    """True for a PRISMA product of any level; those in sensor geometry are refused when they are read."""
    return any(holds(path, f"{SWATHS}/PRS_{level}_HCO") for level in ("L2D", "L2C", "L2B", "L1"))


@dataclass(frozen=True)
class _Cube:
    """One of the two spectrometers: which of its bands were acquired, shortest wavelength first."""

    name: str
    order: np.ndarray  # positions in the file
    wavelengths: list[float]
    fwhm: list[float] | None
    count: int  # bands in the file
    scale: float
    offset: float


class Prisma(Reader):
    """VNIR and SWIR reflectance as one cube; bands that were not acquired are left out."""

    @property
    def kept_bytes(self) -> int:
        """What it takes to unpack large chunks of either cube."""
        with open_hdf5(self.path) as file:
            return max(unpacking_bytes(file[f"{FIELDS}/{cube.name}_Cube"]) for cube in self._cubes(file, []))

    def describe(self) -> Description:
        """Wavelengths, scaling and map position from the attributes of the root."""
        with open_hdf5(self.path) as file:
            notes: list[str] = []
            cubes = self._cubes(file, notes)
            height, width = self._shape(file)
            vnir, swir = cubes
            # Numbered as if the cubes were stored shortest wavelength first, absent bands included, SWIR after VNIR.
            positions = [int(vnir.count - i) for i in vnir.order] + [
                int(vnir.count + swir.count - i) for i in swir.order
            ]
            wavelengths = [w for cube in cubes for w in cube.wavelengths]
            fwhm = None if any(cube.fwhm is None for cube in cubes) else [f for cube in cubes for f in cube.fwhm or []]
            total = vnir.count + swir.count
            if len(positions) < total:
                notes.append(
                    f"{total - len(positions)} of {total} bands were not acquired (wavelength 0) and are left out."
                )
            overlap = [n for n, w in zip(positions, vnir.wavelengths, strict=False) if w >= swir.wavelengths[0]]
            if overlap:
                notes.append(
                    f"VNIR and SWIR overlap: {len(overlap)} VNIR bands from {swir.wavelengths[0]:.0f} nm on are flagged bad "
                    "in favour of SWIR; open_scene(..., keep_bad_bands=True) keeps them."
                )
            return Description(
                format="PRISMA L2D",
                dtype=np.result_type(*(file[f"{FIELDS}/{cube.name}_Cube"].dtype for cube in cubes)),
                bands=Bands(tuple(positions), total, tuple(wavelengths), tuple(fwhm) if fwhm else None),
                grid=_grid(file.attrs, height, width, notes),
                scale=tuple(cube.scale for cube in cubes for _ in cube.wavelengths),
                offset=tuple(cube.offset for cube in cubes for _ in cube.wavelengths),
                bad_bands=tuple(overlap),
                notes=tuple(notes),
                details={"detectors": {cube.name: len(cube.wavelengths) for cube in cubes}},
            )

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers of the acquired bands."""
        rows, cols = window or (slice(None), slice(None))
        with open_hdf5(self.path) as file:
            return np.concatenate(
                [
                    file[f"{FIELDS}/{cube.name}_Cube"][rows, :, cols].transpose(1, 0, 2)[cube.order]
                    for cube in self._cubes(file, [])
                ]
            )

    def outside(self, window: Window | None = None) -> Bool[np.ndarray, "h w"]:
        """True around the acquired swath, where the map grid is filled with 0 in every band."""
        with open_hdf5(self.path) as file:
            self._cubes(file, [])
            cube = file[f"{FIELDS}/VNIR_Cube"]
            parts = [~cube[rows, :, cols].any(1) for rows, cols in _blocks(window, self._shape(file))]
            return np.concatenate(parts)

    def quality(self, window: Window | None = None) -> dict[str, Bool[np.ndarray, "h w"]]:
        """Pixels whose error matrix has a code in at least a quarter of the acquired bands."""
        with open_hdf5(self.path) as file:
            cubes = self._cubes(file, [])
            names = [f"{FIELDS}/{cube.name}_PIXEL_L2_ERR_MATRIX" for cube in cubes]
            if not all(name in file for name in names):
                return {}
            for name, cube in zip(names, cubes, strict=True):
                if file[name].shape != file[f"{FIELDS}/{cube.name}_Cube"].shape:
                    raise SceneError(
                        f"{self.path}: {name} has another shape than its cube. Take the file as delivered."
                    )
            counted = sum(len(cube.order) for cube in cubes)
            parts: dict[str, list[np.ndarray]] = {quality: [] for quality in CODES}
            for rows, cols in _blocks(window, self._shape(file)):
                codes = np.concatenate(
                    [file[name][rows, :, cols][:, cube.order] for name, cube in zip(names, cubes, strict=True)], 1
                )
                for quality, code in CODES.items():
                    parts[quality].append((codes == code).sum(1) >= SHARE * counted)
            return {quality: np.concatenate(part) for quality, part in parts.items()}

    def _shape(self, file: h5py.File) -> tuple[int, int]:
        """Rows and columns, the same in both cubes."""
        height, _, width = file[f"{FIELDS}/VNIR_Cube"].shape
        return height, width

    def _cubes(self, file: h5py.File, notes: list[str]) -> list[_Cube]:
        """Both spectrometers, checked against each other and against the attributes."""
        if FIELDS not in file:
            swath = next(name for name in file[SWATHS] if name.startswith("PRS_") and name.endswith("_HCO"))
            raise SceneError(
                f"{self.path} is PRISMA {swath[4:-4]}, in the geometry of the sensor; patchfree reads the geocoded L2D. "
                "Download L2D of the same acquisition."
            )
        cubes = [_cube(self.path, file, name, notes) for name in ("VNIR", "SWIR")]
        shapes = {file[f"{FIELDS}/{cube.name}_Cube"].shape[::2] for cube in cubes}
        if len(shapes) > 1:
            raise SceneError(
                f"{self.path}: the VNIR and SWIR cubes have different sizes: {sorted(shapes)}. Download it again."
            )
        return cubes


def _cube(path: Path, file: h5py.File, name: str, notes: list[str]) -> _Cube:
    kind = name.capitalize()  # Vnir, Swir: so the attributes are spelt
    shape = file[f"{FIELDS}/{name}_Cube"].shape
    wanted = [f"List_Cw_{kind}", f"L2Scale{kind}Min", f"L2Scale{kind}Max"]
    missing = [key for key in wanted if key not in file.attrs]
    if missing or len(shape) != 3:
        what = f"lacks the attributes {', '.join(missing)}" if missing else f"has a {name} cube of shape {shape}"
        raise SceneError(f"{path} {what}: no complete PRISMA L2D file. Take the file as it was delivered.")
    centres = np.array(numbers(file.attrs[wanted[0]]))
    if len(centres) != shape[1]:
        raise SceneError(
            f"{path}: {wanted[0]} has {len(centres)} wavelengths, and the {name} cube (rows, bands, columns) {shape} has "
            f"{shape[1]} bands. The file was changed or is damaged; take it as it was delivered."
        )
    flags = numbers(file.attrs.get(f"{wanted[0]}_Flags", np.ones(len(centres))))
    acquired = (centres > 0) & (np.array(flags) > 0 if len(flags) == len(centres) else True)
    order = np.flatnonzero(acquired)[::-1]
    order = order[np.argsort(centres[order], kind="stable")]
    if not len(order):
        raise SceneError(f"{path}: no band of the {name} cube was acquired. There is nothing to read.")
    fwhm = np.array(numbers(file.attrs.get(f"List_Fwhm_{kind}", [])))
    if len(fwhm) != len(centres):
        notes.append(
            f"List_Fwhm_{kind} has {len(fwhm)} entries for {len(centres)} bands; the band widths were left out."
        )
    low, high = (numbers(file.attrs[key])[0] for key in wanted[1:])
    return _Cube(
        name,
        order,
        [round(float(centres[i]), 4) for i in order],
        [round(float(fwhm[i]), 4) for i in order] if len(fwhm) == len(centres) else None,
        len(centres),
        (high - low) / FULL_SCALE,
        low,
    )


def _blocks(window: Window | None, shape: tuple[int, int]) -> Iterator[Window]:
    """The window in stripes of a few rows."""
    rows, cols = window or (slice(0, shape[0]), slice(0, shape[1]))
    for start in range(rows.start, rows.stop, BLOCK):
        yield slice(start, min(start + BLOCK, rows.stop)), cols


def _grid(attributes: Any, height: int, width: int, notes: list[str]) -> Grid:  # noqa: ANN401 - h5py is not typed
    """Map position from the corners.

    They are those of the pixel centres: 30 m goes into the distance one time less than there are pixels. Should a file have
    the outer edges, it goes in as often as there are pixels, and that is seen.
    """
    keys = [f"Product_{corner}corner_{axis}" for corner in ("UL", "LR") for axis in ("easting", "northing")]
    if any(key not in attributes for key in [*keys, "Epsg_Code"]):
        notes.append("The attributes Epsg_Code and Product_..corner_.. are incomplete; the map position is unknown.")
        return Grid(height, width)
    left, top, right, bottom = (numbers(attributes[key])[0] for key in keys)
    try:
        crs = rasterio.crs.CRS.from_epsg(int(numbers(attributes["Epsg_Code"])[0])).to_wkt()
    except rasterio.errors.CRSError:
        notes.append(f"Epsg_Code {attributes['Epsg_Code']} is unknown; the map position was left out.")
        return Grid(height, width)
    for less, shift in ((1, PIXEL_M / 2), (0, 0.0)):
        across, down = (right - left) / PIXEL_M, (top - bottom) / PIXEL_M
        if abs(across - (width - less)) < 0.5 and abs(down - (height - less)) < 0.5:
            return Grid(height, width, crs, (PIXEL_M, 0.0, left - shift, 0.0, -PIXEL_M, top + shift))
    notes.append(
        f"The corners span {right - left:g} m by {top - bottom:g} m, which is not {width} columns by {height} rows of "
        f"{PIXEL_M:g} m; the map position was left out."
    )
    return Grid(height, width)
