"""FreeNet of half the channels whose class probabilities are smoothed along what looks alike: random walks that stop at edges.

A network with few labels takes single pixels, and parts of fields, for another class than their neighbours of the same spectrum.
Where it maps, each pixel therefore hands its class probabilities on to its eight neighbours, the more the more alike they look,
and a share of its own stays: the probabilities are those at which random walks end that start at the pixel, walk to pixels that
look alike, and stop with a small chance at each step. What looks alike is told by `guide`, the few components of the scene with the most
signal for their noise. Training is FreeNet's: nothing is smoothed, so that the network learns from its own scores.

Reference: Kang, Li, Fang, Li, Benediktsson, "Extended random walker-based classification of hyperspectral images", IEEE TGRS
53(1):144-153, 2015; Grady, "Random walks for image segmentation", IEEE TPAMI 28(11):1768-1783, 2006.

Differences: (1) the probabilities of a whole-scene network take the place of a support vector machine's; (2) training pixels are no
seeds: the map depends on the scene and the network alone; (3) several noise-adjusted components tell edges, not the first
principal one; (4) the linear system is not solved but improved `STEPS` times by the Chebyshev semi-iteration, so that no pixel
depends on one farther away than that, and a scene in windows gets the same map.

Dimension key: b batch, h rows, w columns, c bands, g guiding components, k classes, n neighbours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from patchfree.models._contract import FeatureMap, Masks, Stage
from patchfree.models._statistics import Statistics
from patchfree.models.freenet import FreeNetHalf

STEPS = 32
SHARPNESS = 2.5
"""A mean squared difference of neighbours that is as large as noise makes it weighs their link by exp(-2.5)."""
STOP = 0.03
"""Weight of the end of a walk beside the links, of which one to a neighbour without any difference weighs 1."""
FLOOR = 1e-3
"""Added to the probabilities before the logarithm, far below what label smoothing leaves to any class."""
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
HEAVIEST = sum(1 / math.hypot(*step) for step in NEIGHBOURS)


class FreeNetSmooth(FreeNetHalf):
    """Scores of every pixel of a scene of any size; in evaluation the logarithms of smoothed probabilities.

    Attributes:
        guide: what the differences between neighbours are measured in: components of the bands, in which those that noise makes
            have the mean square 1, all components together.
        prior: what is added to the scores before they become probabilities, and taken off again after.

    Example:
        >>> FreeNetSmooth(bands=20, classes=16).eval()(torch.zeros(1, 20, 9, 13)).shape
        torch.Size([1, 16, 9, 13])
    """

    smoothing = STEPS
    guides = 4
    references = (*FreeNetHalf.references, "random-walks")

    guide: Tensor
    prior: Tensor

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes)
        self.register_buffer("guide", torch.zeros(min(self.guides, bands), bands))
        self.register_buffer("prior", torch.zeros(classes))

    def prepare(self, guide: Float[Tensor, "g c"], prior: Float[Tensor, " k"]) -> None:
        """Take what the training knows of the scene and its classes."""
        self.guide.copy_(guide)
        self.prior.copy_(prior)

    def stages(self) -> tuple[Stage, ...]:
        """Those of FreeNet, then the smoothing."""
        *before, last = super().stages()
        raw = FeatureMap("unsmoothed", self.classes)

        def run(maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
            return {raw.name: last.run(maps, masks, statistics)["scores"]}

        scores = FeatureMap("scores", self.classes)
        smooth = Stage(("scene", raw.name), (scores,), STEPS, 1, self._smooth)
        return (*before, dataclasses.replace(last, gives=(raw,), run=run), smooth)

    def _smooth(self, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
        del statistics
        scores = maps["unsmoothed"]
        if self.training:
            return {"scores": scores}
        prior = self.prior[:, None, None]
        with torch.autocast(scores.device.type, enabled=False):
            start = torch.softmax(scores.float() + prior, 1).movedim(1, -1)
            links = _links(maps["scene"].float(), self.guide, masks.at(1))
            ends = _walk(start, links).clamp_min(0)
            return {"scores": (ends + FLOOR).log().movedim(-1, 1) - prior}


def _links(
    x: Float[Tensor, "b c h w"], guide: Float[Tensor, "g c"], valid: Float[Tensor, "b 1 h w"] | None
) -> Float[Tensor, "n b h w"]:
    """How strongly each pixel is linked to each neighbour; 0 to neighbours without data and outside of the scene."""
    h, w = x.shape[2:]
    seen = torch.einsum("gc,bchw->bhwg", guide, x)
    links = seen.new_zeros(len(NEIGHBOURS), len(x), h, w)
    for link, (dy, dx) in zip(links, NEIGHBOURS, strict=True):
        here, there = ((..., _part(h, s * dy), _part(w, s * dx)) for s in (1, -1))
        apart = (seen[(*here, slice(None))] - seen[(*there, slice(None))]).square().sum(-1)
        link[here] = torch.exp(-SHARPNESS * apart) / math.hypot(dy, dx)
        if valid is not None:
            link[here] *= valid[:, 0][there]
    return links


def _part(length: int, step: int) -> slice:
    """The pixels of a row or column that have a neighbour so many steps on."""
    return slice(max(0, -step), length - max(0, step))


def _walk(start: Float[Tensor, "b h w k"], links: Float[Tensor, "n b h w"]) -> Float[Tensor, "b h w k"]:
    """Where walks from each pixel end: (links + STOP) ends = links of the neighbours' ends + STOP start, by Chebyshev semi-iteration.

    The largest eigenvalue is bounded by what a pixel amid equal neighbours has, the same for every scene and window, which makes
    the result the same in windows.
    """
    b, h, w, k = start.shape
    total = links.sum(0) + STOP
    links, source = (links / total)[..., None], start * (STOP / total)[..., None]
    ends = start.new_zeros(b, h + 2, w + 2, k)  # a frame, so that every pixel has eight neighbours
    ends[:, 1:-1, 1:-1] = start
    before, found, largest, factor = ends.clone(), torch.empty_like(source), HEAVIEST / (HEAVIEST + STOP), 1.0
    for step in range(STEPS):
        found.copy_(source)
        for link, (dy, dx) in zip(links, NEIGHBOURS, strict=True):
            found.addcmul_(link, ends[:, 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w])
        factor = 1.0 if step == 0 else 1 / (1 - largest**2 * factor / (2 if step == 1 else 4))
        before[:, 1:-1, 1:-1].lerp_(found, factor)
        before, ends = ends, before
    return ends[:, 1:-1, 1:-1]
