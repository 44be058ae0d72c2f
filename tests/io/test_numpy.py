"""A bare array is a scene in rows, columns, bands, and says what was assumed; what is no array of numbers is refused."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fixtures import random_cube

from patchfree.errors import LabelError, SceneError
from patchfree.io import open_scene
from patchfree.io.reference import read_labels
from patchfree.io.source import SceneSource
from patchfree.scene import Grid


def save(path, array):
    np.save(path, array, allow_pickle=True)
    return path


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "float16", "float32", "float64", "int64"])
def test_an_array_is_rows_columns_bands(tmp_path, dtype, order):
    cube = random_cube(4, 5, 6, dtype)
    scene = open_scene(save(tmp_path / "a.npy", np.asarray(cube.transpose(1, 2, 0), order=order)))
    np.testing.assert_array_equal(scene.values, cube)
    assert "The array (5, 6, 4) was taken as (rows, columns, bands); --axes says otherwise." in scene.notes


def test_the_axes_can_be_given(tmp_path):
    cube = random_cube(4, 5, 6)
    scene = open_scene(save(tmp_path / "a.npy", cube), axes="bhw")
    np.testing.assert_array_equal(scene.values, cube)
    assert "The array (4, 5, 6) was taken as (bands, rows, columns); --axes says otherwise." in scene.notes


def test_other_axes_are_refused(tmp_path):
    with pytest.raises(SceneError, match="Got axes='whb'; need 'hwb'"):
        open_scene(save(tmp_path / "a.npy", random_cube(4, 5, 6)), axes="whb")


def test_the_file_is_not_changed_by_masking(tmp_path):
    cube = random_cube(2, 5, 6)
    cube[0, 0, 0] = np.nan
    path = save(tmp_path / "a.npy", cube.transpose(1, 2, 0))
    before = path.read_bytes()
    assert not open_scene(path).valid[0, 0]
    assert path.read_bytes() == before


def test_an_archive_gives_the_cube_as_scene_and_the_matrix_as_labels(tmp_path):
    cube, truth = random_cube(4, 5, 6), np.random.default_rng(0).integers(0, 3, (5, 6))
    np.savez(tmp_path / "a.npz", gt=truth, data=cube.transpose(1, 2, 0))
    scene = open_scene(tmp_path / "a.npz")
    np.testing.assert_array_equal(scene.values, cube)
    labels = read_labels(tmp_path / "a.npz", scene)
    np.testing.assert_array_equal(labels.restore(labels.index), truth)


def test_an_array_of_an_archive_can_be_named(tmp_path):
    one, two = random_cube(4, 5, 6, seed=1), random_cube(4, 5, 6, seed=2)
    np.savez(tmp_path / "a.npz", one=one.transpose(1, 2, 0), two=two.transpose(1, 2, 0))
    np.testing.assert_array_equal(open_scene(f"{tmp_path / 'a.npz'}:two").values, two)
    with pytest.raises(SceneError, match=r"several arrays that fit: one \(5, 6, 4\), two \(5, 6, 4\)"):
        open_scene(tmp_path / "a.npz")


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([[[1, "x"]]], object), "holds Python objects, not numbers; save a plain array with numpy.save"),
        (np.array([[["a", "b"], ["c", "d"]]] * 2), r"holds text \(<U1\)|no array that can be a scene"),
        (np.ones((2, 3, 4), complex), r"holds complex numbers \(complex128\)|no array that can be a scene.*complex128"),
        (np.ones((2, 2, 2), "M8[s]"), r"holds datetime64|no array that can be a scene.*datetime64"),
        (np.ones((2, 3, 4, 5)), r"4 dimensions \(2, 3, 4, 5\)|no array that can be a scene"),
        (np.ones(7), r"1 dimensions \(7,\)|no array that can be a scene"),
    ],
    ids=["objects", "text", "complex", "dates", "4 axes", "1 axis"],
)
def test_what_is_no_cube_of_numbers_is_refused(tmp_path, ending, array, said):
    path = tmp_path / f"a.{ending}"
    save(path, array) if ending == "npy" else np.savez(path, data=array)
    with pytest.raises(SceneError, match=said):
        open_scene(path)


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, ending, share):
    path, array = tmp_path / f"a.{ending}", random_cube(20, 20, 30)
    save(path, array) if ending == "npy" else np.savez_compressed(path, data=array)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(SceneError, match=rf"a\.{ending} cannot be read as a NumPy file"):
        open_scene(path)


def test_a_damaged_archive_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", data=random_cube(20, 20, 30))
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 50] = b"\xff" * 50
    (tmp_path / "a.npz").write_bytes(bytes(whole))
    with pytest.raises(SceneError, match=r"a\.npz cannot be read as a NumPy file"):
        open_scene(tmp_path / "a.npz")


def test_a_cube_is_refused_as_labels(tmp_path):
    path = save(tmp_path / "a.npy", np.ones((5, 6, 4), int))
    with pytest.raises(LabelError, match=r"has 4 bands \(4, 5, 6\); labels need one"):
        read_labels(path, Grid(5, 6))


def test_true_and_false_are_class_1_and_unlabelled(tmp_path):
    labels = read_labels(save(tmp_path / "a.npy", np.eye(3, dtype=bool)), Grid(3, 3))
    assert labels.values == (1,)
    np.testing.assert_array_equal(labels.index, np.eye(3))


@pytest.fixture
def busy_interpreter():
    """Threads take turns wherever they can, and Python code runs whenever memory is collected."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()

    def collected(phase, info):
        for _ in range(30):
            pass

    gc.callbacks.append(collected)
    sys.setswitchinterval(1e-6)
    gc.set_threshold(5)
    yield
    gc.callbacks.remove(collected)
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)


def test_many_threads_read_one_file(tmp_path, busy_interpreter):
    cube = random_cube(4, 5, 6)
    source = SceneSource(str(save(tmp_path / "a.npy", cube.transpose(1, 2, 0))))
    window = (slice(1, 4), slice(2, 5))
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: source.reader.read(window), range(200)))
    assert all(np.array_equal(part, cube[:, 1:4, 2:5]) for part in parts)
