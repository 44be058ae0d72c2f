"""Smoothing along what looks alike: random walks that stop at edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import spsolve

from patchfree.fit import Trainer
from patchfree.models import _walks
from patchfree.models._contract import Masks
from patchfree.models._smoothed import FLOOR
from patchfree.models._statistics import OF_THE_SCENE
from patchfree.models._walks import NEIGHBOURS, SHARPNESS, STOP, SURE
from patchfree.models.freenet_smooth import FreeNetSmooth
from patchfree.recipes import get_recipe
from patchfree.standardise import CLOSE, PAIRS, USUAL, edge_guide, mixed_neighbours

K, H, W = 3, 9, 12


@pytest.fixture
def network():
    torch.manual_seed(0)
    return FreeNetSmooth(bands=2, classes=K).eval()


def smoothed(network, scene, scores, valid=None):
    """The last stage alone."""
    seen = torch.einsum("gc,chw->ghw", network.guide, torch.as_tensor(scene).float())
    maps = {"seen": seen[None], "unsmoothed": torch.as_tensor(scores)[None].float()}
    mask = None if valid is None else torch.as_tensor(valid)[None]
    return network.stages()[-1].run(maps, Masks(mask, torch.float32), OF_THE_SCENE)["scores"][0]


def two_fields(noise=0.0):
    """A scene of two fields, left and right of column 6, and scores that mistake some pixels of each."""
    rng = np.random.default_rng(0)
    scene = np.zeros((2, H, W), np.float32)
    scene[:, :, 6:] = 10
    scene += noise * rng.normal(size=scene.shape).astype(np.float32)
    scores = np.zeros((K, H, W), np.float32)
    scores[0, :, :6] = scores[1, :, 6:] = 2
    wrong = rng.random((H, W)) < 0.2
    scores[:, wrong] = 0
    scores[2, wrong] = 2
    return scene, scores, wrong


def walked_exactly(scene, guide, chances):
    """The linear system that the walks solve, in double precision: (degree + stop) ends - links ends = stop chances."""
    seen = np.einsum("gc,chw->hwg", np.asarray(guide, float), np.asarray(scene, float))
    rows, cols, links = [], [], []
    for y in range(H):
        for x in range(W):
            for dy, dx in NEIGHBOURS:
                if 0 <= y + dy < H and 0 <= x + dx < W:
                    apart = ((seen[y, x] - seen[y + dy, x + dx]) ** 2).sum()
                    rows.append(y * W + x)
                    cols.append((y + dy) * W + x + dx)
                    links.append(np.exp(-SHARPNESS * apart) / np.hypot(dy, dx))
    a = coo_array((links, (rows, cols)), shape=(H * W, H * W)).tocsc()
    stop = STOP + SURE * chances.max(0).ravel().astype(float) ** 2
    system = diags_array(a.sum(0) + stop).tocsc() - a
    return spsolve(system, stop[:, None] * chances.reshape(K, -1).T.astype(float)).T.reshape(K, H, W)


def test_with_many_steps_it_solves_the_linear_system(network, monkeypatch):
    monkeypatch.setattr(_walks, "STEPS", 2000)
    rng = np.random.default_rng(1)
    scene, scores = rng.normal(size=(2, H, W)), rng.normal(size=(K, H, W))
    network.prepare(torch.tensor([[0.5, 0.1], [0.0, 0.7]]), torch.tensor([0.3, 0.0, -0.4]), 0.0)
    prior = network.prior.numpy()[:, None, None]
    chances = torch.softmax(torch.as_tensor(scores + prior), 0).numpy()
    found = np.exp(smoothed(network, scene, scores).double().numpy() + prior) - FLOOR
    np.testing.assert_allclose(found, walked_exactly(scene, network.guide, chances), atol=2e-5)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_mistaken_pixels_follow_their_field_and_the_edge_stays(network):
    scene, scores, wrong = two_fields(noise=0.1)
    network.prepare(torch.eye(2), torch.zeros(K), 0.0)
    assert (scores.argmax(0)[wrong] == 2).all()
    expected = np.zeros((H, W), int)
    expected[:, 6:] = 1
    np.testing.assert_array_equal(smoothed(network, scene, scores).argmax(0), expected)


def test_a_network_that_knows_no_edges_smooths_over_them(network):
    scene, scores, _ = two_fields()
    assert not network.guide.any()
    at_the_edge = smoothed(network, scene, scores).exp()[:2, :, 5:7]
    assert float(at_the_edge.amin(0).max()) > 0.2


def test_nothing_is_taken_from_pixels_without_data(network):
    scene, scores, _ = two_fields()
    network.prepare(0 * torch.eye(2), torch.zeros(K), 0.0)
    valid = np.ones((H, W), bool)
    valid[:, 6] = False
    other = scores.copy()
    other[:, :, 6:] = -7.0
    one, two = (smoothed(network, scene, s, valid)[:, :, :6] for s in (scores, other))
    assert torch.equal(one, two)


def test_training_smooths_nothing(network):
    x = torch.randn(1, 2, 16, 16)
    raw = network.train().maps(x)
    assert torch.equal(raw["scores"], raw["unsmoothed"])
    assert not torch.equal(network.eval()(x), raw["scores"])


@pytest.mark.parametrize(("mixed", "square"), [(0.0, 1.0), (0.5, 1 + CLOSE / 2)])
def test_the_guide_has_noise_of_a_mean_square_that_grows_where_classes_are_mixed(mixed, square):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 40, 50)).astype(np.float32) * np.arange(1, 7, dtype=np.float32)[:, None, None]
    values += np.linspace(0, 90, 40, dtype=np.float32)[:, None]
    valid = np.ones((40, 50), bool)
    valid[3:9, 10:20] = False
    both = (slice(0, 40), slice(0, 25)), (slice(0, 40), slice(25, 50))
    guide = edge_guide(values, valid, both, 4, mixed=mixed)
    assert guide.shape == (4, 6)
    seen = np.einsum("gc,chw->ghw", guide, values)
    squares = [
        ((seen[:, r, c][:, :, 1:] - seen[:, r, c][:, :, :-1]) ** 2).sum(0)[valid[r, c][:, 1:] & valid[r, c][:, :-1]]
        for r, c in both
    ]
    assert np.concatenate(squares).mean() == pytest.approx(square, rel=1e-3)


def test_a_scene_without_any_difference_has_a_guide():
    guide = edge_guide(
        np.zeros((3, 5, 5), np.float32), np.ones((5, 5), bool), [(slice(0, 5), slice(0, 5))], 4, mixed=0.1
    )
    assert guide.shape == (3, 3)
    assert np.isfinite(guide).all()


def test_neighbours_of_different_classes_are_counted_among_training_pixels_of_one_scene():
    index = np.array([[1, 1, 2, 0], [1, 2, 2, 2], [3, 3, 1, 1]])
    train = np.ones((3, 4), bool)
    train[2, 3] = False
    one = [(slice(0, 3), slice(0, 4))]
    # In rows: 1-1, 1-2; 1-2, 2-2, 2-2; 3-3, 3-1. In columns: 1-1, 1-2, 2-2; 1-3, 2-3, 2-1.
    assert mixed_neighbours(index, train, one) == pytest.approx((USUAL * PAIRS + 7) / (PAIRS + 13))
    halves = [(slice(0, 3), slice(0, 2)), (slice(0, 3), slice(2, 4))]  # 1-2, 1-2 and 3-1 lie across
    assert mixed_neighbours(index, train, halves) == pytest.approx((USUAL * PAIRS + 5) / (PAIRS + 10))
    assert mixed_neighbours(index, train & (index < 0), one) == USUAL


def test_a_training_tells_how_mixed_the_classes_are():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 24, 24)).astype(np.float32)
    found, sharper = {}, {}
    for name, index in {
        "fields": np.where(np.arange(24) < 12, 1, 2) * np.ones((24, 1), int),
        "mixed": rng.integers(1, 3, (24, 24)),
    }.items():
        recipe = get_recipe("default", steps=1, shuffle=False)
        everywhere = np.ones((24, 24), bool)
        trainer = Trainer(
            values,
            everywhere,
            index,
            train=everywhere,
            val=~everywhere,
            classes=2,
            recipe=recipe,
            seed=0,
            device=torch.device("cpu"),
        )
        found[name] = trainer.model.guide
        sharper[name] = 1 + CLOSE * mixed_neighbours(index, everywhere, [(slice(0, 24), slice(0, 24))])
    ratio = (found["mixed"] / found["fields"]).square()
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio.mean())))
    assert float(ratio.mean()) == pytest.approx(sharper["mixed"] / sharper["fields"], rel=1e-4)
    assert sharper["mixed"] > 5 * sharper["fields"]
