"""Networks that look at a patch around each pixel: how they are trained and how they map. For comparison only.

Dimension key: b patches, c bands, s side of a patch, h rows, w columns, k classes, n pixels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchfree.benchmark.machine import flops
from patchfree.benchmark.method import Fitted, Method, Training
from patchfree.device import choose_precision
from patchfree.errors import TrainingFailed
from patchfree.progress import Progress


@dataclass(frozen=True)
class PatchNet:
    """A network of patches and how to train it: AdamW with a one-cycle rate, patches drawn in shuffled epochs.

    Attributes:
        name: short name.
        title: what to call it.
        cite: the reference.
        build: makes the network from bands and classes; it takes (b, c, s, s) and gives (b, k).
        side: of a patch, odd.
        steps: training steps, at least.
        epochs: more of them, until so many have gone over all labelled pixels.
        most: but no more steps than these for the sake of `epochs`.
        batch: patches of a step.
        learning_rate: peak rate.
        components: principal components of the bands to look at in place of the bands; None for the bands.
        at_once: patches mapped at once.
    """

    name: str
    title: str
    cite: str
    build: Callable[[int, int], nn.Module]
    side: int
    steps: int
    epochs: int = 0
    most: int = 0
    batch: int = 64
    learning_rate: float = 1e-3
    components: int | None = None
    at_once: int = 1024

    def steps_for(self, pixels: int) -> int:
        """Training steps for so many labelled pixels.

        Example:
            >>> net = PatchNet("a", "a", "", nn.Linear, 1, steps=1000, epochs=200, most=3000)
            >>> [net.steps_for(n) for n in (160, 693, 5012)]
            [1000, 2166, 3000]
        """
        return max(self.steps, min(self.most, math.ceil(self.epochs * pixels / self.batch)))


def patch_method(net: PatchNet, *, cost: int) -> Method:
    """The network as a method of the benchmark, trained on all labels that the protocol grants."""
    plain = {f.name: getattr(net, f.name) for f in dataclasses.fields(net) if f.name != "build"}
    modules = ("benchmark.methods.patches", net.build.__module__.removeprefix("patchfree."))
    return Method(net.title, lambda training: fit(net, training), {"patches": plain}, net.cite, cost, modules=modules)


def fit(net: PatchNet, training: Training) -> Fitted:
    """Train a network of patches."""
    device = training.device
    precision = choose_precision("auto", device)
    values = training.values if net.components is None else _components(training, net.components)
    canvas = torch.from_numpy(np.ascontiguousarray(values.transpose(1, 2, 0))).to(device)
    radius = net.side // 2
    canvas = (
        F.pad(canvas.permute(2, 0, 1)[None], (radius,) * 4, mode="reflect" if radius else "constant")[0]
        .permute(1, 2, 0)
        .contiguous()
    )
    pixels = np.flatnonzero(training.learnt)
    steps = training.steps or net.steps_for(len(pixels))
    classes = torch.from_numpy(training.index.ravel()[pixels].astype(np.int64) - 1).to(device)
    places = torch.from_numpy(pixels.astype(np.int64)).to(device)
    width, k = training.index.shape[1], len(training.legend)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(training.seed)
        model = net.build(len(values), k).to(device).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(model.parameters(), net.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, net.learning_rate, total_steps=steps + 1)
        generator = torch.Generator().manual_seed(training.seed)
        model.train()
        for step, chosen in enumerate(_batches(len(pixels), min(net.batch, len(pixels)), steps, generator)):
            x = _patches(canvas, places[chosen], net.side, width)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
                scores = model(x)
            loss = F.cross_entropy(scores.float(), classes[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if step % 50 == 49 or step == steps - 1:
                value = float(loss.detach())
                if not np.isfinite(value):
                    raise TrainingFailed(
                        f"The training of {net.name} broke down at step {step + 1}: the loss is {value:g}."
                    )
                training.tell(Progress("training", step + 1, steps, value))

    def score() -> Float[np.ndarray, "k h w"]:
        model.eval()
        shape = training.index.shape
        scores = np.zeros((k, shape[0] * shape[1]), np.float32)
        wanted = torch.from_numpy(np.flatnonzero(training.valid).astype(np.int64)).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            for part in torch.split(wanted, net.at_once):
                scores[:, part.cpu().numpy()] = model(_patches(canvas, part, net.side, width)).float().T.cpu().numpy()
        return scores.reshape(k, *shape)

    kind = str(precision).removeprefix("torch.")
    batch = min(net.batch, len(pixels))

    def operations(patches: int, *, backward: bool) -> int:
        copy, shape = net.build(len(values), k).train(backward), (patches, len(values), net.side, net.side)
        return flops(copy, shape, backward=backward)

    return Fitted(
        score,
        parameters=sum(p.numel() for p in model.parameters()),
        train_flop=lambda: float(steps * operations(batch, backward=True)),
        predict_flop=lambda: float(int(training.valid.sum()) * operations(1, backward=False)),
        precision=kind,
        predict_precision=kind,
        settings={"steps": steps, "patches": len(pixels), "batch": batch, "side": net.side, "bands": len(values)},
    )


def _batches(n: int, batch: int, steps: int, generator: torch.Generator) -> list[Int[Tensor, " b"]]:
    """Positions for each step: epochs in shuffled order, joined end to end."""
    epochs = -(-steps * batch // n)
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(epochs)])
    return list(torch.split(order[: steps * batch], batch))


def _patches(
    canvas: Float[Tensor, "h2 w2 c"], places: Int[Tensor, " b"], side: int, width: int
) -> Float[Tensor, "b c s s"]:
    """The patches around these pixels of the scene; the canvas is the scene with a mirrored margin."""
    reach = torch.arange(side, device=canvas.device)
    rows, cols = (places // width)[:, None] + reach, (places % width)[:, None] + reach
    return canvas[rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2)


def _components(training: Training, most: int) -> np.ndarray:
    """The first principal components over the whole scene, to unit variance of the first."""
    spectra = training.values[:, training.valid].astype(np.float64)
    spectra -= spectra.mean(1, keepdims=True)
    variances, axes = np.linalg.eigh(spectra @ spectra.T / spectra.shape[1])
    axes = axes[:, ::-1][:, :most] / np.sqrt(variances[-1])
    values = np.zeros((axes.shape[1], *training.valid.shape), np.float32)
    values[:, training.valid] = axes.T @ spectra
    return values
