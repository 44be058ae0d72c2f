"""BSDM: learn the background of a scene as the noise of a diffusion step, and subtract it before a detector.

Spectra are scaled to 0..1 by the smallest and largest value of the scene. Noise ε ~ N(μ, σ²), with mean and standard
deviation of the scaled scene, is drawn once. With β from 1e-4 to 0.02 in 1000 steps and ᾱ_t the product of 1 - β up to t, a
network learns to tell ε from

    x_t = √ᾱ_t x_0 + γ_t ε,    γ_t = Σ_k √(β_k Π_{i=k+1..t} (1 - β_i))    (mode "gamma": the same noise at every step)
    x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε                                        (mode "alpha": ordinary diffusion)

at a single t. Then z ← (z - g ε̂(z)) / √ᾱ_t, K times, from the scene itself; g is γ_t or √(1 - ᾱ_t). The network sees single
spectra: no neighbourhood.

Reference: J. Ma et al. (2023), BSDM: Background Suppression Diffusion Model for Hyperspectral Anomaly
Detection, arXiv 2307.09861; IEEE Transactions on Circuits and Systems for Video Technology (2025).
Differences: the statistics of a spectrum enter as two numbers (the authors repeat each as often as there are bands, which a
linear layer cannot tell apart); γ_t is that of the supplement (the authors' code has a factor 1 - β_k more, about 1 %); of
scenes with more than 65,536 pixels a random sample trains; z is kept in double precision.

Dimension key: c bands, n pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from patchfree.anomalies.rx import Mahalanobis
from patchfree.errors import ConfigError
from patchfree.unsupervised.moments import Moments
from patchfree.unsupervised.scores import Context
from patchfree.unsupervised.view import View

DIFFUSION_STEPS, FIRST_BETA, LAST_BETA = 1000, 1e-4, 0.02
MOST_PIXELS = 65_536
RATE, LAST_RATE = 1e-4, 1e-5
Mode = Literal["gamma", "alpha"]
Change = Callable[[Float64[np.ndarray, "c n"]], Float64[np.ndarray, "c2 n"]]


def schedule(step: int, mode: Mode) -> tuple[float, float]:
    """√ᾱ_t and the factor of the noise, γ_t or √(1 - ᾱ_t), after so many diffusion steps (1 to 1000)."""
    betas = np.linspace(FIRST_BETA, LAST_BETA, DIFFUSION_STEPS)[:step]
    alphas = 1 - betas
    whole = float(alphas.prod())
    if mode == "alpha":
        return math.sqrt(whole), math.sqrt(1 - whole)
    later = np.append(np.cumprod(alphas[::-1])[::-1][1:], 1.0)  # of the steps after each
    return math.sqrt(whole), float(np.sqrt(betas * later).sum())


class Residual(nn.Module):
    """A layer of the network: two normalised parts, the step in time between them, and a way around both."""

    def __init__(self, size: int, hidden: int, out: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(size), nn.Tanh(), nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, out)
        )
        self.time = nn.Linear(512, out)
        self.outer = nn.Sequential(nn.LayerNorm(out), nn.Tanh(), nn.Linear(out, out))
        self.around = nn.Identity() if size == out else nn.Linear(size, out)

    def forward(self, x: Float[Tensor, "n size"], time: Float[Tensor, " 512"]) -> Float[Tensor, "n out"]:
        """Spectra's features, and the embedded step."""
        inner: Tensor = self.inner(x) + self.time(torch.tanh(time))
        return self.outer(inner) + self.around(x)


class Denoiser(nn.Module):
    """The network: from spectra and a diffusion step to the noise in them, pixel by pixel."""

    LAYERS = ((128, 200, 100), (100, 200, 50), (50, 100, 50), (50, 100, 50), (50, 200, 100), (100, 200, 128))

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(128, 512), nn.Tanh(), nn.Linear(512, 512))
        self.statistics = nn.Sequential(nn.Linear(2, 512), nn.Tanh(), nn.Linear(512, 128))
        self.enter = nn.Linear(bands, 128)
        self.layers = nn.ModuleList(Residual(*sizes) for sizes in self.LAYERS)
        self.leave = nn.Sequential(nn.Tanh(), nn.Linear(128, bands))

    def forward(self, x: Float[Tensor, "n c"], step: int) -> Float[Tensor, "n c"]:
        """The noise, as estimated."""
        angles = step * torch.exp(torch.arange(64, device=x.device) * (-math.log(10_000.0) / 64))
        time = self.time(torch.cat([angles.sin(), angles.cos()]))
        spread = x.std(1) if x.shape[1] > 1 else torch.zeros_like(x[:, 0])
        h = self.enter(x) + self.statistics(torch.stack([x.mean(1), spread], 1))
        for layer in self.layers:
            h = layer(h, time)
        noise: Tensor = self.leave(h)
        return noise


@dataclass(frozen=True)
class BSDM:
    """Background suppression by a diffusion model.

    Attributes:
        mode: how the noise grows: "gamma" as published, "alpha" as in ordinary diffusion; "auto" decides without labels.
        step: the diffusion step t, 1 to 1000; 0 decides among 250, 500 and 750.
        repeats: K; 0 decides among 1, 3, 5 and 10.
        steps: training steps, each with all pixels; 0 leaves the network untrained, which is the control.
    """

    title: ClassVar[str] = "BSDM"
    references: ClassVar[tuple[str, ...]] = ("bsdm",)
    random: ClassVar[bool] = True

    mode: Mode | Literal["auto"] = "gamma"
    step: int = 500
    repeats: int = 10
    steps: int = 500

    def fit(self, view: View, context: Context, *, learnt_from: View | None = None) -> tuple[Change, int]:
        """Learn the background of the scene, or of another one; gives the subtraction, and how many bands it makes.

        Raises:
            ConfigError: a setting is out of range.
        """
        if self.mode not in ("gamma", "alpha", "auto") or not 0 <= self.step <= DIFFUSION_STEPS or self.repeats < 0:
            raise ConfigError(
                f"Got BSDM with mode {self.mode!r}, step {self.step}, {self.repeats} repeats; need gamma, alpha or auto, a step from 1 to "
                f"{DIFFUSION_STEPS}, and at least 1 repeat (0 decides)."
            )
        tried = [
            replace(self, mode=mode, step=step)
            for mode in (("gamma", "alpha") if self.mode == "auto" else (self.mode,))
            for step in ((self.step,) if self.step else (250, 500, 750))
        ]
        best: tuple[float, BSDM, Change, int] | None = None
        for number, settings in enumerate(tried):
            tell = partial(_part_of, context.tell, number, len(tried))
            trained = _trained(learnt_from or view, settings, replace(context, tell=tell))
            for repeats in (self.repeats,) if self.repeats else (1, 3, 5, 10):
                whole = replace(settings, repeats=repeats)
                change, bands = trained.subtraction(view, whole, context)
                if len(tried) == 1 and self.repeats:
                    return change, bands
                value = outstanding(view.sample(MOST_PIXELS, context.seed), change)
                if best is None or value > best[0]:
                    best = value, whole, change, bands
        assert best is not None
        _, chosen, change, bands = best
        context.notes.append(
            f"BSDM: mode {chosen.mode}, step {chosen.step}, {chosen.repeats} repeats, chosen without labels."
        )
        return change, bands


def _part_of(tell: Callable[[int, int], None], number: int, parts: int, done: int, of: int) -> None:
    tell(number * of + done, parts * of)


@dataclass(frozen=True, eq=False)
class _Trained:
    """A network and the scene that it has learnt."""

    network: Denoiser
    bands: int
    device: torch.device

    def subtraction(self, view: View, settings: BSDM, context: Context) -> tuple[Change, int]:
        """What takes the background out of spectra of this scene."""
        low, high = view.extent
        groups = band_groups(view.bands, self.bands, np.random.default_rng(context.seed))
        keep = min(view.bands, self.bands)  # padded bands are dropped again
        mode: Mode = "alpha" if settings.mode == "alpha" else "gamma"
        root, factor = schedule(settings.step, mode)

        def change(spectra: Float64[np.ndarray, "c n"]) -> Float64[np.ndarray, "c2 n"]:
            scaled = (spectra - low) / max(high - low, 1e-30)
            return np.concatenate([self._repeat(scaled[group], settings, root, factor)[:keep] for group in groups])

        return change, keep * len(groups)

    def _repeat(self, spectra: np.ndarray, settings: BSDM, root: float, factor: float) -> np.ndarray:
        z = torch.from_numpy(np.ascontiguousarray(spectra.T)).to(self.device)
        with torch.inference_mode():
            for _ in range(settings.repeats):
                z = (z - factor * self.network(z.float(), settings.step).double()) / root
        return z.T.cpu().numpy()


def _trained(view: View, settings: BSDM, context: Context) -> _Trained:
    generator = torch.Generator().manual_seed(context.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        network = Denoiser(view.bands).to(context.device)
    if settings.steps:
        low, high = view.extent
        spectra = (view.sample(MOST_PIXELS, context.seed) - low) / max(high - low, 1e-30)
        x = torch.from_numpy(np.ascontiguousarray(spectra.T, dtype=np.float32))
        noise = x.mean() + x.std() * torch.randn(x.shape, generator=generator)
        root, factor = schedule(settings.step, "alpha" if settings.mode == "alpha" else "gamma")
        noisy, noise = (root * x + factor * noise).to(context.device), noise.to(context.device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps, eta_min=LAST_RATE)
        for done in range(settings.steps):
            loss = (network(noisy, settings.step) - noise).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            slower.step()
            context.tell(done + 1, settings.steps)
    return _Trained(network.eval(), view.bands, context.device)


def band_groups(bands: int, trained: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Which bands of a scene go into a network of another number of bands, as published: one index list a group.

    Fewer bands are continued by reflection; up to twice as many: a random choice in their order; more: as many random
    groups as there is room for.
    """
    if bands <= trained:
        return [np.pad(np.arange(bands), (0, trained - bands), mode="reflect" if bands > 1 else "edge")]
    if bands < 2 * trained:
        return [np.sort(rng.choice(bands, trained, replace=False))]
    order = rng.permutation(bands)
    return [np.sort(order[i * trained : (i + 1) * trained]) for i in range(bands // trained)]


def outstanding(spectra: Float64[np.ndarray, "c n"], change: Change) -> float:
    """How far the most unusual pixels stand out under RX: the label-free measure that settings are chosen by.

    The median score of the thousandth of pixels that score highest, against the 99th percentile of all.
    """
    changed = change(spectra)
    moments = Moments.of(changed)
    scores = Mahalanobis(moments.mean, moments.covariance)(changed)
    usual = float(np.quantile(scores, 0.99))
    return float(np.median(scores[scores >= np.quantile(scores, 0.999)])) / max(usual, 1e-30)
