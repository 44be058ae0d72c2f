"""Changes to a scene in training, so that the network learns spectra and neighbourhoods and not this one scene.

Scene shuffling lays the scene out anew at every step. A whole-scene network trained on one scene can memorise its layout: the class of a place, not of its
spectrum. That helps at pixels among the training pixels and fails at places apart from them. Cutting the scene and its
labels into square blocks, which are permuted, turned and mirrored, keeps the neighbourhood and breaks the layout.

Ours; the idea stands beside jigsaw augmentation (Noroozi and Favaro, ECCV 2016). Mirroring, and swapping the two dates of a
pair, leave a change what it is.

Dimension key: c bands, h rows, w columns, n pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

SMALLEST, LARGEST = 8, 64
"""Side of the blocks in pixels, drawn log-uniformly."""


def shuffle_scene(
    scene: Float[Tensor, "c h w"],
    valid: Bool[Tensor, "h w"],
    pixels: Int[Tensor, " n"],
    *,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "c h2 w2"], Bool[Tensor, "h2 w2"], Int[Tensor, " n"]]:
    """Cut into square blocks of one random size and put them together in another order, each turned or mirrored.

    Args:
        scene: standardised bands.
        valid: where there is data.
        pixels: flat positions of the labelled pixels.
        generator: source of randomness.

    Returns:
        The scene, its data mask and where the labelled pixels now lie. The canvas is the scene's size rounded up to
        whole blocks; blocks cut by the border are filled with the scene's mirror image, without labels.
    """
    h, w = valid.shape
    draw = float(torch.rand((), generator=generator))
    # A whole number of blocks along the longer side: otherwise up to half of the canvas would be filling.
    wanted = SMALLEST * (LARGEST / SMALLEST) ** draw
    side = min(-(-max(h, w) // max(1, round(max(h, w) / wanted))), h, w)
    down, across = -(-h // side), -(-w // side)
    top = int(torch.randint(down * side - h + 1, (), generator=generator))
    left = int(torch.randint(across * side - w + 1, (), generator=generator))
    rows, cols = _mirrored(h, top, down * side), _mirrored(w, left, across * side)
    order = torch.randperm(down * across, generator=generator)
    turns = torch.randint(8, (down * across,), generator=generator)

    marks = torch.zeros(h * w, dtype=torch.int64, device=scene.device)
    marks[pixels] = torch.arange(1, len(pixels) + 1, device=scene.device)
    canvas = F.pad(marks.view(1, h, w), (left, across * side - w - left, top, down * side - h - top))
    moved = _rearranged(canvas, order, turns, side).flatten()
    where = moved.nonzero().squeeze(1)
    found = torch.empty_like(pixels)
    found[moved[where] - 1] = where
    both = (scene, valid[None].to(torch.uint8))
    bands, holds = (layers[:, rows.to(layers.device)][:, :, cols.to(layers.device)] for layers in both)
    return _rearranged(bands, order, turns, side), _rearranged(holds, order, turns, side)[0].bool(), found


def _rearranged(
    canvas: Shaped[Tensor, "c h w"], order: Int[Tensor, " n"], turns: Int[Tensor, " n"], side: int
) -> Shaped[Tensor, "c h w"]:
    """The square blocks of a canvas in this order, each turned by so many quarters, and mirrored from the fourth turn on."""
    down, across = canvas.shape[1] // side, canvas.shape[2] // side
    blocks = canvas.view(-1, down, side, across, side).permute(1, 3, 0, 2, 4).reshape(down * across, -1, side, side)
    blocks = blocks[order.to(canvas.device)]
    for turn in range(1, 8):
        mine = (turns == turn).to(canvas.device)
        turned = torch.rot90(blocks[mine], turn % 4, (2, 3))
        blocks[mine] = turned.flip(3) if turn >= 4 else turned
    return blocks.view(down, across, -1, side, side).permute(2, 0, 3, 1, 4).reshape(-1, down * side, across * side)


def _mirrored(size: int, before: int, total: int) -> Int[Tensor, " t"]:
    """Which row (or column) of the scene lies at each place of a longer canvas: mirrored beyond both ends."""
    places = (torch.arange(total) - before) % (2 * size)
    return torch.where(places < size, places, 2 * size - 1 - places)


def flip_scene(
    scene: Float[Tensor, "c h w"],
    valid: Bool[Tensor, "h w"],
    pixels: Int[Tensor, " n"],
    *,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "c h w"], Bool[Tensor, "h w"], Int[Tensor, " n"]]:
    """Mirror top to bottom, left to right, both or neither, each as likely.

    Args:
        scene: standardised bands.
        valid: where there is data.
        pixels: flat positions of the labelled pixels.
        generator: source of randomness.

    Returns:
        The scene, its data mask and where the labelled pixels now lie.
    """
    h, w = valid.shape
    down, across = (torch.rand(2, generator=generator) < 0.5).tolist()
    rows, columns = pixels // w, pixels % w
    rows, columns = (h - 1 - rows if down else rows), (w - 1 - columns if across else columns)
    sides = [side for side, wanted in ((-2, down), (-1, across)) if wanted]
    return scene.flip(sides), valid.flip(sides), rows * w + columns


def swap_dates(scene: Float[Tensor, "c h w"], *, generator: torch.Generator) -> Float[Tensor, "c h w"]:
    """The second date's bands before the first's, in half of all cases."""
    if torch.rand((), generator=generator) < 0.5:
        return scene
    return torch.cat(scene.chunk(2)[::-1])
