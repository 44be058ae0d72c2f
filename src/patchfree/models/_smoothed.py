"""What the networks share whose class probabilities are smoothed along what looks alike: random walks that stop at edges.

A network with few labels takes single pixels, and parts of fields, for another class than their neighbours of the same spectrum.
Where it maps, each pixel therefore hands its class probabilities on to its eight neighbours, the more the more alike they look,
and a share of its own stays: the probabilities are those at which random walks end that start at the pixel, walk to pixels that
look alike, and stop with a small chance at each step. What looks alike is told by `guide`, the few components of the scene with the most
signal for their noise. In training nothing is smoothed, so that the network learns from its own scores.

Reference: Kang et al., IEEE TGRS 53(1):144-153, 2015 (how ours differs: `patchfree.models._walks`).

Dimension key: b batch, h rows, w columns, c bands, g guiding components, k classes.
"""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from patchfree.models._contract import FeatureMap, Masks, SceneModel, Stage
from patchfree.models._statistics import Statistics
from patchfree.models._walks import STEPS, links, walk

FLOOR = 3e-3
"""Added to the probabilities before the logarithm, below what label smoothing leaves to each of 16 classes; less would make much of rounding."""
UNSMOOTHED, SEEN = "unsmoothed", "seen"
"""The maps of scores that are to be smoothed, and of what tells edges."""


class Smoothed(SceneModel, ABC):
    """A network that smooths its scores; in evaluation they are the logarithms of smoothed probabilities.

    Attributes:
        guide: what the differences between neighbours are measured in: components of the bands, in which those that noise makes
            have the mean square 1, all components together.
        prior: what is added to the scores before they become probabilities, and taken off again after.
    """

    smoothing = STEPS
    guides = 4

    guide: Tensor
    prior: Tensor

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes)
        self.register_buffer("guide", torch.zeros(min(self.guides, bands), bands))
        self.register_buffer("prior", torch.zeros(classes))

    def prepare(self, guide: Float[Tensor, "g c"], prior: Float[Tensor, " k"], mixed: float) -> None:
        """Take what the training knows of the scene and its classes."""
        del mixed  # the guide follows it already
        self.guide.copy_(guide)
        self.prior.copy_(prior)

    def smoothed(self, stages: Sequence[Stage]) -> tuple[Stage, ...]:
        """Stages whose last one gives `UNSMOOTHED`, then the smoothing, which reads what tells edges in place of all bands."""
        *before, last = stages
        seen = FeatureMap(SEEN, len(self.guide))
        reads = tuple(dict.fromkeys((*last.reads, "scene")))
        smooth = Stage((SEEN, UNSMOOTHED), (FeatureMap("scores", self.classes),), STEPS, 1, self._smooth)
        run = partial(self._run_and_see, last)
        return (*before, dataclasses.replace(last, reads=reads, gives=(*last.gives, seen), run=run), smooth)

    def _run_and_see(
        self, last: Stage, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        given = last.run(maps, masks, statistics)
        with torch.autocast("cuda" if self.guide.is_cuda else "cpu", enabled=False):
            return given | {SEEN: torch.einsum("gc,bchw->bghw", self.guide, maps["scene"].float())}

    def _smooth(self, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
        del statistics
        scores = maps[UNSMOOTHED]
        if self.training:
            return {"scores": scores}
        prior = self.prior[:, None, None]
        start = torch.softmax(scores.float() + prior, 1).movedim(1, -1)
        ends = walk(start, links(maps[SEEN], masks.at(1))).clamp_min(0)
        return {"scores": (ends + FLOOR).log().movedim(-1, 1) - prior}
