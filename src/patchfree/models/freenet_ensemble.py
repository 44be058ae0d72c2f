"""Two FreeNets of half the channels and two networks of spectra, whose mean probabilities are smoothed along what looks alike.

Networks that were trained alike but for their first weights and their drawing of pixels differ by several points where test
pixels lie apart from training pixels; their mean is better than one of them. Networks of single spectra, and of the mean
spectra around pixels, make other mistakes: they cannot learn a layout, and see no shapes. They are trained one after the other,
each as if it were alone (`SceneModel.members`), so that a training takes no more memory than one of them.

Reference: Hansen, Salamon, "Neural network ensembles", IEEE TPAMI 12(10):993-1001, 1990 (means of networks); Zheng et al., IEEE TGRS
58(8):5612-5626, 2020 (the network); Kang et al., IEEE TGRS 53(1):144-153, 2015 (the walks: `patchfree.models._smoothed`). Which
networks, and their weights, is ours (docs/log.md).

Dimension key: b batch, c channels, g groups of channels, h rows, w columns, k classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.models._contract import FeatureMap, Masks, SceneModel, Stage
from patchfree.models._smoothed import UNSMOOTHED, Smoothed
from patchfree.models._statistics import Statistics
from patchfree.models.freenet import FreeNetHalf
from patchfree.models.spectral import Spectral
from patchfree.models.spectral_mean import SpectralMean

MEMBERS = ((FreeNetHalf, 0.35), (FreeNetHalf, 0.35), (Spectral, 0.2), (SpectralMean, 0.1))
"""The networks, and how much the probabilities of each count."""


class FreeNetEnsemble(Smoothed):
    """Scores of every pixel of a scene of any size; in evaluation the logarithms of smoothed mean probabilities.

    Example:
        >>> FreeNetEnsemble(bands=20, classes=16).eval()(torch.zeros(1, 20, 9, 13)).shape
        torch.Size([1, 16, 9, 13])
    """

    context = None
    reach = FreeNetHalf.reach
    stride = FreeNetHalf.stride
    hidden = max(kind.hidden for kind, _ in MEMBERS)
    references = (
        *FreeNetHalf.references,
        *Spectral.references,
        *SpectralMean.references,
        "network-ensemble",
        "random-walks",
    )

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes)
        self.networks = nn.ModuleList(kind(bands=bands, classes=classes) for kind, _ in MEMBERS)

    @property
    def members(self) -> tuple[SceneModel, ...]:
        """The networks."""
        return tuple(network for network in self.networks if isinstance(network, SceneModel))

    def stages(self) -> tuple[Stage, ...]:
        """Those of each network, whose last one adds its probabilities to those of the networks before; then the smoothing."""
        stages = []
        for number, network in enumerate(self.members):
            *before, last = (_own(stage, number) for stage in network.stages())
            mixed = UNSMOOTHED if number == len(MEMBERS) - 1 else f"mixed{number}"
            reads = (*last.reads, f"mixed{number - 1}") if number else last.reads
            gives, run = (FeatureMap(mixed, self.classes),), partial(self._mix, last, number, mixed)
            stages += [*before, dataclasses.replace(last, reads=reads, gives=gives, run=run)]
        return self.smoothed(stages)

    def _mix(
        self, last: Stage, number: int, name: str, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        """Logarithms of the sum of probabilities, each by its weight, up to this network; scores at the end."""
        scores, prior = last.run(maps, masks, statistics)[f"{number}.scores"].float(), self.prior[:, None, None]
        mixed = torch.log_softmax(scores + prior, 1) + math.log(MEMBERS[number][1])
        if number:
            mixed = torch.logaddexp(maps[f"mixed{number - 1}"], mixed)
        return {name: mixed - prior if name == UNSMOOTHED else mixed}


class _Own(Statistics):
    """The statistics of one of several networks, by names of its own."""

    def __init__(self, all_of_them: Statistics, number: int) -> None:
        self.all, self.number = all_of_them, number

    def mean(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, "b c"]:
        """As for one network."""
        return self.all.mean(f"{self.number}.{key}", x, valid)

    def moments(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None, groups: int
    ) -> tuple[Float[Tensor, "b g"], Float[Tensor, "b g"]]:
        """As for one network."""
        return self.all.moments(f"{self.number}.{key}", x, valid, groups)


def _own(stage: Stage, number: int) -> Stage:
    """A stage of one of several networks, whose maps have names of their own; all see the same scene."""

    def named(name: str) -> str:
        return name if name == "scene" else f"{number}.{name}"

    def run(maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics) -> dict[str, Tensor]:
        read = {name: maps[named(name)] for name in stage.reads}
        return {named(name): value for name, value in stage.run(read, masks, _Own(statistics, number)).items()}

    gives = tuple(dataclasses.replace(made, name=named(made.name)) for made in stage.gives)
    return dataclasses.replace(stage, reads=tuple(named(name) for name in stage.reads), gives=gives, run=run)
