"""Which device and number type to compute with. The only file that asks the machine what it is."""

from __future__ import annotations

import contextlib
import platform
import sys
from importlib import metadata
from typing import Any

import torch

from patchfree.errors import ConfigError


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


def versions() -> dict[str, Any]:
    """What the numbers of a run depend on."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for package in ("patchfree", "torch", "numpy", "scipy", "rasterio", "scikit-learn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
