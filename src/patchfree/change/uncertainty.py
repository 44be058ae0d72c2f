"""Does an uncertainty say where the map is wrong? Measures on test pixels, and the spread of several answers.

- AUROC: how likely a wrong pixel is more uncertain than a right one; 0.5 for a coin.
- Area under the risk-coverage curve: mean error of the most certain pixels, over all shares that one may keep; lower is better,
  and it is stated beside that of the best order there is (wrong pixels last).
- Expected calibration error of an uncertainty that is a probability of error.

Reference: Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution examples", ICLR 2017 (AUROC);
Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017 (risk and coverage); Guo et al., ICML
2017 (ECE); Lakshminarayanan, Pritzel, Blundell, "Simple and scalable predictive uncertainty estimation using deep ensembles",
NeurIPS 2017; Gal and Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.

Dimension key: h rows, w columns, n pixels, k classes, m members.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from patchfree.calibrate import BINS
from patchfree.device import choose_device
from patchfree.errors import ConfigError
from patchfree.models import SceneModel, trained_model
from patchfree.predict import Prediction, predict_scores, probabilities
from patchfree.run import Run
from patchfree.scene import Scene


def error_auroc(uncertainty: Float[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"]) -> float | None:
    """Share of pairs of a wrong and a right pixel of which the wrong one is more uncertain; None if all are right, or all wrong."""
    from sklearn.metrics import roc_auc_score

    if not wrong.any() or wrong.all():
        return None
    return float(roc_auc_score(wrong, uncertainty))


def risk_coverage(uncertainty: Float[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"]) -> tuple[float, float] | None:
    """Area under the risk-coverage curve, and that of the best order; None without pixels.

    Pixels of equal uncertainty count with their mean error.

    Example:
        >>> [round(area, 3) for area in risk_coverage(np.array([0.1, 0.9, 0.5]), np.array([False, True, False]))]
        [0.111, 0.111]
    """
    if not len(wrong):
        return None
    _, group, size = np.unique(uncertainty, return_inverse=True, return_counts=True)
    expected = (np.bincount(group, wrong) / size)[np.sort(group)]

    def area(errors: Float[np.ndarray, " n"]) -> float:
        return float((np.cumsum(errors) / np.arange(1, len(errors) + 1)).mean())

    return area(expected), area(np.sort(wrong.astype(float)))


def error_calibration(chance: Float[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"]) -> float | None:
    """Expected calibration error of a probability of error, over 15 bins; None without pixels."""
    if not len(wrong):
        return None
    bins = np.minimum((chance * BINS).astype(int), BINS - 1)
    gap = np.abs(np.bincount(bins, chance, BINS) - np.bincount(bins, wrong, BINS))
    return float(gap.sum() / len(wrong))


def judge(
    uncertainty: Float[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"], *, chance: bool = False
) -> dict[str, float | None]:
    """All measures of an uncertainty at test pixels.

    Args:
        uncertainty: the higher, the less sure.
        wrong: where the map is wrong.
        chance: the uncertainty is a probability of error, 0 to 1.
    """
    areas = risk_coverage(uncertainty, wrong)
    return {
        "auroc_of_errors": error_auroc(uncertainty, wrong),
        "risk_coverage_area": None if areas is None else areas[0],
        "risk_coverage_best": None if areas is None else areas[1],
        "ece": error_calibration(uncertainty, wrong) if chance else None,
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Spread:
    """Several answers of networks that are alike.

    Attributes:
        mean: the map of their mean probabilities.
        variance: of the probability of the last class (changed) among them; NaN where there is no data.
        members: how many there are.
    """

    mean: Prediction
    variance: Float32[np.ndarray, "h w"]
    members: int


def spread_of(predictions: Sequence[Prediction]) -> Spread:
    """Mean and variance of several maps of one scene: those of an ensemble of runs of several seeds, or of dropout.

    Raises:
        ConfigError: there are fewer than two.
    """
    if len(predictions) < 2:
        raise ConfigError(f"Got {len(predictions)} map; the spread of answers needs at least 2.")
    first = predictions[0]
    total, changed = np.zeros(first.probabilities.shape), []
    for found in predictions:
        total += found.probabilities
        changed.append(found.probabilities[-1])
    mean = dataclasses.replace(first, probabilities=(total / len(predictions)).astype(np.float32))
    variance = np.where(first.valid, np.var(changed, axis=0, dtype=np.float64), np.nan)
    return Spread(mean, variance.astype(np.float32), len(predictions))


def dropout_spread(
    run: Run, scene: Scene, *, passes: int = 8, rate: float = 0.2, seed: int = 0, device: str = "auto"
) -> Spread:
    """The spread of a network's answers when channels in front of its last layers are dropped at random (MC dropout).

    The networks are trained without dropout, so this tells how far an answer hangs on single channels; an ensemble of several
    seeds (`spread_of`) is the better founded measure, and takes as many trainings.

    Args:
        run: the trained run.
        scene: the stacked pair, with the run's bands.
        passes: answers to take.
        rate: share of the channels that is dropped.
        seed: repeats them.
        device: auto, cpu, cuda or cuda:N.
    """
    if passes < 2 or not 0 < rate < 1:
        raise ConfigError(f"Got {passes} passes and a rate of {rate:g}; need at least 2, and a share between 0 and 1.")
    where = choose_device(device)
    network = trained_model(
        run.model, run.weights, bands=run.standardisation.inputs, classes=len(run.legend), device=where
    )
    values = run.standardisation.apply(scene)
    found = []
    with _dropping(network, rate, torch.Generator().manual_seed(seed)):
        for _ in range(passes):
            scores = predict_scores(network, values, scene.valid, device=where)
            chances = probabilities(
                scores, scene.valid, offsets=run.offsets, temperature=run.temperature, untrained=run.untrained
            )
            found.append(Prediction(chances, scene.valid, run.legend, scene.grid))
    return spread_of(found)


@contextmanager
def _dropping(network: SceneModel, rate: float, generator: torch.Generator) -> Iterator[None]:
    """Whole channels of what enters the network's head are 0, and the others as much larger, while this lasts."""

    def drop(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = given
        kept = torch.rand((len(x), x.shape[1], 1, 1), generator=generator) >= rate
        return (x * (kept.to(x.device, x.dtype) / (1 - rate)), *rest)

    handle = network.get_submodule("head").register_forward_pre_hook(drop)
    try:
        yield
    finally:
        handle.remove()
