"""The true class is missing from the answer of at most a chosen share of pixels like those that it was learnt from."""

from __future__ import annotations

import numpy as np
import pytest

from patchfree.change.conformal import CANNOT_TELL, Conformal, fewest_pixels
from patchfree.errors import ConfigError


def pixels(n, *, seed=0, rare=0.2):
    """Probabilities of a change, and the truth, of a network that is right more often than not."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < rare).astype(int)
    logit = rng.normal(np.where(truth == 1, 1.2, -1.5), 1.5)
    return 1 / (1 + np.exp(-logit)), truth


@pytest.mark.parametrize("error_rate", [0.05, 0.1, 0.3])
def test_coverage_is_the_chosen_one_for_each_class_over_twenty_splits(error_rate):
    found = []
    for seed in range(20):
        changed, truth = pixels(6000, seed=seed)
        conformal = Conformal.fit(changed[:2000], truth[:2000], error_rate=error_rate)
        assert conformal.conditional
        found.append(conformal.coverage(changed[2000:], truth[2000:]))
    for key in ("all", "unchanged", "changed"):
        assert np.mean([each[key] for each in found]) == pytest.approx(1 - error_rate, abs=0.02)


def test_too_few_pixels_of_one_class_are_taken_together_with_the_other():
    changed, truth = np.linspace(0, 1, 30), (np.arange(30) > 27).astype(int)
    conformal = Conformal.fit(changed, truth, error_rate=0.1)
    assert not conformal.conditional
    assert conformal.unlikeliest[0] == conformal.unlikeliest[1]
    assert "2 of one class are too few" in conformal.says


@pytest.mark.parametrize(("error_rate", "fewest"), [(0.1, 9), (0.05, 19), (0.5, 1)])
def test_with_fewer_pixels_than_the_rate_needs_nothing_is_told(error_rate, fewest):
    assert fewest_pixels(error_rate) == fewest
    few = Conformal.fit(np.full(fewest - 1, 0.01), np.zeros(fewest - 1, int), error_rate=error_rate)
    assert (few.decide(np.array([[0.0, 0.5, 1.0]])) == CANNOT_TELL).all()
    assert "too few" in few.says
    enough = Conformal.fit(np.full(fewest, 0.01), np.zeros(fewest, int), error_rate=error_rate)
    assert enough.decide(np.array([[0.0]])).tolist() == [[1]]


def test_the_quantile_is_that_of_a_plain_count():
    """With n pixels, the k-th smallest strangeness, k = ceil((n + 1) (1 - rate))."""
    changed = np.arange(1, 20) / 20  # all unchanged: a pixel is as strange as it is likely changed
    conformal = Conformal.fit(changed, np.zeros(19, int), error_rate=0.1)
    assert conformal.unlikeliest[0] == pytest.approx(18 / 20)


def test_a_pixel_that_may_be_both_or_neither_cannot_be_told_and_one_without_data_is_none():
    wide, narrow = (Conformal(0.1, (limit, limit), True, (9, 9)) for limit in (0.7, 0.2))
    assert wide.decide(np.array([[0.1, 0.5, 0.9, np.nan]])).tolist() == [[1, 3, 2, 0]]
    assert narrow.decide(np.array([[0.1, 0.5, 0.9, np.nan]])).tolist() == [[1, 3, 2, 0]]


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ConfigError, match="need a share between 0 and 1"):
        Conformal.fit(np.zeros(3), np.zeros(3, int), error_rate=rate)
