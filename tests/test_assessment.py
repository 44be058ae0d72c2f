"""Any map can be measured: classes meet by their value, and what the map alone has is never right."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from rasterio.crs import CRS

from patchfree.assessment import assess
from patchfree.errors import ConfigError, LabelError
from patchfree.labels import make_labels
from patchfree.scene import Grid


def test_classes_are_matched_by_value_and_not_by_their_order():
    reference = make_labels(np.array([[10, 14, 14, 0]]))
    mapped = make_labels(np.array([[14, 14, 14, 1]]))
    found = assess(mapped, reference)
    assert found["confusion"]["classes"] == [1, 10, 14]
    assert found["confusion"]["counts"] == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
    assert found["overall_accuracy"] == pytest.approx(2 / 3, abs=1e-6)


def test_a_class_that_only_the_map_has_is_wrong_and_does_not_lower_the_average_twice():
    reference = make_labels(np.array([[1, 1, 2, 2]]))
    found = assess(make_labels(np.array([[1, 7, 2, 2]])), reference)
    by_value = {entry["value"]: entry for entry in found["per_class"]}
    assert (by_value[7]["support"], by_value[7]["mapped"], by_value[7]["precision"]) == (0, 1, 0)
    assert by_value[7]["recall"] is None
    assert found["average_accuracy"] == 0.75  # of the two classes that have a reference


def test_a_perfect_map_is_perfect_and_unlabelled_map_pixels_are_wrong(labels):
    assert assess(labels, labels)["overall_accuracy"] == 1
    half = labels.index.copy()
    half[:, ::2] = 0
    found = assess(make_labels(labels.restore(half)), labels)
    assert found["overall_accuracy"] == 0.5
    assert found["unmapped_pixels"] == labels.index.size // 2


def test_names_of_the_reference_win_unless_they_are_only_numbers():
    mapped = make_labels(np.array([[1, 2]]), names={1: "wood", 2: "lake"})
    reference = make_labels(np.array([[1, 2]]), names={1: "forest"})
    assert [entry["name"] for entry in assess(mapped, reference)["per_class"]] == ["forest", "lake"]


def test_a_map_of_another_size_is_refused_with_both_sizes(labels):
    with pytest.raises(LabelError, match=r"map has 3 x 4 pixels, the reference has 40 x 48; they must be on one grid"):
        assess(make_labels(np.ones((3, 4), int)), labels)


def test_an_unknown_design_is_refused(labels):
    with pytest.raises(ConfigError, match="design='simple'; need 'none' or 'stratified'"):
        inspect.unwrap(assess)(labels, labels, design="simple")  # past the type check of the tests


def test_the_seed_and_the_blocks_decide_the_intervals(labels):
    mapped = make_labels(np.roll(labels.index, 2, 1))

    def interval(**settings):
        return assess(mapped, labels, **settings)["intervals"]["overall_accuracy"]

    assert interval(seed=1) == interval(seed=1) != interval(seed=2)
    assert interval(block_px=2) != interval(block_px=8)


def test_a_class_without_sample_pixels_is_refused_in_a_design(labels):
    reference = make_labels(np.where(labels.index == 2, 0, labels.index))
    with pytest.raises(
        LabelError, match=r"class 2 '.*' has no sample pixels and covers [\d,]+ pixels; .* at least 2 in every"
    ):
        assess(labels, reference, design="stratified")


def test_reference_pixels_that_trained_the_map_are_told(labels):
    learnt = np.zeros(labels.index.shape, bool)
    assert assess(labels, labels, learnt=learnt)["cautions"] == []
    learnt[:10, :5] = True
    (caution,) = assess(labels, labels, learnt=learnt)["cautions"]
    assert caution.startswith("50 of the 1,920 reference pixels trained this map, so the figures flatter it.")


class TestStratified:
    @pytest.fixture
    def truth(self, labels):
        return labels.index

    @pytest.fixture
    def mapped(self, truth):
        rng = np.random.default_rng(0)
        return make_labels(np.where(rng.random(truth.shape) < 0.8, truth, rng.integers(1, 4, truth.shape)))

    @pytest.fixture
    def sample(self, truth, mapped):
        """150 pixels drawn in each class of the map: too many of the small class, too few of the large one."""
        rng, drawn = np.random.default_rng(1), np.zeros(truth.shape, int)
        for i in (1, 2, 3):
            chosen = rng.choice(np.flatnonzero(mapped.index == i), 150, replace=False)
            drawn.flat[chosen] = truth.flat[chosen]
        return make_labels(drawn)

    def test_the_known_accuracy_and_areas_lie_within_three_standard_errors(self, truth, mapped, sample):
        found = assess(mapped, sample, design="stratified")["design"]

        def near(pair, known):
            return abs(pair["value"] - known) < 3 * pair["standard_error"]

        assert near(found["overall_accuracy"], (mapped.index == truth).mean())
        for i, entry in enumerate(found["per_class"], 1):
            assert entry["sample_pixels"] == 150
            assert entry["mapped_pixels"] == (mapped.index == i).sum()
            assert near(entry["users_accuracy"], (truth == i)[mapped.index == i].mean())
            assert near(entry["producers_accuracy"], (mapped.index == i)[truth == i].mean())
            assert near(entry["area"], (truth == i).sum())
        assert found["area_unit"] == "pixels"
        assert found["total_area"] == truth.size

    def test_rows_of_the_sample_are_map_classes(self):
        # One error, a pixel mapped 1 that is 2: the user's accuracy of class 1 falls, not that of class 2.
        reference = make_labels(np.array([[1, 1, 1, 2, 2, 2, 2, 2]]))
        found = assess(make_labels(np.array([[1, 1, 1, 1, 2, 2, 2, 2]])), reference, design="stratified")["design"]
        assert [entry["users_accuracy"]["value"] for entry in found["per_class"]] == [0.75, 1]
        assert [entry["producers_accuracy"]["value"] for entry in found["per_class"]] == pytest.approx([1, 0.8])

    def test_areas_are_in_hectares_where_the_grid_knows_them(self, mapped, sample):
        grid = Grid(*mapped.index.shape, CRS.from_epsg(32633).to_wkt(), (30.0, 0.0, 3e5, 0.0, -20.0, 5e6))
        found = assess(mapped, sample, design="stratified", grid=grid)["design"]
        assert found["area_unit"] == "ha"
        assert sum(entry["area"]["value"] for entry in found["per_class"]) == pytest.approx(mapped.index.size * 0.06)

    def test_patches_are_told_from_pixels_drawn_at_random(self, truth, mapped, sample):
        assert assess(mapped, sample, design="stratified")["cautions"] == []
        patches = np.zeros(truth.shape, int)
        patches[5:20, 5:40] = truth[5:20, 5:40]
        (caution,) = assess(mapped, make_labels(patches), design="stratified")["cautions"]
        assert caution.startswith("100% of the reference pixels touch another")
        assert assess(mapped, make_labels(patches))["cautions"] == []

    def test_without_a_design_none_is_reported(self, mapped, sample):
        assert "design" not in assess(mapped, sample)
        assert assess(mapped, sample, design="stratified")["design_of_reference"] == "stratified"
