"""An ensemble by rank: the mean of the shares of the scene's pixels that score lower, over several detectors.

Ranks make scores of different units comparable. The ranks are those among a random sample of at most 100,000 pixels of the
scene, which is all of them where there are no more.

Reference: C. C. Aggarwal, S. Sathe (2015), Theoretical Foundations and Algorithms for Outlier Ensembles, ACM SIGKDD
Explorations 17(1), 24-47.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from patchfree.anomalies._contract import Detector
from patchfree.anomalies.isolation import IsolationForest
from patchfree.anomalies.kernel_rx import KernelRX
from patchfree.anomalies.subspace_rx import SubspaceRX
from patchfree.anomalies.surround import Surround
from patchfree.unsupervised.scores import Context, Score
from patchfree.unsupervised.view import Valid, Values, View
from patchfree.windows import expand, inside

MOST_SAMPLED = 100_000


@dataclass(frozen=True)
class RankEnsemble(Detector):
    """Mean rank of several detectors.

    Attributes:
        detectors: those that vote, with equal weight.
    """

    title: ClassVar[str] = "ensemble by rank"
    references: ClassVar[tuple[str, ...]] = ("ensemble",)
    pixelwise: ClassVar[bool] = False
    random: ClassVar[bool] = True

    detectors: tuple[Detector, ...] = (Surround(), SubspaceRX(), KernelRX(), IsolationForest())

    @property
    def halo(self) -> int:
        """The widest of all."""
        return max(detector.halo for detector in self.detectors)

    @property
    def members(self) -> tuple[Detector, ...]:
        """Those that vote."""
        return tuple(member for detector in self.detectors for member in detector.members)

    def fit(self, view: View, context: Context) -> Score:
        """Fit each, and learn how its scores are distributed."""
        scores = []
        for number, detector in enumerate(self.detectors):
            tell = partial(_part_of, context.tell, number, len(self.detectors))
            scores.append(detector.fit(view, replace(context, tell=tell)))
        known = self._distributions(view, scores, context.seed)

        def score(values: Values, valid: Valid) -> Float64[np.ndarray, "h w"]:
            ranks = [_rank(one(values, valid), ordered) for one, ordered in zip(scores, known, strict=True)]
            return np.where(valid, np.mean(ranks, axis=0), np.nan)

        return score

    def _distributions(self, view: View, scores: list[Score], seed: int) -> list[Float64[np.ndarray, " n"]]:
        """Sorted scores of a sample of the pixels, for each detector."""
        total = int(view.moments.count)
        chosen = np.sort(np.random.default_rng(seed).choice(total, min(total, MOST_SAMPLED), replace=False))
        found: list[list[np.ndarray]] = [[] for _ in scores]
        seen = 0
        for window in view.windows:
            around = expand(window, self.halo, view.shape)
            values, valid = view.read(around)
            core = inside(window, around)
            held = valid[core]
            count = int(held.sum())
            mine = chosen[np.searchsorted(chosen, seen) : np.searchsorted(chosen, seen + count)] - seen
            seen += count
            for kept, one in zip(found, scores, strict=True):
                if len(mine):
                    kept.append(one(values, valid)[core][held][mine])
        return [np.sort(np.concatenate(kept)) for kept in found]


def _rank(scores: Float64[np.ndarray, "h w"], ordered: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "h w"]:
    """Share of the sample below each score; equal scores get the middle of their places."""
    low, high = (np.searchsorted(ordered, scores, side) for side in ("left", "right"))
    ranks: np.ndarray = (low + high) / (2 * len(ordered))
    return ranks


def _part_of(tell: Callable[[int, int], None], number: int, parts: int, done: int, of: int) -> None:
    tell(number * of + done, parts * of)
