"""Who computes the windows of a pass: this process, or the workers of a dask cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pkgutil import resolve_name
from typing import Any

import rasterio
import torch

from patchfree import __version__
from patchfree.errors import MissingExtra, PatchfreeError, RunError
from patchfree.forks import WORKERS
from patchfree.heap import keep_windows, one_heap
from patchfree.io.geotiff import CACHE_BYTES
from patchfree.models._statistics import Part
from patchfree.stream.budget import free_memory
from patchfree.stream.evaluate import Evaluation, Loaded, Work

SCHEDULER_SECONDS = 10.0  # until one must have answered
FIRST_WORKER_SECONDS = 30.0
START_TIMEOUT = "120s"  # importing torch in several processes takes long on a busy machine
MOST_TOGETHER = 32
"""Windows in one of dask's tasks: its first one is read while nothing is computed, and all of it is done again if its worker is lost."""


class InThreads:
    """Compute in this process, several windows at a time; the next ones are read meanwhile.

    Each window is computed by one thread: then its numbers do not depend on how many there are.

    Args:
        threads: windows at a time.

    Attributes:
        waited: share of the time in which a thread stood idle because its window was not read yet.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._waited, self._worked = 0.0, 0.0

    @property
    def waited(self) -> float:
        """Share of the time, 0 to 1."""
        return self._waited / max(self._worked, 1e-9)

    def __call__(self, work: Work, todo: list[int]) -> Generator[tuple[int, Part | None]]:
        """The windows in their order."""
        one_heap()
        keep_windows()
        before = torch.get_num_threads()
        _ = work.job.model, work.job.stages, work.job.cores, work.job.choice  # built once, not in every thread
        pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))
        running: deque[tuple[int, Future[Part | None]]] = deque()
        try:
            with ThreadPoolExecutor(self.threads) as readers, pool:
                try:
                    for index in todo:
                        loading = readers.submit(work.load, index)
                        running.append((index, pool.submit(self._compute, work, index, loading)))
                        if len(running) > self.threads:
                            yield self._result(*running.popleft())
                    while running:
                        yield self._result(*running.popleft())
                finally:
                    for _, future in running:
                        future.cancel()
        finally:
            # Only when the pool's threads are gone: one that starts late sets the number for all threads to come.
            torch.set_num_threads(before)

    def _compute(self, work: Work, index: int, loading: Future[Loaded]) -> Part | None:
        began = time.perf_counter()
        loaded = loading.result()
        ready = time.perf_counter()
        try:
            return work.compute(index, loaded)
        finally:
            self._waited += ready - began
            self._worked += time.perf_counter() - began

    @staticmethod
    def _result(index: int, future: Future[Part | None]) -> tuple[int, Part | None]:
        return index, future.result()


class OnDask:
    """Compute on the workers of a dask cluster, which share the folder of the feature maps with this process.

    A window that was lost with its worker is computed again by another. So is the job itself, which the scheduler holds and
    hands to each worker: data that were scattered to the workers would be lost with them.

    Args:
        client: a `distributed.Client`.
        job: what is computed; sent to the workers once.
    """

    def __init__(self, client: Any, job: Evaluation) -> None:  # noqa: ANN401 - distributed is loaded on use
        import dask

        self.client = client
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}):  # it holds the weights
            self.job = client.submit(_same, job, pure=False)

    def __call__(self, work: Work, todo: list[int]) -> Generator[tuple[int, Part | None]]:
        """The windows as they are finished."""
        import distributed

        known = {name: value.numpy() for name, value in work.known.items()}
        parts = list(_shares(todo, sum(self.client.nthreads().values())))
        futures = self.client.map(
            _compute, parts, job=self.job, number=work.number, known=known, first=work.first, pure=False
        )
        try:
            for future in distributed.as_completed(futures, loop=self.client.loop):  # type: ignore[no-untyped-call]
                yield from future.result()
        except distributed.KilledWorker as error:
            raise RunError(
                f"The workers of the cluster were killed again and again while they computed a window ({error}). They may lack "
                "memory: pass a smaller --memory, or fewer --workers. The finished windows are kept."
            ) from error
        finally:
            with suppress(Exception):  # nothing is left to cancel on a cluster that was lost: its own error says so
                self.client.cancel(futures, force=True)


def _shares(todo: list[int], workers: int) -> Iterator[list[int]]:
    """The windows in pieces that grow smaller, so that the workers finish together; workers may be lost, and come back.

    Reference: Polychronopoulos, Kuck, "Guided self-scheduling", IEEE Transactions on Computers C-36(12):1425-1439, 1987.
    """
    begun = 0
    while begun < len(todo):
        count = max(1, min(MOST_TOGETHER, (len(todo) - begun) // (2 * max(1, workers))))
        yield todo[begun : begun + count]
        begun += count


def _compute(
    part: list[int], *, job: Evaluation, number: int, known: dict[str, Any], first: bool
) -> list[tuple[int, Part | None]]:
    """Some windows on a worker."""
    torch.set_num_threads(1)  # as in this process: the same bits
    values = {name: torch.from_numpy(value.copy()) for name, value in known.items()}
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        return list(InThreads(1)(Work(job, number, values, first), part))


def _same(job: Evaluation) -> Evaluation:
    """What a worker keeps of the job, with the network that it builds."""
    return job


def least_worker(client: Any, memory: int | None, device: str = "cpu") -> tuple[int, int]:  # noqa: ANN401 - loaded on use
    """Threads and memory to reckon with on every worker of a cluster, so that the windows suit the smallest of them.

    A worker computes as many windows at a time as it has threads. Workers that come later are not asked.

    Args:
        client: of the cluster.
        memory: bytes for each worker; None for half of what its machine (or GPU) has to spare, shared with the other workers
            there, and not more than half of the limit that dask knows.
        device: where they compute.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"]
    threads = max(about["nthreads"] for about in workers.values())
    if memory is not None:
        return threads, memory
    beside = Counter(about["host"] for about in workers.values())
    free = client.run(free_memory, device)
    shares = [
        min(free[address] // beside[about["host"]], (about["memory_limit"] or free[address] * 2) // 2)
        for address, about in workers.items()
        if address in free
    ]
    return threads, min(shares)


@contextmanager
def dask_client(scheduler: str | None, workers: int = 0) -> Iterator[Any]:
    """A client of the cluster at an address, or of a cluster of so many processes on this machine.

    Raises:
        MissingExtra: dask is not installed.
        RunError: no scheduler answers at the address, it has no workers, there is another patchfree or none, or the cluster is
            lost in the middle.
    """
    try:
        import distributed
    except ImportError:
        raise MissingExtra("distributed", "dask", "Computing on several processes or machines") from None
    # What it logs of a lost cluster or a full disk are tracebacks; the error that we raise says what to do.
    with (
        distributed.utils.silence_logging_cmgr(logging.CRITICAL),
        _here(workers) if scheduler is None else _there(scheduler) as client,
        _kept(client),
    ):
        if scheduler is not None:
            _check_cluster(client, scheduler)
        yield client


def _there(scheduler: str) -> Any:  # noqa: ANN401 - distributed is loaded on use
    """A client of the scheduler at an address."""
    import distributed

    try:
        with ThreadPoolExecutor(1) as other:  # this thread may have an event loop already, as in a notebook
            other.submit(asyncio.run, _answers(scheduler)).result()
        # As the default client it would leave its mark on all later use of dask in this process, even if it fails.
        return distributed.Client(scheduler, timeout=SCHEDULER_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except Exception as error:
        known = "" if isinstance(error, MemoryError) else str(error)  # dask took what another program says for a length
        raise RunError(
            f"No dask scheduler answers at {scheduler} ({known or 'something else is there'}). Start one with `dask scheduler`, and workers "
            f"with `dask worker {scheduler}` in environments that have patchfree, or use --workers N for processes on this machine."
        ) from error


async def _answers(scheduler: str) -> None:
    """Connect once on trial: only here can an attempt be given up and cleared away; a usual client waits forever for an answer."""
    import distributed

    client = distributed.Client(scheduler, timeout=SCHEDULER_SECONDS, set_as_default=False, asynchronous=True)  # type: ignore[no-untyped-call]
    try:
        await asyncio.wait_for(client, SCHEDULER_SECONDS + 1)  # where dask gives up by itself, it says more
    finally:
        await client.close()  # type: ignore[no-untyped-call]


@contextmanager
def _kept(client: Any) -> Iterator[None]:  # noqa: ANN401 - distributed is loaded on use
    """Tell of a cluster that is lost, whichever of its many errors dask has for it."""
    import distributed

    try:
        yield
    except PatchfreeError:
        raise
    except Exception as error:
        if client.status == "running" and not isinstance(
            error, (CancelledError, distributed.comm.core.CommClosedError)
        ):
            raise
        raise RunError(
            f"The cluster gave up the work ({str(error).rstrip('.')}): its scheduler was stopped, or a worker has another patchfree. Run "
            "the same command again when it is there: the finished windows are kept."
        ) from error


@contextmanager
def _here(workers: int) -> Iterator[Any]:
    """A client of a cluster of so many processes on this machine."""
    import dask
    import distributed

    environment = dict(os.environ)
    # The scheduler serves its state over HTTP even without a dashboard; at its usual port only one job a machine could.
    settings: dict[str, Any] = {
        "n_workers": workers,
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": False},
        "silence_logs": logging.CRITICAL,
    }
    start = {"distributed.worker.multiprocessing-method": WORKERS.context().get_start_method()}
    choices: dict[str, Any] = {
        **start,
        "distributed.comm.timeouts.connect": START_TIMEOUT,
        **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in WORKERS.environment.items()},
        "distributed.worker.profile.enabled": False,  # looks at every thread 100 times a second; takes a tenth of the time
        # Each of its processes (twice as many as workers, and one) looks at itself 50 times a second: a thirtieth of the time.
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "10s",
    }
    try:
        with dask.config.set(choices):
            cluster = distributed.LocalCluster(memory_limit=0, **settings)  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError, TimeoutError) as error:
        raise RunError(
            f"{workers} workers could not be started on this machine ({error}). It may be too busy: run the same command again, or "
            "without --workers."
        ) from error
    finally:
        # dask leaves one thread a process to all that is started from here on; the workers have theirs by now.
        os.environ.clear()
        os.environ.update(environment)
    # For as long as it works: a worker that is lost is started again in the same way.
    with dask.config.set(start), cluster, distributed.Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        yield client


def _check_cluster(client: Any, scheduler: str) -> None:  # noqa: ANN401 - distributed is loaded on use
    """Refuse now what would else stand still, or break off with a message about graphs and keys."""
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
    except TimeoutError:
        raise RunError(
            f"The scheduler at {scheduler} has no workers. Start some with `dask worker {scheduler}`, and run the same command again."
        ) from None
    wanted = "patchfree:__version__"
    try:
        versions = {client.run_on_scheduler(resolve_name, wanted), *client.run(resolve_name, wanted).values()}
    except ImportError as error:
        raise RunError(
            f"The cluster at {scheduler} has no patchfree ({error}). Install patchfree {__version__} where the scheduler and the workers "
            "run, and start them again."
        ) from error
    if versions != {__version__}:
        raise RunError(
            f"The cluster at {scheduler} has patchfree {', '.join(sorted(versions))}, this is {__version__}. Install the same release "
            "where the scheduler and the workers run, and start them again."
        )
