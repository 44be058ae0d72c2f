"""What a network sees of a scene: standardised bands, or components of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from jobs import read_json, short
from patchfree import train
from patchfree.errors import RunError
from patchfree.labels import make_labels
from patchfree.models import MODELS
from patchfree.run import load_run
from patchfree.scene import Bands, Grid, make_scene
from patchfree.series import join_scenes
from patchfree.standardise import RIDGE, Standardisation, _covariances, noise_adjusted
from windowed import LEGEND, saved, streamed, untrained, values_of


class TestStandardisation:
    def test_bands_have_mean_0_and_deviation_1_over_the_pixels_with_data(self, holed):
        values = Standardisation.of(holed).apply(holed)[:, holed.valid]
        np.testing.assert_allclose(values.mean(1), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(1), 1, atol=1e-5)

    def test_pixels_without_data_are_0_and_do_not_count(self, holed):
        other = dataclasses.replace(holed, values=np.where(holed.valid, holed.values, np.float32(1e6)))
        measured = Standardisation.of(other)
        assert measured.mean == Standardisation.of(holed).mean
        assert measured.std == Standardisation.of(holed).std
        assert not measured.apply(other)[:, ~holed.valid].any()

    def test_another_scene_is_measured_with_the_same_ruler(self, scene):
        measured = Standardisation.of(scene)
        brighter = dataclasses.replace(scene, values=scene.values + 1)
        shift = measured.apply(brighter) - measured.apply(scene)
        np.testing.assert_allclose(
            shift, np.broadcast_to(1 / np.array(measured.std)[:, None, None], shift.shape), rtol=1e-3
        )

    @pytest.mark.parametrize("value", [0.0, 0.1, 31_000.3])
    def test_a_constant_band_becomes_0(self, value):
        values = np.stack([np.full((20, 20), value), np.arange(400.0).reshape(20, 20)]).astype(np.float32)
        scene = make_scene(
            values, missing=np.zeros(values.shape, bool), bands=Bands((1, 2), 2), grid=Grid(20, 20), name="flat"
        )
        assert Standardisation.of(scene).std[0] == 1
        np.testing.assert_allclose(Standardisation.of(scene).apply(scene)[0], 0, atol=1e-2)

    def test_the_scene_is_left_as_it_is(self, holed):
        before = holed.fingerprint()
        Standardisation.of(holed).apply(holed)
        assert holed.fingerprint() == before


BANDS = 24


def smooth_and_noise(rows=40, cols=50, bands=BANDS, noise=0.3, seed=0):
    """Three smooth layers mixed into many bands, each with white noise of its own strength; the layers, and the scene's values."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((rows, cols)) / 10
    layers = np.stack([np.sin(x), np.cos(y + 1), np.sin(x + y)])
    mixing = rng.normal(size=(bands, 3))
    strengths = noise * rng.uniform(0.5, 2, (bands, 1, 1))
    return layers, (np.tensordot(mixing, layers, 1) + strengths * rng.normal(size=(bands, rows, cols))).astype(
        np.float32
    )


def scene_of(values, missing=None):
    missing = np.zeros(values.shape, bool) if missing is None else np.broadcast_to(missing, values.shape)
    return make_scene(
        values,
        missing=missing,
        bands=Bands(tuple(range(1, len(values) + 1)), len(values)),
        grid=Grid(*values.shape[1:]),
        name="smooth",
    )


class TestComponents:
    def test_the_first_hold_what_is_smooth_whatever_the_strength_of_the_noise(self):
        layers, values = smooth_and_noise()
        found = Standardisation.of(scene_of(values), 3).apply(scene_of(values)).reshape(3, -1)
        found = found - found.mean(1, keepdims=True)
        for layer in layers.reshape(3, -1) - layers.reshape(3, -1).mean(1, keepdims=True):
            rest = layer - found.T @ np.linalg.lstsq(found.T, layer, rcond=None)[0]
            assert (rest**2).sum() < 0.1 * (layer**2).sum()

    def test_they_are_uncorrelated_and_have_together_the_mean_variance_1(self):
        scene = scene_of(smooth_and_noise()[1])
        covariance = np.cov(Standardisation.of(scene, 8).apply(scene).reshape(8, -1), bias=True)
        np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=2e-4)
        assert np.trace(covariance) / 8 == pytest.approx(1, rel=1e-3)
        assert (np.diff(np.diag(covariance)) < 0).all()

    def test_principal_components_come_after_them_and_are_those_of_the_covariance(self):
        scene = scene_of(smooth_and_noise()[1])
        found = Standardisation.of(scene, 3, principal=4)
        np.testing.assert_array_equal(found.components[:3], Standardisation.of(scene, 3).components)
        given = Standardisation.of(scene).apply(scene).reshape(BANDS, -1).astype(np.float64)
        axes = np.linalg.eigh(np.cov(given, bias=True))[1][:, ::-1][:, :4]
        weights = found.components[3:] / np.linalg.norm(found.components[3:], axis=1, keepdims=True)
        np.testing.assert_allclose(np.abs(np.sum(weights.T * axes, axis=0)), 1, atol=1e-4)
        covariance = np.cov(found.apply(scene).reshape(7, -1)[3:], bias=True)
        assert np.trace(covariance) / 4 == pytest.approx(1, rel=1e-3)

    def test_together_there_are_no_more_than_bands_and_no_principal_ones_beside_the_bands_themselves(self):
        scene = scene_of(smooth_and_noise()[1])
        assert Standardisation.of(scene, 3, principal=BANDS + 5).inputs == BANDS
        assert Standardisation.of(scene, BANDS - 1, principal=5).inputs == BANDS
        assert Standardisation.of(scene, BANDS, principal=5).components is None
        assert Standardisation.of(scene, 0, principal=5).components is None

    def test_their_ratios_are_the_generalised_eigenvalues(self):
        rng = np.random.default_rng(1)
        a, b = rng.normal(size=(2, 6, 40))
        covariance, noise = a @ a.T / 40, b @ b.T / 40
        weights = noise_adjusted(covariance, noise, 6).astype(np.float64)
        inverse = np.linalg.inv(noise + RIDGE * np.trace(covariance) / 6 * np.eye(6))
        expected = np.sort(np.linalg.eigvals(inverse @ covariance).real)[::-1]
        ratios = [w @ covariance @ w / (w @ noise @ w) for w in weights]
        np.testing.assert_allclose(ratios, expected, rtol=1e-4)

    def test_other_units_of_the_bands_change_nothing(self):
        values = smooth_and_noise()[1]
        gain = np.linspace(0.5, 30, BANDS, dtype=np.float32)[:, None, None]
        one, other = scene_of(values), scene_of(values * gain + 5)
        np.testing.assert_allclose(
            Standardisation.of(one, 6).apply(one), Standardisation.of(other, 6).apply(other), atol=2e-3
        )

    def test_no_data_counts_neither_as_signal_nor_as_noise(self):
        values = smooth_and_noise()[1]
        missing = np.zeros(values.shape[1:], bool)
        missing[:, 20:23] = missing[5, :] = True
        wild = np.where(missing, np.float32(1e5), values)
        plain, filled = scene_of(values, missing), scene_of(wild, missing)
        one, other = Standardisation.of(plain, 5), Standardisation.of(filled, 5)
        np.testing.assert_allclose(one.components, other.components, rtol=1e-4, atol=1e-6)
        assert not other.apply(filled)[:, missing].any()

    def test_the_border_between_two_scenes_is_no_noise(self):
        values = smooth_and_noise()[1]
        scenes = [scene_of(values), scene_of(values[:, :, ::-1] + 40)]
        plain = Standardisation.of(join_scenes(scenes))
        each = [_covariances(scene, plain) for scene in scenes]
        for together, apart in zip(_covariances(join_scenes(scenes), plain), zip(*each, strict=True), strict=True):
            np.testing.assert_allclose(together, sum(apart) / 2, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("components", [0, BANDS, BANDS + 9])
    def test_as_many_as_there_are_bands_are_the_bands(self, components):
        scene = scene_of(smooth_and_noise()[1])
        found = Standardisation.of(scene, components)
        assert found.components is None
        assert found.inputs == BANDS
        np.testing.assert_array_equal(found.apply(scene), Standardisation.of(scene).apply(scene))

    @pytest.mark.parametrize(
        "values",
        [
            pytest.param(np.ones((5, 6, 7), np.float32), id="constant"),
            pytest.param(np.repeat(np.arange(42.0, dtype=np.float32).reshape(1, 6, 7), 5, 0), id="bands alike"),
            pytest.param(np.arange(30.0, dtype=np.float32).reshape(5, 6, 1), id="one column"),
            pytest.param(np.arange(5.0, dtype=np.float32).reshape(5, 1, 1), id="one pixel"),
            pytest.param(
                np.repeat(np.random.default_rng(0).normal(size=(5, 6, 1)), 7, 2).astype(np.float32), id="no noise"
            ),
        ],
    )
    def test_scenes_that_tell_little_still_give_numbers(self, values):
        scene = scene_of(values)
        found = Standardisation.of(scene, 3).apply(scene)
        assert found.shape == (3, *values.shape[1:])
        assert np.isfinite(found).all()
        assert np.abs(found).max() < 1e3

    def test_a_window_of_a_scene_gets_what_the_scene_gets(self):
        scene = scene_of(smooth_and_noise()[1])
        found = Standardisation.of(scene, 5)
        part = found.apply_to(scene.values[:, 7:20, 3:31], scene.valid[7:20, 3:31])
        np.testing.assert_allclose(part, found.apply(scene)[:, 7:20, 3:31], atol=1e-5)

    def test_a_turn_of_the_bands_is_undone(self):
        """Only the covariances matter: for an orthogonal turn without ridge the components are the same but for their signs."""
        rng = np.random.default_rng(2)
        a, b = rng.normal(size=(2, 5, 60))
        turn = ortho_group.rvs(5, random_state=3)
        one = noise_adjusted(a @ a.T, b @ b.T, 3) @ a
        other = noise_adjusted(turn @ a @ a.T @ turn.T, turn @ b @ b.T @ turn.T, 3) @ turn @ a
        np.testing.assert_allclose(np.abs(one), np.abs(other), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    values = smooth_and_noise(24, 30)[1]
    scene = scene_of(values)
    index = np.zeros((24, 30), int)
    index[::3, ::2] = 1 + (values.mean(0)[::3, ::2] > 0)
    recipe = dataclasses.replace(short(3), components=5, principal=2)
    folder = tmp_path_factory.mktemp("run") / "run"
    run = train(scene, make_labels(index), recipe=recipe, controls=(), device="cpu", out=folder)
    return scene, run, folder


class TestRuns:
    def test_the_network_takes_the_components_and_the_folder_keeps_them(self, made):
        scene, run, folder = made
        again = load_run(folder)
        assert run.standardisation.inputs == 7
        np.testing.assert_array_equal(again.standardisation.components, run.standardisation.components)
        assert again.model_hash == run.model_hash == read_json(folder / "model.json")["weights_hash"]
        np.testing.assert_array_equal(
            again.predict(scene, device="cpu").probabilities, run.predict(scene, device="cpu").probabilities
        )
        assert read_json(folder / "metrics.json")["parameters"] == sum(w.numel() for w in again.weights.values())

    def test_damaged_components_are_refused(self, made, tmp_path):
        _, run, _ = made
        run.save_model(tmp_path)
        changed = dataclasses.replace(run, standardisation=dataclasses.replace(run.standardisation, components=None))
        changed.save_model(tmp_path / "other")
        (tmp_path / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
        with pytest.raises(RunError, match="is damaged"):
            load_run(tmp_path)

    def test_maps_in_windows_are_those_of_the_whole_scene(self, tmp_path):
        values = values_of(40, 52, bands=9)
        components = np.random.default_rng(4).normal(size=(4, 9)).astype(np.float32)
        standard = Standardisation((3.0,) * 9, (2.0,) * 9, components)
        narrow = untrained("freenet-half", bands=4, legend=LEGEND)
        run = dataclasses.replace(narrow, bands=Bands(tuple(range(1, 10)), 9), standardisation=standard)
        source = saved(tmp_path / "scene.npy", values)
        found = streamed(run, source, tmp_path / "work", size=16)
        network = MODELS[run.model](bands=4, classes=len(LEGEND)).eval()
        network.load_state_dict(run.weights)
        with torch.inference_mode():
            whole = network(torch.from_numpy(standard.apply_to(values, np.ones((40, 52), bool)))[None])[0].numpy()
        np.testing.assert_allclose(found["scores"].transpose(2, 0, 1), whole, atol=1e-4)
