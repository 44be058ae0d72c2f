"""What scores without labels say of every pixel, as probabilities: the teacher of a network that has few labels.

A few labels of one part of a pair tell a network little of the other parts, where light, crops and kinds of change are others. Scores
without labels know no place: IR-MAD in context, and PCA and k-means on dates of one radiometry. Each becomes ranks among the
pixels with data, and logistic regression on the training pixels, both classes counting alike, turns the ranks into probabilities,
which teach the network at all pixels without a label (`Recipe.taught`), as soft targets.

References: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531, 2015 (soft targets); Nielsen 2007 and Celik 2009
(the scores). That the teacher is a classifier of such scores is ours. No label of a test pixel is seen; the scores are taken from the
whole pair, as its mean and deviation are.

Dimension key: h rows, w columns, n pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int
from scipy.special import logit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from patchfree.change._contract import ChangeMethod
from patchfree.change.ir_mad_context import ContextIRMAD
from patchfree.change.normalise import normalisation
from patchfree.change.pca_kmeans import PCAKMeans
from patchfree.change.scoring import equal_dates
from patchfree.errors import SceneError
from patchfree.scene import Scene
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView, SourceView, View
from patchfree.windows import Window, expand, inside

LOOSE = 10.0  # C of the logistic regression, which has two weights to find


def teach(
    scene: Scene, index: Int[np.ndarray, "h w"], train: Bool[np.ndarray, "h w"], seed: int
) -> Float32[np.ndarray, "2 h w"] | None:
    """Probabilities of unchanged and changed, of every pixel with data; None for dates that are the same or cannot be scored.

    Args:
        scene: a stacked pair, in memory or in parts.
        index: class 1 or 2 of each pixel; read only at training pixels.
        train: training pixels.
        seed: of k-means.
    """
    if scene.cut is None:
        view: View = SceneView(scene)
        places = tuple((window, window) for window in view.windows)
    else:
        view, places = SourceView(scene.cut.source, scene.cut.source.choice(scene.bands)), scene.cut.places
    if equal_dates(view):
        return None
    try:
        scores = [_scored(*way, places, scene.valid, seed) for way in _ways(view, seed)]
    except SceneError:
        return None  # labels alone must do
    ranks = np.stack([_ranked(found, scene.valid) for found in scores])
    learnt = train & scene.valid
    fitted = LogisticRegression(C=LOOSE, class_weight="balanced").fit(ranks[:, learnt].T, index[learnt])
    chances = np.zeros((2, *scene.valid.shape), np.float32)
    chances[:, scene.valid] = fitted.predict_proba(ranks[:, scene.valid].T).T
    return chances


def _ways(view: View, seed: int) -> Iterator[tuple[ChangeMethod, View]]:
    yield ContextIRMAD(), view
    try:
        yield PCAKMeans(aligned=True), normalisation(view, "ir-mad", Context(seed)).applied(view)
    except SceneError:  # some band is too little alike, as a noisy one is; the method then scales each date by itself
        yield PCAKMeans(), view


def _scored(
    method: ChangeMethod,
    view: View,
    places: tuple[tuple[Window, Window], ...],
    valid: Bool[np.ndarray, "h w"],
    seed: int,
) -> Float64[np.ndarray, "h w"]:
    """Scores of the parts of a pair that lie on the canvas."""
    score = method.fit(view, Context(seed)).score
    found = np.full(valid.shape, np.nan)
    for part, window in places:
        around = expand(window, method.halo, view.shape)
        found[part] = score(*view.read(around))[inside(window, around)]
    return found


def _ranked(scores: Float64[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    """Logit of the share of pixels with a lower score: the same for every scale of scores."""
    found = np.zeros(scores.shape)
    ranks = rankdata(np.nan_to_num(scores[valid]))
    found[valid] = logit((ranks - 0.5) / len(ranks))
    return found
