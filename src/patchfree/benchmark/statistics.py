"""What repeated seeds say: mean, deviation, 95 % interval, and the difference of two methods on the same seeds.

Intervals are Student's: mean ± t(0.975, n - 1) · s / √n, with s the sample deviation (Student, Biometrika 6(1), 1908). They say how
well the mean over splits and weights is known for *this* scene, and nothing of other scenes.

Dimension key: n seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        n: how many.
        mean: their mean.
        std: sample deviation; None for fewer than two.
        low: lower end of the 95 % interval; None for fewer than two.
        high: upper end.
    """

    n: int
    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean, deviation and interval; None without a value.

    Example:
        >>> found = estimate([1.0, 2.0, 3.0])
        >>> round(found.mean, 3), round(found.std, 3), round(found.low, 3)
        (2.0, 1.0, -0.484)
    """
    n = len(values)
    if not n:
        return None
    mean = float(np.mean(values))
    if n < 2:
        return Estimate(n, mean)
    std = float(np.std(values, ddof=1))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * std / math.sqrt(n)
    return Estimate(n, mean, std, mean - half, mean + half)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """Mean of the differences, ours less theirs, over the seeds that both have; None if they share none."""
    shared = sorted(ours.keys() & theirs.keys())
    return estimate([ours[seed] - theirs[seed] for seed in shared])
