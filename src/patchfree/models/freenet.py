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

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from patchfree.models._contract import FeatureMap, Masks, SceneModel, Stage
from patchfree.models._encoder import encode_level, encoder_parts
from patchfree.models._layers import GROUPS, keep
from patchfree.models._statistics import Statistics


class FreeNet(SceneModel):
    """Scores of every pixel of a scene of any size.

    Args:
        bands: number of bands of the (standardised) scene.
        classes: number of classes.
        width: factor on all channel counts; 1.0 is the published network.
        blocks: blocks in each of the four levels.

    Example:
        >>> import torch
        >>> sum(p.numel() for p in FreeNet(bands=103, classes=9).parameters())
        2712755
        >>> FreeNet(bands=4, classes=3, width=0.5)(torch.zeros(1, 4, 9, 13)).shape
        torch.Size([1, 3, 9, 13])
    """

    context = None
    reach = 45  # 38 by the kernels, and up to 7 more towards the top left by the upsampling
    stride = 8
    references: ClassVar[tuple[str, ...]] = ("freenet", "group-norm", "squeeze-excitation")

    def __init__(self, *, bands: int, classes: int, width: float = 1.0, blocks: Sequence[int] = (1, 1, 1, 1)) -> None:
        super().__init__(bands=bands, classes=classes)
        reduction = int(16 * width)
        if reduction < 4 or GROUPS % reduction:  # below a quarter the stem has fewer channels than groups
            raise ValueError(f"Got width={width}; need 1, 0.5 or 0.25.")
        self.channels = [int(c * width) // GROUPS * GROUPS for c in (96, 128, 192, 256)]
        self.inner = int(128 * width)
        self.blocks = tuple(blocks)
        for name, part in encoder_parts(bands, self.channels, self.blocks, reduction).items():
            self.add_module(name, part)
        self.laterals = nn.ModuleList(nn.Conv2d(c, self.inner, 1) for c in self.channels)
        self.fuses = nn.ModuleList(nn.Conv2d(self.inner, self.inner, 3, padding=1) for _ in self.channels)
        self.head = nn.Conv2d(self.inner, classes, 1)

    def stages(self) -> tuple[Stage, ...]:
        """Encoder, one stage a level, downwards; then the decoder, one stage a level, upwards."""
        last = len(self.channels) - 1
        down, up = [], []
        for level, channels in enumerate(self.channels):
            stride = 2**level
            features = FeatureMap(f"features{level}", channels, stride, cheap=level == 0)
            gives: tuple[FeatureMap, ...] = (features,)
            if level < last:
                gives = (features, FeatureMap(f"down{level + 1}", self.channels[level + 1], 2 * stride))
            halo = stride * (self.blocks[level] + (level == 0) + (level < last))  # a pixel for each 3x3 kernel
            down.append(
                Stage((f"down{level}" if level else "scene",), gives, halo, stride, partial(self._encode, level))
            )
            fused = FeatureMap(f"up{level}", self.inner, stride, cheap=level == 1)  # little work, and much to write
            gives = (fused if level else FeatureMap("scores", self.classes),)
            reads = (features.name, f"up{level + 1}") if level < last else (features.name,)
            up.append(Stage(reads, gives, 2 * stride, stride, partial(self._decode, level)))
        return (*down, *reversed(up))

    def _encode(
        self, level: int, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        x = maps[f"down{level}" if level else "scene"]
        features, below = encode_level(self, level, x, masks.at(2**level), masks.at(2 ** (level + 1)), statistics)
        return {f"features{level}": features} | ({} if below is None else {f"down{level + 1}": below})

    def _decode(
        self, level: int, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        del statistics  # the decoder has no norm and no attention
        valid = masks.at(2**level)
        x = keep(self.laterals[level](maps[f"features{level}"]), valid)
        if level < len(self.channels) - 1:
            coarse = F.interpolate(maps[f"up{level + 1}"], scale_factor=2, mode="nearest")
            x = keep(x + coarse[..., : x.shape[2], : x.shape[3]], valid)
        x = keep(self.fuses[level](x), valid)
        return {f"up{level}": x} if level else {"scores": self.head(x)}


class FreeNetHalf(FreeNet):
    """FreeNet with half of the published channels everywhere: a quarter of its operations, and fewer weights to fit few labels with.

    Example:
        >>> sum(p.numel() for p in FreeNetHalf(bands=20, classes=16).parameters())
        670506
    """

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes, width=0.5)
