"""Slow feature analysis, iterated: the differences that vary least where nothing changed.

    w_i solves  E[d dᵀ] w = λ ½ (E[x xᵀ] + E[y yᵀ]) w,   d = x - y,   score² = Σ (w_iᵀ d)² / λ_i

x and y are the spectra of a pixel at both dates with standardised bands. As in IR-MAD, the squared score of unchanged pixels has a
chi-square distribution, which gives the weights of the next iteration.

Reference: C. Wu, B. Du, L. Zhang (2014), Slow Feature Analysis for Change Detection in Multispectral Imagery, IEEE
Transactions on Geoscience and Remote Sensing 52(5), 2858-2874.
Differences: weights enter the standardisation of the bands too; axes with less than 1e-9 of the largest variance are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from patchfree.change._contract import ChangeMethod, Fitted
from patchfree.change._differences import FLOOR, Differences, reweighted, standardised
from patchfree.change.ir_mad import ITERATIONS
from patchfree.unsupervised.moments import Moments, principal_axes
from patchfree.unsupervised.scores import Context, score_spectra
from patchfree.unsupervised.view import View

TOLERANCE = 1e-4


@dataclass(frozen=True)
class SlowFeatures(ChangeMethod):
    """Iterated slow feature analysis.

    Attributes:
        iterations: at most so many; 0 lets all pixels count alike.
    """

    title: ClassVar[str] = "slow feature analysis"
    references: ClassVar[tuple[str, ...]] = ("sfa",)

    iterations: int = ITERATIONS

    def fit(self, view: View, context: Context) -> Fitted:
        """The slow features."""
        length = reweighted(view, slow_features, context, iterations=self.iterations, tolerance=TOLERANCE)
        return Fitted(lambda values, valid: score_spectra(values, valid, length), length.freedom)


def slow_features(moments: Moments) -> Differences:
    """The slow features, each divided by its standard deviation."""
    difference = standardised(moments)
    k, c = len(difference), len(moments.mean) // 2
    covariance = moments.covariance
    before, after = difference.copy(), difference.copy()
    before[:, c:], after[:, :c] = 0, 0
    spread = (before @ covariance @ before.T + after @ covariance @ after.T) / 2
    white = principal_axes(np.zeros(k), spread).weights(1.0) @ difference
    variances, vectors = np.linalg.eigh(white @ covariance @ white.T)
    deviation = np.sqrt(np.maximum(variances, FLOOR))
    return Differences(moments.mean, vectors.T @ white / deviation[:, None], variances)
