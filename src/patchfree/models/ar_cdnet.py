"""AR-CDNet on whole scenes: change scores, side outputs, and an uncertainty that the network learns as it trains.

What is special in it:

- a temporal difference of the two dates at each of four levels (`TemporalDifference`);
- a knowledge-review decoder: each coarser difference is read again beside the finest one, in three ways: plainly, where its
  side output sees no change, and where the two side outputs disagree;
- an uncertainty branch, from the finest difference and the dates' textures: it learns |truth - probability| of the final answer.

Reference: Li et al., "Towards Accurate and Reliable Change Detection of Remote Sensing Images via Knowledge Review and Online
Uncertainty Estimation", arXiv:2305.19513, 2023.

Differences from the published network (`patchfree.models.ar_cdnet_rgb` is that one): (1) FreeNet's encoder, at half its width, with
strides 1, 2, 4, 8, for any number of bands; its squeeze-excitation stands for the pyramid pooling, and the levels go to the differences
without a pyramid of features. (2) Symmetrised differences. (3) GroupNorm over the whole scene in place of batch normalisation.
(4) Nearest in place of bilinear upsampling, so that windows give the answer of the whole. (5) 32 channels in place of 64.
(6) The final head gives a score for each of two classes by one number, whose sign says which.

Dimension key: b batch, c channels, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.models._contract import FeatureMap, Masks, Stage
from patchfree.models._encoder import encoder_parts, shared_encoder
from patchfree.models._layers import GROUPS, GroupNorm, SqueezeExcitation, keep
from patchfree.models._pairs import DATES, PairModel, TemporalDifference, both, own_scale, per_date
from patchfree.models._statistics import OF_THE_SCENE, Statistics

LEVELS = 4


class Convolution(nn.Module):
    """Convolution, GroupNorm, ReLU; `key` is its name."""

    def __init__(self, channels: int, out: int, key: str, *, size: int = 3, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, size, padding=size // 2)
        self.norm = GroupNorm(out, key)
        self.relu = relu

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        valid: Float[Tensor, "b 1 h w"] | None = None,
        statistics: Statistics = OF_THE_SCENE,
    ) -> Float[Tensor, "b c2 h w"]:
        """Same size out as in."""
        x = self.norm(keep(self.conv(x), valid), valid, statistics)
        return F.relu(x) if self.relu else x


class Head(nn.Module):
    """One number for each pixel: 3x3 convolution, GroupNorm, ReLU, 1x1 convolution."""

    def __init__(self, channels: int, key: str) -> None:
        super().__init__()
        self.body = Convolution(channels, channels, key)
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None, statistics: Statistics
    ) -> Float[Tensor, "b 1 h w"]:
        """A logit."""
        return keep(self.last(self.body(x, valid, statistics)), valid)


class Fusion(nn.Module):
    """A fine map steered by another one (feature fusion module of the paper, both of one size here)."""

    def __init__(self, channels: int, key: str) -> None:
        super().__init__()
        self.gate = Convolution(channels, channels, f"{key}.gate", relu=False)
        self.refine = Convolution(channels, channels, f"{key}.refine", relu=False)
        self.merge = Convolution(2 * channels, channels, f"{key}.merge")

    def forward(
        self,
        high: Float[Tensor, "b c h w"],
        low: Float[Tensor, "b c h w"],
        valid: Float[Tensor, "b 1 h w"] | None,
        statistics: Statistics,
    ) -> Float[Tensor, "b c h w"]:
        """What `low` holds where `high` says so, beside `high`."""
        gate = torch.sigmoid(self.gate(high, valid, statistics))
        low = self.refine(low * gate + low, valid, statistics)
        return self.merge(torch.cat((high, low), 1), valid, statistics)


class Enhancement(nn.Module):
    """A reading of two differences under an attention map (feature enhancement unit of the paper)."""

    def __init__(self, channels: int, out: int, key: str) -> None:
        super().__init__()
        self.reduce = Convolution(channels, channels, f"{key}.reduce", size=1)
        self.attention = SqueezeExcitation(channels, max(1, channels // max(8, channels // 16)), f"{key}.attention")
        self.conv = Convolution(channels, out, f"{key}.conv")

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        attention: Float[Tensor, "b 1 h w"] | None,
        valid: Float[Tensor, "b 1 h w"] | None,
        statistics: Statistics,
    ) -> Float[Tensor, "b c2 h w"]:
        """Attended where `attention` is near 1; everywhere alike if it is None."""
        x = self.reduce(x, valid, statistics)
        x = x if attention is None else x * attention + x
        return self.conv(self.attention(x, valid, statistics), valid, statistics)


class Review(nn.Module):
    """A coarser difference read again beside the finest one (knowledge review module of the paper)."""

    def __init__(self, channels: int, key: str) -> None:
        super().__init__()
        self.units = nn.ModuleList(Enhancement(2 * channels, channels, f"{key}.{i}") for i in range(3))
        self.merge = Convolution(channels + 1, channels, f"{key}.merge")

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        fine: Float[Tensor, "b 1 h w"],
        coarse: Float[Tensor, "b 1 h w"],
        valid: Float[Tensor, "b 1 h w"] | None,
        statistics: Statistics,
    ) -> Float[Tensor, "b c2 h w"]:
        """From both differences, and the side outputs (logits) at the finest and the coarser level."""
        p, q = torch.sigmoid(fine), torch.sigmoid(coarse)
        unsure = (1 - q) * p + (1 - p) * q
        readings = zip(self.units, (None, 1 - q, unsure), strict=True)
        total = torch.stack([unit(x, attention, valid, statistics) for unit, attention in readings]).sum(0)
        return self.merge(torch.cat((total, fine), 1), valid, statistics)


class ARCDNet(PairModel):
    """Change scores of every pixel of two dates, with the uncertainty that the network predicts.

    Args:
        bands: number of bands of both dates together.
        classes: 2: unchanged and changed.

    Example:
        >>> ARCDNet(bands=8, classes=2)(torch.zeros(1, 8, 9, 13)).shape
        torch.Size([1, 2, 9, 13])
    """

    context = None
    reach = 90  # summed over the kernels along the longest way, upsampling included
    stride = 8
    references = ("ar-cdnet", "freenet", "group-norm", "squeeze-excitation")
    symmetric = True
    supervised: ClassVar[tuple[str, ...]] = ("scores", *(f"side{level}" for level in range(LEVELS)), "uncertainty")

    def __init__(self, *, bands: int, classes: int, width: float = 0.5) -> None:
        super().__init__(bands=bands, classes=classes)
        if classes != 2:
            raise ValueError(f"Got {classes} classes; AR-CDNet tells two apart, unchanged and changed.")
        self.channels = [int(c * width) // GROUPS * GROUPS for c in (96, 128, 192, 256)]
        c = self.inner = int(64 * width)
        for name, part in encoder_parts(bands // 2, self.channels, (1,) * LEVELS, int(16 * width)).items():
            self.add_module(name, part)
        self.laterals = nn.ModuleList(
            Convolution(each, c, f"laterals.{i}", size=1) for i, each in enumerate(self.channels)
        )
        self.differences = nn.ModuleList(TemporalDifference(c, c, f"differences.{i}") for i in range(LEVELS))
        self.sides = nn.ModuleList(Head(c, f"sides.{i}") for i in range(LEVELS))
        self.texture = nn.ModuleList(
            (Convolution(bands // 2, c // 2, "texture.0"), Convolution(c // 2, c, "texture.1"))
        )
        self.texture_difference = TemporalDifference(c, c, "texture_difference")
        self.texture_fusion = Fusion(c, "texture_fusion")
        self.reviews = nn.ModuleList(Review(c, f"reviews.{i}") for i in range(1, LEVELS))
        self.merge = Convolution(5 * c, c, "merge", size=1)
        self.head = Head(c, "head")
        self.uncertainty_head = Head(c, "uncertainty_head")

    def stages(self) -> tuple[Stage, ...]:
        """The shared encoder; a difference a level; the uncertainty's features; a review a coarser level; the heads."""
        c, stages = self.inner, list(shared_encoder(self, self.channels))
        for level in range(LEVELS):
            stride = 2**level
            reads = tuple(f"{date}.features{level}" for date in DATES)
            gives = (FeatureMap(f"difference{level}", c, stride), FeatureMap(f"side{level}", 1, stride))
            stages.append(Stage(reads, gives, 2 * stride, stride, partial(self._differ, level)))
        stages.append(Stage(("scene", "difference0"), (FeatureMap("doubt", c),), 5, 1, self._doubt))
        for level in range(1, LEVELS):
            reads = ("difference0", "side0", f"difference{level}", f"side{level}")
            # Two kernels, and the nearest coarse pixel may lie up to a stride less one away.
            stages.append(
                Stage(reads, (FeatureMap(f"review{level}", c),), 1 + 2**level, 1, partial(self._review, level))
            )
        reads = ("difference0", *(f"review{level}" for level in range(1, LEVELS)), "doubt")
        stages.append(Stage(reads, (FeatureMap("scores", 2), FeatureMap("uncertainty", 1)), 1, 1, self._answer))
        return tuple(stages)

    def _differ(
        self, level: int, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        valid = masks.at(2**level)
        twice = both(valid)
        x = torch.cat([maps[f"{date}.features{level}"] for date in DATES])
        x = self.laterals[level](x, twice, per_date(statistics))
        difference = self.differences[level](x, twice, statistics)
        return {f"difference{level}": difference, f"side{level}": self.sides[level](difference, valid, statistics)}

    def _doubt(self, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
        valid = masks.at(1)
        x, twice = own_scale(maps["scene"], masks, statistics), both(valid)
        for layer in self.texture:
            x = layer(x, twice, per_date(statistics))
        x = self.texture_difference(x, twice, statistics)
        return {"doubt": self.texture_fusion(maps["difference0"], x, valid, statistics)}

    def _review(
        self, level: int, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        valid, finest = masks.at(1), maps["difference0"]

        def raised(name: str) -> Tensor:
            x = F.interpolate(maps[f"{name}{level}"], scale_factor=2**level, mode="nearest")
            return keep(x[..., : finest.shape[2], : finest.shape[3]], valid)

        x = torch.cat((finest, raised("difference")), 1)
        return {f"review{level}": self.reviews[level - 1](x, maps["side0"], raised("side"), valid, statistics)}

    def _answer(self, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
        valid = masks.at(1)
        read = [maps["difference0"], *(maps[f"review{level}"] for level in range(1, LEVELS)), maps["doubt"]]
        changed = self.head(self.merge(torch.cat(read, 1), valid, statistics), valid, statistics)
        uncertainty = self.uncertainty_head(maps["doubt"], valid, statistics)
        return {"scores": torch.cat((torch.zeros_like(changed), changed), 1), "uncertainty": uncertainty}
