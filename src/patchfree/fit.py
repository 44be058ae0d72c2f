"""The training loop: one network, one optimiser step per pass over the whole scene, or over each of several scenes.

Of several scenes a step takes the pixels that GS2 drew from all of them together: the network runs on each scene by itself, and the
gradients are added up, so that each pixel counts alike wherever it lies. Several processes share the scenes (`ranks`).

Everything random is drawn from (seed, step), so that a run that was interrupted and resumed gives the same bits
as one that was not.

Dimension key: c bands, h rows, w columns, k classes, n pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn

from patchfree.augment import flip_scene, shuffle_scene, swap_dates
from patchfree.device import choose_precision
from patchfree.errors import ConfigError, SplitError, TrainingFailed
from patchfree.losses import at_pixels, deep_supervision, masked_cross_entropy, soft_cross_entropy
from patchfree.models import MODELS, SceneModel
from patchfree.ranks import Ranks
from patchfree.recipes import Recipe
from patchfree.sample.stratified import balanced_step, epoch_length, smallest_handful, stratified_epoch
from patchfree.standardise import edge_guide, mixed_neighbours
from patchfree.windows import Window

VALIDATIONS = 10
"""How often the validation accuracy is measured during a training."""


@dataclass(frozen=True)
class Step:
    """What happened in one training step.

    Attributes:
        number: 1 and up.
        of: steps of the whole training.
        loss: mean cross-entropy of the step's pixels.
        learning_rate: rate of the step.
        seconds: since training began or was resumed.
        validation_accuracy: share of validation pixels that are right; None where it was not measured.
    """

    number: int
    of: int
    loss: float
    learning_rate: float
    seconds: float
    validation_accuracy: float | None = None


def learning_rate(recipe: Recipe, step: int) -> float:
    """Rate of a step, counted from 0."""
    if recipe.schedule == "poly":
        return recipe.learning_rate * (1 - step / recipe.steps) ** 0.9
    rise = max(1.0, recipe.warm_up * recipe.steps)
    if step < rise:  # from 1/25 of the peak, as a half cosine
        return recipe.learning_rate * (1 + (1 / 25 - 1) * (1 + math.cos(math.pi * step / rise)) / 2)
    return recipe.learning_rate * (1 + math.cos(math.pi * (step - rise) / max(1.0, recipe.steps - rise))) / 2


@dataclass(frozen=True, eq=False)
class Piece:
    """What the network sees at a time: a scene, with the training and validation pixels in it.

    Attributes:
        number: which of the scenes.
        values: standardised bands.
        valid: where there is data.
        val_pixels: flat positions of the validation pixels.
        val_classes: their classes, 0..k-1.
        taught: flat positions of pixels with data that do not train; none without a teacher.
        chances: what the teacher says of each pixel.
    """

    number: int
    values: Float32[Tensor, "c h w"]
    valid: Bool[Tensor, "h w"]
    val_pixels: Int[Tensor, " n"]
    val_classes: Int[Tensor, " n"]
    taught: Int[Tensor, " m"]
    chances: Float32[Tensor, "k hw"]


Chosen = tuple[Piece, Int[Tensor, " _"], Int[Tensor, " _"], Bool[Tensor, " _"]]
"""A scene, the pixels of it that count in a step, their classes, and which of them are held out from the scores."""


class Trainer:
    """A network in training on one scene, or on several.

    Args:
        values: standardised bands; 0 where there is no data.
        valid: where there is data.
        index: class 1..k of each pixel; read only at training and validation pixels.
        train: training pixels.
        val: validation pixels, for the progress display only.
        classes: k.
        recipe: all settings; `shuffle` is True or False here.
        seed: repeats the training.
        device: where to compute.
        teacher: probability of each class at each pixel, for a recipe with `taught`; None for none.
        windows: where each of several scenes lies on this canvas; None for one scene.
        ranks: processes that share the scenes; None for this one alone.
        recompute: save memory by computing feature maps anew for the gradient; the numbers are the same.
    """

    def __init__(
        self,
        values: Float32[np.ndarray, "c h w"],
        valid: Bool[np.ndarray, "h w"],
        index: Int[np.ndarray, "h w"],
        *,
        train: Bool[np.ndarray, "h w"],
        val: Bool[np.ndarray, "h w"],
        classes: int,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        teacher: Float32[np.ndarray, "k h w"] | None = None,
        windows: Sequence[Window] | None = None,
        ranks: Ranks | None = None,
        recompute: bool = False,
    ) -> None:
        if not (train & valid).any():
            raise SplitError(
                f"None of the {int(train.sum())} training pixels holds data: all lie in masked parts of the scene. "
                "Check the nodata value, or label other places."
            )
        self.recipe, self.seed, self.device, self.ranks = recipe, seed, device, ranks or Ranks()
        self.precision = choose_precision(recipe.precision, device)
        self.steps_done = 0
        windows = windows or [(slice(0, valid.shape[0]), slice(0, valid.shape[1]))]
        # The training pixels of all scenes, in whatever process: what is drawn from them must be the same everywhere.
        found = [_labelled(index[w], train[w] & valid[w]) for w in windows]
        self.pixels, self.classes = (torch.cat(parts).to(device) for parts in zip(*found, strict=True))
        sizes = torch.tensor([len(pixels) for pixels, _ in found])
        self.piece_of = torch.arange(len(windows)).repeat_interleave(sizes).to(device)
        self.pieces = []
        for number in self.ranks.mine([valid[w].size for w in windows]):
            window = windows[number]
            seen, held = (torch.from_numpy(array).to(device) for array in (values[:, *window], valid[window]))
            where, known = (part.to(device) for part in _labelled(index[window], val[window] & valid[window]))
            others = np.flatnonzero(valid[window] & ~train[window] & (teacher is not None))
            said = np.zeros((classes, 0), np.float32) if teacher is None else teacher[:, *window].reshape(classes, -1)
            taught, chances = torch.from_numpy(others), torch.from_numpy(said).to(device)
            self.pieces.append(Piece(number, seen, held, where, known, taught, chances))
        draw = torch.rand(len(self.pixels), generator=torch.Generator().manual_seed(_mix(seed, 7, 0)))
        self.held = (draw < recipe.held_out).to(device)
        self.validates = bool((val & valid).any())
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            model = MODELS[recipe.model](bands=len(values), classes=classes)
        if model.guides:
            mixed = mixed_neighbours(index, train & valid, windows)
            guide = torch.from_numpy(edge_guide(values, valid, windows, model.guides, mixed=mixed))
            model.prepare(guide, torch.from_numpy(class_offsets(index, train, classes, recipe)), mixed)
        for member in model.members:
            member.recompute = recompute
        _check_suits(model, recipe)
        self.strides = {made.name: made.stride for stage in model.stages() for made in stage.gives}
        self.model: SceneModel = model.to(device).to(memory_format=torch.channels_last)
        self.member = self.model.members[0]  # one after the other is trained
        self.steps = recipe.steps * len(self.model.members)
        self.optimiser = _optimiser(self.model, recipe)
        self.per_class = recipe.per_class
        if recipe.every_class:
            self.per_class = smallest_handful(self.classes.cpu(), least=recipe.per_class)

    def run(self) -> Iterator[Step]:
        """Train until the recipe's last step; yields one record per step.

        Raises:
            TrainingFailed: the loss or the gradient is no longer finite; the network is as before that step.
        """
        began = time.perf_counter()
        every = max(1, self.steps // VALIDATIONS)
        while self.steps_done < self.steps:
            number, done = divmod(self.steps_done, self.recipe.steps)
            if self.member is not self.model.members[number]:
                self.member = self.model.members[number]
            rate = learning_rate(self.recipe, done)
            loss = self._step(rate)
            self.steps_done += 1
            measured = self.validates and (self.steps_done % every == 0 or self.steps_done == self.steps)
            yield Step(
                self.steps_done,
                self.steps,
                loss,
                rate,
                time.perf_counter() - began,
                self._validate() if measured else None,
            )

    def _step(self, rate: float) -> float:
        chosen = self._chosen()
        pixels, classes, piece_of, held = (
            whole if chosen is None else whole[chosen.to(self.device)]
            for whole in (self.pixels, self.classes, self.piece_of, self.held)
        )
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = rate
        self.model.train()
        self.optimiser.zero_grad()
        total = torch.zeros((), device=self.device)
        for group in self._groups():
            here = [(piece, piece_of == piece.number) for piece in group]
            here = [(piece, mine) for piece, mine in here if mine.any()]
            if here:
                share = sum(int(mine.sum()) for _, mine in here) / len(pixels)
                loss = self._loss([(piece, pixels[mine], classes[mine], held[mine]) for piece, mine in here]) * share
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        gradients = _gradients(self.member)
        self.ranks.add([*gradients, total])
        norm = nn.utils.clip_grad_norm_(self.member.parameters(), self.recipe.clip)
        value = float(total)
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            raise TrainingFailed(
                f"Training broke down at step {self.steps_done + 1} of {self.steps}: the loss is {value:g} and the gradient's "
                f"norm {float(norm):g}. The network as it was before this step is kept. Try a lower --learning-rate "
                f"(now {self.recipe.learning_rate:g}), and check the scene's value range with `patchfree info`."
            )
        self.optimiser.step()
        return value

    def _groups(self) -> list[list[Piece]]:
        """The pieces that the network sees at a time: one by one, or those of one size if it takes statistics over several."""
        if not self.model.batch_statistics:
            return [[piece] for piece in self.pieces]
        sizes: dict[tuple[int, ...], list[Piece]] = {}
        for piece in self.pieces:
            sizes.setdefault(tuple(piece.valid.shape), []).append(piece)
        return list(sizes.values())

    def _loss(self, group: Sequence[Chosen]) -> Float[Tensor, ""]:
        """Mean loss of some pixels of some scenes, which are changed at random first, as the recipe says."""
        taught = [self._taught(piece) for piece, *_ in group]
        changed = [
            self._changed(piece, torch.cat([pixels, others]))
            for (piece, pixels, _, _), others in zip(group, taught, strict=True)
        ]
        maps = self._maps(torch.stack([values for values, _, _ in changed]), torch.stack([v for _, v, _ in changed]))
        classes = [classes for _, _, classes, _ in group]
        smoothing, total = self.recipe.label_smoothing, sum(len(known) for known in classes)
        if self.recipe.loss == "cross-entropy":
            losses = []
            for (piece, *_), scores, (*_, places), known, others in zip(
                group, maps["scores"], changed, classes, taught, strict=True
            ):
                own, elsewhere = places[: len(known)], places[len(known) :]
                loss = masked_cross_entropy(scores, own, known, label_smoothing=smoothing)
                if len(others):
                    said, weight = piece.chances[:, others], self.recipe.taught
                    loss = (loss + weight * soft_cross_entropy(scores, elsewhere, said)) / (1 + weight)
                losses.append(loss * (len(known) / total))
            return torch.stack(losses).sum()
        width = changed[0][1].shape[1]
        found = {
            name: torch.cat(
                [at_pixels(x, p, width, self.strides[name]) for x, (*_, p) in zip(maps[name], changed, strict=True)], 1
            )
            for name in self.model.supervised
        }
        return deep_supervision(
            found, torch.cat(classes), torch.cat([held for *_, held in group]), label_smoothing=smoothing
        )

    def _taught(self, piece: Piece) -> Int[Tensor, " m"]:
        """The pixels of a scene at which the teacher speaks in this step."""
        drawn = torch.randperm(len(piece.taught), generator=self._chance(8, piece))[: self.recipe.taught_pixels]
        return piece.taught[drawn].to(self.device)

    def _changed(self, piece: Piece, pixels: Int[Tensor, " n"]) -> tuple[Tensor, Tensor, Tensor]:
        """A scene as the network sees it in this step, and where the pixels now lie."""
        values, valid = piece.values, piece.valid
        if self.recipe.shuffle:
            values, valid, pixels = shuffle_scene(values, valid, pixels, generator=self._chance(2, piece))
        if self.recipe.flips:
            values, valid, pixels = flip_scene(values, valid, pixels, generator=self._chance(4, piece))
        if self.recipe.swap:
            values = swap_dates(values, generator=self._chance(5, piece))
        return values, valid, pixels

    def _chance(self, purpose: int, piece: Piece) -> torch.Generator:
        return torch.Generator().manual_seed(_mix(self.seed, purpose, self.steps_done, piece.number))

    def _maps(self, values: Float[Tensor, "b c h w"], valid: Bool[Tensor, "b h w"]) -> dict[str, Tensor]:
        x = values.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            return self.member.maps(x, None if bool(valid.all()) else valid)

    def _drawn(self) -> Tensor | None:
        """The pixels of the scenes that this step sees; None for all of them."""
        count, batch = int(self.piece_of.max()) + 1, self.recipe.batch
        if batch is None or batch >= count:
            return None
        epoch, step = divmod(self.steps_done, -(-count // batch))
        generator = torch.Generator().manual_seed(_mix(self.seed, 6, epoch))
        seen = torch.randperm(count, generator=generator)[step * batch : (step + 1) * batch]
        mine = torch.isin(self.piece_of.cpu(), seen).nonzero().squeeze(1)
        return mine if len(mine) else None

    def _chosen(self) -> Tensor | None:
        """The pixels of this step, drawn from (seed, epoch) or (seed, step), so that any step can be found again; None for all."""
        if self.recipe.sampling == "all":
            return self._drawn()
        classes, per_class = self.classes.cpu(), self.per_class
        if self.recipe.sampling == "balanced":
            generator = torch.Generator().manual_seed(_mix(self.seed, 1, self.steps_done))
            return balanced_step(classes, per_class=per_class, generator=generator)
        epoch, step = divmod(self.steps_done, epoch_length(classes, per_class=per_class))
        generator = torch.Generator().manual_seed(_mix(self.seed, 1, epoch))
        return stratified_epoch(classes, per_class=per_class, generator=generator)[step]

    def _validate(self) -> float:
        self.model.eval()
        counts = torch.zeros(2, dtype=torch.float64, device=self.device)  # right ones, all
        with torch.no_grad():
            for piece in self.pieces:
                if len(piece.val_pixels):
                    scores = self._maps(piece.values[None], piece.valid[None])["scores"][0].flatten(1)[
                        :, piece.val_pixels
                    ]
                    counts[0] += (scores.argmax(0) == piece.val_classes).sum()
                    counts[1] += len(piece.val_pixels)
        self.ranks.add([counts])
        return float(counts[0] / counts[1])

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on, as plain tensors."""
        state = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for number, slots in self.optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{number}.{slot}": value for slot, value in slots.items() if value is not None}
        state["steps_done"] = torch.tensor(self.steps_done)
        return {name: value.detach().cpu().contiguous() for name, value in state.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state of `state()`."""
        self.model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
        whole = self.optimiser.state_dict()
        whole["state"] = {}
        parameters = list(self.model.parameters())
        for name, value in state.items():
            if name.startswith("optimiser."):
                _, number, slot = name.split(".")
                if value.dim():  # as its parameter lies in memory: a fused optimiser takes that for granted
                    value = torch.empty_like(parameters[int(number)], requires_grad=False).copy_(value)
                whole["state"].setdefault(int(number), {})[slot] = value
        self.optimiser.load_state_dict(whole)
        self.steps_done = int(state["steps_done"])


def _check_suits(model: SceneModel, recipe: Recipe) -> None:
    """Refuse settings that a network cannot follow.

    Raises:
        ConfigError: it cannot.
    """
    name = recipe.model
    if recipe.loss == "deep-supervision" and "uncertainty" not in model.supervised:
        raise ConfigError(f"Got loss=deep-supervision for {name}, which has scores only; use loss=cross-entropy.")
    if recipe.swap and model.dates != 2:
        raise ConfigError(f"Got swap=True for {name}, a network of one date; leave it out.")
    if recipe.shuffle and model.batch_statistics:
        raise ConfigError(
            f"Got shuffle={recipe.shuffle} for {name}, which sees several scenes of one size at a time; use shuffle=False."
        )


def class_offsets(
    index: Int[np.ndarray, "h w"], train: Bool[np.ndarray, "h w"], classes: int, recipe: Recipe
) -> Float32[np.ndarray, " k"]:
    """What to add to the scores: `prior` times the log of how much oftener a class occurs than balanced steps show it.

    It occurs as often as it does among the training pixels. A network learns the frequencies that it is shown, and balanced steps show small classes too often. A class that is drawn
    whole in each step is shown as often as it can be and gets no more than its share. Classes without a training pixel get 0; they
    are never mapped anyway. Without balanced steps the network is shown the frequencies themselves, and nothing is added.

    Reference: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021; the frequencies in the steps are our addition.
    """
    counts = np.bincount(index[train], minlength=classes + 1)[1:].astype(np.float64)
    drawn = np.minimum(counts, recipe.per_class) if recipe.sampling == "balanced" else counts
    known = counts > 0
    frequent, shown = (np.where(known, n, 1) / max(n.sum(), 1) for n in (counts, drawn))
    return (recipe.prior * np.where(known, np.log(frequent) - np.log(shown), 0)).astype(np.float32)


def _labelled(
    index: Int[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Flat positions and classes 0..k-1 of the masked pixels."""
    pixels = np.flatnonzero(mask)
    classes = index.ravel()[pixels].astype(np.int64) - 1
    return torch.from_numpy(pixels.astype(np.int64)), torch.from_numpy(classes)


def _gradients(model: nn.Module) -> list[Tensor]:
    """The gradient of each parameter; zeros where no scene of this process had a pixel in this step."""
    found = []
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        found.append(parameter.grad)
    return found


def _optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def _mix(seed: int, purpose: int, number: int, piece: int = 0) -> int:
    """A random state from a seed, what it is for, a running number, and which of several scenes it is for."""
    parts = (seed, purpose, number, piece) if piece else (seed, purpose, number)
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
