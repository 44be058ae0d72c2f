"""How well scores tell anomalies from background, against a mask of the true anomalies.

Scores are scaled to 0..1 by their smallest and largest value for what depends on a threshold τ. The area under "share above τ"
against τ is then the mean scaled score, so AUC(D,τ) and AUC(F,τ) are exact and need no grid of thresholds.

Reference: C.-I Chang (2021), An Effective Evaluation Tool for Hyperspectral Target Detection: 3D Receiver Operating
Characteristic Curve Analysis, IEEE Transactions on Geoscience and Remote Sensing 59(6), 5131-5153 (the sums).

Dimension key: h rows, w columns, n pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.ndimage import label

from patchfree.errors import LabelError

FALSE_ALARMS = (1e-4, 1e-3, 1e-2, 1e-1)
DRAWS, LEVEL = 200, 0.95
BLOCK_PX = 16  # blocks of the background that are drawn as one
NEIGHBOURS = np.ones((3, 3), int)


def measure(
    scores: Float[np.ndarray, "h w"], truth: Bool[np.ndarray, "h2 w2"], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Areas under curves and detection rates, with bootstrap intervals.

    Args:
        scores: large where anomalous; NaN without data, which does not count.
        truth: where the anomalies are.
        draws: of the bootstrap; whole anomalies and whole blocks of the background are drawn, since their pixels are alike.
        seed: repeats it.

    Returns:
        For each measure its `value` and its 95 % `interval` (None with fewer than two anomalies): `auc` (detection against
        false alarms), `auc_d_tau`, `auc_f_tau`, `auc_td` = auc + auc_d_tau, `auc_bs` = auc - auc_f_tau, `auc_tdbs` =
        auc_d_tau - auc_f_tau, `auc_od` = auc + auc_d_tau - auc_f_tau, `auc_snpr` = auc_d_tau / auc_f_tau, `average_precision`,
        `detection_at_0.001` and its kin: the largest share of anomalous pixels found with at most this share of false
        alarms. Beside them `pixels`, `anomalous` and `objects`.

    Raises:
        LabelError: the mask has another size, or holds only one class.
    """
    if truth.shape != scores.shape:
        raise LabelError(
            f"The mask has {truth.shape[0]} by {truth.shape[1]} pixels, the scene {scores.shape[0]} by {scores.shape[1]}; give a mask on "
            "the scene's grid."
        )
    held = np.isfinite(scores)
    anomalous = int((truth & held).sum())
    if anomalous in (0, held.sum()):
        raise LabelError(
            f"The mask calls {anomalous} of {held.sum()} pixels with data anomalous; to measure detection, some must be and some not. "
            "Check the mask, or leave out --mask."
        )
    objects, count = label(truth & held, NEIGHBOURS)
    clusters = _clusters(objects, count)[held]
    values, hits = scores[held].astype(np.float64), truth[held]
    order = np.argsort(-values, kind="stable")
    values, hits, clusters = values[order], hits[order], clusters[order]
    found = _measures(values, hits, np.ones(len(values)))
    rng = np.random.default_rng(seed)
    drawn = [_measures(values, hits, _weights(clusters, count, rng)) for _ in range(draws if count > 1 else 0)]
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    result: dict[str, Any] = {
        name: {
            "value": value,
            "interval": [float(v) for v in np.quantile([d[name] for d in drawn], tails)] if drawn else None,
        }
        for name, value in found.items()
    }
    return result | {"pixels": int(held.sum()), "anomalous": anomalous, "objects": int(count)}


def roc(scores: Float[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> tuple[np.ndarray, np.ndarray]:
    """Share of false alarms and share of anomalous pixels found, at every threshold from the highest down."""
    held = np.isfinite(scores)
    values, hits = scores[held], truth[held]
    order = np.argsort(-values, kind="stable")
    return _curve(values[order], hits[order], np.ones(len(order)))[:2]


def _clusters(objects: Int[np.ndarray, "h w"], count: int) -> Int[np.ndarray, "h w"]:
    """The number of the anomaly, from 0, or of the block of background, counted on from the anomalies."""
    h, w = objects.shape
    rows, cols = np.arange(h) // BLOCK_PX, np.arange(w) // BLOCK_PX
    block = rows[:, None] * (cols[-1] + 1) + cols
    return np.where(objects > 0, objects - 1, count + block)


def _weights(clusters: Int[np.ndarray, " n"], count: int, rng: np.random.Generator) -> Float64[np.ndarray, " n"]:
    """How often each pixel is drawn when anomalies, and blocks of the background that occur, are drawn with replacement."""
    blocks = np.unique(clusters[clusters >= count])
    times = np.zeros(int(clusters.max()) + 1)
    times[:count] = np.bincount(rng.integers(0, count, count), minlength=count)
    times[blocks] = np.bincount(rng.integers(0, len(blocks), len(blocks)), minlength=len(blocks))
    drawn: np.ndarray = times[clusters]
    return drawn


def _curve(
    values: Float[np.ndarray, " n"], hits: Bool[np.ndarray, " n"], weights: Float64[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of false alarms and of detections, and precision, at each threshold; equal scores pass it together."""
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    right, wrong = np.cumsum(weights * hits)[last], np.cumsum(weights * ~hits)[last]
    precision = right / np.maximum(right + wrong, 1e-300)
    return np.append(0, wrong / wrong[-1]), np.append(0, right / right[-1]), np.append(1, precision)


def _measures(
    values: Float64[np.ndarray, " n"], hits: Bool[np.ndarray, " n"], weights: Float64[np.ndarray, " n"]
) -> dict[str, float]:
    """All measures of pixels in the order of falling scores."""
    alarms, detected, precision = _curve(values, hits, weights)
    auc = float(np.trapezoid(detected, alarms))
    scaled = (values - values[-1]) / max(values[0] - values[-1], 1e-300)
    d_tau, f_tau = (float(np.average(scaled[part], weights=weights[part])) for part in (hits, ~hits))
    found = {
        "auc": auc,
        "auc_d_tau": d_tau,
        "auc_f_tau": f_tau,
        "auc_td": auc + d_tau,
        "auc_bs": auc - f_tau,
        "auc_tdbs": d_tau - f_tau,
        "auc_od": auc + d_tau - f_tau,
        "auc_snpr": d_tau / max(f_tau, 1e-300),
        "average_precision": float((np.diff(detected) * precision[1:]).sum()),
    }
    for rate in FALSE_ALARMS:
        found[f"detection_at_{rate:g}"] = float(detected[np.searchsorted(alarms, rate, "right") - 1])
    return found
