"""Changed, unchanged, or cannot tell: a map whose rate of error is chosen.

A pixel's set of possible answers holds every class whose probability is not below what pixels of that class are likely to have,
as seen on validation pixels. A pixel with both answers, or none, cannot be told. If validation pixels and others are alike
(exchangeable), the true class is missing from the set of at most a chosen share of the pixels, whatever the network, and with
enough validation pixels of both classes, of each class by itself.

Reference: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005 (split conformal prediction, conditional on the
class); Sadinle, Lei, Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", JASA 114:223-234, 2019
(the score). Neighbouring pixels are alike and places differ, so pixels apart from the validation pixels may be covered less;
coverage on test pixels is measured and stated.

Dimension key: h rows, w columns, n pixels, two classes: 0 unchanged, 1 changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from patchfree.errors import ConfigError

ERROR_RATE = 0.1
UNCHANGED, CHANGED, CANNOT_TELL = 1, 2, 3
"""Codes of `Conformal.decide`; 0 is no data."""


@dataclass(frozen=True)
class Conformal:
    """How improbable the true class may be.

    Attributes:
        error_rate: chosen share of pixels whose true class may be missing.
        unlikeliest: for unchanged and changed, 1 - the least probability with which the class stays possible; 1 keeps it always.
        conditional: True if each class has its own, from its own pixels.
        pixels: validation pixels of each class.
    """

    error_rate: float
    unlikeliest: tuple[float, float]
    conditional: bool
    pixels: tuple[int, int]

    @classmethod
    def fit(
        cls, changed: Float[np.ndarray, " n"], truth: Int[np.ndarray, " n"], *, error_rate: float = ERROR_RATE
    ) -> Conformal:
        """Learn it from validation pixels.

        Args:
            changed: probability of a change at pixels that trained nothing.
            truth: 0 unchanged, 1 changed.
            error_rate: share of pixels whose true class may be missing, between 0 and 1.

        Raises:
            ConfigError: the rate is out of range.

        Example:
            >>> found = Conformal.fit(np.linspace(0, 1, 40), (np.arange(40) > 19).astype(int), error_rate=0.1)
            >>> found.conditional, found.decide(np.array([[0.05, 0.9]])).tolist()
            (True, [[1, 2]])
        """
        if not 0 < error_rate < 1:
            raise ConfigError(f"Got an error rate of {error_rate:g}; need a share between 0 and 1, such as 0.1.")
        unlikely = np.where(truth == 1, 1 - changed, changed)
        counts = (int((truth == 0).sum()), int((truth == 1).sum()))
        conditional = min(counts) >= fewest_pixels(error_rate)
        if conditional:
            both = (
                _quantile(unlikely[truth == 0], error_rate),
                _quantile(unlikely[truth == 1], error_rate),
            )
        else:
            both = (_quantile(unlikely, error_rate),) * 2
        return cls(error_rate, both, conditional, counts)

    @property
    def says(self) -> str:
        """What the map promises, in a sentence."""
        n = sum(self.pixels)
        if n < fewest_pixels(self.error_rate):
            return (
                f"{n} validation pixels are too few for an error rate of {self.error_rate:g} (need {fewest_pixels(self.error_rate)}): "
                "no pixel can be told. Label more areas, or choose a larger rate."
            )
        scope = (
            "of each class"
            if self.conditional
            else f"of both classes together ({min(self.pixels)} of one class are too few for its own)"
        )
        return (
            f"At most {self.error_rate:.0%} of the pixels {scope} have a true class outside their answer, as far as they are like the "
            f"{n} validation pixels."
        )

    def possible(self, changed: Float[np.ndarray, "*n"]) -> tuple[Bool[np.ndarray, "*n"], Bool[np.ndarray, "*n"]]:
        """Whether each pixel may be unchanged, and whether it may be changed."""
        return changed <= self.unlikeliest[0], 1 - changed <= self.unlikeliest[1]

    def decide(self, changed: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """1 unchanged, 2 changed, 3 cannot tell (both are possible, or neither), 0 where the probability is NaN."""
        same, other = self.possible(changed)
        codes = np.select([same & ~other, other & ~same], [UNCHANGED, CHANGED], CANNOT_TELL)
        return np.where(np.isnan(changed), 0, codes).astype(np.uint8)

    def coverage(self, changed: Float[np.ndarray, " n"], truth: Int[np.ndarray, " n"]) -> dict[str, float | None]:
        """Share of pixels whose true class is possible: of all, and of each class (None without a pixel); and share told."""
        same, other = self.possible(changed)
        held = np.where(truth == 1, other, same)
        told = same != other
        return {
            "all": float(held.mean()) if len(held) else None,
            "unchanged": float(held[truth == 0].mean()) if (truth == 0).any() else None,
            "changed": float(held[truth == 1].mean()) if (truth == 1).any() else None,
            "told": float(told.mean()) if len(held) else None,
        }


def fewest_pixels(error_rate: float) -> int:
    """Fewest validation pixels from which an error rate can be promised."""
    return math.ceil(1 / error_rate - 1 - 1e-9)


def _quantile(unlikely: Float[np.ndarray, " n"], error_rate: float) -> float:
    """The value that all but `error_rate` of new pixels stay below, by their rank among these; 1 if these are too few."""
    rank = math.ceil((len(unlikely) + 1) * (1 - error_rate) - 1e-9)
    return 1.0 if rank > len(unlikely) else float(np.sort(unlikely)[rank - 1])
