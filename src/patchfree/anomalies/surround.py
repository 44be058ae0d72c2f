"""Surroundings: a pixel is anomalous if hardly any pixel around it is like it. The default; ours.

1. Principal components, each divided by the fourth root of its standard deviation: noise counts for little, and the
   brightest material does not count for everything.
2. In two rings around the pixel, the mean squared distance to the twentieth of the ring's pixels that are nearest to it: a
   background of several materials is no anomaly, as long as each occurs nearby. The roots of both are added.
3. A Gaussian of half a pixel: objects are seldom a single pixel, and sensors blur.
4. Divided by the root of the mean around the pixel (Gaussian of 10 px): in a cluttered part of the scene more is needed to
   stand out.

The idea of nearest neighbours is that of kernel-free local outlier tests: M. M. Breunig et al. (2000), LOF: Identifying
Density-Based Local Outliers, SIGMOD, who compare distances to neighbours with those of the neighbours themselves (step 4);
dual windows are those of local RX. Differences from LOF: neighbours in the ring only, a quantile in place of a number of
neighbours, and a mean around the pixel in place of the neighbours' own densities. All constants were chosen on scenes with
implanted objects and not on the scenes that the benchmark reports (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64
from scipy.ndimage import gaussian_filter

from patchfree.anomalies._contract import Detector
from patchfree.unsupervised.scores import Context, Score, project, scene_axes
from patchfree.unsupervised.view import Valid, Values, View

STEP = 2  # px: every second pixel of a ring along both axes is compared, a quarter of them
BLUR_REACH = 4.0  # standard deviations at which a Gaussian ends
STRIP_PIXELS = 8192  # compared at a time


@dataclass(frozen=True)
class Surround(Detector):
    """Unlike its surroundings.

    Attributes:
        rings: for each ring, how far it reaches from the pixel: inwards and outwards, in pixels.
        share: of a ring's pixels, those nearest in spectrum that count.
        power: of the standard deviation that a component is divided by; 1 whitens, 0 leaves distances as they are.
        components: principal components that are compared, at most.
        blur: standard deviation of the Gaussian over the scores, in pixels.
        clutter: standard deviation of the Gaussian for the mean around a pixel, in pixels.
    """

    title: ClassVar[str] = "surroundings"
    references: ClassVar[tuple[str, ...]] = ("lof", "dual-window")
    pixelwise: ClassVar[bool] = False

    rings: tuple[tuple[int, int], ...] = ((2, 8), (4, 14))
    share: float = 0.05
    power: float = 0.25
    components: int = 30
    blur: float = 0.5
    clutter: float = 10.0

    @property
    def halo(self) -> int:
        """Rings, then both Gaussians."""
        blurs = sum(int(BLUR_REACH * sigma + 0.5) for sigma in (self.blur, self.clutter))
        return max(far for _, far in self.rings) + blurs

    def fit(self, view: View, context: Context) -> Score:
        """Principal axes."""
        axes = scene_axes(view).first(self.components)

        def score(values: Values, valid: Valid) -> Float64[np.ndarray, "h w"]:
            # Relative to the first component: the unit of the bands must not matter to single precision.
            points = project(values, valid, axes, self.power) / axes.variances[0] ** ((1 - self.power) / 2)
            single = np.ascontiguousarray(points, dtype=np.float32)
            unlike = sum(np.sqrt(ring_distance(single, valid, near, far, self.share)) for near, far in self.rings)
            unlike = blurred(np.asarray(unlike), valid, self.blur)
            around = np.sqrt(blurred(unlike, valid, self.clutter))
            with np.errstate(invalid="ignore"):
                return np.where(valid, unlike / np.maximum(around, 1e-12), np.nan)

        return score


def ring_distance(
    points: Float32[np.ndarray, "h w k"], valid: Valid, near: int, far: int, share: float
) -> Float64[np.ndarray, "h w"]:
    """Mean squared distance to the nearest share of the ring's pixels with data, one at least; 0 if there is none."""
    h, w, k = points.shape
    steps = range(-far, far + 1, STEP)
    offsets = [(i, j) for i in steps for j in steps if max(abs(i), abs(j)) > near]
    around = np.full((h + 2 * far, w + 2 * far, k), np.inf, np.float32)
    around[far : far + h, far : far + w] = np.where(valid[..., None], points, np.float32(np.inf))
    most = max(1, round(share * len(offsets)))
    found = np.zeros((h, w))
    rows = max(1, STRIP_PIXELS // w)
    for top in range(0, h, rows):
        part = points[top : top + rows]
        distances = np.empty((len(offsets), *part.shape[:2]), np.float32)
        for number, (i, j) in enumerate(offsets):
            begin = top + far + i
            gap = around[begin : begin + len(part), far + j : far + j + w] - part
            distances[number] = np.einsum("hwk,hwk->hw", gap, gap)
        held = np.isfinite(distances).sum(0)
        distances.partition(most - 1, axis=0)
        nearest = np.sort(distances[:most], axis=0)
        # Where the scene ends, the ring has fewer pixels, and the same share of them counts.
        count = np.clip(np.rint(share * held).astype(int), 1, most)
        taken = np.where((np.arange(most)[:, None, None] < count) & np.isfinite(nearest), nearest, 0.0)
        found[top : top + rows] = taken.sum(0, dtype=np.float64) / np.maximum(1, np.minimum(count, held))
    return found


def blurred(amounts: Float64[np.ndarray, "h w"], valid: Valid, sigma: float) -> Float64[np.ndarray, "h w"]:
    """Gaussian mean over the pixels with data; what lies outside the scene does not count either."""
    if sigma <= 0:
        return amounts

    def smooth(layer: np.ndarray) -> np.ndarray:
        smoothed: np.ndarray = gaussian_filter(layer, sigma, mode="constant", truncate=BLUR_REACH)
        return smoothed

    weight = smooth(valid.astype(np.float64))
    return np.where(valid, smooth(np.where(valid, amounts, 0.0)) / np.maximum(weight, 1e-12), 0.0)
