"""Change detection without labels, as tables for docs/benchmarks.md.

python benchmarks/change.py taizhou --data FOLDER    # 2000TM, 2003TM, change.bmp, unchanged.bmp
python benchmarks/change.py planted --data FOLDER    # scenes (ENVI headers, folders of tiles) that changes are planted in
python benchmarks/change.py levir --data FOLDER      # A, B, label: pairs of aerial photographs
python benchmarks/change.py speed
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, shift
from sklearn.metrics import roc_auc_score

from patchfree.change import METHODS
from patchfree.change.reference import full_mask
from patchfree.change.scoring import find_changes
from patchfree.change.truth import measure, read_truth
from patchfree.errors import PatchfreeError
from patchfree.io import open_scene
from patchfree.scene import Bands, Grid, make_scene

SEEDS = range(5)


VARIANTS = (*((name, None) for name in METHODS), ("cva", "ir-mad"), ("pca-kmeans", "ir-mad"))
"""Methods, and how the dates are normalised first."""


def titled(name: str, normalise: str | None) -> str:
    """What to call a method in a table."""
    return name if normalise is None else f"{name}, normalised"


def seeds_of(name: str):
    """Five seeds where something is random, else one."""
    return SEEDS if METHODS[name].random else SEEDS[:1]


def taizhou(folder: Path) -> None:
    """AUC of each method, and kappa with each threshold."""
    print(
        "| method | AUC | kappa, otsu | mixture | chi-square | AUROC of the uncertainty for errors (otsu) | seconds |"
    )
    print("|---|---|---|---|---|---|---|")
    before, after = open_scene(folder / "2000TM"), open_scene(folder / "2003TM")
    truth = read_truth(str(folder / "change.bmp"), before.grid, unchanged=str(folder / "unchanged.bmp"))
    for name, normalise in VARIANTS:
        cells, auc, errors, seconds = [], [], [], []
        for way in ("otsu", "mixture", "chi-square"):
            kappas = []
            for seed in seeds_of(name):
                began = time.perf_counter()
                try:
                    found = find_changes(before, after, method=name, threshold=way, normalise=normalise, seed=seed)
                except PatchfreeError:
                    break
                seconds.append(time.perf_counter() - began)
                measured = measure(found, truth)
                kappas.append(measured["kappa"])
                auc.append(measured["auc"])
                if way == "otsu":
                    errors.append(measured["uncertainty"]["auroc_of_errors"])
            cells.append(f"{statistics.fmean(kappas):.3f}" if kappas else "–")
        print(
            f"| {titled(name, normalise)} | {statistics.fmean(auc):.4f} | {' | '.join(cells)} | {statistics.fmean(errors):.3f} | "
            f"{statistics.median(seconds):.1f} |",
            flush=True,
        )


def plant(scene, seed: int, moved: float, noise: float, share: float = 0.05):
    """Two dates of a scene: AFTER under another light, moved, noisier, and with blobs from elsewhere in the scene."""
    rng = np.random.default_rng(seed)
    values = scene.values.astype(np.float64)
    c, h, w = values.shape
    spread = values[:, scene.valid].std(1)[:, None, None]
    rows, cols = np.mgrid[:h, :w]
    there = (h // 3, w // 2)
    other, usable = np.roll(values, there, (1, 2)), scene.valid & np.roll(scene.valid, there, (0, 1))
    truth, after = np.zeros((h, w), bool), values.copy()
    while truth[scene.valid].mean() < share:
        row, col, (high, wide) = rng.integers(0, h), rng.integers(0, w), rng.uniform(1, 6, 2)
        blob = (((rows - row) / high) ** 2 + ((cols - col) / wide) ** 2 < 1) & usable
        truth |= blob
        after[:, blob] = other[:, blob]
    if moved:
        after = np.stack([shift(band, (moved, moved / 2), order=1, mode="nearest") for band in after])
    light = gaussian_filter(rng.normal(size=(h, w)), h / 6)
    after = after * rng.uniform(0.7, 1.4, (c, 1, 1)) * (1 + 0.05 * light / light.std())
    after += rng.normal(0, 0.3, (c, 1, 1)) * spread + noise * spread * rng.normal(size=values.shape)
    before = values + noise * spread * rng.normal(size=values.shape)
    before[:, ~scene.valid] = after[:, ~scene.valid] = 0
    one, two = (replace(scene, values=v.astype(np.float32)) for v in (before, after))
    return one, two, truth & scene.valid


def planted(folder: Path) -> None:
    """AUC of each method on planted changes: the mean over three strengths of noise and shift."""
    paths = [
        *sorted(folder.glob("envi/*.hdr")),
        *sorted(folder.glob("*/images")),
        *sorted(folder.glob("abu/*urban-4.mat")),
    ]
    names = [path.parent.name if path.is_dir() else path.name.split(".")[0] for path in paths]
    print("| method | " + " | ".join(names) + " | mean | worst |")
    print("|---" * (len(names) + 3) + "|")
    found: dict[str, list[list[float]]] = {titled(*variant): [] for variant in VARIANTS}
    for path in paths:
        scene = open_scene(f"{path}:data" if path.suffix == ".mat" else path)
        for each in found.values():
            each.append([])
        for seed, (moved, noise) in enumerate(((0.0, 0.05), (0.4, 0.05), (0.4, 0.2))):
            before, after, truth = plant(scene, seed, moved, noise)
            for name, normalise in VARIANTS:
                scores = find_changes(before, after, method=name, normalise=normalise).scores
                found[titled(name, normalise)][-1].append(float(roc_auc_score(truth[scene.valid], scores[scene.valid])))
    for name, scenes in found.items():
        means = [statistics.fmean(v) for v in scenes]
        worst = min(min(v) for v in scenes)
        print(
            f"| {name} | " + " | ".join(f"{v:.3f}" for v in (*means, statistics.fmean(means), worst)) + " |", flush=True
        )


def levir(folder: Path) -> None:
    """AUC and kappa on photographs, where a change of the light is no change of the ground."""
    print("| method | mean AUC | mean kappa |\n|---|---|---|")
    for name in METHODS:
        auc, kappa = [], []
        for path in sorted((folder / "A").glob("*.png")):
            try:
                found = find_changes(path, folder / "B" / path.name, method=name)
                measured = measure(found, full_mask(str(folder / "label" / path.name), found.grid))
            except PatchfreeError:
                continue
            if measured["auc"] is not None:
                auc.append(measured["auc"])
                kappa.append(measured["kappa"])
        print(
            f"| {name} | {statistics.fmean(auc):.3f} | {statistics.fmean(kappa):.3f} | ({len(auc)} pairs)", flush=True
        )


def speed() -> None:
    """Time of each method on a pair of 610 x 340 x 103, beside CVA in the same run."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(103, 8))
    common = gaussian_filter(rng.normal(size=(8, 610, 340)), (0, 3, 3))
    common /= common.std()

    def date(name: str):
        values = np.tensordot(mixing, common, 1) + 0.3 * rng.normal(size=(103, 610, 340))
        return make_scene(
            values.astype(np.float32),
            missing=np.zeros(values.shape, bool),
            bands=Bands(tuple(range(1, 104)), 103),
            grid=Grid(610, 340),
            name=name,
        )

    before, after = date("before"), date("after")
    print("| method | seconds | times CVA | note |\n|---|---|---|---|")
    times: dict[str, float] = {}
    for name in METHODS:
        began = time.perf_counter()
        found = find_changes(before, after, method=name)
        times[name] = time.perf_counter() - began
        print(
            f"| {name} | {times[name]:.1f} | {times[name] / times['cva']:.1f} | {' '.join(found.notes)} |", flush=True
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("taizhou", "planted", "levir", "speed"))
    parser.add_argument("--data", type=Path, help="folder of the scenes")
    given = parser.parse_args()
    if given.what == "speed":
        speed()
    elif given.data is None:
        parser.error(f"{given.what} needs --data")
    else:
        {"taizhou": taizhou, "planted": planted, "levir": levir}[given.what](given.data)
