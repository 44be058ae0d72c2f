"""What every format in READERS promises: metadata and pixels agree, a window is a part of the whole, reading repeats.

A new format gets these tests by being listed, and needs one writer here.
"""

import numpy as np
import pytest
import rasterio
import scipy.io
from affine import Affine

from patchfree.errors import SceneError
from patchfree.io import READERS, find_reader, open_scene

CUBE = np.random.default_rng(0).integers(1, 1000, (3, 7, 9)).astype("int16")
WINDOWS = [
    (slice(0, 7), slice(0, 9)),
    (slice(2, 6), slice(3, 4)),
    (slice(6, 7), slice(0, 9)),
    (slice(1, 3), slice(5, 9)),
]


def write_tif(path, cube, col=0):
    profile = {"driver": "GTiff", "count": len(cube), "height": cube.shape[1], "width": cube.shape[2]}
    profile |= {"dtype": cube.dtype, "crs": "EPSG:32633", "transform": Affine(30, 0, 30 * col, 0, -30, 0)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(cube)
    return path


def gdal(folder):
    return write_tif(folder / "scene.tif", CUBE)


def mosaic(folder):
    (folder / "tiles").mkdir()
    write_tif(folder / "tiles" / "left.tif", CUBE[:, :, :4])
    write_tif(folder / "tiles" / "right.tif", CUBE[:, :, 4:], col=4)
    return folder / "tiles"


def envi(folder):
    (folder / "scene.img").write_bytes(CUBE.transpose(1, 0, 2).astype(">i2").tobytes())
    (folder / "scene.hdr").write_text(
        "ENVI\nsamples = 9\nlines = 7\nbands = 3\ndata type = 2\ninterleave = bil\nbyte order = 1\n"
    )
    return folder / "scene.hdr"


def matlab(folder):
    scipy.io.savemat(folder / "scene.mat", {"cube": CUBE.transpose(1, 2, 0)})
    return folder / "scene.mat"


def numpy(folder):
    np.save(folder / "scene.npy", CUBE.transpose(1, 2, 0))
    return folder / "scene.npy"


WRITERS = {"envi": envi, "gdal": gdal, "matlab": matlab, "mosaic": mosaic, "numpy": numpy}


@pytest.fixture(params=sorted(READERS))
def path(request, tmp_path):
    return WRITERS[request.param](tmp_path)


@pytest.mark.parametrize("name", sorted(READERS))
def test_the_path_leads_to_the_reader(name, tmp_path):
    assert type(find_reader(WRITERS[name](tmp_path))) is READERS[name][1]


def test_pixels_are_read_channel_first(path):
    np.testing.assert_array_equal(find_reader(path).read(), CUBE)


def test_the_description_agrees_with_the_pixels(path):
    reader = find_reader(path)
    description, values = reader.describe(), reader.read()
    assert (len(description.bands), *description.grid.shape) == values.shape
    assert description.dtype == values.dtype
    assert description.bands.numbers == (1, 2, 3)
    assert description.bands.total == 3
    assert description.format


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_is_a_part_of_the_whole(path, window):
    np.testing.assert_array_equal(find_reader(path).read(window), CUBE[:, *window])


@pytest.mark.parametrize("window", WINDOWS)
def test_the_mask_of_a_window_is_a_part_of_that_of_the_whole(path, window):
    whole, part = find_reader(path).outside(), find_reader(path).outside(window)
    assert (whole is None) == (part is None)
    if whole is not None:
        assert whole.shape == CUBE.shape[1:]
        np.testing.assert_array_equal(part, whole[window])


def test_reading_twice_gives_equal_scenes(path):
    one, two = open_scene(path), open_scene(path)
    assert one.fingerprint() == two.fingerprint()
    assert one.bands.numbers == two.bands.numbers
    assert one.grid.as_dict() == two.grid.as_dict()
    assert one.notes == two.notes


def test_the_scene_holds_the_pixels_and_can_be_changed_without_changing_the_file(path):
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.values, CUBE)
    assert scene.values.dtype == np.float32
    assert scene.all_valid
    scene.values[:] = -1
    np.testing.assert_array_equal(open_scene(path).values, CUBE)


def test_the_scene_is_named_after_the_file(path):
    assert open_scene(str(path)).name == path.name


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_missing_file_is_answered_with_what_the_folder_holds(name, tmp_path):
    path = WRITERS[name](tmp_path)
    wrong = path.with_name("missing" + path.suffix)
    with pytest.raises(
        SceneError, match=rf"{wrong.name} does not exist\. The folder holds .*{path.name}.*Check the path"
    ):
        open_scene(wrong)


def test_a_missing_folder_is_answered_with_its_name(tmp_path):
    with pytest.raises(SceneError, match=r"The folder .*nowhere does not exist or is empty"):
        open_scene(tmp_path / "nowhere" / "scene.hdr")
