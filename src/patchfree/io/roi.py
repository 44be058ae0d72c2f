"""Regions of interest as ENVI exports them to text: a header that names the regions, then the pixels of each.

The official training and test pixels of Houston 2013 come so.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Int

from patchfree.errors import LabelError
from patchfree.scene import Grid

START = "; envi output of rois"


def is_roi(path: Path) -> bool:
    """True for a text file that begins as ENVI's exports do."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().lower().startswith(START)


def read_roi(path: Path, grid: Grid) -> tuple[Int[np.ndarray, "h w"], dict[int, str]]:
    """Class values 1, 2, ... in the order of the regions, 0 elsewhere; and their names.

    Raises:
        LabelError: the file is cut short, of another size, or two regions share a pixel.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    names = [match[1].strip() for line in lines if (match := re.match(r";\s*ROI name:(.*)", line, re.I))]
    sizes = [int(match[1]) for line in lines if (match := re.match(r";\s*ROI npts:\s*(\d+)", line, re.I))]
    said = next(
        (match for line in lines if (match := re.match(r";\s*File Dimension:\s*(\d+)\s*x\s*(\d+)", line, re.I))), None
    )
    if said and (int(said[2]), int(said[1])) != grid.shape:
        raise LabelError(
            f"{path.name} belongs to a scene of {said[2]} x {said[1]} pixels; this one has {grid.height} x {grid.width}. "
            "Give the regions of this scene."
        )
    columns = next((line[1:].lower().split() for line in lines if re.match(r";\s*ID\s", line, re.I)), ["id", "x", "y"])
    points = [line.split() for line in lines if line.strip() and not line.startswith(";")]
    if not names or len(names) != len(sizes) or len(points) != sum(sizes):
        raise LabelError(
            f"{path.name} announces {sum(sizes)} pixels in {len(names)} regions and holds {len(points)}. "
            "The file is probably cut short; copy it again."
        )
    cols, rows = (np.array([int(point[columns.index(axis)]) - 1 for point in points], np.int64) for axis in "xy")
    if len(points) and (min(rows.min(), cols.min()) < 0 or rows.max() >= grid.height or cols.max() >= grid.width):
        raise LabelError(
            f"{path.name} has pixels outside the scene of {grid.height} x {grid.width}. Give the regions of this scene."
        )
    values = np.zeros(grid.shape, np.int64)
    for value, part in enumerate(np.split(np.arange(len(points)), np.cumsum(sizes)[:-1]), 1):
        taken = values[rows[part], cols[part]]
        if (taken > 0).any():
            other = names[int(taken.max()) - 1]
            raise LabelError(
                f"{path.name}: {int((taken > 0).sum())} pixels are in {other!r} and in {names[value - 1]!r}. Remove them from one."
            )
        values[rows[part], cols[part]] = value
    return values, dict(enumerate(names, 1))
