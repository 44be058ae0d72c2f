"""Scores of a scene on disk, window by window, are those of the scene in memory; the command line and its answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine

from patchfree.anomalies import DETECTORS
from patchfree.anomalies.bsdm import BSDM
from patchfree.anomalies.ensemble import RankEnsemble
from patchfree.anomalies.rx import GlobalRX
from patchfree.anomalies.scoring import find_anomalies
from patchfree.anomalies.surround import Surround
from patchfree.errors import ConfigError, SceneError
from patchfree.io.source import SceneSource
from patchfree.unsupervised.view import SceneView, SourceView, TransformedView
from planted import QUICK, planted, scene_of

pytestmark = pytest.mark.usefixtures("several_threads")

PLACE = Affine(30, 0, 362_000, 0, -30, 5_810_000)


def written(path, layers, nodata=None):
    """A GeoTIFF of these layers, written by rasterio alone."""
    count, height, width = layers.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": layers.dtype}
    with rasterio.open(path, "w", **profile, crs="EPSG:32633", transform=PLACE, nodata=nodata) as target:
        target.write(layers)
    return path


@pytest.fixture
def files(tmp_path):
    """A scene with planted anomalies and holes, and masks, as files."""
    scene, truth = planted()
    values = scene.values.copy()
    values[:, 36:, :5] = -9999
    written(tmp_path / "scene.tif", values, nodata=-9999)
    written(tmp_path / "mask.tif", truth[None].astype(np.uint8))
    written(tmp_path / "none.tif", np.zeros((1, *truth.shape), np.uint8))
    np.save(tmp_path / "small.npy", truth[:-1].astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_scores_of_a_file_in_windows_are_those_of_the_scene_in_memory(name, tmp_path, monkeypatch):
    from patchfree.unsupervised import scores, view

    monkeypatch.setattr(view, "WINDOW", 32)
    scene, _ = planted(rows=90, cols=110)
    values = scene.values.copy()
    values[:, 80:, :30] = -9999
    path = written(tmp_path / "scene.tif", values, nodata=-9999)
    detector = QUICK.get(name) or DETECTORS[name]()
    from patchfree.io import open_scene

    whole = find_anomalies(open_scene(path), method=detector, device="cpu")
    monkeypatch.setattr(scores, "LARGEST_WINDOW", 32)
    parts = find_anomalies(path, method=detector, device="cpu")
    assert (whole.settings["windows"], parts.settings["windows"]) == (1, 12)
    rank = 2 / np.isfinite(whole.scores).sum()  # rounding may swap two pixels of equal score
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-5, atol=rank if name == "ensemble" else 1e-7)
    assert np.isnan(parts.scores[80:, :30]).all()


def test_a_sample_and_the_moments_do_not_depend_on_where_the_scene_lies(files):
    source = SceneSource(str(files / "scene.tif"))
    on_disk = SourceView(source, source.choice(source.description.bands))
    in_memory = SceneView(source.scene(on_disk.choice))
    values, valid = in_memory.read((slice(0, 40), slice(0, 48)))
    assert np.array_equal(on_disk.sample(50, 3), in_memory.sample(50, 3))
    assert on_disk.sample(50, 3).shape == (12, 50)
    assert np.array_equal(on_disk.moments.scatter, in_memory.moments.scatter)
    assert on_disk.extent == in_memory.extent == (values[:, valid].min(), values[:, valid].max())
    assert on_disk.sample(10**6, 0).shape[1] == on_disk.moments.count == 40 * 48 - 4 * 5


def test_a_transformed_view_changes_every_spectrum_and_no_hole(files):
    source = SceneSource(str(files / "scene.tif"))
    view = SourceView(source, source.choice(source.description.bands))
    sums = TransformedView(view, lambda spectra: spectra.sum(0, keepdims=True), 1)
    values, valid = view.read((slice(0, 40), slice(0, 48)))
    changed, held = sums.read((slice(0, 40), slice(0, 48)))
    assert np.array_equal(valid, held)
    np.testing.assert_allclose(changed[0][valid], values.astype(float).sum(0)[valid])
    assert (changed[0][~valid] == 0).all()


def test_less_memory_means_smaller_windows_and_too_little_is_refused():
    from patchfree.unsupervised.scores import FIXED_BYTES, window_size

    scene, _ = planted(rows=90, cols=110)
    view = SceneView(scene)
    sizes = [window_size(view, 4, FIXED_BYTES + bytes_) for bytes_ in (40_000_000, 12_000_000, 5_500_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]
    with pytest.raises(ConfigError, match=r"smallest that works for this method and scene is --memory \d+MB"):
        find_anomalies(scene, memory=10**6)


def test_unknown_names_are_refused_with_those_there_are():
    scene, _ = planted()
    with pytest.raises(ConfigError, match="'rxx'; there are autoencoder, cr, ensemble"):
        find_anomalies(scene, method="rxx")
    with pytest.raises(ConfigError, match="'dm'; there are bsdm, bsdm-alpha, bsdm-auto"):
        find_anomalies(scene, suppress="dm")


def test_an_ensemble_is_the_mean_of_the_ranks():
    scene, _ = planted()
    parts = [Surround(), GlobalRX()]
    ranks = []
    for part in parts:
        scores = find_anomalies(scene, method=part).scores.astype(float).ravel()
        ranks.append((scores[:, None] > scores).mean(1) + 0.5 * (scores[:, None] == scores).mean(1))
    found = find_anomalies(scene, method=RankEnsemble(tuple(parts))).scores.ravel()
    np.testing.assert_allclose(found, np.mean(ranks, 0), atol=2e-3)
    assert len(find_anomalies(scene, method="rx", suppress=BSDM(steps=0)).references) == 2


def test_a_scene_without_enough_data_is_refused():
    scene, _ = planted()
    valid = np.zeros_like(scene.valid)
    valid[0, 0] = True
    with pytest.raises(SceneError, match="1 pixels that hold data"):
        find_anomalies(replace(scene, valid=valid))


def test_the_command_writes_scores_objects_and_a_report(cli, files):
    out = cli.ok(
        "anomalies", files / "scene.tif", "--out", files / "scores.tif", "--mask", files / "mask.tif", "--false-alarm", "5e-3",
        "--report", files / "report", "--objects", files / "objects.gpkg",
    )  # fmt: skip
    assert "AUC" in out
    with rasterio.open(files / "scores.tif") as source:
        scores = source.read(1)
        assert source.crs.to_epsg() == 32633
        assert source.transform == PLACE
        assert source.tags(ns="PATCHFREE")["method"] == "surround"
    assert np.isnan(scores[36:, :5]).all()
    assert np.isfinite(scores[:36]).all()
    found = json.loads((files / "report" / "anomalies.json").read_text())
    assert {(o["row"], o["col"]) for o in found["objects"]} & {(21, 30), (30, 40)}
    assert found["measures"]["anomalous"] == 4
    assert len(found["objects"][0]["spectrum"]) == 12
    page = (files / "report" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    for words in (
        "AUC against the mask",
        "Mask of the true anomalies",
        "Breunig",
        "--false-alarm 5e-3",
        "objects above",
    ):
        assert words in page


def test_a_report_without_a_mask_and_without_objects(cli, files):
    out = cli.ok(
        "anomalies", files / "scene.tif", "--out", files / "s.tif", "--report", files / "r", "--false-alarm", "1e-9"
    )
    assert "0 pixels in 0 objects" in out
    page = (files / "r" / "report.html").read_text()
    assert "No pixel lies above the threshold" in page
    assert "AUC" not in page


def test_a_mask_of_one_class_gives_scores_and_no_measures(cli, files):
    answer = cli("anomalies", files / "scene.tif", "--out", files / "s.tif", "--mask", files / "none.tif")
    assert answer.code == 0
    assert "some must be and some not" in answer.err
    assert "AUC" not in answer.out
    assert (files / "s.tif").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mask", "small.npy"], "39"),
        (["--method", "rxx"], "there are autoencoder"),
        (["--suppress", "x"], "there are bsdm"),
        (["--inner", "5"], "--inner has no effect with --method surround"),
        (["--method", "local-rx", "--inner", "9", "--outer", "5"], "not smaller than the outer"),
        (["--method", "local-rx", "--outer", "101"], "the scene has 40 by 48"),
        (["--false-alarm", "0"], "a share between 0 and 0.5"),
        (["--threshold", "x"], "need pareto or empirical"),
        (["--train-scene", "scene.tif"], "belongs to --suppress bsdm"),
        (["--memory", "1MB"], "smallest that works"),
        (["--objects", "o.shp"], "written as a GeoPackage"),
        (["--objects", "s.tif"], "for --objects and for --out; one would replace the other"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(cli, files, monkeypatch, options, message):
    monkeypatch.chdir(files)
    cli.refused(2, message, "anomalies", "scene.tif", "--out", "s.tif", *options)
    assert not (files / "s.tif").exists()


def test_scores_are_not_written_over_the_scene_nor_as_zarr(cli, files):
    cli.refused(2, "would be overwritten", "anomalies", files / "scene.tif", "--out", files / "scene.tif")
    cli.refused(2, "written as a GeoTIFF", "anomalies", files / "scene.tif", "--out", files / "s.zarr")


def test_a_fitted_threshold_needs_some_pixels(cli, tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 10, 12)).astype(np.float32)
    written(tmp_path / "tiny.tif", values)
    cli.refused(2, "Choose --threshold empirical", "anomalies", tmp_path / "tiny.tif", "--out", tmp_path / "s.tif")
    cli.ok(
        "anomalies",
        tmp_path / "tiny.tif",
        "--out",
        tmp_path / "s.tif",
        "--threshold",
        "empirical",
        "--false-alarm",
        "0.05",
    )
    assert np.isfinite(find_anomalies(scene_of(values)).scores).all()
