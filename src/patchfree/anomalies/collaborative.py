"""Collaborative representation: how badly the ring around a pixel explains its spectrum.

The pixel y is written as a sum of the pixels X of the ring with weights a = (XᵀX + λ D)⁻¹ Xᵀy, where D is diagonal and
holds |y - x|², so that unlike pixels count less. The score is |y - X a|.

Reference: W. Li, Q. Du (2015), Collaborative Representation for Hyperspectral Anomaly Detection, IEEE Transactions on
Geoscience and Remote Sensing 53(3), 1463-1474.
Differences: the weights need not add up to 1 (the paper has both forms); λ is relative to the mean power of the scene's
spectra, so that the unit of the bands does not matter; a window at the border is moved inwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from patchfree.anomalies._contract import Detector, check_rings
from patchfree.unsupervised.scores import Context, Score, row_by_row
from patchfree.unsupervised.view import Valid, Values, View

AT_ONCE = 1_000_000  # numbers of the small systems that are solved together


@dataclass(frozen=True)
class Collaborative(Detector):
    """Collaborative representation in a dual window.

    Attributes:
        inner: side of the window that is left out, in pixels, odd.
        outer: side of the window whose pixels represent the middle one, odd.
        ridge: λ, relative.
    """

    title: ClassVar[str] = "collaborative representation"
    references: ClassVar[tuple[str, ...]] = ("cr",)
    pixelwise: ClassVar[bool] = False

    inner: int = 5
    outer: int = 11
    ridge: float = 1e-3

    @property
    def halo(self) -> int:
        """At the border of the scene the outer window lies to one side of the pixel."""
        return self.outer - 1

    def fit(self, view: View, context: Context) -> Score:
        """Only the mean power of the spectra."""
        check_rings(self.inner, self.outer, view.shape)
        moments = view.moments
        power = float(np.square(moments.mean).sum() + np.trace(moments.covariance)) or 1.0

        def score(values: Values, valid: Valid) -> Float64[np.ndarray, "h w"]:
            pixels = np.ascontiguousarray(values.transpose(1, 2, 0), dtype=np.float64) / np.sqrt(power)
            return row_by_row(valid.shape, lambda row: self._row(pixels, valid, row))

        return score

    def _row(self, pixels: Float64[np.ndarray, "h w c"], valid: Valid, row: int) -> Float64[np.ndarray, " w"]:
        h, w, c = pixels.shape
        height, width = min(self.outer, h), min(self.outer, w)
        top = min(max(0, row - self.outer // 2), h - height)
        lefts = np.clip(np.arange(w) - self.outer // 2, 0, w - width)
        reach = self.inner // 2
        far_rows = np.abs(np.arange(top, top + height) - row) > reach
        cols = lefts[:, None] + np.arange(width)
        far = far_rows[:, None] | (np.abs(cols - np.arange(w)[:, None]) > reach)[:, None, :]
        used = (far & valid[top : top + height, cols].transpose(1, 0, 2)).reshape(w, -1)
        scores = np.full(w, np.nan)
        mine = np.flatnonzero(valid[row] & used.any(1))
        step = max(1, AT_ONCE // (height * width * max(c, height * width)))
        for begin in range(0, len(mine), step):
            part = mine[begin : begin + step]
            ring = pixels[top : top + height, cols[part]].transpose(1, 0, 2, 3).reshape(len(part), -1, c)
            scores[part] = self._residual(pixels[row, part], ring, used[part])
        return scores

    def _residual(self, y: np.ndarray, ring: np.ndarray, used: np.ndarray) -> np.ndarray:
        """|y - X a| of some pixels; ring pixels that are not used get the weight 0."""
        ring = np.where(used[..., None], ring, 0.0)
        gram = ring @ ring.transpose(0, 2, 1)
        unlike = np.square(ring - y[:, None]).sum(-1)
        # A ring pixel equal to the middle one would leave the system singular.
        diagonal = np.where(used, self.ridge * unlike + 1e-12, 1.0)
        index = np.arange(ring.shape[1])
        gram[:, index, index] += diagonal
        weights = np.linalg.solve(gram, ring @ y[..., None])
        return np.sqrt(np.square(y - (ring * weights).sum(1)).sum(-1))
