"""What the machine can do and what a piece of work takes: rates, operations, memory. Measured here and now."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from patchfree.device import choose_precision, peak_memory_bytes
from patchfree.heap import give_back_memory

SIDE = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices whose product is the machine's rate; a GPU does smaller ones in less time than it takes to ask for them."""


def seconds(action: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Times of an action in rising order, after one to warm up."""
    action()
    times = []
    for _ in range(repeats):
        wait(device)
        began = time.perf_counter()
        action()
        wait(device)
        times.append(time.perf_counter() - began)
    return sorted(times)


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def product_rate(dtype: torch.dtype, device: torch.device, *, side: int | None = None, repeats: int = 4) -> float:
    """Floating-point operations a second of a square matrix product: the best of several, what the machine can do."""
    side = side or SIDE[device.type]
    a = torch.randn(side, side, device=device).to(dtype)
    with _as_convolutions(device):
        return 2 * side**3 / seconds(lambda: a @ a, device, repeats)[0]


@contextlib.contextmanager
def _as_convolutions(device: torch.device) -> Iterator[None]:
    """Multiply float32 as convolutions do: those of a GPU round to TF32 unless told otherwise, matrix products do not."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def product_rates(device: torch.device) -> dict[str, float]:
    """The rate of each number type that the device multiplies natively."""
    types = dict.fromkeys((torch.float32, choose_precision("auto", device)))
    return {str(dtype).removeprefix("torch."): product_rate(dtype, device) for dtype in types}


def flops(module: nn.Module, shape: tuple[int, ...], *, backward: bool) -> int:
    """Operations of the convolutions and matrix products of one pass over an input of this shape; nothing is computed."""
    with torch.device("meta"):
        x = torch.empty(shape)
    module = module.to("meta")
    with FlopCounterMode(display=False) as counter:
        if backward:
            module(x).sum().backward()
        else:
            with torch.no_grad():
                module(x)
    return int(counter.get_total_flops())


class AddedMemory:
    """The most memory that a block of code adds to what the process, or the device, holds when it starts."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None

    def __enter__(self) -> AddedMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before: int | None = int(torch.cuda.memory_allocated(self.device))
        else:
            give_back_memory()  # what the C library kept of earlier work would be used again, and not count
            with contextlib.suppress(OSError):  # only Linux forgets its peak
                Path("/proc/self/clear_refs").write_text("5")
            self._before = _resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            return  # the system does not tell
        peak = peak_memory_bytes(self.device) if self.device.type == "cuda" else _resident("VmHWM")
        self.bytes = None if peak is None else max(0, peak - self._before)


def _resident(name: str) -> int | None:
    """A figure of /proc/self/status in bytes."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    return None


def processor(device: torch.device) -> str:
    """What computes, in words: type and threads, without a name that tells whose machine it is.

    Family and model tell processors apart that a hired machine calls by one name: of two with "AMD EPYC" one multiplies
    bfloat16 twice as fast as the other, and seconds of the one say nothing of the other.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    told: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            told.setdefault(name.strip(), value.strip())
    kind = told.get("model name") or platform.machine()
    if "cpu family" in told and "model" in told:
        kind += f" (family {told['cpu family']}, model {told['model']})"
    able = torch.backends.cpu.get_cpu_capability()
    return f"{kind}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, {able}"
