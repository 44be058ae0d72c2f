"""What the options of the command line mean: text in, the library's own types out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchfree.errors import ConfigError

if TYPE_CHECKING:
    from patchfree.io.source import SceneSource
    from patchfree.recipes import Recipe
    from patchfree.scene import Scene
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


def chosen_recipe(name: str, steps: int | None, learning_rate: float | None, model: str | None = None) -> Recipe:
    """The recipe with the steps, the rate and the network that were asked for."""
    from patchfree.recipes import get_recipe

    if model is not None:
        _check_model(model)
    asked = {"steps": steps, "learning_rate": learning_rate, "model": model}
    return get_recipe(name, **{setting: value for setting, value in asked.items() if value is not None})


def _check_model(name: str) -> None:
    """Refuse a network that there is not, or that sees two dates."""
    from patchfree.models import MODELS  # brings torch along

    one_date = sorted(known for known, kind in MODELS.items() if kind.dates == 1)
    if name not in one_date:
        other = ", which is for the changes between two dates (patchfree change)" if name in MODELS else ""
        raise ConfigError(f"Got --model {name}{other}; for land cover there are {', '.join(one_date)}.")


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
