"""Real files are read as their description says. Skipped where they are not at hand: they are not part of the project."""

import numpy as np
import pytest
import rasterio
import scipy.io

from patchfree.errors import LabelError
from patchfree.io import open_scene
from patchfree.io.reference import read_labels


@pytest.fixture
def potsdam(shared_data):
    return shared_data / "enmap_potsdam"


def test_jasper_ridge_is_an_envi_bil_file_of_reflectance(shared_data):
    scene = open_scene(shared_data / "envi" / "jasperRidge2_R198.hdr")
    assert scene.values.shape == (198, 100, 100)
    assert (scene.values.min(), scene.values.max()) == pytest.approx((-0.0448, 0.5437))
    assert (scene.wavelengths_nm[0], scene.wavelengths_nm[-1]) == pytest.approx((399.37, 2457.24), abs=0.01)
    assert np.flatnonzero(np.diff(scene.wavelengths_nm) < 0).tolist() == [28, 92]
    assert len(scene.bands.fwhm_nm) == 198
    assert scene.grid.crs is None


@pytest.mark.parametrize("name", ["samson_1.img", "samson_1.img.hdr"])
def test_samson_states_a_coordinate_system_that_is_not_believed(shared_data, name):
    scene = open_scene(shared_data / "envi" / name)
    assert scene.values.shape == (156, 95, 95)
    assert (scene.values.min(), scene.values.max()) == (-17, 1402)
    assert (scene.wavelengths_nm[0], scene.wavelengths_nm[-1]) == pytest.approx((400.94, 899.07), abs=0.01)
    assert (scene.grid.crs, scene.grid.transform) == (None, None)
    assert any("semi-major axis of 637813 m" in note for note in scene.notes)


def test_the_enmap_tiles_are_one_scene_with_holes(potsdam):
    scene = open_scene(potsdam / "images")
    assert scene.values.shape == (218, 192, 160)
    assert sorted(set(range(1, 225)) - set(scene.bands.numbers)) == [130, 131, 132, 133, 134, 135]
    assert (~scene.valid).sum() == 12_288
    assert (scene.values[:, scene.valid].min(), scene.values.max()) == pytest.approx((-0.0496, 1.0439), abs=1e-6)
    assert scene.wavelengths_nm[91] < scene.wavelengths_nm[90]
    assert scene.grid.transform == (30.0, 0.0, 362175.0 + 30 * 64, 0.0, -30.0, 5809965.0)


@pytest.mark.parametrize("name", ["labels", "enmap_landcover_unstyled.tif"])
def test_all_labels_of_potsdam_are_found_through_tiles_and_whole_map(potsdam, name):
    labels = read_labels(potsdam / name, open_scene(potsdam / "images"))
    assert labels.values == (1, 2, 3, 4, 5, 6)
    assert labels.counts.tolist() == [505, 953, 1694, 2070, 91, 359]


@pytest.mark.parametrize(("name", "count"), [("train", 3806), ("validation", 1206), ("test", 660)])
def test_the_split_lists_of_potsdam_name_images_and_labels(potsdam, name, count):
    labels = read_labels(potsdam / f"{name}_files.csv", open_scene(potsdam / "images"))
    assert labels.counts.sum() == count


def test_every_tile_of_potsdam_lies_where_its_own_position_says(potsdam):
    scene = open_scene(potsdam / "images")
    with rasterio.open(potsdam / "images" / "enmap_potsdam_tile_160_64.tif") as file:
        tile = file.read(10) * np.float32(0.0001)
    np.testing.assert_allclose(scene.values[9, 64:96, 96:128], tile, rtol=1e-5)


def test_the_points_of_potsdam_name_their_classes(potsdam):
    scene = open_scene(potsdam / "images")
    path = potsdam / "landcover_potsdam_point.gpkg"
    labels = read_labels(path, scene, class_field="level_1")
    assert [e.name for e in labels.legend] == ["impervious", "soil", "vegetation", "water"]
    assert 0 < labels.counts.sum() <= 120
    with pytest.raises(
        LabelError, match=r"Which attribute of landcover_potsdam_point\.gpkg .*level_1: impervious, soil, v"
    ):
        read_labels(path, scene)


def test_houston_has_labels_on_a_grid_four_times_finer(shared_data):
    path = shared_data / "houston_crop" / "houston_dataset.mat"
    scene = open_scene(path)
    assert scene.values.shape == (48, 128, 128)
    with pytest.raises(LabelError, match="exactly 4 times finer: pass --label-scale 4"):
        read_labels(path, scene)
    labels = read_labels(path, scene, label_scale=4)
    assert dict(zip(labels.values, labels.counts.tolist(), strict=True)) == {
        1: 109, 2: 461, 3: 120, 4: 2, 5: 1339, 6: 198, 7: 32, 9: 277, 10: 95, 11: 8, 12: 1544,
    }  # fmt: skip


def test_taizhou_is_an_envi_file_in_micrometres_with_an_upper_case_header(shared_data):
    folder = shared_data / "taizhou"
    scene = open_scene(folder / "2000TM")
    assert scene.values.shape == (6, 400, 400)
    assert scene.bands.wavelengths_nm == pytest.approx((482.5, 565, 660, 825, 1650, 2220))
    assert scene.grid.transform == (30.0, 0.0, 203325.0, 0.0, -30.0, 3604935.0)
    assert rasterio.crs.CRS.from_wkt(scene.grid.crs).to_epsg() == 32651
    assert open_scene(folder / "2000TM.HDR").fingerprint() == scene.fingerprint()
    assert read_labels(folder / "change.bmp", scene).counts.tolist() == [4227]
    assert read_labels(folder / "unchanged.bmp", scene).counts.tolist() == [17_163]


@pytest.mark.parametrize(
    ("name", "shape", "anomalous"),
    [
        ("airport-1", (205, 100, 100), 144),
        ("airport-2", (205, 100, 100), 87),
        ("airport-4", (191, 100, 100), 60),
        ("beach-1", (188, 150, 150), 19),
        ("beach-3", (188, 100, 100), 11),
        ("urban-1", (204, 100, 100), 67),
        ("urban-4", (205, 100, 100), 272),
    ],
)
def test_the_abu_scenes_are_found_by_the_shape_of_their_variables(shared_data, name, shape, anomalous):
    path = shared_data / "abu" / f"abu-{name}.mat"
    scene = open_scene(path)
    assert scene.values.shape == shape
    np.testing.assert_array_equal(scene.values.transpose(1, 2, 0), scipy.io.loadmat(path)["data"])
    assert read_labels(path, scene).counts.tolist() == [anomalous]
