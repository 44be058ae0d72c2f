"""A window of a file is read, and of the rest no more than small gaps: the operating system counts the bytes."""

from itertools import permutations
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from fixtures import random_cube

from patchfree.errors import SceneError
from patchfree.io import _flat, find_reader
from patchfree.io._flat import SMALL_GAP, read_part

CUTS = [
    (slice(0, 4), slice(0, 5), slice(0, 6)),
    (slice(1, 3), slice(0, 5), slice(0, 6)),
    (slice(0, 4), slice(2, 5), slice(0, 6)),
    (slice(0, 4), slice(1, 2), slice(3, 5)),
    (slice(None), slice(4, 9), slice(None)),
    (slice(2, 3), slice(0, 5), slice(0, 1)),
    (slice(2, 2), slice(0, 5), slice(0, 1)),
]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("dtype", ["uint8", "<i2", ">u2", "<f4", ">f8", "float16", "bool"])
def test_a_part_is_that_of_the_whole(tmp_path, dtype, cut):
    array = np.random.default_rng(0).integers(0, 200, (4, 5, 6)).astype(dtype)
    path = tmp_path / "a.bin"
    path.write_bytes(b"head..." + array.tobytes() + b"tail")
    part = read_part(path, np.dtype(dtype), array.shape, 7, cut)
    assert part.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(part, array[cut])


def test_a_file_that_ends_too_early_is_told(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(4 * 5 * 6 - 1))
    with pytest.raises(SceneError, match=r"a\.bin is truncated: it ends within the pixels\. Copy the file again"):
        read_part(path, np.dtype("u1"), (4, 5, 6), 0, (slice(3, 4), slice(4, 5), slice(0, 6)))
    assert not read_part(path, np.dtype("u1"), (4, 5, 6), 0, (slice(3, 4), slice(4, 5), slice(0, 5))).any()


# --- readers, as the operating system sees them

SHAPE = (24, 512, 512)  # 12.6 MB of 2-byte numbers


def envi(interleave):
    def write(folder, cube):
        order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
        (folder / "s.img").write_bytes(np.ascontiguousarray(cube.transpose(order)).tobytes())
        c, h, w = cube.shape
        lines = (
            f"ENVI\nsamples = {w}\nlines = {h}\nbands = {c}\ndata type = 2\ninterleave = {interleave}\nbyte order = 0\n"
        )
        (folder / "s.hdr").write_text(lines)
        return folder / "s.hdr"

    return write


def npy(axes, order):
    def write(folder, cube):
        np.save(folder / "s.npy", np.asarray(cube.transpose(axes), order=order))
        return folder / "s.npy"

    return write


def matlab73(folder, cube):
    with h5py.File(folder / "s.mat", "w", userblock_size=512) as file:
        file.create_dataset("cube", data=cube.transpose(0, 2, 1), chunks=(24, 64, 64), compression=1)  # axes reversed
    with (folder / "s.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    return folder / "s.mat"


def hdf5(folder, cube):
    with h5py.File(folder / "s.h5", "w") as file:
        file.create_dataset("cube", data=cube.transpose(1, 2, 0), chunks=(64, 64, 24), compression=1)
    return folder / "s.h5"


def zarr(folder, cube):
    package = pytest.importorskip("zarr")
    group = package.open_group(folder / "s.zarr", mode="w")
    array = group.create_array("cube", shape=(512, 512, 24), chunks=(64, 64, 24), dtype="int16")
    array[...] = cube.transpose(1, 2, 0)
    return folder / "s.zarr"


def tiled(folder, cube):
    profile = {"driver": "GTiff", "count": 24, "height": 512, "width": 512, "dtype": "int16", "tiled": True}
    profile |= {
        "blockxsize": 64,
        "blockysize": 64,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(30, 0, 0, 0, -30, 0),
    }
    with rasterio.open(folder / "s.tif", "w", **profile) as target:
        target.write(cube)
    return folder / "s.tif"


WRITERS = {
    "envi bsq": envi("bsq"),
    "envi bil": envi("bil"),
    "envi bip": envi("bip"),
    "npy": npy((1, 2, 0), "C"),
    "npy of Fortran": npy((1, 2, 0), "F"),
    "matlab 7.3": matlab73,
    "hdf5": hdf5,
    "zarr": zarr,
    "tiled tif": tiled,
}


def bytes_read():
    """Bytes that this process has read so far; those under a memory map are not among them."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux counts the bytes")
@pytest.mark.parametrize("name", WRITERS)
def test_only_the_window_is_read(tmp_path, name):
    cube = random_cube(*SHAPE, dtype="int16")
    path = WRITERS[name](tmp_path, cube)
    window = slice(200, 232), slice(300, 332)
    reader = find_reader(path)
    reader.describe()
    reader.read((slice(0, 1), slice(0, 1)))  # what libraries load at their first use
    before = bytes_read()
    values = reader.read(window)
    read = bytes_read() - before
    np.testing.assert_array_equal(values, cube[:, *window])
    wanted = 24 * 32 * 32 * 2
    assert wanted / 2 < read < cube.nbytes / 5
    if name in ("envi bip", "npy"):
        assert wanted <= read < wanted + 20_000  # and the header
    elif name.startswith(("envi", "npy")):
        assert (
            wanted <= read < 24 * 32 * 1024 + 20_000
        )  # lines of 1 KB: what lies between is read along, in fewer reads


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux counts the bytes")
def test_gaps_too_large_to_be_read_along_are_left_out(tmp_path):
    path = tmp_path / "a.bin"
    array = np.random.default_rng(0).integers(0, 200, (3, 5, SMALL_GAP + 10)).astype("u1")
    path.write_bytes(array.tobytes())
    for columns in (slice(4, 8), slice(4, 20)):  # a gap of 6 bytes more than the limit, and of 6 less
        before = bytes_read()
        part = read_part(path, array.dtype, array.shape, 0, (slice(0, 3), slice(1, 4), columns))
        read = bytes_read() - before
        np.testing.assert_array_equal(part, array[:, 1:4, columns])
        assert (read < 1000) == (columns.stop == 8)


def test_long_runs_are_read_in_parts_of_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(_flat, "BUFFER", 100)
    array = np.random.default_rng(0).integers(0, 200, (2, 50, 30)).astype("<u2")
    (tmp_path / "a.bin").write_bytes(array.tobytes())
    part = read_part(tmp_path / "a.bin", array.dtype, array.shape, 0, (slice(0, 2), slice(3, 50), slice(25, 30)))
    np.testing.assert_array_equal(part, array[:, 3:50, 25:30])


@pytest.mark.parametrize(
    ("name", "whole"), [("envi bsq", False), ("npy", False), ("matlab 7.3", False), ("hdf5", False)]
)
def test_readers_say_whether_they_read_windows(tmp_path, name, whole):
    assert find_reader(WRITERS[name](tmp_path, random_cube(*SHAPE, dtype="int16"))).in_one_piece == whole


def test_what_is_packed_as_a_whole_says_so(tmp_path):
    import scipy.io

    cube = random_cube(3, 4, 5, dtype="int16")
    np.savez(tmp_path / "s.npz", cube=cube)
    scipy.io.savemat(tmp_path / "s.mat", {"cube": cube})
    assert find_reader(tmp_path / "s.npz").in_one_piece
    assert find_reader(tmp_path / "s.mat").in_one_piece


def test_all_orders_of_axes_are_cut_alike(tmp_path):
    cube = random_cube(3, 7, 9)
    for order in permutations(range(3)):
        array = np.ascontiguousarray(cube.transpose(order))
        path = tmp_path / "a.bin"
        path.write_bytes(array.tobytes())
        cut = [(slice(None), slice(2, 6), slice(3, 4))[axis] for axis in order]
        part = read_part(path, array.dtype, array.shape, 0, tuple(cut)).transpose(np.argsort(order))
        np.testing.assert_array_equal(part, cube[:, 2:6, 3:4])
