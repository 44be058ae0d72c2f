"""Means, intervals and paired differences are those of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from patchfree.benchmark.statistics import estimate, paired


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_the_interval_is_students(n):
    values = np.random.default_rng(n).normal(80, 3, n)
    found = estimate(list(values))
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.n, found.mean, found.std) == (n, pytest.approx(values.mean()), pytest.approx(stats.tstd(values)))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("n", [2, 5, 12])
def test_the_paired_difference_is_that_of_the_paired_t_test(n):
    rng = np.random.default_rng(n)
    ours, theirs = rng.normal(70, 5, n), rng.normal(68, 5, n)
    found = paired(dict(enumerate(ours)), dict(enumerate(theirs)))
    expected = stats.ttest_rel(ours, theirs)
    low, high = expected.confidence_interval(0.95)
    assert found.mean == pytest.approx((ours - theirs).mean())
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_only_seeds_that_both_have_are_paired():
    found = paired({0: 1.0, 1: 5.0, 2: 9.0}, {1: 4.0, 2: 6.0, 7: 0.0})
    assert (found.n, found.mean) == (2, 2.0)
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_one_seed_has_no_interval_and_none_no_mean():
    found = estimate([3.0])
    assert (found.mean, found.std, found.low, found.high) == (3.0, None, None, None)
    assert estimate([]) is None


def test_differences_that_do_not_vary_have_an_interval_of_no_width():
    found = paired({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0})
    assert (found.mean, found.std, found.low, found.high) == (1.0, 0.0, 1.0, 1.0)
