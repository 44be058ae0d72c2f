"""What every method of the benchmark promises. A new method gets these tests by being listed in METHODS."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from benchmark_files import training_on
from conftest import synthetic
from patchfree.benchmark.method import Fitted, check_scores, counted
from patchfree.benchmark.methods import METHODS, find_method
from patchfree.benchmark.methods.whole_scene import recipe_method
from patchfree.errors import ConfigError
from patchfree.models import MODELS
from patchfree.recipes import Recipe


@pytest.fixture(params=list(METHODS))
def name(request):
    return request.param


def mapped_by(name, training):
    fitted = METHODS[name].fit(training)
    return fitted, check_scores(fitted.score(), name, classes=len(training.legend), valid=training.valid)


def test_it_maps_the_whole_scene_with_the_classes_there_are(name):
    training = training_on(*synthetic(rows=18, cols=21, bands=9))
    fitted, mapped = mapped_by(name, training)
    assert isinstance(fitted, Fitted)
    assert mapped.shape == (18, 21)
    assert set(np.unique(mapped)) <= {1, 2, 3}


def test_it_learns_what_is_easy(name):
    scene, labels = synthetic(rows=16, cols=16, bands=9, noise=0.05)
    steps = {"ssrn": 40, "freenet-paper": 60, "freenet-paper-gs2": 60, "freenet-paper-all": 60}.get(name, 50)
    training = training_on(scene, labels, steps=steps, per_class=20)
    method = METHODS[name]
    if name.startswith("freenet-paper"):  # the paper's rate is for a thousand steps
        method = recipe_method(dataclasses.replace(Recipe(**method.identity["recipe"]), learning_rate=0.02), cost=0)
    mapped = check_scores(method.fit(training).score(), name, classes=3, valid=training.valid)
    assert (mapped == labels.index)[training.index == 0].mean() > 0.65  # chance is 0.33


def test_the_same_seed_gives_the_same_map(name):
    scene, labels = synthetic(rows=16, cols=17, bands=9)
    first, again = (mapped_by(name, training_on(scene, labels, seed=4))[1] for _ in range(2))
    assert (first == again).all()


def test_it_never_maps_a_class_without_training_pixels_or_a_pixel_without_data(name):
    scene, labels = synthetic(rows=18, cols=18, bands=9, classes=4)
    valid = np.ones((18, 18), bool)
    valid[:3] = False
    scene = dataclasses.replace(scene, valid=valid, values=scene.values * valid)
    training = training_on(scene, labels.within(valid), steps=8)
    without = training.index == 4
    training = dataclasses.replace(
        training,
        index=np.where(without, 0, training.index),
        train=training.train & ~without,
        val=training.val & ~without,
    )
    _, mapped = mapped_by(name, training)
    assert (mapped[:3] == 0).all()
    if not name.startswith(("cnn", "ssrn")):  # these may, after a few steps
        assert 4 not in mapped


def test_its_identity_and_settings_are_plain_and_its_cost_a_number(name):
    method = METHODS[name]
    assert json.dumps(method.identity)
    others = [other.identity | {"modules": other.modules} for key, other in METHODS.items() if key != name]
    assert method.identity | {"modules": method.modules} not in others
    assert method.title
    assert re.search(r"\(\d{4}\)", method.cite)
    fitted, _ = mapped_by(name, training_on(*synthetic(rows=12, cols=12, bands=9)))
    assert json.dumps(fitted.settings, default=float)


def test_networks_say_how_many_operations_they_take(name):
    fitted, _ = mapped_by(name, training_on(*synthetic(rows=12, cols=12, bands=9)))
    operations = counted(fitted, name)
    if name in ("svm", "svm-smooth", "svm-walks", "svm-smooth-walks", "rf"):
        assert fitted.parameters is operations["train_flop"] is operations["predict_flop"] is None
    else:
        assert fitted.parameters > 1000
        assert operations["train_flop"] > 0
        assert operations["predict_flop"] > 12 * 12 * 1000


def test_the_operations_of_a_network_are_those_of_its_layers():
    """FreeNet on 8 x 8 pixels: the convolutions' multiplications by hand are what is counted."""
    training = training_on(*synthetic(rows=16, cols=16, bands=4))
    operations = counted(mapped_by("freenet-paper", training)[0], "freenet-paper")
    model = MODELS["freenet"](bands=4, classes=3)
    macs = 0

    def count(module, _, output):
        nonlocal macs
        if isinstance(module, torch.nn.Conv2d):
            macs += module.weight[0].numel() * output.numel()
        elif isinstance(module, torch.nn.Linear):
            macs += module.weight.shape[1] * output.numel()

    for module in model.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 4, 16, 16))
    assert operations["predict_flop"] == 2 * macs
    assert 2.5 * macs * 2 * 3 < operations["train_flop"] <= 3 * macs * 2 * 3


def test_methods_are_listed_from_cheap_to_dear():
    costs = [method.cost for method in METHODS.values()]
    assert costs == sorted(costs)


def test_an_unknown_method_is_refused_with_those_there_are():
    with pytest.raises(
        ConfigError,
        match=r"Got method 'knn'; there are svm, svm-smooth, svm-walks, svm-smooth-walks, rf, cnn1d.*or give a Python file",
    ):
        find_method("knn")
