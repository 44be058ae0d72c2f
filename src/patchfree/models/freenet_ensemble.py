"""Two FreeNets of half the channels and a network of spectra, whose mean probabilities are smoothed along what looks alike.

Networks that were trained alike but for their first weights and their drawing of pixels differ by several points where test
pixels lie apart from training pixels; their mean is better than one of them. A network of single spectra makes other mistakes: it
cannot learn a layout, and sees no shapes. Where classes lie close together neighbours say little, and it counts more. They are trained
one after the other, each as if it were alone (`SceneModel.members`), so that a training takes no more memory than one of them.

Reference: Hansen, Salamon, "Neural network ensembles", IEEE TPAMI 12(10):993-1001, 1990 (means of networks); Zheng et al., IEEE TGRS
58(8):5612-5626, 2020 (the network); Kang et al., IEEE TGRS 53(1):144-153, 2015 (the walks: `patchfree.models._smoothed`). Which
networks, and how much each counts, is ours (docs/log.md).

Dimension key: b batch, c channels, g groups of channels, h rows, w columns, k classes.
"""

from __future__ import annotations

import dataclasses
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

MEMBERS = (FreeNetHalf, FreeNetHalf, Spectral)
"""The networks: those of scenes count alike, that of spectra as `weights_of` says."""
SPECTRA, MOST = 0.1, 0.5
"""How much spectra count where no classes are mixed, and at the most."""


def weights_of(mixed: float) -> tuple[float, ...]:
    """How much the probabilities of each network count; together 1.

    Args:
        mixed: share of neighbouring training pixels that are of different classes.
    """
    spectra = min(MOST, SPECTRA + mixed)
    scenes = (1 - spectra) / (len(MEMBERS) - 1)
    return tuple(spectra if kind is Spectral else scenes for kind in MEMBERS)


class FreeNetEnsemble(Smoothed):
    """Scores of every pixel of a scene of any size; in evaluation the logarithms of smoothed mean probabilities.

    Example:
        >>> FreeNetEnsemble(bands=20, classes=16).eval()(torch.zeros(1, 20, 9, 13)).shape
        torch.Size([1, 16, 9, 13])
    """

    context = None
    reach = FreeNetHalf.reach
    stride = FreeNetHalf.stride
    hidden = max(kind.hidden for kind in MEMBERS)
    references = (*FreeNetHalf.references, *Spectral.references, "network-ensemble", "random-walks")

    weights: Tensor

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__(bands=bands, classes=classes)
        self.networks = nn.ModuleList(kind(bands=bands, classes=classes) for kind in MEMBERS)
        self.register_buffer("weights", torch.tensor(weights_of(0.0)))

    def prepare(self, guide: Float[Tensor, "g c"], prior: Float[Tensor, " k"], mixed: float) -> None:
        """Take what the training knows of the scene and its classes."""
        super().prepare(guide, prior, mixed)
        self.weights.copy_(torch.tensor(weights_of(mixed)))

    @property
    def members(self) -> tuple[SceneModel, ...]:
        """The networks."""
        return tuple(network for network in self.networks if isinstance(network, SceneModel))

    def stages(self) -> tuple[Stage, ...]:
        """Those of each network, whose last one adds its probabilities to those of the networks before; then the smoothing."""
        stages = []
        for number, network in enumerate(self.members):
            *before, last = (_own(stage, number) for stage in network.stages())
            name = UNSMOOTHED if number == len(MEMBERS) - 1 else f"sum{number}"
            reads = (*last.reads, f"sum{number - 1}") if number else last.reads
            gives, run = (FeatureMap(name, self.classes),), partial(self._mix, last, number, name)
            stages += [*before, dataclasses.replace(last, reads=reads, gives=gives, run=run)]
        return self.smoothed(stages)

    def _mix(
        self, last: Stage, number: int, name: str, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
    ) -> dict[str, Tensor]:
        """Logarithms of the sum of probabilities, each by its weight, up to this network; scores at the end."""
        scores, prior = last.run(maps, masks, statistics)[f"{number}.scores"].float(), self.prior[:, None, None]
        summed = torch.log_softmax(scores + prior, 1) + self.weights[number].log()
        if number:
            summed = torch.logaddexp(maps[f"sum{number - 1}"], summed)
        return {name: summed - prior if name == UNSMOOTHED else summed}


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
    reads = tuple(_named(name, number) for name in stage.reads)
    gives = tuple(dataclasses.replace(made, name=_named(made.name, number)) for made in stage.gives)
    return dataclasses.replace(stage, reads=reads, gives=gives, run=partial(_run_own, stage, number))


def _run_own(
    stage: Stage, number: int, maps: Mapping[str, Tensor], masks: Masks, statistics: Statistics
) -> dict[str, Tensor]:
    read = {name: maps[_named(name, number)] for name in stage.reads}
    return {_named(name, number): value for name, value in stage.run(read, masks, _Own(statistics, number)).items()}


def _named(name: str, number: int) -> str:
    return name if name == "scene" else f"{number}.{name}"
