"""DESIS L2A: surface reflectance of the DLR Earth Sensing Imaging Spectrometer, 235 bands from 401 to 1000 nm.

Binned products have fewer bands; the XML says which. The product also holds `...-SPECTRAL_IMAGE.hdr`, an ENVI header
beside a GeoTIFF: naming it reads the product, too.

The bands of QL_QUALITY-2 are those that four independent readers of real files agree on; docs/products/desis.md lists
the sources.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from patchfree.io._dlr import DlrProduct, Layout
from patchfree.io._product import in_order, missing_layers
from patchfree.io._reader import Window
from patchfree.io.gdal import read_bands

LAYOUT = Layout(
    mission="DESIS",
    start=r"DESIS-HSI-",
    # The XML has other <band> entries, under interiorOrientation.
    entry="{*}specific/{*}bandCharacterisation/{*}band",
    centre="wavelengthCenterOfBand",
    width="wavelengthWidthOfBand",
    gain="gainOfBand",
    offset="offsetOfBand",
)
LAYER = "QL_QUALITY-2"
BANDS: dict[str, list[int]] = {
    "cloud": [6, 7],  # over land, over water
    "shadow": [1],
    "haze": [4, 5],  # over land, over water
    "snow": [3],
    "water": [8],
}
"""For each mask the bands of the layer that mean it where they are 1; band 2 is clear land, 9 and 10 are no flags."""


def is_desis(path: Path) -> bool:
    """True for the folder, the XML or the L2A cube of a DESIS product."""
    return LAYOUT.matches(path)


class DESIS(DlrProduct):
    """A DESIS L2A product."""

    layout = LAYOUT
    quality_layers = (LAYER,)

    def notes(self, present: dict[str, Path]) -> tuple[str, ...]:
        """Which masks cannot be had."""
        return missing_layers((name for name in (LAYER,) if name not in present), ", ".join(BANDS))

    def quality(self, window: Window | None = None) -> dict[str, Bool[np.ndarray, "h w"]]:
        """Cloud, shadow, haze, snow and water, if the layer is there."""
        path = self.rasters(self.quality_layers).get(LAYER)
        if path is None:
            return {}
        return in_order({name: (read_bands(path, window, bands) == 1).any(0) for name, bands in BANDS.items()})
