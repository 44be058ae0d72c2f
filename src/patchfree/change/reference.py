"""Reference labels of a pair: what has changed, what has not.

They come as areas of each kind (two files), as one file of two classes, or as a full mask of each pixel (0 unchanged, else
changed). Masks saved as JPEG hold values near 0 and 255, which are told apart in the middle, with a note.

Dimension key: h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Num

from patchfree.errors import LabelError, SceneError
from patchfree.io import read_raster
from patchfree.labels import Labels, LandCover
from patchfree.scene import Grid

LEGEND = (LandCover(1, "unchanged", (190, 190, 190)), LandCover(2, "changed", (213, 94, 0)))
"""Classes of every map of changes."""
NEAR = 48
"""Values so near to 0 or 255 are those of a mask that was compressed with loss."""
BETWEEN = 0.05
"""Largest share of values between the two in such a mask: the edges of its areas."""

Read = Callable[[str], Labels]
"""Reads a label file of any kind onto the pair's grid."""


def labels_of_areas(changed: str, unchanged: str, grid: Grid, read: Read) -> Labels:
    """Labels from a file of changed areas and one of unchanged areas.

    Raises:
        LabelError: a file cannot be used, or a pixel is in both.
    """
    masks, notes = [], []
    for path in (unchanged, changed):
        mask, said = _area(path, grid, read)
        masks.append(mask)
        notes += said
    return change_labels(*masks, names=(Path(unchanged).name, Path(changed).name), notes=tuple(notes))


def change_labels(
    unchanged: Bool[np.ndarray, "h w"],
    changed: Bool[np.ndarray, "h2 w2"],
    *,
    names: tuple[str, str] = ("The unchanged areas", "the changed areas"),
    notes: tuple[str, ...] = (),
) -> Labels:
    """Labels from where nothing has changed and where something has.

    Args:
        unchanged: where nothing has changed.
        changed: where something has.
        names: what to call the two in messages.
        notes: what was assumed so far.

    Raises:
        LabelError: the masks differ in size, overlap, or one is empty.

    Example:
        >>> change_labels(np.array([[True, False]]), np.array([[False, True]]))
        Labels(2 of 2 pixels; 1 unchanged: 1, 2 changed: 1)
    """
    if unchanged.shape != changed.shape:
        raise LabelError(f"{names[0]} have {unchanged.shape} pixels, {names[1]} {changed.shape}; both need the pair's.")
    twice = unchanged & changed
    if twice.any():
        row, column = np.argwhere(twice)[0]
        raise LabelError(
            f"{int(twice.sum())} pixels are both unchanged ({names[0]}) and changed ({names[1]}), the first in row {row}, column {column} "
            "counted from 0. Take them out of one of the two."
        )
    for mask, kind in ((unchanged, "unchanged"), (changed, "changed")):
        if not mask.any():
            raise LabelError(
                f"No pixel is labelled {kind}; a network learns a change from both kinds. Label some {kind} areas, or leave out all labels "
                "for a map without them."
            )
    return Labels(unchanged + 2 * changed.astype(np.int32), LEGEND, notes)


def labels_of_classes(path: str, read: Read) -> Labels:
    """Labels from one file of two classes: named changed and unchanged, or 1 for unchanged and 2 for changed.

    Raises:
        LabelError: it holds other classes.
    """
    found, name = read(path), Path(path).name
    said = {entry.name.strip().casefold(): i for i, entry in enumerate(found.legend, 1)}
    if {"changed", "unchanged"} <= set(said):
        numbers = said["unchanged"], said["changed"]
    elif set(found.values) <= {1, 2} and len(found.values) == 2 and not any(entry.named for entry in found.legend):
        numbers = 1, 2
    else:
        held = ", ".join(entry.title for entry in found.legend)
        one = " A mask of one kind of areas is given with --changed or --unchanged." if len(found.legend) == 1 else ""
        raise LabelError(
            f"{name} holds {held}; need two classes, 1 for unchanged and 2 for changed, or named so.{one} A mask that labels each "
            "pixel (0 unchanged, 255 changed) belongs into a list of pairs, or into both --changed and --unchanged."
        )
    return change_labels(found.index == numbers[0], found.index == numbers[1], names=(name, name), notes=found.notes)


def full_mask(path: str, grid: Grid) -> Labels:
    """Labels of each pixel from a mask raster: 0 unchanged, else changed. A pair may have no change at all.

    Raises:
        LabelError: it cannot be read, or has another size.
    """
    try:
        description, stored = read_raster(path)
    except SceneError as error:
        raise LabelError(f"Mask: {error}") from error
    name = Path(path).name
    if stored.shape != (1, *grid.shape):
        raise LabelError(
            f"{name} has {stored.shape[0]} bands of {stored.shape[1]} x {stored.shape[2]} pixels; the mask of this pair needs one of "
            f"{grid.height} x {grid.width}."
        )
    changed, notes = binary(stored[0], name)
    return Labels(1 + changed.astype(np.int32), LEGEND, (*description.notes, *notes))


def binary(values: Num[np.ndarray, "h w"], name: str) -> tuple[Bool[np.ndarray, "h w"], list[str]]:
    """Where a mask is not 0; of one that was compressed with loss, where it is above the middle, with a note.

    Example:
        >>> binary(np.array([[0, 3, 251, 255]], np.uint8), "mask.jpg")[0].tolist()
        [[False, False, True, True]]
    """
    if values.dtype == np.uint8 and values.max() > 255 - NEAR and len(np.unique(values)) > 2:
        between = ((values > NEAR) & (values < 255 - NEAR)).mean()
        if between <= BETWEEN:
            note = (
                f"{name} holds {len(np.unique(values))} values near 0 and 255, as masks have that were compressed with loss (JPEG): "
                "values above 127 were taken for 255, others for 0."
            )
            return values > 127, [note]
    return values != 0, []


def _area(path: str, grid: Grid, read: Read) -> tuple[Bool[np.ndarray, "h w"], list[str]]:
    """Where a label file of any kind has a label."""
    try:
        _, stored = read_raster(path)
    except SceneError:
        stored = None  # polygons, points, or what `read` refuses with its own words
    if stored is not None and stored.shape == (1, *grid.shape):
        mask, notes = binary(stored[0], Path(path).name)
        if notes or not mask.any():
            return mask, notes
    found = read(path)
    return found.index > 0, list(found.notes)
