"""The patch 3-D spectral-spatial residual network. For comparison only; the strong one among the patch networks.

Reference: Zhong, Li, Luo, Chapman, "Spectral-Spatial Residual Network for Hyperspectral Image Classification: A 3-D Deep
Learning Framework", IEEE TGRS 56(2):847-858, 2018.

What is special in it: convolutions along the bands first (24 kernels of 1 x 1 x 7, the first with a stride of 2), two spectral
residual blocks, one kernel over all remaining bands that leaves 128 features, then 3 x 3 convolutions over the patch and two spatial residual
blocks, the mean over the patch, dropout.

Differences: AdamW with a one-cycle rate in place of RMSProp; 200 epochs as there, but at least 1,000 steps and at most 3,000 (ten minutes on two
cores); the last weights in place of those with the best validation accuracy (which would need more labels than the protocols
grant); batches of 64 in place of 16. A convolution along the bands is
computed as a 2-D convolution over bands and pixels, which is the same sum.

Dimension key: b patches, c bands, d bands after the stride, s side of a patch, k classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.benchmark.methods.patches import PatchNet

KERNELS, FEATURES, SPECTRAL, SIDE = 24, 128, 7, 7


class Residual(nn.Module):
    """Two convolutions of one kernel with normalisation, and the input added."""

    def __init__(self, kernel: tuple[int, int], padding: tuple[int, int]) -> None:
        super().__init__()
        self.first = nn.Conv2d(KERNELS, KERNELS, kernel, padding=padding)
        self.second = nn.Conv2d(KERNELS, KERNELS, kernel, padding=padding)
        self.norms = nn.ModuleList(nn.BatchNorm2d(KERNELS) for _ in range(2))

    def forward(self, x: Float[Tensor, "b e m n"]) -> Float[Tensor, "b e m n"]:
        """Same shape out as in."""
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + x)


class SpectralSpatial(nn.Module):
    """Scores of the middle pixel of 7 x 7 patches.

    Example:
        >>> SpectralSpatial(200, 16)(torch.zeros(2, 200, 7, 7)).shape
        torch.Size([2, 16])
    """

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        if bands < SPECTRAL:
            raise ValueError(f"Got {bands} bands; the spectral kernels need at least {SPECTRAL}.")
        left = (bands - SPECTRAL) // 2 + 1
        self.stem = nn.Conv2d(1, KERNELS, (SPECTRAL, 1), stride=(2, 1))
        self.stem_norm = nn.BatchNorm2d(KERNELS)
        self.spectral = nn.Sequential(*(Residual((SPECTRAL, 1), (SPECTRAL // 2, 0)) for _ in range(2)))
        self.squeeze = nn.Conv2d(KERNELS, FEATURES, (left, 1))
        self.squeeze_norm = nn.BatchNorm2d(FEATURES)
        self.enter = nn.Conv2d(FEATURES, KERNELS, 3)
        self.enter_norm = nn.BatchNorm2d(KERNELS)
        self.spatial = nn.Sequential(*(Residual((3, 3), (1, 1)) for _ in range(2)))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(KERNELS, classes)

    def forward(self, x: Float[Tensor, "b c s s"]) -> Float[Tensor, "b k"]:
        """Scores before softmax."""
        b, _, h, w = x.shape
        x = x.flatten(2)[:, None]  # bands along the rows, the pixels of the patch along the columns
        x = self.spectral(F.relu(self.stem_norm(self.stem(x))))
        x = F.relu(self.squeeze_norm(self.squeeze(x))).view(b, FEATURES, h, w)
        x = self.spatial(F.relu(self.enter_norm(self.enter(x))))
        scores: Tensor = self.head(self.dropout(torch.mean(x, (2, 3))))
        return scores


SSRN = PatchNet(
    name="ssrn",
    title="patch 3-D residual network (SSRN)",
    cite=(
        "Z. Zhong, J. Li, Z. Luo, M. Chapman (2018). Spectral-Spatial Residual Network for Hyperspectral Image Classification: A 3-D Deep "
        "Learning Framework. IEEE TGRS 56(2), 847-858."
    ),
    build=SpectralSpatial,
    side=SIDE,
    steps=1000,
    epochs=200,
    most=3000,
    at_once=64,  # larger ones leave the processor's caches, and take several times as long a patch
)
