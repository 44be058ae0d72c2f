"""`patchfree change` writes what it says, whatever the size of the pair, and answers bad input with advice."""

from __future__ import annotations

import json

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from PIL import Image

import patchfree as pf
from dated import PLACE, two_dates, write_date
from patchfree.change import METHODS, scoring
from patchfree.change.products import FILES
from patchfree.change.scoring import DatesView, find_changes
from patchfree.change.truth import measure, read_truth
from patchfree.errors import ConfigError, LabelError
from patchfree.io import open_scene
from patchfree.scene import Grid
from patchfree.unsupervised import scores
from patchfree.unsupervised.view import SceneView


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two dates with holes and masks of their changes, as files; tests only read them."""
    folder = tmp_path_factory.mktemp("dates")
    before, after, truth = two_dates(rows=60, cols=72)
    waves = before.bands.wavelengths_nm
    first, second = before.values.copy(), after.values.copy()
    first[:, 55:, :6], second[2, :4, 60:] = -99, -99
    write_date(folder / "before.tif", first, nodata=-99, wavelengths=waves)
    write_date(folder / "after.tif", second, nodata=-99, wavelengths=waves)
    write_date(folder / "other_crs.tif", second, crs="EPSG:32632", nodata=-99, wavelengths=waves)
    write_date(folder / "few_bands.tif", second[:5], nodata=-99)
    shape = truth.shape
    (part := truth.copy())[:, 36:] = False
    for name, mask in {"truth": truth, "changed": part, "unchanged": ~truth, "both": np.ones(shape, bool)}.items():
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(folder / f"{name}.bmp")
    Image.fromarray(np.where(truth, 255, 0).astype(np.uint8)).save(folder / "truth.jpg", quality=60)
    write_date(folder / "classes.tif", np.where(part, 2, np.where(truth, 0, 1))[None].astype(np.uint8))
    np.save(folder / "small.npy", truth[1:].astype(np.uint8))
    return folder


def test_the_command_writes_score_map_uncertainty_objects_figures_and_report(cli, files, tmp_path):
    out = cli.ok(
        "change", files / "before.tif", files / "after.tif", "--out", tmp_path / "run", "--truth", files / "truth.bmp"
    )
    assert "Against the truth: kappa " in out
    assert "method ir-mad-context" in out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*FILES, "map.qml", "map.tif.aux.xml"}
    layers = {}
    for name in ("score", "map", "uncertainty"):
        with rasterio.open(tmp_path / "run" / f"{name}.tif") as source:
            layers[name] = source.read()
            assert source.crs.to_epsg() == 32633
            assert source.transform == PLACE
            assert source.tags(ns="PATCHFREE")["method"] == "ir-mad-context"
    holes = np.zeros((60, 72), bool)
    holes[55:, :6], holes[:4, 60:] = True, True
    assert np.array_equal(np.isnan(layers["score"][0]), holes)
    assert np.array_equal(layers["map"][0] == 0, holes)
    assert np.isnan(layers["uncertainty"][:, holes]).all()
    entropy, chance = layers["uncertainty"][:, ~holes]
    assert ((chance > 0.5) == (layers["map"][0][~holes] == 2)).mean() > 0.999
    p = np.clip(chance.astype(float), 1e-12, 1 - 1e-12)
    np.testing.assert_allclose(entropy, -p * np.log2(p) - (1 - p) * np.log2(1 - p), atol=1e-5)
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found["task"] == "change detection"
    assert found["truth"]["auc"] > 0.98
    assert found["truth"]["kappa"] > 0.8
    assert found["threshold"]["way"] == "otsu"
    assert found["map"]["changed"] == (layers["map"] == 2).sum()
    assert found["shift"]["clear"]
    _, _, _, columns = pyogrio.raw.read(tmp_path / "run" / "objects.gpkg", layer="changes")
    table = dict(zip(pyogrio.read_info(tmp_path / "run" / "objects.gpkg")["fields"], columns, strict=True))
    assert table["pixels"].tolist() == sorted(table["pixels"].tolist(), reverse=True)
    largest = json.loads(table["spectrum_before"][0]), json.loads(table["spectrum_after"][0])
    assert [len(spectrum) for spectrum in largest] == [12, 12]
    inside = layers["map"][0] == 2
    labelled = open_scene(files / "after.tif").values[:, inside]
    assert labelled.min() <= min(largest[1])
    assert max(largest[1]) <= labelled.max()
    assert cli.ok("cite", tmp_path / "run").splitlines() == found["references"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    for words in (
        "Changes from before.tif to after.tif",
        "Largest changes",
        "kappa against the truth",
        "Nielsen",
        "Otsu",
        "Against the truth",
    ):
        assert words in page


def test_a_run_that_is_there_is_not_replaced_unless_asked(cli, files, tmp_path):
    how = ("change", files / "before.tif", files / "after.tif", "--method", "cva", "--out", tmp_path / "run")
    cli.ok(*how)
    cli.refused(2, r"holds map\.qml, map\.tif, .*pass --overwrite", *how)
    (tmp_path / "run" / "model.json").write_text("{}")  # of a training that lay there
    cli.ok(*how, "--overwrite")
    assert not (tmp_path / "run" / "model.json").exists()


def test_equal_dates_are_all_unchanged_and_the_command_says_so(cli, files, tmp_path):
    out = cli.ok("change", files / "before.tif", files / "before.tif", "--out", tmp_path / "run")
    assert "BEFORE and AFTER hold the same numbers: nothing has changed" in out
    assert "Changed: 0 of" in out
    with rasterio.open(tmp_path / "run" / "map.tif") as source:
        assert set(np.unique(source.read())) == {0, 1}
    assert pyogrio.read_info(tmp_path / "run" / "objects.gpkg")["features"] == 0
    assert "No pixel has changed." in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_pair_on_disk_gets_the_scores_of_the_pair_in_memory(name, files, monkeypatch):
    before, after = files / "before.tif", files / "after.tif"
    whole = find_changes(open_scene(before), open_scene(after), method=name, normalise="pif" if name == "cva" else None)
    monkeypatch.setattr(scoring, "BYTES_WHOLE", 10**9)
    monkeypatch.setattr(scores, "LARGEST_WINDOW", 32)
    parts = find_changes(before, after, method=name, normalise="pif" if name == "cva" else None)
    for found, kind in ((whole, SceneView), (parts, DatesView)):
        assert isinstance(getattr(found.view, "view", found.view), kind)  # inside of what normalises it
    assert (whole.settings["windows"], parts.settings["windows"]) == (1, 6)
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(parts.index, whole.index)


def test_another_coordinate_system_is_warped_and_a_shift_of_the_dates_is_told(cli, files, tmp_path):
    with rasterio.open(files / "after.tif") as source:
        values = source.read()
    moved = Affine(30, 0, 362_060, 0, -30, 5_810_000)  # two pixels to the east: the file claims a wrong place
    write_date(tmp_path / "moved.tif", values, place=moved, nodata=-99, wavelengths=np.linspace(450, 2400, 12).round(2))
    out = cli.ok("change", files / "before.tif", tmp_path / "moved.tif", "--out", tmp_path / "run")
    assert "was warped onto BEFORE's grid (60 x 72), resampling bilinear" in out
    assert "AFTER seems to be shifted by" in out
    assert "+2.00 columns" in out
    cli.refused(
        2,
        "No pixel holds data at both dates",
        "change",
        files / "before.tif",
        files / "other_crs.tif",
        "--out",
        tmp_path / "x",
    )
    assert not (tmp_path / "x").exists() or not list((tmp_path / "x").iterdir())


def test_truth_comes_as_a_mask_as_classes_or_as_two_files_and_jpeg_is_told(files):
    grid = open_scene(files / "before.tif").grid
    bare = Grid(*grid.shape)
    full, classes = read_truth(str(files / "truth.bmp"), bare), read_truth(str(files / "classes.tif"), grid)
    parted = read_truth(str(files / "changed.bmp"), bare, unchanged=str(files / "unchanged.bmp"))
    assert np.array_equal(classes.index, parted.index)
    assert set(np.unique(full.index)) == {1, 2}
    assert set(np.unique(parted.index)) == {0, 1, 2}
    jpeg = read_truth(str(files / "truth.jpg"), bare)
    assert (jpeg.index == full.index).mean() > 0.99
    assert "compressed with loss (JPEG)" in jpeg.notes[0]
    found = find_changes(files / "before.tif", files / "after.tif", method="cva")
    partly = measure(found, parted)
    assert partly["pixels"] == int(((parted.index > 0) & (found.index > 0)).sum())
    with pytest.raises(LabelError, match="give labels on BEFORE's grid"):
        measure(found, read_truth(str(files / "small.npy"), Grid(59, 72)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "best"], "there are cva, ir-mad, ir-mad-context"),
        (["--threshold", "mean"], "there are otsu, mixture, chi-square"),
        (["--threshold", "chi-square"], "--method ir-mad or sfa"),
        (["--normalise", "histogram"], "there are ir-mad and pif"),
        (["--resampling", "lanczos"], "there are bilinear, nearest, cubic, average"),
        (["--false-alarm", "0.01"], "belongs to --threshold chi-square"),
        (["--truth-unchanged", "unchanged.bmp"], "without --truth"),
        (["--truth", "both.bmp", "--truth-unchanged", "unchanged.bmp"], "are both unchanged .* and changed"),
        (["--truth", "small.npy"], "59"),
        (["--memory", "1MB"], r"the smallest that works for this method and scene is --memory \d+MB"),
    ],
)
def test_bad_input_is_answered_with_advice(cli, files, tmp_path, arguments, message):
    given = [files / word if (files / word).is_file() else word for word in arguments]
    cli.refused(2, message, "change", files / "before.tif", files / "after.tif", "--out", tmp_path / "run", *given)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_bad_pairs_are_answered_with_advice(cli, files, tmp_path):
    cli.refused(
        2,
        r"BEFORE has 12 bands and AFTER has 5",
        "change",
        files / "before.tif",
        files / "few_bands.tif",
        "--out",
        tmp_path / "r",
    )
    cli.refused(
        2,
        r"missing\.tif does not exist",
        "change",
        files / "before.tif",
        files / "missing.tif",
        "--out",
        tmp_path / "r",
    )
    np.save(tmp_path / "score.npy", np.zeros((4, 4, 2)))
    cli.refused(2, "would be overwritten", "change", tmp_path / "score.npy", tmp_path / "score.npy", "--out", tmp_path)


def test_the_api_finds_changes_and_keeps_to_its_memory(files):
    found = pf.find_changes(files / "before.tif", files / "after.tif", threshold="mixture", seed=1)
    assert 0 < found.changed_share < 0.2
    assert [("Nielsen" in r, "Bruzzone" in r) for r in found.references] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    with pytest.raises(ConfigError, match="the smallest that works"):
        pf.find_changes(files / "before.tif", files / "after.tif", memory=1)


@pytest.mark.parametrize(
    ("method", "least"),
    [("ir-mad-context", 0.998), ("cva", 0.990), ("ir-mad", 0.994), ("sfa", 0.994), ("pca-kmeans", 0.994)],
)
def test_taizhou(shared_data, method, least):
    folder = shared_data / "taizhou"
    found = find_changes(folder / "2000TM", folder / "2003TM", method=method)
    truth = read_truth(str(folder / "change.bmp"), found.grid, unchanged=str(folder / "unchanged.bmp"))
    measured = measure(found, truth)
    assert measured["auc"] > least
    assert measured["kappa"] > 0.8
    assert found.shift is not None
    assert found.shift.pixels < 0.2


@pytest.mark.parametrize("method", ["cva", "pca-kmeans"])
def test_normalised_dates_are_compared_as_they_are(shared_data, method):
    folder = shared_data / "taizhou"
    plain, aligned = (
        find_changes(folder / "2000TM", folder / "2003TM", method=method, normalise=way) for way in (None, "ir-mad")
    )
    truth = read_truth(str(folder / "change.bmp"), plain.grid, unchanged=str(folder / "unchanged.bmp"))
    better, before = measure(aligned, truth)["auc"], measure(plain, truth)["auc"]
    assert better > before + 0.004
    assert any("brought to BEFORE's radiometry" in note for note in aligned.notes)


@pytest.mark.parametrize("name", ["ir-mad", "ir-mad-context", "sfa"])
def test_methods_that_take_gains_out_themselves_give_the_same_map_when_normalised(name, files):
    plain, aligned = (
        find_changes(files / "before.tif", files / "after.tif", method=name, normalise=way) for way in (None, "pif")
    )
    assert (aligned.index == plain.index).mean() > 0.999
    assert plain.settings["normalise"] is None
    assert aligned.settings["normalise"] == "pif"


def test_the_probability_of_no_change_is_that_of_the_chi_square_distribution(files):
    dates = files / "before.tif", files / "after.tif"
    found = find_changes(*dates, method="ir-mad", threshold="chi-square", false_alarm=0.01)
    held, chance = found.index > 0, found.no_change_probability
    np.testing.assert_array_equal(chance[held] < 0.01, found.index[held] == 2)
    assert np.isnan(chance[~held]).all()
    with pytest.raises(ConfigError, match="method cva states no distribution"):
        find_changes(*dates, method="cva").no_change_probability  # noqa: B018 - the access is the test
