"""Layers that several networks are made of; statistics are the whole scene's, and pixels without data count as outside it.

Dimension key: b batch, c channels, h rows, w columns.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.models._normalise import group_norm, group_normalised
from patchfree.models._statistics import OF_THE_SCENE, Statistics

GROUPS = 16


def keep(x: Tensor, valid: Tensor | None) -> Tensor:
    """The map, 0 where there is no data."""
    return x if valid is None else x * valid.to(x.dtype)


def pixel_by_pixel(bands: int, hidden: int, classes: int) -> nn.Sequential:
    """Two hidden layers with ReLU, and scores, for each pixel by itself."""
    return nn.Sequential(
        nn.Conv2d(bands, hidden, 1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(),
        nn.Conv2d(hidden, classes, 1),
    )


class GroupNorm(nn.GroupNorm):
    """GroupNorm whose statistics are the scene's, and leave out the pixels without data; `key` is its name."""

    def __init__(self, channels: int, key: str) -> None:
        super().__init__(GROUPS, channels)
        self.key = key

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        valid: Float[Tensor, "b 1 h w"] | None = None,
        statistics: Statistics = OF_THE_SCENE,
    ) -> Tensor:
        """Normalise; `valid` is 1 where there is data, and `x` is 0 where it is not."""
        if statistics is OF_THE_SCENE and x[0].numel() > self.num_groups:  # torch refuses groups of a single value
            if valid is None and not (torch.is_grad_enabled() and x.device.type == "cpu"):
                return super().forward(x)
            return group_norm(x, valid, self.weight, self.bias, self.num_groups, self.eps)
        mean, variance = statistics.moments(self.key, x, valid, self.num_groups)
        return group_normalised(x, valid, mean, variance, self.weight, self.bias, self.eps)


class SqueezeExcitation(nn.Module):
    """Weigh channels by a bottleneck of their scene-wide means (Hu et al., CVPR 2018); `key` is its name."""

    def __init__(self, channels: int, reduction: int, key: str) -> None:
        super().__init__()
        self.key = key
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        valid: Float[Tensor, "b 1 h w"] | None = None,
        statistics: Statistics = OF_THE_SCENE,
    ) -> Tensor:
        """Scale each channel by a weight between 0 and 1."""
        pooled = statistics.mean(self.key, x, valid)
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(pooled))))
        return x * weight[:, :, None, None].to(x.dtype)


class Block(nn.Module):
    """Squeeze-excitation, then 3x3 convolution, GroupNorm, ReLU."""

    def __init__(self, channels: int, reduction: int, key: str) -> None:
        super().__init__()
        self.attention = SqueezeExcitation(channels, reduction, f"{key}.attention")
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = GroupNorm(channels, f"{key}.norm")

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        valid: Float[Tensor, "b 1 h w"] | None = None,
        statistics: Statistics = OF_THE_SCENE,
    ) -> Tensor:
        """Same shape out as in."""
        found = keep(self.conv(self.attention(x, valid, statistics)), valid)
        # In place: no layer needs its result as it was, and it is a tenth of the time.
        return self.norm(found, valid, statistics).relu_()
