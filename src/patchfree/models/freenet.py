"""FreeNet: an encoder-decoder that sees the whole scene, layer for layer as published.

What is special in it:

- squeeze-excitation comes *before* each 3x3 convolution, and there is no residual;
- stages are joined by strided convolutions without normalisation, strides 1, 2, 4, 8;
- the decoder adds 1x1 laterals to the upsampled level below, without norm or activation;
- GroupNorm and squeeze-excitation take statistics over the whole scene, so `context` is None:
  a window of the scene does not give the scene's answer.

Reference: Zheng, Zhong, Ma, Zhang, "FPGA: Fast Patch-Free Global Learning Framework for Fully
End-to-End Hyperspectral Image Classification", IEEE TGRS 58(8):5612-5626, 2020.

Differences: (1) any size is taken without padding (a level of odd size is upsampled and cropped), where
the authors pad the scene to a multiple of 16 and let the padding count in the statistics; at multiples
of 8 the two are equal. (2) Pixels without data are treated as what lies outside the scene: zero in every
feature map and left out of every statistic, so a collar of nodata does not change the map (at the top and
left, one of a multiple of 8 pixels). (3) The output is always the scores; softmax and loss belong to the caller.

Dimension key: b batch, c channels, k classes, h rows, w columns.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchfree.models._contract import SceneModel

GROUPS = 16


class GroupNorm(nn.GroupNorm):
    """GroupNorm whose statistics leave out the pixels without data."""

    def forward(self, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None = None) -> Tensor:
        """Normalise; `valid` is 1 where there is data, and `x` is 0 where it is not."""
        if valid is None:
            return super().forward(x)
        b, c, h, w = x.shape
        grouped = x.float().reshape(b, self.num_groups, c // self.num_groups, h, w)
        mask = valid[:, None].float()
        count = (mask.sum((2, 3, 4), keepdim=True) * (c // self.num_groups)).clamp(min=1)
        mean = grouped.sum((2, 3, 4), keepdim=True) / count
        centred = (grouped - mean) * mask
        variance = centred.square().sum((2, 3, 4), keepdim=True) / count
        normed = (centred * torch.rsqrt(variance + self.eps)).reshape(b, c, h, w)
        scaled = normed * self.weight[:, None, None] + self.bias[:, None, None]
        return (scaled * valid).to(x.dtype)


class SqueezeExcitation(nn.Module):
    """Weigh channels by a bottleneck of their scene-wide means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None = None) -> Tensor:
        """Scale each channel by a weight between 0 and 1."""
        pooled = x.mean((2, 3)) if valid is None else x.float().sum((2, 3)) / valid.float().sum((2, 3)).clamp(min=1)
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(pooled))))
        return x * weight[:, :, None, None].to(x.dtype)


class Block(nn.Module):
    """Squeeze-excitation, then 3x3 convolution, GroupNorm, ReLU."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.attention = SqueezeExcitation(channels, reduction)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = GroupNorm(GROUPS, channels)

    def forward(self, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None = None) -> Tensor:
        """Same shape out as in."""
        return F.relu(self.norm(_keep(self.conv(self.attention(x, valid)), valid), valid))


class FreeNet(SceneModel):
    """Scores of every pixel of a scene of any size.

    Args:
        bands: number of bands of the (standardised) scene.
        classes: number of classes.
        width: factor on all channel counts; 1.0 is the published network.
        blocks: blocks in each of the four stages.

    Example:
        >>> sum(p.numel() for p in FreeNet(bands=103, classes=9).parameters())
        2712755
        >>> FreeNet(bands=4, classes=3, width=0.5)(torch.zeros(1, 4, 9, 13)).shape
        torch.Size([1, 3, 9, 13])
    """

    context = None
    reach = 45  # 38 by the kernels, and up to 7 more towards the top left by the upsampling

    def __init__(self, *, bands: int, classes: int, width: float = 1.0, blocks: Sequence[int] = (1, 1, 1, 1)) -> None:
        super().__init__(bands=bands, classes=classes)
        reduction = int(16 * width)
        if reduction < 4 or GROUPS % reduction:  # below a quarter the stem has fewer channels than groups
            raise ValueError(f"Got width={width}; need 1, 0.5 or 0.25.")
        channels = [int(c * width) // GROUPS * GROUPS for c in (96, 128, 192, 256)]
        inner = int(128 * width)
        self.stem = nn.Conv2d(bands, channels[0], 3, padding=1)
        self.stem_norm = GroupNorm(GROUPS, channels[0])
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(c, reduction) for _ in range(n)) for c, n in zip(channels, blocks, strict=True)
        )
        self.downs = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(channels)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(c, inner, 1) for c in channels)
        self.fuses = nn.ModuleList(nn.Conv2d(inner, inner, 3, padding=1) for _ in channels)
        self.head = nn.Conv2d(inner, classes, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], valid: Bool[Tensor, "b h w"] | None = None
    ) -> Float[Tensor, "b k h w"]:
        """Scores before softmax."""
        if x.shape[1] != self.bands:
            raise ValueError(f"Got {x.shape[1]} bands, but this network was built for {self.bands}.")
        masks = _pyramid(valid, len(self.stages), x.dtype)
        x = F.relu(self.stem_norm(_keep(self.stem(_keep(x, masks[0])), masks[0]), masks[0]))
        laterals = []
        for level, stage in enumerate(self.stages):
            if level:
                x = _keep(F.relu(self.downs[level - 1](x)), masks[level])
            for block in stage:  # type: ignore[attr-defined]
                x = block(x, masks[level])
            laterals.append(_keep(self.laterals[level](x), masks[level]))
        x = _keep(self.fuses[-1](laterals[-1]), masks[-1])
        for level in reversed(range(len(laterals) - 1)):
            fine = laterals[level]
            coarse = F.interpolate(x, scale_factor=2, mode="nearest")[..., : fine.shape[2], : fine.shape[3]]
            x = _keep(self.fuses[level](_keep(fine + coarse, masks[level])), masks[level])
        scores: Tensor = self.head(x)
        return scores


def _pyramid(valid: Bool[Tensor, "b h w"] | None, levels: int, dtype: torch.dtype) -> list[Tensor] | list[None]:
    """The data mask at strides 1, 2, 4, ...: the pixel under the centre of each strided kernel."""
    if valid is None:
        return [None] * levels
    return [valid[:, None, :: 2**level, :: 2**level].to(dtype) for level in range(levels)]


def _keep(x: Tensor, valid: Tensor | None) -> Tensor:
    return x if valid is None else x * valid.to(x.dtype)
