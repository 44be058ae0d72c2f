"""Iteratively reweighted multivariate alteration detection (IR-MAD).

    MAD_i = a_iᵀ (x - m_x) - b_iᵀ (y - m_y),   var MAD_i = 2 (1 - ρ_i),   score² = Σ MAD_i² / 2 (1 - ρ_i)

a_i, b_i are canonical vectors of the two dates, of unit variance, and ρ_i their correlation. Where nothing changed, the squared
score has a chi-square distribution with as many degrees of freedom as there are pairs, which gives the probability of no change;
it is the pixel's weight in the next iteration. Linear maps between the bands of the dates (gains, offsets, another calibration)
change nothing.

Reference: A. A. Nielsen (2007), The Regularized Iteratively Reweighted MAD Method for Change Detection in Multi- and
Hyperspectral Data, IEEE Transactions on Image Processing 16(2), 463-478.
Differences: no penalty on the curvature of the canonical vectors; instead axes of a date with less than 1e-9 of its largest
variance are left out, and on request all but the first principal components of the standardised bands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from scipy.linalg import block_diag

from patchfree.change._contract import ChangeMethod, Fitted
from patchfree.change._differences import FLOOR, Differences, paired, reweighted
from patchfree.errors import ConfigError
from patchfree.unsupervised.moments import Moments, principal_axes
from patchfree.unsupervised.scores import Context, score_spectra
from patchfree.unsupervised.view import TransformedView, View

ITERATIONS, TOLERANCE = 100, 1e-4
Project = Callable[[Float64[np.ndarray, "c2 n"]], Float64[np.ndarray, "k2 n"]]


@dataclass(frozen=True)
class IRMAD(ChangeMethod):
    """Iteratively reweighted MAD.

    Attributes:
        components: principal components of each date (of its standardised bands) to use; None for all bands as they are.
        iterations: at most so many; 0 is MAD, all pixels counting alike.
    """

    title: ClassVar[str] = "IR-MAD"
    references: ClassVar[tuple[str, ...]] = ("ir-mad",)
    affine: ClassVar[bool] = True

    components: int | None = None
    iterations: int = ITERATIONS

    def fit(self, view: View, context: Context) -> Fitted:
        """Canonical vectors and correlations."""
        project, differences = self.learn(view, context)

        def length(spectra: Float64[np.ndarray, "c2 n"]) -> Float64[np.ndarray, " n"]:
            return differences(project(spectra))

        return Fitted(lambda values, valid: score_spectra(values, valid, length), differences.freedom)

    def learn(self, view: View, context: Context) -> tuple[Project, Differences]:
        """What brings spectra of both dates onto the components, and the MAD variates of these.

        Raises:
            ConfigError: the number of components is out of range.
        """
        if self.components is not None and self.components < 1:
            raise ConfigError(f"Got {self.components} components; need at least 1.")
        project: Project = _as_they_are
        if self.components is not None and self.components < view.bands // 2:
            # Chosen once: with axes that change from one iteration to the next, weights of the last ones would come and go.
            axes = component_weights(view.moments, self.components)
            mean = view.moments.mean[:, None]

            def project(spectra: Float64[np.ndarray, "c2 n"]) -> Float64[np.ndarray, "k2 n"]:
                found: np.ndarray = axes @ (spectra - mean)
                return found

            view = TransformedView(view, project, len(axes))
        differences = reweighted(view, mad, context, iterations=self.iterations, tolerance=TOLERANCE)
        return project, differences


def _as_they_are(spectra: Float64[np.ndarray, "c2 n"]) -> Float64[np.ndarray, "c2 n"]:
    return spectra


def component_weights(moments: Moments, components: int) -> Float64[np.ndarray, "k2 c2"]:
    """What makes the first principal components of the standardised bands of BEFORE, then of AFTER."""
    parts = []
    for covariance in paired(moments)[:2]:
        deviation = np.sqrt(np.diag(covariance))
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        axes = principal_axes(np.zeros(len(scale)), covariance * np.outer(scale, scale)).first(components)
        parts.append(axes.weights(0.0) * scale)
    return np.asarray(block_diag(*parts))


def mad(moments: Moments) -> Differences:
    """The MAD variates, each divided by its standard deviation."""
    before, after, between = paired(moments)
    c = len(before)
    white_before = principal_axes(moments.mean[:c], before).weights(1.0)
    white_after = principal_axes(moments.mean[c:], after).weights(1.0)
    left, correlations, right = np.linalg.svd(white_before @ between @ white_after.T, full_matrices=False)
    deviation = np.sqrt(np.maximum(2 * (1 - np.minimum(correlations, 1.0)), FLOOR))
    weights = np.hstack([left.T @ white_before, -right @ white_after]) / deviation[:, None]
    return Differences(moments.mean, weights, correlations)
