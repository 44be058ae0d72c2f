"""The rows of a comparison as a tidy CSV: a row a cell, a column a variable."""

from __future__ import annotations

import contextlib
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchfree.errors import ConfigError
from patchfree.files import write_bytes

if TYPE_CHECKING:
    from patchfree.benchmark.tasks import Task

Row = dict[str, Any]
KEY = ("task", "scene", "protocol", "seed", "method")
TEXT = {
    "task",
    "scene",
    "scene_title",
    "protocol",
    "method",
    "title",
    "commit",
    "version",
    "torch",
    "request",
    "settings",
    "picture",
    "scene_pictures",
    "processor",
    "error",
}


def place(row: Row) -> tuple[Any, ...]:
    """What a row is of: two rows of one place are two answers to one question."""
    return (*(row[name] for name in KEY), row.get("steps_given"), str(row["device"]).partition(":")[0])


def read_rows(path: Path) -> list[Row]:
    """The rows of a table written by `write_rows`; none if there is no file.

    Raises:
        ConfigError: it is no such table.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not {*KEY, "request"} <= rows[0].keys():
        raise ConfigError(
            f"{path} is no table of a benchmark: it has the columns {', '.join(rows[0])}. Choose another --out."
        )
    return [{name: _value(name, text) for name, text in row.items()} for row in rows]


def _value(name: str, text: str) -> Any:  # noqa: ANN401 - what the column holds
    if not text:
        return None
    if name in ("optimistic", "own_file"):
        return text == "True"
    if name in TEXT:
        return text
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def write_rows(path: Path, rows: list[Row], task: Task) -> None:
    """The table: one row for each cell, one column for each variable, in a steady order."""
    first = [*KEY, *(m.name for m in task.measures), "train_seconds", "predict_seconds", "added_memory_bytes", "error"]
    columns = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    place = {name: i for i, name in enumerate(dict.fromkeys(row["method"] for row in rows))}
    for row in sorted(rows, key=lambda r: (r["scene"], r["protocol"], place[r["method"]], r["seed"])):
        writer.writerow({name: row.get(name) for name in columns})
    write_bytes(path, text.getvalue().encode())
