"""A scene as detectors see it: windows of values, and statistics gathered over all of them.

The same windows serve a scene in memory and one on disk, so both give the same scores.

Dimension key: c bands, h rows, w columns, n pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int

from patchfree.errors import SceneError
from patchfree.io.source import BandChoice, SceneSource
from patchfree.scene import Scene
from patchfree.unsupervised.moments import Moments, one_blas_thread
from patchfree.windows import Window, cover

WINDOW = 256  # rows and columns of the windows that statistics are gathered over
BLOCK_PIXELS = 4096  # turned to double precision at a time: small enough for the processor's caches

Given = TypeVar("Given")
Made = TypeVar("Made")
Values = Float[np.ndarray, "c h w"]
Valid = Bool[np.ndarray, "h w"]


def blocks(values: Values, valid: Valid) -> Iterator[tuple[Int[np.ndarray, " n"], Float64[np.ndarray, "c n"]]]:
    """The pixels with data, some thousands at a time: flat positions, and spectra in double precision."""
    h, w = valid.shape
    rows = max(1, BLOCK_PIXELS // w)
    for top in range(0, h, rows):
        part = valid[top : top + rows]
        block = values[:, top : top + rows].reshape(len(values), -1)
        where = np.flatnonzero(part)
        if len(where):
            # A whole block is converted without being gathered first.
            chosen = block if len(where) == part.size else block[:, where]
            yield where + top * w, chosen.astype(np.float64)


def in_threads(work: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """The results in their order; each is computed by one thread, since small matrices are not worth sharing.

    What is given is drawn a few at a time, so that not everything is in memory at once.
    """
    threads = torch.get_num_threads()
    waiting: deque[Future[Made]] = deque()
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        for item in given:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class View(ABC):
    """A scene as detectors see it.

    Attributes:
        shape: rows and columns.
        bands: bands that `read` gives.
    """

    shape: tuple[int, int]
    bands: int

    @abstractmethod
    def read(self, window: Window) -> tuple[Values, Valid]:
        """Values in a window, finite, and where there is data."""

    @property
    def windows(self) -> list[Window]:
        """Windows that cover the scene once."""
        return cover(self.shape, WINDOW)

    def blocks(self) -> Iterator[Float64[np.ndarray, "c n"]]:
        """All pixels with data, some thousands at a time, always in the same order."""
        for window in self.windows:
            for _, spectra in blocks(*self.read(window)):
                yield spectra

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance of all pixels with data: one pass over the scene.

        Raises:
            SceneError: no pixel, or only one, holds data.
        """
        found = self.gathered(Moments.of)
        if found.count < 2:
            raise SceneError(
                f"Got a scene with {found.count} pixels that hold data; what is unusual differs from others, so at least 2 are needed. "
                "Check nodata and masks with `patchfree info`."
            )
        return found

    def gathered(self, of: Callable[[Float64[np.ndarray, "c n"]], Moments]) -> Moments:
        """Moments of all pixels with data, from those of each block: one pass over the scene."""
        found = Moments(0, np.zeros(self.bands), np.zeros((self.bands, self.bands)))
        for part in in_threads(of, self.blocks()):
            found = found.merged(part)
        return found

    @cached_property
    def extent(self) -> tuple[float, float]:
        """Smallest and largest value of all bands: one pass over the scene."""
        ends = [(float(spectra.min()), float(spectra.max())) for spectra in self.blocks()]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def sample(self, most: int, seed: int) -> Float64[np.ndarray, "c n"]:
        """All pixels with data if there are at most so many, else a random sample of them; one more pass."""
        total = int(self.moments.count)
        if total <= most:
            return np.concatenate(list(self.blocks()), axis=1)
        chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
        parts, seen = [], 0
        for spectra in self.blocks():
            mine = chosen[np.searchsorted(chosen, seen) : np.searchsorted(chosen, seen + spectra.shape[1])] - seen
            parts.append(spectra[:, mine])
            seen += spectra.shape[1]
        return np.concatenate(parts, axis=1)


class SceneView(View):
    """A scene in memory."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.shape, self.bands = scene, scene.grid.shape, len(scene.bands)

    def read(self, window: Window) -> tuple[Values, Valid]:
        """A part of the arrays, not copied."""
        return self.scene.values[:, *window], self.scene.valid[window]


class SourceView(View):
    """A scene on disk."""

    def __init__(self, source: SceneSource, choice: BandChoice) -> None:
        self.source, self.choice, self.shape, self.bands = source, choice, source.grid.shape, len(choice.wanted)

    def read(self, window: Window) -> tuple[Values, Valid]:
        """Read from the file."""
        return self.source.read(window, self.choice)


class TransformedView(View):
    """Another view, every spectrum of which goes through a function.

    Args:
        view: what to read.
        change: from spectra to spectra, pixel by pixel; may change the number of bands.
        bands: how many it gives.
    """

    def __init__(
        self,
        view: View,
        change: Callable[[Float64[np.ndarray, "c n"]], Float64[np.ndarray, "c2 n"]],
        bands: int,
    ) -> None:
        self.view, self.change, self.shape, self.bands = view, change, view.shape, bands

    def read(self, window: Window) -> tuple[Values, Valid]:
        """Read and changed."""
        values, valid = self.view.read(window)
        changed = np.zeros((self.bands, valid.size))
        for where, spectra in blocks(values, valid):
            changed[:, where] = self.change(spectra)
        return changed.reshape(-1, *valid.shape), valid
