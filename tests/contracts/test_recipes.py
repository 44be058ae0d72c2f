"""What every recipe in RECIPES promises. A new recipe gets these tests by being listed."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from conftest import synthetic
from patchfree.errors import ConfigError
from patchfree.fit import Trainer, learning_rate
from patchfree.models import MODELS
from patchfree.recipes import RECIPES, get_recipe
from patchfree.split import random_split
from patchfree.standardise import Standardisation


@pytest.fixture(params=sorted(RECIPES))
def name(request):
    return request.param


def test_it_is_found_by_its_own_name_and_names_a_model(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert recipe.model in MODELS


def test_its_settings_are_in_range(name):
    recipe = get_recipe(name)
    assert recipe.steps >= 1
    assert recipe.per_class >= 1
    assert recipe.clip > 0
    assert recipe.weight_decay >= 0
    assert 0 <= recipe.label_smoothing < 1
    assert 0 <= recipe.warm_up < 1
    assert 0 <= recipe.prior <= 1
    rates = [learning_rate(recipe, step) for step in range(recipe.steps)]
    assert max(rates) <= recipe.learning_rate
    assert min(rates) > 0


def test_it_cannot_be_changed(name):
    with pytest.raises(dataclasses.FrozenInstanceError, match="steps"):
        get_recipe(name).steps = 3


@pytest.mark.parametrize("apart", [False, True])
def test_it_is_resolved_once_and_for_all(name, apart):
    recipe = get_recipe(name).resolved(apart=apart)
    assert isinstance(recipe.shuffle, bool)
    assert recipe.resolved(apart=not apart) == recipe


def test_auto_shuffles_where_test_pixels_lie_apart_and_leaves_the_scene_alone_where_they_do_not():
    recipe = dataclasses.replace(RECIPES["default"], steps=10, shuffle="auto", apart_steps=30, prior=0.5)
    apart, among = recipe.resolved(apart=True), recipe.resolved(apart=False)
    assert (apart.shuffle, apart.steps, apart.prior) == (True, 30, 0.5)
    assert (among.shuffle, among.steps, among.prior) == (False, 10, 0.0)
    assert dataclasses.replace(recipe, apart_steps=None).resolved(apart=True).steps == 10


@pytest.mark.parametrize("shuffle", [False, True])
def test_it_trains(name, shuffle):
    scene, labels = synthetic(rows=16, cols=19)
    split = random_split(labels, per_class=12)
    recipe = dataclasses.replace(get_recipe(name), steps=4, shuffle=shuffle)
    trainer = Trainer(
        Standardisation.of(scene).apply(scene),
        scene.valid,
        labels.index,
        train=split.train,
        val=split.val,
        classes=3,
        recipe=recipe,
        seed=0,
        device=torch.device("cpu"),
    )
    before = {k: v.clone() for k, v in trainer.state().items()}
    records = list(trainer.run())
    assert len(records) == 4
    assert all(v.isfinite().all() for v in trainer.state().values())
    assert all(
        not torch.equal(before[k], v) for k, v in trainer.state().items() if k.endswith("conv.weight") and k in before
    )


def test_the_paper_recipe_holds_the_published_settings():
    paper = RECIPES["paper"]
    assert (paper.model, paper.optimiser, paper.schedule, paper.sampling) == ("freenet", "sgd", "poly", "gs2")
    assert (paper.learning_rate, paper.weight_decay, paper.steps) == (1e-3, 1e-3, 1000)
    assert (paper.clip, paper.per_class, paper.label_smoothing) == (35.0, 20, 0.0)
    assert (paper.shuffle, paper.prior, paper.precision) == (False, 0.0, "float32")
    assert paper.resolved(apart=True) == paper.resolved(apart=False) == paper


def test_the_paper_recipe_has_the_published_momentum():
    scene, labels = synthetic(rows=8, cols=8)
    everywhere = labels.index > 0
    trainer = Trainer(
        scene.values,
        scene.valid,
        labels.index,
        train=everywhere,
        val=~everywhere,
        classes=3,
        recipe=RECIPES["paper"],
        seed=0,
        device=torch.device("cpu"),
    )
    (group,) = trainer.optimiser.param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"], group["dampening"]) == (0.9, 1e-3, False, 0)
    assert sum(p.numel() for p in group["params"]) == sum(p.numel() for p in trainer.model.parameters())


def test_an_unknown_recipe_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=re.escape(f"Got recipe 'fast'; there are {', '.join(sorted(RECIPES))}.")):
        get_recipe("fast")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0; need at least 1"),
        ({"learning_rate": 0.0}, "learning_rate=0; need a positive number"),
        ({"learning_rate": -1.0}, "learning_rate=-1; need a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate=nan; need a positive number"),
        ({"learning_rate": float("inf")}, "learning_rate=inf; need a positive number"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(RECIPES["default"], **change)


@pytest.mark.parametrize(
    "change",
    [{"clip": 0.0}, {"per_class": 0}, {"prior": 1.5}, {"label_smoothing": 1.0}, {"warm_up": 1.5}],
)
def test_a_setting_out_of_range_is_refused_with_its_range(name, change):
    setting, value = next(iter(change.items()))
    with pytest.raises(ConfigError, match=rf"Got {setting}={value:g}; need "):
        dataclasses.replace(get_recipe(name), **change)
