"""Design-based accuracy and area, for a reference that is a stratified random sample of the map.

The classes of the map are the strata. Each sample pixel stands for the mapped area of its stratum, so that
rare classes that were sampled more do not count more, and the area of each class is corrected for the map's errors.

Reference: Olofsson, Foody, Herold, Stehman, Woodcock, Wulder, "Good practices for estimating area and assessing
accuracy of land change", Remote Sensing of Environment 148:42-57, 2014, equations 1 to 11.

Dimension key: k classes; i map class (stratum), j reference class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

from patchfree.errors import LabelError


@dataclass(frozen=True)
class DesignEstimate:
    """Estimates with standard errors; shares are 0..1, and NaN where the sample has no pixel to tell.

    Attributes:
        overall_accuracy: share of the mapped area that is right, and its standard error.
        users_accuracy: per map class.
        producers_accuracy: per reference class.
        area: share of the whole area that is of each class.
    """

    overall_accuracy: float
    overall_accuracy_se: float
    users_accuracy: Float[np.ndarray, " k"]
    users_accuracy_se: Float[np.ndarray, " k"]
    producers_accuracy: Float[np.ndarray, " k"]
    producers_accuracy_se: Float[np.ndarray, " k"]
    area: Float[np.ndarray, " k"]
    area_se: Float[np.ndarray, " k"]


def stratified_estimate(
    sample: Num[np.ndarray, "k k"], mapped: Num[np.ndarray, " k"], names: Sequence[str] | None = None
) -> DesignEstimate:
    """Accuracy and area from a sample that was drawn at random within each class of the map.

    Args:
        sample: sample pixels by map class (row) and reference class (column). Note that this is the transpose of
            a confusion matrix with the reference in rows.
        mapped: area or pixel count of each class in the whole map.
        names: what to call the classes in messages.

    Raises:
        LabelError: a mapped class has fewer than two sample pixels, so its error cannot be told.
    """
    sample = sample.astype(float)
    mapped = mapped.astype(float)
    sizes = sample.sum(1)
    thin = np.flatnonzero((sizes < 2) & (mapped > 0))
    if len(thin):
        worst, few = int(thin[0]), int(sizes[thin[0]])
        raise LabelError(
            f"The map's class {names[worst] if names else worst + 1} has {few or 'no'} sample pixel{'s' * (few != 1)} and covers "
            f"{mapped[worst]:,.0f} pixels; a stratified sample needs at least 2 in every mapped class. "
            "Add reference pixels there, or merge the class with another."
        )
    weight = mapped / mapped.sum()  # W_i
    with np.errstate(invalid="ignore", divide="ignore"):
        within = np.where(sizes[:, None] > 0, sample / sizes[:, None], 0)  # n_ij / n_i.
        share = weight[:, None] * within  # p_ij
        users = np.diagonal(within).copy()
        users[sizes == 0] = np.nan
        area = share.sum(0)
        producers = np.diagonal(share) / area
        spare = np.where(sizes > 1, sizes - 1, np.nan)
        users_var = users * (1 - users) / spare
        overall_var = np.nansum(weight**2 * users_var)
        cell_var = within * (1 - within) / spare[:, None]
        area_var = np.nansum(weight[:, None] ** 2 * cell_var, 0)
        # Equation 7, with N_i. proportional to W_i and N.j to the estimated area.
        off = weight[:, None] ** 2 * cell_var
        np.fill_diagonal(off, 0)
        producers_var = (
            weight**2 * (1 - producers) ** 2 * np.nan_to_num(users_var) + producers**2 * np.nansum(off, 0)
        ) / area**2
    return DesignEstimate(
        overall_accuracy=float(np.diagonal(share).sum()),
        overall_accuracy_se=float(np.sqrt(overall_var)),
        users_accuracy=users,
        users_accuracy_se=np.sqrt(users_var),
        producers_accuracy=producers,
        producers_accuracy_se=np.sqrt(producers_var),
        area=area,
        area_se=np.sqrt(area_var),
    )
