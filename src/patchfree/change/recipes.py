"""How to train the networks of two dates: a recipe for each, by the network's name."""

from __future__ import annotations

import dataclasses
from typing import Any

from patchfree.errors import ConfigError
from patchfree.models import MODELS
from patchfree.recipes import Recipe

DEFAULT = "siamese-freenet"

_SPARSE = Recipe(
    name="change",
    model=DEFAULT,
    steps=60,
    optimiser="adamw",
    learning_rate=1e-3,
    schedule="one-cycle",
    warm_up=0.3,
    weight_decay=1e-2,
    clip=1.0,
    sampling="balanced",
    label_smoothing=0.1,
    shuffle="auto",
)
"""Sparse labels of one pair."""

CHANGE_RECIPES: dict[str, Recipe] = {
    "ar-cdnet": dataclasses.replace(
        _SPARSE, name="ar-cdnet", model="ar-cdnet", steps=120, sampling="all", loss="deep-supervision", held_out=0.2
    ),
    # Li et al. 2023: AdamW, batches of 8 pairs of full masks, mirrored and swapped. The warm-up is part of a one-cycle schedule here,
    # and pairs are not cropped at random.
    "ar-cdnet-rgb": Recipe(
        name="ar-cdnet-rgb",
        model="ar-cdnet-rgb",
        steps=400,
        optimiser="adamw",
        learning_rate=5e-4,
        schedule="one-cycle",
        warm_up=0.1,
        weight_decay=1e-2,
        clip=10.0,
        sampling="all",
        loss="deep-supervision",
        flips=True,
        swap=True,
        batch=8,
    ),
    "fc-siam-diff": dataclasses.replace(_SPARSE, name="fc-siam-diff", model="fc-siam-diff"),
    "siamese-freenet": dataclasses.replace(_SPARSE, name="siamese-freenet", taught=1.0),
    "unet": dataclasses.replace(_SPARSE, name="unet", model="unet", swap=True),
}


def change_recipe(model: str = DEFAULT, **changes: Any) -> Recipe:  # noqa: ANN401 - the fields of Recipe
    """The recipe of a network of two dates.

    Args:
        model: its name in `patchfree.models.MODELS`.
        changes: settings in place of the recipe's.

    Raises:
        ConfigError: there is no such network or setting, or a value is out of range.

    Example:
        >>> change_recipe("unet", steps=20).steps
        20
    """
    if model not in CHANGE_RECIPES:
        other = f" {model} is a network of one date." if model in MODELS else ""
        raise ConfigError(f"Got model {model!r}; for changes there are {', '.join(sorted(CHANGE_RECIPES))}.{other}")
    unknown = changes.keys() - {field.name for field in dataclasses.fields(Recipe)}
    if unknown:
        raise ConfigError(f"A recipe has no setting {', '.join(sorted(unknown))}; see patchfree.Recipe.")
    return dataclasses.replace(CHANGE_RECIPES[model], **changes)
