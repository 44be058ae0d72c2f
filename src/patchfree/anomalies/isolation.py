"""Isolation forest: how few random cuts set a spectrum apart from the others.

Trees cut a random principal coordinate of a random sample at a random place until pixels stand alone; the shorter the mean
path, the higher the score (0 to 1). Computed by scikit-learn.

Reference: F. T. Liu, K. M. Ting, Z.-H. Zhou (2008), Isolation Forest, IEEE International Conference on Data Mining, 413-422.
Difference: on the leading principal components, whitened, since single bands are nearly copies of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.ensemble import IsolationForest as Forest

from patchfree.anomalies._contract import Detector
from patchfree.unsupervised.scores import Context, Score, scene_axes, score_spectra
from patchfree.unsupervised.view import View

MOST_SAMPLED = 100_000  # pixels that the trees draw from


@dataclass(frozen=True)
class IsolationForest(Detector):
    """Isolation forest on principal components.

    Attributes:
        components: principal components.
        trees: trees of the forest.
        pixels: drawn for each tree.
    """

    title: ClassVar[str] = "isolation forest"
    references: ClassVar[tuple[str, ...]] = ("isolation",)
    random: ClassVar[bool] = True

    components: int = 20
    trees: int = 200
    pixels: int = 256

    def fit(self, view: View, context: Context) -> Score:
        """Axes and trees."""
        axes = scene_axes(view).first(self.components)
        weights = axes.weights(1.0)

        def coordinates(spectra: np.ndarray) -> np.ndarray:
            return (weights @ (spectra - axes.mean[:, None])).T

        drawn = coordinates(view.sample(MOST_SAMPLED, context.seed))
        forest = Forest(
            n_estimators=self.trees, max_samples=min(self.pixels, len(drawn)), random_state=context.seed
        ).fit(drawn)
        return lambda values, valid: score_spectra(
            values, valid, lambda spectra: -forest.score_samples(coordinates(spectra))
        )
