"""ENVI's text exports of regions: each region is a class, in the order of the file."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark_files import write_roi
from patchfree.errors import LabelError
from patchfree.io.reference import read_labels
from patchfree.scene import Grid

TRUTH = np.array([[1, 0, 2, 2], [0, 1, 0, 3], [3, 3, 0, 0]])


@pytest.fixture
def path(tmp_path):
    write_roi(tmp_path / "fields.txt", TRUTH, ["wheat", "oats", "bare soil"])
    return tmp_path / "fields.txt"


def test_regions_are_classes_with_their_names(path):
    labels = read_labels(path, Grid(3, 4))
    assert (labels.index == TRUTH).all()
    assert [(entry.value, entry.name) for entry in labels.legend] == [(1, "wheat"), (2, "oats"), (3, "bare soil")]


def test_the_columns_are_found_by_their_heading(path):
    lines = path.read_text().splitlines()
    moved = [" ".join(reversed(line.split())) if line and not line.startswith(";") else line for line in lines]
    at = next(i for i, line in enumerate(moved) if line.startswith(";   ID"))
    moved[at] = "; ID B1 MapY MapX Y X"
    moved = [f"1 {line}" if line and not line.startswith(";") else line for line in moved]
    path.write_text("\n".join(line.replace("1 17", "1 17", 1) for line in moved))
    assert (read_labels(path, Grid(3, 4)).index == TRUTH).all()


def test_regions_of_another_scene_are_refused(path):
    with pytest.raises(LabelError, match=r"fields.txt belongs to a scene of 3 x 4 pixels; this one has 9 x 9"):
        read_labels(path, Grid(9, 9))


def test_a_file_that_is_cut_short_is_refused(path):
    path.write_text("\n".join(path.read_text().splitlines()[:-4]))
    with pytest.raises(LabelError, match=r"announces 7 pixels in 3 regions and holds 4.*cut short"):
        read_labels(path, Grid(3, 4))


def test_a_pixel_in_two_regions_is_refused(path):
    text = path.read_text().splitlines()
    last = max(i for i, line in enumerate(text) if line.strip() and not line.startswith(";"))
    text[last] = "     3     1     1   0  0  17"
    path.write_text("\n".join(text))
    with pytest.raises(LabelError, match="1 pixels are in 'wheat' and in 'bare soil'"):
        read_labels(path, Grid(3, 4))


def test_pixels_outside_are_refused(path):
    path.write_text(path.read_text().replace("; File Dimension: 4 x 3", ";"))
    with pytest.raises(LabelError, match="has pixels outside the scene of 2 x 4"):
        read_labels(path, Grid(2, 4))
