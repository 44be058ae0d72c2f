"""The report is one file that loads nothing from elsewhere, shows what was measured, and says plainly how it is known."""

import base64
import copy
import dataclasses
import html
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from conftest import UTM33, synthetic
from jobs import METRES, ORIGIN, short
from patchfree.blocks import block_split
from patchfree.confusion import assess_pixels
from patchfree.labels import LandCover, make_labels
from patchfree.predict import Prediction
from patchfree.report import (
    Evidence,
    describe_control,
    describe_few,
    describe_leaks,
    describe_protocol,
    scale_bar,
    write_figures,
    write_report,
)
from patchfree.scene import Grid
from patchfree.split import Split, random_split
from patchfree.training import train


@pytest.fixture(scope="module")
def measured():
    """Metrics of a real training, to write reports from."""
    scene, labels = synthetic(rows=24, cols=28)
    return train(scene, labels, recipe=short(2), controls=("svm",), device="cpu").metrics


def evidence(measured, *, classes=3, names=None, split=random_split, grid=None, test_class=None, log=None):
    """A scene with a map that is wrong here and there, and metrics that belong to it."""
    rng = np.random.default_rng(0)
    scene, _ = synthetic(rows=24, cols=28)
    scene = dataclasses.replace(scene, grid=grid or scene.grid)
    truth = rng.integers(1, classes + 1, (24, 28))
    labels = make_labels(truth, names=names)
    parts = split(labels, fraction=0.3) if split is random_split else split(labels)
    if test_class is not None:
        parts = dataclasses.replace(parts, test=parts.test & (labels.index != test_class))
    chances = rng.dirichlet(np.ones(classes), (24, 28)).transpose(2, 0, 1).astype(np.float32)
    chances += 0.7 * (labels.index == np.arange(1, classes + 1)[:, None, None])
    chances /= chances.sum(0)
    prediction = Prediction(chances, scene.valid, labels.legend, scene.grid)
    m = copy.deepcopy(measured)
    m["scene"]["name"] = scene.name
    m["test"] = assess_pixels(np.where(parts.test, labels.index, 0), prediction.index, labels.legend)
    counts = [{"value": e.value, "name": e.name, "train": 3, "validation": 1, "test": 2} for e in labels.legend]
    m["protocol"] |= {"split": parts.protocol, "optimistic": parts.optimistic, "notes": list(parts.notes)}
    m["protocol"]["counts"]["per_class"] = counts
    m["controls"][0]["recall"] = [0.5] * classes
    m["map"] = {"pixels": {e.value: int((prediction.index == i).sum()) for i, e in enumerate(labels.legend, 1)}}
    log = log or [
        {"phase": "estimate", "number": i, "loss": 1 / i, "validation_accuracy": 0.5 if i == 2 else None}
        for i in (1, 2)
    ]
    return Evidence(scene, labels, parts, prediction, prediction, m, log)


def report(tmp_path, shown):
    return write_report(tmp_path / "report.html", shown).read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would load, and the text that it would show."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.text, self.tags = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.loaded += [v for k, v in attributes if k in ("src", "href", "srcset", "data", "poster", "action")]

    def handle_data(self, data):
        self.text += data


def test_report_loads_nothing_from_elsewhere(measured, tmp_path):
    text = report(tmp_path, evidence(measured))
    page = Page(text)
    assert len(page.loaded) >= 10
    assert all(re.match(r"data:image/(png|svg\+xml);base64,", address) for address in page.loaded)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|<link|<iframe", text)
    for address in page.loaded:
        picture = base64.b64decode(address.split(",", 1)[1])
        if address.startswith("data:image/png"):
            assert Image.open(io.BytesIO(picture)).size == (28, 24)
        else:
            assert picture.startswith(b"<svg")
            assert not re.search(rb'(?:href|src)="(?!#|data:)', picture)


def test_headline_numbers_are_those_of_the_metrics(measured, tmp_path):
    shown = evidence(measured)
    text = Page(report(tmp_path, shown)).text
    test = shown.metrics["test"]
    assert f"{test['overall_accuracy'] * 100:.1f} %" in text
    assert f"{test['average_accuracy'] * 100:.1f} %" in text
    assert f"{test['kappa']:.3f}" in text
    low, high = test["intervals"]["overall_accuracy"]
    assert f"95 % interval {low * 100:.1f}–{high * 100:.1f} %" in text
    for entry in test["per_class"]:
        assert f"{entry['recall'] * 100:.1f} %" in text
    assert f"Measured on {test['pixels']:,} test pixels" in text


@pytest.mark.parametrize(
    ("components", "principal", "said"),
    [
        (3, 4, "3 noise-adjusted components of largest ratio of signal to noise and the first 4 principal components,"),
        (
            10,
            4,
            "10 noise-adjusted components of largest ratio of signal to noise and the first 2 principal components,",
        ),
        (3, 0, "3 noise-adjusted components of largest ratio of signal to noise,"),
        (0, 4, None),
        (12, 4, None),
    ],
)
def test_components_are_named_where_the_network_saw_them(measured, tmp_path, components, principal, said):
    shown = evidence(measured)
    assert shown.metrics["scene"]["bands"] == 12
    shown.metrics["recipe"] |= {"components": components, "principal": principal}
    text = Page(report(tmp_path, shown)).text
    assert f"on the {said}" in text if said else "noise-adjusted components" not in text


def test_random_split_carries_the_badge_and_blocks_do_not(measured, tmp_path):
    assert "random split: optimistic" in report(tmp_path, evidence(measured))
    blocks = report(tmp_path, evidence(measured, split=block_split))
    assert "random split: optimistic" not in blocks
    assert "spatially separate test" in blocks

    def given(labels):
        left = np.arange(28) < 14
        return Split(left & (labels.index > 0), np.zeros((24, 28), bool), ~left & (labels.index > 0), {"kind": "files"})

    assert "given split" in report(tmp_path, evidence(measured, split=given))


def with_difference(shown, value, interval):
    shown.metrics["controls"][0]["overall_accuracy_difference"] = {"value": value, "interval": interval}
    return shown


def test_warning_is_shown_only_where_a_control_is_clearly_better(measured, tmp_path):
    warning = "On these pixels the network does not beat the SVM"
    worse = with_difference(evidence(measured), -0.05, [-0.08, -0.02])
    assert warning in Page(report(tmp_path, worse)).text
    for value, interval in ((0.05, [0.02, 0.08]), (-0.01, [-0.03, 0.02]), (-0.05, None)):
        assert warning not in Page(report(tmp_path, with_difference(evidence(measured), value, interval))).text


def test_legend_lists_every_class_with_colour_name_and_pixels(measured, tmp_path):
    shown = evidence(measured)
    page = Page(report(tmp_path, shown))
    colours = [a["style"] for tag, a in page.tags if tag == "i"]
    assert colours == [f"background: rgb{entry.colour}" for entry in shown.labels.legend]
    for entry in shown.labels.legend:
        assert f"{entry.title}{shown.metrics['map']['pixels'][entry.value]:,} px" in page.text


def test_protocol_and_leaks_are_in_the_report(measured, tmp_path):
    shown = evidence(measured)
    text = Page(report(tmp_path, shown)).text
    assert describe_protocol(shown.metrics["protocol"]) in text
    for line in describe_leaks(shown.metrics["protocol"]):
        assert line in text
    assert "Pixels shared by training and test: 0." in text


def test_names_are_shown_as_text_and_never_as_markup(measured, tmp_path):
    names = {1: "<b>&", 2: '"><script>alert(1)</script>', 3: "from $x_{$ on"}
    shown = evidence(measured, names=names)
    shown.metrics["scene"]["name"] = "<i>scene</i> & co"
    shown.metrics["command"] = "patchfree train '<u>.tif'"
    shown.metrics["labels"]["notes"] = ["<em>a note</em>"]
    text = report(tmp_path, shown)
    for raw in ("<b>&", "<script>alert", "<i>scene", "<u>.tif", "<em>a note"):
        assert raw not in text
    page = Page(text)
    assert page.text.count(names[2]) >= 2
    assert "<i>scene</i> & co" in page.text
    assert "patchfree train '<u>.tif'" in page.text
    assert html.escape(names[1]) in text
    assert [tag for tag, _ in page.tags].count("script") == 1


def test_class_without_test_pixels_shows_dashes(measured, tmp_path):
    shown = evidence(measured, test_class=2)
    assert shown.metrics["test"]["per_class"][1]["support"] == 0
    rows = report(tmp_path, shown).split("Accuracy of each class")[1].split("</table>")[0].split("<tr>")
    row = next(row for row in rows if ">class 2<" in row)
    assert Page(row).text.count("–") >= 1


@pytest.mark.parametrize("classes", [1, 2, 24, 25, 40])
def test_any_number_of_classes_is_shown(measured, tmp_path, classes):
    def half(labels):
        left = np.arange(28) < 14
        return Split(left & (labels.index > 0), np.zeros((24, 28), bool), ~left & (labels.index > 0), {"kind": "files"})

    shown = evidence(measured, classes=classes, split=half)
    page = Page(report(tmp_path, shown))
    assert sum(tag == "li" for tag, _ in page.tags) >= classes
    assert f"class {classes}" in page.text
    assert len({entry.colour for entry in shown.labels.legend}) == classes


def test_pictures_have_the_aspect_of_the_ground(measured, tmp_path):
    square = report(tmp_path, evidence(measured))
    assert "aspect-ratio: 28 / 24;" in square
    grid = Grid(24, 28, None, (METRES / 2, 0.0, ORIGIN[0], 0.0, -METRES, ORIGIN[1]))
    assert "aspect-ratio: 420 / 720;" in report(tmp_path, evidence(measured, grid=grid))


def test_scene_on_the_ground_gives_its_place_metres_and_hectares(tmp_path):
    scene, labels = synthetic(rows=24, cols=28)
    from rasterio.crs import CRS

    wkt = CRS.from_string(UTM33).to_wkt()
    scene = dataclasses.replace(scene, grid=Grid(24, 28, wkt, (METRES, 0.0, ORIGIN[0], 0.0, -METRES, ORIGIN[1])))
    train(scene, labels, recipe=short(2), controls=(), device="cpu", out=tmp_path / "run")
    text = Page((tmp_path / "run" / "report.html").read_text()).text
    assert re.search(r"[\d.]+ px in the median \([\d,]+ m\)\.", text)
    assert (
        "EPSG:32633, WGS 84 / UTM zone 33N. A pixel is 30 m by 30 m, the scene 0.84 km by 0.72 km. North is up." in text
    )
    assert re.search(r"[\d.]+ ha", text)
    assert "100 m" in text  # the scale bar: a round length below a fifth of 840 m


def test_report_of_one_and_the_same_run_is_the_same_text(measured, tmp_path):
    assert report(tmp_path, evidence(measured)) == report(tmp_path, evidence(measured))


def test_figures_are_the_pictures_of_the_report(measured, tmp_path):
    shown = evidence(measured)
    write_figures(tmp_path / "figures", shown)
    assert {p.stem for p in (tmp_path / "figures").iterdir()} == {*shown.pictures, *shown.charts}
    assert (tmp_path / "figures" / "map.png").read_bytes() == shown.pictures["map"][2]
    mapped = np.asarray(Image.open(tmp_path / "figures" / "map.png").convert("RGB"))
    colours = np.array([e.colour for e in shown.labels.legend], np.uint8)
    np.testing.assert_array_equal(mapped, colours[shown.prediction.index - 1])


def test_errors_show_the_tested_map_where_it_differs_from_the_final_one(measured):
    shown = evidence(measured)
    perfect = np.where(shown.labels.index == np.arange(1, 4)[:, None, None], np.float32(1), np.float32(0))
    shown = dataclasses.replace(shown, prediction=dataclasses.replace(shown.prediction, probabilities=perfect))
    errors = np.asarray(Image.open(io.BytesIO(shown.pictures["errors"][2])).convert("RGB"))
    wrong = (errors == (213, 94, 0)).all(-1)
    np.testing.assert_array_equal(wrong, shown.split.test & (shown.tested.index != shown.labels.index))
    assert wrong.any()


# --- other protocols beside this one


def other(shown, overall, seed, *, split=None, svm=None, tested=True):
    m = copy.deepcopy(shown.metrics)
    m["protocol"] |= {
        "seed": seed,
        "optimistic": False,
        "split": split or {"kind": "blocks", "size_px": 9, "seed": seed},
    }
    m["test"] |= {"overall_accuracy": overall, "average_accuracy": overall}
    m["controls"] = [] if svm is None else [{"name": "svm", "overall_accuracy": svm}]
    if not tested:
        m["test"] = {"pixels": 0}
    return m


def test_protocols_stand_beside_each_other_with_mean_and_spread_over_seeds(measured, tmp_path):
    shown = evidence(measured)
    shown = dataclasses.replace(
        shown, beside=(other(shown, 0.8, 0, svm=0.5), other(shown, 0.9, 1, svm=0.7), other(shown, 0.5, 2, tested=False))
    )
    text = Page(report(tmp_path, shown)).text
    assert "The same scene under other protocols" in text
    row = " ".join(text.split("separate blocks of 9 px")[1].split()).split("random")[0]
    assert row.startswith("0, 1 85.00 % ± 7.0785.00 %60.00 % 80.00 %, 90.00 %")
    assert "random, 30 % of each class" in text


def test_nothing_stands_beside_a_single_protocol(measured, tmp_path):
    shown = evidence(measured)
    same = dataclasses.replace(
        shown, beside=(other(shown, 0.8, 1, split=shown.metrics["protocol"]["split"] | {"seed": 1}),)
    )
    assert "under other protocols" not in report(tmp_path, shown)
    assert "under other protocols" not in report(tmp_path, same)


# --- sentences


def protocol(kind, **split):
    counts = {"train": 1200, "validation": 30, "test": 4567}
    return {"split": {"kind": kind, **split}, "counts": counts, "leak_audit": {}, "optimistic": kind == "random"}


def test_classes_with_few_test_pixels_are_named():
    entries = [{"value": v, "name": "abc"[v - 1], "support": n} for v, n in ((1, 0), (2, 19), (3, 20))]
    assert describe_few({"pixels": 39, "per_class": entries}) == [
        "Tested on fewer than 20 pixels, so their accuracies say little: 2 b (19)."
    ]
    assert describe_few({"pixels": 0, "per_class": []}) == []


@pytest.mark.parametrize(("pixels", "expected"), [(28, ("100 m", 11.905)), (1000, ("5 km", 16.667))])
def test_the_scale_bar_is_a_round_length_below_a_fifth_of_the_scene(pixels, expected):
    from rasterio.crs import CRS

    wkt = CRS.from_string(UTM33).to_wkt()
    text, share = scale_bar(Grid(24, pixels, wkt, (30.0, 0.0, 3e5, 0.0, -30.0, 5e6)))
    assert (text, round(share, 3)) == expected
    assert scale_bar(Grid(24, pixels)) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            protocol("blocks", size_px=18, buffer_px=3),
            "blocks of 18 by 18 pixels; each block belongs to training or to testing, and no training pixel lies within 3 pixels",
        ),
        (protocol("random", per_class=20), "20 pixels of each class were drawn at random for training"),
        (protocol("random", fraction=0.1), "10 % of the pixels of each class were drawn at random"),
        (protocol("random", fraction=0.005), "0.5 % of the pixels of each class were drawn at random"),
        (protocol("files"), "Training and test pixels were given in separate files."),
    ],
)
def test_protocol_is_told_in_plain_words_with_its_counts(given, expected):
    told = describe_protocol(given)
    assert expected in told
    assert told.endswith("1,200 pixels trained the network, 30 set its temperature, and 4,567 tested it.")


AUDIT = {
    "shared_pixels": 0, "receptive_field_px": 77, "whole_scene_statistics": True, "optimistic": False,
    "min_distance_px": 2.0, "median_distance_px": 9.5, "share_inside_receptive_field": 0.25, "share_touching_training": 0.5,
    "tests_apart": 0,
}  # fmt: skip


def test_leak_audit_is_told_in_plain_words():
    lines = describe_leaks({"leak_audit": AUDIT | {"median_distance_m": 1285.0}})
    assert lines == [
        "Pixels shared by training and test: 0.",
        "From a test pixel to the nearest training pixel: at least 2 px, 9.5 px in the median (1,285 m).",
        "25% of the test pixels have a training pixel inside the network's window of 77 pixels, and 50% touch one.",
        "What the network sees in that window are spectra, not labels; still, a test pixel near a training pixel is easier than "
        "one far from any, so land far from all labels may be mapped less well than these figures say.",
        "The network and the standardisation use statistics over the whole scene, test pixels included, but none of their labels.",
    ]


def test_leak_audit_says_what_does_not_hold_too():
    lines = describe_leaks({"leak_audit": AUDIT | {"whole_scene_statistics": False, "optimistic": True}})
    assert not any("statistics over the whole scene" in line for line in lines)
    assert lines[-1] == "Test pixels lie among the training pixels: expect a lower accuracy in places without labels."
    untested = describe_leaks({"leak_audit": AUDIT | {"share_inside_receptive_field": None}})
    assert untested == ["There are no test pixels, so nothing is known of the accuracy."]


@pytest.mark.parametrize(
    ("difference", "verdict", "beaten"),
    [
        (None, "not tested", None),
        ({"value": 0.031, "interval": [0.01, 0.05]}, "better by 3.1 points", True),
        ({"value": -0.031, "interval": [-0.05, -0.01]}, "worse by 3.1 points", False),
        ({"value": 0.01, "interval": [-0.01, 0.03]}, "no clear difference (+1.0 points)", None),
        ({"value": -0.01, "interval": [-0.03, 0.0]}, "no clear difference (−1.0 points)", None),
        ({"value": 0.2, "interval": None}, "no clear difference (+20.0 points)", None),
    ],
)
def test_control_is_beaten_only_where_the_interval_says_so(difference, verdict, beaten):
    told = describe_control({}, {"name": "svm", "overall_accuracy_difference": difference})
    assert (told["verdict"], told["beaten"], told["name"]) == (verdict, beaten, "svm")


def test_land_cover_colours_are_shown_as_given(measured, tmp_path):
    shown = evidence(measured)
    legend = (LandCover(1, "a", (1, 2, 3)), *shown.labels.legend[1:])
    shown = dataclasses.replace(shown, labels=dataclasses.replace(shown.labels, legend=legend))
    assert "background: rgb(1, 2, 3)" in report(tmp_path, shown)
