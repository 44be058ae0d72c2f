"""Change vector analysis: the length of the difference of two spectra.

    score = | (x - m_x) / s_x - (y - m_y) / s_y |

x and y are the spectra of a pixel at both dates; m and s are mean and standard deviation of each band of a date, over all pixels.

Reference: W. A. Malila (1980), Change Vector Analysis: An Approach for Detecting Forest Changes with Landsat, Symposium on Machine
Processing of Remotely Sensed Data, Purdue University, 326-335.
Differences: the bands of each date are standardised first, which takes out gains and offsets between the dates; the direction of
the vector, which tells kinds of change apart, is not used. Of dates that were normalised, (x - y) / s_x is taken: then pixels that
have changed do not set the gain and offset that are taken out. It is not symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from patchfree.change._contract import ChangeMethod, Fitted
from patchfree.change._differences import Differences, standardised
from patchfree.unsupervised.moments import Moments
from patchfree.unsupervised.scores import Context, score_spectra
from patchfree.unsupervised.view import View


@dataclass(frozen=True)
class ChangeVector(ChangeMethod):
    """Change vector analysis.

    Attributes:
        aligned: the dates have one radiometry (`patchfree.change.normalise`), so that (x - y) / s_x counts as it is.
    """

    title: ClassVar[str] = "change vector analysis"
    references: ClassVar[tuple[str, ...]] = ("cva",)

    aligned: bool = False

    def fit(self, view: View, context: Context) -> Fitted:
        """Mean and standard deviation of each band."""
        length = change_vector(view.moments, aligned=self.aligned)
        return Fitted(lambda values, valid: score_spectra(values, valid, length))


def change_vector(moments: Moments, *, aligned: bool = False) -> Differences:
    """The differences of standardised bands; of aligned dates, in units of BEFORE's standard deviation."""
    weights, mean = standardised(moments), moments.mean
    if aligned:
        c = len(mean) // 2
        before = weights[:, :c]
        weights, mean = np.hstack([before, -before]), np.zeros(2 * c)
    return Differences(mean, weights, np.ones(len(weights)))
