"""The task anomalies of the benchmark: detectors, and a user's own, on scenes with a mask, without any label in training."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.io
from sklearn.metrics import roc_auc_score

from conftest import SHARED
from patchfree.anomalies.scoring import find_anomalies
from patchfree.benchmark.detect import DETECTION, find_detection
from patchfree.benchmark.plan import Plan, names_known
from patchfree.benchmark.runner import run_benchmark
from patchfree.errors import ConfigError
from patchfree.io import open_scene

pytestmark = pytest.mark.usefixtures("cells_are_forked")

OWN = '''"""Distance from the mean, a user's own."""
import numpy as np
from patchfree.benchmark import Fitted

def fit(training):
    assert not training.learnt.any() and not training.index.any()
    return Fitted(lambda: np.square(training.values).sum(0))
'''
FAULTY = {
    "shape": ("np.zeros((3, 3))", r"shape gave scores of the shape \(3, 3\) and type float64; need \(24, 22\)"),
    "nan": ("np.full(t.valid.shape, np.nan)", r"nan gave NaN or infinite scores at 528 of 528 pixels"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two scenes of correlated noise with two bright objects each, under the published names."""
    folder = tmp_path_factory.mktemp("abu")
    rng = np.random.default_rng(3)
    for name in ("abu-beach-1", "abu-urban-5"):
        values = rng.normal(500, 40, (24, 22, 1)) + rng.normal(0, 10, (24, 22, 6))
        mask = np.zeros((24, 22), np.uint8)
        for row, col in ((5, 6), (16, 13)):
            values[row : row + 2, col : col + 2, ::2] += 60
            mask[row : row + 2, col : col + 2] = 1
        scipy.io.savemat(folder / f"{name}.mat", {"data": values.astype(np.int16), "map": mask})
    (folder / "far.py").write_text(OWN)
    for name, (scores, _) in FAULTY.items():
        (folder / f"{name}.py").write_text(
            f"import numpy as np\nfrom patchfree.benchmark import Fitted\nfit = lambda t: Fitted(lambda: {scores})\n"
        )
    return folder


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    methods = ("rx", "surround", "isolation", "bsdm-untrained+rx", str(folder / "far.py"))
    plan = Plan(out=out, task="anomalies", methods=methods, seeds=2, data=folder, device="cpu")
    return run_benchmark(plan), out


def test_all_scenes_with_a_mask_are_compared_and_only_what_is_random_is_repeated(whole):
    outcome, _ = whole
    assert not [row["error"] for row in outcome.rows if row.get("error")]
    counts = {
        name: sum(row["method"] == name for row in outcome.rows) for name in ("rx", "surround", "isolation", "far")
    }
    assert counts == {"rx": 2, "surround": 2, "isolation": 4, "far": 4}
    assert {row["scene"] for row in outcome.rows} == {"abu-beach-1", "abu-urban-5"}
    assert all((row["pixels"], row["anomalous_pixels"], row["anomalies"]) == (528, 8, 2) for row in outcome.rows)


def test_the_scores_are_those_of_the_command_and_the_area_that_of_scikit_learn(whole, folder):
    outcome, _ = whole
    path = folder / "abu-beach-1.mat"
    scores = find_anomalies(open_scene(f"{path}:data"), method="rx").scores
    (row,) = [row for row in outcome.rows if (row["method"], row["scene"]) == ("rx", "abu-beach-1")]
    assert row["auc"] == pytest.approx(roc_auc_score(scipy.io.loadmat(path)["map"].ravel(), scores.ravel()), abs=1e-6)


def test_tables_and_page_show_each_scene_and_all_together(whole):
    _, out = whole
    text = (out / "anomalies.md").read_text()
    assert "## All scenes: no labels" in text
    assert "8 of 528 pixels are anomalous, in 2 objects." in text
    assert "GMAC" not in text  # a column that nothing stands in
    (line,) = [line for line in text.splitlines() if line.startswith("| global RX | 2 |")]
    assert "ABU" in line
    html = (out / "anomalies.html").read_text()
    assert html.count("data:image/png;base64,") == 2 * (2 + 5)
    assert "optimistic" not in html
    assert "Kang" not in html  # scenes are cited by the list, methods on the page
    assert "I. S. Reed" in html


@pytest.mark.parametrize("name", FAULTY)
def test_scores_that_are_none_are_a_row_with_its_error(name, folder, tmp_path):
    plan = Plan(tmp_path, "anomalies", ("abu-beach-1",), (), (str(folder / f"{name}.py"), "rx"), 1, data=folder)
    wrong, right = sorted(run_benchmark(plan).rows, key=lambda row: row["method"] == "rx")
    path = folder / "abu-beach-1.mat"
    scores = find_anomalies(open_scene(f"{path}:data"), method="rx").scores
    assert right["auc"] == pytest.approx(roc_auc_score(scipy.io.loadmat(path)["map"].ravel(), scores.ravel()), abs=1e-6)
    assert re.match(FAULTY[name][1], wrong["error"])


def test_names_of_methods(folder):
    assert find_detection("pca+surround").title.endswith(DETECTION["surround"].title)
    assert find_detection("bsdm+local-rx").random
    assert not find_detection("rx").random
    for name in ("nothing", "nothing+rx", "rx+rx", "none+rx+rx"):
        with pytest.raises(ConfigError, match=r"there are .*surround"):
            find_detection(name)
    listed = names_known("anomalies", folder, None)
    assert "abu-beach-1" in listed
    assert "abu-airport-1      ABU airport 1; unlabelled (files not there)" in listed
    assert "indian-pines" not in listed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scenes": ("indian-pines",)}, "which has not what the task anomalies needs: a mask of its true anomalies"),
        ({"protocols": ("separate",)}, "anomaly detectors see no label, so there is only unlabelled"),
        ({"data": None}, "Found the files of no scene with a mask of its true anomalies"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings, message, folder, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run_benchmark(Plan(**({"out": tmp_path, "task": "anomalies", "data": folder, "methods": ("rx",)} | settings)))


def test_global_rx_of_a_real_scene(tmp_path):
    if not (SHARED / "abu").is_dir():
        pytest.skip(f"real scenes not found at {SHARED / 'abu'}: they are not part of the project")
    plan = Plan(tmp_path, "anomalies", ("abu-airport-1",), methods=("rx",), data=SHARED / "abu")
    assert run_benchmark(plan).rows[0]["auc"] == pytest.approx(0.8221, abs=0.0005)
