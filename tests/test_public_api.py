"""The example of the package works in memory: a scene and labels in, a run out, and the run maps scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import patchfree as pf
from conftest import synthetic
from patchfree.recipes import get_recipe


def quick(**changes):
    return dataclasses.replace(
        get_recipe("default"), **{"steps": 4, "apart_steps": None, "apart_model": None} | changes
    )


@pytest.fixture(scope="module")
def job():
    scene, labels = synthetic(rows=32, cols=36)
    return scene, labels, pf.train(scene, labels, recipe=quick(), controls=(), device="cpu")


def test_a_run_maps_the_scene(job):
    scene, labels, run = job
    prediction = run.predict(scene)
    assert isinstance(run, pf.Run)
    assert isinstance(prediction, pf.Prediction)
    assert prediction.index.shape == scene.grid.shape
    assert set(np.unique(prediction.values)) <= set(labels.values)
    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=1e-5)


def test_a_run_maps_another_scene_of_the_same_bands_whatever_its_size(job):
    _, _, run = job
    other, _ = synthetic(rows=21, cols=27, seed=5)
    assert run.predict(other).index.shape == (21, 27)


def test_the_test_accuracy_is_that_of_the_map_at_the_test_pixels(job):
    scene, labels, run = job
    split = pf.block_split(labels, seed=0)
    found = run.metrics["test"]
    assert found["pixels"] == split.test.sum()
    right = (run.predict(scene).index == labels.index)[split.test].mean()
    assert found["overall_accuracy"] == pytest.approx(right, abs=1e-6)


def test_any_split_can_be_given(job):
    scene, labels, _ = job
    split = pf.random_split(labels, per_class=10)
    run = pf.train(scene, labels, split=split, recipe=quick(steps=2), controls=(), device="cpu")
    assert run.metrics["protocol"]["optimistic"] is True
    assert run.metrics["test"]["pixels"] == split.test.sum()


def test_the_default_recipe_lays_the_scene_out_anew_only_where_test_pixels_lie_apart(job):
    scene, labels, _ = job
    recipe = quick(steps=1, shuffle="auto")
    apart = pf.train(scene, labels, recipe=recipe, controls=(), device="cpu")
    split = pf.random_split(labels, per_class=10)
    among = pf.train(scene, labels, split=split, recipe=recipe, controls=(), device="cpu")
    assert apart.metrics["recipe"]["shuffle"] is True
    assert among.metrics["recipe"]["shuffle"] is False


def test_nothing_of_a_run_changes_with_the_labels_of_test_pixels_but_what_was_measured(job):
    scene, labels, run = job
    split = pf.block_split(labels, seed=0)
    values = labels.restore(labels.index)
    values[split.test] = np.random.default_rng(0).permutation(values[split.test])
    other = pf.train(scene, pf.make_labels(values), split=split, recipe=quick(), controls=(), device="cpu")
    assert (other.predict(scene).probabilities == run.predict(scene).probabilities).all()
    assert other.metrics["test"] != run.metrics["test"]


def test_progress_is_told_step_by_step(job):
    scene, labels, _ = job
    told = []
    pf.train(scene, labels, recipe=quick(steps=3), controls=(), device="cpu", progress=told.append)
    steps = [entry for entry in told if entry.phase == "estimate"]
    assert [(entry.done, entry.total) for entry in steps][-3:] == [(1, 3), (2, 3), (3, 3)]
    assert all(np.isfinite(entry.loss) for entry in steps[-3:])


def test_a_map_is_assessed_against_any_reference(job):
    scene, labels, run = job
    found = pf.assess(pf.make_labels(run.predict(scene).values), labels)
    right = (run.predict(scene).values == labels.restore(labels.index)).mean()
    assert found["overall_accuracy"] == pytest.approx(right, abs=1e-6)


def test_a_run_cites_its_methods(job):
    assert "FPGA: Fast Patch-Free Global Learning Framework" in pf.cite(job[2])


def test_labels_of_another_size_are_refused_with_both_sizes(job):
    scene, _, _ = job
    with pytest.raises(pf.PatchfreeError, match=r"labels have \(40, 48\) pixels, the scene has \(32, 36\)"):
        pf.train(scene, synthetic()[1], controls=())


def test_a_scene_of_one_band_is_refused(job):
    scene, labels, _ = job
    with pytest.raises(pf.PatchfreeError, match=r"one usable band; .* needs at least 2"):
        pf.train(scene.select([3]), labels, controls=())


def test_no_file_has_the_name_of_a_public_function():
    # Importing such a file would put the module in the function's place: `import` sets modules as attributes.
    folder = Path(pf.__file__).parent
    assert [name for name in pf.__all__ if (folder / f"{name}.py").exists() or (folder / name).is_dir()] == []
