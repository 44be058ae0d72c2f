"""A network that sees each pixel by itself: two hidden layers on its spectrum.

It knows nothing of neighbours, so it cannot learn the layout of a scene: a control for networks that can, and a part of
`freenet-ensemble`.

Reference: Benediktsson, Swain, Ersoy, "Neural network approaches versus statistical methods in classification of multisource
remote sensing data", IEEE TGRS 28(4):540-552, 1990. Difference: two hidden layers of 128 with ReLU, trained as our other networks are.

Dimension key: b batch, c channels, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from patchfree.models._contract import FeatureMap, Masks, SceneModel, Stage
from patchfree.models._layers import pixel_by_pixel
from patchfree.models._statistics import Statistics

HIDDEN = 128
GAIN = 3.0
"""Spectra, magnified, are learnt in fewer steps: no norm brings them to a scale."""


class Spectral(SceneModel):
    """Scores of every pixel from its own spectrum.

    Example:
        >>> import torch
        >>> Spectral(bands=20, classes=16)(torch.zeros(1, 20, 9, 13)).shape
        torch.Size([1, 16, 9, 13])
    """

    context = 0
    reach = 0
    hidden = HIDDEN
    references: ClassVar[tuple[str, ...]] = ("spectral-network",)

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes)
        self.layers = pixel_by_pixel(bands, HIDDEN, classes)

    def stages(self) -> tuple[Stage, ...]:
        """One."""
        return (Stage(("scene",), (FeatureMap("scores", self.classes),), 0, 1, self._run),)

    def _run(self, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
        del masks, statistics  # a pixel without data gives meaningless scores, and nobody else reads it
        return {"scores": self.layers(maps["scene"] * GAIN)}
