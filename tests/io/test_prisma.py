"""PRISMA L2D: two cubes stored long waves first, rows by bands by columns, come as one reflectance cube on its UTM grid."""

import h5py
import numpy as np
import pytest
import rasterio.crs
from fixtures import random_cube

from patchfree.cli import app
from patchfree.errors import SceneError
from patchfree.io import find_reader, open_scene
from patchfree.io.prisma import Prisma
from products_hdf import PRISMA_SWATH, write_prisma

VNIR_NM, SWIR_NM = [500.0, 700.0, 950.5, 977.4, 0.0], [943.25, 1600.0, 2497.0, 0.0]
VNIR = random_cube(5, 6, 7, "uint16", low=1000, high=60000, seed=1)
SWIR = random_cube(4, 6, 7, "uint16", low=1000, high=60000, seed=2)


@pytest.fixture
def path(tmp_path):
    return write_prisma(tmp_path / "PRS_L2D_STD_20200813103056_20200813103100_0001.he5", VNIR, SWIR, VNIR_NM, SWIR_NM)


def test_vnir_and_swir_come_as_reflectance_with_rising_wavelengths(path):
    scene = open_scene(path, keep_bad_bands=True)
    assert scene.bands.wavelengths_nm == pytest.approx((500, 700, 950.5, 977.4, 943.25, 1600, 2497), abs=1e-3)
    assert scene.bands.fwhm_nm == pytest.approx((5, 7, 9.505, 9.774, 9.4325, 16, 24.97), abs=1e-3)
    np.testing.assert_allclose(scene.values[:4], VNIR[:4] * (0.8 / 65535), rtol=1e-5)
    np.testing.assert_allclose(scene.values[4:], 0.1 + SWIR[:3] * (0.5 / 65535), rtol=1e-5)


def test_info_tells_both_scales_in_short(path, capsys):
    app(["info", str(path)], standalone_mode=False)
    assert "1.22072e-05, 7.62951e-06 (differs between bands)" in capsys.readouterr().out


def test_bands_that_were_not_acquired_are_left_out_and_keep_their_number(path):
    description = find_reader(path).describe()
    assert description.bands.numbers == (1, 2, 3, 4, 6, 7, 8)
    assert description.bands.total == 9
    assert "2 of 9 bands were not acquired (wavelength 0) and are left out." in description.notes


def test_vnir_bands_in_the_overlap_are_dropped_so_that_wavelengths_rise(path):
    scene = open_scene(path)
    assert scene.bands.wavelengths_nm == pytest.approx((500, 700, 943.25, 1600, 2497), abs=1e-3)
    assert any("2 VNIR bands from 943 nm on are flagged bad in favour of SWIR" in note for note in scene.notes)


def test_without_an_overlap_nothing_is_dropped(tmp_path):
    path = write_prisma(tmp_path / "a.he5", VNIR[:2], SWIR[:2], VNIR_NM[:2], [1000, 1600])
    assert len(open_scene(path).bands) == 4


@pytest.mark.parametrize("edges", [False, True])
def test_the_map_position_is_that_of_the_corner_of_the_first_pixel(tmp_path, edges):
    grid = open_scene(write_prisma(tmp_path / "a.he5", VNIR, SWIR, VNIR_NM, SWIR_NM, edges=edges)).grid
    shift = 0 if edges else 15
    assert grid.transform == (30, 0, 500000 - shift, 0, -30, 5000000 + shift)
    assert rasterio.crs.CRS.from_wkt(grid.crs).to_epsg() == 32633


@pytest.mark.parametrize(
    ("attributes", "note"),
    [
        ({"Epsg_Code": None}, "Epsg_Code and Product_..corner_.. are incomplete"),
        ({"Epsg_Code": np.int64(99999)}, "Epsg_Code 99999 is unknown"),
        ({"Product_LRcorner_easting": 600000.0}, "not 7 columns by 6 rows of 30 m"),
    ],
)
def test_a_map_position_that_makes_no_sense_is_left_out_with_a_note(tmp_path, attributes, note):
    scene = open_scene(write_prisma(tmp_path / "a.he5", VNIR, SWIR, VNIR_NM, SWIR_NM, **attributes))
    assert (scene.grid.crs, scene.grid.transform) == (None, None)
    assert any(note in said for said in scene.notes)


def test_the_rim_that_is_zero_in_every_band_holds_no_data_and_dark_pixels_do(tmp_path):
    vnir, swir = VNIR.copy(), SWIR.copy()
    vnir[:, 0], swir[:, 0] = 0, 0
    vnir[1, 3, 3] = 0
    scene = open_scene(write_prisma(tmp_path / "a.he5", vnir, swir, VNIR_NM, SWIR_NM))
    assert not scene.valid[0].any()
    assert scene.valid[1:].all()
    assert scene.values[1, 3, 3] == 0


def test_error_codes_in_many_bands_become_quality_masks(tmp_path):
    errors = [np.zeros_like(VNIR, "uint8"), np.zeros_like(SWIR, "uint8")]
    errors[0][:3, 1, 1] = 1  # invalid in three of seven acquired bands
    errors[0][0, 2, 2] = 1  # in one: too few
    errors[1][:2, 3, 3] = 3  # saturated in two of seven
    errors[0][:4, 4, 4] = 2  # negative after the correction: dark, but seen
    errors[1][3, 5, 5] = errors[0][4, 5, 5] = 1  # only in bands that were not acquired
    path = write_prisma(tmp_path / "a.he5", VNIR, SWIR, VNIR_NM, SWIR_NM, errors=errors)
    quality = find_reader(path).quality()
    assert np.argwhere(quality["bad"]).tolist() == [[1, 1]]
    assert np.argwhere(quality["saturated"]).tolist() == [[3, 3]]
    scene = open_scene(path)
    assert np.argwhere(~scene.valid).tolist() == [[1, 1]]


def test_a_scene_larger_than_a_stripe_is_masked_in_stripes(tmp_path):
    vnir, swir = random_cube(2, 150, 3, "uint16"), random_cube(1, 150, 3, "uint16")
    vnir[:, 100:, 1] = 0
    errors = [np.zeros_like(vnir, "uint8"), np.zeros_like(swir, "uint8")]
    errors[0][:, 70] = 1
    reader = find_reader(write_prisma(tmp_path / "a.he5", vnir, swir, [500, 600], [1000], errors=errors))
    assert reader.outside().sum() == 50
    assert reader.outside()[100:, 1].all()
    assert reader.quality()["bad"].sum() == 3
    assert reader.quality((slice(60, 140), slice(0, 2)))["bad"][10].all()


def test_a_window_reads_only_its_pixels(path, h5py_reads):
    reader = find_reader(path)
    reader.describe()
    assert h5py_reads == []
    reader.read((slice(0, 2), slice(1, 3)))
    reader.outside((slice(0, 2), slice(1, 3)))
    assert h5py_reads == [2 * 2 * 5, 2 * 2 * 4, 2 * 2 * 5]


@pytest.mark.parametrize("level", ["L1", "L2B", "L2C"])
def test_products_in_sensor_geometry_are_refused_with_advice(tmp_path, level):
    path = write_prisma(tmp_path / "a.he5", VNIR, SWIR, VNIR_NM, SWIR_NM, level=level)
    with pytest.raises(SceneError, match=rf"is PRISMA {level}, in the geometry of the sensor.*Download L2D"):
        open_scene(path)


def test_wavelengths_of_another_number_than_the_bands_are_refused(tmp_path):
    path = write_prisma(tmp_path / "a.he5", VNIR, SWIR, VNIR_NM[:4], SWIR_NM)
    with pytest.raises(SceneError, match=r"List_Cw_Vnir has 4 wavelengths, and the VNIR cube .* has 5 bands"):
        open_scene(path)


def test_widths_of_another_number_are_left_out_with_a_note(tmp_path):
    path = write_prisma(tmp_path / "a.he5", VNIR, SWIR, VNIR_NM, SWIR_NM, List_Fwhm_Swir=np.ones(3))
    scene = open_scene(path)
    assert scene.bands.fwhm_nm is None
    assert "List_Fwhm_Swir has 3 entries for 4 bands; the band widths were left out." in scene.notes


@pytest.mark.parametrize("key", ["L2ScaleVnirMin", "L2ScaleSwirMax", "List_Cw_Swir"])
def test_a_file_without_scaling_or_wavelengths_is_refused(tmp_path, key):
    path = write_prisma(tmp_path / "a.he5", VNIR, SWIR, VNIR_NM, SWIR_NM, **{key: None})
    with pytest.raises(SceneError, match=f"lacks the attributes {key}: no complete PRISMA L2D file"):
        open_scene(path)


def test_text_in_place_of_a_number_is_refused(tmp_path):
    path = write_prisma(tmp_path / "a.he5", VNIR, SWIR, VNIR_NM, SWIR_NM, L2ScaleVnirMax="much")
    with pytest.raises(SceneError, match=r"reading the HDF5 file failed .*'much'"):
        open_scene(path)


def test_cubes_of_different_sizes_are_refused(tmp_path):
    path = write_prisma(tmp_path / "a.he5", VNIR, SWIR[:, :5], VNIR_NM, SWIR_NM)
    with pytest.raises(SceneError, match=r"different sizes: \[\(5, 7\), \(6, 7\)\]"):
        open_scene(path)


def test_a_file_without_its_swir_cube_is_refused(path):
    with h5py.File(path, "r+") as file:
        del file[f"{PRISMA_SWATH}/Data Fields/SWIR_Cube"]
    with pytest.raises(SceneError, match=r"lacks a part that products of its kind have.*SWIR_Cube"):
        open_scene(path)


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SceneError, match=r"reading the HDF5 file failed .*damaged or truncated; copy it again"):
        open_scene(path)


def test_a_cube_of_the_product_can_be_named_and_read_bare(path):
    reader = find_reader(f"{path}:VNIR_Cube", axes="bhw")
    assert not isinstance(reader, Prisma)
    np.testing.assert_array_equal(reader.read()[0], VNIR[::-1, 0])
