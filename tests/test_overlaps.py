"""What trains in one scene may not test in another that shows the same ground."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.warp import transform

from conftest import synthetic
from jobs import short
from patchfree.errors import SceneError, SplitError
from patchfree.overlaps import apart_on_the_ground
from patchfree.scene import Grid
from patchfree.series import join_labels, join_scenes
from patchfree.split import Split
from patchfree.training import train

UTM33, UTM34 = CRS.from_epsg(32633).to_wkt(), CRS.from_epsg(32634).to_wkt()
SIDE, SHARED = 24, 10
"""Two flight lines of as many columns, the second of which begins so many columns before the first one ends."""


def lines(*, crs=UTM33, shift=(0.0, 0.0), size=30.0, placed=True):
    """Two overlapping scenes on a canvas, and their labels; the second one's grid as told."""
    made = [synthetic(rows=SIDE, cols=SIDE, noise=0.2, seed=0) for _ in range(2)]
    rng = np.random.default_rng(0)
    scenes = []
    for number, (scene, _) in enumerate(made):
        east = 500_000 + number * (SIDE - SHARED) * 30.0 + number * shift[0]
        north = 5_800_000.0 + number * shift[1]
        step, here = (size, crs) if number else (30.0, UTM33)
        grid = Grid(SIDE, SIDE, here, (step, 0.0, east, 0.0, -step, north)) if placed else Grid(SIDE, SIDE)
        noisy = scene.values + rng.normal(0, 0.01, scene.values.shape).astype(np.float32)
        scenes.append(dataclasses.replace(scene, name=f"line {number}", values=noisy, grid=grid))
    series = join_scenes(scenes)
    return series, join_labels(series, [labels for _, labels in made])


def split_of(series, *, buffer=None):
    """The first scene trains (its last rows validate), the second one tests."""
    masks = {use: np.zeros(series.grid.shape, bool) for use in ("train", "val", "test")}
    first, second = series.windows
    masks["train"][first] = masks["test"][second] = True
    masks["val"][first[0].stop - 4 : first[0].stop, first[1]] = True
    masks["train"] &= ~masks["val"]
    return Split(**masks, protocol={"kind": "scenes"} | ({} if buffer is None else {"buffer_px": buffer}))


def left_to_test(series, split):
    """Rows and columns of the second scene that test."""
    return apart_on_the_ground(split, series).test[series.windows[1]]


@pytest.mark.parametrize("buffer", [0, 3])
def test_shared_ground_and_what_is_within_the_buffer_is_not_tested(buffer):
    series, _ = lines()
    expected = np.zeros((SIDE, SIDE), bool)
    expected[:, SHARED + buffer :] = True
    np.testing.assert_array_equal(left_to_test(series, split_of(series, buffer=buffer)), expected)
    note = apart_on_the_ground(split_of(series, buffer=buffer), series).notes[-1]
    assert f"{SIDE * (SHARED + buffer)} test and 0 validation pixels" in note


def test_pixels_that_share_a_part_of_their_ground_count():
    series, _ = lines(shift=(15.0, 0.0))  # half a pixel on, so that ten columns are touched still
    found = left_to_test(series, split_of(series))
    assert not found[:, :SHARED].any()
    assert found[:, SHARED:].all()


def test_larger_pixels_and_another_crs_are_found():
    series, _ = lines(size=60.0)
    found = left_to_test(series, split_of(series))
    assert not found[: SIDE // 2, : SHARED // 2].any()
    assert found[SIDE // 2 + 1 :].all()
    x, y = transform(CRS.from_wkt(UTM33), CRS.from_wkt(UTM34), [500_000 + (SIDE - SHARED) * 30.0], [5_800_000])
    there = (x[0] - 500_000 - (SIDE - SHARED) * 30.0, y[0] - 5_800_000)
    series, _ = lines(crs=UTM34, shift=there)
    found = left_to_test(series, split_of(series))
    assert not found[2 : SIDE - 4, : SHARED - 3].any()
    assert found[:, SHARED + 4 :].all()


def test_validation_pixels_on_training_ground_are_not_used():
    series, _ = lines()
    split = split_of(series)
    masks = {"train": split.train, "val": split.test, "test": split.val}  # the second scene validates
    found = apart_on_the_ground(Split(**masks), series)
    assert not found.val[series.windows[1]][: SIDE - 4, :SHARED].any()
    assert found.val[series.windows[1]][:, SHARED:].all()


def test_scenes_without_a_map_position_or_apart_keep_their_split():
    local = 'LOCAL_CS["of the mine",UNIT["metre",1]]'  # no way leads from it to another system
    for series, _ in (lines(placed=False), lines(shift=(100_000.0, 0.0)), lines(crs=local)):
        split = split_of(series)
        assert apart_on_the_ground(split, series) is split


def test_a_test_on_training_ground_alone_is_refused():
    series, labels = lines(shift=(-(SIDE - SHARED) * 30.0, 0.0))
    with pytest.raises(SplitError, match="Every test pixel lies on ground that trains in another scene"):
        train(series, labels, split=split_of(series), recipe=short(1), controls=())


def test_a_training_says_so_and_its_audit_counts_what_is_left(tmp_path):
    series, labels = lines()
    run = train(
        series, labels, split=split_of(series), recipe=short(1), controls=(), out=tmp_path / "run", device="cpu"
    )
    assert any("The scenes overlap: 240 test" in note for note in run.metrics["protocol"]["notes"])
    assert run.metrics["protocol"]["leak_audit"]["tests_apart"] == SIDE * (SIDE - SHARED)


def test_one_scene_under_two_names_is_refused():
    scene, _ = synthetic(rows=8, cols=9)
    with pytest.raises(SceneError, match="west and west again hold the same values"):
        join_scenes([dataclasses.replace(scene, name=name) for name in ("west", "west again")])
