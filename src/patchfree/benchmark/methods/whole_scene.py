"""Networks that see the whole scene: every recipe of patchfree as a method of the benchmark."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float32

from patchfree.benchmark.machine import flops
from patchfree.benchmark.method import Fitted, Method, Training
from patchfree.citations import METHODS as REFERENCES
from patchfree.fit import Trainer, class_offsets
from patchfree.heap import freed_memory_kept
from patchfree.models import MODELS
from patchfree.predict import predict_scores
from patchfree.progress import Progress
from patchfree.recipes import Recipe
from patchfree.standardise import Standardisation
from patchfree.training import memory_plan

TITLES = {
    "default": "patchfree (default recipe)",
    "paper": "FreeNet as published",
    "paper, 20 a class": "FreeNet, 20 pixels a class each step",
    "paper, all pixels": "FreeNet, all pixels each step",
}


def recipe_method(recipe: Recipe, *, cost: int) -> Method:
    """A recipe as a method, trained on all labels that the protocol grants, as the other methods are."""
    title = TITLES.get(recipe.name, f"patchfree, recipe {recipe.name}")
    return Method(
        title,
        lambda training: fit(recipe, training),
        {"recipe": dataclasses.asdict(recipe), "apart": dataclasses.asdict(recipe.resolved(apart=True))},
        REFERENCES[MODELS[recipe.model].references[0]],
        cost,
        modules=("benchmark.methods.whole_scene",),
    )


def fit(recipe: Recipe, training: Training) -> Fitted:
    """Train a whole-scene network by a recipe."""
    recipe = recipe.resolved(apart=training.apart)
    if training.steps:
        recipe = dataclasses.replace(recipe, steps=training.steps)
    # Timed with the rest: what a recipe takes of the bands is part of its work.
    standard = Standardisation.of(training.scene, recipe.components, principal=recipe.principal)
    values, k = standard.apply(training.scene), len(training.legend)
    bands = standard.inputs
    _, recompute, plenty = memory_plan(training.scene, k, recipe, training.device, None)
    trainer = Trainer(
        values,
        training.valid,
        training.index,
        train=training.learnt,
        val=np.zeros_like(training.val),
        classes=k,
        recipe=recipe,
        seed=training.seed,
        device=training.device,
        recompute=recompute,
    )
    with freed_memory_kept(plenty):  # as in `patchfree train`
        for step in trainer.run():
            training.tell(Progress("training", step.number, step.of, step.loss))
    offsets = class_offsets(training.index, training.learnt, k, recipe)
    absent = [i for i in range(k) if not (training.index == i + 1).any()]

    def score() -> Float32[np.ndarray, "k h w"]:
        with freed_memory_kept(plenty):
            scores = predict_scores(trainer.model, values, training.valid, device=training.device)
        scores += offsets[:, None, None]
        scores[absent] = scores.min() - 1  # never mapped, as in a run
        return scores

    def operations(*, backward: bool) -> int:
        return flops(MODELS[recipe.model](bands=bands, classes=k), (1, bands, *training.index.shape), backward=backward)

    return Fitted(
        score,
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        train_flop=lambda: float(recipe.steps * operations(backward=True)),
        predict_flop=lambda: float(operations(backward=False)),
        precision=str(trainer.precision).removeprefix("torch."),
        settings={
            name: value
            for name, value in dataclasses.asdict(recipe).items()
            if name in ("steps", "learning_rate", "shuffle", "model", "components", "principal")
        },
    )
