"""Subspace RX: the Mahalanobis distance along the first principal axes only.

Axes of small variance hold noise, which RX weighs as much as the rest; without them it sees less of it, and less of an
anomaly that lies in them.

Reference: A. Schaum (2004), Joint subspace detection of hyperspectral targets, IEEE Aerospace Conference, 1818-1824, for
subspaces; here they are the leading principal axes, a common control of learnt methods (PCA-RX).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from patchfree.anomalies._contract import Detector
from patchfree.errors import ConfigError
from patchfree.unsupervised.scores import Context, Score, scene_axes, score_spectra
from patchfree.unsupervised.view import View


@dataclass(frozen=True)
class SubspaceRX(Detector):
    """RX on the leading principal components.

    Attributes:
        components: how many.
    """

    title: ClassVar[str] = "subspace RX"
    references: ClassVar[tuple[str, ...]] = ("subspace-rx",)

    components: int = 20

    def fit(self, view: View, context: Context) -> Score:
        """Principal axes."""
        if self.components < 1:
            raise ConfigError(f"Got {self.components} components; need 1 or more.")
        axes = scene_axes(view).first(self.components)
        weights = axes.weights(1.0)

        def distance(spectra: np.ndarray) -> np.ndarray:
            return np.square(weights @ (spectra - axes.mean[:, None])).sum(0)

        return lambda values, valid: score_spectra(values, valid, distance)
