"""What the code of a method is, so that a benchmark does not take rows that other code made for its own.

The digest covers the module that defines a method and what it is made of; docstrings, comments, layout and where a
name is imported from do not count.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

import patchfree

ROOT = Path(patchfree.__file__).parent
DECIDING = (
    "augment",
    "benchmark.methods",
    "benchmark.protocols",
    "blocks",
    "confusion",
    "controls",
    "device",
    "fit",
    "losses",
    "models",
    "predict",
    "sample",
    "split",
    "standardise",
    "anomalies",
    "unsupervised",
)
"""Modules and folders that decide what a method maps; what else they import reads files, or reports."""


@cache
def digest(*modules: str) -> str:
    """A hash of these modules of patchfree, and of those that they import and that decide what is mapped.

    Args:
        modules: names below `patchfree`, such as "benchmark.methods.ssrn".
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or name in found:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        waiting += [other for other in _imports(tree) if other.startswith(DECIDING)]
        found[name] = ast.dump(_bare(tree))
    text = "\n".join(f"{name} {found[name]}" for name in sorted(found))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _path(name: str) -> Path | None:
    """The file of a module; None if the name is none, but something inside one."""
    bare = ROOT.joinpath(*name.split("."))
    return next((path for path in (bare.with_suffix(".py"), bare / "__init__.py") if path.is_file()), None)


def _imports(tree: ast.Module) -> list[str]:
    """Names below `patchfree` that are imported, modules and what is in them."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("patchfree"):
            module = (node.module or "").removeprefix("patchfree").lstrip(".")
            names += [module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)]
    return names


def _bare(tree: ast.Module) -> ast.Module:
    """The same without imports, and without docstrings and other texts that do nothing."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body = [statement for statement in body if not isinstance(statement, ast.Import | ast.ImportFrom)]
            node.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]  # type: ignore[attr-defined]
    return tree
