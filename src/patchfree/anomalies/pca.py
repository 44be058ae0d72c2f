"""PCA as a control of learnt suppression: the spectra along their first principal axes, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from patchfree.anomalies.bsdm import Change
from patchfree.unsupervised.scores import Context, scene_axes
from patchfree.unsupervised.view import View


@dataclass(frozen=True)
class PCA:
    """The first principal components.

    Attributes:
        components: how many.
    """

    title: ClassVar[str] = "PCA"
    references: ClassVar[tuple[str, ...]] = ()
    random: ClassVar[bool] = False

    components: int = 5

    def fit(self, view: View, context: Context, *, learnt_from: View | None = None) -> tuple[Change, int]:
        """Axes of the scene itself; there is nothing to learn from another one."""
        axes = scene_axes(view).first(self.components)
        weights = axes.weights(0.0)
        return lambda spectra: weights @ (spectra - axes.mean[:, None]), len(weights)
