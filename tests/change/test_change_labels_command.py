"""`patchfree change` with labels and runs, and `change-train`: what a user gets, and what is refused in which words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from dated import pair_with_blobs, some_labels
from jobs import contents, write_raster, write_scene
from patchfree.models import MODELS
from patchfree.run import load_run
from patchfree.stream.budget import training_bytes

QUICK = ["--steps", "2", "--control", "none", "--device", "cpu"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A pair on disk with changed and unchanged areas, as GeoTIFF."""
    folder = tmp_path_factory.mktemp("pair")
    pair, changed = pair_with_blobs(side=40, bands=4, share=0.15)
    labels = some_labels(changed, share=0.6)
    write_scene(folder / "before.tif", pair.before)
    write_scene(folder / "after.tif", pair.after)
    for name, value in (("unchanged", 1), ("changed", 2)):
        write_raster(folder / f"{name}.tif", (labels.index == value).astype(np.uint8))
    write_raster(folder / "labels.tif", labels.index.astype(np.int16))
    write_raster(folder / "truth.tif", (1 + changed).astype(np.int16))
    return folder


def dates(folder):
    return [folder / "before.tif", folder / "after.tif"]


def areas(folder):
    return ["--changed", folder / "changed.tif", "--unchanged", folder / "unchanged.tif"]


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    from jobs import command

    out = tmp_path_factory.mktemp("runs") / "run"
    command("change", *dates(files), *areas(files), *QUICK, "--out", out)
    return out


def test_a_run_learnt_from_areas_holds_every_file_and_its_labels(files, run):
    assert {
        "score.tif",
        "map.tif",
        "uncertainty.tif",
        "decided.tif",
        "objects.gpkg",
        "metrics.json",
        "report.html",
    } <= {path.name for path in run.iterdir()}
    with rasterio.open(run / "labels.tif") as ours, rasterio.open(files / "labels.tif") as theirs:
        np.testing.assert_array_equal(ours.read(1), theirs.read(1))
    assert load_run(run).metrics["task"] == "change detection"


@pytest.mark.parametrize("model", ["ar-cdnet", "unet"])
def test_another_network_is_trained_by_its_name_and_says_what_errors_it_expects(cli, files, tmp_path, model):
    cli.ok(
        "change", *dates(files), "--labels", files / "labels.tif", "--model", model, *QUICK, "--out", tmp_path / "run"
    )
    with rasterio.open(tmp_path / "run" / "uncertainty.tif") as source:
        expected = ("entropy", "margin", "predicted error") if model == "ar-cdnet" else ("entropy", "margin")
        assert source.descriptions == expected


def test_one_file_of_classes_gives_the_same_run(cli, files, run, tmp_path):
    cli.ok("change", *dates(files), "--labels", files / "labels.tif", *QUICK, "--out", tmp_path / "run")
    assert load_run(tmp_path / "run").model_hash == load_run(run).model_hash


def test_the_same_command_again_finds_the_run_finished(cli, files, run):
    before = contents(run)
    cli.ok("change", *dates(files), *areas(files), *QUICK, "--out", run)
    assert contents(run) == before


def test_other_labels_do_not_touch_a_finished_run(cli, files, run):
    before = contents(run)
    cli.refused(
        2,
        "finished run with other labels",
        "change",
        *dates(files),
        "--labels",
        files / "truth.tif",
        *QUICK,
        "--out",
        run,
    )
    assert contents(run) == before


def test_a_run_maps_a_pair_and_the_dates_swapped_alike(cli, files, run, tmp_path):
    maps = []
    for name, pair in (("there", dates(files)), ("back", dates(files)[::-1])):
        shown = cli.ok("change", "--run", run, *pair, "--device", "cpu", "--out", tmp_path / name)
        assert "by the network siamese-freenet" in shown
        with rasterio.open(tmp_path / name / "score.tif") as source:
            maps.append(source.read(1))
    np.testing.assert_allclose(*maps, atol=1e-4)
    with rasterio.open(run / "score.tif") as source:
        np.testing.assert_allclose(source.read(1), maps[0], atol=1e-4)
    assert (tmp_path / "there" / "report.html").is_file()
    assert (tmp_path / "there" / "objects.gpkg").is_file()


def test_windows_give_the_map_of_the_whole_pair(cli, files, run, tmp_path):
    from patchfree.io.pair import Dates
    from patchfree.io.source import SceneSource
    from windowed import streamed

    dates_on_disk = Dates(*(SceneSource(str(path)) for path in dates(files)))
    source = SceneSource(str(dates_on_disk.write(tmp_path / "dates.pair.json")))
    found = streamed(load_run(run), source, tmp_path / "work", 16, outputs=("probabilities",))
    with rasterio.open(run / "score.tif") as score:
        np.testing.assert_allclose(found["probabilities"][..., 1], score.read(1), atol=1e-4)


def test_equal_dates_have_changed_nowhere_and_teach_nothing(cli, files, run, tmp_path):
    same = [files / "before.tif", files / "before.tif"]
    assert "nothing has changed" in cli.ok("change", "--run", run, *same, "--out", tmp_path / "mapped")
    with rasterio.open(tmp_path / "mapped" / "map.tif") as source:
        assert set(np.unique(source.read(1))) == {1}
    cli.refused(2, "nothing can be learnt", "change", *same, *areas(files), *QUICK, "--out", tmp_path / "learnt")


def test_a_truth_tests_on_other_pixels_than_those_that_train(cli, files, tmp_path):
    cli.ok("change", *dates(files), *areas(files), "--truth", files / "truth.tif", *QUICK, "--out", tmp_path / "run")
    counts = load_run(tmp_path / "run").metrics["protocol"]
    assert any("training labels too" in note for note in counts["notes"])
    other = write_raster(tmp_path / "other.tif", np.where(np.arange(1600).reshape(40, 40) % 2, 1, 2).astype(np.int16))
    words = ("change", *dates(files), *areas(files), *QUICK, "--out", tmp_path / "run")
    before = contents(tmp_path / "run")
    cli.refused(2, "finished run with other labels", *words)
    cli.refused(2, "finished run with other labels", *words, "--truth", other)
    assert contents(tmp_path / "run") == before


def test_the_spread_of_answers_is_written_and_judged_on_request(cli, files, tmp_path):
    words = ["change", *dates(files), *areas(files), *QUICK, "--out", tmp_path / "run"]
    shown = cli.ok(*words, "--dropout-passes", 3, "--ensemble", 2)
    with rasterio.open(tmp_path / "run" / "spread.tif") as source:
        dropout, ensemble = source.read()
        assert source.descriptions == tuple(
            f"deviation of the probability of change, {name}" for name in ("dropout of 3", "ensemble of 2")
        )
    for layer in (dropout, ensemble):
        assert 0 <= layer.min() < layer.max() <= 0.5
    assert not np.array_equal(dropout, ensemble)
    judged = load_run(tmp_path / "run").metrics["change"]["spreads"]
    assert {name: one["answers"] for name, one in judged.items()} == {"dropout": 3, "ensemble": 2}
    assert "spread.tif, dropout of 3" in shown
    before = contents(tmp_path / "run")
    cli.ok(*words, "--dropout-passes", 3, "--ensemble", 2)  # finished: nothing is done again
    cli.refused(2, "finished with .* spreads", *words)
    cli.refused(2, "finished with .* spreads", *words, "--ensemble", 2)
    assert contents(tmp_path / "run") == before


def test_labels_in_the_folder_of_the_run_are_never_written_over(cli, files, tmp_path):
    mine = write_raster(tmp_path / "labels.tif", np.ones((40, 40), np.int16))
    before = mine.read_bytes()
    words = ("--labels", files / "labels.tif", "--truth", mine, *QUICK, "--out", tmp_path)
    cli.refused(2, "would be written over", "change", *dates(files), *words)
    assert mine.read_bytes() == before


def test_a_file_of_someone_elses_in_the_folder_of_the_run_stays(cli, files, tmp_path):
    mine = write_raster(tmp_path / "labels-train.tif", np.ones((5, 5), np.int16))
    before = mine.read_bytes()
    cli.ok("change", *dates(files), *areas(files), *QUICK, "--out", tmp_path)
    assert mine.read_bytes() == before


def test_a_truth_tests_a_pair_that_does_not_fit_into_memory(cli, tmp_path):
    pair, changed = pair_with_blobs(side=320, bands=4, share=0.15)
    labels = some_labels(changed, share=0.6).index
    write_scene(tmp_path / "before.tif", pair.before)
    write_scene(tmp_path / "after.tif", pair.after)
    for name, corner in (("labels", slice(0, 24)), ("truth", slice(24, 48))):
        kept = np.zeros((320, 320), np.int16)
        kept[:24, corner] = labels[:24, corner]
        assert set(np.unique(kept)) == {0, 1, 2}
        write_raster(tmp_path / f"{name}.tif", kept)
    with torch.device("meta"):
        network = MODELS["siamese-freenet"](bands=8, classes=2)
    whole, part = (training_bytes(network, [side], recompute=True) for side in ((320, 320), (96, 120)))
    words = ["--labels", tmp_path / "labels.tif", "--truth", tmp_path / "truth.tif", *QUICK, "--out", tmp_path / "run"]
    two = (tmp_path / "before.tif", tmp_path / "after.tif")
    cli.ok("change", *two, *words, "--memory", str(whole - (whole - part) // 8))
    run = load_run(tmp_path / "run")
    counts = run.metrics["protocol"]["counts"]
    assert counts["test"] == int((labels[:24, 24:48] > 0).sum())
    with rasterio.open(tmp_path / "run" / "map.tif") as source:
        assert source.read(1).all()
    again = (*two, *words[:-1], tmp_path / "other", "--memory", str(whole - (whole - part) // 8), "--ensemble", 2)
    cli.refused(2, "one pair that fits into memory", "change", *again)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--changed", "changed.tif"], "Got --changed without --unchanged"),
        (["--unchanged", "unchanged.tif"], "Got --unchanged without --changed"),
        (["--changed", "changed.tif", "--unchanged", "changed.tif"], "are both unchanged"),
        (["--labels", "labels.tif", "--changed", "changed.tif"], "Got --labels beside --changed"),
        (["--labels", "changed.tif"], "need two classes, 1 for unchanged and 2 for changed"),
        (["--labels", "labels.tif", "--run", "run"], "beside --run"),
        (["--labels", "labels.tif", "--threshold", "otsu"], "--threshold has no effect here"),
        (["--model", "unet"], "--model has no effect here"),
        (["--labels", "labels.tif", "--model", "freenet"], "freenet is a network of one date"),
        (["--labels", "labels.tif", "--model", "ar-cdnet-rgb"], "takes 3"),
        (["--labels", "labels.tif", "--error-rate", "2"], "need a share between 0 and 1"),
        (["--labels", "labels.tif", "--ensemble", "1"], "Got ensemble=1; the spread of answers needs at least 2"),
        (["--labels", "labels.tif", "--dropout-passes", "4", "--refit"], "has learnt the test pixels"),
        (["--ensemble", "3"], "--ensemble has no effect here"),
        (["--run", "."], "is no run folder"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(cli, files, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(files)
    cli.refused(2, message, "change", "before.tif", "after.tif", *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.fixture
def table(tmp_path):
    """Three pairs of pictures with full masks, and a list of them."""
    rows = ["before,after,mask"]
    for number in range(3):
        pair, changed = pair_with_blobs(side=24, bands=3, share=0.3, seed=number)
        for name, values in (("a", pair.before.values), ("b", pair.after.values)):
            scaled = np.clip(60 * values.transpose(1, 2, 0) + 120, 0, 255).astype(np.uint8)
            Image.fromarray(scaled).save(tmp_path / f"{name}{number}.png")
        Image.fromarray(np.uint8(changed) * 255).save(tmp_path / f"m{number}.png")
        rows.append(f"a{number}.png,b{number}.png,m{number}.png")
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_list_of_pairs_trains_one_network_that_maps_others(cli, table, tmp_path):
    out = tmp_path / "run"
    cli.ok("change-train", table, *QUICK, "--out", out)
    assert json.loads((out / "metrics.json").read_text())["task"] == "change detection"
    assert len(list((out / "scenes").glob("*/score.tif"))) == 3
    cli.ok(
        "change",
        "--run",
        out,
        tmp_path / "a0.png",
        tmp_path / "b0.png",
        "--device",
        "cpu",
        "--out",
        tmp_path / "mapped",
    )
    assert (tmp_path / "mapped" / "report.html").is_file()


def test_a_missing_file_of_a_list_is_named_and_others_go_on_if_asked(cli, table, tmp_path):
    (tmp_path / "b1.png").unlink()
    cli.refused(
        2, r"Line 3 of pairs\.csv: .*b1\.png is not there", "change-train", table, *QUICK, "--out", tmp_path / "run"
    )
    shown = cli.ok("change-train", table, "--keep-going", *QUICK, "--out", tmp_path / "run")
    assert "Left out: Line 3 of pairs.csv" in shown
    assert len(list((tmp_path / "run" / "scenes").iterdir())) == 2


def test_a_pair_of_two_sizes_is_named(cli, table, tmp_path):
    Image.fromarray(np.zeros((10, 24, 3), np.uint8)).save(tmp_path / "b2.png")
    cli.refused(2, r"Line 4 of pairs\.csv", "change-train", table, *QUICK, "--out", tmp_path / "run")


def test_a_list_without_its_columns_is_refused(cli, tmp_path):
    (tmp_path / "pairs.csv").write_text("scene,labels\na,b\n")
    cli.refused(
        2, "need a first line `before,after,mask`", "change-train", tmp_path / "pairs.csv", "--out", tmp_path / "run"
    )
