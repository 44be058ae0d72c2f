"""A scene of 100 x 120 pixels that is mapped in 16 windows with the least memory, and how to interrupt its mapping."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import rasterio

from conftest import synthetic
from jobs import QUICK, command, make_files, write_scene

LEAST = "262MB"
"""Enough for windows of 32 pixels, and not for the scene as a whole."""
WINDOWS, PASSES = 16, 17
"""Four by four windows; a pass for each of 9 statistics, for the maps of each of 7 stages that are kept, and the first."""


@dataclass(frozen=True)
class Large:
    """A trained run, a scene, and its map made in windows without an interruption.

    Attributes:
        run: folder of the run.
        scene: the scene as GeoTIFF.
        done: folder with map.tif and uncertainty.tif.
    """

    run: Path
    scene: Path
    done: Path

    def words(self, out, *more, scene=None, memory=LEAST):
        """The command that maps the scene in windows into a folder."""
        files = ("--out", out / "map.tif", "--uncertainty", out / "uncertainty.tif")
        limit = () if memory is None else ("--memory", memory)
        return ("map", self.run, scene or self.scene, *files, *limit, "--device", "cpu", *more)

    def same(self, out):
        """Whether a folder holds the bytes of the uninterrupted map."""
        names = ("map.tif", "map.qml", "map.tif.aux.xml", "uncertainty.tif", "uncertainty.qml")
        return {name for name in names if (out / name).read_bytes() != (self.done / name).read_bytes()} == set()


def make_large(folder):
    """Train on a small scene, and map a larger one in windows."""
    small = make_files(folder)
    command("train", small.scene, small.labels, "--out", folder / "run", *QUICK)
    made = Large(folder / "run", write_scene(folder / "large.tif", large_scene()), folder / "done")
    command(*made.words(made.done))
    return made


def large_scene(seed=3):
    """A scene of 100 x 120 pixels with the bands of the run."""
    return synthetic(rows=100, cols=120, noise=0.15, seed=seed)[0]


def read(path):
    """All bands of a raster."""
    with rasterio.open(path) as source:
        return source.read()


def tags(path):
    """What a raster says of its origin."""
    with rasterio.open(path) as source:
        return source.tags(ns="PATCHFREE")


def unfinished(out):
    """The folder in which finished windows are kept."""
    return out / ".map.tif.unfinished"


def finished_windows(out):
    """The windows that the journal of an interrupted mapping lists: stage, turn, number of the window."""
    found = set()
    for path in unfinished(out).glob("pass-*.jsonl"):
        _, stage, turn = path.stem.split("-")
        lines = path.read_text().splitlines(keepends=True)
        found |= {(int(stage), int(turn), json.loads(line)["window"]) for line in lines if line.endswith("\n")}
    return found


def wait_for(condition, process, seconds=120):
    """Wait until something is true while a process runs."""
    limit = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit, "the job does not get on"
        time.sleep(0.02)
