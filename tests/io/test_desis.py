"""A DESIS L2A product gives its reflectance, wavelengths and masks, whichever of its files is named."""

import numpy as np
import pytest
from fixtures import random_cube

from patchfree.errors import SceneError
from patchfree.io import find_reader, open_scene
from products_xml import DESIS, write_desis

FLAGS = {"shadow": [1], "land": [2], "snow": [3], "haze": [4, 5], "cloud": [6, 7], "water": [8]}


def quality(shape=(4, 5)):
    """Ten bands: flag i stands in row (i - 1) // 5, column (i - 1) % 5; the last two bands are retrievals."""
    bands = np.zeros((10, *shape), "uint8")
    for band in range(8):
        bands[band, band // 5, band % 5] = 1
    bands[8:] = 42
    return bands


@pytest.fixture
def cube():
    return random_cube(3, 4, 5, "int16", high=9000)


@pytest.mark.parametrize("part", [None, "METADATA.xml", "SPECTRAL_IMAGE.tif", "SPECTRAL_IMAGE.hdr"])
def test_folder_xml_cube_and_header_give_the_same_scene(tmp_path, cube, part):
    folder = write_desis(tmp_path, cube, quality=np.zeros((10, 4, 5), "uint8"))
    scene = open_scene(folder if part is None else folder / f"{DESIS}-{part}")
    np.testing.assert_allclose(scene.values, cube * 1e-4, rtol=1e-6)
    assert scene.bands.wavelengths_nm == (401.275, 403.828, 406.381)
    assert scene.bands.fwhm_nm == (3.6, 3.7, 3.8)
    assert scene.details["format"] == "DESIS L2A"
    assert not any("lacks" in note for note in scene.notes)


def test_gain_offset_and_background_are_applied(tmp_path, cube):
    cube[:, 0, 3] = -32768
    scene = open_scene(write_desis(tmp_path, cube, gain=0.0002, offset=0.01, nodata=None))
    assert np.argwhere(~scene.valid).tolist() == [[0, 3]]
    np.testing.assert_allclose(scene.values[:, scene.valid], cube[:, scene.valid] * 0.0002 + 0.01, rtol=1e-5)


def test_each_mask_comes_from_its_bands(tmp_path, cube):
    masks = find_reader(write_desis(tmp_path, cube, quality=quality())).quality()
    assert list(masks) == ["cloud", "shadow", "haze", "snow", "water"]
    for name, mask in masks.items():
        assert np.argwhere(mask).tolist() == [[(band - 1) // 5, (band - 1) % 5] for band in FLAGS[name]], name


def test_without_the_layer_there_are_no_masks_and_a_note(tmp_path, cube):
    scene = open_scene(write_desis(tmp_path, cube))
    assert scene.all_valid
    assert "The product lacks QL_QUALITY-2, so nothing is known of cloud, shadow, haze, snow, water." in scene.notes, (
        scene.notes
    )


def test_another_level_is_refused(tmp_path, cube):
    folder = write_desis(tmp_path, cube, stem=DESIS.replace("L2A", "L1C"))
    with pytest.raises(SceneError, match=r"belongs to DESIS, level L1C; patchfree reads L2A"):
        open_scene(folder)
