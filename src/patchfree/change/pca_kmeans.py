"""PCA and k-means on neighbourhoods of the difference of two dates.

(1) The difference of the dates is the length of the change vector (`cva.py`). (2) Principal components of its blocks of
5 x 5 px, as many as hold 90 % of their variance. (3) The neighbourhood of each pixel, in these components, belongs to one of
two clusters of k-means; the one of larger difference is "changed". The score is 0 at the centre of "unchanged", 1 half the way
to the centre of "changed" and 2 there, along the line between them: above 1 a pixel belongs to "changed".

Reference: T. Celik (2009), Unsupervised Change Detection in Satellite Images Using Principal Component Analysis and k-Means
Clustering, IEEE Geoscience and Remote Sensing Letters 6(4), 772-776.
Differences: the paper differences one band; blocks of 5 px instead of 4, so that a neighbourhood has a centre. Pixels outside the
scene and without data are taken for the mean difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float64
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from patchfree.change._contract import ChangeMethod, Fitted
from patchfree.change._differences import Differences
from patchfree.change.cva import change_vector
from patchfree.unsupervised.moments import Moments, principal_axes
from patchfree.unsupervised.scores import Context, score_spectra
from patchfree.unsupervised.view import Valid, Values, View
from patchfree.windows import Window, expand, inside

SIDE = 5  # px of a block, odd
HELD = 0.9  # share of the variance
MOST_CLUSTERED = 100_000  # neighbourhoods that k-means sees
STARTS = 10


@dataclass(frozen=True)
class PCAKMeans(ChangeMethod):
    """PCA and k-means.

    Attributes:
        aligned: the dates have one radiometry, as in `cva.py`.
    """

    title: ClassVar[str] = "PCA and k-means"
    references: ClassVar[tuple[str, ...]] = ("pca-kmeans", "cva")
    random: ClassVar[bool] = True

    aligned: bool = False

    @property
    def halo(self) -> int:
        """Half a block."""
        return SIDE // 2

    def fit(self, view: View, context: Context) -> Fitted:
        """Components of the blocks, and the two centres."""
        length = change_vector(view.moments, aligned=self.aligned)
        seen = _Neighbourhoods(length, _mean_length(view, length))
        moments, sample = _gathered(view, seen)
        axes = principal_axes(moments.mean, moments.covariance)
        share = np.cumsum(axes.variances) / axes.variances.sum()
        weights = axes.first(int(np.searchsorted(share, HELD)) + 1).weights(0.0)
        context.notes.append(
            f"{len(weights)} principal components hold {HELD:.0%} of the variance of {SIDE} x {SIDE} px blocks."
        )
        with threadpool_limits(1):  # the same clusters whatever the number of threads
            found = KMeans(2, n_init=STARTS, random_state=context.seed).fit(sample @ weights.T)
        centres = found.cluster_centers_
        # The sum of a neighbourhood is its difference: that of a centre, mapped back.
        sums = centres @ weights.sum(1)
        low, high = centres[np.argsort(sums)]
        across = (high - low) / ((high - low) @ (high - low) / 2)

        def score(values: Values, valid: Valid) -> Float64[np.ndarray, "h w"]:
            along = (seen(values, valid) @ weights.T - low) @ across
            return np.where(valid, along.reshape(valid.shape), np.nan)

        return Fitted(score, above=1.0)


class _Neighbourhoods:
    """The differences around each pixel of a window, less their mean over the scene."""

    def __init__(self, length: Differences, mean: float) -> None:
        self.length, self.mean = length, mean

    def __call__(self, values: Values, valid: Valid) -> Float64[np.ndarray, "n k"]:
        """Of every pixel, row by row; what lies outside counts as the mean."""
        difference = np.nan_to_num(score_spectra(values, valid, self.length) - self.mean)
        around = sliding_window_view(np.pad(difference, SIDE // 2), (SIDE, SIDE))
        return np.ascontiguousarray(around).reshape(valid.size, -1)


def _mean_length(view: View, length: Differences) -> float:
    total = sum(float(length(spectra).sum()) for spectra in view.blocks())
    return total / view.moments.count


def _gathered(view: View, seen: _Neighbourhoods) -> tuple[Moments, Float64[np.ndarray, "n k"]]:
    """Moments of the blocks that lie side by side, and a sample of all neighbourhoods at equal distances."""
    moments, parts = Moments(0, np.zeros(SIDE**2), np.zeros((SIDE**2, SIDE**2))), []
    height, width = view.shape
    step = max(1, int(np.ceil(np.sqrt(height * width / MOST_CLUSTERED))))
    for window in view.windows:
        around = expand(window, SIDE // 2, view.shape)
        values, valid = view.read(around)
        core = inside(window, around)
        found = seen(values, valid).reshape(*valid.shape, -1)[core]
        blocks, sampled = (valid[core] & _every(every, window) for every in (SIDE, step))
        moments = moments.merged(Moments.of(np.ascontiguousarray(found[blocks].T)))
        parts.append(found[sampled])
    return moments, np.concatenate(parts)


def _every(step: int, window: Window) -> Bool[np.ndarray, "h w"]:
    """Where both row and column, counted over the scene, lie in the middle of a block of so many pixels."""
    rows, cols = (np.arange(part.start, part.stop) % step == step // 2 for part in window)
    chosen: np.ndarray = rows[:, None] & cols
    return chosen
