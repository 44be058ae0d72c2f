"""A label raster lands on the pixels it was drawn for, or is refused with the way to mend it."""

import numpy as np
import pytest
from fixtures import part_of, placed, random_cube, write_tif

from patchfree.errors import LabelError
from patchfree.io import open_scene
from patchfree.io.reference import read_labels

TRUTH = np.random.default_rng(0).choice([0, 1, 10, 11, 14], (12, 15)).astype("uint8")


def values_of(labels):
    return labels.restore(labels.index)


@pytest.fixture
def scene(tmp_path):
    return open_scene(write_tif(tmp_path / "scene.tif", random_cube(2, 12, 15)))


@pytest.fixture
def bare(tmp_path):
    """A scene without map position."""
    return open_scene(write_tif(tmp_path / "bare.tif", random_cube(2, 12, 15), crs=None, transform=None))


def label_tif(folder, values, **profile):
    return write_tif(folder / "labels.tif", values, **profile)


def bare_tif(folder, values, **profile):
    return label_tif(folder, values, crs=None, transform=None, **profile)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_whole_numbers_of_any_type_are_restored_exactly(tmp_path, scene, dtype):
    labels = read_labels(label_tif(tmp_path, TRUTH.astype(dtype)), scene)
    assert labels.values == (1, 10, 11, 14)
    np.testing.assert_array_equal(values_of(labels), TRUTH)


def test_the_grid_alone_is_enough(tmp_path, scene):
    np.testing.assert_array_equal(values_of(read_labels(label_tif(tmp_path, TRUTH), scene.grid)), TRUTH)


def test_the_nodata_value_is_unlabelled(tmp_path, scene):
    path = label_tif(tmp_path, np.where(TRUTH == 0, np.int16(-9999), TRUTH), nodata=-9999)
    np.testing.assert_array_equal(values_of(read_labels(path, scene)), TRUTH)


def test_nan_is_unlabelled_with_a_note(tmp_path, scene):
    labels = read_labels(label_tif(tmp_path, np.where(TRUTH == 0, np.nan, TRUTH).astype("float32")), scene)
    np.testing.assert_array_equal(values_of(labels), TRUTH)
    assert f"{(TRUTH == 0).sum()} label pixels are NaN and count as unlabelled." in labels.notes


def test_values_can_be_declared_unlabelled(tmp_path, scene):
    labels = read_labels(label_tif(tmp_path, TRUTH), scene, unlabelled=(0, 11))
    np.testing.assert_array_equal(values_of(labels), np.where(TRUTH == 11, 0, TRUTH))


@pytest.mark.parametrize("where", ["label_tif", "bare_tif"])
def test_a_raster_without_position_of_the_same_size_fits(tmp_path, bare, where):
    path = {"label_tif": label_tif, "bare_tif": bare_tif}[where](tmp_path, TRUTH)
    np.testing.assert_array_equal(values_of(read_labels(path, bare)), TRUTH)


@pytest.mark.parametrize(
    ("row", "col", "h", "w"), [(3, 4, 5, 6), (0, 0, 5, 6), (0, 0, 12, 6), (-2, -3, 6, 7), (-1, -1, 14, 17)]
)
def test_another_extent_of_the_same_grid_is_put_in_place(tmp_path, scene, row, col, h, w):
    drawn = np.random.default_rng(1).integers(1, 4, (h, w)).astype("uint8")
    labels = read_labels(label_tif(tmp_path, drawn, transform=placed(row, col)), scene)
    around = np.zeros((40, 40), int)
    around[10 + row : 10 + row + h, 10 + col : 10 + col + w] = drawn
    expected = around[10:22, 10:25]
    np.testing.assert_array_equal(values_of(labels), expected)
    outside = (drawn > 0).sum() - (expected > 0).sum()
    said = [note for note in labels.notes if "lie outside the scene" in note]
    assert said == ([f"{outside} labelled pixels of labels.tif lie outside the scene."] if outside else [])


@pytest.mark.parametrize("turned", [0, 30])
def test_whole_pixels_are_counted_along_a_rotated_grid(tmp_path, turned):
    base = placed(angle=turned)
    scene = open_scene(write_tif(tmp_path / "s.tif", random_cube(2, 12, 15), transform=base))
    path = label_tif(tmp_path, np.full((2, 3), 7, "uint8"), transform=part_of(base, 3, 4))
    expected = np.zeros((12, 15), int)
    expected[3:5, 4:7] = 7
    np.testing.assert_array_equal(values_of(read_labels(path, scene)), expected)


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (
            placed(0.5, 0),
            r"another grid than the scene: .*shifted by 0\.50 rows and 0\.00 columns\. .*gdalwarp -r near",
        ),
        (placed(0, -1.3), r"shifted by 0\.00 rows and -1\.30 columns"),
        (placed(pixel=10), r"pixel 10 x -10 against 30 x -30"),
        (placed(angle=2), r"another grid than the scene"),
        (placed(500, 0), r"lies outside the scene: 500 rows and 0 columns away"),
    ],
)
def test_a_raster_on_another_grid_is_refused(tmp_path, scene, transform, said):
    with pytest.raises(LabelError, match=r"labels\.tif .*" + said):
        read_labels(label_tif(tmp_path, TRUTH, transform=transform), scene)


def test_another_coordinate_system_is_refused_by_name(tmp_path, scene):
    said = r"another coordinate system \(EPSG:32632\) than the scene \(EPSG:32633\)\. Warp it .*polygons: those are reprojected"
    with pytest.raises(LabelError, match=said):
        read_labels(label_tif(tmp_path, TRUTH, crs="EPSG:32632"), scene)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (
            (36, 45),
            r"has 36 x 45 pixels, the scene has 12 x 15\. The labels are exactly 3 times finer: pass --label-scale 3",
        ),
        ((15, 12), r"has 15 x 12 pixels.*Rows and columns are swapped: transpose one of them"),
        ((13, 15), r"has 13 x 15 pixels.*Give labels on the scene's own grid, or as polygons or points"),
        ((24, 45), r"Give labels on the scene's own grid"),
        ((6, 7), r"Give labels on the scene's own grid"),
    ],
)
def test_another_size_is_refused_with_the_advice_that_fits(tmp_path, bare, shape, said):
    with pytest.raises(LabelError, match=said):
        read_labels(bare_tif(tmp_path, np.ones(shape, "uint8")), bare)


def test_labels_on_a_finer_grid_count_where_they_agree(tmp_path, bare):
    fine = TRUTH.repeat(3, 0).repeat(3, 1)
    fine[1, 1] = fine[0, 0] + 1  # one mixed scene pixel
    labels = read_labels(bare_tif(tmp_path, fine), bare, label_scale=3)
    expected = TRUTH.copy()
    expected[0, 0] = 0
    np.testing.assert_array_equal(values_of(labels), expected)
    assert (
        "Labels were taken from a grid 3 times finer; 1 scene pixels with mixed labels stay unlabelled." in labels.notes
    )


@pytest.mark.parametrize("scale", [0, 5, 7])
def test_a_label_scale_that_does_not_divide_is_refused(tmp_path, bare, scale):
    with pytest.raises(LabelError, match=f"has 36 x 45 pixels, which is no multiple of --label-scale {scale}"):
        read_labels(bare_tif(tmp_path, np.ones((36, 45), "uint8")), bare, label_scale=scale)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (TRUTH.astype("float32") + 0.5, "must be whole numbers, one a class; got 14.5, and 179 more"),
        (np.where(TRUTH == 14, np.inf, TRUTH).astype("float32"), "must be whole numbers, one a class; got inf"),
        (np.where(TRUTH == 0, np.int16(-1), TRUTH), "negative class value -1; .* pass --unlabelled -1"),
        (np.zeros_like(TRUTH), "none of the 180 pixels is labelled"),
        (TRUTH.astype("int32") * 70_000, "up to value 980000; maps store at most 65535"),
    ],
    ids=["fractions", "infinity", "negative", "all zero", "too large"],
)
def test_values_that_are_no_classes_are_refused_with_advice(tmp_path, scene, values, said):
    with pytest.raises(LabelError, match=r"labels\.tif.*" + said):
        read_labels(label_tif(tmp_path, values), scene)


def test_a_cube_is_refused_as_labels(tmp_path, scene):
    with pytest.raises(LabelError, match=r"has 3 bands \(3, 12, 15\); labels need one"):
        read_labels(label_tif(tmp_path, random_cube(3, 12, 15, "uint8")), scene)


@pytest.mark.parametrize("option", [{"class_field": "a"}, {"layer": "a"}])
def test_options_of_vector_files_are_refused_for_rasters(tmp_path, scene, option):
    with pytest.raises(LabelError, match=r"labels\.tif is no vector file; leave out --class-field and --layer"):
        read_labels(label_tif(tmp_path, TRUTH), scene, **option)


@pytest.mark.parametrize("name", ["labels.tif", "labels.csv", "labels.gpkg"])
def test_a_missing_file_is_answered_with_what_the_folder_holds(tmp_path, scene, name):
    with pytest.raises(LabelError, match=rf"{name} does not exist\. The folder holds scene\.tif"):
        read_labels(tmp_path / name, scene)
