"""Bad input is refused with what was got, what is needed and what to do; no traceback, and nothing is written or lost."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
import scipy.io
import shapely

from conftest import synthetic
from jobs import (
    ORIGIN,
    PLACE,
    QUICK,
    VALUES,
    contents,
    read_json,
    sparse,
    write_raster,
    write_scene,
)

ENVI_TYPES = {"f4": 4, "c8": 6, "i2": 2}


@pytest.fixture(scope="module")
def cube():
    return synthetic(noise=0.15)[0].values


def write_envi(path, cube, *, interleave="bsq", dtype="f4", lines=None, wavelengths=True):
    """A BSQ binary and its header, written by hand."""
    bands, rows, cols = cube.shape
    path.with_suffix(".img").write_bytes(cube.astype(f"<{dtype}").tobytes())
    text = ["ENVI", f"samples = {cols}", f"lines = {lines or rows}", f"bands = {bands}", "header offset = 0"]
    text += [f"data type = {ENVI_TYPES[dtype]}", f"interleave = {interleave}", "byte order = 0"]
    if wavelengths:
        listed = ", ".join(f"{v:.2f}" for v in np.linspace(450, 2400, bands))
        text += ["wavelength units = Nanometers", f"wavelength = {{{listed}}}"]
    path.write_text("\n".join(text) + "\n")
    return path


def truncated(tmp_path, cube):
    path = write_envi(tmp_path / "s.hdr", cube)
    binary = path.with_suffix(".img")
    binary.write_bytes(binary.read_bytes()[:-1000])
    return path


def python_text(tmp_path, cube):
    np.save(tmp_path / "s.npy", np.full((40, 48, 12), "0.5"))
    return tmp_path / "s.npy"


def objects(tmp_path, cube):
    np.save(tmp_path / "s.npy", np.full((40, 48, 12), {}, object), allow_pickle=True)
    return tmp_path / "s.npy"


def all_nodata(tmp_path, cube):
    scene, _ = synthetic()
    scene.values[:] = -9999
    return write_scene(tmp_path / "s.tif", scene, nodata=-9999)


def complex_tiff(tmp_path, cube):
    with rasterio.open(
        tmp_path / "s.tif", "w", driver="GTiff", height=40, width=48, count=2, dtype="complex64", transform=PLACE
    ) as target:
        target.write(cube[:2].astype("complex64"))
    return tmp_path / "s.tif"


def one_band(tmp_path, cube):
    np.save(tmp_path / "s.npy", cube[0])
    return tmp_path / "s.npy"


def two_arrays(tmp_path, cube):
    scipy.io.savemat(tmp_path / "s.mat", {"a": cube.transpose(1, 2, 0), "b": cube.transpose(1, 2, 0)})
    return tmp_path / "s.mat"


def a_table(tmp, cube):
    (tmp / "points.csv").write_text("row,col,class\n1,1,a\n")
    return tmp / "points.csv"


def not_a_raster(tmp_path, cube):
    (tmp_path / "s.tif").write_text("no picture")
    return tmp_path / "s.tif"


def headless(tmp_path, cube):
    (tmp_path / "s.hdr").write_text("samples = 3\n")
    (tmp_path / "s.img").write_bytes(b"")
    return tmp_path / "s.hdr"


SCENES = {
    "missing file": (lambda tmp, cube: tmp / "no.tif", r"no\.tif does not exist\. The folder .* Check the path"),
    "truncated ENVI binary": (truncated, r"is truncated: it has \d+ bytes, and s\.hdr needs \d+ .* Copy the file again"),
    "header and binary disagree": (
        lambda tmp, cube: write_envi(tmp / "s.hdr", cube, lines=39),
        r"larger than its header says.* Correct lines, samples, bands, data type or header offset",
    ),
    "unknown interleave": (
        lambda tmp, cube: write_envi(tmp / "s.hdr", cube, interleave="bxq"),
        "unknown interleave 'bxq'; need bsq, bil or bip",
    ),
    "no ENVI header": (headless, "is no ENVI header: its first line must be 'ENVI'"),
    "complex ENVI": (
        lambda tmp, cube: write_envi(tmp / "s.hdr", cube, dtype="c8"),
        r"holds complex numbers \(complex64\); patchfree needs real numbers",
    ),
    "complex GeoTIFF": (complex_tiff, "holds complex numbers .* Convert it first"),
    "text": (python_text, "holds text .* patchfree needs real numbers"),
    "Python objects": (objects, "holds (Python )?objects"),
    "all nodata": (all_nodata, "all 12 bands are without data or flagged bad.* Check the nodata value"),
    "one band": (one_band, "has one usable band; .* needs at least 2"),
    "two arrays that fit": (two_arrays, r"several arrays that fit: .* Name the one you mean as s\.mat:"),
    "a table": (a_table, r"holds polygons, points or a table.* Labels come last: patchfree train SCENE LABELS"),
    "no raster": (not_a_raster, r"cannot be opened as a raster: .* check that the file is complete"),
}  # fmt: skip


@pytest.mark.parametrize("what", SCENES)
def test_scene_that_cannot_be_used_is_refused(cli, files, cube, tmp_path, what):
    make, message = SCENES[what]
    scene = make(tmp_path, cube)
    cli.refused(2, message, "train", scene, files.labels, "--out", tmp_path / "run", *QUICK)
    assert contents(tmp_path / "run") == {}


@pytest.mark.parametrize("what", [name for name in SCENES if name != "one band"])
def test_info_refuses_what_train_refuses(cli, cube, tmp_path, what):
    make, message = SCENES[what]
    cli.refused(2, message, "info", make(tmp_path, cube))


def test_one_band_can_be_looked_at(cli, cube, tmp_path):
    assert json.loads(cli.ok("info", one_band(tmp_path, cube), "--json"))["bands_used"] == 1


def test_header_without_wavelengths_works_and_says_so(cli, files, cube, tmp_path):
    scene = write_envi(tmp_path / "s.hdr", cube, wavelengths=False)
    cli.ok("train", scene, files.labels, "--out", tmp_path / "run", *QUICK)
    notes = " ".join(read_json(tmp_path / "run" / "metrics.json")["scene"]["notes"])
    assert "The file states no wavelengths; bands are known by number only." in notes
    assert "the scene states no wavelengths, so bands are numbered" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_nan_block_is_masked_and_said(cli, files, cube, tmp_path):
    holed = cube.copy()
    holed[5, :10, :12] = np.nan
    cli.ok("train", write_envi(tmp_path / "s.hdr", holed), files.labels, "--out", tmp_path / "run", *QUICK)
    m = read_json(tmp_path / "run" / "metrics.json")
    assert "120 of 1920 pixels (6.2%) lack data in at least one band and are masked." in m["scene"]["notes"]
    with rasterio.open(tmp_path / "run" / "map.tif") as source:
        mapped = source.read(1)
    assert not mapped[:10, :12].any()
    assert (mapped > 0).sum() == 1800


def polygon(folder, x, y, crs="EPSG:32633"):
    squares = [shapely.box(x + 300 * i, y - 300, x + 300 * i + 200, y) for i in range(2)]
    pyogrio.raw.write(
        folder / "fields.gpkg", np.array([s.wkb for s in squares], object), [np.array([1, 2])], ["class"],
        geometry_type="Polygon", crs=crs, driver="GPKG",
    )  # fmt: skip
    return folder / "fields.gpkg"


def npy(folder, values):
    np.save(folder / "labels.npy", values)
    return folder / "labels.npy"


def raster(make):
    """Labels that are a change of the true ones."""
    return lambda tmp, truth: write_raster(tmp / "labels.tif", make(truth))


def one_pixel_class(truth):
    changed = np.where(truth == 14, 0, truth).astype(np.uint8)
    changed[0, 0] = 7
    return changed


def csv(text):
    def write(tmp, truth):
        (tmp / "points.csv").write_text(text)
        return tmp / "points.csv"

    return write


def wrong_variable(tmp, truth):
    scipy.io.savemat(tmp / "labels.mat", {"gt": truth})
    return f"{tmp / 'labels.mat'}:wrong"


def geojson_without_class(tmp, truth):
    features = [
        {"type": "Feature", "properties": {"a": i, "b": 2}, "geometry": {"type": "Point", "coordinates": [13, 52]}}
        for i in range(2)
    ]
    (tmp / "p.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return tmp / "p.geojson"


LABELS = {
    "missing file": (lambda tmp, truth: tmp / "none.tif", r"none\.tif does not exist"),
    "another size": (
        lambda tmp, truth: npy(tmp, truth[:30]),
        "has 30 x 48 pixels, the scene has 40 x 48",
    ),
    "rows and columns swapped": (
        lambda tmp, truth: npy(tmp, truth.T),
        "Rows and columns are swapped",
    ),
    "four times finer": (
        lambda tmp, truth: npy(tmp, np.kron(truth, np.ones((4, 4), np.uint8))),
        "exactly 4 times finer: pass --label-scale 4",
    ),
    "another coordinate system": (
        lambda tmp, truth: write_raster(tmp / "labels.tif", truth, crs="EPSG:32632"),
        r"another coordinate system \(EPSG:32632\) than the scene \(EPSG:32633\)",
    ),
    "polygons outside": (lambda tmp, truth: polygon(tmp, 500_000, 5_000_000), "All 2 features of fields.gpkg lie outside the scene"),
    "points outside": (csv("row,col,class\n90,3,1\n91,3,2\n"), "All 2 points of points.csv lie outside the scene"),
    "points without class": (csv("row,col\n1,3\n"), "needs a header with the columns row,col,class"),
    "point that is no number": (csv("row,col,class\n1,2,1\nx,3,1\n"), "line 3: 'row' must be a number, got 'x'"),
    "class field unknown": (geojson_without_class, r"Which attribute of p\.geojson holds the class\? .* --class-field"),
    "all zero": (raster(np.zeros_like), "none of the 1920 pixels is labelled"),
    "one class": (raster(lambda t: np.where(t == 1, t, 0)), "hold one class only"),
    "class with one pixel": (raster(one_pixel_class), "class 7 .* leave these classes out with --ignore-class 7"),
    "value above 65,535": (raster(lambda t: t.astype(np.int32) * 70_000), "maps store at most 65535"),
    "negative value": (
        raster(lambda t: np.where(t == 1, np.int16(-5), t)),
        "hold the negative class value -5; .* pass --unlabelled -5",
    ),
    "fractions": (raster(lambda t: t.astype(np.float32) + 0.5), "must be whole numbers, one a class; got"),
    "another variable": (wrong_variable, r"has no variable 'wrong'; it holds gt .* Name one as labels\.mat:VARIABLE"),
    "three bands": (
        lambda tmp, truth: write_scene(tmp / "labels.tif", synthetic()[0]),
        "has 12 bands .*; labels need one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LABELS)
def test_labels_that_cannot_be_used_are_refused(cli, files, tmp_path, what):
    make, message = LABELS[what]
    labels = make(tmp_path, files.truth)
    cli.refused(2, message, "train", files.scene, labels, "--out", tmp_path / "run", *QUICK)
    assert contents(tmp_path / "run") == {}


def test_whole_numbers_stored_as_floats_are_fine_labels(cli, files, tmp_path):
    labels = write_raster(tmp_path / "labels.tif", files.truth.astype(np.float32))
    cli.ok("train", files.scene, labels, "--out", tmp_path / "run", *QUICK)
    assert [e["value"] for e in read_json(tmp_path / "run" / "metrics.json")["test"]["per_class"]] == [1, 10, 14]


def test_more_classes_than_a_map_can_store_are_refused(cli, tmp_path):
    np.save(tmp_path / "scene.npy", np.random.default_rng(0).random((264, 264, 2), np.float32))
    np.save(tmp_path / "labels.npy", np.arange(264 * 264).reshape(264, 264) + 1)
    cli.refused(
        2, "hold 69696 classes up to value 69696; maps store at most 65535",
        "train", tmp_path / "scene.npy", tmp_path / "labels.npy", "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip


def test_labels_that_all_lie_in_nodata_are_refused(cli, files, tmp_path):
    scene, _ = synthetic()
    scene.values[:, :, :20] = -1
    truth = files.truth.copy()
    truth[:, 20:] = 0
    cli.refused(
        2, "lie where the scene holds no data",
        "train", write_scene(tmp_path / "s.tif", scene, nodata=-1), write_raster(tmp_path / "l.tif", truth),
        "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip


OPTIONS = {
    "per class larger than a class": (["--per-class", 5000], r"5000 training pixels a class leave no test pixel .* Use --per-class \d+ or less"),
    "per class 0": (["--per-class", 0], "need at least 1"),
    "fraction above 1": (["--fraction", 1.5], "need a share between 0 and 1"),
    "blocks and fraction": (["--blocks", 8, "--fraction", 0.1], "Got --blocks and --fraction; choose one way"),
    "per class and fraction": (["--per-class", 8, "--fraction", 0.1], "Got --per-class and --fraction; choose one way"),
    "buffer without blocks": (["--fraction", 0.1, "--buffer", 2], "--buffer belongs to --blocks"),
    "blocks that are no length": (["--blocks", "wide"], "Got --blocks 'wide'; need a length such as 24, 24px or 240m"),
    "blocks without end": (["--blocks", "inf"], "Got --blocks 'inf'; need a length"),
    "blocks of nothing": (["--blocks", 0], "need at least 1"),
    "blocks as large as the scene": (["--blocks", 400], "the scene would be one block. Use --blocks"),
    "labels and train": (["--train", "LABELS", "--test", "LABELS"], "Got LABELS and --train/--test"),
    "unknown recipe": (["--recipe", "fast"], "Got recipe 'fast'; there are default, paper"),
    "none and a control": (["--control", "svm"], "Got --control none and --control svm; give either none or classifiers"),
    "unknown device": (["--device", "abacus"], "Got device 'abacus'; need auto, cpu, cuda or cuda:N"),
    "device that is not here": (["--device", "cuda:99"], "CUDA devices are here. Use --device cpu"),
    "device we cannot use": (["--device", "meta"], "patchfree runs on cpu and cuda"),
    "no steps": (["--steps", 0], "Got steps=0; need at least 1"),
    "negative learning rate": (["--learning-rate", -1], "need a positive number such as 0.001"),
    "negative seed": (["--seed", -1], "--seed"),
    "drop bands that are no numbers": (["--drop-bands", "1,x"], "Got --drop-bands '1,x'; need numbers and ranges such as 1-4,130"),
    "drop bands backwards": (["--drop-bands", "4-1"], "Got --drop-bands '4-1'; need numbers and ranges"),
    "drop bands without end": (["--drop-bands", "4-"], "Got --drop-bands '4-'; need numbers and ranges"),
    "drop bands that are not there": (["--drop-bands", "13"], r"has bands 1 to 12; cannot drop \[13\]"),
    "class to ignore that is not there": (["--ignore-class", 3], r"Got --ignore-class 3; the labels hold 1 water, 10 meadow, 14 forest\."),
    "class field of a raster": (["--class-field", "x"], "is no vector file; leave out --class-field"),
    "label scale that does not divide": (["--label-scale", 7], "which is no multiple of --label-scale 7"),
    "beside no run": (["--beside", "nowhere"], "nowhere is no run folder"),
    "unknown option": (["--colour", "red"], "No such option: --colour"),
}  # fmt: skip


@pytest.mark.parametrize("what", OPTIONS)
def test_settings_that_make_no_sense_are_refused(cli, files, tmp_path, what):
    options, message = OPTIONS[what]
    options = [files.labels if word == "LABELS" else word for word in options]
    cli.refused(2, message, "train", files.scene, files.labels, "--out", tmp_path / "run", *QUICK, *options)
    assert contents(tmp_path / "run") == {}


def test_unknown_control_is_refused(cli, files, tmp_path):
    words = ("--out", tmp_path / "run", "--control", "knn")
    cli.refused(2, "Got --control knn; there are rf, svm and none", "train", files.scene, files.labels, *words)
    assert contents(tmp_path / "run") == {}


def test_blocks_in_metres_need_a_coordinate_system(cli, files, cube, tmp_path):
    words = ("--out", tmp_path / "run", *QUICK, "--blocks", "240m")
    bare = write_envi(tmp_path / "s.hdr", cube)
    cli.refused(
        2,
        r"in metres, but .* it has no coordinate system\. Give pixels: --blocks 24px",
        "train",
        bare,
        files.labels,
        *words,
    )


def test_half_an_official_split_is_refused(cli, files, tmp_path):
    for given in ("--train", "--test", "--validation"):
        cli.refused(
            2, "needs both --train FILE and --test FILE",
            "train", files.scene, given, files.labels, "--out", tmp_path / "run", *QUICK,
        )  # fmt: skip


def test_no_labels_at_all_are_refused(cli, files, tmp_path):
    cli.refused(2, "Got no labels. Give LABELS after SCENE", "train", files.scene, "--out", tmp_path / "run", *QUICK)


def test_official_split_with_shared_pixels_is_refused(cli, files, tmp_path):
    cli.refused(
        2, r"\d+ pixels are in the training labels and in the test labels: .* Remove them from one of the two",
        "train", files.scene, "--train", files.labels, "--test", files.labels, "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip
    assert contents(tmp_path / "run") == {}


def test_training_file_with_one_class_is_refused(cli, files, tmp_path):
    left, right = files.truth.copy(), files.truth.copy()
    left[:, 24:], right[:, :24] = 0, 0
    left[left != 10] = 0
    cli.refused(
        2, r"All training pixels are of one class \(10 'meadow'\); a classifier needs at least two",
        "train", files.scene, "--train", write_raster(tmp_path / "a.tif", left),
        "--test", write_raster(tmp_path / "b.tif", right), "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip
    assert contents(tmp_path / "run") == {}


def test_training_file_in_nodata_is_refused(cli, files, tmp_path):
    scene, _ = synthetic()
    scene.values[:, :, :24] = -1
    left, right = files.truth.copy(), files.truth.copy()
    left[:, 24:], right[:, :24] = 0, 0
    cli.refused(
        2, "No training pixel lies where the scene holds data",
        "train", write_scene(tmp_path / "s.tif", scene, nodata=-1), "--train", write_raster(tmp_path / "a.tif", left),
        "--test", write_raster(tmp_path / "b.tif", right), "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip
    assert contents(tmp_path / "run") == {}


def test_bad_input_leaves_an_earlier_finished_run_whole(cli, files, cube, tmp_path):
    out = tmp_path / "run"
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK)
    before = contents(out)
    cli.refused(
        2, "is truncated", "train", truncated(tmp_path, cube), files.labels, "--out", out, *QUICK, "--overwrite"
    )
    labels = write_raster(tmp_path / "l.tif", np.zeros_like(files.truth))
    cli.refused(2, "is labelled", "train", files.scene, labels, "--out", out, *QUICK, "--overwrite")
    cli.refused(2, "Got recipe", "train", files.scene, files.labels, "--out", out, "--recipe", "x", "--overwrite")
    assert contents(out) == before


def test_traceback_is_shown_with_debug_anywhere_on_the_line(cli, tmp_path):
    for words in (("--debug", "info", tmp_path / "no.tif"), ("info", tmp_path / "no.tif", "--debug")):
        answer = cli(*words)
        assert answer.code == 2
        assert "Traceback (most recent call last)" in answer.err
        assert "SceneError" in answer.err
        assert "Error: " in answer.err.splitlines()[-1]


def test_mistake_of_ours_is_told_without_traceback_and_with_code_1(cli, files, monkeypatch):
    def broken(scene):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("patchfree.show.scene_facts", broken)
    cli.refused(1, "ZeroDivisionError: division by zero. This should not happen; .* --debug", "info", files.scene)
    assert "Traceback" in cli("info", files.scene, "--debug").err


def test_missing_argument_and_option_are_told_with_code_2(cli, files):
    cli.refused(2, "Missing argument 'SCENE'", "info")
    cli.refused(2, "Missing option '--out'", "train", files.scene, files.labels)
    cli.refused(2, "Missing option '--out'", "map", "run", files.scene)
    cli.refused(2, "Invalid value for '--nodata'", "info", files.scene, "--nodata", "none")


def test_map_and_assess_refuse_what_they_cannot_read(cli, files, tmp_path):
    swapped = ("map", files.scene, tmp_path / "run", "--out", tmp_path / "m.tif")
    cli.refused(2, "is a file and no run folder", *swapped)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.json").write_text("{}")
    cli.refused(2, "the run comes first, patchfree map RUN SCENE", *swapped)
    cli.refused(2, "is no run folder: it has no model.json", "map", tmp_path, files.scene, "--out", tmp_path / "m.tif")
    cli.refused(2, r"no\.tif does not exist", "assess", tmp_path / "no.tif", files.labels)
    cli.refused(2, r"no\.tif does not exist", "assess", files.labels, tmp_path / "no.tif")
    moved = write_raster(
        tmp_path / "moved.tif",
        sparse(files.truth),
        transform=rasterio.Affine(30, 0, ORIGIN[0] + 30_000, 0, -30, ORIGIN[1]),
    )
    cli.refused(2, "lies outside the scene: 0 rows and 1000 columns away", "assess", files.labels, moved)


def test_polygons_on_a_scene_without_position_are_refused(cli, cube, tmp_path):
    cli.refused(
        2, "holds map coordinates, but the scene is not georeferenced",
        "train", write_envi(tmp_path / "s.hdr", cube), polygon(tmp_path, *ORIGIN), "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip


def test_values_stay_as_given_when_they_fill_16_bits(cli, files, tmp_path):
    truth = np.choose(np.searchsorted(VALUES, files.truth), [0, 3, 300, 65_535]).astype(np.uint16)
    cli.ok("train", files.scene, write_raster(tmp_path / "l.tif", truth), "--out", tmp_path / "run", *QUICK)
    with rasterio.open(tmp_path / "run" / "map.tif") as source:
        assert source.dtypes == ("uint16",)
        assert set(np.unique(source.read(1))) <= {3, 300, 65_535}
    assert not (tmp_path / "run" / "map.tif.aux.xml").exists()
