"""A MATLAB file of either version gives the same scene: MATLAB's rows, columns and bands."""

import h5py
import numpy as np
import pytest
import scipy.io
from fixtures import random_cube

from patchfree.errors import LabelError, SceneError
from patchfree.io import open_scene
from patchfree.io.reference import read_labels


def write_v5(path, **arrays):
    scipy.io.savemat(path, arrays, do_compression=True)
    return path


def write_v73(path, **arrays):
    """As MATLAB does: axes reversed, complex numbers as pairs, 512 bytes of text in front."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            array = np.atleast_2d(array)
            if array.dtype.kind == "c":
                array = np.rec.fromarrays([array.real, array.imag], names="real,imag")
            file[name] = array.T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    return path


@pytest.fixture(params=[write_v5, write_v73], ids=["v5", "v7.3"])
def write(request):
    return request.param


def hwb(cube):
    return np.ascontiguousarray(cube.transpose(1, 2, 0))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_both_versions_give_rows_columns_bands(tmp_path, write, dtype):
    cube = random_cube(4, 5, 6, dtype)
    scene = open_scene(write(tmp_path / "a.mat", data=hwb(cube)))
    np.testing.assert_array_equal(scene.values, cube)
    assert scene.details["dtype"] == dtype


def test_the_axes_can_be_given(tmp_path, write):
    cube = random_cube(4, 5, 6)
    np.testing.assert_array_equal(open_scene(write(tmp_path / "a.mat", data=cube), axes="bhw").values, cube)


def test_scene_and_labels_are_found_by_their_number_of_axes(tmp_path, write):
    cube, truth = random_cube(4, 5, 6), np.random.default_rng(0).integers(0, 4, (5, 6)).astype("uint8")
    path = write(tmp_path / "a.mat", ground=truth, data=hwb(cube), note=np.arange(3.0))
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.values, cube)
    assert "Variable 'data' (5, 6, 4) was chosen by its shape." in scene.notes
    labels = read_labels(path, scene)
    np.testing.assert_array_equal(labels.restore(labels.index), truth)


def test_of_several_cubes_the_largest_is_the_scene(tmp_path, write):
    cube = random_cube(8, 5, 6)
    path = write(tmp_path / "a.mat", rgb=np.zeros((5, 6, 3)), data=hwb(cube))
    np.testing.assert_array_equal(open_scene(path).values, cube)


@pytest.mark.parametrize("named", ["second", "SECOND"])
def test_a_variable_is_named_in_any_case(tmp_path, write, named):
    first, second = random_cube(4, 5, 6, seed=1), random_cube(4, 5, 6, seed=2)
    path = write(tmp_path / "a.mat", first=hwb(first), Second=hwb(second))
    np.testing.assert_array_equal(open_scene(f"{path}:{named}").values, second)


def test_names_that_differ_in_case_only_must_match_exactly(tmp_path, write):
    first, second = random_cube(4, 5, 6, seed=1), random_cube(4, 5, 6, seed=2)
    path = write(tmp_path / "a.mat", data=hwb(first), Data=hwb(second))
    np.testing.assert_array_equal(open_scene(f"{path}:Data").values, second)
    with pytest.raises(SceneError, match="has no variable 'DATA'"):
        open_scene(f"{path}:DATA")


def test_two_cubes_of_the_same_shape_must_be_told_apart(tmp_path, write):
    cube = hwb(random_cube(4, 5, 6))
    path = write(tmp_path / "a.mat", t1=cube, t2=cube)
    with pytest.raises(SceneError, match=r"several arrays that fit: t1 \(5, 6, 4\), t2 \(5, 6, 4\).*as a\.mat:t1"):
        open_scene(path)


def test_two_label_arrays_must_be_told_apart(tmp_path, write):
    path = write(tmp_path / "a.mat", data=hwb(random_cube(4, 5, 6)), train=np.eye(5, 6), test=np.eye(5, 6))
    with pytest.raises(LabelError, match=r"several arrays that fit: .*as a\.mat:"):
        read_labels(path, open_scene(path))
    assert read_labels(f"{path}:test", open_scene(path)).counts.tolist() == [5]


def test_a_missing_variable_is_answered_with_what_there_is(tmp_path, write):
    path = write(tmp_path / "a.mat", data=np.ones((5, 6, 4), "int16"))
    with pytest.raises(
        SceneError, match=r"has no variable 'cube'; it holds data \(5, 6, 4\) int16. Name one as a\.mat:VAR"
    ):
        open_scene(f"{path}:cube")


@pytest.mark.parametrize("name", ["wavelength", "Wavelengths", "lambda"])
@pytest.mark.parametrize(("factor", "unit"), [(1, "nanometres"), (0.001, "micrometres")])
def test_a_wavelength_variable_is_used(tmp_path, write, name, factor, unit):
    centres = np.array([[450.5], [550.0], [650.0], [750.0]])
    scene = open_scene(write(tmp_path / "a.mat", data=hwb(random_cube(4, 5, 6)), **{name: centres * factor}))
    assert scene.bands.wavelengths_nm == pytest.approx((450.5, 550, 650, 750))
    assert any(f"taken as {unit} from their size" in note for note in scene.notes)


@pytest.mark.parametrize("centres", [np.full((4, 2), 500.0), np.full((1, 3), 500.0), np.float64(500)])
def test_wavelengths_of_another_number_are_ignored(tmp_path, write, centres):
    scene = open_scene(write(tmp_path / "a.mat", data=hwb(random_cube(4, 5, 6)), wavelength=centres))
    assert scene.bands.wavelengths_nm is None


def test_complex_numbers_are_refused(tmp_path, write):
    cube = hwb(random_cube(4, 5, 6)) * (1 + 2j)
    with pytest.raises(SceneError, match="complex"):
        open_scene(write(tmp_path / "a.mat", data=cube))


def test_complex_numbers_are_refused_when_named(tmp_path, write):
    cube = hwb(random_cube(4, 5, 6)) * (1 + 2j)
    with pytest.raises(SceneError, match=r"holds complex numbers \(complex"):
        open_scene(f"{write(tmp_path / 'a.mat', data=cube)}:data")


def struct_v5(path):
    scipy.io.savemat(path, {"s": {"data": np.ones((2, 3, 4))}, "c": np.array([np.ones(3), "x"], object)})


def struct_v73(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["s/data"] = np.ones((4, 3, 2))


@pytest.mark.parametrize("write_struct", [struct_v5, struct_v73])
def test_a_file_with_only_structs_and_cells_is_refused(tmp_path, write_struct):
    write_struct(tmp_path / "a.mat")
    with pytest.raises(SceneError, match=r"holds no array that can be a scene \(3 axes\)"):
        open_scene(tmp_path / "a.mat")


@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, write, share):
    path = write(tmp_path / "a.mat", data=hwb(random_cube(40, 20, 30, "uint16", high=60000)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(SceneError, match=r"a\.mat.*(damaged|truncated|holds no array)"):
        open_scene(path)


def test_a_damaged_stream_is_refused(tmp_path):
    path = write_v5(tmp_path / "a.mat", data=hwb(random_cube(40, 20, 30, "uint16", high=60000)))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 200] = b"\xff" * 200
    path.write_bytes(bytes(whole))
    with pytest.raises(
        SceneError, match=r"a\.mat.*(cannot be read as a MATLAB file|reading the variable 'data' failed)"
    ):
        open_scene(path)


@pytest.mark.parametrize(
    ("cube_file", "cube_name", "label_file", "label_name"),
    [
        ("PaviaU.mat", "paviaU", "PaviaU_gt.mat", "paviaU_gt"),
        ("PaviaU.mat", "paviaU", "PaviaU_gt.mat", "hyperimg_gt"),
        ("Salinas_corrected.mat", "salinas_corrected", "Salinas_gt.mat", "salinas_gt"),
        ("KSC.mat", "KSC", "KSC_gt.mat", "KSC_gt"),
        ("Botswana.mat", "Botswana", "Botswana_gt.mat", "Botswana_gt"),
        ("WHU_Hi_LongKou.mat", "WHU_Hi_LongKou", "WHU_Hi_LongKou_gt.mat", "WHU_Hi_LongKou_gt"),
        ("WHU_Hi_HanChuan.mat", "WHU_Hi_HanChuan", "WHU_Hi_HanChuan_gt.mat", "WHU_Hi_HanChuan_gt"),
    ],
)
def test_well_known_scenes_need_no_variable_name(tmp_path, write, cube_file, cube_name, label_file, label_name):
    cube, truth = random_cube(7, 5, 6, "uint16"), np.random.default_rng(0).integers(0, 10, (5, 6)).astype("uint8")
    scene = open_scene(write(tmp_path / cube_file, **{cube_name: hwb(cube)}))
    labels = read_labels(write(tmp_path / label_file, **{label_name: truth}), scene)
    np.testing.assert_array_equal(scene.values, cube)
    np.testing.assert_array_equal(labels.restore(labels.index), truth)


def test_a_label_file_opened_as_scene_has_one_band(tmp_path, write):
    scene = open_scene(write(tmp_path / "gt.mat", gt=np.arange(1, 31, dtype="uint8").reshape(5, 6)))
    assert scene.values.shape == (1, 5, 6)
