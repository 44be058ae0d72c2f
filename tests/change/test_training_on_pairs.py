"""Steps on several pairs: batches are drawn once an epoch, repeat, resume, and their gradient is that of all pairs together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dated import pair_with_blobs, some_labels
from patchfree.change.recipes import change_recipe
from patchfree.fit import Trainer
from patchfree.series import join_labels, join_scenes
from patchfree.standardise import Standardisation

CPU = torch.device("cpu")


def trainer(recipe, *, count=3, side=16, seed=0, bands=3):
    pairs = [pair_with_blobs(side=side, bands=bands, share=0.2, seed=number) for number in range(count)]
    series = join_scenes([pair.stacked() for pair, _ in pairs])
    labels = join_labels(series, [some_labels(changed, share=0.9) for _, changed in pairs])
    return Trainer(
        Standardisation.of(series).apply(series),
        series.valid,
        labels.index,
        train=labels.index > 0,
        val=np.zeros_like(series.valid),
        classes=2,
        recipe=recipe,
        seed=seed,
        device=CPU,
        windows=series.passes,
    )


def test_an_epoch_of_batches_sees_each_pair_once():
    made = trainer(change_recipe("unet", sampling="all", batch=2, shuffle=False, steps=4))
    seen = []
    for step in range(2):
        made.steps_done = step
        seen += made.piece_of[made._chosen()].unique().tolist()
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("model", ["unet", "ar-cdnet"])
def test_the_same_seed_gives_the_same_bits_and_a_resumed_training_too(model):
    recipe = change_recipe(model, sampling="all", batch=2, shuffle=True, flips=True, swap=True, steps=4)
    whole, cut = trainer(recipe), trainer(recipe)
    losses = [step.loss for step in whole.run()]
    steps = cut.run()
    first = [next(steps).loss for _ in range(2)]
    resumed = trainer(recipe)
    resumed.restore(cut.state())
    assert first + [step.loss for step in resumed.run()] == losses
    state = resumed.state()
    for name, value in whole.state().items():
        assert torch.equal(value, state[name]), name


def test_a_network_with_batch_statistics_sees_pairs_of_one_size_together():
    pytest.importorskip("timm", reason="needs the extra change")
    made = trainer(change_recipe("ar-cdnet-rgb", steps=1), side=64)  # two pixels a side at its coarsest
    assert [len(group) for group in made._groups()] == [3]
    assert np.isfinite([step.loss for step in made.run()]).all()


def test_deep_supervision_teaches_the_side_outputs_and_the_uncertainty():
    made = trainer(change_recipe("ar-cdnet", steps=1, shuffle=False))
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    next(made.run())
    changed = {name for name, value in made.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"uncertainty_head.last.weight", "sides.3.last.weight", "head.last.weight"} <= changed


def test_held_out_pixels_are_a_share_of_the_training_pixels_that_the_seed_repeats():
    recipe = change_recipe("ar-cdnet", steps=1)
    first, again, other = trainer(recipe), trainer(recipe), trainer(recipe, seed=1)
    assert torch.equal(first.held, again.held)
    assert not torch.equal(first.held, other.held)
    assert first.held.float().mean() == pytest.approx(recipe.held_out, abs=0.06)
    assert not trainer(dataclasses.replace(recipe, held_out=0.0)).held.any()
