"""From a scene to a score a pixel, whatever the scene's size, and to what stands out.

Dimension key: h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int

from patchfree import citations
from patchfree.anomalies import DEFAULT, DETECTORS, SUPPRESSIONS, Suppression
from patchfree.anomalies._contract import Detector
from patchfree.anomalies.measures import measure
from patchfree.anomalies.threshold import threshold
from patchfree.device import choose_device
from patchfree.errors import ConfigError
from patchfree.io.geotiff import write_layers
from patchfree.io.source import SceneSource
from patchfree.progress import Progress
from patchfree.scene import Bands, Grid, Scene
from patchfree.stream.budget import free_memory
from patchfree.unsupervised.objects import FoundObject, find_objects
from patchfree.unsupervised.scores import Context, name_of, named, score_windows, view_of, window_size
from patchfree.unsupervised.view import SceneView, TransformedView, View


@dataclass(frozen=True, eq=False)
class Anomalies:
    """Scores of a scene, and what they were made with.

    Attributes:
        scores: one a pixel, large where it is unlike the background; NaN without data.
        name: of the scene.
        grid: rows, columns, map position.
        bands: the bands that were used.
        method: name of the detector.
        settings: how it was done: plain values for JSON.
        notes: what was decided on the way, one sentence each.
        view: the scene, to look at spectra again.
    """

    scores: Float32[np.ndarray, "h w"]
    name: str
    grid: Grid
    bands: Bands
    method: str
    settings: dict[str, Any]
    notes: tuple[str, ...]
    view: View = field(repr=False)
    _references: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write the scores as a Cloud Optimized GeoTIFF of one float band, NaN without data; returns the path."""
        tags = {key: str(value) for key, value in self.settings.items()}
        return write_layers(Path(path), self.scores[None], ["anomaly score"], self.grid, tags=tags)

    def threshold(self, false_alarm: float, *, way: str = "pareto") -> float:
        """The score above which a share `false_alarm` of the background lies; `way`: "pareto" (fitted tail) or "empirical".

        Raises:
            ConfigError: the share is out of range, or too small for so few pixels.
        """
        return threshold(self.scores, false_alarm, way=way)

    def objects(self, above: float) -> tuple[list[FoundObject], Int[np.ndarray, "h w"]]:
        """Connected pixels with scores above a threshold, highest peak first, and each pixel's object (0 for none)."""
        return find_objects(self.scores, np.nan_to_num(self.scores, nan=-np.inf) > above, self.view, self.grid)

    def measure(self, truth: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
        """Areas under curves and detection rates against a mask of the true anomalies, with 95 % intervals.

        Raises:
            LabelError: the mask has another size, or holds only one class.
        """
        return measure(self.scores, truth)

    @property
    def references(self) -> list[str]:
        """References of the methods that were used."""
        return [citations.METHODS[key] for key in dict.fromkeys(self._references)]


def find_anomalies(
    scene: Scene | SceneSource | str | Path,
    *,
    method: str | Detector = DEFAULT,
    suppress: str | Suppression = "none",
    learnt_from: Scene | None = None,
    memory: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> Anomalies:
    """Score how unlike the background each pixel of a scene is, without labels.

    A scene on disk is read window by window, in two passes or a few more; the scores are those of the scene in memory.

    Args:
        scene: a scene, its path, or a `SceneSource` to say how to read it.
        method: a name in `patchfree.anomalies.DETECTORS`, or a detector with settings of its own.
        suppress: a name in `patchfree.anomalies.SUPPRESSIONS`, or a suppression with settings of its own, that changes the
            spectra before the detector sees them.
        learnt_from: another scene, from which the suppression learns the background.
        memory: bytes that this may add to the program; None for half of what the machine has to spare. The scores
            themselves, 4 bytes a pixel, are always in memory.
        seed: repeats what is random.
        device: auto, cpu, cuda or cuda:N, for networks.
        progress: called as the job goes on.

    Returns:
        The scores, with ways to save, threshold and measure them.

    Raises:
        ConfigError: there is no such method, its settings do not suit the scene, or the memory is too small.
        SceneError: the scene cannot be read, or not be scored.

    Example:
        >>> found = find_anomalies("scene.hdr", method="rx")  # doctest: +SKIP
        >>> found.save("scores.tif")  # doctest: +SKIP
    """
    detector, how = detector_named(method), suppression_named(suppress)
    tell = progress or (lambda _: None)
    view, name, grid, bands, kept = view_of(scene)
    budget = free_memory() if memory is None else memory
    window_size(view, detector.halo, budget - kept)  # refused before the work if there is too little memory
    notes: list[str] = []
    where = choose_device(device)
    references: tuple[str, ...] = detector.references
    for member in detector.members:
        references += member.references
    called = name_of(method, DETECTORS)
    settings: dict[str, Any] = {
        "method": called,
        "suppress": suppress if isinstance(suppress, str) else how.title if how else "none",
        "seed": seed,
    }
    seen = view
    if how is None and learnt_from is not None:
        raise ConfigError(
            "Got a scene to learn the background from, but no suppression that learns. Add --suppress bsdm."
        )
    if how is not None:
        context = Context(seed, where, lambda done, of: tell(Progress("suppress", done, of)), notes)
        change, made = how.fit(view, context, learnt_from=None if learnt_from is None else SceneView(learnt_from))
        seen = TransformedView(view, change, made)
        references += how.references
    tell(Progress("background", 0, 1))
    context = Context(seed, where, lambda done, of: tell(Progress("background", done, of)), notes)
    score = detector.fit(seen, context)
    scores, windows = score_windows(
        seen, score, halo=detector.halo, memory=budget - kept, tell=lambda done, of: tell(Progress("score", done, of))
    )
    return Anomalies(scores, name, grid, bands, called, settings | {"windows": windows}, tuple(notes), view, references)


def detector_named(method: str | Detector) -> Detector:
    """The detector of this name with its default settings, or the one given.

    Raises:
        ConfigError: there is none of this name.
    """
    return named(method, DETECTORS)


def suppression_named(suppress: str | Suppression) -> Suppression | None:
    """The suppression of this name, or the one given; None for none.

    Raises:
        ConfigError: there is none of this name.
    """
    if not isinstance(suppress, str):
        return suppress
    if suppress not in SUPPRESSIONS:
        raise ConfigError(f"Got the suppression {suppress!r}; there are {', '.join(sorted(SUPPRESSIONS))}.")
    return SUPPRESSIONS[suppress]
