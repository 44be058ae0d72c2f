"""Exact confusion counts and the accuracies that follow from them.

Counts are integers, so they can be added over windows, machines or runs without loss. Rows are reference
classes, columns are mapped classes.

Dimension key: k classes, n pixels, s bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num
from scipy import sparse

from patchfree.errors import ConfigError
from patchfree.labels import LandCover

RESAMPLES = 1000
LEVEL = 0.95


def confusion_counts(
    truth: Int[np.ndarray, " n"], mapped: Int[np.ndarray, " n"], classes: int
) -> Int[np.ndarray, "k k"]:
    """How many pixels of each reference class (row) were mapped as each class (column).

    Args:
        truth: reference class of each pixel, 0..k-1.
        mapped: mapped class of each pixel, 0..k-1.
        classes: k.

    Example:
        >>> confusion_counts(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    return np.bincount(truth * classes + mapped, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def accuracies(counts: Num[np.ndarray, "*s k k"]) -> dict[str, Float[np.ndarray, ...]]:
    """Overall and per-class accuracies of one confusion matrix, or of many at once.

    Returns:
        overall_accuracy, average_accuracy (mean recall of the classes with reference pixels), kappa (Cohen 1960),
        mean_iou; and per class recall (producer's accuracy), precision (user's accuracy), f1, iou, each NaN where
        its denominator is 0.
    """
    counts = counts.astype(float)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    reference, mapped, total = counts.sum(-1), counts.sum(-2), counts.sum((-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        overall = hit.sum(-1) / total
        chance = (reference * mapped).sum(-1) / total**2
        recall = hit / reference
        iou = hit / (reference + mapped - hit)
        present = reference > 0
        return {
            "overall_accuracy": overall,
            "average_accuracy": np.where(present, recall, 0).sum(-1) / present.sum(-1),
            "kappa": (overall - chance) / (1 - chance),
            "mean_iou": np.where(present, iou, 0).sum(-1) / present.sum(-1),
            "recall": recall,
            "precision": hit / mapped,
            "f1": 2 * hit / (reference + mapped),
            "iou": iou,
        }


def block_bootstrap(
    truth: Int[np.ndarray, " n"],
    mapped: Int[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"],
    classes: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Int[np.ndarray, "s k k"]:
    """Confusion counts of bootstrap samples that draw whole blocks of the scene, with replacement.

    Neighbouring pixels err together; drawing pixels one by one would make the intervals far too narrow
    (Carlstein 1986; Roberts et al., Ecography 2017, on spatial blocks).

    Args:
        truth: reference class of each pixel, 0..k-1.
        mapped: mapped class of each pixel, 0..k-1.
        blocks: number of the block of each pixel.
        classes: k.
        resamples: s.
        seed: repeats the draw.
    """
    number = np.unique(blocks, return_inverse=True)[1].reshape(-1)
    size = int(number.max()) + 1
    cells = truth * classes + mapped
    table = sparse.csr_matrix((np.ones(len(cells), np.int64), (number, cells)), shape=(size, classes**2))
    draws = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), resamples)
    return (sparse.csr_matrix(draws) @ table).toarray().reshape(resamples, classes, classes)


def assess_pixels(
    truth: Int[np.ndarray, "h w"],
    mapped: Int[np.ndarray, "h w"],
    legend: Sequence[LandCover],
    *,
    block_px: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy of a map at the reference pixels, with intervals from a block bootstrap.

    Args:
        truth: reference class 1..k of each pixel, 0 where there is none.
        mapped: mapped class 1..k of each pixel; 0 (not mapped) counts as wrong wherever there is a reference.
        legend: the k classes.
        block_px: side of the bootstrap's blocks; None for an eighth of the shorter side of the scene, 4 to 64.
        seed: repeats the bootstrap.

    Returns:
        Plain values for JSON: accuracies, intervals (95 %), per_class, confusion, pixels.
    """
    k = len(legend)
    rows, cols = np.nonzero(truth)
    if not len(rows):
        return {"pixels": 0}
    # Pixels that the map leaves out are wrong, and belong to no mapped class: an extra column holds them.
    true, given = truth[rows, cols] - 1, (mapped[rows, cols] - 1) % (k + 1)
    size = _block_side(truth.shape, block_px)
    blocks = _blocks(rows, cols, truth.shape, size)
    counts = confusion_counts(true, given, k + 1)
    centre = accuracies(counts)
    samples = accuracies(block_bootstrap(true, given, blocks, k + 1, seed=seed))
    single = len(np.unique(blocks)) < 2

    def interval(name: str, i: int | None = None) -> list[float] | None:
        values = samples[name] if i is None else samples[name][:, i]
        values = values[np.isfinite(values)]
        if single or not len(values):
            return None
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        # Too few blocks differ to tell: an interval of no width would look like certainty.
        return [round(float(low), 6), round(float(high), 6)] if high > low else None

    overall = ("overall_accuracy", "average_accuracy", "kappa", "mean_iou")
    each = ("recall", "precision", "f1", "iou")
    unmapped = int(counts[:k, k].sum())
    return {
        "pixels": len(rows),
        "unmapped_pixels": unmapped,
        **{name: _number(centre[name]) for name in overall},
        "intervals": {
            "level": LEVEL,
            "method": f"block bootstrap, {size} px blocks, {RESAMPLES} resamples",
            **{name: interval(name) for name in overall},
        },
        "per_class": [
            {
                "value": entry.value,
                "name": entry.name,
                "support": int(counts[i].sum()),
                "mapped": int(counts[:, i].sum()),
                **{name: _number(centre[name][i]) for name in each},
                **{f"{name}_interval": interval(name, i) for name in each},
            }
            for i, entry in enumerate(legend)
        ],
        "confusion": {
            "rows": "reference",
            "columns": "map",
            "classes": [entry.value for entry in legend],
            "counts": counts[:k, :k].tolist(),
            "unmapped": counts[:k, k].tolist(),
        },
    }


def paired_difference(
    truth: Int[np.ndarray, "h w"],
    ours: Int[np.ndarray, "h w"],
    theirs: Int[np.ndarray, "h w"],
    *,
    block_px: int | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Overall accuracy of one map less that of another at the same pixels, with a block-bootstrap interval.

    Args:
        truth: reference class 1..k, 0 where there is none.
        ours: one map.
        theirs: the other.
        block_px: side of the bootstrap's blocks.
        seed: repeats the bootstrap.
    """
    rows, cols = np.nonzero(truth)
    if not len(rows):
        return None
    side = _block_side(truth.shape, block_px)
    number = np.unique(_blocks(rows, cols, truth.shape, side), return_inverse=True)[1].reshape(-1)
    gain = (ours == truth)[rows, cols].astype(float) - (theirs == truth)[rows, cols]
    sums, sizes = np.bincount(number, gain), np.bincount(number)
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    samples = (draws @ sums) / (draws @ sizes)
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    interval = [round(float(low), 6), round(float(high), 6)] if len(sums) > 1 else None
    return {"value": round(float(gain.mean()), 6), "interval": interval, "level": LEVEL}


def _block_side(shape: tuple[int, ...], block_px: int | None) -> int:
    if block_px is not None and block_px < 1:
        raise ConfigError(f"Got bootstrap blocks of {block_px} px; need at least 1.")
    return int(np.clip(min(shape) // 8, 4, 64)) if block_px is None else block_px


def _blocks(
    rows: Int[np.ndarray, " n"], cols: Int[np.ndarray, " n"], shape: tuple[int, ...], side: int
) -> Int[np.ndarray, " n"]:
    return rows // side * (shape[1] // side + 1) + cols // side


def _number(value: Any) -> float | None:  # noqa: ANN401 - a scalar of any numeric type
    return round(float(value), 6) if np.isfinite(value) else None
