"""The command `change-train`: parse, train on many pairs, print what was found."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from patchfree import show
from patchfree.arguments import Control, Device, LearningRate, Overwrite, Seed, Steps


def change_train(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS",
            help="CSV with the columns before, after and mask (0 unchanged, else changed), and if wanted use: train, validation or test.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the run; an interrupted run in it is resumed.")] = ...,  # type: ignore[assignment]
    model: Annotated[
        str, typer.Option(help="siamese-freenet, ar-cdnet, ar-cdnet-rgb, fc-siam-diff or unet.")
    ] = "siamese-freenet",
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out pairs that cannot be read, and name them.")
    ] = False,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="After the test, train once more on all pairs, for the maps.")
    ] = False,
    control: Control = None,
    error_rate: Annotated[
        float, typer.Option(help="Share of pixels whose true class may be missing in decided.tif.")
    ] = 0.1,
    memory: Annotated[
        str | None,
        typer.Option(help="Memory that the training may add to the program.  [default: half of the machine's]"),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Train one network on many pairs with full masks; map others with `patchfree change --run RUN BEFORE AFTER`."""
    from patchfree.change.recipes import change_recipe
    from patchfree.change_jobs import Training, train_listed
    from patchfree.options import chosen_controls
    from patchfree.stream.budget import parse_bytes

    settings = {"steps": steps, "learning_rate": learning_rate}
    recipe = change_recipe(model, **{name: value for name, value in settings.items() if value is not None})
    training = Training(
        recipe,
        seed,
        chosen_controls(control),
        refit,
        error_rate,
        None if memory is None else parse_bytes(memory),
        device,
        overwrite,
        "patchfree " + shlex.join(sys.argv[1:]),
    )
    with show.progress() as tell:
        run, left_out = train_listed(
            pairs, keep_going=keep_going, out=out, training=training, tell=lambda state: tell("", state)
        )
    for sentence in left_out:
        show.line(f"Left out: {sentence}")
    show.summary(run)
    show.line(run.metrics["change"]["conformal"]["says"])
