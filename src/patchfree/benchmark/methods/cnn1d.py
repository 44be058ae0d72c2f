"""The spectral 1-D CNN: one convolution along the bands, pooling, one hidden layer. For comparison only.

Reference: Hu, Huang, Wei, Zhang, Li, "Deep Convolutional Neural Networks for Hyperspectral Image Classification", Journal
of Sensors 2015, 258619.

Differences: trained with AdamW and a one-cycle rate in place of plain gradient descent; bands are standardised in place of
scaled to -1..1.

Dimension key: b spectra, c bands, k classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.benchmark.methods.patches import PatchNet

KERNELS, HIDDEN = 20, 100


class SpectralCNN(nn.Module):
    """Scores of single spectra. The kernel is a ninth of the bands wide, the pooling a fifth of the kernel, as published.

    Example:
        >>> SpectralCNN(200, 16)(torch.zeros(2, 200, 1, 1)).shape
        torch.Size([2, 16])
    """

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        kernel = max(2, -(-bands // 9)) if bands > 2 else 1
        pool = max(1, -(-kernel // 5))
        self.conv = nn.Conv1d(1, KERNELS, kernel)
        self.pool = nn.MaxPool1d(pool)
        self.hidden = nn.Linear(KERNELS * ((bands - kernel + 1) // pool), HIDDEN)
        self.head = nn.Linear(HIDDEN, classes)

    def forward(self, x: Float[Tensor, "b c 1 1"]) -> Float[Tensor, "b k"]:
        """Scores before softmax."""
        x = self.pool(torch.tanh(self.conv(x.flatten(1)[:, None])))
        scores: Tensor = self.head(torch.tanh(self.hidden(x.flatten(1))))
        return scores


CNN1D = PatchNet(
    name="cnn1d",
    title="spectral 1-D CNN",
    cite=(
        "W. Hu, Y. Huang, L. Wei, F. Zhang, H. Li (2015). Deep Convolutional Neural Networks for Hyperspectral Image Classification. "
        "Journal of Sensors 2015, 258619."
    ),
    build=SpectralCNN,
    side=1,
    steps=6000,
    at_once=8192,
)
