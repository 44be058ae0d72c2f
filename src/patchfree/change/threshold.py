"""The score above which a pixel is called changed, found without labels, and how sure that is.

"otsu" (the default) parts the scores so that the two sides differ most: w₀ w₁ (m₁ - m₀)² is largest, with shares w and means m.
"mixture" takes them for a mixture of two normal distributions, fitted by expectation maximisation from Otsu's parts, and
chooses the score where both are equally likely (the smallest error). "chi-square" takes the squared scores of unchanged pixels
for chi-square distributed, which some methods state, and calls a share of them changed by mistake.

The probability of change that goes with a threshold t is that of two normal distributions with the means of both sides and
their common variance v, which are equally likely at t: 1 / (1 + exp(-(s - t) (m₁ - m₀) / v)). No label has calibrated it.

References: N. Otsu (1979), A Threshold Selection Method from Gray-Level Histograms, IEEE Transactions on Systems, Man, and
Cybernetics 9(1), 62-66; L. Bruzzone, D. F. Prieto (2000), Automatic Analysis of the Difference Image for Unsupervised Change
Detection, IEEE Transactions on Geoscience and Remote Sensing 38(3), 1171-1182.
Differences: all is computed on 65,536 classes of scores of equal width; Bruzzone and Prieto start from the two tails, and add a
Markov random field, which we do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.special import expit
from scipy.stats import chi2

from patchfree.errors import ConfigError, LabelError

WAYS = ("otsu", "mixture", "chi-square")
CLASSES = 1 << 16
PIECE = 1 << 20  # scores turned to double precision at a time
ROUNDS, SETTLED = 1000, 1e-7
FALSE_ALARM = 1e-3
UNLIKE = 1e-4
"""Scores below this are no change whatever the threshold: those of equal dates, but for rounding."""


@dataclass(frozen=True)
class Threshold:
    """Where scores are parted, and what lies on both sides.

    Attributes:
        above: scores above this are changed.
        way: how it was found.
        unchanged_mean: mean score of the pixels below.
        changed_mean: mean score of those above; that of the threshold if there are none.
        variance: mean squared distance of the scores from the mean of their side.
    """

    above: float
    way: str
    unchanged_mean: float
    changed_mean: float
    variance: float

    def probability(self, scores: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
        """Probability of change of each score, between 0 and 1; NaN stays."""
        gap = self.changed_mean - self.unchanged_mean
        slope = np.float32(gap / max(self.variance, 1e-12))
        found: np.ndarray = expit((scores.astype(np.float32) - np.float32(self.above)) * slope)
        return found


def find_threshold(
    scores: Float[np.ndarray, ...],
    *,
    way: str = "otsu",
    freedom: int | None = None,
    false_alarm: float = FALSE_ALARM,
) -> Threshold:
    """The threshold of the scores of a pair.

    Args:
        scores: of all pixels, 0 or more; NaN does not count.
        way: "otsu", "mixture" or "chi-square".
        freedom: degrees of freedom of the squared scores of unchanged pixels, for "chi-square".
        false_alarm: share of the unchanged pixels above the threshold, for "chi-square".

    Raises:
        ConfigError: there is no such way, or it does not suit the method or its scores.
    """
    if way not in WAYS:
        raise ConfigError(f"Got the threshold {way!r}; there are {', '.join(WAYS)}.")
    held = scores[np.isfinite(scores)]
    if not len(held):
        raise ConfigError("Got no scores to find a threshold for; no pixel holds data at both dates.")
    if way == "chi-square":
        if freedom is None:
            raise ConfigError(
                "The threshold chi-square needs a method that states the distribution of its scores: --method ir-mad or sfa. Choose one "
                "of them, or --threshold otsu."
            )
        if not 0 < false_alarm < 0.5:
            raise ConfigError(f"Got a false-alarm rate of {false_alarm:g}; need one between 0 and 0.5, such as 1e-3.")
        above = float(np.sqrt(chi2.isf(false_alarm, freedom)))
    elif not float(held.max()) > max(float(held.min()), UNLIKE):
        above = max(float(held.max()), UNLIKE)  # all pixels alike: none has changed
    else:
        low, high = float(held.min()), float(held.max())
        counts, edges = np.histogram(held, CLASSES, range=(low, high))[0], np.linspace(low, high, CLASSES + 1)
        centres = (edges[:-1] + edges[1:]) / 2
        above = float(edges[1:][_otsu(counts.astype(np.float64), centres)])
        if way == "mixture":
            above = _mixture(counts.astype(np.float64), centres, above)
    return parted_at(held, above, way)


def _otsu(counts: Float64[np.ndarray, " n"], centres: Float64[np.ndarray, " n"]) -> int:
    """The last class of scores on the lower side."""
    below, sums = np.cumsum(counts), np.cumsum(counts * centres)
    above = below[-1] - below
    parted = (below > 0) & (above > 0)
    gap = np.zeros(len(counts))
    gap[parted] = sums[parted] / below[parted] - (sums[-1] - sums[parted]) / above[parted]
    # Empty classes between the sides part them equally well: the middle one is as far from both.
    best = gap**2 * below * above
    ties = np.flatnonzero(best >= best.max() * (1 - 1e-12))
    return int(ties[len(ties) // 2])


def _mixture(counts: Float64[np.ndarray, " n"], centres: Float64[np.ndarray, " n"], start: float) -> float:
    """The score between the means of two normal distributions where both are equally likely."""
    used = counts > 0
    counts, centres = counts[used], centres[used]
    total, least = counts.sum(), (centres[-1] - centres[0]) ** 2 / CLASSES**2
    changed = (centres > start).astype(np.float64)
    log_ratio = np.zeros(len(centres))
    for _ in range(ROUNDS):
        shares, means, variances = [], [], []
        for part in (1 - changed, changed):
            weights = counts * part
            share = weights.sum()
            mean = weights @ centres / share
            shares.append(share / total)
            means.append(mean)
            variances.append(max(weights @ (centres - mean) ** 2 / share, least))
        log_low, log_high = (
            np.log(share) - 0.5 * np.log(variance) - 0.5 * (centres - mean) ** 2 / variance
            for share, mean, variance in zip(shares, means, variances, strict=True)
        )
        log_ratio = log_high - log_low
        found = expit(log_ratio)
        if np.abs(found - changed).max() < SETTLED:
            break
        changed = found
        if not 1e-12 < (counts @ changed) / total < 1 - 1e-12:
            return start  # one of the two has vanished
    between = (centres >= means[0]) & (centres <= means[1])
    likelier = between & (log_ratio > 0)
    return float(centres[likelier][0]) if likelier.any() else float(max(means))


def learnt_threshold(scores: Float[np.ndarray, " n"], changed: Bool[np.ndarray, " n"]) -> float:
    """The threshold with the highest kappa at pixels whose change is known: the simple control of a trained network.

    Args:
        scores: of training pixels.
        changed: whether each has changed.

    Raises:
        LabelError: all have changed, or none has.

    Example:
        >>> learnt_threshold(np.array([0.1, 0.2, 0.9, 0.8]), np.array([False, False, True, True]))
        0.5
    """
    if changed.all() or not changed.any():
        raise LabelError("Got pixels of one class only; a threshold is learnt from changed and unchanged ones.")
    order = np.argsort(scores, kind="stable")
    values, truth = scores[order].astype(np.float64), changed[order]
    # Everything above the i-th value is called changed; equal values stay together.
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    total, positive = len(values), int(truth.sum())
    missed = np.cumsum(truth)[ends]
    called = total - 1 - ends
    hits = positive - missed
    right = (hits + (ends + 1 - missed)) / total
    chance = (called * positive + (ends + 1) * (total - positive)) / total**2
    best = int(np.argmax((right - chance) / np.maximum(1 - chance, 1e-12)))
    if best == len(ends) - 1:
        return float(values[-1])
    return float((values[ends[best]] + values[ends[best] + 1]) / 2)


def parted_at(scores: Float[np.ndarray, ...], above: float, way: str) -> Threshold:
    """What lies on both sides of a threshold that was found in some way; NaN does not count."""
    counts, sums, squares = np.zeros(2), np.zeros(2), 0.0
    flat = scores.reshape(-1)
    for start in range(0, len(flat), PIECE):
        piece = flat[start : start + PIECE].astype(np.float64)
        for side, part in enumerate((piece[piece <= above], piece[piece > above])):
            counts[side] += len(part)
            sums[side] += (part - above).sum()
            squares += ((part - above) ** 2).sum()
    means = np.divide(sums, counts, out=np.zeros(2), where=counts > 0)
    variance = float(max(squares - (counts * means**2).sum(), 0.0) / max(counts.sum(), 1))
    return Threshold(above, way, above + float(means[0]), above + float(means[1]), variance)
