"""A training is repeatable to the bit, can be interrupted anywhere, and learns from the training pixels only."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from conftest import synthetic
from patchfree import fit
from patchfree.controls import run_control
from patchfree.errors import SplitError, TrainingFailed
from patchfree.fit import Trainer, class_offsets, learning_rate
from patchfree.predict import predict_scores
from patchfree.recipes import RECIPES, Recipe, get_recipe
from patchfree.split import random_split
from patchfree.standardise import Standardisation

pytestmark = pytest.mark.usefixtures("several_threads")

CPU = torch.device("cpu")
STEPS = 12


def small(name, **changes):
    """A recipe cut to a few steps, in single precision whatever the machine prefers."""
    return dataclasses.replace(RECIPES[name], **{"steps": STEPS, "shuffle": False, "precision": "float32"} | changes)


@dataclasses.dataclass
class Case:
    """What a trainer is made of; `trainer` makes one with some of it changed."""

    values: np.ndarray
    valid: np.ndarray
    index: np.ndarray
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    teacher: np.ndarray | None = None

    def trainer(self, recipe, *, seed=0, **changes):
        case = dataclasses.replace(self, **changes)
        return Trainer(
            case.values,
            case.valid,
            case.index,
            train=case.train,
            val=case.val,
            classes=3,
            recipe=recipe,
            seed=seed,
            device=CPU,
            teacher=case.teacher,
        )


@pytest.fixture
def case():
    scene, labels = synthetic(rows=18, cols=21)
    split = random_split(labels, per_class=30, seed=0)
    return Case(Standardisation.of(scene).apply(scene), scene.valid, labels.index, split.train, split.val, split.test)


def finished(trainer):
    for _ in trainer.run():
        pass
    return trainer


def same(one, other):
    """Whether two trainers stand at the same bits, optimiser included."""
    ours, theirs = one.state(), other.state()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("shuffle", [False, True], ids=["laid out as it is", "shuffled"])
@pytest.mark.parametrize("name", sorted(RECIPES))
class TestRepeatable:
    def test_same_seed_same_bits_and_another_seed_other_bits(self, case, name, shuffle):
        first, again, other = (finished(case.trainer(small(name, shuffle=shuffle), seed=s)) for s in (3, 3, 4))
        assert same(first, again)
        assert not same(first, other)

    @pytest.mark.parametrize("after", [1, 7])
    def test_a_training_that_was_interrupted_ends_at_the_same_bits(self, case, name, shuffle, after):
        recipe = small(name, shuffle=shuffle)
        whole = finished(case.trainer(recipe))
        first = case.trainer(recipe)
        for step in first.run():
            if step.number == after:
                break
        second = case.trainer(recipe)
        second.restore(first.state())
        rest = [step.number for step in second.run()]
        assert rest == list(range(after + 1, STEPS + 1))
        assert same(second, whole)

    def test_the_global_random_state_is_left_alone(self, case, name, shuffle):
        torch.manual_seed(99)
        before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one
        finished(case.trainer(small(name, steps=3, shuffle=shuffle)))
        assert torch.equal(torch.get_rng_state(), before)
        assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002

    def test_the_global_random_state_does_not_matter(self, case, name, shuffle):
        torch.manual_seed(1)
        first = finished(case.trainer(small(name, steps=3, shuffle=shuffle)))
        torch.manual_seed(2)
        assert same(first, finished(case.trainer(small(name, steps=3, shuffle=shuffle))))

    def test_nothing_is_learnt_from_the_labels_of_test_pixels(self, case, name, shuffle):
        recipe = small(name, shuffle=shuffle)
        index = case.index.copy()
        index[case.test] = np.random.default_rng(0).permutation(index[case.test])
        assert (index != case.index).any()
        assert same(finished(case.trainer(recipe)), finished(case.trainer(recipe, index=index)))

    def test_validation_pixels_are_looked_at_and_not_learnt_from(self, case, name, shuffle):
        recipe = small(name, shuffle=shuffle)
        nothing = np.zeros_like(case.val)
        assert same(finished(case.trainer(recipe)), finished(case.trainer(recipe, val=nothing)))


def test_the_labels_of_training_pixels_matter(case):
    index = np.where(case.train, case.index % 3 + 1, case.index)
    assert not same(finished(case.trainer(small("default"))), finished(case.trainer(small("default"), index=index)))


@pytest.mark.parametrize("sampling", ["gs2", "balanced", "all"])
def test_pixels_without_data_are_never_trained_on(case, sampling):
    recipe = small("default", sampling=sampling, shuffle=True)
    valid = np.random.default_rng(0).random(case.valid.shape) > 0.2
    values = np.where(valid, case.values, np.float32(0))
    index = np.where(valid, case.index, case.index % 3 + 1)
    holes = {"values": values, "valid": valid}
    assert (case.train & ~valid).any()
    plain = finished(case.trainer(recipe, train=case.train & valid, val=case.val & valid, **holes))
    assert same(plain, finished(case.trainer(recipe, index=index, **holes)))


def test_training_pixels_that_all_lack_data_are_refused(case):
    with pytest.raises(SplitError, match=r"None of the 81 training pixels holds data.*Check the nodata value"):
        case.trainer(small("default"), valid=~case.train)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_values_that_break_the_training_are_reported_and_the_weights_stay_finite(case, value):
    values = case.values.copy()
    values[3, 5, 5] = value
    trainer = case.trainer(small("default"), values=values)
    before = trainer.state()
    with pytest.raises(TrainingFailed, match=r"step 1 of 12.*Try a lower --learning-rate.*value range"):
        finished(trainer)
    assert trainer.steps_done == 0
    assert all(value.isfinite().all() for value in trainer.state().values())
    assert all(torch.equal(before[name], value) for name, value in trainer.state().items())


def test_records_count_the_steps_and_hold_the_rate_and_the_validation_accuracy(case):
    recipe = small("default", steps=20)
    records = list(case.trainer(recipe).run())
    assert [record.number for record in records] == list(range(1, 21))
    assert [record.learning_rate for record in records] == [learning_rate(recipe, i) for i in range(20)]
    assert [r.number for r in records if r.validation_accuracy is not None] == list(range(2, 21, 2))
    assert all(0 <= r.validation_accuracy <= 1 for r in records if r.validation_accuracy is not None)
    assert records[-1].loss < records[0].loss
    assert all(a.seconds <= b.seconds for a, b in pairwise(records))


def test_without_validation_pixels_none_is_measured(case):
    records = list(case.trainer(small("default"), val=np.zeros_like(case.val)).run())
    assert {record.validation_accuracy for record in records} == {None}


def test_the_gradient_is_clipped(case):
    tight, loose = (case.trainer(small("paper", clip=clip, steps=1, weight_decay=0.0)) for clip in (1e-6, 35.0))
    before = torch.cat([p.detach().flatten().clone() for p in tight.model.parameters()])
    moved = [
        (torch.cat([p.detach().flatten() for p in finished(t).model.parameters()]) - before).norm()
        for t in (tight, loose)
    ]
    # SGD's first step is rate x gradient.
    assert moved[0] < 2e-6 * 1e-3 < moved[1]


def test_every_step_lays_the_scene_out_anew(case, monkeypatch):
    seeds = []

    def spied(change):
        def call(*given, generator):
            seeds.append(generator.initial_seed())
            return change(*given, generator=generator)

        return call

    monkeypatch.setattr(fit, "shuffle_scene", spied(fit.shuffle_scene))
    finished(case.trainer(small("default", steps=3, shuffle=True)))
    assert len(set(seeds)) == len(seeds) == 3


@pytest.mark.parametrize("seed", [0, 1])
def test_gs2_training_sees_every_training_pixel_once_an_epoch(case, seed):
    trainer = case.trainer(small("paper", per_class=10, every_class=False), seed=seed)
    seen = []
    for trainer.steps_done in range(3):
        seen.append(trainer._chosen())
    assert sorted(torch.cat(seen).tolist()) == list(range(int(case.train.sum())))
    trainer.steps_done = 3
    assert trainer._chosen().tolist() not in [chosen.tolist() for chosen in seen]


def test_the_paper_recipe_has_every_class_in_every_step(case):
    trainer = case.trainer(small("paper", per_class=10))
    for trainer.steps_done in range(4):
        assert len(trainer.classes[trainer._chosen()].unique()) == len(trainer.classes.unique())
    assert case.trainer(small("paper", per_class=10, every_class=False)).per_class == 10


class TestClassOffsets:
    INDEX = np.array([[1, 1, 1, 2, 3, 3, 4]])
    TRAIN = np.array([[True, True, True, True, False, False, False]])

    def recipe(self, prior, per_class=1, **changes):
        return get_recipe("default", prior=prior, per_class=per_class, **changes)

    def test_they_put_the_frequencies_of_the_training_pixels_back_as_far_as_the_prior_says(self):
        found = class_offsets(self.INDEX, self.TRAIN, 4, self.recipe(0.5))
        # One pixel of each class is drawn, three and one are there: 3/4 and 1/4 in place of a half each.
        np.testing.assert_allclose(found[:2], [0.5 * np.log(1.5), 0.5 * np.log(0.5)], rtol=1e-6)

    @pytest.mark.parametrize("changes", [{"per_class": 3}, {"per_class": 60}, {"sampling": "all"}])
    def test_what_the_network_is_shown_as_often_as_it_occurs_needs_none(self, changes):
        assert not class_offsets(self.INDEX, self.TRAIN, 4, self.recipe(1.0, **changes)).any()

    def test_classes_that_are_drawn_whole_are_raised_alike(self):
        index = np.repeat([1, 2, 3], [100, 10, 2])[None]
        found = class_offsets(index, index > 0, 3, self.recipe(1.0, per_class=20))
        assert found[1] == pytest.approx(found[2], abs=1e-6)
        # So that the odds of the large class against them are those of all its pixels.
        assert found[0] - found[1] == pytest.approx(np.log(100 / 20), abs=1e-5)

    def test_classes_without_a_training_pixel_get_none(self):
        assert class_offsets(self.INDEX, self.TRAIN, 4, self.recipe(1.0))[2:].tolist() == [0, 0]

    def test_without_a_prior_there_are_none(self):
        assert not class_offsets(self.INDEX, self.TRAIN, 4, self.recipe(0.0)).any()


class TestLearningRate:
    POLY = Recipe(
        name="p", model="freenet", steps=1000, optimiser="sgd", learning_rate=1e-3, schedule="poly",
        weight_decay=0.0, clip=1.0, sampling="all",
    )  # fmt: skip
    CYCLE = dataclasses.replace(POLY, schedule="one-cycle", warm_up=0.3, steps=100, learning_rate=0.02)

    @pytest.mark.parametrize("step", [0, 1, 500, 999])
    def test_poly_falls_as_published(self, step):
        assert learning_rate(self.POLY, step) == pytest.approx(1e-3 * (1 - step / 1000) ** 0.9, rel=1e-12)

    def test_poly_of_the_paper_at_half_time(self):
        assert learning_rate(RECIPES["paper"], 500) == pytest.approx(5.3589e-4, rel=1e-4)

    def test_one_cycle_starts_at_a_25th_peaks_after_the_warm_up_and_ends_near_zero(self):
        rates = [learning_rate(self.CYCLE, step) for step in range(100)]
        assert rates[0] == pytest.approx(0.02 / 25)
        assert rates[15] == pytest.approx(0.02 * (1 + 1 / 25) / 2)
        assert rates[30] == max(rates) == 0.02
        assert rates[65] == pytest.approx(0.01)
        assert rates[99] == pytest.approx(0.02 * (1 + math.cos(math.pi * 69 / 70)) / 2)
        assert rates[:31] == sorted(rates[:31])
        assert rates[30:] == sorted(rates[30:], reverse=True)

    @pytest.mark.parametrize("schedule", ["poly", "one-cycle"])
    @pytest.mark.parametrize("warm_up", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("steps", [1, 2, 7])
    def test_every_rate_of_a_short_training_is_positive_and_at_most_the_peak(self, schedule, steps, warm_up):
        recipe = dataclasses.replace(self.POLY, schedule=schedule, steps=steps, warm_up=warm_up)
        assert all(0 < learning_rate(recipe, step) <= 1e-3 for step in range(steps))


def test_a_short_training_beats_an_svm_of_single_spectra_by_more_than_ten_points():
    scene, labels = synthetic(rows=36, cols=36, noise=1.0, seed=0)
    split = random_split(labels, per_class=20, seed=0)
    values = Standardisation.of(scene).apply(scene)
    learnt, truth = split.train | split.val, labels.index[split.test]
    found, _ = run_control("svm", values[:, learnt].T, labels.index[learnt], values[:, split.test].T, seed=0)
    svm = (found == truth).mean()
    case = Case(values, scene.valid, labels.index, split.train, split.val, split.test)
    trainer = finished(case.trainer(small("default", steps=60)))
    scores = predict_scores(trainer.model, values, scene.valid, device=CPU)
    ours = (scores.argmax(0) + 1 == labels.index)[split.test].mean()
    assert 0.6 < svm < 0.85
    assert ours > svm + 0.1


class TestTaught:
    @pytest.fixture
    def said(self, case):
        """A teacher that knows the classes of all pixels nearly surely."""
        return np.where(np.arange(1, 4)[:, None, None] == case.index, 0.9, 0.05).astype(np.float32)

    def test_a_training_that_was_interrupted_ends_at_the_same_bits(self, case, said):
        recipe = small("default", taught=1.0, taught_pixels=50, shuffle=True)
        whole = finished(case.trainer(recipe, teacher=said))
        first = case.trainer(recipe, teacher=said)
        for step in first.run():
            if step.number == 5:
                break
        second = case.trainer(recipe, teacher=said)
        second.restore(first.state())
        assert same(finished(second), whole)
        assert not same(whole, finished(case.trainer(recipe)))

    def test_it_teaches_at_pixels_that_have_data_and_do_not_train(self, case, said):
        recipe = small("default", taught=1.0, taught_pixels=50)
        case.valid[:3] = False
        deaf = said.copy()
        deaf[:, case.train | ~case.valid] = np.nan
        assert same(*(finished(case.trainer(recipe, teacher=each)) for each in (said, deaf)))
        deaf[:, case.valid & ~case.train] = 1 / 3
        assert not same(*(finished(case.trainer(recipe, teacher=each)) for each in (said, deaf)))

    def test_what_it_says_is_learnt(self, case, said):
        wrong = said[[1, 2, 0]]
        recipe = small("default", taught=20.0, steps=60, learning_rate=3e-3)
        trainer = finished(case.trainer(recipe, teacher=wrong))
        scores = predict_scores(trainer.model, case.values, case.valid, device=CPU)
        assert (scores.argmax(0) == wrong.argmax(0))[case.test].mean() > 0.8

    def test_without_a_teacher_nothing_changes(self, case):
        taught, plain = (small("default", taught=weight) for weight in (1.0, 0.0))
        assert same(finished(case.trainer(taught)), finished(case.trainer(plain)))
