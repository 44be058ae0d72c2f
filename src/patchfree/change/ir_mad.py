"""Iteratively reweighted multivariate alteration detection (IR-MAD).

    MAD_i = a_iᵀ (x - m_x) - b_iᵀ (y - m_y),   var MAD_i = 2 (1 - ρ_i),   score² = Σ MAD_i² / 2 (1 - ρ_i)

a_i, b_i are canonical vectors of the two dates, of unit variance, and ρ_i their correlation. Where nothing changed, the squared
score has a chi-square distribution with as many degrees of freedom as there are pairs, which gives the probability of no change;
it is the pixel's weight in the next iteration. Linear maps between the bands of the dates (gains, offsets, another calibration)
change nothing.

Reference: A. A. Nielsen (2007), The Regularized Iteratively Reweighted MAD Method for Change Detection in Multi- and
Hyperspectral Data, IEEE Transactions on Image Processing 16(2), 463-478.
Differences: no penalty on the curvature of the canonical vectors; instead axes of a date with less than 1e-9 of its largest
variance are left out, and on request all but the first principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from patchfree.change._contract import ChangeMethod, Fitted
from patchfree.change._differences import FLOOR, Differences, Solve, paired, reweighted
from patchfree.errors import ConfigError
from patchfree.unsupervised.moments import Moments, principal_axes
from patchfree.unsupervised.scores import Context, score_spectra
from patchfree.unsupervised.view import View

ITERATIONS, TOLERANCE = 100, 1e-4


@dataclass(frozen=True)
class IRMAD(ChangeMethod):
    """Iteratively reweighted MAD.

    Attributes:
        components: principal components of each date to use; None for all.
        iterations: at most so many; 0 is MAD, all pixels counting alike.
    """

    title: ClassVar[str] = "IR-MAD"
    references: ClassVar[tuple[str, ...]] = ("ir-mad",)
    affine: ClassVar[bool] = True

    components: int | None = None
    iterations: int = ITERATIONS

    def fit(self, view: View, context: Context) -> Fitted:
        """Canonical vectors and correlations."""
        length, _ = reweighted(view, self.solver(), context, iterations=self.iterations, tolerance=TOLERANCE)
        return Fitted(lambda values, valid: score_spectra(values, valid, length), length.freedom)

    def solver(self) -> Solve:
        """From moments to the MAD variates.

        Raises:
            ConfigError: the number of components is out of range.
        """
        if self.components is not None and self.components < 1:
            raise ConfigError(f"Got --components {self.components}; need at least 1.")
        return lambda moments: mad(moments, self.components)


def mad(moments: Moments, components: int | None = None) -> Differences:
    """The MAD variates, each divided by its standard deviation."""
    before, after, between = paired(moments)
    c = len(before)
    first, second = principal_axes(moments.mean[:c], before), principal_axes(moments.mean[c:], after)
    if components is not None:
        first, second = first.first(components), second.first(components)
    white_before, white_after = first.weights(1.0), second.weights(1.0)
    left, correlations, right = np.linalg.svd(white_before @ between @ white_after.T, full_matrices=False)
    deviation = np.sqrt(np.maximum(2 * (1 - np.minimum(correlations, 1.0)), FLOOR))
    weights = np.hstack([left.T @ white_before, -right @ white_after]) / deviation[:, None]
    return Differences(moments.mean, weights, correlations)
