"""A scene is mapped in one piece or window by window: the files are the same, and interrupted work is gone on with."""

import dataclasses
import os
import warnings

import numpy as np
import pytest
import rasterio
import torch

from jobs import contents
from patchfree.errors import ConfigError, RunError, SceneError
from patchfree.files import exclusive
from patchfree.labels import LandCover
from patchfree.models import MODELS
from patchfree.models._statistics import Recording
from patchfree.run import load_run
from patchfree.stream import mapping
from patchfree.stream.budget import whole_bytes
from patchfree.stream.mapping import MapFiles, map_scene
from windowed import BANDS, LEGEND, Small, saved, untrained, values_of

pytestmark = pytest.mark.usefixtures("several_threads")

SHAPE = (37, 45)


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    monkeypatch.setitem(MODELS, "small", Small)


@pytest.fixture
def run():
    return untrained("small")


@pytest.fixture
def with_statistics(run):
    """The run with statistics of another scene than the one that is mapped."""
    network = Small(bands=BANDS, classes=len(LEGEND))
    network.load_state_dict(run.weights)
    recording = Recording()
    with torch.no_grad():
        network(torch.randn(1, BANDS, 24, 24, generator=torch.Generator().manual_seed(3)), None, recording)
    return dataclasses.replace(run, statistics=recording.values)


@pytest.fixture
def scene(tmp_path):
    missing = np.random.default_rng(2).random(SHAPE) < 0.1
    missing[:16, :16] = True  # a window without data
    (tmp_path / "in").mkdir()
    return saved(tmp_path / "in" / "scene.npy", values_of(*SHAPE, missing=missing))


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of 16 pixels, two at a time, however small the scene."""
    monkeypatch.setattr(mapping, "whole_bytes", lambda model, shape: 10**18)
    monkeypatch.setattr(mapping, "windows_at_once", lambda model, memory, most, **shared: (min(2, most), 16))


def mapped(run, scene, folder, **more):
    """All files, and how they were made."""
    files = MapFiles(folder / "map.tif", folder / "p.tif", folder / "u.tif")
    return files, map_scene(run, scene, files, device="cpu", **more)


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read(), file.tags(ns="PATCHFREE"), file.profile, file.descriptions


# --- the same files


@pytest.mark.parametrize("statistics", ["scene", "run"])
def test_windows_give_the_files_of_the_scene_in_one_piece(with_statistics, scene, tmp_path, monkeypatch, statistics):
    whole, facts = mapped(with_statistics, scene, tmp_path / "whole", statistics=statistics)
    assert facts == {"windows": 1, "window_px": 45, "share_waiting": None}
    monkeypatch.setattr(mapping, "whole_bytes", lambda model, shape: 10**18)
    monkeypatch.setattr(mapping, "windows_at_once", lambda model, memory, most, **shared: (1, 16))
    parts, facts = mapped(with_statistics, scene, tmp_path / "parts", statistics=statistics)
    assert (facts["windows"], facts["window_px"]) == (9, 16)
    assert 0 <= facts["share_waiting"] <= 1
    assert contents(tmp_path / "parts").keys() == contents(tmp_path / "whole").keys()
    for name in ("probabilities", "uncertainty"):
        (a, *rest), (b, *expected) = read(getattr(parts, name)), read(getattr(whole, name))
        np.testing.assert_allclose(a, b, atol=1e-5 if name == "probabilities" else 1e-4)
        assert str(rest) == str(expected)
    (a, *rest), (b, *expected) = read(parts.out), read(whole.out)
    second, first = np.sort(read(whole.probabilities)[0], 0)[-2:]
    tied = first - second < 2e-5
    assert tied.mean() < 0.01
    np.testing.assert_array_equal(a[0][~tied], b[0][~tied])
    assert str(rest) == str(expected)
    assert rest[0]["statistics"] == statistics
    assert rest[0]["model_hash"] == with_statistics.model_hash


def test_statistics_of_the_run_and_of_the_scene_give_other_maps(with_statistics, scene, tmp_path, small_windows):
    one, other = (mapped(with_statistics, scene, tmp_path / kind, statistics=kind)[0] for kind in ("scene", "run"))
    assert not np.allclose(read(one.probabilities)[0], read(other.probabilities)[0], atol=1e-3, equal_nan=True)


def test_the_memory_decides_whether_there_are_windows(run, tmp_path):
    scene = saved(tmp_path / "scene.npy", values_of(70, 90))
    with torch.device("meta"):
        needed = whole_bytes(Small(bands=BANDS, classes=3), (70, 90))
    assert map_scene(run, scene, tmp_path / "a.tif", memory=needed, device="cpu")["windows"] == 1
    assert map_scene(run, scene, tmp_path / "b.tif", memory=needed - 1, device="cpu") == {
        "windows": 9, "window_px": 32, "share_waiting": pytest.approx(0.5, abs=0.5),
    }  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], read(tmp_path / "b.tif")[0])


def test_too_little_memory_is_refused_with_the_smallest_that_works(run, tmp_path):
    scene = saved(tmp_path / "scene.npy", values_of(70, 90))
    with pytest.raises(ConfigError, match=r"Got --memory 1 MB; the smallest that works .* --memory \d+MB") as refused:
        map_scene(run, scene, tmp_path / "map.tif", memory=1_000_000, device="cpu")
    smallest = int(str(refused.value).rsplit(" ", 1)[1].removesuffix("MB.")) * 10**6
    map_scene(run, scene, tmp_path / "map.tif", memory=smallest, device="cpu")
    assert read(tmp_path / "map.tif")[0].all()


def test_only_the_map_is_written_if_nothing_else_is_asked_for(run, scene, tmp_path, small_windows):
    kept = set()

    def look(progress):
        kept.update(path.name for path in (tmp_path / "out").rglob("*.out"))

    map_scene(run, scene.path, tmp_path / "out" / "map.tif", device="cpu", progress=look)
    assert kept == {"map.out"}
    assert set(contents(tmp_path / "out")) == {"map.tif", "map.tif.aux.xml", "map.qml"}


def test_class_values_above_255_are_kept(run, scene, tmp_path, small_windows):
    legend = (*LEGEND[:2], LandCover(300, "sand", (240, 220, 90)))
    files, _ = mapped(dataclasses.replace(run, legend=legend), scene, tmp_path / "wide")
    plain, _ = mapped(run, scene, tmp_path / "narrow")
    wide, narrow = read(files.out), read(plain.out)
    assert (wide[2]["dtype"], narrow[2]["dtype"]) == ("uint16", "uint8")
    assert (wide[0] == 300).any()
    np.testing.assert_array_equal(np.where(wide[0] == 300, 14, wide[0]), narrow[0])


def test_probabilities_can_be_a_zarr_store(run, scene, tmp_path, small_windows):
    zarr = pytest.importorskip("zarr")
    map_scene(run, scene, MapFiles(tmp_path / "a.tif", tmp_path / "p.zarr"), device="cpu")
    map_scene(run, scene, MapFiles(tmp_path / "b.tif", tmp_path / "p.tif"), device="cpu")
    store = zarr.open_group(tmp_path / "p.zarr", mode="r")
    np.testing.assert_array_equal(store["probability"][:], read(tmp_path / "p.tif")[0])
    assert store.attrs["statistics"] == "scene"
    assert np.isnan(store["probability"][:, :16, :16]).all()


def test_two_outputs_in_one_file_are_refused_however_it_is_spelt(tmp_path):
    one, link = tmp_path / "map.tif", tmp_path / "link.tif"
    link.symlink_to(one)
    for other in (one, tmp_path / "sub" / ".." / "map.tif", link):
        with pytest.raises(ConfigError, match="for --probabilities and for --out; one would replace the other"):
            MapFiles(one, other)
    with pytest.raises(ConfigError, match=r"p\.tif for --uncertainty and for --probabilities"):
        MapFiles(one, tmp_path / "p.tif", tmp_path / "p.tif")
    assert set(MapFiles(one, uncertainty=tmp_path / "u.tif").wanted) == {"map", "uncertainty"}


# --- interruptions


def stop_after(windows):
    """Interrupt when so many windows are done; `.told` is what was told."""

    def tell(progress):
        tell.told.append(progress.done)
        if progress.done >= windows:
            raise KeyboardInterrupt(f"after {windows}")

    tell.told = []
    return tell


def interrupted(run, scene, folder, windows=40, **more):
    with pytest.raises(KeyboardInterrupt, match=f"after {windows}"):
        mapped(run, scene, folder, progress=stop_after(windows), **more)
    (left,) = [p for p in folder.iterdir() if p.is_dir()]
    assert left.name == ".map.tif.unfinished"
    assert contents(folder).keys() >= {".map.tif.unfinished/request.json", ".map.tif.unfinished/pass-0-0.jsonl"}
    assert not (folder / "map.tif").exists()
    return left


def went_on_at(run, scene, folder, **more):
    """The number of the first window that is told, and the files that were written."""
    tell = stop_after(10**9)
    files, _ = mapped(run, scene, folder, progress=tell, **more)
    assert not (folder / ".map.tif.unfinished").exists()
    return tell.told[0], files


def test_the_same_call_goes_on_and_gives_the_same_files(run, scene, tmp_path, small_windows):
    mapped(run, scene, tmp_path / "straight")
    interrupted(run, scene, tmp_path / "cut")
    first, _ = went_on_at(run, scene, tmp_path / "cut")
    assert first == 41
    assert contents(tmp_path / "cut") == contents(tmp_path / "straight")


def test_a_nodata_value_of_nan_is_no_other_request(run, scene, tmp_path, small_windows):
    scene = dataclasses.replace(scene, nodata=float("nan"))
    interrupted(run, scene, tmp_path / "cut")
    assert went_on_at(run, scene, tmp_path / "cut")[0] == 41


def another_scene(run, scene, more):
    np.save(scene.path, values_of(*SHAPE, seed=9).transpose(1, 2, 0))
    stamp = os.stat(scene.path).st_mtime_ns + 1_000_000  # noqa: PTH116 - the path is a string
    os.utime(scene.path, ns=(stamp, stamp))
    return run, scene, more


CHANGES = {
    "weights": lambda run, scene, more: (
        dataclasses.replace(run, weights={name: value * 1.01 for name, value in run.weights.items()}), scene, more
    ),
    "offsets": lambda run, scene, more: (dataclasses.replace(run, offsets=(2.0, 0.0, 0.0)), scene, more),
    "temperature": lambda run, scene, more: (dataclasses.replace(run, temperature=9.0), scene, more),
    "classes without training pixels": lambda run, scene, more: (dataclasses.replace(run, untrained=(0,)), scene, more),
    "class values": lambda run, scene, more: (
        dataclasses.replace(run, legend=tuple(dataclasses.replace(e, value=e.value + 1) for e in run.legend)), scene, more
    ),
    "statistics": lambda run, scene, more: (run, scene, more | {"statistics": "run"}),
    "way of reading": lambda run, scene, more: (run, dataclasses.replace(scene, nodata=1.0), more),
    "scene": another_scene,
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_another_request_throws_away_what_is_unfinished(with_statistics, scene, tmp_path, small_windows, what):
    interrupted(with_statistics, scene, tmp_path / "cut", windows=12)
    run, scene, more = CHANGES[what](with_statistics, scene, {})
    assert went_on_at(run, scene, tmp_path / "cut", **more)[0] == 1
    if what == "scene":
        mapped(run, scene, tmp_path / "straight", **more)
        assert contents(tmp_path / "cut") == contents(tmp_path / "straight")


def test_windows_of_another_size_throw_away_what_is_unfinished(run, scene, tmp_path, small_windows, monkeypatch):
    interrupted(run, scene, tmp_path / "cut", windows=12)
    monkeypatch.setattr(mapping, "windows_at_once", lambda model, memory, most, **shared: (1, 24))
    assert went_on_at(run, scene, tmp_path / "cut")[0] == 1


def test_other_outputs_throw_away_what_is_unfinished(run, scene, tmp_path, small_windows):
    interrupted(run, scene, tmp_path / "cut", windows=12)
    tell = stop_after(10**9)
    map_scene(run, scene, tmp_path / "cut" / "map.tif", device="cpu", progress=tell)
    assert tell.told[0] == 1


def test_another_process_at_work_on_the_same_map_is_refused(run, scene, tmp_path, small_windows):
    left = interrupted(run, scene, tmp_path / "cut")
    before = contents(left)
    with exclusive(left), pytest.raises(RunError, match=r"Another patchfree is at work in .*\.map\.tif\.unfinished"):
        mapped(run, scene, tmp_path / "cut")
    assert contents(left) == before
    assert went_on_at(run, scene, tmp_path / "cut")[0] == 41


# --- refusals

ways = pytest.mark.parametrize("way", ["one piece", "windows"])


@pytest.fixture
def in_this_way(way, request):
    if way == "windows":
        request.getfixturevalue("small_windows")


@ways
def test_a_scene_in_other_units_is_refused(run, tmp_path, in_this_way):
    scene = saved(tmp_path / "scene.npy", values_of(*SHAPE) * 1000)
    with pytest.raises(SceneError, match=r"scene\.npy has a mean value of .* probably in other units"):
        mapped(run, scene, tmp_path / "out")
    assert contents(tmp_path).keys() == {"scene.npy"}


@ways
def test_a_scene_without_data_is_refused_and_nothing_is_left(run, tmp_path, in_this_way):
    scene = saved(tmp_path / "scene.npy", values_of(*SHAPE, missing=np.ones(SHAPE, bool)))
    with pytest.raises(SceneError, match=r"scene\.npy: no pixel holds data in all 7 bands .*patchfree info"):
        mapped(run, scene, tmp_path / "out")
    assert contents(tmp_path).keys() == {"scene.npy"}


@ways
def test_scores_that_are_not_finite_are_refused(run, scene, tmp_path, in_this_way):
    run.weights["head.bias"][1] = torch.inf
    with pytest.raises(SceneError, match="scores are not finite on this scene"):
        mapped(run, scene, tmp_path / "out")
    assert not (tmp_path / "out" / "map.tif").exists()


@ways
def test_a_run_without_statistics_of_its_own_is_refused_with_the_advice(run, scene, tmp_path, in_this_way):
    run.save_model(tmp_path / "run")
    (tmp_path / "run" / "statistics.safetensors").unlink()
    with pytest.raises(
        RunError, match=r"holds no statistics of its training scene .*Train it again, or .*--statistics scene"
    ):
        mapped(load_run(tmp_path / "run"), scene, tmp_path / "out", statistics="run")
    assert not (tmp_path / "out").exists()
    mapped(load_run(tmp_path / "run"), scene, tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"workers": -1}, "Got workers=-1; need 0 or more"),
        ({"workers": 2, "scheduler": "tcp://here:1"}, "Got --workers 2 and --scheduler tcp://here:1; give one of them"),
    ],
)
def test_workers_here_and_elsewhere_are_not_both(run, scene, tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        mapped(run, scene, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()
