"""An epoch of GS2 is a partition of the training pixels into class-balanced steps, drawn anew each time."""

from __future__ import annotations

import random

import pytest
import torch

from patchfree.errors import ConfigError, LabelError
from patchfree.sample.stratified import balanced_step, epoch_length, smallest_handful, stratified_epoch

SIZES = (40, 7, 1, 0, 20)  # the edge cases: large, smaller than a handful, single, absent


@pytest.fixture
def classes():
    """The class of each training pixel, in no order."""
    flat = torch.cat([torch.full((size,), k) for k, size in enumerate(SIZES)])
    return flat[torch.randperm(len(flat), generator=generator(0))]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def plain_epoch(classes, m, source):
    """The published description (systems.md, card 1) in plain Python: shuffle every I_k, cut, permute the steps."""
    pixels = {k: [i for i, c in enumerate(classes) if c == k] for k in set(classes)}
    for own in pixels.values():
        source.shuffle(own)
    steps = []
    for t in range(max(-(-len(own) // m) for own in pixels.values())):
        steps.append([i for own in pixels.values() for i in own[t * m : min((t + 1) * m, len(own))]])
    source.shuffle(steps)
    return steps


def compositions(steps, classes):
    """How many pixels of each class each step holds, without the order of the steps."""
    return sorted(tuple(sum(int(classes[i]) == k for i in step) for k in range(len(SIZES))) for step in steps)


@pytest.mark.parametrize("per_class", [1, 3, 7, 20, 40, 1000])
def test_the_steps_are_composed_as_those_of_the_plain_version(classes, per_class):
    found = [step.tolist() for step in stratified_epoch(classes, per_class=per_class, generator=generator(1))]
    plain = plain_epoch(classes.tolist(), per_class, random.Random(1))
    assert compositions(found, classes) == compositions(plain, classes)
    assert len(found) == len(plain) == epoch_length(classes, per_class=per_class)


@pytest.mark.parametrize("per_class", [1, 3, 7, 20, 40, 1000])
def test_each_pixel_appears_exactly_once(classes, per_class):
    steps = stratified_epoch(classes, per_class=per_class, generator=generator(1))
    assert sorted(torch.cat(steps).tolist()) == list(range(len(classes)))
    assert all(len(step) for step in steps)


def test_no_step_holds_more_than_per_class_of_any_class_and_the_last_smaller_handful_is_kept(classes):
    counts = [classes[step].bincount(minlength=5) for step in stratified_epoch(classes, per_class=3)]
    assert max(int(count.max()) for count in counts) == 3
    assert sorted((int(count[0]) for count in counts), reverse=True) == [3] * 13 + [1]
    assert sorted((int(count[1]) for count in counts), reverse=True)[:4] == [3, 3, 1, 0]


def test_same_seed_same_epoch_and_another_seed_another(classes):
    def epoch(seed):
        return [step.tolist() for step in stratified_epoch(classes, per_class=5, generator=generator(seed))]

    assert epoch(7) == epoch(7) != epoch(8)


def test_every_epoch_is_drawn_anew(classes):
    source = generator(0)
    first, second = ([s.tolist() for s in stratified_epoch(classes, per_class=5, generator=source)] for _ in range(2))
    assert {frozenset(step) for step in first} != {frozenset(step) for step in second}


def test_the_steps_come_in_random_order(classes):
    # The step with the single pixel of class 2 is dealt first; it must be visited at any time.
    visited = set()
    for seed in range(60):
        steps = stratified_epoch(classes, per_class=10, generator=generator(seed))
        visited |= {at for at, step in enumerate(steps) if 2 in classes[step]}
    assert visited == {0, 1, 2, 3}


def test_every_pixel_is_as_likely_in_every_handful():
    classes = torch.zeros(4, dtype=torch.int64)
    pairs = [
        frozenset(stratified_epoch(classes, per_class=2, generator=generator(seed))[0].tolist()) for seed in range(600)
    ]
    share = [pairs.count(pair) / 600 for pair in set(pairs)]
    assert len(share) == 6
    assert max(abs(s - 1 / 6) for s in share) < 0.06  # four standard errors


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([200] * 9, 20),  # the authors' training sets
        ([246, 83, 3], 246),
        ([200, 191], 20),
        ([200, 180], 25),
        ([5, 3], 20),
        ([200, 150], 67),
    ],
)
def test_the_smallest_handful_puts_every_class_into_every_step(sizes, expected):
    classes = torch.cat([torch.full((size,), k) for k, size in enumerate(sizes)])

    def every_class_in_every_step(handful):
        return all(len(classes[s].unique()) == len(sizes) for s in stratified_epoch(classes, per_class=handful))

    found = smallest_handful(classes, least=20)
    searched = next(m for m in range(20, 1000) if every_class_in_every_step(m))
    assert found == searched


@pytest.mark.parametrize("per_class", [1, 3, 20, 1000])
def test_a_balanced_step_holds_every_class_up_to_per_class(classes, per_class):
    step = balanced_step(classes, per_class=per_class, generator=generator(2))
    assert classes[step].bincount(minlength=5).tolist() == [min(size, per_class) for size in SIZES]
    assert len(step.unique()) == len(step)


def test_balanced_steps_reach_every_pixel_and_repeat_with_their_seed(classes):
    steps = [balanced_step(classes, per_class=5, generator=generator(seed)) for seed in range(80)]
    assert len(torch.cat(steps).unique()) == len(classes)
    assert steps[3].tolist() == balanced_step(classes, per_class=5, generator=generator(3)).tolist()


@pytest.mark.parametrize("draw", [stratified_epoch, balanced_step])
def test_no_training_pixel_is_refused_with_advice(draw):
    with pytest.raises(LabelError, match=r"no training pixel.*same grid as the scene"):
        draw(torch.zeros(0, dtype=torch.int64), per_class=20)


@pytest.mark.parametrize("draw", [stratified_epoch, balanced_step])
def test_less_than_one_pixel_a_class_is_refused(draw, classes):
    with pytest.raises(ConfigError, match="per_class=0, need at least 1; the authors use 20"):
        draw(classes, per_class=0)


def test_the_global_random_state_is_left_alone_when_a_generator_is_given(classes):
    before = torch.get_rng_state()
    stratified_epoch(classes, per_class=3, generator=generator(0))
    assert torch.equal(torch.get_rng_state(), before)
