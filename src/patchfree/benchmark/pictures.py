"""The pictures beside a comparison's rows: what a method mapped, where that is wrong, and once for each scene the scene and its reference.

Dimension key: h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from patchfree import figures
from patchfree.files import write_bytes, write_json
from patchfree.labels import LandCover
from patchfree.scene import Scene


def map_file(folder: Path, name: str) -> Path:
    """Where the picture of a map lies."""
    return folder / f"{name}.png"


def errors_file(folder: Path, name: str) -> Path:
    """Where the picture of that map's errors lies."""
    return folder / f"{name}-errors.png"


def write_map(
    folder: Path,
    name: str,
    mapped: Int[np.ndarray, "h w"],
    tested: Int[np.ndarray, "h w"],
    legend: Sequence[LandCover],
) -> None:
    """A map of classes, and where it is right and wrong.

    Args:
        folder: for the files.
        name: which the files' names begin with.
        mapped: class 1..k at each pixel; 0 where there is no data.
        tested: the true class at test pixels, 0 elsewhere.
        legend: title and colour of each class.
    """
    write_bytes(map_file(folder, name), figures.png(figures.class_picture(mapped, legend, (255, 255, 255))))
    write_bytes(errors_file(folder, name), figures.png(figures.error_picture(tested, mapped)))


def write_scene(
    folder: Path,
    name: str,
    scene: Scene,
    reference: figures.Picture,
    *,
    title: str,
    text: str,
    legend: Sequence[dict[str, Any]] = (),
) -> None:
    """The scene in false colours, its reference, and what the page says of both, unless they are there.

    Args:
        folder: for the files.
        name: which the files' names begin with: of the scene, and of the pixels and labels that were read.
        scene: the scene.
        reference: picture of what is known of it.
        title: what to call the reference.
        text: what it is, in a few words.
        legend: title and colour of each class in the pictures.
    """
    about = folder / f"{name}.json"
    if about.is_file():
        return
    colours, bands = figures.false_colour(scene)
    write_bytes(folder / f"{name}-scene.png", figures.png(colours))
    write_bytes(folder / f"{name}-labels.png", figures.png(reference))
    facts = {"rows": scene.grid.height, "columns": scene.grid.width, "bands": len(scene.bands), "colours": bands}
    write_json(about, facts | {"labels": title, "labels_text": text, "legend": list(legend)})
