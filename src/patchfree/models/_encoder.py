"""FreeNet's encoder, level by level: strides 1, 2, 4, 8, joined by strided convolutions (`patchfree.models.freenet`).

Of two dates it is one encoder for both: `shared_encoder`.

Dimension key: b batch, c channels, h rows, w columns.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchfree.models._contract import FeatureMap, Masks, Stage
from patchfree.models._layers import Block, GroupNorm, keep
from patchfree.models._pairs import DATES, both, own_scale, per_date
from patchfree.models._statistics import Statistics


def encoder_parts(bands: int, channels: Sequence[int], blocks: Sequence[int], reduction: int) -> dict[str, nn.Module]:
    """The modules of an encoder by name, for the network that holds them.

    Args:
        bands: of the scene.
        channels: of each level.
        blocks: in each level.
        reduction: of the squeeze-excitation.
    """
    return {
        "stem": nn.Conv2d(bands, channels[0], 3, padding=1),
        "stem_norm": GroupNorm(channels[0], "stem_norm"),
        "levels": nn.ModuleList(
            nn.ModuleList(Block(c, reduction, f"levels.{level}.{i}") for i in range(n))
            for level, (c, n) in enumerate(zip(channels, blocks, strict=True))
        ),
        "downs": nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(channels)),
    }


def encode_level(
    network: Any,  # noqa: ANN401 - a module that holds `encoder_parts`
    level: int,
    x: Float[Tensor, "b c h w"],
    valid: Float[Tensor, "b 1 h w"] | None,
    valid_below: Float[Tensor, "b 1 h2 w2"] | None,
    statistics: Statistics,
) -> tuple[Float[Tensor, "b c2 h w"], Float[Tensor, "b c3 h2 w2"] | None]:
    """The features of a level, and what the next level starts from (None below the last).

    Args:
        network: holds the modules of `encoder_parts`.
        level: 0 is the finest.
        x: the bands for level 0, else what the level above handed down.
        valid: 1 where there is data, at the level's stride.
        valid_below: the same at the stride of the next level.
        statistics: where whole-scene statistics come from.
    """
    if level == 0:
        x = network.stem_norm(keep(network.stem(keep(x, valid)), valid), valid, statistics).relu_()
    for block in network.levels[level]:
        x = block(x, valid, statistics)
    if level == len(network.downs):
        return x, None
    return x, keep(network.downs[level](x).relu_(), valid_below)


def shared_encoder(
    network: Any,  # noqa: ANN401 - a module that holds `encoder_parts`, with one block a level
    channels: Sequence[int],
) -> tuple[Stage, ...]:
    """One stage a level, which gives each date's features: "before.features0", "after.features0" and so on."""
    last, stages = len(channels) - 1, []
    for level, count in enumerate(channels):
        stride = 2**level
        reads = tuple(f"{date}.down{level}" for date in DATES) if level else ("scene",)
        gives = [FeatureMap(f"{date}.features{level}", count, stride, cheap=level == 0) for date in DATES]
        if level < last:
            gives += [FeatureMap(f"{date}.down{level + 1}", channels[level + 1], 2 * stride) for date in DATES]
        halo = stride * (1 + (level == 0) + (level < last))  # a pixel for each 3x3 kernel
        stages.append(Stage(reads, tuple(gives), halo, stride, partial(_both_dates, network, level)))
    return tuple(stages)


def _both_dates(
    network: Any,  # noqa: ANN401
    level: int,
    maps: Mapping[str, Tensor],
    masks: Masks,
    statistics: Statistics,
) -> dict[str, Tensor]:
    if level:
        x = torch.cat([maps[f"{date}.down{level}"] for date in DATES])
    else:
        x = own_scale(maps["scene"], masks, statistics)
    valid, below = both(masks.at(2**level)), both(masks.at(2 ** (level + 1)))
    features, handed = encode_level(network, level, x, valid, below, per_date(statistics))
    given = dict(zip((f"{date}.features{level}" for date in DATES), features.chunk(2), strict=True))
    if handed is not None:
        given |= dict(zip((f"{date}.down{level + 1}" for date in DATES), handed.chunk(2), strict=True))
    return given
