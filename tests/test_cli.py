"""What a user types does what it says: every command, every way to choose test pixels, every file of a run."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine

from conftest import UTM33, synthetic
from jobs import (
    METRES,
    NAMES,
    ORIGIN,
    PLACE,
    QUICK,
    RUN_FILES,
    VALUES,
    command,
    contents,
    read_json,
    read_log,
    sparse,
    write_raster,
    write_scene,
)
from patchfree import show
from patchfree.models.freenet_ensemble import MEMBERS
from patchfree.progress import Progress
from patchfree.run import load_run


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A finished run with everything that can be asked for; tests only look at it."""
    out = tmp_path_factory.mktemp("output") / "run"
    wanted = ["--probabilities", "--uncertainty", "--figures", "--refit", "--control", "svm", "--control", "rf"]
    command("train", files.scene, files.labels, "--out", out, "--steps", 8, "--device", "cpu", *wanted)
    return out


def split_codes(folder):
    with rasterio.open(folder / "split.tif") as source:
        return source.read(1)


def test_help_and_version_come_without_loading_torch():
    told = "import sys; from patchfree.cli import main; sys.argv = ['patchfree', '--help']\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    for name in ("demo", "info", "train", "map", "vectorize", "assess", "cite"):
        assert f"\n  {name} " in shown.stdout


def test_version_is_printed(cli):
    assert cli.ok("--version").startswith("patchfree 0.")


# --- info


def test_info_as_json_says_what_the_file_holds(cli, files):
    facts = json.loads(cli.ok("info", files.scene, "--json"))
    scene, _ = synthetic(noise=0.15)
    assert (facts["rows"], facts["columns"], facts["bands_in_file"], facts["bands_used"]) == (40, 48, 12, 12)
    assert facts["wavelengths_nm"] == list(scene.bands.wavelengths_nm)
    assert facts["wavelengths_increasing"] is True
    assert rasterio.crs.CRS.from_wkt(facts["crs"]).to_epsg() == 32633
    assert facts["pixel_size"] == [METRES, METRES]
    assert facts["pixels_with_data"] == facts["pixels"] == 40 * 48
    assert facts["value_min"] == pytest.approx(scene.values.min(), rel=1e-6)
    assert facts["value_max"] == pytest.approx(scene.values.max(), rel=1e-6)


def test_info_for_people_names_size_bands_position_and_assumptions(cli, files, tmp_path):
    shown = cli.ok("info", files.scene)
    for text in ("40 rows x 48 columns", "12 used of 12", "450.0 to 2400.0 nm", "EPSG:32633", "30 x 30 m"):
        assert text in shown
    scene, _ = synthetic()
    np.save(tmp_path / "bare.npy", scene.values.transpose(1, 2, 0))
    bare = cli.ok("info", tmp_path / "bare.npy")
    assert "not stated" in bare
    assert "The file states no wavelengths" in bare
    assert "not georeferenced" in bare


def test_info_shows_names_with_brackets_as_they_are(cli, tmp_path):
    scene, _ = synthetic()
    path = write_scene(tmp_path / "[red] of :tree:.tif", scene)
    assert "[red] of :tree:.tif" in cli.ok("info", path)


def test_info_counts_masked_pixels_and_dropped_bands(cli, tmp_path):
    scene, _ = synthetic()
    scene.values[:, :5] = -9
    facts = json.loads(
        cli.ok("info", write_scene(tmp_path / "s.tif", scene, nodata=-9), "--json", "--drop-bands", "1-2,12")
    )
    assert facts["pixels_with_data"] == 35 * 48
    assert facts["band_numbers"] == list(range(3, 12))
    assert facts["nodata"] == -9


# --- train: the files of a run


def test_run_folder_holds_the_documented_files_and_nothing_else(run):
    names = {p.name for p in run.iterdir()}
    assert names == RUN_FILES | {"probabilities.tif", "uncertainty.qml", "uncertainty.tif", "figures"}


def test_map_has_position_type_colours_names_and_values_as_given(run, files):
    with rasterio.open(run / "map.tif") as source:
        assert source.crs == rasterio.crs.CRS.from_string(UTM33)
        assert source.transform == PLACE
        assert source.dtypes == ("uint8",)
        assert source.nodata == 0
        colours = source.colormap(1)
        assert [colours[v][:3] for v in NAMES] == [(0, 0, 200), (120, 200, 0), (0, 90, 40)]
        tags = source.tags(ns="PATCHFREE")
        assert {v: tags[f"class_{v}"] for v in NAMES} == NAMES
        mapped = source.read(1)
    assert set(np.unique(mapped)) == set(NAMES)
    assert (mapped == files.truth).mean() > 0.9


def test_maps_of_a_run_are_cogs_that_say_how_they_were_made(run):
    made_by = read_json(run / "model.json")["weights_hash"]
    for name in ("map.tif", "probabilities.tif", "uncertainty.tif"):
        with rasterio.open(run / name) as source:
            assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            tags = source.tags(ns="PATCHFREE")
        assert tags.items() >= {"model_hash": made_by, "statistics": "scene"}.items()
    for name, renderer in (("map.qml", "paletted"), ("split.qml", "paletted"), ("uncertainty.qml", "singlebandpseudo")):
        assert f'<rasterrenderer type="{renderer}' in (run / name).read_text()


def test_class_names_stand_where_gdal_and_qgis_look(run):
    text = (run / "map.tif.aux.xml").read_text()
    names = text.split("<CategoryNames>")[1].split("</CategoryNames>")[0].split("</Category>")[:-1]
    assert {value: name.removeprefix("<Category>") for value, name in enumerate(names)} == (
        dict.fromkeys(range(15), "") | {0: "no data"} | NAMES
    )


def test_probabilities_sum_to_one_and_agree_with_the_map(run):
    with rasterio.open(run / "probabilities.tif") as source, rasterio.open(run / "map.tif") as mapped:
        chances = source.read()
        assert source.descriptions == tuple(NAMES.values())
        assert source.crs == mapped.crs
        np.testing.assert_allclose(chances.sum(0), 1, atol=1e-5)
        assert chances.min() >= 0
        np.testing.assert_array_equal(VALUES[chances.argmax(0) + 1], mapped.read(1))


def test_uncertainty_is_entropy_and_margin_between_0_and_1(run):
    with rasterio.open(run / "uncertainty.tif") as source, rasterio.open(run / "probabilities.tif") as chances:
        assert source.descriptions == ("entropy", "margin")
        entropy, margin = source.read()
        ranked = np.sort(chances.read(), axis=0)
    for layer in (entropy, margin):
        assert 0 <= layer.min() <= layer.max() <= 1
        assert np.ptp(layer) > 0.1
    np.testing.assert_allclose(margin, ranked[-1] - ranked[-2], atol=1e-6)


def test_split_tif_holds_the_pixels_that_the_metrics_count(run, files):
    codes = split_codes(run)
    counts = read_json(run / "metrics.json")["protocol"]["counts"]
    found = np.bincount(codes.ravel())[1:].tolist()
    assert found[:3] == [counts[k] for k in ("train", "validation", "test")]
    assert sum(found) == read_json(run / "metrics.json")["labels"]["pixels"]
    with rasterio.open(files.labels) as source:
        assert not codes[source.read(1) == 0].any()
    for number, entry in enumerate(counts["per_class"], 1):
        mine = np.bincount(codes[files.truth == VALUES[number]], minlength=5)[1:4]
        assert mine.tolist() == [entry["train"], entry["validation"], entry["test"]]


def test_metrics_hold_everything_promised(run):
    m = read_json(run / "metrics.json")
    assert {"split", "seed", "counts", "leak_audit"} <= m["protocol"].keys()
    assert m["protocol"]["leak_audit"]["shared_pixels"] == 0
    assert {"min_distance_px", "median_distance_px", "share_inside_receptive_field"} <= m["protocol"][
        "leak_audit"
    ].keys()
    for name in ("overall_accuracy", "average_accuracy", "kappa"):
        low, high = m["test"]["intervals"][name]
        assert low <= m["test"][name] <= high
    assert [entry["value"] for entry in m["test"]["per_class"]] == list(NAMES)
    for entry in m["test"]["per_class"]:
        assert {"precision", "recall", "f1", "iou", "support"} <= entry.keys()
    assert {"ece_before", "ece_after", "temperature"} <= m["calibration"].keys()
    assert m["seconds"]["train"] > 0
    assert m["seconds"]["predict"] > 0
    assert m["seconds"]["refit"] > 0
    assert m["peak_memory_bytes"] > 1e7
    assert {"patchfree", "torch", "numpy", "python"} <= m["versions"].keys()
    assert [c["name"] for c in m["controls"]] == ["svm", "rf"]
    assert m["command"].startswith("patchfree train ")


def test_confusion_counts_give_the_overall_accuracy(run):
    test = read_json(run / "metrics.json")["test"]
    counts = np.array(test["confusion"]["counts"])
    assert counts.sum() == test["pixels"]
    assert np.diag(counts).sum() / counts.sum() == pytest.approx(test["overall_accuracy"])
    assert counts.sum(1).tolist() == [entry["support"] for entry in test["per_class"]]


def test_model_files_hold_no_pickle(run):
    assert (run / "model.safetensors").read_bytes()[8:9] == b"{"
    facts = read_json(run / "model.json")
    assert [entry["value"] for entry in facts["legend"]] == list(NAMES)
    for name, data in contents(run).items():
        assert not data.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")), name


def test_log_has_one_record_a_step_of_each_phase(run):
    records, steps = read_log(run), 8 * len(MEMBERS)
    numbers = range(1, steps + 1)
    assert [(r["phase"], r["number"]) for r in records] == [(p, n) for p in ("estimate", "refit") for n in numbers]
    assert all(np.isfinite(r["loss"]) and r["seconds"] > 0 for r in records)


def test_figures_are_png_files_of_every_picture_and_chart(run):
    names = {p.stem for p in (run / "figures").iterdir()}
    assert names == {
        "scene", "map", "labels", "split", "errors", "uncertainty", "spectra", "training", "confusion", "reliability",
    }  # fmt: skip
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in (run / "figures").iterdir())


def test_pixels_without_data_are_0_in_map_and_split_and_nan_in_the_layers(cli, tmp_path):
    scene, labels = synthetic()
    scene.values[3, 10:20, 5:25] = -1000
    path = write_scene(tmp_path / "scene.tif", scene, nodata=-1000)
    truth = write_raster(tmp_path / "labels.tif", VALUES[labels.index].astype(np.uint8))
    out = tmp_path / "run"
    cli.ok("train", path, truth, "--out", out, "--probabilities", "--uncertainty", *QUICK)
    hole = np.zeros((40, 48), bool)
    hole[10:20, 5:25] = True
    with rasterio.open(out / "map.tif") as source:
        np.testing.assert_array_equal(source.read(1) == 0, hole)
    assert not split_codes(out)[hole].any()
    for name in ("probabilities.tif", "uncertainty.tif"):
        with rasterio.open(out / name) as source:
            np.testing.assert_array_equal(np.isnan(source.read()), np.broadcast_to(hole, (source.count, 40, 48)))


def test_summary_says_accuracy_and_where_the_map_lies(cli, files, tmp_path):
    shown = cli.ok("train", files.scene, files.labels, "--out", tmp_path / "run", "--steps", 6, "--control", "svm")
    accuracy = read_json(tmp_path / "run" / "metrics.json")["test"]["overall_accuracy"]
    assert f"Overall accuracy: {accuracy * 100:.1f} %" in shown
    assert "SVM (Gaussian kernel) on the same pixels" in shown
    assert str(tmp_path / "run" / "report.html") in shown


# --- train: ways of choosing test pixels


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"kind": "blocks", "size_px": 5, "buffer_px": 1}),
        (["--blocks", "8"], {"kind": "blocks", "size_px": 8}),
        (["--blocks", "8px", "--buffer", "2px"], {"kind": "blocks", "size_px": 8, "buffer_px": 2}),
        (["--blocks", "240m", "--buffer", "40m"], {"kind": "blocks", "size_px": 8, "buffer_px": 2}),
        (["--per-class", "20"], {"kind": "random", "per_class": 20}),
        (["--fraction", "0.2"], {"kind": "random", "fraction": 0.2}),
    ],
)
def test_test_pixels_are_chosen_as_asked(cli, files, tmp_path, options, expected):
    out = tmp_path / "run"
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK, *options)
    protocol = read_json(out / "metrics.json")["protocol"]
    assert expected.items() <= protocol["split"].items()
    assert protocol["optimistic"] is (expected["kind"] == "random")
    counts = protocol["counts"]
    assert min(counts["train"], counts["test"]) > 20
    if "per_class" in expected:
        assert all(e["train"] + e["validation"] == 20 for e in counts["per_class"])
    if "buffer_px" in expected:
        assert protocol["leak_audit"]["min_distance_px"] > expected["buffer_px"]


def test_official_split_trains_validates_and_tests_where_the_files_say(cli, files, tmp_path):
    parts = {}
    for number, name in enumerate(("train", "validation", "test")):
        part = np.zeros_like(files.truth)
        part[:, 16 * number : 16 * number + 16] = files.truth[:, 16 * number : 16 * number + 16]
        parts[name] = write_raster(tmp_path / f"{name}.tif", part)
    options = [word for name, path in parts.items() for word in (f"--{name}", path)]
    cli.ok("train", files.scene, "--out", tmp_path / "run", *QUICK, *options)
    np.testing.assert_array_equal(split_codes(tmp_path / "run"), np.repeat([1, 2, 3], 16)[None].repeat(40, 0))
    m = read_json(tmp_path / "run" / "metrics.json")
    assert m["protocol"]["split"]["kind"] == "files"
    assert m["calibration"]["validation_pixels"] == 640


def test_official_split_without_validation_file_sets_a_tenth_of_the_training_pixels_aside(cli, files, tmp_path):
    left, right = files.truth.copy(), files.truth.copy()
    left[:, 24:], right[:, :24] = 0, 0
    cli.ok(
        "train", files.scene, "--out", tmp_path / "run", *QUICK,
        "--train", write_raster(tmp_path / "a.tif", left), "--test", write_raster(tmp_path / "b.tif", right),
    )  # fmt: skip
    counts = read_json(tmp_path / "run" / "metrics.json")["protocol"]["counts"]
    assert counts["test"] == 40 * 24
    assert counts["validation"] == pytest.approx(96, abs=3)
    assert counts["train"] + counts["validation"] == 40 * 24


def test_class_to_ignore_may_be_missing_in_one_of_the_official_files(cli, files, tmp_path):
    left, right = files.truth.copy(), files.truth.copy()
    left[:, 24:], right[:, :24] = 0, 0
    right[right == 14] = 0
    cli.ok(
        "train", files.scene, "--out", tmp_path / "run", *QUICK, "--ignore-class", 14,
        "--train", write_raster(tmp_path / "a.tif", left), "--test", write_raster(tmp_path / "b.tif", right),
    )  # fmt: skip
    assert [e["value"] for e in read_json(tmp_path / "run" / "metrics.json")["test"]["per_class"]] == [1, 10]


def test_class_that_is_only_tested_is_never_mapped_until_the_refit(cli, files, tmp_path):
    left, right = files.truth.copy(), files.truth.copy()
    left[:, 24:], right[:, :24] = 0, 0
    left[left == 14] = 0
    official = ["--train", write_raster(tmp_path / "a.tif", left), "--test", write_raster(tmp_path / "b.tif", right)]
    cli.ok("train", files.scene, "--out", tmp_path / "once", *QUICK, *official)
    cli.ok("train", files.scene, "--out", tmp_path / "again", *QUICK, *official, "--refit")
    assert "have no training pixel" in " ".join(read_json(tmp_path / "once" / "metrics.json")["protocol"]["notes"])
    with rasterio.open(tmp_path / "once" / "map.tif") as once, rasterio.open(tmp_path / "again" / "map.tif") as again:
        assert 14 not in once.read(1)
        assert 14 in again.read(1)


# --- train: forms of labels


def squares(truth, size=8):
    """Pixel squares of one class each, as (row, column, class)."""
    found = [(r, c, truth[r, c]) for r in range(0, 40, size) for c in range(0, 48, size)]
    return [(r, c, int(v)) for r, c, v in found if (truth[r : r + 3, c : c + 3] == v).all()]


def test_polygons_of_a_geopackage_in_another_coordinate_system_label_the_pixels_below(cli, files, tmp_path):
    from rasterio.warp import transform

    places = squares(files.truth)
    shapes = []
    for r, c, _ in places:
        x = [ORIGIN[0] + METRES * v for v in (c, c + 3, c + 3, c)]
        y = [ORIGIN[1] - METRES * v for v in (r, r, r + 3, r + 3)]
        shapes.append(shapely.Polygon(list(zip(*transform(UTM33, "EPSG:4326", x, y), strict=True))))
    names = np.array([NAMES[v] for _, _, v in places], object)
    pyogrio.raw.write(
        tmp_path / "fields.gpkg", np.array([s.wkb for s in shapes], object), [names], ["cover"],
        geometry_type="Polygon", crs="EPSG:4326", layer="fields", driver="GPKG",
    )  # fmt: skip
    cli.ok(
        "train", files.scene, tmp_path / "fields.gpkg", "--class-field", "cover", "--fraction", 0.3,
        "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip
    m = read_json(tmp_path / "run" / "metrics.json")
    assert [e["name"] for e in m["test"]["per_class"]] == sorted(NAMES.values())
    assert m["labels"]["pixels"] == 9 * len(places)
    labelled = split_codes(tmp_path / "run") > 0
    assert all(labelled[r : r + 3, c : c + 3].all() for r, c, _ in places)


def test_points_of_geojson_text_label_the_pixels_they_fall_into(cli, files, tmp_path):
    from rasterio.warp import transform

    pixels = [(r, c) for r in range(0, 40, 3) for c in range(0, 48, 3)]
    x, y = transform(
        UTM33, "EPSG:4326", [ORIGIN[0] + METRES * (c + 0.5) for _, c in pixels],
        [ORIGIN[1] - METRES * (r + 0.5) for r, _ in pixels],
    )  # fmt: skip
    features = [
        {
            "type": "Feature",
            "properties": {"class": int(files.truth[r, c])},
            "geometry": {"type": "Point", "coordinates": [a, b]},
        }
        for (r, c), a, b in zip(pixels, x, y, strict=True)
    ]
    (tmp_path / "points.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    cli.ok("train", files.scene, tmp_path / "points.geojson", "--fraction", 0.5, "--out", tmp_path / "run", *QUICK)
    rows, cols = np.nonzero(split_codes(tmp_path / "run"))
    assert set(zip(rows.tolist(), cols.tolist(), strict=True)) == set(pixels)


@pytest.mark.parametrize("header", ["row,col,class", "x,y,class"])
def test_csv_of_points_labels_the_pixels_they_fall_into(cli, files, tmp_path, header):
    pixels = [(r, c) for r in range(1, 40, 3) for c in range(1, 48, 3)]
    lines = [header]
    for r, c in pixels:
        place = (
            f"{r},{c}"
            if header.startswith("row")
            else f"{ORIGIN[0] + METRES * (c + 0.5)},{ORIGIN[1] - METRES * (r + 0.5)}"
        )
        lines.append(f"{place},{files.truth[r, c]}")
    (tmp_path / "points.csv").write_text("\n".join(lines) + "\n")
    cli.ok("train", files.scene, tmp_path / "points.csv", "--fraction", 0.5, "--out", tmp_path / "run", *QUICK)
    rows, cols = np.nonzero(split_codes(tmp_path / "run"))
    assert set(zip(rows.tolist(), cols.tolist(), strict=True)) == set(pixels)


# --- train: how


@pytest.mark.parametrize("name", [10, "Meadow"])
def test_ignored_class_is_neither_trained_nor_mapped(cli, files, tmp_path, name):
    cli.ok("train", files.scene, files.labels, "--out", tmp_path / "run", *QUICK, "--ignore-class", name)
    with rasterio.open(tmp_path / "run" / "map.tif") as source:
        assert set(np.unique(source.read(1))) == {1, 14}


def test_another_network_takes_the_place_of_the_recipes(cli, files, tmp_path):
    chosen = ("--steps", 4, "--control", "none", "--model", "freenet-half")
    cli.ok("train", files.scene, files.labels, "--out", tmp_path / "run", *chosen)
    assert read_json(tmp_path / "run" / "model.json")["model"] == "freenet-half"
    message = (
        "changes between two dates .patchfree change.; for land cover there are freenet, freenet-ensemble, freenet-half, "
        "freenet-smooth, spectral"
    )
    cli.refused(2, message, "train", files.scene, files.labels, "--out", tmp_path / "other", "--model", "unet")
    assert not (tmp_path / "other").exists()


def test_paper_recipe_is_used_with_fewer_steps(cli, files, tmp_path):
    cli.ok("train", files.scene, files.labels, "--out", tmp_path / "run", *QUICK, "--recipe", "paper")
    recipe = read_json(tmp_path / "run" / "metrics.json")["recipe"]
    assert (recipe["optimiser"], recipe["schedule"], recipe["steps"], recipe["clip"]) == ("sgd", "poly", 6, 35.0)
    rates = [r["learning_rate"] for r in read_log(tmp_path / "run")]
    np.testing.assert_allclose(rates, [1e-3 * (1 - i / 6) ** 0.9 for i in range(6)])


def test_learning_rate_replaces_that_of_the_recipe(cli, files, tmp_path):
    cli.ok(
        "train", files.scene, files.labels, "--out", tmp_path / "run", *QUICK, "--recipe", "paper", "--learning-rate", 0.01
    )  # fmt: skip
    assert read_log(tmp_path / "run")[0]["learning_rate"] == 0.01


def test_seed_changes_split_and_weights_and_repeats_them(cli, files, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        cli.ok("train", files.scene, files.labels, "--out", tmp_path / name, *QUICK, "--seed", seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    for name in ("model.safetensors", "model.json", "map.tif", "split.tif"):
        assert a[name] == b[name], name
        if name != "model.json":
            assert a[name] != c[name], name


def test_no_control_is_trained_when_none_is_wanted(cli, files, tmp_path):
    cli.ok("train", files.scene, files.labels, "--out", tmp_path / "run", *QUICK)
    assert read_json(tmp_path / "run" / "metrics.json")["controls"] == []


def test_another_run_of_the_scene_stands_beside_this_one(cli, files, tmp_path):
    cli.ok("train", files.scene, files.labels, "--out", tmp_path / "random", *QUICK, "--fraction", 0.1)
    cli.ok("train", files.scene, files.labels, "--out", tmp_path / "blocks", *QUICK, "--beside", tmp_path / "random")
    html = (tmp_path / "blocks" / "report.html").read_text()
    assert "The same scene under other protocols" in html
    assert "random, 10 % of each class" in html
    assert "separate blocks of 5 px" in html


def test_run_of_another_scene_cannot_stand_beside_this_one(cli, run, tmp_path):
    scene, labels = synthetic(seed=3)
    path = write_scene(tmp_path / "other.tif", scene)
    truth = write_raster(tmp_path / "labels.tif", VALUES[labels.index].astype(np.uint8))
    cli.refused(2, "made on another scene", "train", path, truth, "--out", tmp_path / "run", *QUICK, "--beside", run)
    assert not (tmp_path / "run").exists()


# --- map


def test_mapping_the_training_scene_again_gives_the_map_of_the_run(cli, run, files, tmp_path):
    out = tmp_path / "new" / "map.tif"
    layers = ["--probabilities", tmp_path / "p.tif", "--uncertainty", tmp_path / "u.tif"]
    shown = cli.ok("map", run, files.scene, "--out", out, "--device", "cpu", *layers)
    assert f"Map: {out}" in shown
    assert out.read_bytes() == (run / "map.tif").read_bytes()
    assert (tmp_path / "p.tif").read_bytes() == (run / "probabilities.tif").read_bytes()
    assert (tmp_path / "u.tif").read_bytes() == (run / "uncertainty.tif").read_bytes()


def test_probabilities_are_written_as_zarr_where_the_name_says_so(cli, run, files, tmp_path):
    import xarray

    out = tmp_path / "p.zarr"
    words = ("map", run, files.scene, "--out", tmp_path / "m.tif", "--device", "cpu", "--probabilities", out)
    for _ in range(2):
        assert f"Probabilities: {out}" in cli.ok(*words)
    with rasterio.open(run / "probabilities.tif") as source:
        np.testing.assert_array_equal(xarray.open_zarr(out)["probability"], source.read())
    cli.refused(2, "only --probabilities can be written as Zarr", "map", run, files.scene, "--out", tmp_path / "m.zarr")
    (tmp_path / "mine.zarr").mkdir()
    cli.refused(2, "is a folder; --out must be a file", *words[:-1], tmp_path / "mine.zarr")


def test_two_outputs_in_one_file_are_refused_before_the_work(cli, files, tmp_path):
    out = tmp_path / "new" / "m.tif"  # no run is there either: that is not even looked at
    words = ("map", tmp_path / "run", files.scene, "--out", out, "--uncertainty", tmp_path / "new" / "." / "m.tif")
    cli.refused(2, "for --uncertainty and for --out; one would replace the other", *words)
    assert list(tmp_path.iterdir()) == []


def test_masks_that_were_asked_for_and_are_not_there_are_told(cli, run, files, tmp_path, capsys):
    said = cli.ok("map", run, files.scene, "--out", tmp_path / "m.tif", "--device", "cpu", "--mask", "snow")
    assert "Note: The scene has no quality mask snow, as --mask asks; it has none." in said
    assert "Note:" not in cli.ok("map", run, files.scene, "--out", tmp_path / "m.tif", "--device", "cpu")
    trained = load_run(run)
    trained.metrics["scene"]["mask_notes"] = ["The product lacks snow."]
    show.summary(trained)
    assert "Note: The product lacks snow." in capsys.readouterr().out


def test_zarr_without_its_package_is_refused_before_the_work(cli, run, files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    words = ("map", run, files.scene, "--out", tmp_path / "m.tif", "--probabilities", tmp_path / "p.zarr")
    cli.refused(2, r"needs the package zarr.*patchfree\[zarr\]", *words)
    assert list(tmp_path.iterdir()) == []


def test_another_scene_of_the_same_bands_is_mapped_at_its_own_place(cli, run, tmp_path):
    scene, _ = synthetic(noise=0.15, rows=33, cols=61)
    moved = Affine(METRES, 0, ORIGIN[0] + 15_000, 0, -METRES, ORIGIN[1] - 6_000)
    path = write_scene(tmp_path / "other.tif", scene, transform=moved)
    cli.ok("map", run, path, "--out", tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.shape == (33, 61)
        assert source.transform == moved
        assert set(np.unique(source.read(1))) <= set(NAMES)


def test_bands_in_another_order_are_matched_by_wavelength(cli, run, files, tmp_path):
    scene, _ = synthetic(noise=0.15)
    order = np.random.default_rng(0).permutation(12).tolist()
    path = write_scene(tmp_path / "shuffled.tif", scene, order=order)
    cli.ok("map", run, path, "--out", tmp_path / "map.tif", "--device", "cpu")
    assert (tmp_path / "map.tif").read_bytes() == (run / "map.tif").read_bytes()


def test_scene_with_another_number_of_bands_and_no_wavelengths_is_refused(cli, run, tmp_path):
    scene, _ = synthetic(noise=0.15)
    path = write_scene(tmp_path / "fewer.tif", scene, order=range(11), wavelengths=False)
    cli.refused(2, "has 11 bands .* that of the run had 12", "map", run, path, "--out", tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()


def test_scene_with_other_wavelengths_is_refused_with_both_numbers(cli, run, tmp_path):
    scene, _ = synthetic(noise=0.15, bands=10)
    path = write_scene(tmp_path / "other.tif", scene)
    cli.refused(2, r"needs a band at [\d.]+ nm, and the nearest", "map", run, path, "--out", tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()


# --- assess


def test_assess_gives_the_same_counts_as_the_run_where_the_run_tested(cli, files, tmp_path):
    out = tmp_path / "run"
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK)
    tested = np.where(split_codes(out) == 3, files.truth, 0).astype(np.uint8)
    reference = write_raster(tmp_path / "tested.tif", tested)
    found = json.loads(cli.ok("assess", out / "map.tif", reference, "--json", "--blocks", 5))
    expected = read_json(out / "metrics.json")["test"]
    for key in ("overall_accuracy", "average_accuracy", "kappa", "confusion", "per_class", "intervals"):
        assert found[key] == expected[key], key


def test_assess_says_how_many_reference_pixels_trained_the_map(cli, run, files, tmp_path):
    # The run was refitted on all labels.
    pixels = int((split_codes(run) > 0).sum())
    assert f"Caution: {pixels:,} of the {pixels:,} reference pixels trained this map" in cli.ok(
        "assess", run / "map.tif", files.labels
    )
    elsewhere = tmp_path / "map.tif"
    elsewhere.write_bytes((run / "map.tif").read_bytes())
    assert "Caution" not in cli.ok("assess", elsewhere, files.labels)


def test_assess_knows_the_test_pixels_of_a_run_that_was_not_refitted(cli, files, tmp_path):
    cli.ok("train", files.scene, files.labels, "--out", tmp_path, *QUICK)
    tested = np.where(split_codes(tmp_path) == 3, files.truth, 0).astype(np.uint8)
    reference = write_raster(tmp_path / "tested.tif", tested)
    assert "Caution" not in cli.ok("assess", tmp_path / "map.tif", reference)
    assert "reference pixels trained this map" in cli.ok("assess", tmp_path / "map.tif", files.labels)


def test_assess_for_people_shows_names_accuracies_and_intervals(cli, run, files):
    shown = cli.ok("assess", run / "map.tif", files.labels)
    for name in NAMES.values():
        assert name in shown
    assert "Overall accuracy: " in shown
    assert "--design stratified" in shown


def test_design_based_areas_add_up_to_the_map(cli, run, files, tmp_path):
    with rasterio.open(run / "map.tif") as source:
        mapped = source.read(1)
    sample = write_raster(tmp_path / "sample.tif", sparse(files.truth, share=0.2, seed=5))
    words = ("assess", run / "map.tif", sample, "--design", "stratified")
    found = json.loads(cli.ok(*words, "--json"))["design"]
    assert found["total_area"] == pytest.approx(mapped.size * METRES**2 / 10_000)
    assert sum(e["area"]["value"] for e in found["per_class"]) == pytest.approx(found["total_area"])
    assert 0.8 < found["overall_accuracy"]["value"] <= 1
    assert "Whole map, stratified random sample" in cli.ok(*words)


def test_assess_refuses_an_unknown_design(cli, run, files):
    cli.refused(2, "need none or stratified", "assess", run / "map.tif", files.labels, "--design", "simple")


def test_a_map_is_never_written_over_its_own_scene(cli, run, tmp_path):
    scene, _ = synthetic(noise=0.15)
    path = write_scene(tmp_path / "scene.tif", scene)
    before = path.read_bytes()
    cli.refused(2, "belongs to the scene .* would be overwritten", "map", run, path, "--out", path)
    cli.refused(2, "is a folder; --out must be a file", "map", run, path, "--out", tmp_path)
    assert path.read_bytes() == before


def test_a_scene_in_other_units_is_refused_and_not_mapped_in_silence(cli, run, tmp_path):
    scene, _ = synthetic(noise=0.15)
    path = write_scene(tmp_path / "scaled.tif", dataclasses.replace(scene, values=scene.values * np.float32(10_000)))
    cli.refused(2, "standard deviations apart.* other units", "map", run, path, "--out", tmp_path / "map.tif")


def test_without_a_terminal_each_tenth_is_a_line_and_a_single_step_is_one(capsys):
    with show.progress() as tell:
        for done in range(101):
            tell("field", Progress("estimate", done, 100, loss=0.5))
        for done in (0, 1):
            tell("field", Progress("report", done, 1))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["field: training 0/100 loss 0.500", "field: training 10/100 loss 0.500"]
    assert lines[10:] == ["field: training 100/100 loss 0.500", "field: writing the report"]
