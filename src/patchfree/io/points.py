"""A CSV of labelled points: row,col,class or x,y,class or lon,lat,class."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Int

from patchfree.errors import LabelError, NoGeoreference
from patchfree.io._classes import class_values
from patchfree.io._warp import warp
from patchfree.scene import Grid

COLUMNS = (("row", "col"), ("x", "y"), ("lon", "lat"))


def read_points(
    path: Path, grid: Grid, *, areas: bool = False
) -> tuple[Int[np.ndarray, "h w"], dict[int, str], list[str]]:
    """Class values (0 where there is none), class names, notes.

    `row` and `col` count from 0 at the upper left pixel; `x` and `y` are in the scene's coordinate system; `lon`
    and `lat` are degrees (WGS 84). `class` is a whole number or a name; a column `name` names numbered classes.
    Where all points are `areas` of one class, its value is 1 and no column needs to say so.
    """
    fields, rows = _table(path)
    pair = next((pair for pair in COLUMNS if set(pair) <= set(fields)), None)
    if pair is None or not (areas or "class" in fields):
        raise LabelError(
            f"{path} needs a header with the columns row,col,class or x,y,class or lon,lat,class, separated by commas; "
            f"got {','.join(fields)}."
        )
    if not rows:
        raise LabelError(f"{path} has a header but no points. Add one line a point below it, such as 12,40,meadow.")
    places = np.array([[_float(row, name, path, line) for name in pair] for line, row in enumerate(rows, 2)])
    classes, names = (np.ones(len(rows), np.int64), {}) if areas else _classes(rows, path)
    rows_cols = _pixels(places, pair, grid, path)
    inside = ((rows_cols >= 0) & (rows_cols < grid.shape)).all(1)
    notes = []
    if not inside.any():
        raise LabelError(
            f"All {len(rows)} points of {path.name} lie outside the scene of {grid.height} rows and {grid.width} columns "
            f"(first point: row {rows_cols[0, 0]}, column {rows_cols[0, 1]}). Check the columns and the coordinate system."
        )
    if not inside.all():
        notes.append(f"{(~inside).sum()} of {len(rows)} points of {path.name} lie outside the scene.")
    values = np.zeros(grid.shape, np.int64)
    torn = set()
    for (row, col), value in zip(rows_cols[inside], classes[inside], strict=True):
        if values[row, col] not in (0, value):
            torn.add((int(row), int(col)))
        values[row, col] = value
    for row, col in torn:
        values[row, col] = 0
    if torn:
        notes.append(f"{len(torn)} pixels hold points of two classes and were left unlabelled.")
    return values, names, notes


def _table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Names of the columns in lower case, and the rows."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            fields = [(name or "").strip().lower() for name in reader.fieldnames or []]
            return fields, [
                dict(zip(fields, (value or "" for value in record.values()), strict=False)) for record in reader
            ]
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is not written in UTF-8 ({error.reason}); save it as CSV UTF-8.") from None


def _float(row: dict[str, str], name: str, path: Path, line: int) -> float:
    try:
        value = float(row.get(name) or "")
        if not np.isfinite(value):
            raise ValueError
        return value
    except ValueError:
        raise LabelError(f"{path}, line {line}: '{name}' must be a number, got {row.get(name)!r}.") from None


def _classes(rows: list[dict[str, str]], path: Path) -> tuple[Int[np.ndarray, " n"], dict[int, str]]:
    texts = [(row.get("class") or "").strip() for row in rows]
    empty = [line for line, text in enumerate(texts, 2) if not text]
    if empty:
        raise LabelError(f"{path}, line {empty[0]}: the class is empty.")
    values, numbered = class_values(texts, path.name)
    given = {v: row.get("name", "").strip() for v, row in zip(values, rows, strict=True) if v is not None}
    return np.array(values), numbered or {value: name for value, name in given.items() if name}


def _pixels(places: np.ndarray, pair: tuple[str, str], grid: Grid, path: Path) -> Int[np.ndarray, "n 2"]:
    if pair == ("row", "col"):
        if (places != np.rint(places)).any():
            raise LabelError(f"{path}: row and col must be whole numbers counted from 0; use x,y for map coordinates.")
        return places.astype(int)
    if grid.transform is None or (pair == ("lon", "lat") and grid.crs is None):
        raise NoGeoreference(
            f"{path.name} gives {','.join(pair)}, but the scene is not georeferenced. Give row,col,class instead."
        )
    if pair == ("lon", "lat") and grid.crs is not None:
        places = warp(places, "EPSG:4326", grid.crs, path.name)
    x, y = places.T
    a, b, c, d, e, f = grid.transform
    cols, rows = np.linalg.solve([[a, b], [d, e]], [x - c, y - f])
    return np.floor(np.column_stack([rows, cols])).astype(int)
