"""Siamese FreeNet: FreeNet on two dates, whose levels hand the difference of the dates to the decoder.

What is special in it:

- one encoder, FreeNet's, sees both dates, each by its own mean and deviation;
- at each level the decoder gets the absolute difference of the two dates' features, so that swapping the dates changes
  nothing;
- everything else is FreeNet at half its width: a change has two classes and few labels.

Reference: ours, from Zheng et al., IEEE TGRS 58(8):5612-5626, 2020 (encoder and decoder), and Daudt, Le Saux, Boulch, "Fully
convolutional Siamese networks for change detection", ICIP 2018 (absolute differences at each level).

Dimension key: b batch, c channels, k classes, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from patchfree.models._contract import FeatureMap, Masks, Stage
from patchfree.models._encoder import encoder_parts, shared_encoder
from patchfree.models._layers import GROUPS, GroupNorm, keep
from patchfree.models._pairs import DATES, PairModel
from patchfree.models._statistics import Statistics


class SiameseFreeNet(PairModel):
    """Scores of every pixel of two dates on one grid.

    Args:
        bands: number of bands of both dates together.
        classes: number of classes.
        width: factor on FreeNet's channel counts.

    Example:
        >>> import torch
        >>> SiameseFreeNet(bands=8, classes=2)(torch.zeros(1, 8, 9, 13)).shape
        torch.Size([1, 2, 9, 13])
    """

    context = None
    reach = 45
    stride = 8
    references = ("freenet", "fc-siam", "group-norm", "squeeze-excitation")
    symmetric = True

    def __init__(self, *, bands: int, classes: int, width: float = 0.5) -> None:
        super().__init__(bands=bands, classes=classes)
        self.channels = [int(c * width) // GROUPS * GROUPS for c in (96, 128, 192, 256)]
        self.inner = int(128 * width)
        for name, part in encoder_parts(bands // 2, self.channels, (1, 1, 1, 1), int(16 * width)).items():
            self.add_module(name, part)
        self.laterals = nn.ModuleList(nn.Conv2d(c, self.inner, 1) for c in self.channels)
        self.fuses = nn.ModuleList(nn.Conv2d(self.inner, self.inner, 3, padding=1) for _ in self.channels)
        self.norms = nn.ModuleList(GroupNorm(self.inner, f"norms.{level}") for level in range(len(self.channels)))
        self.head = nn.Conv2d(self.inner, classes, 1)

    def stages(self) -> tuple[Stage, ...]:
        """The encoder on both dates, one stage a level, downwards; then the decoder, one stage a level, upwards."""
        last = len(self.channels) - 1
        up = []
        for level in range(last + 1):
            stride = 2**level
            name, width = (f"up{level}", self.inner) if level else ("scores", self.classes)
            reads = tuple(f"{date}.features{level}" for date in DATES)
            reads += (f"up{level + 1}",) if level < last else ()
            up.append(
                Stage(reads, (FeatureMap(name, width, stride),), 2 * stride, stride, partial(self._decode, level))
            )
        return (*shared_encoder(self, self.channels), *reversed(up))

    def _decode(
        self, level: int, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        valid = masks.at(2**level)
        before, after = (maps[f"{date}.features{level}"] for date in DATES)
        x = keep(self.laterals[level]((before - after).abs_()), valid)
        if level < len(self.channels) - 1:
            coarse = F.interpolate(maps[f"up{level + 1}"], scale_factor=2, mode="nearest")
            x = keep(x + coarse[..., : x.shape[2], : x.shape[3]], valid)
        x = self.norms[level](keep(self.fuses[level](x), valid), valid, statistics).relu_()
        return {f"up{level}": x} if level else {"scores": self.head(x)}
