"""What a training is given on the command line: scenes, labels and a way to split them, read as the options say.

A scene that fits into memory is read as a whole. Of one that does not, the neighbourhoods of the labels are read
(`patchfree.stream.crops`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool

from patchfree.blocks import block_split
from patchfree.errors import ConfigError
from patchfree.ground import pixel_metres
from patchfree.io.reference import read_labels
from patchfree.io.source import SceneSource
from patchfree.labels import Labels
from patchfree.lists import is_list, read_pairs
from patchfree.models import MODELS, SceneModel
from patchfree.options import open_given, source_given
from patchfree.scene import Grid, Scene
from patchfree.series import join_labels, join_scenes
from patchfree.split import Split, given_split, random_split, split_scenes
from patchfree.stream.budget import cut_training_bytes, largest_pass, training_bytes
from patchfree.stream.crops import Layout, cut_out, lay_out, neighbourhoods, on_canvas
from patchfree.windows import window_shape

Files = tuple[str | None, str | None, str | None]
"""Labels to train on, to test on, and for validation."""
CLASSES = 16  # that a network is reckoned with before the labels are read


@dataclass(frozen=True)
class Reading:
    """How to read scenes and labels; the fields are the options of the same names."""

    nodata: float | None
    drop_bands: str
    axes: str | None
    mask: str | None
    class_field: str | None
    layer: str | None
    unlabelled: list[int] | None
    label_scale: int

    def scene(self, path: str) -> Scene:
        """A whole scene."""
        return open_given(path, self.nodata, self.drop_bands, self.axes, self.mask)

    def source(self, path: str) -> SceneSource:
        """A scene that stays on disk."""
        return source_given(path, self.nodata, self.drop_bands, self.axes, self.mask, False)

    def labels(self, path: str, grid: Grid) -> Labels:
        """Labels on a scene's grid."""
        return read_labels(
            path,
            grid,
            class_field=self.class_field,
            layer=self.layer,
            unlabelled=self.unlabelled or (0,),
            label_scale=self.label_scale,
            axes=self.axes,
        )


@dataclass(frozen=True)
class Ways:
    """How to choose test pixels; the fields are the options of the same names, None where they were not given."""

    blocks: str | None
    buffer: str | None
    per_class: int | None
    fraction: float | None


def job_given(
    scene: str,
    labels: str | None,
    files: Files,
    reading: Reading,
    *,
    ignore: Sequence[str],
    ways: Ways,
    seed: int,
    model: str,
    memory: int,
) -> tuple[Scene, Labels, Split]:
    """The scene, or the scenes of a list on one canvas, with labels and split.

    Args:
        scene: path of a scene, or of a list of scenes with their labels.
        labels: path of the labels; None for a list, or where `files` are given.
        files: labels that are split already.
        reading: how to read them.
        ignore: classes to leave out, by value or name.
        ways: how to choose test pixels.
        seed: of the split.
        model: name in `patchfree.models.MODELS`, for the memory that it takes and for how far it sees.
        memory: bytes that the training may take.
    """
    if labels is not None or any(files) or not is_list(scene):
        paths = [labels] if labels is not None else list(filter(None, files))
        ((opened, own),) = _opened([(scene, paths)], reading, ignore, model, memory)

        def read(*asked: str) -> list[Labels]:
            return [own[paths.index(path)] for path in asked]

        return opened, *choose_split(opened, labels, files, read, ways, seed)
    pairs = read_pairs(scene)
    found = _opened([(pair.scene, [pair.labels]) for pair in pairs], reading, ignore, model, memory)
    series = join_scenes([each for each, _ in found])
    together = join_labels(series, [own for _, (own,) in found])
    del found  # the canvas holds a copy
    if pairs[0].use is None:
        return series, *choose_split(series, scene, files, lambda _: [together], ways, seed)
    if ways != Ways(None, None, None, None):
        raise ConfigError(
            f"The list {scene} says in its column `use` which scenes test; leave out that column, or --blocks, --buffer, --per-class "
            "and --fraction."
        )
    return series, *split_scenes(series, together, [pair.use for pair in pairs], seed)


def _opened(
    jobs: Sequence[tuple[str, Sequence[str]]], reading: Reading, ignore: Sequence[str], model: str, memory: int
) -> list[tuple[Scene, list[Labels]]]:
    """Scenes with their labels: whole if they fit into the memory together, else the neighbourhoods of the labels."""
    sources = [reading.source(path) for path, _ in jobs]
    bands = max(len(source.description.bands) for source in sources)
    with torch.device("meta"):
        network = MODELS[model](bands=bands, classes=2 if MODELS[model].dates == 2 else CLASSES)
    if training_bytes(network, [source.grid.shape for source in sources], recompute=True) <= memory:
        scenes = [reading.scene(path) for path, _ in jobs]
        labels = [[reading.labels(path, s.grid) for path in paths] for s, (_, paths) in zip(scenes, jobs, strict=True)]
        return _without_classes(list(zip(scenes, labels, strict=True)), ignore)
    labels = [[reading.labels(path, s.grid) for path in paths] for s, (_, paths) in zip(sources, jobs, strict=True)]
    labelled: list[Bool[np.ndarray, "h w"]] = [np.any([own.index > 0 for own in each], 0) for each in labels]
    layouts = _layouts(network, labelled, memory, max(source.kept_bytes for source in sources))
    found = []
    for source, layout, own in zip(sources, layouts, labels, strict=True):
        scene = cut_out(source, layout)
        found.append((scene, [on_canvas(scene, each) for each in own]))
    return _without_classes(found, ignore)


def _layouts(network: SceneModel, labelled: Sequence[Bool[np.ndarray, "_ _"]], memory: int, kept: int) -> list[Layout]:
    """The neighbourhoods of the labels of each scene, in groups that fit into the memory."""
    windows = [neighbourhoods(mask, network.reach) for mask in labelled]

    def laid(largest: int) -> tuple[list[Layout], int]:
        layouts = [lay_out(each, largest=largest) for each in windows]
        sizes = [window_shape(group) for layout in layouts for group in layout.groups]
        return layouts, cut_training_bytes(network, sizes, kept=kept)

    # Groups of a group's size leave gaps: what they all take is known when they are laid out.
    largest = largest_pass(
        network, sum(height * width for each in windows for height, width in map(window_shape, each)), memory
    )
    while largest >= 1:
        layouts, need = laid(largest)
        if need <= memory:
            return layouts
        largest = largest * 3 // 4
    least = laid(0)[1]
    raise ConfigError(
        f"Got --memory {memory / 1e6:,.0f} MB; training on the neighbourhoods of these labels takes at least --memory "
        f"{-(-least // 10**6)}MB. Use fewer labels, labels in smaller patches, or a machine with more memory."
    )


def _without_classes(
    found: list[tuple[Scene, list[Labels]]], classes: Sequence[str]
) -> list[tuple[Scene, list[Labels]]]:
    """The labels without some classes, given by value or name, each of which must be in at least one of the files."""
    parts = [labels for _, own in found for labels in own]
    entries = sorted({entry for part in parts for entry in part.legend}, key=lambda entry: entry.value)
    values = set()
    for given in classes:
        meant = {e.value for e in entries if given.strip().casefold() in (str(e.value), e.name.strip().casefold())}
        if not meant:
            raise ConfigError(f"Got --ignore-class {given}; the labels hold {', '.join(e.title for e in entries)}.")
        values |= meant
    return [(scene, [part.without(values & set(part.values)) for part in own]) for scene, own in found]


def choose_split(
    scene: Scene,
    labels: str | None,
    files: Files,
    read: Callable[..., list[Labels]],
    ways: Ways,
    seed: int,
) -> tuple[Labels, Split]:
    """The labels and the split that the options ask for."""
    per_class, fraction = ways.per_class, ways.fraction
    given = {"--blocks": ways.blocks, "--per-class": per_class, "--fraction": fraction, "--train": files[0]}
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1:
        raise ConfigError(f"Got {' and '.join(asked)}; choose one way to pick test pixels.")
    if ways.buffer is not None and asked not in ([], ["--blocks"]):
        raise ConfigError(f"--buffer belongs to --blocks; it has no effect with {asked[0]}.")
    train_file, test_file, validation_file = files
    if train_file or test_file or validation_file:
        if not (train_file and test_file):
            raise ConfigError(
                "An official split needs both --train FILE and --test FILE (and, if there is one, --validation FILE)."
            )
        if labels is not None:
            raise ConfigError(
                "Got LABELS and --train/--test; give either one label file to split, or two that are split already."
            )
        train, test, *val = read(*filter(None, files))
        return given_split(train, test, val=val[0] if val else None, seed=seed)
    if labels is None:
        raise ConfigError("Got no labels. Give LABELS after SCENE, or --train FILE and --test FILE.")
    reference = read(labels)[0]
    usable = reference.within(scene.valid)
    if not (usable.index > 0).any():
        raise ConfigError(
            f"All labels of {labels} lie where the scene holds no data. Check nodata and position of both files."
        )
    if per_class is not None or fraction is not None:
        return reference, random_split(usable, per_class=per_class, fraction=fraction, seed=seed)
    size, strip = _pixels(ways.blocks, scene, "--blocks", round), _pixels(ways.buffer, scene, "--buffer", math.ceil)
    return reference, block_split(usable, size=size, buffer=strip, seed=seed)


def _pixels(text: str | None, scene: Scene, option: str, whole: Callable[[float], int]) -> int | None:
    """A length in pixels, from '24', '24px' or '240m'; `whole` says which way parts of a pixel go."""
    if text is None:
        return None
    number, metres = text.lower().removesuffix("px"), False
    if number.endswith("m"):
        number, metres = number[:-1], True
    try:
        value = float(number)
        whole(value)  # neither infinite nor NaN
    except (ValueError, OverflowError):
        raise ConfigError(f"Got {option} {text!r}; need a length such as 24, 24px or 240m.") from None
    if metres:
        size = pixel_metres(scene.ground)
        if size is None:
            raise ConfigError(
                f"{option} {text} is in metres, but the size of the scene's pixels is not known: it has no coordinate system. "
                f"Give pixels: {option} 24px."
            )
        value /= (size[0] * size[1]) ** 0.5
    return whole(round(value, 6))
