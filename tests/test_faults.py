"""When the machine fails, the job ends with code 1 and what to do, earlier files are whole, and the next start goes on."""

import math
import os
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from conftest import synthetic
from jobs import QUICK, RUN_FILES, contents, no_torn_files, start, steps_of
from patchfree.errors import ConfigError, OutputError, TrainingFailed
from patchfree.files import check_writable, write_bytes, write_json
from patchfree.io.geotiff import write_layers
from patchfree.scene import Grid

# --- a full disk

LIMIT = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit is an error, as on a full disk
def full(bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, resource.RLIM_INFINITY))
"""
FULL_IN_TRAINING = LIMIT + "full(1_000_000)\n"
FULL_IN_WRITING = (
    LIMIT
    + """
real = training._write
def write(*rest):
    full(100_000)
    real(*rest)
training._write = write
"""
)


@pytest.mark.skipif(sys.platform == "win32", reason="limits on the size of files are a matter of POSIX")
@pytest.mark.parametrize(
    ("before", "name"),
    [
        pytest.param(FULL_IN_TRAINING, "estimate.safetensors", marks=pytest.mark.slow),
        (FULL_IN_WRITING, "model.safetensors"),
    ],
)
def test_full_disk_is_told_and_the_earlier_run_stays_whole(cli, files, tmp_path, before, name):
    cli.ok("train", files.scene, files.labels, "--out", tmp_path, *QUICK)
    earlier = contents(tmp_path)
    words = ("train", files.scene, files.labels, "--out", tmp_path, *QUICK, "--seed", 1, "--overwrite")
    process = start(*words, before=before)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert f"{name} could not be written: File too large. " in said
    assert "Free some space or choose another place, and run the same command again." in said
    assert "Traceback" not in said
    after = contents(tmp_path)
    assert {key: after[key] for key in earlier} == earlier
    assert no_torn_files(tmp_path)
    cli.ok(*words)
    assert set(contents(tmp_path)) == RUN_FILES
    assert steps_of(tmp_path) == [("estimate", n) for n in range(1, 7)]


def test_map_that_does_not_fit_on_the_disk_leaves_the_old_one(cli, files, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "map.tif"
    cli.ok("train", files.scene, files.labels, "--out", run, *QUICK)
    out.write_bytes(b"old")

    def full(file):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("patchfree.files.os.fsync", full)
    cli.refused(1, r"map\.tif could not be written: No space left on device", "map", run, files.scene, "--out", out)
    assert out.read_bytes() == b"old"
    assert no_torn_files(tmp_path)


# --- places that cannot be written


def test_out_below_a_file_is_refused_before_any_work(cli, files, tmp_path):
    (tmp_path / "file").write_text("in the way")
    words = ("train", files.scene, files.labels, *QUICK, "--out")
    cli.refused(2, r"file is a file; --out must be a folder", *words, tmp_path / "file")
    cli.refused(2, r"Nothing can be written to .*: Not a directory\. Choose another", *words, tmp_path / "file" / "run")
    assert contents(tmp_path) == {"file": b"in the way"}


def test_map_below_a_file_is_refused_before_any_work(cli, files, tmp_path):
    cli.ok("train", files.scene, files.labels, "--out", tmp_path / "run", *QUICK)
    (tmp_path / "file").write_text("in the way")
    words = ("map", tmp_path / "run", files.scene, "--out")
    cli.refused(2, "Nothing can be written to .*file: File exists", *words, tmp_path / "file" / "map.tif")
    cli.refused(2, "run is a folder; --out must be a file", *words, tmp_path / "run")


@pytest.mark.parametrize("path", ["file/x.bin", "file/deeper/x.bin", "folder"])
def test_file_that_cannot_be_written_is_an_output_error(tmp_path, path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"could not be written: .* 3 bytes were needed; what was there before"):
        write_bytes(tmp_path / path, b"abc")
    assert contents(tmp_path) == {"file": b"in the way"}


def test_file_is_replaced_and_not_written_over(tmp_path):
    write_bytes(tmp_path / "x", b"old")
    with (tmp_path / "x").open("rb") as reader:
        write_bytes(tmp_path / "x", b"new, and longer")
        assert reader.read() == b"old"
    assert contents(tmp_path) == {"x": b"new, and longer"}


def test_file_whose_writing_is_interrupted_keeps_its_old_content(tmp_path, monkeypatch):
    write_bytes(tmp_path / "x", b"old")

    def interrupted(file):
        raise KeyboardInterrupt("now")

    monkeypatch.setattr("patchfree.files.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt, match="now"):
        write_bytes(tmp_path / "x", b"new")
    assert contents(tmp_path) == {"x": b"old"}


def test_raster_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "layers.tif"
    grid = Grid(4, 5, None, (1.0, 0.0, 10.0, 0.0, -1.0, 20.0))
    write_layers(path, np.zeros((1, 4, 5), np.float32), ["a"], grid)
    old = path.read_bytes()

    def full(file):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("patchfree.files.os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_layers(path, np.ones((1, 4, 5), np.float32), ["a"], grid)
    assert contents(tmp_path) == {"layers.tif": old}


def test_check_writable_makes_the_folder_and_leaves_nothing_in_it(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert contents(tmp_path) == {}
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Choose another place with --out"):
        check_writable(tmp_path / "file")


def test_numbers_that_json_lacks_become_null(tmp_path):
    write_json(tmp_path / "x.json", {"a": math.nan, "b": [np.float32(0.5), np.inf], 3: (np.int64(4), None, "ü")})
    assert (tmp_path / "x.json").read_text(encoding="utf-8").split() == (
        ["{", '"a":', "null,", '"b":', "[", "0.5,", "null", "],", '"3":', "[", "4,", "null,", '"ü"', "]", "}"]
    )


# --- a training that breaks down


def checkpoint(folder):
    return safetensors.torch.load((folder / ".unfinished" / "estimate.safetensors").read_bytes())


def test_rate_that_is_far_too_large_stops_the_training_and_says_what_to_try(cli, files, tmp_path):
    words = ("train", files.scene, files.labels, "--out", tmp_path, *QUICK, "--learning-rate", 1e30)
    answer = cli(*words)
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert "Training broke down at step 2 of 6: the loss is nan" in answer.err
    assert "Try a lower --learning-rate (now 1e+30)" in answer.err
    assert not (tmp_path / "map.tif").exists()
    assert all(bool(torch.isfinite(value).all()) for value in checkpoint(tmp_path).values())
    cli.refused(2, "unfinished run with learning_rate 1e.30 .now 0.001.", *words[:-2])


def test_state_before_the_loss_broke_is_kept_and_gone_on_from(cli, files, tmp_path, monkeypatch):
    import patchfree.fit

    words = ("train", files.scene, files.labels, *QUICK, "--out")
    cli.ok(*words, tmp_path / "straight")
    real, calls = patchfree.fit.masked_cross_entropy, []

    def broken(*rest, **options):
        calls.append(1)
        loss = real(*rest, **options)
        return loss * math.nan if len(calls) == 4 else loss

    with monkeypatch.context() as patch:
        patch.setattr("patchfree.fit.masked_cross_entropy", broken)
        cli_answer = cli(*words, tmp_path / "run")
    assert cli_answer.code == 1
    state = checkpoint(tmp_path / "run")
    assert int(state["steps_done"]) == 3
    assert all(bool(torch.isfinite(value).all()) for value in state.values())
    cli.ok(*words, tmp_path / "run")
    assert steps_of(tmp_path / "run") == [("estimate", n) for n in range(1, 7)]
    a, b = contents(tmp_path / "run"), contents(tmp_path / "straight")
    assert a["model.safetensors"] == b["model.safetensors"]
    assert a["map.tif"] == b["map.tif"]


def test_broken_loss_raises_training_failed_from_python(monkeypatch):
    from patchfree.training import train

    scene, labels = synthetic(rows=24, cols=28)
    monkeypatch.setattr("patchfree.fit.masked_cross_entropy", lambda scores, *_, **__: scores.sum() * math.nan)
    with pytest.raises(TrainingFailed, match=r"--learning-rate"):
        train(scene, labels, controls=(), device="cpu")
