"""Scenes and labels for every test: small, synthetic, seeded; and the real ones where they are at hand."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from patchfree.labels import Labels, make_labels
from patchfree.scene import Bands, Grid, Scene, make_scene

if TYPE_CHECKING:
    from jobs import CommandLine, Files
    from large import Large

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does; before torch is loaded

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
UTM33 = "EPSG:32633"


def pytest_collection_finish() -> None:
    """Share the processors among the processes of the tests: with more threads than there are, they wait for each other.

    And what is loaded by now stays loaded: to look through it for garbage takes half a second, and every command does so.
    """
    if "torch" in sys.modules:
        torch, share = sys.modules["torch"], int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        torch.set_num_threads(max(1, torch.get_num_threads() // share))
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Otherwise a library counts at the end what is still there, and tells of leaks."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def leaves_the_process_as_it_was() -> Iterator[None]:
    """A test that changed these would change the results of those after it, in whatever order they run."""
    before = _threads()
    yield
    after = _threads()
    assert {name: after[name] for name in after if name in before or name != "torch"} == before


def _threads() -> dict[str, str | int]:
    """Threads that new processes start with, and those of torch, where something loaded it."""
    found: dict[str, str | int] = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
    return found | ({"torch": sys.modules["torch"].get_num_threads()} if "torch" in sys.modules else {})


@pytest.fixture(scope="module")
def several_threads() -> Iterator[None]:
    """At least two threads, as users have them, for what they could get wrong."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cells_are_forked() -> None:
    """Python has one fork server: where dask's workers were forked in this process, each cell would load torch anew, for seconds."""
    from patchfree import forks
    from patchfree.benchmark.cell import CELLS

    if forks._serving not in ([], [CELLS]):
        from multiprocessing import forkserver  # there is none on Windows

        forkserver._forkserver._stop()  # as Python's own tests do
        forks._serving.clear()


@pytest.fixture
def shared_data() -> Path:
    """Folder of real scenes; the test is skipped where it is not present."""
    if not SHARED.is_dir():
        pytest.skip(f"real scenes not found at {SHARED}: they are not part of the project")
    return SHARED


@pytest.fixture
def h5py_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many numbers each read of an HDF5 array gives."""
    import h5py

    sizes: list[int] = []
    plain = h5py.Dataset.__getitem__

    def spy(self: h5py.Dataset, *args: Any, **keys: Any) -> Any:
        values = plain(self, *args, **keys)
        sizes.append(np.size(values))
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    return sizes


def synthetic(
    *, rows: int = 40, cols: int = 48, bands: int = 12, classes: int = 3, noise: float = 0.35, seed: int = 0
) -> tuple[Scene, Labels]:
    """A scene of Voronoi fields, each with its class's spectrum, a smooth gain and noise; every pixel is labelled."""
    rng = np.random.default_rng(seed)
    sites = rng.uniform((0, 0), (rows, cols), (8 * classes, 2))
    of_site = np.arange(len(sites)) % classes
    r, c = np.mgrid[:rows, :cols]
    nearest = ((r[..., None] - sites[:, 0]) ** 2 + (c[..., None] - sites[:, 1]) ** 2).argmin(-1)
    truth = of_site[nearest] + 1
    spectra = rng.normal(1.0, 0.5, (classes, bands)).astype(np.float32)
    gain = 1 + 0.1 * np.sin(r / rows * 3) * np.cos(c / cols * 2)
    values = (spectra[truth - 1] * gain[..., None] + noise * rng.normal(size=(rows, cols, bands))).transpose(2, 0, 1)
    scene = make_scene(
        np.ascontiguousarray(values, np.float32),
        missing=np.zeros(values.shape, bool),
        bands=Bands(tuple(range(1, bands + 1)), bands, tuple(np.linspace(450.0, 2400.0, bands).round(2).tolist())),
        grid=Grid(rows, cols),
        name="synthetic",
    )
    return scene, make_labels(truth, names={i: f"land {i}" for i in range(1, classes + 1)})


@pytest.fixture
def scene_and_labels() -> tuple[Scene, Labels]:
    """The synthetic scene with all pixels labelled."""
    return synthetic()


@pytest.fixture
def scene(scene_and_labels: tuple[Scene, Labels]) -> Scene:
    """The synthetic scene."""
    return scene_and_labels[0]


@pytest.fixture
def holed(scene: Scene) -> Scene:
    """The synthetic scene with a hole of nodata, in other units."""
    missing = np.zeros(scene.values.shape, bool)
    missing[4, 10:15, 20:30] = True
    return make_scene(scene.values * 3 + 7, missing=missing, bands=scene.bands, grid=scene.grid, name="holed")


@pytest.fixture
def labels(scene_and_labels: tuple[Scene, Labels]) -> Labels:
    """Its labels."""
    return scene_and_labels[1]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line in this process."""
    from jobs import CommandLine

    return CommandLine(capsys, monkeypatch)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A georeferenced scene and its labels as files; tests only read them."""
    from jobs import make_files

    return make_files(tmp_path_factory.mktemp("input"))


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Large:
    """A scene that was mapped in windows; tests only read it."""
    from large import make_large

    return make_large(tmp_path_factory.mktemp("large"))
