"""EMIT L2A: the lookup table puts sensor pixels on the map, and a window opens only the part of the cube that it needs."""

import h5py
import numpy as np
import pytest
from fixtures import random_cube

from patchfree.errors import SceneError
from patchfree.io import find_reader, open_scene
from products_hdf import MASK, RFL, WGS84, write_emit, write_emit_mask

RAW = random_cube(20, 15, 4, seed=3) / 256  # 20 lines, 15 samples, 4 bands; exact in single precision
RNG = np.random.default_rng(4)
GLT_Y, GLT_X = RNG.integers(1, 21, (8, 9)), RNG.integers(1, 16, (8, 9))
HOLES = RNG.random((8, 9)) < 0.3
GLT_Y[HOLES], GLT_X[HOLES] = 0, 0


@pytest.fixture
def path(tmp_path):
    return write_emit(tmp_path / RFL, RAW, GLT_Y, GLT_X)


def by_hand(row, col):
    """What the map shows at a pixel, looked up one by one."""
    return None if GLT_Y[row, col] == 0 else RAW[GLT_Y[row, col] - 1, GLT_X[row, col] - 1]


def test_each_map_pixel_shows_the_sensor_pixel_that_the_table_names(path):
    scene = open_scene(path)
    assert scene.values.shape == (4, 8, 9)
    for row in range(8):
        for col in range(9):
            expected = by_hand(row, col)
            assert scene.valid[row, col] == (expected is not None)
            np.testing.assert_array_equal(scene.values[:, row, col], 0 if expected is None else expected)


def test_pixels_of_the_sensor_that_hold_nothing_are_masked(tmp_path):
    raw = RAW.copy()
    raw[GLT_Y[0, 0] - 1, GLT_X[0, 0] - 1] = -9999
    assert not HOLES[0, 0]
    scene = open_scene(write_emit(tmp_path / RFL, raw, GLT_Y, GLT_X))
    assert not scene.valid[0, 0]
    assert scene.values.min() == 0


def test_the_map_position_is_gdals(path):
    grid = open_scene(path).grid
    assert grid.transform == (0.0005, 0, 10, 0, -0.0005, 50)
    assert grid.crs == WGS84


def test_wavelengths_widths_and_bad_bands_are_read(tmp_path):
    path = write_emit(tmp_path / RFL, RAW, GLT_Y, GLT_X, wavelengths=[400, 1350, 1900, 2400], good=[1, 0, 0, 1])
    assert find_reader(path).describe().bad_bands == (2, 3)
    scene = open_scene(path)
    assert scene.bands.wavelengths_nm == (400, 2400)
    assert scene.bands.fwhm_nm == (8.5, 8.5)


def test_a_window_opens_only_the_lines_and_samples_that_it_shows(tmp_path, h5py_reads):
    rows, cols = np.mgrid[1:21, 1:16]
    reader = find_reader(write_emit(tmp_path / RFL, RAW, rows, cols))
    values = reader.read((slice(5, 8), slice(2, 4)))
    assert h5py_reads == [6, 6, 3 * 2 * 4]
    np.testing.assert_array_equal(values, RAW[5:8, 2:4].transpose(2, 0, 1))


def test_a_window_without_any_sensor_pixel_holds_nothing(tmp_path):
    glt_y, glt_x = GLT_Y.copy(), GLT_X.copy()
    glt_y[:3], glt_x[:3] = 0, 0
    reader = find_reader(write_emit(tmp_path / RFL, RAW, glt_y, glt_x))
    window = (slice(0, 3), slice(0, 9))
    assert (reader.read(window) == -9999).all()
    assert reader.outside(window).all()


@pytest.mark.parametrize(("value", "seen"), [(21, "1 to 21|2 to 21"), (-3, "-3 to")])
def test_a_table_that_points_outside_the_cube_is_refused(tmp_path, value, seen):
    glt_y = np.where(HOLES, 0, GLT_Y)
    glt_y[~HOLES] = np.where(np.arange((~HOLES).sum()) == 5, value, glt_y[~HOLES])
    path = write_emit(tmp_path / RFL, RAW, glt_y, GLT_X)
    with pytest.raises(SceneError, match=rf"location/glt_y names sensor pixels ({seen}).*the cube has 1 to 20"):
        open_scene(path)


def test_a_file_without_its_table_is_refused_and_can_be_read_bare(tmp_path):
    path = write_emit(tmp_path / RFL, RAW, GLT_Y, GLT_X, drop=["location/glt_x"])
    with pytest.raises(SceneError, match=rf"has no location/glt_x: .*without map position, with {RFL}:reflectance"):
        open_scene(path)
    scene = open_scene(f"{path}:reflectance")
    np.testing.assert_array_equal(scene.values, RAW.transpose(2, 0, 1))
    assert len(scene.bands.wavelengths_nm) == 4
    assert scene.grid.crs is None


@pytest.mark.parametrize("name", ["geotransform", "spatial_ref"])
def test_without_a_map_position_the_pixels_are_read_with_a_note(tmp_path, name):
    scene = open_scene(write_emit(tmp_path / RFL, RAW, GLT_Y, GLT_X, drop=[name]))
    assert scene.grid.transform is None
    assert any("geotransform and spatial_ref are incomplete" in note for note in scene.notes)


def test_lists_of_another_length_are_left_out_with_a_note(tmp_path):
    path = write_emit(tmp_path / RFL, RAW, GLT_Y, GLT_X, wavelengths=[400, 500, 600], good=[0, 1])
    scene = open_scene(path)
    assert scene.bands.wavelengths_nm is None
    assert len(scene.bands) == 4
    for name, count in (("wavelengths", 3), ("good_wavelengths", 2)):
        assert f"sensor_band_parameters/{name} has {count} entries for 4 bands; it was left out." in scene.notes


def shown(row, col):
    """The sensor pixel of a map pixel, zero-based."""
    return GLT_Y[row, col] - 1, GLT_X[row, col] - 1


def test_the_mask_file_beside_gives_the_quality_masks(tmp_path, path):
    flags = np.zeros((20, 15, 8))
    flags[..., 5] = 0.3  # optical depth of the aerosol: no flag
    flags[..., 7] = 1  # the sum of the flags, water included, is not used
    cloud, shadow, water, station = [tuple(place) for place in np.argwhere(~HOLES)[[0, 7, 14, 21]]]
    for place, band in ((cloud, 0), (shadow, 4), (water, 2), (station, 3)):
        flags[*shown(*place), band] = 1
    write_emit_mask(tmp_path / MASK, flags)
    quality = find_reader(path).quality()
    assert set(quality) == {"cloud", "cirrus", "shadow", "water", "bad"}
    for name, place in (("cloud", cloud), ("shadow", shadow), ("water", water), ("bad", station)):
        same = np.logical_and(*(table[place] == table for table in (GLT_Y, GLT_X)))
        np.testing.assert_array_equal(quality[name], same)
    assert not quality["cirrus"].any()
    window = (slice(2, 7), slice(1, 8))
    np.testing.assert_array_equal(find_reader(path).quality(window)["water"], quality["water"][window])
    scene = open_scene(path)
    assert not any(scene.valid[place] for place in (cloud, shadow, station))
    assert scene.valid[water]
    assert scene.details["mask_file"] == MASK


def test_flags_are_found_by_name_whatever_the_version(tmp_path, path):
    """Version 3 has other bands in another order, and capitals."""
    flags = np.zeros((20, 15, 4))
    flags[:10, :, 0] = flags[10:, :, 3] = 1  # either flag counts
    write_emit_mask(
        tmp_path / MASK, flags, ["Cloud Flag", "Water  Flag", "SpecTf-Cloud Probability", "SpecTf-Cloud Flag"]
    )
    quality = find_reader(path).quality()
    assert set(quality) == {"cloud", "water"}
    np.testing.assert_array_equal(quality["cloud"], ~HOLES)


def test_without_a_mask_file_a_note_says_that_clouds_stay(tmp_path, path):
    write_emit_mask(tmp_path / MASK.replace("_001.nc", "_002.nc"), np.zeros((20, 15, 8)))  # of the next granule
    assert find_reader(path).quality() == {}
    assert any(
        "No mask file (EMIT_L2A_MASK_...) of this granule lies beside it" in note for note in open_scene(path).notes
    )


def test_a_mask_file_of_another_size_is_refused(tmp_path, path):
    write_emit_mask(tmp_path / MASK, np.zeros((19, 15, 8)))
    with pytest.raises(SceneError, match=r"EMIT_L2A_MASK.* does not fit EMIT_L2A_RFL.*\(19, 15, 8\) flags"):
        open_scene(path)


def test_a_damaged_mask_file_is_refused(tmp_path, path):
    write_emit_mask(tmp_path / MASK, np.zeros((20, 15, 8)))
    (tmp_path / MASK).write_bytes((tmp_path / MASK).read_bytes()[:-100])
    with pytest.raises(SceneError, match=r"EMIT_L2A_MASK.*reading the HDF5 file failed"):
        open_scene(path)


def test_a_block_that_cannot_be_unpacked_is_an_error(path):
    with h5py.File(path) as file:
        chunk = file["reflectance"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 2 : chunk.byte_offset + chunk.size] = bytes(chunk.size - 2)
    path.write_bytes(data)
    with pytest.raises(SceneError, match=r"reading the HDF5 file failed .*copy it again"):
        open_scene(path)
