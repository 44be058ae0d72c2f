"""Random walks over a scene that stop at edges: what smooths class probabilities along what looks alike.

Each pixel is linked to its eight neighbours, the more strongly the more alike they look. The probabilities of a pixel become those at
the ends of random walks that start there and stop with a small chance at each step.

Reference: Kang, Li, Fang, Li, Benediktsson, "Extended random walker-based classification of hyperspectral images", IEEE TGRS
53(1):144-153, 2015; Grady, "Random walks for image segmentation", IEEE TPAMI 28(11):1768-1783, 2006.

Differences: (1) training pixels are no seeds: the result depends on scene and probabilities alone; (2) several noise-adjusted
components tell edges, not the first principal one; (3) walks stop sooner at pixels that are sure of their class; (4) the linear
system is not solved but improved `STEPS` times by the Chebyshev semi-iteration, so that no pixel depends on one farther away than
that, and a scene in windows gets the same.

Dimension key: b batch, h rows, w columns, g guiding components, k classes, n neighbours.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

STEPS = 32
SHARPNESS = 3.0
"""A mean squared difference of neighbours that is as large as noise makes it weighs their link by exp(-3), where no classes are mixed."""
STOP, SURE = 0.01, 0.05
"""Weight of the end of a walk beside the links, of which one to a neighbour without any difference weighs 1; and how much more it
weighs where one class is certain: by the square of the largest probability."""
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
HEAVIEST = sum(1 / math.hypot(*step) for step in NEIGHBOURS)


def links(seen: Float[Tensor, "b g h w"], valid: Float[Tensor, "b 1 h w"] | None) -> Float[Tensor, "n b h w"]:
    """How strongly each pixel is linked to each neighbour; 0 to neighbours without data and outside of the scene.

    Args:
        seen: the components that tell edges, in which the differences between neighbours that noise makes have the mean square 1
            together, or more where classes lie close together (`patchfree.standardise.edge_guide`).
        valid: 1 where there is data; None if there is everywhere.
    """
    b, _, h, w = seen.shape
    found = seen.new_zeros(len(NEIGHBOURS), b, h, w)
    for link, (dy, dx) in zip(found, NEIGHBOURS, strict=True):
        here, there = ((..., _part(h, s * dy), _part(w, s * dx)) for s in (1, -1))
        apart = (seen[here] - seen[there]).square().sum(1)
        link[here] = torch.exp(-SHARPNESS * apart) / math.hypot(dy, dx)
        if valid is not None:
            link[here] *= valid[:, 0][there]
    return found


def _part(length: int, step: int) -> slice:
    """The pixels of a row or column that have a neighbour so many steps on."""
    return slice(max(0, -step), length - max(0, step))


def walk(start: Float[Tensor, "b h w k"], links: Float[Tensor, "n b h w"]) -> Float[Tensor, "b h w k"]:
    """Where walks from each pixel end: (links + stop) ends = links of the neighbours' ends + stop start, by Chebyshev semi-iteration.

    A walk stops sooner where the start is sure. The largest eigenvalue is bounded by what a pixel amid equal neighbours has, the same
    for every scene and window, which makes the result the same in windows. The last step is a plain one: cut short, the
    semi-iteration leaves a share of everything, of single pixels too.
    """
    b, h, w, k = start.shape
    stop = STOP + SURE * start.amax(-1).square()
    total = links.sum(0) + stop
    links, source = (links / total)[..., None], start * (stop / total)[..., None]
    ends = start.new_zeros(b, h + 2, w + 2, k)  # a frame, so that every pixel has eight neighbours
    ends[:, 1:-1, 1:-1] = start
    before, found, largest, factor = ends.clone(), torch.empty_like(source), HEAVIEST / (HEAVIEST + STOP), 1.0
    for step in range(STEPS):
        found.copy_(source)
        for link, (dy, dx) in zip(links, NEIGHBOURS, strict=True):
            found.addcmul_(link, ends[:, 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w])
        plain = step in (0, STEPS - 1)
        factor = 1.0 if plain else 1 / (1 - largest**2 * factor / (2 if step == 1 else 4))
        before[:, 1:-1, 1:-1].lerp_(found, factor)
        before, ends = ends, before
    return ends[:, 1:-1, 1:-1]
