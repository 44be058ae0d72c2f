"""Mean and covariance of the spectra of a scene, from parts that can be merged, in double precision.

Dimension key: c bands, k axes, n pixels.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Float64
from threadpoolctl import ThreadpoolController

from patchfree.errors import SceneError

CUT = 1e-9
"""Axes with less than this share of the largest variance are left out of an inverse (pseudo-inverse)."""


def one_blas_thread() -> AbstractContextManager[object]:
    """Products and decompositions by one thread each, as long as this lasts.

    Matrices as wide as a scene has bands are not worth sharing between threads, and BLAS's threads, once woken, keep a
    processor busy for tens of milliseconds with waiting for more.
    """
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries() -> ThreadpoolController:
    """BLAS libraries of this process; to look for them takes milliseconds."""
    return ThreadpoolController()


@dataclass(frozen=True, eq=False)
class Moments:
    """Number, mean and scatter of some pixels.

    Attributes:
        count: pixels, or the sum of their weights.
        mean: of each band.
        scatter: sum of the outer products of the differences from the mean.
    """

    count: int | float
    mean: Float64[np.ndarray, " c"]
    scatter: Float64[np.ndarray, "c c"]

    @classmethod
    def of(cls, spectra: Float64[np.ndarray, "c n"], weights: Float64[np.ndarray, " n"] | None = None) -> Moments:
        """Those of a block of pixels, each of which counts as its weight says (1 if there are none)."""
        c, n = spectra.shape
        count = n if weights is None else float(weights.sum())
        if count == 0:
            return cls(0, np.zeros(c), np.zeros((c, c)))
        mean = spectra.mean(1) if weights is None else spectra @ weights / count
        centred = spectra - mean[:, None]
        if weights is not None:
            centred *= np.sqrt(weights)
        return cls(count, mean, centred @ centred.T)

    def merged(self, other: Moments) -> Moments:
        """Those of both sets of pixels together (Chan, Golub, LeVeque 1979)."""
        if not self.count or not other.count:
            return self if self.count else other
        n = self.count + other.count
        gap = other.mean - self.mean
        mean = self.mean + gap * (other.count / n)
        scatter = self.scatter + other.scatter
        scatter += np.outer(gap, gap) * (self.count * other.count / n)
        return Moments(n, mean, scatter)

    @cached_property
    def covariance(self) -> Float64[np.ndarray, "c c"]:
        """Divided by the number of pixels, or the sum of their weights."""
        return self.scatter / (self.count or 1)


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal axes of a set of spectra, largest variance first.

    Attributes:
        mean: of the spectra.
        variances: along the axes.
        vectors: of unit length, one an axis.
    """

    mean: Float64[np.ndarray, " c"]
    variances: Float64[np.ndarray, " k"]
    vectors: Float64[np.ndarray, "c k"]

    def weights(self, power: float) -> Float64[np.ndarray, "k c"]:
        """What makes the coordinates along the axes, each divided by its standard deviation to this power; 1 whitens."""
        return np.ascontiguousarray((self.vectors * self.variances ** (-power / 2)).T)

    def first(self, k: int) -> Axes:
        """The k axes of largest variance, or all if there are fewer."""
        return Axes(self.mean, self.variances[:k], self.vectors[:, :k])


def principal_axes(mean: Float64[np.ndarray, " c"], covariance: Float64[np.ndarray, "c c"], cut: float = CUT) -> Axes:
    """Axes of a covariance, those below the cut left out.

    Raises:
        SceneError: all pixels are equal.
    """
    with one_blas_thread():
        variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    scale = float(np.abs(mean).max(initial=0.0))
    if not variances[0] > (1e-7 * scale) ** 2:  # below the rounding of 32-bit numbers
        raise SceneError(
            "All pixels have the same spectrum, so none differs from the others. Check the scene with `patchfree info`."
        )
    keep = variances > cut * variances[0]
    return Axes(mean, variances[keep], vectors[:, keep])
