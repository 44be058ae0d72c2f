"""The teacher of changes: scores without labels, calibrated on the training pixels, say of every pixel how likely it has changed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from dated import pair_with_blobs, planted_pair, some_labels, write_date
from patchfree import train
from patchfree.change.ir_mad_context import ContextIRMAD
from patchfree.change.normalise import normalisation
from patchfree.change.recipes import change_recipe
from patchfree.change.supervised import train_change
from patchfree.change.teacher import teach
from patchfree.citations import cite
from patchfree.errors import ConfigError, SceneError
from patchfree.io.gdal import open_raster
from patchfree.io.source import SceneSource
from patchfree.scene import Cut
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView


@pytest.fixture
def case():
    pair, changed = planted_pair()
    labels = some_labels(changed, share=0.1)
    return pair.stacked(), changed, labels.index, labels.index > 0


def test_what_changed_is_told_from_what_did_not_beyond_the_labels(case):
    scene, changed, index, train_pixels = case
    chances = teach(scene, index, train_pixels, 0)
    assert chances.dtype == np.float32
    np.testing.assert_allclose(chances.sum(0), 1, atol=1e-6)
    unseen = ~train_pixels
    assert roc_auc_score(changed[unseen], chances[1][unseen]) > 0.97
    assert ((chances[1] > 0.5) == changed)[unseen].mean() > 0.9


def test_labels_of_other_pixels_than_those_that_train_do_not_matter(case):
    scene, _, index, train_pixels = case
    half = train_pixels & (np.arange(train_pixels.shape[1]) % 2 == 0)
    other = np.where(half, index, np.random.default_rng(0).integers(0, 3, index.shape))
    np.testing.assert_array_equal(teach(scene, index, half, 0), teach(scene, other, half, 0))


def test_pixels_without_data_are_said_nothing_of(case):
    scene, _, index, train_pixels = case
    valid = np.ones(index.shape, bool)
    valid[5:9, 20:30] = False
    values = np.where(valid, scene.values, 0)
    chances = teach(dataclasses.replace(scene, values=values, valid=valid), index, train_pixels, 0)
    assert not chances[:, ~valid].any()
    np.testing.assert_allclose(chances[:, valid].sum(0), 1, atol=1e-6)


def test_dates_that_are_the_same_have_no_teacher(case):
    scene, _, index, train_pixels = case
    half = len(scene.values) // 2
    same = dataclasses.replace(scene, values=np.concatenate([scene.values[:half]] * 2))
    assert teach(same, index, train_pixels, 0) is None


def test_a_band_of_noise_does_not_silence_the_teacher(case):
    scene, changed, index, train_pixels = case
    values = scene.values.copy()
    values[-1] = np.random.default_rng(0).normal(size=values[-1].shape)
    with pytest.raises(SceneError, match="too little alike"):
        normalisation(SceneView(dataclasses.replace(scene, values=values)), "ir-mad", Context())
    chances = teach(dataclasses.replace(scene, values=values), index, train_pixels, 0)
    assert roc_auc_score(changed.ravel(), chances[1].ravel()) > 0.95


def test_dates_that_cannot_be_scored_have_no_teacher(case, monkeypatch):
    scene, _, index, train_pixels = case

    def fails(self, view, context):
        raise SceneError("nothing in common")

    monkeypatch.setattr(ContextIRMAD, "fit", fails)
    assert teach(scene, index, train_pixels, 0) is None


def test_parts_of_a_pair_on_disk_are_scored_as_in_the_whole(case, tmp_path):
    scene, _, index, train_pixels = case
    half = len(scene.values) // 2
    for name, values in (("before", scene.values[:half]), ("after", scene.values[half:])):
        write_date(tmp_path / f"{name}.tif", values)
    (tmp_path / "dates.pair.json").write_text('{"before": "before.tif", "after": "after.tif"}')
    source = SceneSource(str(tmp_path / "dates.pair.json"))
    height, width = index.shape
    everything = (slice(0, height), slice(0, width))
    top, bottom = ((slice(0, 20), slice(0, width)), (slice(20, height), slice(0, width)))
    cut = Cut(source, scene.grid, ((top, top), (bottom, bottom)), (everything,))
    there = dataclasses.replace(scene, cut=cut)
    np.testing.assert_allclose(teach(there, index, train_pixels, 0), teach(scene, index, train_pixels, 0), atol=1e-4)


def test_a_network_with_labels_on_one_side_learns_of_the_other_side():
    pair, changed = pair_with_blobs(noise=0.25, share=0.15)
    labels = some_labels(changed, share=1.0)
    side = np.zeros(changed.shape, bool)
    side[:, :16] = True
    few = dataclasses.replace(labels, index=np.where(side, labels.index, 0))
    found = {}
    for taught in (0.0, 1.0):
        recipe = change_recipe(steps=25, taught=taught)
        run = train_change(pair, few, recipe=recipe, controls=(), device="cpu")
        mapped = run.predict(pair.stacked(), device="cpu").index == 2
        found[taught] = (mapped == changed)[~side].mean()
    assert found[1.0] > max(0.95, found[0.0])


def test_several_pairs_have_no_teacher():
    pairs, masks = zip(*(pair_with_blobs(side=24, share=0.2, seed=seed) for seed in range(2)), strict=True)
    run = train_change(
        pairs,
        [some_labels(mask, share=1.0) for mask in masks],
        recipe=change_recipe(steps=1),
        controls=(),
        device="cpu",
    )
    assert run.metrics["recipe"]["taught"] == 0


def test_a_recipe_with_a_teacher_and_a_training_without_one_do_not_go_together():
    pair, changed = pair_with_blobs(side=24, share=0.2)
    labels = some_labels(changed)
    with pytest.raises(ConfigError, match="taught=1 without a teacher"):
        train(pair.stacked(), labels, recipe=change_recipe(steps=1), controls=(), device="cpu")
    recipe = change_recipe(steps=1, taught=0.0)
    with pytest.raises(ConfigError, match="taught=0 with a teacher"):
        train(pair.stacked(), labels, recipe=recipe, controls=(), device="cpu", teach=teach)
    with pytest.raises(ConfigError, match="a teacher needs loss='cross-entropy'"):
        change_recipe("ar-cdnet", taught=1.0)


def test_a_taught_run_says_so_and_how_good_the_teacher_is_alone(tmp_path):
    pair, changed = pair_with_blobs(side=24, share=0.2)
    labels = some_labels(changed)
    run = train_change(pair, labels, recipe=change_recipe(steps=1), controls=(), device="cpu", out=tmp_path / "run")
    assert run.metrics["recipe"]["taught"] == 1
    alone = run.metrics["change"]["teacher"]["kappa"]
    with open_raster(tmp_path / "run" / "split.tif") as parts:
        codes = parts.read(1)
    said = teach(pair.stacked(), labels.index, codes == 1, 0).argmax(0) + 1
    assert alone == pytest.approx(cohen_kappa_score(labels.index[codes == 3], said[codes == 3]))
    report = (tmp_path / "run" / "report.html").read_text()
    assert f"taught the network have kappa {alone:.3f} at the test pixels" in report
    assert "taught by scores without labels at 4,000 other pixels" in (tmp_path / "run" / "training.html").read_text()
    assert "Distilling the Knowledge" in cite(run)


def test_swapped_dates_are_taught_the_same_to_within_little(case):
    scene, _, index, train_pixels = case
    half = len(scene.values) // 2
    swapped = dataclasses.replace(scene, values=np.concatenate([scene.values[half:], scene.values[:half]]))
    one, other = (teach(each, index, train_pixels, 0)[1] > 0.5 for each in (scene, swapped))
    assert (one == other).mean() > 0.97
