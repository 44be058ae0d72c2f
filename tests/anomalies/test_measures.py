"""Measures agree with scikit-learn and with their definitions; thresholds keep the wanted rate; objects are connected."""

from __future__ import annotations

import json

import numpy as np
import pyogrio
import pytest
import shapely
from rasterio.crs import CRS
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from patchfree.anomalies.measures import measure
from patchfree.anomalies.threshold import threshold
from patchfree.errors import ConfigError, LabelError
from patchfree.scene import Grid
from patchfree.unsupervised.objects import find_objects, write_objects
from patchfree.unsupervised.view import SceneView
from planted import planted


@pytest.fixture
def scores_and_truth():
    rng = np.random.default_rng(0)
    truth = np.zeros((40, 50), bool)
    truth[3:6, 4:8] = truth[20:22, 30:33] = truth[35, 45] = True
    scores = np.round(rng.normal(size=truth.shape) + 2 * truth, 1)  # rounded: equal scores occur
    scores[0, :5] = np.nan
    return scores, truth


def test_areas_are_those_of_scikit_learn(scores_and_truth):
    scores, truth = scores_and_truth
    held = np.isfinite(scores)
    found = measure(scores, truth)
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(truth[held], scores[held]), abs=1e-12)
    assert found["average_precision"]["value"] == pytest.approx(
        average_precision_score(truth[held], scores[held]), abs=1e-12
    )
    assert (found["pixels"], found["anomalous"], found["objects"]) == (1995, 19, 3)


def test_detection_at_a_false_alarm_rate_is_the_best_that_keeps_it(scores_and_truth):
    scores, truth = scores_and_truth
    held = np.isfinite(scores)
    alarms, detected, _ = roc_curve(truth[held], scores[held], drop_intermediate=False)
    found = measure(scores, truth, draws=0)
    for rate in (1e-3, 1e-2, 1e-1):
        assert found[f"detection_at_{rate:g}"]["value"] == pytest.approx(detected[alarms <= rate].max())


def test_areas_over_the_threshold_are_those_of_a_fine_grid(scores_and_truth):
    scores, truth = scores_and_truth
    found = {name: entry["value"] for name, entry in measure(scores, truth, draws=0).items() if isinstance(entry, dict)}
    held = np.isfinite(scores)
    scaled = (scores - scores[held].min()) / np.ptp(scores[held])
    grid = np.linspace(0, 1, 20_001)
    for name, part in (("auc_d_tau", held & truth), ("auc_f_tau", held & ~truth)):
        share = [(scaled[part] > tau).mean() for tau in grid]
        assert found[name] == pytest.approx(np.trapezoid(share, grid), abs=2e-4)
    auc, d, f = found["auc"], found["auc_d_tau"], found["auc_f_tau"]
    sums = {"td": auc + d, "bs": auc - f, "tdbs": d - f, "od": auc + d - f, "snpr": d / f}
    assert {name: found[f"auc_{name}"] for name in sums} == pytest.approx(sums)


def test_intervals_hold_the_value_and_repeat(scores_and_truth):
    scores, truth = scores_and_truth
    found = measure(scores, truth)
    low, high = found["auc"]["interval"]
    assert low < found["auc"]["value"] < high
    assert measure(scores, truth) == found
    truth[10:] = False
    assert measure(scores, truth)["auc"]["interval"] is None  # one object: nothing to draw


def test_a_mask_that_cannot_be_measured_against_is_refused(scores_and_truth):
    scores, truth = scores_and_truth
    with pytest.raises(LabelError, match=r"mask has 40 by 49 pixels, the scene 40 by 50"):
        measure(scores, truth[:, :-1])
    for one in (np.zeros_like(truth), np.ones_like(truth)):
        with pytest.raises(LabelError, match="some must be and some not"):
            measure(scores, one)


@pytest.mark.parametrize("way", ["pareto", "empirical"])
@pytest.mark.parametrize("rate", [1e-2, 1e-3])
def test_the_threshold_keeps_the_rate_of_a_known_background(way, rate):
    rng = np.random.default_rng(1)
    learnt, fresh = rng.chisquare(20, 200_000), rng.chisquare(20, 2_000_000)
    got = (fresh > threshold(learnt, rate, way=way)).mean()
    assert rate / 2 < got < rate * 2


def test_anomalies_move_the_fitted_threshold_little_and_the_quantile_much():
    rng = np.random.default_rng(2)
    clean = rng.chisquare(20, 20_000)
    with_anomalies = np.concatenate([clean, np.full(100, 500.0)])
    fitted, quantile = (
        [threshold(scores, 1e-3, way=way) for scores in (clean, with_anomalies)] for way in ("pareto", "empirical")
    )
    assert fitted[0] < fitted[1] < 1.5 * fitted[0]  # errs towards fewer false alarms
    assert quantile[1] > 5 * quantile[0]


def test_thresholds_that_cannot_be_found_are_refused():
    scores = np.random.default_rng(3).normal(size=(30, 30))
    for rate in (0.0, 0.5, -1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"need one between 0 and 0\.5"):
            threshold(scores, rate)
    with pytest.raises(ConfigError, match="there are pareto and empirical"):
        threshold(scores, 0.1, way="normal")
    with pytest.raises(ConfigError, match=r"less than one pixel.* --threshold pareto"):
        threshold(scores, 1e-4, way="empirical")
    with pytest.raises(ConfigError, match="Choose --threshold empirical"):
        threshold(scores[:5], 1e-3)
    assert threshold(np.ones((30, 30)), 1e-3) == 1


def test_objects_are_connected_by_edges_and_corners_highest_peak_first(tmp_path):
    scene, _ = planted()
    scores = np.zeros(scene.grid.shape)
    scores[2, 2], scores[3, 3] = 5, 9
    scores[10:12, 20:23] = 7
    scores[10, 20] = 8
    scores[30, 5] = np.nan
    grid = Grid(*scene.grid.shape, CRS.from_epsg(32633).to_wkt(), (30.0, 0.0, 362_000.0, 0.0, -30.0, 5_810_000.0))
    found, index = find_objects(scores, np.nan_to_num(scores) > 4, SceneView(scene), grid)
    assert [(o.number, o.pixels, o.peak, o.row, o.col) for o in found] == [(1, 2, 9, 3, 3), (2, 6, 8, 10, 20)]
    assert found[1].area_ha == pytest.approx(6 * 0.09)
    assert found[1].mean_score == pytest.approx((5 * 7 + 8) / 6)
    np.testing.assert_allclose(found[0].spectrum, scene.values[:, [2, 3], [2, 3]].mean(1), rtol=1e-6)
    assert (index == 2).sum() == 6

    path = write_objects(
        tmp_path / "objects.gpkg", found, index, grid, layer="anomalies", spectra={"spectrum": slice(None)}
    )
    meta, _, geometries, columns = pyogrio.raw.read(path)
    table = dict(zip(meta["fields"], columns, strict=True))
    shapes = shapely.from_wkb(geometries)
    assert shapely.is_valid(shapes).all()
    np.testing.assert_allclose(shapely.area(shapes), [2 * 900, 6 * 900])
    assert shapes[1].bounds == (362_600, 5_809_640, 362_690, 5_809_700)
    assert table["object"].tolist() == [1, 2]
    np.testing.assert_allclose(json.loads(table["spectrum"][0]), found[0].spectrum, rtol=1e-5)


def test_no_object_gives_an_empty_layer_and_other_formats_are_refused(tmp_path):
    scene, _ = planted()
    found, index = find_objects(
        np.zeros(scene.grid.shape), np.zeros(scene.grid.shape, bool), SceneView(scene), scene.grid
    )
    assert found == []
    path = write_objects(
        tmp_path / "objects.gpkg", found, index, scene.grid, layer="anomalies", spectra={"spectrum": slice(None)}
    )
    assert pyogrio.read_info(path)["features"] == 0
    with pytest.raises(ConfigError, match="written as a GeoPackage"):
        write_objects(
            tmp_path / "objects.shp", found, index, scene.grid, layer="anomalies", spectra={"spectrum": slice(None)}
        )
