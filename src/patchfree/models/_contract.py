"""What every model promises; tests/contracts/test_models.py checks it for each entry of MODELS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from patchfree.models._statistics import OF_THE_SCENE, Statistics

ANSWERS = ("scores", "uncertainty")
"""What the last stage of a network gives; the second only if the network predicts it."""


class Masks:
    """Where there is data, as numbers 0 and 1, at every stride: the pixel under the centre of a strided kernel."""

    def __init__(self, valid: Bool[Tensor, "b h w"] | None, dtype: torch.dtype) -> None:
        self.valid, self.dtype = valid, dtype
        self._at: dict[int, Tensor] = {}

    def at(self, stride: int) -> Float[Tensor, "b 1 h2 w2"] | None:
        """The mask at a stride; None if every pixel has data."""
        if self.valid is None:
            return None
        if stride not in self._at:
            self._at[stride] = self.valid[:, None, ::stride, ::stride].to(self.dtype)
        return self._at[stride]


@dataclass(frozen=True)
class FeatureMap:
    """What a stage of a network gives.

    Attributes:
        name: the later stages read it by this name; "scores" is the network's answer.
        channels: its channels.
        stride: scene pixels from one of its pixels to the next.
        cheap: quicker to compute anew from the scene than to store and read back.
    """

    name: str
    channels: int
    stride: int = 1
    cheap: bool = False


@dataclass(frozen=True)
class Stage:
    """A part of a network that can run on a window: feature maps in, feature maps out.

    Attributes:
        reads: names of the maps that it reads; "scene" is the standardised bands.
        gives: the maps that it gives.
        halo: scene pixels around a window that its own pixels depend on.
        stride: of the layers that take statistics over the whole scene.
        run: from the maps by name, the data masks, and the statistics, to its maps by name.
    """

    reads: tuple[str, ...]
    gives: tuple[FeatureMap, ...]
    halo: int
    stride: int
    run: Callable[[Mapping[str, Tensor], Masks, Statistics], dict[str, Tensor]]


class SceneModel(nn.Module, ABC):
    """From the bands of a whole scene to class scores of every pixel; constructed with `bands` and `classes`.

    It knows nothing of files, tiles, losses or ranks. The output has the scene's size, whatever that is; pixels without
    data count like the outside of the scene.

    Attributes:
        context: halo in pixels with which a window gives the scene's answer; None: only the whole scene does.
        reach: farthest pixel, in pixels, that the convolution kernels connect to an output pixel.
        smoothing: how much farther, in pixels, the scores reach in evaluation, where they are smoothed; training smooths nothing.
        hidden: channels of the maps between the layers of a stage, where they are more than those of the maps that stages give; memory
            is reckoned with them.
        stride: of its coarsest map; windows of a larger scene start at multiples of it.
        dates: 2 for a network of two dates: its bands are those of the first date, then those of the second.
        symmetric: of a network of two dates: swapping them leaves the scores as they are.
        streams: False for a network that can only run on a scene in one piece.
        batch_statistics: True for a network that in training takes statistics over several scenes at a time.
        references: keys of `patchfree.citations.METHODS`.
        guides: how many components of the scene with the most signal for their noise `prepare` is to be given.
        supervised: the maps that a training may compare with labels; what else it predicts stands here beside "scores".
        recompute: keep only what the stages give, and compute what lies between anew for the gradient: less memory, the same
            numbers, a longer step (Chen et al., "Training deep nets with sublinear memory cost", arXiv:1604.06174, 2016).
    """

    context: ClassVar[int | None]
    reach: ClassVar[int]
    smoothing: ClassVar[int] = 0
    hidden: ClassVar[int] = 0
    stride: ClassVar[int] = 1
    references: ClassVar[tuple[str, ...]]
    dates: ClassVar[int] = 1
    symmetric: ClassVar[bool] = False
    streams: ClassVar[bool] = True
    batch_statistics: ClassVar[bool] = False
    guides: ClassVar[int] = 0
    supervised: ClassVar[tuple[str, ...]] = ("scores",)

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__()
        self.bands = bands
        self.classes = classes
        self.recompute = False

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The network as a chain of stages; the last gives "scores", and "uncertainty" if the network predicts one."""

    @property
    def members(self) -> tuple[SceneModel, ...]:
        """The networks of which it consists, each of which is trained as if it were alone; for most networks itself."""
        return (self,)

    def prepare(self, guide: Float[Tensor, "g c"], prior: Float[Tensor, " k"], mixed: float) -> None:
        """Take what a training knows before its first step, if the network has a use for it.

        Args:
            guide: what the `guides` components take of each band (`patchfree.standardise.edge_guide`).
            prior: what will be added to the scores of each class.
            mixed: share of neighbouring training pixels that are of different classes (`patchfree.standardise.mixed_neighbours`).
        """

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        valid: Bool[Tensor, "b h w"] | None = None,
        statistics: Statistics = OF_THE_SCENE,
    ) -> Float[Tensor, "b k h w"]:
        """Scores before softmax; at pixels without data they are meaningless.

        Args:
            x: standardised bands, any finite value where there is no data.
            valid: False where a pixel has no data; None when every pixel has.
            statistics: where whole-scene statistics come from.
        """
        return self.maps(x, valid, statistics)["scores"]

    def maps(
        self,
        x: Float[Tensor, "b c h w"],
        valid: Bool[Tensor, "b h w"] | None = None,
        statistics: Statistics = OF_THE_SCENE,
    ) -> dict[str, Tensor]:
        """The maps of all stages by name, without a gradient only those that it answers with; arguments as for `forward`.

        "uncertainty", where the network predicts one, is the logit of the probability that its answer is wrong.
        """
        if x.shape[1] != self.bands:
            raise ValueError(f"Got {x.shape[1]} bands, but this network was built for {self.bands}.")
        maps, masks = {"scene": x}, Masks(valid, x.dtype)
        stages, kept = self.stages(), {*ANSWERS, *self.supervised}
        for number, stage in enumerate(stages):
            if self.recompute and torch.is_grad_enabled():
                read = {name: maps[name] for name in stage.reads}
                maps |= checkpoint(stage.run, read, masks, statistics, use_reentrant=False)
            else:
                maps |= stage.run(maps, masks, statistics)
            if not torch.is_grad_enabled():  # what nobody will read
                wanted = kept.union(*(later.reads for later in stages[number + 1 :]))
                maps = {name: value for name, value in maps.items() if name in wanted}
        return maps
