"""The whole benchmark on a synthetic scene: rows, tables and page; it resumes; what fails is a row and the rest goes on."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from spectral.io import envi

from benchmark_files import write_tif
from conftest import synthetic
from patchfree import figures
from patchfree.benchmark.cell import run_cell
from patchfree.benchmark.pictures import errors_file
from patchfree.benchmark.plan import Plan, cells_of
from patchfree.benchmark.rows import read_rows
from patchfree.benchmark.runner import run_benchmark
from patchfree.errors import ConfigError

pytestmark = pytest.mark.usefixtures("cells_are_forked")

OWN = '''"""Nearest class mean, a user's own."""
import numpy as np
from patchfree.benchmark import Fitted

def fit(training):
    classes = np.arange(1, len(training.legend) + 1)
    means = np.stack([training.values[:, training.index == k].mean(1) for k in classes])
    return Fitted(lambda: -((training.values[None] - means[:, :, None, None]) ** 2).sum(1))
'''
FAULTY = {
    "shape": "from patchfree.benchmark import Fitted\nimport numpy as np\nfit = lambda t: Fitted(lambda: np.zeros((2, 2)))\n",
    "nan": "from patchfree.benchmark import Fitted\nimport numpy as np\n"
    "fit = lambda t: Fitted(lambda: np.full((len(t.legend), *t.index.shape), np.nan))\n",
    "curious": "fit = lambda t: t.test\n",
    "broken": "def fit(t):\n    return 1 / 0\n",
    "dying": "import os\ndef fit(t):\n    os.kill(os.getpid(), 9)\n",
    "nothing": "fit = lambda t: None\n",
}
SAID = {
    "shape": r"shape gave scores of the shape \(2, 2\); need \(3, 24, 26\)",
    "nan": r"nan gave NaN or infinite scores at 624 of 624 pixels",
    "curious": r"The method asked for training.test; test pixels and their classes are never handed to a method",
    "broken": r"ZeroDivisionError: division by zero \(broken.py, line 2\)",
    "dying": r"The process ended without a result \(it was probably out of memory\)",
    "nothing": r"fit of nothing gave NoneType; it must give a patchfree.benchmark.Fitted",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's scene, its description, and methods of the user's."""
    folder = tmp_path_factory.mktemp("benchmark")
    scene, labels = synthetic(rows=24, cols=26, bands=10)
    envi.save_image(str(folder / "field.hdr"), scene.values.transpose(1, 2, 0), ext=".img", dtype=np.float32)
    write_tif(folder / "truth.tif", labels.index.astype(np.uint8))
    (folder / "mine.toml").write_text('[field]\ntitle = "My field"\nscene = "field.hdr"\nlabels = "truth.tif"\n')
    (folder / "mean.py").write_text(OWN)
    for name, text in FAULTY.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def plan(folder, out, **changes):
    settings = {"scenes": ("field",), "protocols": ("per-class:8",), "methods": ("svm",), "seeds": 1, "steps": 2}
    return Plan(out=out, scenes_file=folder / "mine.toml", device="cpu", **(settings | changes))


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    methods = ("svm", "cnn1d", "default", str(folder / "mean.py"))
    asked = plan(folder, out, methods=methods, seeds=2)
    return asked, run_benchmark(asked), out


def test_every_cell_is_a_row_with_what_was_measured(whole):
    _, outcome, out = whole
    with (out / "classification.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == len(outcome.rows) == 8
    assert outcome.undone == []
    assert {(row["method"], row["seed"]) for row in outcome.rows} == {
        (m, s) for m in ("svm", "cnn1d", "default", "mean") for s in (0, 1)
    }
    for row in outcome.rows:
        assert not row.get("error")
        assert 0 <= row["overall_accuracy"] <= 1
        assert -1 <= row["kappa"] <= 1
        assert row["train_seconds"] > 0
        assert row["predict_seconds"] > 0
        assert (row["train_pixels"] + row["validation_pixels"], row["test_pixels"]) == (24, 600)
        assert row["optimistic"] is True
        assert row["processor"]
        assert row["torch"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"])
    networks = [row for row in outcome.rows if row["method"] in ("cnn1d", "default")]
    assert all(row["parameters"] > 1000 and row["predict_macs"] > 0 for row in networks)
    assert all(row["train_share_of_rate"] > 0 and row["rate_float32"] > 1e8 for row in networks)


def test_what_is_read_back_is_what_was_written(whole):
    _, outcome, out = whole
    again = {row["request"]: row for row in read_rows(out / "classification.csv")}
    for row in outcome.rows:
        assert {k: v for k, v in again[row["request"]].items() if v is not None} == {
            k: v for k, v in row.items() if v not in (None, "")
        }


def test_it_resumes_and_does_nothing_twice(whole):
    asked, outcome, out = whole
    before = (out / "classification.csv").stat().st_mtime_ns
    started = time.monotonic()
    again = run_benchmark(asked)
    assert (out / "classification.csv").stat().st_mtime_ns == before
    assert time.monotonic() - started < 20
    assert {row["request"] for row in again.rows} == {row["request"] for row in outcome.rows}


def test_the_table_compares_with_the_users_own_method(whole):
    _, _, out = whole
    text = (out / "classification.md").read_text()
    assert "## My field: random, 8 a class" in text
    assert "| mean − this, OA | mean − this, mean IoU |" in text
    own, _ = (line for line in text.splitlines() if line.startswith("| Nearest class mean, a user's own"))
    svm, _ = (line for line in text.splitlines() if line.startswith("| SVM"))
    for column in (7, 8):
        assert own.split("|")[column].strip() == "–"
        assert re.fullmatch(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", svm.split("|")[column].strip())


def test_the_page_stands_alone_and_shows_every_map(whole):
    _, outcome, out = whole
    html = (out / "classification.html").read_text()
    assert html.count("data:image/png;base64,") == 2 + 4 + 4  # scene, labels, and a map of each method and its errors
    assert html.count("<svg") == 2
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    for row in outcome.rows:
        assert row["title"].replace("'", "&#39;") in html
    assert "optimistic" in html


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_method_is_a_row_with_its_error_and_the_rest_goes_on(name, folder, tmp_path):
    outcome = run_benchmark(plan(folder, tmp_path, methods=(str(folder / f"{name}.py"), "svm")))
    wrong, right = sorted(outcome.rows, key=lambda row: row["method"] == "svm")
    assert re.match(SAID[name], wrong["error"])
    assert right["overall_accuracy"] > 0.5
    text = (tmp_path / "classification.md").read_text()
    assert f"- {wrong['title']}, seed 0: {wrong['error']}" in text
    assert "data:image/png" in (tmp_path / "classification.html").read_text()


def test_a_row_with_an_error_is_tried_again(folder, tmp_path):
    mended = tmp_path / "mended"
    path = tmp_path / "once.py"
    path.write_text(
        OWN.replace(
            "    classes =",
            f"    if not __import__('pathlib').Path({str(mended)!r}).exists():\n        1 / 0\n    classes =",
        )
    )
    first = run_benchmark(plan(folder, tmp_path / "out", methods=(str(path),)))
    mended.touch()
    again = run_benchmark(plan(folder, tmp_path / "out", methods=(str(path),)))
    assert first.rows[0]["error"].startswith("ZeroDivisionError")
    (row,) = read_rows(tmp_path / "out" / "classification.csv")
    assert row["error"] is None
    assert row["overall_accuracy"] == again.rows[0]["overall_accuracy"] > 0.5


def test_a_scene_that_cannot_be_split_says_why_once_for_all_methods(folder, tmp_path):
    run_benchmark(plan(folder, tmp_path, methods=("svm", "rf"), protocols=("separate:99", "per-class:8")))
    text = (tmp_path / "classification.md").read_text()
    assert "- Every method, seed 0: Got blocks of 99 px for a scene of 24 x 26 pixels" in text
    assert text.count("the scene would be one block") == 1


def test_an_official_split_that_is_not_there_is_refused_by_name_or_left_out(folder, tmp_path):
    own = tmp_path / "scene"
    shutil.copytree(folder, own)
    with pytest.raises(ConfigError, match=r"My field has no official split\. Use per-class:N"):
        run_benchmark(plan(own, tmp_path / "out", protocols=("official",)))
    text = (own / "mine.toml").read_text()
    (own / "mine.toml").write_text(text + 'official = { train = "truth.tif", test = "nowhere.tif" }\n')
    with pytest.raises(
        ConfigError, match=r"The official split of My field: nowhere.tif is not below .* \(test pixels\)"
    ):
        run_benchmark(plan(own, tmp_path / "out", protocols=("official",)))
    with pytest.raises(ConfigError, match="None of these scenes has an official split"):
        run_benchmark(plan(own, tmp_path / "out", scenes=("all",), protocols=("official",)))
    assert not (tmp_path / "out").exists()
    cells = cells_of(plan(own, tmp_path / "out", protocols=()))[1]
    assert [cell.protocol for cell in cells] == ["per-class:10", "fraction:0.1", "separate"]
    (own / "mine.toml").write_text(
        text.replace("labels", "official.test").replace("truth", "mine") + 'official.train = "truth.tif"\n'
    )
    write_tif(own / "mine.tif", np.zeros((24, 26), np.uint8))
    assert [cell.protocol for cell in cells_of(plan(own, tmp_path / "out", protocols=()))[1]] == ["official"]


def test_the_scenes_of_a_file_are_what_is_compared(folder, tmp_path):
    assert {cell.scene.name for cell in cells_of(plan(folder, tmp_path, scenes=()))[1]} == {"field"}


def test_pictures_are_those_of_their_rows(folder, tmp_path):
    own = tmp_path / "scene"
    shutil.copytree(folder, own)
    for steps in (2, 3):
        (row,) = run_benchmark(plan(own, tmp_path / "out", methods=("default",), steps=steps)).rows
    names = {r["picture"] for r in read_rows(tmp_path / "out" / "classification.csv")}
    assert len(names) == 2
    assert {path.stem.removesuffix("-errors") for path in (tmp_path / "out" / "pictures").glob("field_*.png")} == names
    assert "Test pixels: blue is right, vermilion is wrong." in (tmp_path / "out" / "classification.html").read_text()
    errors = np.asarray(Image.open(errors_file(tmp_path / "out" / "pictures", row["picture"])).convert("RGB"))
    wrong = int((errors == figures.WRONG).all(-1).sum())
    assert wrong == round((1 - row["overall_accuracy"]) * row["test_pixels"])
    assert int((errors == figures.RIGHT).all(-1).sum()) == row["test_pixels"] - wrong
    _, labels = synthetic(rows=24, cols=26, bands=10)
    write_tif(own / "truth.tif", np.where(labels.index == 1, 0, labels.index).astype(np.uint8))
    (new,) = run_benchmark(plan(own, tmp_path / "out", methods=("default",), steps=3)).rows
    assert new["scene_pictures"] != row["scene_pictures"]
    assert (tmp_path / "out" / "pictures" / f"{new['scene_pictures']}-labels.png").is_file()


def test_a_method_may_change_what_it_was_given(folder, tmp_path):
    (tmp_path / "rough.py").write_text(
        OWN.replace(
            "    return Fitted",
            "    training.scene.values[:] = 0\n    training.scene.valid[:] = False\n    training.index[:] = 0\n    return Fitted",
        )
    )
    rough, plain = (
        run_benchmark(plan(folder, tmp_path / "out", methods=(str(path),))).rows[0]
        for path in (tmp_path / "rough.py", folder / "mean.py")
    )
    assert rough["overall_accuracy"] == plain["overall_accuracy"]


def test_a_module_beside_a_method_can_be_imported_and_its_prints_are_no_part_of_the_table(folder, tmp_path, cli):
    (tmp_path / "neighbour_of_mine.py").write_text("SIGN = -1\n")
    (tmp_path / "mine.py").write_text(
        OWN.replace("def fit", "import neighbour_of_mine\nprint('loaded')\ndef fit").replace(
            "    return Fitted", "    print('LOUD')\n    return Fitted"
        )
    )
    answer = cli("benchmark", "--out", tmp_path / "b", "--scenes-file", folder / "mine.toml", "--protocol", "per-class:8",
                 "--method", tmp_path / "mine.py", "--seeds", 1)  # fmt: skip
    assert answer.code == 0, answer.err
    assert not re.search("LOUD|loaded", answer.out)


def test_where_everything_fails_so_does_the_command(folder, tmp_path, cli):
    answer = cli("benchmark", "--out", tmp_path / "b", "--scenes-file", folder / "mine.toml", "--protocol", "per-class:8",
                 "--method", folder / "broken.py", "--seeds", 2)  # fmt: skip
    assert answer.code == 1
    assert "2 of 2 cells failed; the table says why" in answer.out


def test_steps_count_only_where_there_are_any(folder, tmp_path):
    for steps in (2, None):
        row = run_benchmark(plan(folder, tmp_path, steps=steps)).rows[0]
        assert row["steps_given"] is None
    assert len(read_rows(tmp_path / "classification.csv")) == 1
    run_benchmark(plan(folder, tmp_path, methods=("cnn1d",), steps=2))
    assert "Networks were cut to 2 steps, to try things out" in (tmp_path / "classification.md").read_text()
    assert "Networks were cut to 2 steps, to try things out" in (tmp_path / "classification.html").read_text()


def test_an_interruption_leaves_the_tables_of_what_is_done(folder, tmp_path, monkeypatch):
    def stops(cell, tell, *, deadline=None):
        if cell.method == "rf":
            raise KeyboardInterrupt
        return run_cell(cell, tell, deadline=deadline)

    monkeypatch.setattr("patchfree.benchmark.runner.run_cell", stops)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(plan(folder, tmp_path, methods=("svm", "rf")))
    text = (tmp_path / "classification.md").read_text()
    assert "| SVM (Gaussian kernel) | 1 |" in text
    assert "- My field, per-class:8, rf: seed 0" in text
    assert (tmp_path / "classification.html").is_file()


def test_a_cell_ends_with_the_program_that_started_it(folder, tmp_path):
    (tmp_path / "slow.py").write_text(
        f"import os, pathlib, time\ndef fit(t):\n    pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n    time.sleep(600)\n"
    )
    command = [
        sys.executable,
        "-m",
        "patchfree",
        "benchmark",
        "--out",
        tmp_path / "out",
        "--scenes-file",
        folder / "mine.toml",
    ]
    program = subprocess.Popen(
        [*command, "--protocol", "per-class:8", "--method", tmp_path / "slow.py"], stderr=subprocess.DEVNULL
    )
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    program.kill()
    program.wait()
    cell = int((tmp_path / "pid").read_text())
    wait_for(lambda: not running(cell))


def wait_for(happened, seconds=90):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


def running(process):
    """Whether there is such a process, and it is not one that ended and was not asked after."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_cells_that_there_is_no_time_for_are_left_for_the_next_call(folder, tmp_path):
    asked = plan(folder, tmp_path, methods=("svm", "rf"))
    outcome = run_benchmark(Plan(**{**vars(asked), "minutes": 1e-9}))
    assert (outcome.rows, len(outcome.undone), outcome.files) == ([], 2, [])
    outcome = run_benchmark(Plan(**{**vars(asked), "minutes": 5.0}))
    assert (len(outcome.rows), outcome.undone) == (2, [])


def test_a_cell_that_outlasts_the_time_is_stopped(folder, tmp_path):
    (tmp_path / "slow.py").write_text("import time\ndef fit(t):\n    time.sleep(600)\n")
    run_benchmark(plan(folder, tmp_path, methods=("svm",)))
    began = time.monotonic()
    outcome = run_benchmark(plan(folder, tmp_path, methods=("svm", str(tmp_path / "slow.py")), minutes=0.05))
    assert time.monotonic() - began < 60
    assert [row["method"] for row in outcome.rows] == ["svm"]
    assert [cell.method for cell in outcome.undone] == [str(tmp_path / "slow.py")]
    assert "Not done for lack of time" in (tmp_path / "classification.md").read_text()


def test_a_cells_memory_is_its_own(folder, tmp_path):
    (tmp_path / "large.py").write_text(
        OWN.replace("    classes =", "    ballast = np.ones(60_000_000)\n    ballast[:] = 2\n    classes =")
    )
    big, small = (
        run_cell(cells_of(plan(folder, tmp_path, methods=(str(path),)))[1][0], lambda _: None)["added_memory_bytes"]
        for path in (tmp_path / "large.py", folder / "mean.py")
    )
    assert 470e6 < big < 600e6
    assert small < 100e6


@pytest.mark.parametrize(
    "change", [{"first_seed": 1}, {"methods": ("rf",)}, {"scenes": ("half",)}, {"protocols": ("per-class:4",)}]
)
def test_another_method_scene_protocol_or_seed_is_another_row(change, folder, tmp_path):
    own = tmp_path / "scene"
    shutil.copytree(folder, own)
    text = (own / "mine.toml").read_text()
    (own / "mine.toml").write_text(text + text.replace("[field]", "[half]") + "bands = 5\n")
    rows = [run_benchmark(plan(own, tmp_path / "out", **given)).rows[0] for given in ({}, change)]
    kept = read_rows(tmp_path / "out" / "classification.csv")
    assert sorted(row["request"] for row in kept) == sorted({row["request"] for row in rows})
    assert len(kept) == 2


def test_a_scene_that_cannot_be_read_is_a_row_with_its_error_and_the_rest_goes_on(folder, tmp_path):
    own = tmp_path / "scene"
    shutil.copytree(folder, own)
    (own / "shares.mat").write_bytes(b"MATLAB 5.0 MAT-file, cut short")
    more = '[broken]\nscene = "field.hdr"\nabundances = "shares.mat"\n'
    (own / "mine.toml").write_text((own / "mine.toml").read_text() + more)
    rows = run_benchmark(plan(own, tmp_path / "out", scenes=("broken", "field"))).rows
    wrong, right = sorted(rows, key=lambda row: row["scene"])
    assert "shares.mat cannot be read as a MATLAB file" in wrong["error"]
    assert right["overall_accuracy"] > 0.5


def test_one_count_of_operations_is_enough_for_a_share_of_the_rate(folder, tmp_path):
    (tmp_path / "counted.py").write_text(OWN.replace(".sum(1))", ".sum(1), predict_flop=1e6)"))
    (row,) = run_benchmark(plan(folder, tmp_path / "out", methods=(str(tmp_path / "counted.py"),))).rows
    assert row["predict_share_of_rate"] == pytest.approx(1e6 / row["predict_seconds"] / row["rate_float32"])
    assert row["train_share_of_rate"] is None


@pytest.mark.parametrize(
    ("protocol", "said"),
    [("per-class:8", "random split: optimistic"), ("separate:6:1", "separate blocks: test pixels at least 2 px away")],
)
def test_the_badge_says_how_far_test_pixels_are(protocol, said, folder, tmp_path):
    run_benchmark(plan(folder, tmp_path, protocols=(protocol,)))
    (badge,) = re.findall(r'<span class="(badge[^"]*)">([^<]*)</span>', (tmp_path / "classification.html").read_text())
    assert badge == ("badge warn" if "optimistic" in said else "badge", said)


def test_a_row_is_made_anew_in_its_place_where_the_labels_changed_and_not_where_a_title_did(folder, tmp_path):
    own = tmp_path / "scene"
    shutil.copytree(folder, own)
    asked = plan(own, tmp_path / "out")
    first = run_benchmark(asked).rows[0]
    names = [f"Crop {number}" for number in range(first["classes"])]
    about = (own / "mine.toml").read_text().replace("My field", "Another name")
    (own / "mine.toml").write_text(about + f"classes = {names}\n")
    before = (tmp_path / "out" / "classification.csv").read_bytes()
    assert run_benchmark(asked).rows[0]["scene_title"] == "Another name"
    assert "## Another name: random" in (tmp_path / "out" / "classification.md").read_text()
    assert [name in (tmp_path / "out" / "classification.html").read_text() for name in names] == [True] * len(names)
    assert (tmp_path / "out" / "classification.csv").read_bytes() == before
    _, labels = synthetic(rows=24, cols=26, bands=10)
    truth = labels.index.astype(np.uint8)
    truth[:3] = 0
    write_tif(own / "truth.tif", truth)
    (row,) = run_benchmark(asked).rows
    assert row["test_pixels"] == first["test_pixels"] - 3 * 26
    assert len(read_rows(tmp_path / "out" / "classification.csv")) == 1


def test_a_row_is_made_anew_where_the_code_of_its_method_changed(folder, tmp_path, monkeypatch):
    run_benchmark(plan(folder, tmp_path))
    before = (tmp_path / "classification.csv").read_bytes()
    run_benchmark(plan(folder, tmp_path))
    assert (tmp_path / "classification.csv").read_bytes() == before
    monkeypatch.setattr("patchfree.benchmark.runner.digest", lambda *_: "other code")
    run_benchmark(plan(folder, tmp_path))
    assert (tmp_path / "classification.csv").read_bytes() != before
    assert len(read_rows(tmp_path / "classification.csv")) == 1


def test_methods_that_rows_could_not_tell_apart_are_refused(folder, tmp_path):
    for name in ("svm.py", "freenet-paper-all.py", "a/m.py", "b/m.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(OWN)
    for name in ("svm", "freenet-paper-all"):
        with pytest.raises(
            ConfigError, match=f"would be called {name}, as one of patchfree is. Give the file another name"
        ):
            run_benchmark(plan(folder, tmp_path / "out", methods=(str(tmp_path / f"{name}.py"),)))
    with pytest.raises(ConfigError, match=r"a/m.py and .*b/m.py would both be called m. Give one file another name"):
        run_benchmark(plan(folder, tmp_path / "out", methods=(str(tmp_path / "a/m.py"), str(tmp_path / "b/m.py"))))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": ("mars",)}, "Got scene 'mars'; there are indian-pines"),
        ({"scenes": ("salinas",)}, "Salinas: Salinas_corrected.mat is not below"),
        ({"methods": ("knn",)}, "Got method 'knn'; there are svm"),
        ({"protocols": ("random",)}, "Got protocol 'random'; there are"),
        ({"protocols": ("per-class:0",)}, "Got protocol 'per-class:0'; pixels are counted from 1"),
        ({"task": "poetry"}, "Got task 'poetry'; there are classification, anomalies"),
        ({"seeds": 0}, "Got 0 seeds"),
        ({"minutes": 0.0}, "Got 0 minutes"),
        ({"steps": 0}, "Got 0 steps"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_done(changes, message, folder, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run_benchmark(plan(folder, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_another_table_in_the_folder_is_not_overwritten(folder, tmp_path):
    (tmp_path / "classification.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="is no table of a benchmark: it has the columns a, b"):
        run_benchmark(plan(folder, tmp_path))
    assert (tmp_path / "classification.csv").read_text() == "a,b\n1,2\n"


def test_the_command_line_prints_the_table_and_names_the_files(folder, tmp_path, cli):
    answer = cli("benchmark", "--out", tmp_path / "b", "--scenes-file", folder / "mine.toml", "--scene", "field",
              "--protocol", "separate:6:1", "--method", "svm", "--seeds", 1)  # fmt: skip
    assert answer.code == 0, answer.err
    out = answer.out
    assert "## My field: separate blocks of 6 px, buffer 1 px" in out
    assert str(tmp_path / "b" / "classification.html") in out
    listed = cli("benchmark", "--list", "--scenes-file", folder / "mine.toml").out
    assert "field              My field" in listed
    assert "pavia-university   Pavia University; per-class:10, per-class:200, separate (files not there)" in listed
    assert "ssrn               patch 3-D residual network (SSRN). Z. Zhong" in listed
