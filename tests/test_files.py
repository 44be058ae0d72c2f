"""A file is written whole or not at all, and a failure leaves what was there."""

import json
import os

import numpy as np
import pytest

from jobs import full_disk
from patchfree.errors import ConfigError, OutputError
from patchfree.files import check_writable, replacing, write_bytes, write_json


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_bytes_are_written_and_replaced(tmp_path):
    write_bytes(tmp_path / "new" / "a.bin", b"one")
    write_bytes(tmp_path / "new" / "a.bin", memoryview(b"second"))
    assert contents(tmp_path / "new") == {"a.bin": b"second"}


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    write_bytes(tmp_path / "a.bin", b"old")
    said = r"a\.bin could not be written: File too large\. 5000 bytes were needed; what was there before is untouched"
    with full_disk(1000), pytest.raises(OutputError, match=said):
        write_bytes(tmp_path / "a.bin", bytes(5000))
    assert contents(tmp_path) == {"a.bin": b"old"}


def test_a_file_in_the_place_of_the_folder_is_an_output_error(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OutputError, match=r"a/b\.bin could not be written: (File exists|Not a directory)"):
        write_bytes(tmp_path / "a" / "b.bin", b"new")
    assert contents(tmp_path) == {"a": b"old"}


def test_a_folder_in_the_place_of_the_file_is_an_output_error(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OutputError, match=r"a\.bin could not be written: Is a directory"):
        write_bytes(tmp_path / "a.bin", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_an_output_error_is_also_an_os_error_with_exit_code_1(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="could not be written") as caught:
        write_bytes(tmp_path / "a", b"")
    assert caught.value.exit_code == 1


def test_json_is_strict_and_readable(tmp_path):
    value = {
        "nan": float("nan"),
        "list": (1, np.float32(0.5), np.int64(3)),
        7: "Müggelsee",
        "none": None,
        "inf": float("inf"),
    }
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Müggelsee" in text
    assert text.endswith("}\n")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "nan": None,
        "list": [1, 0.5, 3],
        "7": "Müggelsee",
        "none": None,
        "inf": None,
    }


def test_numpy_nan_becomes_null_too(tmp_path):
    write_json(tmp_path / "a.json", [np.float32("nan"), np.float64("inf")])
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == [None, None]


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_place_that_cannot_be_a_folder_is_refused_before_the_work(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"Nothing can be written to .*/a/b: .*\. Choose another place with --out"):
        check_writable(tmp_path / "a" / "b")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_refused_before_the_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match=r"Nothing can be written to .*: Permission denied"):
        check_writable(tmp_path)


# --- what other libraries write


@pytest.mark.parametrize("folder", [False, True])
def test_what_another_library_writes_takes_the_place_of_the_old_when_it_is_complete(tmp_path, folder):
    def write(path, text):
        path.mkdir() if folder else None
        (path / "part" if folder else path).write_text(text)

    path = tmp_path / "new" / "a"
    for text in ("one", "second"):
        with replacing(path) as new:
            write(new, text)
            assert path.exists() is (text == "second")
    assert (path / "part" if folder else path).read_text() == "second"

    def interrupted(new):
        write(new, "third")
        raise KeyboardInterrupt("now")

    with pytest.raises(KeyboardInterrupt, match="now"), replacing(path) as new:
        interrupted(new)
    assert (path / "part" if folder else path).read_text() == "second"
    assert [p.name for p in path.parent.iterdir()] == ["a"]


def test_what_cannot_be_moved_into_place_leaves_the_old(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_text("precious")
    with (
        pytest.raises(
            OutputError, match=r"a could not be written: Is a directory\. What was there before is untouched"
        ),
        replacing(tmp_path / "a") as new,
    ):
        new.write_text("file")
    assert (tmp_path / "a" / "mine").read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_library_that_writes_nothing_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="No such file"), replacing(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []
