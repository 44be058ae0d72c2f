"""A device is taken where it is, and refused in our words where it is not."""

from __future__ import annotations

import importlib.metadata

import pytest
import torch

from patchfree.device import choose_device, choose_precision, peak_memory_bytes, versions
from patchfree.errors import ConfigError

CPU = torch.device("cpu")


def test_auto_takes_cuda_where_there_is_one():
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_asks_the_machine(monkeypatch, there, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device("auto").type == expected


def test_the_cpu_is_always_there():
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "quick", "cuda:x", ""])
def test_a_name_that_is_no_device_is_refused_with_those_that_are(name):
    with pytest.raises(ConfigError, match=f"Got device '{name}'; need auto, cpu, cuda or cuda:N"):
        choose_device(name)


@pytest.mark.parametrize("name", ["mps", "meta", "xpu"])
def test_other_kinds_of_device_are_refused(name):
    with pytest.raises(ConfigError, match=f"Got device '{name}'; patchfree runs on cpu and cuda"):
        choose_device(name)


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_cuda_device_that_is_not_here_is_refused_with_their_number(monkeypatch, name, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ConfigError, match=f"Got device '{name}', but {count} CUDA devices are here. Use --device cpu"):
        choose_device(name)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_precision_that_was_asked_for_is_taken(device):
    device = torch.device(device)
    assert choose_precision("float32", device) == torch.float32
    if device.type == "cpu":
        assert choose_precision("bfloat16", device) == torch.bfloat16


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
    ids=["avx512", "amx", "neither", "unknown"],
)
def test_auto_takes_bfloat16_only_where_the_processor_multiplies_it(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert choose_precision("auto", CPU) == expected


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_bfloat16_only_where_the_graphics_card_multiplies_it(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    assert choose_precision("auto", torch.device("cuda")) == expected


def test_the_peak_of_this_process_is_more_than_torch_itself_and_never_falls():
    first = peak_memory_bytes(CPU)
    assert first > 50_000_000
    assert peak_memory_bytes(CPU) >= first


def test_versions_name_what_the_numbers_depend_on():
    found = versions()
    assert found["torch"] == importlib.metadata.version("torch")
    assert {"python", "machine", "patchfree", "numpy", "scipy", "rasterio", "scikit-learn"} <= set(found)
    assert all(isinstance(value, str) and value for value in found.values())
