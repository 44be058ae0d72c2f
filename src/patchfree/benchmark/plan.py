"""What is to be compared: scenes, protocols, methods and seeds, checked before anything is done, and the cells they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchfree.benchmark.cell import Cell, method_name
from patchfree.benchmark.method import Method
from patchfree.benchmark.methods import METHODS
from patchfree.benchmark.scenes import Described, described_scenes, missing_files, missing_official
from patchfree.benchmark.tasks import Task, get_task
from patchfree.device import choose_device
from patchfree.errors import ConfigError


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


def cells_of(plan: Plan) -> tuple[Task, list[Cell], dict[str, Method]]:
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
        asked = protocols[scene.name]
        for protocol in asked:
            task.check_protocol(protocol)
        absent = missing_official(scene, plan.folder) if "official" in asked else None
        if absent:
            # Left out where it is one of several that nobody asked for by name; of all scenes, those that have one are meant.
            protocols[scene.name] = tuple(protocol for protocol in asked if protocol != "official")
            by_name = plan.protocols and "all" not in plan.scenes
            if by_name or not (plan.protocols or protocols[scene.name]):
                raise ConfigError(absent)
    if not any(protocols.values()):
        raise ConfigError("None of these scenes has an official split. Use per-class:N, fraction:F or separate.")
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


def names_known(task: str, data: Path | None, scenes_file: Path | None) -> str:
    """The names that can be asked for, for people."""
    chosen, known = get_task(task), described_scenes(scenes_file)
    folder = Plan(Path(), data=data, scenes_file=scenes_file).folder
    lines = ["Scenes:"]
    for scene in filter(chosen.suits, known.values()):
        absent = missing_files(scene, folder)
        usual = ", ".join(scene.protocols or _usual(scene, chosen))
        lines.append(f"  {scene.name:<18} {scene.title}; {usual}{' (files not there)' if absent else ''}")
    lines += ["Protocols:", *(f"  {text}" for text in chosen.protocols), "Methods:"]
    lines += [f"  {name:<18} {method.title}. {method.cite}" for name, method in chosen.methods.items()]
    return "\n".join(lines)
