"""A map in a file is an array: what is written into a window is read from any other."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from patchfree.errors import OutputError
from patchfree.stream.maps import MapFile
from patchfree.windows import cover

SHAPE = (11, 17, 3)


@pytest.fixture
def file(tmp_path):
    made = MapFile(tmp_path / "a.map", SHAPE, "float32")
    made.create()
    return made


def random(shape=SHAPE, dtype="float32"):
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "uint16"])
def test_windows_make_up_the_array(tmp_path, dtype):
    file, values = MapFile(tmp_path / "a.map", SHAPE, dtype), random(dtype=dtype)
    file.create()
    for window in reversed(cover(SHAPE[:2], 4)):
        file.write(window, values[window])
    found = np.fromfile(file.path, dtype).reshape(SHAPE)  # rows, columns, channels, and nothing else
    np.testing.assert_array_equal(found, values)
    for window in [*cover(SHAPE[:2], 5), (slice(2, 9), slice(3, 4)), (slice(0, 11), slice(0, 17))]:
        np.testing.assert_array_equal(file.read(window), values[window])
        assert file.read(window).dtype == dtype


def test_what_was_never_written_is_0(file):
    window = slice(3, 5), slice(2, 7)
    file.write(window, random((2, 5, 3)))
    found = file.read((slice(0, 11), slice(0, 17)))
    np.testing.assert_array_equal(found[window], random((2, 5, 3)))
    found[window] = 0
    assert not found.any()


def test_values_of_another_type_and_layout_are_converted(file):
    values = np.asfortranarray(random((2, 5, 3), "float64"))[:, ::-1]
    window = slice(0, 2), slice(12, 17)
    file.write(window, values)
    np.testing.assert_array_equal(file.read(window), values)


def test_a_file_that_is_there_keeps_what_was_written(file):
    window = slice(10, 11), slice(16, 17)
    file.write(window, random((1, 1, 3)) + 1)
    file.create()
    np.testing.assert_array_equal(file.read(window), random((1, 1, 3)) + 1)
    assert file.path.stat().st_size == 11 * 17 * 3 * 4


def test_it_takes_up_no_disk_before_it_is_written(tmp_path):
    large = MapFile(tmp_path / "large.map", (20_000, 20_000, 100), "float32")
    large.create()
    assert large.path.stat().st_size == 160_000_000_000
    assert large.path.stat().st_blocks * 512 < 1_000_000
    window = slice(19_999, 20_000), slice(19_998, 20_000)
    large.write(window, random((1, 2, 100)))
    np.testing.assert_array_equal(large.read(window), random((1, 2, 100)))


def test_a_wrong_size_is_refused_with_both(file):
    with pytest.raises(ValueError, match=r"Got \(2, 4, 3\) for the window .*slice\(2, 7.* of \(11, 17, 3\)"):
        file.write((slice(3, 5), slice(2, 7)), random((2, 4, 3)))


def test_a_file_that_was_cut_off_is_told_from_data(file):
    with file.path.open("r+b") as opened:
        opened.truncate(11 * 17 * 3 * 4 - 1)
    assert not file.read((slice(0, 10), slice(0, 17))).any()
    with pytest.raises(OutputError, match=r"a\.map is shorter than it should be\. Delete its folder"):
        file.read((slice(10, 11), slice(0, 17)))


def test_a_file_that_cannot_be_made_is_told_with_its_size(tmp_path):
    (tmp_path / "file").write_text("in the way")
    file = MapFile(tmp_path / "file" / "a.map", (10_000, 10_000, 6), "float32")
    with pytest.raises(OutputError, match=r"a\.map could not be written: Not a directory\. It grows to 2\.4 GB\. Free"):
        file.create()


def test_a_small_file_that_cannot_be_made_is_told_in_megabytes(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"It grows to 2\.4 MB\. Free"):
        MapFile(tmp_path / "file" / "a.map", (1000, 100, 6), "float32").create()


def test_threads_write_and_read_at_the_same_time(tmp_path):
    file, values = MapFile(tmp_path / "a.map", (64, 96, 5), "float32"), random((64, 96, 5))
    file.create()

    def copied(window):
        for _ in range(20):
            file.write(window, values[window])
            yield np.array_equal(file.read(window), values[window])

    with ThreadPoolExecutor(8) as pool:
        right = list(pool.map(lambda window: all(copied(window)), cover((64, 96), 8)))
    assert len(right) == 96
    assert all(right)
    np.testing.assert_array_equal(file.read((slice(0, 64), slice(0, 96))), values)


def test_it_is_deleted_once_and_not_missed_twice(file):
    file.remove()
    assert not file.path.exists()
    file.remove()
