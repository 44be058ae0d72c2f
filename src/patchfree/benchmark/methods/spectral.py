"""Classifiers of single spectra: the controls of patchfree, as methods of the benchmark."""

from __future__ import annotations

import warnings

import numpy as np

from patchfree.benchmark.method import Fitted, Method, Training
from patchfree.citations import METHODS as REFERENCES
from patchfree.controls import CONTROLS


def control_method(name: str, *, cost: int) -> Method:
    """A control of `patchfree.controls`, trained on all labels that the protocol grants."""
    title, train = CONTROLS[name]

    def fit(training: Training) -> Fitted:
        learnt = training.learnt
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            fitted, settings = train(training.values[:, learnt].T, training.index[learnt], training.seed)

        def score() -> np.ndarray:
            mapped = np.asarray(fitted.predict(training.values[:, training.valid].T))
            scores = np.zeros((len(training.legend), *training.valid.shape), np.float32)
            scores[:, training.valid] = mapped == np.arange(1, len(training.legend) + 1)[:, None]
            return scores

        return Fitted(score, settings=settings)

    return Method(title, fit, {"control": name}, REFERENCES[name], cost)
