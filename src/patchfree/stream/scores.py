"""Scores of every pixel of a scene on disk, kept there until it is known how to make probabilities of them.

A training learns its temperature from the scores at validation pixels, after the network has seen the whole scene.

Dimension key: c bands, h rows, w columns, k classes.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from patchfree.files import exclusive
from patchfree.io.geotiff import CACHE_BYTES
from patchfree.io.source import SceneSource
from patchfree.models import MODELS
from patchfree.run import Run
from patchfree.scene import Cut
from patchfree.stream.budget import windows_at_once
from patchfree.stream.evaluate import Evaluation, evaluate
from patchfree.stream.journal import Journal
from patchfree.stream.mapping import MapFiles, begin, write_files
from patchfree.stream.runners import InThreads


@dataclass(frozen=True, eq=False)
class Streamed:
    """A scene on disk, evaluated.

    Attributes:
        job: the evaluation; its folder holds the scores.
        statistics: the whole-scene statistics that were used.
    """

    job: Evaluation
    statistics: dict[str, Tensor]

    @property
    def pixels(self) -> int:
        """How many pixels hold data."""
        return sum(int(self.job.data.read(core).sum()) for core in self.job.cores)

    def on_canvas(self, cut: Cut, shape: tuple[int, int]) -> Float32[np.ndarray, "k h w"]:
        """The scores at the parts of the scene that lie on a canvas; 0 elsewhere."""
        found = np.zeros((len(self.job.run.legend), *shape), np.float32)
        for place, window in cut.places:
            found[:, *place] = self.job.output("scores").read(window).transpose(2, 0, 1)[: len(found)]
        return found

    def write(self, run: Run, files: MapFiles) -> Int64[np.ndarray, " n"]:
        """Write the map and what else is asked for; returns how many pixels each class has.

        Args:
            run: the network with the temperature that the scores are to be divided by.
            files: what to write.
        """
        job = dataclasses.replace(self.job, run=run, outputs=tuple(files.wanted))
        counts = np.zeros(len(run.legend) + 1, np.int64)
        number = np.zeros(max(entry.value for entry in run.legend) + 1, np.int64)
        for i, entry in enumerate(run.legend, 1):
            number[entry.value] = i
        for name in job.outputs:
            job.output(name).create()
        for core in job.cores:
            scores, valid = self.job.output("scores").read(core).transpose(2, 0, 1), self.job.data.read(core)[..., 0]
            layers = job.finish(scores, valid.astype(bool))
            for name, values in layers.items():
                job.output(name).write(core, values)
            counts += np.bincount(number[layers["map"].ravel()], minlength=len(counts))
        write_files(job, files)
        for name in job.outputs:
            job.output(name).remove()
        return counts[1:]

    def remove(self) -> None:
        """Delete what is kept on disk."""
        shutil.rmtree(self.job.folder)


def stream_scores(
    run: Run,
    source: SceneSource,
    folder: Path,
    *,
    memory: int,
    device: torch.device,
    tell: Callable[[int, int], None],
) -> Streamed:
    """Evaluate a network on a scene on disk, window by window, with the whole scene's statistics.

    Args:
        run: the network; its temperature and offsets do not matter yet.
        source: the scene.
        folder: for the scores and what is finished; a second call goes on there.
        memory: bytes that this may add to the program.
        device: where to compute.
        tell: called with windows done and windows in all.
    """
    with torch.device("meta"):
        model = MODELS[run.model](bands=len(run.bands), classes=len(run.legend))
    most = torch.get_num_threads() if device.type == "cpu" else 1
    at_once, size = windows_at_once(model, memory, most, kept=source.kept_bytes)
    job = Evaluation(run, source, folder, size, "scene", ("scores",), str(device))
    folder.mkdir(parents=True, exist_ok=True)
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), exclusive(folder):
        begin(job)
        known = evaluate(job, run_all=InThreads(at_once), journal=Journal(folder), tell=tell)
    return Streamed(job, known)
