"""The whole comparison: every method on every split of every scene, resumed where it was left."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from patchfree import __version__
from patchfree.benchmark.cell import Cell, OutOfTime, run_cell
from patchfree.benchmark.machine import processor
from patchfree.benchmark.method import Method
from patchfree.benchmark.plan import Plan, cells_of
from patchfree.benchmark.rows import Row, place, read_rows, write_rows
from patchfree.benchmark.sources import digest
from patchfree.files import exclusive
from patchfree.progress import Progress


@dataclass(frozen=True)
class Outcome:
    """What a call came to.

    Attributes:
        rows: all rows that belong to the plan, old and new.
        undone: cells that there was no time for.
        files: what was written: CSV, Markdown, HTML.
    """

    rows: list[Row]
    undone: list[Cell]
    files: list[Path]


def run_benchmark(plan: Plan, progress: Callable[[str, Progress], None] | None = None) -> Outcome:
    """Do all cells of a plan that are not done yet, then write the tables.

    A method that fails is a row with its error; it is tried again by the next call.

    Raises:
        ConfigError: a scene, protocol, method or setting is not there, or out of range; nothing was done.
        RunError: another process is at work in the folder.
    """
    from patchfree.benchmark.page import write_page
    from patchfree.benchmark.tables import write_markdown

    tell = progress or (lambda _, __: None)
    task, cells, methods = cells_of(plan)
    with exclusive(plan.out):
        path = plan.out / f"{plan.task}.csv"
        rows = read_rows(path)
        done = {row["request"]: row for row in rows if not row.get("error")}
        inputs = {
            scene.name: task.inputs(scene, plan.folder) for scene in {c.scene.name: c.scene for c in cells}.values()
        }
        requests = [_request(cell, methods[cell.method], inputs[cell.scene.name].digest) for cell in cells]
        # As they are called today: names and titles do not make a row another.
        titles = {
            request: {"title": methods[cell.method].title, "scene_title": cell.scene.title}
            for cell, request in zip(cells, requests, strict=True)
        }
        todo = [
            (_with_pictures(cell, request, inputs[cell.scene.name].digest), request)
            for cell, request in zip(cells, requests, strict=True)
            if request not in done
        ]
        deadline = None if plan.minutes is None else time.monotonic() + 60 * plan.minutes
        undone: list[Cell] = []

        def finish() -> Outcome:
            mine = [row | titles[row["request"]] for row in rows if row["request"] in titles]
            files = [path] if path.is_file() else []
            if mine:
                files.append(write_markdown(plan.out / f"{plan.task}.md", mine, task, undone))
                page = plan.out / f"{plan.task}.html"
                classes = {name: read.classes for name, read in inputs.items()}
                files.append(write_page(page, mine, task, undone, plan.out / "pictures", classes))
            return Outcome(mine, undone, files)

        for number, (cell, request) in enumerate(todo):
            tell("benchmark", Progress("cells", number, len(todo)))
            if deadline is not None and time.monotonic() + _expected(rows, cell) > deadline:
                undone.append(cell)
                continue
            name = f"{cell.scene.title}, {cell.protocol}, seed {cell.seed}: {cell.name}"
            try:
                found = run_cell(cell, partial(tell, name), deadline=deadline)
            except OutOfTime:
                undone.append(cell)
                continue
            except KeyboardInterrupt:
                undone += [left for left, _ in todo[number:]]
                finish()
                raise
            new = _row(cell, methods[cell.method], found, request)
            # In the place of a row that was made by other code, or from other files.
            rows = [row for row in rows if place(row) != place(new)] + [new]
            write_rows(path, rows, task)
        tell("benchmark", Progress("cells", len(todo) - len(undone), len(todo)))
        return finish()


def _request(cell: Cell, method: Method, data: str) -> str:
    """A hash of everything that decides a row, but not of the machine."""
    facts = {
        "task": cell.task,
        "scene": cell.scene.name,
        "data": data,
        "protocol": cell.protocol,
        "seed": cell.seed,
        "method": cell.name,
        "identity": method.identity,
        "code": digest("benchmark.protocols", "confusion", *method.modules),
        "device": cell.device.partition(":")[0],
        "steps": cell.steps if method.takes_steps else None,
        "version": __version__,
    }
    return hashlib.blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()


def _with_pictures(cell: Cell, request: str, data: str) -> Cell:
    """The cell with names for its pictures, which tell from what they were made."""
    stem = f"{cell.scene.name}_{cell.protocol.replace(':', '-')}_{cell.seed}_{cell.name}_{request[:8]}"
    return dataclasses.replace(cell, picture=stem, scene_pictures=f"{cell.scene.name}-{data[:8]}")


def _expected(rows: list[Row], cell: Cell) -> float:
    """Seconds that this will take, going by the same method on the same scene; 0 if that is not known."""
    times = [
        float(row["train_seconds"]) + float(row["predict_seconds"])
        for row in rows
        if (row["scene"], row["method"]) == (cell.scene.name, cell.name) and row.get("train_seconds") is not None
    ]
    return max(times, default=0.0)


def _row(cell: Cell, method: Method, found: Mapping[str, Any], request: str) -> Row:
    device = torch.device("cpu" if method.on_cpu else cell.device)
    return {
        "task": cell.task,
        "scene": cell.scene.name,
        "scene_title": cell.scene.title,
        "protocol": cell.protocol,
        "seed": cell.seed,
        "method": cell.name,
        "title": method.title,
        **found,
        "steps_given": cell.steps if method.takes_steps else None,
        "own_file": cell.method.endswith(".py"),
        "picture": None if cell.pictures is None or found.get("error") else cell.picture,
        "scene_pictures": None if cell.pictures is None else cell.scene_pictures,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "version": __version__,
        "commit": commit(),
        "device": cell.device,
        "processor": processor(device),
        "torch": torch.__version__,
        "request": request,
    }


def commit() -> str:
    """The commit of the source that runs, with a + if it was changed since; empty if it is no checkout."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD")[:8] + "+" * bool(git("diff-index", "HEAD"))
    except (OSError, subprocess.SubprocessError):
        return ""
