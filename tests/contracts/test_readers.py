"""What every format in READERS promises: metadata and pixels agree, a window is a part of the whole, reading repeats.

A new format gets these tests by being listed, and needs one writer here.
"""

import json
import os
import pickle

import numpy as np
import pytest
import rasterio
import scipy.io
import xarray
from affine import Affine

from patchfree.errors import SceneError
from patchfree.io import QUALITY, READERS, find_reader, open_scene
from patchfree.io.source import SceneSource
from products_hdf import RFL, write_emit, write_netcdf, write_prisma, write_tanager
from products_xml import write_desis, write_enmap, write_sentinel2

CUBE = np.random.default_rng(0).integers(1, 1000, (3, 7, 9)).astype("int16")
CUBES = {  # of other formats' size or type
    "pair": np.concatenate([CUBE, 1000 - CUBE]).astype("float32"),
    "sentinel2": np.random.default_rng(0).integers(1, 9000, (9, 7, 9)).astype("uint16"),
}
SCALES = {  # factor and offset of physical values
    "desis": (1e-4, 0.0),
    "enmap": (1e-4, 0.0),
    "prisma": tuple(np.array(values)[:, None, None] for values in ([0.8 / 65535] * 2 + [0.5 / 65535], [0, 0, 0.1])),
    "sentinel2": (1e-4, -0.1),
}
NOT_READ = ("_B02_10m.jp2", "_AOT_20m.jp2", "_B01_20m.jp2", "MTD_TL.xml")
"""Files of a Sentinel-2 product that are not part of the scene."""
FLAGS = np.random.default_rng(1).integers(0, 12, (7, 9)).astype("uint8")
WINDOWS = [
    (slice(0, 7), slice(0, 9)),
    (slice(2, 6), slice(3, 4)),
    (slice(6, 7), slice(0, 9)),
    (slice(1, 3), slice(5, 9)),
]


def write_tif(path, cube, col=0):
    profile = {"driver": "GTiff", "count": len(cube), "height": cube.shape[1], "width": cube.shape[2]}
    profile |= {"dtype": cube.dtype, "crs": "EPSG:32633", "transform": Affine(30, 0, 30 * col, 0, -30, 0)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(cube)
    return path


def gdal(folder):
    return write_tif(folder / "scene.tif", CUBE)


def mosaic(folder):
    (folder / "tiles").mkdir()
    write_tif(folder / "tiles" / "left.tif", CUBE[:, :, :4])
    write_tif(folder / "tiles" / "right.tif", CUBE[:, :, 4:], col=4)
    return folder / "tiles"


def envi(folder):
    (folder / "scene.img").write_bytes(CUBE.transpose(1, 0, 2).astype(">i2").tobytes())
    (folder / "scene.hdr").write_text(
        "ENVI\nsamples = 9\nlines = 7\nbands = 3\ndata type = 2\ninterleave = bil\nbyte order = 1\n"
    )
    return folder / "scene.hdr"


def matlab(folder):
    scipy.io.savemat(folder / "scene.mat", {"cube": CUBE.transpose(1, 2, 0)})
    return folder / "scene.mat"


def numpy(folder):
    np.save(folder / "scene.npy", CUBE.transpose(1, 2, 0))
    return folder / "scene.npy"


def desis(folder):
    return write_desis(folder, CUBE, quality=np.stack([band == FLAGS for band in range(10)]).astype("uint8"))


def enmap(folder):
    return write_enmap(folder, CUBE, layers={"QUALITY_SNOW": FLAGS % 2, "QUALITY_CLASSES": FLAGS % 4})


def sentinel2(folder):
    return write_sentinel2(folder, CUBES["sentinel2"], scl=FLAGS)


def pair(folder):
    write_tif(folder / "before.tif", CUBE)
    write_tif(folder / "after.tif", 1000 - CUBE)
    (folder / "dates.pair.json").write_text('{"before": "before.tif", "after": "after.tif"}')
    return folder / "dates.pair.json"


def prisma(folder):
    cube = CUBE.astype("uint16")
    return write_prisma(folder / "PRS_L2D_STD_1.he5", cube[:2], cube[2:], [500, 700], [950])


def emit(folder):
    """Seen upside down by the sensor, and shifted: the table puts it right."""
    raw = np.full((9, 9, 3), -1.0)
    raw[1:8] = CUBE[:, ::-1].transpose(1, 2, 0)
    rows, cols = np.mgrid[8:1:-1, 1:10]
    return write_emit(folder / RFL, raw, rows, cols)


def tanager(folder):
    return write_tanager(folder / "20250514_ortho_sr_hdf5.h5", CUBE, masks={"nodata_pixels": np.zeros(CUBE.shape[1:])})


def hdf5(folder):
    return write_netcdf(folder / "scene.nc", CUBE.transpose(1, 0, 2), dims=("y", "band", "x"))


def netcdf3(folder):
    array = xarray.DataArray(CUBE.transpose(1, 0, 2), dims=("y", "band", "x"), name="cube")
    array.to_dataset().to_netcdf(folder / "scene.nc", format="NETCDF3_64BIT", engine="scipy")
    return folder / "scene.nc"


def zarr(folder):
    array = xarray.DataArray(CUBE.transpose(1, 2, 0), dims=("y", "x", "band"), name="cube")
    array.to_dataset().to_zarr(folder / "scene.zarr", zarr_format=3, consolidated=False)
    return folder / "scene.zarr"


WRITERS = {
    "desis": desis,
    "emit": emit,
    "enmap": enmap,
    "envi": envi,
    "gdal": gdal,
    "hdf5": hdf5,
    "matlab": matlab,
    "mosaic": mosaic,
    "netcdf3": netcdf3,
    "numpy": numpy,
    "pair": pair,
    "prisma": prisma,
    "sentinel2": sentinel2,
    "tanager": tanager,
    "zarr": zarr,
}


@pytest.fixture(params=sorted(READERS))
def name(request):
    return request.param


@pytest.fixture
def path(name, tmp_path):
    return WRITERS[name](tmp_path)


@pytest.fixture
def cube(name):
    """The stored numbers."""
    return CUBES.get(name, CUBE)


@pytest.fixture
def physical(name, cube):
    """The values of the scene."""
    factor, offset = SCALES.get(name, (1.0, 0.0))
    return cube * factor + offset


def test_the_path_leads_to_the_reader(name, path):
    assert type(find_reader(path)) is READERS[name][1]


def test_pixels_are_read_channel_first(path, cube):
    np.testing.assert_array_equal(find_reader(path).read(), cube)


def test_the_description_agrees_with_the_pixels(path, cube):
    reader = find_reader(path)
    description, values = reader.describe(), reader.read()
    assert (len(description.bands), *description.grid.shape) == values.shape
    assert description.dtype == values.dtype
    assert description.bands.numbers == tuple(range(1, len(cube) + 1))
    assert description.bands.total == len(cube)
    assert description.format


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_is_a_part_of_the_whole(path, cube, window):
    np.testing.assert_array_equal(find_reader(path).read(window), cube[:, *window])


@pytest.mark.parametrize("window", WINDOWS)
def test_the_mask_of_a_window_is_a_part_of_that_of_the_whole(path, window):
    whole, part = find_reader(path).outside(), find_reader(path).outside(window)
    assert (whole is None) == (part is None)
    if whole is not None:
        assert whole.shape == CUBE.shape[1:]
        np.testing.assert_array_equal(part, whole[window])


@pytest.mark.parametrize("window", WINDOWS)
def test_the_quality_of_a_window_is_a_part_of_that_of_the_whole(path, window):
    whole, part = find_reader(path).quality(), find_reader(path).quality(window)
    assert list(whole) == list(part) == [known for known in QUALITY if known in whole]
    for known, mask in whole.items():
        assert (mask.shape, mask.dtype) == (CUBE.shape[1:], bool)
        np.testing.assert_array_equal(part[known], mask[window])


def test_reading_twice_gives_equal_scenes(path):
    one, two = open_scene(path), open_scene(path)
    assert one.fingerprint() == two.fingerprint()
    assert one.bands.numbers == two.bands.numbers
    assert one.grid.as_dict() == two.grid.as_dict()
    assert one.notes == two.notes


def test_the_scene_holds_the_pixels_and_can_be_changed_without_changing_the_file(path, physical):
    scene = open_scene(path, mask=())
    np.testing.assert_allclose(scene.values, physical, rtol=1e-6, atol=1e-7)
    assert scene.values.dtype == np.float32
    assert scene.all_valid
    scene.values[:] = -1
    np.testing.assert_allclose(open_scene(path, mask=()).values, physical, rtol=1e-6, atol=1e-7)


def test_the_scene_is_named_after_the_file(path):
    assert open_scene(str(path)).name == path.name


def test_a_missing_file_is_answered_with_what_the_folder_holds(path):
    wrong = path.with_name("missing" + path.suffix)
    with pytest.raises(
        SceneError, match=rf"{wrong.name} does not exist\. The folder holds .*{path.name}.*Check the path"
    ):
        open_scene(wrong)


def test_a_missing_folder_is_answered_with_its_name(tmp_path):
    with pytest.raises(SceneError, match=r"The folder .*nowhere does not exist or is empty"):
        open_scene(tmp_path / "nowhere" / "scene.hdr")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_info_explains_it_and_a_network_trains_on_it(name, path, cube, cli, tmp_path):
    shown = json.loads(cli.ok("info", path, "--mask", "none", "--json"))
    assert (shown["rows"], shown["columns"], shown["bands_used"]) == (7, 9, len(cube))
    assert shown["format"]
    lines = [f"{row},{col},{'left' if col < 4 else 'right'}" for row in range(7) for col in range(9)]
    (tmp_path / "points.csv").write_text("\n".join(["row,col,class", *lines]))
    how = ("--fraction", 0.5, "--steps", 1, "--control", "none", "--device", "cpu", "--mask", "none")
    cli.ok("train", path, tmp_path / "points.csv", "--out", tmp_path / "run", *how)
    cli.ok("map", tmp_path / "run", path, "--out", tmp_path / "again.tif", "--mask", "none")
    with rasterio.open(tmp_path / "run" / "map.tif") as trained, rasterio.open(tmp_path / "again.tif") as again:
        np.testing.assert_array_equal(trained.read(1), again.read(1))
        assert trained.crs == again.crs
        assert trained.transform == again.transform
        assert "masks" not in trained.tags(ns="PATCHFREE")
        assert "masks" not in again.tags(ns="PATCHFREE")
    cli.ok("map", tmp_path / "run", path, "--out", tmp_path / "masked.tif")
    with rasterio.open(tmp_path / "masked.tif") as masked:
        assert masked.tags(ns="PATCHFREE").get("masks", "") == ", ".join(SceneSource(str(path)).masked)


def test_a_change_of_any_file_of_the_scene_is_seen(path, tmp_path):
    """So that work on the old scene is not used for the new one."""
    before = SceneSource(str(path)).signature()
    assert SceneSource(str(path)).signature() == before
    for file in SceneSource(str(path)).reader.files:
        assert file.is_file()
        was = file.stat()
        os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns + 10**9))
        assert SceneSource(str(path)).signature() != before, file
        os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert SceneSource(str(path)).signature() == before
    unseen = {p for p in tmp_path.rglob("*") if p.is_file()} - set(SceneSource(str(path)).reader.files)
    assert [p.name for p in unseen if not p.name.endswith(NOT_READ)] == []


def test_a_source_is_sent_to_another_process_without_what_was_read(path, cube):
    source = SceneSource(str(path), mask=())
    description = source.description
    sent = pickle.loads(pickle.dumps(source))
    assert "reader" not in vars(sent)
    assert sent == source
    np.testing.assert_array_equal(sent.reader.read(WINDOWS[1]), cube[:, *WINDOWS[1]])
    assert sent.grid.as_dict() == description.grid.as_dict()
