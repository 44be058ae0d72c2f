"""AR-CDNet as published, for pairs of RGB images: ResNet-18-d encoder, 14,342,446 parameters.

What is special in it:

- one encoder for both dates, with pyramid pooling and a pyramid of features at strides 4, 8, 16, 32;
- temporal differences by two 3-D convolutions with a depth of the two dates;
- a knowledge-review decoder and an uncertainty branch, as described in `patchfree.models.ar_cdnet`.

It maps a pair in one piece only: its pools and its interpolation have the size of the scene in them. In training its norms take
statistics over several pairs at a time.

Reference: Li et al., "Towards Accurate and Reliable Change Detection of Remote Sensing Images via Knowledge Review and Online
Uncertainty Estimation", arXiv:2305.19513, 2023.

Differences: (1) The second 3-D convolution gets the dates in the other order, as the paper means; the authors' code gives both the
same order. (2) Each date is standardised by its own mean and deviation in place of ImageNet's. (3) The encoder's weights are
random: none are downloaded. Weights of one's own can be loaded into `encoder`, which is timm's `resnet18d`. (4) The sides
of a map that has one pixel, in a batch of one, are normed by running statistics. (5) A score for each of two classes, as in
`ar_cdnet`.

Dimension key: b batch, c channels, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.errors import MissingExtra
from patchfree.models._contract import FeatureMap, Masks, Stage
from patchfree.models._pairs import PairModel, own_scale
from patchfree.models._statistics import Statistics

CHANNELS = 64
POOLS = (1, 2, 3, 5)
ENCODED = (64, 128, 256, 512)
"""Channels of the encoder's maps at strides 4, 8, 16 and 32."""


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that falls back on its running statistics where there is one value of each channel."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same shape out as in."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def convolution(channels: int, out: int, size: int = 3, *, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution and batch norm, and ReLU if wanted."""
    parts = [nn.Conv2d(channels, out, size, stride, size // 2), BatchNorm(out)]
    return nn.Sequential(*parts, nn.ReLU()) if relu else nn.Sequential(*parts)


def head(channels: int = CHANNELS) -> nn.Sequential:
    """One number for each pixel."""
    return nn.Sequential(convolution(channels, channels), nn.Conv2d(channels, 1, 1))


def raised(x: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """Bilinear, corners on corners, as published."""
    return F.interpolate(x, size=tuple(size[-2:]), mode="bilinear", align_corners=True)


class PyramidPooling(nn.Module):
    """What lies around at four scales, beside the map itself (Zhao et al., CVPR 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.pools = nn.ModuleList(convolution(ENCODED[-1], CHANNELS, 1) for _ in POOLS)
        self.merge = convolution(ENCODED[-1] + len(POOLS) * CHANNELS, CHANNELS)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        """Same size out as in."""
        around = [
            raised(pool(F.adaptive_avg_pool2d(x, side)), x.shape) for pool, side in zip(self.pools, POOLS, strict=True)
        ]
        return self.merge(torch.cat((x, *around), 1))


class Fusion(nn.Module):
    """A fine map steered by a coarser one (feature fusion module)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = convolution(CHANNELS, CHANNELS, relu=False)
        self.refine = convolution(CHANNELS, CHANNELS, relu=False)
        self.merge = convolution(2 * CHANNELS, CHANNELS)

    def forward(self, high: Float[Tensor, "b c h2 w2"], low: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """At the size of `low`."""
        high = raised(high, low.shape)
        low = self.refine(low * torch.sigmoid(self.gate(high)) + low)
        return self.merge(torch.cat((high, low), 1))


class Difference(nn.Module):
    """What differs between two dates (temporal difference extraction)."""

    def __init__(self) -> None:
        super().__init__()
        # A 3-D convolution of a depth of two dates, over both, is a 2-D one of the channels of both.
        self.convs = nn.ModuleList(nn.Conv2d(2 * CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(BatchNorm(CHANNELS) for _ in range(2))

    def forward(self, x: Float[Tensor, "b2 c h w"]) -> Float[Tensor, "b c h w"]:
        """From a batch of all first, then all second dates."""
        first, second = x.chunk(2)
        there, back = (
            F.relu(norm(conv(torch.cat(dates, 1))))
            for conv, norm, dates in zip(self.convs, self.norms, ((first, second), (second, first)), strict=True)
        )
        return there + back


class Enhancement(nn.Module):
    """A reading of two differences under an attention map (feature enhancement unit)."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = convolution(2 * CHANNELS, 2 * CHANNELS, 1)
        self.squeeze, self.excite = nn.Linear(2 * CHANNELS, CHANNELS // 8), nn.Linear(CHANNELS // 8, 2 * CHANNELS)
        self.conv = convolution(2 * CHANNELS, CHANNELS)

    def forward(
        self, x: Float[Tensor, "b c h w"], attention: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, "b c2 h w"]:
        """Attended where `attention` is near 1."""
        x = self.reduce(x)
        x = x if attention is None else x * attention + x
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.conv(x * weight[:, :, None, None])


class Review(nn.Module):
    """A coarser difference read again beside the finest one (knowledge review module)."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.ModuleList(Enhancement() for _ in range(3))
        self.merge = convolution(CHANNELS + 1, CHANNELS)

    def forward(
        self, x: Float[Tensor, "b c h w"], fine: Float[Tensor, "b 1 h w"], coarse: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b c2 h w"]:
        """From both differences and their side outputs (logits)."""
        p, q = torch.sigmoid(fine), torch.sigmoid(coarse)
        readings = zip(self.units, (None, 1 - q, (1 - q) * p + (1 - p) * q), strict=True)
        total = torch.stack([unit(x, attention) for unit, attention in readings]).sum(0)
        return self.merge(torch.cat((total, fine), 1))


class ARCDNetRGB(PairModel):
    """Change scores of every pixel of two RGB images, with the uncertainty that the network predicts. Needs the extra `change`.

    Args:
        bands: 6.
        classes: 2: unchanged and changed.

    Raises:
        MissingExtra: timm is not installed.
    """

    context = None
    reach = 1 << 20  # pooled over all of the scene
    stride = 1
    references = ("ar-cdnet", "resnet-d", "pyramid-pooling")
    streams = False
    batch_statistics = True
    supervised: ClassVar[tuple[str, ...]] = ("scores", "side0", "side1", "side2", "side3", "uncertainty")

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes)
        if (bands, classes) != (6, 2):
            raise ValueError(
                f"Got {bands // 2} bands a date and {classes} classes; the published AR-CDNet takes 3 bands (red, green, blue) and "
                "tells 2 classes apart. Take ar-cdnet for other scenes."
            )
        try:
            import timm
        except ImportError:
            raise MissingExtra("timm", "change", "The model ar-cdnet-rgb") from None
        self.encoder = timm.create_model(
            "resnet18d",
            pretrained=False,
            features_only=True,
            out_indices=(1, 2, 3, 4),
            norm_layer=BatchNorm,
            zero_init_last=False,  # every layer learns from the first step
        )
        self.laterals = nn.ModuleList(convolution(c, CHANNELS, 1) for c in ENCODED[:-1])
        self.pooling = PyramidPooling()
        self.fusions = nn.ModuleList(Fusion() for _ in ENCODED[:-1])
        self.differences = nn.ModuleList(Difference() for _ in ENCODED)
        self.sides = nn.ModuleList(head() for _ in ENCODED)
        self.texture = nn.Sequential(convolution(3, 32, stride=2), convolution(32, CHANNELS, stride=2))
        self.texture_difference = Difference()
        self.texture_fusion = Fusion()
        self.reviews = nn.ModuleList(Review() for _ in ENCODED[1:])
        self.merge = convolution(5 * CHANNELS, CHANNELS, 1)
        self.head = head()
        self.uncertainty_head = head()

    def stages(self) -> tuple[Stage, ...]:
        """One stage: it cannot be taken apart."""
        gives = (FeatureMap("scores", 2), FeatureMap("uncertainty", 1), *(FeatureMap(f"side{i}", 1) for i in range(4)))
        return (Stage(("scene",), gives, 0, 1, self._run),)

    def _run(self, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
        x = own_scale(maps["scene"], masks, statistics)
        *fine, deep = self.encoder(x)
        pyramid = [self.pooling(deep)]
        for lateral, fusion, level in reversed(list(zip(self.laterals, self.fusions, fine, strict=True))):
            pyramid.insert(0, fusion(pyramid[0], lateral(level)))
        differences = [take(level) for take, level in zip(self.differences, pyramid, strict=True)]
        finest, size = differences[0], x.shape
        differences = [finest, *(raised(each, finest.shape) for each in differences[1:])]
        sides = [side(each) for side, each in zip(self.sides, differences, strict=True)]
        doubt = self.texture_fusion(finest, self.texture_difference(self.texture(x)))
        reviewed = [
            review(torch.cat((finest, each), 1), sides[0], side)
            for review, each, side in zip(self.reviews, differences[1:], sides[1:], strict=True)
        ]
        changed = raised(self.head(self.merge(torch.cat((finest, *reviewed, doubt), 1))), size)
        given = {f"side{i}": raised(side, size) for i, side in enumerate(sides)}
        scores = torch.cat((torch.zeros_like(changed), changed), 1)
        return {"scores": scores, "uncertainty": raised(self.uncertainty_head(doubt), size), **given}
