"""The command `change`: parse, compare two dates, print what changed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from patchfree import show
from patchfree.arguments import (
    Axes,
    ClassField,
    Control,
    Device,
    DropBands,
    Layer,
    LearningRate,
    Mask,
    Nodata,
    Overwrite,
    Seed,
    Steps,
)  # fmt: skip
from patchfree.errors import ConfigError

if TYPE_CHECKING:
    from patchfree.change.scoring import Changes
    from patchfree.change_jobs import LabelFiles, Training
    from patchfree.inputs import Ways
    from patchfree.io.pair import Dates


def change(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="Scene of the first date, as for `patchfree info`.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Scene of the second date.")],
    out: Annotated[Path, typer.Option(help="Folder for scores, map, uncertainty, objects and report.")] = ...,  # type: ignore[assignment]
    changed: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS", help="Changed areas to learn from, with --unchanged: polygons, points or a mask."
        ),
    ] = None,
    unchanged: Annotated[
        str | None, typer.Option(metavar="LABELS", help="Unchanged areas to learn from, with --changed.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Both in one file to learn from: classes 1 unchanged and 2 changed, or named so."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Map with a trained run of changes instead of learning anew.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Without labels: ir-mad-context, ir-mad, cva, sfa or pca-kmeans.  [default: ir-mad-context]"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="With labels: siamese-freenet, ar-cdnet, ar-cdnet-rgb, fc-siam-diff or unet.  [default: siamese-freenet]"
        ),
    ] = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    blocks: Annotated[
        str | None, typer.Option(help="With labels: side of the spatially separate blocks that train and test.")
    ] = None,
    buffer: Annotated[
        str | None, typer.Option(help="With labels: strip without training pixels around test blocks.")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(help="With labels: random training pixels of each class (optimistic).")
    ] = None,
    fraction: Annotated[
        float | None, typer.Option(help="With labels: random share of each class to train on (optimistic).")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="With labels: after the test, train once more on all of them, for the map.")
    ] = False,
    control: Control = None,
    error_rate: Annotated[
        float | None,
        typer.Option(
            help="With labels: share of pixels whose true class may be missing in decided.tif.  [default: 0.1]"
        ),
    ] = None,
    dropout_passes: Annotated[
        int | None,
        typer.Option(help="With labels: write spread.tif, how far so many answers lie apart if channels are dropped."),
    ] = None,
    ensemble: Annotated[
        int | None,
        typer.Option(help="With labels: write spread.tif, how far the answers of so many networks lie apart."),
    ] = None,
    class_field: ClassField = None,
    layer: Layer = None,
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
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Find what changed between two dates: a score, a map and its uncertainty for every pixel, and the changed areas."""
    given = {
        "--changed, --unchanged or --labels": changed or unchanged or labels,
        "--run": run,
        "--method": method,
    }
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1:
        raise ConfigError(
            f"Got {' beside '.join(asked)}; learn from labels, map with a run, or compare without labels."
        )
    learning = {
        "--model": model, "--steps": steps, "--learning-rate": learning_rate, "--blocks": blocks, "--buffer": buffer,
        "--per-class": per_class, "--fraction": fraction, "--refit": refit or None, "--control": control, "--error-rate": error_rate,
        "--dropout-passes": dropout_passes, "--ensemble": ensemble,
    }  # fmt: skip
    comparing = {"--threshold": threshold, "--false-alarm": false_alarm, "--normalise": normalise}
    with_labels = asked == ["--changed, --unchanged or --labels"]
    for options, belongs in ((learning, with_labels), (comparing, asked in ([], ["--method"]))):
        idle = [name for name, value in options.items() if value is not None]
        if idle and not belongs:
            raise ConfigError(
                f"{idle[0]} has no effect here; it belongs to a change detection {'with' if options is learning else 'without'} labels."
            )
    method = method or "ir-mad-context"
    from patchfree.change.products import check_folder, write_changes
    from patchfree.change.recipes import DEFAULT, change_recipe
    from patchfree.change.scoring import find_changes, method_named
    from patchfree.change.spreads import Spreads
    from patchfree.change.threshold import FALSE_ALARM
    from patchfree.change.truth import read_truth
    from patchfree.change_jobs import LabelFiles, Training, map_given
    from patchfree.inputs import Ways
    from patchfree.io.pair import Dates
    from patchfree.options import chosen_controls, source_given
    from patchfree.stream.budget import free_memory, parse_bytes

    method_named(method)  # refused before the work if there is none
    if false_alarm is not None and threshold != "chi-square":
        raise ConfigError("--false-alarm belongs to --threshold chi-square; it has no effect without it.")
    if truth_unchanged is not None and truth is None:
        raise ConfigError("Got --truth-unchanged without --truth; give the changed areas with --truth.")
    _refuse_own(out, before, after)
    if not with_labels:  # an interrupted run in the folder is resumed
        check_folder(out, overwrite=overwrite)
    first, second = (source_given(path, nodata, drop_bands, axes, mask, False) for path in (before, after))
    command = "patchfree " + shlex.join(sys.argv[1:])
    bytes_given = None if memory is None else parse_bytes(memory)
    if with_labels:
        _learn(
            Dates(first, second, resampling=resampling, by_number=by_number),
            LabelFiles(changed, unchanged, labels, truth, truth_unchanged, class_field, layer),
            Ways(blocks, buffer, per_class, fraction),
            Training(
                recipe=change_recipe(model or DEFAULT, **_given(steps=steps, learning_rate=learning_rate)),
                controls=chosen_controls(control),
                **_given(error_rate=error_rate, memory=bytes_given),
                spreads=Spreads(**_given(dropout=dropout_passes, ensemble=ensemble)),
                seed=seed,
                refit=refit,
                device=device,
                overwrite=overwrite,
                command=command,
            ),
            out,
        )
        return
    if run is not None:
        if truth is not None:
            raise ConfigError(
                "--truth has no effect with --run; compare the map with patchfree assess OUT/map.tif LABELS."
            )
        with show.progress() as tell:
            mapped = map_given(
                run,
                Dates(first, second, resampling=resampling, by_number=by_number),
                out=out,
                memory=bytes_given,
                device=device,
                overwrite=overwrite,
                command=command,
                tell=lambda state: tell("", state),
            )
        if mapped is not None:
            _found(mapped, out)
            return
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
            memory=free_memory() if bytes_given is None else bytes_given,
            seed=seed,
            progress=lambda state: tell("", state),
        )
    written = write_changes(out, found, truth=known, command=command, overwrite=overwrite)
    for note in (*found.notes, *written.notes, *(() if known is None else known.notes)):
        show.line(f"Note: {note}")
    held, count = int((found.index > 0).sum()), int((found.index == 2).sum())
    assert found.threshold is not None
    show.line(
        f"Changed: {count:,} of {held:,} pixels ({found.changed_share:.2%}), in {len(written.objects):,} objects; scores above "
        f"{found.threshold.above:.4g} ({found.threshold.way}), method {found.method}."
    )
    if written.measured is not None:
        _accuracy(written.measured)
    show.line(f"Report: {out / 'report.html'}")


def _given(**options: Any) -> dict[str, Any]:  # noqa: ANN401 - values of any option
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _learn(dates: Dates, files: LabelFiles, ways: Ways, training: Training, out: Path) -> None:
    """Train on labels, map, and say what was found."""
    from patchfree.change_jobs import train_given

    with show.progress() as tell:
        run = train_given(dates, files, ways=ways, out=out, training=training, tell=lambda state: tell("", state))
    show.summary(run)
    show.line(run.metrics["change"]["conformal"]["says"])
    for name, judged in run.metrics["change"].get("spreads", {}).items():
        area = judged["auroc_of_errors"]
        told = "there were no errors to tell" if area is None else f"it tells errors with an AUROC of {area:.3f}"
        show.line(f"spread.tif, {name} of {judged['answers']}: {told} at the test pixels.")


def _found(found: Changes, out: Path) -> None:
    """How much has changed."""
    held, changed = int((found.index > 0).sum()), int((found.index == 2).sum())
    for note in found.notes:
        show.line(f"Note: {note}")
    show.line(f"Changed: {changed:,} of {held:,} pixels ({found.changed_share:.2%}), by the network {found.method}.")
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
