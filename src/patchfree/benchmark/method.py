"""What a method gets and gives: the contract of everything that is compared.

A method is a function `fit(training) -> Fitted`. It sees the whole scene, and the classes of the training and
validation pixels only; the classes of test pixels never reach it.

Dimension key: c bands, h rows, w columns, k classes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import numbers
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int

from patchfree.benchmark.machine import AddedMemory, wait
from patchfree.errors import ConfigError
from patchfree.labels import LandCover
from patchfree.progress import Progress
from patchfree.scene import Scene

HIDDEN = {"test", "labels", "truth", "split", "test_labels", "test_index", "ground_truth", "gt"}


@dataclass(frozen=True, eq=False)
class Training:
    """What a method may see.

    Attributes:
        scene: the whole scene, in its own units.
        values: the scene's bands, each standardised over the whole scene; 0 where there is no data.
        index: class 1..k at training and validation pixels, 0 everywhere else.
        train: training pixels.
        val: validation pixels: part of the labels that the protocol grants, to tune on or to learn from as well.
        legend: the k classes.
        apart: True if the protocol keeps test pixels away from these; False if they lie among them.
        seed: repeats whatever is random.
        device: where to compute.
        steps: training steps of a network, in place of its own; None for its own.
        tell: call it with the progress.
    """

    scene: Scene
    values: Float32[np.ndarray, "c h w"]
    index: Int[np.ndarray, "h w"]
    train: Bool[np.ndarray, "h w"]
    val: Bool[np.ndarray, "h w"]
    legend: tuple[LandCover, ...]
    apart: bool
    seed: int
    device: torch.device
    steps: int | None = None
    tell: Callable[[Progress], None] = field(default=lambda _: None)

    @property
    def learnt(self) -> Bool[np.ndarray, "h w"]:
        """Training and validation pixels: all labels that the protocol grants."""
        return self.train | self.val

    @property
    def valid(self) -> Bool[np.ndarray, "h w"]:
        """Where the scene holds data."""
        return self.scene.valid

    def __getattr__(self, name: str) -> NoReturn:
        if name in HIDDEN:
            raise ConfigError(
                f"The method asked for training.{name}; test pixels and their classes are never handed to a method. Learn from "
                "training.index at training.train and training.val."
            )
        raise AttributeError(f"Training has no attribute {name!r}")


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained method.

    Attributes:
        score: gives the scores of every pixel of the scene, (k, h, w): the largest is the map. Whatever it takes to map
            belongs in here, it is timed; where there is no data the scores do not matter.
        parameters: trained numbers; None if the method has no fixed number.
        train_flop: floating-point operations of the training (a multiplication and an addition are two), or a function that
            counts them, which is called when the time has been taken.
        predict_flop: of one map of the scene.
        precision: number type of the training's multiplications.
        predict_precision: of the map's.
        settings: what was chosen, for the record.
    """

    score: Callable[[], Any]
    parameters: int | None = None
    train_flop: float | Callable[[], float] | None = None
    predict_flop: float | Callable[[], float] | None = None
    precision: str = "float32"
    predict_precision: str = "float32"
    settings: dict[str, Any] = field(default_factory=dict)


COUNTED = ("train_flop", "predict_flop")
Fit = Callable[[Training], Fitted]
OWN_FIRST = -1  # so that a slip in a user's method shows at once


@dataclass(frozen=True)
class Method:
    """A method in the comparison.

    Attributes:
        title: what to call it.
        fit: trains it; what the contract asks of it stands in this module's docstring.
        identity: everything that decides its result, for resuming; plain values.
        cite: the reference.
        cost: where it stands when methods are ordered from cheap to dear.
        random: whether another seed may give another result on the same pixels.
        on_cpu: whether it computes on the processor, whatever the device.
        takes_steps: whether `Training.steps` changes anything.
        modules: where its code starts, below `patchfree`; none for a user's own, whose file is in `identity`.
    """

    title: str
    fit: Fit
    identity: dict[str, Any]
    cite: str = ""
    cost: int = 5
    random: bool = True
    on_cpu: bool = False
    takes_steps: bool = True
    modules: tuple[str, ...] = ()


def own_method(path: Path) -> Method:
    """The method in a file of the user's: a Python file with a function `fit(training)`; its docstring's first line is its title.

    Raises:
        ConfigError: the file is missing, cannot be loaded, or has no such function.
    """
    if not path.is_file():
        raise ConfigError(
            f"There is no method and no file {str(path)!r}. Give a Python file with a function fit(training)."
        )
    spec = importlib.util.spec_from_file_location(f"patchfree_method_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file. Give one (.py) with a function fit(training).")
    module = importlib.util.module_from_spec(spec)
    try:
        if str(path.resolve().parent) not in sys.path:
            sys.path.append(str(path.resolve().parent))  # for modules of the user's beside it
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of the table
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path} cannot be loaded: {type(error).__name__}: {error}.") from error
    fit = getattr(module, "fit", None)
    if not callable(fit):
        raise ConfigError(f"{path} has no function fit(training) that gives a patchfree.benchmark.Fitted.")
    first = (module.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    identity = {"file": hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()}
    return Method(first or path.stem, fit, identity, cost=OWN_FIRST)


def check_fitted(fitted: object, name: str) -> Fitted:
    """Refuse what is no trained method.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(fitted, Fitted):
        raise ConfigError(
            f"fit of {name} gave {type(fitted).__name__}; it must give a patchfree.benchmark.Fitted, such as Fitted(score=lambda: scores)."
        )
    if not callable(fitted.score):
        raise ConfigError(
            f"fit of {name} gave Fitted(score={type(fitted.score).__name__}); score must be a function that gives the scores, such as "
            "lambda: scores."
        )
    for field_name in ("parameters", *COUNTED):
        value = getattr(fitted, field_name)
        if not (value is None or _is_number(value) or (field_name in COUNTED and callable(value))):
            raise ConfigError(f"fit of {name} gave Fitted({field_name}={value!r}); need a number, or None.")
    return fitted


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and bool(np.isfinite(float(value)))


def counted(fitted: Fitted, name: str) -> dict[str, float | None]:
    """Its operations as numbers, `train_flop` and `predict_flop`; None where they are not known.

    Raises:
        ConfigError: a function that was to count them gives no number.
    """
    counts: dict[str, float | None] = {}
    for field_name in COUNTED:
        value = getattr(fitted, field_name)
        if callable(value):
            value = value()
            if not _is_number(value):
                raise ConfigError(f"{field_name}() of {name} gave {value!r}; need a number.")
        counts[field_name] = None if value is None else float(value)
    return counts


def check_scores(scores: object, name: str, *, classes: int, valid: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """The map that the scores mean: class 1..k at each pixel with data, 0 elsewhere.

    Raises:
        ConfigError: the scores have another shape, are no numbers, or are not finite.
    """
    given = as_array(scores)
    wanted = (classes, *valid.shape)
    if given.shape != wanted:
        raise ConfigError(
            f"{name} gave scores of the shape {given.shape}; need {wanted}: classes, rows, columns, one score for each class and pixel "
            "of the whole scene."
        )
    if given.dtype.kind not in "fiub":
        raise ConfigError(f"{name} gave scores of the type {given.dtype}; need real numbers.")
    check_finite(np.isfinite(given).all(0), name, valid)
    return np.where(valid, given.argmax(0) + 1, 0)


def as_array(scores: object) -> np.ndarray:
    """What a method gave as scores, as numbers of numpy, wherever it computed them."""
    if not isinstance(scores, torch.Tensor):
        return np.asarray(scores)
    scores = scores.detach().cpu()
    return (scores.float() if scores.dtype == torch.bfloat16 else scores).numpy()  # which numpy has not


def check_finite(finite: Bool[np.ndarray, "h w"], name: str, valid: Bool[np.ndarray, "h w"]) -> None:
    """Refuse scores that are no numbers where there is data.

    Raises:
        ConfigError: some are not.
    """
    bad = int((~finite & valid).sum())
    if bad:
        raise ConfigError(
            f"{name} gave NaN or infinite scores at {bad:,} of {int(valid.sum()):,} pixels; need finite numbers."
        )


@dataclass(frozen=True, eq=False)
class Done:
    """A method's work on one scene.

    Attributes:
        fitted: the trained method.
        scores: what it gave, unchecked.
        costs: columns of the row: seconds to train and to map, and bytes that both added.
        operations: of training and map, as far as they are known.
    """

    fitted: Fitted
    scores: object
    costs: dict[str, Any]
    operations: dict[str, float | None]


def carry_out(method: Method, training: Training, name: str) -> Done:
    """Train a method and let it map the scene, timed.

    Raises:
        ConfigError: its fit gives no trained method.
    """
    device = torch.device("cpu") if method.on_cpu else training.device
    with AddedMemory(device) as memory:
        wait(device)
        began = time.perf_counter()
        fitted = check_fitted(method.fit(training), name)
        wait(device)
        trained = time.perf_counter()
        training.tell(Progress("map", 0, 1))
        scores = fitted.score()
        wait(device)
        mapped = time.perf_counter()
    times = {"train_seconds": trained - began, "predict_seconds": mapped - trained}
    return Done(fitted, scores, times | {"added_memory_bytes": memory.bytes}, counted(fitted, name))
