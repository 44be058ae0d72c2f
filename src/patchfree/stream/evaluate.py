"""The whole scene's answer, window by window: every whole-scene statistic is gathered exactly before it is used.

A network is a chain of stages (`SceneModel.stages`). A stage that takes statistics over the whole scene runs over all
windows once for each statistic, to gather it, and once more to write its feature maps. So the deeper stages start from maps
on disk, at a half, a quarter and an eighth of the scene's sides, and only the first stage is computed several times.

The result does not depend on who computes a window, nor in which order: the parts of a statistic are merged in the order
of the windows, in double precision. Finished windows are written down, so that an interrupted evaluation goes on.

Dimension key: c channels, h rows, w columns, k classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from patchfree.device import choose_device
from patchfree.io.source import SceneSource
from patchfree.models import SceneModel, trained_model
from patchfree.models._contract import FeatureMap, Masks, Stage
from patchfree.models._statistics import Gathering, Part, Recorded, Statistics, Unknown, merge
from patchfree.run import Run
from patchfree.stream.journal import Journal
from patchfree.stream.maps import MapFile
from patchfree.windows import Window, at_stride, cover, expand, inside

Finish = Callable[[Float32[np.ndarray, "k h w"], Bool[np.ndarray, "h w"]], dict[str, np.ndarray]]
Runner = Callable[[Callable[[int], "Part | None"], list[int]], Iterable[tuple[int, "Part | None"]]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A run applied to a scene on disk: everything that a window needs, and small enough to be sent to another process.

    Attributes:
        run: the trained network.
        source: the scene.
        folder: where feature maps and outputs are kept; shared by all who compute.
        size: rows and columns of a window's own pixels, a multiple of the network's stride.
        statistics: "scene" gathers the whole-scene statistics of this scene; "run" takes those of the training scene.
        outputs: layers to write, by name: how many numbers a pixel, and their type.
        device: where to compute.
    """

    run: Run
    source: SceneSource
    folder: Path
    size: int
    statistics: Literal["scene", "run"]
    outputs: Mapping[str, tuple[int, str]]
    device: str = "cpu"

    @cached_property
    def model(self) -> SceneModel:
        """The network, ready to compute."""
        found = trained_model(
            self.run.model,
            self.run.weights,
            bands=len(self.run.bands),
            classes=len(self.run.legend),
            device=choose_device(self.device),
        )
        return found.eval()

    @cached_property
    def positions(self) -> list[int]:
        """The run's bands among the scene's."""
        return self.source.description.bands.positions_of(self.run.bands)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The network's stages."""
        return self.model.stages()

    @cached_property
    def cores(self) -> list[Window]:
        """The windows' own pixels."""
        return cover(self.source.grid.shape, self.size, align=self.model.stride)

    def chain(self, number: int) -> tuple[Stage, ...]:
        """The stages that must run to give what this stage gives: those before it whose maps are not stored, and itself."""
        stage = self.stages[number]
        makers = {made.name: i for i, other in enumerate(self.stages) for made in other.gives}
        before = [makers[name] for name in stage.reads if name != "scene" and not self.stored(name)]
        return (*(part for i in sorted(before) for part in self.chain(i)), stage)

    def stored(self, name: str) -> bool:
        """Whether a feature map is kept on disk."""
        return not next(made.cheap for stage in self.stages for made in stage.gives if made.name == name)

    def file(self, made: FeatureMap) -> MapFile:
        """The file of a feature map."""
        h, w = self.source.grid.shape
        shape = (-(-h // made.stride), -(-w // made.stride), made.channels)
        return MapFile(self.folder / f"{made.name}.map", shape, "float32")

    def output(self, name: str) -> MapFile:
        """The file of an output."""
        count, dtype = self.outputs[name]
        return MapFile(self.folder / f"{name}.out", (*self.source.grid.shape, count), dtype)

    @cached_property
    def data(self) -> MapFile:
        """The file that says where there is data."""
        return MapFile(self.folder / "valid.map", (*self.source.grid.shape, 1), "uint8")

    def __getstate__(self) -> dict[str, object]:
        """What is sent to another process: the network is built there."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def evaluate(
    job: Evaluation,
    finish: Finish,
    *,
    run_all: Runner,
    journal: Journal,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Run all stages over all windows; the outputs' files are complete at the end.

    Args:
        job: what to do.
        finish: from scores and data mask of a window to its part of each output.
        run_all: computes all windows of a pass, and gives their results in any order.
        journal: what is finished already.
        tell: called with windows done and windows in all; the latter is an estimate until the last pass.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    known = dict(job.run.statistics) if job.statistics == "run" else {}
    for name in job.outputs:
        job.output(name).create()
    job.data.create()
    done, passes = 0, _passes(job)
    for number, stage in enumerate(job.stages):
        kept = [made for made in stage.gives if made.name != "scores" and not made.cheap]
        if not kept and stage is not job.stages[-1]:
            continue
        for made in kept:
            job.file(made).create()
        turn = 0
        while True:
            parts: dict[int, Part | None] = dict(journal.read(number, turn))
            todo = [i for i in range(len(job.cores)) if i not in parts]
            done += len(parts)
            work = Work(job, finish, number, known, first=number == 0 and turn == 0)
            for index, part in run_all(work, todo):
                journal.add(number, turn, index, part)
                parts[index] = part
                done += 1
                tell(done, max(passes * len(job.cores), done))
            handed = [parts[i] for i in sorted(parts)]
            found = [part for part in handed if part is not None]
            turn += 1
            if not found:
                break
            known |= merge(found)
        for made in _finished_with(job, number):
            job.file(made).remove()


@dataclass(frozen=True, eq=False)
class Work:
    """One pass: called with the number of a window, computes it, and gives its part of a statistic, or None."""

    job: Evaluation
    finish: Finish
    number: int
    known: Mapping[str, Tensor]
    first: bool

    @torch.inference_mode()
    def __call__(self, index: int) -> Part | None:
        """Compute a window."""
        job, core = self.job, self.job.cores[index]
        chain = job.chain(self.number)
        stage = chain[-1]
        halo = sum(part.halo for part in chain)
        window = expand(core, halo, job.source.grid.shape, align=job.model.stride)
        maps, valid = self._inputs(chain, window, core)
        if not valid[inside(core, window)].any():
            return None
        device = next(job.model.parameters()).device
        masks = Masks(None if valid.all() else torch.from_numpy(valid)[None].to(device), torch.float32)
        try:
            for part in chain:
                own = inside(core, window, stride=part.stride)
                statistics: Statistics = Gathering(self.known, own) if part is stage else Recorded(self.known)
                maps |= part.run(maps, masks, statistics)
        except Unknown as wanted:
            return wanted.part
        for made in stage.gives:
            if made.name == "scores":
                self._finish(maps["scores"], valid, core, window)
            elif not made.cheap:
                values = maps[made.name][0, :, *inside(core, window, stride=made.stride)]
                job.file(made).write(at_stride(core, made.stride), values.permute(1, 2, 0).cpu().numpy())
        return None

    def _inputs(
        self, chain: tuple[Stage, ...], window: Window, core: Window
    ) -> tuple[dict[str, Tensor], Bool[np.ndarray, "h w"]]:
        """The maps that the chain reads, and where there is data."""
        job = self.job
        device = next(job.model.parameters()).device
        made_here = {made.name for stage in chain for made in stage.gives}
        files = {made.name: made for stage in job.stages for made in stage.gives}
        maps: dict[str, Tensor] = {}
        if "scene" in {name for stage in chain for name in stage.reads}:
            values, valid = job.source.read(window, job.positions)
            if self.first:
                job.data.write(core, valid[inside(core, window)][..., None])
            values = job.run.standardisation.apply_to(values, valid)
            maps["scene"] = torch.from_numpy(values)[None].to(device).contiguous(memory_format=torch.channels_last)
        else:
            valid = job.data.read(window)[..., 0].astype(bool)
        for name in {name for stage in chain for name in stage.reads} - {"scene"} - made_here:
            stored = job.file(files[name]).read(at_stride(window, files[name].stride))
            maps[name] = torch.from_numpy(stored)[None].permute(0, 3, 1, 2).to(device)
        return maps, valid

    def _finish(self, scores: Tensor, valid: Bool[np.ndarray, "h w"], core: Window, window: Window) -> None:
        own = inside(core, window)
        layers = self.finish(scores[0, :, *own].float().cpu().contiguous().numpy(), valid[own])
        for name, values in layers.items():
            self.job.output(name).write(core, values)


def one_by_one(work: Callable[[int], Part | None], todo: list[int]) -> Iterator[tuple[int, Part | None]]:
    """Compute the windows in this process."""
    for index in todo:
        yield index, work(index)


def _passes(job: Evaluation) -> int:
    """Passes over all windows: two statistics for every block and one for the stem, and one for every stage's maps."""
    kept = sum(any(not made.cheap for made in stage.gives) for stage in job.stages)
    return kept + (len(_norms(job)) if job.statistics == "scene" else 0)


def _norms(job: Evaluation) -> list[str]:
    return [name for name, module in job.model.named_modules() if hasattr(module, "key")]


def _finished_with(job: Evaluation, number: int) -> list[FeatureMap]:
    """Maps that no later stage reads."""
    later = {name for i in range(number + 1, len(job.stages)) for stage in job.chain(i) for name in stage.reads}
    made = [m for stage in job.stages[: number + 1] for m in stage.gives]
    return [m for m in made if not m.cheap and m.name != "scores" and m.name not in later]
