"""What the machine can do is measured, and what a block of code adds to memory is its own."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from patchfree.benchmark.machine import AddedMemory, flops, processor, product_rate, product_rates
from patchfree.heap import freed_memory_kept

CPU = torch.device("cpu")
linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the memory of a block of code"
)


@linux
def test_memory_that_was_freed_before_does_not_count():
    before = np.ones(40_000_000)
    del before
    with AddedMemory(CPU) as memory:
        small = np.ones(1_000_000)
    assert small.sum() == 1_000_000
    assert 0 <= memory.bytes < 100e6


@linux
def test_memory_that_was_freed_inside_counts():
    with AddedMemory(CPU) as memory:
        large = np.ones(40_000_000)
        del large
    assert 300e6 < memory.bytes < 400e6


@linux
def test_memory_that_was_kept_from_before_counts_when_it_is_taken_again():
    with freed_memory_kept():
        kept = np.ones(40_000_000)
        behind = np.ones(1_000)  # so that the heap does not shrink when the other is freed
    del kept
    with AddedMemory(CPU) as memory:
        large = np.ones(40_000_000)
        del large
    assert behind.sum() == 1_000
    assert 300e6 < memory.bytes < 400e6


def test_operations_of_a_layer_and_its_gradient():
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(5, 2, 1))
    first, second = 2 * 27 * 5 * 64, 2 * 5 * 2 * 64
    assert flops(layer, (1, 3, 8, 8), backward=False) == first + second
    # The gradient of the first layer's input is not needed.
    assert flops(layer, (1, 3, 8, 8), backward=True) == 2 * first + 3 * second


def test_the_rate_of_the_machine_is_that_of_its_types():
    rates = product_rates(CPU)
    assert "float32" in rates
    assert set(rates) <= {"float32", "bfloat16"}
    assert all(1e8 < rate < 1e15 for rate in rates.values())
    assert product_rate(torch.float32, CPU, side=64, repeats=1) > 0


def test_the_processor_is_named_with_its_threads():
    assert f"{torch.get_num_threads()} threads" in processor(CPU)
    assert platform.node() not in processor(CPU)  # nobody's machine is named in a table


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (
            "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\ncpu family\t: 9\n",
            "AMD EPYC (family 25, model 17), ",
        ),
        ("model name\t: Cortex\n", "Cortex, "),
        ("Features\t: fp asimd\n", f"{platform.machine()}, "),
        (None, f"{platform.machine()}, "),
    ],
)
def test_processors_of_one_name_are_told_apart(told, kind, monkeypatch):
    def read(path):
        if told is None:
            raise FileNotFoundError(path)
        return told

    monkeypatch.setattr(Path, "read_text", read)
    assert processor(CPU).startswith(kind)
