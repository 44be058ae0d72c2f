"""The diffusion of BSDM: its closed form, its inverse, its band rule, and what training does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchfree.anomalies.bsdm import (
    BSDM,
    DIFFUSION_STEPS,
    FIRST_BETA,
    LAST_BETA,
    Denoiser,
    _Trained,
    band_groups,
    schedule,
)
from patchfree.anomalies.scoring import find_anomalies
from patchfree.errors import ConfigError
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView
from planted import planted

CPU = torch.device("cpu")


@pytest.mark.parametrize("step", [1, 2, 250, 500, 1000])
def test_the_closed_form_of_gamma_is_the_recursion(step):
    betas = np.linspace(FIRST_BETA, LAST_BETA, DIFFUSION_STEPS)
    signal, noise = 1.0, 0.0  # x_t = signal x_0 + noise e, the same e at every step
    for beta in betas[:step]:
        signal, noise = np.sqrt(1 - beta) * signal, np.sqrt(1 - beta) * noise + np.sqrt(beta)
    assert schedule(step, "gamma") == pytest.approx((signal, noise), rel=1e-12)


def test_the_known_values_near_step_500():
    root, gamma = schedule(501, "gamma")  # the authors' code counts steps from 0
    assert root**2 == pytest.approx(0.0778, abs=5e-5)
    assert gamma == pytest.approx(17.50, rel=0.01)
    assert schedule(501, "alpha")[1] == pytest.approx(0.960, abs=5e-4)


def test_a_network_that_knows_the_noise_gives_the_scene_back():
    class Knows(Denoiser):
        def forward(self, x, step):
            return noise

    scene, _ = planted()
    view = SceneView(scene)
    low, high = view.extent
    clean = (scene.values.reshape(12, -1).astype(float) - low) / (high - low)
    noise = torch.randn(clean.shape[1], 12, generator=torch.Generator().manual_seed(0))
    root, gamma = schedule(500, "gamma")
    noisy = (root * clean + gamma * noise.double().numpy().T) * (high - low) + low
    change, bands = _Trained(Knows(12), 12, CPU).subtraction(view, BSDM(repeats=1), Context())
    assert bands == 12
    np.testing.assert_allclose(change(noisy), clean, atol=1e-9)


def test_training_tells_the_noise_better_than_no_training():
    from patchfree.anomalies.bsdm import _trained

    scene, _ = planted()
    view, lost = SceneView(scene), {}
    spectra = view.sample(10**6, 0)
    x = torch.from_numpy(((spectra - view.extent[0]) / (view.extent[1] - view.extent[0])).T.astype(np.float32))
    noise = x.mean() + x.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    root, gamma = schedule(500, "gamma")
    for steps in (0, 60):
        network = _trained(view, BSDM(steps=steps), Context()).network
        with torch.inference_mode():
            lost[steps] = float((network(root * x + gamma * noise, 500) - noise).square().mean())
    assert lost[60] < 0.8 * lost[0]


@pytest.mark.parametrize(
    ("bands", "trained", "sizes"), [(7, 7, [7]), (5, 7, [7]), (9, 7, [7]), (14, 7, [7, 7]), (23, 7, [7, 7, 7])]
)
def test_the_band_rule_of_the_paper(bands, trained, sizes):
    groups = band_groups(bands, trained, np.random.default_rng(0))
    assert [len(g) for g in groups] == sizes
    if bands >= trained:
        together = np.concatenate(groups)
        assert len(set(together.tolist())) == len(together)
        assert all((np.diff(g) > 0).all() for g in groups)
    else:
        assert groups[0].tolist() == [0, 1, 2, 3, 4, 3, 2]


@pytest.mark.parametrize("suppress", ["bsdm-untrained", "pca", BSDM(steps=3), BSDM(mode="alpha", steps=3, repeats=2)])
def test_scores_come_after_every_suppression(suppress):
    scene, truth = planted()
    found = find_anomalies(scene, method="rx", suppress=suppress, device="cpu")
    assert np.isfinite(found.scores).all()
    assert len(found.references) >= 1
    if not isinstance(suppress, BSDM):
        assert np.median(found.scores[truth]) > np.quantile(found.scores, 0.9)


@pytest.mark.parametrize("bands", [8, 12, 17, 30])
def test_the_background_may_be_learnt_from_another_scene(bands):
    scene, _ = planted(bands=bands)
    other, _ = planted(bands=12, seed=4)
    found = find_anomalies(scene, method="rx", suppress=BSDM(steps=2), learnt_from=other, device="cpu")
    assert np.isfinite(found.scores).all()


def test_settings_can_be_chosen_without_labels():
    scene, _ = planted()
    found = find_anomalies(scene, method="rx", suppress=BSDM(mode="auto", step=500, repeats=0, steps=2), device="cpu")
    assert any("chosen without labels" in note for note in found.notes)


def test_settings_out_of_range_are_refused():
    scene, _ = planted()
    for wrong in (BSDM(step=1001), BSDM(repeats=-1)):
        with pytest.raises(ConfigError, match="need gamma, alpha or auto, a step from 1 to 1000"):
            wrong.fit(SceneView(scene), Context())
    with pytest.raises(ConfigError, match="no suppression that learns"):
        find_anomalies(scene, learnt_from=scene)
