"""Classifiers of single spectra: the controls of patchfree, as methods of the benchmark; and the SVM with neighbours at its sides.

Smoothing is the least that a method can do with neighbours. A network of neighbourhoods that is no better than an SVM behind a
Gaussian filter, or than an SVM whose map is smoothed along what looks alike (Kang et al. 2015), has not learnt anything of space.
The components are those of `patchfree.standardise`, the walks those of our default network.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter

from patchfree.benchmark.method import Fitted, Method, Training
from patchfree.citations import METHODS as REFERENCES
from patchfree.controls import CONTROLS
from patchfree.models._walks import links, walk
from patchfree.models.freenet_smooth import FreeNetSmooth
from patchfree.standardise import Standardisation, edge_guide, mixed_neighbours

GUIDES = FreeNetSmooth.guides
COMPONENTS = 30


def control_method(name: str, *, cost: int, blur_px: float = 0.0, walks: bool = False) -> Method:
    """A control of `patchfree.controls`, trained on all labels that the protocol grants.

    Args:
        name: of the control.
        cost: where it stands among the methods.
        blur_px: give it noise-adjusted components behind a Gaussian filter of this width in place of the bands; 0 for the bands.
        walks: smooth its map along what looks alike, by random walks.
    """
    title, train = CONTROLS[name]

    def fit(training: Training) -> Fitted:
        learnt = training.learnt
        features = _smoothed(training, blur_px) if blur_px else training.values
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            fitted, settings = train(features[:, learnt].T, training.index[learnt], training.seed)

        def score() -> np.ndarray:
            mapped = np.asarray(fitted.predict(features[:, training.valid].T))
            scores = np.zeros((len(training.legend), *training.valid.shape), np.float32)
            scores[:, training.valid] = mapped == np.arange(1, len(training.legend) + 1)[:, None]
            return _walked(scores, training) if walks else scores

        return Fitted(score, settings=settings)

    identity: dict[str, Any] = {"control": name, "blur_px": blur_px, "walks": walks}
    cite = REFERENCES[name]
    if blur_px:
        title, cite = f"{title}, smoothed components", f"{cite} {REFERENCES['noise-adjusted']}"
    if walks:
        title, cite = f"{title}, random walks", f"{cite} {REFERENCES['random-walks']}"
    return Method(
        title, fit, identity, cite, cost, on_cpu=True, takes_steps=False, modules=("benchmark.methods.spectral",)
    )


def _smoothed(training: Training, blur_px: float) -> Float32[np.ndarray, "k h w"]:
    """Noise-adjusted components behind a Gaussian filter, which takes from pixels with data only."""
    held = training.valid.astype(np.float32)
    values = Standardisation.of(training.scene, COMPONENTS).apply(training.scene)
    share = gaussian_filter(held, blur_px)
    return np.stack([gaussian_filter(layer, blur_px) for layer in values]) / np.maximum(share, 1e-6)


def _walked(scores: Float32[np.ndarray, "k h w"], training: Training) -> Float32[np.ndarray, "k h w"]:
    """A map of zeros and ones, smoothed as our default network smooths its probabilities."""
    values, valid = training.values, training.valid
    windows = training.scene.windows
    mixed = mixed_neighbours(training.index, training.learnt & valid, windows)
    guide = edge_guide(values, valid, windows, GUIDES, mixed=mixed)
    seen = torch.from_numpy(np.einsum("gc,chw->ghw", guide, values))[None]
    ends = walk(torch.from_numpy(scores)[None].movedim(1, -1), links(seen, torch.from_numpy(valid)[None, None].float()))
    return np.ascontiguousarray(ends[0].movedim(-1, 0).numpy())
