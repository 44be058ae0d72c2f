"""What the choices behind the default recipe score on validation pixels. No test pixel of the benchmark is looked at.

    python benchmarks/choose.py --data FOLDER --out FOLDER            # train once, then mix and smooth in many ways
    python benchmarks/choose.py --out FOLDER --set components=40      # another setting of the recipe, trained again

Validation pixels are drawn as the test pixels are: on Indian Pines and the Houston crop the training side of a `separate` split is
itself split into separate blocks, for seeds that are reported nowhere (10 and up); on EnMAP Potsdam the sixteen tiles that are not for the
test are left out four at a time. Each line of the table is a choice, each cell overall accuracy / mean IoU in percent, mean over the seeds. The last column is the
mean of both over all scenes less that of the recipe, with its standard error over seeds: what is not twice its error tells nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from patchfree.benchmark.loading import Loaded, load
from patchfree.benchmark.protocols import split
from patchfree.benchmark.scenes import described_scenes
from patchfree.blocks import block_split
from patchfree.confusion import accuracies, confusion_counts
from patchfree.device import choose_device
from patchfree.fit import Trainer, class_offsets
from patchfree.labels import Labels
from patchfree.models import _walks
from patchfree.models._walks import SHARPNESS, STOP, SURE, links, walk
from patchfree.models.freenet_ensemble import weights_of
from patchfree.predict import predict_scores
from patchfree.recipes import get_recipe
from patchfree.standardise import CLOSE, Standardisation, mixed_neighbours

SEEDS = {"indian-pines": range(10, 15), "enmap-potsdam": range(10, 14), "houston-crop": range(10, 13)}
TILE, FOLDS = 32, len(SEEDS["enmap-potsdam"])


def spectra_count(least: float, more: float = 0.0) -> Callable[[float], tuple[float, ...]]:
    """Weights of two networks of scenes, which count alike, and one of spectra: `least`, and `more` for each share of mixed neighbours."""
    return lambda mixed: (*2 * ((1 - least - more * mixed) / 2,), least + more * mixed)


WEIGHTS: dict[str, Callable[[float], tuple[float, ...]]] = {
    "one network": lambda _: (1, 0, 0),
    "the other network": lambda _: (0, 1, 0),
    "two networks": spectra_count(0.0),
    "spectra": spectra_count(1.0),
    "two, 0.1 of spectra": spectra_count(0.1),
    "two, 0.2 of spectra": spectra_count(0.2),
    "two, 0.4 of spectra": spectra_count(0.4),
    "two, spectra as neighbours are mixed": spectra_count(0.0, 1.0),
    "two, 0.2 and as neighbours are mixed": spectra_count(0.2, 1.0),
    "one, 0.1 and as neighbours are mixed": lambda mixed: (0.9 - mixed, 0, 0.1 + mixed),
    "two, 0.1 and as neighbours are mixed (the recipe)": weights_of,
}
WALKS = {  # how much mixed neighbours sharpen them, how sharp they are without, and the weights of their ends
    "no walks": None,
    "sharpness 2.5 everywhere": (0.0, 2.5, STOP, SURE),
    "sharpness 6 everywhere": (0.0, 6.0, STOP, SURE),
    "a quarter as much by mixed neighbours": (CLOSE / 4, SHARPNESS, STOP, SURE),
    "twice as much by mixed neighbours": (CLOSE * 2, SHARPNESS, STOP, SURE),
    "by mixed neighbours (the recipe)": (CLOSE, SHARPNESS, STOP, SURE),
    "one stop of 0.01": (CLOSE, SHARPNESS, 0.01, 0.0),
    "one stop of 0.03": (CLOSE, SHARPNESS, 0.03, 0.0),
    "stop 0.01, 0.1 where sure": (CLOSE, SHARPNESS, 0.01, 0.1),
}
PRIORS = {
    "no prior": 0.0,
    "a quarter of it": 0.25,
    "half of it (the recipe)": 0.5,
    "three quarters": 0.75,
    "the whole prior": 1.0,
}
PRIOR_NOW = get_recipe("default").prior


def main() -> None:
    """Parse, train what is not trained yet, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder with enmap_potsdam and houston_crop; without it Indian Pines only"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the networks' scores, which are kept")
    parser.add_argument("--scene", action="append", choices=SEEDS, help="repeatable; else all whose files are there")
    parser.add_argument("--seeds", type=int, help="at most so many seeds of each scene")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=NUMBER", help="a setting of the recipe; repeatable"
    )
    given = parser.parse_args()
    changes = {
        name: float(value) if "." in value else int(value) for name, _, value in (s.partition("=") for s in given.set)
    }
    names = given.scene or [name for name in SEEDS if given.data or name == "indian-pines"]
    trained = {
        name: [scores_of(name, seed, given.data, given.out, changes) for seed in SEEDS[name][: given.seeds]]
        for name in names
    }
    for title, choices in (
        ("members, walks as in the recipe", {k: (w, WALKS_NOW, PRIOR_NOW) for k, w in WEIGHTS.items()}),
        ("walks, members as in the recipe", {k: (weights_of, w, PRIOR_NOW) for k, w in WALKS.items()}),
        ("prior, members and walks as in the recipe", {k: (weights_of, WALKS_NOW, p) for k, p in PRIORS.items()}),
    ):
        print(f"\n| {title} | {' | '.join(names)} | mean | less the recipe |\n|---|{'---|' * (len(names) + 2)}")
        recipe = [
            np.array([measured(kept, weights_of, WALKS_NOW, PRIOR_NOW) for kept in trained[name]]) for name in names
        ]
        for label, choice in choices.items():
            found = [np.array([measured(kept, *choice) for kept in trained[name]]) for name in names]
            means = [values.mean(0) for values in found]
            cells = [f"{oa * 100:.1f} / {iou * 100:.1f}" for oa, iou in (*means, np.mean(means, 0))]
            print(f"| {label} | {' | '.join(cells)} | {gain(found, recipe)} |", flush=True)


def gain(found: list[np.ndarray], recipe: list[np.ndarray]) -> str:
    """Points by which a choice is above the recipe, each scene counting alike, and their standard error."""
    apart = [100 * (one - other).mean(1) for one, other in zip(found, recipe, strict=True)]
    error = np.sqrt(sum(part.var(ddof=1) / len(part) for part in apart)) / len(apart)
    return f"{np.mean([part.mean() for part in apart]):+.1f} ± {error:.1f}"


WALKS_NOW = WALKS["by mixed neighbours (the recipe)"]


def scores_of(name: str, seed: int, data: Path | None, out: Path, changes: dict) -> dict[str, np.ndarray]:
    """What each network of the recipe says of every pixel, and what it takes to mix, smooth and judge that; kept in a file."""
    suffix = "".join(f"_{key}-{value}" for key, value in sorted(changes.items()))
    path = out / f"{name}_{seed}{suffix}.npz"
    if path.is_file():
        with np.load(path) as kept:
            return dict(kept)
    loaded, labels, learnt, judged = fold(name, seed, data)
    recipe = get_recipe("default", **changes).resolved(apart=True)
    index, k = np.where(learnt, labels.index, 0), len(labels.legend)
    scene, valid, device = loaded.scene, loaded.scene.valid, choose_device()
    values = Standardisation.of(scene, recipe.components, principal=recipe.principal).apply(scene)
    trainer = Trainer(
        values,
        valid,
        index,
        train=learnt,
        val=np.zeros_like(learnt),
        classes=k,
        recipe=recipe,
        seed=seed,
        device=device,
    )
    for step in trainer.run():
        if step.number % 100 == 0:
            print(f"{path.stem}: step {step.number} of {step.of}", flush=True)
    guide = trainer.model.guide.cpu().numpy() / np.sqrt(
        1 + CLOSE * mixed_neighbours(index, learnt & valid, scene.windows)
    )
    kept = {
        "scores": np.stack([predict_scores(member, values, valid, device=device) for member in trainer.model.members]),
        "seen": np.einsum("gc,chw->ghw", guide, values),
        "offsets": class_offsets(index, learnt, k, dataclasses.replace(recipe, prior=1.0)),
        "mixed": np.array(mixed_neighbours(index, learnt & valid, scene.windows)),
        "known": np.isin(np.arange(1, k + 1), index),
        "valid": valid,
        "truth": np.where(judged, labels.index, 0),
    }
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **kept)
    return kept


def fold(name: str, seed: int, data: Path | None) -> tuple[Loaded, Labels, np.ndarray, np.ndarray]:
    """A scene, its labels, the pixels to learn from, and the validation pixels to judge at; no test pixel is among either."""
    loaded = load(described_scenes()[name], data)
    labels = loaded.labels
    if name == "enmap-potsdam":
        assert loaded.official is not None
        known = loaded.official.train | loaded.official.val
        rows, cols = np.indices(known.shape) // TILE
        tiles = rows * (known.shape[1] // TILE + 1) + cols
        order = np.random.default_rng(0).permutation(np.unique(tiles[known]))
        judged = known & np.isin(tiles, order[seed - SEEDS[name].start :: FOLDS])
        learnt = known & ~judged
        assert not (judged & loaded.official.test).any()
    else:
        outer = split("separate", loaded, seed)
        side = labels.within(outer.train | outer.val)
        labels = side.without(
            v for v, n in zip(side.values, side.counts, strict=True) if n < 2
        )  # too few to split again
        inner = block_split(labels, seed=seed)
        learnt, judged = inner.train | inner.val, inner.test
        assert not (judged & outer.test).any()
    return loaded, labels, learnt, judged


def measured(
    kept: dict[str, np.ndarray], weights: Callable[[float], tuple[float, ...]], walks: tuple | None, prior: float
) -> tuple[float, float]:
    """Overall accuracy and mean IoU at the validation pixels of one choice."""
    scores = torch.from_numpy(kept["scores"] + prior * kept["offsets"][:, None, None])
    mixed = sum(w * torch.softmax(s, 0) for w, s in zip(weights(float(kept["mixed"])), scores, strict=True) if w)
    if walks is not None:
        close, sharpness, stop, sure = walks
        factor = sharpness / SHARPNESS * (1 + close * float(kept["mixed"]))
        seen = torch.from_numpy(kept["seen"])[None].float() * factor**0.5
        with walking(stop, sure):
            linked = links(seen, torch.from_numpy(kept["valid"])[None, None].float())
            mixed = walk(mixed.float().movedim(0, -1)[None], linked)[0].movedim(-1, 0)
    mixed[torch.from_numpy(~kept["known"])] = -1
    mapped, truth = mixed.argmax(0).numpy(), kept["truth"]
    found = accuracies(confusion_counts(truth[truth > 0] - 1, mapped[truth > 0], len(mixed)))
    return float(found["overall_accuracy"]), float(found["mean_iou"])


@contextmanager
def walking(stop: float, sure: float):
    """The walks with other chances to stop."""
    _walks.STOP, _walks.SURE = stop, sure
    try:
        yield
    finally:
        _walks.STOP, _walks.SURE = STOP, SURE


if __name__ == "__main__":
    main()
