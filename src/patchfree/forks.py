"""The process that others are forked from: it loads their libraries once, beside this one's work, where each would take seconds."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext

_serving: list[Forks] = []


@dataclass(frozen=True)
class Forks:
    """Processes of one purpose.

    Attributes:
        libraries: modules that they need.
        environment: variables that their libraries read when they are loaded, beside those of this process.
    """

    libraries: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def context(self) -> BaseContext:
        """How to start such a process; the first call starts to load the libraries, and does not wait.

        Python has one process to fork from, and what is forked inherits its libraries and variables. So the first purpose has
        it; for another one, and where the system has none, processes start anew.
        """
        if "forkserver" not in multiprocessing.get_all_start_methods() or _serving not in ([], [self]):
            return multiprocessing.get_context("spawn")
        context = multiprocessing.get_context("forkserver")
        if not _serving:
            from multiprocessing import forkserver

            before = dict(os.environ)
            try:
                os.environ.update(self.environment)
                context.set_forkserver_preload(list(self.libraries))
                forkserver.ensure_running()
            finally:
                os.environ.clear()
                os.environ.update(before)
            _serving.append(self)
        return context


WORKERS = Forks(
    ("distributed", "patchfree.stream.runners"),
    # One thread each, and one heap for those that start before we could say so (`patchfree.heap.one_heap`).
    {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
)
"""dask's workers on this machine."""
