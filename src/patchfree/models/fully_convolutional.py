"""Fully convolutional networks of Daudt et al. for two dates: early fusion (a U-Net), and Siamese with differences.

What is special in them:

- a small U-Net of four levels, 16 to 128 channels, 1.35 million parameters: what published change detection networks
  often fail to beat (Corley et al., "A change detection reality check", 2024);
- early fusion stacks the dates as bands; the Siamese form encodes each date alike and hands the absolute differences to the
  decoder.

Reference: Daudt, Le Saux, Boulch, "Fully convolutional Siamese networks for change detection", ICIP 2018.

Differences: (1) GroupNorm over the whole scene in place of batch normalisation, since a step sees one scene. (2) No dropout. (3) The
decoder of the Siamese form starts from the absolute difference of the deepest maps, where the authors' code takes the second
date's: so swapping the dates changes nothing. (4) Each date is standardised by its own statistics (`_pairs`). (5) Any size
is taken; pixels without data count as outside the scene.

Dimension key: b batch, c channels, k classes, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.models._contract import FeatureMap, Masks, Stage
from patchfree.models._layers import GroupNorm, keep
from patchfree.models._pairs import DATES, PairModel, both, joined, own_scale, per_date
from patchfree.models._statistics import Statistics

CHANNELS = (16, 32, 64, 128)
DOWN = (2, 2, 3, 3)
"""Convolutions of each level of the encoder."""
UP = ((16,), (32, 16), (64, 64, 32), (128, 128, 64))
"""Channels that the convolutions of each level of the decoder give; at the finest level the one that gives scores follows."""


class Convolutions(nn.Module):
    """3x3 convolutions, each with GroupNorm and ReLU behind it."""

    def __init__(self, before: int, channels: tuple[int, ...], key: str) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip((before, *channels), channels, strict=False)
        )
        self.norms = nn.ModuleList(GroupNorm(c, f"{key}.{i}") for i, c in enumerate(channels))

    def forward(
        self, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None, statistics: Statistics
    ) -> Float[Tensor, "b c2 h w"]:
        """Same size out as in; 0 where there is no data."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(keep(conv(x), valid), valid, statistics))
        return x


class _FullyConvolutional(PairModel):
    """What both networks are: an encoder for one stack of bands, and a decoder."""

    context = None
    stride = 16
    references = ("fc-siam", "u-net", "group-norm")
    reach = 108  # summed over the kernels from the deepest level to the finest and back
    siamese: bool

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes)
        seen = bands // 2 if self.siamese else bands
        self.downs = nn.ModuleList(
            Convolutions(a, (c,) * n, f"downs.{i}")
            for i, (a, c, n) in enumerate(zip((seen, *CHANNELS), CHANNELS, DOWN, strict=False))
        )
        self.raises = nn.ModuleList(
            nn.ConvTranspose2d(c, c, 3, stride=2, padding=1, output_padding=1) for c in CHANNELS
        )
        self.ups = nn.ModuleList(Convolutions(2 * c, UP[i], f"ups.{i}") for i, c in enumerate(CHANNELS))
        self.head = nn.Conv2d(UP[0][-1], classes, 3, padding=1)
        self.inputs = DATES if self.siamese else ("dates",)

    def stages(self) -> tuple[Stage, ...]:
        """Encoder, one stage a level, downwards; then the decoder, one stage a level, upwards."""
        last, down, up = len(CHANNELS) - 1, [], []
        for level, channels in enumerate(CHANNELS):
            stride = 2**level
            reads = tuple(f"{each}.down{level}" for each in self.inputs) if level else ("scene",)
            skips = tuple(FeatureMap(f"{each}.skip{level}", channels, stride) for each in self.inputs)
            handed = tuple(FeatureMap(f"{each}.down{level + 1}", channels, 2 * stride) for each in self.inputs)
            halo = stride * (DOWN[level] + 1)  # a pixel for each 3x3 kernel and for the pooling
            down.append(Stage(reads, skips + handed, halo, stride, partial(self._encode, level)))
            name, width = (f"up{level}", UP[level][-1]) if level else ("scores", self.classes)
            reads = (
                tuple(made.name for made in handed) if level == last else (f"up{level + 1}",)
            )  # the deepest map first
            reads += tuple(made.name for made in skips)
            halo = stride * (len(UP[level]) + (level == 0) + 1)
            up.append(Stage(reads, (FeatureMap(name, width, stride),), halo, stride, partial(self._decode, level)))
        return (*down, *reversed(up))

    def _encode(
        self, level: int, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        valid, below = masks.at(2**level), masks.at(2 ** (level + 1))
        if level:
            x = torch.cat([maps[f"{each}.down{level}"] for each in self.inputs])
        else:
            x = own_scale(maps["scene"], masks, statistics)
            x = x if self.siamese else joined(x)
        if self.siamese:
            valid, below, statistics = both(valid), both(below), per_date(statistics)
        x = self.downs[level](x, valid, statistics)
        handed = keep(F.max_pool2d(x, 2, ceil_mode=True), below)
        count = len(self.inputs)
        given = {f"{each}.skip{level}": part for each, part in zip(self.inputs, x.chunk(count), strict=True)}
        return given | {
            f"{each}.down{level + 1}": part for each, part in zip(self.inputs, handed.chunk(count), strict=True)
        }

    def _decode(
        self, level: int, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        valid, last = masks.at(2**level), len(CHANNELS) - 1
        deep = self._fused(maps, f"down{level + 1}") if level == last else maps[f"up{level + 1}"]
        skip = self._fused(maps, f"skip{level}")
        raised = keep(self.raises[level](deep)[..., : skip.shape[2], : skip.shape[3]], valid)
        x = self.ups[level](torch.cat((raised, skip), 1), valid, statistics)
        return {f"up{level}": x} if level else {"scores": self.head(x)}

    def _fused(self, maps: Mapping[str, Tensor], name: str) -> Tensor:
        first, *second = (maps[f"{each}.{name}"] for each in self.inputs)
        return (first - second[0]).abs() if second else first


class EarlyFusion(_FullyConvolutional):
    """Scores of every pixel of two dates, stacked as bands: FC-EF, a U-Net. The order of the dates matters to it.

    Args:
        bands: number of bands of both dates together.
        classes: number of classes.

    Example:
        >>> sum(p.numel() for p in EarlyFusion(bands=6, classes=2).parameters())
        1350578
    """

    siamese = False


class SiameseDifference(_FullyConvolutional):
    """Scores of every pixel of two dates, encoded alike and compared at each level: FC-Siam-diff.

    Args:
        bands: number of bands of both dates together.
        classes: number of classes.

    Example:
        >>> sum(p.numel() for p in SiameseDifference(bands=6, classes=2).parameters())
        1350146
    """

    siamese = True
    symmetric = True
