"""Anomaly detectors on scenes with masks, and their speed, as tables for docs/benchmarks.md.

python benchmarks/anomalies.py detectors --data FOLDER      # of abu-*.mat, with the variables data and map
python benchmarks/anomalies.py suppression --data FOLDER    # RX after BSDM and after its controls; hours
python benchmarks/anomalies.py speed
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from patchfree.anomalies import DETECTORS
from patchfree.anomalies.compare import compare
from patchfree.anomalies.local_rx import LocalRX
from patchfree.anomalies.scoring import find_anomalies
from patchfree.io import open_scene
from patchfree.io.reference import read_labels
from patchfree.scene import Bands, Grid, make_scene
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView


def scenes(folder: Path):
    """Name of each scene, and what opens it and its mask."""

    def opens(path):
        scene = open_scene(f"{path}:data")
        return scene, read_labels(f"{path}:map", scene).index > 0

    return [
        (path.stem.removeprefix("abu-"), lambda path=path: opens(path)) for path in sorted(folder.glob("abu-*.mat"))
    ]


def table(rows) -> None:
    """AUC of each method on each scene: the mean over seeds, then mean and worst over scenes, and the time."""
    rows = list(rows)
    names = list(dict.fromkeys(row.scene for row in rows))
    print("| method | " + " | ".join(names) + " | mean | worst | spread over seeds | median seconds |")
    print("|---" * (len(names) + 5) + "|")
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        by_scene = {name: [row.measures["auc"] for row in mine if row.scene == name] for name in names}
        means = [statistics.fmean(by_scene[name]) for name in names]
        spread = max((statistics.stdev(v) for v in by_scene.values() if len(v) > 1), default=None)
        cells = [f"{value:.4f}" for value in (*means, statistics.fmean(means), min(means))]
        shown = "–" if spread is None else f"{spread:.4f}"
        seconds = statistics.median(row.seconds for row in mine)
        print(f"| {method} | " + " | ".join(cells) + f" | {shown} | {seconds:.1f} |", flush=True)


def made(rows: int, cols: int, bands: int):
    """A scene of correlated noise."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(bands, bands)) / np.sqrt(bands)
    values = (mixing @ rng.normal(size=(bands, rows * cols))).reshape(bands, rows, cols).astype(np.float32)
    return make_scene(
        values,
        missing=np.zeros(values.shape, bool),
        bands=Bands(tuple(range(1, bands + 1)), bands),
        grid=Grid(rows, cols),
        name="made",
    )


def clocked(work, times: int = 3) -> float:
    """Shortest time of several."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def loop(values, inner: int, outer: int, pixels) -> list[float]:
    """Local RX of some pixels the straightforward way: covariance and inverse of every ring from scratch."""
    _, h, w = values.shape
    found = []
    for row, col in pixels:
        top, left = (min(max(0, p - outer // 2), n - outer) for p, n in ((row, h), (col, w)))
        rows, cols = np.mgrid[top : top + outer, left : left + outer]
        far = np.maximum(abs(rows - row), abs(cols - col)) > inner // 2
        background = values[:, rows[far], cols[far]]
        gap = values[:, row, col] - background.mean(1)
        found.append(float(gap @ np.linalg.inv(np.cov(background, bias=True)) @ gap))
    return found


def speed() -> None:
    """The three goals for time, as ratios within this run."""
    scene = made(610, 340, 103)
    spectra = scene.values.reshape(103, -1).astype(np.float64)
    product, covariance = clocked(lambda: spectra @ spectra.T), clocked(lambda: np.cov(spectra))
    whole = clocked(lambda: find_anomalies(scene, method="rx"))
    print(
        f"global RX, 610 x 340 x 103: {whole:.2f} s; matrix product {product:.2f} s (ratio {whole / product:.2f}), ",
        end="",
    )
    print(f"numpy.cov {covariance:.2f} s (ratio {whole / covariance:.2f})")

    scene, detector = made(100, 100, 200), LocalRX(5, 23)
    values = scene.values.astype(np.float64)
    pixels = [(int(r), int(c)) for r, c in np.random.default_rng(1).integers(0, 100, (150, 2))]
    score = detector.fit(SceneView(scene), Context())
    fast = clocked(lambda: score(scene.values, scene.valid), 2)
    slow = clocked(lambda: loop(values, 5, 23, pixels), 1) / len(pixels) * 10_000
    scores, plain = score(scene.values, scene.valid), loop(values, 5, 23, pixels)
    worst = max(abs(scores[p] / q - 1) for p, q in zip(pixels, plain, strict=True))
    print(
        f"local RX, 100 x 100 x 200, windows 5 and 23: {fast:.1f} s; loop {slow:.0f} s, ratio {slow / fast:.1f}; ",
        end="",
    )
    print(f"largest relative difference {worst:.1e}")
    print(f"default detector, 100 x 100 x 200: {clocked(lambda: find_anomalies(scene), 2):.1f} s")


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["detectors", "suppression", "speed"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/abu"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="*", default=sorted(DETECTORS))
    given = parser.parse_args()
    seeds = range(given.seeds)
    if given.what == "speed":
        speed()
    elif given.what == "detectors":
        table(compare(scenes(given.data), [("none", name) for name in given.methods], seeds=seeds, device="cpu"))
    else:
        before = ("none", "pca", "bsdm-untrained", "bsdm")
        table(compare(scenes(given.data), [(name, "rx") for name in before], seeds=seeds, device="cpu"))


if __name__ == "__main__":
    main()
