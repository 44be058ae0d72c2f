"""A training job: what decides its result, and the work from split to metrics.

Nothing is learnt from test pixels: training sees the training pixels, the temperature and the progress display see the
validation pixels, and the test pixels are looked at once, at the end.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Bool, Float32, Int

from patchfree.calibrate import calibration_error, fit_temperature, reliability
from patchfree.confusion import assess_pixels, paired_difference
from patchfree.controls import run_control
from patchfree.device import peak_memory_bytes, versions
from patchfree.errors import RunError, TrainingFailed
from patchfree.files import write_bytes
from patchfree.fit import Trainer, class_offsets
from patchfree.ground import crs_name, pixel_metres
from patchfree.heap import give_back_memory
from patchfree.labels import Labels
from patchfree.measured import class_areas, headline, member_facts, pixel_counts
from patchfree.models import MODELS, trained_model
from patchfree.models._statistics import Recording
from patchfree.predict import Prediction, predict_answers, predicted_uncertainty, probabilities
from patchfree.progress import Progress
from patchfree.ranks import Ranks
from patchfree.recipes import Recipe
from patchfree.run import Run, read_tensors
from patchfree.scene import MASKED, Scene, describe_matching
from patchfree.split import Split, leak_audit
from patchfree.standardise import Standardisation
from patchfree.stream.budget import evaluation_memory
from patchfree.stream.scores import Streamed, stream_scores

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT_SECONDS = 10.0
Teach = Callable[[Scene, Int[np.ndarray, "h w"], Bool[np.ndarray, "h w"], int], "Float32[np.ndarray, 'k h w'] | None"]
"""What a teacher says of each pixel of a scene, from its bands, the classes of the training pixels, where these are, and a seed."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a job found.

    Attributes:
        run: the run.
        prediction: its map, of what lies on the canvas.
        tested: the map that was tested, another one after a refit.
        log: the training log.
        streamed: for each scene that stays on disk the scores of all its pixels, None for others.
    """

    run: Run
    prediction: Prediction
    tested: Prediction
    log: list[dict[str, Any]]
    streamed: list[Streamed | None]


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that decides the result of a training, and how much memory it may take."""

    scene: Scene
    labels: Labels
    split: Split
    recipe: Recipe
    seed: int
    controls: tuple[str, ...]
    refit: bool
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    memory: int = 0
    recompute: bool = False
    teach: Teach | None = None

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


class Work:
    """One training job from split to metrics, resumable if it has a folder."""

    def __init__(self, job: Job, staging: Path | None, tell: Callable[[Progress], None]) -> None:
        self.job, self.staging, self.tell = job, staging, tell
        model = MODELS[job.recipe.model]
        # Before anything is trained: a split that shares pixels is refused.
        self.audit = leak_audit(
            job.split,
            reach=model.reach + model.smoothing,
            whole_scene=model.context is None,
            grid=job.scene.ground,
            windows=job.scene.patches,
        )
        self.standardisation = Standardisation.of(job.scene, job.recipe.components, principal=job.recipe.principal)
        self.values = self.standardisation.apply(job.scene)
        self.log: list[dict[str, Any]] = []

    def run(self) -> Result:
        """Do the job."""
        job, split = self.job, self.job.split
        controls = self._controls()
        weights, seconds, precision = self._fit("estimate", split.train, split.val)
        began = time.perf_counter()
        scores, branch, statistics, streamed = self._scores("estimate", weights)
        predict_seconds = time.perf_counter() - began
        offsets, untrained = self._classes(split.train)
        calibration, temperature = self._calibration(scores + np.asarray(offsets, np.float32)[:, None, None])
        chances = probabilities(scores, job.scene.valid, offsets=offsets, temperature=temperature, untrained=untrained)
        tested = Prediction(chances, job.scene.valid, job.labels.legend, job.scene.grid, branch=branch)
        metrics = self._metrics(tested, controls, calibration, seconds, predict_seconds, precision)
        if job.refit:
            everything = (job.labels.index > 0) & job.scene.valid
            weights, refit_seconds, _ = self._fit("refit", everything, np.zeros_like(everything))
            metrics["seconds"]["refit"] = round(refit_seconds, 3)
            offsets, untrained = self._classes(everything)
            for tested_scores in filter(None, streamed):
                tested_scores.remove()
            scores, branch, statistics, streamed = self._scores("refit", weights)
        run = self._run(weights, offsets, untrained, temperature, statistics.values, metrics)
        chances = probabilities(scores, job.scene.valid, offsets=offsets, temperature=temperature, untrained=untrained)
        tags = run.tags("scene", describe_matching(run.bands, run.bands), job.scene.details.get(MASKED, ()))
        final = dataclasses.replace(tested, probabilities=chances, tags=tags, branch=branch)
        metrics["map"] = class_areas(final)
        metrics["scenes"] = member_facts(job.scene, job.labels, split, tested, final, self._block_px())
        metrics["networks"] = self.log[-1]["of"] // job.recipe.steps
        metrics["parameters"] = sum(value.numel() for value in weights.values())
        return Result(run, final, tested, self.log, streamed)

    def follow(self) -> None:
        """Train with the first process, which does the rest."""
        job = self.job
        self._fit("estimate", job.split.train, job.split.val)
        if job.refit:
            everything = (job.labels.index > 0) & job.scene.valid
            self._fit("refit", everything, np.zeros_like(everything))

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
            results.append({**facts, "mapped": mapped, **headline(truth, mapped, job.labels.legend, self._block_px())})
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
            teacher=job.teach(job.scene, job.labels.index, train_mask, job.seed) if job.teach else None,
            windows=job.scene.passes,
            ranks=job.ranks,
            recompute=job.recompute,
        )
        before = self._resume(phase, trainer)
        state = job.ranks.same(trainer.state() if job.ranks.first and trainer.steps_done else None)
        if state and not job.ranks.first:
            trainer.restore(state)
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

    def _run(
        self,
        weights: dict[str, Tensor],
        offsets: tuple[float, ...],
        untrained: tuple[int, ...],
        temperature: float = 1.0,
        statistics: dict[str, Tensor] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> Run:
        job = self.job
        return Run(
            job.recipe.model,
            weights,
            job.scene.bands,
            self.standardisation,
            job.labels.legend,
            offsets,
            untrained,
            temperature,
            dataclasses.asdict(job.recipe),
            statistics or {},
            {} if metrics is None else metrics,
        )

    def _scores(
        self, phase: str, weights: dict[str, Tensor]
    ) -> tuple[Float32[np.ndarray, "k h w"], Float32[np.ndarray, "h w"] | None, Recording, list[Streamed | None]]:
        """Scores of all that lies on the canvas, each scene by itself, the uncertainty that the network predicts, and its statistics.

        A scene of which only parts lie there is evaluated as a whole, on disk.
        """
        job = self.job
        self.tell(Progress("map", 0, 1))
        bands, classes = self.standardisation.inputs, len(job.labels.legend)
        model = trained_model(job.recipe.model, weights, bands=bands, classes=classes, device=job.device)
        found, statistics = np.zeros((classes, *job.scene.grid.shape), np.float32), Recording()
        branch = np.full(job.scene.grid.shape, np.nan, np.float32) if "uncertainty" in model.supervised else None
        streamed: list[Streamed | None] = []
        for scene, window in zip(job.scene.scenes, job.scene.windows, strict=True):
            if scene.cut is None:
                values = np.ascontiguousarray(self.values[:, *window])
                found[:, *window], own = predict_answers(
                    model, values, scene.valid, device=job.device, statistics=statistics
                )
                if branch is not None and own is not None:
                    branch[window] = predicted_uncertainty(own, scene.valid)
                streamed.append(None)
                continue
            assert self.staging is not None
            give_back_memory()
            evaluated = stream_scores(
                self._run(weights, (0.0,) * classes, ()),
                scene.cut.source,
                self.staging / f"scores-{phase}-{len(streamed)}",
                memory=evaluation_memory(job.memory, job.scene.values.nbytes),
                device=job.device,
                tell=lambda done, of: self.tell(Progress("map", done, of)),
            )
            statistics.add(evaluated.statistics, evaluated.pixels)
            found[:, *window] = evaluated.on_canvas(scene.cut, scene.grid.shape)
            streamed.append(evaluated)
        return found, branch, statistics, streamed

    def _classes(self, train: Bool[np.ndarray, "h w"]) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """What to add to each class's score, and the positions in the legend of classes without a training pixel."""
        job, k = self.job, len(self.job.labels.legend)
        offsets = class_offsets(job.labels.index, train, k, job.recipe)
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
        whole = job.scene.grid if job.scene.members else job.scene.ground
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
                "rows": whole.height,
                "columns": whole.width,
                "bands": len(job.scene.bands),
                "pixels_with_data": int(job.scene.valid.sum()),
                "crs_name": crs_name(whole),
                "pixel_size_m": pixel_metres(whole),
                "notes": list(job.scene.notes),
                **job.scene.details,
            },
            "labels": {"notes": list(job.labels.notes), "pixels": int((job.labels.index > 0).sum())},
            "protocol": {
                "split": split.protocol,
                "optimistic": split.optimistic,
                "seed": job.seed,
                "counts": pixel_counts(job.labels, split),
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
            "processes": job.ranks.count,
            "precision": precision,
            "versions": versions(),
        }
