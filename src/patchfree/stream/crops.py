"""The neighbourhoods of the labels, cut out of a scene that does not fit into memory, to train on.

They lie on one canvas with strips without data between them, which a network treats as the outside of the scene: it sees
each neighbourhood by itself, and takes its whole-scene statistics over all of them together. The map is that of the whole scene,
with the whole scene's statistics, and the test looks at that map.

Dimension key: c bands, h rows, w columns, n pixels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from patchfree.errors import LabelError
from patchfree.io import hidden_pixels, physical_values
from patchfree.io.source import SceneSource
from patchfree.labels import Labels
from patchfree.scene import Cut, Grid, Scene, make_scene
from patchfree.series import GAP
from patchfree.windows import Window, shelves

ALIGN = 8
"""Parts start at multiples of this in the scene and on the canvas: the strided layers meet the same pixels."""


def neighbourhoods(labelled: Bool[np.ndarray, "h w"], context: int) -> list[Window]:
    """Windows that hold all labelled pixels with at least `context` pixels around each, and that do not overlap.

    Example:
        >>> labelled = np.zeros((400, 300), bool)
        >>> labelled[10, 10] = labelled[200, 250] = True
        >>> [(r.start, r.stop, c.start, c.stop) for r, c in neighbourhoods(labelled, 20)]
        [(0, 32, 0, 32), (176, 224, 224, 272)]
    """
    h, w = labelled.shape
    cells = np.zeros((-(-h // ALIGN), -(-w // ALIGN)), bool)
    rows, cols = np.nonzero(labelled)
    cells[rows // ALIGN, cols // ALIGN] = True
    reach = -(-context // ALIGN)
    kept: np.ndarray = ndimage.maximum_filter(cells, 2 * reach + 1, mode="constant")
    found: list[Window] = []
    while True:  # windows around two groups may overlap: then they become one
        groups, _ = ndimage.label(kept, np.ones((3, 3)))
        boxes = ndimage.find_objects(groups)
        found = [
            tuple(slice(s.start * ALIGN, min(s.stop * ALIGN, n)) for s, n in zip(b, (h, w), strict=True)) for b in boxes
        ]
        filled = kept.copy()
        for box in boxes:
            filled[box] = True
        if (filled == kept).all():
            return found
        kept = filled


def cut_out(source: SceneSource, labelled: Bool[np.ndarray, "h w"], *, context: int) -> Scene:
    """The neighbourhoods of the labelled pixels on one canvas.

    Args:
        source: the scene on disk.
        labelled: pixels with a label, on the scene's grid.
        context: pixels around each: as far as the network's kernels reach.

    Raises:
        SceneError: no pixel near the labels holds data.
    """
    grid = source.grid
    windows = neighbourhoods(labelled, context)
    canvas, shape = _layout(windows)
    scene = _pixels(source, windows)
    values, valid = np.zeros((len(scene.bands), *shape), np.float32), np.zeros(shape, bool)
    begin = 0
    for place, window in zip(canvas, windows, strict=True):
        height, width = _shape(window)
        part = slice(begin, begin + height * width)
        values[:, *place] = scene.values[:, 0, part].reshape(-1, height, width)
        valid[place] = scene.valid[0, part].reshape(height, width)
        begin = part.stop
    note = (
        f"The scene does not fit into the memory for training: the network was trained on {len(windows)} neighbourhoods of the labels "
        f"with {context} pixels around them ({begin / (grid.height * grid.width):.1%} of the scene), and its statistics and the bands' "
        "means are theirs. The map and the test are those of the whole scene."
    )
    return dataclasses.replace(
        scene,
        values=values,
        valid=valid,
        grid=Grid(*shape),
        notes=(note, *scene.notes),
        cut=Cut(source, grid, tuple(zip(canvas, windows, strict=True))),
    )


def on_canvas(scene: Scene, labels: Labels) -> Labels:
    """The labels of a scene where its parts lie on a canvas.

    Raises:
        LabelError: the labels are of another size.
    """
    assert scene.cut is not None
    if labels.index.shape != scene.cut.grid.shape:
        raise LabelError(
            f"The labels have {labels.index.shape} pixels, the scene has {scene.cut.grid.shape}; they must agree."
        )
    index = np.zeros(scene.grid.shape, labels.index.dtype)
    for place, window in scene.cut.places:
        index[place] = labels.index[window]
    return dataclasses.replace(labels, index=index)


def cut_shape(labelled: Bool[np.ndarray, "h w"], context: int) -> tuple[int, int]:
    """Rows and columns of the canvas that `cut_out` would make."""
    return _layout(neighbourhoods(labelled, context))[1]


def _layout(windows: list[Window]) -> tuple[tuple[Window, ...], tuple[int, int]]:
    """Where the windows lie on the canvas, and its rows and columns."""
    return shelves([_shape(window) for window in windows], gap=GAP, align=ALIGN)


def _pixels(source: SceneSource, windows: list[Window]) -> Scene:
    """All pixels of the windows as a scene of one row: bands without data are dropped as in a whole scene."""
    about, read, missing = source.description, [], []
    for window in windows:
        values, holes = physical_values(source.reader, about, window)
        hidden = hidden_pixels(source.reader.quality(window), source.mask)
        if hidden is not None:
            holes = holes | hidden
        read.append(values.reshape(len(values), 1, -1))
        missing.append(holes.reshape(len(values), 1, -1))
    flat = np.concatenate(read, 2)
    return make_scene(
        flat,
        missing=np.concatenate(missing, 2),
        bands=about.bands,
        grid=Grid(1, flat.shape[2]),
        name=source.reader.path.name,
        bad_bands=sorted({*about.bad_bands, *source.drop_bands}),
        notes=about.notes,
        details={"format": about.format, "dtype": str(about.dtype)},
    )


def _shape(window: Window) -> tuple[int, int]:
    rows, cols = window
    return rows.stop - rows.start, cols.stop - cols.start
