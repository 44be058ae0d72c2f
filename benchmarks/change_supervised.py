"""Networks of two dates beside plain controls, as tables for docs/benchmarks.md.

python benchmarks/change_supervised.py sparse --data FOLDER    # taizhou: 50 changed and 50 unchanged pixels of one half, tested on the other
python benchmarks/change_supervised.py overfit --data FOLDER   # levir_sample: the published form on the 11 pairs, at half their sides
python benchmarks/change_supervised.py speed                   # one pass over a pair of 610 x 340 x 103 beside classification
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import cohen_kappa_score, f1_score
from torch.utils.flop_counter import FlopCounterMode

from patchfree.change.conformal import Conformal
from patchfree.change.pair import pair_up
from patchfree.change.recipes import change_recipe
from patchfree.change.reference import LEGEND, full_mask
from patchfree.change.supervised import chance_of_change, train_change
from patchfree.change.teacher import teach
from patchfree.change.uncertainty import judge
from patchfree.fit import Trainer
from patchfree.heap import freed_memory_kept
from patchfree.io import open_scene
from patchfree.labels import Labels
from patchfree.models import MODELS
from patchfree.models.siamese_freenet import SiameseFreeNet
from patchfree.recipes import RECIPES
from patchfree.series import join_labels, join_scenes
from patchfree.split import given_split
from patchfree.standardise import Standardisation

A_CLASS, SPLITS, ERROR_RATE = 50, 20, 0.1


def taizhou(folder: Path):
    """The pair, and 0 unlabelled, 1 unchanged, 2 changed."""
    pair = pair_up(open_scene(folder / "2000TM"), open_scene(folder / "2003TM"))
    changed, unchanged = (np.array(Image.open(folder / f"{name}.bmp")) > 127 for name in ("change", "unchanged"))
    return pair, np.where(changed, 2, np.where(unchanged, 1, 0))


def sparse_labels(truth, half: str, seed: int, noise: float):
    """Labels to train on, from one half of the scene, some of them wrong, and a split that tests on the other half."""
    rng = np.random.default_rng(seed)
    side = np.zeros(truth.shape, bool)
    side[(slice(None), slice(0, truth.shape[1] // 2)) if half == "west" else slice(0, truth.shape[0] // 2)] = True
    learnt = np.zeros_like(truth)
    for value in (1, 2):
        pixels = rng.permutation(np.flatnonzero((truth == value) & side))[:A_CLASS]
        learnt.flat[pixels] = value
        half_up = math.ceil if value == 1 else math.floor  # 2.5 of each class are 3 of one and 2 of the other
        wrong = rng.permutation(pixels)[: half_up(noise * A_CLASS)]
        learnt.flat[wrong] = 3 - value
    return given_split(Labels(learnt, LEGEND), Labels(np.where(side, 0, truth), LEGEND), seed=seed)


def vectors_of_change(pair, labels, split):
    """Kappa of change vector analysis: z-scored bands, squared distance, the threshold best on the training pixels."""
    dates = pair.stacked().values.reshape(2, len(pair.bands), -1)
    dates = (dates - dates.mean(2, keepdims=True)) / dates.std(2, keepdims=True)
    score = np.square(dates[0] - dates[1]).sum(0).reshape(split.train.shape)
    learnt, truth = split.train | split.val, labels.index == 2
    levels = np.unique(score[learnt])
    kappas = [cohen_kappa_score(truth[learnt], score[learnt] >= level) for level in levels]
    best = levels[kappas == np.max(kappas)].mean()  # the middle of equally good ones
    return cohen_kappa_score(truth[split.test], score[split.test] >= best)


def teacher_alone(pair, labels, split, seed) -> float:
    """Kappa of what teaches the default network: scores without labels, calibrated on the training pixels."""
    said = teach(pair.stacked(), labels.index, split.train, seed)
    return cohen_kappa_score(labels.index[split.test], said.argmax(0)[split.test] + 1)


def coverage(chance, truth, seeds=range(SPLITS)):
    """Coverage of the conformal sets on half of the held-out pixels, learnt from the other half, over random splits."""
    found = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(truth))
        fit, test = order[: len(order) // 2], order[len(order) // 2 :]
        found.append(Conformal.fit(chance[fit], truth[fit], error_rate=ERROR_RATE).coverage(chance[test], truth[test]))
    return {key: [each[key] for each in found] for key in found[0]}


def sparse(folder: Path, seeds, models, half: str, noise: float, steps: int | None) -> None:
    """A line of JSON for each run, then the means."""
    pair, truth = taizhou(folder)
    rows = []
    for model in models:
        recipe = change_recipe(model) if steps is None else change_recipe(model, steps=steps)
        for seed in seeds:
            labels, split = sparse_labels(truth, half, seed, noise)
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as place:
                run = train_change(pair, labels, split=split, recipe=recipe, seed=seed, out=Path(place) / "run")
                seconds = time.perf_counter() - began
            found = run.predict(pair.stacked())
            there = split.test
            chance, known = chance_of_change(found)[there], (labels.index[there] == 2).astype(int)
            wrong = (found.index[there] == 2) != known
            uncertainties = {"entropy": judge(found.entropy[there], wrong)}
            if found.branch is not None:
                uncertainties["predicted error"] = judge(found.branch[there], wrong, chance=True)
            covered = coverage(chance, known)
            rows.append(
                {
                    "model": model,
                    "half": half,
                    "noise": noise,
                    "seed": seed,
                    "steps": recipe.steps,
                    "kappa": run.metrics["test"]["kappa"],
                    "svm": run.metrics["controls"][0]["kappa"],
                    "cva": vectors_of_change(pair, labels, split),
                    "teacher": teacher_alone(pair, labels, split, seed),
                    "wrong": int(wrong.sum()),
                    "auroc_of_errors": {name: each["auroc_of_errors"] for name, each in uncertainties.items()},
                    "risk_coverage_area": {name: each["risk_coverage_area"] for name, each in uncertainties.items()},
                    "ece": run.metrics["change"]["ece"],
                    "coverage_mean": {key: statistics.fmean(values) for key, values in covered.items()},
                    "coverage_worst": max(abs(value - 1 + ERROR_RATE) for value in covered["all"]),
                    "coverage_of_own_validation": run.metrics["change"]["conformal"]["coverage_on_test_pixels"],
                    "seconds": round(seconds, 1),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    for model in models:
        mine = [row for row in rows if row["model"] == model]
        for key in ("kappa", "svm", "cva", "teacher"):
            values = [row[key] for row in mine]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            print(f"{model} {half} noise {noise:g}: {key} {statistics.fmean(values):.4f} ± {spread:.4f}", flush=True)


def overfit(folder: Path, steps: int, reduce: int, seed: int, minutes: float) -> None:
    """F1 of the published form on the pairs that it was trained on, after each round of steps."""
    scenes, labels = [], []
    for path in sorted((folder / "label").glob("*.png")):
        pair = pair_up(open_scene(folder / "A" / path.name), open_scene(folder / "B" / path.name))
        stacked, known = pair.stacked(), full_mask(str(path), pair.before.grid)
        part = (slice(reduce // 2, None, reduce), slice(reduce // 2, None, reduce))
        values, valid = stacked.values[:, *part].copy(), stacked.valid[part].copy()
        grid = dataclasses.replace(stacked.grid, height=valid.shape[0], width=valid.shape[1], transform=None)
        scenes.append(dataclasses.replace(stacked, values=values, valid=valid, grid=grid))
        labels.append(dataclasses.replace(known, index=known.index[part]))
    series = join_scenes(scenes)
    together = join_labels(series, labels)
    everything = together.index > 0
    trainer = Trainer(
        Standardisation.of(series).apply(series),
        series.valid,
        together.index,
        train=everything,
        val=np.zeros_like(everything),
        classes=2,
        recipe=change_recipe("ar-cdnet-rgb", steps=steps, flips=False, swap=False),  # to be learnt by heart
        seed=seed,
        device=torch.device("cpu"),
        windows=series.passes,
    )
    began = time.perf_counter()
    for step in trainer.run():
        spent = time.perf_counter() - began
        if step.number % max(1, steps // 10) and step.number != steps and spent < 60 * minutes:
            continue
        trainer.model.eval()
        found, known = [], []
        with torch.inference_mode():
            for piece, window in zip(trainer.pieces, series.passes, strict=True):
                found.append(trainer.model(piece.values[None])[0].argmax(0).numpy().ravel())
                known.append(together.index[window].ravel() - 1)
        f1 = f1_score(np.concatenate(known), np.concatenate(found))
        print(
            f"step {step.number} of {steps}, {len(scenes)} pairs of {scenes[0].grid.shape}, {spent:.0f} s: loss {step.loss:.4f}, F1 "
            f"{f1:.4f}",
            flush=True,
        )
        if spent >= 60 * minutes:
            break


def speed(rounds: int) -> None:
    """One pass of each network over 610 x 340 pixels, as a share of a matrix product's rate.

    They see 103 bands (of each date); the default network of classification, first, its components of them, with and without
    the smoothing of its map. The last is that of changes, as wide as FreeNet.
    """
    rows, rate = [], 0.0
    of_classes = RECIPES["default"]
    seen = of_classes.components + of_classes.principal
    networks = [("freenet-half", seen), (of_classes.model, seen)]
    networks += [
        (name, 103) for name in ("freenet-half", "freenet", "siamese-freenet", "ar-cdnet", "fc-siam-diff", "unet")
    ]
    cases = [(name, MODELS[name], bands) for name, bands in networks]
    cases.append(("siamese-freenet, wide", partial(SiameseFreeNet, width=1.0), 103))
    for name, make, bands in cases:
        dates = 1 if name.startswith("freenet") else 2
        model = make(bands=bands * dates, classes=9 if dates == 1 else 2).eval().to(memory_format=torch.channels_last)
        x = torch.randn(1, bands * dates, 610, 340).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(x)
        seconds = float("inf")
        for _ in range(rounds):  # in turns: a busy machine then slows both
            rate = max(rate, matrix_rate(rounds))
            with torch.inference_mode():
                seconds = min(seconds, timed(lambda model=model, x=x: model(x)))
        rows.append((f"{name}, {bands} bands", counter.get_total_flops(), seconds))
    print(f"matrix product: {rate / 1e9:.0f} GFLOP/s with {torch.get_num_threads()} threads")
    print("| network | GFLOP a pass | seconds | GFLOP/s | share of the matrix product |\n|---|---|---|---|---|")
    for name, flops, seconds in rows:
        share = flops / seconds / rate
        print(f"| {name} | {flops / 1e9:.0f} | {seconds:.2f} | {flops / seconds / 1e9:.0f} | {share:.0%} |")


def matrix_rate(rounds: int) -> float:
    """Operations a second of a large matrix product."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / min(timed(lambda: a @ a) for _ in range(3 * rounds))


def timed(work) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sparse", "overfit", "speed"))
    parser.add_argument("--data", type=Path, help="folder of the scenes")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--models", nargs="+", default=["siamese-freenet"])
    parser.add_argument("--half", choices=("west", "north"), default="west", help="the half that trains")
    parser.add_argument("--noise", type=float, default=0.0, help="share of wrong training labels")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--reduce", type=int, default=2, help="overfit: every n-th pixel of the pairs")
    parser.add_argument("--minutes", type=float, default=15.0, help="overfit: stop after")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.what == "speed":
        with freed_memory_kept():  # as a training keeps it where there is plenty
            speed(given.rounds)
    elif given.data is None:
        parser.error("--data FOLDER is needed")
    elif given.what == "sparse":
        sparse(given.data, given.seeds, given.models, given.half, given.noise, given.steps)
    else:
        overfit(given.data, given.steps or 600, given.reduce, given.seeds[0], given.minutes)


if __name__ == "__main__":
    main()
