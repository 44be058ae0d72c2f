"""A CSV of points labels exactly the pixels it names, in pixel, map or geographic coordinates."""

import numpy as np
import pytest
from fixtures import UTM33, centre, placed
from rasterio.crs import CRS
from rasterio.warp import transform as warp

from patchfree.errors import LabelError, NoGeoreference
from patchfree.io.reference import read_labels
from patchfree.scene import Grid

GRID = Grid(6, 7, CRS.from_user_input(UTM33).to_wkt(), tuple(placed(angle=10))[:6])
BARE = Grid(6, 7)
POINTS = [(0, 0, 3), (5, 6, 1), (2, 4, 3), (3, 1, 10)]
EXPECTED = np.zeros((6, 7), int)
for _row, _col, _value in POINTS:
    EXPECTED[_row, _col] = _value


def write(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def on_map(row, col):
    point = centre(row, col, placed(angle=10))
    return point.x, point.y


def in_degrees(row, col):
    x, y = on_map(row, col)
    (lon,), (lat,) = warp(UTM33, "EPSG:4326", [x], [y])
    return lon, lat


def values_of(labels):
    return labels.restore(labels.index)


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("row,col,class", lambda row, col: (row, col)),
        ("x,y,class", on_map),
        ("lon,lat,class", in_degrees),
        ("Lon, Lat, CLASS", in_degrees),
        ("\ufeffrow,col,class", lambda row, col: (row, col)),
    ],
)
def test_points_label_their_pixels(tmp_path, header, place):
    lines = [header, *(f"{a!r},{b!r},{value}" for a, b, value in ((*place(r, c), v) for r, c, v in POINTS))]
    path = write(tmp_path / "points.csv", "\n".join(lines) + "\n\n")
    np.testing.assert_array_equal(values_of(read_labels(path, GRID)), EXPECTED)


def test_pixel_coordinates_need_no_georeference(tmp_path):
    path = write(tmp_path / "points.csv", "class,id,col,row\n2,a,6,5\n1,b,0,0\n")
    labels = read_labels(path, BARE)
    assert (labels.index[0, 0], labels.index[5, 6], labels.counts.sum()) == (1, 2, 2)


@pytest.mark.parametrize("header", ["x,y,class", "lon,lat,class"])
def test_map_coordinates_need_a_georeference(tmp_path, header):
    with pytest.raises(NoGeoreference, match=r"the scene is not georeferenced\. Give row,col,class instead"):
        read_labels(write(tmp_path / "points.csv", f"{header}\n1,2,3\n"), BARE)


def test_degrees_need_a_coordinate_system_and_not_only_a_transform(tmp_path):
    grid = Grid(6, 7, None, GRID.transform)
    with pytest.raises(NoGeoreference, match="gives lon,lat, but the scene is not georeferenced"):
        read_labels(write(tmp_path / "points.csv", "lon,lat,class\n13,52,3\n"), grid)


def test_named_classes_are_numbered_in_alphabetical_order(tmp_path):
    path = write(tmp_path / "points.csv", "row,col,class\n0,0,wood\n0,1, field \n0,2,wood\n")
    labels = read_labels(path, BARE)
    assert [(e.value, e.name) for e in labels.legend] == [(1, "field"), (2, "wood")]
    assert labels.index[0, :3].tolist() == [2, 1, 2]


def test_numbered_classes_take_their_names_from_a_column(tmp_path):
    path = write(tmp_path / "points.csv", "row,col,class,name\n0,0,5,wood\n0,1,7,field\n0,2,9,\n")
    assert [(e.value, e.name) for e in read_labels(path, BARE).legend] == [(5, "wood"), (7, "field"), (9, "class 9")]


def test_whole_numbers_with_a_decimal_point_stay_numbers(tmp_path):
    path = write(tmp_path / "points.csv", "row,col,class\n0.0,0,10.0\n0,1,2.0\n")
    assert read_labels(path, BARE).values == (2, 10)


def test_some_points_outside_are_noted(tmp_path):
    labels = read_labels(write(tmp_path / "points.csv", "row,col,class\n0,0,1\n6,0,1\n0,-1,1\n"), BARE)
    assert labels.counts.tolist() == [1]
    assert "2 of 3 points of points.csv lie outside the scene." in labels.notes


def test_all_points_outside_are_refused(tmp_path):
    path = write(tmp_path / "points.csv", "row,col,class\n60,70,1\n61,70,2\n")
    with pytest.raises(
        LabelError, match=r"All 2 points .* outside the scene of 6 rows and 7 columns \(first point: row 60, c"
    ):
        read_labels(path, BARE)


def test_degrees_given_as_map_coordinates_are_outside(tmp_path):
    with pytest.raises(LabelError, match="Check the columns and the coordinate system"):
        read_labels(write(tmp_path / "points.csv", "x,y,class\n13.0,52.4,1\n"), GRID)


def test_degrees_that_are_nowhere_on_earth_are_refused(tmp_path):
    path = write(tmp_path / "points.csv", "lon,lat,class\n13,52,1\n13,95,1\n")
    with pytest.raises(
        LabelError, match=r"coordinates of points\.csv cannot be moved from EPSG:4326 .*the largest are 13, 95"
    ):
        read_labels(path, GRID)


@pytest.mark.parametrize("order", [(1, 2, 1), (2, 1, 1), (1, 1, 2)])
def test_a_pixel_with_two_classes_is_left_unlabelled(tmp_path, order):
    lines = [f"3,3,{value}" for value in order]
    labels = read_labels(write(tmp_path / "points.csv", "\n".join(["row,col,class", *lines, "0,0,5"])), BARE)
    assert labels.values == (5,)
    assert "1 pixels hold points of two classes and were left unlabelled." in labels.notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,c\n1,2,3\n", r"needs a header with the columns row,col,class or .*got a,b,c"),
        ("row;col;class\n1;2;3\n", r"separated by commas; got row;col;class"),
        ("row,col,label\n1,2,3\n", r"needs a header .*got row,col,label"),
        ("1,2,3\n", r"needs a header .*got 1,2,3"),
        ("", r"needs a header"),
        ("row,col,class\n", "has a header but no points"),
        ("row,col,class\n1,2,3\n1,two,3\n", "line 3: 'col' must be a number, got 'two'"),
        ("row,col,class\n1,2,3\n1\n", "line 3: 'col' must be a number, got ''"),
        ("row,col,class\n1,nan,3\n", "line 2: 'col' must be a number, got 'nan'"),
        ("row,col,class\n1,2,3\n1,3,\n", "line 3: the class is empty"),
        ("row,col,class\n1.5,2,3\n", "row and col must be whole numbers counted from 0; use x,y for map"),
        ("row,col,class\n1,2,0.5\n1,3,2\n", r"classes of points\.csv must be whole numbers or names, got 0\.5"),
        ("row,col,class\n1,2,-1\n", "negative class value -1"),
    ],
)
def test_a_bad_table_is_refused_with_the_place(tmp_path, text, said):
    with pytest.raises(LabelError, match=said):
        read_labels(write(tmp_path / "points.csv", text), BARE)


def test_another_encoding_is_refused_by_name(tmp_path):
    path = write(tmp_path / "points.csv", "row,col,class\n1,2,Gehölz\n", encoding="cp1252")
    with pytest.raises(LabelError, match=r"points\.csv is not written in UTF-8 .*save it as CSV UTF-8"):
        read_labels(path, BARE)
