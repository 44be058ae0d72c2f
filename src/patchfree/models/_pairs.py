"""What the networks of two dates share: each date by its own mean and deviation, and one encoder for both.

The bands of such a network are those of the first date, then those of the second. It takes each band's mean and deviation over
the scene itself, like any other whole-scene statistic: another light, atmosphere or gain at one of the dates is no change,
and swapping the dates swaps its inputs, whatever the training scene was standardised with.

Both dates go through the same layers as a batch: all first dates, then all second dates. Their statistics are taken apart, and
gathered together (`PerDate`), so that windows need no more passes than for one date.

Dimension key: b batch, c channels, h rows, w columns.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.models._contract import Masks, SceneModel
from patchfree.models._layers import GroupNorm, keep
from patchfree.models._statistics import OF_THE_SCENE, Statistics

DATES = ("before", "after")


class PairModel(SceneModel, ABC):
    """A network of two dates, constructed with the bands of both together."""

    dates: ClassVar[int] = 2

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes)
        if bands % 2:
            raise ValueError(f"Got {bands} bands; a network of two dates needs as many of the first as of the second.")


class PerDate(Statistics):
    """The statistics of two dates that lie one after the other in a batch, gathered together and given apart."""

    def __init__(self, both: Statistics) -> None:
        self.both = both

    def mean(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, "b c"]:
        """Mean of each channel of each date."""
        found = self.both.mean(key, joined(x), None if valid is None else valid.chunk(2)[0])
        return torch.cat(found.chunk(2, 1))

    def moments(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None, groups: int
    ) -> tuple[Float[Tensor, "b g"], Float[Tensor, "b g"]]:
        """Mean and variance of each group of channels of each date."""
        mean, variance = self.both.moments(key, joined(x), None if valid is None else valid.chunk(2)[0], 2 * groups)
        return torch.cat(mean.chunk(2, 1)), torch.cat(variance.chunk(2, 1))


def per_date(statistics: Statistics) -> Statistics:
    """The same statistics for a batch of two dates; on the spot each member of a batch has its own anyway."""
    return statistics if statistics is OF_THE_SCENE else PerDate(statistics)


def joined(x: Float[Tensor, "b2 c h w"]) -> Float[Tensor, "b c2 h w"]:
    """The channels of the first date, then those of the second, of a batch of both."""
    return torch.cat(x.chunk(2), 1)


def both(valid: Float[Tensor, "b 1 h w"] | None) -> Float[Tensor, "b2 1 h w"] | None:
    """Where there is data, for a batch of both dates."""
    return None if valid is None else torch.cat((valid, valid))


def own_scale(x: Float[Tensor, "b c2 h w"], masks: Masks, statistics: Statistics) -> Float[Tensor, "b2 c h w"]:
    """A batch of both dates, each band of each with mean 0 and deviation 1 over the scene; 0 where there is no data."""
    valid, (b, c, h, w) = masks.at(1), x.shape
    x = keep(x, valid).float()
    mean, variance = statistics.moments("dates", x, valid, c)
    scale = torch.rsqrt(variance + 1e-5)
    dates = torch.empty(2 * b, c // 2, h, w, device=x.device, memory_format=torch.channels_last)
    for date, own, centre, share in zip(
        dates.chunk(2), x.chunk(2, 1), mean.chunk(2, 1), scale.chunk(2, 1), strict=True
    ):
        torch.sub(own, centre[:, :, None, None], out=date).mul_(share[:, :, None, None])
        if valid is not None:
            date.mul_(valid)
    return dates


def mixed(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
    """For a batch of both dates: each date's channels with those of the other behind them.

    A layer on this, with its two halves summed up, treats the dates alike.
    """
    first, second = x.chunk(2)
    return torch.cat((torch.cat((first, second), 1), torch.cat((second, first), 1)))


class TemporalDifference(nn.Module):
    """What differs between two dates: 3x3 convolution, GroupNorm and ReLU on both orders of the dates, summed up.

    Reference: Li et al., arXiv:2305.19513, 2023 (temporal difference extraction). Difference: there, two 3-D convolutions
    of a depth of both dates, which the authors' code gives the same order; here one, with shared weights for both orders,
    so that swapping the dates changes nothing.

    Args:
        channels: of a date's features.
        out: of the difference.
        key: its name.
    """

    def __init__(self, channels: int, out: int, key: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, out, 3, padding=1)
        self.norm = GroupNorm(out, f"{key}.norm")

    def forward(
        self, x: Float[Tensor, "b2 c h w"], valid: Float[Tensor, "b2 1 h w"] | None, statistics: Statistics
    ) -> Float[Tensor, "b c2 h w"]:
        """The difference, from a batch of both dates."""
        found = F.relu(self.norm(keep(self.conv(mixed(x)), valid), valid, per_date(statistics)))
        first, second = found.chunk(2)
        return first + second
