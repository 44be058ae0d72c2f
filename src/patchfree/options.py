"""What the options of the command line mean: text in, the library's own types out."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchfree.errors import ConfigError

if TYPE_CHECKING:
    from patchfree.io.source import SceneSource
    from patchfree.labels import Labels
    from patchfree.recipes import Recipe
    from patchfree.scene import Scene
    from patchfree.series import Use
    from patchfree.split import Split
    from patchfree.training import Outputs


def open_given(path: str, nodata: float | None, drop_bands: str, axes: str | None, mask: str | None) -> Scene:
    """The scene, read as the options say."""
    from patchfree.io import HIDDEN, open_scene

    return open_scene(path, nodata=nodata, drop_bands=_band_list(drop_bands), axes=axes, mask=_mask_names(mask, HIDDEN))


def source_given(
    path: str, nodata: float | None, drop_bands: str, axes: str | None, mask: str | None, resample: bool
) -> SceneSource:
    """The scene as it lies on disk, to be read as the options say."""
    from patchfree.io import HIDDEN
    from patchfree.io.source import SceneSource

    return SceneSource(path, nodata, axes, _mask_names(mask, HIDDEN), tuple(_band_list(drop_bands)), resample)


def _mask_names(text: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """cloud,shadow as names; none as no name."""
    if text is None:
        return default
    names = tuple(filter(None, (part.strip().lower() for part in text.split(","))))
    return () if names == ("none",) else names


def _band_list(text: str) -> list[int]:
    """1-4,130 as numbers."""
    numbers: list[int] = []
    try:
        for part in filter(None, (p.strip() for p in text.split(","))):
            first, dash, last = part.partition("-")
            run = range(int(first), int(last if dash else first) + 1)
            if not run:
                raise ValueError
            numbers += run
    except ValueError:
        raise ConfigError(f"Got --drop-bands {text!r}; need numbers and ranges such as 1-4,130.") from None
    return numbers


def labels_given(
    path: str,
    scene: Scene,
    class_field: str | None,
    layer: str | None,
    unlabelled: list[int] | None,
    scale: int,
    axes: str | None,
) -> Labels:
    """The labels, read as the options say."""
    from patchfree.io.reference import read_labels

    return read_labels(
        path, scene, class_field=class_field, layer=layer, unlabelled=unlabelled or (0,), label_scale=scale, axes=axes
    )


def without_classes(parts: list[Labels], classes: Sequence[str]) -> list[Labels]:
    """The labels without some classes, given by value or name, each of which must be in at least one of the files."""
    entries = sorted({entry for part in parts for entry in part.legend}, key=lambda entry: entry.value)
    values = set()
    for given in classes:
        meant = {e.value for e in entries if given.strip().casefold() in (str(e.value), e.name.strip().casefold())}
        if not meant:
            raise ConfigError(f"Got --ignore-class {given}; the labels hold {', '.join(e.title for e in entries)}.")
        values |= meant
    return [part.without(values & set(part.values)) for part in parts]


def job_given(
    scene: str,
    labels: str | None,
    files: tuple[str | None, str | None, str | None],
    open_one: Callable[[str], Scene],
    read_one: Callable[[str, Scene], Labels],
    ignore: Sequence[str],
    ways: tuple[str | None, str | None, int | None, float | None],
    seed: int,
) -> tuple[Scene, Labels, Split]:
    """The scene, or the scenes of a list on one canvas, with labels and split; `ways` are those of `choose_split`."""
    from patchfree.series import is_list, join_labels, join_scenes, read_pairs

    if labels is not None or any(files) or not is_list(scene):
        opened = open_one(scene)

        def read(*paths: str) -> list[Labels]:
            return without_classes([read_one(path, opened) for path in paths], ignore)

        return opened, *choose_split(opened, labels, files, read, *ways, seed)
    pairs = read_pairs(scene)
    scenes = [open_one(pair.scene) for pair in pairs]
    own = without_classes([read_one(pair.labels, each) for pair, each in zip(pairs, scenes, strict=True)], ignore)
    series = join_scenes(scenes)
    together = join_labels(series, own)
    if pairs[0].use is None:
        return series, *choose_split(series, scene, files, lambda _: [together], *ways, seed)
    if any(way is not None for way in ways):
        raise ConfigError(
            f"The list {scene} says in its column `use` which scenes test; leave out that column, or --blocks, --buffer, --per-class "
            "and --fraction."
        )
    return series, *_split_by_use(series, together, [pair.use for pair in pairs], seed)


def _split_by_use(scene: Scene, labels: Labels, uses: Sequence[Use | None], seed: int) -> tuple[Labels, Split]:
    """Whole scenes to train on and others to test on."""
    import dataclasses

    import numpy as np

    from patchfree.split import given_split

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


def choose_split(
    scene: Scene,
    labels: str | None,
    files: tuple[str | None, str | None, str | None],
    read: Callable[..., list[Labels]],
    blocks: str | None,
    buffer: str | None,
    per_class: int | None,
    fraction: float | None,
    seed: int,
) -> tuple[Labels, Split]:
    """The labels and the split that the options ask for."""
    from patchfree.blocks import block_split
    from patchfree.split import given_split, random_split

    ways = {"--blocks": blocks, "--per-class": per_class, "--fraction": fraction, "--train": files[0]}
    asked = [name for name, value in ways.items() if value is not None]
    if len(asked) > 1:
        raise ConfigError(f"Got {' and '.join(asked)}; choose one way to pick test pixels.")
    if buffer is not None and asked not in ([], ["--blocks"]):
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
    size, strip = _pixels(blocks, scene, "--blocks", round), _pixels(buffer, scene, "--buffer", math.ceil)
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
        from patchfree.ground import pixel_metres

        size = pixel_metres(scene.scenes[0].grid)
        if size is None:
            raise ConfigError(
                f"{option} {text} is in metres, but the size of the scene's pixels is not known: it has no coordinate system. "
                f"Give pixels: {option} 24px."
            )
        value /= (size[0] * size[1]) ** 0.5
    return whole(round(value, 6))


def chosen_recipe(name: str, steps: int | None, learning_rate: float | None) -> Recipe:
    """The recipe with the steps and the rate that were asked for."""
    from patchfree.recipes import get_recipe

    asked = {"steps": steps, "learning_rate": learning_rate}
    return get_recipe(name, **{setting: value for setting, value in asked.items() if value is not None})


def chosen_controls(names: list[str] | None) -> tuple[str, ...]:
    """The controls: an SVM unless others, or none, were asked for."""
    from patchfree.controls import CONTROLS

    chosen = tuple(dict.fromkeys(names or ["svm"]))
    if chosen == ("none",):
        return ()
    if "none" in chosen:
        raise ConfigError(f"Got --control {' and --control '.join(chosen)}; give either none or classifiers.")
    unknown = [name for name in chosen if name not in CONTROLS]
    if unknown:
        raise ConfigError(f"Got --control {unknown[0]}; there are {', '.join(sorted(CONTROLS))} and none.")
    return chosen


def chosen_outputs(probabilities: bool, uncertainty: bool, figures: bool, overwrite: bool, **more: Any) -> Outputs:  # noqa: ANN401
    """What else to write, and the command that was given."""
    from patchfree.training import Outputs

    command = "patchfree " + shlex.join(sys.argv[1:])
    return Outputs(probabilities, uncertainty, figures, overwrite, command, **more)


def refuse_source(out: Path, scene: str) -> None:
    """Never write a map over a file of the scene that it is made from."""
    source = Path(scene)
    beside = out.resolve().parent == source.resolve().parent and out.name.split(".")[0] == source.name.split(".")[0]
    if out.is_dir() and not (out.suffix.lower() == ".zarr" and (out / "zarr.json").is_file()):
        raise ConfigError(f"{out} is a folder; --out must be a file such as {out / 'map.tif'}.")
    if out.exists() and (beside or out.resolve() == source.resolve() or source.resolve() in out.resolve().parents):
        raise ConfigError(
            f"{out} belongs to the scene {scene} and would be overwritten. Choose another name with --out."
        )


def check_zarr(probabilities: Path | None, *, others: Sequence[Path | None]) -> None:
    """Refuse Zarr before the work is done where it cannot be written: only probabilities can."""
    from patchfree.io.zarr_layers import is_zarr, need_zarr

    wrong = [path for path in others if path is not None and is_zarr(path)]
    if wrong:
        raise ConfigError(
            f"Got {wrong[0]}; only --probabilities can be written as Zarr. Choose a name such as map.tif."
        )
    if probabilities is not None and is_zarr(probabilities):
        need_zarr(probabilities)
