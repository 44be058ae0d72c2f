"""GeoTIFF and everything else that GDAL reads, through rasterio."""

from __future__ import annotations

import re
import warnings
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from jaxtyping import Bool, Shaped
from rasterio.enums import Interleaving, MaskFlags

from patchfree.errors import SceneError
from patchfree.io._reader import Description, LandClass, Reader, Window, check_dtype, in_nanometres, unpacking
from patchfree.io.vector import SUFFIXES as VECTOR_SUFFIXES
from patchfree.scene import Bands, Grid

COPIES = 3  # of a strip or tile: as it is packed, unpacked, and taken apart into bands
GDAL_TYPES = {"complex_int16": "complex64"}
"""Types that NumPy does not know by GDAL's name."""


def open_raster(path: Path) -> Any:  # noqa: ANN401 - rasterio is not typed
    """Open a raster without the warning about a missing georeference: `Grid` says so."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            return rasterio.open(path)
    except rasterio.errors.RasterioError as error:
        if path.suffix.lower() in (*VECTOR_SUFFIXES, ".csv"):
            raise SceneError(
                f"{path} holds polygons, points or a table, and stands where a raster must. Labels come last: patchfree "
                "train SCENE LABELS, patchfree assess MAP LABELS."
            ) from error
        raise SceneError(
            f"{path} cannot be opened as a raster: {str(error).rstrip('.')}. patchfree reads ENVI, GeoTIFF, MATLAB (.mat), NumPy "
            "(.npy, .npz), HDF5, NetCDF, Zarr and whatever GDAL reads; check that the file is complete and has the right ending."
        ) from error


def read_bands(path: Path, window: Window | None = None, bands: list[int] | None = None) -> Shaped[np.ndarray, "c h w"]:
    """The stored numbers of all bands, or of those with these one-based numbers.

    Raises:
        SceneError: the file cannot be opened, or its pixels cannot be read.
    """
    with open_raster(path) as source:
        try:
            values: np.ndarray = source.read(bands, window=_window(window))
        except rasterio.errors.RasterioError as error:
            raise SceneError(
                f"{path}: reading the pixels failed ({error}). The file is probably truncated; copy it again."
            ) from error
        return values


class Gdal(Reader):
    """A raster that GDAL opens."""

    @property
    def files(self) -> list[Path]:
        """As GDAL has them: a virtual raster stands for several."""
        with open_raster(self.path) as source:
            return [Path(name) for name in source.files] or [self.path]

    @property
    def kept_bytes(self) -> int:
        """What it takes to unpack large strips or tiles."""
        with open_raster(self.path) as source:
            together = source.count if source.interleaving == Interleaving.pixel else 1
            bands = zip(source.block_shapes, source.dtypes, strict=True)
            sizes = (prod(shape) * np.dtype(GDAL_TYPES.get(dtype, dtype)).itemsize for shape, dtype in bands)
            piece = max(sizes) * together
            return unpacking(piece, (COPIES - 1) * piece)

    def describe(self) -> Description:
        """Read tags, types and map position."""
        with open_raster(self.path) as source:
            check_dtype(self.path, np.dtype(GDAL_TYPES.get(source.dtypes[0], source.dtypes[0])))
            notes: list[str] = []
            count = source.count
            tags = [source.tags(i) for i in source.indexes]
            imagery = [source.tags(i, ns="IMAGERY") for i in source.indexes]
            wavelengths_nm, fwhm_nm = _spectral(tags, imagery, source.descriptions, notes)
            bad = tuple(i for i, tag in enumerate(tags, 1) if tag.get("bbl", "1").strip() in ("0", "0.0"))
            transform = None if source.transform.is_identity else tuple(source.transform)[:6]
            dtypes = [np.dtype(name) for name in source.dtypes]
            scales, offsets = tuple(source.scales), tuple(source.offsets)
            return Description(
                format=source.driver,
                dtype=np.result_type(*dtypes),
                bands=Bands(tuple(source.indexes), count, wavelengths_nm, fwhm_nm),
                grid=Grid(source.height, source.width, source.crs.to_wkt() if source.crs else None, transform),
                nodata=tuple(source.nodatavals) if any(v is not None for v in source.nodatavals) else None,
                scale=scales if any(s != 1 for s in scales) else None,
                offset=offsets if any(o != 0 for o in offsets) else None,
                bad_bands=bad,
                classes=_classes(source),
                notes=tuple(notes),
                details={"interleave": str(source.interleaving).rsplit(".", 1)[-1] if source.interleaving else None}
                | _origin(source),
            )

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers."""
        return read_bands(self.path, window)

    def outside(self, window: Window | None = None) -> Bool[np.ndarray, "h w"] | None:
        """The file's mask band or alpha band, if it has one."""
        with open_raster(self.path) as source:
            flags = set(source.mask_flag_enums[0])
            if MaskFlags.per_dataset not in flags and MaskFlags.alpha not in flags:
                return None
            outside: np.ndarray = source.dataset_mask(window=_window(window)) == 0
            return outside


def _window(window: Window | None) -> tuple[tuple[int, int], tuple[int, int]] | None:
    if window is None:
        return None
    rows, cols = window
    return (rows.start, rows.stop), (cols.start, cols.stop)


def _spectral(
    tags: list[dict[str, str]], imagery: list[dict[str, str]], descriptions: tuple[str | None, ...], notes: list[str]
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Wavelengths and widths in nm from band tags, GDAL's IMAGERY domain, or band descriptions."""
    fwhm_nm = None
    if all("wavelength" in tag for tag in tags):
        units = tags[0].get("wavelength_units") or tags[0].get("wavelength_unit")
        try:
            given = [float(tag["wavelength"]) for tag in tags]
            wavelengths_nm, note = in_nanometres(given, units)
            if wavelengths_nm and all("fwhm" in tag for tag in tags):
                fwhm_nm = tuple(round(float(tag["fwhm"]) * wavelengths_nm[0] / given[0], 6) for tag in tags)
        except ValueError:
            notes.append("The wavelengths in the band tags are not numbers; they were left out.")
            return None, None
        notes += [note] if note else []
        return wavelengths_nm, fwhm_nm
    if all("CENTRAL_WAVELENGTH_UM" in tag for tag in imagery):
        if all("FWHM_UM" in tag for tag in imagery):
            fwhm_nm = tuple(round(float(tag["FWHM_UM"]) * 1000, 6) for tag in imagery)
        return tuple(round(float(tag["CENTRAL_WAVELENGTH_UM"]) * 1000, 6) for tag in imagery), fwhm_nm
    pattern = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(nanometers|nm|micrometers|um|µm)\b", re.IGNORECASE)
    found = [pattern.search(text or "") for text in descriptions]
    if found and all(found):
        matches = [match for match in found if match]
        wavelengths_nm, note = in_nanometres([float(match[1]) for match in matches], matches[0][2])
        notes.append(note or "Wavelengths were taken from the band descriptions.")
        return wavelengths_nm, None
    return None, None


def _origin(source: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401 - rasterio is not typed
    """What a map of ours says of where it comes from."""
    tags = {key: text for key, text in source.tags(ns="PATCHFREE").items() if not re.fullmatch(r"class_\d+", key)}
    return {"origin": tags} if tags else {}


def _classes(source: Any) -> tuple[LandClass, ...]:  # noqa: ANN401 - rasterio is not typed
    """Colour table and the class names that patchfree writes into the tags."""
    names = {
        int(key.removeprefix("class_")): name
        for key, name in source.tags(ns="PATCHFREE").items()
        if re.fullmatch(r"class_\d+", key)
    }
    colours: dict[int, tuple[int, int, int]] = {}
    if source.count == 1 and source.dtypes[0] in ("uint8", "uint16"):
        try:
            colours = {value: (r, g, b) for value, (r, g, b, _) in source.colormap(1).items()}
        except ValueError:  # no colour table
            colours = {}
    return tuple(LandClass(v, names.get(v), colours.get(v)) for v in sorted(names.keys() | colours.keys()))
