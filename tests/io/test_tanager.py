"""Tanager ortho scenes: Planet's bands, masks and UTM grid; basic scenes are refused."""

import numpy as np
import pytest
import rasterio.crs
from fixtures import random_cube

from patchfree.errors import SceneError
from patchfree.io import find_reader, open_scene
from products_hdf import write_tanager

CUBE = random_cube(4, 6, 7, seed=5) / 256


def test_the_map_position_is_that_of_the_structure(tmp_path):
    grid = open_scene(write_tanager(tmp_path / "a.h5", CUBE)).grid
    assert grid.transform == (30, 0, 570300, 0, -30, 3555450)
    assert rasterio.crs.CRS.from_wkt(grid.crs).to_epsg() == 32633


@pytest.mark.parametrize(("zone", "epsg"), [(13, 32613), (-23, 32723)])
def test_without_a_code_the_zone_tells_the_coordinate_system(tmp_path, zone, epsg):
    grid = open_scene(write_tanager(tmp_path / "a.h5", CUBE, zone=zone, epsg=None)).grid
    assert rasterio.crs.CRS.from_wkt(grid.crs).to_epsg() == epsg


def test_wavelengths_widths_and_bad_bands_are_attributes_of_the_cube(tmp_path):
    path = write_tanager(tmp_path / "a.h5", CUBE, good_wavelengths=np.array([1, 0, 1, 1], "uint8"))
    scene = open_scene(path)
    assert scene.bands.numbers == (1, 3, 4)
    assert scene.bands.wavelengths_nm == pytest.approx(np.linspace(376.4, 2499, 4)[[0, 2, 3]])
    assert scene.bands.fwhm_nm == (5.5, 5.5, 5.5)
    np.testing.assert_array_equal(scene.values, CUBE[[0, 2, 3]])


def test_nodata_clouds_and_cirrus_are_masked(tmp_path):
    names = ("nodata_pixels", "beta_cloud_mask", "beta_cirrus_mask")
    masks = {name: np.zeros((6, 7)) for name in names}
    for i, name in enumerate(names):
        masks[name][i, i] = 1
    cube = CUBE.copy()
    cube[:, 5, 5] = -9999
    path = write_tanager(tmp_path / "a.h5", cube, masks=masks)
    assert np.argwhere(find_reader(path).outside()).tolist() == [[0, 0]]
    quality = find_reader(path).quality()
    assert {name: np.argwhere(mask).tolist() for name, mask in quality.items()} == {
        "cloud": [[1, 1]],
        "cirrus": [[2, 2]],
    }
    assert np.argwhere(~open_scene(path).valid).tolist() == [[0, 0], [1, 1], [2, 2], [5, 5]]
    assert np.argwhere(~open_scene(path, mask=()).valid).tolist() == [[0, 0], [5, 5]]


def test_a_file_without_masks_has_none(tmp_path):
    reader = find_reader(write_tanager(tmp_path / "a.h5", CUBE))
    assert reader.outside() is None
    assert reader.quality() == {}


def test_radiance_is_read_with_a_note(tmp_path):
    scene = open_scene(write_tanager(tmp_path / "a.h5", CUBE, name="toa_radiance", good_wavelengths=None))
    assert scene.details["variable"] == "toa_radiance"
    assert any("holds radiance at the sensor, not reflectance" in note for note in scene.notes)


def test_a_basic_scene_is_refused_with_advice(tmp_path):
    path = write_tanager(tmp_path / "basic.h5", CUBE, swath=True)
    with pytest.raises(SceneError, match=r"is a Tanager basic scene.*Order the asset ortho_sr_hdf5"):
        open_scene(path)
    bare = open_scene(f"{path}:HDFEOS/SWATHS/HYP/Data Fields/surface_reflectance", axes="bhw")
    np.testing.assert_array_equal(bare.values, CUBE)
    assert bare.bands.wavelengths_nm == pytest.approx(np.linspace(376.4, 2499, 4))


def test_a_list_of_another_length_is_left_out_with_a_note(tmp_path):
    scene = open_scene(write_tanager(tmp_path / "a.h5", CUBE, wavelengths=np.ones(3)))
    assert scene.bands.wavelengths_nm is None
    assert "The attribute wavelengths has 3 entries for 4 bands; it was left out." in scene.notes


def test_an_unknown_coordinate_system_is_left_out_with_a_note(tmp_path):
    scene = open_scene(write_tanager(tmp_path / "a.h5", CUBE, epsg=99999))
    assert scene.grid.crs is None
    assert any("coordinate system 99999 is unknown" in note for note in scene.notes)


def test_a_file_without_a_cube_is_refused(tmp_path):
    path = write_tanager(tmp_path / "a.h5", CUBE, name="ortho_visual")
    with pytest.raises(SceneError, match="holds no cube surface_reflectance or toa_radiance"):
        open_scene(path)


def test_a_mask_of_another_size_is_refused(tmp_path):
    path = write_tanager(tmp_path / "a.h5", CUBE, masks={"nodata_pixels": np.zeros((6, 6))})
    with pytest.raises(SceneError, match="the mask nodata_pixels has another size than the cube"):
        open_scene(path)
