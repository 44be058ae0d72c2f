"""Spatially separate training and test pixels: square blocks of the scene with a buffer between them.

Reference: Roberts et al., "Cross-validation strategies for data with temporal, spatial, hierarchical, or phylogenetic
structure", Ecography 40(8):913-929, 2017. The search for a layout with every class on both sides is ours.

Dimension key: h rows, w columns, k classes, n labelled pixels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

from patchfree.errors import ConfigError, SplitError
from patchfree.labels import Labels
from patchfree.split import VALIDATION_SHARE, Split, check_classes, check_validation

TRAIN_SHARE = 0.5
TRIES = 96
SMALLEST_SIDE = 3  # a class with fewer training pixels than this does not count as present on the training side


def block_split(
    labels: Labels,
    *,
    size: int | None = None,
    buffer: int | None = None,
    seed: int = 0,
    validation: float = VALIDATION_SHARE,
) -> Split:
    """Cut the scene into square blocks; each block belongs to training or to test, with a buffer between.

    Many layouts are drawn, and the one is kept that puts the most classes on both sides and cuts each class nearest
    to half. Training pixels closer to a test pixel than the buffer are not used at all. A class that lies in one
    place only cannot be on both sides: it trains, and is not tested.

    Args:
        labels: reference labels.
        size: side of a block in pixels; None for an eighth of the shorter side, 4 to 64.
        buffer: width in pixels of the strip without training pixels; None for a sixth of the block, at least 1.
        seed: repeats the draw.
        validation: share of the training pixels, again as blocks, set aside for validation.

    Raises:
        SplitError: no class can be put on both sides, or a class has a single pixel.
        ConfigError: a setting is out of range.
    """
    check_validation(validation)
    check_classes(labels)
    h, w = labels.index.shape
    size = int(np.clip(min(h, w) // 8, 4, 64)) if size is None else size
    buffer = max(1, size // 6) if buffer is None else buffer
    if size >= max(h, w):
        raise ConfigError(
            f"Got blocks of {size} px for a scene of {h} x {w} pixels: the scene would be one block. Use --blocks {max(1, min(h, w) // 4)} "
            f"(a benchmark: separate:{max(1, min(h, w) // 4)})."
        )
    if size < 1 or buffer < 0:
        raise ConfigError(f"Got blocks of {size} px and a buffer of {buffer} px; need at least 1 and 0.")
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(labels.index)
    classes = labels.index[rows, cols] - 1
    best: tuple[float, Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"], Int[np.ndarray, " n"]] | None = None
    for _ in range(TRIES):
        shift = rng.integers(0, size, 2)
        blocks = _block_numbers(rows, cols, size, shift, w)
        in_train = _halves(blocks, classes, TRAIN_SHARE, rng)
        train, test = np.zeros((h, w), bool), np.zeros((h, w), bool)
        train[rows[in_train], cols[in_train]] = True
        test[rows[~in_train], cols[~in_train]] = True
        # A class all of whose test pixels would be its only pixels trains instead.
        train &= ~_near(test, buffer)
        n_train = np.bincount(labels.index[train], minlength=len(labels.legend) + 1)[1:]
        n_test = np.bincount(labels.index[test], minlength=len(labels.legend) + 1)[1:]
        both = (n_train >= SMALLEST_SIDE) & (n_test > 0)
        share = n_train / np.maximum(n_train + n_test, 1)
        score = both.sum() + (n_train > 0).sum() / 2 - np.abs(share - TRAIN_SHARE).mean()
        if best is None or score > best[0]:
            best = (float(score), train, test, blocks)
    assert best is not None
    _, train, test, blocks = best
    train, test, untested = _one_sided(labels, train, test, buffer)
    if not (np.bincount(labels.index[test], minlength=2)[1:] > 0).any():
        raise SplitError(
            f"No class lies in two separate blocks of {size} px with a buffer of {buffer} px, so nothing can be tested apart "
            "from the training pixels. Use smaller --blocks, label a second place for each class, or use "
            "--fraction 0.5, which is optimistic (a benchmark: separate:SIZE:BUFFER, fraction:0.5)."
        )
    val = _validation_blocks(labels, train, rows, cols, blocks, validation, rng)
    train = train & ~val & ~(_near(val, buffer) & _spare(labels, train & ~val, val, buffer))
    notes = []
    if untested:
        names = ", ".join(f"{labels.legend[i].value} '{labels.legend[i].name}'" for i in untested)
        notes.append(
            f"Not tested, because their pixels lie in one place (or their separate places are closer than the buffer): {names}."
        )
    unused = int((labels.index > 0).sum() - train.sum() - val.sum() - test.sum())
    if unused:
        notes.append(f"{unused} labelled pixels in the buffer were used neither to train nor to test.")
    protocol = {"kind": "blocks", "size_px": size, "buffer_px": buffer, "seed": seed, "validation": validation}
    return Split(train, val, test, protocol, notes=tuple(notes))


def _block_numbers(
    rows: Int[np.ndarray, " n"], cols: Int[np.ndarray, " n"], size: int, shift: Int[np.ndarray, " 2"], width: int
) -> Int[np.ndarray, " n"]:
    """A number for the block of each pixel, 0.. without gaps."""
    across = (width + 2 * size) // size
    numbers = (rows + shift[0]) // size * across + (cols + shift[1]) // size
    return np.unique(numbers, return_inverse=True)[1].reshape(-1)


def _halves(
    blocks: Int[np.ndarray, " n"], classes: Int[np.ndarray, " n"], share: float, rng: np.random.Generator
) -> Bool[np.ndarray, " n"]:
    """Assign each block to training (True) or test so that every class is cut near `share`, rarest class first."""
    table = np.zeros((blocks.max() + 1, classes.max() + 1), np.int64)
    np.add.at(table, (blocks, classes), 1)
    side = np.full(len(table), -1)
    spread = (table > 0).sum(0) + rng.random(table.shape[1])
    for k in np.argsort(spread):
        members = rng.permutation(np.flatnonzero((table[:, k] > 0) & (side < 0)))
        # Largest first, so that the small ones can even out.
        members = members[np.argsort(-table[members, k], kind="stable")]
        train, test = table[side == 1, k].sum(), table[side == 0, k].sum()
        for block in members:
            wants_train = train * (1 - share) < test * share or (train == test == 0 and rng.random() < 0.5)
            side[block] = int(wants_train)
            train, test = train + table[block, k] * wants_train, test + table[block, k] * (not wants_train)
    return side[blocks] == 1


def _near(mask: Bool[np.ndarray, "h w"], distance: int) -> Bool[np.ndarray, "h w"]:
    """True within `distance` rows and columns of a True pixel."""
    if distance == 0 or not mask.any():
        return mask.copy()
    near: np.ndarray = ndimage.maximum_filter(mask, 2 * distance + 1, mode="constant")
    return near


def _one_sided(
    labels: Labels, train: Bool[np.ndarray, "h w"], test: Bool[np.ndarray, "h w"], buffer: int
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"], list[int]]:
    """Classes that ended up on one side only train, and leave the test; the buffer is kept."""
    for number in range(1, len(labels.legend) + 1):
        mine = labels.index == number
        if not (train & mine).any():
            test = test & ~mine
            train = train | (mine & ~_near(test, buffer))
        if not (train & mine).any():  # swallowed by the buffer of other classes' test pixels
            train = train | mine
            test = test & ~_near(mine, buffer)
    # Only now: making room for one class can take the last test pixel of another.
    untested = [i for i in range(len(labels.legend)) if not (test & (labels.index == i + 1)).any()]
    return train, test, untested


def _validation_blocks(
    labels: Labels,
    train: Bool[np.ndarray, "h w"],
    rows: Int[np.ndarray, " n"],
    cols: Int[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"],
    share: float,
    rng: np.random.Generator,
) -> Bool[np.ndarray, "h w"]:
    """Whole blocks of the training side, of classes that have at least three of them there."""
    val = np.zeros_like(train)
    inside = train[rows, cols]
    if not share or not inside.any():
        return val
    rows, cols, blocks = rows[inside], cols[inside], blocks[inside]
    classes = labels.index[rows, cols] - 1
    table = np.zeros((blocks.max() + 1, len(labels.legend)), np.int64)
    np.add.at(table, (blocks, classes), 1)
    left, total = table.sum(0), table.sum(0)
    spread = (table > 0).sum(0)
    chosen: list[int] = []
    for block in rng.permutation(np.flatnonzero(table.sum(1))):
        after = left - table[block]
        present = table[block] > 0
        if (after[present] >= (1 - 2 * share) * total[present]).all() and (spread[present] >= 3).all():
            chosen.append(int(block))
            left, spread = after, spread - present
        if (total - left).sum() >= share * total.sum():
            break
    mask = np.isin(blocks, chosen)
    val[rows[mask], cols[mask]] = True
    return val


def _spare(
    labels: Labels, train: Bool[np.ndarray, "h w"], val: Bool[np.ndarray, "h w"], buffer: int
) -> Bool[np.ndarray, "h w"]:
    """Training pixels of classes that keep most of them when the strip around the validation blocks is emptied."""
    near = _near(val, buffer)
    spare = np.zeros_like(train)
    for number in range(1, len(labels.legend) + 1):
        mine = (labels.index == number) & train
        if (mine & near).sum() <= 0.5 * mine.sum():
            spare |= mine
    return spare
