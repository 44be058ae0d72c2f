"""A network that sees the mean spectrum around each pixel, weighed by a Gaussian, and nothing else of its neighbours.

The spectra of one field differ more among themselves than their mean differs from that of another field. The mean over a few
pixels takes that noise away, and holds no shapes or places that a network could learn by heart. A part of `freenet-ensemble`.

Reference: Benediktsson, Swain, Ersoy, IEEE TGRS 28(4):540-552, 1990 (networks of single spectra). Differences: the mean around a
pixel in place of its own spectrum, and two hidden layers of 128 with ReLU. Means of neighbours as features: Camps-Valls et al.,
"Composite kernels for hyperspectral image classification", IEEE GRSL 3(1):93-97, 2006 (means over squares, beside the spectrum).

Dimension key: b batch, c channels, h rows, w columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchfree.models._contract import FeatureMap, Masks, SceneModel, Stage
from patchfree.models._layers import keep, pixel_by_pixel
from patchfree.models._statistics import Statistics

SIGMA = 3.0
"""Standard deviation of the Gaussian, in pixels."""
HALO = math.ceil(3 * SIGMA)
HIDDEN = 128
GAIN = 30.0
"""Means differ less than pixels do; magnified, they are learnt in fewer steps."""


class SpectralMean(SceneModel):
    """Scores of every pixel from the mean spectrum around it.

    Example:
        >>> SpectralMean(bands=20, classes=16)(torch.zeros(1, 20, 9, 13)).shape
        torch.Size([1, 16, 9, 13])
    """

    context = HALO
    reach = HALO
    hidden = HIDDEN
    references: ClassVar[tuple[str, ...]] = ("spectral-network", "composite-kernels")

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes)
        self.layers = pixel_by_pixel(bands, HIDDEN, classes)

    def stages(self) -> tuple[Stage, ...]:
        """One."""
        return (Stage(("scene",), (FeatureMap("scores", self.classes),), HALO, 1, self._run),)

    def _run(self, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
        del statistics
        scene = maps["scene"]
        with torch.autocast("cuda" if scene.is_cuda else "cpu", enabled=False):
            means = local_mean(scene.float(), masks.at(1))
        return {"scores": self.layers(means * GAIN)}


def local_mean(x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None) -> Float[Tensor, "b c h w"]:
    """The mean around each pixel, weighed by a Gaussian, of the pixels with data inside of the scene; finite where there are none."""
    there = x.new_ones(1, 1, *x.shape[2:]) if valid is None else valid.to(x.dtype)
    return _blurred(keep(x, valid)) / _blurred(there).clamp_min(1e-6)


def _blurred(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Sums along rows and columns, weighed by a Gaussian; nothing lies outside."""
    steps = torch.arange(-HALO, HALO + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (steps / SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    each = x.reshape(-1, 1, *x.shape[2:])
    down = F.conv2d(each, kernel.view(1, 1, -1, 1), padding=(HALO, 0))
    return F.conv2d(down, kernel.view(1, 1, 1, -1), padding=(0, HALO)).reshape(x.shape)
