"""What every method of change detection without labels promises.

A method is a frozen set of settings. `fit` learns what it needs from all pixels of a pair, as a scene of twice the bands
(`Pair.stacked`), and gives a function from a window to scores: the higher the more likely changed, NaN without data.
A score is the same whichever window its pixel lies in, as long as the window holds `halo` pixels around it or ends where the
scene ends.

One that is `symmetric` gives the same scores when the dates are swapped; one that is `affine` when the bands of one date are
mixed by an invertible matrix and shifted, as by a change of units or of sensor calibration.

Dimension key: c bands of a date, h rows, w columns, n pixels, k differences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from patchfree.unsupervised.scores import Context, Score
from patchfree.unsupervised.view import View


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a method learnt of a pair.

    Attributes:
        score: gives the scores of a window.
        freedom: degrees of freedom of the chi-square distribution that the squared score of an unchanged pixel has; None if
            the method states none.
        above: the score that the method itself parts changed from unchanged at; None if it leaves that to a threshold.
    """

    score: Score
    freedom: int | None = None
    above: float | None = None


@dataclass(frozen=True)
class ChangeMethod(ABC):
    """A way to score how likely a pixel has changed."""

    title: ClassVar[str]
    references: ClassVar[tuple[str, ...]]
    """Keys of `patchfree.citations.METHODS`."""
    symmetric: ClassVar[bool] = True
    affine: ClassVar[bool] = False
    random: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        """Pixels around a window that its scores depend on."""
        return 0

    @abstractmethod
    def fit(self, view: View, context: Context) -> Fitted:
        """Learn what tells change from no change in a pair.

        Raises:
            ConfigError: the settings do not suit the pair.
            SceneError: the pair cannot be scored.
        """
