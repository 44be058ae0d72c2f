"""A map in windows that is interrupted, killed, or out of disk goes on where it was, and ends with the same bytes."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

import patchfree
from conftest import UTM33
from jobs import PLACE, contents, full_disk, no_torn_files, plain, start, write_scene
from large import PASSES, WINDOWS, finished_windows, large_scene, unfinished, wait_for
from patchfree.files import exclusive
from patchfree.stream import mapping
from patchfree.stream.journal import Journal
from patchfree.stream.maps import MapFile

pytestmark = pytest.mark.usefixtures("several_threads")

TURNS = {0: 4, 1: 3, 2: 3, 3: 3, 4: 1, 5: 1, 7: 1, 8: 1}
"""Passes of each stage: one for each statistic, and one for its maps; the seventh stage is computed with the eighth."""
ALL = {(stage, turn, window) for stage, turns in TURNS.items() for turn in range(turns) for window in range(WINDOWS)}


@pytest.fixture
def begin():
    """The command line in processes of their own, which end with the test."""
    started = []

    def in_process(*words, **rest):
        started.append(start(*words, **rest))
        return started[-1]

    yield in_process
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def added(monkeypatch):
    """The windows that commands in this process finish."""
    found, real = [], Journal.add

    def add(self, stage, turn, window, part):
        real(self, stage, turn, window, part)
        found.append((stage, turn, window))

    monkeypatch.setattr(Journal, "add", add)
    return found


def stop_after(monkeypatch, count, error):
    """Raise an error in this process when so many windows are finished."""
    real, calls = Journal.add, []

    def add(self, *rest):
        real(self, *rest)
        calls.append(1)
        if len(calls) == count:
            raise error

    monkeypatch.setattr(Journal, "add", add)


# --- killed and interrupted processes

SLOW = """
import time
from pathlib import Path
from patchfree.stream.evaluate import Work
real, calls = Work.compute, []
def compute(self, *rest):
    calls.append(1)
    if len(calls) > {count}:
        Path({mark!r}).touch()
        time.sleep(0.3)  # each of the windows that are left: there is time to interrupt it
    return real(self, *rest)
Work.compute = compute
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_mapping_goes_on_where_it_was_with_the_same_bytes(cli, begin, large, tmp_path, added, how):
    out, mark = tmp_path / "out", tmp_path / "mark"
    process = begin(*large.words(out), before=SLOW.format(count=150, mark=str(mark)))
    wait_for(mark.exists, process)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (1 if how == signal.SIGINT else -signal.SIGKILL)
    if how == signal.SIGINT:
        assert "Error: Interrupted. Windows that are finished are kept: run the same command again to go on." in said
    assert "Traceback" not in said
    assert {path.name for path in out.iterdir()} == {".map.tif.unfinished"}
    before = finished_windows(out)
    assert 145 <= len(before) <= 155
    cli.ok(*large.words(out))
    assert set(added) == ALL - before
    assert len(added) == len(set(added))
    assert len(ALL) == WINDOWS * PASSES
    assert large.same(out)
    assert not unfinished(out).exists()


KILL_WHILE_WRITING = """
import patchfree.files
real = os.fsync
def fsync(file):
    if f"/.map.tif.{os.getpid()}.part" in os.readlink(f"/proc/self/fd/{file}"):
        os.kill(os.getpid(), signal.SIGKILL)
    real(file)
os.fsync = fsync
"""


def test_job_killed_while_it_writes_the_map_only_writes_it_again(cli, begin, large, tmp_path, added):
    (tmp_path / "map.tif").write_bytes(b"old")
    process = begin(*large.words(tmp_path), before=KILL_WHILE_WRITING)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "map.tif").read_bytes() == b"old"
    assert not no_torn_files(tmp_path)  # it was killed in the middle of the file
    assert finished_windows(tmp_path) == ALL
    cli.ok(*large.words(tmp_path))
    assert added == []
    assert large.same(tmp_path)
    assert no_torn_files(tmp_path)
    assert not unfinished(tmp_path).exists()


@pytest.mark.parametrize("count", [1, WINDOWS, 100, WINDOWS * PASSES])
def test_interruption_between_windows_loses_none(cli, large, tmp_path, count):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, count, KeyboardInterrupt())
        assert cli(*large.words(tmp_path)).code == 1
    assert len(finished_windows(tmp_path)) == count
    left = WINDOWS * PASSES - count
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, left + 1, AssertionError("more windows than were left"))
        cli.ok(*large.words(tmp_path))
    assert large.same(tmp_path)


def test_line_of_the_journal_that_was_cut_off_does_not_count(cli, large, tmp_path, added):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 100, KeyboardInterrupt())
        cli(*large.words(tmp_path))
    (last,) = unfinished(tmp_path).glob("pass-1-2.jsonl")
    last.write_bytes(last.read_bytes()[:-10])
    before = finished_windows(tmp_path)
    assert len(before) == 99
    with pytest.MonkeyPatch.context() as patch:  # what is written after it stands on a line of its own
        stop_after(patch, 1, KeyboardInterrupt())
        assert cli(*large.words(tmp_path)).code == 1
    before = finished_windows(tmp_path)
    assert len(before) == 100
    added.clear()
    cli.ok(*large.words(tmp_path))
    assert set(added) == ALL - before
    assert large.same(tmp_path)


# --- a full disk


def fill_up(monkeypatch, owner, name, size, when):
    """Let the disk be full for files beyond a size from a certain call on."""
    real, calls = getattr(owner, name), []

    def call(*rest, **more):
        calls.append(1)
        if when(len(calls), rest):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return real(*rest, **more)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(
    ("where", "name", "finished"),
    [
        ((mapping, "evaluate", 500_000, lambda *_: True), "down1.map", 0),
        # 16 times the valid pixels are written, then the first feature map
        ((MapFile, "write", 300_000, lambda count, _: count == 24), "down1.map", 3 * WINDOWS),
        ((Journal, "add", 1_000, lambda _, rest: rest[1:4] == (0, 1, 3)), "pass-0-1.jsonl", WINDOWS),
        ((mapping, "write_files", 10_000, lambda *_: True), "uncertainty.tif", WINDOWS * PASSES),
    ],
    ids=["from the start", "feature maps", "journal", "output"],
)
def test_full_disk_is_told_the_old_map_stays_and_the_next_start_goes_on(
    cli, large, tmp_path, added, where, name, finished
):
    (tmp_path / "map.tif").write_bytes(b"old")
    owner, attribute, size, when = where
    with pytest.MonkeyPatch.context() as patch, full_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[0]):
        fill_up(patch, owner, attribute, size, when)
        answer = cli(*large.words(tmp_path))
    assert answer.code == 1, answer.err
    assert f"{name} could not be written: " in answer.err
    assert "Free some space" in answer.err
    assert "run the same command again" in answer.err
    assert "Traceback" not in answer.err
    assert (tmp_path / "map.tif").read_bytes() == b"old"
    assert no_torn_files(tmp_path)
    kept = finished_windows(tmp_path)
    assert finished <= len(kept) < finished + WINDOWS
    added.clear()
    cli.ok(*large.words(tmp_path))
    assert set(added) == ALL - kept
    assert large.same(tmp_path)


# --- a scene that is damaged, or changes


def damaged_in_the_middle(path):
    """A tiled GeoTIFF of 64 x 512 pixels, with one tile broken that no look at a few places meets."""
    scene = large_scene()
    values = np.concatenate([scene.values[:, :64]] * 5, 2)[:, :, :512]
    profile = {"driver": "GTiff", "height": 64, "width": 512, "count": len(values), "dtype": "float32"}
    profile |= {
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "compress": "deflate",
        "interleave": "pixel",
        "crs": UTM33,
        "transform": PLACE,
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(values)
        for number, value in enumerate(scene.bands.wavelengths_nm, 1):
            target.update_tags(number, wavelength=str(value), wavelength_units="Nanometers")
    whole = path.read_bytes()
    with rasterio.open(path) as source:
        at, size = (int(source.get_tag_item(f"BLOCK_{part}_9_1", "TIFF", bidx=1)) for part in ("OFFSET", "SIZE"))
    path.write_bytes(whole[:at] + b"\xff" * size + whole[at + size :])
    return whole


def test_damage_that_a_late_window_meets_names_the_file_and_leaves_the_old_map(cli, large, tmp_path, added):
    path, out = tmp_path / "damaged.tif", tmp_path / "out"
    whole = damaged_in_the_middle(path)
    out.mkdir()
    (out / "map.tif").write_bytes(b"old")
    cli.refused(2, r"damaged\.tif: reading the pixels failed .* copy it again", *large.words(out, scene=path))
    assert len(added) > 2  # other windows were computed before
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == {"map.tif": b"old"}
    path.write_bytes(whole)
    cli.ok(*large.words(out, scene=path))
    cli.ok(*large.words(tmp_path / "afresh", scene=path))
    assert contents(out) == contents(tmp_path / "afresh")


def test_scene_that_is_cut_short_meanwhile_names_the_file_and_leaves_the_old_map(cli, large, tmp_path, monkeypatch):
    path, out = tmp_path / "scene.npy", tmp_path / "out"
    np.save(path, large_scene().values.transpose(1, 2, 0))
    out.mkdir()
    (out / "map.tif").write_bytes(b"old")
    real = Journal.add

    def add(self, stage, turn, window, part):
        real(self, stage, turn, window, part)
        if (stage, turn, window) == (0, 1, 2):
            os.truncate(path, path.stat().st_size // 2)

    monkeypatch.setattr(Journal, "add", add)
    cli.refused(2, r"scene\.npy (is truncated|cannot be read)", *large.words(out, scene=path))
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == {"map.tif": b"old"}


@pytest.mark.parametrize("name", ["scene.tif", "scene [1].tif"])
def test_work_on_a_scene_that_has_changed_is_not_used(cli, large, tmp_path, added, name):
    path, out = tmp_path / name, tmp_path / "out"
    write_scene(path, large_scene())
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 100, KeyboardInterrupt())
        cli(*large.words(out, scene=path))
    added.clear()
    write_scene(path, large_scene(seed=4))
    cli.ok(*large.words(out, scene=path))
    assert set(added) == ALL
    cli.ok(*large.words(tmp_path / "afresh", scene=path))
    assert contents(out) == contents(tmp_path / "afresh")
    assert not large.same(out)


@pytest.mark.parametrize(
    "more",
    [("--statistics", "run"), ("--nodata", "0"), ("--drop-bands", ""), ("--mask", "none"), ("--memory", "320MB")],
)
def test_work_of_another_request_is_not_used(cli, large, tmp_path, added, more):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 50, KeyboardInterrupt())
        cli(*large.words(tmp_path))
    added.clear()
    cli.ok(*large.words(tmp_path, *more))
    if more[0] == "--drop-bands":
        assert len(added) == WINDOWS * PASSES - 50  # the same request in other words
    elif more[0] != "--memory":
        assert (0, 0, 0) in added


def test_old_work_that_was_half_removed_is_not_used(cli, large, tmp_path, added, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 100, KeyboardInterrupt())
        cli(*large.words(tmp_path))
    real, removed = Path.unlink, []

    def unlink(self, **rest):
        if self.parent == unfinished(tmp_path) and not self.name.startswith(".probe"):
            if len(removed) == 3:
                raise KeyboardInterrupt
            removed.append(self.name)
        real(self, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        assert cli(*large.words(tmp_path, "--statistics", "run")).code == 1
    assert len(removed) == 3
    added.clear()
    cli.ok(*large.words(tmp_path))
    assert set(added) == ALL
    assert large.same(tmp_path)


def test_two_commands_do_not_write_the_same_map(cli, large, tmp_path):
    with exclusive(unfinished(tmp_path)):
        cli.refused(2, r"Another patchfree is at work in .*unfinished", *large.words(tmp_path))
    assert not (tmp_path / "map.tif").exists()
    cli.ok(*large.words(tmp_path))


# --- workers that are killed

HOLD = """
import os, time
from pathlib import Path
from patchfree.stream.evaluate import Work
here, calls = Path({here!r}), []
def compute(self, *rest, real=Work.compute):
    calls.append(1)
    if len(calls) > {count} and (here / "hold").exists():
        (here / str(os.getpid())).touch()
        while (here / "hold").exists():
            time.sleep(0.05)
    return real(self, *rest)
if Work.compute.__module__ == Work.__module__:  # dask may load this file twice
    Work.compute = compute
"""


@pytest.fixture
def cluster(tmp_path):
    """Starts programs of dask, which find the package on PYTHONPATH; ends them."""
    pytest.importorskip("distributed")
    started = []
    paths = [str(Path(patchfree.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    around = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    def begin(*words):
        log = (tmp_path / f"log-{len(started)}").open("w")
        program = [sys.executable, "-c", "from dask.__main__ import main; main()", *map(str, words)]
        started.append(subprocess.Popen(program, stdout=log, stderr=log, env=around))
        log.close()
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_map_goes_on_when_a_process_of_this_machine_is_killed(begin, large, tmp_path):
    psutil = pytest.importorskip("psutil")  # distributed needs it
    pytest.importorskip("distributed")
    process = begin(*large.words(tmp_path / "out", "--workers", 2, memory="524MB"))
    wait_for(lambda: len(finished_windows(tmp_path / "out")) > 5, process)
    others = psutil.Process(process.pid).children(recursive=True)
    workers = [p for p in others if "forkserver" in " ".join(p.cmdline()) and p.parent().pid != process.pid]
    assert len(workers) == 2
    workers[0].kill()
    assert len(finished_windows(tmp_path / "out")) < WINDOWS * PASSES
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert large.same(tmp_path / "out")
    assert not unfinished(tmp_path / "out").exists()


def test_disk_that_is_full_for_the_processes_is_told_without_their_logs(begin, large, tmp_path):
    pytest.importorskip("distributed")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))"
    process = begin(*large.words(tmp_path, "--workers", 1), before=limit)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert re.search(r"down1\.map could not be written: .*Free some space", said), said
    assert not re.search(r"Traceback|distributed\.|Compute Failed", said), said


@pytest.mark.slow
def test_threads_of_a_worker_share_the_memory_and_give_the_same_bytes(cli, begin, large, tmp_path, cluster):
    about, out = tmp_path / "scheduler.json", tmp_path / "out"
    scheduler = cluster("scheduler", "--port", 0, "--no-dashboard", "--scheduler-file", about)
    cluster("worker", "--scheduler-file", about, "--no-dashboard", "--no-nanny", "--nthreads", 3)
    wait_for(about.exists, scheduler)
    address = json.loads(about.read_text())["address"]
    said = cli.refused(2, "workers of 3 threads is --memory", *large.words(out, "--scheduler", address))
    assert not out.exists() or contents(out) == {}
    least = said.split("is --memory ")[1].split("MB")[0]
    process = begin(*large.words(out, "--scheduler", address, memory=f"{least}MB"))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert large.same(out)
    afresh = begin(*large.words(tmp_path / "unstated", "--scheduler", address, memory=None))
    _, said = afresh.communicate(timeout=120)  # as much as the worker has to spare
    assert afresh.returncode == 0, said
    assert (tmp_path / "unstated" / "map.tif").read_bytes() == (out / "map.tif").read_bytes()


@pytest.fixture
def held(cluster, tmp_path):
    """A scheduler and its worker, which stops at its 41st window while the file `hold` is there: address and processes."""
    about, preload = tmp_path / "scheduler.json", tmp_path / "preload.py"
    (tmp_path / "hold").touch()
    preload.write_text(HOLD.format(here=str(tmp_path), count=40))
    scheduler = cluster("scheduler", "--port", 0, "--no-dashboard", "--scheduler-file", about)

    def more():
        words = ("--no-dashboard", "--no-nanny", "--nthreads", 1, "--preload", preload)
        return cluster("worker", "--scheduler-file", about, *words)

    first = more()
    wait_for(about.exists, scheduler)
    return SimpleNamespace(
        address=json.loads(about.read_text())["address"],
        scheduler=scheduler,
        worker=first,
        more=more,
        reached=(tmp_path / str(first.pid)).exists,
        go_on=(tmp_path / "hold").unlink,
    )


@pytest.mark.slow
def test_map_goes_on_when_every_worker_is_killed_and_another_comes(begin, large, tmp_path, held):
    process = begin(*large.words(tmp_path / "out", "--scheduler", held.address))
    wait_for(held.reached, process)
    assert len(finished_windows(tmp_path / "out")) > 30
    held.worker.kill()
    held.worker.wait()
    second = held.more()
    held.go_on()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert second.poll() is None
    assert large.same(tmp_path / "out")
    assert not unfinished(tmp_path / "out").exists()


LOSE = """
from patchfree.stream.journal import Journal
calls = []
def add(self, *rest, real=Journal.add):
    real(self, *rest)
    calls.append(1)
    if len(calls) == {count}:
        os.kill({pid}, {how})
Journal.add = add
"""


@pytest.mark.parametrize(
    ("how", "count"),
    [
        pytest.param(signal.SIGTERM, 20, id="between two windows", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, 2 * WINDOWS, id="between two passes", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, None, id="while a window is computed"),
    ],
)
def test_lost_scheduler_is_told_and_the_windows_are_kept(begin, large, tmp_path, held, how, count):
    lose = LOSE.format(count=count, pid=held.scheduler.pid, how=int(how))
    process = begin(*large.words(tmp_path / "out", "--scheduler", held.address), before=lose if count else "")
    if count is None:
        wait_for(held.reached, process)
        held.scheduler.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert re.search(r"The cluster gave up .*its scheduler was stopped.*the finished windows are kept", plain(said)), (
        said
    )
    assert not re.search(r"Traceback|distributed\.|should not happen", said), said
    assert len(finished_windows(tmp_path / "out")) >= (count or 30)
