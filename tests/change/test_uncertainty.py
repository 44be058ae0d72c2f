"""Measures of an uncertainty are what a plain count gives, and a better order of the pixels is worth more."""

from __future__ import annotations

import numpy as np
import pytest

from patchfree.change.uncertainty import error_auroc, error_calibration, judge, risk_coverage, spread_of
from patchfree.errors import ConfigError
from patchfree.labels import LandCover
from patchfree.predict import Prediction
from patchfree.scene import Grid


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    wrong = rng.random(300) < 0.2
    return np.round(rng.normal(wrong * 1.0, 1.0), 1), wrong


def test_auroc_is_the_share_of_pairs_in_the_right_order(case):
    uncertainty, wrong = case
    above = uncertainty[wrong][:, None] - uncertainty[~wrong]
    assert error_auroc(uncertainty, wrong) == pytest.approx(np.where(above > 0, 1, np.where(above == 0, 0.5, 0)).mean())


@pytest.mark.parametrize("value", [False, True])
def test_auroc_of_pixels_of_one_kind_is_not_known(value):
    assert error_auroc(np.arange(5.0), np.full(5, value)) is None


def test_risk_coverage_is_the_mean_error_of_the_surest_pixels(case):
    _, wrong = case
    uncertainty = np.random.default_rng(1).permutation(len(wrong)).astype(float)  # no ties
    order = np.argsort(uncertainty)
    by_hand = np.mean([wrong[order[:n]].mean() for n in range(1, len(wrong) + 1)])
    area, best = risk_coverage(uncertainty, wrong)
    assert area == pytest.approx(by_hand)
    assert best < area
    assert risk_coverage(wrong.astype(float), wrong)[0] == pytest.approx(best)


def test_risk_coverage_of_equal_uncertainties_is_the_share_of_errors():
    assert risk_coverage(np.zeros(4), np.array([True, False, False, False]))[0] == pytest.approx(0.25)


def test_calibration_error_is_zero_where_the_probability_is_the_share_of_errors():
    wrong = np.tile([True, False, False, False, False], 20)
    assert error_calibration(np.full(100, 0.2), wrong) == pytest.approx(0)
    assert error_calibration(np.full(100, 0.5), wrong) == pytest.approx(0.3)


def test_judge_gives_all_measures_and_a_calibration_error_of_probabilities_only(case):
    uncertainty, wrong = case
    found = judge(uncertainty, wrong)
    assert found["auroc_of_errors"] > 0.6
    assert found["ece"] is None
    assert judge(wrong * 0.5, wrong, chance=True)["ece"] == pytest.approx(0.5 * wrong.mean())


def test_the_spread_of_answers_is_their_mean_and_variance():
    valid = np.array([[True, True, False]])
    legend = (LandCover(1, "unchanged", (0, 0, 0)), LandCover(2, "changed", (1, 1, 1)))

    def answer(*changed):
        chance = np.array([changed], np.float32)
        return Prediction(np.stack([1 - chance, chance]) * valid, valid, legend, Grid(1, 3))

    found = spread_of([answer(0.2, 0.5, 0.9), answer(0.6, 0.5, 0.1)])
    np.testing.assert_allclose(found.mean.probabilities[1], [[0.4, 0.5, 0]], atol=1e-6)
    np.testing.assert_allclose(found.variance, [[0.04, 0, np.nan]], atol=1e-6)
    with pytest.raises(ConfigError, match="at least 2"):
        spread_of([answer(0.2, 0.5, 0.9)])
