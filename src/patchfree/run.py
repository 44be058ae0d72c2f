"""A trained run: the network, what it needs to know of bands and classes, and what was measured.

A run folder holds `model.safetensors` (weights) and `model.json` (everything else needed to map a scene); there
is no pickle anywhere. docs/outputs.md describes every file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from patchfree.device import choose_device
from patchfree.errors import RunError, SceneError
from patchfree.files import write_bytes, write_json
from patchfree.io.gdal import open_raster
from patchfree.labels import LandCover
from patchfree.models import trained_model
from patchfree.models._statistics import Recorded, Recording, Statistics
from patchfree.predict import Prediction, predict_answers, predicted_uncertainty, probabilities
from patchfree.scene import MADE_BANDS, MASKED, Bands, Scene, describe_matching
from patchfree.standardise import Standardisation

FORMAT = 3
COMPONENTS = "standardisation.components"
"""Name, among the weights in `model.safetensors`, of what is no weight: what the network's inputs take of each band."""
FARTHEST_MEAN = 20.0  # standard deviations of a band; a scene of other units is hundreds away
UNFINISHED = ".unfinished"
SCENES = "scenes"
"""Folder in a run of several scenes; each has a folder of its own in it, with its map."""


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network with all it needs to map a scene.

    Attributes:
        model: name in `patchfree.models.MODELS`.
        weights: the network's tensors.
        bands: the bands it was trained on.
        standardisation: mean and deviation of those bands, and the components of them that the network takes.
        legend: the classes.
        offsets: added to the scores: how common each class was among the training pixels, as far as the recipe says.
        untrained: positions in the legend of classes without training pixels: never mapped.
        temperature: divides the scores before the softmax.
        statistics: whole-scene statistics that the network took on the training scene, by layer.
        recipe: settings of the training, for the record.
        metrics: what was measured (the content of `metrics.json`).
        folder: where it lies; None if it was not saved.
    """

    model: str
    weights: dict[str, Tensor]
    bands: Bands
    standardisation: Standardisation
    legend: tuple[LandCover, ...]
    offsets: tuple[float, ...]
    untrained: tuple[int, ...]
    temperature: float
    recipe: dict[str, Any]
    statistics: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def predict(
        self, scene: Scene, *, device: str = "auto", statistics: Literal["scene", "run"] = "scene"
    ) -> Prediction:
        """Map a scene of any size that has the run's bands.

        Bands are matched by wavelength where both sides know it. The scene is standardised with the training
        scene's statistics, so both need the same units.

        Args:
            scene: the scene to map.
            device: auto, cpu, cuda or cuda:N.
            statistics: "scene" for the whole-scene statistics of this scene, "run" for those of the training scene: the
                right thing for a series of scenes of one sensor, of which each may hold other land cover.

        Raises:
            BandMismatch: the scene lacks bands of the run.
            SceneError: its values are of another magnitude.
            RunError: the run has no statistics.
        """
        scene = scene.matching(self.bands)
        self.check_magnitude(scene.values[:, scene.valid].mean(1, dtype=np.float64), scene.name)
        where = choose_device(device)
        network = trained_model(
            self.model, self.weights, bands=self.standardisation.inputs, classes=len(self.legend), device=where
        )
        values, source = self.standardisation.apply(scene), self.statistics_source(statistics)
        scores, branch = predict_answers(network, values, scene.valid, device=where, statistics=source)
        chances = probabilities(
            scores, scene.valid, offsets=self.offsets, temperature=self.temperature, untrained=self.untrained
        )
        note = scene.details.get(MADE_BANDS) or describe_matching(scene.bands, self.bands)
        branch = None if branch is None else predicted_uncertainty(branch, scene.valid)
        tags = self.tags(statistics, note, scene.details.get(MASKED, ()))
        return Prediction(chances, scene.valid, self.legend, scene.grid, tags, branch)

    def tags(self, statistics: Literal["scene", "run"], bands: str = "", masks: Sequence[str] = ()) -> dict[str, str]:
        """What maps say of their origin: hash of the weights, statistics; bands that are not the run's; quality masks left out."""
        told = {"bands": bands, "masks": ", ".join(masks)}
        return {"model_hash": self.model_hash, "statistics": statistics} | {
            key: text for key, text in told.items() if text
        }

    def statistics_source(self, statistics: Literal["scene", "run"]) -> Statistics:
        """Where the network's whole-scene statistics come from.

        Raises:
            RunError: the run has none of its own.
        """
        if statistics == "scene":
            return Recording()  # as in training, where they are recorded: the same bits
        if not self.statistics:
            raise RunError(
                f"{self.folder or 'The run'} holds no statistics of its training scene (statistics.safetensors). Train it again, or "
                "use those of the scene: --statistics scene."
            )
        return Recorded(self.statistics)

    def check_magnitude(self, theirs: Float64[np.ndarray, " c"], name: str) -> None:
        """Refuse a scene in other units, by the means of its bands: 0..1 and 0..10000 look alike to a network.

        Raises:
            SceneError: the means are far from those of the training scene.
        """
        mean, std = np.asarray(self.standardisation.mean), np.asarray(self.standardisation.std)
        away = float(np.median(np.abs(theirs - mean) / std))
        if away > FARTHEST_MEAN:
            raise SceneError(
                f"{name} has a mean value of {theirs.mean():.4g}, the training scene had {mean.mean():.4g}: {away:.0f} standard "
                "deviations apart, so the two are probably in other units. Give both the same scale (in an ENVI header: "
                "reflectance scale factor), or train a run on this scene."
            )

    @property
    def model_hash(self) -> str:
        """A hash of the weights, and of the components of the bands that they take, if any."""
        return _hash(self._tensors())

    def _tensors(self) -> bytes:
        """The content of `model.safetensors`."""
        components = self.standardisation.components
        own = {} if components is None else {COMPONENTS: torch.from_numpy(components)}
        return safetensors.torch.save(self.weights | own)

    def save_model(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json` into a folder."""
        data, standardisation = self._tensors(), self.standardisation
        write_bytes(folder / "model.safetensors", data)
        write_bytes(folder / "statistics.safetensors", safetensors.torch.save(self.statistics))
        write_json(
            folder / "model.json",
            {
                "format": FORMAT,
                "model": self.model,
                "weights_hash": _hash(data),
                "parameters": sum(value.numel() for value in self.weights.values()),
                "bands": dataclasses.asdict(self.bands),
                "standardisation": {"mean": list(standardisation.mean), "std": list(standardisation.std)},
                "legend": [dataclasses.asdict(entry) for entry in self.legend],
                "offsets": list(self.offsets),
                "untrained": list(self.untrained),
                "temperature": self.temperature,
                "recipe": self.recipe,
            },
        )


def learnt_pixels(class_map: str | Path) -> Bool[np.ndarray, "h w"] | None:
    """Pixels whose labels trained a map, if it is the map in a run folder; None for any other map."""
    path, place = Path(class_map), Path(class_map).parent
    folder = place.parent.parent if place.parent.name == SCENES else place
    beside = (place / "split.tif", folder / "model.json", folder / "metrics.json")
    if path.suffix != ".tif" or not path.is_file() or not all(file.is_file() for file in beside):
        return None
    with open_raster(path) as mapped, open_raster(place / "split.tif") as split:
        maker, places = (
            mapped.tags(ns="PATCHFREE").get("model_hash"),
            {(f.shape, f.transform) for f in (mapped, split)},
        )
        codes = split.read(1)
    if maker != read_json(folder / "model.json").get("weights_hash") or len(places) > 1:
        return None
    refit = read_json(folder / "metrics.json").get("protocol", {}).get("refit_on_all_labels", False)
    return np.asarray(codes > 0 if refit else (codes == 1) | (codes == 2))


def load_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        RunError: it is not there, not finished, or damaged.
    """
    folder = Path(folder)
    unfinished = (folder / UNFINISHED).is_dir() and not (folder / "metrics.json").is_file()
    if unfinished or not (folder / "model.json").is_file():
        raise RunError(
            f"{folder} holds a run that is not finished: run the same `patchfree train` command again to resume it."
            if unfinished
            else f"{folder} is {'a file and ' if folder.is_file() else ''}no run folder: it has no model.json. Make one with `patchfree train SCENE LABELS --out {folder}`."
        )
    facts = read_json(folder / "model.json")
    if facts.get("format") != FORMAT:
        raise RunError(
            f"{folder} has format {facts.get('format')}, this patchfree reads {FORMAT}. Train the run again."
        )
    metrics = read_json(folder / "metrics.json") if (folder / "metrics.json").is_file() else {}
    try:
        return _from_facts(facts, folder, metrics)
    except (KeyError, TypeError, IndexError) as error:
        raise RunError(
            f"{folder / 'model.json'} is damaged: {type(error).__name__} {error}. Train the run again, or restore the file "
            "from a copy."
        ) from error


def _from_facts(facts: dict[str, Any], folder: Path, metrics: dict[str, Any]) -> Run:
    """The run that `model.json` describes, with the weights beside it."""
    weights = read_tensors(folder / "model.safetensors", facts["weights_hash"])
    components = weights.pop(COMPONENTS, None)
    bands, statistics = facts["bands"], folder / "statistics.safetensors"
    return Run(
        model=facts["model"],
        weights=weights,
        bands=Bands(
            tuple(bands["numbers"]),
            bands["total"],
            None if bands["wavelengths_nm"] is None else tuple(bands["wavelengths_nm"]),
            None if bands["fwhm_nm"] is None else tuple(bands["fwhm_nm"]),
        ),
        standardisation=Standardisation(
            tuple(facts["standardisation"]["mean"]),
            tuple(facts["standardisation"]["std"]),
            None if components is None else components.numpy(),
        ),
        legend=tuple(LandCover(e["value"], e["name"], tuple(e["colour"])) for e in facts["legend"]),
        offsets=tuple(facts["offsets"]),
        untrained=tuple(facts["untrained"]),
        temperature=facts["temperature"],
        recipe=facts["recipe"],
        statistics=read_tensors(statistics) if statistics.is_file() else {},
        metrics=metrics,
        folder=folder,
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run folder.

    Raises:
        RunError: it is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read: {error}. Train the run again, or restore the file from a copy."
        ) from error
    if not isinstance(value, dict):
        raise RunError(f"{path} does not hold a JSON object. Train the run again, or restore the file from a copy.")
    return value


def read_tensors(path: Path, expected_hash: str | None = None) -> dict[str, Tensor]:
    """Tensors of a safetensors file, checked against a hash.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        data = path.read_bytes()
        tensors = safetensors.torch.load(data)
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise RunError(
            f"{path} is missing or damaged ({error}). Restore it from a copy, or train the run again."
        ) from error
    if expected_hash is not None and _hash(data) != expected_hash:
        raise RunError(
            f"{path} is damaged: its hash is {_hash(data)[:12]}, model.json expects {expected_hash[:12]}. "
            "Restore it from a copy, or train the run again."
        )
    return tensors


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
