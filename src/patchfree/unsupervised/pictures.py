"""Pictures that reports of tasks without labels share.

Dimension key: k bands, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation

from patchfree import figures
from patchfree.unsupervised.view import View
from patchfree.windows import Window


def thinned(view: View, bands: Sequence[int], step: int) -> tuple[Float[np.ndarray, "k h w"], Bool[np.ndarray, "h w"]]:
    """Every step-th pixel of some bands, read window by window."""
    rows, cols = (-(-length // step) for length in view.shape)
    layers, valid = np.zeros((len(bands), rows, cols), np.float32), np.zeros((rows, cols), bool)
    for window in view.windows:
        values, held = view.read(window)
        inner, outer = _every(window, step)
        layers[:, *outer] = values[list(bands)][:, *inner]
        valid[outer] = held[inner]
    return layers, valid


def _every(window: Window, step: int) -> tuple[Window, Window]:
    """The pixels of a window that are multiples of a step: in the window, and in the thinned scene."""
    first = [-(-part.start // step) for part in window]
    inner = tuple(slice(f * step - part.start, None, step) for f, part in zip(first, window, strict=True))
    outer = tuple(slice(f, -(-part.stop // step)) for f, part in zip(first, window, strict=True))
    return inner, outer  # type: ignore[return-value]


def coarse(layer: np.ndarray, step: int) -> np.ndarray:
    """The largest value of each block of pixels, so that no object is lost."""
    for axis in (0, 1):
        layer = np.maximum.reduceat(layer, np.arange(0, layer.shape[axis], step), axis=axis)
    return layer


def marked(colour: figures.Picture, objects: Bool[np.ndarray, "h w"], ink: tuple[int, int, int]) -> figures.Picture:
    """The scene in light grey with objects in a colour, each with a ring around it so that single pixels are seen."""
    grey = colour.mean(-1, keepdims=True)
    shown = np.broadcast_to(90 + grey * 0.6, colour.shape).astype(np.uint8)
    if objects.any():
        around = binary_dilation(objects, iterations=4) & ~binary_dilation(objects, iterations=3)
        shown[around | objects] = ink
    return shown
