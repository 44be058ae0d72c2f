"""What the command line prints: facts, accuracies, progress. Results go to standard output, the rest to standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchfree.progress import Progress
    from patchfree.run import Run
    from patchfree.scene import Scene

PHASES = {
    "estimate": "training",
    "refit": "training on all labels",
    "map": "mapping",
    "report": "writing the report",
    "suppress": "suppressing the background",
    "background": "learning the background",
    "compare": "comparing the dates",
    "score": "scoring",
}


def line(text: str) -> None:
    """A line of the result."""
    sys.stdout.write(text + "\n")


def error(text: str) -> None:
    """Why it did not work."""
    sys.stderr.write(f"Error: {text}\n")


def scene_facts(scene: Scene) -> dict[str, Any]:
    """What `patchfree info` says of a scene: plain values for JSON."""
    import numpy as np

    from patchfree.ground import crs_name, crs_units, pixel_metres

    values = scene.values[:, scene.valid]
    wavelengths = scene.wavelengths_nm
    grid = scene.grid
    metres = pixel_metres(grid)
    facts: dict[str, Any] = {
        "name": scene.name,
        **scene.details,
        "rows": grid.height,
        "columns": grid.width,
        "bands_in_file": scene.bands.total,
        "bands_used": len(scene.bands),
        "band_numbers": list(scene.bands.numbers),
        "wavelengths_nm": None if wavelengths is None else [float(v) for v in wavelengths],
        "fwhm_nm": None if scene.bands.fwhm_nm is None else list(scene.bands.fwhm_nm),
        "wavelengths_increasing": None if wavelengths is None else bool((np.diff(wavelengths) > 0).all()),
        "crs": grid.crs,
        "crs_name": crs_name(grid),
        "crs_units": crs_units(grid),
        "transform": None if grid.transform is None else list(grid.transform),
        "pixel_size": None if grid.pixel_size is None else list(grid.pixel_size),
        "pixel_size_m": None if metres is None else list(metres),
        "pixels_with_data": int(scene.valid.sum()),
        "pixels": int(scene.valid.size),
        "value_min": float(values.min()),
        "value_max": float(values.max()),
        "value_mean": float(values.mean(dtype=float)),
        "memory_bytes": int(scene.values.nbytes),
        "notes": list(scene.notes),
    }
    return facts


def facts(found: dict[str, Any]) -> None:
    """The facts of a scene for people."""
    from rich.table import Table

    def ranged(values: Sequence[float] | None) -> str:
        return "not stated" if values is None else f"{min(values):.1f} to {max(values):.1f} nm"

    def each(values: Any, unstated: str) -> str:  # noqa: ANN401 - one number for all bands, or one a band
        if not isinstance(values, list):
            return unstated if values is None else str(values)
        different = list(dict.fromkeys("none" if v is None else f"{v:.6g}" for v in values))
        return f"{', '.join(different[:3])}{', ...' if len(different) > 3 else ''} (differs between bands)"

    size, metres = found["pixel_size"], found["pixel_size_m"]
    units = found["crs_units"]
    about = "" if metres is None or units == "m" else f", about {metres[1]:.3g} x {metres[0]:.3g} m"
    about += _turned(found["transform"])
    rows = {
        "format": f"{found['format']}, {found['dtype']}"
        + (f", variable {found['variable']}" if found.get("variable") else ""),
        "size": f"{found['rows']} rows x {found['columns']} columns",
        "bands": f"{found['bands_used']} used of {found['bands_in_file']}",
        "wavelengths": ranged(found["wavelengths_nm"])
        + ("" if found["wavelengths_increasing"] is not False else ", not increasing"),
        "coordinate system": found["crs_name"] or "none",
        "pixel size": "unknown" if size is None else f"{size[1]:g} x {size[0]:g} {units}{about}",
        "pixels with data": f"{found['pixels_with_data']:,} of {found['pixels']:,}",
        "nodata": each(found.get("nodata"), "none stated"),
        "scale": each(found.get("scale"), "1")
        + ("" if found.get("offset") is None else f", offset {each(found['offset'], '0')}"),
        "values used": f"{found['value_min']:.6g} to {found['value_max']:.6g}, mean {found['value_mean']:.6g}",
        "in memory": f"{found['memory_bytes'] / 1e6:,.1f} MB",
    } | {f"map: {key.replace('_', ' ')}": text for key, text in found.get("origin", {}).items()}
    table = Table(title=found["name"], show_header=False, box=None, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, str(value))
    _console().print(table)
    for note in found["notes"]:
        line(f"  - {note}")


def _turned(transform: Sequence[float] | None) -> str:
    """How far the rows of a grid are turned from the east, counterclockwise, for those that are."""
    if transform is None or transform[1] == transform[3] == 0:
        return ""
    return f", turned by {math.degrees(math.atan2(transform[3], transform[0])):.4g} degrees"


def accuracy(found: dict[str, Any]) -> None:
    """Accuracies for people."""
    from rich.table import Table

    from patchfree.labels import class_title

    if not found["pixels"]:
        line("No reference pixel lies on the map.")
        return

    def span(values: Sequence[float] | None) -> str:
        return "" if values is None else f" ({values[0] * 100:.1f} to {values[1] * 100:.1f})"

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value * 100:.1f}"

    table = Table(box=None)
    for title in ("class", "reference px", "producer's acc. %", "user's acc. %", "F1 %", "IoU %"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for entry in found["per_class"]:
        table.add_row(
            class_title(entry["value"], entry["name"]),
            str(entry["support"]),
            share(entry["recall"]) + span(entry["recall_interval"]),
            share(entry["precision"]) + span(entry["precision_interval"]),
            share(entry["f1"]),
            share(entry["iou"]),
        )
    _console().print(table)
    intervals = found["intervals"]
    for title, key in (("Overall accuracy", "overall_accuracy"), ("Average accuracy", "average_accuracy")):
        line(f"{title}: {share(found[key])} %{span(intervals[key])}")
    kappa, low_high = found["kappa"], intervals["kappa"]
    tail = "" if low_high is None else f" ({low_high[0]:.3f} to {low_high[1]:.3f})"
    line(f"Kappa: {'-' if kappa is None else f'{kappa:.3f}'}{tail}")
    line(f"{found['pixels']} reference pixels; 95 % intervals in brackets by {intervals['method']}.")
    if found["unmapped_pixels"]:
        line(f"{found['unmapped_pixels']} of them are not mapped and count as wrong.")
    for caution in found.get("cautions", ()):
        line(f"Caution: {caution}")
    if "design" in found:
        _design(found["design"])
    elif "design_of_reference" in found:
        line(
            "These describe the reference pixels only. If they are a random sample drawn within each class of this map, pass "
            "--design stratified for the accuracy and area of the whole map."
        )


def _design(design: dict[str, Any]) -> None:
    from rich.table import Table

    from patchfree.labels import class_title

    z = design["half_interval_in_standard_errors"]

    def pair(found: dict[str, float | None], factor: float = 100.0, digits: int = 1) -> str:
        value, error = found["value"], found["standard_error"]
        if value is None:
            return "-"
        tail = "" if error is None else f" ± {error * factor * z:,.{digits}f}"
        return f"{value * factor:,.{digits}f}{tail}"

    table = Table(box=None)
    for title in ("class", "sample px", "user's acc. %", "producer's acc. %", f"area [{design['area_unit']}]"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for entry in design["per_class"]:
        table.add_row(
            class_title(entry["value"], entry["name"]),
            str(entry["sample_pixels"]),
            pair(entry["users_accuracy"]),
            pair(entry["producers_accuracy"]),
            pair(entry["area"], 1.0, 0),
        )
    line(f"\nWhole map, {design['method']}; ± is half a 95 % interval:")
    _console().print(table)
    line(f"Overall accuracy: {pair(design['overall_accuracy'])} %")


def mapped(note: str, notes: Sequence[str], written: dict[str, Path | None]) -> None:
    """Which files a map came to, how its bands were matched with the run's, and what the scene's reader said."""
    if note:
        line(note)
    for each in notes:
        line(f"Note: {each}")
    for title, file in written.items():
        if file:
            line(f"{title}: {file}")


def summary(run: Run) -> None:
    """What a training came to."""
    from patchfree.run import SCENES
    from patchfree.scene import MASK_NOTES

    test, folder = run.metrics["test"], run.folder
    protocol = run.metrics["protocol"]
    counts, kind = protocol["counts"], protocol["split"].get("kind")
    hows = {"blocks": "spatially separate blocks", "random": "random pixels, optimistic", "scenes": "separate scenes"}
    how = hows.get(kind, "given files")
    line(f"{counts['train']:,} pixels trained, {counts['validation']:,} validated, {counts['test']:,} tested ({how}).")
    if test["pixels"]:
        accuracy(test)
        for control in run.metrics["controls"]:
            difference = control["overall_accuracy_difference"]
            low_high = difference["interval"]
            tail = "" if low_high is None else f", 95 % interval {low_high[0] * 100:+.1f} to {low_high[1] * 100:+.1f}"
            line(
                f"{control['title']} on the same pixels: overall accuracy {control['overall_accuracy'] * 100:.1f} %, average "
                f"{control['average_accuracy'] * 100:.1f} % (ours {difference['value'] * 100:+.1f} points{tail})."
            )
    masks = run.metrics["scene"].get(MASK_NOTES, [])
    for note in [*masks, *run.metrics["labels"]["notes"], *protocol["notes"]]:
        line(f"Note: {note}")
    for one in run.metrics["scenes"]:
        found = one["test"]["overall_accuracy"]
        line(
            f"{one['name']}: {one['counts']['train']:,} pixels trained, {one['counts']['test']:,} tested"
            + ("." if found is None else f", overall accuracy {found * 100:.1f} %.")
        )
    if folder:
        maps = [folder / SCENES / one["name"] / "map.tif" for one in run.metrics["scenes"]] or [folder / "map.tif"]
        line("\n".join([*(f"Map: {path}" for path in maps), f"Report: {folder / 'report.html'}"]))


def demo_summary(run: Run, random_folders: Sequence[Path]) -> None:
    """What the demo came to: both protocols."""
    from statistics import fmean

    from patchfree.run import load_run

    others = [load_run(folder).metrics for folder in random_folders]

    def share(found: Sequence[float]) -> str:
        return f"{fmean(found) * 100:.2f} %"

    values = [m["test"]["overall_accuracy"] for m in others]
    svm = [c["overall_accuracy"] for m in others for c in m["controls"][:1]]
    line(
        f"Random {others[0]['protocol']['split']['fraction']:.0%} of each class (optimistic): overall accuracy {share(values)} over seeds "
        f"{', '.join(str(m['protocol']['seed']) for m in others)}"
        + (f"; {others[0]['controls'][0]['title']}: {share(svm)}." if svm else ".")
    )
    test = run.metrics["test"]
    control = run.metrics["controls"][:1]
    line(
        f"Spatially separate blocks: overall accuracy {share([test['overall_accuracy']])}, average {share([test['average_accuracy']])}"
        + (
            f"; {control[0]['title']}: {share([control[0]['overall_accuracy']])}, average {share([control[0]['average_accuracy']])}."
            if control
            else "."
        )
    )
    seconds = sum(m["seconds"].get(key, 0) for m in [*others, run.metrics] for key in ("train", "refit"))
    line(f"Training took {seconds:.0f} s in all.")
    if run.folder:
        line(f"Map: {run.folder / 'map.tif'}\nReport: {run.folder / 'report.html'}")


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str, Progress], None]]:
    """A bar with loss, validation accuracy and time left; single lines where there is no terminal; nothing if quiet."""
    if quiet:
        yield lambda name, state: None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress()
        return
    columns = (
        rich_progress.TextColumn("{task.description:<44}"),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        rich_progress.TextColumn("{task.fields[note]}"),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("left"),
        rich_progress.TimeRemainingColumn(),
    )
    tasks: dict[tuple[str, str], Any] = {}
    with rich_progress.Progress(*columns, console=console) as bars:

        def tell(name: str, state: Progress) -> None:
            key = (name, state.phase)
            if key not in tasks:
                for other in tasks.values():
                    bars.stop_task(other)
                    if not bars.tasks[other].finished:
                        bars.update(other, completed=bars.tasks[other].total)
                tasks[key] = bars.add_task(_title(*key), total=state.total, note="")
            bars.update(tasks[key], completed=state.done, note=_note(state))

        yield tell


def _plain_progress() -> Callable[[str, Progress], None]:
    seen: set[tuple[str, str, int]] = set()

    def tell(name: str, state: Progress) -> None:
        tenth = 10 * state.done // state.total if state.total > 1 else 0  # a single step is said when it begins
        key = (name, state.phase, tenth)
        if key not in seen:
            seen.add(key)
            count = f" {state.done}/{state.total}" if state.total > 1 else ""
            sys.stderr.write(f"{_title(name, state.phase)}{count} {_note(state)}".rstrip() + "\n")

    return tell


def _title(name: str, phase: str) -> str:
    return f"{name + ': ' if name else ''}{PHASES.get(phase, phase)}"


def _note(state: Progress) -> str:
    parts = []
    if state.loss is not None:
        parts.append(f"loss {state.loss:.3f}")
    if state.validation_accuracy is not None:
        parts.append(f"validation {state.validation_accuracy:.1%}")
    return "  ".join(parts)


def _console() -> Any:  # noqa: ANN401 - rich is loaded on use
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120
    return Console(file=sys.stdout, width=width, markup=False, emoji=False)  # names may hold [brackets] and :colons:
