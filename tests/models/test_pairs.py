"""Networks of two dates: their published sizes, and what they say of themselves."""

from __future__ import annotations

import pytest
import torch

from patchfree.errors import ConfigError, MissingExtra
from patchfree.models import MODELS
from patchfree.models._pairs import PerDate, joined
from patchfree.models._statistics import Recording
from patchfree.stream.budget import windows_at_once


def parameters(name):
    return sum(p.numel() for p in MODELS[name](bands=6, classes=2).parameters())


@pytest.mark.parametrize(("name", "count"), [("ar-cdnet-rgb", 14_342_446), ("fc-siam-diff", 1_350_146)])
def test_it_has_as_many_parameters_as_published(name, count):
    if name == "ar-cdnet-rgb":
        pytest.importorskip("timm", reason="needs the extra change")
    assert parameters(name) == count


def test_the_published_form_takes_red_green_and_blue_only():
    with pytest.raises(ValueError, match="takes 3 bands"):
        MODELS["ar-cdnet-rgb"](bands=8, classes=2)


def test_the_published_form_says_which_extra_it_needs(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"patchfree\[change\]"):
        MODELS["ar-cdnet-rgb"](bands=6, classes=2)


def test_ar_cdnet_tells_two_classes_apart_only():
    with pytest.raises(ValueError, match="Got 3 classes"):
        MODELS["ar-cdnet"](bands=6, classes=3)


def test_a_network_that_cannot_run_in_windows_is_refused_with_advice():
    with torch.device("meta"):
        model = MODELS["ar-cdnet-rgb"](bands=6, classes=2)
    with pytest.raises(ConfigError, match="one piece only"):
        windows_at_once(model, 10**12, 4)


def test_the_statistics_of_two_dates_in_a_batch_are_each_dates_own():
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    valid = (torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(1)) > 0.3).float()
    x, valid = x * valid, torch.cat((valid, valid))
    recording = Recording()
    mean, variance = PerDate(recording).moments("norm", x, valid, 2)
    for date in range(2):
        own = x[date].view(2, 2, 5, 6)[:, :, valid[date, 0] > 0].reshape(2, -1)
        torch.testing.assert_close(mean[date], own.mean(1))
        torch.testing.assert_close(variance[date], own.var(1, correction=0))
    torch.testing.assert_close(recording.values["norm.mean"], torch.cat((mean[0], mean[1])))
    torch.testing.assert_close(PerDate(Recording()).mean("attention", x, valid)[1], x[1].sum((1, 2)) / valid[1].sum())
    torch.testing.assert_close(joined(x)[0, 4:], x[1])
