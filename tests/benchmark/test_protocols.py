"""Under every protocol the three parts are disjoint and labelled, counts are exact, and apart means apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from conftest import synthetic
from patchfree.benchmark.loading import Loaded
from patchfree.benchmark.protocols import PROTOCOLS, check_protocol, split, title
from patchfree.errors import ConfigError, SplitError
from patchfree.labels import make_labels
from patchfree.split import given_split

NAMES = [
    "per-class:5",
    "per-class:10",
    "per-class:200",
    "fraction:0.1",
    "fraction:0.5",
    "separate",
    "separate:6",
    "separate:8:2",
]


def scene_with(truth, *, holes=0, seed=0):
    """A loaded scene with these labels; the first `holes` rows hold no data."""
    scene, _ = synthetic(rows=truth.shape[0], cols=truth.shape[1], bands=3)
    valid = np.ones(truth.shape, bool)
    valid[:holes] = False
    return Loaded(dataclasses.replace(scene, valid=valid), make_labels(truth), None)


def random_scene(seed):
    """Fields of random sizes, of 2 to 7 classes, some pixels unlabelled, some without data."""
    rng = np.random.default_rng(seed)
    rows, cols, k = rng.integers(30, 60), rng.integers(30, 60), rng.integers(2, 8)
    sites = rng.uniform((0, 0), (rows, cols), (6 * k, 2))
    places = np.indices((rows, cols)).transpose(1, 2, 0)
    nearest = ((places[:, :, None] - sites) ** 2).sum(-1).argmin(-1)
    truth = nearest % k + 1
    truth[rng.random((rows, cols)) < rng.uniform(0, 0.6)] = 0
    return scene_with(truth, holes=int(rng.integers(0, 4)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", range(8))
def test_parts_are_disjoint_labelled_and_hold_data(name, case):
    loaded = random_scene(case)
    found = split(name, loaded, seed=case)
    parts = np.stack([found.train, found.val, found.test])
    assert parts.sum(0).max() == 1
    assert not (parts.any(0) & ((loaded.labels.index == 0) | ~loaded.scene.valid)).any()
    assert found.train.any()
    assert found.test.any()
    assert found.optimistic == (not name.startswith("separate"))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_split_and_another_another(name):
    loaded = random_scene(3)
    first, again, other = (split(name, loaded, seed) for seed in (1, 1, 2))
    assert (first.codes() == again.codes()).all()
    assert (first.codes() != other.codes()).any()


@pytest.mark.parametrize("size", [5, 10, 30, 50, 200])
@pytest.mark.parametrize("case", range(4))
def test_per_class_trains_on_exactly_n_pixels_or_half_of_a_small_class(size, case):
    loaded = random_scene(case)
    labels = loaded.labels.within(loaded.scene.valid)
    found = split(f"per-class:{size}", loaded, seed=0)
    learnt = labels.within(found.train | found.val).counts
    assert learnt.tolist() == [min(size, max(1, count // 2)) for count in labels.counts]
    assert (labels.within(found.test).counts == labels.counts - learnt).all()
    assert (labels.within(found.val).counts <= round(0.1 * size)).all()
    assert (labels.within(found.train).counts > 0).all()


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_fraction_trains_on_that_share_of_each_class(share):
    loaded = random_scene(5)
    labels = loaded.labels.within(loaded.scene.valid)
    found = split(f"fraction:{share}", loaded, seed=0)
    learnt = labels.within(found.train | found.val).counts
    assert learnt.tolist() == [min(max(3, round(share * n)), n - 1) for n in labels.counts]


@pytest.mark.parametrize(
    ("name", "buffer"), [("separate", 1), ("separate:6", 1), ("separate:12", 2), ("separate:7:3", 3)]
)
@pytest.mark.parametrize("case", range(4))
def test_separate_keeps_its_own_buffer_for_blocks_of_any_size(name, buffer, case):
    found = split(name, random_scene(case), seed=case)
    distance = ndimage.distance_transform_cdt(~(found.train | found.val), "chessboard")
    assert distance[found.test].min() > buffer


@pytest.mark.parametrize("case", range(6))
def test_separate_cuts_between_the_two_places_of_every_class(case):
    """Each class lies in two places far from each other, among unlabelled pixels, as fields do."""
    truth = np.zeros((60, 70), int)
    for k in range(5):
        truth[4 + 11 * k : 9 + 11 * k, 4:10] = k + 1
        truth[4 + 11 * k : 9 + 11 * k, 50:56] = k + 1
    loaded = scene_with(truth)
    found = split("separate:10:2", loaded, seed=case)
    learnt, tested = (loaded.labels.within(mask).counts for mask in (found.train | found.val, found.test))
    assert (learnt > 0).all()
    assert (tested > 0).all()


@pytest.mark.parametrize("buffer", [1, 2, 4])
@pytest.mark.parametrize("case", range(6))
def test_separate_keeps_the_buffer_between_training_and_test(buffer, case):
    found = split(f"separate:10:{buffer}", random_scene(case), seed=case)
    distance = ndimage.distance_transform_cdt(~(found.train | found.val), "chessboard")
    assert distance[found.test].min() > buffer


@pytest.mark.parametrize("case", range(6))
def test_separate_has_every_class_on_both_sides_where_that_can_be(case):
    """Each class covers a strip across the whole scene, so that any layout of blocks can have it on both sides."""
    truth = (np.arange(48)[:, None] // 12 + 1) * np.ones((1, 60), int)
    loaded = scene_with(truth)
    found = split("separate:6:1", loaded, seed=case)
    learnt, tested = (loaded.labels.within(mask).counts for mask in (found.train | found.val, found.test))
    assert (learnt > 0).all()
    assert (tested > 0).all()
    assert (np.abs(learnt / (learnt + tested) - 0.5) < 0.25).all()


def test_a_class_in_one_place_trains_and_is_not_tested():
    truth = np.ones((40, 40), int)
    truth[:20] = 2
    truth[2:4, 2:4] = 3
    loaded = scene_with(truth)
    found = split("separate:10:2", loaded, seed=0)
    assert loaded.labels.within(found.train | found.val).counts[2] > 0
    assert loaded.labels.within(found.test).counts[2] == 0
    assert any("Not tested" in note and "class 3" in note for note in found.notes)


def test_validation_pixels_of_the_official_split_come_out_of_the_training_pixels():
    truth = random_scene(1).labels.restore(random_scene(1).labels.index)
    odd = np.indices(truth.shape).sum(0) % 2 == 0
    labels, official = given_split(make_labels(np.where(odd, truth, 0)), make_labels(np.where(odd, 0, truth)))
    loaded = dataclasses.replace(scene_with(truth), labels=labels, official=official)
    found = split("official", loaded, seed=0)
    assert ((found.train | found.val) == ((truth > 0) & odd)).all()
    assert (found.test == ((truth > 0) & ~odd)).all()
    assert found.val.any()


@pytest.mark.parametrize(
    ("name", "truth", "message"),
    [
        ("official", np.indices((20, 20))[0] // 10 + 1, "synthetic has no official split, or its files are not there"),
        ("per-class:5", np.where(np.eye(20) > 0, 1, 0), "one class only"),
        ("per-class:5", np.where(np.indices((20, 20)).sum(0) == 0, 2, 1), "one labelled pixel only.*2 'class 2'"),
        ("separate:6:5", np.pad(np.array([[1, 2], [2, 1]]), 9), "No class lies in two separate blocks"),
        ("separate:30:2", np.indices((20, 20))[0] // 10 + 1, "the scene would be one block"),
    ],
)
def test_what_cannot_be_split_says_which_and_why(name, truth, message):
    with pytest.raises((SplitError, ConfigError), match=message):
        split(name, scene_with(truth), seed=0)


def test_a_scene_without_data_at_any_label_says_so():
    truth = np.indices((20, 20))[0] // 10 + 1
    with pytest.raises(SplitError, match="no labelled pixel where the scene holds data"):
        split("per-class:5", scene_with(truth, holes=20), seed=0)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "random",
        "per-class",
        "per-class:x",
        "per-class:2.5",
        "per-class:1:2",
        "official:3",
        "separate:1:2:3",
        "per-class:inf",
    ],
)
def test_an_unknown_protocol_is_refused_with_those_there_are(name):
    with pytest.raises(
        ConfigError, match=r"Got protocol .*; there are: fraction:F, .*; separate, or separate:SIZE:BUFFER"
    ):
        check_protocol(name)


@pytest.mark.parametrize(
    "name",
    [
        "per-class:0",
        "per-class:-3",
        "fraction:0",
        "fraction:1",
        "fraction:1.5",
        "fraction:nan",
        "separate:0",
        "separate:5:-1",
    ],
)
def test_numbers_that_no_split_can_follow_are_refused_before_anything_is_done(name):
    with pytest.raises(ConfigError, match=f"Got protocol '{name}'; .* as in "):
        check_protocol(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_has_a_title_of_its_own(name):
    assert len({title(other) for other in NAMES}) == len(NAMES)
    assert check_protocol(name)[0] in PROTOCOLS
