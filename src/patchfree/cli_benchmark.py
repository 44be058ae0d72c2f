"""The command `benchmark`: parse, run the comparison, print where the tables are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from patchfree import show
from patchfree.arguments import Device


def benchmark(
    out: Annotated[
        Path, typer.Option(help="Folder for tables, page and pictures; what is done there is not done again.")
    ] = Path("patchfree-benchmark"),
    task: Annotated[
        str, typer.Option(help="What to compare methods at: classification or anomalies.")
    ] = "classification",
    scene: Annotated[
        list[str] | None,
        typer.Option(
            help="Scene by name, or all whose files are in --data; repeatable; --list names them.  [default: those of --scenes-file; else indian-pines; all with anomalies]"
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="per-class:N, fraction:F, separate, separate:SIZE:BUFFER or official; unlabelled for anomalies; repeatable.  [default: those that suit each scene]"
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method by name, or a Python file with a function fit(training); repeatable.  [default: all]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often to repeat all: split, weights and sampling.")] = 5,
    first_seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the files of the scenes are, at any depth.")
    ] = None,
    scenes_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A TOML file that describes further scenes, in the form of patchfree's scenes.toml."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Training steps of all networks, in place of their own: to try things out.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop after this time; the same command goes on where it was.  [default: no limit]"),
    ] = None,
    device: Device = "auto",
    names: Annotated[bool, typer.Option("--list", help="List scenes, protocols and methods, and stop.")] = False,
) -> None:
    """Compare methods on scenes with repeated seeds: accuracies with intervals, times, memory; a CSV, a table, a page."""
    from patchfree.benchmark.plan import Plan, names_known
    from patchfree.benchmark.runner import run_benchmark

    if names:
        show.line(names_known(task, data, scenes_file))
        return
    plan = Plan(
        out=out,
        task=task,
        scenes=tuple(scene or ()),
        protocols=tuple(protocol or ()),
        methods=tuple(method or ()),
        seeds=seeds,
        first_seed=first_seed,
        data=data,
        scenes_file=scenes_file,
        steps=steps,
        minutes=minutes,
        device=device,
    )
    with show.progress() as tell:
        outcome = run_benchmark(plan, tell)
    for path in outcome.files:
        if path.suffix == ".md":
            show.line(path.read_text(encoding="utf-8"))
    for path in outcome.files:
        show.line(f"{ {'.csv': 'Rows', '.md': 'Table', '.html': 'Page'}[path.suffix] }: {path}")
    failed = sum(bool(row.get("error")) for row in outcome.rows)
    if failed:
        show.line(
            f"{failed} of {len(outcome.rows)} cells failed; the table says why. The same command tries them again."
        )
    if outcome.undone:
        show.line(
            f"{len(outcome.undone)} of the cells were not done for lack of time; run the same command again to go on. One that takes "
            "longer than --minutes by itself is never done: give more."
        )
    if failed and failed == len(outcome.rows):
        raise typer.Exit(1)
