"""The score above which a pixel is called anomalous, for a wanted share of false alarms.

No label says which pixels are background. "empirical" takes the quantile of all scores: that share of the scene is then called
anomalous, whatever is in it. "pareto" (the default) fits a generalised Pareto distribution to the upper tail of the
background and extrapolates: excesses over the 90th percentile are fitted by maximum likelihood, and those beyond the 99th
are only counted as "beyond", so that it matters little how far out anomalies lie. That they are there still counts: on
known distributions the rate came out within a factor of 1.6 of the wanted one without anomalies, and 5 to 25 times lower with
0.5 % of anomalies (docs/log.md). So it errs towards fewer false alarms, and finds less where more than one pixel in a
hundred is anomalous.

Reference: J. Pickands (1975), Statistical Inference Using Extreme Order Statistics, Annals of Statistics 3(1), 119-131.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64
from scipy.optimize import minimize
from scipy.stats import genpareto

from patchfree.errors import ConfigError

TAIL, BEYOND = 0.9, 0.99
FEWEST = 200  # pixels with scores; fewer leave less than twenty excesses to fit
WAYS = ("pareto", "empirical")


def threshold(scores: Float[np.ndarray, ...], false_alarm: float, *, way: str = "pareto") -> float:
    """The threshold; scores above it are anomalous.

    Args:
        scores: of all pixels; NaN does not count.
        false_alarm: wanted share of the background's pixels above the threshold, between 0 and 0.5.
        way: "pareto" or "empirical".

    Raises:
        ConfigError: the share is out of range, there is no such way, or there are too few pixels for it.
    """
    held = scores[np.isfinite(scores)].astype(np.float64)
    if not 0 < false_alarm < 0.5:
        raise ConfigError(f"Got a false-alarm rate of {false_alarm:g}; need one between 0 and 0.5, such as 1e-3.")
    if way not in WAYS:
        raise ConfigError(f"Got the threshold {way!r}; there are {' and '.join(WAYS)}.")
    if way == "empirical" or false_alarm >= 1 - TAIL:
        if false_alarm * len(held) < 1:
            raise ConfigError(
                f"Got a false-alarm rate of {false_alarm:g} for {len(held)} pixels: less than one pixel, which no quantile of the scores "
                "can tell. Choose a larger --false-alarm, or --threshold pareto."
            )
        return float(np.quantile(held, 1 - false_alarm))
    if len(held) < FEWEST:
        raise ConfigError(
            f"Got {len(held)} pixels with scores; a tail is fitted to {FEWEST} or more. Choose --threshold empirical."
        )
    start, end = np.quantile(held, (TAIL, BEYOND))
    if not end > start:
        return float(end)  # the tail is a single value
    shape, scale = _fit(held[held > start] - start, end - start)
    return float(start + genpareto.isf(false_alarm / (1 - TAIL), shape, scale=scale))


def _fit(excesses: Float64[np.ndarray, " n"], end: float) -> tuple[float, float]:
    """Shape and scale by maximum likelihood; excesses beyond the end count as somewhere beyond."""
    inside, beyond = excesses[excesses <= end], int((excesses > end).sum())
    unit = float(inside.mean()) or 1.0

    def loss(parameters: Float64[np.ndarray, " 2"]) -> float:
        shape, scale = float(parameters[0]), float(np.exp(parameters[1]))
        found = genpareto.logpdf(inside / unit, shape, scale=scale).sum()
        found += beyond * genpareto.logsf(end / unit, shape, scale=scale)
        return -float(found) if np.isfinite(found) else 1e12

    best = minimize(loss, (0.1, 0.0), method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-6, "fatol": 1e-6})
    # A tail heavier than a Cauchy distribution's, or one that ends at once, comes from too few pixels.
    return float(np.clip(best.x[0], -0.5, 1.0)), float(np.exp(best.x[1])) * unit
