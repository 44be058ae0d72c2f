"""Linear differences of two dates, standardised, and their reweighting by how likely each pixel has not changed.

Three methods are one: the score of a pixel is the length of G (s - m), where s holds its bands at both dates, m their mean and G
takes differences and divides each by its standard deviation. They differ in G, which follows from mean and covariance of s
alone. Iterated, every pixel counts as much as it is likely not to have changed, so that change does not set the scale by which
it is measured; mean and covariance are gathered window by window (`Moments`), in double precision.

Dimension key: c bands of a date, n pixels, k differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2

from patchfree.errors import SceneError
from patchfree.unsupervised.moments import Moments
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import View

FLOOR = 1e-9
"""Least variance of a difference, in units of its date's variance: what is below is rounding of 32-bit numbers."""
FEWEST_A_BAND = 10
"""Pixels a band (both dates' count) that must keep their weight; with fewer a covariance fits them and nothing else."""


@dataclass(frozen=True, eq=False)
class Differences:
    """Standardised differences of two dates.

    Attributes:
        mean: of the bands of both dates.
        weights: what makes the differences of a pixel's bands of both dates.
        spread: what changes from one iteration to the next until they settle: correlations or variances.
    """

    mean: Float64[np.ndarray, " c2"]
    weights: Float64[np.ndarray, "k c2"]
    spread: Float64[np.ndarray, " k"]

    @property
    def freedom(self) -> int:
        """How many there are."""
        return len(self.weights)

    def __call__(self, spectra: Float64[np.ndarray, "c2 n"]) -> Float64[np.ndarray, " n"]:
        """Their length at each pixel."""
        found = self.weights @ (spectra - self.mean[:, None])
        length: np.ndarray = np.sqrt(np.einsum("kn,kn->n", found, found))
        return length

    def unchanged(self, spectra: Float64[np.ndarray, "c2 n"]) -> Float64[np.ndarray, " n"]:
        """Probability of a length at least as large at a pixel that has not changed, from the chi-square distribution."""
        probability: np.ndarray = chi2.sf(self(spectra) ** 2, self.freedom)
        return probability


Solve = Callable[[Moments], Differences]


def reweighted(view: View, solve: Solve, context: Context, *, iterations: int, tolerance: float) -> Differences:
    """Differences that settle when every pixel counts as much as it is likely not to have changed.

    Args:
        view: the stacked pair.
        solve: from mean and covariance to the differences.
        context: told how far it is, and what happened.
        iterations: at most so many; each is a pass over the pair.
        tolerance: they have settled when no correlation, or variance, changes by more.
    """
    differences = solve(view.moments)
    least = FEWEST_A_BAND * view.bands
    for number in range(iterations):
        context.tell(number, iterations)
        weigh = differences.unchanged
        gathered = view.gathered(lambda spectra, weigh=weigh: Moments.of(spectra, weigh(spectra)))
        if gathered.count < least:
            context.notes.append(
                f"The reweighting was stopped after {number} iterations: only {gathered.count:.0f} pixels' worth of weight were left, fewer than "
                f"{least} ({FEWEST_A_BAND} a band)."
            )
            break
        found = solve(gathered)
        settled = len(found.spread) == len(differences.spread) and bool(
            np.abs(found.spread - differences.spread).max() < tolerance
        )
        differences = found
        if settled:
            context.notes.append(f"The reweighting settled after {number + 1} iterations.")
            break
    else:
        if iterations:
            context.notes.append(f"The reweighting was ended after {iterations} iterations; it had not settled.")
    context.tell(iterations, iterations)
    return differences


def standardised(moments: Moments) -> Float64[np.ndarray, "k c2"]:
    """What makes the differences of bands, each date's divided by its standard deviation; a band of one value has none.

    Raises:
        SceneError: every band has one value only at one of the dates.
    """
    deviation = np.sqrt(np.diag(moments.covariance))
    c = len(deviation) // 2
    varies = deviation > 1e-7 * np.abs(moments.mean)
    kept = np.flatnonzero(varies[:c] & varies[c:])
    if not len(kept):
        date = "BEFORE" if not varies[:c].any() else "AFTER"
        raise SceneError(
            f"No band varies at both dates ({date} has one value only), so change has no scale. Check both scenes with `patchfree info`."
        )
    found = np.zeros((len(kept), 2 * c))
    rows = np.arange(len(kept))
    found[rows, kept], found[rows, c + kept] = 1 / deviation[kept], -1 / deviation[c + kept]
    return found


def paired(moments: Moments) -> tuple[Float64[np.ndarray, "c c"], ...]:
    """Covariance of BEFORE, of AFTER, and between them."""
    covariance = moments.covariance
    c = len(covariance) // 2
    return covariance[:c, :c], covariance[c:, c:], covariance[:c, c:]
