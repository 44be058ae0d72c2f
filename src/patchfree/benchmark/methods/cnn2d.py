"""The patch 2-D CNN: two convolutions over a 5 x 5 patch of principal components, one hidden layer. For comparison only.

Reference: Makantasis, Karantzalos, Doulamis, Doulamis, "Deep Supervised Learning for Hyperspectral Data Classification through
Convolutional Neural Networks", IGARSS 2015, 4959-4962.

Differences: 30 principal components for every scene, in place of as many as hold 99.9 % of the variance (10 to 30 on the authors' scenes), and
by an exact decomposition in place of a randomised one; AdamW with a one-cycle rate in place of plain gradient descent.

Dimension key: b patches, c components, k classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.benchmark.methods.patches import PatchNet


class PatchCNN(nn.Module):
    """Scores of the middle pixel of 5 x 5 patches; 3 c and 9 c kernels, 6 c hidden units, as published.

    Example:
        >>> PatchCNN(30, 16)(torch.zeros(2, 30, 5, 5)).shape
        torch.Size([2, 16])
    """

    def __init__(self, components: int, classes: int) -> None:
        super().__init__()
        c = components
        self.first = nn.Conv2d(c, 3 * c, 3)
        self.second = nn.Conv2d(3 * c, 9 * c, 3)
        self.hidden = nn.Linear(9 * c, 6 * c)
        self.head = nn.Linear(6 * c, classes)

    def forward(self, x: Float[Tensor, "b c 5 5"]) -> Float[Tensor, "b k"]:
        """Scores before softmax."""
        x = torch.flatten(F.relu(self.second(F.relu(self.first(x)))), 1)
        scores: Tensor = self.head(F.relu(self.hidden(x)))
        return scores


CNN2D = PatchNet(
    name="cnn2d",
    title="patch 2-D CNN",
    cite=(
        "K. Makantasis, K. Karantzalos, A. Doulamis, N. Doulamis (2015). Deep Supervised Learning for Hyperspectral Data Classification "
        "through Convolutional Neural Networks. IGARSS, 4959-4962."
    ),
    build=PatchCNN,
    side=5,
    steps=1000,
    components=30,
    at_once=4096,
)
