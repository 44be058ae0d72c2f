"""A shuffled scene holds the same pixels and labels in other places."""

from __future__ import annotations

import pytest
import torch

from patchfree.augment import flip_scene, shuffle_scene, swap_dates

SHAPES = [(1, 40), (9, 9), (17, 23), (64, 50), (100, 130)]


def numbered(h, w):
    """A scene whose two bands are the row and the column of each pixel; some pixels without data."""
    rows, cols = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    valid = (rows * 7 + cols * 3) % 11 > 0
    return torch.stack([rows, cols]).float(), valid


def shuffled(shape, seed):
    scene, valid = numbered(*shape)
    count = shape[0] * shape[1]
    pixels = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[: max(3, count // 9)]
    return scene, valid, pixels, *shuffle_scene(scene, valid, pixels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_every_labelled_pixel_takes_its_spectrum_and_its_data_mask_along(shape, seed):
    scene, valid, pixels, moved, moved_valid, found = shuffled(shape, seed)
    assert torch.equal(moved.flatten(1)[:, found], scene.flatten(1)[:, pixels])
    assert torch.equal(moved_valid.flatten()[found], valid.flatten()[pixels])
    assert len(found.unique()) == len(pixels)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_every_pixel_is_there_and_the_mask_goes_with_the_pixels(shape, seed):
    _, valid, _, moved, moved_valid, _ = shuffled(shape, seed)
    rows, cols = moved.long()
    assert len((rows * shape[1] + cols).unique()) == shape[0] * shape[1]
    assert torch.equal(moved_valid, valid[rows, cols])
    assert moved_valid.shape[0] - shape[0] < 64
    assert moved_valid.shape[1] - shape[1] < 64


def test_neighbours_stay_neighbours_and_places_change():
    _, _, _, moved, _, _ = shuffled((128, 128), 1)
    beside = (moved[:, :, 1:] - moved[:, :, :-1]).abs().sum(0)
    assert (beside <= 1).float().mean() > 0.8
    home = torch.stack(torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij"))
    assert ((moved[:, :128, :128] - home).abs().sum(0) == 0).float().mean() < 0.1


def test_blocks_are_turned_and_mirrored_in_all_eight_ways():
    found = []
    for seed in range(8):
        moved = shuffled((128, 128), seed)[3]
        right, down = moved[:, :-1, 1:] - moved[:, :-1, :-1], moved[:, 1:, :-1] - moved[:, :-1, :-1]
        found.append(torch.cat([right, down]).flatten(1))
    ways = torch.cat(found, 1).T
    ways = ways[(ways.abs().sum(1) == 2) & (ways[:, :2].abs().sum(1) == 1)]
    kinds, counts = ways.unique(dim=0, return_counts=True)
    assert len(kinds[counts > 100]) == 8


def test_same_seed_same_layout_and_another_seed_another():
    first, again, other = (shuffled((50, 60), seed)[3] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_what_was_given_and_the_global_random_state_are_left_alone():
    scene, valid = numbered(30, 30)
    pixels, before = torch.arange(50), torch.get_rng_state()
    shuffle_scene(scene, valid, pixels, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(scene, numbered(30, 30)[0])
    assert torch.equal(valid, numbered(30, 30)[1])
    assert torch.equal(pixels, torch.arange(50))


@pytest.mark.parametrize("seed", range(6))
def test_a_mirrored_scene_holds_each_labelled_pixel_where_it_says(seed):
    scene, valid = numbered(17, 23)
    pixels = torch.arange(0, 391, 7)
    moved, held, found = flip_scene(scene, valid, pixels, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(moved.flatten(1)[:, found], scene.flatten(1)[:, pixels])
    assert torch.equal(held.flatten()[found], valid.flatten()[pixels])


def test_all_four_mirror_images_occur_and_both_orders_of_the_dates():
    scene, valid = numbered(5, 6)
    corners = {
        tuple(flip_scene(scene, valid, torch.tensor([0]), generator=torch.Generator().manual_seed(s))[2].tolist())
        for s in range(40)
    }
    assert corners == {(0,), (5,), (24,), (29,)}
    orders = {tuple(swap_dates(scene, generator=torch.Generator().manual_seed(s))[:, 1, 2].tolist()) for s in range(20)}
    assert orders == {(1.0, 2.0), (2.0, 1.0)}
