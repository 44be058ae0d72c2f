"""GS2, global stochastic stratified sampling: every step sees every class that still has pixels.

Whole-scene training has one image and few labels, so the only randomness is *which* labelled pixels count in a
step. One epoch: shuffle the training pixels of each class and deal them out, `per_class` at a time; step t gets the
t-th handful of each class. A class that ran out contributes nothing to later steps, its last handful may be small, and
the steps are visited in random order. Each epoch is drawn anew.

Reference: Zheng et al., "FPGA: Fast Patch-Free Global Learning Framework for Fully End-to-End Hyperspectral Image
Classification", IEEE TGRS 58(8):5612-5626, 2020.
Difference: none in the sampling; the random states come from (seed, epoch) in place of a list of 9,999 drawn before.

Dimension key: n labelled pixels, m pixels of one step.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from patchfree.errors import ConfigError, LabelError


def epoch_length(classes: Int[Tensor, " n"], *, per_class: int) -> int:
    """Steps of one epoch: the largest class over `per_class`, rounded up."""
    return -(-int(classes.bincount().max()) // per_class)


def smallest_handful(classes: Int[Tensor, " n"], *, least: int) -> int:
    """The smallest `per_class`, `least` or more, with which every class has a pixel in every step of an epoch.

    The authors train on equally many pixels of each class, so that no step lacks a class. With unequal classes 20 a
    class starves the small ones: a class of 3 pixels is in one step of many. As many as the largest class has always
    suffice: then an epoch is one step of all pixels.

    Args:
        classes: class of each labelled pixel, 0 and up, on the CPU.
        least: the answer where all classes last equally long.

    Example:
        >>> equal, unequal = torch.arange(200) % 4, torch.tensor([0] * 50 + [1] * 3)
        >>> smallest_handful(equal, least=20), smallest_handful(unequal, least=20)
        (20, 50)
    """
    sizes = classes.bincount()
    small, large = int(sizes[sizes > 0].min()), int(sizes.max())
    handfuls = (max(least, -(-large // steps)) for steps in range(-(-large // least), 0, -1))
    return next(handful for handful in handfuls if -(-small // handful) == -(-large // handful))


def stratified_epoch(
    classes: Int[Tensor, " n"], *, per_class: int, generator: torch.Generator | None = None
) -> list[Int[Tensor, " m"]]:
    """Deal the labelled pixels out into class-balanced steps.

    Args:
        classes: class of each labelled pixel, 0 and up, on the CPU.
        per_class: most pixels of one class in one step (the authors' sub_minibatch, 20).
        generator: source of randomness; pass a seeded one to repeat an epoch exactly.

    Returns:
        For each step, in the order to visit them, the positions in `classes` that count.

    Raises:
        LabelError: there is no pixel.
        ConfigError: `per_class` is below 1.

    Example:
        >>> steps = stratified_epoch(torch.tensor([0, 0, 0, 1]), per_class=2)
        >>> sorted(len(step) for step in steps)
        [1, 3]
    """
    grouped, step_of = _deal(classes, per_class, generator)
    order = torch.randperm(int(step_of.max()) + 1, generator=generator)
    return [grouped[step_of == step] for step in order.tolist()]


def balanced_step(
    classes: Int[Tensor, " n"], *, per_class: int, generator: torch.Generator | None = None
) -> Int[Tensor, " m"]:
    """Draw one class-balanced step: up to `per_class` pixels of every class, each time from all its pixels.

    Unlike the later steps of a GS2 epoch, which hold the large classes only, no step lacks a class. With the large
    learning rate of a short training that matters: a step without a class makes the network forget it
    (docs/log.md).

    Args:
        classes: class of each labelled pixel, 0 and up, on the CPU.
        per_class: most pixels of one class.
        generator: source of randomness.

    Returns:
        The positions in `classes` that count.
    """
    grouped, step_of = _deal(classes, per_class, generator)
    return grouped[step_of == 0]


def _deal(
    classes: Int[Tensor, " n"], per_class: int, generator: torch.Generator | None
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """All positions in shuffled order within their class, and the number of the handful that each falls into."""
    if per_class < 1:
        raise ConfigError(f"Got per_class={per_class}, need at least 1; the authors use 20.")
    if not len(classes):
        raise LabelError("There is no training pixel. Check that the label file is on the same grid as the scene.")
    shuffled = torch.randperm(len(classes), generator=generator)
    # The stable sort keeps the shuffled order inside each class, so arange() is a random position within the class.
    grouped = shuffled[classes[shuffled].argsort(stable=True)]
    sizes = classes.bincount()
    return grouped, torch.cat([torch.arange(int(size)) for size in sizes]) // per_class
