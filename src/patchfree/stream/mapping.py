"""Map a scene on disk with a trained run, whatever its size: in one piece if it fits into memory, else window by window."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import torch
from jaxtyping import Shaped

from patchfree.device import choose_device
from patchfree.errors import ConfigError
from patchfree.files import check_distinct, exclusive, remove_unfinished, write_bytes
from patchfree.io.geotiff import CACHE_BYTES, TILE, strips, write_class_map_windows, write_layers_windows
from patchfree.io.qgis import write_share_style
from patchfree.io.source import BandChoice, SceneSource, nothing_to_map
from patchfree.io.zarr_layers import is_zarr, write_zarr
from patchfree.models import MODELS
from patchfree.predict import UNCERTAINTY, Prediction
from patchfree.progress import Progress
from patchfree.run import Run
from patchfree.stream.budget import free_memory, whole_bytes, windows_at_once
from patchfree.stream.evaluate import Evaluation, evaluate
from patchfree.stream.journal import Journal
from patchfree.stream.runners import InThreads, OnDask, dask_client, least_worker
from patchfree.windows import Window, cover

PROBES = 9  # windows whose values are compared with the training scene's


@dataclass(frozen=True)
class MapFiles:
    """What to write: the map, and if a path is given the probabilities (GeoTIFF or Zarr) and the uncertainty.

    Raises:
        ConfigError: two of them are the same file.
    """

    out: Path
    probabilities: Path | None = None
    uncertainty: Path | None = None

    def __post_init__(self) -> None:
        check_distinct({"--out": self.out, "--probabilities": self.probabilities, "--uncertainty": self.uncertainty})

    @property
    def wanted(self) -> dict[str, Path]:
        """Each file by what it holds."""
        found = {"map": self.out, "probabilities": self.probabilities, "uncertainty": self.uncertainty}
        return {name: path for name, path in found.items() if path is not None}

    @property
    def folder(self) -> Path:
        """Where finished windows are kept until the map is whole."""
        return self.out.with_name(f".{self.out.name}.unfinished")


def map_scene(
    run: Run,
    scene: str | Path | SceneSource,
    files: MapFiles | str | Path,
    *,
    memory: int | None = None,
    statistics: Literal["scene", "run"] = "scene",
    workers: int = 0,
    scheduler: str | None = None,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Map a scene of any size; the map is that of the whole scene in one piece.

    A scene that does not fit into the memory is mapped window by window. Whole-scene statistics of the network are
    gathered exactly, over all windows, before they are used (`patchfree.stream.evaluate`). What is finished is kept beside
    the map until the map is whole: the same call goes on after an interruption.

    Args:
        run: the trained run.
        scene: path of the scene, or a `SceneSource` to say how to read it.
        files: the map to write, or all files to write.
        memory: bytes that the prediction may add to the program, in all processes of this machine together; with a scheduler
            to each of its workers, whose threads share them. None for half of what the machines have to spare.
        statistics: "scene" for the whole-scene statistics of this scene, "run" for those of the training scene.
        workers: processes on this machine to share the work and the memory (dask); 0 for this process.
        scheduler: address of a dask scheduler, whose workers see the same files under the same paths.
        device: auto, cpu, cuda or cuda:N.
        progress: called as the job goes on.

    Returns:
        How it was done: `windows`, `window_px`, and `share_waiting`: of the time, for windows to be read.

    Raises:
        BandMismatch, SceneError: the scene cannot be mapped with this run.
        ConfigError: the memory is too small for the smallest window.
        RunError: another process writes this map, no scheduler answers, or workers die again and again.
        OutputError: the disk is full.
    """
    source = scene if isinstance(scene, SceneSource) else SceneSource(str(scene))
    files = files if isinstance(files, MapFiles) else MapFiles(Path(files))
    if workers < 0 or (workers and scheduler is not None):
        raise ConfigError(
            f"Got --workers {workers} and --scheduler {scheduler}; give one of them: the workers of a scheduler are there already."
            if workers > 0
            else f"Got workers={workers}; need 0 or more."
        )
    tell = progress or (lambda _: None)
    run.statistics_source(statistics)  # refuse early
    where = str(choose_device(device))
    choice = source.choice(run.bands)
    with torch.device("meta"):
        model = MODELS[run.model](bands=len(run.bands), classes=len(run.legend))
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), ExitStack() as open_:
        client = None
        if scheduler is not None:
            client = open_.enter_context(dask_client(scheduler))
            threads, budget = least_worker(client, memory, where)
            at_once, size = windows_at_once(model, budget, threads, least=threads, kept=source.kept_bytes)
        else:
            budget = free_memory(where) if memory is None else memory
            if not workers and whole_bytes(model, source.grid.shape) <= budget:
                tell(Progress("map", 0, 1))
                _save(run.predict(source.scene(choice), device=where, statistics=statistics), files)
                tell(Progress("map", 1, 1))
                return {"windows": 1, "window_px": max(source.grid.shape), "share_waiting": None}
            most = 1 if workers or where != "cpu" else torch.get_num_threads()
            at_once, size = windows_at_once(model, budget, most, processes=max(1, workers), kept=source.kept_bytes)
        _check_magnitude(run, source, choice)
        job = Evaluation(run, source, files.folder, size, statistics, tuple(files.wanted), where)
        open_.enter_context(exclusive(files.folder))
        for path in files.wanted.values():
            remove_unfinished(path)
        begin(job)
        if workers:
            client = open_.enter_context(dask_client(None, workers))
        return _in_windows(job, files, InThreads(at_once) if client is None else OnDask(client, job), tell)


def _save(found: Prediction, files: MapFiles) -> None:
    if files.probabilities:
        found.save_probabilities(files.probabilities)
    if files.uncertainty:
        found.save_uncertainty(files.uncertainty)
    found.save_map(files.out)


def _in_windows(
    job: Evaluation, files: MapFiles, runner: InThreads | OnDask, tell: Callable[[Progress], None]
) -> dict[str, Any]:
    evaluate(job, run_all=runner, journal=Journal(job.folder), tell=lambda done, of: tell(Progress("map", done, of)))
    if not any(job.data.read(window).any() for window in strips(job.source.grid)):
        shutil.rmtree(job.folder)
        raise nothing_to_map(job.source, job.choice)
    write_files(job, files)
    shutil.rmtree(job.folder)
    waited = runner.waited if isinstance(runner, InThreads) else None
    return {"windows": len(job.cores), "window_px": job.size, "share_waiting": waited}


def begin(job: Evaluation) -> None:
    """Keep what an interrupted call of the same job has left in its folder, and nothing else."""
    folder, run = job.folder, job.run  # equal weights can come with other classes, offsets and temperature
    request = {
        "run": [run.model_hash, run.offsets, run.temperature, run.untrained, [entry.value for entry in run.legend]],
        "scene": job.source.signature(),
        "size": job.size,
        "statistics": job.statistics,
        "outputs": list(job.outputs),
        "torch": torch.__version__,
    }
    path, text = folder / "request.json", json.dumps(request, indent=2)
    if path.is_file() and path.read_text() == text:
        return
    path.unlink(missing_ok=True)  # first: half of the old work must not pass for the whole of it
    for old in folder.iterdir():
        if old.name != ".lock":
            old.unlink()
    write_bytes(path, text.encode())


def write_files(job: Evaluation, files: MapFiles) -> None:
    """Write the outputs of a finished evaluation; the map last: when it is there, everything is."""
    tags = job.run.tags(job.statistics, job.choice.note, job.source.masked)

    def layers(name: str) -> Iterator[tuple[Window, Shaped[np.ndarray, "c _ _"]]]:
        for window in cover(job.source.grid.shape, TILE):  # a strip of a wide scene with many classes is large
            yield window, job.output(name).read(window).transpose(2, 0, 1)

    legend, grid = job.run.legend, job.source.grid
    if files.probabilities:
        if is_zarr(files.probabilities):
            write_zarr(files.probabilities, layers("probabilities"), legend, grid, tags=tags)
        else:
            names = [entry.name for entry in legend]
            write_layers_windows(files.probabilities, layers("probabilities"), names, grid, tags=tags)
    if files.uncertainty:
        names = UNCERTAINTY[: 2 + job.branch]
        write_layers_windows(files.uncertainty, layers("uncertainty"), names, grid, tags=tags)
        write_share_style(files.uncertainty)
    parts = ((window, values[0]) for window, values in layers("map"))
    write_class_map_windows(files.out, parts, legend, grid, tags=tags)


def _check_magnitude(run: Run, source: SceneSource, choice: BandChoice) -> None:
    """Compare some windows' values with those of the training scene."""
    h, w = source.grid.shape
    side, per_axis = 64, int(PROBES**0.5)
    sums, count = np.zeros(len(choice.wanted)), 0
    for row in np.linspace(0, max(0, h - side), per_axis).astype(int):
        for col in np.linspace(0, max(0, w - side), per_axis).astype(int):
            window = slice(int(row), int(min(row + side, h))), slice(int(col), int(min(col + side, w)))
            values, valid = source.read(window, choice)
            sums += values[:, valid].sum(1, dtype=float)
            count += int(valid.sum())
    if count:
        run.check_magnitude(sums / count, Path(source.path).name)
