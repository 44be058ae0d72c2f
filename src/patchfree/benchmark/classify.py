"""The task classification: train on the pixels that the protocol grants, map the scene, score at the test pixels."""

from __future__ import annotations

import json
import numbers
from typing import Any

import numpy as np

from patchfree import figures
from patchfree.benchmark.cell import Cell, Tell
from patchfree.benchmark.loading import Loaded, load
from patchfree.benchmark.machine import product_rates
from patchfree.benchmark.method import Done, Training, carry_out, check_scores
from patchfree.benchmark.methods import find_method
from patchfree.benchmark.pictures import write_map, write_scene
from patchfree.benchmark.protocols import split
from patchfree.confusion import accuracies, confusion_counts
from patchfree.device import choose_device
from patchfree.models import MODELS
from patchfree.recipes import RECIPES
from patchfree.split import Split, leak_audit
from patchfree.standardise import Standardisation

MEASURES = ("overall_accuracy", "average_accuracy", "kappa", "mean_iou")


def classify(cell: Cell, tell: Tell) -> dict[str, Any]:
    """Do one cell; returns the columns of its row."""
    device = choose_device(cell.device)
    method = find_method(cell.method)
    loaded = load(cell.scene, cell.data)
    chosen = split(cell.protocol, loaded, cell.seed)
    facts, valid = _facts(loaded, chosen), loaded.scene.valid.copy()
    if cell.pictures is not None:
        _scene_pictures(cell, loaded)  # before the method, which may change what it was given
    training = _training(cell, loaded, chosen, tell)
    done = carry_out(method, training, cell.name)
    legend = loaded.labels.legend
    mapped = check_scores(done.scores, cell.name, classes=len(legend), valid=valid)
    if cell.pictures is not None:
        write_map(cell.pictures, cell.picture, mapped, np.where(chosen.test, loaded.labels.index, 0), legend)
    found = _accuracy(loaded, chosen, mapped)
    rates = product_rates(device) if any(count is not None for count in done.operations.values()) else {}
    return found | done.costs | _work_done(done, rates) | facts


def _training(cell: Cell, loaded: Loaded, chosen: Split, tell: Tell) -> Training:
    """What the method may see: the classes of test pixels are left out here, once and for all."""
    learnt = chosen.train | chosen.val
    return Training(
        scene=loaded.scene,
        values=Standardisation.of(loaded.scene).apply(loaded.scene),
        index=np.where(learnt, loaded.labels.index, 0),
        train=chosen.train,
        val=chosen.val,
        legend=loaded.labels.legend,
        apart=not chosen.optimistic,
        seed=cell.seed,
        device=choose_device(cell.device),
        steps=cell.steps,
        tell=tell,
    )


def _accuracy(loaded: Loaded, chosen: Split, mapped: np.ndarray) -> dict[str, float]:
    truth = loaded.labels.index[chosen.test] - 1
    k = len(loaded.labels.legend)
    found = accuracies(confusion_counts(truth, mapped[chosen.test] - 1, k))
    return {name: float(found[name]) for name in MEASURES}


def _work_done(done: Done, rates: dict[str, float]) -> dict[str, Any]:
    """Operations, and which share of the machine's measured rate they were done at."""
    fitted, times = done.fitted, done.costs
    train_flop, predict_flop = done.operations["train_flop"], done.operations["predict_flop"]

    def share(flop: float | None, taken: float, precision: str) -> float | None:
        return None if flop is None or precision not in rates else flop / taken / rates[precision]

    return {
        "parameters": fitted.parameters,
        "predict_macs": None if predict_flop is None else predict_flop / 2,
        "train_flop": train_flop,
        "train_share_of_rate": share(train_flop, times["train_seconds"], fitted.precision),
        "predict_share_of_rate": share(predict_flop, times["predict_seconds"], fitted.predict_precision),
        "train_precision": fitted.precision if train_flop is not None else None,
        "predict_precision": fitted.predict_precision if predict_flop is not None else None,
        **{f"rate_{name}": rate for name, rate in rates.items()},
        "settings": json.dumps(fitted.settings, sort_keys=True, default=_plain),
    }


def _plain(value: object) -> float | str:
    """A setting that JSON has no form for: numbers of numpy as numbers, anything else in words."""
    return float(value) if isinstance(value, numbers.Real) else str(value)


def _facts(loaded: Loaded, chosen: Split) -> dict[str, Any]:
    """Pixels of each part, and how far the test pixels lie from the others."""
    network = MODELS[RECIPES["default"].model]
    audit = leak_audit(chosen, reach=network.reach + network.smoothing, whole_scene=True, grid=loaded.scene.grid)
    tested = np.unique(loaded.labels.index[chosen.test])
    return {
        "train_pixels": int(chosen.train.sum()),
        "validation_pixels": int(chosen.val.sum()),
        "test_pixels": int(chosen.test.sum()),
        "classes": len(loaded.labels.legend),
        "classes_tested": len(tested),
        "optimistic": chosen.optimistic,
        "min_distance_px": audit["min_distance_px"],
        "median_distance_px": audit["median_distance_px"],
        "share_inside_receptive_field": audit["share_inside_receptive_field"],
    }


def _scene_pictures(cell: Cell, loaded: Loaded) -> None:
    """Once for each scene its false colours, labels and legend, for the page."""
    assert cell.pictures is not None
    legend, index = loaded.labels.legend, loaded.labels.index
    write_scene(
        cell.pictures,
        cell.scene_pictures,
        loaded.scene,
        figures.class_picture(index, legend, (238, 238, 238)),
        title="Labels",
        text=f"{int((index > 0).sum()):,} pixels, trained and tested",
        legend=[{"title": entry.title, "colour": list(entry.colour)} for entry in legend],
    )
