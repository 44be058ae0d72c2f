"""The contract of a method: test labels are never handed over, and what it gives is checked."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from conftest import synthetic
from patchfree.benchmark.cell import Cell
from patchfree.benchmark.classify import _training
from patchfree.benchmark.loading import Loaded
from patchfree.benchmark.method import Fitted, check_fitted, check_scores, counted, own_method
from patchfree.benchmark.protocols import split
from patchfree.benchmark.scenes import Described
from patchfree.errors import ConfigError

VALID = np.ones((3, 4), bool)


@pytest.fixture
def training():
    scene, labels = synthetic()
    loaded = Loaded(scene, labels, None)
    cell = Cell("classification", Described("a", "A"), "per-class:10", 0, "svm", None, "cpu")
    return _training(cell, loaded, split(cell.protocol, loaded, 0), lambda _: None)


def test_no_array_that_a_method_gets_tells_the_class_of_a_test_pixel(training):
    outside = ~(training.train | training.val)
    assert outside.sum() > 1000
    assert (training.index[outside] == 0).all()
    assert (training.index[~outside] > 0).all()
    assert (training.learnt == ~outside).all()


@pytest.mark.parametrize("name", ["test", "labels", "truth", "split"])
def test_asking_for_test_pixels_is_refused_with_the_reason(training, name):
    with pytest.raises(
        ConfigError, match=rf"The method asked for training.{name}; test pixels and their classes are never handed"
    ):
        getattr(training, name)


def test_any_other_name_that_is_not_there_is_pythons_own_error(training):
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        training.colour  # noqa: B018 - the access is the test


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, bool])
def test_the_map_is_the_class_of_the_largest_score(kind):
    scores = np.zeros((2, 3, 4), kind)
    scores[1, 0] = 1
    valid = VALID.copy()
    valid[:, 3] = False
    mapped = check_scores(scores, "m", classes=2, valid=valid)
    assert mapped.tolist() == [[2, 2, 2, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    assert (check_scores(torch.from_numpy(scores), "m", classes=2, valid=valid) == mapped).all()


def test_scores_of_torch_are_not_rounded():
    scores = torch.zeros(2, 3, 4, dtype=torch.float64)
    scores[1] = 1e-12
    scores += 1.0
    assert (check_scores(scores, "m", classes=2, valid=VALID) == 2).all()
    assert (check_scores(scores.bfloat16(), "m", classes=2, valid=VALID) == 1).all()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((3, 4)), "m gave scores of the shape (3, 4); need (2, 3, 4): classes, rows, columns"),
        (np.zeros((3, 4, 2)), "m gave scores of the shape (3, 4, 2); need (2, 3, 4)"),
        (None, "m gave scores of the shape (); need (2, 3, 4)"),
        (np.full((2, 3, 4), np.nan), "m gave NaN or infinite scores at 12 of 12 pixels"),
        (np.full((2, 3, 4), "a"), "m gave scores of the type <U1; need real numbers"),
        (np.zeros((2, 3, 4), complex), "m gave scores of the type complex128; need real numbers"),
    ],
)
def test_scores_that_are_no_scores_are_refused(scores, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_scores(scores, "m", classes=2, valid=VALID)


def test_nan_where_there_is_no_data_does_not_matter():
    valid = VALID.copy()
    valid[0] = False
    scores = np.zeros((2, 3, 4))
    scores[:, 0] = np.nan
    assert (check_scores(scores, "m", classes=2, valid=valid)[0] == 0).all()


def test_what_is_no_trained_method_is_refused():
    with pytest.raises(ConfigError, match=r"fit of m gave ndarray; it must give a patchfree.benchmark.Fitted"):
        check_fitted(np.zeros(3), "m")
    fitted = Fitted(score=lambda: 1)
    assert check_fitted(fitted, "m") is fitted


def test_operations_may_be_counted_by_a_function():
    fitted = check_fitted(Fitted(score=lambda: 1, train_flop=lambda: 7), "m")
    assert counted(fitted, "m") == {"train_flop": 7.0, "predict_flop": None}
    with pytest.raises(ConfigError, match=r"train_flop\(\) of m gave 'many'; need a number"):
        counted(Fitted(score=lambda: 1, train_flop=lambda: "many"), "m")


def test_a_file_with_fit_is_a_method_named_by_its_docstring(tmp_path):
    (tmp_path / "mine.py").write_text('"""Nearest mean.\n\nMore."""\ndef fit(training):\n    return 7\n')
    method = own_method(tmp_path / "mine.py")
    assert (method.title, method.fit(None)) == ("Nearest mean", 7)
    before = method.identity
    (tmp_path / "mine.py").write_text("def fit(training):\n    return 8\n")
    assert own_method(tmp_path / "mine.py").title == "mine"
    assert own_method(tmp_path / "mine.py").identity != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fit = 3", "has no function fit(training)"),
        ("", "has no function fit(training)"),
        ("def fit(", "cannot be loaded: SyntaxError"),
        ("import nothing_of_this_name", "cannot be loaded: ModuleNotFoundError"),
        ("raise ValueError('no')", "cannot be loaded: ValueError: no"),
    ],
)
def test_a_file_without_a_method_is_refused(text, message, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        own_method(tmp_path / "mine.py")
    with pytest.raises(ConfigError, match="There is no method and no file"):
        own_method(tmp_path / "theirs.py")
