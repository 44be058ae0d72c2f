"""Which device and number type to compute with. The only file that asks the machine what it is."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import torch

from patchfree.errors import ConfigError

TRIM_THRESHOLD, MMAP_THRESHOLD, HEAPS = -1, -3, -8  # of glibc's malloc.h
NEVER = -1
WHOLE_SCENE, WINDOW = 2**30, 2**25  # bytes of the largest tensors that are kept; glibc itself comes to the latter


def choose_device(name: str = "auto") -> torch.device:
    """A device by name; "auto" takes CUDA where there is one.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"Got device {name!r}; need auto, cpu, cuda or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"Got device {name!r}; patchfree runs on cpu and cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"Got device {name!r}, but {torch.cuda.device_count()} CUDA devices are here. Use --device cpu."
        )
    return device


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The type of the convolutions' inputs: bfloat16 only where the device multiplies it natively."""
    if wanted == "float32":
        return torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        native = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return torch.bfloat16 if native or wanted == "bfloat16" else torch.float32


def peak_memory_bytes(device: torch.device) -> int | None:
    """Most memory that this process has held so far: resident on the CPU, allocated on CUDA; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak if sys.platform == "darwin" else peak * 1024)
    return None


def give_back_memory() -> None:
    """Hand freed memory back to the system, where the C library can: after a training it keeps a third of a gigabyte."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def freed_memory_kept(wanted: bool = True) -> Iterator[None]:
    """Keep what large tensors free for the next ones, in place of giving it back to the system and asking again.

    The system fills each page of 4 KB with zeros before it hands it out: a quarter of the time of a training step on a large scene
    (docs/log.md). What is kept is in pieces, and takes up to 1.6 times the memory: only where there is plenty.
    """
    if not wanted:
        yield
        return
    _keep(WHOLE_SCENE, trim=NEVER)
    try:
        yield
    finally:
        _keep(WINDOW, trim=2 * WINDOW)
        give_back_memory()


def keep_windows() -> None:
    """Keep freed memory of tensors as large as a window's, in one heap for all threads that start from here on.

    By itself glibc has a heap for each thread, and so keeps the memory of some windows more; and where the environment names any
    threshold, as that of dask's workers does, it keeps nothing of this size.
    """
    _keep(WINDOW, trim=2 * WINDOW)
    _tune(HEAPS, 1)


def _keep(largest: int, *, trim: int) -> None:
    _tune(TRIM_THRESHOLD, trim)
    _tune(MMAP_THRESHOLD, largest)


def _tune(setting: int, value: int) -> None:
    """Set one of glibc's parameters; other C libraries are left alone."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(setting, value)


def versions() -> dict[str, Any]:
    """What the numbers of a run depend on."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for package in ("patchfree", "torch", "numpy", "scipy", "rasterio", "scikit-learn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
