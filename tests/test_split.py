"""Training, validation and test pixels never meet, whatever the labels, the settings and the seed."""

from __future__ import annotations

import numpy as np
import pytest
from rasterio.crs import CRS

from patchfree.errors import ConfigError, SplitError
from patchfree.labels import make_labels
from patchfree.scene import Grid
from patchfree.split import Split, given_split, leak_audit, random_split


def random_labels(seed):
    """Sparse or dense labels of 2 to 6 classes, none smaller than two pixels."""
    rng = np.random.default_rng(seed)
    h, w, k = (int(n) for n in (*rng.integers(8, 40, 2), rng.integers(2, 7)))
    values = rng.integers(0, k + 1, (h, w)) * (rng.random((h, w)) < rng.choice([0.3, 1.0]))
    values.flat[rng.choice(h * w, 2 * k, replace=False)] = np.repeat(np.arange(1, k + 1) * 3, 2)
    return make_labels(values)


def given(labels, seed):
    part = np.random.default_rng(seed).integers(0, 3, labels.index.shape)
    return given_split(labels.within(part == 0), labels.within(part == 1), val=labels.within(part == 2), seed=seed)[1]


def given_without_val(labels, seed):
    part = np.random.default_rng(seed).random(labels.index.shape) < 0.6
    return given_split(labels.within(part), labels.within(~part), seed=seed)[1]


SPLITTERS = {
    "per_class": lambda labels, seed: random_split(labels, per_class=int(labels.counts.min()) - 1, seed=seed),
    "fraction": lambda labels, seed: random_split(labels, fraction=0.3, seed=seed),
    "given": given,
    "given without val": given_without_val,
}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", SPLITTERS)
def test_the_parts_are_disjoint_and_hold_every_labelled_pixel_and_no_other(name, seed):
    labels = random_labels(seed)
    split = SPLITTERS[name](labels, seed)
    times = split.train.astype(int) + split.val + split.test
    assert (times == (labels.index > 0)).all()


@pytest.mark.parametrize("name", ["per_class", "fraction", "given without val"])
def test_same_seed_same_split_and_another_seed_another(name, labels):
    first, again, other = (SPLITTERS[name](labels, seed) for seed in (5, 5, 6))
    assert (first.codes() == again.codes()).all()
    assert (first.codes() != other.codes()).any()


@pytest.mark.parametrize("per_class", [1, 2, 3, 10, 50])
def test_per_class_takes_exactly_so_many_of_each_class_validation_included(labels, per_class):
    split = random_split(labels, per_class=per_class)
    assert labels.within(split.train | split.val).counts.tolist() == [per_class] * 3
    held = round(0.1 * per_class) if per_class > 2 else 0
    assert labels.within(split.val).counts.tolist() == [held] * 3


def test_a_fraction_takes_its_share_but_at_least_three_and_never_all():
    labels = make_labels(np.repeat([1, 2, 3, 4], [200, 20, 4, 2])[None])
    split = random_split(labels, fraction=0.1)
    assert labels.within(split.train | split.val).counts.tolist() == [20, 3, 3, 1]
    assert labels.within(split.test).counts.tolist() == [180, 17, 1, 1]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["random", "given"])
def test_validation_comes_out_of_training_and_leaves_some_of_every_class(name, share):
    labels = make_labels(np.repeat([1, 2, 3], [40, 8, 4])[None])
    if name == "random":
        split = random_split(labels, fraction=0.5, validation=share)
    else:
        half = np.arange(52)[None] % 2 == 0
        split = given_split(labels.within(half), labels.within(~half), validation=share)[1]
    assert (labels.within(split.train).counts > 0).all()
    assert bool(split.val.any()) == (share > 0)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_of_validation_pixels_out_of_range_is_refused(labels, share):
    with pytest.raises(ConfigError, match="need a share from 0 to less than 1"):
        random_split(labels, per_class=5, validation=share)
    with pytest.raises(ConfigError, match="need a share from 0 to less than 1"):
        given_split(labels, labels, validation=share)


def test_random_splits_say_that_they_are_optimistic(labels):
    split = random_split(labels, per_class=5, seed=9)
    assert split.optimistic
    assert "optimistic" in split.notes[0]
    assert split.protocol == {"kind": "random", "per_class": 5, "seed": 9, "validation": 0.1}


def test_codes_tell_the_parts_apart(labels):
    split = random_split(labels, per_class=20)
    assert [(split.codes() == i).sum() for i in (1, 2, 3)] == [split.train.sum(), split.val.sum(), split.test.sum()]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 20.0])
def test_a_fraction_out_of_range_is_refused(labels, fraction):
    with pytest.raises(ConfigError, match=f"fraction={fraction:g}; need a share between 0 and 1"):
        random_split(labels, fraction=fraction)


@pytest.mark.parametrize("settings", [{}, {"per_class": 5, "fraction": 0.1}])
def test_both_sizes_or_neither_are_refused(labels, settings):
    with pytest.raises(ConfigError, match="either per_class or fraction"):
        random_split(labels, **settings)


def test_less_than_one_pixel_a_class_is_refused(labels):
    with pytest.raises(ConfigError, match="per_class=0; need at least 1"):
        random_split(labels, per_class=0)


def test_more_pixels_than_a_class_has_are_refused_with_its_name_and_the_largest_usable_number():
    labels = make_labels(np.repeat([1, 5], [30, 8])[None], names={5: "reed"})
    with pytest.raises(SplitError, match=r"class 5 'reed' has 8\. Use --per-class 7 or less"):
        random_split(labels, per_class=8)
    assert labels.within(random_split(labels, per_class=7).test).counts.tolist() == [23, 1]


def test_one_class_is_refused():
    with pytest.raises(SplitError, match=r"one class only \(4 'class 4'\); a classifier needs at least two"):
        random_split(make_labels(np.full((5, 5), 4)), per_class=2)


def test_a_class_of_one_pixel_is_refused_with_the_option_that_leaves_it_out():
    labels = make_labels(np.array([[1, 1, 1, 2, 2, 2, 9]]))
    with pytest.raises(SplitError, match=r"class 9 'class 9'\. .*--ignore-class 9"):
        random_split(labels, fraction=0.5)


class TestGiven:
    def test_values_meet_under_one_legend(self):
        train = make_labels(np.array([[10, 30, 0, 0]]), names={10: "sand", 30: "mud"})
        test = make_labels(np.array([[0, 0, 30, 20]]), names={20: "clay"})
        labels, split = given_split(train, test)
        assert labels.values == (10, 20, 30)
        assert [entry.name for entry in labels.legend] == ["sand", "clay", "mud"]
        assert labels.restore(labels.index).tolist() == [[10, 30, 30, 20]]
        assert split.codes().tolist() == [[1, 1, 3, 3]]
        assert not split.optimistic

    def test_classes_without_training_or_test_pixels_are_reported(self):
        train, test = make_labels(np.array([[1, 2, 0, 0]])), make_labels(np.array([[0, 0, 2, 3]]))
        _, split = given_split(train, test)
        assert split.notes == (
            "Classes 3 ('class 3') have no training pixel and can never be mapped.",
            "Classes 1 ('class 1') have no test pixel.",
        )

    @pytest.mark.parametrize("parts", [("training", "test"), ("training", "validation"), ("test", "validation")])
    def test_shared_pixels_are_refused_with_their_number(self, parts):
        places = {"training": [1, 2, 0, 0, 0, 0, 0], "test": [0, 0, 1, 2, 0, 0, 0], "validation": [0, 0, 0, 0, 1, 2, 0]}
        for part in parts:
            places[part][6] = 1
        train, test, val = (make_labels(np.array([row])) for row in places.values())
        with pytest.raises(SplitError, match=f"1 pixels are in the {parts[0]} labels and in the {parts[1]} labels"):
            given_split(train, test, val=val)

    def test_labels_of_another_size_are_refused_with_both_sizes(self, labels):
        other = make_labels(np.array([[1, 2, 3]]))
        with pytest.raises(SplitError, match="The test labels have 1 x 3 pixels, the training labels 40 x 48"):
            given_split(labels, other)

    def test_training_labels_without_a_pixel_are_refused(self, labels):
        nothing = labels.within(np.zeros(labels.index.shape, bool))
        with pytest.raises(SplitError, match="training labels hold no pixel"):
            given_split(nothing, labels)


class TestLeakAudit:
    @staticmethod
    def by_loops(split, reach):
        """The slow, obvious version."""
        learnt = np.argwhere(split.train | split.val)
        straight, square = [], []
        for pixel in np.argwhere(split.test):
            gaps = np.abs(learnt - pixel)
            straight.append(min(np.sqrt((gap**2).sum()) for gap in gaps))
            square.append(min(gap.max() for gap in gaps))
        share = sum(s <= reach for s in square) / len(square)
        touching = sum(s <= 1 for s in square) / len(square)
        return min(straight), np.median(straight), share, touching

    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("reach", [0, 2, 5])
    def test_distances_and_shares_equal_those_of_a_brute_force_loop(self, seed, reach):
        rng = np.random.default_rng(seed)
        part = rng.choice(4, (15, 22), p=[0.93, 0.02, 0.02, 0.03])
        part[0, 0], part[-1, -1] = 1, 3
        split = Split(part == 1, part == 2, part == 3)
        audit = leak_audit(split, reach=reach, whole_scene=True, grid=Grid(15, 22))
        lowest, middle, share, touching = self.by_loops(split, reach)
        assert audit["min_distance_px"] == round(lowest, 2)
        assert audit["median_distance_px"] == pytest.approx(middle, abs=0.006)
        assert audit["share_inside_receptive_field"] == round(share, 4)
        assert audit["share_touching_training"] == round(touching, 4)
        assert audit["receptive_field_px"] == 2 * reach + 1
        assert "min_distance_m" not in audit

    def test_distances_are_also_given_in_metres(self):
        part = np.array([[1, 0, 0, 3]])
        grid = Grid(1, 4, CRS.from_epsg(32633).to_wkt(), (2.5, 0.0, 3e5, 0.0, -2.5, 5e6))
        audit = leak_audit(Split(part == 1, part == 2, part == 3), reach=3, whole_scene=True, grid=grid)
        assert (audit["min_distance_px"], audit["min_distance_m"]) == (3, 7.5)

    def test_without_test_pixels_there_is_no_distance(self):
        nothing = np.zeros((4, 4), bool)
        audit = leak_audit(Split(~nothing, nothing, nothing), reach=3, whole_scene=False, grid=Grid(4, 4))
        assert audit["min_distance_px"] is None
        assert audit["whole_scene_statistics"] is False

    @pytest.mark.parametrize("parts", [("train", "test"), ("train", "val"), ("val", "test")])
    def test_a_pixel_in_two_parts_is_refused(self, parts):
        masks = {name: np.eye(3, dtype=bool)[i][None] for i, name in enumerate(("train", "val", "test"))}
        masks[parts[0]] |= masks[parts[1]]
        with pytest.raises(SplitError, match="1 pixels are in two of training, validation and test"):
            leak_audit(Split(**masks), reach=1, whole_scene=True, grid=Grid(1, 3))


def test_a_class_that_lies_where_the_scene_holds_no_data_is_named():
    index = np.repeat([[1, 1, 2, 2, 3, 3]], 6, 0)
    labels = make_labels(index).within(index != 2)
    with pytest.raises(SplitError, match=r"no labelled pixel where the scene holds data: class 2 .* --ignore-class 2"):
        random_split(labels, fraction=0.5)


def test_given_parts_that_name_their_classes_are_matched_by_name():
    train = make_labels(np.array([[1, 2, 3, 0, 0]]), names={1: "soil", 2: "tree", 3: "water"})
    test = make_labels(np.array([[0, 0, 0, 1, 2]]), names={1: "soil", 2: "water"})
    labels, split = given_split(train, test, validation=0.0)
    assert labels.restore(labels.index).tolist() == [[1, 2, 3, 1, 3]]
    assert split.test.tolist() == [[False, False, False, True, True]]
