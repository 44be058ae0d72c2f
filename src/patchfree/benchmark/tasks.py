"""What methods are compared at. Adding a task is one file and one line in TASKS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchfree.benchmark import detect
from patchfree.benchmark.cell import Cell, Tell
from patchfree.benchmark.classify import classify
from patchfree.benchmark.loading import Inputs, anomalies_inputs, inputs
from patchfree.benchmark.method import Method
from patchfree.benchmark.methods import METHODS, PAPER, find_method
from patchfree.benchmark.protocols import PROTOCOLS, check_protocol
from patchfree.benchmark.protocols import title as protocol_title
from patchfree.benchmark.scenes import Described
from patchfree.errors import ConfigError


@dataclass(frozen=True)
class Measure:
    """A column of accuracy.

    Attributes:
        name: of the column.
        title: for people.
        factor: what to multiply by for people: 100 for percent.
        digits: decimals for people.
        least: the lowest that it can be; the highest is 1.
        compared: whether tables give the paired difference to ours.
    """

    name: str
    title: str
    factor: float = 100.0
    digits: int = 1
    least: float = 0.0
    compared: bool = False


@dataclass(frozen=True)
class Task:
    """What methods are compared at.

    Attributes:
        title: what to call it.
        measures: columns of accuracy, larger is better; the first is what pictures and charts show.
        run: does one cell and gives the columns of its row.
        methods: the methods that are compared unless others are asked for, from cheap to dear.
        find_method: a method by name or file, also of those not listed there.
        check_protocol: refuses a protocol that there is not.
        protocol_title: a protocol for people.
        protocols: the forms of the protocols' names, with what they mean.
        ours: the method that the others are compared with.
        usual_scenes: those that are compared unless others are asked for, or "all".
        usual_protocols: those of a scene that names none of its own.
        inputs: what is read of a scene, from the scene and the folder of the user's files.
        suits: whether a scene has what the task needs.
        needs: what that is, for people.
    """

    title: str
    measures: tuple[Measure, ...]
    run: Callable[[Cell, Tell], dict[str, Any]]
    methods: Mapping[str, Method]
    find_method: Callable[[str], Method]
    check_protocol: Callable[[str], object]
    protocol_title: Callable[[str], str]
    protocols: tuple[str, ...]
    ours: str
    usual_scenes: tuple[str, ...]
    usual_protocols: tuple[str, ...]
    inputs: Callable[[Described, Path | None], Inputs]
    suits: Callable[[Described], bool]
    needs: str


TASKS: dict[str, Task] = {
    "classification": Task(
        title="land-cover classification",
        measures=(
            Measure("overall_accuracy", "OA %", compared=True),
            Measure("average_accuracy", "AA %"),
            Measure("kappa", "kappa", 1.0, 3, least=-1.0),
            Measure("mean_iou", "mean IoU %", compared=True),
        ),
        run=classify,
        methods={name: method for name, method in METHODS.items() if not name.startswith(f"{PAPER}-")},
        find_method=find_method,
        check_protocol=check_protocol,
        protocol_title=protocol_title,
        protocols=tuple(text for _, _, text in PROTOCOLS.values()),
        ours="default",
        usual_scenes=("indian-pines",),
        usual_protocols=("per-class:10", "fraction:0.1", "separate"),
        inputs=inputs,
        suits=lambda scene: not scene.anomalies,
        needs="labels of its classes",
    ),
    "anomalies": Task(
        title="anomaly detection",
        measures=(
            Measure("auc", "AUC", 1.0, 4, compared=True),
            Measure("average_precision", "average precision", 1.0, 3),
            Measure("auc_bs", "AUC − AUC(F, τ)", 1.0, 3, least=-1.0),
            Measure("detection_at_0.001", "found at 0.1 % false alarms, %"),
            Measure("detection_at_0.01", "at 1 %, %"),
        ),
        run=detect.detect,
        methods=detect.DETECTION,
        find_method=detect.find_detection,
        check_protocol=detect.check_protocol,
        protocol_title=detect.protocol_title,
        protocols=(detect.PROTOCOL_TEXT,),
        ours=detect.OURS,
        usual_scenes=("all",),
        usual_protocols=(detect.PROTOCOL,),
        inputs=anomalies_inputs,
        suits=lambda scene: bool(scene.anomalies),
        needs="a mask of its true anomalies",
    ),
}


def get_task(name: str) -> Task:
    """The task of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in TASKS:
        raise ConfigError(f"Got task {name!r}; there are {', '.join(TASKS)}.")
    return TASKS[name]
