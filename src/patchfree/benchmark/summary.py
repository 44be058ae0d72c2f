"""The results summed up: for each scene and protocol a line a method, with its spread and its difference to ours."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchfree.benchmark.statistics import Estimate, estimate, paired

if TYPE_CHECKING:
    from patchfree.benchmark.rows import Row
    from patchfree.benchmark.tasks import Task

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


def summarise(rows: Sequence[Row], task: Task, elsewhere: Sequence[Row] = ()) -> list[Group]:
    """Means, intervals and differences of rows, grouped by scene and protocol.

    Ours is the user's own method if there is one, else the task's.

    Args:
        rows: of one cell each.
        task: what they did.
        elsewhere: the same cells done again by ours on other machines, for the ratio of times to a method that ran there;
            they have no part in anything else.
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
            _line([row for row in mine if row["method"] == name], mine, ours, task, elsewhere)
            for name in names
            if any(row["method"] == name for row in mine)
        ]
        groups.append(Group(scene, mine[0]["scene_title"], protocol, ours, lines, mine))
    return groups


def _line(rows: list[Row], all_rows: list[Row], ours: str, task: Task, elsewhere: Sequence[Row]) -> Line:
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

    ratios = [
        _spent(row) / _spent(beside)
        for row in shared
        for beside in [theirs[row["seed"]], *_of_the_cell(row, elsewhere, ours)]
        if beside["processor"] == row["processor"]
    ]
    return Line(
        method=name,
        title=rows[0]["title"],
        seeds=tuple(sorted(row["seed"] for row in good)),
        measures={m.name: found for m in task.measures if (found := estimate([row[m.name] for row in good]))},
        costs={cost: median(good, cost) for cost in COSTS},
        behind={m.name: _behind(theirs, good, m.name) for m in task.measures if m.compared and compared},
        time_ratio=statistics.median(ratios) if compared and ratios else None,
        errors=errors,
        row=good[0] if good else rows[0],
    )


def _spent(row: Row) -> float:
    return float(row["train_seconds"] + row["predict_seconds"])


def _of_the_cell(row: Row, rows: Sequence[Row], method: str) -> list[Row]:
    """Those of a method that have a result for the same scene, protocol and seed."""
    cell = {name: row[name] for name in ("scene", "protocol", "seed")} | {"method": method, "error": None}
    return [other for other in rows if cell.items() <= other.items()]


def _behind(theirs: dict[int, Row], good: list[Row], measure: str) -> Estimate:
    """The paired difference of a measure over the seeds that both have, of which there is one at least."""
    found = paired({seed: row[measure] for seed, row in theirs.items()}, {row["seed"]: row[measure] for row in good})
    assert found is not None
    return found


def median(rows: Sequence[Row], column: str) -> float | None:
    """The median of a column over the rows that have it; None where none has."""
    values = [float(row[column]) for row in rows if row.get(column) is not None]
    return statistics.median(values) if values else None
