"""The table of machine use says what the measured figures say, and is made from committed ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS))
import machine_use  # noqa: E402 - beside the pages


def figure(kind, step_seconds, map_seconds):
    return {
        "scene": "Pavia University", "network": "freenet", "type": kind, "step_seconds": step_seconds, "map_seconds": map_seconds,
        "step_flop": "6e11", "map_flop": "2e11", "rate": "1e12", "date": "2026-01-01", "processor": "p", "torch": "t", "commit": "c",
    }  # fmt: skip


def test_shares_are_operations_a_second_over_the_rate():
    text = machine_use.machine_use([figure("float32", "0.75", "0.25")])
    assert "matrix product of 2048 x 2048: float32 1,000 GFLOP/s." in text
    assert text.endswith("| float32 | 0.75 s | 80% | 0.25 s | 80% |")


@pytest.mark.parametrize(("slowest", "said"), [("0.33", "reached"), ("0.34", "**not reached**")])
def test_the_aim_is_of_every_type_in_step_and_map(slowest, said):
    aim = machine_use.aim([figure("float32", "0.5", "0.1"), figure("bfloat16", "0.6", slowest)])
    assert aim[1].startswith("float32 120% a step, 200% a map, bfloat16 100% a step, ")
    assert aim[2] == said


def test_the_committed_figures_are_of_the_wanted_scene_and_of_committed_code():
    rows = machine_use.figures()
    assert [row["type"] for row in rows] == ["float32", "bfloat16"]
    assert all(row["commit"] and "+" not in row["commit"] for row in rows)
