"""FreeNet is the published network, and pixels without data are outside the scene."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from patchfree.models._layers import GroupNorm, SqueezeExcitation
from patchfree.models.freenet import FreeNet


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = FreeNet(bands=7, classes=5)
    for p in model.parameters():  # biases and norms too, so that a forgotten one shows
        p.data += 0.05 * torch.randn(p.shape)
    return model.eval()


def random_scene(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("bands", "classes", "parameters"),
    [(103, 9, 2_712_755), (204, 16, 2_800_922), (144, 15, 2_748_953), (200, 16, 2_797_466)],
    ids=["Pavia University", "Salinas", "Houston 2013", "Indian Pines"],
)
def test_it_has_the_published_number_of_parameters(bands, classes, parameters):
    with torch.device("meta"):
        model = FreeNet(bands=bands, classes=classes)
    assert sum(p.numel() for p in model.parameters()) == parameters


def plain_forward(weights, x):
    """Card 1 of systems.md as plain functions of the weights, for sizes that are multiples of 8."""

    def conv(name, x, **settings):
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **settings)

    def norm(name, x):
        b, c, h, w = x.shape
        groups = x.reshape(b, 16, -1)
        groups = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return groups.reshape(b, c, h, w) * weights[f"{name}.weight"].view(-1, 1, 1) + weights[f"{name}.bias"].view(
            -1, 1, 1
        )

    def attention(name, x):
        mean = x.flatten(2).mean(2)
        hidden = (mean @ weights[f"{name}.squeeze.weight"].T + weights[f"{name}.squeeze.bias"]).clamp(min=0)
        scale = 1 / (1 + (-(hidden @ weights[f"{name}.excite.weight"].T + weights[f"{name}.excite.bias"])).exp())
        return x * scale[:, :, None, None]

    x = norm("stem_norm", conv("stem", x, padding=1)).clamp(min=0)
    features = []
    for stage in range(4):
        if stage:
            x = conv(f"downs.{stage - 1}", x, padding=1, stride=2).clamp(min=0)
        block = f"levels.{stage}.0"
        x = norm(f"{block}.norm", conv(f"{block}.conv", attention(f"{block}.attention", x), padding=1)).clamp(min=0)
        features.append(x)
    d = conv("fuses.3", conv("laterals.3", features[3]), padding=1)
    for stage in (2, 1, 0):
        up = d.repeat_interleave(2, 2).repeat_interleave(2, 3)
        d = conv(f"fuses.{stage}", conv(f"laterals.{stage}", features[stage]) + up, padding=1)
    return conv("head", d)


@pytest.mark.parametrize("size", [(8, 8), (32, 40), (24, 16)])
def test_its_scores_are_those_of_the_published_layers(net, size):
    x = random_scene(1, 7, *size)
    with torch.no_grad():
        torch.testing.assert_close(net(x), plain_forward(net.state_dict(), x), rtol=1e-4, atol=1e-4)


def test_channels_and_strides_are_the_published_ones(net):
    assert [stage[0].conv.in_channels for stage in net.levels] == [96, 128, 192, 256]
    assert [stage[0].attention.squeeze.out_features for stage in net.levels] == [6, 8, 12, 16]
    assert [conv.stride for conv in net.downs] == [(2, 2)] * 3
    assert net.head.in_channels == 128
    assert all(conv.bias is not None for conv in net.modules() if isinstance(conv, nn.Conv2d))


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (9, 30), (1, 13)])
def test_a_full_data_mask_changes_nothing(net, size):
    x = random_scene(2, 7, *size)
    with torch.no_grad():
        torch.testing.assert_close(net(x, torch.ones(2, *size, dtype=torch.bool)), net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (9, 30)])
@pytest.mark.parametrize("collar", [(0, 5, 0, 9), (8, 3, 16, 0), (16, 16, 8, 8)], ids=str)
def test_a_collar_without_data_changes_nothing(net, size, collar):
    top, bottom, left, right = collar
    x = random_scene(1, 7, *size)
    valid = F.pad(torch.ones(1, *size, dtype=torch.bool), (left, right, top, bottom))
    padded = F.pad(x, (left, right, top, bottom), value=3.0)
    with torch.no_grad():
        inside = net(padded, valid)[:, :, top : top + size[0], left : left + size[1]]
        torch.testing.assert_close(inside, net(x), rtol=1e-4, atol=1e-4)


def test_values_under_pixels_without_data_do_not_matter(net):
    x = random_scene(1, 7, 24, 33)
    valid = random_scene(1, 24, 33, seed=2) > -0.5
    other = torch.where(valid[:, None], x, torch.full_like(x, 1e4))
    with torch.no_grad():
        here, there = net(x, valid), net(other, valid)
    assert torch.equal(here.movedim(1, -1)[valid], there.movedim(1, -1)[valid])
    assert not torch.allclose(here, net(x))


def test_the_kernels_reach_exactly_as_far_as_stated():
    torch.manual_seed(0)
    net = FreeNet(bands=2, classes=2, width=0.25).double()
    for p in net.parameters():  # all positive, so that no path is lost in a ReLU or cancels out
        p.data = p.data.abs() + 0.01

    class Nothing(nn.Module):
        """In the place of scene-wide statistics."""

        def forward(self, x, valid=None, statistics=None):
            return x

    net.stem_norm = Nothing()
    for stage in net.levels:
        for block in stage:
            block.attention, block.norm = Nothing(), Nothing()
    farthest = 0
    for at in range(48, 56):  # one period of the strides
        x = torch.ones(1, 2, 104, 104, dtype=torch.double, requires_grad=True)
        net(x)[0, 0, at, at].backward()
        for axis in (2, 3):
            touched = x.grad.abs().amax([i for i in range(4) if i != axis]).nonzero().squeeze(1)
            assert touched.min() > 0
            assert touched.max() < 103
            farthest = max(farthest, at - int(touched.min()), int(touched.max()) - at)
    assert farthest == FreeNet.reach


def test_a_change_far_beyond_the_kernels_still_matters_because_statistics_are_of_the_whole_scene(net):
    x = random_scene(1, 7, 8, 160)
    other = x.clone()
    other[..., 150:] += 2
    with torch.no_grad():
        assert not torch.allclose(net(x)[..., :8], net(other)[..., :8], atol=1e-4)
    assert net.context is None


def test_wrong_bands_are_refused_with_both_numbers(net):
    with pytest.raises(ValueError, match="Got 5 bands, but this network was built for 7"):
        net(torch.zeros(1, 5, 8, 8))


@pytest.mark.parametrize("width", [1.0, 0.5, 0.25])
def test_every_offered_width_works(width):
    assert FreeNet(bands=3, classes=2, width=width)(torch.zeros(1, 3, 9, 9)).shape == (1, 2, 9, 9)


@pytest.mark.parametrize("width", [2.0, 0.7, 0.125, 0.01])
def test_other_widths_are_refused_with_those_that_work(width):
    with pytest.raises(ValueError, match=f"width={width}; need 1, 0.5 or 0.25"):
        FreeNet(bands=3, classes=2, width=width)


def test_more_blocks_make_deeper_stages():
    net = FreeNet(bands=3, classes=2, width=0.25, blocks=(2, 1, 3, 1))
    assert [len(stage) for stage in net.levels] == [2, 1, 3, 1]
    assert net(torch.zeros(1, 3, 16, 16)).shape == (1, 2, 16, 16)


class TestParts:
    @pytest.fixture
    def case(self):
        x, valid = random_scene(2, 32, 9, 11), (random_scene(2, 1, 9, 11, seed=3) > 0).float()
        return x * valid, valid

    def test_group_norm_takes_its_statistics_from_pixels_with_data_only(self, case):
        x, valid = case
        found = GroupNorm(32, "norm")(x, valid)
        for one, mask, normed in zip(x, valid[:, 0] > 0, found, strict=True):
            inside = nn.GroupNorm(16, 32)(one[None][..., mask])[0]
            torch.testing.assert_close(normed[:, mask], inside, rtol=1e-4, atol=1e-5)
            assert not normed[:, ~mask].any()

    def test_squeeze_excitation_takes_its_means_from_pixels_with_data_only(self, case):
        torch.manual_seed(0)
        x, valid = case
        layer = SqueezeExcitation(32, 8, "se")
        for i, mask in enumerate(valid[:, 0] > 0):
            alone = layer(x[i : i + 1, :, mask][..., None])[0, :, :, 0]
            torch.testing.assert_close(layer(x, valid)[i][:, mask], alone)

    def test_a_scene_without_data_gives_no_nan(self):
        x, valid = torch.zeros(1, 32, 4, 4), torch.zeros(1, 1, 4, 4)
        assert GroupNorm(32, "norm")(x, valid).isfinite().all()
        assert SqueezeExcitation(32, 8, "se")(x, valid).isfinite().all()
