"""What a network sees of a scene: standardised bands, or a few components of them.

Neighbouring bands of a hyperspectral scene say nearly the same, and a network with few labels learns from the noise in all of
them. Noise-adjusted components order what the bands say together by its signal-to-noise ratio, and where fields are larger than pixels the
first hold nearly all of it. In a town, where every neighbour is another surface, differences between neighbours are the signal, and the first
noise-adjusted components hold slow changes over the scene. Principal components, which know of no neighbours, hold what is lost.

References: Green, Berman, Switzer, Craig, "A transformation for ordering multispectral data in terms of image quality with
implications for noise removal", IEEE TGRS 26(1):65-74, 1988; Lee, Woodyatt, Berman, "Enhancement of high spectral resolution
remote-sensing data by a noise-adjusted principal components transform", IEEE TGRS 28(3):295-304, 1990; Hotelling, "Analysis of a complex
of statistical variables into principal components", Journal of Educational Psychology 24(6):417-441, 1933.

Differences: the noise is that of the differences between neighbours in a row, as Green et al. propose, of standardised bands, with a
ridge, so that a scene without noise can be taken; each component is divided by the root of its standard deviation, which leaves it
between its own scale (the first drown the others) and the same scale for all (the last, noise, count like the first).

Dimension key: c bands, h rows, w columns, k components, g guiding components, n pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int
from scipy.linalg import eigh

from patchfree.scene import Scene
from patchfree.windows import Window

RIDGE = 1e-6
"""Share of the mean variance of a band that is added to the noise of each."""
CLOSE = 40.0
"""How much more the differences between neighbours tell an edge where all neighbouring training pixels are of different classes."""
USUAL, PAIRS = 0.005, 100
"""Share of such neighbours in usual scenes, and as how many pairs of neighbours it counts beside those of the training pixels."""
NUMBERS_AT_ONCE = 2**22  # that are turned to double precision at a time


@dataclass(frozen=True, eq=False)
class Standardisation:
    """How the values of a scene become what the network takes.

    Mean and standard deviation are those of each band over the pixels with data of the training scene. They use all pixels and
    no label, test pixels included, as the components do: the usual transductive setting, stated in the docs.

    Attributes:
        mean: of each band.
        std: of each band.
        components: what each component takes of each standardised band; None for the bands themselves.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    components: Float32[np.ndarray, "k c"] | None = None

    @classmethod
    def of(cls, scene: Scene, components: int = 0, *, principal: int = 0) -> Standardisation:
        """Measure a scene, in double precision; a constant band gets a standard deviation of 1.

        Args:
            scene: the scene, or several on one canvas.
            components: how many noise-adjusted components to keep; 0, or as many as there are bands, for the bands themselves.
            principal: how many principal components to put after them; together there are no more than bands.
        """
        mean, std = [], []
        for band in scene.values:
            values = band[scene.valid].astype(np.float64)
            mean.append(float(values.mean()))
            spread = float(values.std())
            std.append(spread if spread > 1e-12 * max(1.0, abs(mean[-1])) else 1.0)
        plain = cls(tuple(mean), tuple(std))
        if not 0 < components < len(mean):
            return plain
        whole, noise = _covariances(scene, plain)
        parts = [noise_adjusted(whole, noise, components)]
        principal = min(principal, len(mean) - components)
        if principal > 0:  # all directions equally noisy
            parts.append(noise_adjusted(whole, np.eye(len(whole)), principal))
        return cls(plain.mean, plain.std, np.concatenate(parts))

    @property
    def inputs(self) -> int:
        """How many bands the network takes."""
        return len(self.mean) if self.components is None else len(self.components)

    def apply(self, scene: Scene) -> Float32[np.ndarray, "k h w"]:
        """What the network takes, 0 where there is no data."""
        return self.apply_to(scene.values, scene.valid)

    def apply_to(
        self, values: Float32[np.ndarray, "c h w"], valid: Bool[np.ndarray, "h w"]
    ) -> Float32[np.ndarray, "k h w"]:
        """The same for bands that are no scene: a window of one."""
        mean = np.asarray(self.mean, np.float32)[:, None, None]
        std = np.asarray(self.std, np.float32)[:, None, None]
        if self.components is None:
            standardised = (values - mean) / std
            standardised[:, ~valid] = 0
            return standardised
        found = np.empty((self.inputs, *valid.shape), np.float32)
        for rows, _ in _strips([(slice(0, len(valid)), slice(0, valid.shape[1]))], len(values)):
            part = (values[:, rows] - mean) / std
            part[:, ~valid[rows]] = 0
            # torch's product keeps to the threads that the window was given, numpy's does not.
            mixed = torch.from_numpy(self.components) @ torch.from_numpy(part.reshape(len(part), -1))
            found[:, rows] = mixed.numpy().reshape(-1, *part.shape[1:])
        return found


def noise_adjusted(
    covariance: Float64[np.ndarray, "c c"], noise: Float64[np.ndarray, "c c"], count: int
) -> Float32[np.ndarray, "k c"]:
    """The components with the most signal for their noise, as rows of weights.

    Args:
        covariance: of the bands.
        noise: covariance of their noise.
        count: how many to keep.

    Returns:
        Weights; the components are uncorrelated, each has the root of the standard deviation that it has where its noise is 1, and
        together they have the mean variance 1. The largest weight of each is positive.
    """
    c = len(covariance)
    ridge = RIDGE * np.trace(covariance) / c or 1.0  # where nothing varies, anything will do
    variances, axes = eigh(covariance, noise + ridge * np.eye(c))
    variances, axes = variances[::-1][:count], axes[:, ::-1][:, :count]
    variances = np.maximum(variances, 1e-12 * max(float(variances[0]), RIDGE))
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(count)])
    scale = np.sqrt(np.mean(np.sqrt(variances)))
    return np.asarray((axes / variances**0.25 / scale).T, np.float32)


def mixed_neighbours(index: Int[np.ndarray, "h w"], train: Bool[np.ndarray, "h w"], windows: Sequence[Window]) -> float:
    """Share of neighbouring training pixels that are of different classes: how close together the classes of these scenes lie.

    Where few training pixels are neighbours it is close to that of usual scenes (`USUAL`, which counts as `PAIRS` pairs).
    """
    mixed, pairs = USUAL * PAIRS, PAIRS
    for window in windows:
        classes = np.where(train[window], index[window], 0)
        for one, other in ((classes[1:], classes[:-1]), (classes[:, 1:], classes[:, :-1])):
            both = (one > 0) & (other > 0)
            mixed, pairs = mixed + int((both & (one != other)).sum()), pairs + int(both.sum())
    return mixed / pairs


def edge_guide(
    values: Float32[np.ndarray, "c h w"],
    valid: Bool[np.ndarray, "h w"],
    windows: Sequence[Window],
    count: int,
    *,
    mixed: float,
) -> Float32[np.ndarray, "g c"]:
    """Components that tell edges from noise: the noise-adjusted ones, at a scale that suits random walks.

    Args:
        values: of all scenes that train, standardised.
        valid: where there is data.
        windows: where each scene lies.
        count: how many components; there are at most as many as bands.
        mixed: share of neighbouring training pixels that are of different classes.

    Returns:
        What each component takes of each band: the squares of the differences between neighbours in a row, summed over all
        components, have the mean 1 where no classes are mixed, and more where they are, so that less tells an edge.
    """
    c = len(values)
    with np.errstate(invalid="ignore", over="ignore"):
        whole, noise = _signal_and_noise(c, ((values[:, *w], valid[w]) for w in _strips(windows, c)))
    if not (np.isfinite(whole).all() and np.isfinite(noise).all()):
        return np.zeros((min(count, c), c), np.float32)  # the training says what is wrong with such values
    found = noise_adjusted(whole, noise, min(count, c))
    scale = 2 * float(np.einsum("gc,cd,gd->", found, noise, found))
    return found * np.float32(np.sqrt((1 + CLOSE * mixed) / (scale or 1.0)))


def _covariances(scene: Scene, plain: Standardisation) -> tuple[Float64[np.ndarray, "c c"], Float64[np.ndarray, "c c"]]:
    """Those of `_signal_and_noise` of the standardised bands of a scene."""
    c, valid = len(scene.values), scene.valid
    strips = _strips(scene.windows, c)
    return _signal_and_noise(c, ((plain.apply_to(scene.values[:, *w], valid[w]), valid[w]) for w in strips))


def _signal_and_noise(
    c: int, parts: Iterable[tuple[Float32[np.ndarray, "c _ _"], Bool[np.ndarray, "_ _"]]]
) -> tuple[Float64[np.ndarray, "c c"], Float64[np.ndarray, "c c"]]:
    """Covariances of standardised bands, and of their noise: half the covariance of differences between neighbours in a row.

    A scene without two neighbours in a row has no noise that could be told: then all bands count as equally noisy.
    """
    whole, noise, pixels, pairs = np.zeros((c, c)), np.zeros((c, c)), 0, 0
    for values, held in parts:
        part = values.astype(np.float64)
        spectra = part[:, held]
        both = held[:, 1:] & held[:, :-1]
        steps = (part[:, :, 1:] - part[:, :, :-1])[:, both]
        whole += spectra @ spectra.T
        noise += steps @ steps.T
        pixels, pairs = pixels + spectra.shape[1], pairs + steps.shape[1]
    return whole / max(pixels, 1), noise / (2 * pairs) if pairs else np.eye(c)


def _strips(windows: Iterable[Window], bands: int) -> Iterator[Window]:
    """The windows, cut into rows that hold not too many numbers at a time."""
    for rows, cols in windows:
        step = max(1, NUMBERS_AT_ONCE // max(1, bands * (cols.stop - cols.start)))
        yield from ((slice(top, min(top + step, rows.stop)), cols) for top in range(rows.start, rows.stop, step))
