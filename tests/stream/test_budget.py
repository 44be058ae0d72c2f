"""Amounts of memory are read as people write them, and the windows keep within them."""

import re

import pytest
import torch

from patchfree.errors import ConfigError
from patchfree.models.freenet import FreeNet
from patchfree.stream.budget import FIXED_BYTES, free_memory, parse_bytes, pixel_bytes, whole_bytes, windows_at_once


def network(bands=12, classes=3, **more):
    with torch.device("meta"):
        return FreeNet(bands=bands, classes=classes, **more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GB", 2 * 10**9),
        ("2 gb", 2 * 10**9),
        (" 500MB ", 500 * 10**6),
        ("500 mB", 500 * 10**6),
        ("1.5GB", 1_500_000_000),
        (".5TB", 500_000_000_000),
        ("64kb", 64_000),
        ("2e9", 2 * 10**9),
        ("2E+9B", 2 * 10**9),
        ("1e-1 GB", 10**8),
        ("300000000", 300_000_000),
        ("7B", 7),
    ],
)
def test_amounts_are_read_as_people_write_them(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "GB", "two GB", "2GiB", "2 G", "-2GB", "0", "0GB", "nan", "inf", "1e400", "1e308TB", "2GB2", "1,5GB", "1 000MB", "2..5GB", "2GB GB", "0x10"],
)  # fmt: skip
def test_what_is_no_amount_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=rf"Got --memory {re.escape(repr(text))}; need .* such as 2GB or 500MB"):
        parse_bytes(text)


def test_more_bands_and_wider_networks_take_more_memory_a_pixel():
    assert pixel_bytes(network(bands=200)) > pixel_bytes(network(bands=12)) > pixel_bytes(network(bands=12, width=0.25))
    assert pixel_bytes(network()) > 4 * 2 * 128  # the widest map of the network, in and out


def test_a_scene_in_one_piece_takes_memory_with_its_pixels():
    small, large = (whole_bytes(network(), shape) for shape in ((100, 100), (100, 200)))
    assert large - FIXED_BYTES == 2 * (small - FIXED_BYTES)
    assert whole_bytes(network(classes=50), (100, 100)) > small


@pytest.mark.parametrize("most", [1, 8])
@pytest.mark.parametrize("bands", [4, 220])
def test_more_memory_never_gives_fewer_or_smaller_windows(bands, most):
    model, before = network(bands=bands), (0, 0)
    for memory in range(FIXED_BYTES + 50_000_000, 8_000_000_000, 150_000_000):
        at_once, size = windows_at_once(model, memory, most)
        assert 1 <= at_once <= most
        assert size % model.stride == 0
        assert (size, at_once) >= before
        before = size, at_once
    assert before == (256, most)


def test_the_windows_fit_into_the_memory():
    model = network(bands=220)
    for memory in range(FIXED_BYTES + 50_000_000, 8_000_000_000, 150_000_000):
        at_once, size = windows_at_once(model, memory, 8)
        side = size + 2 * max(stage.halo for stage in model.stages())
        assert FIXED_BYTES + at_once * side**2 * pixel_bytes(model) <= memory


def test_windows_that_there_are_anyhow_share_the_memory():
    model, memory = network(bands=220), 1_500_000_000
    for least in (1, 2, 4, 8):
        at_once, size = windows_at_once(model, memory, least, least=least)
        assert at_once == least
        assert windows_at_once(model, memory, least)[0] <= least  # and of one thread, fewer but never smaller windows
        assert windows_at_once(model, memory, least)[1] >= size
        side = size + 2 * max(stage.halo for stage in model.stages())
        assert FIXED_BYTES + least * side**2 * pixel_bytes(model) <= memory
    assert size < windows_at_once(model, memory, 1)[1]
    with pytest.raises(ConfigError, match=r"smallest .* with 2 processes and workers of 4 threads is --memory") as no:
        windows_at_once(model, 100_000_000, 4, least=4, processes=2)
    smallest = parse_bytes(str(no.value).rsplit(" ", 1)[1].rstrip("."))
    assert windows_at_once(model, smallest, 4, least=4, processes=2) == (4, 32)
    with pytest.raises(ConfigError, match="the smallest that works"):
        windows_at_once(model, smallest - 1_000_000, 4, least=4, processes=2)


@pytest.mark.parametrize("bands", [1, 12, 220, 500])
def test_too_little_memory_is_refused_with_the_smallest_that_works(bands):
    model = network(bands=bands)
    with pytest.raises(ConfigError, match=r"Got --memory 100 MB; the smallest that works .* is --memory \d+MB\.") as no:
        windows_at_once(model, 100_000_000, 4)
    smallest = parse_bytes(str(no.value).rsplit(" ", 1)[1].rstrip("."))
    assert windows_at_once(model, smallest, 4) == (1, 32)
    with pytest.raises(ConfigError, match="the smallest that works"):
        windows_at_once(model, smallest - 1_000_000, 4)


def test_the_machine_has_some_memory_to_spare():
    assert 10**6 < free_memory() < 10**15


def test_a_gpu_is_asked_for_its_own_memory(monkeypatch):
    asked = {"cuda:1": (6 * 10**9, 8 * 10**9)}
    monkeypatch.setattr("patchfree.stream.budget.torch.cuda.mem_get_info", asked.__getitem__)
    assert free_memory("cuda:1") == 3 * 10**9


def test_a_machine_that_does_not_tell_is_taken_to_have_2_gb(monkeypatch):
    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr("patchfree.stream.budget.os.sysconf", unknown)
    assert free_memory() == 2 * 10**9
