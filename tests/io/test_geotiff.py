"""What is written is what another program reads; a map that cannot be written whole is not written at all."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import rasterio
from fixtures import UTM33, no_georeference_is_fine, placed
from rasterio.crs import CRS

from jobs import full_disk
from patchfree.errors import OutputError
from patchfree.io.geotiff import write_class_map, write_layers
from patchfree.io.reference import read_labels
from patchfree.labels import LandCover
from patchfree.scene import Grid

LEGEND = (LandCover(1, "forest & heath", (0, 158, 115)), LandCover(14, "Wasser <tief>", (0, 114, 178)))
VALUES = np.random.default_rng(0).choice([0, 1, 14], (20, 30))


def grid_of(shape, angle=0):
    return Grid(*shape, CRS.from_user_input(UTM33).to_wkt(), tuple(placed(angle=angle))[:6])


@pytest.mark.parametrize("angle", [0, 30])
def test_a_class_map_holds_values_colours_names_and_position(tmp_path, angle):
    path = write_class_map(tmp_path / "map.tif", VALUES, LEGEND, grid_of(VALUES.shape, angle), tags={"run": "r1"})
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), VALUES)
        assert file.dtypes == ("uint8",)
        assert file.nodata == 0
        assert file.crs == CRS.from_user_input(UTM33)
        assert tuple(file.transform) == pytest.approx(tuple(placed(angle=angle)))
        colours = file.colormap(1)
        assert (colours[1], colours[14]) == ((0, 158, 115, 255), (0, 114, 178, 255))
        assert file.tags(ns="PATCHFREE") == {"class_1": "forest & heath", "class_14": "Wasser <tief>", "run": "r1"}


def category_names(path):
    """As GDAL and QGIS find them beside a raster: the n-th entry names the value n."""
    tree = ET.parse(path.with_name(path.name + ".aux.xml"))
    return [node.text or "" for node in tree.findall("PAMRasterBand[@band='1']/CategoryNames/Category")]


def test_class_names_stand_beside_the_map_where_gdal_looks(tmp_path):
    path = write_class_map(tmp_path / "map.tif", VALUES, LEGEND, grid_of(VALUES.shape))
    names = category_names(path)
    assert len(names) == 15
    assert (names[0], names[1], names[2], names[14]) == ("no data", "forest & heath", "", "Wasser <tief>")


def test_a_class_map_read_as_labels_gives_the_same_legend(tmp_path):
    grid = grid_of(VALUES.shape)
    labels = read_labels(write_class_map(tmp_path / "map.tif", VALUES, LEGEND, grid), grid)
    assert labels.legend == LEGEND
    np.testing.assert_array_equal(labels.restore(labels.index), VALUES)


@pytest.mark.parametrize(("highest", "dtype"), [(255, "uint8"), (256, "uint16"), (65_535, "uint16")])
def test_the_type_holds_the_highest_class_value(tmp_path, highest, dtype):
    legend = (LandCover(3, "low", (1, 2, 3)), LandCover(highest, "high", (4, 5, 6)))
    values = np.array([[0, 3], [highest, 3]])
    path = write_class_map(tmp_path / "map.tif", values, legend, grid_of((2, 2)))
    with rasterio.open(path) as file:
        assert file.dtypes == (dtype,)
        np.testing.assert_array_equal(file.read(1), values)
        assert file.colormap(1)[highest] == (4, 5, 6, 255)
    assert read_labels(path, grid_of((2, 2))).legend == legend


def test_a_large_map_is_tiled_and_equal(tmp_path):
    values = np.random.default_rng(0).integers(0, 2, (600, 1100))
    path = write_class_map(tmp_path / "map.tif", values, LEGEND, grid_of(values.shape))
    with rasterio.open(path) as file:
        assert file.block_shapes == [(512, 512)]
        np.testing.assert_array_equal(file.read(1), values)


def test_a_map_without_position_is_written_in_pixels(tmp_path):
    path = write_class_map(tmp_path / "map.tif", VALUES, LEGEND, Grid(*VALUES.shape))
    with no_georeference_is_fine(), rasterio.open(path) as file:
        assert file.crs is None
        assert file.transform.is_identity


def test_layers_hold_names_and_nan_as_nodata(tmp_path):
    layers = np.random.default_rng(0).random((2, 4, 5)).astype(np.float32)
    layers[:, 1, 2] = np.nan
    path = write_layers(tmp_path / "p.tif", layers, ["forest", "water"], grid_of((4, 5)), tags={"run": "r1"})
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), layers)
        assert file.descriptions == ("forest", "water")
        assert np.isnan(file.nodata)
        assert file.read_masks(1)[1, 2] == 0
        assert file.tags(ns="PATCHFREE") == {"run": "r1"}


def test_nothing_but_the_map_and_its_names_is_left_in_the_folder(tmp_path):
    write_class_map(tmp_path / "new" / "map.tif", VALUES, LEGEND, grid_of(VALUES.shape))
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["map.qml", "map.tif", "map.tif.aux.xml"]


def write_map(path, values):
    return write_class_map(path, values, LEGEND, grid_of(values.shape))


def write_numbers(path, values):
    return write_layers(path, values[None].astype(np.float32), ["a"], grid_of(values.shape))


@pytest.mark.parametrize("write", [write_map, write_numbers])
def test_a_full_disk_is_an_error_and_the_old_file_survives(tmp_path, write):
    path = write(tmp_path / "map.tif", VALUES)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    large = np.random.default_rng(0).choice([0, 1, 14], (300, 300))
    with (
        full_disk(4096),
        pytest.raises(
            OutputError, match=r"map\.tif could not be written: TIFF.*Write error.* What was there before is untouched"
        ),
    ):
        write(path, large)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_after_the_disk_has_room_again_the_same_call_succeeds(tmp_path):
    large = np.random.default_rng(0).choice([0, 1, 14], (300, 300))
    with full_disk(4096), pytest.raises(OutputError, match="could not be written"):
        write_map(tmp_path / "map.tif", large)
    with rasterio.open(write_map(tmp_path / "map.tif", large)) as file:
        np.testing.assert_array_equal(file.read(1), large)
