"""A scene on disk: a window of it is a part of the whole, and it is known by its files."""

import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import rasterio.shutil
import scipy.io
from fixtures import no_georeference_is_fine, random_cube, write_envi, write_tif

from patchfree.errors import BandMismatch, SceneError
from patchfree.io import open_scene
from patchfree.io.emit import Emit
from patchfree.io.hdf5 import Hdf5
from patchfree.io.source import SceneSource
from patchfree.scene import Bands
from patchfree.windows import cover
from products_hdf import RFL
from products_xml import write_enmap

SHAPE = (21, 30)
CUBE = random_cube(6, *SHAPE, "int16", low=1, high=2000)
CUBE[2, 4:9, 10:20] = -99
NANOMETRES = [450.0, 550.0, 650.0, 750.0, 850.0, 950.0]


def envi(folder):
    """Gains and offsets, a nodata value, wavelengths, and a band that is flagged as bad."""
    fields = {"data_gain_values": [0.5] * 5 + [2.0], "data_offset_values": [10.0] * 6, "data_ignore_value": -99}
    fields |= {"wavelength": NANOMETRES, "wavelength_units": "nm", "bbl": [1, 1, 1, 0, 1, 1]}
    return write_envi(folder, CUBE, interleave="bil", **fields)


def geotiff(folder):
    """Scale, offset, nodata and a mask of its own."""

    def edit(file):
        file.scales, file.offsets = [0.1] * 6, [3.0] * 6
        for number, value in enumerate(NANOMETRES, 1):
            file.update_tags(number, wavelength=str(value), wavelength_units="Nanometers")

    return write_tif(folder / "scene.tif", CUBE, nodata=-99, edit=edit)


def masked(folder):
    def edit(file):
        file.write_mask(np.indices(SHAPE).sum(0) % 5 > 0)

    return write_tif(folder / "scene.tif", CUBE, edit=edit)


def matlab(folder):
    scipy.io.savemat(folder / "scene.mat", {"cube": CUBE.transpose(1, 2, 0).astype(float)})
    return folder / "scene.mat"


def hdf5(folder):
    with h5py.File(folder / "scene.h5", "w") as file:
        file["cube"] = CUBE.transpose(1, 2, 0)
    return folder / "scene.h5"


def enmap(folder):
    return write_enmap(folder, CUBE, layers={"QUALITY_CLOUD": (np.indices(SHAPE).sum(0) % 7 == 0).astype("uint8")})


FORMATS = {f.__name__: f for f in (envi, geotiff, masked, matlab, hdf5, enmap)}
READ = {
    "plain": ({}, None),
    "nodata": ({"nodata": 150.0}, None),
    "fewer bands": ({}, [4, 0]),
    "dropped bands": ({"drop_bands": (2, 6)}, None),
    "no mask": ({"mask": ()}, None),
}


def usable(source):
    """The bands that a run trained on the whole scene would want."""
    left_out = {*source.description.bad_bands, *source.drop_bands}
    return source.description.bands.select([i for i in range(6) if i + 1 not in left_out])


@pytest.mark.parametrize("how", READ)
@pytest.mark.parametrize("name", FORMATS)
def test_a_window_is_a_part_of_the_scene_that_open_scene_reads(tmp_path, name, how):
    settings, picked = READ[how]
    path = FORMATS[name](tmp_path)
    source = SceneSource(str(path), **settings)
    wanted = usable(source) if picked is None else usable(source).select(picked)
    choice = source.choice(wanted)
    everything = source.read(None, choice)
    if picked is None:  # open_scene leaves out pixels that lack data in any band, wanted or not
        whole = open_scene(path, **settings).matching(wanted)
        np.testing.assert_array_equal(everything[1], whole.valid)
        np.testing.assert_array_equal(everything[0][:, whole.valid], whole.values[:, whole.valid])
    assert not everything[0][:, ~everything[1]].any()
    for window in [*cover(SHAPE, 8), (slice(4, 5), slice(9, 21))]:
        values, valid = source.read(window, choice)
        np.testing.assert_array_equal(values, everything[0][:, *window])
        np.testing.assert_array_equal(valid, everything[1][window])
    scene = source.scene(choice)
    np.testing.assert_array_equal(scene.values, everything[0])
    np.testing.assert_array_equal(scene.valid, everything[1])
    assert scene.bands == wanted
    assert (scene.name, scene.grid) == (path.name, source.grid)


def test_scale_offset_and_nodata_are_applied_as_numpy_would(tmp_path):
    source = SceneSource(str(envi(tmp_path)))
    values, valid = source.read((slice(3, 12), slice(8, 25)), source.choice(usable(source)))
    stored = CUBE[[0, 1, 2, 4, 5], 3:12, 8:25]
    np.testing.assert_array_equal(valid, stored[2] != -99)
    gains = np.array([0.5, 0.5, 0.5, 0.5, 2.0])[:, None, None]
    np.testing.assert_allclose(values, np.where(valid, stored * gains + 10, 0), rtol=1e-6)


def test_data_counts_in_the_bands_that_are_wanted_only(tmp_path):
    source = SceneSource(str(envi(tmp_path)))
    for positions, expected in (([0, 1], True), ([0, 2], False)):
        _, valid = source.read((slice(4, 9), slice(10, 20)), source.choice(source.description.bands.select(positions)))
        assert (valid == expected).all()


# --- bands


def test_bands_are_matched_by_wavelength_in_the_order_of_the_run(tmp_path):
    source = SceneSource(str(geotiff(tmp_path)))
    wanted = Bands((1, 2), 2, (751.0, 450.5))
    choice = source.choice(wanted)
    assert choice.positions == [3, 0]
    window = slice(0, 4), slice(0, 5)
    values, _ = source.read(window, choice)
    np.testing.assert_allclose(values, CUBE[[3, 0], :4, :5] * 0.1 + 3, rtol=1e-6)


def test_an_unknown_band_cannot_be_left_out(tmp_path):
    np.save(tmp_path / "s.npy", np.ones((4, 5, 3)))
    with pytest.raises(SceneError, match=r"has bands 1 to 3; cannot drop \[9\]"):
        _ = SceneSource(str(tmp_path / "s.npy"), drop_bands=(2, 9)).description


@pytest.mark.parametrize(("bad", "dropped"), [((4,), ()), ((), (4,))], ids=["flagged as bad", "left out by hand"])
def test_bands_that_are_left_out_are_not_used(tmp_path, bad, dropped):
    flags = [int(i + 1 not in bad) for i in range(6)]
    path = write_envi(tmp_path, CUBE, wavelength=NANOMETRES, wavelength_units="nm", bbl=flags)
    source = SceneSource(str(path), drop_bands=dropped)
    with pytest.raises(BandMismatch, match=r"needs a band at 750\.0 nm, and the nearest of the scene's 5 bands"):
        source.choice(Bands((1, 2), 2, (450.0, 750.0)))
    assert source.choice(Bands((1, 2), 2, (450.0, 850.0))).positions == [0, 4]


@pytest.mark.parametrize("dropped", [(), (1,)], ids=str)
def test_bands_that_are_not_there_are_made_of_those_that_are_used(tmp_path, dropped):
    path = write_envi(
        tmp_path, CUBE, wavelength=NANOMETRES, wavelength_units="nm", fwhm=[90.0] * 6, data_ignore_value=-99
    )
    wanted = Bands((1, 2), 2, (720.0, 760.0), (200.0, 220.0))
    source = SceneSource(str(path), drop_bands=dropped, resample=True)
    choice = source.choice(wanted)
    assert set(choice.positions) <= set(range(6)) - {number - 1 for number in dropped}
    assert len(choice.positions) >= 4
    assert choice.weights.shape == (2, len(choice.positions))
    np.testing.assert_allclose(choice.weights.sum(1), 1, rtol=1e-6)
    window = slice(2, 12), slice(5, 25)
    values, valid = source.read(window, choice)
    np.testing.assert_array_equal(valid, CUBE[2][window] != -99)
    expected = np.einsum("wc,cij->wij", choice.weights.astype(float), CUBE[choice.positions][:, *window].astype(float))  # fmt: skip
    np.testing.assert_allclose(values, np.where(valid, expected, 0), rtol=1e-5)
    whole, _ = source.read(None, choice)
    np.testing.assert_allclose(whole[:, *window], values, rtol=1e-6)
    assert choice.note


def test_bands_that_cannot_be_made_are_refused(tmp_path):
    path = write_envi(tmp_path, CUBE, wavelength=NANOMETRES, wavelength_units="nm", fwhm=[90.0] * 6)
    with pytest.raises(BandMismatch, match="2200"):
        SceneSource(str(path), resample=True).choice(Bands((1,), 1, (2200.0,), (30.0,)))


# --- masks and data


def test_quality_masks_hide_pixels_unless_they_are_not_wanted(tmp_path):
    path, clouds = enmap(tmp_path), np.indices(SHAPE).sum(0) % 7 == 0
    for mask, expected in ((("cloud",), ~clouds), (("snow",), np.ones(SHAPE, bool))):
        source = SceneSource(str(path), mask=mask)
        window = slice(0, 4), slice(3, 30)
        _, valid = source.read(window, source.choice(usable(source).select([0, 1])))
        np.testing.assert_array_equal(valid, expected[window])


def test_an_unknown_mask_is_refused(tmp_path):
    source = SceneSource(str(enmap(tmp_path)), mask=("fog",))
    with pytest.raises(SceneError, match="quality mask 'fog'; there are cloud,"):
        source.read(None, source.choice(usable(source)))


def test_a_scene_without_data_in_all_bands_is_refused(tmp_path):
    cube = CUBE.copy()
    cube[0] = -99
    source = SceneSource(str(write_envi(tmp_path, cube, data_ignore_value=-99)))
    with pytest.raises(
        SceneError, match=r"no pixel holds data in all 6 bands that the run needs\. Check nodata and masks"
    ):
        source.scene(source.choice(source.description.bands))


# --- what tells it from others


def changed(path):
    """Other bytes of the same number, a moment later."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    stamp = path.stat().st_mtime_ns + 1_000_000
    path.write_bytes(data)
    os.utime(path, ns=(stamp, stamp))


@pytest.mark.parametrize("name", FORMATS)
def test_its_signature_changes_with_every_file_and_with_nothing_else(tmp_path, name):
    path = FORMATS[name](tmp_path)
    first = SceneSource(str(path)).signature()
    (path.parent / f"{path.stem} map.tif").write_bytes(b"of this scene")
    assert SceneSource(str(path)).signature() == first
    for file in SceneSource(str(path)).reader.files:
        before = SceneSource(str(path)).signature()
        if file.suffix.lower() not in (".hdr", ".xml"):
            changed(file)
        else:  # must stay readable
            file.write_text(file.read_text() + "\n")
        assert SceneSource(str(path)).signature() != before, file


def test_files_that_lie_apart_count_too(tmp_path):
    (tmp_path / "data").mkdir()
    tile = write_tif(tmp_path / "data" / "tile.tif", CUBE)
    rasterio.shutil.copy(tile, tmp_path / "scene.vrt", driver="VRT")
    (tmp_path / "list.csv").write_text("image\ndata/tile.tif\n")
    cube, mask = tmp_path / RFL, tmp_path / RFL.replace("_RFL_", "_MASK_")
    for path, expected in (("scene.vrt", {"scene.vrt", "tile.tif"}), ("list.csv", {"list.csv", "tile.tif"})):
        assert {p.name for p in SceneSource(str(tmp_path / path)).reader.files} == expected
    assert Emit(cube).files == [cube]
    mask.touch()
    assert Emit(cube).files == [cube, mask]


def test_its_signature_changes_with_the_way_of_reading(tmp_path):
    path = str(geotiff(tmp_path))
    settings = [{}, {"nodata": 5.0}, {"mask": ()}, {"drop_bands": (1,)}, {"resample": True}]
    found = [SceneSource(path, **setting).signature() for setting in settings]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_copy_in_another_process_reads_the_same(tmp_path, name, used):
    source = SceneSource(str(FORMATS[name](tmp_path)), drop_bands=(1,))
    if used:
        source.read(None, source.choice(usable(source)))
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert copy.signature() == source.signature()
    for a, b in zip(copy.read(None, copy.choice(usable(copy))), source.read(None, source.choice(usable(source))), strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)


def test_a_scene_without_map_position_can_be_read_too(tmp_path):
    with no_georeference_is_fine():
        source = SceneSource(str(write_tif(tmp_path / "x.tif", CUBE, crs=None, transform=None)))
        assert source.grid.shape == SHAPE
        assert source.read(None, source.choice(source.description.bands))[0].shape == CUBE.shape


# --- files that are packed in large pieces


def chunked(folder, **how):
    with h5py.File(folder / "scene.h5", "w") as file:
        file.create_dataset("cube", data=CUBE, **how)
    return SceneSource(str(folder / "scene.h5"), axes="bhw")


WHOLE = CUBE.nbytes


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"chunks": CUBE.shape, "compression": "gzip", "shuffle": True}, 2 * WHOLE),
        ({"chunks": (6, 21, 15), "compression": "lzf", "shuffle": True}, WHOLE),
        ({"chunks": (6, 7, 6), "compression": "gzip", "shuffle": True}, 0),  # small pieces
        ({"chunks": CUBE.shape}, 0),  # not packed: only the window is read
        ({}, 0),
    ],
)
def test_a_large_packed_chunk_counts_as_memory(tmp_path, monkeypatch, how, expected):
    monkeypatch.setattr("patchfree.io._reader.SMALL_PIECE", WHOLE // 4)
    assert chunked(tmp_path, **how).kept_bytes == expected


def test_a_chunk_counts_with_what_is_packed_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("patchfree.io._reader.SMALL_PIECE", WHOLE // 4)
    assert WHOLE < chunked(tmp_path, chunks=CUBE.shape, compression="gzip").kept_bytes < 2 * WHOLE


@pytest.mark.parametrize(("interleave", "expected"), [("pixel", 3 * WHOLE), ("band", 0)])
def test_a_large_packed_strip_counts_as_memory(tmp_path, monkeypatch, interleave, expected):
    monkeypatch.setattr("patchfree.io._reader.SMALL_PIECE", WHOLE // 4)
    how = {"interleave": interleave, "compress": "deflate", "blockysize": SHAPE[0]}
    assert SceneSource(str(write_tif(tmp_path / "scene.tif", CUBE, **how))).kept_bytes == expected


def test_chunks_of_zarr_count_as_many_as_are_unpacked_at_a_time(tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr("patchfree.io._reader.SMALL_PIECE", WHOLE // 12)
    for chunks, at_once in (((1, *SHAPE), 6), ((1, *SHAPE[:1], 15), 10)):
        zarr.create_array(tmp_path / "scene.zarr", shape=CUBE.shape, chunks=chunks, dtype="i2", overwrite=True)
        size = 2 * int(np.prod(chunks))
        expected = 2 * at_once * size if size > WHOLE // 12 else 0
        assert SceneSource(str(tmp_path / "scene.zarr"), axes="bhw").kept_bytes == expected


def test_large_pieces_are_unpacked_by_one_thread_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("patchfree.io._reader.SMALL_PIECE", WHOLE // 4)
    at_work, most, real = [], [], Hdf5.read

    def read(self, window=None):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.02)
        found = real(self, window)
        at_work.pop()
        return found

    monkeypatch.setattr(Hdf5, "read", read)
    source = chunked(tmp_path, chunks=CUBE.shape, compression="gzip")
    choice = source.choice(source.description.bands)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda window: source.read(window, choice), cover(SHAPE, 10)))
    assert max(most) == 1
