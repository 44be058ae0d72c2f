"""Kernel RX: the Mahalanobis distance in the feature space of a Gaussian kernel, on landmarks (Nyström).

With landmarks L, k(x, y) = exp(-|x - y|² / (2 s²)) and K = k(L, L), the features K^(-1/2) k(L, x) have the kernel's inner
products as far as the landmarks reach; RX on them is kernel RX on that subspace. s is the median distance of the landmarks.
What a pixel has outside of that subspace, 1 - |features|², is added, divided by a small variance; without it a pixel far
from all landmarks would look like one in their middle.

References: H. Kwon, N. M. Nasrabadi (2005), IEEE Transactions on Geoscience and Remote Sensing 43(2), 388-397 (kernel RX);
C. K. I. Williams, M. Seeger (2001), Using the Nyström Method to Speed Up Kernel Machines, NIPS.
Differences: the statistics are those of the scene, not of a local window; landmarks in place of all pixels; the leading
principal components, each divided by the root of its standard deviation, in place of bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from patchfree.anomalies._contract import Detector
from patchfree.anomalies.rx import Mahalanobis
from patchfree.unsupervised.moments import Moments
from patchfree.unsupervised.scores import Context, Score, scene_axes, score_spectra
from patchfree.unsupervised.view import View

FEATURE_CUT = 1e-6  # of the largest: smaller eigenvalues of the kernel are rounding


@dataclass(frozen=True)
class KernelRX(Detector):
    """Kernel RX on landmarks.

    Attributes:
        landmarks: pixels drawn at random, at most.
        components: principal components that the kernel compares.
        ridge: variance added along every direction, and that of directions which the landmarks do not reach.
    """

    title: ClassVar[str] = "kernel RX"
    references: ClassVar[tuple[str, ...]] = ("kernel-rx", "nystroem")
    random: ClassVar[bool] = True

    landmarks: int = 300
    components: int = 20
    ridge: float = 1e-4

    def fit(self, view: View, context: Context) -> Score:
        """Landmarks, and mean and covariance of the features over the scene."""
        axes = scene_axes(view).first(self.components)
        weights = axes.weights(0.5)

        def coordinates(spectra: np.ndarray) -> np.ndarray:
            return (weights @ (spectra - axes.mean[:, None])).T

        points = coordinates(view.sample(self.landmarks, context.seed))
        far = cdist(points, points, "sqeuclidean")
        width = float(np.median(far[~np.eye(len(points), dtype=bool)])) or 1.0
        values, vectors = np.linalg.eigh(np.exp(-far / (2 * width)))
        keep = values > FEATURE_CUT * values[-1]
        root = (vectors[:, keep] / np.sqrt(values[keep])).T

        def features(spectra: np.ndarray) -> np.ndarray:
            return root @ np.exp(-cdist(points, coordinates(spectra), "sqeuclidean") / (2 * width))

        moments = Moments(0, np.zeros(len(root)), np.zeros((len(root), len(root))))
        for spectra in view.blocks():
            moments = moments.merged(Moments.of(features(spectra)))
        inside = Mahalanobis(moments.mean, moments.covariance + self.ridge * np.eye(len(root)))

        def distance(spectra: np.ndarray) -> np.ndarray:
            found = features(spectra)
            outside = np.maximum(1 - np.square(found).sum(0), 0)
            return inside(found) + outside / self.ridge

        return lambda window, valid: score_spectra(window, valid, distance)
