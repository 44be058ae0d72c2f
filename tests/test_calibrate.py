"""A temperature makes confidence equal to accuracy, and the error says how far apart they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from patchfree.calibrate import calibration_error, fit_temperature, reliability


def drawn(n, *, seed=0, k=4, spread=2.0):
    """Scores whose softmax is the true probability of each class, and classes drawn from it."""
    rng = np.random.default_rng(seed)
    scores = spread * rng.normal(size=(k, n))
    edges = softmax(scores, axis=0).cumsum(0)
    classes = (rng.random(n) > edges[:-1]).sum(0)
    return scores.astype(np.float32), classes


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.0, 3.0, 8.0])
def test_a_known_scaling_of_the_scores_is_recovered(scale):
    scores, classes = drawn(20_000)
    assert fit_temperature(scores * np.float32(scale), classes) == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize(("right", "bound"), [(True, 0.05), (False, 20)])
def test_the_temperature_stays_within_its_bounds(right, bound):
    scores = np.eye(3, dtype=np.float32)[:, [0, 1, 2] * 10]
    classes = np.array([0, 1, 2] * 10)
    found = fit_temperature(scores, classes if right else (classes + 1) % 3)
    assert found == pytest.approx(bound, rel=0.01)


def test_fewer_than_ten_pixels_have_no_temperature():
    scores, classes = drawn(10)
    assert fit_temperature(scores[:, :9], classes[:9]) is None
    assert fit_temperature(scores, classes) is not None


def test_true_probabilities_have_nearly_no_calibration_error():
    assert calibration_error(*drawn(50_000)) < 0.01


def test_overconfidence_has_an_error_and_the_temperature_takes_it_away():
    scores, classes = drawn(20_000)
    loud = 4 * scores
    assert calibration_error(loud, classes) > 0.15
    assert calibration_error(loud, classes, fit_temperature(loud, classes)) < 0.015


def test_the_error_equals_the_sum_over_bins_written_out():
    scores, classes = drawn(500, spread=1.0)
    probabilities = softmax(scores.astype(float) / 1.7, axis=0)
    confidence, right = probabilities.max(0), probabilities.argmax(0) == classes
    total = 0.0
    for b in range(15):
        mine = (confidence >= b / 15) & ((confidence < (b + 1) / 15) | (b == 14))
        if mine.any():
            total += mine.mean() * abs(confidence[mine].mean() - right[mine].mean())
    assert calibration_error(scores, classes, 1.7) == pytest.approx(total)


def test_certain_scores_have_an_error_of_the_share_that_is_wrong():
    scores = np.array([[1000.0] * 10, [0.0] * 10], np.float32)
    assert calibration_error(scores, np.array([0] * 7 + [1] * 3)) == pytest.approx(0.3)


def test_without_pixels_there_is_no_error():
    assert calibration_error(np.zeros((3, 0), np.float32), np.zeros(0, int)) is None


def test_the_bins_hold_all_pixels_and_their_gaps_give_the_error():
    scores, classes = drawn(3000)
    bins = reliability(scores, classes, 2.0)
    assert sum(b["pixels"] for b in bins) == 3000
    gap = sum(b["pixels"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / 3000
    assert gap == pytest.approx(calibration_error(scores, classes, 2.0), abs=2e-4)
    assert [b["confidence"] for b in bins] == sorted(b["confidence"] for b in bins)
