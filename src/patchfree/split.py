"""Which labelled pixels train, validate and test.

Neighbouring pixels are alike, and a whole-scene network sees neighbours: a test pixel beside a training pixel
is half known. So the default keeps training and test pixels in separate blocks of the scene with a buffer
between; random splits are offered to compare with published figures, and are marked optimistic.

Whatever the way: the three masks never share a pixel, hold labelled pixels only, and validation pixels come out of
the training pixels.

Dimension key: h rows, w columns, k classes, n labelled pixels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy import ndimage

from patchfree.errors import ConfigError, SplitError
from patchfree.ground import pixel_metres
from patchfree.labels import Labels, LandCover, make_labels
from patchfree.lists import Use
from patchfree.scene import Grid, Scene
from patchfree.windows import Window

VALIDATION_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint masks of training, validation and test pixels.

    Attributes:
        train: pixels whose labels the network learns.
        val: pixels for the temperature and the progress display, taken out of the training pixels.
        test: pixels that nothing is learnt from.
        protocol: how they were chosen: kind, its settings, seed.
        optimistic: True where test pixels were drawn at random among the training pixels.
        notes: what a reader of the accuracy must know, one sentence each.
    """

    train: Bool[np.ndarray, "h w"]
    val: Bool[np.ndarray, "h w"]
    test: Bool[np.ndarray, "h w"]
    protocol: dict[str, Any] = field(default_factory=dict)
    optimistic: bool = False
    notes: tuple[str, ...] = ()

    def codes(self) -> UInt8[np.ndarray, "h w"]:
        """One raster: 0 unused, 1 training, 2 validation, 3 test."""
        return self.train * np.uint8(1) + self.val * np.uint8(2) + self.test * np.uint8(3)


def random_split(
    labels: Labels,
    *,
    per_class: int | None = None,
    fraction: float | None = None,
    most: float | None = None,
    seed: int = 0,
    validation: float = VALIDATION_SHARE,
) -> Split:
    """Draw training pixels at random from each class; all other labelled pixels are test pixels. Optimistic.

    Args:
        labels: reference labels.
        per_class: training pixels of each class, validation included; or
        fraction: share of each class to train on, at least 3 pixels, and at most all but one.
        most: with `per_class`: largest share of a class to train on; a class too small for `per_class` gives that share
            of its pixels, at least one. None refuses such a class.
        seed: repeats the draw.
        validation: share of the training pixels set aside for validation.

    Raises:
        SplitError: a class is too small.
        ConfigError: neither or both sizes are given, or out of range.
    """
    if (per_class is None) == (fraction is None):
        raise ConfigError("Give either per_class or fraction for a random split, not both and not neither.")
    if per_class is not None and per_class < 1:
        raise ConfigError(f"Got per_class={per_class}; need at least 1.")
    if fraction is not None and not 0 < fraction < 1:
        raise ConfigError(f"Got fraction={fraction:g}; need a share between 0 and 1, such as 0.1.")
    check_validation(validation)
    check_classes(labels)
    counts = labels.counts
    if most is not None and not 0 < most < 1:
        raise ConfigError(f"Got most={most:g}; need a share between 0 and 1, such as 0.5.")
    if per_class is not None and most is None and (counts <= per_class).any():
        small = ", ".join(
            f"{entry.value} '{entry.name}' has {n}"
            for entry, n in zip(labels.legend, counts, strict=True)
            if n <= per_class
        )
        raise SplitError(
            f"{per_class} training pixels a class leave no test pixel in some classes: class {small}. "
            f"Use --per-class {counts.min() - 1} or less, --fraction, or leave small classes out with --ignore-class (a benchmark: ignore_classes)."
        )
    rng = np.random.default_rng(seed)
    train = np.zeros(labels.index.shape, bool)
    val, test = train.copy(), train.copy()
    for number, count in enumerate(counts, 1):
        pixels = rng.permutation(np.flatnonzero(labels.index == number))
        size = per_class if per_class is not None else min(max(3, round((fraction or 0) * count)), int(count) - 1)
        size = size if most is None else min(size, max(1, int(most * count)))
        held = _held(size, validation)
        val.flat[pixels[:held]] = True
        train.flat[pixels[held:size]] = True
        test.flat[pixels[size:]] = True
    setting = {"per_class": per_class} if per_class is not None else {"fraction": fraction}
    return Split(
        train,
        val,
        test,
        {"kind": "random", **setting, "seed": seed, "validation": validation},
        optimistic=True,
        notes=(
            "Test pixels were drawn at random and lie among the training pixels: the accuracy is optimistic and says "
            "little about places without labels.",
        ),
    )


def given_split(
    train: Labels, test: Labels, *, val: Labels | None = None, seed: int = 0, validation: float = VALIDATION_SHARE
) -> tuple[Labels, Split]:
    """Training and test pixels as somebody laid them down, such as an official split.

    Args:
        train: labels to learn. Classes of the other parts are matched by name where both name them, else by value.
        test: labels to test on.
        val: labels for validation; None to take a random share of the training pixels.
        seed: repeats the draw of validation pixels.
        validation: share of the training pixels set aside when `val` is None.

    Returns:
        All labels under one legend, and the split.

    Raises:
        SplitError: a pixel is in two of the parts, or a part is of another size.
    """
    parts = {"training": train, "test": test} | ({"validation": val} if val is not None else {})
    check_validation(validation)
    for name, part in parts.items():
        if part.index.shape != train.index.shape:
            raise SplitError(
                f"The {name} labels have {part.index.shape[0]} x {part.index.shape[1]} pixels, the training labels "
                f"{train.index.shape[0]} x {train.index.shape[1]}; they must be on one grid."
            )
    parts = {name: part if part is train else part.matching(train.legend) for name, part in parts.items()}
    values = np.zeros(train.index.shape, np.int64)
    masks: dict[str, Bool[np.ndarray, "h w"]] = {}
    for name, part in parts.items():
        mask = part.index > 0
        shared = {other: int((mask & theirs).sum()) for other, theirs in masks.items()}
        if any(shared.values()):
            other = max(shared, key=lambda key: shared[key])
            raise SplitError(
                f"{shared[other]} pixels are in the {other} labels and in the {name} labels: the accuracy would be measured "
                "on pixels that were learnt. Remove them from one of the two."
            )
        masks[name] = mask
        values[mask] = part.restore(part.index)[mask]
    legend = {entry.value: entry for part in reversed(parts.values()) for entry in part.legend}
    notes = tuple(dict.fromkeys(note for part in parts.values() for note in part.notes))
    labels = make_labels(values, legend=tuple(legend.values()), notes=notes)
    if val is None:
        rng = np.random.default_rng(seed)
        held = np.zeros(train.index.shape, bool)
        for number in range(1, len(labels.legend) + 1):
            pixels = rng.permutation(np.flatnonzero((labels.index == number) & masks["training"]))
            held.flat[pixels[: _held(len(pixels), validation)]] = True
        masks["validation"] = held
        masks["training"] = masks["training"] & ~held
    said = []
    unseen = [e for i, e in enumerate(labels.legend, 1) if not (masks["training"] & (labels.index == i)).any()]
    untested = [e for i, e in enumerate(labels.legend, 1) if not (masks["test"] & (labels.index == i)).any()]
    for entries, text in ((unseen, "have no training pixel and can never be mapped"), (untested, "have no test pixel")):
        if entries:
            said.append(f"Classes {', '.join(f'{e.value} ({e.name!r})' for e in entries)} {text}.")
    protocol = {"kind": "files", "seed": seed, "validation": "given" if val is not None else validation}
    split = Split(masks["training"], masks["validation"], masks["test"], protocol, notes=tuple(said))
    if not split.train.any():
        raise SplitError("The training labels hold no pixel of the scene.")
    return labels, split


def leak_audit(
    split: Split, *, reach: int, whole_scene: bool, grid: Grid, windows: Sequence[Window] | None = None
) -> dict[str, Any]:
    """How far the test pixels are from what was learnt.

    Args:
        split: the masks.
        reach: farthest pixel that the network's kernels connect to an output pixel.
        whole_scene: True if the network also takes statistics over the whole scene.
        grid: for the size of a pixel.
        windows: where each of several scenes lies on the canvas: between two of them there is no distance.

    Returns:
        Shared pixels (0, or the run is refused), distances in pixels (and in metres, where the grid tells) of the test pixels
        that have a training pixel in their scene, share of all test pixels with a training pixel inside the network's
        receptive field.
    """
    learnt = split.train | split.val
    shared = int((learnt & split.test).sum() + (split.train & split.val).sum())
    if shared:
        raise SplitError(f"{shared} pixels are in two of training, validation and test; they must be apart.")
    audit: dict[str, Any] = {
        "shared_pixels": shared,
        "receptive_field_px": 2 * reach + 1,
        "whole_scene_statistics": whole_scene,
        "optimistic": split.optimistic,
        "min_distance_px": None,
        "median_distance_px": None,
        "share_inside_receptive_field": None,
        "share_touching_training": None,
        "tests_apart": 0,
    }
    if not split.test.any():
        return audit
    found = [_distances(learnt[w], split.test[w]) for w in windows or [(slice(None), slice(None))]]
    straight, square = (np.concatenate(parts) for parts in zip(*found, strict=True))
    audit |= {
        "share_inside_receptive_field": round(float((square <= reach).mean()), 4),
        "share_touching_training": round(float((square <= 1).mean()), 4),
        "tests_apart": int(np.isinf(straight).sum()),
    }
    straight = straight[np.isfinite(straight)]
    if not len(straight):
        return audit
    nearest, median = float(straight.min()), float(np.median(straight))
    audit |= {"min_distance_px": round(nearest, 2), "median_distance_px": round(median, 2)}
    metres = pixel_metres(grid)
    if metres is not None:
        side = math.sqrt(metres[0] * metres[1])
        audit |= {"min_distance_m": round(nearest * side, 1), "median_distance_m": round(median * side, 1)}
    return audit


def _distances(
    learnt: Bool[np.ndarray, "h w"], test: Bool[np.ndarray, "h w"]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """From each test pixel to the nearest training pixel, straight and in rows or columns; infinite if there is none."""
    if not learnt.any():
        nowhere = np.full(int(test.sum()), np.inf)
        return nowhere, nowhere
    straight = ndimage.distance_transform_edt(~learnt)[test]
    return straight, ndimage.distance_transform_cdt(~learnt, "chessboard")[test].astype(float)


def check_validation(share: float) -> None:
    """Refuse a share of validation pixels that leaves nothing to train on."""
    if not 0 <= share < 1:
        raise ConfigError(
            f"Got validation={share:g}; need a share from 0 to less than 1, such as {VALIDATION_SHARE:g}."
        )


def _held(size: int, share: float) -> int:
    """Validation pixels out of this many training pixels of a class: none of one or two, and never all."""
    return min(round(share * size), size - 1) if size > 2 else 0


def check_classes(labels: Labels) -> None:
    """Refuse labels that no split can use: one class, or a class of one pixel."""
    if len(labels.legend) < 2:
        entry = labels.legend[0]
        raise SplitError(
            f"The labels hold one class only ({entry.value} '{entry.name}'); a classifier needs at least two. "
            "Label some pixels of another class, such as 'everything else'."
        )
    gone = [e for e, n in zip(labels.legend, labels.counts, strict=True) if n == 0]
    if gone:
        names = ", ".join(f"{e.value} '{e.name}'" for e in gone)
        raise SplitError(
            f"Some classes have no labelled pixel where the scene holds data: class {names}. Check nodata, label other places, "
            f"or leave these classes out with {_ignored(gone)}."
        )
    single = [(e, n) for e, n in zip(labels.legend, labels.counts, strict=True) if n < 2]
    if single:
        names = ", ".join(f"{e.value} '{e.name}'" for e, _ in single)
        raise SplitError(
            f"Some classes have one labelled pixel only, which cannot both train and test: class {names}. "
            f"Label more pixels, or leave these classes out with {_ignored([e for e, _ in single])}."
        )


def _ignored(entries: Sequence[LandCover]) -> str:
    """How to leave out classes: options of a command, and the setting of a scene of the benchmark."""
    options = " ".join(f"--ignore-class {entry.value}" for entry in entries)
    return f"{options} (a benchmark: ignore_classes = {[entry.value for entry in entries]})"


def split_scenes(scene: Scene, labels: Labels, uses: Sequence[Use | None], seed: int = 0) -> tuple[Labels, Split]:
    """Whole scenes to train on and others to test on.

    Args:
        scene: several scenes on one canvas.
        labels: of all of them.
        uses: what each is for.
        seed: repeats the draw of validation pixels, if no scene is for them.

    Raises:
        ConfigError: no scene is for training, or none for the test.
    """

    def part(use: Use) -> Labels:
        mask = np.zeros(scene.grid.shape, bool)
        for window, own in zip(scene.windows, uses, strict=True):
            mask[window] = own == use
        return labels.within(mask)

    for use in ("train", "test"):
        if use not in uses:
            raise ConfigError(
                f"No scene of the list is for {use}; its column `use` needs at least one train and one test."
            )
    val = part("validation") if "validation" in uses else None
    found, split = given_split(part("train"), part("test"), val=val, seed=seed)
    return found, dataclasses.replace(split, protocol=split.protocol | {"kind": "scenes"})
