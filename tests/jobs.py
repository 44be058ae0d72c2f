"""Small jobs on disk: a georeferenced scene with its labels in every form, and the command line in this process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from conftest import UTM33, synthetic
from patchfree.recipes import get_recipe

VALUES = np.array([0, 1, 10, 14])
"""Class values of the label files: not contiguous, as in some public scenes."""
NAMES = {1: "water", 10: "meadow", 14: "forest"}
ORIGIN = (362_000.0, 5_810_000.0)
METRES = 30.0
PLACE = Affine(METRES, 0, ORIGIN[0], 0, -METRES, ORIGIN[1])
QUICK = ["--steps", "6", "--model", "freenet-smooth", "--control", "none", "--device", "cpu"]
RUN_FILES = {
    "item.json", "log.jsonl", "map.qml", "map.tif", "map.tif.aux.xml", "metrics.json", "model.json", "model.safetensors",
    "report.html", "split.qml", "split.tif", "split.tif.aux.xml", "statistics.safetensors",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a command said: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


class CommandLine:
    """The command line in this process: importing torch anew for each command would take seconds."""

    def __init__(self, capsys, monkeypatch):
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments):
        from patchfree.cli import main

        words = [str(word) for word in arguments]
        self.monkeypatch.setattr(sys, "argv", ["patchfree", *words])
        self.capsys.readouterr()
        with pytest.raises(SystemExit, match=r"^[012]$") as left:
            main(words)
        shown = self.capsys.readouterr()
        return Answer(left.value.code, shown.out, shown.err)

    def ok(self, *arguments):
        """Run a command that must succeed; its standard output."""
        answer = self(*arguments)
        assert answer.code == 0, answer.err
        assert "Traceback" not in answer.err
        return answer.out

    def refused(self, code, message, *arguments):
        """Run a command that must fail with this exit code and a message for people that matches."""
        answer = self(*arguments)
        assert answer.code == code, (answer.code, answer.err)
        assert re.search(message, plain(answer.err)), answer.err
        assert "Traceback" not in answer.err
        assert answer.out == ""
        return answer.err


def command(*arguments):
    """Run a command that must succeed, where no output is looked at."""
    from patchfree.cli import main

    words = [str(word) for word in arguments]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["patchfree", *words])
        with pytest.raises(SystemExit, match=r"^0$"):
            main(words)


def short(steps, name="default"):
    """A recipe that ends after a few steps."""
    return get_recipe(name, steps=steps, apart_model=None)


def plain(text):
    """A message without the frame and the line breaks of the terminal."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


def write_scene(path, scene, *, crs=UTM33, transform=PLACE, wavelengths=True, order=None, nodata=None):
    """A GeoTIFF with one band tag a wavelength, written by rasterio."""
    order = list(range(len(scene.bands))) if order is None else order
    profile = {"driver": "GTiff", "height": scene.grid.height, "width": scene.grid.width, "dtype": "float32"}
    profile |= {"count": len(order), "crs": crs, "transform": transform, "nodata": nodata}
    with rasterio.open(path, "w", **profile) as target:
        for number, band in enumerate(order, 1):
            target.write(scene.values[band], number)
            if wavelengths:
                value = scene.bands.wavelengths_nm[band]
                target.update_tags(number, wavelength=str(value), wavelength_units="Nanometers")
    return path


def write_raster(path, values, *, crs=UTM33, transform=PLACE):
    """One band of numbers as GeoTIFF, with class names and colours where it can hold them."""
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1}
    profile |= {"dtype": values.dtype.name, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", **profile) as target:
        target.write(values, 1)
        if values.dtype == np.uint8:
            target.write_colormap(1, {1: (0, 0, 200, 255), 10: (120, 200, 0, 255), 14: (0, 90, 40, 255)})
            target.update_tags(ns="PATCHFREE", **{f"class_{value}": name for value, name in NAMES.items()})
    return path


def sparse(values, share=0.5, seed=1):
    """The class values at a share of the pixels."""
    return np.where(np.random.default_rng(seed).random(values.shape) < share, values, 0).astype(np.uint8)


@dataclass(frozen=True)
class Files:
    """A scene of 40 x 48 pixels and 12 bands with its labels, as files."""

    folder: Path
    scene: Path
    labels: Path
    truth: np.ndarray


def make_files(folder):
    """Write scene.tif and labels.tif into a folder."""
    scene, labels = synthetic(noise=0.15)
    truth = VALUES[labels.index].astype(np.uint8)
    return Files(
        folder, write_scene(folder / "scene.tif", scene), write_raster(folder / "labels.tif", sparse(truth)), truth
    )


def no_torn_files(folder):
    """True if no temporary file is left below a folder."""
    return not [p for p in Path(folder).rglob("*") if p.name.endswith(".part") or p.name.startswith(".probe")]


def steps_of(folder):
    """Phase and number of every record of the log, in order."""
    return [(record["phase"], record["number"]) for record in read_log(folder)]


RUNNER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell starts its children with it ignored
from patchfree import job, training
job.CHECKPOINT_SECONDS = {seconds}
{before}
from patchfree.cli import main
main(sys.argv[1:])
"""


def start(*arguments, before="", checkpoint_seconds=10.0):
    """The command line in a process of its own, for what would take this one down; with as many threads, for the same bits."""
    import torch

    script = RUNNER.format(before=before, seconds=checkpoint_seconds)
    words = [sys.executable, "-c", script, *map(str, arguments)]
    around = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=around)


def wait_for_steps(process, out, number):
    """Wait until the checkpoint of a running job holds some steps."""
    log, state = out / ".unfinished" / "log.jsonl", out / ".unfinished" / "estimate.safetensors"
    limit = time.monotonic() + 120
    while not (state.is_file() and log.is_file() and len(log.read_text().splitlines()) >= number):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit, "the job does not get on"
        time.sleep(0.01)


def contents(folder):
    """Every file below a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def read_json(path):
    """A JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_log(folder):
    """The records of log.jsonl."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@contextlib.contextmanager
def full_disk(size):
    """No file of this process can grow beyond `size` bytes: as on a full disk, a write fails half way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
