"""The neighbourhoods of the labels, cut out of a scene that does not fit into memory, to train on.

They lie on one canvas with strips without data between them, which a network treats as the outside of the scene: it sees
each neighbourhood by itself, and takes its whole-scene statistics over all of them together. Where there are too many for that, they
train in groups, each with its own statistics, and every step adds up the gradients of all groups. The map is that of the whole
scene, with the whole scene's statistics, and the test looks at that map.

Dimension key: c bands, h rows, w columns, n pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from patchfree.errors import LabelError
from patchfree.io import hidden_pixels, physical_values
from patchfree.io.source import SceneSource
from patchfree.labels import Labels
from patchfree.scene import MASK_NOTES, MASKED, Bands, Cut, Grid, Scene, make_scene
from patchfree.series import GAP
from patchfree.windows import Window, at_stride, cover, shelves, shifted, window_shape

ALIGN = 8
"""Parts start at multiples of this in the scene and on the canvas: the strided layers meet the same pixels."""


def neighbourhoods(labelled: Bool[np.ndarray, "h w"], context: int) -> list[Window]:
    """Windows that hold all labelled pixels with at least `context` pixels around each, and that do not overlap.

    Example:
        >>> labelled = np.zeros((400, 300), bool)
        >>> labelled[10, 10] = labelled[200, 250] = True
        >>> [(r.start, r.stop, c.start, c.stop) for r, c in neighbourhoods(labelled, 20)]
        [(0, 40, 0, 40), (176, 232, 224, 280)]
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


@dataclass(frozen=True)
class Layout:
    """Where neighbourhoods lie on a canvas.

    Attributes:
        windows: in the scene.
        places: on the canvas, one for each window.
        groups: of places that a network sees at a time, on the canvas.
        shape: rows and columns of the canvas.
    """

    windows: tuple[Window, ...]
    places: tuple[Window, ...]
    groups: tuple[Window, ...]
    shape: tuple[int, int]


def lay_out(windows: Sequence[Window], *, largest: int) -> Layout:
    """Lay windows on a canvas, in as few groups as have at most so many pixels each; a larger window is a group of its own.

    Example:
        >>> windows = [(slice(0, 24), slice(left, left + 24)) for left in (0, 104, 208)]
        >>> [len(lay_out(windows, largest=largest).groups) for largest in (5_000, 2_500, 1)]
        [1, 2, 3]
    """
    groups: list[list[Window]] = []
    for window in windows:
        together = [*groups[-1], window] if groups else [window]
        height, width = _shelves(together)[1]
        if groups and height * width <= largest:
            groups[-1] = together
        else:
            groups.append([window])
    inner = [_shelves(group) for group in groups]
    outer, shape = shelves([size for _, size in inner], gap=GAP, align=ALIGN)
    places = tuple(shifted(place, around) for (own, _), around in zip(inner, outer, strict=True) for place in own)
    return Layout(tuple(windows), places, outer, shape)


def cut_out(source: SceneSource, layout: Layout) -> Scene:
    """The neighbourhoods of labelled pixels on one canvas.

    Args:
        source: the scene on disk.
        layout: which windows of it, and where they are to lie.

    Raises:
        SceneError: no pixel near the labels holds data.
    """
    grid = source.grid
    scene = _pixels(source, layout.windows)
    values, valid = np.zeros((len(scene.bands), *layout.shape), np.float32), np.zeros(layout.shape, bool)
    begin = 0
    for place, window in zip(layout.places, layout.windows, strict=True):
        height, width = window_shape(window)
        part = slice(begin, begin + height * width)
        values[:, *place] = scene.values[:, 0, part].reshape(-1, height, width)
        valid[place] = scene.valid[0, part].reshape(height, width)
        begin = part.stop
    groups = len(layout.groups)
    note = (
        f"The scene does not fit into the memory for training: {begin / (grid.height * grid.width):.1%} of it trained the network, "
        f"{len(layout.windows)} neighbourhoods of the labels"
        + (f" in {groups} groups. A group's" if groups > 1 else ". Their")
        + " statistics stood for the scene's. The map and the test are those of the whole scene."
    )
    return dataclasses.replace(
        scene,
        values=values,
        valid=valid,
        grid=Grid(*layout.shape),
        notes=(note, *scene.notes),
        cut=Cut(source, grid, tuple(zip(layout.places, layout.windows, strict=True)), layout.groups),
    )


def thumbnail(source: SceneSource, bands: Bands, most: int = 500) -> tuple[Scene, int]:
    """Every n-th row and column of a scene on disk, at most so many of each, and n."""
    step = -(-max(source.grid.shape) // most)
    choice, (h, w) = source.choice(bands), source.grid.shape
    small = Grid(-(-h // step), -(-w // step))
    values, valid = np.zeros((len(bands), *small.shape), np.float32), np.zeros(small.shape, bool)
    for window in cover((h, w), -(-256 // step) * step, align=step):
        found, holds = source.read(window, choice)
        place = at_stride(window, step)
        values[:, *place], valid[place] = found[:, ::step, ::step], holds[::step, ::step]
    return Scene(source.reader.path.name, values, valid, bands, small), step


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


def _shelves(windows: Sequence[Window]) -> tuple[tuple[Window, ...], tuple[int, int]]:
    return shelves([window_shape(window) for window in windows], gap=GAP, align=ALIGN)


def _pixels(source: SceneSource, windows: Sequence[Window]) -> Scene:
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
        details={"format": about.format, "dtype": str(about.dtype)}
        | ({MASK_NOTES: list(source.mask_notes)} if source.mask_notes else {})
        | ({MASKED: source.masked} if source.masked else {}),
    )
