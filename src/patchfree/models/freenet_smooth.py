"""FreeNet of half the channels whose class probabilities are smoothed along what looks alike: random walks that stop at edges.

Reference: Zheng et al., IEEE TGRS 58(8):5612-5626, 2020 (the network); Kang et al., IEEE TGRS 53(1):144-153, 2015 (the walks:
`patchfree.models._smoothed`). That the two come together in one network is ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from patchfree.models._contract import FeatureMap, Masks, Stage
from patchfree.models._smoothed import UNSMOOTHED, Smoothed
from patchfree.models._statistics import Statistics
from patchfree.models.freenet import FreeNetHalf


class FreeNetSmooth(Smoothed, FreeNetHalf):
    """Scores of every pixel of a scene of any size; in evaluation the logarithms of smoothed probabilities.

    Example:
        >>> import torch
        >>> FreeNetSmooth(bands=20, classes=16).eval()(torch.zeros(1, 20, 9, 13)).shape
        torch.Size([1, 16, 9, 13])
    """

    references = (*FreeNetHalf.references, "random-walks")

    def stages(self) -> tuple[Stage, ...]:
        """Those of FreeNet, then the smoothing."""
        *before, last = FreeNetHalf.stages(self)
        raw = FeatureMap(UNSMOOTHED, self.classes)
        return self.smoothed((*before, dataclasses.replace(last, gives=(raw,), run=partial(_renamed, last))))


def _renamed(last: Stage, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
    return {UNSMOOTHED: last.run(maps, masks, statistics)["scores"]}
