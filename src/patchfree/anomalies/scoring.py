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
from patchfree.anomalies._contract import Context, Detector
from patchfree.anomalies._view import SceneView, SourceView, TransformedView, View
from patchfree.anomalies.measures import measure
from patchfree.anomalies.objects import AnomalousObject, find_objects
from patchfree.anomalies.threshold import threshold
from patchfree.device import choose_device
from patchfree.errors import ConfigError
from patchfree.io.geotiff import write_layers
from patchfree.io.source import SceneSource
from patchfree.progress import Progress
from patchfree.scene import Bands, Grid, Scene
from patchfree.stream.budget import free_memory
from patchfree.windows import cover, expand, inside

FIXED_BYTES = 300_000_000  # libraries, statistics over windows of 256 px, work space of BLAS
SAMPLE_PIXELS = 100_000  # the largest sample that a detector draws, in double precision and turned once
LARGEST_WINDOW, SMALLEST_WINDOW = 1024, 32


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

    def objects(self, above: float) -> tuple[list[AnomalousObject], Int[np.ndarray, "h w"]]:
        """Connected pixels with scores above a threshold, highest peak first, and each pixel's object (0 for none)."""
        return find_objects(self.scores, above, self.view, self.grid)

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
    view, name, grid, bands, kept = _opened(scene)
    budget = free_memory() if memory is None else memory
    size = _window_size(view, detector.halo, budget - kept)
    notes: list[str] = []
    where = choose_device(device)
    references: tuple[str, ...] = detector.references
    for member in detector.members:
        references += member.references
    settings: dict[str, Any] = {
        "method": _name_of(method),
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
    scores = np.full(view.shape, np.nan, np.float32)
    cores = cover(view.shape, size)
    for number, core in enumerate(cores):
        tell(Progress("score", number, len(cores)))
        around = expand(core, detector.halo, view.shape)
        values, valid = seen.read(around)
        scores[core] = score(values, valid)[inside(core, around)]
    tell(Progress("score", len(cores), len(cores)))
    return Anomalies(
        scores, name, grid, bands, _name_of(method), settings | {"windows": len(cores)}, tuple(notes), view, references
    )


def detector_named(method: str | Detector) -> Detector:
    """The detector of this name with its default settings, or the one given.

    Raises:
        ConfigError: there is none of this name.
    """
    if isinstance(method, Detector):
        return method
    if method not in DETECTORS:
        raise ConfigError(f"Got the method {method!r}; there are {', '.join(sorted(DETECTORS))}.")
    return DETECTORS[method]()


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


def _name_of(method: str | Detector) -> str:
    if isinstance(method, str):
        return method
    return next((name for name, kind in DETECTORS.items() if kind is type(method)), type(method).__name__)


def _opened(scene: Scene | SceneSource | str | Path) -> tuple[View, str, Grid, Bands, int]:
    """The view of a scene, its name, grid and bands, and bytes that a file takes that cannot be read in windows."""
    if isinstance(scene, Scene):
        return SceneView(scene), scene.name, scene.grid, scene.bands, 0
    source = scene if isinstance(scene, SceneSource) else SceneSource(str(scene))
    whole = source.description.bands
    left_out = {*source.description.bad_bands, *source.drop_bands}
    bands = whole.select([i for i, number in enumerate(whole.numbers) if number not in left_out])
    view = SourceView(source, source.choice(bands))
    return view, source.reader.path.name, source.grid, bands, source.kept_bytes


def _window_size(view: View, halo: int, budget: int) -> int:
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
