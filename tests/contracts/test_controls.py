"""What every control in CONTROLS promises. A new control gets these tests by being listed."""

from __future__ import annotations

import re

import numpy as np
import pytest

from patchfree import controls
from patchfree.citations import METHODS
from patchfree.controls import CONTROLS, run_control
from patchfree.errors import ConfigError


@pytest.fixture(params=sorted(CONTROLS))
def name(request):
    return request.param


def spectra(seed=0, *, sizes=(40, 30, 20), noise=0.2):
    """Spectra of classes 1, 2 and 5 around their means."""
    rng = np.random.default_rng(seed)
    classes = np.repeat([1, 2, 5], sizes)
    means = np.random.default_rng(0).normal(size=(6, 8))
    return (means[classes] + noise * rng.normal(size=(len(classes), 8))).astype(np.float32), classes


def test_it_learns_classes_that_are_apart(name):
    wanted, truth = spectra(1)
    found, _ = run_control(name, *spectra(0), wanted, seed=0)
    assert (found == truth).mean() > 0.95
    assert set(found) == {1, 2, 5}


def test_same_seed_same_classes(name):
    first, again = (run_control(name, *spectra(0, noise=1.5), spectra(1, noise=1.5)[0], seed=3)[0] for _ in range(2))
    assert (first == again).all()


def test_it_says_what_it_did(name):
    _, facts = run_control(name, *spectra(), spectra(1)[0], seed=0)
    assert facts["name"] == name
    assert facts["title"] == CONTROLS[name][0]
    assert facts["settings"]["training_pixels"] == 90
    assert facts["seconds"] >= 0


def test_it_has_a_reference(name):
    assert re.search(r"\(\d{4}\)", METHODS[name])


@pytest.mark.parametrize("sizes", [(40, 30, 1), (2, 2, 2), (1, 1, 1)])
def test_classes_of_one_or_two_pixels_are_no_obstacle(name, sizes):
    wanted, truth = spectra(1)
    found, _ = run_control(name, *spectra(0, sizes=sizes, noise=0.05), wanted, seed=0)
    assert (found == truth).mean() > 0.8


def test_a_class_of_one_pixel_does_not_stop_the_search_for_settings():
    seen, classes = spectra(0, noise=1.0)
    _, facts = run_control("svm", seen, classes, seen, seed=0)
    more, one = np.concatenate([seen, 9 + seen[:1]]), np.append(classes, 7)
    _, same = run_control("svm", more, one, seen, seed=0)
    assert [same["settings"][key] for key in ("C", "gamma")] == [facts["settings"][key] for key in ("C", "gamma")]
    assert facts["settings"]["C"] != 100.0  # what is taken without a search


def test_nothing_wanted_gives_nothing(name):
    found, _ = run_control(name, *spectra(), np.zeros((0, 8), np.float32), seed=0)
    assert found.shape == (0,)


def test_the_global_random_state_is_left_alone(name):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one
    run_control(name, *spectra(), spectra(1)[0], seed=0)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_an_unknown_control_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="Got control 'knn'; there are rf, svm"):
        run_control("knn", *spectra(), spectra(1)[0], seed=0)


def test_an_svm_of_many_pixels_learns_a_part_that_keeps_the_shares(monkeypatch):
    monkeypatch.setattr(controls, "MOST_PIXELS", 45)
    wanted, truth = spectra(1)
    found, facts = run_control("svm", *spectra(), wanted, seed=0)
    assert facts["settings"]["training_pixels"] == 45
    assert (found == truth).mean() > 0.95
    part = controls._stratified_part(spectra()[1], 45, np.random.default_rng(0))
    assert np.bincount(spectra()[1][part])[[1, 2, 5]].tolist() == [20, 15, 10]
