"""Maps are Cloud Optimized GeoTIFFs: laid out so that a reader over the network gets any part with few requests.

The layout is read from the bytes of the file, by the TIFF 6.0 specification; the rest by GDAL.
"""

import struct

import numpy as np
import pytest
import rasterio
from fixtures import UTM33, no_georeference_is_fine, placed
from rasterio.crs import CRS

from patchfree.errors import OutputError
from patchfree.io.geotiff import (
    strips,
    write_class_map,
    write_class_map_windows,
    write_layers,
    write_layers_windows,
)
from patchfree.labels import LandCover
from patchfree.scene import Grid

LEGEND = (LandCover(1, "wood", (0, 158, 115)), LandCover(3, "field", (9, 9, 9)), LandCover(14, "lake", (0, 114, 178)))
TYPES = {1: "B", 3: "H", 4: "I", 12: "d", 16: "Q"}
WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS = 256, 257, 322, 323, 324


def grid_of(shape):
    return Grid(*shape, CRS.from_user_input(UTM33).to_wkt(), tuple(placed())[:6])


def directories(path):
    """Offset and the integer tags of every image file directory of a little-endian classic TIFF, in file order."""
    data = path.read_bytes()
    assert data[:4] == b"II*\0"
    (offset,), found = struct.unpack("<I", data[4:8]), []
    while offset:
        (count,) = struct.unpack_from("<H", data, offset)
        tags = {}
        for i in range(count):
            tag, kind, length = struct.unpack_from("<HHI", data, offset + 2 + 12 * i)
            if kind not in (3, 4):
                continue
            size = struct.calcsize(TYPES[kind]) * length
            at = offset + 10 + 12 * i
            if size > 4:
                (at,) = struct.unpack_from("<I", data, at)
            tags[tag] = struct.unpack_from(f"<{length}{TYPES[kind]}", data, at)
        found.append((offset, tags))
        (offset,) = struct.unpack_from("<I", data, offset + 2 + 12 * count)
    return found


@pytest.fixture(scope="module")
def patches():
    """Classes in patches of 3 pixels, 1300 x 1200, with a hole without data."""
    values = np.random.default_rng(0).choice([1, 3, 14], (434, 400)).repeat(3, 0).repeat(3, 1)[:1300]
    values[200:420, 100:700] = 0
    return values


@pytest.fixture(scope="module", params=["map", "layers"])
def written(request, patches, tmp_path_factory):
    path = tmp_path_factory.mktemp("cog") / "file.tif"
    if request.param == "map":
        return write_class_map(path, patches, LEGEND, grid_of(patches.shape))
    return write_layers(path, patches[None].repeat(2, 0).astype(np.float32), ["a", "b"], grid_of(patches.shape))


def test_directories_come_first_and_the_overviews_before_the_full_image(written):
    found = directories(written)
    assert [tags[WIDTH][0] for _, tags in found] == [1200, 600, 300]
    assert [tags[HEIGHT][0] for _, tags in found] == [1300, 650, 325]
    assert {(tags[TILE_WIDTH], tags[TILE_HEIGHT]) for _, tags in found} == {((512,), (512,))}
    offsets = [offset for offset, _ in found]
    assert offsets == sorted(offsets)
    first = [min(tags[TILE_OFFSETS]) for _, tags in found]
    assert first == sorted(first, reverse=True)
    assert max(offsets) < min(first)
    assert all(list(tags[TILE_OFFSETS]) == sorted(tags[TILE_OFFSETS]) for _, tags in found)


def test_gdal_knows_it_as_a_cog_with_overviews(written):
    with rasterio.open(written) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.compression.value == "DEFLATE"
        assert file.block_shapes == [(512, 512)] * file.count
        assert all(file.overviews(i) == [2, 4] for i in file.indexes)


def test_overviews_of_classes_hold_the_most_frequent_class_and_invent_none(patches, tmp_path):
    path = write_class_map(tmp_path / "map.tif", patches, LEGEND, grid_of(patches.shape))
    with rasterio.open(path, overview_level=0) as file:
        half = file.read(1)
    blocks = patches.reshape(650, 2, 600, 2).swapaxes(1, 2).reshape(650, 600, 4)
    counts = np.stack([(blocks == value).sum(-1) for value in (0, 1, 3, 14)])
    most = np.take_along_axis(counts, np.searchsorted([0, 1, 3, 14], half)[None], 0)[0]
    assert set(np.unique(half)) == {0, 1, 3, 14}
    np.testing.assert_array_equal(most, counts.max(0))


def test_overviews_of_numbers_hold_averages_of_what_has_data(tmp_path):
    values = np.random.default_rng(0).random((1, 600, 600)).astype(np.float32)
    values[:, :5] = np.nan
    path = write_layers(tmp_path / "p.tif", values, ["a"], grid_of((600, 600)))
    with rasterio.open(path, overview_level=0) as file:
        half = file.read(1)
    blocks = values[0].reshape(300, 2, 300, 2)
    assert np.isnan(half[:2]).all()
    np.testing.assert_allclose(half[2:], np.nanmean(blocks[2:], (1, 3)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (512, 512)])
@pytest.mark.parametrize("placed_on_earth", [True, False])
def test_a_scene_no_larger_than_a_tile_is_a_cog_without_overviews(tmp_path, shape, placed_on_earth):
    values = np.random.default_rng(0).choice([0, 1, 14], shape)
    grid = grid_of(shape) if placed_on_earth else Grid(*shape)
    path = write_class_map(tmp_path / "map.tif", values, LEGEND, grid)
    with no_georeference_is_fine(), rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), values)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == []
        assert (file.crs is not None) is placed_on_earth
        assert file.transform.is_identity is not placed_on_earth
        assert file.colormap(1)[14] == (0, 114, 178, 255)


# --- windows


def test_windows_in_any_order_give_the_file_that_the_whole_map_gives(patches, tmp_path):
    grid = grid_of(patches.shape)
    windows = [(slice(r, min(r + 333, 1300)), slice(c, c + 400)) for r in range(0, 1300, 333) for c in (800, 0, 400)]
    parts = ((window, patches[window].astype(np.uint8)) for window in reversed(windows))
    whole = write_class_map(tmp_path / "whole.tif", patches, LEGEND, grid, tags={"a": "b"})
    pieces = write_class_map_windows(tmp_path / "pieces.tif", parts, LEGEND, grid, tags={"a": "b"})
    assert pieces.read_bytes() == whole.read_bytes()


def test_a_map_on_disk_is_written_strip_by_strip(patches, tmp_path):
    np.save(tmp_path / "values.npy", patches.astype(np.uint8))
    stored = np.load(tmp_path / "values.npy", mmap_mode="r")
    path = write_class_map(tmp_path / "map.tif", stored, LEGEND, grid_of(patches.shape))
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), patches)


def test_layers_come_in_windows_too_and_what_none_covers_is_nan(tmp_path):
    values = np.random.default_rng(0).random((3, 40, 50)).astype(np.float32)
    parts = [((slice(0, 40), slice(0, 20)), values[:, :, :20]), ((slice(5, 9), slice(30, 50)), values[:, 5:9, 30:])]
    path = write_layers_windows(tmp_path / "p.tif", parts, ["a", "b", "c"], grid_of((40, 50)))
    expected = np.full_like(values, np.nan)
    expected[:, :, :20], expected[:, 5:9, 30:] = values[:, :, :20], values[:, 5:9, 30:]
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), expected)


def test_strips_cover_every_pixel_once():
    times = np.zeros((1100, 7), int)
    for window in strips(Grid(1100, 7)):
        times[window] += 1
    assert (times == 1).all()
    assert len(list(strips(Grid(1024, 7)))) == 2


def test_a_producer_that_fails_half_way_leaves_the_old_map(patches, tmp_path):
    grid = grid_of(patches.shape)
    path = write_class_map(tmp_path / "map.tif", patches, LEGEND, grid)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def parts():
        yield (slice(0, 512), slice(0, 1200)), patches[:512]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_class_map_windows(path, parts(), LEGEND, grid)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_copy_that_differs_is_not_taken_for_the_map(patches, tmp_path, monkeypatch):
    import rasterio.shutil

    real = rasterio.shutil.copy

    def lossy(source, target, **options):
        real(source, target, **options)
        with rasterio.open(target, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            file.write(np.full((1, 4), 3, np.uint8), 1, window=((900, 901), (7, 11)))

    monkeypatch.setattr("rasterio.shutil.copy", lossy)
    with pytest.raises(OutputError, match=r"map\.tif could not be written: the stored file differs.*untouched"):
        write_class_map(tmp_path / "map.tif", np.ones_like(patches), LEGEND, grid_of(patches.shape))
    assert list(tmp_path.iterdir()) == []
