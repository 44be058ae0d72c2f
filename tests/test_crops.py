"""Training on a scene that does not fit into memory: the neighbourhoods of its labels train, the whole of it is mapped."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from conftest import synthetic
from jobs import VALUES, contents, no_torn_files, read_json, steps_of, write_raster, write_scene
from patchfree.errors import ConfigError, LabelError
from patchfree.fit import Trainer
from patchfree.inputs import job_given
from patchfree.io.source import SceneSource
from patchfree.labels import make_labels
from patchfree.models import MODELS
from patchfree.recipes import RECIPES, get_recipe
from patchfree.run import load_run
from patchfree.scene import Grid
from patchfree.split import random_split
from patchfree.standardise import Standardisation
from patchfree.stream.budget import cut_training_bytes, training_bytes
from patchfree.stream.crops import ALIGN, cut_out, lay_out, neighbourhoods, on_canvas, thumbnail
from patchfree.training import train
from patchfree.windows import window_shape

CPU = torch.device("cpu")
ROWS, COLS, REACH = 320, 330, 45
SPOTS = ((30, 40), (60, 250), (270, 80), (280, 120))
"""Where 20 x 20 pixels are labelled: two of the four lie so close that their neighbourhoods are one."""
SHORT = ("--steps", 6, "--model", "freenet-smooth", "--control", "none", "--device", "cpu", "--blocks", 10)


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    """A scene with a hole, and its labels in four places, as files."""
    folder = tmp_path_factory.mktemp("spots")
    small, labels = synthetic(noise=0.15)  # 40 x 48 pixels, laid side by side: all classes are everywhere
    values = np.tile(small.values, (1, 8, 7))[:, :ROWS, :COLS] + synthetic(rows=ROWS, cols=COLS, noise=0)[0].values / 50
    scene = dataclasses.replace(small, values=values, valid=np.ones((ROWS, COLS), bool), grid=Grid(ROWS, COLS))
    index = np.tile(labels.index, (8, 7))[:ROWS, :COLS]
    scene.values[:, 150:170, 20:300] = -9999
    scene.values[:, 35:37, 44:50] = -9999  # among the labels
    kept = np.zeros((ROWS, COLS), np.uint8)
    for row, col in SPOTS:
        place = slice(row, row + 20), slice(col, col + 20)
        kept[place] = VALUES[index[place]]
    write_scene(folder / "scene.tif", scene, nodata=-9999)
    write_raster(folder / "labels.tif", kept)
    return folder


@pytest.fixture
def source(spots):
    return SceneSource(str(spots / "scene.tif"))


def labels_of(spots):
    with rasterio.open(spots / "labels.tif") as file:
        return make_labels(file.read(1))


def laid_out(folder, largest=10**9):
    return lay_out(neighbourhoods(labels_of(folder).index > 0, REACH), largest=largest)


def too_little(folder, share=0.5):
    """Memory for the neighbourhoods and not for the whole."""
    with torch.device("meta"):
        model = MODELS[RECIPES["default"].model](bands=12, classes=16)
    whole = training_bytes(model, [(ROWS, COLS)], recompute=True)
    cut = training_bytes(model, [laid_out(folder).shape], recompute=True)
    assert cut < whole
    return round(cut + share * (whole - cut))


# --- cutting out


@pytest.mark.parametrize("seed", range(6))
def test_neighbourhoods_hold_every_label_with_its_context_and_do_not_overlap(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 300, 2))
    labelled = rng.random(shape) < rng.choice([0.0002, 0.002, 0.02])
    labelled[rng.integers(shape[0]), rng.integers(shape[1])] = True
    context = int(rng.integers(0, 50))
    count = np.zeros(shape, int)
    for window in neighbourhoods(labelled, context):
        count[window] += 1
        assert window[0].start % ALIGN == window[1].start % ALIGN == 0
    assert count.max() == 1
    for row, col in zip(*np.nonzero(labelled), strict=True):
        assert count[max(0, row - context) : row + context + 1, max(0, col - context) : col + context + 1].all()


def test_what_is_cut_out_is_what_the_scene_holds_there(spots, source):
    labels = labels_of(spots)
    scene = cut_out(source, laid_out(spots))
    whole, holds = source.read(None, source.choice(scene.bands))
    assert len(scene.cut.places) == 3
    for place, window in scene.cut.places:
        np.testing.assert_array_equal(scene.values[:, *place], whole[:, *window])
        np.testing.assert_array_equal(scene.valid[place], holds[window])
        assert [part.start % ALIGN for part in (*place, *window)] == [0] * 4
    inside = np.zeros(scene.grid.shape, bool)
    for place, _ in scene.cut.places:
        inside[place] = True
    assert not scene.valid[~inside].any()
    assert not scene.values[:, ~inside].any()
    assert scene.ground.shape == (ROWS, COLS)
    assert len(scene.patches) == 3
    assert scene.passes == scene.windows
    assert "of it trained the network, 3 neighbourhoods of the labels. Their statistics" in scene.notes[0]
    found = on_canvas(scene, labels)
    np.testing.assert_array_equal(found.counts, labels.counts)
    with pytest.raises(LabelError, match=r"have \(3, 3\) pixels, the scene has \(320, 330\)"):
        on_canvas(scene, make_labels(np.ones((3, 3), int)))


def test_a_network_sees_each_neighbourhood_by_itself(spots, source):
    """With the same statistics its scores are those of the whole scene wherever the kernels do not reach out of the part."""
    from patchfree.models._statistics import Recorded, Recording
    from patchfree.predict import predict_scores

    scene = cut_out(source, laid_out(spots))
    torch.manual_seed(0)
    model = MODELS["freenet-half"](bands=12, classes=3)  # without the smoothing, which reaches farther
    values, holds = source.read(None, source.choice(scene.bands))
    recording = Recording()
    whole = predict_scores(model, values, holds, device=CPU, statistics=recording)
    parts = predict_scores(model, scene.values, scene.valid, device=CPU, statistics=Recorded(recording.values))
    for row, col in SPOTS:
        where = next(
            (slice(p[0].start + row - w[0].start, None), slice(p[1].start + col - w[1].start, None))
            for p, w in scene.cut.places
            if w[0].start <= row < w[0].stop and w[1].start <= col < w[1].stop
        )
        ours = parts[:, *where][:, :20, :20]
        np.testing.assert_allclose(ours, whole[:, row : row + 20, col : col + 20], atol=2e-5)


def test_groups_keep_within_their_size_and_are_seen_one_after_the_other(spots, source):
    layout = laid_out(spots, largest=140 * 150)
    scene = cut_out(source, layout)
    assert 1 < len(layout.groups) == len(scene.passes) <= len(layout.windows)
    one = cut_out(source, laid_out(spots))
    for (place, window), (other, same) in zip(scene.cut.places, one.cut.places, strict=True):
        assert window == same
        np.testing.assert_array_equal(scene.values[:, *place], one.values[:, *other])
        assert sum(inside(place, group) for group in layout.groups) == 1


def inside(place, group):
    return all(g.start <= p.start and p.stop <= g.stop for p, g in zip(place, group, strict=True))


# --- training


def trained(recompute, seed=1):
    scene, labels = synthetic(rows=30, cols=37)
    scene.valid[4:9, 5:11] = False
    split = random_split(labels.within(scene.valid), per_class=20, seed=0)
    trainer = Trainer(
        Standardisation.of(scene).apply(scene),
        scene.valid,
        labels.index,
        train=split.train,
        val=split.val,
        classes=3,
        recipe=dataclasses.replace(get_recipe("default", steps=4), shuffle=True),
        seed=seed,
        device=CPU,
        recompute=recompute,
    )
    return [step.loss for step in trainer.run()], trainer.model.state_dict()


def test_feature_maps_computed_anew_give_the_same_bits():
    (losses, weights), (again, others) = trained(recompute=False), trained(recompute=True)
    assert losses == again
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


def test_feature_maps_are_computed_anew_where_memory_is_short(monkeypatch):
    scene, labels = synthetic(rows=40, cols=50)
    with torch.device("meta"):
        model = MODELS[RECIPES["default"].model](bands=12, classes=3)
    plenty, enough = (training_bytes(model, [(40, 50)], recompute=flag) for flag in (False, True))
    seen, real = [], Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self: seen.append(self.model.recompute) or real(self))
    more = {"recipe": get_recipe("default", model=RECIPES["default"].model, steps=1), "controls": (), "device": "cpu"}
    for memory in (plenty, plenty - 1, enough):
        train(scene, labels, memory=memory, **more)
    assert seen == [False, True, True]
    with pytest.raises(ConfigError, match=f"training on synthetic takes at least {enough:,}"):
        train(scene, labels, memory=enough - 1, **more)


@pytest.fixture(scope="module")
def done(spots, tmp_path_factory):
    """A run trained on the neighbourhoods."""
    from jobs import command

    out = tmp_path_factory.mktemp("cut") / "run"
    words = ("train", spots / "scene.tif", spots / "labels.tif", "--out", out, *SHORT)
    command(*words, "--memory", too_little(spots), "--probabilities")
    return out


def test_the_whole_scene_is_mapped_with_its_own_statistics(cli, spots, done, tmp_path):
    cli.ok("map", done, spots / "scene.tif", "--out", tmp_path / "map.tif", "--device", "cpu")
    with rasterio.open(tmp_path / "map.tif") as again, rasterio.open(done / "map.tif") as made:
        assert (made.shape, made.transform, made.crs) == ((ROWS, COLS), again.transform, again.crs)
        assert (made.read(1) != again.read(1)).mean() < 1e-4  # windows and one piece: ties only
        assert made.tags(ns="PATCHFREE") == again.tags(ns="PATCHFREE")
        mapped = made.read(1)
    assert not mapped[150:170, 20:300].any()
    with rasterio.open(done / "probabilities.tif") as layers:
        np.testing.assert_allclose(np.nansum(layers.read(), 0)[mapped > 0], 1, atol=1e-5)
    metrics = read_json(done / "metrics.json")
    assert (metrics["scene"]["rows"], metrics["scene"]["columns"]) == (ROWS, COLS)
    assert metrics["map"]["pixels"] == {str(v): int((mapped == v).sum()) for v in VALUES[1:]}
    assert metrics["map"]["pixel_hectares"] == pytest.approx(0.09)


def test_the_test_looks_at_the_map_of_the_whole_scene(cli, spots, done):
    metrics = read_json(done / "metrics.json")
    with rasterio.open(done / "map.tif") as made, rasterio.open(done / "split.tif") as split:
        mapped, codes = made.read(1), split.read(1)
    labels = labels_of(spots)
    test = codes == 3
    assert test.sum() == metrics["test"]["pixels"] > 0
    right = (mapped == labels.restore(labels.index))[test].mean()
    assert right == pytest.approx(metrics["test"]["overall_accuracy"])
    assert (codes > 0).sum() == (labels.index > 0).sum() - 12  # the hole among the labels
    found = cli.ok("assess", done / "map.tif", spots / "labels.tif", "--json")
    assert "learnt" in found or "trained" in found


def test_report_says_that_neighbourhoods_trained(done):
    page = (done / "report.html").read_text()
    assert "3 neighbourhoods of the labels" in page
    assert f"{ROWS} × {COLS} pixels" in page


def test_a_small_picture_shows_the_whole_scene_and_its_map(source, spots):
    scene = cut_out(source, laid_out(spots))
    whole, holds = source.read(None, source.choice(scene.bands))
    for most, step in ((330, 1), (100, 4), (70, 5)):
        small, found = thumbnail(source, scene.bands, most)
        assert found == step
        np.testing.assert_array_equal(small.values, whole[:, ::step, ::step])
        np.testing.assert_array_equal(small.valid, holds[::step, ::step])


def test_interrupted_job_goes_on_with_the_same_bits(spots, done, tmp_path, monkeypatch):
    from patchfree.cli import main
    from patchfree.stream.evaluate import Work

    words = ("train", spots / "scene.tif", spots / "labels.tif", "--out", tmp_path, *SHORT, "--probabilities")
    words = [str(word) for word in (*words, "--memory", too_little(spots))]
    monkeypatch.setattr("sys.argv", ["patchfree", *words])
    real, calls = Work.compute, []

    def stopped(self, *rest):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return real(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Work, "compute", stopped)
        with pytest.raises(SystemExit, match="1"):
            main(words)
    with pytest.raises(SystemExit, match="0"):
        main(words)
    ours, theirs = contents(tmp_path), contents(done)
    assert ours.keys() == theirs.keys()
    for name in ("model.safetensors", "map.tif", "probabilities.tif", "split.tif", "statistics.safetensors"):
        assert ours[name] == theirs[name], name
    assert len(steps_of(tmp_path)) == 6
    assert no_torn_files(tmp_path)


@pytest.mark.slow
def test_refit_and_more_outputs_of_a_finished_run(cli, spots, tmp_path):
    words = ("train", spots / "scene.tif", spots / "labels.tif", "--out", tmp_path, *SHORT, "--refit")
    words = (*words, "--memory", too_little(spots))
    cli.ok(*words)
    map_before = (tmp_path / "map.tif").read_bytes()
    cli.ok(*words, "--uncertainty")
    assert (tmp_path / "uncertainty.tif").is_file()
    with rasterio.open(tmp_path / "map.tif") as again:
        mapped = again.read(1)
    (tmp_path / "before.tif").write_bytes(map_before)
    with rasterio.open(tmp_path / "before.tif") as first:
        assert (first.read(1) != mapped).mean() < 1e-4
    assert load_run(tmp_path).metrics["protocol"]["refit_on_all_labels"]


def two_scenes(spots):
    """A list of the scene and of the same pixels 100 km to the east, and the least memory that its neighbourhoods take."""
    for name in ("scene", "labels"):
        shutil.copy(spots / f"{name}.tif", spots / f"{name}2.tif")
        with rasterio.open(spots / f"{name}2.tif", "r+") as copied:
            copied.transform = Affine.translation(100_000, 0) @ copied.transform
    (spots / "list.csv").write_text("scene,labels\nscene.tif,labels.tif\nscene2.tif,labels2.tif\n")
    with torch.device("meta"):
        model = MODELS[RECIPES["default"].model](bands=12, classes=16)
    each = [window_shape(group) for group in laid_out(spots, largest=0).groups]
    return spots / "list.csv", cut_training_bytes(model, [*each, *each])


def test_a_list_of_scenes_is_refused_with_the_memory_that_its_neighbourhoods_take(cli, spots, tmp_path):
    scenes, least = two_scenes(spots)
    cli.refused(
        2,
        rf"the neighbourhoods of these labels takes at least --memory {-(-least // 10**6)}MB",
        "train", scenes, *SHORT, "--out", tmp_path / "less", "--memory", least - 10**6,
    )  # fmt: skip
    assert not (tmp_path / "less").exists()


@pytest.mark.slow
def test_a_list_of_scenes_that_do_not_fit_is_cut_too(cli, spots, tmp_path):
    scenes, least = two_scenes(spots)
    cli.ok("train", scenes, *SHORT, "--out", tmp_path / "run", "--memory", least)
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert [(one["rows"], one["columns"]) for one in metrics["scenes"]] == [(ROWS, COLS)] * 2
    maps = [rasterio.open(tmp_path / "run" / "scenes" / one["name"] / "map.tif") for one in metrics["scenes"]]
    np.testing.assert_array_equal(*(each.read(1) for each in maps))
    assert "3 neighbourhoods of the labels in 3 groups." in metrics["scene"]["notes"][0]
    assert sum(metrics["scenes"][0]["map"]["pixels"].values()) > 90_000


def test_the_memory_that_a_refusal_names_is_enough_for_a_file_of_large_pieces(cli, spots, tmp_path, monkeypatch):
    """Reading a window of such a file takes memory of its own."""
    monkeypatch.setattr(SceneSource, "kept_bytes", 300_000_000)
    words = ("train", spots / "scene.tif", spots / "labels.tif", "--out", tmp_path / "run", *SHORT)
    said = cli.refused(2, r"takes at least --memory \d+MB", *words, "--memory", "1MB")
    least = int(re.search(r"at least --memory (\d+)MB", said)[1])
    assert least > 600
    cli.ok(*words, "--memory", f"{least}MB")


def test_a_cut_scene_without_a_place_on_disk_is_refused(spots, source):
    labels = labels_of(spots)
    scene = cut_out(source, laid_out(spots))
    with pytest.raises(
        ConfigError, match=r"scene\.tif does not fit into memory, so its map needs a place on disk: give `out`"
    ):
        train(scene, on_canvas(scene, labels), recipe=get_recipe("default", steps=1), device="cpu")


def test_official_split_files_are_cut_together(spots, tmp_path):
    labels = labels_of(spots)
    halves = labels.restore(labels.index).astype(np.uint8)
    write_raster(tmp_path / "train.tif", np.where(np.arange(ROWS)[:, None] < 200, halves, 0).astype(np.uint8))
    write_raster(tmp_path / "test.tif", np.where(np.arange(ROWS)[:, None] < 200, 0, halves).astype(np.uint8))
    from patchfree.inputs import Reading, Ways

    scene, found, split = job_given(
        str(spots / "scene.tif"), None, (str(tmp_path / "train.tif"), str(tmp_path / "test.tif"), None),
        Reading(None, "", None, None, None, None, None, 1),
        ignore=(), ways=Ways(None, None, None, None), seed=0, model=RECIPES["default"].model, memory=too_little(spots),
    )  # fmt: skip
    assert len(scene.cut.places) == 3
    assert (found.index > 0).sum() == (labels.index > 0).sum()
    assert split.test.sum() == 800
