"""What every detector promises.

A detector is a frozen set of settings. `fit` learns what it needs from the whole scene, without any label, and gives a
function from a window to its scores: large where a spectrum is unlike the background, NaN where there is no data. A score is
the same whichever window its pixel lies in, as long as the window holds `halo` pixels around it or ends where the scene ends.

A detector that is `affine` gives the same scores when the bands are mixed by an invertible matrix and shifted. One that is
`pixelwise` looks at no neighbour: pixels may be permuted.

Dimension key: c bands, h rows, w columns, n pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from patchfree.errors import ConfigError, SceneError
from patchfree.unsupervised.scores import Context, Score
from patchfree.unsupervised.view import View


@dataclass(frozen=True)
class Detector(ABC):
    """A way to score how unlike the background a pixel is."""

    title: ClassVar[str]
    references: ClassVar[tuple[str, ...]]
    """Keys of `patchfree.citations.METHODS`."""
    affine: ClassVar[bool] = False
    pixelwise: ClassVar[bool] = True
    random: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        """Pixels around a window that its scores depend on."""
        return 0

    @property
    def members(self) -> tuple[Detector, ...]:
        """The detectors that take part: this one, or those of an ensemble."""
        return (self,)

    @abstractmethod
    def fit(self, view: View, context: Context) -> Score:
        """Learn the background of a scene.

        Raises:
            ConfigError: the settings do not suit the scene.
            SceneError: the scene cannot be scored.
        """


def enough_pixels(view: View, bands: int, what: str) -> None:
    """Refuse a covariance that fewer pixels than bands cannot give.

    Raises:
        SceneError: there are too few pixels.
    """
    count = view.moments.count
    if count <= bands:
        raise SceneError(
            f"Got {count} pixels with data and {bands} bands; {what} needs more pixels than bands, since the covariance has no "
            "inverse otherwise. Shrink it with --shrink (Ledoit-Wolf), or use --method subspace-rx."
        )


def check_rings(inner: int, outer: int, shape: tuple[int, int]) -> None:
    """Refuse a dual window that makes no sense.

    Raises:
        ConfigError: the windows are even, too small, of a wrong order, or larger than the scene.
    """
    if inner < 1 or outer < 3 or not inner % 2 or not outer % 2:
        raise ConfigError(
            f"Got an inner window of {inner} and an outer of {outer} px; need odd numbers, such as 5 and 21."
        )
    if inner >= outer:
        raise ConfigError(
            f"Got an inner window of {inner} px that is not smaller than the outer of {outer} px; the background is what lies "
            "between them. Choose a smaller --inner or a larger --outer."
        )
    if outer > min(shape):
        raise ConfigError(
            f"Got an outer window of {outer} px, but the scene has {shape[0]} by {shape[1]}; choose --outer {min(shape) - 1 + min(shape) % 2} or less."
        )
