"""The command `change`: parse, compare two dates, print what changed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from patchfree import show
from patchfree.arguments import Axes, DropBands, Mask, Nodata, Overwrite, Seed
from patchfree.errors import ConfigError


def change(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="Scene of the first date, as for `patchfree info`.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Scene of the second date.")],
    out: Annotated[Path, typer.Option(help="Folder for scores, map, uncertainty, objects and report.")] = ...,  # type: ignore[assignment]
    method: Annotated[
        str, typer.Option(help="Without labels: ir-mad-context, ir-mad, cva, sfa or pca-kmeans.")
    ] = "ir-mad-context",
    threshold: Annotated[
        str | None,
        typer.Option(
            help="How scores are parted: otsu, mixture (two normal distributions) or chi-square (ir-mad, sfa).  "
            "[default: otsu; of pca-kmeans its own]"
        ),
    ] = None,
    false_alarm: Annotated[
        float | None,
        typer.Option(help="Share of unchanged pixels above the threshold chi-square.  [default: 0.001]"),
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(help="Bring AFTER to BEFORE's radiometry first: ir-mad or pif.  [default: no]"),
    ] = None,
    resampling: Annotated[
        str,
        typer.Option(help="How AFTER is warped onto BEFORE's grid if it differs: bilinear, nearest, cubic or average."),
    ] = "bilinear",
    by_number: Annotated[
        bool, typer.Option("--by-number", help="Match bands in their order, whatever wavelengths they state.")
    ] = False,
    truth: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS",
            help="What has truly changed, to measure against, not to learn from: a mask (0 unchanged), or classes 1 unchanged, 2 changed.",
        ),
    ] = None,
    truth_unchanged: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS",
            help="What has truly not changed; --truth then holds the changed areas, others are not known.",
        ),
    ] = None,
    nodata: Nodata = None,
    drop_bands: DropBands = "",
    axes: Axes = None,
    mask: Mask = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory that this may add to the program, such as 2GB; larger pairs are compared window by window.  "
            "[default: half of what is free]"
        ),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Find what changed between two dates: a score, a map and its uncertainty for every pixel, and the changed areas."""
    from patchfree.change.products import check_folder, write_changes
    from patchfree.change.scoring import find_changes, method_named
    from patchfree.change.threshold import FALSE_ALARM
    from patchfree.change.truth import read_truth
    from patchfree.options import source_given
    from patchfree.stream.budget import free_memory, parse_bytes

    method_named(method)  # refused before the work if there is none
    if false_alarm is not None and threshold != "chi-square":
        raise ConfigError("--false-alarm belongs to --threshold chi-square; it has no effect without it.")
    if truth_unchanged is not None and truth is None:
        raise ConfigError("Got --truth-unchanged without --truth; give the changed areas with --truth.")
    _refuse_own(out, before, after)
    check_folder(out, overwrite=overwrite)
    first, second = (source_given(path, nodata, drop_bands, axes, mask, False) for path in (before, after))
    known = None if truth is None else read_truth(truth, first.grid, unchanged=truth_unchanged)
    with show.progress() as tell:
        found = find_changes(
            first,
            second,
            method=method,
            threshold=threshold,
            false_alarm=FALSE_ALARM if false_alarm is None else false_alarm,
            normalise=normalise,
            resampling=resampling,
            by_number=by_number,
            memory=free_memory() if memory is None else parse_bytes(memory),
            seed=seed,
            progress=lambda state: tell("", state),
        )
    written = write_changes(
        out, found, truth=known, command="patchfree " + shlex.join(sys.argv[1:]), overwrite=overwrite
    )
    for note in (*found.notes, *written.notes, *(() if known is None else known.notes)):
        show.line(f"Note: {note}")
    held, changed = int((found.index > 0).sum()), int((found.index == 2).sum())
    assert found.threshold is not None
    show.line(
        f"Changed: {changed:,} of {held:,} pixels ({found.changed_share:.2%}), in {len(written.objects):,} objects; scores above "
        f"{found.threshold.above:.4g} ({found.threshold.way}), method {found.method}."
    )
    if written.measured is not None:
        _accuracy(written.measured)
    show.line(f"Report: {out / 'report.html'}")


def _accuracy(measured: dict[str, Any]) -> None:
    """The main figures against the truth."""

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    inside = measured["intervals"]["kappa"]
    span = "" if inside is None else f" (95 % interval {inside[0]:.3f} to {inside[1]:.3f})"
    show.line(
        f"Against the truth: kappa {number(measured['kappa'])}{span}, F1 of changed {number(measured['per_class'][1]['f1'])}, "
        f"AUC of the scores {number(measured['auc'])}."
    )


def _refuse_own(out: Path, before: str, after: str) -> None:
    """Never write results over the scenes that they are made from.

    Raises:
        ConfigError: the folder is one of the scenes, or a scene would be replaced by a result.
    """
    for path in (Path(before), Path(after)):
        if out.resolve() == path.resolve() or (
            out.resolve() == path.resolve().parent and path.name.split(".")[0] in ("score", "map", "uncertainty")
        ):
            raise ConfigError(f"{path} would be overwritten by the results in {out}. Choose another --out.")
