"""Polygons label the pixels whose centre they cover, points the pixel they fall into, whatever the coordinate system."""

import json

import numpy as np
import pytest
import shapely
from fixtures import UTM33, centre, placed, square, write_vector
from rasterio.crs import CRS
from rasterio.warp import transform as warp

from patchfree.errors import LabelError, NoGeoreference
from patchfree.io.reference import read_labels
from patchfree.scene import Grid

GRID = Grid(8, 10, CRS.from_user_input(UTM33).to_wkt(), tuple(placed())[:6])
FIELDS = [square(0, 0, 3, 4), square(4, 5, 2, 5), square(7, 0, 1, 2)]
EXPECTED = np.zeros((8, 10), int)
EXPECTED[:3, :4], EXPECTED[4:6, 5:], EXPECTED[7, :2] = 1, 2, 4
CLASSES = [1, 2, 4]


def values_of(labels):
    return labels.restore(labels.index)


def in_degrees(shape):
    """The shape in longitude and latitude."""
    return shapely.transform(shape, lambda xy: np.column_stack(warp(UTM33, "EPSG:4326", xy[:, 0], xy[:, 1])))


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp", "fgb"])
def test_polygons_label_the_pixels_they_cover(tmp_path, ending):
    path = write_vector(tmp_path / f"fields.{ending}", FIELDS, class_id=CLASSES)
    np.testing.assert_array_equal(values_of(read_labels(path, GRID)), EXPECTED)


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp"])
def test_points_label_the_pixel_they_fall_into(tmp_path, ending):
    rows, cols = np.nonzero(EXPECTED)
    points = [centre(row, col) for row, col in zip(rows, cols, strict=True)]
    path = write_vector(tmp_path / f"points.{ending}", points, label=EXPECTED[rows, cols])
    np.testing.assert_array_equal(values_of(read_labels(path, GRID)), EXPECTED)


def test_geojson_in_degrees_is_reprojected(tmp_path):
    features = [
        {"type": "Feature", "properties": {"class": value}, "geometry": shapely.geometry.mapping(in_degrees(shape))}
        for shape, value in zip(FIELDS, CLASSES, strict=True)
    ]
    path = tmp_path / "fields.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    np.testing.assert_array_equal(values_of(read_labels(path, GRID)), EXPECTED)


def test_metres_that_claim_to_be_degrees_are_refused(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, crs="EPSG:4326", class_id=CLASSES)
    with pytest.raises(
        LabelError, match=r"fields\.gpkg cannot be moved from EPSG:4326 .*Check that they are in the coordinate"
    ):
        read_labels(path, GRID)


def test_a_rotated_scene_is_labelled_where_it_lies(tmp_path):
    turned = placed(angle=25)
    shapes = [square(0, 0, 3, 4, turned), square(4, 5, 2, 5, turned), centre(7, 0, turned), centre(7, 1, turned)]
    grid = Grid(8, 10, GRID.crs, tuple(turned)[:6])
    path = write_vector(tmp_path / "fields.gpkg", shapes, class_id=[1, 2, 4, 4])
    np.testing.assert_array_equal(values_of(read_labels(path, grid)), EXPECTED)


def test_text_classes_are_numbered_in_alphabetical_order(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, cover=["wood", "field", "water"])
    labels = read_labels(path, GRID)
    assert [(e.value, e.name) for e in labels.legend] == [(1, "field"), (2, "water"), (3, "wood")]
    np.testing.assert_array_equal(values_of(labels), np.array([0, 3, 1, 0, 2])[EXPECTED])


@pytest.mark.parametrize("texts", [["10", "2", "4"], ["10.0", "2.0", "4.0"]])
def test_numbers_stored_as_text_stay_numbers(tmp_path, texts):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, class_id=texts)
    assert read_labels(path, GRID).values == (2, 4, 10)


def test_numbers_stored_as_decimals_are_whole_numbers(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, class_id=[1.0, 2.0, 4.0])
    np.testing.assert_array_equal(values_of(read_labels(path, GRID)), EXPECTED)


@pytest.mark.parametrize("classes", [[1.0, 2.5, 4.0], ["1", "2.5", "4"]])
def test_fractions_are_refused(tmp_path, classes):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, class_id=classes)
    with pytest.raises(LabelError, match=r"classes of fields\.gpkg must be whole numbers or names, got 2\.5"):
        read_labels(path, GRID)


def test_negative_classes_are_refused_with_advice(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, class_id=[1, -9999, 4])
    with pytest.raises(LabelError, match=r"negative class value -9999.*pass --unlabelled -9999"):
        read_labels(path, GRID)
    assert read_labels(path, GRID, unlabelled=(0, -9999)).values == (1, 4)


def test_the_class_field_can_be_named(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, class_id=[9, 9, 9], crop=CLASSES)
    np.testing.assert_array_equal(values_of(read_labels(path, GRID, class_field="crop")), EXPECTED)


@pytest.mark.parametrize("names", [("crop", "soil"), ("class", "label")])
def test_an_unclear_class_field_is_answered_with_the_fields_and_their_values(tmp_path, names):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, **{names[0]: ["rye", "oat", "rye"], names[1]: [7, 8, 9]})
    said = rf"Which attribute of fields\.gpkg .* --class-field\. It has {names[0]}: oat, rye; {names[1]}: 7, 8, 9\."
    with pytest.raises(LabelError, match=said):
        read_labels(path, GRID)


def test_a_missing_class_field_is_answered_with_the_fields(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, crop=CLASSES, soil=CLASSES)
    with pytest.raises(LabelError, match=r"fields\.gpkg has no attribute 'klass'; it has crop, soil\."):
        read_labels(path, GRID, class_field="klass")


def test_the_chosen_field_is_noted(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, area=[1.0, 2.0, 3.0], LandCover=CLASSES)
    assert "The attribute 'LandCover' of fields.gpkg was taken as the class." in read_labels(path, GRID).notes


def test_a_file_of_several_layers_needs_a_name(tmp_path):
    path = write_vector(tmp_path / "f.gpkg", FIELDS, layer="fields", class_id=CLASSES)
    write_vector(path, [centre(3, 3)], layer="other", append=True, class_id=[7])
    with pytest.raises(LabelError, match=r"has 2 layers \(fields, other\); name one with --layer"):
        read_labels(path, GRID)
    with pytest.raises(LabelError, match="has no layer 'third'; it has fields, other"):
        read_labels(path, GRID, layer="third")
    assert read_labels(path, GRID, layer="other").values == (7,)


def test_a_table_of_styles_as_qgis_stores_it_is_no_second_layer(tmp_path):
    path = write_vector(tmp_path / "f.gpkg", FIELDS, layer="fields", class_id=CLASSES)
    import pyogrio

    pyogrio.raw.write(path, None, [np.array(["<qml/>"], object)], ["styleQML"], layer="layer_styles", append=True)
    np.testing.assert_array_equal(values_of(read_labels(path, GRID)), EXPECTED)


def test_features_outside_the_scene_are_refused_with_both_extents(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", [square(500, 500, 2, 2)], class_id=[1])
    said = (
        r"All 1 features .* outside the scene: they cover x 377175\.0\.\.377235\.0, .* the scene covers x 362175\.0\.\."
    )
    with pytest.raises(LabelError, match=said):
        read_labels(path, GRID)


def test_features_partly_outside_are_noted(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", [*FIELDS, square(500, 500, 2, 2)], class_id=[*CLASSES, 9])
    labels = read_labels(path, GRID)
    np.testing.assert_array_equal(values_of(labels), EXPECTED)
    assert "1 of 4 features of fields.gpkg lie outside the scene." in labels.notes


def test_a_polygon_over_the_edge_labels_what_is_inside(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", [square(-3, -3, 5, 5)], class_id=[6])
    assert np.argwhere(values_of(read_labels(path, GRID)) == 6).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_where_two_classes_overlap_nothing_is_labelled(tmp_path):
    shapes = [square(0, 0, 3, 3), square(2, 2, 3, 3), square(0, 0, 1, 2)]
    labels = read_labels(write_vector(tmp_path / "fields.gpkg", shapes, class_id=[1, 2, 1]), GRID)
    values = values_of(labels)
    assert values[2, 2] == 0
    assert [(values == 1).sum(), (values == 2).sum()] == [8, 8]
    assert "1 pixels lie in features of two classes and were left unlabelled." in labels.notes


def test_features_without_class_or_geometry_and_slivers_are_noted(tmp_path):
    sliver = square(3.1, 0.1, 0.2, 0.2)
    classes = np.array(["a", "b", "", "a", "b"], object)
    path = write_vector(tmp_path / "fields.gpkg", [*FIELDS, None, sliver], cover=classes)
    labels = read_labels(path, GRID)
    assert labels.values == (1, 2)
    assert "1 features of fields.gpkg have no geometry and were left out." in labels.notes
    assert "1 features of fields.gpkg have no class and were left out." in labels.notes
    assert "1 features of fields.gpkg cover no pixel centre and label nothing." in labels.notes


def test_a_missing_number_is_no_class(tmp_path):
    labels = read_labels(write_vector(tmp_path / "fields.gpkg", FIELDS, class_id=[1, np.nan, 4]), GRID)
    np.testing.assert_array_equal(values_of(labels), np.where(EXPECTED == 2, 0, EXPECTED))


def test_without_coordinate_system_that_of_the_scene_is_assumed_and_noted(tmp_path):
    labels = read_labels(write_vector(tmp_path / "fields.shp", FIELDS, crs=None, class_id=CLASSES), GRID)
    np.testing.assert_array_equal(values_of(labels), EXPECTED)
    assert "fields.shp states no coordinate system; it was taken to be the scene's." in labels.notes


@pytest.mark.parametrize("grid", [Grid(8, 10), Grid(8, 10, None, GRID.transform)])
def test_a_scene_without_georeference_is_refused_with_the_way_out(tmp_path, grid):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, class_id=CLASSES)
    with pytest.raises(
        NoGeoreference, match=r"scene is not georeferenced.*CSV of points with the columns row,col,class"
    ):
        read_labels(path, grid)


def test_a_file_without_features_is_refused(tmp_path):
    (tmp_path / "empty.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(LabelError, match=r"empty\.geojson holds no features; draw at least two"):
        read_labels(tmp_path / "empty.geojson", GRID)


def test_a_damaged_file_is_refused(tmp_path):
    path = write_vector(tmp_path / "fields.gpkg", FIELDS, class_id=CLASSES)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(LabelError, match=r"fields\.gpkg cannot be read as vector data"):
        read_labels(path, GRID)


def test_a_missing_vector_file_is_refused(tmp_path):
    with pytest.raises(LabelError, match=r"fields\.gpkg does not exist"):
        read_labels(tmp_path / "fields.gpkg", GRID)


def test_without_pyogrio_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    from patchfree.errors import MissingExtra

    path = write_vector(tmp_path / "fields.gpkg", FIELDS, class_id=CLASSES)
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(MissingExtra, match=r"needs the package pyogrio.*pip install 'patchfree\[vector\]'"):
        read_labels(path, GRID)
