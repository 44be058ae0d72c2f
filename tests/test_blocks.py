"""A block split keeps training and test pixels apart by the buffer, and says which classes it cannot test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from patchfree.blocks import block_split
from patchfree.errors import ConfigError, SplitError
from patchfree.labels import make_labels


def random_case(seed):
    """Labels of several kinds (noise, fields, single pixels, patches) with random block settings."""
    rng = np.random.default_rng(seed)
    h, w, k = (int(n) for n in (*rng.integers(6, 40, 2), rng.integers(2, 7)))
    kind = seed % 4
    if kind == 0:
        values = rng.integers(0, k + 1, (h, w))
    elif kind == 1:
        values = np.kron(rng.integers(0, k + 1, (8, 8)), np.ones((5, 5), int))[:h, :w]
    elif kind == 2:
        values = rng.integers(0, k + 1, (h, w)) * (rng.random((h, w)) < 0.06)
    else:
        values = np.zeros((h, w), int)
        for _ in range(14):
            r, c, side = rng.integers(0, h), rng.integers(0, w), rng.integers(1, 6)
            values[r : r + side, c : c + side] = rng.integers(0, k + 1)
    settings = {
        "size": None if rng.random() < 0.3 else int(rng.integers(1, 16)),
        "buffer": None if rng.random() < 0.3 else int(rng.integers(0, 8)),
        "seed": int(rng.integers(100)),
        "validation": float(rng.choice([0.0, 0.1, 0.4])),
    }
    return values, settings


def splits_of(seeds):
    """The splits of all random cases that can be split; the others must be refused in our words."""
    for seed in seeds:
        values, settings = random_case(seed)
        counts = np.bincount(values.ravel())[1:]
        values[np.isin(values, np.flatnonzero(counts < 2) + 1)] = 0
        if len(np.unique(values[values > 0])) < 2:
            continue
        labels = make_labels(values)
        try:
            yield seed, labels, block_split(labels, **settings)
        except (SplitError, ConfigError) as error:
            if "No class lies in two separate blocks" not in str(error) and "would be one block" not in str(error):
                raise


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_every_law_holds_on_random_labels(start):
    checked = 0
    for seed, labels, split in splits_of(range(start, start + 40)):
        checked += 1
        learnt, buffer = split.train | split.val, split.protocol["buffer_px"]
        assert not ((split.train & split.test) | (split.train & split.val) | (split.val & split.test)).any(), seed
        assert not ((learnt | split.test) & (labels.index == 0)).any(), seed
        apart = ndimage.distance_transform_cdt(~learnt, "chessboard")[split.test]
        assert apart.min() > buffer, seed
        assert (labels.within(split.train).counts > 0).all(), seed
        untested = {
            entry.value for entry, n in zip(labels.legend, labels.within(split.test).counts, strict=True) if not n
        }
        said = {
            entry.value for entry in labels.legend if any(f"{entry.value} '{entry.name}'" in n for n in split.notes)
        }
        assert said == untested, seed
    assert checked > 10


@pytest.mark.parametrize("classes", [2, 3, 5, 8])
@pytest.mark.parametrize("seed", range(6))
def test_every_class_with_two_separate_places_is_on_both_sides(classes, seed):
    cells = np.random.default_rng(seed).permutation(16)[: 2 * classes]
    values = np.zeros((64, 64), int)
    for i, cell in enumerate(cells):
        row, col = cell // 4 * 16 + 5, cell % 4 * 16 + 5
        values[row : row + 6, col : col + 6] = i % classes + 1
    labels = make_labels(values)
    split = block_split(labels, size=8, buffer=3, seed=seed)
    assert (labels.within(split.train).counts >= 3).all()
    assert (labels.within(split.test).counts > 0).all()


def test_on_a_full_map_each_class_is_cut_near_half(labels):
    split = block_split(labels)
    train, test = (labels.within(mask).counts for mask in (split.train | split.val, split.test))
    assert ((train / (train + test) > 0.3) & (train / (train + test) < 0.7)).all()
    assert not split.optimistic


def test_same_seed_same_split_and_another_seed_another(labels):
    first, again, other = (block_split(labels, seed=seed).codes() for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()


def test_a_class_in_one_place_trains_is_not_tested_and_is_reported():
    values = np.zeros((40, 40), int)
    values[:6, :6], values[-6:, -6:], values[:6, -6:], values[-6:, :6] = 1, 1, 2, 2
    values[20:22, 20:22] = 7
    labels = make_labels(values, names={7: "well"})
    split = block_split(labels, size=6, buffer=2)
    assert labels.within(split.train).counts[2] == 4
    assert labels.within(split.test).counts[2] == 0
    assert any("Not tested" in note and "7 'well'" in note for note in split.notes)


def test_making_room_for_one_class_is_reported_for_the_class_that_pays():
    # Found by random search: the only test pixel of a class lay in the buffer of another class's last pixels.
    paid = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        values = rng.integers(0, 6, (14, 14)) * (rng.random((14, 14)) < 0.12)
        counts = np.bincount(values.ravel(), minlength=6)
        values[counts[values] < 2] = 0
        if len(np.unique(values)) < 3:
            continue
        labels = make_labels(values)
        try:
            split = block_split(labels, size=4, buffer=5, seed=seed)
        except SplitError:
            continue
        untested = [e for e, n in zip(labels.legend, labels.within(split.test).counts, strict=True) if not n]
        assert all(any(f"'{entry.name}'" in note for note in split.notes) for entry in untested), seed
        paid += bool(untested)
        if paid > 15:
            break
    assert paid > 10


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_validation_pixels_are_whole_blocks_of_the_training_side(labels, share):
    split = block_split(labels, validation=share)
    without = block_split(labels, validation=0.0)
    assert split.val.any()
    assert not without.val.any()
    assert (split.test == without.test).all()
    assert not ((split.train | split.val) & ~without.train).any()
    assert split.val.sum() < 3 * share * without.train.sum()
    assert (labels.within(split.train).counts >= 0.4 * labels.within(without.train).counts).all()


def test_unused_pixels_are_counted(labels):
    split = block_split(labels, size=8, buffer=3)
    unused = (labels.index > 0).sum() - split.train.sum() - split.val.sum() - split.test.sum()
    assert f"{unused} labelled pixels in the buffer were used neither" in split.notes[-1]
    assert unused > 0


@pytest.mark.parametrize(
    ("shape", "size", "buffer"), [((40, 48), 5, 1), ((200, 90), 11, 1), ((20, 20), 4, 1), ((530, 520), 64, 10)]
)
def test_blocks_are_an_eighth_of_the_shorter_side_and_the_buffer_a_sixth_of_a_block(shape, size, buffer):
    split = block_split(make_labels(np.random.default_rng(0).integers(1, 3, shape)))
    assert split.protocol == {"kind": "blocks", "size_px": size, "buffer_px": buffer, "seed": 0, "validation": 0.1}


def test_classes_in_one_place_only_are_refused_with_advice():
    values = np.zeros((30, 30), int)
    values[3:6, 3:6], values[3:6, 6:9] = 1, 2
    with pytest.raises(SplitError, match=r"separate blocks of 20 px with a buffer of 15 px.*Use smaller --blocks"):
        block_split(make_labels(values), size=20, buffer=15)


@pytest.mark.parametrize("settings", [{"size": 0}, {"size": -3}, {"size": 5, "buffer": -1}])
def test_impossible_blocks_are_refused(labels, settings):
    with pytest.raises(ConfigError, match="need at least 1 and 0"):
        block_split(labels, **settings)


def test_a_share_of_validation_pixels_out_of_range_is_refused(labels):
    with pytest.raises(ConfigError, match="validation=1; need a share from 0 to less than 1"):
        block_split(labels, validation=1.0)


@pytest.mark.parametrize(
    ("values", "message"), [([[3, 3, 3]], "one class only"), ([[1, 1, 2, 2, 9]], "one labelled pixel only.*class 9")]
)
def test_labels_that_no_split_can_use_are_refused(values, message):
    with pytest.raises(SplitError, match=message):
        block_split(make_labels(np.array(values)))
