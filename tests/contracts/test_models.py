"""What every model in MODELS promises. A new model gets these tests by being listed."""

from __future__ import annotations

import pytest
import torch

from patchfree.models import MODELS, SceneModel

SIZES = [(16, 16), (17, 23), (1, 40), (9, 9)]


@pytest.fixture(params=sorted(MODELS))
def kind(request):
    return MODELS[request.param]


@pytest.fixture
def model(kind):
    torch.manual_seed(0)
    return kind(bands=7, classes=3)


def random_scene(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_a_scene_model_that_knows_its_bands_and_classes(model):
    assert isinstance(model, SceneModel)
    assert (model.bands, model.classes) == (7, 3)


def test_it_states_its_context_and_its_reach(kind):
    assert kind.context is None or kind.context >= 0
    assert isinstance(kind.reach, int)
    assert kind.reach >= 0


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_scores_have_the_size_of_the_scene(model, size, masked):
    valid = random_scene(2, *size) > -1 if masked else None
    scores = model(random_scene(2, 7, *size), valid)
    assert scores.shape == (2, 3, *size)
    assert scores.isfinite().all()


def test_gradient_reaches_every_parameter(model):
    model(random_scene(1, 7, 17, 23)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_state_restores_the_scores_bit_for_bit(kind, model):
    x = random_scene(1, 7, 17, 23)
    torch.manual_seed(1)
    other = kind(bands=7, classes=3)
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))


@pytest.mark.parametrize("masked", [False, True])
def test_a_scene_has_the_same_scores_alone_and_in_a_batch(model, masked):
    x = random_scene(3, 7, 17, 23)
    valid = random_scene(3, 17, 23) > -1 if masked else None
    model.eval()
    with torch.no_grad():
        together = model(x, valid)
        for i in range(3):
            alone = model(x[i : i + 1], valid[i : i + 1] if masked else None)[0]
            torch.testing.assert_close(together[i], alone, rtol=1e-4, atol=1e-4)


def test_scores_are_the_same_in_training_and_evaluation(model):
    x = random_scene(1, 7, 16, 16)
    assert torch.equal(model.train()(x), model.eval()(x))


def test_bfloat16_stays_near_single_precision(model):
    x = random_scene(1, 7, 17, 23)
    with torch.no_grad():
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(x).float()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_values_under_pixels_without_data_do_not_matter(model):
    x, valid = random_scene(1, 7, 17, 23), random_scene(1, 17, 23) > -1
    other = torch.where(valid[:, None], x, -100 * torch.ones_like(x))
    assert torch.equal(model(x, valid).movedim(1, -1)[valid], model(other, valid).movedim(1, -1)[valid])


def test_wrong_bands_are_refused_with_both_numbers(model):
    with pytest.raises(ValueError, match=r"5 bands.*7"):
        model(torch.zeros(1, 5, 8, 8))


def test_a_window_with_the_stated_halo_gives_the_answer_of_the_whole(model):
    if model.context is None:
        pytest.skip("this model states that only the whole scene gives the scene's answer")
    halo, x = model.context, random_scene(1, 7, 16 + 3 * model.context, 40)
    with torch.no_grad():
        window = model(x[:, :, halo : 16 + 3 * halo])[:, :, halo : halo + 16]
        torch.testing.assert_close(window, model(x)[:, :, 2 * halo : 2 * halo + 16], rtol=1e-4, atol=1e-4)
