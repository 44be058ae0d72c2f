"""Lists of files: scenes with their labels, pairs with their masks, and what each line is for.

A list is a text file with a line for each scene. The first line names the columns; where it names files that are there, the columns
are in their usual order.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from patchfree.errors import ConfigError

SCENES: dict[str, tuple[str, ...]] = {"scene": ("scene", "image"), "labels": ("labels", "label", "mask")}
"""Columns of a list of scenes, and the names that they may have."""

Use = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Pair:
    """A line of a list of scenes.

    Attributes:
        scene: path of the scene.
        labels: path of its labels.
        use: what its labels are for; None to split them like the labels of one scene.
    """

    scene: str
    labels: str
    use: Use | None


def read_pairs(path: str | Path) -> list[Pair]:
    """A list of scenes: lines of a scene and its labels, and if wanted their `use` (train, validation or test).

    Files are looked for beside the list.

    Raises:
        ConfigError: columns or entries are missing.
    """
    return [Pair(row["scene"], row["labels"], row["use"]) for row in read_list(path, SCENES, what="scenes")]


def read_list(path: str | Path, columns: Mapping[str, tuple[str, ...]], *, what: str) -> list[dict[str, Any]]:
    """A table of files, and if it has a column `use`, what each line is for.

    Args:
        path: the table: cells apart by commas, or by blanks or tabs where its first line has no comma.
        columns: the columns that it must have, each with the names that it may have there. The first line may be left out where
            they come in this order, and `use` behind them.
        what: it is a list of, for messages.

    Returns:
        For each line the paths by column, looked for beside the table, and `use`: train, validation, test or None.

    Raises:
        ConfigError: columns or entries are missing.
    """
    path = Path(path)
    try:
        table = _cells(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a list of {what}: {error}.") from error
    header, first = _header(table), 2
    if _all_there(path, table, len(columns)):
        header, first = [*columns, "use"], 1
    else:
        table = table[1:]
    names = {kind: next((n for n in given if n in header), None) for kind, given in columns.items()}
    if None in names.values() or not table:
        raise ConfigError(
            f"{path} is no list of {what}; need a first line `{','.join(columns)}` and a line for each of the {what} with its files."
        )
    found: list[dict[str, Any]] = []
    for number, cells in enumerate(table, first):
        row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        for kind, name in names.items():
            if not row[name or ""]:
                raise ConfigError(f"Line {number} of {path} lacks the {kind}.")
        use = row.get("use", "").lower() or None
        if use not in (None, "train", "validation", "test"):
            raise ConfigError(f"Line {number} of {path} has the use {use!r}; need train, validation, test or nothing.")
        files: dict[str, Any] = {kind: _beside(path, row[name or ""]) for kind, name in names.items()}
        found.append(files | {"use": use})
    given = [row["use"] is not None for row in found]
    if any(given) and not all(given):
        raise ConfigError(
            f"Some lines of {path} say what they are for and others do not; fill the column `use` or drop it."
        )
    return found


def is_list(path: str | Path) -> bool:
    """True for a table of scenes with their labels."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".txt") or not path.is_file():
        return False
    try:
        table = _cells(path, most=1)
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    named = all(set(_header(table)) & set(names) for names in SCENES.values())
    return named or _all_there(path, table, len(SCENES))


def _cells(path: Path, most: int | None = None) -> list[list[str]]:
    """The cells of each line that has any."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in file if line.strip()][:most]
    split = csv.reader(lines) if lines and "," in lines[0] else (line.split() for line in lines)
    return [[cell.strip() for cell in cells] for cells in split]


def _header(table: list[list[str]]) -> list[str]:
    """The first line as names of columns."""
    return [name.lower() for name in table[0]] if table else []


def _all_there(path: Path, table: list[list[str]], files: int) -> bool:
    """Whether the first line holds files that exist, and so no names of columns."""
    if not table or not files <= len(table[0]) <= files + 1:
        return False
    return all(_exists(file) or Path(file).exists() for file in (_beside(path, cell) for cell in table[0][:files]))


def _beside(table: Path, entry: str) -> str:
    """The path as written if something is there, else the one beside the table."""
    return entry if _exists(entry) else str(table.parent / entry)


def _exists(entry: str) -> bool:
    """Whether the file of a path is there; a path may end in :variable."""
    return Path(entry.rpartition(":")[0] or entry).exists()
