"""Memory that was freed is taken again without asking the system, where that was wanted, and only there."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told how to keep memory")

TOUCHES_MEMORY_AGAIN = """
import resource, sys
import torch
from patchfree.heap import freed_memory_kept, keep_windows

def new_pages(megabytes):
    for _ in range(12):
        torch.ones(megabytes, 2**18)  # freed at once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(megabytes, 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "windows":
    keep_windows()
with freed_memory_kept(sys.argv[1] == "kept"):
    found = new_pages(16), new_pages(100)
print(*found, new_pages(100))
"""


@pytest.mark.parametrize(
    ("way", "environment", "expected"),
    [
        ("plain", {}, "few many many"),
        ("plain", {"MALLOC_TRIM_THRESHOLD_": "65536"}, "many many many"),  # as on dask's workers
        ("windows", {"MALLOC_TRIM_THRESHOLD_": "65536"}, "few many many"),
        ("kept", {}, "few few many"),
    ],
)
def test_memory_that_tensors_freed_is_taken_again_without_asking_the_system(way, environment, expected):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "THP", "GLIBC"))}
    found = subprocess.check_output(
        [sys.executable, "-c", TOUCHES_MEMORY_AGAIN, way], env=inherited | environment, text=True
    )
    assert ["many" if int(pages) > 1000 else "few" for pages in found.split()] == expected.split()


HEAPS = """
import ctypes, sys, threading
from patchfree.heap import one_heap
if sys.argv[1] == "one":
    one_heap()
import numpy as np

def work():
    kept.append(np.ones(5_000))  # too small for a mapping of its own

kept = []
for _ in range(4):
    threads = [threading.Thread(target=lambda: (work(), barrier.wait())) for _ in range(4)]
    barrier = threading.Barrier(4)
    for thread in threads: thread.start()
    for thread in threads: thread.join()
file = ctypes.CDLL(None).tmpfile
file.restype = ctypes.c_void_p
stream = ctypes.c_void_p(file())
ctypes.CDLL(None).malloc_info(0, stream)
ctypes.CDLL(None).fflush(stream)
ctypes.CDLL(None).rewind(stream)
text = ctypes.create_string_buffer(1_000_000)
ctypes.CDLL(None).fread(text, 1, 1_000_000, stream)
print(text.value.count(b"<heap nr="))
"""


def test_threads_share_one_heap_where_that_was_asked_for():
    def heaps(way):
        return int(subprocess.check_output([sys.executable, "-c", HEAPS, way]))

    assert heaps("one") == 1 < heaps("each")
