"""Counts are exact and add up; accuracies are scikit-learn's; intervals know that neighbours err together."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as oracle

from patchfree.confusion import accuracies, assess_pixels, block_bootstrap, confusion_counts, paired_difference
from patchfree.errors import ConfigError
from patchfree.labels import LandCover


def legend(k):
    return tuple(LandCover(10 * i, f"class {10 * i}", (i, i, i)) for i in range(1, k + 1))


def random_maps(seed, *, k=4, shape=(40, 48), right=0.7):
    """A reference with gaps, and a map that is right at a share of the pixels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k + 1, shape)
    mapped = np.where(rng.random(shape) < right, np.maximum(truth, 1), rng.integers(1, k + 1, shape))
    return truth, mapped


def test_the_worked_example_gives_the_numbers_found_by_hand():
    # Rows are the reference: 4 of 5 right, 3 of 4 right, 0 of 1 right.
    truth = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 3]])
    mapped = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 1, 1]])
    found = assess_pixels(truth, mapped, legend(3))
    assert found["confusion"]["counts"] == [[4, 1, 0], [1, 3, 0], [1, 0, 0]]
    assert found["overall_accuracy"] == 0.7
    assert found["average_accuracy"] == pytest.approx((4 / 5 + 3 / 4 + 0) / 3, abs=1e-6)
    chance = (5 * 6 + 4 * 4 + 1 * 0) / 100
    assert found["kappa"] == pytest.approx((0.7 - chance) / (1 - chance), abs=1e-6)
    first, second, third = found["per_class"]
    assert (first["recall"], first["precision"]) == (0.8, pytest.approx(4 / 6, abs=1e-6))
    assert (second["f1"], second["iou"]) == (0.75, 0.6)
    assert (third["recall"], third["precision"], third["f1"]) == (0.0, None, 0.0)
    assert [entry["support"] for entry in found["per_class"]] == [5, 4, 1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("absent", [None, "reference", "map"], ids=["all there", "not in reference", "not in map"])
def test_every_accuracy_equals_that_of_scikit_learn(seed, absent):
    k, rng = 5, np.random.default_rng(seed)
    truth = rng.integers(0, k, 400)
    mapped = np.where(rng.random(400) < 0.6, truth, rng.integers(0, k, 400))
    if absent == "reference":
        truth[truth == 2] = 3
    if absent == "map":
        mapped[mapped == 1] = 0
    counts = confusion_counts(truth, mapped, k)
    found, named = accuracies(counts), range(k)
    assert (counts == oracle.confusion_matrix(truth, mapped, labels=named)).all()
    assert found["overall_accuracy"] == pytest.approx(oracle.accuracy_score(truth, mapped))
    assert found["kappa"] == pytest.approx(oracle.cohen_kappa_score(truth, mapped))
    present = np.unique(truth)
    assert found["average_accuracy"] == pytest.approx(
        oracle.recall_score(truth, mapped, labels=present, average="macro", zero_division=0)
    )
    if absent is None:
        assert found["average_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(truth, mapped))
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(truth, mapped, labels=named, zero_division=np.nan)
    np.testing.assert_allclose(found["precision"], precision)
    np.testing.assert_allclose(found["recall"], recall)
    np.testing.assert_allclose(found["f1"], f1)
    iou = oracle.jaccard_score(truth, mapped, labels=named, average=None, zero_division=0)
    np.testing.assert_allclose(found["iou"], iou)
    assert found["mean_iou"] == pytest.approx(iou[present].mean())


def test_accuracies_of_many_matrices_are_those_of_each():
    counts = np.random.default_rng(0).integers(0, 20, (7, 3, 3))
    together = accuracies(counts)
    for i, one in enumerate(counts):
        for name, value in accuracies(one).items():
            np.testing.assert_array_equal(together[name][i], value)


def test_counts_of_the_parts_add_up_to_the_counts_of_the_whole():
    rng = np.random.default_rng(1)
    truth, mapped, part = rng.integers(0, 6, 999), rng.integers(0, 6, 999), rng.integers(0, 4, 999)
    parts = sum(confusion_counts(truth[part == i], mapped[part == i], 6) for i in range(4))
    assert (parts == confusion_counts(truth, mapped, 6)).all()
    assert parts.sum() == 999


def test_pixels_that_the_map_leaves_out_count_as_wrong():
    truth, mapped = random_maps(0, right=1.0)
    mapped[:10] = 0
    found = assess_pixels(truth, mapped, legend(4))
    out = int((truth[:10] > 0).sum())
    assert found["unmapped_pixels"] == out == sum(found["confusion"]["unmapped"])
    assert found["pixels"] == (truth > 0).sum()
    assert found["overall_accuracy"] == pytest.approx(1 - out / found["pixels"], abs=1e-6)
    assert all(entry["precision"] == 1 and entry["recall"] < 1 for entry in found["per_class"])
    assert sum(entry["support"] for entry in found["per_class"]) == found["pixels"]


def test_without_a_test_pixel_there_is_nothing_but_their_number():
    assert assess_pixels(np.zeros((9, 9), int), np.ones((9, 9), int), legend(2)) == {"pixels": 0}


@pytest.mark.parametrize("seed", range(5))
def test_an_interval_contains_its_accuracy(seed):
    found = assess_pixels(*random_maps(seed), legend(4))
    for name in ("overall_accuracy", "average_accuracy", "kappa", "mean_iou"):
        low, high = found["intervals"][name]
        assert low < found[name] < high
    for entry in found["per_class"]:
        for name in ("recall", "precision", "f1", "iou"):
            low, high = entry[f"{name}_interval"]
            assert low < entry[name] < high


def test_same_seed_same_intervals_and_another_seed_others():
    truth, mapped = random_maps(0)
    assert assess_pixels(truth, mapped, legend(4), seed=3) == assess_pixels(truth, mapped, legend(4), seed=3)
    others = assess_pixels(truth, mapped, legend(4), seed=4)
    assert others["intervals"] != assess_pixels(truth, mapped, legend(4), seed=3)["intervals"]


def test_an_interval_of_single_pixels_has_the_width_of_the_binomial():
    truth, mapped = random_maps(2)
    found = assess_pixels(truth, mapped, legend(4), block_px=1)
    p, n = found["overall_accuracy"], found["pixels"]
    low, high = found["intervals"]["overall_accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(p * (1 - p) / n), rel=0.1)


def test_blocks_give_wider_intervals_than_single_pixels_where_errors_lie_together():
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 4, (64, 64))
    wrong = np.kron(rng.random((8, 8)) < 0.3, np.ones((8, 8))).astype(bool)
    mapped = np.where(wrong, truth % 3 + 1, truth)

    def width(side):
        low, high = assess_pixels(truth, mapped, legend(3), block_px=side)["intervals"]["overall_accuracy"]
        return high - low

    assert width(8) > 4 * width(1)


def test_a_bootstrap_sample_of_one_pixel_blocks_has_as_many_pixels_as_the_scene():
    rng = np.random.default_rng(0)
    truth, mapped = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    samples = block_bootstrap(truth, mapped, np.arange(50), 3, resamples=200)
    assert (samples.sum((1, 2)) == 50).all()
    np.testing.assert_allclose(samples.mean(0), confusion_counts(truth, mapped, 3), atol=0.7)


def test_bootstrap_samples_hold_whole_blocks():
    truth = np.array([0, 0, 0, 1, 1])
    blocks = np.array([7, 7, 7, 90, 90])
    samples = block_bootstrap(truth, truth, blocks, 2, resamples=100)
    drawn = {tuple(np.diag(sample)) for sample in samples}
    assert drawn == {(6, 0), (3, 2), (0, 4)}


def test_one_block_has_no_interval():
    truth, mapped = random_maps(0, shape=(8, 8))
    found = assess_pixels(truth, mapped, legend(4), block_px=8)
    assert found["intervals"]["overall_accuracy"] is None
    assert all(entry["recall_interval"] is None for entry in found["per_class"])
    assert found["overall_accuracy"] is not None
    assert paired_difference(truth, mapped, truth, block_px=8)["interval"] is None


def test_blocks_smaller_than_a_pixel_are_refused():
    truth, mapped = random_maps(0)
    with pytest.raises(ConfigError, match="bootstrap blocks of 0 px; need at least 1"):
        assess_pixels(truth, mapped, legend(4), block_px=0)


def test_the_difference_of_a_map_and_itself_is_zero():
    truth, mapped = random_maps(0)
    assert paired_difference(truth, mapped, mapped) == {"value": 0, "interval": [0, 0], "level": 0.95}


def test_the_difference_changes_its_sign_with_the_order_of_the_maps():
    truth, ours = random_maps(0, right=0.8)
    theirs = np.roll(ours, 1, axis=1)
    there, back = paired_difference(truth, ours, theirs), paired_difference(truth, theirs, ours)
    assert there["value"] == -back["value"] > 0
    assert there["interval"] == pytest.approx([-back["interval"][1], -back["interval"][0]])
    at = truth > 0
    assert there["value"] == pytest.approx((ours == truth)[at].mean() - (theirs == truth)[at].mean(), abs=1e-6)


def test_the_paired_interval_is_narrower_than_the_intervals_of_two_maps_that_err_together():
    truth, ours = random_maps(0)
    theirs = ours.copy()
    theirs[::13, ::3] = truth[::13, ::3] % 4 + 1
    low, high = paired_difference(truth, ours, theirs, block_px=2)["interval"]
    alone_low, alone_high = assess_pixels(truth, ours, legend(4), block_px=2)["intervals"]["overall_accuracy"]
    assert 0 < low < high
    assert high - low < 0.5 * (alone_high - alone_low)


def test_there_is_no_difference_without_test_pixels():
    nothing = np.zeros((5, 5), int)
    assert paired_difference(nothing, nothing + 1, nothing + 2) is None
