"""Which array of a file with several is meant: the named one, or the only one of the right shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from patchfree.errors import SceneError


@dataclass(frozen=True)
class Variable:
    """An array inside a file."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def pick_variable(path: Path, variables: Sequence[Variable], named: str | None, layers: int) -> str:
    """Name of the wanted array.

    Args:
        path: the file, for messages.
        variables: what the file holds.
        named: the name that the user gave; case does not matter where it is unique.
        layers: 3 for a scene, 2 for labels.

    Raises:
        SceneError: there is no such array, or several fit.
    """
    listing = ", ".join(f"{v.name} {v.shape} {v.dtype}" for v in variables) or "no numeric array"
    if named is not None:
        exact = [v.name for v in variables if v.name == named]
        loose = [v.name for v in variables if v.name.lower() == named.lower()]
        if exact or len(loose) == 1:
            return (exact or loose)[0]
        raise SceneError(f"{path} has no variable {named!r}; it holds {listing}. Name one as {path.name}:VARIABLE.")
    real = [v for v in variables if v.dtype.kind in "uifb" and min(v.shape, default=0) > 1]
    fitting = [v for v in real if len(v.shape) == layers]
    if not fitting and layers == 3:
        fitting = [v for v in real if len(v.shape) == 2]
    if not fitting:
        kind = "a scene (3 axes)" if layers == 3 else "labels (2 axes)"
        raise SceneError(f"{path} holds no array that can be {kind}; it holds {listing}.")
    # Of several cubes the largest, and of equal ones that with the most bands (a picture beside it has three).
    largest = max((prod(v.shape), v.shape[-1]) for v in fitting)
    candidates = [v for v in fitting if (prod(v.shape), v.shape[-1]) == largest] if layers == 3 else fitting
    if len(candidates) > 1:
        raise SceneError(
            f"{path} holds several arrays that fit: {', '.join(f'{v.name} {v.shape}' for v in candidates)}. "
            f"Name the one you mean as {path.name}:{candidates[0].name}."
        )
    return candidates[0].name
