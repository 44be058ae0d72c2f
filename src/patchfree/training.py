"""The main verb: train on a scene, test, map, and write a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from rasterio.windows import Window

from patchfree.blocks import block_split
from patchfree.errors import ConfigError, LabelError, RunError, SceneError, SplitError
from patchfree.files import exclusive, write_json
from patchfree.ground import pixel_hectares
from patchfree.heap import freed_memory_kept
from patchfree.io.gdal import open_raster
from patchfree.io.geotiff import write_class_map
from patchfree.job import Job, Result, Teach, Work
from patchfree.labels import Labels, LandCover
from patchfree.models import MODELS
from patchfree.overlaps import apart_on_the_ground
from patchfree.progress import Progress
from patchfree.ranks import together
from patchfree.recipes import Recipe, get_recipe
from patchfree.run import SCENES, Run
from patchfree.scene import Scene
from patchfree.series import scenes_of
from patchfree.split import Split
from patchfree.stac import stac_item
from patchfree.staging import abandon, finished_run, publish, stage
from patchfree.stream.budget import evaluation_memory, installed_memory, training_bytes, windows_at_once
from patchfree.stream.crops import thumbnail
from patchfree.stream.mapping import MapFiles, map_scene
from patchfree.stream.scores import Streamed
from patchfree.windows import window_shape

if TYPE_CHECKING:
    from patchfree.report import Evidence

SPLIT_LEGEND = (
    LandCover(1, "training", (0, 114, 178)),
    LandCover(2, "validation", (240, 228, 66)),
    LandCover(3, "test", (213, 94, 0)),
    LandCover(4, "not used", (170, 170, 170)),
)
KEPT_COPIES = 2
"""Budget for each byte that a training needs, from which on its freed memory is kept: 1.6 were measured."""


@dataclass(frozen=True)
class Outputs:
    """What to write beside the map, the model, the metrics and the report.

    Attributes:
        probabilities: `probabilities.tif`, one band a class.
        uncertainty: `uncertainty.tif`, entropy and margin, and a style for QGIS.
        figures: the report's figures as PNG files, in `figures/`.
        overwrite: replace a run with other settings that lies in the folder.
        command: the command that does this job, for the report.
        beside: runs of the same scene under other protocols, whose accuracy the report shows beside this one.
        report: file name of the report on training and test.
        add: writes what a task has beside a map into the folder, and may add to the metrics, before the report is written.
    """

    probabilities: bool = False
    uncertainty: bool = False
    figures: bool = False
    overwrite: bool = False
    command: str | None = None
    beside: tuple[Run, ...] = ()
    report: str = "report.html"
    add: Callable[[Path, Evidence], None] | None = None


def train(
    scene: Scene | Sequence[Scene],
    labels: Labels | Sequence[Labels],
    *,
    split: Split | None = None,
    recipe: str | Recipe = "default",
    seed: int = 0,
    controls: Sequence[str] = ("svm",),
    refit: bool = False,
    teach: Teach | None = None,
    memory: int | None = None,
    out: str | Path | None = None,
    outputs: Outputs | None = None,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a network on a whole scene, test it, map the scene, and write a run folder.

    Several scenes of one sensor train one network together (`patchfree.series`): the pixels of each step are drawn from all of
    them, the network takes its whole-scene statistics from each by itself, and the bands' mean and deviation are those of all
    together. Started by `torchrun`, several processes share the scenes and make the same steps as one.

    Args:
        scene: the scene, or several.
        labels: reference labels of some of its pixels; of several scenes, those of each.
        split: which of them train and test; None for spatially separate blocks (`block_split`).
        recipe: name of a recipe, or a recipe.
        seed: of the default split, the weights and the sampling.
        controls: simple classifiers to put beside it: "svm", "rf".
        refit: after the test, train once more on all labels, for the map.
        teach: what teaches at pixels without a label, for a recipe with `taught`.
        memory: bytes that the training may add to the program; None for half of the machine's. Where it is short, feature maps
            are computed anew for the gradient: the same numbers in less memory and more time.
        out: folder to write; None keeps everything in memory. An interrupted run in it is resumed.
        outputs: what else to write, and whether to replace another run.
        device: auto, cpu, cuda or cuda:N.
        progress: called as the job goes on.

    Returns:
        The run: `run.predict(scene)` maps, `run.metrics` holds what was measured.

    Raises:
        SceneError, LabelError, SplitError, ConfigError: the input cannot be used; nothing was written.
        RunError: `out` holds another run.
        TrainingFailed: the loss is no longer finite.
    """
    scene, labels = scenes_of(scene, labels)
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    if len(scene.bands) < 2:
        raise SceneError(
            f"{scene.name} has one usable band; telling classes apart by their spectrum needs at least 2. "
            "Give a multispectral or hyperspectral scene."
        )
    if MODELS[recipe.model].dates == 2 and (len(scene.bands) % 2 or recipe.components):
        raise ConfigError(
            f"Got the network {recipe.model}, which compares two dates band by band, for {len(scene.bands)} bands"
            + (" and components of them, which would mix the dates" if recipe.components else "")
            + ". Give both dates as one scene (`patchfree.change.pair.pair_up(before, after).stacked()`), with a recipe without components."
        )
    if bool(recipe.taught) != (teach is not None):
        raise ConfigError(
            f"Got taught={recipe.taught:g} {'without a teacher' if recipe.taught else 'with a teacher'}; a recipe with taught above 0 needs "
            "one (`teach`), and no other takes one. `train_change` has a teacher of its own."
        )
    if labels.index.shape != scene.grid.shape:
        raise LabelError(
            f"The labels have {labels.index.shape} pixels, the scene has {scene.grid.shape}; they must agree."
        )
    labels, lost = labels.within(scene.valid), int(((labels.index > 0) & ~scene.valid).sum())
    split = block_split(labels, seed=seed) if split is None else split
    recipe = recipe.resolved(apart=not split.optimistic)
    split = apart_on_the_ground(_with_data(split, scene, lost), scene)
    _check_training_classes(labels, split)
    folder, outputs = None if out is None else Path(out), outputs or Outputs()
    with together(device) as (ranks, where):
        budget, recompute, plenty = memory_plan(scene, len(labels.legend), recipe, where, memory)
        job = Job(scene, labels, split, recipe, seed, tuple(controls), refit, where, ranks, budget, recompute, teach)
        _check_ranks(job)
        if folder is None and any(each.cut for each in scene.scenes):
            raise ConfigError(f"{scene.name} does not fit into memory, so its map needs a place on disk: give `out`.")
        with freed_memory_kept(plenty):
            if not ranks.first:
                return _follow(job)
            return ranks.same(_lead(job, folder, outputs, progress or (lambda _: None)))


def memory_plan(
    scene: Scene, classes: int, recipe: Recipe, device: torch.device, memory: int | None
) -> tuple[int, bool, bool]:
    """The memory that the training may take, whether it must compute feature maps anew to keep within it, and whether there is plenty.

    Args:
        scene: what is trained on.
        classes: how many.
        recipe: with its network.
        device: where to compute.
        memory: bytes; None for what the machine has.

    Raises:
        ConfigError: it is not enough.
    """
    with torch.device("meta"):
        model = MODELS[recipe.model](bands=len(scene.bands), classes=classes)
    budget = installed_memory() if memory is None else memory
    here = budget
    if device.type == "cuda":
        here = min(budget, torch.cuda.get_device_properties(device).total_memory)
    sizes = [window_shape(window) for window in scene.passes]
    for cut in filter(None, (each.cut for each in scene.scenes)):
        windows_at_once(
            model, evaluation_memory(budget, scene.values.nbytes), 1, kept=cut.source.kept_bytes
        )  # refuse before the training
    whole = training_bytes(model, sizes, recompute=False)
    if whole <= here:
        streamed = any(each.cut for each in scene.scenes)  # within what is left of the budget
        return budget, False, device.type == "cpu" and not streamed and KEPT_COPIES * whole <= budget
    least = training_bytes(model, sizes, recompute=True)
    if memory is not None and least > memory:
        raise ConfigError(
            f"Got memory={memory:,} bytes; training on {scene.name} takes at least {least:,}. Give more, or let `patchfree train` read "
            "the scene from disk: it takes the neighbourhoods of the labels."
        )
    return budget, True, False


def _lead(job: Job, folder: Path | None, outputs: Outputs, tell: Callable[[Progress], None]) -> Run:
    """The job of the first process: all that is not training, too."""
    if folder is None:
        job.ranks.same(None)
        return Work(job, None, tell).run().run
    request = job.request()
    _check_beside(outputs.beside, request)
    finished = finished_run(folder, request, overwrite=outputs.overwrite)
    if finished is not None:
        _complete(finished, folder, job, outputs)
        job.ranks.same(finished)
        return finished
    with exclusive(folder):
        staging = stage(folder, request, overwrite=outputs.overwrite)
        job.ranks.same(None)  # there is something to train
        try:
            _write(staging, job, Work(job, staging, tell).run(), outputs, tell)
        except BaseException:
            abandon(staging)
            raise
        return publish(folder, staging)


def _follow(job: Job) -> Run:
    """The job of every other process: to train with the first one, if there is anything to train."""
    if job.ranks.same(None) is None:
        Work(job, None, lambda _: None).follow()
    finished: Run | None = job.ranks.same(None)
    assert finished is not None
    return finished


def _check_ranks(job: Job) -> None:
    """Refuse processes that have nothing to do, or that read something else than the first one."""
    count, scenes = job.ranks.count, len(job.scene.passes)
    if count > scenes:
        raise ConfigError(
            f"torchrun started {count} processes to share {scenes} scene{'s' if scenes > 1 else ''}. A scene is never cut up: start at most "
            f"{scenes}, or train on more scenes together."
        )
    ours = job.request()
    if ours != job.ranks.same(ours):
        raise RunError(
            f"Process {job.ranks.number} got other scenes, labels or settings than the first one. All processes need the same "
            "command and the same files."
        )


def _with_data(split: Split, scene: Scene, lost: int) -> Split:
    """The split without the pixels that hold no data; says how many labelled pixels were lost so."""
    if not lost:
        return split
    note = (
        f"{lost:,} labelled pixel{'s lie' if lost > 1 else ' lies'} where the scene holds no data, and cannot be used."
    )
    return dataclasses.replace(
        split,
        train=split.train & scene.valid,
        val=split.val & scene.valid,
        test=split.test & scene.valid,
        notes=(*split.notes, note),
    )


def _check_training_classes(labels: Labels, split: Split) -> None:
    """Refuse training pixels that hold no data, or one class only."""
    if not split.train.any():
        raise SplitError(
            "No training pixel lies where the scene holds data. Check the nodata value, or label other places."
        )
    trained = np.unique(labels.index[split.train])
    if len(trained) < 2:
        entry = labels.legend[int(trained[0]) - 1]
        raise SplitError(
            f"All training pixels are of one class ({entry.value} '{entry.name}'); a classifier needs at least two. "
            "Add training pixels of another class."
        )


def _check_beside(runs: Sequence[Run], request: dict[str, Any]) -> None:
    for run in runs:
        if run.metrics.get("request", {}).get("scene") != request["scene"]:
            raise ConfigError(
                f"{run.folder or 'A run'} was made on another scene (or with other bands of it); only accuracies on the same scene "
                "can stand beside each other. Leave out this --beside."
            )


def _complete(run: Run, folder: Path, job: Job, outputs: Outputs) -> None:
    """Write what is asked for and this finished run lacks, as far as its weights give it.

    Raises:
        RunError: it takes a new training.
    """
    there = set(run.metrics.get("beside", ()))
    lacking = ["the figures"] if outputs.figures and not (folder / "figures").is_dir() else []
    lacking += ["the other runs in its report"] if any(o.model_hash not in there for o in outputs.beside) else []
    if lacking:
        raise RunError(
            f"{folder} holds this run, finished without {' and '.join(lacking)}. Pass --overwrite to make it again, or leave "
            "out that option."
        )
    wanted = {"probabilities": outputs.probabilities, "uncertainty": outputs.uncertainty}
    asked = [name for name, value in wanted.items() if value]
    for scene, place in zip(job.scene.scenes, _folders(folder, job), strict=True):
        missing = [name for name in asked if not (place / f"{name}.tif").is_file()]
        if missing and scene.cut is not None:
            map_scene(run, scene.cut.source, _map_files(place, outputs), memory=job.memory, device=job.device.type)
        elif missing:
            prediction = run.predict(scene, device=job.device.type)
            for name in missing:
                getattr(prediction, f"save_{name}")(place / f"{name}.tif")
    if asked:
        _write_item(folder, run, job)


def _map_files(place: Path, outputs: Outputs) -> MapFiles:
    """The rasters of a scene that stays on disk."""
    return MapFiles(
        place / "map.tif",
        place / "probabilities.tif" if outputs.probabilities else None,
        place / "uncertainty.tif" if outputs.uncertainty else None,
    )


def _folders(folder: Path, job: Job) -> list[Path]:
    """Where the maps go: the run's folder, or a folder for each of several scenes."""
    return [folder / SCENES / member.name for member in job.scene.members] or [folder]


def _write(staging: Path, job: Job, result: Result, outputs: Outputs, tell: Callable[[Progress], None]) -> None:
    """All files of the run, into the staging folder."""
    from patchfree.report import Evidence, write_figures, write_report  # matplotlib is slow to import

    tell(Progress("report", 0, 1))
    run, prediction = result.run, result.prediction
    if outputs.command:
        run.metrics["command"] = outputs.command
    if outputs.beside:
        run.metrics["beside"] = [other.model_hash for other in outputs.beside]
    run.save_model(staging)
    codes = job.split.codes()
    codes[(job.labels.index > 0) & (codes == 0)] = 4
    parts = [prediction.part(member) for member in job.scene.members] or [prediction]
    for number, (part, window, place) in enumerate(zip(parts, job.scene.windows, _folders(staging, job), strict=True)):
        streamed, scene = result.streamed[number], job.scene.scenes[number]
        if streamed is not None:
            areas = _write_streamed(place, streamed, run, scene, codes[window], outputs)
            (run.metrics["scenes"][number] if job.scene.members else run.metrics)["map"] = areas
            continue
        part.save_map(place / "map.tif")
        write_class_map(place / "split.tif", codes[window], SPLIT_LEGEND, part.grid)
        if outputs.probabilities:
            part.save_probabilities(place / "probabilities.tif")
        if outputs.uncertainty:
            part.save_uncertainty(place / "uncertainty.tif")
    evidence = Evidence(
        scene=job.scene,
        labels=job.labels,
        split=job.split,
        prediction=prediction,
        tested=result.tested,
        metrics=run.metrics,
        log=result.log,
        beside=tuple(other.metrics for other in outputs.beside),
        whole=_thumbnail(staging / "map.tif", run, job.scene),
    )
    if outputs.add is not None:
        outputs.add(staging, evidence)
    if outputs.figures:
        write_figures(staging / "figures", evidence)
    write_report(staging / outputs.report, evidence)
    _write_item(staging, run, job)
    write_json(staging / "metrics.json", run.metrics)
    tell(Progress("report", 1, 1))


def _write_streamed(
    place: Path, streamed: Streamed, run: Run, scene: Scene, codes: UInt8[np.ndarray, "h w"], outputs: Outputs
) -> dict[str, Any]:
    """The rasters of a scene that stays on disk; returns the areas of its classes."""
    assert scene.cut is not None
    place.mkdir(parents=True, exist_ok=True)
    counts = streamed.write(run, _map_files(place, outputs))
    whole = np.zeros(scene.ground.shape, np.uint8)
    for part, window in scene.cut.places:
        whole[window] = codes[part]
    write_class_map(place / "split.tif", whole, SPLIT_LEGEND, scene.ground)
    streamed.remove()
    return {
        "pixels": {entry.value: int(n) for entry, n in zip(run.legend, counts, strict=True)},
        "pixel_hectares": pixel_hectares(scene.ground),
    }


def _thumbnail(path: Path, run: Run, scene: Scene) -> tuple[Scene, Int64[np.ndarray, "h w"], int] | None:
    """A scene that stays on disk and its map, small enough to be looked at; None for others."""
    if scene.cut is None:
        return None
    small, step = thumbnail(scene.cut.source, run.bands)
    with open_raster(path) as mapped:
        rows = [
            mapped.read(1, window=Window(0, row, mapped.width, 1))[0, ::step] for row in range(0, mapped.height, step)
        ]
    number = {entry.value: i for i, entry in enumerate(run.legend, 1)}
    table = np.array([number.get(value, 0) for value in range(max(number) + 1)], np.int64)
    return small, table[np.stack(rows)], step


def _write_item(folder: Path, run: Run, job: Job) -> None:
    places = {str(place.relative_to(folder)): place for place in _folders(folder, job)}
    grids = dict(zip(places, (scene.ground for scene in job.scene.scenes), strict=True))
    files = [str(path.relative_to(folder)) for path in folder.rglob("*.tif")]
    write_json(folder / "item.json", stac_item(run, grids, files))
