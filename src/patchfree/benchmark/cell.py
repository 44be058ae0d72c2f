"""One cell of the comparison, one method on one split of one scene, in a process of its own.

So its peak of memory is its own, a crash is a row of the table and not the end, and it can be stopped when time is up.
"""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchfree.benchmark.scenes import Described
from patchfree.errors import PatchfreeError
from patchfree.forks import Forks
from patchfree.progress import Progress

# torch._dynamo is what torch's optimisers load when they first step, which takes seconds.
CELLS = Forks(
    ("patchfree.benchmark.tasks", "sklearn.ensemble", "sklearn.model_selection", "sklearn.svm", "torch._dynamo")
)
Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Cell:
    """What is to be done.

    Attributes:
        task: name in `patchfree.benchmark.tasks.TASKS`.
        scene: the scene.
        protocol: name of a protocol.
        seed: repeats split, weights and sampling.
        method: name of a method, or a file.
        data: folder with the scenes' files.
        device: cpu, cuda or cuda:N.
        steps: training steps of the networks, in place of their own.
        pictures: folder to put pictures of the map into; None for none.
        picture: stem of the file with the map's picture.
        scene_pictures: stem of the files with pictures of the scene and its reference.
    """

    task: str
    scene: Described
    protocol: str
    seed: int
    method: str
    data: Path | None
    device: str
    steps: int | None = None
    pictures: Path | None = None
    picture: str = ""
    scene_pictures: str = ""

    @property
    def name(self) -> str:
        """The method's name: of a file, that without folder and ending."""
        return method_name(self.method)


def method_name(method: str) -> str:
    """What rows and tables call a method that was asked for by name or file."""
    return Path(method).stem if method.endswith(".py") else method


class OutOfTime(Exception):
    """The cell was stopped because the time was up."""


def run_cell(cell: Cell, tell: Tell, *, deadline: float | None = None) -> dict[str, Any]:
    """What the task measured; or its `error`, whatever that was.

    Args:
        cell: what to do.
        tell: called with the progress.
        deadline: `time.monotonic()` at which to stop; None for never.

    Raises:
        OutOfTime: the deadline came first.
    """
    context: Any = CELLS.context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(cell, sender))
    process.start()
    sender.close()
    try:
        return _listen(process, receiver, tell, deadline)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        receiver.close()


def _listen(
    process: Any,  # noqa: ANN401 - a process of one of several contexts
    receiver: multiprocessing.connection.Connection,
    tell: Tell,
    deadline: float | None,
) -> dict[str, Any]:
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if not receiver.poll(None if left is None else max(0.0, left)):
            raise OutOfTime
        try:
            message = receiver.recv()
        except EOFError:
            process.join()
            reason = "it was probably out of memory" if process.exitcode == -9 else f"exit code {process.exitcode}"
            return {"error": f"The process ended without a result ({reason})."}
        if isinstance(message, Progress):
            tell(message)
        else:
            return dict(message)


def _work(cell: Cell, sender: multiprocessing.connection.Connection) -> None:
    """In the cell's own process: do the work and send what came of it."""
    from patchfree.benchmark.tasks import TASKS

    gc.freeze()  # the libraries stay: to look through them takes a third of a second, and copies what was shared
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    os.dup2(2, 1)  # what a method prints is no part of the table
    last = 0.0

    def tell(state: Progress) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5 or state.done == state.total:
            last = time.monotonic()
            sender.send(state)

    try:
        sender.send(TASKS[cell.task].run(cell, tell))
    except PatchfreeError as error:
        sender.send({"error": str(error)})
    except (KeyboardInterrupt, BrokenPipeError):
        return  # the parent has gone, or will say so itself
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).name == Path(cell.method).name]
        where, said = (own or frames)[-1], " ".join(str(error).split())
        traceback.print_exc()
        sender.send({"error": f"{type(error).__name__}: {said} ({Path(where.filename).name}, line {where.lineno})"})
    finally:
        sender.close()


def _end_with_the_parent() -> None:
    """So that a cell does not go on, and keep the processor busy, when the program was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
