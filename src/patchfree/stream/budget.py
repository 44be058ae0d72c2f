"""How much memory a prediction takes, and the windows that keep within a budget."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from patchfree.errors import ConfigError
from patchfree.models import SceneModel

FIXED_BYTES = 250_000_000  # libraries, work space of the convolutions, GDAL's cache; measured (docs/benchmarks.md)
TRAINING_FIXED_BYTES = 450_000_000  # with the weights, their gradients and the optimiser's state
TRAINED_COPIES, RECOMPUTED_COPIES = 4.0, 3.0
"""Feature maps that are kept for the gradient, for each that a stage of the network gives."""
SHUFFLED = 1.2
"""Scene shuffling fills the scene up to whole blocks."""
SMOOTHED_COPIES, LINKS = 6, 24
"""Numbers a pixel while scores are smoothed: of each class, and of the links to its neighbours."""
LARGEST_WINDOW = 256
"""Larger windows were slower: their feature maps leave the processor's caches (docs/benchmarks.md)."""
SMALLEST_WINDOW = 32
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_bytes(text: str) -> int:
    """Bytes from "2GB", "500 MB" or "2e9".

    Raises:
        ConfigError: it is no amount of memory.

    Example:
        >>> parse_bytes("1.5 GB")
        1500000000
    """
    number = text.strip().upper()
    unit = number.lstrip("0123456789.E+-").strip()
    try:
        found = float(number.removesuffix(unit)) * UNITS[unit]
        if not 0 < found < float("inf"):
            raise ValueError
    except (KeyError, ValueError):
        raise ConfigError(f"Got --memory {text!r}; need an amount of memory such as 2GB or 500MB.") from None
    return int(found)


def pixel_bytes(model: SceneModel) -> int:
    """Memory a pixel while a stage of the network runs: bands as they are read, and feature maps at their widest.

    Of maps that a stage gives there are up to six at a time, of those between its layers three (measured).
    """
    widest = max(made.channels for stage in model.stages() for made in stage.gives if made.stride == 1)
    inner = max((made.channels for stage in model.stages() for made in stage.gives if made.stride == 2), default=0)
    return 4 * (5 * model.bands + max(6 * widest, 6 * inner, 3 * model.hidden))


def training_bytes(model: SceneModel, sizes: Sequence[tuple[int, int]], *, recompute: bool) -> int:
    """Memory that it takes to train on scenes of these rows and columns, one after the other in each step.

    All scenes stay in memory, as they are and standardised; the feature maps that the gradient needs are those of one scene at a
    time. Measured at 256 and 512 pixels a side (docs/benchmarks.md); recomputing feature maps saves a quarter.
    """
    pixels = [height * width for height, width in sizes]
    return int(_kept_bytes(model, sum(pixels)) + max(pixels) * _trained_pixel_bytes(model, recompute))


def largest_pass(model: SceneModel, pixels: int, memory: int) -> int:
    """Most pixels that may train at a time of so many that stay in memory; less than 1 if there is no room."""
    return int((memory - _kept_bytes(model, pixels)) / _trained_pixel_bytes(model, recompute=True))


def evaluation_memory(memory: int, canvas: int) -> int:
    """What is left for the windows of a scene on disk beside so many bytes that trained, which stay as they are and standardised.

    Half of the memory is not counted on: the allocator keeps some of what the training has freed.
    """
    return max(1, memory // 2 - 2 * canvas)


def cut_training_bytes(model: SceneModel, sizes: Sequence[tuple[int, int]], *, kept: int = 0) -> int:
    """Memory that it takes to train on parts of scenes on disk, and to evaluate the whole of them then.

    Args:
        model: the network.
        sizes: rows and columns of the parts.
        kept: bytes that reading windows takes where a scene's file cannot be read in small pieces.
    """
    canvas = 2 * 4 * model.bands * sum(height * width for height, width in sizes)  # with the gaps between them
    evaluation = 2 * (_need(model, SMALLEST_WINDOW, 1) + kept + 2 * canvas)
    return max(training_bytes(model, sizes, recompute=True), evaluation)


def _kept_bytes(model: SceneModel, pixels: int) -> float:
    return float(TRAINING_FIXED_BYTES + 4 * 3 * model.bands * pixels)


def _trained_pixel_bytes(model: SceneModel, recompute: bool) -> float:
    kept = max(  # one member trains at a time
        member.hidden + sum(made.channels / made.stride**2 for stage in member.stages() for made in stage.gives)
        for member in model.members
    )
    return SHUFFLED * 4 * ((RECOMPUTED_COPIES if recompute else TRAINED_COPIES) * kept + 3 * model.bands)


def whole_bytes(model: SceneModel, shape: tuple[int, int]) -> int:
    """Memory that it takes to predict a scene in one piece."""
    return FIXED_BYTES + shape[0] * shape[1] * (pixel_bytes(model) + 4 * 4 * model.classes)


def windows_at_once(
    model: SceneModel, memory: int, most: int, *, least: int = 1, processes: int = 1, kept: int = 0
) -> tuple[int, int]:
    """How many windows to compute at a time, and their rows and columns, so that they keep within a budget.

    Large windows come first, since their halo costs less; then many at a time.

    Args:
        model: the network.
        memory: bytes for all together.
        most: windows at a time that there may be in a process.
        least: windows at a time that there are in a process, whatever we wish: a dask worker's threads.
        processes: that share the memory.
        kept: bytes that each process takes because the scene's file cannot be read in small pieces.

    Raises:
        ConfigError: the smallest windows take more, or the network maps a scene in one piece only.
    """
    if not model.streams:
        raise ConfigError(
            f"The network {type(model).__name__} maps a scene in one piece only, and this one is too large for the memory. Give more "
            "memory (--memory), or train with a network that maps in windows: ar-cdnet, siamese-freenet."
        )
    size, share = LARGEST_WINDOW, memory // processes - kept
    while size >= SMALLEST_WINDOW:
        if _need(model, size, least) <= share:
            return max(n for n in range(least, most + 1) if _need(model, size, n) <= share), size
        size //= 2
    smallest = processes * (_need(model, SMALLEST_WINDOW, least) + kept)
    raise ConfigError(
        f"Got --memory {memory / 1e6:,.0f} MB; the smallest that works for this network and scene"
        + (f" with {processes} processes" if processes > 1 else "")
        + (f" and workers of {least} threads" if least > 1 else "")
        + f" is --memory {-(-smallest // 10**6)}MB."
        + (
            f" The scene takes {kept / 1e6:,.0f} MB of it in each process, since its file cannot be read in smaller pieces: "
            "saved as ENVI, .npy or a GeoTIFF with INTERLEAVE=BAND it takes none."
            if kept
            else ""
        )
    )


def free_memory(device: str = "cpu") -> int:
    """Half of the memory that the machine, or its GPU, has to spare; 2 GB where it does not tell.

    Args:
        device: where to compute, cpu or a CUDA device.
    """
    if device != "cpu":
        return int(torch.cuda.mem_get_info(device)[0] // 2)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError, AttributeError):
        return 2 * 10**9


def installed_memory() -> int:
    """Half of the memory that the machine has: what trains in it is the same whatever else runs; 4 GB where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError, AttributeError):
        return 4 * 10**9


def _need(model: SceneModel, size: int, count: int) -> int:
    stages = model.stages()[:-1] if model.smoothing else model.stages()
    halo = max(stage.halo for stage in stages) + model.stride
    window = (size + 2 * halo) ** 2 * pixel_bytes(model)
    smoothed = (size + 2 * model.smoothing) ** 2 * 4 * (SMOOTHED_COPIES * model.classes + LINKS)
    return FIXED_BYTES + count * max(window, smoothed)
