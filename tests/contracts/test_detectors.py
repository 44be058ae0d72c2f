"""What every detector in DETECTORS promises. A new detector gets these tests by being listed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from patchfree.anomalies import DETECTORS
from patchfree.anomalies._contract import Detector
from patchfree.anomalies.scoring import find_anomalies
from patchfree.citations import METHODS
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView
from patchfree.windows import expand, inside
from planted import QUICK, planted, scene_of, scored


@pytest.fixture(params=sorted(DETECTORS))
def detector(request):
    return QUICK.get(request.param) or DETECTORS[request.param]()


def test_it_has_defaults_a_title_and_references(detector):
    assert isinstance(DETECTORS[next(n for n, k in DETECTORS.items() if k is type(detector))](), Detector)
    assert detector.title
    assert detector.references
    assert set(detector.references) <= set(METHODS)


def test_every_pixel_gets_a_finite_score_and_planted_anomalies_high_ones(detector):
    scene, truth = planted()
    scores = scored(detector, scene)
    assert scores.shape == scene.grid.shape
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert (scores[truth] > np.quantile(scores[~truth], 0.9)).all()


def test_pixels_without_data_get_no_score_and_change_nothing_but_their_neighbourhood(detector):
    scene, truth = planted()
    holes = np.zeros(scene.grid.shape, bool)
    holes[:4, :7] = True
    holed = scene_of(np.where(holes, np.nan, scene.values), missing=holes)
    scores = scored(detector, holed)
    assert np.array_equal(np.isnan(scores), holes)
    assert (scores[truth] > np.quantile(scores[~truth & ~holes], 0.9)).all()


def test_a_collar_without_data_changes_no_score(detector):
    scene, _ = planted(rows=33, cols=44)
    if type(detector).__name__ == "LocalRX" or type(detector).__name__ == "Collaborative":
        pytest.skip("rings are moved inwards at the border of the file, collar or not")
    wide = np.zeros((12, 37, 50), np.float32)
    missing = np.ones((37, 50), bool)
    wide[:, 2:-2, 3:-3], missing[2:-2, 3:-3] = scene.values, False
    plain, collared = scored(detector, scene), scored(detector, scene_of(wide, missing=missing))
    np.testing.assert_allclose(collared[2:-2, 3:-3], plain, rtol=2e-3, atol=1e-6)


def test_the_same_seed_gives_the_same_scores(detector):
    scene, _ = planted()
    assert np.array_equal(scored(detector, scene, seed=3), scored(detector, scene, seed=3))


def test_a_detector_that_is_not_random_does_not_look_at_the_seed(detector):
    scene, _ = planted()
    same = np.array_equal(scored(detector, scene, seed=3), scored(detector, scene, seed=4))
    assert same != detector.random or type(detector).__name__ == "RankEnsemble"


def test_affine_detectors_see_no_change_of_the_bands(detector):
    if not detector.affine:
        pytest.skip("not promised")
    scene, _ = planted()
    rng = np.random.default_rng(5)
    mixing = rng.normal(size=(12, 12)) + 4 * np.eye(12)
    changed = np.einsum("dc,chw->dhw", mixing, scene.values.astype(float)) + rng.normal(size=(12, 1, 1))
    np.testing.assert_allclose(scored(detector, scene_of(changed)), scored(detector, scene), rtol=2e-3)


def test_pixelwise_detectors_do_not_mind_where_pixels_lie(detector):
    if not detector.pixelwise or detector.random:
        pytest.skip("not promised")
    scene, _ = planted()
    order = np.random.default_rng(6).permutation(scene.valid.size)
    shuffled = scene.values.reshape(12, -1)[:, order].reshape(scene.values.shape)
    found = scored(detector, scene_of(shuffled)).ravel()
    np.testing.assert_allclose(found, scored(detector, scene).ravel()[order], rtol=1e-6)


def test_the_unit_of_the_bands_does_not_change_the_order_of_the_scores(detector):
    scene, _ = planted()
    plain, large = scored(detector, scene), scored(detector, replace(scene, values=scene.values * np.float32(1024)))
    assert np.corrcoef(plain.ravel().argsort().argsort(), large.ravel().argsort().argsort())[0, 1] > 0.999


def test_scores_in_windows_are_those_of_the_whole_scene(detector):
    scene, _ = planted(rows=90, cols=70)
    score = detector.fit(SceneView(scene), Context())
    whole = score(scene.values, scene.valid)
    for core in [(slice(0, 40), slice(0, 32)), (slice(40, 80), slice(32, 70)), (slice(80, 90), slice(0, 32))]:
        around = expand(core, detector.halo, scene.grid.shape)
        part = score(scene.values[:, *around], scene.valid[around])[inside(core, around)]
        np.testing.assert_allclose(part, whole[core], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_one_band_and_a_constant_band_are_scored(name):
    rng = np.random.default_rng(2)
    one = rng.normal(size=(1, 24, 26))
    one[0, 12, 13] = 20
    detector = QUICK.get(name) or DETECTORS[name]()
    scores = find_anomalies(scene_of(one), method=detector, device="cpu").scores
    assert np.isfinite(scores).all()
    assert scores[12, 13] >= np.quantile(scores, 0.99)
    two = np.concatenate([one, np.ones_like(one)])
    assert np.isfinite(find_anomalies(scene_of(two), method=detector, device="cpu").scores).all()
