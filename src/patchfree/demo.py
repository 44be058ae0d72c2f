"""Indian Pines from the package tensorly: the whole job without any file of the user's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from patchfree.blocks import block_split
from patchfree.errors import MissingExtra
from patchfree.labels import Labels, make_labels
from patchfree.progress import Progress
from patchfree.recipes import Recipe
from patchfree.run import Run
from patchfree.scene import Bands, Grid, Scene, make_scene
from patchfree.split import random_split
from patchfree.training import Outputs, train

CLASS_NAMES = (
    "Alfalfa", "Corn-notill", "Corn-mintill", "Corn", "Grass-pasture", "Grass-trees", "Grass-pasture-mowed", "Hay-windrowed",
    "Oats", "Soybean-notill", "Soybean-mintill", "Soybean-clean", "Wheat", "Woods", "Buildings-Grass-Trees-Drives",
    "Stone-Steel-Towers",
)  # fmt: skip
RANDOM_FRACTION = 0.1
RANDOM_RUNS = 3


MISPRINTED_NM = (2260.22, 2270.15)  # stand between 2202.3 and 2232.07


def indian_pines() -> tuple[Scene, Labels]:
    """The scene (145 x 145 pixels, 200 bands, 20 m, AVIRIS 1992) and its labels (16 classes, 10,249 pixels).

    Data: Baumgardner, Biehl, Landgrebe 2015, doi:10.4231/R7RX991C, CC-BY 3.0.

    Raises:
        MissingExtra: tensorly is not installed.
    """
    try:
        from tensorly.datasets import load_indian_pines
    except ImportError:
        raise MissingExtra("tensorly", "demo", "The demo scene Indian Pines") from None
    data = load_indian_pines()
    values = np.ascontiguousarray(np.asarray(data.tensor, np.float32).transpose(2, 0, 1))
    truth, listed = (np.asarray(ticks) for ticks in data.ticks)
    scene = make_scene(
        values,
        missing=np.zeros(values.shape, bool),
        bands=Bands(tuple(range(1, 201)), 200, _mended(listed.astype(float))),
        grid=Grid(145, 145),
        name="Indian Pines",
        notes=[
            "The scene is not georeferenced; maps are written in pixel coordinates.",
            "Wavelengths are those of the package tensorly, with the bands beyond 1400 nm moved back by the one place that its "
            "list of water bands is off, and two misprints mended.",
        ],
        details={"path": "package tensorly", "format": "NumPy", "dtype": "uint16"},
    )
    return scene, make_labels(truth, names=dict(enumerate(CLASS_NAMES, 1)), source="Indian Pines")


def _mended(listed: Float64[np.ndarray, " c"]) -> tuple[float, ...]:
    """The package's wavelengths, mended.

    The published scene lacks the bands 104-108, 150-163 and 220 of the sensor's 220; the package's list lacks 104-109 and
    151-164. So from the 104th on each entry belongs one place further on, and the first band after each gap is
    missing: the step of its neighbours gives it. (With that, the dips of the mean spectrum fall on the CO2 lines.)
    """
    listed = listed.copy()
    wrong = np.isin(listed, MISPRINTED_NM)
    places = np.arange(len(listed))
    listed[wrong] = np.interp(places[wrong], places[~wrong], listed[~wrong])

    def moved(part: Float64[np.ndarray, " n"]) -> list[float]:
        return [2 * part[0] - part[1], *part[:-1]]

    return tuple(round(float(v), 2) for v in [*listed[:103], *moved(listed[103:144]), *moved(listed[144:])])


def demo(
    out: Path,
    *,
    size: int | None = None,
    buffer: int | None = None,
    fraction: float = RANDOM_FRACTION,
    refit: bool = True,
    recipe: str | Recipe = "default",
    seed: int = 0,
    device: str = "auto",
    controls: Sequence[str] = ("svm",),
    outputs: Outputs | None = None,
    progress: Callable[[str, Progress], None] | None = None,
) -> Run:
    """The full job under two protocols: random pixels with three seeds, and spatially separate blocks, beside an SVM.

    Args:
        out: folder of the run on separate blocks, whose map is trained on all labels after the test; the random ones
            lie in `random-0`, `random-1`, `random-2` inside it.
        size: side of the separate blocks in pixels; None to choose.
        buffer: strip without training pixels around them, in pixels; None to choose.
        fraction: share of each class that the random runs train on.
        refit: train the map of the separate run on all labels after the test.
        recipe: name of a recipe, or a recipe.
        seed: of the separate blocks; the random runs use this and the two next.
        device: auto, cpu, cuda or cuda:N.
        controls: simple classifiers to put beside it.
        outputs: further files to write.
        progress: called with the name of the run and its progress.

    Returns:
        The run on separate blocks.
    """
    scene, labels = indian_pines()
    outputs = outputs or Outputs()

    def tell(name: str) -> Callable[[Progress], None]:
        return lambda state: progress(name, state) if progress else None

    beside = tuple(
        train(
            scene,
            labels,
            split=random_split(labels, fraction=fraction, seed=seed + i),
            recipe=recipe,
            seed=seed + i,
            controls=controls,
            out=out / f"random-{seed + i}",
            outputs=dataclasses.replace(outputs, beside=()),
            device=device,
            progress=tell(f"random {fraction:.0%}, seed {seed + i}"),
        )
        for i in range(RANDOM_RUNS)
    )
    return train(
        scene,
        labels,
        split=block_split(labels, size=size, buffer=buffer, seed=seed),
        recipe=recipe,
        seed=seed,
        controls=controls,
        refit=refit,
        out=out,
        outputs=dataclasses.replace(outputs, beside=beside),
        device=device,
        progress=tell("separate blocks"),
    )
