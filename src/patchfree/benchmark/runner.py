"""The whole comparison: every method on every split of every scene, resumed where it was left."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import hashlib
import io
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from patchfree import __version__
from patchfree.benchmark.cell import Cell, OutOfTime, method_name, run_cell
from patchfree.benchmark.machine import processor
from patchfree.benchmark.method import Method
from patchfree.benchmark.methods import METHODS
from patchfree.benchmark.scenes import Described, described_scenes, missing_files, missing_official
from patchfree.benchmark.sources import digest
from patchfree.benchmark.tasks import Task, get_task
from patchfree.device import choose_device
from patchfree.errors import ConfigError
from patchfree.files import exclusive, write_bytes
from patchfree.progress import Progress

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
}


@dataclass(frozen=True)
class Plan:
    """What to compare.

    Attributes:
        out: folder for the results; what is there is kept, and not done again.
        task: name of a task.
        scenes: names of scenes, or "all" for those whose files are there; none for the task's usual ones.
        protocols: names of protocols; none for those that suit each scene.
        methods: names of methods, and files with methods of the user's; none for all.
        seeds: how often everything is repeated, 0, 1, ...
        first_seed: the first seed.
        data: folder with the scenes' files, beside that of `scenes_file`.
        scenes_file: a file that describes more scenes.
        steps: training steps of the networks, in place of their own: for trying out.
        minutes: stop after this time; what was not done is done by the next call.
        device: auto, cpu, cuda or cuda:N.
    """

    out: Path
    task: str = "classification"
    scenes: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: int = 5
    first_seed: int = 0
    data: Path | None = None
    scenes_file: Path | None = None
    steps: int | None = None
    minutes: float | None = None
    device: str = "auto"

    @property
    def folder(self) -> Path | None:
        """Where files of patchfree's own scenes are looked for: in `data`, or else beside the file that describes further scenes."""
        return self.data or (None if self.scenes_file is None else self.scenes_file.parent)


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
    task, cells, methods = _cells(plan)
    with exclusive(plan.out):
        path = plan.out / f"{plan.task}.csv"
        rows = read_rows(path)
        done = {row["request"]: row for row in rows if not row.get("error")}
        prints = {
            scene.name: task.fingerprint(scene, plan.folder)
            for scene in {c.scene.name: c.scene for c in cells}.values()
        }
        requests = [_request(cell, methods[cell.method], prints[cell.scene.name]) for cell in cells]
        todo = [
            (_with_pictures(cell, request, prints[cell.scene.name]), request)
            for cell, request in zip(cells, requests, strict=True)
            if request not in done
        ]
        deadline = None if plan.minutes is None else time.monotonic() + 60 * plan.minutes
        undone: list[Cell] = []

        def finish() -> Outcome:
            mine = [row for row in rows if row["request"] in set(requests)]
            files = [path] if path.is_file() else []
            if mine:
                files.append(write_markdown(plan.out / f"{plan.task}.md", mine, task, undone))
                files.append(write_page(plan.out / f"{plan.task}.html", mine, task, undone, plan.out / "pictures"))
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
            rows = [row for row in rows if _place(row) != _place(new)] + [new]
            write_rows(path, rows, task)
        tell("benchmark", Progress("cells", len(todo) - len(undone), len(todo)))
        return finish()


def _cells(plan: Plan) -> tuple[Task, list[Cell], dict[str, Method]]:
    """All cells, from cheap to dear methods, each seed by seed, so that little time still gives the most of a table."""
    task, device = get_task(plan.task), str(choose_device(plan.device))
    if plan.seeds < 1 or plan.first_seed < 0:
        raise ConfigError(f"Got {plan.seeds} seeds from {plan.first_seed}; need at least one, from 0.")
    if plan.minutes is not None and not plan.minutes > 0:
        raise ConfigError(f"Got {plan.minutes:g} minutes; need more than 0.")
    if plan.steps is not None and plan.steps < 1:
        raise ConfigError(f"Got {plan.steps} steps; need at least 1.")
    methods = {name: task.find_method(name) for name in plan.methods or task.methods}
    _check_names(task, list(methods))
    scenes = _scenes(plan, task)
    protocols = {scene.name: plan.protocols or scene.protocols or _usual(scene, task) for scene in scenes}
    for scene in scenes:
        for protocol in protocols[scene.name]:
            task.check_protocol(protocol)
            absent = missing_official(scene, plan.folder) if protocol == "official" else None
            if absent and "all" not in plan.scenes and plan.protocols:
                raise ConfigError(absent)
        # Where nobody asked for it by name, a split that is not there is left out.
        here = [p for p in protocols[scene.name] if p != "official" or not missing_official(scene, plan.folder)]
        protocols[scene.name] = tuple(here)
    order = sorted(methods, key=lambda name: methods[name].cost)
    cells = [
        Cell(
            task=plan.task,
            scene=scene,
            protocol=protocol,
            seed=seed,
            method=name,
            data=plan.folder,
            device=device,
            steps=plan.steps,
            pictures=plan.out / "pictures" if seed == plan.first_seed else None,
        )
        for name in order
        for seed in range(plan.first_seed, plan.first_seed + (plan.seeds if methods[name].random else 1))
        for scene in scenes
        for protocol in protocols[scene.name]
    ]
    return task, cells, methods


def _usual(scene: Described, task: Task) -> tuple[str, ...]:
    """The protocols of a scene that names none: its own split, if it has one, and the task's usual ones where it has other labels."""
    if not scene.official:
        return task.usual_protocols
    return ("official", *(task.usual_protocols if scene.labels or scene.abundances else ()))


def _scenes(plan: Plan, task: Task) -> list[Described]:
    known, data = described_scenes(plan.scenes_file), plan.folder
    suited = {name: scene for name, scene in known.items() if task.suits(scene)}
    mine = tuple(name for name, scene in suited.items() if scene.home is not None)
    asked = plan.scenes or mine or task.usual_scenes
    if "all" in asked:
        found = [scene for scene in suited.values() if not scene.synthetic and not missing_files(scene, data)]
        if not found:
            raise ConfigError(
                f"Found the files of no scene with {task.needs} below {data or 'any folder'}. Name the folder that holds them with --data; "
                "`patchfree benchmark --list` names the scenes."
            )
        return found
    for name in asked:
        if name not in known:
            raise ConfigError(f"Got scene {name!r}; there are {', '.join(suited)}, and those of a --scenes-file.")
        if name not in suited:
            raise ConfigError(
                f"Got scene {name!r}, which has not what the task {plan.task} needs: {task.needs}. There are {', '.join(suited)}."
            )
        absent = missing_files(known[name], data)
        if absent:
            raise ConfigError(absent)
    return [known[name] for name in dict.fromkeys(asked)]


def _check_names(task: Task, methods: list[str]) -> None:
    """Refuse two methods that rows and tables could not tell apart."""
    taken: dict[str, str] = {}
    for method in methods:
        name = method_name(method)
        if method != name and (name in task.methods or name in METHODS):
            raise ConfigError(
                f"The method {method} would be called {name}, as one of patchfree is. Give the file another name."
            )
        if name in taken:
            raise ConfigError(
                f"The methods {taken[name]} and {method} would both be called {name}. Give one file another name."
            )
        taken[name] = method


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
        "code": digest("benchmark.protocols", *method.modules) if method.modules else None,
        "device": cell.device.partition(":")[0],
        "steps": cell.steps if method.takes_steps else None,
        "version": __version__,
    }
    return hashlib.blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()


def _with_pictures(cell: Cell, request: str, data: str) -> Cell:
    """The cell with names for its pictures, which tell from what they were made."""
    stem = f"{cell.scene.name}_{cell.protocol.replace(':', '-')}_{cell.seed}_{cell.name}_{request[:8]}"
    return dataclasses.replace(cell, picture=stem, scene_pictures=f"{cell.scene.name}-{data[:8]}")


def _place(row: Row) -> tuple[Any, ...]:
    """What a row is of: two rows of one place are two answers to one question."""
    return (*(row[name] for name in KEY), row.get("steps_given"), str(row["device"]).partition(":")[0])


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
    if name == "seed":
        return int(text)
    if name in ("optimistic", "own_file"):
        return text == "True"
    try:
        return text if name in TEXT else float(text)
    except ValueError:
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


def names_known(task: str, data: Path | None, scenes_file: Path | None) -> str:
    """The names that can be asked for, for people."""
    chosen, known = get_task(task), described_scenes(scenes_file)
    folder = Plan(Path(), data=data, scenes_file=scenes_file).folder
    lines = ["Scenes:"]
    for scene in filter(chosen.suits, known.values()):
        absent = missing_files(scene, folder)
        usual = ", ".join(scene.protocols or chosen.usual_protocols)
        lines.append(f"  {scene.name:<18} {scene.title}; {usual}{' (files not there)' if absent else ''}")
    lines += ["Protocols:", *(f"  {text}" for text in chosen.protocols), "Methods:"]
    lines += [f"  {name:<18} {method.title}. {method.cite}" for name, method in chosen.methods.items()]
    return "\n".join(lines)


def cells_by_place(cells: list[Cell]) -> Iterator[str]:
    """Scene, protocol and method of cells, one line each, with their seeds."""
    places: dict[tuple[str, str, str], list[int]] = {}
    for cell in cells:
        places.setdefault((cell.scene.title, cell.protocol, cell.method), []).append(cell.seed)
    for (scene, protocol, method), seeds in places.items():
        yield f"{scene}, {protocol}, {method}: seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
