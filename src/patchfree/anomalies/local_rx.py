"""Local RX: the Mahalanobis distance from the pixels of a ring around the pixel (dual window).

    score(x) = (x - m)ᵀ S⁻¹ (x - m)

m and S are mean and covariance of the pixels inside the outer and outside the inner square. A window at the border of the
scene is moved inwards, so that every ring is whole. Exact: sums of outer products follow the windows along a row by adding
the pixels that enter the ring and taking away those that leave it, and one Cholesky factor a pixel gives the distance. The
spectra are whitened by the scene's statistics first, which changes no score (RX is affine) and keeps the updates accurate.

A ring with no more pixels with data than bands has no inverse; such a pixel is scored with the mean and covariance of the
scene. A scene in which every ring is like that is refused.

Reference: I. S. Reed, X. Yu (1990), as for global RX; dual windows: H. Kwon, S. Z. Der, N. M. Nasrabadi (2003), Adaptive
anomaly detection using subspace separation for hyperspectral imagery, Optical Engineering 42(11), 3342-3351.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int

from patchfree.anomalies._contract import Detector, check_rings
from patchfree.errors import ConfigError
from patchfree.unsupervised.scores import Context, Score, project, row_by_row, scene_axes
from patchfree.unsupervised.view import Valid, Values, View


@dataclass(frozen=True)
class LocalRX(Detector):
    """Exact dual-window RX.

    Attributes:
        inner: side of the window that is left out, in pixels, odd: larger than the anomalies.
        outer: side of the window of the background, odd; None for the smallest whose ring holds twice as many pixels as
            there are bands (or axes).
        components: leading principal components to use; None for all bands.
    """

    title: ClassVar[str] = "local RX"
    references: ClassVar[tuple[str, ...]] = ("rx", "dual-window")
    affine: ClassVar[bool] = True
    pixelwise: ClassVar[bool] = False

    inner: int = 5
    outer: int | None = None
    components: int | None = None

    @property
    def halo(self) -> int:
        """At the border of the scene the outer window lies to one side of the pixel."""
        return (self.outer or LARGEST) - 1

    def fit(self, view: View, context: Context) -> Score:
        """The scene's whitening."""
        axes = scene_axes(view)
        axes = axes if self.components is None else axes.first(self.components)
        k = len(axes.variances)
        outer = self.outer or _outer(self.inner, k, view.shape)
        check_rings(self.inner, outer, view.shape)
        ring = outer**2 - self.inner**2
        if ring <= k:
            raise ConfigError(
                f"Got a ring of {ring} pixels (outer window {outer}, inner {self.inner}) for {k} bands; its covariance has no inverse. "
                f"Choose --outer {_outer(self.inner, k, (10**6, 10**6))} or larger, or fewer --components than {ring}."
            )
        if self.outer is None:
            context.notes.append(f"The outer window is {outer} px wide, for {k} bands.")

        def score(values: Values, valid: Valid) -> Float64[np.ndarray, "h w"]:
            return dual_window(project(values, valid, axes, 1.0), valid, self.inner, outer)

        return score


AT_ONCE = 8  # Cholesky factors in one call: the fastest of 1, 2, 4 and 8
BORDER = 1e300
"""Corner of a bordered matrix: larger than the square of any whitened spectrum."""
LARGEST = 65
"""Widest outer window that is chosen without being asked for: the halo of a window is known before the scene is."""


def _outer(inner: int, k: int, shape: tuple[int, int]) -> int:
    side = inner + 2
    while side**2 - inner**2 < 2 * k:
        side += 2
    return min(side, LARGEST, *(length - 1 + length % 2 for length in shape))


def dual_window(
    white: Float64[np.ndarray, "h w k"], valid: Valid, inner: int, outer: int
) -> Float64[np.ndarray, "h w"]:
    """Local RX scores of whitened spectra (0 where there is no data); NaN without data."""
    return row_by_row(valid.shape, lambda row: _row(white, valid, row, inner, outer))


def _row(
    white: Float64[np.ndarray, "h w k"], valid: Valid, row: int, inner: int, outer: int
) -> Float64[np.ndarray, " w"]:
    h, w, k = white.shape
    height, width = min(outer, h), min(outer, w)
    top = min(max(0, row - outer // 2), h - height)
    band, held = white[top : top + height], valid[top : top + height]
    low, high = max(0, row - inner // 2) - top, min(h, row + inner // 2 + 1) - top
    here = band[row - top]
    scores = np.where(held[row - top], np.square(here).sum(-1), np.nan)  # the distance from the scene's statistics
    scatter, total, count = np.zeros((k, k)), np.zeros(k), 0
    rings = np.zeros((AT_ONCE, k + 2, k + 2))
    rings[:, [k, k + 1], [k, k + 1]] = BORDER
    cols: list[int] = []
    counts: list[int] = []

    def change(sign: int, parts: list[tuple[slice, slice]]) -> None:
        nonlocal total, count
        pixels = np.concatenate([band[part].reshape(-1, k) for part in parts])
        if len(pixels):
            (np.add if sign > 0 else np.subtract)(scatter, pixels.T @ pixels, out=scatter)
            total += sign * pixels.sum(0)
            count += sign * sum(int(held[part].sum()) for part in parts)

    def score_waiting() -> None:
        ready = rings[: len(cols)]
        scores[cols] = _distances(ready, np.array(counts, int), scores[cols])
        cols.clear()
        counts.clear()

    rows, middle = slice(0, height), slice(low, high)
    left, first, last = 0, 0, 0  # of the outer window, and of the inner one
    change(1, [(rows, slice(0, width))])
    for col in range(w):
        new_left = min(max(0, col - outer // 2), w - width)
        new_first, new_last = max(0, col - inner // 2), min(w, col + inner // 2 + 1)
        # What the outer window gains and the inner one loses enters the ring, and the other way round.
        change(1, [(rows, slice(left + width, new_left + width)), (middle, slice(first, new_first))])
        change(-1, [(rows, slice(left, new_left)), (middle, slice(last, new_last))])
        left, first, last = new_left, new_first, new_last
        if held[row - top, col] and count > k:
            ring = rings[len(cols)]
            ring[:k, :k], ring[k, :k], ring[k + 1, :k] = scatter, total, here[col]
            cols.append(col)
            counts.append(count)
        if len(cols) == AT_ONCE:
            score_waiting()
    if cols:
        score_waiting()
    return scores


def _distances(
    rings: Float64[np.ndarray, "n m m"], counts: Int[np.ndarray, " n"], otherwise: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Squared distances, from sums of outer products about 0 that are bordered by the sum of the ring and by the pixel.

    Below the Cholesky factor of the sum of products stand both rows solved with it, as long as the corner is large enough
    (NumPy's factor lets other threads compute meanwhile; SciPy's, and its triangular solution, do not). Sherman and
    Morrison's formula takes out the mean.
    """
    try:
        factors = np.linalg.cholesky(rings)
    except np.linalg.LinAlgError:  # says nothing of which
        if len(rings) == 1:
            return otherwise
        parts = (_distances(*(given[i : i + 1] for given in (rings, counts, otherwise))) for i in range(len(rings)))
        return np.concatenate(list(parts))
    mean, pixel = factors[:, -2, :-2] / counts[:, None], factors[:, -1, :-2]
    gap = pixel - mean
    a, b, c = ((one * other).sum(-1) for one, other in ((gap, gap), (gap, mean), (mean, mean)))
    rest = 1 - counts * c
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(rest > 0, counts * (a + counts * b**2 / rest), otherwise)
