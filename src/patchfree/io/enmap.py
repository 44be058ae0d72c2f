"""EnMAP L2A: surface reflectance of the Environmental Mapping and Analysis Program, 224 bands from 418 to 2445 nm.

Bands stay in the order of the file, which is by wavelength: between about 902 and 993 nm the bands of both detectors
alternate. Nothing is left out there; docs/products/enmap.md says how to.

Sources: names and XML as the EnMAP-Box, EnPT and SNAP read them; values of the quality layers as SNAP and the readers
of Brockmann Consult (xarray-enmap) state them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from patchfree.io._dlr import DlrProduct, Layout
from patchfree.io._product import in_order, missing_layers
from patchfree.io._reader import Window

LAYOUT = Layout(
    mission="EnMAP",
    start=r"ENMAP\d\d-_*",
    entry="{*}specific/{*}bandCharacterisation/{*}bandID",
    centre="wavelengthCenterOfBand",
    width="FWHMOfBand",
    gain="GainOfBand",
    offset="OffsetOfBand",
)
LAYERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "cloud": ("QL_QUALITY_CLOUD", (1,)),
    "cirrus": ("QL_QUALITY_CIRRUS", (1, 2, 3)),  # thin, medium, thick
    "shadow": ("QL_QUALITY_CLOUDSHADOW", (1,)),
    "haze": ("QL_QUALITY_HAZE", (1,)),
    "snow": ("QL_QUALITY_SNOW", (1,)),
    "water": ("QL_QUALITY_CLASSES", (2,)),  # 1 land, 0 and 3 background
}
"""For each mask the layer, and the values that mean it; 255 is background in some layers and means none of them."""
TESTFLAGS = "QL_QUALITY_TESTFLAGS"
SATURATED = 0b110000  # bit 4 SWIR, bit 5 VNIR
NOT_PRODUCED = 0b11  # in the two lowest bits: the other bits say nothing


def is_enmap(path: Path) -> bool:
    """True for the folder, the XML or the L2A cube of an EnMAP product."""
    return LAYOUT.matches(path)


class EnMAP(DlrProduct):
    """An EnMAP L2A product."""

    layout = LAYOUT
    quality_layers = (*(layer for layer, _ in LAYERS.values()), TESTFLAGS)

    def notes(self, present: dict[str, Path]) -> tuple[str, ...]:
        """Which masks cannot be had."""
        layers = {name: layer for name, (layer, _) in LAYERS.items()} | {"saturated": TESTFLAGS}
        missing = {name: layer for name, layer in layers.items() if layer not in present}
        return missing_layers(missing.values(), ", ".join(missing))

    def quality(self, window: Window | None = None) -> dict[str, Bool[np.ndarray, "h w"]]:
        """Cloud, cirrus, shadow, haze, snow, water and saturated, as far as the layers are there."""
        present = self.rasters(self.quality_layers)
        masks = {
            name: np.isin(self.layer(present[layer], 1, window), values)
            for name, (layer, values) in LAYERS.items()
            if layer in present
        }
        if TESTFLAGS in present:
            flags = self.layer(present[TESTFLAGS], 1, window)
            masks["saturated"] = (flags & SATURATED != 0) & (flags & NOT_PRODUCED != NOT_PRODUCED)
        return in_order(masks)
