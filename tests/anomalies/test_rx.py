"""Fast RX equals the plain loop in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io
from sklearn.metrics import roc_auc_score

from patchfree.anomalies import DETECTORS
from patchfree.anomalies.collaborative import Collaborative
from patchfree.anomalies.local_rx import LocalRX
from patchfree.anomalies.rx import GlobalRX
from patchfree.anomalies.scoring import find_anomalies
from patchfree.errors import ConfigError, SceneError
from patchfree.io import open_scene
from patchfree.unsupervised.moments import Moments
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView
from planted import planted, scene_of, scored

CHECK = {
    "airport-1": 0.8221,
    "airport-2": 0.8404,
    "airport-4": 0.9526,
    "beach-1": 0.9807,
    "beach-3": 0.9998,
    "urban-1": 0.9907,
    "urban-4": 0.9887,
}
"""AUC of global RX, computed independently of this code."""


def ring(row, col, h, w, inner, outer):
    """Rows and columns of a dual window that is moved inwards at the border."""
    top, left = (min(max(0, p - outer // 2), n - outer) for p, n in ((row, h), (col, w)))
    rows, cols = np.mgrid[top : top + outer, left : left + outer]
    far = np.maximum(np.abs(rows - row), np.abs(cols - col)) > inner // 2
    return rows[far], cols[far]


def loop(scene, inner, outer):
    """Local RX pixel by pixel, with a covariance and an inverse of its own each."""
    values = scene.values.astype(np.float64)
    found = np.full(scene.grid.shape, np.nan)
    for row, col in zip(*np.nonzero(scene.valid), strict=True):
        rows, cols = ring(row, col, *scene.grid.shape, inner, outer)
        held = scene.valid[rows, cols]
        background = values[:, rows[held], cols[held]]
        gap = values[:, row, col] - background.mean(1)
        found[row, col] = gap @ np.linalg.inv(np.cov(background, bias=True)) @ gap
    return found


def test_moments_merge_to_those_of_all_pixels():
    spectra = np.random.default_rng(0).normal(3000, 5, (6, 500))
    merged = Moments.of(spectra[:, :7].copy()).merged(Moments.of(spectra[:, 7:]))
    assert merged.count == 500
    np.testing.assert_allclose(merged.mean, spectra.mean(1), rtol=1e-14)
    np.testing.assert_allclose(merged.covariance, np.cov(spectra, bias=True), rtol=1e-9)
    nothing = Moments(0, np.zeros(6), np.zeros((6, 6)))
    assert nothing.merged(merged) is merged
    assert merged.merged(Moments.of(spectra[:, :0])) is merged


def test_global_rx_is_the_plain_loop():
    scene, _ = planted()
    spectra = scene.values.reshape(12, -1).astype(np.float64)
    gap = spectra - spectra.mean(1, keepdims=True)
    inverse = np.linalg.pinv(gap @ gap.T / gap.shape[1], rcond=1e-9, hermitian=True)
    plain = np.array([g @ inverse @ g for g in gap.T]).reshape(scene.grid.shape)
    np.testing.assert_allclose(scored(GlobalRX(), scene), plain, rtol=1e-9)


def test_a_band_that_is_the_sum_of_others_is_cut_and_changes_nothing():
    scene, _ = planted()
    values = scene.values.astype(np.float64)
    more = np.concatenate([values, values[:1] + values[1:2]])
    both = [scored(GlobalRX(), scene_of(v)) for v in (values, more)]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-4)


@pytest.mark.parametrize("size", [(5, 11), (3, 9), (1, 7)])
def test_local_rx_is_the_plain_loop(size):
    scene, _ = planted(rows=33, cols=44)
    holes = np.random.default_rng(3).random(scene.grid.shape) < 0.05
    scene = scene_of(np.where(holes, np.nan, scene.values), missing=holes)
    np.testing.assert_allclose(scored(LocalRX(*size), scene), loop(scene, *size), rtol=1e-6)


def test_local_rx_takes_the_scenes_statistics_where_the_ring_is_too_empty():
    scene, _ = planted(rows=33, cols=44)
    holes = np.zeros(scene.grid.shape, bool)
    holes[10:21, 10:21] = True
    holes[15, 15] = False
    scene = scene_of(np.where(holes, np.nan, scene.values), missing=holes)
    assert scored(LocalRX(3, 9), scene)[15, 15] == pytest.approx(scored(GlobalRX(), scene)[15, 15], rel=1e-6)


def test_collaborative_representation_is_the_plain_loop():
    scene, _ = planted(rows=33, cols=44, bands=6)
    values = scene.values.astype(np.float64)
    power = np.square(values).sum(0).mean()
    values /= np.sqrt(power)
    found = scored(Collaborative(3, 7), scene)
    for row, col in [(0, 0), (8, 9), (16, 20), (32, 43), (5, 43)]:
        x, y = values[:, *ring(row, col, 33, 44, 3, 7)], values[:, row, col]
        weight = np.diag(np.square(x - y[:, None]).sum(0)) * 1e-3 + 1e-12 * np.eye(x.shape[1])
        alpha = np.linalg.solve(x.T @ x + weight, x.T @ y)
        assert found[row, col] == pytest.approx(np.linalg.norm(y - x @ alpha), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", sorted(CHECK))
def test_global_rx_gives_the_check_figures(name, shared_data):
    path = shared_data / "abu" / f"abu-{name}.mat"
    scores = find_anomalies(open_scene(f"{path}:data"), method="rx").scores
    truth = scipy.io.loadmat(path)["map"] > 0
    assert roc_auc_score(truth.ravel(), scores.ravel()) == pytest.approx(CHECK[name], abs=0.0005)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inner": 7, "outer": 7}, "inner window of 7 px that is not smaller than the outer of 7"),
        ({"inner": 9, "outer": 5}, "not smaller than the outer of 5"),
        ({"inner": 4, "outer": 9}, "need odd numbers"),
        ({"inner": 5, "outer": 61}, r"outer window of 61 px, but the scene has 40 by 48; choose --outer 39 or less"),
    ],
)
@pytest.mark.parametrize("name", ["local-rx", "cr"])
def test_windows_that_make_no_sense_are_refused(name, settings, message):
    scene, _ = planted()
    with pytest.raises(ConfigError, match=message):
        DETECTORS[name](**settings).fit(SceneView(scene), Context())


def test_a_ring_with_fewer_pixels_than_bands_is_refused_and_fewer_components_do():
    scene, _ = planted(bands=30)
    with pytest.raises(ConfigError, match=r"ring of 16 pixels .* for 30 bands.* Choose --outer 9 or larger"):
        LocalRX(3, 5).fit(SceneView(scene), Context())
    assert np.isfinite(scored(LocalRX(3, 5, components=5), scene)).all()


def test_fewer_pixels_than_bands_are_refused_or_shrunk_as_asked():
    scene = scene_of(np.random.default_rng(0).normal(size=(40, 5, 6)))
    with pytest.raises(SceneError, match=r"30 pixels with data and 40 bands.* --shrink"):
        GlobalRX().fit(SceneView(scene), Context())
    found = find_anomalies(scene, method=GlobalRX(shrink=True))
    assert np.isfinite(found.scores).all()
    assert any("Ledoit-Wolf" in note for note in found.notes)


def test_a_scene_of_one_spectrum_is_refused():
    with pytest.raises(SceneError, match="All pixels have the same spectrum"):
        find_anomalies(scene_of(np.full((4, 20, 20), 0.3)), method="rx")
