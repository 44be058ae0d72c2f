"""Anomaly detection: scores for every pixel of a scene without any label.

A detector (`_contract.py`) learns the background of a scene and scores how unlike it each pixel is; a suppression changes the
spectra before it. Adding one is one file and one line here.
"""

from __future__ import annotations

from patchfree.anomalies._contract import Detector
from patchfree.anomalies.autoencoder import Autoencoder
from patchfree.anomalies.bsdm import BSDM
from patchfree.anomalies.collaborative import Collaborative
from patchfree.anomalies.ensemble import RankEnsemble
from patchfree.anomalies.isolation import IsolationForest
from patchfree.anomalies.kernel_rx import KernelRX
from patchfree.anomalies.local_rx import LocalRX
from patchfree.anomalies.pca import PCA
from patchfree.anomalies.rx import GlobalRX
from patchfree.anomalies.subspace_rx import SubspaceRX
from patchfree.anomalies.surround import Surround

DEFAULT = "surround"

DETECTORS: dict[str, type[Detector]] = {
    "autoencoder": Autoencoder,
    "cr": Collaborative,
    "ensemble": RankEnsemble,
    "isolation": IsolationForest,
    "kernel-rx": KernelRX,
    "local-rx": LocalRX,
    "rx": GlobalRX,
    "subspace-rx": SubspaceRX,
    "surround": Surround,
}
"""Every detector by name."""

Suppression = BSDM | PCA

SUPPRESSIONS: dict[str, Suppression | None] = {
    "bsdm": BSDM(),
    "bsdm-alpha": BSDM(mode="alpha"),
    "bsdm-auto": BSDM(mode="auto", step=0, repeats=0),
    "bsdm-untrained": BSDM(steps=0),
    "none": None,
    "pca": PCA(),
}
"""What may change the spectra before a detector sees them, by name."""
