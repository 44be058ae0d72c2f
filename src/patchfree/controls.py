"""Simple classifiers of single spectra, trained on the same pixels: what a map must beat to be worth its time.

Dimension key: c bands, n pixels.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from patchfree.errors import ConfigError

MOST_PIXELS = 10_000  # an SVM's time grows with the square of its training pixels
SEARCH_PIXELS = 1_500

Fitted = tuple[Any, dict[str, Any]]


def svm(spectra: Float32[np.ndarray, "n c"], classes: Int[np.ndarray, " n"], seed: int) -> Fitted:
    """Support vector machine with a Gaussian kernel; C and gamma by cross-validation on the training pixels."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.svm import SVC

    rng = np.random.default_rng(seed)
    # Of settings that do equally well the first is taken, so those that suit most scenes come first.
    grid = {"C": [100.0, 10.0, 1000.0, 1.0], "gamma": [g / spectra.shape[1] for g in (0.5, 0.125, 2.0)]}
    few = _stratified_part(classes, SEARCH_PIXELS, rng)
    counts = np.bincount(classes[few])
    few = few[
        counts[classes[few]] > 1
    ]  # a single pixel cannot be on both sides; without it the other classes can be searched
    counts = np.bincount(classes[few])
    folds = min(3, int(counts[counts > 0].min())) if (counts > 0).sum() > 1 else 0
    if folds < 2:
        chosen = {"C": 100.0, "gamma": 0.5 / spectra.shape[1]}
    else:
        search = GridSearchCV(SVC(random_state=seed), grid, cv=StratifiedKFold(folds, shuffle=True, random_state=seed))
        search.fit(spectra[few], classes[few])
        chosen = search.best_params_
    part = _stratified_part(classes, MOST_PIXELS, rng)
    return SVC(**chosen, random_state=seed).fit(spectra[part], classes[part]), {**chosen, "training_pixels": len(part)}


def random_forest(spectra: Float32[np.ndarray, "n c"], classes: Int[np.ndarray, " n"], seed: int) -> Fitted:
    """Random forest of 300 trees (Breiman 2001)."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(300, random_state=seed, n_jobs=-1)
    return forest.fit(spectra, classes), {"trees": 300, "training_pixels": len(classes)}


CONTROLS: dict[str, tuple[str, Callable[..., Fitted]]] = {
    "rf": ("random forest", random_forest),
    "svm": ("SVM (Gaussian kernel)", svm),
}


def run_control(
    name: str,
    spectra: Float32[np.ndarray, "n c"],
    classes: Int[np.ndarray, " n"],
    wanted: Float32[np.ndarray, "m c"],
    *,
    seed: int,
) -> tuple[Int[np.ndarray, " m"], dict[str, Any]]:
    """Train a control on spectra and classify others.

    Args:
        name: a name in CONTROLS.
        spectra: standardised spectra of the training (and validation) pixels.
        classes: their classes.
        wanted: standardised spectra to classify.
        seed: repeats it.

    Returns:
        Classes of the wanted spectra, and what was done: name, settings, seconds.

    Raises:
        ConfigError: there is no such control.
    """
    if name not in CONTROLS:
        raise ConfigError(f"Got control {name!r}; there are {', '.join(sorted(CONTROLS))}.")
    title, fit = CONTROLS[name]
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fitted, settings = fit(spectra, classes, seed)
    mapped = np.asarray(fitted.predict(wanted)) if len(wanted) else np.zeros(0, classes.dtype)
    return mapped, {
        "name": name,
        "title": title,
        "settings": settings,
        "seconds": round(time.perf_counter() - began, 3),
    }


def _stratified_part(classes: Int[np.ndarray, " n"], most: int, rng: np.random.Generator) -> Int[np.ndarray, " m"]:
    """All pixels if there are at most `most`, else a random part that keeps the shares of the classes."""
    if len(classes) <= most:
        return np.arange(len(classes))
    parts = []
    for value in np.unique(classes):
        mine = rng.permutation(np.flatnonzero(classes == value))
        parts.append(mine[: max(3, round(most * len(mine) / len(classes)))])
    return np.sort(np.concatenate(parts))
