"""`patchfree map --memory`: the same map in one piece, in windows and on several processes, within the memory."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from unittest import mock

import numpy as np
import pytest
import rasterio
import scipy.io
import torch

from jobs import VALUES, contents, no_torn_files, start
from large import LEAST, WINDOWS, large_scene, read, tags, unfinished
from patchfree.errors import RunError
from patchfree.labels import LandCover
from patchfree.models import MODELS
from patchfree.run import Run
from patchfree.scene import Bands
from patchfree.standardise import Standardisation
from patchfree.stream import mapping, runners
from patchfree.stream.budget import whole_bytes

pytestmark = pytest.mark.usefixtures("several_threads")

# --- windows and one piece


@pytest.fixture
def windows_made(monkeypatch):
    """Rows and columns of the windows of each mapping that the test starts."""
    made, real = [], mapping.evaluate

    def evaluate(job, **rest):
        made.append((len(job.cores), job.size))
        return real(job, **rest)

    monkeypatch.setattr(mapping, "evaluate", evaluate)
    return made


def test_windows_give_the_map_of_one_piece(cli, large, tmp_path, windows_made):
    said = cli.ok(*large.words(tmp_path, memory="8GB"))
    assert windows_made == []
    assert f"Map: {tmp_path / 'map.tif'}" in said
    for name in ("map.tif", "map.qml", "map.tif.aux.xml"):
        assert (tmp_path / name).read_bytes() == (large.done / name).read_bytes(), name
    whole, parts = read(tmp_path / "uncertainty.tif"), read(large.done / "uncertainty.tif")
    np.testing.assert_allclose(parts, whole, atol=2e-5)
    assert np.isfinite(whole).all()
    assert set(np.unique(read(large.done / "map.tif"))) == set(VALUES[1:])  # not an empty map that equals another


def test_the_least_memory_makes_windows_and_leaves_only_the_files_that_were_asked_for(
    cli, large, tmp_path, windows_made
):
    answer = cli(*large.words(tmp_path))
    assert answer.code == 0
    assert windows_made == [(WINDOWS, 32)]
    assert "mapping 272/272" in answer.err
    assert large.same(tmp_path)
    names = {"map.tif", "map.qml", "map.tif.aux.xml", "uncertainty.tif", "uncertainty.qml"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_probabilities_in_windows_are_the_same_as_geotiff_and_as_zarr(cli, large, tmp_path, windows_made):
    zarr = pytest.importorskip("zarr")
    for name, memory in (("whole.tif", "8GB"), ("parts.tif", LEAST), ("parts.zarr", LEAST)):
        cli.ok(*large.words(tmp_path, "--probabilities", tmp_path / name, memory=memory))
    assert len(windows_made) == 2
    whole, parts = read(tmp_path / "whole.tif"), read(tmp_path / "parts.tif")
    np.testing.assert_allclose(parts, whole, atol=2e-5)
    np.testing.assert_allclose(parts.sum(0), 1, atol=1e-5)
    store = zarr.open_group(tmp_path / "parts.zarr", mode="r")
    np.testing.assert_array_equal(store["probability"][...], parts)
    for name in ("whole.tif", "parts.tif"):
        with rasterio.open(tmp_path / name) as source:
            assert source.descriptions == ("water", "meadow", "forest")
    assert tags(tmp_path / "parts.tif") == tags(tmp_path / "whole.tif")


@pytest.mark.parametrize("memory", [LEAST, "8GB"])
def test_statistics_of_the_run_are_used_where_they_are_asked_for_and_the_map_says_so(cli, large, tmp_path, memory):
    cli.ok(*large.words(tmp_path, "--statistics", "run", memory=memory))
    for name in ("map.tif", "uncertainty.tif"):
        assert tags(tmp_path / name)["statistics"] == "run"
        assert tags(large.done / name)["statistics"] == "scene"
        assert tags(tmp_path / name)["model_hash"] == tags(large.done / name)["model_hash"]
    assert not np.allclose(read(tmp_path / "uncertainty.tif"), read(large.done / "uncertainty.tif"), atol=1e-3)


# --- what is refused


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--statistics", "mine"), r"Got --statistics mine; need scene or run\."),
        (("--memory", "much"), r"Got --memory 'much'; need an amount of memory such as 2GB or 500MB\."),
        (("--memory", "0GB"), r"Got --memory '0GB'; need an amount"),
        (("--memory", "-2GB"), r"Got --memory '-2GB'; need an amount"),
        (("--workers", "-1"), "Invalid value for '--workers'"),
        (
            ("--workers", "2", "--scheduler", "tcp://127.0.0.1:9"),
            r"Got --workers 2 and --scheduler tcp://127\.0\.0\.1:9; give one of them",
        ),
    ],
)
def test_wrong_options_are_refused_before_any_work(cli, large, tmp_path, more, message):
    cli.refused(2, message, "map", large.run, large.scene, "--out", tmp_path / "map.tif", *more)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("more", [(), ("--workers", "3")])
def test_too_little_memory_is_told_with_the_least_that_works(cli, large, tmp_path, more, monkeypatch):
    said = cli.refused(
        2, r"Got --memory 100 MB; the smallest that works", *large.words(tmp_path, *more, memory="100MB")
    )
    least = int(said.split("is --memory ")[1].split("MB")[0])
    assert ("with 3 processes" in said) == bool(more)
    assert least > 200 * (3 if more else 1)
    cli.refused(2, f"is --memory {least}MB", *large.words(tmp_path, *more, memory=f"{least - 1}MB"))
    if more:  # three processes are not started for this: that it gets as far as the cluster is enough
        monkeypatch.setitem(sys.modules, "distributed", None)
        cli.refused(2, "needs the package distributed", *large.words(tmp_path, *more, memory=f"{least}MB"))
    else:
        cli.ok(*large.words(tmp_path, *more, memory=f"{least}MB"))
        assert large.same(tmp_path)


# --- files that cannot be read in windows


@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_a_file_that_is_read_as_a_whole_is_read_once_and_counts(cli, large, tmp_path, kind, monkeypatch):
    path, out = tmp_path / f"scene.{kind}", tmp_path / "out"
    cube = large_scene().values.transpose(1, 2, 0).astype(np.float64)  # 1.2 MB
    np.savez(path, scene=cube) if kind == "npz" else scipy.io.savemat(path, {"scene": cube})
    np.save(tmp_path / "scene.npy", cube)
    said = cli.refused(2, "the smallest that works", *large.words(out, scene=path, memory="100MB"))
    assert "The scene takes 1 MB of it in each process, since its file cannot be read in smaller pieces" in said
    assert "saved as ENVI, .npy or a GeoTIFF with INTERLEAVE=BAND it takes none" in said
    least = int(said.split("is --memory ")[1].split("MB")[0])
    also = cli.refused(2, "the smallest that works", *large.words(out, scene=tmp_path / "scene.npy", memory="100MB"))
    assert least - int(also.split("is --memory ")[1].split("MB")[0]) in (1, 2)
    assert "in each process" not in also

    calls = []
    name, home = ("_array", "arrays.Numpy") if kind == "npz" else ("_load", "matlab.Matlab")
    module, _, class_ = home.partition(".")
    owner = getattr(__import__(f"patchfree.io.{module}", fromlist=[class_]), class_)
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *rest: calls.append(1) or real(*rest))
    cli.ok(*large.words(out, scene=path, memory=f"{least}MB"))
    assert len(calls) <= 3  # to describe it, and for the first window
    mapped = (out / "map.tif").read_bytes()
    cli.ok(*large.words(out, scene=tmp_path / "scene.npy", memory=f"{least}MB"))
    assert (out / "map.tif").read_bytes() == mapped


# --- several processes


def test_processes_on_this_machine_give_the_bytes_of_one(large, tmp_path):
    process = start(*large.words(tmp_path, "--workers", 2, memory="524MB"))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert large.same(tmp_path)
    assert no_torn_files(tmp_path)
    assert not unfinished(tmp_path).exists()


def test_processes_leave_the_environment_as_it_was_and_need_no_port_that_another_job_has():
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    before = dict(os.environ)
    with socket.socket() as other, contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # somebody has it already: as good
            other.bind(("", 8787))
            other.listen()
        client = held.enter_context(runners.dask_client(None, 1))
        assert client.run(os.getenv, "OMP_NUM_THREADS").popitem()[1] == "1"
        assert dict(os.environ) == before
    assert dask.config.get("scheduler", None) is None


def test_missing_dask_is_told_with_what_to_install(cli, large, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    message = (
        r"Computing on several processes or machines needs the package distributed.*pip install 'patchfree\[dask\]'"
    )
    cli.refused(2, message, *large.words(tmp_path, "--workers", 1))
    cli.refused(2, message, *large.words(tmp_path, "--scheduler", "tcp://127.0.0.1:9"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "gopher://127.0.0.1:9"])
def test_no_scheduler_at_the_address_is_told_soon(cli, large, tmp_path, monkeypatch, address):
    assert runners.SCHEDULER_SECONDS <= 15
    monkeypatch.setattr(runners, "SCHEDULER_SECONDS", 1.0)
    (tmp_path / "map.tif").write_bytes(b"old")
    began = time.monotonic()
    cli.refused(
        2,
        f"No dask scheduler answers at {address} .*dask worker.*--workers N",
        *large.words(tmp_path, "--scheduler", address),
    )
    assert time.monotonic() - began < 10
    if importlib.util.find_spec("dask"):
        import dask

        assert dask.config.get("scheduler", None) is None
    assert (tmp_path / "map.tif").read_bytes() == b"old"


@pytest.fixture
def other_programs():
    """Addresses where something else than dask listens: it says nothing, says at once what it is, or hangs up."""
    with contextlib.ExitStack() as open_:
        addresses = []
        for says in (b"", b"SSH-2.0-OpenSSH_9.6\r\n", None):
            listener = open_.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=answer, args=(listener, says), daemon=True).start()
            addresses.append(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        yield addresses


def answer(listener, says):
    """Say something to all who call, and keep them waiting; or, with None, hang up."""
    held = []
    with contextlib.suppress(OSError):  # the test has ended
        while True:
            caller = listener.accept()[0]
            if says is None:
                caller.close()
            else:
                caller.sendall(says)
                held.append(caller)


CALL = """
import sys, time
from patchfree.errors import RunError
from patchfree.stream import runners
runners.SCHEDULER_SECONDS = 1.0
for address in sys.argv[1:]:
    began = time.monotonic()
    try:
        with runners.dask_client(address):
            print("a cluster")
    except RunError as error:
        print(time.monotonic() - began < 6, error)
"""


def test_address_without_a_scheduler_is_told_soon_and_nothing_else_is_said(other_programs):
    pytest.importorskip("distributed")
    addresses = [*other_programs, "garbage", "http://127.0.0.1:9"]
    done = subprocess.run([sys.executable, "-c", CALL, *addresses], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    for line, address in zip(done.stdout.splitlines(), addresses, strict=True):
        assert line.startswith(f"True No dask scheduler answers at {address} ("), line
        assert "()" not in line
    assert done.stdout.count("(something else is there)") == 2


def cluster(**answers):
    """A client of a cluster that answers so."""
    client = mock.MagicMock()
    client.__enter__.return_value = client
    for name, answer in answers.items():
        call = getattr(client, name)
        call.side_effect, call.return_value = (answer, None) if isinstance(answer, Exception) else (None, answer)
    return client


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"wait_for_workers": TimeoutError()},
            r"The scheduler at here has no workers\. Start some with `dask worker here`",
        ),
        (
            {"run_on_scheduler": ModuleNotFoundError("No module named 'patchfree'")},
            r"The cluster at here has no patchfree",
        ),
        (
            {"run": ModuleNotFoundError("No module named 'patchfree'")},
            r"The cluster at here has no patchfree .*Install",
        ),
        ({"run": {"a": "9.9"}}, r"The cluster at here has patchfree .*9\.9, this is .*Install the same release"),
    ],
)
def test_a_cluster_that_cannot_work_is_told(monkeypatch, answers, message):
    distributed = pytest.importorskip("distributed")
    from patchfree import __version__

    good = {"run_on_scheduler": __version__, "run": {"a": __version__}}
    monkeypatch.setattr(runners, "_answers", mock.AsyncMock())
    monkeypatch.setattr(distributed, "Client", lambda *rest, **more: cluster(**good | answers))
    with pytest.raises(RunError, match=message), runners.dask_client("here", 0):
        pass
    monkeypatch.setattr(distributed, "Client", lambda *rest, **more: cluster(**good))
    with runners.dask_client("here", 0) as client:
        assert client is not None


def workers_of(*stated, free):
    """A client of workers with these hosts, threads and limits, whose machines have so much to spare."""
    about = {
        f"tcp://{host}:{number}": {"host": host, "nthreads": threads, "memory_limit": limit}
        for number, (host, threads, limit) in enumerate(stated)
    }
    return cluster(scheduler_info={"workers": about}, run={address: free[of["host"]] for address, of in about.items()})


def test_the_smallest_worker_says_how_much_memory_there_is():
    two = workers_of(("a", 1, 0), ("b", 4, 0), free={"a": 5 * 10**9, "b": 8 * 10**9})
    assert runners.least_worker(two, None) == (4, 5 * 10**9)
    shared = workers_of(("a", 1, 0), ("b", 2, 0), ("b", 2, 0), free={"a": 5 * 10**9, "b": 8 * 10**9})
    assert runners.least_worker(shared, None) == (2, 4 * 10**9)
    limited = workers_of(("a", 1, 3 * 10**9), free={"a": 5 * 10**9})
    assert runners.least_worker(limited, None) == (1, 1_500_000_000)
    assert runners.least_worker(limited, 10**9) == (1, 10**9)


# --- memory, as the operating system counts it

SIDE, BANDS, BUDGET = 2500, 64, 600_000_000
IDLE = """
import torch, scipy.special, rasterio, patchfree.cli, patchfree.stream.mapping
torch.nn.Conv2d(2, 2, 3)(torch.zeros(1, 2, 8, 8))
"""
REPORT = """
import resource, sys
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
MAP = """
import sys
from patchfree.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0
"""


def peak(script, *words):
    """Largest resident memory in bytes of a program of its own."""
    program = [sys.executable, "-c", script + REPORT, *map(str, words)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("interleave", ["bsq", "bip"])
def test_a_scene_many_times_the_memory_is_mapped_within_it(tmp_path, interleave):
    rng = np.random.default_rng(0)
    with (tmp_path / "scene.img").open("wb") as file:
        for _ in range(BANDS * SIDE // 100):
            file.write(rng.integers(0, 3000, (100, SIDE), dtype=np.int16).tobytes())
    fields = {"samples": SIDE, "lines": SIDE, "bands": BANDS, "data type": 2, "interleave": interleave, "byte order": 0}
    fields["map info"] = "{UTM, 1, 1, 362000, 5810000, 30, 30, 33, North, WGS-84}"
    (tmp_path / "scene.hdr").write_text("ENVI\n" + "".join(f"{key} = {value}\n" for key, value in fields.items()))
    torch.manual_seed(0)
    net = MODELS["freenet"](bands=BANDS, classes=4)
    legend = tuple(LandCover(value, f"land {value}", (60 * value, 0, 0)) for value in range(1, 5))
    bands, standard = Bands(tuple(range(1, BANDS + 1)), BANDS), Standardisation((1500.0,) * BANDS, (866.0,) * BANDS)
    run = Run("freenet", net.state_dict(), bands, standard, legend, (0.0,) * 4, (), 1.0, {})
    (tmp_path / "run").mkdir()
    run.save_model(tmp_path / "run")
    assert whole_bytes(net, (SIDE, SIDE)) > 10 * BUDGET
    words = ("map", tmp_path / "run", tmp_path / "scene.hdr", "--out", tmp_path / "map.tif", "--device", "cpu")
    more = ("--memory", f"{BUDGET // 10**6}MB", "--probabilities", tmp_path / "probabilities.tif")
    assert peak(MAP, *words, *more) - peak(IDLE) < BUDGET
    assert read(tmp_path / "map.tif").shape == (1, SIDE, SIDE)
