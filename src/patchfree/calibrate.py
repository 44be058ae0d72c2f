"""Honest probabilities: temperature scaling, and how far confidence is from accuracy.

Reference: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.

Dimension key: k classes, n pixels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 15
FEWEST_PIXELS = 10


def fit_temperature(
    scores: Float[np.ndarray, "k n"], classes: Int[np.ndarray, " n"], *, lowest: float = 0.05
) -> float | None:
    """The temperature that makes these pixels most likely, `lowest`..20; None with fewer than 10 pixels.

    Args:
        scores: class scores of validation pixels.
        classes: their classes, 0..k-1.
        lowest: 1 to never make the probabilities surer than the network's own: right where validation pixels are
            easier than what is to be mapped.
    """
    if len(classes) < FEWEST_PIXELS:
        return None

    def unlikeliness(log_temperature: float) -> float:
        scaled = log_softmax(scores.astype(float) / np.exp(log_temperature), axis=0)
        return -float(scaled[classes, np.arange(len(classes))].mean())

    best = minimize_scalar(unlikeliness, bounds=(np.log(lowest), np.log(20)), method="bounded")
    return float(np.exp(best.x))


def calibration_error(
    scores: Float[np.ndarray, "k n"], classes: Int[np.ndarray, " n"], temperature: float = 1.0
) -> float | None:
    """Expected calibration error: mean gap between confidence and accuracy over 15 bins; None without pixels."""
    if not len(classes):
        return None
    confidence, right, bins = _binned(scores, classes, temperature)
    count = np.bincount(bins, minlength=BINS)
    gap = np.abs(np.bincount(bins, confidence, BINS) - np.bincount(bins, right, BINS))
    return float(gap.sum() / count.sum())


def reliability(
    scores: Float[np.ndarray, "k n"], classes: Int[np.ndarray, " n"], temperature: float
) -> list[dict[str, float]]:
    """Mean confidence, accuracy and pixel count of each of the 15 bins that has pixels."""
    confidence, right, bins = _binned(scores, classes, temperature)
    return [
        {
            "confidence": round(float(confidence[bins == b].mean()), 4),
            "accuracy": round(float(right[bins == b].mean()), 4),
            "pixels": int((bins == b).sum()),
        }
        for b in range(BINS)
        if (bins == b).any()
    ]


def _binned(
    scores: Float[np.ndarray, "k n"], classes: Int[np.ndarray, " n"], temperature: float
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Confidence of each pixel, whether its class is right, and the bin of its confidence."""
    probabilities = softmax(scores.astype(float) / temperature, axis=0)
    confidence, right = probabilities.max(0), probabilities.argmax(0) == classes
    return confidence, right, np.minimum((confidence * BINS).astype(int), BINS - 1)
