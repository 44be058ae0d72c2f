"""Sentinel-2 L2A: a SAFE folder as one scene of nine bands at 20 m.

20 m is the finest grid on which the product holds all of B02 to B07, B8A, B11 and B12 (B02 to B04 averaged from 10 m
by the processor itself), so nothing is resampled here. B08 comes at 10 m only, and B8A sees the same range; B01 and B09
are measured at 60 m for the atmosphere.

Source: Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), level 2A; SentiWiki, S2 Products.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from patchfree.errors import SceneError
from patchfree.io._product import in_order, missing_layers, number, read_xml
from patchfree.io._reader import Description, Reader, Window
from patchfree.io.gdal import Gdal, read_bands
from patchfree.scene import Bands

METADATA = "MTD_MSIL2A.xml"
OTHER_LEVELS = ("MTD_MSIL1C.xml", "MTD_MSIL1B.xml")
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
SCENE_CLASSES = {"cloud": (8, 9), "cirrus": (10,), "shadow": (3,), "snow": (11,), "water": (6,), "saturated": (1,)}
"""Values of the scene classification (SCL): 8 and 9 are clouds of medium and high probability, 1 includes defective."""
NODATA = 0.0
BASELINE_WITH_OFFSET = 4.0
"""Since 25 January 2022 (baseline 04.00) stored values are shifted, and the shift stands in BOA_ADD_OFFSET."""


def is_sentinel2(path: Path) -> bool:
    """True for a SAFE folder and for the XML in it."""
    names = (METADATA, *OTHER_LEVELS)
    return any((path / name).is_file() for name in names) if path.is_dir() else path.name in names


class Sentinel2(Reader):
    """A Sentinel-2 L2A product of one tile."""

    def describe(self) -> Description:
        """Read the XML, and the grid of every band."""
        metadata = self._folder() / METADATA
        if not metadata.is_file():
            raise SceneError(
                f"{self.path} is a Sentinel-2 product of another level than L2A: it has no {METADATA}. patchfree reads L2A, "
                "the surface reflectance; download it, or make it with Sen2Cor."
            )
        root = read_xml(metadata)
        spectral = _spectral(root, metadata)
        quantum = _quantum(root, metadata)
        offsets = _offsets(root, metadata)
        files = self._files()
        rasters = [Gdal(path).describe() for path in files]
        for path, raster in zip(files, rasters, strict=True):
            if (raster.grid.as_dict(), len(raster.bands)) != (rasters[0].grid.as_dict(), 1):
                raise SceneError(
                    f"{path} does not lie on the grid of {files[0].name}. Unpack or download the product again."
                )
        entries = [spectral[band] for band in BANDS]
        widths = [_width(entry, metadata) for entry in entries]
        notes = (
            [] if None not in widths else ["The XML holds no spectral responses; the widths of the bands are unknown."]
        )
        lacking = missing_layers(["SCL at 20 m"] if self._scl() is None else [], ", ".join(SCENE_CLASSES))
        notes += lacking
        shifts = tuple(offsets.get(entry.get("bandId", ""), 0.0) / quantum for entry in entries)
        return Description(
            format="Sentinel-2 L2A",
            dtype=np.result_type(*(raster.dtype for raster in rasters)),
            bands=Bands(
                tuple(range(1, len(BANDS) + 1)),
                len(BANDS),
                tuple(number(_child(entry, "Wavelength", metadata), "CENTRAL", metadata) for entry in entries),
                tuple(width for width in widths if width is not None) if None not in widths else None,
            ),
            grid=rasters[0].grid,
            nodata=(NODATA,) * len(BANDS),
            scale=(1 / quantum,) * len(BANDS),
            offset=shifts if any(shifts) else None,
            notes=tuple(notes),
            mask_notes=lacking,
            details={"metadata": metadata.name, "band_names": list(BANDS)},
        )

    @property
    def files(self) -> list[Path]:
        """The XML and the images that are read."""
        return [self._folder() / METADATA, *self._files(), *filter(None, [self._scl()])]

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers; only the window is read from disk."""
        return np.concatenate([read_bands(path, window) for path in self._files()])

    def quality(self, window: Window | None = None) -> dict[str, Bool[np.ndarray, "h w"]]:
        """Cloud, cirrus, shadow, snow, water and saturated, of the scene classification at 20 m."""
        path = self._scl()
        if path is None:
            return {}
        classes = read_bands(path, window)[0]
        return in_order({name: np.isin(classes, values) for name, values in SCENE_CLASSES.items()})

    def _folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def _images(self) -> Path:
        """The folder with the images at 20 m."""
        found = sorted(self._folder().glob("GRANULE/*/IMG_DATA/R20m"))
        if len(found) != 1:
            raise SceneError(
                f"{self._folder()} has {len(found)} folders GRANULE/*/IMG_DATA/R20m; need one. "
                + ("patchfree reads products of one tile." if found else "Unpack or download the whole product.")
            )
        return found[0]

    def _files(self) -> list[Path]:
        folder = self._images()
        found = {band: sorted(folder.glob(f"*_{band}_20m.jp2")) for band in BANDS}
        missing = [band for band, paths in found.items() if len(paths) != 1]
        if missing:
            raise SceneError(
                f"{folder} lacks one image (*_BAND_20m.jp2) of {', '.join(missing)}. Unpack or download the whole product."
            )
        return [paths[0] for paths in found.values()]

    def _scl(self) -> Path | None:
        return next(iter(sorted(self._images().glob("*_SCL_20m.jp2"))), None)


def _child(element: ET.Element, tag: str, path: Path) -> ET.Element:
    found = element.find(f"{{*}}{tag}")
    if found is None:
        raise SceneError(f"{path}: a {element.tag} lacks {tag}. Unpack or download the product again.")
    return found


def _spectral(root: ET.Element, path: Path) -> dict[str, ET.Element]:
    """The entry of each band; the XML says B2 where file names say B02."""
    found = {}
    for entry in root.findall(".//{*}Spectral_Information"):
        name = entry.get("physicalBand", "")
        found[f"B0{name[1:]}" if len(name) == 2 else name] = entry
    missing = [band for band in BANDS if band not in found]
    if missing:
        raise SceneError(
            f"{path} has no Spectral_Information of {', '.join(missing)}. Unpack or download the product again."
        )
    return found


def _quantum(root: ET.Element, path: Path) -> float:
    """What reflectance 1 is stored as."""
    for tag in ("QUANTIFICATION_VALUES_LIST", "L1C_L2A_Quantification_Values_List"):  # the latter until 2018
        for entry in root.findall(f".//{{*}}{tag}"):
            prefix = "L2A_" if tag.startswith("L1C") else ""
            value = number(entry, f"{prefix}BOA_QUANTIFICATION_VALUE", path)
            if value > 0:
                return value
    raise SceneError(f"{path} has no BOA_QUANTIFICATION_VALUE above 0. Unpack or download the product again.")


def _offsets(root: ET.Element, path: Path) -> dict[str, float]:
    """What is added to stored values, by bandId; nothing before baseline 04.00."""
    found = {entry.get("band_id", ""): entry for entry in root.findall(".//{*}BOA_ADD_OFFSET")}
    text = (root.findtext(".//{*}PROCESSING_BASELINE") or "").strip()
    try:
        offsets = {band: float(entry.text or "") for band, entry in found.items()}
        shifted = float(text) >= BASELINE_WITH_OFFSET
    except ValueError:
        raise SceneError(
            f"{path}: PROCESSING_BASELINE or a BOA_ADD_OFFSET is no number. Unpack or download the product again."
        ) from None
    if shifted and not offsets:
        raise SceneError(
            f"{path}: the product has processing baseline {text} and no BOA_ADD_OFFSET, so its reflectances would be 0.1 too "
            "high. Unpack or download the product again."
        )
    return offsets


def _width(entry: ET.Element, path: Path) -> float | None:
    """Full width at half maximum in nm of the spectral response in the XML; None if there is none.

    MAX less MIN is no width: they say where the response ends.
    """
    response = entry.find("{*}Spectral_Response")
    if response is None:
        return None
    step = number(response, "STEP", path)
    values = np.array((response.findtext("{*}VALUES") or "").split(), np.float64)
    return None if values.size < 3 else step * _half_maximum(values)


def _half_maximum(values: Float64[np.ndarray, " n"]) -> float:
    """Distance in steps between the outermost places where a sampled curve crosses half its maximum."""
    half = values.max() / 2
    padded = np.concatenate([[0.0], values, [0.0]])
    above = np.flatnonzero(padded >= half)
    first, last = above[0], above[-1]
    left = first - (padded[first] - half) / (padded[first] - padded[first - 1])
    right = last + (padded[last] - half) / (padded[last] - padded[last + 1])
    return float(right - left)
