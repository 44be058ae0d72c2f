"""Processes that train one network together, as `torchrun` starts them.

Each takes some of the scenes; the gradients are added up, so that every process makes the step that one alone would make.
The first process reads checkpoints, tests, maps and writes; the others wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from patchfree.device import choose_device
from patchfree.errors import ConfigError

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long a process waits for the others: the first maps and writes alone, which takes hours for large scenes."""


class Ranks:
    """The processes that train together.

    Attributes:
        number: of this one, 0 and up.
        count: of all.
    """

    def __init__(self, number: int = 0, count: int = 1) -> None:
        self.number, self.count = number, count

    @property
    def first(self) -> bool:
        """True for the one that reads and writes files."""
        return self.number == 0

    def mine(self, sizes: Sequence[int]) -> list[int]:
        """Which of so many pieces of work this process takes: the largest first, each to who has least to do.

        Example:
            >>> Ranks(0, 2).mine([5, 1, 3]), Ranks(1, 2).mine([5, 1, 3])
            ([0], [1, 2])
        """
        load, taken = [0] * self.count, []
        for piece in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
            least = load.index(min(load))
            load[least] += sizes[piece]
            if least == self.number:
                taken.append(piece)
        return sorted(taken)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def same(self, value: T) -> T:
        """What the first process has."""
        if self.count == 1:
            return value
        held: list[T] = [value]
        dist.broadcast_object_list(
            held, src=0
        )  # pickled: between processes of one program, nothing is read from a file
        return held[0]


def started_by_torchrun() -> bool:
    """True in each of several processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """True in the one process that talks and writes."""
    return os.environ.get("RANK", "0") == "0" or not started_by_torchrun()


@contextmanager
def together(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Meet the other processes that torchrun started, if it did, and choose this one's device.

    Raises:
        ConfigError: there are more processes than CUDA devices on this machine.
    """
    if not started_by_torchrun():
        yield Ranks(), choose_device(device)
        return
    where = choose_device(device)
    if where.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"torchrun started {local + 1} processes or more on a machine with {torch.cuda.device_count()} CUDA devices. Pass "
                f"--nproc-per-node {torch.cuda.device_count()}, or --device cpu."
            )
        where = torch.device("cuda", local)
        torch.cuda.set_device(where)
    begun = not dist.is_initialized()
    if begun:
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), where
    finally:
        if begun:
            dist.destroy_process_group()
