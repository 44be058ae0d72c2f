"""The command line: parse, call one verb, print. Errors meant for the user show without a traceback."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from patchfree import __version__, show
from patchfree.arguments import (
    Axes,
    ClassField,
    Control,
    Device,
    DropBands,
    Figures,
    Layer,
    LearningRate,
    Mask,
    Nodata,
    Overwrite,
    Probabilities,
    RecipeName,
    RunArgument,
    SceneArgument,
    Seed,
    Steps,
    Uncertainty,
    Unlabelled,
)
from patchfree.cli_anomalies import anomalies
from patchfree.cli_benchmark import benchmark
from patchfree.cli_change import change
from patchfree.cli_change_train import change_train
from patchfree.cli_train import train
from patchfree.errors import ConfigError, PatchfreeError
from patchfree.heap import one_heap
from patchfree.options import (
    check_zarr,
    chosen_controls,
    chosen_outputs,
    chosen_recipe,
    open_given,
    refuse_source,
    source_given,
)

app = typer.Typer(
    name="patchfree",
    help="Train on a whole hyperspectral scene from a few labels, map every pixel, and say honestly how well.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SAVED = "What was saved last (every 10 seconds) is kept: run the same command again to go on."
KEPT = dict.fromkeys(("train", "demo", "change", "change-train", "benchmark"), SAVED)
KEPT["benchmark"] = "Rows that are finished are kept, and in the tables: run the same command again to go on."
KEPT["map"] = "Windows that are finished are kept: run the same command again to go on."
"""What an interrupted command leaves; the others are quick, or start again."""
INTERRUPTED = 130  # what typer makes of Ctrl-C
UsageProblem: Any = typer.BadParameter.__mro__[
    2
]  # ClickException of the click inside typer (newer ones carry their own)


def _print_version(wanted: bool) -> bool:
    if wanted:
        show.line(f"patchfree {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    del version, debug  # the latter is read from the arguments by `main`, which must know it even when parsing fails


@app.command()
def info(
    scene: SceneArgument,
    nodata: Nodata = None,
    drop_bands: DropBands = "",
    axes: Axes = None,
    mask: Mask = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a scene holds and what was assumed: size, bands, wavelengths, CRS, nodata, value range."""
    opened = open_given(scene, nodata, drop_bands, axes, mask)
    facts = show.scene_facts(opened)
    show.line(json.dumps(facts, indent=2, ensure_ascii=False)) if as_json else show.facts(facts)


app.command()(train)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("patchfree-demo"),
    blocks: Annotated[
        int | None,
        typer.Option(help="Side of the separate blocks in pixels.  [default: an eighth of the shorter side]"),
    ] = None,
    buffer: Annotated[
        int | None, typer.Option(help="Strip without training pixels around test blocks, in pixels.")
    ] = None,
    fraction: Annotated[float, typer.Option(help="Share of each class that the random runs train on.")] = 0.1,
    refit: Annotated[bool, typer.Option(help="Train the final map on all labels after the test.")] = True,
    recipe: RecipeName = "default",
    seed: Seed = 0,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    control: Control = None,
    probabilities: Probabilities = False,
    uncertainty: Uncertainty = False,
    figures: Figures = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Do the whole job on Indian Pines: random pixels with three seeds, and separate blocks, beside an SVM."""
    from patchfree.demo import demo as run_demo

    with show.progress() as tell:
        run = run_demo(
            out,
            size=blocks,
            buffer=buffer,
            fraction=fraction,
            refit=refit,
            recipe=chosen_recipe(recipe, steps, learning_rate),
            seed=seed,
            device=device,
            controls=chosen_controls(control),
            outputs=chosen_outputs(probabilities, uncertainty, figures, overwrite),
            progress=tell,
        )
    show.demo_summary(run, [out / f"random-{seed + i}" for i in range(3)])


@app.command(name="map")
def map_scene(
    run: RunArgument,
    scene: SceneArgument,
    out: Annotated[Path, typer.Option(help="GeoTIFF to write.")] = ...,  # type: ignore[assignment]
    probabilities: Annotated[
        Path | None,
        typer.Option(help="Also write the probability of each class: a GeoTIFF, or Zarr if the name ends in .zarr."),
    ] = None,
    uncertainty: Annotated[Path | None, typer.Option(help="Also write entropy and margin to this GeoTIFF.")] = None,
    nodata: Nodata = None,
    drop_bands: DropBands = "",
    axes: Axes = None,
    mask: Mask = None,
    resample: Annotated[
        bool,
        typer.Option(
            "--resample",
            help="Make bands that the scene lacks as Gaussian means of finer ones, by wavelength and FWHM.",
        ),
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory that the prediction may add to the program, such as 2GB; larger scenes are mapped window by window, "
            "with the same result.  [default: half of what is free]"
        ),
    ] = None,
    statistics: Annotated[
        str,
        typer.Option(
            help="Whole-scene statistics of the network: of this 'scene', or of the 'run' (a series of scenes)."
        ),
    ] = "scene",
    workers: Annotated[int, typer.Option(min=0, help="Processes on this machine to share the work.")] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler whose workers share the work.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Apply a trained run to a scene of any size that has the same bands, or finer ones with --resample."""
    from patchfree.forks import WORKERS

    if workers:
        WORKERS.context()  # they load their libraries while this process does

    from patchfree.files import check_writable
    from patchfree.run import load_run
    from patchfree.stream.budget import parse_bytes
    from patchfree.stream.mapping import MapFiles
    from patchfree.stream.mapping import map_scene as map_any

    if statistics not in ("scene", "run"):
        raise ConfigError(f"Got --statistics {statistics}; need scene or run.")

    if not run.is_dir() and (Path(scene) / "model.json").is_file():
        raise ConfigError(f"{scene} is a run and {run} is none: the run comes first, patchfree map RUN SCENE.")
    files = MapFiles(out, probabilities, uncertainty)
    loaded = load_run(run)
    for path in files.wanted.values():
        refuse_source(path, scene)
        check_writable(path.parent)
    check_zarr(probabilities, others=(out, uncertainty))
    source = source_given(scene, nodata, drop_bands, axes, mask, resample)
    with show.progress() as tell:
        map_any(
            loaded,
            source,
            files,
            memory=None if memory is None else parse_bytes(memory),
            statistics=statistics,  # type: ignore[arg-type]
            workers=workers,
            scheduler=scheduler,
            device=device,
            progress=lambda state: tell("", state),
        )
    written = {"Map": out, "Probabilities": probabilities, "Uncertainty": uncertainty}
    show.mapped(source.choice(loaded.bands).note, (*source.description.notes, *source.mask_notes), written)


@app.command()
def vectorize(
    class_map: Annotated[
        str, typer.Argument(metavar="MAP", help="Class map, ours or not: any raster format that scenes have.")
    ],
    out: Annotated[Path, typer.Option(help="GeoPackage to write.")] = ...,  # type: ignore[assignment]
    min_area: Annotated[
        str | None,
        typer.Option(
            help="Merge smaller areas into their largest neighbour: 0.5ha, 5000m2 or 20px.  [default: keep all]"
        ),
    ] = None,
) -> None:
    """Turn a class map into polygons with class, name, pixels and area."""
    from patchfree.files import check_writable
    from patchfree.polygons import vectorize as make_polygons

    check_writable(out.parent)
    show.line(f"Polygons: {make_polygons(class_map, out, min_area=min_area)}")


@app.command()
def assess(
    class_map: Annotated[
        str, typer.Argument(metavar="MAP", help="Class map, ours or not: any raster format that scenes have.")
    ],
    labels: Annotated[
        str, typer.Argument(metavar="LABELS", help="Reference: class raster, polygons, points, or a CSV of points.")
    ],
    design: Annotated[
        str, typer.Option(help="'stratified' if the reference is a random sample drawn within each class of this map.")
    ] = "none",
    class_field: ClassField = None,
    layer: Layer = None,
    unlabelled: Unlabelled = None,
    blocks: Annotated[int | None, typer.Option(help="Side in pixels of the blocks that the intervals draw.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the accuracy of any class map at reference labels, with intervals."""
    from patchfree.assessment import assess as measure
    from patchfree.io import find_reader
    from patchfree.io.reference import read_labels
    from patchfree.run import learnt_pixels

    if design not in ("none", "stratified"):
        raise ConfigError(f"Got --design {design}; need none or stratified.")
    grid = find_reader(class_map, layers=2).describe().grid
    mapped = read_labels(class_map, grid)
    reference = read_labels(labels, grid, class_field=class_field, layer=layer, unlabelled=unlabelled or (0,))
    learnt = learnt_pixels(class_map)
    found = measure(mapped, reference, design=design, grid=grid, block_px=blocks, learnt=learnt)  # type: ignore[arg-type]
    show.line(json.dumps(found, indent=2, ensure_ascii=False)) if as_json else show.accuracy(found)


app.command()(benchmark)
app.command()(anomalies)
app.command()(change)
app.command()(change_train)


@app.command()
def cite(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a finished run, or of a report of `anomalies` or `change`.")
    ],
) -> None:
    """Print the references of the methods that a run, or a search for anomalies or changes, used."""
    from patchfree.citations import cite as references
    from patchfree.citations import cite_report
    from patchfree.run import load_run

    show.line(cite_report(run) or references(load_run(run)))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 1 failure, 2 the user's to mend."""
    # Threads that spin for long while they wait make a busy machine many times slower (docs/log.md); read when torch is
    # loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    one_heap()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    # `--debug` is welcome anywhere on the line.
    arguments = (["--debug"] if debug else []) + [a for a in arguments if a != "--debug"]
    try:
        code = app(args=arguments, standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except PatchfreeError as error:
        if debug:
            traceback.print_exc()
        show.error(str(error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        command = next((a for a in arguments if not a.startswith("-")), "")
        show.error(f"Interrupted. {KEPT.get(command, '')}".rstrip())
        sys.exit(1)
    except UsageProblem as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        what = (
            "The machine's memory is not enough"
            if isinstance(error, MemoryError)
            else f"{type(error).__name__}: {error}"
        )
        show.error(f"{what}. This should not happen; run again with --debug to see where, and report it.")
        sys.exit(1)
