"""A scene keeps every pixel that holds data and only those, and says what it dropped or masked."""

import dataclasses

import numpy as np
import pytest

from patchfree.errors import BandMismatch, SceneError
from patchfree.io import open_scene
from patchfree.scene import Bands, Grid, make_scene

SHAPE = (4, 10, 12)


@pytest.fixture
def cube():
    return np.random.default_rng(0).uniform(1, 2, SHAPE).astype(np.float32)


def saved(folder, cube):
    np.save(folder / "scene.npy", cube.transpose(1, 2, 0))
    return folder / "scene.npy"


def built(values, missing=None, **options):
    count = len(values)
    options.setdefault("bands", Bands(tuple(range(1, count + 1)), count))
    missing = np.zeros(values.shape, bool) if missing is None else missing
    return make_scene(values, missing=missing, grid=Grid(*values.shape[1:]), name="scene", **options)


def test_a_block_of_nan_is_masked_and_counted(tmp_path, cube):
    cube[1, 2:5, 3:7] = np.nan
    cube[2, 4, 6] = np.inf
    scene = open_scene(saved(tmp_path, cube))
    expected = np.ones(SHAPE[1:], bool)
    expected[2:5, 3:7] = False
    np.testing.assert_array_equal(scene.valid, expected)
    assert (scene.values[:, ~expected] == 0).all()
    np.testing.assert_array_equal(scene.values[:, expected], cube[:, expected])
    assert "12 of 120 pixels (10.0%) lack data in at least one band and are masked." in scene.notes


def test_a_band_without_data_is_dropped_and_masks_nothing(tmp_path, cube):
    cube[2] = np.nan
    scene = open_scene(saved(tmp_path, cube))
    assert scene.bands.numbers == (1, 2, 4)
    assert scene.all_valid
    np.testing.assert_array_equal(scene.values, cube[[0, 1, 3]])
    assert "Dropped for holding no data at all: band 3 (1 of 4)." in scene.notes


def test_a_scene_without_any_data_is_refused(tmp_path, cube):
    with pytest.raises(SceneError, match=r"scene\.npy: all 4 bands are without data or flagged bad"):
        open_scene(saved(tmp_path, np.full_like(cube, np.nan)))


def test_a_scene_without_a_complete_pixel_is_refused_with_the_worst_band(tmp_path, cube):
    cube[0, :8], cube[3, 2:] = np.nan, np.nan
    cube[3, 0, 0] = np.nan
    with pytest.raises(SceneError, match=r"no pixel holds data in all 4 bands\. Band 4 lacks 81% .*--drop-bands"):
        open_scene(saved(tmp_path, cube))
    assert open_scene(saved(tmp_path, cube), drop_bands=[4]).valid.sum() == 24


def test_nodata_can_be_given(tmp_path, cube):
    cube[:, 0, :5] = -1
    path = saved(tmp_path, cube)
    assert open_scene(path).all_valid
    assert np.argwhere(~open_scene(path, nodata=-1.0).valid).tolist() == [[0, col] for col in range(5)]


def test_nodata_given_replaces_that_of_the_file(tmp_path, cube):
    import rasterio
    from affine import Affine

    stored = cube.astype("int16")
    stored[:, 0, 0], stored[:, 1, 1] = -1, -2
    profile = {"driver": "GTiff", "count": 4, "height": 10, "width": 12, "dtype": "int16", "nodata": -1}
    with rasterio.open(tmp_path / "a.tif", "w", transform=Affine(1, 0, 5, 0, -1, 5), **profile) as file:
        file.write(stored)
    assert np.argwhere(~open_scene(tmp_path / "a.tif").valid).tolist() == [[0, 0]]
    assert np.argwhere(~open_scene(tmp_path / "a.tif", nodata=-2.0).valid).tolist() == [[1, 1]]


def test_a_scene_prints_as_what_it_holds_and_not_as_its_values(cube):
    cube[:, 0, :2] = np.nan
    scene = built(cube, np.isnan(cube))
    h, w = scene.grid.shape
    assert repr(scene) == f"Scene('{scene.name}', {h} x {w} pixels, 4 bands, {1 - 2 / (h * w):.0%} with data)"


def test_bands_can_be_dropped(tmp_path, cube):
    scene = open_scene(saved(tmp_path, cube), drop_bands=[1, 3, 4])
    np.testing.assert_array_equal(scene.values, cube[[1]])
    assert (scene.bands.numbers, scene.bands.total) == ((2,), 4)
    assert "Dropped as flagged bad: band 1, 3-4 (3 of 4)." in scene.notes


def test_an_unknown_band_cannot_be_dropped(tmp_path, cube):
    with pytest.raises(SceneError, match=r"has bands 1 to 4; cannot drop \[0, 5\]"):
        open_scene(saved(tmp_path, cube), drop_bands=[5, 2, 0])


def test_all_bands_cannot_be_dropped(tmp_path, cube):
    with pytest.raises(SceneError, match="all 4 bands are without data or flagged bad"):
        open_scene(saved(tmp_path, cube), drop_bands=[1, 2, 3, 4])


@pytest.mark.parametrize(("dark", "noted"), [(1, False), (2, True)])
def test_more_than_a_hundredth_of_zeros_is_noted(tmp_path, cube, dark, noted):
    cube[:, 0, :dark] = 0
    scene = open_scene(saved(tmp_path, cube))
    assert scene.all_valid
    assert any("are 0 in every band" in note and "pass --nodata 0" in note for note in scene.notes) == noted


def test_a_zero_in_one_band_is_data(cube):
    cube[0] = 0
    assert built(cube).all_valid


def test_a_band_flagged_bad_and_empty_is_told_once(cube):
    missing = np.zeros(SHAPE, bool)
    missing[1] = True
    scene = built(cube, missing, bad_bands=[2])
    assert scene.notes == ("Dropped as flagged bad: band 2 (1 of 4).",)


def test_selecting_bands_keeps_their_numbers_and_wavelengths(cube):
    scene = built(cube, bands=Bands((2, 3, 5, 8), 9, (400.0, 500.0, 600.0, 700.0), (1.0, 2.0, 3.0, 4.0)))
    part = scene.select([2, 0])
    np.testing.assert_array_equal(part.values, cube[[2, 0]])
    assert part.bands.numbers == (5, 2)
    assert part.wavelengths_nm.tolist() == [600.0, 400.0]
    assert part.bands.fwhm_nm == (3.0, 1.0)
    assert part.bands.total == 9
    assert scene.select(range(4)) is scene


def test_a_scene_without_wavelengths_says_none(cube):
    assert built(cube).wavelengths_nm is None


SENSOR = Bands((1, 2, 3, 4), 4, (400.0, 500.0, 600.0, 700.0))


def test_bands_are_matched_by_wavelength_within_the_tolerance():
    wanted = Bands((1, 2), 2, (601.9, 398.1))
    assert SENSOR.positions_of(wanted) == [2, 0]


def test_a_band_further_off_than_the_tolerance_is_refused_with_the_nearest():
    wanted = Bands((1, 2, 3), 3, (400.0, 503.0, 650.0))
    said = r"needs a band at 650\.0 nm, .* nearest of the scene's 4 bands is at [67]00\.0 nm \(tolerance 2 nm; 2 of 3 bands"
    with pytest.raises(BandMismatch, match=said):
        SENSOR.positions_of(wanted)


def test_bands_of_one_wavelength_are_told_apart_by_their_number():
    overlap = Bands((1, 2, 3, 4), 4, (400.0, 500.0, 500.0, 600.0))
    assert overlap.positions_of(overlap) == [0, 1, 2, 3]


@pytest.mark.parametrize("strip", ["scene", "run", "both"])
def test_without_wavelengths_bands_are_matched_by_number(strip):
    have = dataclasses.replace(SENSOR, wavelengths_nm=None) if strip in ("scene", "both") else SENSOR
    wanted = Bands((4, 2), 4, None if strip in ("run", "both") else (700.0, 500.0))
    assert have.positions_of(wanted) == [3, 1]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            Bands((1, 2), 5),
            r"file has 4 bands \(4 usable\), that of the run had 5 \(2 usable\).*missing by number: none",
        ),
        (Bands((1, 5, 6, 7), 7), r"bands missing by number: 5-7"),
    ],
)
def test_bands_that_cannot_be_matched_by_number_are_refused(wanted, said):
    with pytest.raises(BandMismatch, match=said):
        Bands((1, 2, 3, 4), 4).positions_of(wanted)


def test_matching_gives_the_bands_of_the_run(cube):
    scene = built(cube, bands=SENSOR)
    np.testing.assert_array_equal(scene.matching(Bands((1,), 1, (500.5,))).values, cube[[1]])


def fingerprint(cube, *, hidden=False, last_band=4):
    missing = np.zeros(SHAPE, bool)
    missing[:, 0, 0] = hidden
    return built(cube.copy(), missing, bands=Bands((1, 2, 3, last_band), 9)).fingerprint()


def test_the_fingerprint_changes_with_values_mask_and_bands_and_with_nothing_else(cube):
    cube[:, 0, 0] = 0
    changed = cube.copy()
    changed[3, 9, 11] += 1
    prints = {fingerprint(cube), fingerprint(changed), fingerprint(cube, hidden=True), fingerprint(cube, last_band=5)}
    assert len(prints) == 4
    assert fingerprint(cube.copy()) == fingerprint(cube)


@pytest.mark.parametrize(
    ("transform", "size"),
    [
        (None, None),
        ((30.0, 0.0, 0.0, 0.0, -20.0, 0.0), (20.0, 30.0)),
        ((0.0, 20.0, 0.0, 30.0, 0.0, 0.0), (20.0, 30.0)),
    ],
)
def test_the_pixel_size_is_height_and_width(transform, size):
    assert Grid(2, 3, None, transform).pixel_size == size


@pytest.mark.parametrize(
    ("numbers", "said"), [([2], "2"), ([1, 2, 3], "1-3"), ([1, 3, 4, 5, 7], "1, 3-5, 7"), ([2, 3], "2-3")]
)
def test_dropped_bands_are_listed_in_runs(numbers, said):
    scene = built(np.ones((8, 2, 2), np.float32), bad_bands=numbers)
    assert scene.notes == (f"Dropped as flagged bad: band {said} ({len(numbers)} of 8).",)
