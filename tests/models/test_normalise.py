"""GroupNorm's own gradient against the one that torch finds by itself through a plain implementation."""

import pytest
import torch

from patchfree.models._layers import GROUPS, GroupNorm


def plain(x, valid, weight, bias, eps=1e-5):
    """The definition, in double precision."""
    b, c, h, w = x.shape
    mask = torch.ones(b, 1, 1, h, w, dtype=x.dtype) if valid is None else valid[:, None].to(x.dtype)
    grouped = x.reshape(b, GROUPS, c // GROUPS, h, w)
    count = mask.sum((2, 3, 4), keepdim=True) * (c // GROUPS)
    mean = (grouped * mask).sum((2, 3, 4), keepdim=True) / count
    variance = ((grouped - mean).square() * mask).sum((2, 3, 4), keepdim=True) / count
    normed = ((grouped - mean) * torch.rsqrt(variance + eps)).reshape(b, c, h, w)
    return (normed * weight[:, None, None] + bias[:, None, None]) * mask[:, 0]


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("shape", [(1, 32, 7, 9), (2, 48, 80, 150), (1, 16, 3, 5)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_values_and_gradients_are_those_of_the_definition(holes, shape, dtype, tolerance, channels_last):
    torch.manual_seed(0)
    valid = (torch.rand(shape[0], 1, *shape[2:]) > 0.3).float() if holes else None
    if holes:
        valid[:, :, 0, 0] = 1
    x = (torch.randn(shape) * 2 + 3) * (1 if valid is None else valid)
    x = x.to(dtype).contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    layer = GroupNorm(shape[1], "norm")
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    arriving = torch.randn(shape).to(dtype)
    given = [x.clone().requires_grad_(), layer.weight, layer.bias]
    exact = [each.detach().double().requires_grad_() for each in given]
    found, wanted = layer(given[0], valid), plain(exact[0], valid, *exact[1:])
    assert found.dtype == dtype
    got = [found, *torch.autograd.grad(found, given, arriving)]
    expected = [wanted, *torch.autograd.grad(wanted, exact, arriving.double())]
    if holes:  # what a hole hands on is removed below it
        got[1], expected[1] = got[1] * valid, expected[1] * valid
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one.double(), other, rtol=0, atol=tolerance * max(1.0, float(other.detach().abs().max())))
    with torch.no_grad():
        assert torch.allclose(layer(x, valid).float(), found.float(), atol=tolerance)


def test_a_map_without_any_data_has_no_gradient_that_is_not_a_number():
    x = torch.zeros(1, 32, 4, 5, requires_grad=True)
    layer = GroupNorm(32, "norm")
    layer(x, torch.zeros(1, 1, 4, 5)).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(layer.weight.grad).all()
