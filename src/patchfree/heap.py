"""How the C library keeps memory that was freed: glibc's settings, which are made for small pieces and many threads.

The system fills each page of 4 KB with zeros before it hands it out. Memory that tensors free and take again is cheaper kept:
what that gains and costs is in docs/log.md. Other C libraries are left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD, HEAPS = -1, -3, -8  # of glibc's malloc.h
NEVER = -1
WHOLE_SCENE, WINDOW = 2**30, 2**26
"""Bytes of the largest tensors that are kept; glibc by itself stops at half of the latter."""


def one_heap() -> None:
    """Let all threads that start from here on share one heap.

    By itself glibc has a heap for each thread, and so keeps the memory of some windows more. Threads that are there already keep
    theirs: call this early.
    """
    _tune(HEAPS, 1)


def keep_windows() -> None:
    """Keep freed memory of tensors as large as a window's, even where the environment names a threshold, as that of dask's workers does."""
    _tune(TRIM_THRESHOLD, 8 * WINDOW)
    _tune(MMAP_THRESHOLD, WINDOW)


@contextlib.contextmanager
def freed_memory_kept(wanted: bool = True) -> Iterator[None]:
    """Keep what large tensors free for the next ones, which makes a training step on a large scene a quarter faster.

    What is kept is in pieces, and takes up to 1.6 times the memory: only where there is plenty.
    """
    if not wanted:
        yield
        return
    _tune(TRIM_THRESHOLD, NEVER)
    _tune(MMAP_THRESHOLD, WHOLE_SCENE)
    try:
        yield
    finally:
        keep_windows()
        give_back_memory()


def give_back_memory() -> None:
    """Hand freed memory back to the system: after a training the C library keeps a third of a gigabyte."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _tune(setting: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(setting, value)
