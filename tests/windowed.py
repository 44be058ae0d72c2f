"""Runs with untrained weights, small scenes on disk, and the ways to evaluate one on the other."""

from __future__ import annotations

import numpy as np
import torch

from patchfree.io.source import SceneSource
from patchfree.labels import LandCover
from patchfree.models import MODELS
from patchfree.models.freenet import FreeNet
from patchfree.run import Run
from patchfree.scene import Bands
from patchfree.standardise import Standardisation
from patchfree.stream.evaluate import Evaluation, evaluate
from patchfree.stream.journal import Journal

BANDS = 7
LEGEND = (LandCover(1, "water", (0, 0, 200)), LandCover(10, "wood", (0, 150, 0)), LandCover(14, "sand", (240, 220, 90)))


class Small(FreeNet):
    """A quarter of the published channels; tests list it in MODELS as "small"."""

    def __init__(self, *, bands, classes):
        super().__init__(bands=bands, classes=classes, width=0.25)


def sizes_for(kind):
    """How many bands and classes tests give a network: two dates of three bands, changed or not, or one of seven."""
    return (6, 2) if kind.dates == 2 else (BANDS, len(LEGEND))


def untrained(model, *, bands=None, legend=None, **more):
    """A run of a model of MODELS, whose biases and norms are not those that it began with."""
    usual, classes = sizes_for(MODELS[model])
    bands, legend = bands or usual, legend or LEGEND[:classes]
    torch.manual_seed(0)
    network = MODELS[model](bands=bands, classes=len(legend))
    weights = {name: value + 0.05 * torch.randn(value.shape) for name, value in network.state_dict().items()}
    facts = {
        "bands": Bands(tuple(range(1, bands + 1)), bands),
        "standardisation": Standardisation((3.0,) * bands, (2.0,) * bands),
        "legend": legend,
        "offsets": (0.1,) * len(legend),
        "untrained": (),
        "temperature": 1.5,
        "recipe": {},
    }
    return Run(model, weights, **(facts | more))


def values_of(rows, cols, *, bands=BANDS, missing=None, seed=0):
    """Bands of a scene, channel first, with a trend over it, so that no window has the statistics of the whole."""
    rng = np.random.default_rng(seed)
    trend = 3 * np.linspace(0, 1, rows)[:, None] + 2 * np.linspace(0, 1, cols)
    found = (3 + 2 * rng.normal(size=(bands, rows, cols)) + trend).astype(np.float32)
    if missing is not None:
        found[:, missing] = np.nan
    return found


def saved(path, values):
    """The scene of a NumPy file of these values, written as rows, columns, bands."""
    np.save(path, values.transpose(1, 2, 0))
    return SceneSource(str(path))


class OneByOne:
    """A runner: window by window in this thread, in an order of one's own; `done` holds (stage, turn of it, window)."""

    def __init__(self, order=lambda todo: todo, stop_after=None):
        self.order, self.stop_after = order, stop_after
        self.done, self.passes = [], []

    def __call__(self, work, todo):
        self.passes.append((work.number, len(work.known)))
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for index in self.order(todo):
                if self.stop_after is not None and len(self.done) >= self.stop_after:
                    raise KeyboardInterrupt(f"after {self.stop_after} windows")
                self.done.append((*self.passes[-1], index))
                yield index, work.compute(index, work.load(index))
        finally:
            torch.set_num_threads(before)


def outputs_of(job):
    """Every output of an evaluation, rows, columns, channels."""
    whole = tuple(slice(0, length) for length in job.source.grid.shape)
    return {name: job.output(name).read(whole) for name in job.outputs}


def streamed(run, source, folder, size, *, statistics="scene", outputs=("map", "probabilities", "scores"), runner=None):
    """The outputs of a run on a scene, window by window."""
    job = Evaluation(run, source, folder, size, statistics, tuple(outputs))
    evaluate(job, run_all=runner or OneByOne(), journal=Journal(folder))
    return outputs_of(job)
