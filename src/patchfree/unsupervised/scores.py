"""From a scene to a score a pixel, whatever the scene's size: what every method without labels needs.

A method learns what it needs from the whole scene and gives a function from a window to the scores of its pixels (`Score`). A
score is the same whichever window its pixel lies in, so a scene on disk gets the scores that it gets in memory.

Dimension key: c bands, h rows, w columns, n pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Float64

from patchfree.errors import ConfigError
from patchfree.io.source import SceneSource
from patchfree.scene import Bands, Grid, Scene
from patchfree.unsupervised.moments import Axes, principal_axes
from patchfree.unsupervised.view import SceneView, SourceView, Valid, Values, View, blocks, in_threads
from patchfree.windows import cover, expand, inside

FIXED_BYTES = 100_000_000  # statistics over windows of 256 px, work space of BLAS, GDAL's cache
SAMPLE_PIXELS = 100_000  # the largest sample that a method draws, in double precision and turned once
LARGEST_WINDOW, SMALLEST_WINDOW = 1024, 32

Kind = TypeVar("Kind")
Score = Callable[[Values, Valid], Float64[np.ndarray, "h w"]]
"""From the values of a window and where it holds data to the scores of its pixels."""


def _silent(done: int, of: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Context:
    """What a fit needs beside the scene.

    Attributes:
        seed: repeats what is random.
        device: where networks compute.
        tell: called with steps done and steps in all, for those that take long.
        notes: what was decided on the way, one sentence each, for the user.
    """

    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    tell: Callable[[int, int], None] = _silent
    notes: list[str] = field(default_factory=list)


def score_spectra(
    values: Values, valid: Valid, score: Callable[[np.ndarray], np.ndarray]
) -> Float64[np.ndarray, "h w"]:
    """Scores of pixels by themselves: `score` takes spectra (c, n) and gives n numbers."""
    found = np.full(valid.size, np.nan)

    def scored(block: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        where, spectra = block
        return where, score(spectra)

    for where, scores in in_threads(scored, blocks(values, valid)):
        found[where] = scores
    return found.reshape(valid.shape)


def project(values: Values, valid: Valid, axes: Axes, power: float) -> Float64[np.ndarray, "h w k"]:
    """Coordinates along principal axes, divided by standard deviations to a power, pixel by pixel; 0 without data."""
    weights = axes.weights(power)
    found = np.zeros((valid.size, len(weights)))
    for where, spectra in blocks(values, valid):
        found[where] = (weights @ (spectra - axes.mean[:, None])).T
    return found.reshape(*valid.shape, -1)


def row_by_row(shape: tuple[int, int], score: Callable[[int], Float64[np.ndarray, " w"]]) -> Float64[np.ndarray, "h w"]:
    """Scores of each row, several rows at a time: small matrices are not worth sharing between threads."""
    return np.stack(list(in_threads(score, range(shape[0]))))


def scene_axes(view: View) -> Axes:
    """Principal axes of the scene."""
    return principal_axes(view.moments.mean, view.moments.covariance)


def view_of(scene: Scene | SceneSource | str | Path) -> tuple[View, str, Grid, Bands, int]:
    """The view of a scene, its name, grid and bands, and bytes that a file takes that cannot be read in small pieces."""
    if isinstance(scene, Scene):
        return SceneView(scene), scene.name, scene.grid, scene.bands, 0
    source = scene if isinstance(scene, SceneSource) else SceneSource(str(scene))
    whole = source.description.bands
    left_out = {*source.description.bad_bands, *source.drop_bands}
    bands = whole.select([i for i, number in enumerate(whole.numbers) if number not in left_out])
    view = SourceView(source, source.choice(bands))
    return view, source.reader.path.name, source.grid, bands, source.kept_bytes


def window_size(view: View, halo: int, budget: int) -> int:
    """Rows and columns of the windows that keep within a budget: as read, turned to doubles, and a detector's own arrays.

    Raises:
        ConfigError: the smallest do not.
    """
    pixels = view.shape[0] * view.shape[1]
    fixed = FIXED_BYTES + 16 * min(pixels, SAMPLE_PIXELS) * view.bands + 16 * pixels

    def need(size: int) -> int:
        sides = [min(size + 2 * halo, length) for length in view.shape]
        return fixed + sides[0] * sides[1] * (16 * view.bands + 1200)

    size = LARGEST_WINDOW
    while size > SMALLEST_WINDOW and need(size) > budget:
        size //= 2
    if need(size) > budget:
        raise ConfigError(
            f"Got --memory {budget / 1e6:,.0f} MB; the smallest that works for this method and scene is --memory {-(-need(size) // 10**6)}MB."
        )
    return size


def score_windows(
    view: View, score: Score, *, halo: int, memory: int, tell: Callable[[int, int], None]
) -> tuple[Float32[np.ndarray, "h w"], int]:
    """The score of every pixel, window by window, NaN without data; and how many windows there were.

    Args:
        view: the scene.
        score: what a method gave for it.
        halo: pixels around a window that its scores depend on.
        memory: bytes that this may take, beside the scores.
        tell: called with windows done and windows in all.

    Raises:
        ConfigError: the memory is too small for the smallest windows.
    """
    scores = np.full(view.shape, np.nan, np.float32)
    cores = cover(view.shape, window_size(view, halo, memory))
    for number, core in enumerate(cores):
        tell(number, len(cores))
        around = expand(core, halo, view.shape)
        values, valid = view.read(around)
        scores[core] = score(values, valid)[inside(core, around)]
    tell(len(cores), len(cores))
    return scores, len(cores)


def named(method: str | Kind, known: Mapping[str, type[Kind]]) -> Kind:
    """The method of this name with its default settings, or the one given.

    Args:
        method: a name, or a method with settings of its own.
        known: every method by name.

    Raises:
        ConfigError: there is none of this name.
    """
    if not isinstance(method, str):
        return method
    if method not in known:
        raise ConfigError(f"Got the method {method!r}; there are {', '.join(sorted(known))}.")
    return known[method]()


def name_of(method: object, known: Mapping[str, type]) -> str:
    """What a method is called: its name among those known, else that of its class."""
    if isinstance(method, str):
        return method
    return next((name for name, kind in known.items() if kind is type(method)), type(method).__name__)
