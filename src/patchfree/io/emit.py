"""EMIT L2A reflectance (NetCDF4): NASA's imaging spectrometer on the International Space Station.

The cube lies in the file as the sensor saw it, rows along the track. A table in the file (GLT) names the sensor pixel for
each pixel of the map; what is read here is the map, and only the part of the cube that a window needs is opened.

Source: EMIT L2A data product description (emit-sds); docs/products/emit.md says what else was used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import rasterio.crs
import rasterio.errors
from jaxtyping import Bool, Int, Shaped

from patchfree.errors import SceneError
from patchfree.io._hdf5 import holds, numbers, open_hdf5, text, unpacking_bytes
from patchfree.io._reader import Description, Reader, Window, in_nanometres
from patchfree.scene import Bands, Grid

CUBE, PARAMETERS = "reflectance", "sensor_band_parameters"
TABLE = ("location/glt_y", "location/glt_x")  # row and column of the sensor pixel, one-based, 0 where there is none
FILL = -9999.0
GRANULE = re.compile(r"EMIT_L2A_RFL_\d+_(\d{8}T\d{6}_\d+_\d+)\.nc", re.IGNORECASE)
QUALITY_OF = {
    "cloud flag": "cloud",
    "spectf-cloud flag": "cloud",
    "cirrus flag": "cirrus",
    "dilated cloud flag": "shadow",  # cloud and a margin around it, made to take in the shadows
    "water flag": "water",
    "spacecraft flag": "bad",
}
"""Bands of the mask file, of all versions, and what they are here. Others are measurements, or a sum of these."""


def is_emit(path: Path) -> bool:
    """True for reflectance of EMIT as delivered, with or without the table."""
    return holds(path, CUBE, f"{PARAMETERS}/wavelengths") and holds(path, "location")


class Emit(Reader):
    """The reflectance on the map grid; the mask file beside it gives the quality masks."""

    @property
    def kept_bytes(self) -> int:
        """What it takes to unpack large chunks of the cube."""
        with open_hdf5(self.path) as file:
            return unpacking_bytes(self._parts(file)[0])

    def describe(self) -> Description:
        """Wavelengths, good bands and map position."""
        with open_hdf5(self.path) as file:
            cube, (height, width) = self._parts(file)
            notes: list[str] = []
            count = cube.shape[2]
            bands, bad = _bands(file[PARAMETERS], count, notes)
            mask_file = self._mask_file()
            lacking: tuple[str, ...] = ()
            if mask_file is None:
                lacking = ("No mask file (EMIT_L2A_MASK_...) of this granule lies beside it: clouds are not left out.",)
                notes += lacking
            return Description(
                format="EMIT L2A",
                dtype=cube.dtype,
                bands=bands,
                grid=_grid(file, height, width, notes),
                nodata=(_fill(cube),) * count,
                bad_bands=bad,
                notes=(
                    *notes,
                    f"Put on the map grid by the file's lookup table, from {cube.shape[0]} x {cube.shape[1]} sensor pixels.",
                ),
                mask_notes=lacking,
                details={"sensor_shape": list(cube.shape[:2]), "mask_file": mask_file.name if mask_file else None},
            )

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers on the map grid, nodata where the table names no pixel."""
        with open_hdf5(self.path) as file:
            cube, _ = self._parts(file)
            rows, cols, inside = self._lookup(file, window, cube.shape[:2])
            values = np.full((cube.shape[2], *inside.shape), _fill(cube), cube.dtype)
            for line, pixels in _lines(cube, rows, cols, inside):
                values[:, line, inside[line]] = pixels.T
            return values

    def outside(self, window: Window | None = None) -> Bool[np.ndarray, "h w"]:
        """True where the table names no pixel."""
        with open_hdf5(self.path) as file:
            cube, _ = self._parts(file)
            return ~self._lookup(file, window, cube.shape[:2])[2]

    @property
    def files(self) -> list[Path]:
        """The cube, and the mask file if there is one."""
        return [self.path, *filter(None, [self._mask_file()])]

    def quality(self, window: Window | None = None) -> dict[str, Bool[np.ndarray, "h w"]]:
        """Flags of the mask file that lies beside, if there is one."""
        mask_path = self._mask_file()
        if mask_path is None:
            return {}
        with open_hdf5(self.path) as file:
            shape = self._parts(file)[0].shape[:2]
            rows, cols, inside = self._lookup(file, window, shape)
        with open_hdf5(mask_path) as file:
            flags = file["mask"]
            names = [" ".join(text(name).lower().split()) for name in file[f"{PARAMETERS}/mask_bands"][()]]
            if flags.shape != (*shape, len(names)):
                raise SceneError(
                    f"{mask_path} does not fit {self.path.name}: it has {flags.shape} flags with {len(names)} names, the cube "
                    f"{shape} pixels. Take both files of one granule and version, or move the mask file away."
                )
            wanted = [(band, QUALITY_OF[name]) for band, name in enumerate(names) if name in QUALITY_OF]
            found = {quality: np.zeros(inside.shape, bool) for _, quality in wanted}
            for line, pixels in _lines(flags, rows, cols, inside):
                for band, quality in wanted:
                    found[quality][line, inside[line]] |= pixels[:, band] > 0.5
            return found

    def _mask_file(self) -> Path | None:
        """The newest mask file of the same granule in the same folder."""
        granule = GRANULE.fullmatch(self.path.name)
        if granule is None:
            return None
        return max(self.path.parent.glob(f"EMIT_L2A_MASK_*_{granule[1]}.nc"), default=None)

    def _parts(self, file: h5py.File) -> tuple[h5py.Dataset, tuple[int, int]]:
        """The cube, and rows and columns of the map."""
        cube = file[CUBE]
        missing = [name for name in TABLE if name not in file]
        if missing:
            raise SceneError(
                f"{self.path} has no {' and no '.join(missing)}: without its lookup table it cannot be put on the map. Take the "
                f"file as delivered, or read it as the sensor saw it, without map position, with {self.path.name}:{CUBE}."
            )
        shapes = {file[name].shape for name in TABLE}
        if cube.ndim != 3 or len(shapes) != 1 or len(shape := shapes.pop()) != 2:
            raise SceneError(
                f"{self.path}: {CUBE} has the shape {cube.shape} and the lookup table {[file[name].shape for name in TABLE]}; need "
                "(rows, columns, bands) and twice (rows, columns). Take the file as delivered."
            )
        return cube, shape

    def _lookup(
        self, file: h5py.File, window: Window | None, shape: tuple[int, ...]
    ) -> tuple[Int[np.ndarray, "h w"], Int[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
        """Zero-based row and column of the sensor pixel for each map pixel, and where there is one."""
        cut = window or (slice(None), slice(None))
        tables = [np.asarray(file[name][cut]).astype(np.int64) for name in TABLE]
        inside = np.logical_and.reduce([(table != 0) & (table != int(FILL)) for table in tables])
        for name, table, size in zip(TABLE, tables, shape, strict=True):
            named = table[inside]
            if named.size and (named.min() < 1 or named.max() > size):
                raise SceneError(
                    f"{self.path}: the lookup table {name} names sensor pixels {named.min()} to {named.max()}, and the cube has 1 to "
                    f"{size}. The table belongs to another file or the cube was cut; take the file as delivered."
                )
        return tables[0] - 1, tables[1] - 1, inside


def _lines(
    stored: h5py.Dataset, rows: np.ndarray, cols: np.ndarray, inside: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """For each line of the map with pixels: its number, and their values (pixels, bands).

    The rows and columns of the sensor that the window needs are read in one piece: its blocks are packed, and lines of the
    map run across them.
    """
    if not inside.any():
        return
    top, left = rows[inside].min(), cols[inside].min()
    part = stored[top : rows[inside].max() + 1, left : cols[inside].max() + 1]
    for line in np.flatnonzero(inside.any(1)).tolist():
        here = inside[line]
        yield line, part[rows[line, here] - top, cols[line, here] - left]


def _fill(cube: h5py.Dataset) -> float:
    return numbers(cube.attrs["_FillValue"])[0] if "_FillValue" in cube.attrs else FILL


def _bands(group: h5py.Group, count: int, notes: list[str]) -> tuple[Bands, tuple[int, ...]]:
    """Wavelengths and widths in nm, and the numbers of the bands that the product advises against."""
    found: dict[str, list[float] | None] = {}
    for name in ("wavelengths", "fwhm", "good_wavelengths"):
        values = numbers(group[name][()]) if name in group else []
        found[name] = values if len(values) == count else None
        if found[name] is None:
            notes.append(f"{PARAMETERS}/{name} has {len(values)} entries for {count} bands; it was left out.")
    wavelengths_nm = fwhm_nm = None
    if found["wavelengths"]:
        units = text(group["wavelengths"].attrs.get("units", "nm"))
        wavelengths_nm, note = in_nanometres(found["wavelengths"], units)
        notes += [note] if note else []
        if wavelengths_nm and found["fwhm"]:
            factor = wavelengths_nm[0] / found["wavelengths"][0]
            fwhm_nm = tuple(round(v * factor, 6) for v in found["fwhm"])
    bad = tuple(i for i, good in enumerate(found["good_wavelengths"] or [], 1) if good == 0)
    return Bands(tuple(range(1, count + 1)), count, wavelengths_nm, fwhm_nm), bad


def _grid(file: h5py.File, height: int, width: int, notes: list[str]) -> Grid:
    """Map position from the root's attributes; `geotransform` is in GDAL's order, for the corner of the first pixel."""
    given = numbers(file.attrs.get("geotransform", []))
    if len(given) != 6 or "spatial_ref" not in file.attrs:
        notes.append("The attributes geotransform and spatial_ref are incomplete; the map position is unknown.")
        return Grid(height, width)
    try:
        crs = rasterio.crs.CRS.from_wkt(text(file.attrs["spatial_ref"])).to_wkt()
    except rasterio.errors.CRSError:
        notes.append("The attribute spatial_ref is no coordinate system; the map position was left out.")
        return Grid(height, width)
    x, dx, turn_x, y, turn_y, dy = given
    return Grid(height, width, crs, (dx, turn_x, x, turn_y, dy, y))
