"""Training on several scenes: one canvas for labels and accuracies, one pass of the network for each scene."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from conftest import synthetic
from jobs import ORIGIN, QUICK, VALUES, contents, read_json, read_log, short, sparse, write_raster, write_scene
from patchfree.errors import BandMismatch, ConfigError, LabelError, RunError, SceneError
from patchfree.fit import Trainer
from patchfree.io.gdal import open_raster
from patchfree.labels import make_labels
from patchfree.lists import is_list, read_pairs
from patchfree.losses import masked_cross_entropy
from patchfree.models import trained_model
from patchfree.models._statistics import Recording
from patchfree.predict import predict_scores
from patchfree.run import learnt_pixels, load_run
from patchfree.scene import Bands, Grid
from patchfree.series import GAP, join_labels, join_scenes, scenes_of
from patchfree.split import Split, leak_audit
from patchfree.standardise import Standardisation
from patchfree.training import Outputs, train

CPU = torch.device("cpu")
SHAPES = ((30, 26), (17, 41))


def pairs(seeds=(1, 2), shapes=SHAPES, **more):
    """Scenes of one sensor with other fields in each, and their labels."""
    made = [synthetic(rows=h, cols=w, noise=0.15, seed=0, **more) for h, w in shapes]
    rng = np.random.default_rng(seeds)
    return [
        (
            dataclasses.replace(
                scene, name=f"flight {i}.tif", values=scene.values + rng.normal(0, 0.01, 1)[0].astype("f4")
            ),
            labels,
        )
        for i, (scene, labels) in enumerate(made, 1)
    ]


# --- the canvas


def test_scenes_lie_on_the_canvas_apart_and_unchanged():
    scenes = [scene for scene, _ in pairs()]
    scenes[1].valid[3:5, 7] = False
    series = join_scenes(scenes)
    first, second = series.windows
    assert second[0].start - first[0].stop >= GAP or second[1].start - first[1].stop >= GAP
    for window, scene, back in zip(series.windows, scenes, series.scenes, strict=True):
        np.testing.assert_array_equal(series.values[:, *window], scene.values)
        np.testing.assert_array_equal(back.values, scene.values)
        np.testing.assert_array_equal(back.valid, scene.valid)
        assert back.grid is scene.grid
    assert series.valid.sum() == sum(scene.valid.sum() for scene in scenes)
    assert [member.name for member in series.members] == ["flight-1", "flight-2"]
    assert series.fingerprint() != join_scenes(scenes[::-1]).fingerprint()


def test_one_scene_stays_what_it_is():
    scene, labels = pairs()[0]
    assert join_scenes([scene]) is scene
    assert scenes_of([scene], [labels]) == (scene, labels)
    assert scene.scenes == (scene,)


def test_scenes_of_one_name_get_names_of_their_own():
    scenes = [dataclasses.replace(scene, name="a b.tif") for scene, _ in pairs(shapes=((8, 8),) * 3)]
    assert [member.name for member in join_scenes(scenes).members] == ["a-b", "a-b-2", "a-b-3"]


def test_bands_are_matched_by_wavelength_and_those_that_one_lacks_are_dropped():
    (one, _), (two, _) = pairs()
    turned = two.select([3, 1, 0, 2, *range(4, 12)])
    turned = dataclasses.replace(turned, bands=dataclasses.replace(turned.bands, numbers=tuple(range(1, 13))))
    np.testing.assert_array_equal(join_scenes([one, turned]).values, join_scenes([one, two]).values)
    less = two.select([i for i in range(12) if i != 5])
    series = join_scenes([one, less])
    assert series.bands.numbers == tuple(n for n in range(1, 13) if n != 6)
    assert "1 bands that one of the scenes lacks were dropped from all." in series.notes
    np.testing.assert_array_equal(series.scenes[1].values, less.values)


@pytest.mark.parametrize(
    "bands",
    [
        Bands(tuple(range(1, 13)), 12, tuple(np.linspace(460.0, 2300.0, 12))),
        Bands(tuple(range(1, 13)), 14),
    ],
)
def test_scenes_with_other_bands_are_refused(bands):
    (one, _), (two, _) = pairs()
    if not bands.wavelengths_nm:
        one = dataclasses.replace(one, bands=dataclasses.replace(one.bands, wavelengths_nm=None))
    with pytest.raises(
        BandMismatch, match=r"flight 2\.tif and flight 1\.tif are not of one sensor: they share \d+ of 12"
    ) as refused:
        join_scenes([one, dataclasses.replace(two, bands=bands)])
    assert "List scenes of one sensor" in str(refused.value)
    assert "--resample" not in str(refused.value)  # train has no such option
    assert "the run" not in str(refused.value)
    assert ("states no wavelengths" in str(refused.value)) == (bands.wavelengths_nm is None)


def test_a_scene_that_is_sampled_more_coarsely_is_refused():
    (one, _), (two, _) = pairs()
    close = dataclasses.replace(one.bands, wavelengths_nm=tuple(500.0 + i for i in range(12)))
    coarse = dataclasses.replace(two.bands, wavelengths_nm=tuple(500.0 + 2 * i for i in range(12)))
    with pytest.raises(BandMismatch, match=r"sampled more coarsely than flight 1\.tif.*List scenes of one sensor"):
        join_scenes([dataclasses.replace(one, bands=close), dataclasses.replace(two, bands=coarse)])


def test_scenes_in_other_units_are_refused():
    (one, _), (two, _) = pairs()
    with pytest.raises(SceneError, match=r"flight 1\.tif has a mean value .* probably in other units"):
        join_scenes([one, dataclasses.replace(two, values=two.values * 10_000)])


def test_no_scene_and_labels_that_do_not_fit_are_refused():
    (one, first), (two, second) = pairs()
    with pytest.raises(ConfigError, match="Got no scene"):
        join_scenes([])
    series = join_scenes([one, two])
    with pytest.raises(LabelError, match="Got 1 label rasters for 2 scenes"):
        join_labels(series, [first])
    with pytest.raises(LabelError, match=r"labels of flight-1 have \(17, 41\) pixels, the scene has \(30, 26\)"):
        join_labels(series, [second, first])
    with pytest.raises(ConfigError, match="as many labels as scenes"):
        scenes_of([one, two], first)


def test_classes_are_matched_by_name_or_value_and_never_mixed_up():
    scenes = [scene for scene, _ in pairs(shapes=((6, 6), (6, 6)))]
    series = join_scenes(scenes)
    one = make_labels(np.full((6, 6), 3), names={3: "corn"})
    values = np.where(np.arange(36).reshape(6, 6) % 2, 3, 7)
    two = make_labels(values, names={3: "soy", 7: "Corn"})
    found = join_labels(series, [one, two])
    assert {entry.name: int(n) for entry, n in zip(found.legend, found.counts, strict=True)} == {"corn": 54, "soy": 18}
    np.testing.assert_array_equal(found.restore(found.index)[series.windows[1]] == 3, values == 7)
    with pytest.raises(LabelError, match=r"labels of flight-2 call class 3 'soy', those of a scene before it 'corn'"):
        join_labels(series, [one, make_labels(np.full((6, 6), 3), names={3: "soy"})])


def test_between_two_scenes_there_is_no_distance():
    shape, windows = (10, 40), [(slice(0, 10), slice(0, 10)), (slice(0, 10), slice(30, 40))]
    train, test = np.zeros(shape, bool), np.zeros(shape, bool)
    train[5, 9], test[5, 2], test[5, 31], test[5, 35] = True, True, True, True
    split = Split(train, np.zeros_like(train), test)
    audit = leak_audit(split, reach=7, whole_scene=False, grid=Grid(*shape), windows=windows)
    assert (audit["min_distance_px"], audit["tests_apart"]) == (7, 2)
    assert audit["share_inside_receptive_field"] == pytest.approx(1 / 3, abs=1e-4)
    split.test[5, 2] = False
    apart = leak_audit(split, reach=7, whole_scene=False, grid=Grid(*shape), windows=windows)
    assert (apart["min_distance_px"], apart["share_inside_receptive_field"], apart["tests_apart"]) == (None, 0, 2)


# --- training


def trainer(series, labels, train, **more):
    standard = Standardisation.of(series)
    given = {"recipe": short(4), "seed": 3, "device": CPU, "windows": series.windows} | more
    return Trainer(
        standard.apply(series),
        series.valid,
        labels.index,
        train=train,
        val=np.zeros_like(train),
        classes=len(labels.legend),
        **given,
    )


def test_a_step_has_the_gradient_of_the_mean_loss_over_the_pixels_of_all_scenes():
    series, labels = scenes_of(*zip(*pairs(), strict=True))
    train = (labels.index > 0) & (np.random.default_rng(0).random(labels.index.shape) < 0.3)
    recipe = dataclasses.replace(short(4, "paper"), sampling="all", clip=1e9)
    made = trainer(series, labels, train, recipe=recipe)
    model, standard = made.model, Standardisation.of(series)
    total, count = 0.0, 0
    for scene, window in zip(series.scenes, series.windows, strict=True):
        pixels = np.flatnonzero(train[window])
        scores = model(torch.from_numpy(standard.apply(scene))[None])[0]
        classes = torch.from_numpy(labels.index[window].ravel()[pixels].astype(np.int64) - 1)
        total = total + masked_cross_entropy(scores, torch.from_numpy(pixels), classes) * len(pixels)
        count += len(pixels)
    (total / count).backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    step = next(made.run())
    assert step.loss == pytest.approx(float(total.detach() / count), rel=1e-5)
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, atol=1e-5, rtol=1e-3)


def test_a_scene_without_a_pixel_in_the_step_is_not_looked_at(monkeypatch):
    series, labels = scenes_of(*zip(*pairs(), strict=True))
    train = np.zeros(series.grid.shape, bool)
    train[series.windows[1]] = True
    made, seen = trainer(series, labels, train), []
    real = Trainer._loss
    monkeypatch.setattr(
        Trainer, "_loss", lambda self, group: seen.extend(piece.number for piece, *_ in group) or real(self, group)
    )
    next(made.run())
    assert seen == [1]


def job(out, progress=None, **more):
    scenes, labels = zip(*pairs(), strict=True)
    options = {"recipe": short(5), "controls": (), "device": "cpu", "refit": True} | more
    return train(scenes, labels, out=out, progress=progress, **options)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    out = tmp_path_factory.mktemp("series")
    job(out, outputs=Outputs(probabilities=True, figures=True))
    return out


def test_each_scene_gets_its_own_map_as_the_run_alone_makes_it(straight, tmp_path):
    run = load_run(straight)
    assert not (straight / "map.tif").exists()
    for (scene, labels), name in zip(pairs(), ("flight-1", "flight-2"), strict=True):
        folder = straight / "scenes" / name
        found = run.predict(scene)
        with open_raster(folder / "map.tif") as file:
            np.testing.assert_array_equal(file.read(1), found.values)
        found.save_map(tmp_path / "map.tif")
        assert (tmp_path / "map.tif").read_bytes() == (folder / "map.tif").read_bytes()
        with open_raster(folder / "probabilities.tif") as file:
            np.testing.assert_allclose(file.read(), found.probabilities, atol=1e-6)
        learnt = learnt_pixels(folder / "map.tif")
        np.testing.assert_array_equal(learnt, labels.index > 0)  # a refit learns all


def test_metrics_say_what_holds_for_each_scene(straight):
    metrics = read_json(straight / "metrics.json")
    counts = metrics["protocol"]["counts"]
    assert metrics["scene"]["name"] == "2 scenes (flight-1, flight-2)"
    assert [(one["rows"], one["columns"]) for one in metrics["scenes"]] == list(SHAPES)
    for name in ("train", "validation", "test"):
        assert sum(one["counts"][name] for one in metrics["scenes"]) == counts[name]
    shares = [(one["counts"]["test"], one["test"]["overall_accuracy"]) for one in metrics["scenes"]]
    assert sum(n * a for n, a in shares) / sum(n for n, _ in shares) == pytest.approx(
        metrics["test"]["overall_accuracy"]
    )
    assert "flight-2" in (straight / "report.html").read_text()


def test_statistics_of_the_run_are_pooled_over_its_scenes(straight):
    run = load_run(straight)
    model = trained_model(run.model, run.weights, bands=12, classes=3, device=CPU)
    each = []
    for scene, _ in pairs():
        recording = Recording()
        predict_scores(model, run.standardisation.apply(scene), scene.valid, device=CPU, statistics=recording)
        each.append((scene.valid.sum(), recording.values))
    (n, one), (m, two) = each
    name = "stem_norm"
    mean = (n * one[f"{name}.mean"] + m * two[f"{name}.mean"]) / (n + m)
    np.testing.assert_allclose(run.statistics[f"{name}.mean"], mean, rtol=1e-5, atol=1e-6)
    square = sum(k * (part[f"{name}.variance"] + part[f"{name}.mean"] ** 2) for k, part in ((n, one), (m, two))) / (
        n + m
    )
    np.testing.assert_allclose(run.statistics[f"{name}.variance"], square - mean**2, rtol=1e-4, atol=1e-6)


class Stopped(Exception):
    pass


def test_interrupted_training_on_several_scenes_goes_on_with_the_same_bits(straight, tmp_path):
    def tell(state):
        if (state.phase, state.done) == ("refit", 2):
            raise Stopped

    with pytest.raises(Stopped):
        job(tmp_path, tell, outputs=Outputs(probabilities=True, figures=True))
    job(tmp_path, outputs=Outputs(probabilities=True, figures=True))
    names = {
        "model.safetensors",
        "item.json",
        *(f"scenes/flight-{i}/{n}.tif" for i in (1, 2) for n in ("map", "split")),
    }
    ours, theirs = contents(tmp_path), contents(straight)
    assert {name for name in names if ours[name] != theirs[name]} == set()
    assert ours.keys() == theirs.keys()


def test_a_finished_run_of_several_scenes_gets_what_it_lacks(straight, tmp_path):
    out = shutil.copytree(straight, tmp_path / "run")
    job(out, outputs=Outputs(uncertainty=True))
    for name in ("flight-1", "flight-2"):
        assert (out / "scenes" / name / "uncertainty.tif").is_file()
    assert "flight-2/uncertainty" in read_json(out / "item.json")["assets"]


def test_a_run_of_one_scene_in_the_folder_is_replaced_whole(straight, tmp_path):
    scene, labels = pairs()[0]
    more = {"recipe": short(2), "controls": (), "device": "cpu"}
    train(scene, labels, out=tmp_path, **more)
    with pytest.raises(RunError, match="another scene"):
        job(tmp_path)
    job(tmp_path, outputs=Outputs(overwrite=True))
    assert not (tmp_path / "map.tif").exists()
    train(scene, labels, out=tmp_path, outputs=Outputs(overwrite=True), **more)
    assert not (tmp_path / "scenes").exists()


# --- files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two flights on disk, the second 5 km to the east."""
    folder = tmp_path_factory.mktemp("flights")
    for number, (scene, labels) in enumerate(pairs(), 1):
        place = Affine(30, 0, ORIGIN[0] + 5000 * (number - 1), 0, -30, ORIGIN[1])
        write_scene(folder / f"scene{number}.tif", scene, transform=place)
        write_raster(
            folder / f"labels{number}.tif", sparse(VALUES[labels.index].astype(np.uint8), 0.6), transform=place
        )
    table(folder / "flights.csv", "scene,labels", "scene1.tif,labels1.tif", "scene2.tif,labels2.tif")
    return folder


def table(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_list_of_scenes_trains_one_run_with_a_map_for_each(cli, files, tmp_path):
    said = cli.ok("train", files / "flights.csv", "--out", tmp_path / "run", *QUICK)
    for number in (1, 2):
        path = tmp_path / "run" / "scenes" / f"scene{number}" / "map.tif"
        assert f"Map: {path}" in said
        assert f"scene{number}: " in said
        with rasterio.open(path) as made, rasterio.open(files / f"scene{number}.tif") as source:
            assert (made.transform, made.crs, made.shape) == (source.transform, source.crs, source.shape)
        out = tmp_path / f"{number}.tif"
        cli.ok("map", tmp_path / "run", files / f"scene{number}.tif", "--out", out, "--device", "cpu")
        assert out.read_bytes() == path.read_bytes()
    item = read_json(tmp_path / "run" / "item.json")
    assert item["geometry"]["type"] == "MultiPolygon"
    assert {"scene1/map", "scene2/map"} <= item["assets"].keys()
    assert all((tmp_path / "run" / asset["href"]).is_file() for asset in item["assets"].values())
    assert cli.ok("assess", tmp_path / "run/scenes/scene1/map.tif", files / "labels1.tif").count("trained") >= 1
    assert cli.ok("cite", tmp_path / "run")


def test_whole_scenes_can_be_kept_for_the_test(cli, files, tmp_path):
    path = table(files / "held.csv", "scene,labels,use", "scene1.tif,labels1.tif,train", "scene2.tif,labels2.tif,test")
    said = cli.ok("train", path, "--out", tmp_path, *QUICK)
    assert "(separate scenes)" in said
    metrics = read_json(tmp_path / "metrics.json")
    first, second = metrics["scenes"]
    assert first["counts"]["test"] == second["counts"]["train"] == second["counts"]["validation"] == 0
    assert metrics["protocol"]["split"]["kind"] == "scenes"
    assert metrics["protocol"]["leak_audit"]["tests_apart"] == second["counts"]["test"] > 0
    assert "Whole scenes were kept apart" in (tmp_path / "report.html").read_text()
    cli.refused(
        2, "column `use` which scenes test; leave out", "train", path, "--out", tmp_path / "b", "--fraction", 0.1
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("scene,labels", "scene1.tif,"), r"Line 2 of .* lacks the labels"),
        (
            ("scene,labels,use", "scene1.tif,labels1.tif,train", "scene2.tif,labels2.tif,"),
            "Some lines of .* fill the column",
        ),
        (("scene,labels,use", "scene1.tif,labels1.tif,learn"), "has the use 'learn'; need train, validation, test"),
        (("scene,labels,use", "scene1.tif,labels1.tif,train"), "No scene of the list is for test"),
        (("scene,labels", "gone.tif,labels1.tif"), "gone.tif"),
        (("scene,labels", "scene1.tif,labels2.tif"), "labels"),
    ],
)
def test_bad_lists_are_refused(cli, files, tmp_path, lines, message):
    path = table(files / "bad.csv", *lines)
    cli.refused(2, message, "train", path, "--out", tmp_path / "run", *QUICK)
    assert not (tmp_path / "run").exists()


def test_files_of_a_list_lie_beside_it(tmp_path):
    path = table(tmp_path / "list.csv", "Scene, Labels", "a.mat:cube, b.tif")
    (pair,) = read_pairs(path)
    assert (pair.scene, pair.labels, pair.use) == (str(tmp_path / "a.mat:cube"), str(tmp_path / "b.tif"), None)
    with pytest.raises(ConfigError, match="is no list of scenes"):
        read_pairs(table(tmp_path / "other.csv", "a,b", "1,2"))


@pytest.mark.parametrize("apart", [",", " ", "\t"])
def test_a_list_of_files_that_are_there_needs_no_first_line(tmp_path, apart):
    for name in ("scene", "a.tif", "b.tif", "c.tif"):
        (tmp_path / name).touch()
    path = table(tmp_path / "list.txt", apart.join(("scene", "a.tif")), "", apart.join(("b.tif", "c.tif")))
    assert is_list(path)
    first, second = read_pairs(path)
    assert (first.scene, first.labels, first.use) == (str(tmp_path / "scene"), str(tmp_path / "a.tif"), None)
    assert (second.scene, second.labels) == (str(tmp_path / "b.tif"), str(tmp_path / "c.tif"))
    path = table(tmp_path / "list.txt", apart.join(("a.tif", "b.tif", "test")), apart.join(("b.tif", "c.tif", "learn")))
    assert is_list(path)
    with pytest.raises(ConfigError, match=r"Line 2 of .* has the use 'learn'"):
        read_pairs(path)
    (tmp_path / "a.tif").unlink()
    assert not is_list(path)
    path = table(tmp_path / "list.txt", apart.join(("image", "label", "use")), apart.join(("b.tif", "c.tif", "test")))
    assert is_list(path)
    assert [pair.use for pair in read_pairs(path)] == ["test"]


# --- several processes


def torchrun(count, *words):
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return subprocess.run(
        [*started, "-m", "patchfree", *map(str, words)], capture_output=True, text=True, timeout=280, check=False
    )


def test_two_processes_make_the_steps_of_one(cli, files, tmp_path):
    words = _shared(files)
    cli.ok(*words, "--out", tmp_path / "one")
    done = torchrun(2, *words, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Report: ") == 1
    one, two = (read_log(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_allclose([s["loss"] for s in two], [s["loss"] for s in one], rtol=1e-4)
    assert [(s["phase"], s["number"]) for s in two] == [(s["phase"], s["number"]) for s in one]
    first, second = (load_run(tmp_path / name) for name in ("one", "two"))
    for name, value in first.weights.items():
        np.testing.assert_allclose(second.weights[name], value, atol=1e-4, rtol=1e-3)
    assert second.metrics["processes"] == 2


def _shared(files):
    quick = ("--steps", 6, "--control", "none", "--device", "cpu")
    return ("train", files / "flights.csv", *quick, "--refit", "--recipe", "paper")


@pytest.mark.slow
def test_two_processes_find_what_they_have_finished(files, tmp_path):
    words = (*_shared(files), "--out", tmp_path / "two")
    for training in (True, False):
        done = torchrun(2, *words)
        assert done.returncode == 0, done.stderr
        assert ("training" in done.stderr) == training


def test_more_processes_than_scenes_are_refused(files, tmp_path):
    done = torchrun(2, "train", files / "scene1.tif", files / "labels1.tif", "--out", tmp_path / "run", *QUICK)
    assert done.returncode != 0
    assert "torchrun started 2 processes to share 1 scene." in done.stderr
    assert not (tmp_path / "run").exists()
