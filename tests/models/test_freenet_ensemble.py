"""Networks whose probabilities are averaged: each is trained as if it were alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from conftest import synthetic
from patchfree.fit import Trainer
from patchfree.models.freenet_ensemble import MEMBERS, MOST, SPECTRA, FreeNetEnsemble, weights_of
from patchfree.models.freenet_smooth import FreeNetSmooth
from patchfree.recipes import get_recipe
from patchfree.split import random_split
from patchfree.standardise import USUAL, Standardisation, mixed_neighbours
from patchfree.stream.budget import training_bytes

STEPS = 3


def small():
    """A small scene, its labels and a split."""
    scene, labels = synthetic(rows=16, cols=19)
    return scene, labels, random_split(labels, per_class=12, seed=0)


@pytest.fixture
def trainer():
    """A trainer of a network of this name on a small scene."""
    scene, labels, split = small()

    def made(model):
        recipe = get_recipe("default", model=model, steps=STEPS, precision="float32", weight_decay=0.5).resolved(
            apart=True
        )
        return Trainer(
            Standardisation.of(scene).apply(scene), scene.valid, labels.index, train=split.train, val=split.val,
            classes=len(labels.legend), recipe=recipe, seed=2, device=torch.device("cpu"),
        )  # fmt: skip

    return made


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_first_member_becomes_what_it_would_become_alone(trainer):
    together, alone = trainer("freenet-ensemble"), trainer("freenet-half")
    for _ in together.run():
        pass
    losses = [step.loss for step in alone.run()]
    assert len(losses) == STEPS
    assert equal(weights(together.model.members[0]), weights(alone.model))


def test_members_are_trained_one_after_the_other_with_a_rate_that_rises_and_falls_for_each(trainer):
    job = trainer("freenet-ensemble")
    seen, rates = [weights(network) for network in job.model.members], []
    for step in job.run():
        now = [weights(network) for network in job.model.members]
        changed = [i for i, (one, other) in enumerate(zip(seen, now, strict=True)) if not equal(one, other)]
        assert changed == [(step.number - 1) // STEPS]
        seen, rates = now, [*rates, step.learning_rate]
        assert step.of == STEPS * len(MEMBERS)
    assert rates == rates[:STEPS] * len(MEMBERS)


@pytest.mark.parametrize("after", [1, STEPS, STEPS + 1])
def test_an_interrupted_training_ends_at_the_same_bits(trainer, after):
    whole, first, second = (trainer("freenet-ensemble") for _ in range(3))
    for _ in whole.run():
        pass
    for step in first.run():
        if step.number == after:
            break
    second.restore(first.state())
    for _ in second.run():
        pass
    assert equal(second.state(), whole.state())


@pytest.mark.parametrize("mixed", [0.0, 0.25, 0.9])
def test_its_answer_is_the_mean_of_its_members_probabilities_by_their_weights(mixed):
    torch.manual_seed(0)
    network, x = FreeNetEnsemble(bands=5, classes=4).eval(), torch.randn(1, 5, 16, 17)
    prior = torch.tensor([0.5, 0.0, -1.0, 0.2])
    network.prepare(torch.zeros(4, 5), prior, mixed)
    offsets = prior[:, None, None]
    with torch.no_grad():
        parts = [torch.softmax(member.eval()(x) + offsets, 1) for member in network.members]
    expected = sum(weight * part for weight, part in zip(weights_of(mixed), parts, strict=True))
    found = torch.exp(network.maps(x)["unsmoothed"] + offsets)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("mixed", "spectra"), [(0.0, SPECTRA), (0.25, SPECTRA + 0.25), (1.0, MOST)])
def test_spectra_count_the_more_the_closer_together_classes_lie(mixed, spectra):
    first, second, found = weights_of(mixed)
    assert first == second
    assert found == pytest.approx(spectra)
    assert first + second + found == pytest.approx(1)


def test_a_training_tells_its_members_how_mixed_the_classes_are(trainer):
    scene, labels, split = small()
    mixed = mixed_neighbours(labels.index, split.train, scene.windows)
    assert mixed > 5 * USUAL  # pairs of neighbours of the scene count, not those that are assumed
    assert trainer("freenet-ensemble").model.weights.tolist() == pytest.approx(weights_of(mixed))


def test_training_takes_the_memory_of_its_largest_member():
    sizes = [(100, 200)]
    one, several = (kind(bands=20, classes=9) for kind in (FreeNetSmooth, FreeNetEnsemble))
    assert 0.9 < training_bytes(several, sizes, recompute=False) / training_bytes(one, sizes, recompute=False) < 1.1


def test_the_default_recipe_takes_it_where_test_pixels_lie_apart_and_nothing_else_was_asked_for():
    recipe = get_recipe("default")
    assert recipe.resolved(apart=True).model == "freenet-ensemble"
    assert recipe.resolved(apart=False).model == "freenet-smooth"
    assert get_recipe("default", model="freenet-half").resolved(apart=True).model == "freenet-half"
    assert dataclasses.replace(recipe, apart_model=None).resolved(apart=True).model == "freenet-smooth"


def test_a_map_in_evaluation_keeps_no_more_maps_than_it_answers_with():
    network = FreeNetEnsemble(bands=5, classes=4).eval()
    with torch.no_grad():
        assert set(network.maps(torch.zeros(1, 5, 9, 9))) == {"scores"}
    assert np.isfinite(network(torch.zeros(1, 5, 9, 9)).detach().numpy()).all()
