"""Rows belong to the code that made them: a digest that changes with what is computed, and with nothing else."""

from __future__ import annotations

import ast

import pytest

from patchfree.benchmark import sources
from patchfree.benchmark.methods import METHODS


def dumped(text):
    return ast.dump(sources._bare(ast.parse(text)))


PLAIN = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    "text",
    [
        '"""A module."""\n' + PLAIN,
        "# why\n" + PLAIN.replace("    return", '    """What it does."""\n\n    return'),
        "def f(x):\n    return (\n        x\n        + 1\n    )\n",
        "from somewhere import g\nimport h\n" + PLAIN,
    ],
)
def test_texts_comments_and_layout_do_not_count(text):
    assert dumped(text) == dumped(PLAIN)


def test_a_number_counts():
    assert dumped(PLAIN.replace("1", "2")) != dumped(PLAIN)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A package of three modules: a method, what it is made of, and one that only reports."""
    (tmp_path / "models").mkdir()
    (tmp_path / "benchmark" / "methods").mkdir(parents=True)
    (tmp_path / "benchmark" / "methods" / "mine.py").write_text(
        "from patchfree.models import net\nfrom patchfree import report\n"
    )
    (tmp_path / "models" / "__init__.py").write_text("from patchfree.models.net import WIDTH\n")
    (tmp_path / "models" / "net.py").write_text("WIDTH = 3\n")
    (tmp_path / "report.py").write_text("COLOUR = 1\n")
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    return tmp_path


def fresh():
    sources.digest.cache_clear()
    try:
        return sources.digest("benchmark.methods.mine")
    finally:
        sources.digest.cache_clear()


def test_what_a_method_is_made_of_counts_and_what_reports_does_not(tree):
    first = fresh()
    (tree / "report.py").write_text("COLOUR = 2\n")
    assert fresh() == first
    (tree / "models" / "net.py").write_text("WIDTH = 4\n")
    assert fresh() != first


@pytest.mark.parametrize("name", METHODS)
def test_every_method_names_modules_that_there_are(name):
    assert METHODS[name].modules
    assert all(sources._path(module) for module in METHODS[name].modules)


def test_methods_of_different_code_have_different_digests():
    found = {METHODS[name].modules: sources.digest(*METHODS[name].modules) for name in METHODS}
    assert len(found) > 3
    assert len(set(found.values())) == len(found)
