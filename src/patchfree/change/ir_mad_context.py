"""IR-MAD on principal components, averaged over the neighbourhood: the default.

(1) IR-MAD (`ir_mad.py`) on the first 10 principal components of each date's standardised bands, or all bands if there are no more: with hundreds of bands most
canonical pairs are noise, which would drown the few that tell change. (2) A Gaussian of 1 px over the scores, since change covers
more than a pixel and noise, and most of what is left of misregistration, do not. Pixels without data take no part in it.

Both constants were chosen on planted changes in five other scenes (docs/log.md), not on a scene of the benchmark. What is smaller
than 2 px is found less well than by `ir-mad`.

Reference: ours, on Nielsen (2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter

from patchfree.change._contract import ChangeMethod, Fitted
from patchfree.change.ir_mad import IRMAD
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import Valid, Values, View

COMPONENTS, SIGMA_PX, REACH_PX = 10, 1.0, 4


@dataclass(frozen=True)
class ContextIRMAD(ChangeMethod):
    """IR-MAD on principal components, averaged over the neighbourhood.

    Attributes:
        components: principal components of each date to use.
    """

    title: ClassVar[str] = "IR-MAD in context"
    references: ClassVar[tuple[str, ...]] = ("ir-mad",)

    components: int = COMPONENTS

    @property
    def halo(self) -> int:
        """As far as the Gaussian reaches."""
        return REACH_PX

    def fit(self, view: View, context: Context) -> Fitted:
        """Canonical vectors and correlations."""
        single = IRMAD(components=self.components).fit(view, context).score

        def score(values: Values, valid: Valid) -> Float64[np.ndarray, "h w"]:
            share = _averaged(valid.astype(np.float64))
            found = _averaged(np.where(valid, single(values, valid), 0.0)) / np.maximum(share, 1e-12)
            return np.where(valid, found, np.nan)

        return Fitted(score)


def _averaged(layer: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    found: np.ndarray = gaussian_filter(layer, SIGMA_PX, mode="constant", radius=REACH_PX)
    return found
