"""The results as tables: for each scene and protocol one of accuracies and one of costs, a line a method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchfree.benchmark.machine import SIDE
from patchfree.benchmark.statistics import Estimate
from patchfree.benchmark.summary import Group, Line, median, summarise
from patchfree.files import write_bytes

if TYPE_CHECKING:
    from patchfree.benchmark.cell import Cell
    from patchfree.benchmark.rows import Row
    from patchfree.benchmark.tasks import Measure, Task


def tables(group: Group, task: Task) -> list[list[list[str]]]:
    """What stands of one scene under one protocol: how accurate each method is, and what it costs.

    A table is its headings and a line a method; columns that nothing stands in are left out, and so is a table without
    any. Methods that only failed have no costs.
    """
    found = (_accuracy_table(group, task), _cost_table(group))
    return [kept for table in found if len((kept := _held(table))[0]) > 1]


def _accuracy_table(group: Group, task: Task) -> list[list[str]]:
    compared = [m for m in task.measures if m.compared]
    lines = [["method", "seeds", *(m.title for m in task.measures)]]
    lines[0] += [f"{group.ours} − this, {m.title.removesuffix(' %')}" for m in compared]
    for line in group.lines:
        spreads = [spread(line.measures[m.name], m) if line.seeds else "–" for m in task.measures]
        behind = [difference(line.behind.get(m.name), m) for m in compared]
        lines.append([line.title, str(len(line.seeds)), *spreads, *behind])
    return lines


def _cost_table(group: Group) -> list[list[str]]:
    lines = [["method", "train s", "map s", f"time ÷ {group.ours}", "memory MB"]]
    lines[0] += ["parameters, M", "GMAC a map", "share of rate: train / map"]
    for line in group.lines:
        if not line.seeds:
            continue
        costs = line.costs
        shares = [costs["train_share_of_rate"], costs["predict_share_of_rate"]]
        lines.append(
            [
                line.title,
                amount(costs["train_seconds"]),
                amount(costs["predict_seconds"]),
                amount(line.time_ratio),
                amount(costs["added_memory_bytes"], 1e-6, whole=True),
                amount(costs["parameters"], 1e-6),
                amount(costs["predict_macs"], 1e-9),
                "–"
                if shares == [None, None]
                else " / ".join("–" if share is None else f"{share:.0%}" for share in shares),
            ]
        )
    return lines


def _held(table: list[list[str]]) -> list[list[str]]:
    """A table without the columns that nothing stands in."""
    held = [column == 0 or any(line[column] != "–" for line in table[1:]) for column in range(len(table[0]))]
    return [[text for text, kept in zip(line, held, strict=True) if kept] for line in table]


def overview(groups: Sequence[Group], task: Task) -> list[list[str]]:
    """Every method in every group: headings, then a line a method with its first measure; none for a single group."""
    if len(groups) < 2:
        return []
    measure, titles = task.measures[0], {line.method: line.title for group in groups for line in group.lines}
    found = {(line.method, number): line for number, group in enumerate(groups) for line in group.lines if line.seeds}

    def cell(method: str, number: int) -> str:
        line = found.get((method, number))
        return "–" if line is None else spread(line.measures[measure.name], measure).partition(" [")[0]

    head = [
        f"{measure.title}, mean ± standard deviation",
        *(f"{g.title}: {task.protocol_title(g.protocol)}" for g in groups),
    ]
    return [head, *([title, *(cell(method, i) for i in range(len(groups)))] for method, title in titles.items())]


def over_scenes(groups: Sequence[Group], task: Task) -> list[tuple[str, list[list[str]]]]:
    """For each protocol with several scenes its title and a table: each method's mean and worst scene, of the first measure.

    A method counts with the scenes that it has a result on; their number stands beside it.
    """
    measure, found = task.measures[0], []
    for protocol in dict.fromkeys(group.protocol for group in groups):
        mine = [group for group in groups if group.protocol == protocol]
        if len(mine) < 2:
            continue
        by_method: dict[str, list[tuple[float, str, Line]]] = {}
        for group in mine:
            for line in filter(lambda line: line.seeds, group.lines):
                by_method.setdefault(line.method, []).append((line.measures[measure.name].mean, group.title, line))
        rows = [["method", "scenes", f"{measure.title}, mean of scenes", "worst scene", "train + map s, mean"]]
        for results in by_method.values():
            means = [mean for mean, _, _ in results]
            worst, where, line = min(results, key=lambda result: result[0])
            times = [
                (each.costs["train_seconds"] or 0) + (each.costs["predict_seconds"] or 0) for _, _, each in results
            ]
            shown = [f"{value * measure.factor:.{measure.digits}f}" for value in (sum(means) / len(means), worst)]
            rows.append(
                [line.title, str(len(results)), shown[0], f"{shown[1]} ({where})", amount(sum(times) / len(times))]
            )
        found.append((f"All scenes: {task.protocol_title(protocol)}", rows))
    return found


def summaries(groups: Sequence[Group], task: Task) -> list[tuple[str, list[list[str]]]]:
    """What stands above the groups: title and table of the overview, and of each protocol over its scenes."""
    all_of_it = overview(groups, task)
    return [("Overview", all_of_it)] * bool(all_of_it) + over_scenes(groups, task)


def spread(found: Estimate, measure: Measure) -> str:
    """Mean ± deviation [interval]."""
    f, d = measure.factor, measure.digits
    text = f"{found.mean * f:.{d}f}"
    if found.std is None or found.low is None or found.high is None:
        return text
    low, high = max(found.low, measure.least), min(found.high, 1.0)
    return f"{text} ± {found.std * f:.{d}f} [{low * f:.{d}f}, {high * f:.{d}f}]"


def difference(found: Estimate | None, measure: Measure) -> str:
    """Mean difference with its interval, in points."""
    if found is None:
        return "–"
    f, d = measure.factor, measure.digits
    text = f"{found.mean * f:+.{d}f}"
    return (
        text if found.low is None or found.high is None else f"{text} [{found.low * f:+.{d}f}, {found.high * f:+.{d}f}]"
    )


def amount(value: float | None, factor: float = 1.0, *, whole: bool = False) -> str:
    """A figure with three significant digits, or whole with thousands apart."""
    if value is None:
        return "–"
    value *= factor
    return f"{value:,.0f}" if whole or abs(value) >= 100 else f"{value:.3g}"


def facts(group: Group) -> list[str]:
    """What a reader must know of a group, one sentence each."""
    row = next((row for row in group.rows if not row.get("error")), None)
    if row is None:
        return []
    counts = [
        f"{row[name]:,.0f}"
        for name in ("train_pixels", "validation_pixels", "test_pixels")
        if row.get(name) is not None
    ]
    said = []
    if len(counts) == 3:
        said.append(
            f"Seed {row['seed']}: {counts[0]} training, {counts[1]} validation and {counts[2]} test pixels; {row['classes_tested']:.0f} of {row['classes']:.0f} classes tested."
        )
    if row.get("anomalous_pixels") is not None:
        said.append(
            f"{row['anomalous_pixels']:,.0f} of {row['pixels']:,.0f} pixels are anomalous, in {row['anomalies']:,.0f} objects."
        )
    if row.get("optimistic"):
        said.append(
            "Test pixels lie among the training pixels: the accuracy is optimistic and says little about places without labels."
        )
    elif row.get("min_distance_px") is not None:
        said.append(
            f"From a test pixel to the nearest training pixel: at least {row['min_distance_px']:g} px, {row['median_distance_px']:g} px in the "
            f"median; {row['share_inside_receptive_field']:.0%} of the test pixels have one as near as our default network looks, its smoothing "
            "included."
        )
    if group.protocol == "official":
        said.append(
            "The split is given: seeds differ in weights and sampling only, and the intervals say nothing of other places."
        )
    own = {row["processor"] for row in group.rows if row["method"] == group.ours}
    others: dict[str, dict[str, None]] = {}  # titles in the order of the rows
    for row in group.rows:
        if own and row["processor"] not in own and not row.get("error"):
            others.setdefault(row["processor"], {})[row["title"]] = None
    said += [
        f"On another machine than {group.ours} ({place}): {', '.join(titles)}. Their seconds do not compare; “time ÷ {group.ours}”, "
        "where it is given, is of one machine."
        for place, titles in others.items()
    ]
    return said


def machine(rows: Sequence[Row]) -> list[str]:
    """Where and by what code the rows were made, each machine once."""
    said = []
    for place in dict.fromkeys((row["processor"], row["torch"]) for row in rows):
        mine = [row for row in rows if (row["processor"], row["torch"]) == place]
        versions = ", ".join(dict.fromkeys(f"patchfree {row['version']}" for row in mine))
        commits = ", ".join(dict.fromkeys(row["commit"] for row in mine if row.get("commit")))
        codes = f"{versions} ({'commits' if ',' in commits else 'commit'} {commits})" if commits else versions
        rates = [
            f"{name.removeprefix('rate_')} {rate / 1e9:,.0f} GFLOP/s"
            for name in ("rate_float32", "rate_bfloat16")
            if (rate := median(mine, name)) is not None
        ]
        side = SIDE[str(mine[0]["device"]).partition(":")[0]]
        product = f"; matrix product of {side} x {side}, median over the rows: {', '.join(rates)}" if rates else ""
        said.append(f"{place[0]}; torch {place[1]}; {codes}{product}")
    return said


def markdown(rows: Sequence[Row], task: Task, undone: Sequence[Cell]) -> str:
    """All tables as Markdown."""
    dates = sorted({row["date"] for row in rows})
    parts = [
        f"# Benchmark: {task.title}",
        " to ".join(dict.fromkeys((dates[0], dates[-1]))) + ". " + ". ".join(machine(rows)) + ".",
    ]
    parts += [EXPLAINED, *cut_short(rows)]
    groups = summarise(rows, task)
    for title, lines in summaries(groups, task):
        parts += [f"## {title}", lines_of(lines)]
    for group in groups:
        parts += [f"## {group.title}: {task.protocol_title(group.protocol)}", " ".join(facts(group))]
        parts += [lines_of(lines) for lines in tables(group, task)]
        wrong = failures(group)
        parts += ["\n".join(f"- {text}" for text in wrong)] if wrong else []
    left = list(cells_by_place(undone))
    if left:
        parts += ["## Not done for lack of time", "\n".join(f"- {text}" for text in left)]
    return "\n\n".join(part for part in parts if part) + "\n"


def lines_of(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first line above."""
    head, *rest = lines
    whole = [head, ["---", *["---:"] * (len(head) - 1)], *rest]
    return "\n".join(f"| {' | '.join(entry.replace('|', '/') for entry in line)} |" for line in whole)


EXPLAINED = (
    "Mean ± standard deviation [95 % interval of the mean] over seeds; a seed is another split (unless the split is given), other weights, another "
    "sampling. Differences are paired by seed. Seconds, memory and shares are medians over seeds. Memory is what training and mapping add to the program. "
    "Share of rate: operations a second, over those of a matrix product of the same number type, measured just after; convolutions can do better than it."
)


def cut_short(rows: Sequence[Row]) -> list[str]:
    """That networks were not trained as they should be, if so."""
    steps = sorted({int(row["steps_given"]) for row in rows if row.get("steps_given") is not None})
    if not steps:
        return []
    text = " or ".join(map(str, steps))
    return [f"**Networks were cut to {text} steps, to try things out: their figures are no results.**"]


def failures(group: Group) -> list[str]:
    """What went wrong in a group, one sentence each; what hit every method alike is said once."""
    by_error: dict[str, list[Line]] = {}
    for line in group.lines:
        for error in line.errors:
            by_error.setdefault(error, []).append(line)
    said = []
    for error, where in by_error.items():
        seeds = sorted({seed for line in where for seed in line.errors[error]})
        who = "Every method" if len(where) == len(group.lines) > 1 else ", ".join(line.title for line in where)
        said.append(f"{who}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: {error}")
    return said


def cells_by_place(cells: Sequence[Cell]) -> Iterator[str]:
    """Scene, protocol and method of cells, one line each, with their seeds."""
    places: dict[tuple[str, str, str], list[int]] = {}
    for cell in cells:
        places.setdefault((cell.scene.title, cell.protocol, cell.method), []).append(cell.seed)
    for (scene, protocol, method), seeds in places.items():
        yield f"{scene}, {protocol}, {method}: seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def write_markdown(path: Path, rows: Sequence[Row], task: Task, undone: Sequence[Cell]) -> Path:
    """Write the tables; returns the path."""
    write_bytes(path, markdown(rows, task, undone).encode())
    return path
