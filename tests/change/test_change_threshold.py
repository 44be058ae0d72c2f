"""Thresholds part mixtures where they should, and probabilities follow them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from patchfree.change.threshold import CLASSES, find_threshold, learnt_threshold
from patchfree.errors import ConfigError, LabelError


def mixture(share=0.2, seed=0):
    rng = np.random.default_rng(seed)
    changed = rng.random(40_000) < share
    return np.where(changed, rng.normal(6, 1.0, 40_000), rng.normal(2, 0.5, 40_000)).astype(np.float32), changed


def test_otsu_is_the_best_of_all_parts():
    scores = mixture()[0][:4000].astype(np.float64)
    found = find_threshold(scores, way="otsu")

    def within(above):
        low, high = scores[scores <= above], scores[scores > above]
        return low.var() * len(low) + high.var() * len(high)

    best = min(within(above) for above in np.sort(scores)[:-1])
    assert within(found.above) == pytest.approx(best, rel=1e-4)


def test_a_mixture_is_parted_where_both_kinds_are_equally_likely():
    scores, changed = mixture()
    found = find_threshold(scores, way="mixture")
    grid = np.linspace(2, 6, 4001)
    low = 0.8 / 0.5 * np.exp(-(((grid - 2) / 0.5) ** 2) / 2)
    high = 0.2 / 1.0 * np.exp(-(((grid - 6) / 1.0) ** 2) / 2)
    assert found.above == pytest.approx(grid[np.argmax(high > low)], abs=0.05)
    assert cohen_kappa_score(changed, scores > found.above) > 0.98
    assert found.unchanged_mean == pytest.approx(2, abs=0.05)
    assert found.changed_mean == pytest.approx(6, abs=0.05)


def test_chi_square_keeps_the_rate_of_false_alarms_of_its_distribution():
    scores = np.sqrt(np.random.default_rng(1).chisquare(6, 200_000))
    found = find_threshold(scores, way="chi-square", freedom=6, false_alarm=1e-2)
    assert (scores > found.above).mean() == pytest.approx(1e-2, rel=0.1)


def test_the_probability_rises_with_the_score_and_is_a_half_at_the_threshold():
    scores = mixture()[0]
    found = find_threshold(scores)
    chance = found.probability(np.array([0.0, found.above, 9.0, np.nan], np.float32))
    assert chance[1] == pytest.approx(0.5, abs=1e-4)
    assert chance[0] < 0.01
    assert chance[2] > 0.99
    assert np.isnan(chance[3])


@pytest.mark.parametrize("way", ["otsu", "mixture"])
def test_scores_that_are_all_alike_or_only_rounding_part_into_nothing_changed(way):
    for scores in (np.zeros(50), np.full(50, 3.0), np.random.default_rng(0).uniform(0, 1e-6, 50)):
        found = find_threshold(scores, way=way)
        assert not (scores > found.above).any()
        assert (found.probability(scores) <= 0.5).all()


def test_thresholds_that_cannot_be_found_are_refused():
    scores = mixture()[0]
    with pytest.raises(ConfigError, match="there are otsu, mixture, chi-square"):
        find_threshold(scores, way="best")
    with pytest.raises(ConfigError, match="--method ir-mad or sfa"):
        find_threshold(scores, way="chi-square")
    with pytest.raises(ConfigError, match=r"need one between 0 and 0\.5"):
        find_threshold(scores, way="chi-square", freedom=3, false_alarm=0.7)
    with pytest.raises(ConfigError, match="no pixel holds data at both dates"):
        find_threshold(np.full(4, np.nan))
    assert CLASSES == 65_536


def test_a_learnt_threshold_has_the_highest_kappa_of_all():
    scores, changed = mixture(seed=3)
    scores, changed = np.round(scores[:400], 1), changed[:400]
    best = max(cohen_kappa_score(changed, scores > above) for above in np.unique(scores)[:-1])
    found = learnt_threshold(scores, changed)
    assert cohen_kappa_score(changed, scores > found) == pytest.approx(best)
    with pytest.raises(LabelError, match="one class only"):
        learnt_threshold(scores, np.ones(400, bool))
