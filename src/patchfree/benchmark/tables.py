"""The results as tables: for each scene and protocol a line a method, with its spread and its difference to ours."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchfree.benchmark.statistics import Estimate, estimate, paired
from patchfree.files import write_bytes

if TYPE_CHECKING:
    from patchfree.benchmark.cell import Cell
    from patchfree.benchmark.rows import Row
    from patchfree.benchmark.tasks import Measure, Task

COSTS = (
    "train_seconds",
    "predict_seconds",
    "added_memory_bytes",
    "parameters",
    "predict_macs",
    "train_share_of_rate",
    "predict_share_of_rate",
)


@dataclass(frozen=True)
class Line:
    """What the seeds of one method came to.

    Attributes:
        method: its name.
        title: for people.
        seeds: those that have a result.
        measures: by name of the measure.
        costs: medians of the seeds by column, since a busy machine makes single ones long; None where nobody measured it.
        behind: ours less this, over the seeds that both have, by name of the measures that are compared; none for ours itself.
        time_ratio: its training and mapping time over ours, the median over seeds that one kind of machine did both of; None for ours itself.
        errors: what went wrong, each once, with its seeds.
        row: a row of it that has a result, for what does not change with the seed.
    """

    method: str
    title: str
    seeds: tuple[int, ...]
    measures: dict[str, Estimate]
    costs: dict[str, float | None]
    behind: dict[str, Estimate]
    time_ratio: float | None
    errors: dict[str, tuple[int, ...]]
    row: Row


@dataclass(frozen=True)
class Group:
    """One scene under one protocol.

    Attributes:
        scene: name of the scene.
        title: for people.
        protocol: name of the protocol.
        ours: the method that the others are compared with.
        lines: a line a method, in the order of the rows.
        rows: all its rows.
    """

    scene: str
    title: str
    protocol: str
    ours: str
    lines: list[Line]
    rows: list[Row]


def summarise(rows: Sequence[Row], task: Task) -> list[Group]:
    """Means, intervals and differences of rows, grouped by scene and protocol.

    Ours is the user's own method if there is one, else the task's.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    own = [
        name
        for name in names
        if any(row["method"] == name and row.get("own_file") and not row.get("error") for row in rows)
    ]
    groups = []
    for scene, protocol in dict.fromkeys((row["scene"], row["protocol"]) for row in rows):
        mine = [row for row in rows if (row["scene"], row["protocol"]) == (scene, protocol)]
        ours = own[0] if own else task.ours
        lines = [
            _line([row for row in mine if row["method"] == name], mine, ours, task)
            for name in names
            if any(row["method"] == name for row in mine)
        ]
        groups.append(Group(scene, mine[0]["scene_title"], protocol, ours, lines, mine))
    return groups


def _line(rows: list[Row], all_rows: list[Row], ours: str, task: Task) -> Line:
    name = rows[0]["method"]
    good = [row for row in rows if not row.get("error")]
    errors: dict[str, tuple[int, ...]] = {}
    for row in rows:
        if row.get("error"):
            errors[row["error"]] = (*errors.get(row["error"], ()), row["seed"])
    theirs = {row["seed"]: row for row in all_rows if row["method"] == ours and not row.get("error")}
    if theirs and ours in task.methods and not task.methods[ours].random:
        theirs = dict.fromkeys((row["seed"] for row in all_rows), next(iter(theirs.values())))  # one stands for all
    shared = [row for row in good if row["seed"] in theirs]
    compared = name != ours and bool(shared)

    def spent(row: Row) -> float:
        return float(row["train_seconds"] + row["predict_seconds"])

    ratios = [
        spent(row) / spent(theirs[row["seed"]])
        for row in shared
        if row["processor"] == theirs[row["seed"]]["processor"]
    ]
    return Line(
        method=name,
        title=rows[0]["title"],
        seeds=tuple(sorted(row["seed"] for row in good)),
        measures={m.name: found for m in task.measures if (found := estimate([row[m.name] for row in good]))},
        costs={cost: _median(good, cost) for cost in COSTS},
        behind={m.name: _behind(theirs, good, m.name) for m in task.measures if m.compared and compared},
        time_ratio=statistics.median(ratios) if compared and ratios else None,
        errors=errors,
        row=good[0] if good else rows[0],
    )


def _behind(theirs: dict[int, Row], good: list[Row], measure: str) -> Estimate:
    """The paired difference of a measure over the seeds that both have, of which there is one at least."""
    found = paired({seed: row[measure] for seed, row in theirs.items()}, {row["seed"]: row[measure] for row in good})
    assert found is not None
    return found


HEADINGS = (
    "train s",
    "map s",
    "time ÷ {ours}",
    "memory MB",
    "parameters, M",
    "GMAC a map",
    "of rate: train / map",
)


def cells(line: Line, task: Task) -> list[str]:
    """A line as text, one entry a column."""
    if not line.seeds:
        return [line.title, "0", *["–"] * (len(headings(task, "")) - 2)]
    costs = line.costs
    shares = [costs["train_share_of_rate"], costs["predict_share_of_rate"]]
    return [
        line.title,
        str(len(line.seeds)),
        *(spread(line.measures[m.name], m) for m in task.measures),
        *(difference(line.behind.get(m.name), m) for m in task.measures if m.compared),
        amount(costs["train_seconds"]),
        amount(costs["predict_seconds"]),
        "–" if line.time_ratio is None else amount(line.time_ratio),
        amount(costs["added_memory_bytes"], 1e-6, whole=True),
        amount(costs["parameters"], 1e-6),
        amount(costs["predict_macs"], 1e-9),
        "–" if shares[0] is None else " / ".join("–" if share is None else f"{share:.0%}" for share in shares),
    ]


def headings(task: Task, ours: str) -> list[str]:
    """What stands above the columns."""
    compared = (f"{ours} − this, {m.title.removesuffix(' %')}" for m in task.measures if m.compared)
    return [
        "method",
        "seeds",
        *(m.title for m in task.measures),
        *compared,
        *(text.format(ours=ours) for text in HEADINGS),
    ]


def table(group: Group, task: Task) -> list[list[str]]:
    """Headings, then a line a method; columns that nothing stands in are left out."""
    lines = [headings(task, group.ours), *(cells(line, task) for line in group.lines)]
    held = [any(line[column] != "–" for line in lines[1:]) for column in range(len(lines[0]))]
    return [[text for text, kept in zip(line, held, strict=True) if kept] for line in lines]


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
                by_method.setdefault(line.title, []).append((line.measures[measure.name].mean, group.title, line))
        rows = [["method", "scenes", f"{measure.title}, mean of scenes", "worst scene", "train + map s, mean"]]
        for title, results in by_method.items():
            means = [mean for mean, _, _ in results]
            worst, where, _ = min(results, key=lambda result: result[0])
            times = [
                (line.costs["train_seconds"] or 0) + (line.costs["predict_seconds"] or 0) for _, _, line in results
            ]
            shown = [f"{value * measure.factor:.{measure.digits}f}" for value in (sum(means) / len(means), worst)]
            rows.append([title, str(len(results)), shown[0], f"{shown[1]} ({where})", amount(sum(times) / len(times))])
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
            if (rate := _median(mine, name)) is not None
        ]
        product = f"; matrix product of 2048 x 2048, median over the rows: {', '.join(rates)}" if rates else ""
        said.append(f"{place[0]}; torch {place[1]}; {codes}{product}")
    return said


def _median(rows: Sequence[Row], name: str) -> float | None:
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    return statistics.median(values) if values else None


def markdown(rows: Sequence[Row], task: Task, undone: Sequence[Cell]) -> str:
    """All tables as Markdown."""
    from patchfree.benchmark.plan import cells_by_place

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
        parts.append(lines_of(table(group, task)))
        wrong = failures(group)
        parts += ["\n".join(f"- {text}" for text in wrong)] if wrong else []
    left = list(cells_by_place(list(undone)))
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
    "sampling. Differences are paired by seed. Seconds, memory and shares are medians over seeds. Memory is what training and mapping add to the program. The "
    "last column is the share of the matrix-product rate of the number type that was used, measured just after; convolutions can do better than the product."
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


def write_markdown(path: Path, rows: Sequence[Row], task: Task, undone: Sequence[Cell]) -> Path:
    """Write the tables; returns the path."""
    write_bytes(path, markdown(rows, task, undone).encode())
    return path
