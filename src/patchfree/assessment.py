"""Accuracy of any class map, ours or not, against reference labels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

from patchfree.confusion import LEVEL, assess_pixels
from patchfree.design import stratified_estimate
from patchfree.errors import ConfigError, LabelError
from patchfree.ground import pixel_hectares
from patchfree.labels import Labels, LandCover
from patchfree.scene import Grid

NORMAL_QUANTILE = 1.959963984540054  # 97.5 %: half of a 95 % interval in standard errors

CLUMPED = 0.2
"""Share of touching pixels, beyond that of a random draw, above which a reference is no random sample of pixels."""


def assess(
    mapped: Labels,
    reference: Labels,
    *,
    design: Literal["none", "stratified"] = "none",
    grid: Grid | None = None,
    block_px: int | None = None,
    learnt: Bool[np.ndarray, "h w"] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a class map at the reference pixels.

    Classes are matched by name where both sides name them, else by value. A class that only the map has can be wrong, and is never right.

    Args:
        mapped: the map; unlabelled pixels count as wrong wherever there is a reference.
        reference: reference labels on the same grid.
        design: "stratified" if the reference pixels are a random sample drawn within each class of this map: adds
            design-based accuracies and areas with standard errors (Olofsson et al. 2014). "none" gives intervals
            from a block bootstrap only.
        grid: for areas in hectares.
        block_px: side of the bootstrap's blocks in pixels.
        learnt: pixels whose labels the map was trained on, where that is known (`patchfree.run.learnt_pixels`).
        seed: repeats the bootstrap.

    Returns:
        Plain values for JSON, as in `metrics.json` under `test`; with a design also `design`; and under `cautions`
        what makes the figures better than the map is, one sentence each.

    Raises:
        LabelError: the grids differ, or a mapped class has too few sample pixels.
    """
    if mapped.index.shape != reference.index.shape:
        raise LabelError(
            f"The map has {mapped.index.shape[0]} x {mapped.index.shape[1]} pixels, the reference has {reference.index.shape[0]} x "
            f"{reference.index.shape[1]}; they must be on one grid."
        )
    if design not in ("none", "stratified"):
        raise ConfigError(f"Got design={design!r}; need 'none' or 'stratified'.")
    reference = reference.matching(mapped.legend)
    legend = _common_legend(mapped, reference)
    truth, given = _renumber(reference, legend), _renumber(mapped, legend)
    found = assess_pixels(truth, given, legend, block_px=block_px, seed=seed)
    found["design_of_reference"] = design
    found["cautions"] = _cautions(truth > 0, given, learnt, design)
    if design == "stratified":
        found["design"] = _design_based(truth, given, legend, grid)
    return found


def _cautions(
    reference: Bool[np.ndarray, "h w"],
    given: Int[np.ndarray, "h w"],
    learnt: Bool[np.ndarray, "h w"] | None,
    design: str,
) -> list[str]:
    """What makes the figures better than the map is."""
    pixels, said = int(reference.sum()), []
    known = 0 if learnt is None else int((reference & learnt).sum())
    if known:
        said.append(
            f"{known:,} of the {pixels:,} reference pixels trained this map, so the figures flatter it. Use labels that the training "
            "has not seen."
        )
    if design == "stratified" and pixels:
        near = ndimage.convolve(
            reference.astype(np.uint8), np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]), mode="constant"
        )
        touching = float((near[reference] > 0).mean())
        classes = given[reference]
        density = np.bincount(classes) / np.maximum(np.bincount(given.ravel())[: classes.max() + 1], 1)
        if touching > float((1 - (1 - density[classes]) ** 4).mean()) + CLUMPED:
            said.append(
                f"{touching:.0%} of the reference pixels touch another: they are patches rather than pixels drawn at random, so the "
                "standard errors and areas of a stratified random sample do not hold."
            )
    return said


def _common_legend(mapped: Labels, reference: Labels) -> list[LandCover]:
    """Every class of either side by value; names of the reference win unless they are only numbers."""
    known = {entry.value: entry for entry in mapped.legend}
    for entry in reference.legend:
        if entry.value not in known or entry.name != f"class {entry.value}":
            known[entry.value] = entry
    return [known[value] for value in sorted(known)]


def _renumber(labels: Labels, legend: list[LandCover]) -> np.ndarray:
    position = {entry.value: i for i, entry in enumerate(legend, 1)}
    return np.array([0, *(position[value] for value in labels.values)])[labels.index]


def _design_based(truth: np.ndarray, given: np.ndarray, legend: list[LandCover], grid: Grid | None) -> dict[str, Any]:
    k = len(legend)
    at = (truth > 0) & (given > 0)
    sample = np.bincount((given[at] - 1) * k + truth[at] - 1, minlength=k * k).reshape(k, k)
    mapped = np.bincount(given.ravel(), minlength=k + 1)[1:]
    estimate = stratified_estimate(sample, mapped, [f"{entry.value} '{entry.name}'" for entry in legend])
    hectares = None if grid is None else pixel_hectares(grid)
    total = float(mapped.sum()) * (1.0 if hectares is None else hectares)

    def pair(value: float, error: float) -> dict[str, float | None]:
        finite = np.isfinite(value) and np.isfinite(error)
        return {
            "value": float(value) if np.isfinite(value) else None,
            "standard_error": float(error) if finite else None,
        }

    return {
        "method": "stratified random sample, strata are the map classes (Olofsson et al. 2014)",
        "level": LEVEL,
        "half_interval_in_standard_errors": NORMAL_QUANTILE,
        "overall_accuracy": pair(estimate.overall_accuracy, estimate.overall_accuracy_se),
        "area_unit": "pixels" if hectares is None else "ha",
        "total_area": total,
        "per_class": [
            {
                "value": entry.value,
                "name": entry.name,
                "sample_pixels": int(sample[i].sum()),
                "mapped_pixels": int(mapped[i]),
                "users_accuracy": pair(estimate.users_accuracy[i], estimate.users_accuracy_se[i]),
                "producers_accuracy": pair(estimate.producers_accuracy[i], estimate.producers_accuracy_se[i]),
                "area": pair(estimate.area[i] * total, estimate.area_se[i] * total),
            }
            for i, entry in enumerate(legend)
        ],
    }
