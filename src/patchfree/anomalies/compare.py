"""Detectors and suppressions side by side on scenes with a mask of the true anomalies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from patchfree.anomalies import Suppression
from patchfree.anomalies._contract import Detector
from patchfree.anomalies.measures import measure
from patchfree.anomalies.scoring import detector_named, find_anomalies, suppression_named
from patchfree.scene import Scene

MEASURES = ("auc", "auc_f_tau", "auc_bs", "average_precision", "detection_at_0.001", "detection_at_0.01")


@dataclass(frozen=True)
class Row:
    """What one method gave on one scene with one seed.

    Attributes:
        scene: its name.
        method: the detector, with the suppression before it, if any: "rx", "bsdm + rx".
        seed: of what is random; 0 where nothing is.
        measures: value of each of `MEASURES`.
        seconds: for fit and scores.
    """

    scene: str
    method: str
    seed: int
    measures: dict[str, float]
    seconds: float


def compare(
    scenes: Iterable[tuple[str, Callable[[], tuple[Scene, Bool[np.ndarray, "h w"]]]]],
    methods: Iterable[tuple[str | Suppression, str | Detector]],
    *,
    seeds: Iterable[int] = (0, 1, 2, 3, 4),
    device: str = "auto",
) -> Iterator[Row]:
    """Score every scene with every method, with every seed where something is random.

    Args:
        scenes: name, and what opens the scene and gives the mask of its anomalies.
        methods: suppression and detector, by name or with settings of their own.
        seeds: of what is random.
        device: where networks compute.
    """
    methods, seeds = list(methods), list(seeds)
    for name, opens in scenes:
        scene, truth = opens()
        for suppress, method in methods:
            how, detector = suppression_named(suppress), detector_named(method)
            drawn = detector.random or (how is not None and how.random)
            title = method if isinstance(method, str) else detector.title
            before = "" if how is None else f"{suppress if isinstance(suppress, str) else how.title} + "
            for seed in seeds if drawn else seeds[:1]:
                began = time.perf_counter()
                found = find_anomalies(scene, method=detector, suppress=suppress, seed=seed, device=device)
                seconds = time.perf_counter() - began
                measured = measure(found.scores, truth, draws=0)
                yield Row(name, before + title, seed, {key: measured[key]["value"] for key in MEASURES}, seconds)
