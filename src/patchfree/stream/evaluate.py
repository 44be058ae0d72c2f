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
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Shaped
from torch import Tensor

from patchfree.device import choose_device
from patchfree.io.source import BandChoice, SceneSource
from patchfree.models import SceneModel, trained_model
from patchfree.models._contract import ANSWERS, FeatureMap, Masks, Stage
from patchfree.models._statistics import Gathering, Part, Recorded, Recording, Statistics, Unknown, merge
from patchfree.predict import Prediction, check_finite, predicted_uncertainty, probabilities
from patchfree.run import Run
from patchfree.scene import Grid
from patchfree.stream.journal import Journal
from patchfree.stream.maps import MapFile
from patchfree.windows import Window, at_stride, cover, expand, inside

Runner = Callable[["Work", list[int]], Generator[tuple[int, "Part | None"]]]
"""Computes the windows of a pass, and gives their numbers and results in any order."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A run applied to a scene on disk: everything that a window needs, and small enough to be sent to another process.

    Attributes:
        run: the trained network.
        source: the scene.
        folder: where feature maps and outputs are kept; shared by all who compute.
        size: rows and columns of a window's own pixels, a multiple of the network's stride.
        statistics: "scene" gathers the whole-scene statistics of this scene; "run" takes those of the training scene.
        outputs: what to write: "map" (class values), "probabilities", "uncertainty" (entropy, margin, and what the network
            predicts of it), "scores" (with the network's uncertainty, as it gives it, behind them).
        device: where to compute.
    """

    run: Run
    source: SceneSource
    folder: Path
    size: int
    statistics: Literal["scene", "run"]
    outputs: tuple[str, ...] = ("map",)
    device: str = "cpu"

    @cached_property
    def model(self) -> SceneModel:
        """The network, ready to compute."""
        found = trained_model(
            self.run.model,
            self.run.weights,
            bands=self.run.standardisation.inputs,
            classes=len(self.run.legend),
            device=choose_device(self.device),
        )
        return found.eval()

    @cached_property
    def choice(self) -> BandChoice:
        """The run's bands among the scene's."""
        return self.source.choice(self.run.bands)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The network's stages."""
        return self.model.stages()

    @cached_property
    def cores(self) -> list[Window]:
        """The windows' own pixels."""
        return cover(self.source.grid.shape, self.size, align=self.model.stride)

    @cached_property
    def maps(self) -> dict[str, FeatureMap]:
        """Every feature map by name."""
        return {made.name: made for stage in self.stages for made in stage.gives}

    def chain(self, number: int) -> tuple[Stage, ...]:
        """The stages that must run to give what this stage gives: those before it whose maps are not stored, and itself."""
        return (*(part for i in self._before(number) for part in self.chain(i)), self.stages[number])

    def around(self, core: Window, number: int) -> Window:
        """A core and as much around it as the chain of a stage needs, from where its coarsest map has a pixel."""
        chain = self.chain(number)
        read = [self.maps[name].stride for stage in chain for name in stage.reads if name != "scene"]
        coarsest = max(read + [made.stride for stage in chain for made in stage.gives])
        return expand(core, self._halo(number), self.source.grid.shape, align=coarsest)

    def _before(self, number: int) -> list[int]:
        """The stages that give what a stage reads and what is not stored."""
        makers = {made.name: i for i, other in enumerate(self.stages) for made in other.gives}
        return sorted(makers[name] for name in self.stages[number].reads if name in makers and self.maps[name].cheap)

    def _halo(self, number: int) -> int:
        return self.stages[number].halo + max((self._halo(i) for i in self._before(number)), default=0)

    def inputs(self, number: int) -> set[str]:
        """What the chain of a stage reads from disk: the scene, and stored feature maps."""
        chain = self.chain(number)
        return {name for stage in chain for name in stage.reads} - {
            made.name for stage in chain for made in stage.gives
        }

    def file(self, made: FeatureMap) -> MapFile:
        """The file of a feature map."""
        h, w = self.source.grid.shape
        shape = (-(-h // made.stride), -(-w // made.stride), made.channels)
        return MapFile(self.folder / f"{made.name}.map", shape, "float32")

    def output(self, name: str) -> MapFile:
        """The file of an output."""
        k, branch = len(self.run.legend), int(self.branch)
        wide = max(entry.value for entry in self.run.legend) > 255
        count, dtype = {
            "map": (1, "uint16" if wide else "uint8"),
            "probabilities": (k, "float32"),
            "uncertainty": (2 + branch, "float32"),
            "scores": (k + branch, "float32"),
        }[name]
        return MapFile(self.folder / f"{name}.out", (*self.source.grid.shape, count), dtype)

    @property
    def branch(self) -> bool:
        """Whether the network predicts an uncertainty."""
        return any(made.name == "uncertainty" for made in self.stages[-1].gives)

    @cached_property
    def data(self) -> MapFile:
        """The file that says where there is data."""
        return MapFile(self.folder / "valid.map", (*self.source.grid.shape, 1), "uint8")

    def finish(
        self, scores: Float32[np.ndarray, "k h w"], valid: Bool[np.ndarray, "h w"]
    ) -> dict[str, Shaped[np.ndarray, "h w _"]]:
        """From the scores of a window, with the network's uncertainty behind them, to its part of each output."""
        run, k = self.run, len(self.run.legend)
        chances = probabilities(
            scores[:k], valid, offsets=run.offsets, temperature=run.temperature, untrained=run.untrained
        )
        branch = predicted_uncertainty(scores[k], valid) if self.branch else None
        found = Prediction(chances, valid, run.legend, Grid(*valid.shape), branch=branch)
        layers = {}
        if "map" in self.outputs:
            layers["map"] = found.values[..., None]
        if "probabilities" in self.outputs:
            layers["probabilities"] = np.where(valid, chances, np.float32(np.nan)).transpose(1, 2, 0)
        if "uncertainty" in self.outputs:
            layers["uncertainty"] = found.uncertainty.transpose(1, 2, 0)
        if "scores" in self.outputs:
            layers["scores"] = scores.transpose(1, 2, 0)
        return layers

    def __getstate__(self) -> dict[str, object]:
        """What is sent to another process: the network is built there."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def evaluate(
    job: Evaluation,
    *,
    run_all: Runner,
    journal: Journal,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Tensor]:
    """Run all stages over all windows; the outputs' files are complete at the end.

    Args:
        job: what to do.
        run_all: computes all windows of a pass, and gives their results in any order.
        journal: what is finished already.
        tell: called with windows done and windows in all; the latter is an estimate until the last pass.

    Returns:
        The whole-scene statistics that were used, by name.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    known = dict(job.run.statistics) if job.statistics == "run" else {}
    for name in job.outputs:
        job.output(name).create()
    job.data.create()
    done, passes = 0, _passes(job)
    for number, stage in enumerate(job.stages):
        kept = [made for made in stage.gives if made.name not in ANSWERS and not made.cheap]
        if not kept and stage is not job.stages[-1]:
            continue
        for made in kept:
            job.file(made).create()
        turn = 0
        while True:
            parts: dict[int, Part | None] = dict(journal.read(number, turn))
            todo = [i for i in range(len(job.cores)) if i not in parts]
            done += len(parts)
            work = Work(job, number, known, first=number == 0 and turn == 0)
            with closing(run_all(work, todo)) as finished:  # whatever stops this loop stops those who compute, too
                for index, part in finished:
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
    return known


Loaded = tuple[dict[str, Shaped[np.ndarray, "_ _ _"]], Bool[np.ndarray, "_ _"]]
"""Maps by name, each channel first and of its own size, and where there is data."""


@dataclass(frozen=True, eq=False)
class Work:
    """One pass over the windows.

    Attributes:
        job: the whole evaluation.
        number: of the stage.
        known: the statistics that are known.
        first: True for the very first pass, which finds out where there is data.
    """

    job: Evaluation
    number: int
    known: Mapping[str, Tensor]
    first: bool

    @torch.inference_mode()
    def compute(self, index: int, loaded: Loaded) -> Part | None:
        """Compute a window: its part of a statistic, or None when its maps are written or it holds no data."""
        job, core = self.job, self.job.cores[index]
        chain, window, (arrays, valid) = job.chain(self.number), job.around(core, self.number), loaded
        stage = chain[-1]
        if not valid[inside(core, window)].any():
            if stage is job.stages[-1]:  # its outputs are not all 0: layers of numbers hold NaN where there is no data
                answer = torch.zeros(1, len(job.run.legend) + job.branch, *valid.shape)
                self._finish(answer, valid, core, window)
            return None
        device = next(job.model.parameters()).device
        maps = {
            name: torch.from_numpy(array)[None].to(device).contiguous(memory_format=torch.channels_last)
            for name, array in arrays.items()
        }
        masks = Masks(None if valid.all() else torch.from_numpy(valid)[None].to(device), torch.float32)
        try:
            for part in chain:
                own = inside(core, window, stride=part.stride)
                statistics: Statistics = Gathering(self.known, own) if part is stage else Recorded(self.known)
                maps |= part.run(maps, masks, statistics)
        except Unknown as wanted:
            return wanted.part
        if stage is job.stages[-1]:
            given = [maps[name].float() for name in ANSWERS if name in maps]
            self._finish(torch.cat(given, 1), valid, core, window)
        for made in stage.gives:
            if made.name not in ANSWERS and not made.cheap:
                values = maps[made.name][0, :, *inside(core, window, stride=made.stride)]
                job.file(made).write(at_stride(core, made.stride), values.permute(1, 2, 0).cpu().numpy())
        return None

    def load(self, index: int) -> Loaded:
        """The maps that a window reads, and where there is data in it."""
        job, core = self.job, self.job.cores[index]
        inputs, window = job.inputs(self.number), job.around(core, self.number)
        maps: dict[str, Shaped[np.ndarray, "_ _ _"]] = {}
        if "scene" in inputs:
            values, valid = job.source.read(window, job.choice)
            if self.first:
                job.data.write(core, valid[inside(core, window)][..., None])
            maps["scene"] = job.run.standardisation.apply_to(values, valid)
        else:
            valid = job.data.read(window)[..., 0].astype(bool)
        for made in (job.maps[name] for name in inputs - {"scene"}):
            maps[made.name] = job.file(made).read(at_stride(window, made.stride)).transpose(2, 0, 1)
        return maps, valid

    def _finish(self, scores: Tensor, valid: Bool[np.ndarray, "h w"], core: Window, window: Window) -> None:
        own = inside(core, window)
        found = scores[0, :, *own].float().cpu().contiguous().numpy()
        check_finite(found, valid[own])
        layers = self.job.finish(found, valid[own])
        for name, values in layers.items():
            self.job.output(name).write(core, values)


def _passes(job: Evaluation) -> int:
    """Passes over all windows: one for every statistic that is to be gathered, and one for every stage's maps."""
    kept = sum(any(not made.cheap for made in stage.gives) for stage in job.stages)
    if job.statistics == "run":
        return kept
    tried = Recording()
    with torch.inference_mode():
        job.model(torch.zeros(1, job.model.bands, 1, 1, device=next(job.model.parameters()).device), None, tried)
    return kept + sum(name.endswith(".mean") for name in tried.values)


def _finished_with(job: Evaluation, number: int) -> list[FeatureMap]:
    """Maps that no later stage reads."""
    later = {name for i in range(number + 1, len(job.stages)) for name in job.inputs(i)}
    made = [m for stage in job.stages[: number + 1] for m in stage.gives]
    return [m for m in made if not m.cheap and m.name not in ANSWERS and m.name not in later]
