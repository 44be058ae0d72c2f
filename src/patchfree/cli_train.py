"""`patchfree train`: the whole job on a scene and its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from patchfree import show
from patchfree.arguments import (
    Axes,
    ClassField,
    Control,
    Device,
    DropBands,
    Figures,
    LabelScale,
    Layer,
    LearningRate,
    Mask,
    Nodata,
    Overwrite,
    Probabilities,
    RecipeName,
    Seed,
    Steps,
    Uncertainty,
    Unlabelled,
)
from patchfree.options import chosen_controls, chosen_outputs, chosen_recipe


def train(
    scene: Annotated[
        str,
        typer.Argument(
            metavar="SCENE",
            help="As for info; or a CSV with the columns scene and labels, to train on several scenes together.",
        ),
    ],
    labels: Annotated[
        str | None, typer.Argument(metavar="LABELS", help="Class raster, polygons, points, or a CSV of points.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the run; an interrupted run in it is resumed.")] = ...,  # type: ignore[assignment]
    blocks: Annotated[
        str | None,
        typer.Option(
            help="Side of spatially separate blocks: 24, 24px or 240m.  [default: an eighth of the shorter side, 4 to 64 px]"
        ),
    ] = None,
    buffer: Annotated[
        str | None,
        typer.Option(
            help="Strip without training pixels around test blocks: 4, 4px or 40m.  [default: a sixth of a block]"
        ),
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(help="Random split: training pixels of each class (optimistic).")
    ] = None,
    fraction: Annotated[
        float | None, typer.Option(help="Random split: share of each class to train on (optimistic).")
    ] = None,
    train_file: Annotated[
        str | None, typer.Option("--train", metavar="FILE", help="Labels to train on, with --test.")
    ] = None,
    test_file: Annotated[
        str | None, typer.Option("--test", metavar="FILE", help="Labels to test on, with --train.")
    ] = None,
    validation_file: Annotated[
        str | None, typer.Option("--validation", metavar="FILE", help="Labels for validation, with --train.")
    ] = None,
    recipe: RecipeName = "default",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="In place of the recipe's: freenet, freenet-half, freenet-smooth (half, smoothed along what looks alike), freenet-ensemble (two of it and the next), or spectral (each pixel by itself).",
        ),
    ] = None,
    seed: Seed = 0,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="After the test, train once more on all labels, for the map.")
    ] = False,
    control: Control = None,
    class_field: ClassField = None,
    layer: Layer = None,
    unlabelled: Unlabelled = None,
    ignore_class: Annotated[
        list[str] | None, typer.Option(help="Value or name of a class to leave out; repeatable.")
    ] = None,
    label_scale: LabelScale = 1,
    nodata: Nodata = None,
    drop_bands: DropBands = "",
    axes: Axes = None,
    mask: Mask = None,
    probabilities: Probabilities = False,
    uncertainty: Uncertainty = False,
    figures: Figures = False,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN", help="Run of the same scene under another protocol, to show in the report; repeatable."
        ),
    ] = None,
    overwrite: Overwrite = False,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory that the training may add to the program, such as 4GB; of a larger scene the neighbourhoods of the labels "
            "train, and the map is made window by window.  [default: half of the machine's]"
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Split the labels, train on the whole scene, test, map, and write a report."""
    from patchfree.inputs import Reading, Ways, job_given
    from patchfree.ranks import is_first
    from patchfree.run import load_run
    from patchfree.stream.budget import installed_memory, parse_bytes
    from patchfree.training import train as train_scene

    chosen = chosen_recipe(recipe, steps, learning_rate, model)
    budget = installed_memory() if memory is None else parse_bytes(memory)
    opened, reference, split = job_given(
        scene,
        labels,
        (train_file, test_file, validation_file),
        Reading(nodata, drop_bands, axes, mask, class_field, layer, unlabelled, label_scale),
        ignore=ignore_class or (),
        ways=Ways(blocks, buffer, per_class, fraction),
        seed=seed,
        model=chosen.model,
        memory=budget,
    )
    others = tuple(load_run(folder) for folder in beside or ())
    with show.progress(quiet=not is_first()) as tell:
        run = train_scene(
            opened,
            reference,
            split=split,
            recipe=chosen,
            seed=seed,
            controls=chosen_controls(control),
            refit=refit,
            memory=budget,
            out=out,
            outputs=chosen_outputs(probabilities, uncertainty, figures, overwrite, beside=others),
            device=device,
            progress=lambda state: tell("", state),
        )
    if is_first():
        show.summary(run)
