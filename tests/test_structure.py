"""The shape of the code: imports point one way, the command line starts fast, and files stay readable."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import patchfree

ROOT = Path(patchfree.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# An import may only point to an earlier line, or stay inside its own folder.
ORDER = [
    "errors",
    "files device forks heap lists windows progress",
    "scene ranks",
    "ground resample outlines",
    "labels",
    "io series",
    "split polygons",
    "blocks overlaps",
    "sample losses augment models recipes standardise",
    "fit predict calibrate confusion design controls",
    "assessment measured",
    "run",
    "stream",
    "citations figures stac",
    "staging report",
    "unsupervised",
    "anomalies",
    "job",
    "training",
    "change",
    "demo interop",
    "benchmark",
    "show options arguments",
    "inputs",
    "change_jobs",
    "cli_anomalies cli_benchmark cli_change cli_change_train cli_train",
    "cli",
    "__init__ __main__",
]
RANK = {module: rank for rank, line in enumerate(ORDER) for module in line.split()}
# Methods of Scene for convenience, which import when called.
BACKWARD = {("scene", "interop"), ("scene", "resample")}
EAGER = [
    "__init__",
    "cli",
    "cli_anomalies",
    "cli_benchmark",
    "cli_change",
    "cli_change_train",
    "cli_train",
    "show",
    "options",
    "arguments",
]  # imported before the first word is printed
LIGHT = {
    "errors",
    "heap",
    "show",
    "options",
    "arguments",
    "cli_anomalies",
    "cli_benchmark",
    "cli_change",
    "cli_change_train",
    "cli_train",
    "__version__",
}


def module_of(path):
    """The top-level module or folder of a file: `io` for io/envi.py."""
    inside = path.relative_to(ROOT)
    return inside.parts[0].removesuffix(".py")


def imports(tree):
    """Line and dotted name of every import of patchfree, in all three forms, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or "")
            elif node.module == "patchfree":
                yield from ((node.lineno, f"patchfree.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def wrong_imports(path, text):
    own = module_of(path)
    for line, name in imports(ast.parse(text)):
        place = f"{path.relative_to(ROOT)}:{line} imports {name}"
        if name.startswith("."):
            yield f"{place} (relative)"
        if not name.startswith("patchfree.") or name == "patchfree.__version__":
            continue
        other = name.split(".")[1]
        if other != own and (own, other) not in BACKWARD and RANK[other] >= RANK[own]:
            yield place


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_to_earlier_modules_only(path):
    assert list(wrong_imports(path, path.read_text())) == []


def test_every_module_has_its_place_in_the_order():
    assert {module_of(path) for path in FILES} == set(RANK)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import os\nimport patchfree.training", "labels.py:2 imports patchfree.training"),
        ("from patchfree import job", "labels.py:1 imports patchfree.job"),
        ("def f():\n    from patchfree.training import train", "labels.py:2 imports patchfree.training"),
        ("from patchfree.io.envi import Envi", "labels.py:1 imports patchfree.io.envi"),
        ("from .scene import Scene", "labels.py:1 imports .scene (relative)"),
    ],
)
def test_a_wrong_import_is_found_in_every_form(text, found):
    assert list(wrong_imports(ROOT / "labels.py", text)) == [found]
    assert list(wrong_imports(ROOT / "labels.py", "from patchfree.scene import Scene\nimport numpy")) == []


@pytest.mark.parametrize("name", EAGER)
def test_what_starts_first_imports_heavy_modules_inside_functions_only(name):
    at_start = [
        node
        for node in ast.parse((ROOT / f"{name}.py").read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    found = {dotted for _, dotted in imports(ast.Module(at_start, []))}
    ours = {dotted.split(".")[1] for dotted in found if dotted.startswith("patchfree.")}
    assert ours <= LIGHT
    heavy = {"torch", "numpy", "scipy", "rasterio", "h5py", "sklearn", "matplotlib", "safetensors", "jinja2"}
    assert not {dotted.split(".")[0] for dotted in found} & heavy


@pytest.mark.parametrize("module", ["patchfree", "patchfree.cli"])
def test_importing_does_not_wait_for_the_heavy_libraries(module):
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not set(done.stdout.split()) & {"torch", "rasterio", "sklearn", "matplotlib", "scipy", "h5py"}
    assert "patchfree" in done.stdout.split()
    assert done.stderr == ""


def exported_for_checkers():
    """The names that `__init__` imports for type checkers."""
    (block,) = [
        node
        for node in ast.parse((ROOT / "__init__.py").read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return [alias.name for node in block.body for alias in node.names]


def test_all_is_what_can_be_imported():
    namespace = {}
    exec("from patchfree import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(patchfree.__all__)
    assert sorted(patchfree.__all__) == sorted(exported_for_checkers()) == sorted(patchfree._HOMES)
    assert len(patchfree.__all__) == len(set(patchfree.__all__))
    assert 20 <= len(patchfree.__all__) <= 30
    assert set(patchfree.__all__) <= set(dir(patchfree))


@pytest.mark.parametrize("name", patchfree.__all__)
def test_every_public_name_is_defined_in_its_home_and_documented(name):
    value = getattr(patchfree, name)
    assert value.__name__ == name
    assert value.__module__ == f"patchfree.{patchfree._HOMES[name]}"
    assert value.__doc__.strip()


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="module 'patchfree' has no attribute 'classify'"):
        patchfree.classify  # noqa: B018 - the access is the test


def test_the_version_is_that_of_the_package():
    text = (ROOT.parents[1] / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.+)"$', text, re.MULTILINE)[1] == patchfree.__version__


def test_no_file_is_too_long_to_be_read():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 450} == {}


def test_nothing_is_left_to_do_in_the_source():
    marked = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX)\b", line)
    ]
    assert marked == []


def test_every_file_says_what_it_is_for():
    assert [str(path.relative_to(ROOT)) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_the_extra_all_holds_every_extra_of_users_and_each_exists():
    import tomllib

    extras = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = extras["all"]
    assert set(named.removeprefix("patchfree[").removesuffix("]").split(",")) == set(extras) - {"all", "dev"}
