"""Change detection from labels: a network of two dates, trained on the whole pair.

A pair is a scene of both dates' bands (`Pair.stacked`), so training, split, leak audit, test, controls, streaming and reports are
those of the main job (`patchfree.training.train`). What is added: the probability of a change as a score, the map with a chosen
rate of error (`conformal`), and how well each uncertainty tells where the map is wrong (`uncertainty`).

Dimension key: h rows, w columns, n pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from patchfree.calibrate import calibration_error
from patchfree.change.conformal import CANNOT_TELL, ERROR_RATE, Conformal
from patchfree.change.pair import Pair
from patchfree.change.recipes import DEFAULT, change_recipe
from patchfree.change.reference import LEGEND
from patchfree.change.uncertainty import judge
from patchfree.errors import ConfigError, LabelError, SceneError
from patchfree.io.geotiff import write_class_map, write_layers
from patchfree.labels import Labels, LandCover
from patchfree.models import MODELS
from patchfree.predict import Prediction
from patchfree.progress import Progress
from patchfree.recipes import Recipe
from patchfree.run import Run
from patchfree.scene import Scene
from patchfree.split import Split
from patchfree.training import Outputs, train

if TYPE_CHECKING:
    from patchfree.report import Evidence

DECISIONS = (*LEGEND, LandCover(CANNOT_TELL, "cannot tell", (240, 228, 66)))
"""Classes of `decided.tif`."""


def train_change(
    pair: Pair | Sequence[Pair],
    labels: Labels | Sequence[Labels],
    *,
    split: Split | None = None,
    recipe: str | Recipe = DEFAULT,
    seed: int = 0,
    controls: Sequence[str] = ("svm",),
    refit: bool = False,
    error_rate: float = ERROR_RATE,
    memory: int | None = None,
    out: str | Path | None = None,
    outputs: Outputs | None = None,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a network of two dates on labels of a pair, test it, map the changes, and write a run folder.

    Args:
        pair: the pair, or several, which train one network together.
        labels: what has changed and what has not (`patchfree.change.reference`); of several pairs, of each.
        split: which labels train and test; None for spatially separate blocks.
        recipe: name of a network of two dates, or a recipe that names one.
        seed: of the default split, the weights and the sampling.
        controls: simple classifiers of the stacked spectra to put beside it: "svm", "rf".
        refit: after the test, train once more on all labels, for the map.
        error_rate: share of pixels whose true class may be missing in the map that may say "cannot tell".
        memory: bytes that the training may add to the program.
        out: folder to write; None keeps everything in memory. An interrupted run in it is resumed.
        outputs: what else to write, and whether to replace another run.
        device: auto, cpu, cuda or cuda:N.
        progress: called as the job goes on.

    Returns:
        The run: `run.predict(pair.stacked())` maps; `run.metrics["change"]` holds what was measured of uncertainties.

    Raises:
        SceneError, LabelError, SplitError, ConfigError: the input cannot be used; nothing was written.
        RunError: `out` holds another run.
        TrainingFailed: the loss is no longer finite.
    """
    recipe = change_recipe(recipe) if isinstance(recipe, str) else recipe
    if MODELS[recipe.model].dates != 2:
        raise ConfigError(f"Got the network {recipe.model}, which sees one date; take {DEFAULT} or another one of two.")
    Conformal.fit(np.zeros(0), np.zeros(0, int), error_rate=error_rate)  # refuse early
    pairs, reference = ([pair], [labels]) if isinstance(pair, Pair) else (list(pair), list(labels))  # type: ignore[arg-type]
    for each in reference:
        if not isinstance(each, Labels) or each.legend != LEGEND:
            raise LabelError(
                "Labels of a change need the classes 1 unchanged and 2 changed; make them with change_labels, labels_of_areas or full_mask."
            )
    stacked = [each.stacked() for each in pairs]
    if recipe.model == "ar-cdnet-rgb" and len(stacked[0].bands) != 6:
        raise SceneError(
            f"{pairs[0].before.name} has {len(stacked[0].bands) // 2} usable bands; ar-cdnet-rgb, the published form, takes 3 (red, green, "
            "blue). Choose the bands with --drop-bands, or take --model ar-cdnet."
        )
    given = outputs or Outputs()
    outputs = dataclasses.replace(
        given, uncertainty=True, add=lambda folder, evidence: _write(folder, evidence, error_rate)
    )
    one = len(stacked) == 1
    return train(
        stacked[0] if one else stacked,
        reference[0] if one else reference,
        split=split,
        recipe=recipe,
        seed=seed,
        controls=controls,
        refit=refit,
        memory=memory,
        out=out,
        outputs=outputs,
        device=device,
        progress=progress,
    )


def chance_of_change(prediction: Prediction) -> Float[np.ndarray, "h w"]:
    """The calibrated probability of a change; NaN where there is no data."""
    return np.where(prediction.valid, prediction.probabilities[-1], np.float32(np.nan))


def fit_conformal(tested: Prediction, labels: Labels, split: Split, error_rate: float = ERROR_RATE) -> Conformal:
    """How improbable the true class may be, from the validation pixels."""
    changed, truth = chance_of_change(tested)[split.val], labels.index[split.val] - 1
    return Conformal.fit(changed, truth, error_rate=error_rate)


def measure_change(tested: Prediction, labels: Labels, split: Split, error_rate: float = ERROR_RATE) -> dict[str, Any]:
    """What was measured on test pixels of each uncertainty, and of the map with a chosen rate of error."""
    conformal = fit_conformal(tested, labels, split, error_rate)
    test, truth = split.test, labels.index[split.test] - 1
    changed = chance_of_change(tested)[test]
    wrong: Bool[np.ndarray, " n"] = tested.index[test] != labels.index[test]
    uncertainties: dict[str, Any] = {
        "entropy": judge(tested.entropy[test], wrong),
        "confidence": judge(np.minimum(changed, 1 - changed), wrong, chance=True),
    }
    if tested.branch is not None:
        uncertainties["predicted error"] = judge(tested.branch[test], wrong, chance=True)
    return {
        "wrong_test_pixels": int(wrong.sum()),
        "ece": _calibration(changed, truth),
        "uncertainties": uncertainties,
        "conformal": {
            **dataclasses.asdict(conformal),
            "says": conformal.says,
            "coverage_on_test_pixels": conformal.coverage(changed, truth),
        },
    }


def _calibration(changed: Float[np.ndarray, " n"], truth: Int[np.ndarray, " n"]) -> float | None:
    chances = np.clip(np.stack([1 - changed, changed]).astype(float), 1e-12, 1)
    return calibration_error(np.log(chances), truth)


def _write(folder: Path, evidence: Evidence, error_rate: float) -> None:
    """What a run of changes holds beside that of a classification."""
    found = measure_change(evidence.tested, evidence.labels, evidence.split, error_rate)
    evidence.metrics["task"] = "change detection"
    evidence.metrics["change"] = found
    conformal = fit_conformal(evidence.tested, evidence.labels, evidence.split, error_rate)
    if evidence.whole is None and not evidence.scene.members:
        write_change_maps(folder, evidence.prediction, conformal)


def write_change_maps(folder: Path, prediction: Prediction, conformal: Conformal | None) -> None:
    """Write `score.tif` (probability of a change) and, if a rate of error was chosen, `decided.tif` (changed, unchanged, cannot tell)."""
    changed = chance_of_change(prediction)
    write_layers(
        folder / "score.tif", changed[None], ["probability of change"], prediction.grid, tags={"method": "network"}
    )
    if conformal is not None:
        tags = {"error_rate": f"{conformal.error_rate:g}"}
        write_class_map(folder / "decided.tif", conformal.decide(changed), DECISIONS, prediction.grid, tags=tags)


def stacked_like(run: Run, pair: Pair) -> Scene:
    """The stacked scene of a pair with the run's bands."""
    return pair.stacked().matching(run.bands)
