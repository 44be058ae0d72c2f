"""Labels of a change come from areas, classes or full masks; what contradicts itself is refused."""

from __future__ import annotations

import numpy as np
import pyogrio
import pytest
import shapely
from PIL import Image

from conftest import UTM33
from patchfree.change.reference import LEGEND, binary, change_labels, full_mask, labels_of_areas, labels_of_classes
from patchfree.errors import LabelError
from patchfree.io.reference import read_labels
from patchfree.scene import Grid

GRID = Grid(20, 24)


def read(path):
    return read_labels(path, GRID)


def areas():
    changed, unchanged = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    changed[2:10, 3:14] = True
    unchanged[12:18, 3:20] = True
    return changed, unchanged


def picture(path, mask, **how):
    Image.fromarray(np.uint8(mask) * 255).save(path, **how)
    return str(path)


@pytest.fixture
def files(tmp_path):
    changed, unchanged = areas()
    return picture(tmp_path / "changed.bmp", changed), picture(tmp_path / "unchanged.bmp", unchanged)


def test_two_files_of_areas_become_two_classes(files):
    labels = labels_of_areas(*files, GRID, read)
    changed, unchanged = areas()
    np.testing.assert_array_equal(labels.index, unchanged + 2 * changed)
    assert labels.legend == LEGEND


@pytest.mark.parametrize("ids", [None, [0, 0], [5, 6], [None, 1]])
def test_areas_need_no_attribute_and_none_of_theirs_counts(tmp_path, ids):
    grid = Grid(4, 6, UTM33, (10.0, 0.0, 1000.0, 0.0, -10.0, 2000.0))
    boxes = shapely.to_wkb([shapely.box(1000, 1980, 1030, 2000), shapely.box(1020, 1970, 1040, 2000)])
    fields = [] if ids is None else [np.array(ids, object if None in ids else np.int64)]
    shown = {"geometry_type": "Polygon", "crs": UTM33}
    pyogrio.raw.write(tmp_path / "changed.gpkg", boxes, fields, ["id"][: len(fields)], **shown)
    (tmp_path / "unchanged.csv").write_text("row,col\n3,0\n3,5\n")

    def read(path):
        return read_labels(path, grid, areas=True)

    labels = labels_of_areas(str(tmp_path / "changed.gpkg"), str(tmp_path / "unchanged.csv"), grid, read)
    np.testing.assert_array_equal(labels.index[:2], [[2, 2, 2, 2, 0, 0]] * 2)
    np.testing.assert_array_equal(labels.index[2:], [[0, 0, 2, 2, 0, 0], [1, 0, 0, 0, 0, 1]])


def test_jpeg_masks_are_parted_in_the_middle_with_a_note(tmp_path):
    changed, unchanged = areas()
    labels = labels_of_areas(
        picture(tmp_path / "changed.jpg", changed, quality=92),
        picture(tmp_path / "unchanged.jpg", unchanged, quality=92),
        GRID,
        read,
    )
    assert "compressed with loss" in labels.notes[0]
    assert ((labels.index == 2) == changed).mean() > 0.99
    assert ((labels.index == 1) == unchanged).mean() > 0.99


def test_a_mask_of_class_numbers_is_no_compressed_mask():
    values = np.array([[0, 1, 2, 255]] * 3, np.uint8)
    values[:, 1:3] = 120
    mask, notes = binary(values, "classes")
    assert mask.tolist() == [[False, True, True, True]] * 3
    assert notes == []


def test_a_pixel_that_is_both_is_refused_with_its_place():
    changed, unchanged = areas()
    unchanged[5, 7] = True
    with pytest.raises(LabelError, match=r"1 pixels are both unchanged .* row 5, column 7"):
        change_labels(unchanged, changed)


@pytest.mark.parametrize("kind", ["changed", "unchanged"])
def test_one_kind_only_is_refused(kind):
    changed, unchanged = areas()
    (changed if kind == "changed" else unchanged)[:] = False
    with pytest.raises(LabelError, match=f"No pixel is labelled {kind}"):
        change_labels(unchanged, changed)


def test_an_empty_mask_file_is_refused_in_the_same_words(files, tmp_path):
    with pytest.raises(LabelError, match="No pixel is labelled unchanged"):
        labels_of_areas(files[0], picture(tmp_path / "none.bmp", np.zeros(GRID.shape, bool)), GRID, read)


def test_classes_are_found_by_number_or_by_name(tmp_path):
    changed, unchanged = areas()
    np.save(tmp_path / "numbers.npy", (unchanged + 2 * changed).astype(np.uint8))
    labels = labels_of_classes(str(tmp_path / "numbers.npy"), read)
    np.testing.assert_array_equal(labels.index, unchanged + 2 * changed)
    (tmp_path / "points.csv").write_text("row,col,class\n1,1,changed\n2,2,unchanged\n2,3,unchanged\n")
    named = labels_of_classes(str(tmp_path / "points.csv"), read)
    assert [int(named.index[1, 1]), int(named.index[2, 2]), int(named.index[2, 3])] == [2, 1, 1]


def test_other_classes_are_refused_with_what_is_needed(tmp_path):
    np.save(tmp_path / "three.npy", np.arange(480).reshape(GRID.shape).astype(np.uint16) % 4)
    with pytest.raises(LabelError, match="need two classes, 1 for unchanged and 2 for changed"):
        labels_of_classes(str(tmp_path / "three.npy"), read)


def test_a_full_mask_labels_every_pixel_and_may_hold_no_change(tmp_path):
    changed, _ = areas()
    np.testing.assert_array_equal(full_mask(picture(tmp_path / "a.png", changed), GRID).index, 1 + changed)
    none = full_mask(picture(tmp_path / "b.png", np.zeros(GRID.shape, bool)), GRID)
    assert (none.index == 1).all()
    assert none.legend == LEGEND


def test_a_full_mask_of_another_size_is_refused(tmp_path):
    with pytest.raises(LabelError, match="needs one of 20 x 24"):
        full_mask(picture(tmp_path / "a.png", np.ones((10, 10), bool)), GRID)
