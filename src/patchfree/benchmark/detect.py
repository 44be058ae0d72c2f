"""The task anomalies: score the scene without any label, then measure the scores against the mask of its true anomalies.

Methods are the detectors of `patchfree.anomalies`, by name, with a suppression before them if wanted: `rx`, `bsdm+rx`.

Dimension key: h rows, w columns.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from patchfree import citations, figures
from patchfree.anomalies import DEFAULT, DETECTORS, SUPPRESSIONS
from patchfree.anomalies.measures import measure
from patchfree.anomalies.report import score_picture
from patchfree.anomalies.scoring import detector_named, suppression_named
from patchfree.benchmark.cell import Cell, Tell
from patchfree.benchmark.loading import load_anomalies
from patchfree.benchmark.method import Fitted, Method, Training, as_array, carry_out, check_finite, own_method
from patchfree.benchmark.pictures import map_file, write_scene
from patchfree.device import choose_device
from patchfree.errors import ConfigError
from patchfree.files import write_bytes
from patchfree.progress import Progress
from patchfree.scene import Scene
from patchfree.standardise import Standardisation
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView, TransformedView, View

PROTOCOL = "unlabelled"
PROTOCOL_TEXT = f"{PROTOCOL}, the whole scene without any label; its mask is looked at once, to measure"
OURS = DEFAULT
COSTS = {"isolation": 2, "kernel-rx": 2, "local-rx": 3, "cr": 4, "ensemble": 5, "autoencoder": 6}
SUPPRESSION_COSTS = {"bsdm": 7, "bsdm-alpha": 8, "bsdm-auto": 9, "bsdm-untrained": 1, "pca": 1}
MEASURES = ("auc", "average_precision", "auc_f_tau", "auc_bs", "detection_at_0.001", "detection_at_0.01")


def check_protocol(name: str) -> None:
    """Refuse a protocol that this task has not.

    Raises:
        ConfigError: it has not.
    """
    if name != PROTOCOL:
        raise ConfigError(f"Got protocol {name!r}; anomaly detectors see no label, so there is only {PROTOCOL}.")


def protocol_title(name: str) -> str:
    """A protocol for people."""
    check_protocol(name)
    return "no labels"


def detection_method(name: str) -> Method:
    """A detector, or a suppression and a detector with a + between, in the form of the comparison's methods.

    Raises:
        ConfigError: there is none of this name.
    """
    before, _, after = name.rpartition("+")
    detector, how = detector_named(after), suppression_named(before or "none")

    def fit(training: Training) -> Fitted:
        """Learn the background; steps that were asked for take the place of a network's own."""
        context = Context(
            training.seed, training.device, lambda done, of: training.tell(Progress("background", done, of))
        )
        seen: View = SceneView(training.scene)
        if how is not None:
            change, bands = _shorter(how, training.steps).fit(seen, context)
            seen = TransformedView(seen, change, bands)
        score = _shorter(detector, training.steps).fit(seen, context)
        whole = (slice(0, training.valid.shape[0]), slice(0, training.valid.shape[1]))
        return Fitted(lambda: score(*seen.read(whole)), settings={"notes": context.notes})

    keys = [*(how.references if how is not None else ()), *detector.references]
    return Method(
        title=f"{how.title} + {detector.title}" if how is not None else detector.title,
        fit=fit,
        identity={
            "detector": [after, dataclasses.asdict(detector)],
            "suppression": [before, None if how is None else dataclasses.asdict(how)],
        },
        cite=" ".join(citations.METHODS[key] for key in dict.fromkeys(keys)),
        cost=COSTS.get(after, 0) + SUPPRESSION_COSTS.get(before, 0),
        random=detector.random or (how is not None and how.random),
        modules=("benchmark.detect",),
    )


DETECTION: dict[str, Method] = {
    name: detection_method(name)
    for name in (*sorted(DETECTORS), "pca+rx", "bsdm-untrained+rx", "bsdm+rx", "bsdm-alpha+rx")
}
"""Every detector, and global RX behind BSDM and behind both of its controls."""


def find_detection(name: str) -> Method:
    """The method of this name, or the one in this file.

    Raises:
        ConfigError: there is neither.
    """
    if name.endswith(".py"):
        return own_method(Path(name))
    if name in DETECTION:
        return DETECTION[name]
    before, _, after = name.rpartition("+")
    if after in DETECTORS and (before in SUPPRESSIONS or not before):
        return detection_method(name)
    raise ConfigError(
        f"Got method {name!r}; there are {', '.join(DETECTORS)}, each also as SUPPRESSION+DETECTOR with one of "
        f"{', '.join(key for key in SUPPRESSIONS if key != 'none')}, or give a Python file with a function fit(training)."
    )


def detect(cell: Cell, tell: Tell) -> dict[str, Any]:
    """Do one cell; returns the columns of its row."""
    device = choose_device(cell.device)
    method = find_detection(cell.method)
    scene, truth = load_anomalies(cell.scene, cell.data)
    training = _training(cell, scene, device, tell)
    done = carry_out(method, training, cell.name)
    checked = check_anomaly_scores(done.scores, cell.name, scene.valid)
    if cell.pictures is not None:
        _pictures(cell, scene, truth, checked)
    found = measure(checked, truth, draws=0)
    counts = {"pixels": found["pixels"], "anomalous_pixels": found["anomalous"], "anomalies": found["objects"]}
    return {name: found[name]["value"] for name in MEASURES} | done.costs | counts


def check_anomaly_scores(scores: object, name: str, valid: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Scores with NaN where there is no data.

    Raises:
        ConfigError: they have another shape, or are not finite where there is data.
    """
    given = as_array(scores)
    if given.shape != valid.shape or given.dtype.kind not in "fiu":
        raise ConfigError(
            f"{name} gave scores of the shape {given.shape} and type {given.dtype}; need {valid.shape}, one number for each pixel of the "
            "whole scene, large where it is unlike the background."
        )
    check_finite(np.isfinite(given), name, valid)
    return np.where(valid, given.astype(np.float64), np.nan)


def _training(cell: Cell, scene: Scene, device: torch.device, tell: Tell) -> Training:
    """What a method may see: the scene, and no label at all."""
    nothing = np.zeros(scene.grid.shape, bool)
    return Training(
        scene=scene,
        values=Standardisation.of(scene).apply(scene),
        index=np.zeros(scene.grid.shape, np.int32),
        train=nothing,
        val=nothing,
        legend=(),
        apart=True,
        seed=cell.seed,
        device=device,
        steps=cell.steps,
        tell=tell,
    )


def _shorter(settings: Any, steps: int | None) -> Any:  # noqa: ANN401 - any detector or suppression
    """The same with other training steps, if it trains."""
    if steps is None or not getattr(settings, "steps", 0):
        return settings
    return dataclasses.replace(settings, steps=steps)


def _pictures(cell: Cell, scene: Scene, truth: Bool[np.ndarray, "h w"], scores: Float[np.ndarray, "h w"]) -> None:
    """The scores, and once for each scene its false colours and its mask, for the page."""
    assert cell.pictures is not None
    shown = score_picture(scores, float(np.nanquantile(scores, 0.999)))
    write_bytes(map_file(cell.pictures, cell.picture), figures.png(shown))
    mask = np.where(truth[..., None], np.uint8(0), np.uint8(238)).repeat(3, axis=-1)
    text = f"{int(truth.sum()):,} pixels, only to measure"
    write_scene(cell.pictures, cell.scene_pictures, scene, mask, title="True anomalies", text=text)
