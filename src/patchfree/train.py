"""The main job: split, train, test, map, and write it all down.

Nothing is learnt from test pixels: training sees the training pixels, the temperature and the progress display see the
validation pixels, and the test pixels are looked at once, at the end.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Bool, Float32, Int

from patchfree.blocks import block_split
from patchfree.calibrate import calibration_error, fit_temperature, reliability
from patchfree.confusion import assess_pixels, paired_difference
from patchfree.controls import run_control
from patchfree.device import choose_device, peak_memory_bytes, versions
from patchfree.errors import ConfigError, LabelError, RunError, SceneError, SplitError, TrainingFailed
from patchfree.files import write_bytes, write_json
from patchfree.fit import Trainer, class_offsets
from patchfree.io.geotiff import write_class_map
from patchfree.labels import Labels, LandCover
from patchfree.models import MODELS
from patchfree.predict import Prediction, Standardisation, predict_scores, probabilities
from patchfree.recipes import Recipe, get_recipe
from patchfree.run import Run, read_tensors
from patchfree.scene import Scene
from patchfree.split import Split, leak_audit
from patchfree.staging import abandon, finished_run, publish, stage

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT_SECONDS = 10.0
SPLIT_LEGEND = (
    LandCover(1, "training", (0, 114, 178)),
    LandCover(2, "validation", (240, 228, 66)),
    LandCover(3, "test", (213, 94, 0)),
)


@dataclass(frozen=True)
class Progress:
    """How far a job is: shown by the command line, or by whoever calls `train`.

    Attributes:
        phase: what is being done.
        done: steps done of this phase.
        total: steps of this phase.
        loss: training loss of the last step.
        validation_accuracy: last measured, 0..1.
    """

    phase: str
    done: int
    total: int
    loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class Outputs:
    """What to write beside the map, the model, the metrics and the report.

    Attributes:
        probabilities: `probabilities.tif`, one band a class.
        uncertainty: `uncertainty.tif`, entropy and margin.
        figures: the report's figures as PNG files, in `figures/`.
        overwrite: replace a run with other settings that lies in the folder.
        command: the command that does this job, for the report.
        beside: runs of the same scene under other protocols, whose accuracy the report shows beside this one.
    """

    probabilities: bool = False
    uncertainty: bool = False
    figures: bool = False
    overwrite: bool = False
    command: str | None = None
    beside: tuple[Run, ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """What a job found: the run, its map, the map that was tested (another one after a refit), the training log."""

    run: Run
    prediction: Prediction
    tested: Prediction
    log: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that decides the result of a training."""

    scene: Scene
    labels: Labels
    split: Split
    recipe: Recipe
    seed: int
    controls: tuple[str, ...]
    refit: bool
    device: torch.device

    def request(self) -> dict[str, Any]:
        """What must be equal for a run to be the same run: plain values for JSON."""
        codes = hashlib.blake2b(np.ascontiguousarray(self.split.codes()).data, digest_size=16).hexdigest()
        return {
            "scene": self.scene.fingerprint(),
            "labels": self.labels.fingerprint(),
            "split": codes,
            "recipe": dataclasses.asdict(self.recipe),
            "seed": self.seed,
            "controls": list(self.controls),
            "refit": self.refit,
            "device": self.device.type,
        }


def train(
    scene: Scene,
    labels: Labels,
    *,
    split: Split | None = None,
    recipe: str | Recipe = "default",
    seed: int = 0,
    controls: Sequence[str] = ("svm",),
    refit: bool = False,
    out: str | Path | None = None,
    outputs: Outputs | None = None,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a network on a whole scene, test it, map the scene, and write a run folder.

    Args:
        scene: the scene.
        labels: reference labels of some of its pixels.
        split: which of them train and test; None for spatially separate blocks (`block_split`).
        recipe: name of a recipe, or a recipe.
        seed: of the default split, the weights and the sampling.
        controls: simple classifiers to put beside it: "svm", "rf".
        refit: after the test, train once more on all labels, for the map.
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
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    if len(scene.bands) < 2:
        raise SceneError(
            f"{scene.name} has one usable band; telling classes apart by their spectrum needs at least 2. "
            "Give a multispectral or hyperspectral scene."
        )
    if labels.index.shape != scene.grid.shape:
        raise LabelError(
            f"The labels have {labels.index.shape} pixels, the scene has {scene.grid.shape}; they must agree."
        )
    split = block_split(labels.within(scene.valid), seed=seed) if split is None else split
    recipe = recipe.resolved(apart=not split.optimistic)
    split = _with_data(split, scene)
    _check_training_classes(labels, split)
    job = Job(scene, labels, split, recipe, seed, tuple(controls), refit, choose_device(device))
    tell = progress or (lambda _: None)
    if out is None:
        return _Work(job, None, tell).run().run
    folder, outputs, request = Path(out), outputs or Outputs(), job.request()
    _check_beside(outputs.beside, request)
    finished = finished_run(folder, request, overwrite=outputs.overwrite)
    if finished is not None:
        _complete(finished, folder, job, outputs)
        return finished
    staging = stage(folder, request, overwrite=outputs.overwrite)
    try:
        _write(staging, job, _Work(job, staging, tell).run(), outputs, tell)
    except BaseException:
        abandon(staging)
        raise
    return publish(folder, staging)


class _Work:
    """One training job from split to metrics, resumable if it has a folder."""

    def __init__(self, job: Job, staging: Path | None, tell: Callable[[Progress], None]) -> None:
        self.job, self.staging, self.tell = job, staging, tell
        model = MODELS[job.recipe.model]
        # Before anything is trained: a split that shares pixels is refused.
        self.audit = leak_audit(job.split, reach=model.reach, whole_scene=model.context is None, grid=job.scene.grid)
        self.standardisation = Standardisation.of(job.scene)
        self.values = self.standardisation.apply(job.scene)
        self.log: list[dict[str, Any]] = []

    def run(self) -> Result:
        """Do the job."""
        job, split = self.job, self.job.split
        controls = self._controls()
        weights, seconds, precision = self._fit("estimate", split.train, split.val)
        began = time.perf_counter()
        scores = self._scores(weights)
        predict_seconds = time.perf_counter() - began
        offsets, untrained = self._classes(split.train)
        calibration, temperature = self._calibration(scores + np.asarray(offsets, np.float32)[:, None, None])
        chances = probabilities(scores, job.scene.valid, offsets=offsets, temperature=temperature, untrained=untrained)
        tested = Prediction(chances, job.scene.valid, job.labels.legend, job.scene.grid)
        metrics = self._metrics(tested, controls, calibration, seconds, predict_seconds, precision)
        if job.refit:
            everything = (job.labels.index > 0) & job.scene.valid
            weights, refit_seconds, _ = self._fit("refit", everything, np.zeros_like(everything))
            metrics["seconds"]["refit"] = round(refit_seconds, 3)
            offsets, untrained = self._classes(everything)
            scores = self._scores(weights)
        run = Run(
            job.recipe.model,
            weights,
            job.scene.bands,
            self.standardisation,
            job.labels.legend,
            offsets,
            untrained,
            temperature,
            dataclasses.asdict(job.recipe),
            metrics,
        )
        chances = probabilities(scores, job.scene.valid, offsets=offsets, temperature=temperature, untrained=untrained)
        final = dataclasses.replace(tested, probabilities=chances, tags={"model_hash": run.model_hash})
        metrics["map"] = _areas(final)
        metrics["parameters"] = sum(value.numel() for value in weights.values())
        return Result(run, final, tested, self.log)

    def _controls(self) -> list[dict[str, Any]]:
        job, split = self.job, self.job.split
        learnt = split.train | split.val
        truth = np.where(split.test, job.labels.index, 0)
        results = []
        for number, name in enumerate(job.controls):
            self.tell(Progress(f"control {name}", number, len(job.controls)))
            mapped = np.zeros_like(truth)
            found, facts = run_control(
                name,
                self.values[:, learnt].T,
                job.labels.index[learnt],
                self.values[:, split.test].T,
                seed=job.seed,
            )
            mapped[split.test] = found
            results.append({**facts, "mapped": mapped, **_headline(truth, mapped, job.labels.legend, self._block_px())})
        return results

    def _fit(
        self, phase: str, train_mask: Bool[np.ndarray, "h w"], val_mask: Bool[np.ndarray, "h w"]
    ) -> tuple[dict[str, Tensor], float, str]:
        """Train, or go on where a checkpoint stands; returns weights, seconds and number type."""
        job = self.job
        trainer = Trainer(
            self.values,
            job.scene.valid,
            job.labels.index,
            train=train_mask,
            val=val_mask,
            classes=len(job.labels.legend),
            recipe=job.recipe,
            seed=job.seed,
            device=job.device,
        )
        before = self._resume(phase, trainer)
        begun, saved = trainer.steps_done, time.monotonic()
        accuracy = next((e["validation_accuracy"] for e in reversed(self._of(phase)) if e["validation_accuracy"]), None)
        steps, cut = trainer.run(), False
        try:
            while True:
                cut = True  # until the step is done and in the log
                step = next(steps, None)
                if step is None:
                    cut = False
                    break
                accuracy = accuracy if step.validation_accuracy is None else step.validation_accuracy
                self.log.append(dataclasses.asdict(step) | {"phase": phase, "seconds": round(before + step.seconds, 4)})
                cut = False
                self.tell(Progress(phase, step.number, step.of, step.loss, accuracy))
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._checkpoint(phase, trainer)
                    saved = time.monotonic()
        except TrainingFailed:
            cut = False  # the network is as before the step that failed
            raise
        finally:
            # Also when interrupted or broken down: the last good state is what the next start goes on from. Cut inside a
            # step the network may be half updated; then the checkpoint before it stands.
            if not cut and trainer.steps_done > begun:
                self._checkpoint(phase, trainer)
        records = self._of(phase)
        weights = {name: value.detach().cpu().contiguous() for name, value in trainer.model.state_dict().items()}
        return weights, records[-1]["seconds"], str(trainer.precision).removeprefix("torch.")

    def _of(self, phase: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log if entry["phase"] == phase]

    def _checkpoint(self, phase: str, trainer: Trainer) -> None:
        """The log first: it may run ahead of the state, and is cut back when resumed."""
        if self.staging is None:
            return
        lines = "".join(json.dumps(entry) + "\n" for entry in self.log)
        write_bytes(self.staging / "log.jsonl", lines.encode())
        write_bytes(self.staging / f"{phase}.safetensors", safetensors.torch.save(trainer.state()))

    def _resume(self, phase: str, trainer: Trainer) -> float:
        """Load a checkpoint of this phase if there is one; returns the seconds trained so far."""
        if self.staging is None or not (self.staging / f"{phase}.safetensors").is_file():
            return 0.0
        try:
            trainer.restore(read_tensors(self.staging / f"{phase}.safetensors"))
            entries = [json.loads(line) for line in (self.staging / "log.jsonl").read_text().splitlines()]
        except (RunError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise RunError(
                f"The interrupted run cannot be resumed, its checkpoint is damaged ({error}). Delete {self.staging} and run "
                "the same command again to start afresh."
            ) from error
        self.log += [e for e in entries if e["phase"] == phase and e["number"] <= trainer.steps_done]
        return float(self.log[-1]["seconds"]) if self._of(phase) else 0.0

    def _scores(self, weights: dict[str, Tensor]) -> Float32[np.ndarray, "k h w"]:
        job = self.job
        self.tell(Progress("map", 0, 1))
        model = MODELS[job.recipe.model](bands=len(job.scene.bands), classes=len(job.labels.legend))
        model.load_state_dict(weights)
        model = model.to(job.device).to(memory_format=torch.channels_last)
        return predict_scores(model, self.values, job.scene.valid, device=job.device)

    def _classes(self, train: Bool[np.ndarray, "h w"]) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """What to add to each class's score, and the positions in the legend of classes without a training pixel."""
        job, k = self.job, len(self.job.labels.legend)
        offsets = class_offsets(job.labels.index, train, k, job.recipe.prior)
        untrained = [i for i in range(k) if not (train & (job.labels.index == i + 1)).any()]
        return tuple(float(v) for v in offsets), tuple(untrained)

    def _calibration(self, scores: Float32[np.ndarray, "k h w"]) -> tuple[dict[str, Any], float]:
        index, split = self.job.labels.index, self.job.split
        # Validation pixels that lie apart are fewer and easier than the rest of the scene; they may not make the map surer.
        lowest = 0.05 if split.optimistic else 1.0
        temperature = fit_temperature(scores[:, split.val], index[split.val] - 1, lowest=lowest)
        test_scores, test_classes = scores[:, split.test], index[split.test] - 1
        used = 1.0 if temperature is None else temperature
        return {
            "temperature": temperature,
            "fitted_on": "validation pixels" if temperature is not None else "nothing: fewer than 10 validation pixels",
            "validation_pixels": int(split.val.sum()),
            "ece_before": calibration_error(test_scores, test_classes),
            "ece_after": calibration_error(test_scores, test_classes, used),
            "bins": 15,
            "reliability": reliability(test_scores, test_classes, used) if len(test_classes) else [],
        }, used

    def _block_px(self) -> int | None:
        """The bootstrap draws the blocks of the split, so that the intervals know what was kept apart."""
        return self.job.split.protocol.get("size_px")

    def _metrics(
        self,
        tested: Prediction,
        controls: list[dict[str, Any]],
        calibration: dict[str, Any],
        seconds: float,
        predict_seconds: float,
        precision: str,
    ) -> dict[str, Any]:
        job, split = self.job, self.job.split
        truth = np.where(split.test, job.labels.index, 0)
        compared = []
        for control in controls:
            mapped = control.pop("mapped")
            difference = paired_difference(truth, tested.index, mapped, block_px=self._block_px())
            compared.append(control | {"overall_accuracy_difference": difference})
        return {
            "task": "classification",
            "request": job.request(),
            "scene": {
                "name": job.scene.name,
                "rows": job.scene.grid.height,
                "columns": job.scene.grid.width,
                "bands": len(job.scene.bands),
                "pixels_with_data": int(job.scene.valid.sum()),
                "notes": list(job.scene.notes),
                **job.scene.details,
            },
            "labels": {"notes": list(job.labels.notes), "pixels": int((job.labels.index > 0).sum())},
            "protocol": {
                "split": split.protocol,
                "optimistic": split.optimistic,
                "seed": job.seed,
                "counts": _counts(job.labels, split),
                "notes": list(split.notes),
                "leak_audit": self.audit,
                "refit_on_all_labels": job.refit,
            },
            "test": assess_pixels(truth, tested.index, job.labels.legend, block_px=self._block_px()),
            "calibration": calibration,
            "controls": compared,
            "recipe": dataclasses.asdict(job.recipe),
            "seconds": {"train": round(seconds, 3), "predict": round(predict_seconds, 3)},
            "peak_memory_bytes": peak_memory_bytes(job.device),
            "device": str(job.device),
            "precision": precision,
            "versions": versions(),
        }


def _with_data(split: Split, scene: Scene) -> Split:
    """The split without the pixels that hold no data."""
    lost = int(((split.train | split.val | split.test) & ~scene.valid).sum())
    if not lost:
        return split
    note = f"{lost} labelled pixels lie where the scene holds no data and were left out."
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
    missing = [name for name, asked in wanted.items() if asked and not (folder / f"{name}.tif").is_file()]
    if missing:
        prediction = run.predict(job.scene, device=job.device.type)
        for name in missing:
            getattr(prediction, f"save_{name}")(folder / f"{name}.tif")


def _counts(labels: Labels, split: Split) -> dict[str, Any]:
    def per_class(mask: Bool[np.ndarray, "h w"]) -> list[int]:
        return [int(n) for n in labels.within(mask).counts]

    parts = {"train": split.train, "validation": split.val, "test": split.test}
    return {
        **{name: int(mask.sum()) for name, mask in parts.items()},
        "per_class": [
            {"value": entry.value, "name": entry.name, "train": a, "validation": b, "test": c}
            for entry, a, b, c in zip(labels.legend, *(per_class(mask) for mask in parts.values()), strict=True)
        ],
    }


def _headline(
    truth: Int[np.ndarray, "h w"], mapped: Int[np.ndarray, "h w"], legend: Sequence[LandCover], block_px: int | None
) -> dict[str, Any]:
    found = assess_pixels(truth, mapped, legend, block_px=block_px)
    names = ("overall_accuracy", "average_accuracy", "kappa", "mean_iou")
    if not found["pixels"]:
        return dict.fromkeys(names)
    return {name: found[name] for name in names} | {
        "intervals": found["intervals"],
        "recall": [entry["recall"] for entry in found["per_class"]],
    }


def _areas(prediction: Prediction) -> dict[str, Any]:
    counts = np.bincount(prediction.index.ravel(), minlength=len(prediction.legend) + 1)[1:]
    size = prediction.grid.pixel_size
    return {
        "pixels": {entry.value: int(n) for entry, n in zip(prediction.legend, counts, strict=True)},
        "pixel_area_map_units": None if size is None else size[0] * size[1],
    }


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
    prediction.save_map(staging / "map.tif")
    write_class_map(staging / "split.tif", job.split.codes(), SPLIT_LEGEND, job.scene.grid)
    if outputs.probabilities:
        prediction.save_probabilities(staging / "probabilities.tif")
    if outputs.uncertainty:
        prediction.save_uncertainty(staging / "uncertainty.tif")
    evidence = Evidence(
        scene=job.scene,
        labels=job.labels,
        split=job.split,
        prediction=prediction,
        tested=result.tested,
        metrics=run.metrics,
        log=result.log,
        beside=tuple(other.metrics for other in outputs.beside),
    )
    if outputs.figures:
        write_figures(staging / "figures", evidence)
    write_report(staging / "report.html", evidence)
    write_json(staging / "metrics.json", run.metrics)
    tell(Progress("report", 1, 1))
