"""FreeNet of half the channels whose class probabilities are smoothed along what looks alike: random walks that stop at edges.

A network with few labels takes single pixels, and parts of fields, for another class than their neighbours of the same spectrum.
Where it maps, each pixel therefore hands its class probabilities on to its eight neighbours, the more the more alike they look,
and a share of its own stays: the probabilities are those at which random walks end that start at the pixel, walk to pixels that
look alike, and stop with a small chance at each step. What looks alike is told by `guide`, the few components of the scene with the most
signal for their noise. Training is FreeNet's: nothing is smoothed, so that the network learns from its own scores.

Reference: Zheng et al., IEEE TGRS 58(8):5612-5626, 2020 (the network); Kang et al., IEEE TGRS 53(1):144-153, 2015 (the walks, and
how ours differ: `patchfree.models._walks`). That the two come together in one network is ours.

Dimension key: b batch, h rows, w columns, c bands, g guiding components, k classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from patchfree.models._contract import FeatureMap, Masks, Stage
from patchfree.models._statistics import Statistics
from patchfree.models._walks import STEPS, links, walk
from patchfree.models.freenet import FreeNetHalf

FLOOR = 3e-3
"""Added to the probabilities before the logarithm, below what label smoothing leaves to each of 16 classes; less would make much of rounding."""


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
        """Those of FreeNet, then the smoothing, which reads what tells edges in place of all bands."""
        *before, last = super().stages()
        raw, seen = FeatureMap("unsmoothed", self.classes), FeatureMap("seen", len(self.guide))

        def run(maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
            given = {raw.name: last.run(maps, masks, statistics)["scores"]}
            with torch.autocast("cuda" if self.guide.is_cuda else "cpu", enabled=False):
                return given | {seen.name: torch.einsum("gc,bchw->bghw", self.guide, maps["scene"].float())}

        reads = (*last.reads, "scene")
        smooth = Stage((seen.name, raw.name), (FeatureMap("scores", self.classes),), STEPS, 1, self._smooth)
        return (*before, dataclasses.replace(last, reads=reads, gives=(raw, seen), run=run), smooth)

    def _smooth(self, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
        del statistics
        scores = maps["unsmoothed"]
        if self.training:
            return {"scores": scores}
        prior = self.prior[:, None, None]
        start = torch.softmax(scores.float() + prior, 1).movedim(1, -1)
        ends = walk(start, links(maps["seen"], masks.at(1))).clamp_min(0)
        return {"scores": (ends + FLOOR).log().movedim(-1, 1) - prior}
