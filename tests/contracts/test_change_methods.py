"""What every method of change detection without labels promises. A new one gets these tests by being listed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dated import planted_pair, two_dates
from patchfree.change import DEFAULT, METHODS
from patchfree.change._contract import ChangeMethod
from patchfree.change.pair import pair_up
from patchfree.change.scoring import find_changes
from patchfree.citations import METHODS as CITED
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView
from patchfree.windows import expand, inside


@pytest.fixture(params=sorted(METHODS))
def method(request):
    return METHODS[request.param]()


def scored(method, pair, seed=0):
    scene = pair.stacked()
    return method.fit(SceneView(scene), Context(seed)).score(scene.values, scene.valid)


def test_it_has_a_title_and_references(method):
    assert isinstance(method, ChangeMethod)
    assert method.title
    assert set(method.references) <= set(CITED)
    assert method.references
    assert DEFAULT in METHODS


def test_every_pixel_gets_a_finite_score_and_planted_changes_high_ones(method):
    pair, truth = planted_pair()
    scores = scored(method, pair)
    assert scores.shape == truth.shape
    assert np.isfinite(scores).all()
    assert roc_auc_score(truth.ravel(), scores.ravel()) > 0.97


def test_swapping_the_dates_changes_no_score(method):
    assert method.symmetric
    pair, _ = planted_pair()
    np.testing.assert_allclose(scored(method, pair.swapped()), scored(method, pair), rtol=1e-5, atol=1e-7)


def test_equal_dates_have_changed_nowhere(method):
    before, _, _ = two_dates()
    found = find_changes(before, before, method=method)
    assert (found.index == 1).all()
    assert (found.scores == 0).all()
    assert (found.probability == 0).all()
    assert "BEFORE and AFTER hold the same numbers: nothing has changed. Check that they are two dates." in found.notes


def test_pixels_without_data_get_no_score_and_change_only_their_neighbours(method):
    before, after, truth = two_dates()
    valid = before.valid.copy()
    valid[:6, :7] = False
    scores = scored(method, pair_up(replace(before, valid=valid), after))
    assert np.array_equal(np.isnan(scores), ~valid)
    assert roc_auc_score(truth[valid], scores[valid]) > 0.97


def test_scores_in_windows_are_those_of_the_whole_pair(method):
    pair, _ = planted_pair(rows=90, cols=70)
    scene = pair.stacked()
    score = method.fit(SceneView(scene), Context()).score
    whole = score(scene.values, scene.valid)
    for core in [(slice(0, 40), slice(0, 32)), (slice(40, 80), slice(32, 70)), (slice(80, 90), slice(0, 32))]:
        around = expand(core, method.halo, scene.grid.shape)
        part = score(scene.values[:, *around], scene.valid[around])[inside(core, around)]
        np.testing.assert_allclose(part, whole[core], rtol=1e-6, atol=1e-9)


def test_gains_and_offsets_of_a_date_change_no_order(method):
    before, after, _ = two_dates()
    plain = scored(method, pair_up(before, after)).ravel()
    rng = np.random.default_rng(4)
    values = after.values * rng.uniform(0.5, 2, (12, 1, 1)) + rng.normal(size=(12, 1, 1))
    lit = scored(method, pair_up(before, replace(after, values=values.astype(np.float32)))).ravel()
    least = 0.999 if method.title in ("change vector analysis", "IR-MAD", "slow feature analysis") else 0.9
    assert np.corrcoef(plain.argsort().argsort(), lit.argsort().argsort())[0, 1] > least


def test_affine_methods_see_no_mixing_of_the_bands_of_one_date(method):
    if not method.affine:
        pytest.skip("not promised")
    before, after, _ = two_dates()
    rng = np.random.default_rng(5)
    mixing = rng.normal(size=(12, 12)) + 4 * np.eye(12)
    mixed = np.einsum("dc,chw->dhw", mixing, after.values.astype(float)) + rng.normal(size=(12, 1, 1))
    found = scored(method, pair_up(before, replace(after, values=mixed.astype(np.float32))))
    np.testing.assert_allclose(found, scored(method, pair_up(before, after)), rtol=1e-3)


def test_the_same_seed_gives_the_same_scores_and_only_random_methods_look_at_it(method):
    pair, _ = planted_pair()
    first = scored(method, pair, seed=3)
    assert np.array_equal(first, scored(method, pair, seed=3))
    if not method.random:
        assert np.array_equal(first, scored(method, pair, seed=4))


def test_one_band_and_a_constant_band_are_scored(method):
    before, after, truth = two_dates(bands=1)
    assert np.isfinite(find_changes(before, after, method=method).scores).all()
    before, after, truth = two_dates()
    flat = after.values.copy()
    flat[3] = 7
    scores = find_changes(before, replace(after, values=flat), method=method).scores
    assert roc_auc_score(truth.ravel(), scores.ravel()) > 0.9
