"""Products of the German Aerospace Center's ground segment (EnMAP, DESIS): a cube, quality rasters, and one XML.

The GeoTIFF holds the stored numbers only: wavelengths, widths, gains and offsets stand in the XML, band by band in the
order of the file.
"""

from __future__ import annotations

import dataclasses
import re
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Shaped

from patchfree.errors import SceneError
from patchfree.io._product import number, read_xml
from patchfree.io._reader import Description, Reader, Window
from patchfree.io.gdal import Gdal, open_raster, read_bands
from patchfree.scene import Bands

NODATA = -32768.0
"""Background of L2A in both missions; the EnMAP XML's own entry is missing or wrong (SNAP, optical toolbox)."""

ENDINGS = (".TIF", ".TIFF", ".GEOTIFF")
COPIES = ("", "_COG")
"""The order form delivers `...-SPECTRAL_IMAGE.TIF`, the catalogue of the EOC Geoservice `..._COG.TIF`."""


@dataclass(frozen=True)
class Layout:
    """What the names and the XML of a mission's products look like.

    Attributes:
        mission: for people.
        start: how file names begin, as a regular expression up to the level.
        entry: path of a band's entry in the XML.
        centre: its child with the wavelength in nm.
        width: its child with the full width at half maximum in nm.
        gain: its child with the factor from stored to physical values.
        offset: its child with what is added after that.
    """

    mission: str
    start: str
    entry: str
    centre: str
    width: str
    gain: str
    offset: str

    def parse(self, name: str) -> tuple[str, str, str] | None:
        """Stem, level and part ("METADATA", "SPECTRAL_IMAGE") of a file name; None for any other file."""
        found = re.fullmatch(
            rf"({self.start}(L\d[A-Z])-.+)-(?:(METADATA)\.XML|(SPECTRAL_IMAGE)(?:_COG)?\.(?:TIFF?|GEOTIFF|HDR))",
            name,
            re.IGNORECASE,
        )
        return None if found is None else (found[1], found[2].upper(), (found[3] or found[4]).upper())

    def matches(self, path: Path) -> bool:
        """True for a product's folder, its XML, or the cube of an L2A product."""
        if path.is_dir():
            return any(self._is_metadata(entry.name) for entry in path.iterdir())
        parsed = self.parse(path.name)
        return parsed is not None and (parsed[2] == "METADATA" or parsed[1] == "L2A")

    def _is_metadata(self, name: str) -> bool:
        parsed = self.parse(name)
        return parsed is not None and parsed[2] == "METADATA"

    def stem(self, path: Path) -> str:
        """What all file names of the product begin with.

        Raises:
            SceneError: the folder holds several products, or the product is of another level.
        """
        names = sorted(p.name for p in path.iterdir() if self._is_metadata(p.name)) if path.is_dir() else [path.name]
        if len(names) > 1:
            raise SceneError(
                f"The folder {path} holds {len(names)} {self.mission} products. Name one of them by its XML, such as "
                f"{path / names[0]}."
            )
        parsed = self.parse(names[0])
        assert parsed is not None, "io sends only files of the product here"
        stem, level, _ = parsed
        if level != "L2A":
            raise SceneError(
                f"{path} belongs to {self.mission}, level {level}; patchfree reads L2A, the surface reflectance on a map grid. "
                "Order the product as L2A."
            )
        return stem


class DlrProduct(Reader):
    """An L2A product: its folder, its XML, or its cube may be named."""

    layout: ClassVar[Layout]
    quality_layers: ClassVar[tuple[str, ...]]

    @property
    def kept_bytes(self) -> int:
        """What it takes to unpack large tiles of the cube."""
        return Gdal(self._cube()).kept_bytes

    @property
    def files(self) -> list[Path]:
        """Every file of the product."""
        stem = self.layout.stem(self.path).upper()
        return sorted(p for p in self._folder().iterdir() if p.is_file() and p.name.upper().startswith(stem))

    @abstractmethod
    def notes(self, present: dict[str, Path]) -> tuple[str, ...]:
        """What is to be said of quality layers that are missing."""

    def part(self, name: str) -> Path | None:
        """The raster `STEM-name.TIF` or its copy `STEM-name_COG.TIF`; None if there is none."""
        stem, folder = self.layout.stem(self.path), self._folder()
        names = {p.name.upper(): p for p in folder.iterdir()}
        wanted = [f"{stem}-{name}{copy}{ending}".upper() for copy in COPIES for ending in ENDINGS]
        if self.path.is_file() and self.path.stem.upper().endswith("_COG"):
            wanted.reverse()
        return next((names[candidate] for candidate in wanted if candidate in names), None)

    def rasters(self, names: tuple[str, ...]) -> dict[str, Path]:
        """The quality rasters that are there."""
        return {name: path for name in names if (path := self.part(name)) is not None}

    def layer(self, path: Path, band: int, window: Window | None) -> Shaped[np.ndarray, "h w"]:
        """One band of a quality raster."""
        return read_bands(path, window, [band])[0]

    def describe(self) -> Description:
        """Read the XML, and the grid of the cube."""
        layout, cube, metadata = self.layout, self._cube(), self._metadata()
        raster = Gdal(cube).describe()
        present = self.rasters(self.quality_layers)
        notes = self.notes(present)
        for path in present.values():
            with open_raster(path) as source:
                if (source.height, source.width) != raster.grid.shape:
                    raise SceneError(
                        f"{path} has {source.height} x {source.width} pixels, and {cube.name} {raster.grid.height} x "
                        f"{raster.grid.width}. Unpack or download the product again."
                    )
        described = dataclasses.replace(
            raster,
            format=f"{layout.mission} L2A",
            nodata=raster.nodata or (NODATA,) * len(raster.bands),
            notes=notes,
            mask_notes=notes,
            details={"metadata": metadata and metadata.name, "cube": cube.name},
        )
        if metadata is None:  # as in collections of patches such as HySpecNet-11k
            note = (
                f"The XML of the {layout.mission} product (...-METADATA.XML) is not beside its cube, and the wavelengths and "
                "the scale stand only there: values are as stored."
            )
            return dataclasses.replace(described, notes=(note, *described.notes))
        entries = read_xml(metadata).findall(layout.entry)
        if len(entries) != len(raster.bands):
            raise SceneError(
                f"{metadata} describes {len(entries)} bands, and {cube.name} has {len(raster.bands)}: they do not belong "
                "together. Unpack or download the product again."
            )
        columns = (layout.centre, layout.width, layout.gain, layout.offset)
        centres, widths, gains, offsets = (
            tuple(number(entry, column, metadata) for entry in entries) for column in columns
        )
        return dataclasses.replace(
            described,
            bands=Bands(raster.bands.numbers, raster.bands.total, centres, widths),
            scale=gains,
            offset=offsets if any(offsets) else None,
        )

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers; only the window is read from disk."""
        return read_bands(self._cube(), window)

    def outside(self, window: Window | None = None) -> Bool[np.ndarray, "h w"] | None:
        """The mask of the cube's own file, if it has one."""
        return Gdal(self._cube()).outside(window)

    def _folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def _metadata(self) -> Path | None:
        wanted = f"{self.layout.stem(self.path)}-METADATA.XML".upper()
        return next((p for p in self._folder().iterdir() if p.name.upper() == wanted), None)

    def _cube(self) -> Path:
        cube = self.part("SPECTRAL_IMAGE")
        if cube is None:
            raise SceneError(
                f"{self._folder()} holds the XML of {self.layout.mission}, and not the cube: looked for "
                f"{self.layout.stem(self.path)}-SPECTRAL_IMAGE with the endings {', '.join(ENDINGS)}, also as _COG. "
                "patchfree reads these products as GeoTIFF; put the cube beside the XML."
            )
        return cube
