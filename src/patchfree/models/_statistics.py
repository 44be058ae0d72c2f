"""Statistics over a whole scene that a network takes while it runs, and the ways to come by them.

GroupNorm and squeeze-excitation need means and variances over all pixels. With the whole scene in memory they are
computed on the spot (`OfTheScene`); a scene in windows gathers them, one after the other, over all windows (`Gathering`);
a series of scenes of one sensor may reuse those of the training scene (`Recorded`).

Dimension key: b batch, c channels, g groups of channels, h rows, w columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor


class Statistics(ABC):
    """Where a layer gets its whole-scene means and variances from; `key` is the layer's own name."""

    @abstractmethod
    def mean(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, "b c"]:
        """Mean of each channel over the pixels with data; `x` is 0 elsewhere."""

    @abstractmethod
    def moments(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None, groups: int
    ) -> tuple[Float[Tensor, "b g"], Float[Tensor, "b g"]]:
        """Mean and variance of each group of channels over the pixels with data; `x` is 0 elsewhere."""


class OfTheScene(Statistics):
    """The scene is here as a whole: compute them."""

    def mean(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, "b c"]:
        """Computed from `x`."""
        del key
        if valid is None:
            return x.mean((2, 3))
        return x.float().sum((2, 3)) / valid.float().sum((2, 3)).clamp(min=1)

    def moments(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None, groups: int
    ) -> tuple[Float[Tensor, "b g"], Float[Tensor, "b g"]]:
        """Computed from `x`."""
        del key
        mean, variance = _channel_moments(x, valid)
        grouped, share = mean.reshape(len(x), groups, -1), variance.reshape(len(x), groups, -1)
        return grouped.mean(2), share.mean(2) + grouped.var(2, correction=0)


OF_THE_SCENE = OfTheScene()


class Recorded(Statistics):
    """They are known: given by name, as `Gathered.values` and `Recording.values` hold them."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self.values = values

    def mean(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, "b c"]:
        """As recorded."""
        del valid
        return self.values[f"{key}.mean"].to(x.device).expand(len(x), -1)

    def moments(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None, groups: int
    ) -> tuple[Float[Tensor, "b g"], Float[Tensor, "b g"]]:
        """As recorded."""
        del valid, groups
        mean, variance = (self.values[f"{key}.{part}"].to(x.device) for part in ("mean", "variance"))
        return mean.expand(len(x), -1), variance.expand(len(x), -1)


class Recording(Statistics):
    """Computed from the whole scene, and kept for `Recorded`.

    Of several scenes, one after the other, the mean of a statistic is kept, each scene counting as many times as it has
    pixels with data, and the variance around that mean.
    """

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[float, Tensor, Tensor | None]]] = {}

    @property
    def values(self) -> dict[str, Tensor]:
        """The statistics by name."""
        pooled: dict[str, Tensor] = {}
        for key, found in self._found.items():
            share = torch.tensor([count for count, _, _ in found], dtype=torch.float64)
            share = (share / share.sum())[:, None]
            means = torch.stack([mean for _, mean, _ in found]).double()
            pooled[f"{key}.mean"] = (share * means).sum(0).float()
            variances = [variance for _, _, variance in found if variance is not None]
            if variances:
                around = torch.stack(variances).double() + (means - (share * means).sum(0)) ** 2
                pooled[f"{key}.variance"] = (share * around).sum(0).float()
        return pooled

    def mean(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, "b c"]:
        """Computed from `x`."""
        mean = OF_THE_SCENE.mean(key, x, valid)
        self._keep(key, x, valid, mean[0], None)
        return mean

    def moments(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None, groups: int
    ) -> tuple[Float[Tensor, "b g"], Float[Tensor, "b g"]]:
        """Computed from `x`."""
        mean, variance = OF_THE_SCENE.moments(key, x, valid, groups)
        self._keep(key, x, valid, mean[0], variance[0])
        return mean, variance

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Statistics of a scene with so many pixels, as they were gathered elsewhere."""
        for name, mean in values.items():
            key, _, kind = name.rpartition(".")
            if kind == "mean":
                self._found.setdefault(key, []).append((count, mean, values.get(f"{key}.variance")))

    def _keep(
        self, key: str, x: Tensor, valid: Tensor | None, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"] | None
    ) -> None:
        count = float(x[0, 0].numel() if valid is None else valid[0].sum())
        self._found.setdefault(key, []).append(
            (count, mean.float().cpu(), None if variance is None else variance.float().cpu())
        )


@dataclass(frozen=True)
class Part:
    """What one window adds to a statistic.

    Attributes:
        key: the layer's name.
        count: values behind each mean.
        mean: of each channel or group.
        squares: sum of squared distances from that mean; None for a statistic that is a mean only.
    """

    key: str
    count: float
    mean: Float64[np.ndarray, " n"]
    squares: Float64[np.ndarray, " n"] | None


class Unknown(Exception):
    """A statistic is not known yet; holds this window's part of it."""

    def __init__(self, part: Part) -> None:
        super().__init__(part.key)
        self.part = part


class Gathering(Recorded):
    """They are known up to some layer; there a window hands in its part and stops.

    Args:
        values: what is known.
        core: rows and columns of this window, at the layer's own stride, that are its own and no other window's.
    """

    def __init__(self, values: Mapping[str, Tensor], core: tuple[slice, slice]) -> None:
        super().__init__(values)
        self.core = core

    def mean(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, "b c"]:
        """As known, or this window's part is handed in."""
        if f"{key}.mean" not in self.values:
            own, count = self._own(x, valid)
            mean = _row_sums(own).sum(1) / max(count, 1)
            raise Unknown(Part(key, count, mean, None))
        return super().mean(key, x, valid)

    def moments(
        self, key: str, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None, groups: int
    ) -> tuple[Float[Tensor, "b g"], Float[Tensor, "b g"]]:
        """As known, or this window's part is handed in."""
        if f"{key}.mean" not in self.values:
            own, count = self._own(x, valid)
            share = own.shape[0] // groups
            count *= share
            about = torch.from_numpy(_row_sums(own).reshape(groups, -1).sum(1) / max(count, 1)).float()
            centred = own - about.to(own.device).repeat_interleave(share)[:, None, None]
            if valid is not None:
                centred = centred * valid[0, :, *self.core]
            # What was taken off is rounded to single precision, and so are sums of values far from 0; the small rest is not.
            rest = _row_sums(centred).reshape(groups, -1).sum(1)
            mean = about.double().numpy() + rest / max(count, 1)
            squares = _row_sums(centred.square_()).reshape(groups, -1).sum(1) - rest**2 / max(count, 1)
            raise Unknown(Part(key, count, mean, squares))
        return super().moments(key, x, valid, groups)

    def _own(
        self, x: Float[Tensor, "1 c h w"], valid: Float[Tensor, "1 1 h w"] | None
    ) -> tuple[Float[Tensor, "c h2 w2"], float]:
        """The window's own values, and how many pixels of them hold data."""
        own = x[0, :, *self.core].float()
        return own, float(own.shape[1] * own.shape[2] if valid is None else valid[0, 0, *self.core].double().sum())


def merge(parts: Iterable[Part]) -> dict[str, Tensor]:
    """A statistic from the parts of all windows, in double precision and in the order given.

    Reference: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American Statistician 37(3), 1983.
    """
    parts = list(parts)
    count, mean, squares = 0.0, np.zeros_like(parts[0].mean), np.zeros_like(parts[0].mean)
    for part in parts:
        if part.count:
            together, apart = count + part.count, part.mean - mean
            if part.squares is not None:
                squares = squares + part.squares + apart**2 * count * part.count / together
            mean = mean + apart * part.count / together
            count = together
    key = parts[0].key
    found = {f"{key}.mean": torch.from_numpy(mean).float()}
    if parts[0].squares is not None:
        found[f"{key}.variance"] = torch.from_numpy(squares / max(count, 1)).float()
    return found


def _channel_moments(
    x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"] | None
) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    """Mean and variance of each channel over the pixels with data."""
    # Rows one by one, as the numbers lie in memory: a sixth of the time of var_mean, and as exact.
    rows = x.float().permute(0, 2, 3, 1)
    if valid is None:
        mean = rows.mean(2).mean(1)
        return mean, (rows - mean[:, None, None]).square_().mean(2).mean(1)
    mask = valid.float().permute(0, 2, 3, 1)
    count = mask.sum((1, 2)).clamp(min=1)
    mean = rows.sum(2).sum(1) / count
    return mean, ((rows - mean[:, None, None]) * mask).square_().sum(2).sum(1) / count


def _row_sums(x: Float[Tensor, "c h w"]) -> Float64[np.ndarray, "c h"]:
    """Sums along the rows in single precision, of few enough values to be good, handed on in double precision."""
    sums: np.ndarray = x.sum(2).double().cpu().numpy()
    return sums
