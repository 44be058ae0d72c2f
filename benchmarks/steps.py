"""What more or fewer training steps make of a method that ours is compared with, on pixels that are reported nowhere.

    python benchmarks/steps.py --method ssrn --scene indian-pines --steps 1000 --steps 3000 --whole
    python benchmarks/steps.py --method cnn2d --scene enmap-potsdam --data FOLDER --steps 1000 --steps 4000

So that a network that ours is ahead of is not one that was stopped too early. Seeds and pixels are those of `choose.py`: validation pixels
within the training side of splits with seeds from 10 on. With `--whole` the whole training side of those splits is learnt, as many pixels as
in the comparison, and the other side judges: for a method that ours is compared with, never to choose ours. A schedule of rates is as
long as the training, so each number of steps is a training of its own.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from choose import SEEDS, fold

from patchfree.benchmark.loading import load
from patchfree.benchmark.method import Training, check_scores
from patchfree.benchmark.methods import find_method
from patchfree.benchmark.protocols import split
from patchfree.benchmark.scenes import described_scenes
from patchfree.confusion import accuracies, confusion_counts
from patchfree.device import choose_device
from patchfree.standardise import Standardisation


def main() -> None:
    """Parse, train, print a line a training and then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the scenes' files; Indian Pines needs none")
    parser.add_argument("--method", required=True, help="name of a method of the benchmark that has steps")
    parser.add_argument("--scene", required=True, choices=SEEDS)
    parser.add_argument("--steps", type=int, action="append", required=True, help="repeatable")
    parser.add_argument("--seeds", type=int, default=3, help="at most so many")
    parser.add_argument(
        "--whole", action="store_true", help="learn the whole training side; for scenes split in blocks"
    )
    given = parser.parse_args()
    if given.whole and given.scene == "enmap-potsdam":
        parser.error(
            "the split of enmap-potsdam is given: its other side is the test that is reported; leave out --whole"
        )
    seeds = SEEDS[given.scene][: given.seeds]
    found = np.array(
        [[measured(given.method, given.scene, s, n, given.data, given.whole) for s in seeds] for n in given.steps]
    )  # steps, seeds, measures
    print("\n| steps | OA / mean IoU | less the line above |\n|---|---|---|")
    for i, (steps, values) in enumerate(zip(given.steps, found, strict=True)):
        oa, iou = values.mean(0) * 100
        gain = "–" if i == 0 else " / ".join(f"{100 * d:+.1f}" for d in (values - found[i - 1]).mean(0))
        print(f"| {steps} | {oa:.1f} / {iou:.1f} | {gain} |")


def measured(method: str, scene: str, seed: int, steps: int, data: Path | None, whole: bool) -> tuple[float, float]:
    """Overall accuracy and mean IoU at the pixels that judge, after so many steps."""
    if whole:
        loaded = load(described_scenes()[scene], data)
        chosen = split("separate", loaded, seed)
        labels, learnt, judged = loaded.labels, chosen.train | chosen.val, chosen.test
    else:
        loaded, labels, learnt, judged = fold(scene, seed, data)
    began, valid, k = time.perf_counter(), loaded.scene.valid, len(labels.legend)
    training = Training(
        scene=loaded.scene,
        values=Standardisation.of(loaded.scene).apply(loaded.scene),
        index=np.where(learnt, labels.index, 0),
        train=learnt,
        val=np.zeros_like(learnt),
        legend=labels.legend,
        apart=True,
        seed=seed,
        device=choose_device(),
        steps=steps,
    )
    fitted = find_method(method).fit(training)
    mapped = check_scores(fitted.score(), method, classes=k, valid=valid)
    figures = accuracies(confusion_counts(labels.index[judged] - 1, mapped[judged] - 1, k))
    oa, iou = float(figures["overall_accuracy"]), float(figures["mean_iou"])
    taken = f"{time.perf_counter() - began:.0f} s"
    print(
        f"{method}, {scene}, seed {seed}, {steps} steps: {oa:.1%} / {iou:.1%}, {taken}, {fitted.settings}", flush=True
    )
    return oa, iou


if __name__ == "__main__":
    main()
