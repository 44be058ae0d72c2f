"""Classifiers of single spectra: the controls of patchfree, as methods of the benchmark; and the SVM on smoothed components.

Smoothing is the least that a method can do with neighbours. A network of neighbourhoods that is no better than an SVM behind a
Gaussian filter has not learnt anything of space. The components are those of `patchfree.standardise`.
"""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter

from patchfree.benchmark.method import Fitted, Method, Training
from patchfree.citations import METHODS as REFERENCES
from patchfree.controls import CONTROLS
from patchfree.standardise import Standardisation

COMPONENTS, BLUR_PX = 30, 1.5


def control_method(name: str, *, cost: int, smooth: bool = False) -> Method:
    """A control of `patchfree.controls`, trained on all labels that the protocol grants.

    Args:
        name: of the control.
        cost: where it stands among the methods.
        smooth: give it smoothed noise-adjusted components in place of the bands.
    """
    title, train = CONTROLS[name]

    def fit(training: Training) -> Fitted:
        learnt = training.learnt
        features = _smoothed(training) if smooth else training.values
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            fitted, settings = train(features[:, learnt].T, training.index[learnt], training.seed)

        def score() -> np.ndarray:
            mapped = np.asarray(fitted.predict(features[:, training.valid].T))
            scores = np.zeros((len(training.legend), *training.valid.shape), np.float32)
            scores[:, training.valid] = mapped == np.arange(1, len(training.legend) + 1)[:, None]
            return scores

        return Fitted(score, settings=settings)

    if not smooth:
        return Method(title, fit, {"control": name}, REFERENCES[name], cost)
    cite = f"{REFERENCES[name]} {REFERENCES['noise-adjusted']}"
    identity = {"control": name, "components": COMPONENTS, "blur_px": BLUR_PX}
    return Method(f"{title}, smoothed components", fit, identity, cite, cost)


def _smoothed(training: Training) -> Float32[np.ndarray, "k h w"]:
    """Noise-adjusted components behind a Gaussian filter, which takes from pixels with data only."""
    held = training.valid.astype(np.float32)
    values = Standardisation.of(training.scene, COMPONENTS).apply(training.scene)
    share = gaussian_filter(held, BLUR_PX)
    return np.stack([gaussian_filter(layer, BLUR_PX) for layer in values]) / np.maximum(share, 1e-6)
