"""The loss over the chosen pixels is the dense loss under a 0/1 mask, divided by the mask's sum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from patchfree.losses import masked_cross_entropy


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
