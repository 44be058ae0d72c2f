"""How long anomaly detectors take, against what they stand on, as ratios of one run, for docs/benchmarks.md.

python benchmarks/anomalies.py

How well they detect is compared by `patchfree benchmark --task anomalies`.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import spectral

from patchfree.anomalies.local_rx import LocalRX
from patchfree.anomalies.scoring import find_anomalies
from patchfree.scene import Bands, Grid, make_scene
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import SceneView


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


def loop(values, inner: int, outer: int, pixels, inverse=np.linalg.inv) -> list[float]:
    """Local RX of some pixels the straightforward way: covariance and inverse of every ring from scratch."""
    _, h, w = values.shape
    found = []
    for row, col in pixels:
        top, left = (min(max(0, p - outer // 2), n - outer) for p, n in ((row, h), (col, w)))
        rows, cols = np.mgrid[top : top + outer, left : left + outer]
        far = np.maximum(abs(rows - row), abs(cols - col)) > inner // 2
        background = values[:, rows[far], cols[far]]
        gap = values[:, row, col] - background.mean(1)
        found.append(float(gap @ inverse(np.cov(background, bias=True)) @ gap))
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
    square = values[:, :30, :30].transpose(1, 2, 0).copy()
    ways = {
        "SPy's rx": clocked(lambda: spectral.rx(square, window=(5, 23)), 1) / 900,
        "loop with pseudo-inverse": clocked(lambda: loop(values, 5, 23, pixels, np.linalg.pinv), 1) / len(pixels),
        "loop with inverse": clocked(lambda: loop(values, 5, 23, pixels), 1) / len(pixels),
    }
    scores, plain = score(scene.values, scene.valid), loop(values, 5, 23, pixels)
    worst = max(abs(scores[p] / q - 1) for p, q in zip(pixels, plain, strict=True))
    print(f"local RX, 100 x 100 x 200, windows 5 and 23: {fast:.1f} s; largest relative difference {worst:.1e}")
    for way, seconds in ways.items():
        print(f"  {way}: {seconds * 1e4:.0f} s, ratio {seconds * 1e4 / fast:.1f}")
    print(f"default detector, 100 x 100 x 200: {clocked(lambda: find_anomalies(scene), 2):.1f} s")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    speed()
