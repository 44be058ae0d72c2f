"""Every method by name. Adding one is one file and one line in METHODS; a file of the user's needs neither."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from patchfree.benchmark.method import Method, own_method
from patchfree.benchmark.methods.cnn1d import CNN1D
from patchfree.benchmark.methods.cnn2d import CNN2D
from patchfree.benchmark.methods.patches import patch_method
from patchfree.benchmark.methods.spectral import control_method
from patchfree.benchmark.methods.ssrn import SSRN
from patchfree.benchmark.methods.whole_scene import recipe_method
from patchfree.errors import ConfigError
from patchfree.recipes import RECIPES

PAPER = "freenet-paper"  # what the recipe `paper` is called among other papers' methods

METHODS: dict[str, Method] = {
    "svm": control_method("svm", cost=0),
    "svm-smooth": control_method("svm", cost=1, blur_px=1.5),
    "svm-walks": control_method("svm", cost=1, walks=True),
    "svm-smooth-walks": control_method("svm", cost=1, blur_px=3.0, walks=True),
    "rf": control_method("rf", cost=1),
    "cnn1d": patch_method(CNN1D, cost=2),
    **{name: recipe_method(recipe, cost=3) for name, recipe in RECIPES.items() if name != "paper"},
    "cnn2d": patch_method(CNN2D, cost=4),
    PAPER: recipe_method(RECIPES["paper"], cost=6),
    "ssrn": patch_method(SSRN, cost=7),
    f"{PAPER}-gs2": recipe_method(
        dataclasses.replace(RECIPES["paper"], name="paper, 20 a class", every_class=False), cost=8
    ),
    f"{PAPER}-all": recipe_method(
        dataclasses.replace(RECIPES["paper"], name="paper, all pixels", sampling="all", every_class=False), cost=8
    ),
}
"""From cheap to dear. The last two are the paper's ablation: GS2 of 20 pixels a class whatever the classes are, and all training pixels
in each step. Where classes are unequal, `freenet-paper` raises the 20 until no step lacks a class: at the most it is the latter."""


def find_method(name: str) -> Method:
    """The method of this name, or the one in this file.

    Raises:
        ConfigError: there is neither.
    """
    if name in METHODS:
        return METHODS[name]
    if Path(name).suffix == ".py" or Path(name).is_file():
        return own_method(Path(name))
    raise ConfigError(
        f"Got method {name!r}; there are {', '.join(METHODS)}, or give a Python file with a function fit(training)."
    )
