"""Losses: scores and targets in, a scalar out."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def masked_cross_entropy(
    scores: Float[Tensor, "k h w"],
    pixels: Int[Tensor, " n"],
    classes: Int[Tensor, " n"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the given pixels only; equal to the dense sum over a 0/1 mask, divided by its sum.

    Args:
        scores: class scores of the whole scene.
        pixels: flat positions (row * w + column) of the pixels that count.
        classes: their classes, 0..k-1.
        label_smoothing: share of the target spread over all classes.
    """
    return F.cross_entropy(scores.flatten(1)[:, pixels].T.float(), classes, label_smoothing=label_smoothing)
