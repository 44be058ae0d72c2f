"""Global RX: the Mahalanobis distance of a spectrum from the mean of the scene.

    score(x) = (x - m)ᵀ S⁺ (x - m)

m and S are mean and covariance of all pixels (divided by their number), S⁺ the pseudo-inverse that leaves out axes with less
than 1e-9 of the largest variance. Double precision throughout.

Reference: I. S. Reed, X. Yu (1990), IEEE Transactions on Acoustics, Speech, and Signal Processing 38(10), 1760-1770.
Differences: the paper tests for a known shape in several pixels; global RX, as the field uses the name, scores single pixels
against the statistics of the whole scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from scipy.linalg import solve_triangular
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.utils import gen_even_slices

from patchfree.anomalies._contract import Detector, enough_pixels
from patchfree.unsupervised.moments import one_blas_thread, principal_axes
from patchfree.unsupervised.scores import Context, Score, score_spectra
from patchfree.unsupervised.view import View

MOST_SAMPLED = 50_000  # pixels that set the shrinkage
ROW_BLOCKS = 4  # of a triangular matrix: five eighths of the multiplications of a full one


@dataclass(frozen=True)
class GlobalRX(Detector):
    """Global RX.

    Attributes:
        shrink: shrink the covariance towards a multiple of the identity (Ledoit and Wolf 2004), which fewer pixels than
            bands need. The scores then depend on the scale of the bands.
    """

    title: ClassVar[str] = "global RX"
    references: ClassVar[tuple[str, ...]] = ("rx",)
    affine: ClassVar[bool] = True

    shrink: bool = False

    def fit(self, view: View, context: Context) -> Score:
        """Mean and covariance."""
        moments = view.moments
        covariance = moments.covariance
        if self.shrink:
            spectra = view.sample(MOST_SAMPLED, context.seed)
            share = float(ledoit_wolf_shrinkage(spectra.T))
            covariance = (1 - share) * covariance + share * np.trace(covariance) / view.bands * np.eye(view.bands)
            context.notes.append(f"The covariance was shrunk by {share:.3g} (Ledoit-Wolf).")
        else:
            enough_pixels(view, view.bands, "RX")
        distance = Mahalanobis(moments.mean, covariance)
        return lambda values, valid: score_spectra(values, valid, distance)


class Mahalanobis:
    """Squared Mahalanobis distance of spectra (c, n) from a mean."""

    def __init__(self, mean: Float64[np.ndarray, " c"], covariance: Float64[np.ndarray, "c c"]) -> None:
        axes = principal_axes(mean, covariance)
        self.mean = mean[:, None]
        self.triangular = len(axes.variances) == len(mean)  # only an invertible covariance has a Cholesky factor
        self.weights = axes.weights(1.0)
        if self.triangular:
            with one_blas_thread():
                factor = np.linalg.cholesky(covariance)
                self.weights = solve_triangular(factor, np.eye(len(mean)), lower=True)

    def __call__(self, spectra: Float64[np.ndarray, "c n"]) -> Float64[np.ndarray, " n"]:
        """The distances; the spectra are overwritten."""
        spectra -= self.mean
        distances = np.zeros(spectra.shape[1])
        for rows in gen_even_slices(len(self.weights), ROW_BLOCKS if self.triangular else 1):
            # Right of a triangle's diagonal there is nothing to multiply. NumPy's product lets other threads run; SciPy's
            # triangular solution does not.
            used = slice(0, rows.stop if self.triangular else None)
            white = self.weights[rows, used] @ spectra[used]
            distances += np.einsum("kn,kn->n", white, white)
        return distances
