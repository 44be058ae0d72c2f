"""The demo scene is the published Indian Pines, and the demo shows both protocols honestly."""

import numpy as np
import pytest

from jobs import RUN_FILES, contents, read_json
from patchfree.demo import CLASS_NAMES, indian_pines
from patchfree.errors import MissingExtra

COUNTS = [46, 1428, 830, 237, 483, 730, 28, 478, 20, 972, 2455, 593, 205, 1265, 386, 93]
REMOVED = {*range(104, 109), *range(150, 164), 220}
"""Bands without signal, one-based, that the published scene lacks: water vapour, and the last."""


@pytest.fixture(scope="module")
def pines():
    return indian_pines()


def test_scene_has_the_published_size_and_range(pines):
    scene, _ = pines
    assert scene.values.shape == (200, 145, 145)
    assert (scene.values.min(), scene.values.max()) == (955, 9604)
    assert scene.all_valid
    assert scene.grid.crs is None


def test_labels_have_the_published_counts_and_names(pines):
    _, labels = pines
    assert labels.counts.tolist() == COUNTS
    assert labels.values == tuple(range(1, 17))
    assert tuple(entry.name for entry in labels.legend) == CLASS_NAMES
    assert len({entry.colour for entry in labels.legend}) == 16


def test_wavelengths_are_those_of_the_sensor_without_the_removed_bands(pines, shared_data):
    table = np.loadtxt(shared_data / "aviris_bands" / "92AV3C.spc", skiprows=2)[:, 0]
    kept = [wavelength for row, wavelength in enumerate(table, 1) if row not in REMOVED]
    assert len(table) == 220
    np.testing.assert_allclose(pines[0].wavelengths_nm, kept, atol=0.1)


def test_wavelengths_leave_the_water_bands_out_and_fall_back_only_where_detectors_overlap(pines):
    wavelengths = pines[0].wavelengths_nm
    assert wavelengths[0] == pytest.approx(400.02, abs=0.01)
    assert np.flatnonzero(np.diff(wavelengths) < 0).tolist() == [30, 93]
    gaps = np.flatnonzero(np.diff(wavelengths) > 30)
    assert [int(wavelengths[i]) for i in gaps] == [1352, 1809]


def test_missing_package_is_told_with_the_way_to_get_it(cli, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorly.datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'patchfree\[demo\]'"):
        indian_pines()
    cli.refused(2, r"needs the package tensorly, which is not installed", "demo", "--out", tmp_path / "demo")


@pytest.mark.slow
def test_demo_makes_every_run_and_shows_both_protocols(cli, tmp_path):
    words = ("demo", "--out", tmp_path, "--steps", 2, "--device", "cpu", "--figures")
    said = cli.ok(*words)
    assert {name for name in contents(tmp_path) if "/" not in name} == RUN_FILES
    for seed in range(3):
        m = read_json(tmp_path / f"random-{seed}" / "metrics.json")
        assert m["protocol"]["split"] == {"kind": "random", "fraction": 0.1, "seed": seed, "validation": 0.1}
        assert m["protocol"]["optimistic"] is True
    m = read_json(tmp_path / "metrics.json")
    assert m["protocol"]["split"]["kind"] == "blocks"
    assert m["protocol"]["refit_on_all_labels"] is True
    assert [c["name"] for c in m["controls"]] == ["svm"]
    assert f"overall accuracy {m['test']['overall_accuracy'] * 100:.2f} %" in said
    report = (tmp_path / "report.html").read_text()
    assert "random, 10 % of each class" in report
    assert "separate blocks of 18 px" in report
    assert "Baumgardner" in report
    before = contents(tmp_path)
    assert cli.ok(*words) == said
    assert contents(tmp_path) == before
