"""A whole-scene reconstruction network of ours: what a pixel's surroundings do not foretell is an anomaly.

The network sees the scene's leading principal components as one image. Its first layer is a convolution with a hole: it
covers a square around the pixel and not the middle of it. Layers of single pixels follow, which give the pixel's own
components. Small objects cannot be copied, so they are reconstructed as the background around them; the score is the squared
error, component by component relative to the mean error of the scene. It is trained on the scene itself, whole, a step a
pass, and pixels with large errors count less, so that anomalies are not learnt.

The idea of a residual of the background: S. Wang et al. (2022), Auto-AD: Autonomous Hyperspectral Anomaly Detection Network
Based on Fully Convolutional Autoencoder, IEEE Transactions on Geoscience and Remote Sensing 60 (whole scene, weights against
learning anomalies); blind spots: A. Krull, T.-O. Buchholz, F. Jug (2019), Noise2Void, CVPR.
Differences from Auto-AD: the surroundings in place of noise as input, a hole in place of a bottleneck.

Dimension key: c components, h rows, w columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from patchfree.anomalies._contract import Detector
from patchfree.unsupervised.scores import Context, Score, project, scene_axes
from patchfree.unsupervised.view import Valid, Values, View

POWER = 0.5  # of the standard deviation that a component is divided by


class Surroundings(nn.Module):
    """A convolution with a hole, then single pixels."""

    seen: Tensor

    def __init__(self, components: int, width: int, kernel: int, hole: int, spread: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(components, width, kernel, padding=kernel // 2 * spread, dilation=spread)
        seen = torch.ones(kernel, kernel)
        edge = (kernel - hole) // 2
        seen[edge : edge + hole, edge : edge + hole] = 0
        self.register_buffer("seen", seen)
        self.single = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, components, 1))

    def forward(self, x: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h w"]:
        """The components of each pixel, from those around it."""
        layer = self.around
        around = nn.functional.conv2d(
            x, layer.weight * self.seen, layer.bias, padding=layer.padding, dilation=layer.dilation
        )
        found: Tensor = self.single(around)
        return found


@dataclass(frozen=True)
class Autoencoder(Detector):
    """Reconstruction from the surroundings.

    Attributes:
        components: principal components.
        width: features.
        kernel: pixels along a side that the first layer looks at, every second one; odd.
        hole: of these, not seen in the middle; odd.
        steps: training steps, each with the whole scene (one window of it, where the scene is larger than a window).
        rate: learning rate of Adam.
    """

    title: ClassVar[str] = "reconstruction from the surroundings"
    references: ClassVar[tuple[str, ...]] = ("auto-ad", "blind-spot")
    pixelwise: ClassVar[bool] = False
    random: ClassVar[bool] = True

    components: int = 20
    width: int = 48
    kernel: int = 9
    hole: int = 3
    steps: int = 200
    rate: float = 3e-3

    SPREAD: ClassVar[int] = 2  # px between the pixels of the kernel

    @property
    def halo(self) -> int:
        """Reach of the first layer."""
        return self.kernel // 2 * self.SPREAD

    def fit(self, view: View, context: Context) -> Score:
        """Train on the scene."""
        axes = scene_axes(view).first(self.components)
        scale = axes.variances[0] ** ((1 - POWER) / 2)

        def prepare(values: Values, valid: Valid) -> tuple[Tensor, Tensor]:
            points = project(values, valid, axes, POWER) / scale
            x = torch.from_numpy(np.ascontiguousarray(points.transpose(2, 0, 1), dtype=np.float32))[None]
            return x.to(context.device), torch.from_numpy(valid).to(context.device)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            network = Surroundings(len(axes.variances), self.width, self.kernel, self.hole, self.SPREAD)
        network = network.to(context.device)
        optimiser = torch.optim.Adam(network.parameters(), self.rate)
        windows = view.windows
        kept = prepare(*view.read(windows[0])) if len(windows) == 1 else None
        spread = torch.ones(len(axes.variances), device=context.device)
        for step in range(self.steps):
            x, held = kept or prepare(*view.read(windows[step % len(windows)]))
            if not held.any():
                continue
            error = (network(x) - x)[0, :, held].square()
            # An anomaly would be learnt in the end: the larger a pixel's error, the less it counts (Auto-AD).
            weight = 1 / (error.detach().mean(0) + error.detach().mean())
            loss = (error.mean(0) * weight).sum() / weight.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            spread = torch.lerp(spread, error.detach().mean(1), 0.1 if step else 1.0)
            context.tell(step + 1, self.steps)
        network.eval()

        def score(values: Values, valid: Valid) -> Float64[np.ndarray, "h w"]:
            x, _ = prepare(values, valid)
            with torch.inference_mode():
                error = ((network(x) - x)[0].square() / spread[:, None, None]).mean(0)
            return np.where(valid, error.double().cpu().numpy(), np.nan)

        return score
