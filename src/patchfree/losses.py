"""Losses: scores and targets in, a scalar out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
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


def soft_cross_entropy(
    scores: Float[Tensor, "k h w"], pixels: Int[Tensor, " n"], chances: Float[Tensor, "k n"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the given pixels, whose class is known as probabilities only.

    Args:
        scores: class scores of the whole scene.
        pixels: flat positions of the pixels that count.
        chances: the probability of each class.
    """
    return -(chances * F.log_softmax(scores.flatten(1)[:, pixels].float(), 0)).sum(0).mean()


def at_pixels(
    x: Float[Tensor, "c h2 w2"], pixels: Int[Tensor, " n"], width: int, stride: int = 1
) -> Float[Tensor, "c n"]:
    """The values of a map at some pixels of the scene; of a coarser map those of the pixel above (nearest).

    Args:
        x: a map of every `stride`-th row and column.
        pixels: flat positions in the scene.
        width: columns of the scene.
        stride: of the map.
    """
    if stride == 1:
        return x.flatten(1)[:, pixels]
    rows, columns = pixels // width, pixels % width
    return x[:, rows // stride, columns // stride]


def deep_supervision(
    maps: Mapping[str, Float[Tensor, "_ n"]],
    classes: Int[Tensor, " n"],
    held: Bool[Tensor, " n"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Of the scores and of each side output, cross-entropy and Dice loss; of the uncertainty, cross-entropy with the error.

    The uncertainty learns |truth - probability| of the final answer, which is not changed by it. All terms weigh alike.

    Reference: Li et al., arXiv:2305.19513, 2023. Differences: sums run over the labelled pixels of a step, and if some are held out, the
    uncertainty learns from those alone.

    Args:
        maps: two "scores"; logits of a change, "side0" and so on; the logit of an error, "uncertainty".
        classes: 0 unchanged, 1 changed.
        held: pixels of which only the uncertainty learns; if there is one, it learns of no other.
        label_smoothing: as for the cross-entropy, of which the Dice loss and the uncertainty have none.
    """
    truth = classes.float()
    smooth = truth * (1 - label_smoothing) + label_smoothing / 2
    scores = maps["scores"].float()
    changed = scores[1] - scores[0]
    learnt = ~held if bool((~held).any()) else torch.ones_like(held)
    sides = [value[0].float() for name, value in maps.items() if name.startswith("side")]
    total = changed.new_zeros(())
    for logit in (changed, *sides):
        share = logit[learnt].sigmoid()
        dice = (2 * (share * truth[learnt]).sum() + 1e-5) / (share.sum() + truth[learnt].sum() + 1e-5)
        total = total + F.binary_cross_entropy_with_logits(logit[learnt], smooth[learnt]) + 1 - dice
    error = (truth - changed.detach().sigmoid()).abs()
    doubted = held if bool(held.any()) else torch.ones_like(held)
    return total + F.binary_cross_entropy_with_logits(maps["uncertainty"][0].float()[doubted], error[doubted])
