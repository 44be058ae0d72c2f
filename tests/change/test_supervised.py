"""A network of two dates, trained on some labels of a pair, finds planted changes, and says where it is unsure."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from conftest import synthetic
from dated import pair_with_blobs, some_labels
from patchfree import train
from patchfree.blocks import block_split
from patchfree.change.recipes import CHANGE_RECIPES, change_recipe
from patchfree.change.spreads import Spreads
from patchfree.change.supervised import chance_of_change, train_change
from patchfree.change.uncertainty import dropout_spread, error_auroc, spread_of
from patchfree.errors import ConfigError, LabelError, RunError, SceneError
from patchfree.io.gdal import open_raster
from patchfree.models import MODELS
from patchfree.run import load_run
from patchfree.staging import OUTPUTS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quick(pair, labels, *, steps=2, model="siamese-freenet", **more):
    recipe = change_recipe(model, steps=steps)
    return train_change(pair, labels, recipe=recipe, controls=(), device="cpu", **more)


@pytest.fixture(scope="module")
def trained(one_thread, tmp_path_factory):
    pair, changed = pair_with_blobs(noise=0.15, share=0.15)
    labels = some_labels(changed)
    folder = tmp_path_factory.mktemp("change") / "run"
    return pair, changed, labels, quick(pair, labels, steps=60, out=folder)


def test_planted_changes_are_found_and_errors_are_uncertain(trained):
    pair, changed, labels, run = trained
    found, unknown = run.predict(pair.stacked(), device="cpu"), labels.index == 0
    assert f1_score(changed[unknown], (found.index == 2)[unknown]) > 0.9
    wrong = (found.index == 2) != changed
    assert error_auroc(found.entropy[unknown], wrong[unknown]) > 0.8


def test_swapping_the_dates_leaves_the_map_as_it_is(trained):
    pair, _, _, run = trained
    there, back = (run.predict(each.stacked(), device="cpu") for each in (pair, pair.swapped()))
    np.testing.assert_allclose(chance_of_change(there), chance_of_change(back), atol=1e-4)


def test_the_folder_holds_the_maps_and_what_was_measured_of_their_uncertainty(trained):
    pair, _, _, run = trained
    folder = run.folder
    assert {path.name for path in folder.iterdir()} <= set(OUTPUTS)
    assert {"score.tif", "decided.tif", "uncertainty.tif", "map.tif", "training.html", "report.html"} <= {
        path.name for path in folder.iterdir()
    }
    found = run.predict(pair.stacked(), device="cpu")
    with open_raster(folder / "score.tif") as score, open_raster(folder / "decided.tif") as decided:
        np.testing.assert_allclose(score.read(1), chance_of_change(found), atol=1e-6)
        assert set(np.unique(decided.read(1))) <= {1, 2, 3}
    change = json.loads((folder / "metrics.json").read_text())["change"]
    assert change["conformal"]["error_rate"] == 0.1
    assert set(change["conformal"]["coverage_on_test_pixels"]) == {"all", "unchanged", "changed", "told"}
    assert set(change["uncertainties"]) == {"entropy", "confidence"}
    assert "before" in (folder / "report.html").read_text()


def test_the_same_run_is_found_finished_and_another_error_rate_is_refused(trained):
    pair, _, labels, run = trained
    assert quick(pair, labels, steps=60, out=run.folder).model_hash == run.model_hash
    with pytest.raises(RunError, match=r"error rate of 0\.1 \(now 0\.2\)"):
        quick(pair, labels, steps=60, out=run.folder, error_rate=0.2)


def test_a_run_is_read_back_as_one_of_two_dates(trained):
    run = load_run(trained[3].folder)
    assert MODELS[run.model].dates == 2
    assert run.metrics["task"] == "change detection"


def test_dropped_channels_spread_the_answers_and_the_same_seed_repeats_them(trained):
    pair, _, _, run = trained
    first, again = (dropout_spread(run, pair.stacked(), passes=3, seed=1, device="cpu") for _ in range(2))
    np.testing.assert_array_equal(first.variance, again.variance)
    assert first.variance.max() > 0
    plain = run.predict(pair.stacked(), device="cpu")
    np.testing.assert_array_equal(
        run.predict(pair.stacked(), device="cpu").probabilities, plain.probabilities
    )  # nothing stays dropped
    assert spread_of([plain, plain]).variance.max() == 0


def test_the_spread_of_an_ensemble_is_that_of_runs_of_its_seeds(tmp_path):
    pair, changed = pair_with_blobs(side=32)
    labels = some_labels(changed)
    split = block_split(labels, seed=0)
    how = {"split": split, "recipe": change_recipe(steps=2), "controls": (), "device": "cpu"}
    train_change(pair, labels, out=tmp_path / "run", spreads=Spreads(ensemble=3), **how)
    found = spread_of([train_change(pair, labels, seed=seed, **how).predict(pair.stacked()) for seed in range(3)])
    with open_raster(tmp_path / "run" / "spread.tif") as source:
        np.testing.assert_allclose(source.read(1), np.sqrt(found.variance), atol=1e-6)


@pytest.mark.parametrize("model", sorted(set(CHANGE_RECIPES) - {"siamese-freenet"}))
def test_every_network_of_two_dates_trains_and_maps(model):
    if model == "ar-cdnet-rgb":
        pytest.importorskip("timm", reason="needs the extra change")
    pair, changed = pair_with_blobs(side=32, bands=3, share=0.2)
    run = quick(pair, some_labels(changed), model=model)
    found = run.predict(pair.stacked(), device="cpu")
    assert found.probabilities.shape == (2, 32, 32)
    assert (found.branch is not None) is ("uncertainty" in MODELS[model].supervised)
    assert found.uncertainty.shape == (2 + (found.branch is not None), 32, 32)


def test_several_pairs_train_one_network_and_have_maps_of_their_own(tmp_path):
    pairs, masks = zip(*(pair_with_blobs(side=24, share=0.2, seed=seed) for seed in range(2)), strict=True)
    run = quick(pairs, [some_labels(mask, share=1.0) for mask in masks], out=tmp_path / "run")
    places = sorted((run.folder / "scenes").iterdir())
    assert len(places) == 2
    for place in places:
        assert {"map.tif", "score.tif", "decided.tif", "uncertainty.tif"} <= {path.name for path in place.iterdir()}


def test_a_scene_of_one_date_is_refused():
    scene, _ = synthetic(rows=24, cols=24)
    _, changed = pair_with_blobs(side=24, share=0.2)
    with pytest.raises(SceneError, match="a scene of one date"):
        quick(scene, some_labels(changed))


def test_labels_of_other_classes_are_refused():
    pair, _ = pair_with_blobs(side=24, share=0.2)
    _, labels = synthetic(rows=24, cols=24)
    with pytest.raises(LabelError, match="1 unchanged and 2 changed"):
        quick(pair, labels)


def test_the_published_form_is_refused_for_pairs_of_more_bands():
    pair, changed = pair_with_blobs(side=24, share=0.2)
    with pytest.raises(SceneError, match="8 usable bands a date"):
        quick(pair, some_labels(changed), model="ar-cdnet-rgb")


def test_an_unknown_network_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"there are ar-cdnet, .*freenet is a network of one date"):
        change_recipe("freenet")
    with pytest.raises(ConfigError, match="no setting depth"):
        change_recipe(depth=3)


def test_settings_that_a_network_cannot_follow_are_refused():
    pair, changed = pair_with_blobs(side=24, share=0.2)
    recipe = dataclasses.replace(change_recipe("unet", steps=2), loss="deep-supervision")
    with pytest.raises(ConfigError, match="which has scores only"):
        train_change(pair, some_labels(changed), recipe=recipe, controls=(), device="cpu")
    with pytest.raises(ConfigError, match="sampling='all'"):
        change_recipe("unet", batch=2)


@pytest.mark.parametrize(
    ("bands", "recipe", "message"),
    [
        (11, change_recipe(), "compares two dates band by band, for 11 bands"),
        (12, change_recipe(components=5), "components of them, which would mix the dates"),
    ],
)
def test_the_main_verb_refuses_what_is_no_pair(bands, recipe, message):
    scene, labels = synthetic(bands=bands)
    with pytest.raises(ConfigError, match=message):
        train(scene, labels, recipe=recipe, controls=(), device="cpu")
