"""The whole job runs on real scenes: MATLAB with finer labels, tiles with an official split, ENVI with points."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio

from jobs import read_json
from patchfree.stream import mapping

ROOT = Path(__file__).parents[1]
STEPS = ["--steps", "3", "--device", "cpu"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_houston_with_labels_on_a_grid_four_times_finer(cli, shared_data, tmp_path):
    file = shared_data / "houston_crop" / "houston_dataset.mat"
    cli.ok(
        "train", f"{file}:hyprImg", f"{file}:clasLabs", "--label-scale", 4, "--out", tmp_path / "run", *STEPS,
        "--control", "none",
    )  # fmt: skip
    m = read_json(tmp_path / "run" / "metrics.json")
    assert m["labels"]["pixels"] == 4185
    assert [e["value"] for e in m["test"]["per_class"]] == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]
    with rasterio.open(tmp_path / "run" / "map.tif") as source:
        assert source.shape == (128, 128)
        assert set(np.unique(source.read(1))) <= {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12}


@pytest.mark.slow
def test_enmap_tiles_with_their_own_lists_of_training_and_test_tiles(cli, shared_data, tmp_path):
    folder = shared_data / "enmap_potsdam"
    lists = [word for name in ("train", "validation", "test") for word in (f"--{name}", folder / f"{name}_files.csv")]
    cli.ok("train", folder / "images", *lists, "--out", tmp_path / "run", *STEPS, "--control", "svm", "--control", "rf")
    m = read_json(tmp_path / "run" / "metrics.json")
    counts = m["protocol"]["counts"]
    assert (counts["train"], counts["validation"], counts["test"]) == (3806, 1206, 660)
    assert m["protocol"]["leak_audit"]["min_distance_px"] == 1
    assert [c["name"] for c in m["controls"]] == ["svm", "rf"]
    assert all(c["overall_accuracy"] > 0.5 for c in m["controls"])
    assert "have no test pixel" in " ".join(m["protocol"]["notes"])  # water
    tiles = []
    for path in sorted((folder / "images").glob("*.tif")):
        with rasterio.open(path) as tile:
            tiles.append((tile.bounds, tile.crs))
    with rasterio.open(tmp_path / "run" / "map.tif") as source:
        assert source.crs.to_epsg() == 32633
        assert {crs.to_epsg() for _, crs in tiles} == {32633}
        assert source.bounds.left == min(b.left for b, _ in tiles)
        assert source.bounds.top == max(b.top for b, _ in tiles)
        assert source.res == (30, 30)
        mapped = source.read(1)
        assert (mapped > 0).sum() == 18 * 32 * 32
        for bounds, _ in tiles:
            window = rasterio.windows.from_bounds(*bounds, source.transform)
            assert (source.read(1, window=window) > 0).all()
    assert m["scene"]["bands"] == 218


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_jasper_ridge_with_a_csv_of_points(cli, shared_data, tmp_path):
    rng = np.random.default_rng(0)
    lines = ["row,col,class"]
    # Two places of each of two classes, made up: what matters is that the job runs on this file.
    for name, (r0, c0) in (("a", (5, 5)), ("a", (60, 60)), ("b", (5, 60)), ("b", (60, 5))):
        pixels = {(r0 + int(r), c0 + int(c)) for r, c in rng.integers(0, 15, (60, 2))}
        lines += [f"{r},{c},{name}" for r, c in sorted(pixels)]
    (tmp_path / "points.csv").write_text("\n".join(lines) + "\n")
    scene = shared_data / "envi" / "jasperRidge2_R198.hdr"
    cli.ok("train", scene, tmp_path / "points.csv", "--out", tmp_path / "run", *STEPS, "--control", "none")
    m = read_json(tmp_path / "run" / "metrics.json")
    assert m["labels"]["pixels"] == len(lines) - 1
    assert [e["name"] for e in m["test"]["per_class"]] == ["a", "b"]
    assert m["scene"]["scale"] == pytest.approx(1e-4)
    with rasterio.open(tmp_path / "run" / "map.tif") as source:
        assert source.shape == (100, 100)


@pytest.mark.slow
def test_the_example_of_large_scenes_gives_the_same_map_in_three_ways(cli, shared_data, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    page = (ROOT / "docs" / "large-scenes.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    train, *maps = (shlex.split(line)[2:] for line in block.splitlines() if line.startswith("$ patchfree"))
    folder = shared_data / "enmap_potsdam"
    (tmp_path / "enmap_potsdam").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    cli.ok(*(folder / word if word.endswith(".csv") else word for word in train), *STEPS, "--control", "none")
    made, real = [], mapping.evaluate
    monkeypatch.setattr(mapping, "evaluate", lambda job, **rest: (made.append(len(job.cores)), real(job, **rest)))
    for words in maps:
        cli.ok(*words, "--device", "cpu")
    assert made == [4, 4]
    files = [tmp_path / f"{name}.tif" for name in ("whole", "windows", "workers")]
    assert len({file.read_bytes() for file in files}) == 1
    whole, windows, workers = (file.with_name(f"{file.stem}_p.tif") for file in files)
    assert windows.read_bytes() == workers.read_bytes()
    with rasterio.open(whole) as one, rasterio.open(windows) as other:
        np.testing.assert_allclose(one.read(), other.read(), atol=1e-4)
        assert np.isfinite(one.read()).mean() == 18 * 32 * 32 / (192 * 160)
