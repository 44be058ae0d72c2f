"""Relative radiometric normalisation: AFTER's bands as if they had been taken under BEFORE's light, atmosphere and calibration.

Each band of AFTER goes through a gain and an offset that are learnt from pixels that have not changed, by orthogonal regression,
which treats errors at both dates alike:

    gain = (s_xx - s_yy + √((s_xx - s_yy)² + 4 s_xy²)) / 2 s_xy,   offset = m_x - gain m_y

x is a band of BEFORE, y of AFTER. Which pixels have not changed is told by

- "ir-mad": every pixel counts as much as IR-MAD holds it for unchanged (Canty and Nielsen 2008);
- "pif": pseudo-invariant features: pixels near the principal axis of (x, y) in every band, found again and again (after Du et al. 2002).

References: M. J. Canty, A. A. Nielsen (2008), Automatic Radiometric Normalization of Multitemporal Satellite Imagery with the
Iteratively Re-weighted MAD Transformation, Remote Sensing of Environment 112(3), 1025-1036; Y. Du, P. M. Teillet, J. Cihlar (2002),
Radiometric Normalization of Multitemporal High-Resolution Satellite Images with Quality Control for Land Cover Change Detection,
Remote Sensing of Environment 82(1), 123-134.
Differences: Canty and Nielsen take the pixels with a probability of no change above 0.95, all alike; here the probability is the weight.
Du et al. let the analyst set limits of the distance and of the correlation; here the limit is four times the mean distance of
the pixels kept so far, and a pixel must keep it in every band.

Dimension key: c bands of a date, n pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from patchfree.change.ir_mad import IRMAD
from patchfree.change.ir_mad_context import COMPONENTS
from patchfree.errors import ConfigError, SceneError
from patchfree.unsupervised.moments import Moments
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import TransformedView, View

WAYS = ("ir-mad", "pif")
PIF_ROUNDS, PIF_WIDTH, PIF_SETTLED = 20, 4.0, 1e-4
LEAST_CORRELATION = 0.5
"""A band whose dates are less alike than this at unchanged pixels tells no gain."""


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Gains and offsets that bring AFTER to BEFORE.

    Attributes:
        way: how unchanged pixels were found.
        gains: of each band.
        offsets: added after.
        correlations: of the dates at unchanged pixels, band by band.
        pixels: unchanged pixels, or the sum of their weights.
    """

    way: str
    gains: Float64[np.ndarray, " c"]
    offsets: Float64[np.ndarray, " c"]
    correlations: Float64[np.ndarray, " c"]
    pixels: float

    @property
    def note(self) -> str:
        """What was done, in a sentence."""
        return (
            f"AFTER was brought to BEFORE's radiometry ({self.way}, {self.pixels:,.0f} unchanged pixels): gains {self.gains.min():.3g} to {self.gains.max():.3g}, "
            f"least correlation of a band {self.correlations.min():.3f}."
        )

    def __call__(self, spectra: Float64[np.ndarray, "c2 n"]) -> Float64[np.ndarray, "c2 n"]:
        """Both dates, AFTER normalised."""
        c = len(self.gains)
        return np.concatenate([spectra[:c], spectra[c:] * self.gains[:, None] + self.offsets[:, None]])

    def applied(self, view: View) -> View:
        """The stacked pair with AFTER normalised."""
        return TransformedView(view, self, view.bands)


def normalisation(view: View, way: str, context: Context) -> Normalisation:
    """Learn gains and offsets from a pair.

    Args:
        view: the stacked pair.
        way: "ir-mad" or "pif".
        context: told how far it is.

    Raises:
        ConfigError: there is no such way.
        SceneError: the dates are too little alike.
    """
    if way not in WAYS:
        raise ConfigError(f"Got --normalise {way}; there are {' and '.join(WAYS)}.")
    if way == "pif":
        moments = _invariant(view)
    else:
        project, differences = IRMAD(components=COMPONENTS).learn(view, context)
        moments = view.gathered(lambda spectra: Moments.of(spectra, differences.unchanged(project(spectra))))
    gains, offsets, correlations = _regression(moments)
    worst = int(np.argmin(correlations))
    if correlations[worst] < LEAST_CORRELATION:
        raise SceneError(
            f"The dates are too little alike to be normalised: at unchanged pixels, band {worst + 1} of the pair correlates by {correlations[worst]:.2f}, need "
            f"{LEAST_CORRELATION}. Leave out --normalise (the methods take out gains and offsets themselves), or drop the band with --drop-bands."
        )
    return Normalisation(way, gains, offsets, correlations, float(moments.count))


def _regression(moments: Moments) -> tuple[Float64[np.ndarray, " c"], ...]:
    """Gain and offset of each band by orthogonal regression, and the correlation of its dates."""
    covariance, c = moments.covariance, len(moments.mean) // 2
    variances, between = np.diag(covariance), np.diag(covariance[:c, c:])
    before, after = variances[:c], variances[c:]
    correlations = between / np.sqrt(np.maximum(before * after, 1e-300))
    gap = before - after
    gains = (gap + np.sqrt(gap**2 + 4 * between**2)) / np.where(between == 0, np.inf, 2 * between)
    return gains, moments.mean[:c] - gains * moments.mean[c:], correlations


def _invariant(view: View) -> Moments:
    """Moments of the pixels near the principal axis in every band."""
    moments, limit = view.moments, np.full(view.bands // 2, np.inf)
    for number in range(PIF_ROUNDS):
        gains, offsets, _ = _regression(moments)
        before = gains

        def distance(
            spectra: Float64[np.ndarray, "c2 n"], gains: np.ndarray = gains, offsets: np.ndarray = offsets
        ) -> Float64[np.ndarray, "c n"]:
            c = len(gains)
            off = spectra[:c] - gains[:, None] * spectra[c:] - offsets[:, None]
            found: np.ndarray = np.abs(off) / np.sqrt(1 + gains[:, None] ** 2)
            return found

        total, count = np.zeros(len(gains)), 0
        for spectra in view.blocks():
            away = distance(spectra)
            kept = (away <= limit[:, None]).all(0)
            total += away[:, kept].sum(1)
            count += int(kept.sum())
        limit = PIF_WIDTH * total / max(1, count)

        def kept_moments(spectra: Float64[np.ndarray, "c2 n"], limit: np.ndarray = limit) -> Moments:
            near = (distance(spectra) <= limit[:, None]).all(0)
            return Moments.of(np.ascontiguousarray(spectra[:, near]))

        found = view.gathered(kept_moments)
        if found.count < 10 * view.bands:
            return moments
        moments = found
        if number and np.abs(_regression(moments)[0] - before).max() < PIF_SETTLED * np.abs(before).max():
            break
    return moments
