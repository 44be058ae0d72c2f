"""How to train: every recipe by name. Adding one is one line in RECIPES."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from patchfree.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """All settings of a training.

    Attributes:
        name: the recipe's name.
        model: name in `patchfree.models.MODELS`.
        components: how many noise-adjusted components of the bands the network sees (`patchfree.standardise`); 0 for the
            bands themselves, as it does where there are no more bands than that.
        principal: how many principal components of the bands it sees beside those; together there are no more than bands.
        steps: optimiser steps of each of the network's members (most have one); each is one forward and backward pass of the whole scene.
        optimiser: "sgd" (momentum 0.9) or "adamw".
        learning_rate: peak rate.
        schedule: "poly" (falls as (1 - step/steps)^0.9) or "one-cycle" (rises over `warm_up`, falls as a cosine).
        warm_up: share of the steps in which the one-cycle rate rises.
        weight_decay: of the optimiser.
        clip: largest norm of the gradient.
        sampling: "gs2" (stratified mini-batches, in epochs), "balanced" (each step draws from every class) or "all"
            (every training pixel in every step).
        per_class: most pixels of one class in one step, for "gs2" and "balanced".
        every_class: for "gs2": raise `per_class` until every class is in every step of an epoch, as it is in the paper,
            which trains on equally many pixels of each class (`smallest_handful`).
        label_smoothing: share of the target spread over all classes.
        shuffle: cut the scene into blocks and lay them out anew at each step, so that the network cannot learn the
            layout; "auto" does so where the test pixels lie apart from the training pixels, and sets `model`, `steps`
            and `prior` accordingly (`resolved`).
        apart_model: the network when "auto" shuffles; None for the same as otherwise.
        apart_steps: steps when "auto" shuffles; None for as many as otherwise.
        prior: how much of the training pixels' class frequencies is put back into the scores, 0 to 1: balanced steps
            show small classes more often than they occur, which favours the average over the overall accuracy.
        loss: "cross-entropy" of the scores, or "deep-supervision" of all that the network predicts, which needs one with side
            outputs and an uncertainty (`patchfree.losses`).
        held_out: for "deep-supervision": share of the training pixels of which only the uncertainty learns. At pixels that the scores
            learn too, errors vanish as the network fits them, and with them the uncertainty.
        taught: how much what a teacher says of unlabelled pixels counts beside the labels, which count 1; 0 for no teacher. It is for tasks
            that have one: changes (`patchfree.change.teacher`).
        taught_pixels: unlabelled pixels of a scene in one step.
        flips: mirror each scene at random at each step.
        swap: of pairs: swap the dates at random at each step.
        batch: scenes that a step sees, of several; None for all. Needs "all" sampling.
        precision: "float32", "bfloat16", or "auto": bfloat16 where the device computes it natively.
    """

    name: str
    model: str
    steps: int
    optimiser: Literal["sgd", "adamw"]
    learning_rate: float
    schedule: Literal["poly", "one-cycle"]
    weight_decay: float
    clip: float
    sampling: Literal["gs2", "balanced", "all"]
    components: int = 0
    principal: int = 0
    warm_up: float = 0.0
    per_class: int = 20
    every_class: bool = False
    label_smoothing: float = 0.0
    shuffle: bool | Literal["auto"] = False
    apart_model: str | None = None
    apart_steps: int | None = None
    prior: float = 0.0
    loss: Literal["cross-entropy", "deep-supervision"] = "cross-entropy"
    held_out: float = 0.0
    taught: float = 0.0
    taught_pixels: int = 4000
    flips: bool = False
    swap: bool = False
    batch: int | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"Got steps={self.steps}; need at least 1.")
        if not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"Got learning_rate={self.learning_rate:g}; need a positive number such as 0.001.")
        ranges = {"clip": (1e-9, 1e9), "per_class": (1, 1e9), "weight_decay": (0, 1), "label_smoothing": (0, 0.99)}
        ranges |= {
            "warm_up": (0, 1),
            "prior": (0, 1),
            "held_out": (0, 0.9),
            "components": (0, 1e6),
            "principal": (0, 1e6),
        }
        ranges |= {"taught": (0, 100), "taught_pixels": (1, 1e9)}
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"Got {name}={getattr(self, name):g}; need {low:g} to {high:g}.")
        if self.taught and self.loss != "cross-entropy":
            raise ConfigError(
                f"Got taught={self.taught:g} with loss={self.loss}; a teacher needs loss='cross-entropy'."
            )
        if self.batch is not None and (self.batch < 1 or self.sampling != "all"):
            raise ConfigError(
                f"Got batch={self.batch} with {self.sampling} sampling; need at least 1, and sampling='all': the other ways draw from "
                "the pixels of all scenes in each step."
            )

    def resolved(self, *, apart: bool) -> Recipe:
        """The recipe with "auto" replaced: for test pixels that lie apart from the training pixels, or among them."""
        if self.shuffle != "auto":
            return self
        settled = dataclasses.replace(self, shuffle=apart, apart_model=None, apart_steps=None)
        if apart:
            return dataclasses.replace(
                settled, model=self.apart_model or self.model, steps=self.apart_steps or self.steps
            )
        return dataclasses.replace(settled, prior=0.0)


RECIPES: dict[str, Recipe] = {
    # Ours: a narrow network on few components, AdamW one-cycle with a tight clip and label smoothing; docs/log.md has the
    # experiments behind each value.
    "default": Recipe(
        name="default",
        model="freenet-smooth",
        components=20,
        principal=20,
        steps=100,
        optimiser="adamw",
        learning_rate=1e-3,
        schedule="one-cycle",
        warm_up=0.3,
        weight_decay=1e-2,
        clip=1.0,
        sampling="balanced",
        per_class=100,
        label_smoothing=0.1,
        shuffle="auto",
        apart_model="freenet-ensemble",
        apart_steps=250,
        prior=0.5,
    ),
    # Zheng et al. 2020, with the clip of the authors' code; fp32 as there.
    "paper": Recipe(
        name="paper",
        model="freenet",
        steps=1000,
        optimiser="sgd",
        learning_rate=1e-3,
        schedule="poly",
        weight_decay=1e-3,
        clip=35.0,
        sampling="gs2",
        every_class=True,
        precision="float32",
    ),
}


def get_recipe(name: str, **changes: Any) -> Recipe:  # noqa: ANN401 - the fields of Recipe
    """The recipe of this name.

    Args:
        name: "default" or "paper".
        changes: settings in place of the recipe's; `model` and `steps` hold wherever the test pixels lie.

    Raises:
        ConfigError: there is no such recipe or setting, or a value is out of range.

    Example:
        >>> get_recipe("paper", steps=200).steps
        200
    """
    if name not in RECIPES:
        raise ConfigError(f"Got recipe {name!r}; there are {', '.join(sorted(RECIPES))}.")
    unknown = changes.keys() - {field.name for field in dataclasses.fields(Recipe)}
    if unknown:
        raise ConfigError(f"A recipe has no setting {', '.join(sorted(unknown))}; see patchfree.Recipe.")
    for setting in ("model", "steps"):
        if setting in changes:
            changes.setdefault(f"apart_{setting}", None)
    return dataclasses.replace(RECIPES[name], **changes)
