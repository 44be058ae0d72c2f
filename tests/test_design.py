"""Design-based estimates are those of Olofsson et al. 2014, and are unbiased with honest standard errors."""

from __future__ import annotations

import numpy as np
import pytest

from patchfree.design import stratified_estimate
from patchfree.errors import LabelError

# Olofsson et al. 2014, tables 8 and 9: deforestation, forest gain, stable forest, stable non-forest; 30 m pixels.
SAMPLE = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
MAPPED = np.array([200_000, 150_000, 3_200_000, 6_450_000])


@pytest.fixture
def published():
    return stratified_estimate(SAMPLE, MAPPED)


def test_the_published_accuracies_are_found(published):
    assert round(published.overall_accuracy, 2) == 0.95
    assert round(1.96 * published.overall_accuracy_se, 2) == 0.02
    assert published.users_accuracy.round(2).tolist() == [0.88, 0.73, 0.93, 0.96]
    assert (1.96 * published.users_accuracy_se).round(2).tolist() == [0.07, 0.10, 0.04, 0.02]
    assert published.producers_accuracy.round(2).tolist() == [0.75, 0.85, 0.93, 0.96]
    assert (1.96 * published.producers_accuracy_se).round(2).tolist() == [0.21, 0.25, 0.03, 0.02]


def test_the_published_area_of_deforestation_is_found(published):
    hectares = MAPPED.sum() * 30 * 30 / 10_000
    # The paper rounds the standard error of the share to 0.0035 before it multiplies.
    assert published.area[0] * hectares == pytest.approx(21_158, abs=1)
    assert 1.96 * round(published.area_se[0], 4) * hectares == pytest.approx(6_158, abs=20)
    assert 1.96 * published.area_se[0] * hectares == pytest.approx(6_158, rel=0.01)


def test_areas_add_up_to_the_whole(published):
    assert published.area.sum() == pytest.approx(1)


def test_estimates_are_unbiased_and_standard_errors_match_the_spread_over_repeated_draws():
    rng = np.random.default_rng(0)
    k, size, each = 3, 30_000, 60
    mapped = rng.choice(k, size, p=[0.1, 0.25, 0.65])
    truth = np.where(rng.random(size) < 0.8, mapped, rng.integers(0, k, size))
    strata = [np.flatnonzero(mapped == i) for i in range(k)]
    areas = np.bincount(mapped)
    draws = []
    for _ in range(600):
        chosen = np.concatenate([rng.choice(stratum, each, replace=False) for stratum in strata])
        sample = np.bincount(mapped[chosen] * k + truth[chosen], minlength=k * k).reshape(k, k)
        draws.append(stratified_estimate(sample, areas))
    known = {
        "overall_accuracy": (mapped == truth).mean(),
        "users_accuracy": np.array([(truth[mapped == i] == i).mean() for i in range(k)]),
        "producers_accuracy": np.array([(mapped[truth == i] == i).mean() for i in range(k)]),
        "area": np.bincount(truth) / size,
    }
    for name, value in known.items():
        found = np.array([getattr(draw, name) for draw in draws])
        stated = np.array([getattr(draw, f"{name}_se") for draw in draws])
        spread = found.std(0, ddof=1)
        # Four standard errors of the mean of the draws; the producer's accuracy is a ratio, with a bias of order 1/n.
        slack = 4 * spread / np.sqrt(len(draws)) + (0.004 if name == "producers_accuracy" else 0)
        assert (np.abs(found.mean(0) - value) < slack).all(), name
        np.testing.assert_allclose(np.sqrt((stated**2).mean(0)), spread, rtol=0.15, err_msg=name)


def test_a_sample_proportional_to_the_strata_gives_the_plain_accuracy():
    sample = np.array([[18, 2, 0], [3, 30, 7], [1, 0, 39]])
    found = stratified_estimate(sample, sample.sum(1) * 1000)
    assert found.overall_accuracy == pytest.approx(np.trace(sample) / sample.sum())
    np.testing.assert_allclose(found.producers_accuracy, np.diag(sample) / sample.sum(0))
    np.testing.assert_allclose(found.area, sample.sum(0) / sample.sum())


def test_only_the_shares_of_the_mapped_areas_matter(published):
    other = stratified_estimate(SAMPLE, MAPPED * 0.09)
    assert other.overall_accuracy == pytest.approx(published.overall_accuracy)
    np.testing.assert_allclose(other.area_se, published.area_se)


@pytest.mark.parametrize("pixels", [0, 1])
def test_a_thin_stratum_is_refused_with_advice(pixels):
    sample = np.array([[20, 1], [0, pixels]])
    with pytest.raises(
        LabelError, match=rf"class 2 has {pixels or 'no'} sample .* and covers 300 pixels.* Add reference"
    ):
        stratified_estimate(sample, np.array([700, 300]))


def test_a_class_that_is_not_on_the_map_can_be_found_by_the_reference():
    found = stratified_estimate(np.array([[19, 0, 1], [0, 20, 0], [0, 0, 0]]), np.array([500, 500, 0]))
    assert np.isnan(found.users_accuracy[2])
    assert found.producers_accuracy[2] == 0
    assert found.area.tolist() == pytest.approx([0.475, 0.5, 0.025])


def test_a_perfect_sample_has_no_standard_error():
    found = stratified_estimate(np.diag([10, 20]), np.array([50, 50]))
    assert found.overall_accuracy == 1
    assert found.overall_accuracy_se == 0
    assert found.producers_accuracy_se.tolist() == [0, 0]
