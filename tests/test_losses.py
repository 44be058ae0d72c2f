"""The loss over the chosen pixels is the dense loss under a 0/1 mask, divided by the mask's sum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from patchfree.losses import at_pixels, deep_supervision, masked_cross_entropy, soft_cross_entropy


@pytest.fixture
def case():
    source = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 9, 7, generator=source)
    target = torch.randint(0, 5, (9, 7), generator=source)
    pixels = torch.randperm(63, generator=source)[:20]
    return scores, target, pixels


def dense(scores, target, pixels):
    weight = torch.zeros(63).index_fill(0, pixels, 1.0).view(9, 7)
    return (weight * F.cross_entropy(scores[None], target[None], reduction="none")[0]).sum() / weight.sum()


def test_it_equals_the_dense_masked_cross_entropy(case):
    scores, target, pixels = case
    found = masked_cross_entropy(scores, pixels, target.flatten()[pixels])
    torch.testing.assert_close(found, dense(scores, target, pixels))


def test_its_gradient_equals_that_of_the_dense_loss_and_is_zero_elsewhere(case):
    scores, target, pixels = case
    ours, theirs = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    masked_cross_entropy(ours, pixels, target.flatten()[pixels]).backward()
    dense(theirs, target, pixels).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    elsewhere = torch.ones(63, dtype=torch.bool).index_fill(0, pixels, False)
    assert not ours.grad.flatten(1)[:, elsewhere].any()


def test_smoothing_mixes_in_the_mean_over_all_classes(case):
    scores, target, pixels = case
    classes = target.flatten()[pixels]
    log = scores.flatten(1)[:, pixels].log_softmax(0)
    expected = -(0.9 * log.gather(0, classes[None]).mean() + 0.1 * log.mean())
    torch.testing.assert_close(masked_cross_entropy(scores, pixels, classes, label_smoothing=0.1), expected)


def test_half_precision_scores_are_summed_in_full_precision(case):
    scores, target, pixels = case
    found = masked_cross_entropy(scores.bfloat16(), pixels, target.flatten()[pixels])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, dense(scores.bfloat16().float(), target, pixels))


# --- deep supervision: everything that a network of two dates predicts


@pytest.fixture
def predicted():
    source = torch.Generator().manual_seed(1)
    maps = {name: torch.randn(1, 40, generator=source) for name in ("side0", "side1", "uncertainty")}
    maps["scores"] = torch.cat((torch.zeros(1, 40), torch.randn(1, 40, generator=source)))
    return maps, torch.randint(0, 2, (40,), generator=source)


def by_hand(maps, truth, learnt, doubted):
    def term(logit):
        q, y = logit.sigmoid()[learnt], truth[learnt]
        entropy = -(y * q.log() + (1 - y) * (1 - q).log()).mean()
        return entropy + 1 - (2 * (q * y).sum() + 1e-5) / (q.sum() + y.sum() + 1e-5)

    changed = maps["scores"][1] - maps["scores"][0]
    total = sum(term(logit) for logit in (changed, maps["side0"][0], maps["side1"][0]))
    error, u = (truth - changed.sigmoid()).abs()[doubted], maps["uncertainty"][0].sigmoid()[doubted]
    return total - (error * u.log() + (1 - error) * (1 - u).log()).mean()


@pytest.mark.parametrize("held_out", [0, 10])
def test_deep_supervision_is_what_the_paper_sums_up(predicted, held_out):
    maps, classes = predicted
    held = torch.arange(40) < held_out
    everything = torch.ones(40, dtype=torch.bool)
    wanted = by_hand(maps, classes.float(), ~held, held if held_out else everything)
    torch.testing.assert_close(deep_supervision(maps, classes, held), wanted)


def test_the_uncertainty_does_not_change_the_scores_and_held_out_pixels_teach_it_alone(predicted):
    maps, classes = predicted
    held = torch.arange(40) < 10
    maps = {name: value.clone().requires_grad_() for name, value in maps.items()}
    deep_supervision(maps, classes, held).backward()
    assert not maps["scores"].grad[:, held].any()
    assert not maps["side1"].grad[:, held].any()
    assert maps["uncertainty"].grad[:, held].all()
    assert not maps["uncertainty"].grad[:, ~held].any()


def test_a_coarse_map_is_read_at_the_pixel_above():
    x = torch.arange(6.0).view(1, 2, 3)  # every second row and column of 4 x 5
    pixels = torch.tensor([0, 4, 6, 13, 19])
    assert at_pixels(x, pixels, 5, stride=2).tolist() == [[0, 2, 0, 4, 5]]
    fine = torch.arange(20.0).view(1, 4, 5)
    assert at_pixels(fine, pixels, 5).tolist() == [[0, 4, 6, 13, 19]]


def test_soft_targets_that_are_sure_are_labels(case):
    scores, target, pixels = case
    classes = target.flatten()[pixels]
    sure = F.one_hot(classes, 5).T.float()
    torch.testing.assert_close(soft_cross_entropy(scores, pixels, sure), masked_cross_entropy(scores, pixels, classes))


def test_soft_targets_are_met_best_by_their_own_probabilities(case):
    scores, _, pixels = case
    chances = torch.softmax(scores.flatten(1)[:, pixels], 0)
    entropy = -(chances * chances.log()).sum(0).mean()
    torch.testing.assert_close(soft_cross_entropy(scores, pixels, chances), entropy)
    assert soft_cross_entropy(1.3 * scores, pixels, chances) > entropy
