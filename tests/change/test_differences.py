"""IR-MAD, slow features and PCA-k-means are their plain double-precision forms; radiometry and shifts are found back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.ndimage import shift as shifted
from scipy.stats import chi2

from conftest import synthetic
from dated import planted_pair, two_dates
from patchfree.change._differences import FEWEST_A_BAND, standardised
from patchfree.change.cva import ChangeVector
from patchfree.change.ir_mad import IRMAD
from patchfree.change.normalise import normalisation
from patchfree.change.pair import Pair, pair_up
from patchfree.change.pca_kmeans import PCAKMeans
from patchfree.change.registration import find_shift
from patchfree.change.sfa import SlowFeatures
from patchfree.errors import ConfigError, SceneError
from patchfree.unsupervised.moments import Moments
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView


def spectra_of(pair: Pair):
    """Both dates as (bands, pixels) in double precision."""
    return tuple(scene.values.reshape(len(scene.bands), -1).astype(np.float64) for scene in (pair.before, pair.after))


def scored(method, pair, context=None):
    scene = pair.stacked()
    return method.fit(SceneView(scene), context or Context()).score(scene.values, scene.valid)


def plain_ir_mad(x, y, iterations, tolerance=1e-4):
    """Nielsen 2007 as it is written: the generalised eigenvalue problem, weights from the chi-square distribution."""
    weights, last = np.ones(x.shape[1]), None
    for _ in range(iterations + 1):
        total = weights.sum()
        dx = x - (x * weights).sum(1, keepdims=True) / total
        dy = y - (y * weights).sum(1, keepdims=True) / total
        sxx, syy, sxy = (dx * weights) @ dx.T / total, (dy * weights) @ dy.T / total, (dx * weights) @ dy.T / total
        squared, a = eigh(sxy @ np.linalg.inv(syy) @ sxy.T, sxx)
        rho = np.sqrt(squared)
        b = np.linalg.inv(syy) @ sxy.T @ a / rho
        variates = a.T @ dx - b.T @ dy
        distance = (variates**2 / (2 * (1 - rho))[:, None]).sum(0)
        weights = chi2.sf(distance, len(x))
        if last is not None and np.abs(rho - last).max() < tolerance:
            break
        last = rho
    return np.sqrt(distance)


@pytest.mark.parametrize("iterations", [0, 1, 100])
def test_ir_mad_is_the_plain_form(iterations):
    pair, _ = planted_pair(bands=4)
    found = scored(IRMAD(iterations=iterations), pair).ravel()
    np.testing.assert_allclose(found, plain_ir_mad(*spectra_of(pair), iterations), rtol=1e-6)


def plain_slow_features(x, y, iterations, tolerance=1e-4):
    """Wu et al. 2014, iterated, with the weights in the standardisation too."""
    weights, last = np.ones(x.shape[1]), None
    for _ in range(iterations + 1):
        total = weights.sum()

        def standard(z, weights=weights, total=total):
            d = z - (z * weights).sum(1, keepdims=True) / total
            return d / np.sqrt((d**2 * weights).sum(1, keepdims=True) / total)

        sx, sy = standard(x), standard(y)
        d = sx - sy
        variances, w = eigh((d * weights) @ d.T / total, ((sx * weights) @ sx.T + (sy * weights) @ sy.T) / (2 * total))
        distance = ((w.T @ d) ** 2 / variances[:, None]).sum(0)
        weights = chi2.sf(distance, len(x))
        if last is not None and np.abs(variances - last).max() < tolerance:
            break
        last = variances
    return np.sqrt(distance)


@pytest.mark.parametrize("iterations", [0, 2, 100])
def test_slow_features_are_the_plain_form(iterations):
    pair, _ = planted_pair(bands=4)
    found = scored(SlowFeatures(iterations=iterations), pair).ravel()
    np.testing.assert_allclose(found, plain_slow_features(*spectra_of(pair), iterations), rtol=1e-6)


def test_change_vectors_are_lengths_of_differences_of_standardised_bands():
    pair, _ = planted_pair()
    x, y = ((z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True) for z in spectra_of(pair))
    np.testing.assert_allclose(scored(ChangeVector(), pair).ravel(), np.sqrt(((x - y) ** 2).sum(0)), rtol=1e-6)


def test_pca_k_means_is_the_plain_form():
    pair, truth = planted_pair(rows=50, cols=60)
    length = scored(ChangeVector(), pair)
    difference = np.pad(length - length.mean(), 2)
    around = np.array([[difference[r : r + 5, c : c + 5].ravel() for c in range(60)] for r in range(50)])
    blocks = around[2::5, 2::5].reshape(-1, 25)
    variances, vectors = np.linalg.eigh(np.cov(blocks.T, bias=True))
    share = np.cumsum(variances[::-1]) / variances.sum()
    axes = vectors[:, ::-1][:, : int(np.searchsorted(share, 0.9)) + 1]
    features = around.reshape(-1, 25) @ axes
    centres = features[[length.argmin(), length.argmax()]]
    for _ in range(100):  # Lloyd's algorithm from the two extremes
        nearest = ((features[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack([features[nearest == i].mean(0) for i in range(2)])
    called = (scored(PCAKMeans(), pair) > 1).ravel()
    assert (called == (nearest == 1)).mean() > 0.999
    assert (called.reshape(truth.shape) == truth).mean() > 0.95


def test_moments_with_weights_merge_to_those_of_all_pixels():
    rng = np.random.default_rng(0)
    spectra, weights = rng.normal(size=(3, 200)), rng.uniform(0, 1, 200)
    merged = Moments.of(spectra[:, :70], weights[:70]).merged(Moments.of(spectra[:, 70:], weights[70:]))
    np.testing.assert_allclose(merged.count, weights.sum())
    np.testing.assert_allclose(merged.mean, np.average(spectra, axis=1, weights=weights))
    np.testing.assert_allclose(merged.covariance, np.cov(spectra, aweights=weights, bias=True), rtol=1e-10)
    assert Moments.of(spectra, np.zeros(200)).count == 0


def test_reweighting_says_how_it_ended():
    pair, _ = planted_pair(bands=4)
    settled, ended, starved = Context(), Context(), Context()
    scored(IRMAD(), pair, settled)
    assert "settled after" in settled.notes[-1]
    scored(IRMAD(iterations=1), pair, ended)
    assert "ended after 1 iterations; it had not settled" in ended.notes[-1]
    few, _ = planted_pair(rows=12, cols=12, bands=8)
    scored(IRMAD(), few, starved)
    assert f"fewer than {FEWEST_A_BAND * 16}" in starved.notes[-1]


def test_dates_that_do_not_vary_are_refused_and_components_must_be_some():
    before, after, _ = two_dates()
    flat = replace(after, values=np.full_like(after.values, 3))
    with pytest.raises(SceneError, match=r"No band varies at both dates \(AFTER has one value only\)"):
        scored(ChangeVector(), pair_up(before, flat))
    with pytest.raises(ConfigError, match="Got 0 components; need at least 1"):
        scored(IRMAD(components=0), pair_up(before, after))
    assert standardised(SceneView(pair_up(before, after).stacked()).moments).shape == (12, 24)


@pytest.mark.parametrize("way", ["ir-mad", "pif"])
def test_gains_and_offsets_between_the_dates_are_found_in_spite_of_changes(way):
    before, after, truth = two_dates(rows=80, cols=90, noise=0)
    rng = np.random.default_rng(9)
    gains, offsets = rng.uniform(0.6, 1.6, 12), rng.normal(0, 0.3, 12)
    lit = (before.values.astype(float) - offsets[:, None, None]) / gains[:, None, None]
    lit += 0.01 * rng.normal(size=lit.shape)
    lit[:, truth] = after.values[:, truth]
    noisy = before.values + 0.01 * rng.normal(size=lit.shape)
    pair = pair_up(replace(before, values=noisy.astype(np.float32)), replace(after, values=lit.astype(np.float32)))
    view = SceneView(pair.stacked())
    found = normalisation(view, way, Context())
    np.testing.assert_allclose(found.gains, gains, rtol=0.02)
    np.testing.assert_allclose(found.offsets, offsets, atol=0.03)
    whole = (slice(0, 80), slice(0, 90))
    values, valid = found.applied(view).read(whole)
    np.testing.assert_allclose(values[:12], pair.before.values, rtol=1e-6)
    assert np.abs(values[12:, ~truth] - noisy[:, ~truth]).max() < 0.15
    assert valid.all()
    assert f"({way}, " in found.note


def test_a_normalisation_without_likeness_or_of_no_name_is_refused():
    before, after, _ = two_dates()
    noise = replace(after, values=np.random.default_rng(0).normal(size=after.values.shape).astype(np.float32))
    view = SceneView(pair_up(before, noise).stacked())
    with pytest.raises(SceneError, match=r"too little alike to be normalised.*Leave out --normalise"):
        normalisation(view, "pif", Context())
    with pytest.raises(ConfigError, match="there are ir-mad and pif"):
        normalisation(view, "histogram", Context())


@pytest.mark.parametrize("moved", [(0.0, 0.0), (2.0, -3.0), (0.8, 0.0), (-7.5, 4.5)])
def test_a_shift_between_the_dates_is_found(moved):
    before, _ = synthetic(rows=96, cols=110, noise=0.05)
    after = np.stack([shifted(band, moved, order=3, mode="nearest") for band in before.values])
    found = find_shift(SceneView(pair_up(before, replace(before, values=after.astype(np.float32))).stacked()))
    assert found is not None
    assert found.clear
    assert (found.rows, found.cols) == pytest.approx(moved, abs=0.3)
    assert ("more than half a pixel" in found.note) == (np.hypot(*moved) > 0.5)


def test_dates_that_show_nothing_alike_have_no_shift():
    before, _ = synthetic(rows=96, cols=110)
    other = np.random.default_rng(3).normal(size=before.values.shape).astype(np.float32)
    found = find_shift(SceneView(pair_up(before, replace(before, values=other)).stacked()))
    assert found is not None
    assert not found.clear
    assert "could not be told" in found.note
    tiny, _ = synthetic(rows=12, cols=30)
    assert find_shift(SceneView(pair_up(tiny, tiny).stacked())) is None
