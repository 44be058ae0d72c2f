"""Change detection from labels: a network of two dates, trained on the whole pair.

A pair is a scene of both dates' bands (`Pair.stacked`), so training, split, leak audit, test, controls, streaming and reports are
those of the main job (`patchfree.training.train`). What is added: the probability of a change as a score, the map with a chosen
rate of error (`conformal`), and how well each uncertainty tells where the map is wrong (`uncertainty`).

Dimension key: h rows, w columns, n pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from rasterio.windows import Window as RasterWindow

from patchfree.calibrate import calibration_error
from patchfree.change.conformal import CANNOT_TELL, ERROR_RATE, Conformal
from patchfree.change.pair import Pair
from patchfree.change.products import write_change_objects
from patchfree.change.recipes import DEFAULT, change_recipe
from patchfree.change.reference import LEGEND
from patchfree.change.report import ChangeEvidence, write_change_report
from patchfree.change.scoring import Changes
from patchfree.change.spreads import Spreads
from patchfree.change.teacher import teach
from patchfree.change.truth import measure
from patchfree.change.uncertainty import judge
from patchfree.citations import methods_of
from patchfree.confusion import accuracies, confusion_counts
from patchfree.errors import ConfigError, LabelError, RunError, SceneError
from patchfree.io.gdal import open_raster
from patchfree.io.geotiff import strips, write_class_map_windows, write_layers_windows
from patchfree.io.pair import is_pair
from patchfree.labels import Labels, LandCover
from patchfree.models import MODELS
from patchfree.predict import Prediction
from patchfree.progress import Progress
from patchfree.recipes import Recipe
from patchfree.run import SCENES, Run
from patchfree.scene import DATES, Bands, Grid, Scene
from patchfree.split import Split
from patchfree.training import Outputs, train
from patchfree.unsupervised.view import SceneView, SourceView, View
from patchfree.windows import Window

if TYPE_CHECKING:
    from patchfree.report import Evidence

DECISIONS = (*LEGEND, LandCover(CANNOT_TELL, "cannot tell", (240, 228, 66)))
"""Classes of `decided.tif`."""


def train_change(
    pair: Pair | Scene | Sequence[Pair | Scene],
    labels: Labels | Sequence[Labels],
    *,
    split: Split | None = None,
    recipe: str | Recipe = DEFAULT,
    seed: int = 0,
    controls: Sequence[str] = ("svm",),
    refit: bool = False,
    error_rate: float = ERROR_RATE,
    spreads: Spreads | None = None,
    memory: int | None = None,
    out: str | Path | None = None,
    outputs: Outputs | None = None,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a network of two dates on labels of a pair, test it, map the changes, and write a run folder.

    Args:
        pair: the pair, or its stacked scene; or several, which train one network together.
        labels: what has changed and what has not (`patchfree.change.reference`); of several pairs, of each.
        split: which labels train and test; None for spatially separate blocks.
        recipe: name of a network of two dates, or a recipe that names one.
        seed: of the default split, the weights and the sampling.
        controls: simple classifiers of the stacked spectra to put beside it: "svm", "rf".
        refit: after the test, train once more on all labels, for the map.
        error_rate: share of pixels whose true class may be missing in the map that may say "cannot tell".
        spreads: of how many answers to write the spread (`spread.tif`, into `out`); None for none.
        memory: bytes that the training may add to the program.
        out: folder to write; None keeps everything in memory. An interrupted run in it is resumed.
        outputs: what else to write, and whether to replace another run.
        device: auto, cpu, cuda or cuda:N.
        progress: called as the job goes on.

    Returns:
        The run: `run.predict(pair.stacked())` maps; of a run that was written, `run.metrics["change"]` holds what was measured
        of uncertainties.

    Raises:
        SceneError, LabelError, SplitError, ConfigError: the input cannot be used; nothing was written.
        RunError: `out` holds another run, or the same one with another error rate or other spreads.
        TrainingFailed: the loss is no longer finite.
    """
    recipe = change_recipe(recipe) if isinstance(recipe, str) else recipe
    if MODELS[recipe.model].dates != 2:
        raise ConfigError(f"Got the network {recipe.model}, which sees one date; take {DEFAULT} or another one of two.")
    Conformal.fit(np.zeros(0), np.zeros(0, int), error_rate=error_rate)  # refuse early
    stacked = [_stacked(each) for each in ([pair] if isinstance(pair, Pair | Scene) else pair)]
    spreads, tell = spreads or Spreads(), progress or (lambda _: None)
    spreads.check(stacked, refit=refit)
    if len(stacked) > 1 or stacked[0].members:
        recipe = dataclasses.replace(recipe, taught=0.0)  # what is learnt from many pairs is known from their labels

    def add(folder: Path, evidence: Evidence) -> None:
        _add(folder, evidence, error_rate)
        if spreads.asked:
            found = spreads.write(folder, evidence, recipe, seed, device, tell)
            evidence.metrics["change"]["spreads"] = found

    reference = [labels] if isinstance(labels, Labels) else list(labels)
    for each in reference:
        if each.legend != LEGEND:
            raise LabelError(
                "Labels of a change need the classes 1 unchanged and 2 changed; make them with change_labels, labels_of_areas or full_mask."
            )
    check_bands(recipe.model, stacked[0].name, len(stacked[0].bands))
    one = len(stacked) == len(reference) == 1
    run = train(
        stacked[0] if one else stacked,
        reference[0] if one else reference,
        split=split,
        recipe=recipe,
        seed=seed,
        controls=controls,
        refit=refit,
        teach=teach if recipe.taught else None,
        memory=memory,
        out=out,
        outputs=dataclasses.replace(
            outputs or Outputs(),
            probabilities=True,
            uncertainty=True,
            report="training.html" if one and not stacked[0].members else "report.html",
            add=add,
        ),
        device=device,
        progress=progress,
    )
    if out is not None:
        change = run.metrics["change"]
        made = {name: spread["answers"] for name, spread in change.get("spreads", {}).items()}
        for what, there, now in (
            ("an error rate of", change["conformal"]["error_rate"], error_rate),
            ("the spreads", made, spreads.asked),
        ):
            if there != now:
                raise RunError(
                    f"{out} holds this run, finished with {what} {there or 'none'} (now {now or 'none'}). Pass --overwrite to make it again."
                )
    return run


def check_bands(model: str, name: str, bands: int) -> None:
    """Refuse a pair whose bands the network cannot take.

    Raises:
        SceneError: they are not three of each date, for the published AR-CDNet.
    """
    if model == "ar-cdnet-rgb" and bands != 6:
        raise SceneError(
            f"{name} has {bands // 2} usable bands a date; ar-cdnet-rgb, the published form, takes 3 (red, green, blue). "
            "Leave out the others with --drop-bands, or take --model ar-cdnet."
        )


def _stacked(pair: Pair | Scene) -> Scene:
    """Both dates as one scene.

    Raises:
        SceneError: it is a scene of one date.
    """
    if isinstance(pair, Pair):
        return pair.stacked()
    from_file = pair.cut is not None and is_pair(Path(pair.cut.source.path))
    if DATES not in pair.details and not from_file:
        raise SceneError(f"{pair.name} is a scene of one date; give a pair of two (`pair_up`).")
    return pair


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


def _add(folder: Path, evidence: Evidence, error_rate: float) -> None:
    """What a run of changes holds beside that of a classification."""
    evidence.metrics["task"] = "change detection"
    evidence.metrics["change"] = measure_change(evidence.tested, evidence.labels, evidence.split, error_rate)
    if evidence.metrics["recipe"]["taught"]:
        evidence.metrics["change"]["teacher"] = _teacher_alone(evidence)
    conformal = fit_conformal(evidence.tested, evidence.labels, evidence.split, error_rate)
    scene, members = evidence.scene, evidence.scene.members
    places = [folder / SCENES / member.name for member in members] or [folder]
    for place, each in zip(places, scene.scenes, strict=True):
        write_change_maps(place, each.ground, conformal)
    if members:
        return
    truth = evidence.labels.within(evidence.split.test)
    if scene.cut is None:
        view: View = SceneView(scene)
    else:
        source, mask = scene.cut.source, np.zeros(scene.ground.shape, np.int32)
        for part, window in scene.cut.places:
            mask[window] = truth.index[part]
        view, truth = SourceView(source, source.choice(scene.bands)), dataclasses.replace(truth, index=mask)
    write_change_page(folder, evidence.metrics, scene.bands, view, scene.ground, truth)


def _teacher_alone(evidence: Evidence) -> dict[str, float] | None:
    """How good what taught the network is by itself, at the test pixels: the control that the network should beat."""
    seed, labels, split = evidence.metrics["request"]["seed"], evidence.labels, evidence.split
    said = teach(evidence.scene, labels.index, split.train, seed)
    if said is None:
        return None
    found = accuracies(confusion_counts(labels.index[split.test] - 1, said.argmax(0)[split.test], len(LEGEND)))
    return {name: float(found[name]) for name in ("overall_accuracy", "kappa")}


def write_change_page(
    folder: Path,
    metrics: dict[str, Any],
    bands: Bands,
    view: View,
    grid: Grid,
    truth: Labels | None = None,
    command: str = "",
) -> Changes:
    """Write `objects.gpkg` and `report.html` of the maps in a folder, as for changes found without labels; returns the changes.

    Args:
        folder: holds `score.tif` and `map.tif`.
        metrics: of the run that made them.
        bands: of both dates.
        view: both dates.
        grid: of the maps.
        truth: labels that trained nothing, to measure against; None if there are none.
        command: that was given, if another one than that of the run.
    """
    with open_raster(folder / "score.tif") as scores, open_raster(folder / "map.tif") as mapped:
        score, index = scores.read(1), mapped.read(1)
    with open_raster(folder / "decided.tif") as decided:
        undecided = decided.read(1) == CANNOT_TELL
    recipe, conformal = metrics["recipe"], metrics["change"]["conformal"]
    names, taught = metrics["scene"].get(DATES, ("BEFORE", "AFTER")), metrics["change"].get("teacher")
    beside = (
        f"The scores without labels that taught the network have kappa {taught['kappa']:.3f} at the test pixels, calibrated by themselves; the network has {metrics['test']['kappa']:.3f}."
        if taught
        else ""
    )
    found = Changes(
        scores=score,
        index=index,
        probability=score,
        names=(names[0], names[1]),
        grid=grid,
        bands=bands.select(range(len(bands) // 2)),
        method=recipe["model"],
        settings={"steps": recipe["steps"], "seed": metrics["request"]["seed"], "error_rate": conformal["error_rate"]},
        notes=(
            conformal["says"] + " decided.tif says where it cannot tell.",
            *filter(None, [beside]),
            *metrics["scene"]["notes"],
        ),
        view=view,
        undecided=undecided,
        _references=tuple(methods_of(metrics)),
    )
    objects, areas, notes = write_change_objects(folder / "objects.gpkg", found)
    known = truth is not None and (truth.index[index > 0] > 0).any()
    measured = measure(found, truth) if known and truth is not None else None
    evidence = ChangeEvidence(
        found,
        objects,
        areas,
        truth if known else None,
        measured,
        (*found.notes, *notes),
        command or metrics.get("command", ""),
    )
    write_change_report(folder / "report.html", evidence)
    return found


def write_change_maps(folder: Path, grid: Grid, conformal: Conformal) -> None:
    """Write `score.tif` (probability of a change) and `decided.tif` (changed, unchanged, cannot tell) beside a map.

    They are made strip by strip from `probabilities.tif`, whatever the scene's size, and bear its tags.
    """
    with open_raster(folder / "probabilities.tif") as source:
        tags = source.tags(ns="PATCHFREE")

        def chances() -> Iterator[tuple[Window, Float32[np.ndarray, "1 h w"]]]:
            for rows, columns in strips(grid):
                where = RasterWindow.from_slices(rows, columns)
                yield (rows, columns), source.read([len(LEGEND)], window=where)

        write_layers_windows(folder / "score.tif", chances(), ["probability of change"], grid, tags=tags)
        decided = ((window, conformal.decide(values[0])) for window, values in chances())
        tags |= {"error_rate": f"{conformal.error_rate:g}"}
        write_class_map_windows(folder / "decided.tif", decided, DECISIONS, grid, tags=tags)
