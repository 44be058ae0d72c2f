"""The page on comparing methods: its commands parse, its method runs, its tables hold what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer

from benchmark_files import training_on
from conftest import synthetic
from patchfree.benchmark.method import own_method
from patchfree.benchmark.methods import METHODS
from patchfree.benchmark.scenes import described_scenes
from patchfree.benchmark.tasks import get_task
from patchfree.blocks import block_split
from patchfree.cli import app
from patchfree.demo import indian_pines

PAGE = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_options_that_there_are(command):
    program, name, *rest = shlex.split(command)
    assert (program, name) == ("patchfree", "benchmark")
    context = typer.main.get_command(app).commands[name].make_context(name, rest)
    known = described_scenes()
    assert set(context.params["scene"] or ()) <= {*known, "all"}
    methods = METHODS if context.params["task"] == "classification" else get_task(context.params["task"]).methods
    assert {method for method in context.params["method"] or () if not method.endswith(".py")} <= set(methods)


def test_the_method_of_the_page_is_one(tmp_path):
    (code,) = blocks("python")
    (tmp_path / "mymethod.py").write_text(code)
    method = own_method(tmp_path / "mymethod.py")
    assert method.title == "Nearest class mean"
    scene, labels = synthetic(noise=0.1)
    mapped = method.fit(training_on(scene, labels)).score().argmax(0) + 1
    assert (mapped == labels.index).mean() > 0.8


def test_the_scene_of_the_page_is_described_as_it_must_be(tmp_path):
    (text,) = blocks("toml")
    (tmp_path / "mine.toml").write_text(text)
    assert described_scenes(tmp_path / "mine.toml")["my-fields"].classes == ("wheat", "oats", "bare soil")


def test_what_a_wider_strip_leaves_of_indian_pines_is_what_the_page_says():
    _, labels = indian_pines()
    splits = [block_split(labels, size=18, buffer=strip, seed=0) for strip in (1, 3, 6, 9)]
    both = [len({*np.unique(labels.index[s.train | s.val])} & {*np.unique(labels.index[s.test])}) for s in splits]
    known = [int((s.train | s.val).sum()) for s in splits]
    text = " ".join(PAGE.split())
    assert "1, 3, 6 and 9 pixels leave {}, {}, {} and {} of 16 classes on both sides".format(*both) in text
    assert "{}, {}, {} and {} training pixels (seed 0)".format(*known) in text


def test_every_method_stands_in_the_table():
    named = set(re.findall(r"`([\w-]+)`", "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))))
    assert set(METHODS) <= named | {"default"}
