"""Tiles on one grid give the scene they were cut from; what lies between them holds no data; nothing is resampled."""

import numpy as np
import pytest
from fixtures import part_of, placed, random_cube, write_tif

from patchfree.errors import SceneError
from patchfree.io import find_reader, open_scene
from patchfree.io.reference import read_labels

WHOLE = random_cube(3, 12, 20, "int16")
TILES = [(0, 0, 6, 8), (0, 8, 6, 12), (6, 4, 6, 8)]  # row, column, rows, columns


def write_tiles(folder, array=WHOLE, tiles=TILES, **profile):
    folder.mkdir(exist_ok=True)
    return [
        write_tif(
            folder / f"t_{row}_{col}.tif",
            array[..., row : row + h, col : col + w],
            transform=placed(row, col),
            **profile,
        )
        for row, col, h, w in tiles
    ]


def covered(shape=(12, 20), tiles=TILES):
    mask = np.zeros(shape, bool)
    for row, col, h, w in tiles:
        mask[row : row + h, col : col + w] = True
    return mask


def test_a_folder_of_tiles_is_the_scene_they_were_cut_from(tmp_path):
    write_tiles(tmp_path / "tiles")
    scene = open_scene(tmp_path / "tiles")
    np.testing.assert_array_equal(scene.valid, covered())
    np.testing.assert_array_equal(scene.values, np.where(covered(), WHOLE, 0))
    assert scene.grid.transform == tuple(placed())[:6]
    assert "3 tiles were put together; holes between them hold no data." in scene.notes


@pytest.mark.parametrize("angle", [0, 20])
@pytest.mark.parametrize("tiles", [[(6, 4, 6, 8), (2, 10, 4, 4)], [(2, 4, 6, 8), (6, 10, 6, 4)]], ids=str)
@pytest.mark.parametrize("first", [0, 1])
def test_the_corner_is_that_of_the_outermost_tiles_whichever_comes_first(tmp_path, tiles, first, angle):
    for i, (row, col, h, w) in enumerate(tiles):
        path = tmp_path / ("a.tif" if i == first else "b.tif")
        write_tif(path, WHOLE[:, row : row + h, col : col + w], transform=part_of(placed(angle=angle), row, col))
    scene = open_scene(tmp_path)
    assert scene.grid.transform == pytest.approx(tuple(part_of(placed(angle=angle), 2, 4))[:6], abs=1e-6)
    expected = np.where(covered(tiles=tiles), WHOLE, 0)[:, 2:12, 4:14]
    np.testing.assert_array_equal(scene.values, expected[:, : scene.grid.height, : scene.grid.width])


@pytest.mark.parametrize(
    "window", [(slice(0, 12), slice(0, 20)), (slice(4, 9), slice(3, 11)), (slice(7, 8), slice(0, 3))]
)
def test_a_window_across_tiles_is_a_part_of_the_whole(tmp_path, window):
    write_tiles(tmp_path / "tiles")
    reader = find_reader(tmp_path / "tiles")
    np.testing.assert_array_equal(reader.read(window), reader.read()[:, *window])
    np.testing.assert_array_equal(reader.outside(window), reader.outside()[window])


def test_zeros_inside_a_tile_are_data_where_no_nodata_is_stated(tmp_path):
    array = WHOLE.copy()
    array[:, 2, 3] = 0
    write_tiles(tmp_path / "tiles", array)
    scene = open_scene(tmp_path / "tiles")
    assert scene.valid[2, 3]
    np.testing.assert_array_equal(scene.valid, covered())


def test_nodata_inside_a_tile_is_masked(tmp_path):
    array = WHOLE.copy()
    array[1, 2, 3] = -1
    write_tiles(tmp_path / "tiles", array, nodata=-1)
    expected = covered()
    expected[2, 3] = False
    np.testing.assert_array_equal(open_scene(tmp_path / "tiles").valid, expected)


def test_the_own_mask_of_a_tile_counts(tmp_path):
    hidden = np.zeros((6, 8), bool)
    hidden[1] = True
    write_tiles(tmp_path / "tiles", tiles=TILES[1:])
    write_tif(tmp_path / "tiles" / "a.tif", WHOLE[:, :6, :8], edit=lambda file: file.write_mask(~hidden))
    expected = covered()
    expected[1, :8] = False
    np.testing.assert_array_equal(open_scene(tmp_path / "tiles").valid, expected)


def test_the_margin_of_a_tile_does_not_cover_what_another_tile_holds(tmp_path):
    padded = WHOLE[:, :6, 4:12].copy()
    padded[:, :, :4] = -1
    write_tiles(tmp_path / "tiles", tiles=[(0, 0, 6, 8)], nodata=-1)
    write_tif(tmp_path / "tiles" / "z.tif", padded, transform=placed(0, 4), nodata=-1)
    scene = open_scene(tmp_path / "tiles")
    assert scene.all_valid
    np.testing.assert_array_equal(scene.values, WHOLE[:, :6, :12])


def write_list(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "entry",
    ["{name}", "images/{name}", "elsewhere/images/{name}", "{folder}/{name}"],
    ids=["name", "sub", "moved", "full"],
)
def test_a_list_finds_its_tiles_as_written_beside_it_or_in_its_subfolders(tmp_path, entry):
    folder = tmp_path if entry == "{name}" else tmp_path / "images"
    lines = [entry.format(name=path.name, folder=path.parent) for path in write_tiles(folder)]
    table = write_list(tmp_path / "list.csv", "image\n" + "\n".join(lines) + "\n\n")
    np.testing.assert_array_equal(open_scene(table).values, np.where(covered(), WHOLE, 0))


def test_one_list_names_the_tiles_of_the_scene_and_of_its_labels(tmp_path):
    truth = np.random.default_rng(0).integers(0, 4, (12, 20)).astype("float32")
    pairs = zip(write_tiles(tmp_path / "images"), write_tiles(tmp_path / "labels", truth), strict=True)
    rows = [f"{image},{mask}" for image, mask in pairs]
    table = write_list(tmp_path / "list.csv", "\ufeffImage, Mask\n" + "\n".join(rows))
    labels = read_labels(table, open_scene(table))
    np.testing.assert_array_equal(labels.restore(labels.index), np.where(covered(), truth, 0))


def flag_second(file):
    file.update_tags(2, bbl="0")


def test_bands_bad_in_one_tile_are_bad_in_the_scene(tmp_path):
    write_tiles(tmp_path / "tiles", tiles=TILES[:2])
    row, col, h, w = TILES[2]
    write_tif(
        tmp_path / "tiles" / "z.tif",
        WHOLE[:, row : row + h, col : col + w],
        transform=placed(row, col),
        edit=flag_second,
    )
    assert open_scene(tmp_path / "tiles").bands.numbers == (1, 3)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"transform": placed(0, 8.4)}, r"lies 8\.400 columns and 0\.000 rows from a\.tif: not whole pixels"),
        ({"transform": placed(6.02, 0)}, r"lies 0\.000 columns and 6\.020 rows from a\.tif: not whole pixels"),
        ({"transform": placed(0, 8, pixel=60)}, r"does not fit a\.tif: tiles need the same CRS, pixel size"),
        ({"transform": placed(0, 8, angle=1)}, r"does not fit a\.tif"),
        ({"transform": None, "crs": None}, r"does not fit a\.tif"),
        ({"transform": placed(0, 8), "crs": "EPSG:32632"}, r"does not fit a\.tif"),
        ({"transform": placed(0, 8), "bands": 2}, r"does not fit a\.tif.*\(2 and 3 bands\)"),
        (
            {"transform": placed(0, 8), "nodata": -1},
            r"stores its numbers in another way than a\.tif: .* -1\.0, none, none and none, n",
        ),
    ],
    ids=["column", "row", "size", "rotated", "no position", "crs", "bands", "nodata"],
)
def test_a_tile_of_another_grid_is_refused_by_name(tmp_path, other, said):
    bands = other.pop("bands", 3)
    write_tif(tmp_path / "a.tif", WHOLE[:, :6, :8])
    write_tif(tmp_path / "b.tif", WHOLE[:bands, :6, :8], **other)
    with pytest.raises(SceneError, match=r"b\.tif " + said):
        open_scene(tmp_path)


def test_tiles_without_map_position_are_refused(tmp_path):
    write_tif(tmp_path / "a.tif", WHOLE, crs=None, transform=None)
    with pytest.raises(SceneError, match="no map position; tiles can only be put together by their position"):
        open_scene(tmp_path)


def test_a_folder_without_rasters_is_refused(tmp_path):
    with pytest.raises(SceneError, match=r"holds no raster \(\.tif, \.tiff"):
        open_scene(tmp_path)


def test_a_missing_tile_is_named(tmp_path):
    table = write_list(tmp_path / "list.csv", "image\nimages/gone.tif\n")
    with pytest.raises(SceneError, match=r"list\.csv lists images/gone\.tif, which is not there; looked in "):
        open_scene(table)


def test_a_list_without_the_wanted_column_is_refused(tmp_path):
    table = write_list(tmp_path / "list.csv", "mask\na.tif\n")
    with pytest.raises(SceneError, match="has no column image or scene that lists the tiles"):
        open_scene(table)


def test_a_list_without_tiles_is_refused(tmp_path):
    table = write_list(tmp_path / "list.csv", "image,mask\n,a.tif\n")
    with pytest.raises(SceneError, match=r"The column image of .* lists no tile"):
        open_scene(table)
