"""A small scene with planted anomalies, and ways to score it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from conftest import synthetic
from patchfree.anomalies.autoencoder import Autoencoder
from patchfree.anomalies.ensemble import RankEnsemble
from patchfree.anomalies.isolation import IsolationForest
from patchfree.anomalies.kernel_rx import KernelRX
from patchfree.anomalies.local_rx import LocalRX
from patchfree.anomalies.rx import GlobalRX
from patchfree.anomalies.surround import Surround
from patchfree.scene import Grid, make_scene
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView

QUICK = {
    "autoencoder": Autoencoder(steps=8, width=8),
    "ensemble": RankEnsemble((Surround(), GlobalRX())),
    "isolation": IsolationForest(trees=30),
    "kernel-rx": KernelRX(landmarks=60),
    "local-rx": LocalRX(inner=5, outer=11),
}
"""Settings that make slow detectors quick on a small scene."""
PLACES = ((8, 9), (8, 10), (21, 30), (30, 40))


def planted(*, rows=40, cols=48, bands=12, seed=0):
    """A scene of three materials, and the mask of four pixels of another."""
    scene, _ = synthetic(rows=rows, cols=cols, bands=bands, noise=0.1, seed=seed)
    values = scene.values.copy()
    truth = np.zeros((rows, cols), bool)
    strange = np.random.default_rng(seed + 1).normal(2.0, 1.0, bands)
    for row, col in PLACES:
        values[:, row, col] = strange
        truth[row, col] = True
    return replace(scene, values=values), truth


def scene_of(values, missing=None):
    """A scene of these numbers."""
    from patchfree.scene import Bands

    values = np.ascontiguousarray(values, np.float32)
    holes = np.zeros(values.shape, bool) if missing is None else np.broadcast_to(missing, values.shape).copy()
    bands = Bands(tuple(range(1, len(values) + 1)), len(values))
    return make_scene(values, missing=holes, bands=bands, grid=Grid(*values.shape[1:]), name="made")


def scored(detector, scene, seed=0):
    """Scores of a scene in one window."""
    score = detector.fit(SceneView(scene), Context(seed))
    return score(scene.values, scene.valid)
