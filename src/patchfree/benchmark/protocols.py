"""Which labelled pixels a method may learn from: protocols by name, such as `per-class:10` or `separate`.

Test pixels are never handed to a method, and validation pixels come out of the training pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from patchfree.benchmark.loading import Loaded
from patchfree.blocks import block_split
from patchfree.errors import ConfigError, SplitError
from patchfree.labels import Labels
from patchfree.split import Split, random_split

MOST = 0.5  # of a class may train; small classes are cut in half


def _per_class(loaded: Loaded, labels: Labels, values: tuple[float, ...], seed: int) -> Split:
    return random_split(labels, per_class=int(values[0]), most=MOST, seed=seed)


def _fraction(loaded: Loaded, labels: Labels, values: tuple[float, ...], seed: int) -> Split:
    return random_split(labels, fraction=values[0], seed=seed)


def _separate(loaded: Loaded, labels: Labels, values: tuple[float, ...], seed: int) -> Split:
    size, buffer = (*(int(v) for v in values), None, None)[:2]
    return block_split(labels, size=size, buffer=buffer, seed=seed)


def _official(loaded: Loaded, labels: Labels, values: tuple[float, ...], seed: int) -> Split:
    if loaded.official is None:
        raise SplitError(
            f"{loaded.scene.name} has no official split, or its files are not there. Use per-class:N, fraction:F or separate."
        )
    return loaded.official


Way = Callable[[Loaded, Labels, tuple[float, ...], int], Split]

PROTOCOLS: dict[str, tuple[Way, range, str]] = {
    "fraction": (_fraction, range(1, 2), "fraction:F, a share of each class, at random (optimistic)"),
    "official": (_official, range(1), "official, the scene's own split"),
    "per-class": (
        _per_class,
        range(1, 2),
        "per-class:N, N random pixels of each class, at most half of it (optimistic)",
    ),
    "separate": (
        _separate,
        range(3),
        "separate, or separate:SIZE:BUFFER, blocks of the scene with a buffer between",
    ),
}
"""How to split, how many numbers follow the name, and the name spelt out."""


def check_protocol(name: str) -> tuple[str, tuple[float, ...]]:
    """Kind and numbers of a protocol.

    Raises:
        ConfigError: there is no such protocol, or its numbers are not right.

    Example:
        >>> check_protocol("per-class:10")
        ('per-class', (10.0,))
    """
    kind, *rest = name.split(":")
    try:
        values = tuple(float(value) for value in rest)
        if len(values) not in PROTOCOLS[kind][1] or (kind != "fraction" and any(v != int(v) for v in values)):
            raise ValueError
    except (ValueError, KeyError, OverflowError):
        forms = "; ".join(text for _, _, text in PROTOCOLS.values())
        raise ConfigError(f"Got protocol {name!r}; there are: {forms}.") from None
    if kind == "fraction" and not 0 < values[0] < 1:
        raise ConfigError(f"Got protocol {name!r}; the share must be between 0 and 1, as in fraction:0.1.")
    if kind in ("per-class", "separate") and values and (values[0] < 1 or min(values) < 0):
        example = "per-class:10" if kind == "per-class" else "separate:18:3, blocks of 18 px with a buffer of 3 px"
        raise ConfigError(f"Got protocol {name!r}; pixels are counted from 1, and a buffer from 0, as in {example}.")
    return kind, values


def split(name: str, loaded: Loaded, seed: int) -> Split:
    """The training, validation and test pixels of a scene under a protocol.

    Raises:
        SplitError: the scene's classes cannot be split so; the message says which and why.
    """
    kind, values = check_protocol(name)
    labels = loaded.labels.within(loaded.scene.valid)
    found = PROTOCOLS[kind][0](loaded, labels, values, seed)
    valid = loaded.scene.valid
    if not valid.all():
        found = dataclasses.replace(found, train=found.train & valid, val=found.val & valid, test=found.test & valid)
    for part, mask in (("training", found.train), ("test", found.test)):
        if not mask.any():
            raise SplitError(
                f"{loaded.scene.name}, {name}: no {part} pixel holds data. Choose another protocol for this scene."
            )
    return found


def title(name: str) -> str:
    """A protocol for people.

    Example:
        >>> title("fraction:0.1")
        'random, 10 % of each class'
    """
    kind, values = check_protocol(name)
    if kind == "per-class":
        return f"random, {values[0]:g} a class"
    if kind == "fraction":
        return f"random, {values[0] * 100:g} % of each class"
    if kind == "separate" and values:
        return f"separate blocks of {values[0]:g} px" + (f", buffer {values[1]:g} px" if len(values) > 1 else "")
    return {"separate": "separate blocks", "official": "official split"}[kind]
