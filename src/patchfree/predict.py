"""One forward pass maps the whole scene.

Dimension key: c bands, h rows, w columns, k classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int
from scipy.special import entr, expit, softmax

from patchfree.errors import SceneError
from patchfree.io import Window
from patchfree.io.geotiff import strips, write_class_map, write_layers, write_layers_windows
from patchfree.io.qgis import write_share_style
from patchfree.io.zarr_layers import is_zarr, write_zarr
from patchfree.labels import LandCover
from patchfree.models import SceneModel
from patchfree.models._contract import ANSWERS
from patchfree.models._statistics import OF_THE_SCENE, Statistics
from patchfree.scene import Grid, Member

UNCERTAINTY = ["entropy", "margin", "predicted error"]
"""Layers of an uncertainty map; the last only of a network that predicts it."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The map of a scene.

    Attributes:
        probabilities: calibrated probability of each class; 0 where there is no data.
        valid: where there is data.
        legend: the k classes.
        grid: rows, columns, map position.
        tags: where the map comes from, written into files; `statistics` says which statistics of a whole scene the network
            used, "scene" (those of the mapped scene itself, unless stated otherwise) or "run" (those of the training scene);
            `bands` how the scene's bands were matched or made, where their wavelengths are not those of the run.
        branch: the probability of an error that the network itself predicts, NaN where there is no data; None if it predicts none.
    """

    probabilities: Float32[np.ndarray, "k h w"]
    valid: Bool[np.ndarray, "h w"]
    legend: tuple[LandCover, ...]
    grid: Grid
    tags: dict[str, str] = field(default_factory=dict)
    branch: Float32[np.ndarray, "h w"] | None = None

    @property
    def index(self) -> Int[np.ndarray, "h w"]:
        """Class 1..k of the legend at each pixel; 0 where there is no data."""
        return np.where(self.valid, self.probabilities.argmax(0) + 1, 0)

    @property
    def values(self) -> Int[np.ndarray, "h w"]:
        """Class value as the labels gave it; 0 where there is no data."""
        return np.array([0, *(entry.value for entry in self.legend)])[self.index]

    @property
    def entropy(self) -> Float32[np.ndarray, "h w"]:
        """Spread of the probabilities, 0 (one class is certain) to 1 (all are alike); NaN where there is no data."""
        spread = entr(self.probabilities).sum(0) / np.log(max(2, len(self.legend)))
        return np.where(self.valid, spread, np.nan).astype(np.float32)

    @property
    def margin(self) -> Float32[np.ndarray, "h w"]:
        """Probability of the first class less that of the second, 0 to 1; NaN where there is no data."""
        first, second = np.partition(self.probabilities, -2, axis=0)[-1:-3:-1]
        return np.where(self.valid, first - second, np.nan).astype(np.float32)

    @property
    def uncertainty(self) -> Float32[np.ndarray, "n h w"]:
        """Entropy, margin, and the network's own uncertainty if it predicts one."""
        return np.stack([self.entropy, self.margin, *([] if self.branch is None else [self.branch])])

    def part(self, member: Member) -> Prediction:
        """The map of one of several scenes on a canvas, on its own grid."""
        window = member.window
        return dataclasses.replace(
            self,
            probabilities=self.probabilities[:, *window],
            valid=self.valid[window],
            grid=member.grid,
            branch=None if self.branch is None else self.branch[window],
        )

    def save_map(self, path: str | Path) -> Path:
        """Write the class values as a Cloud Optimized GeoTIFF with colour table and class names; returns the path.

        Beside it stand the names for GDAL (`<name>.aux.xml`) and a style for QGIS (`.qml`).
        """
        return write_class_map(Path(path), self.values, self.legend, self.grid, tags=self._tags)

    def save_probabilities(self, path: str | Path) -> Path:
        """Write the probability of each class, NaN where there is no data; returns the path.

        A name that ends in `.zarr` gives a Zarr store with the dimensions class, y and x (extra `zarr`), any other a Cloud
        Optimized GeoTIFF with one float band a class.
        """
        path = Path(path)
        if is_zarr(path):
            return write_zarr(path, self._masked(), self.legend, self.grid, tags=self._tags)
        names = [entry.name for entry in self.legend]
        return write_layers_windows(path, self._masked(), names, self.grid, tags=self._tags)

    def save_uncertainty(self, path: str | Path) -> Path:
        """Write float bands, entropy, margin and, if the network predicts one, its own uncertainty; returns the path.

        A Cloud Optimized GeoTIFF, NaN where there is no data, and beside it a style for QGIS (`.qml`).
        """
        names = UNCERTAINTY[: len(self.uncertainty)]
        path = write_layers(Path(path), self.uncertainty, names, self.grid, tags=self._tags)
        write_share_style(path)
        return path

    @property
    def _tags(self) -> dict[str, str]:
        return {"statistics": "scene"} | self.tags

    def _masked(self) -> Iterator[tuple[Window, Float32[np.ndarray, "k _ _"]]]:
        """Strips of the probabilities, NaN where there is no data."""
        for window in strips(self.grid):
            yield window, np.where(self.valid[window], self.probabilities[:, *window], np.float32(np.nan))


def predict_scores(
    model: SceneModel,
    values: Float32[np.ndarray, "c h w"],
    valid: Bool[np.ndarray, "h w"],
    *,
    device: torch.device,
    statistics: Statistics = OF_THE_SCENE,
) -> Float32[np.ndarray, "k h w"]:
    """Class scores of every pixel, in float32 whatever the training's precision was.

    Args:
        model: the network.
        values: standardised bands.
        valid: where there is data.
        device: where to compute.
        statistics: where the network's whole-scene statistics come from.

    Raises:
        SceneError: the scores are not finite.
    """
    return predict_answers(model, values, valid, device=device, statistics=statistics)[0]


def predict_answers(
    model: SceneModel,
    values: Float32[np.ndarray, "c h w"],
    valid: Bool[np.ndarray, "h w"],
    *,
    device: torch.device,
    statistics: Statistics = OF_THE_SCENE,
) -> tuple[Float32[np.ndarray, "k h w"], Float32[np.ndarray, "h w"] | None]:
    """Class scores of every pixel as `predict_scores` gives them, and the logit of the error that the network predicts, if it does."""
    x = torch.from_numpy(values)[None].to(device).contiguous(memory_format=torch.channels_last)
    mask = None if valid.all() else torch.from_numpy(valid)[None].to(device)
    model.eval()
    with torch.inference_mode():
        maps = model.maps(x, mask, statistics)
        scores, *branch = (maps[name][0].float().cpu().numpy() for name in ANSWERS if name in maps)
    check_finite(scores, valid)
    return np.ascontiguousarray(scores), branch[0][0] if branch else None


def predicted_uncertainty(
    logit: Float32[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w"]:
    """The probability of an error from its logit, NaN where there is no data."""
    return np.where(valid, expit(logit), np.float32(np.nan))


def check_finite(scores: Float32[np.ndarray, "k h w"], valid: Bool[np.ndarray, "h w"]) -> None:
    """Refuse scores from which no map can be made.

    Raises:
        SceneError: they are not finite.
    """
    if not np.isfinite(scores[:, valid]).all():
        raise SceneError(
            "The network's scores are not finite on this scene: its values are probably far outside those of the training "
            "scene. Compare both with `patchfree info`."
        )


def probabilities(
    scores: Float32[np.ndarray, "k h w"],
    valid: Bool[np.ndarray, "h w"],
    *,
    offsets: Sequence[float],
    temperature: float,
    untrained: Sequence[int],
) -> Float32[np.ndarray, "k h w"]:
    """Calibrated probabilities; 0 for classes that had no training pixel, and where there is no data."""
    scaled = (scores + np.asarray(offsets, np.float32)[:, None, None]) / np.float32(temperature)
    scaled[list(untrained)] = -np.inf
    result: np.ndarray = softmax(scaled, axis=0)
    result[:, ~valid] = 0
    return result
