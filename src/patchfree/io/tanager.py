"""Tanager ortho scenes (HDF-EOS5, `.h5`): surface reflectance or radiance of Planet's hyperspectral satellite.

Source: Tanager Product Specification (Planet, November 2025), sections 3.5 and 3.6.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import rasterio.crs
import rasterio.errors
from jaxtyping import Bool, Shaped

from patchfree.errors import SceneError
from patchfree.io._hdf5 import holds, numbers, open_hdf5, text, unpacking_bytes
from patchfree.io._reader import Description, Reader, Window, in_nanometres
from patchfree.scene import Bands, Grid

GROUP, SWATH = "HDFEOS/GRIDS/HYP", "HDFEOS/SWATHS/HYP"
FIELDS = f"{GROUP}/Data Fields"
CUBES = ("surface_reflectance", "toa_radiance")  # a file has one of them
FLAGS = {"cloud": "beta_cloud_mask", "cirrus": "beta_cirrus_mask"}
STRUCTURE = "HDFEOS INFORMATION/StructMetadata.0"


def is_tanager(path: Path) -> bool:
    """True for a Tanager scene on the map or as the sensor saw it; the latter is refused when it is read."""
    return holds(path, GROUP) or holds(path, SWATH)


class Tanager(Reader):
    """An ortho scene: bands, rows, columns on a UTM grid."""

    @property
    def kept_bytes(self) -> int:
        """What it takes to unpack large chunks of the cube."""
        with open_hdf5(self.path) as file:
            return unpacking_bytes(self._cube(file))

    def describe(self) -> Description:
        """Wavelengths and good bands from the cube's attributes, map position from the HDF-EOS structure."""
        with open_hdf5(self.path) as file:
            cube = self._cube(file)
            notes: list[str] = []
            count, height, width = cube.shape
            found: dict[str, list[float] | None] = {}
            for name in ("wavelengths", "fwhm", "good_wavelengths"):
                values = numbers(cube.attrs.get(name, []))
                found[name] = values if len(values) == count else None
                if name in cube.attrs and found[name] is None:
                    notes.append(f"The attribute {name} has {len(values)} entries for {count} bands; it was left out.")
            wavelengths_nm, note = in_nanometres(found["wavelengths"], "nm") if found["wavelengths"] else (None, None)
            notes += [note] if note else []
            if "radiance" in cube.name:
                notes.append(
                    "The file holds radiance at the sensor, not reflectance: scenes of other days are not comparable."
                )
            fill = numbers(cube.attrs["_FillValue"])[0] if "_FillValue" in cube.attrs else None
            return Description(
                format="Tanager ortho",
                dtype=cube.dtype,
                bands=Bands(
                    tuple(range(1, count + 1)), count, wavelengths_nm, tuple(found["fwhm"]) if found["fwhm"] else None
                ),
                grid=self._grid(file, height, width, notes),
                nodata=None if fill is None else (fill,) * count,
                bad_bands=tuple(i for i, good in enumerate(found["good_wavelengths"] or [], 1) if good == 0),
                notes=tuple(notes),
                details={"variable": cube.name.rsplit("/", 1)[-1]},
            )

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers."""
        rows, cols = window or (slice(None), slice(None))
        with open_hdf5(self.path) as file:
            return np.asarray(self._cube(file)[:, rows, cols])

    def outside(self, window: Window | None = None) -> Bool[np.ndarray, "h w"] | None:
        """`nodata_pixels` of the product."""
        with open_hdf5(self.path) as file:
            return self._flag(file, "nodata_pixels", window)

    def quality(self, window: Window | None = None) -> dict[str, Bool[np.ndarray, "h w"]]:
        """The product's beta masks of clouds and cirrus."""
        with open_hdf5(self.path) as file:
            masks = {quality: self._flag(file, name, window) for quality, name in FLAGS.items()}
        return {quality: mask for quality, mask in masks.items() if mask is not None}

    def _cube(self, file: h5py.File) -> h5py.Dataset:
        if GROUP not in file:
            raise SceneError(
                f"{self.path} is a Tanager basic scene, in the geometry of the sensor; patchfree reads ortho scenes. Order the asset "
                f"ortho_sr_hdf5 of the same scene, or read the bare array, without map position, with {self.path.name}:{SWATH}/"
                "Data Fields/surface_reflectance --axes bhw."
            )
        name = next((name for name in CUBES if f"{FIELDS}/{name}" in file), None)
        if name is None or file[f"{FIELDS}/{name}"].ndim != 3:
            raise SceneError(
                f"{self.path} holds no cube {' or '.join(CUBES)} (bands, rows, columns) in {FIELDS}. Take the file as delivered."
            )
        return file[f"{FIELDS}/{name}"]

    def _flag(self, file: h5py.File, name: str, window: Window | None) -> Bool[np.ndarray, "h w"] | None:
        """True where a binary mask is 1; None if the file has none of this name."""
        path = f"{FIELDS}/{name}"
        if path not in file:
            return None
        if file[path].shape != self._cube(file).shape[1:]:
            raise SceneError(
                f"{self.path}: the mask {name} has another size than the cube. Take the file as delivered."
            )
        return np.asarray(file[path][window or (slice(None), slice(None))]) == 1

    def _grid(self, file: h5py.File, height: int, width: int, notes: list[str]) -> Grid:
        """Map position from the outer corners (`UpperLeftPointMtrs`, `LowerRightMtrs`) and the zone."""
        structure = text(file[STRUCTURE][()]) if STRUCTURE in file else ""
        blocks = re.findall(r"GROUP=(GRID_\d+)\s(.*?)END_GROUP=\1", structure, re.DOTALL)
        block = next((body for _, body in blocks if re.search(r'GridName="HYP"', body)), "")
        corners = [re.search(rf"{key}=\(([^,]+),([^)]+)\)", block) for key in ("UpperLeftPointMtrs", "LowerRightMtrs")]
        zone = re.search(r"ZoneCode=(-?\d+)", block)
        code = file[GROUP].attrs.get("epsg_code")
        if code is None and zone and "HE5_GCTP_UTM" in block:
            code = 32600 + int(zone[1]) if int(zone[1]) > 0 else 32700 - int(zone[1])  # negative in the south (GCTP)
        first, last = corners
        if first is None or last is None or code is None:
            notes.append(f"{STRUCTURE} states no corners or no UTM zone; the map position is unknown.")
            return Grid(height, width)
        try:
            crs = rasterio.crs.CRS.from_epsg(int(text(code))).to_wkt()
        except (rasterio.errors.CRSError, ValueError):
            notes.append(f"The coordinate system {text(code)} is unknown; the map position was left out.")
            return Grid(height, width)
        left, top, right, bottom = float(first[1]), float(first[2]), float(last[1]), float(last[2])
        return Grid(height, width, crs, ((right - left) / width, 0.0, left, 0.0, (bottom - top) / height, top))
