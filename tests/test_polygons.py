"""Polygons of a class map cover the mapped pixels, each once, and tell class, name and area.

They are read with pyogrio, and burnt back into pixels with rasterio.
"""

import sys

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize
from scipy import ndimage

import patchfree as pf
from conftest import UTM33
from jobs import NAMES, PLACE, contents, full_disk, write_raster
from patchfree.outlines import merge_small, outlines

EDGES = ndimage.generate_binary_structure(2, 1)


@pytest.fixture(scope="module")
def values():
    """Fields of three classes with a hole without data, and speckle of single pixels."""
    rng = np.random.default_rng(3)
    fields = rng.choice([1, 10, 14], (8, 10)).repeat(9, 0).repeat(9, 1).astype(np.uint8)
    fields[20:33, 40:60] = 0
    rows, cols = np.nonzero((rng.random(fields.shape) < 0.02) & (fields > 0))
    fields[rows, cols] = np.where(fields[rows, cols] == 14, 1, 14)
    return fields


@pytest.fixture
def class_map(values, tmp_path):
    return write_raster(tmp_path / "map.tif", values)


def features(path):
    meta, _, geometries, columns = pyogrio.raw.read(path)
    assert pyogrio.list_layers(path).tolist() == [["classes", "Polygon"]]
    return meta, shapely.from_wkb(geometries), dict(zip(meta["fields"].tolist(), columns, strict=True))


def burnt(shapes, classes, shape, transform=PLACE):
    return rasterize(list(zip(shapes, classes.tolist(), strict=True)), shape, transform=transform, dtype="uint8")


def areas(values):
    """Sizes of all connected areas, by another route than the polygons: SciPy."""
    sizes = []
    for value in np.unique(values[values > 0]):
        numbered, _ = ndimage.label(values == value, EDGES)
        sizes += np.bincount(numbered.ravel())[1:].tolist()
    return sorted(sizes)


def test_polygons_give_the_map_back(values, class_map, tmp_path):
    path = pf.vectorize(class_map, tmp_path / "polygons.gpkg")
    meta, shapes, table = features(path)
    assert shapely.is_valid(shapes).all()
    np.testing.assert_array_equal(burnt(shapes, table["class"], values.shape), values)
    assert rasterio.crs.CRS.from_user_input(meta["crs"]) == rasterio.crs.CRS.from_string(UTM33)
    np.testing.assert_allclose(shapely.area(shapes).sum(), 900 * (values > 0).sum())


def test_attributes_are_class_name_pixels_and_hectares(values, class_map, tmp_path):
    _, shapes, table = features(pf.vectorize(class_map, tmp_path / "p.gpkg"))
    assert list(table) == ["class", "name", "pixels", "area_ha"]
    assert [NAMES[value] for value in table["class"]] == table["name"].tolist()
    np.testing.assert_allclose(table["pixels"], shapely.area(shapes) / 900)
    np.testing.assert_allclose(table["area_ha"], shapely.area(shapes) / 10_000)
    assert sorted(table["pixels"].tolist()) == areas(values)


@pytest.mark.parametrize(("given", "least"), [("20px", 20), ("20", 20), ("1 ha", 12), ("18000m2", 20), ("0.9ha", 10)])
def test_small_areas_are_merged_and_the_map_stays_covered(values, class_map, tmp_path, given, least):
    assert areas(values)[0] < least
    _, shapes, table = features(pf.vectorize(class_map, tmp_path / "p.gpkg", min_area=given))
    assert table["pixels"].min() >= least
    np.testing.assert_array_equal(burnt(shapes, table["class"], values.shape) > 0, values > 0)
    assert sorted(table["pixels"].tolist())[-3:] >= areas(values)[-3:]


def test_a_small_area_takes_the_class_of_its_largest_neighbour_and_never_that_of_no_data():
    index = np.full((9, 9), 1, np.uint8)
    index[:, 6:], index[4, 5], index[0, 0] = 2, 3, 3
    index[8, :4] = 0
    merged = merge_small(index, 3)
    expected = index.copy()
    expected[4, 5] = expected[0, 0] = 1
    np.testing.assert_array_equal(merged, expected)


def test_areas_that_are_small_together_are_merged_and_an_island_stays():
    index = np.ones((6, 12), np.uint8)
    index[2, 3:9] = [2, 3, 2, 3, 2, 3]
    np.testing.assert_array_equal(merge_small(index, 2), np.ones_like(index))
    island = np.zeros((5, 5), np.uint8)
    island[2, 2] = 4
    np.testing.assert_array_equal(merge_small(island, 10), island)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_more_than_the_map_holds_leaves_all_areas_as_they_are(values, class_map, tmp_path, dtype):
    index = values.astype(dtype)
    for least in (index.size, index.size + 1, 2**40):
        np.testing.assert_array_equal(merge_small(index, least), index)
    _, shapes, table = features(pf.vectorize(class_map, tmp_path / "p.gpkg", min_area="1000000ha"))
    np.testing.assert_array_equal(burnt(shapes, table["class"], values.shape), values)


def test_without_a_smallest_area_nothing_is_merged(values):
    index = values.astype(np.uint8)
    assert merge_small(index, 1) is index


def test_holes_of_a_polygon_are_holes(tmp_path):
    values = np.ones((7, 7), np.uint8)
    values[2:5, 2:5] = 10
    _, shapes, table = features(pf.vectorize(write_raster(tmp_path / "m.tif", values), tmp_path / "p.gpkg"))
    by_class = dict(zip(table["class"].tolist(), shapes, strict=True))
    assert shapely.get_num_interior_rings(by_class[1]) == 1
    assert shapely.area(by_class[1]) == 900 * 40
    assert not shapely.overlaps(by_class[1], by_class[10])


def test_a_turned_map_gives_turned_polygons(values, tmp_path):
    turned = PLACE @ Affine.rotation(30)
    path = write_raster(tmp_path / "m.tif", values, transform=turned)
    _, shapes, table = features(pf.vectorize(path, tmp_path / "p.gpkg"))
    np.testing.assert_array_equal(burnt(shapes, table["class"], values.shape, turned), values)
    np.testing.assert_allclose(table["pixels"], shapely.area(shapes) / 900)


def test_a_map_without_position_gives_pixels_and_no_hectares(values, tmp_path):
    np.save(tmp_path / "m.npy", values)
    meta, shapes, table = features(pf.vectorize(tmp_path / "m.npy", tmp_path / "p.gpkg", min_area="2px"))
    assert list(table) == ["class", "name", "pixels"]
    assert meta["crs"] is None or "Undefined" in meta["crs"]
    assert shapely.total_bounds(shapes).tolist() == [0, -72, 90, 0]
    np.testing.assert_array_equal(shapely.area(shapes), table["pixels"])


def test_degrees_have_hectares_too(values, tmp_path):
    path = write_raster(tmp_path / "m.tif", values, crs="EPSG:4326", transform=Affine(1e-4, 0, 13, 0, -1e-4, 52))
    _, _, table = features(pf.vectorize(path, tmp_path / "p.gpkg"))
    # A ten-thousandth of a degree at 52 degrees north: 11.13 m to the north, 6.87 m to the east.
    np.testing.assert_allclose(table["area_ha"], table["pixels"] * 11.13 * 6.87 / 10_000, rtol=2e-3)


# --- what cannot be done


def test_command_writes_the_polygons_and_says_where(cli, class_map, tmp_path):
    out = tmp_path / "new" / "p.gpkg"
    assert cli.ok("vectorize", class_map, "--out", out, "--min-area", "0.5ha") == f"Polygons: {out}\n"
    before = contents(out.parent)
    cli.ok("vectorize", class_map, "--out", out)
    assert list(contents(out.parent)) == list(before)
    assert len(features(out)[1]) > 50


def test_what_is_no_class_map_is_refused(cli, class_map, values, tmp_path):
    numbers = write_raster(tmp_path / "numbers.tif", values.astype(np.float32))
    with rasterio.open(tmp_path / "two.tif", "w", driver="GTiff", height=4, width=4, count=2, dtype="uint8", crs=UTM33, transform=PLACE) as file:  # fmt: skip
        file.write(np.ones((2, 4, 4), np.uint8))
    out = ("--out", tmp_path / "p.gpkg")
    cli.refused(2, "holds float32 numbers; a class map holds whole numbers", "vectorize", numbers, *out)
    cli.refused(2, "has 2 bands; a class map has one", "vectorize", tmp_path / "two.tif", *out)
    cli.refused(2, r"no\.tif does not exist", "vectorize", tmp_path / "no.tif", *out)
    cli.refused(2, "need an area such as 0.5ha", "vectorize", class_map, *out, "--min-area", "large")
    cli.refused(2, "need an area such as 0.5ha", "vectorize", class_map, *out, "--min-area", "-3px")
    cli.refused(2, "polygons are written as a GeoPackage", "vectorize", class_map, "--out", tmp_path / "p.shp")
    (tmp_path / "d.gpkg").mkdir()
    cli.refused(2, r"d\.gpkg is a folder; choose another name", "vectorize", class_map, "--out", tmp_path / "d.gpkg")
    (tmp_path / "map.gpkg").write_bytes(class_map.read_bytes())
    cli.refused(2, "is the map itself", "vectorize", tmp_path / "map.gpkg", "--out", tmp_path / "map.gpkg")
    assert not (tmp_path / "p.gpkg").exists()


def test_hectares_are_refused_where_the_pixel_size_is_unknown(cli, values, tmp_path):
    np.save(tmp_path / "m.npy", values)
    words = ("vectorize", tmp_path / "m.npy", "--out", tmp_path / "p.gpkg", "--min-area", "1ha")
    cli.refused(2, "has no coordinate system. Give pixels, such as 20px", *words)


def test_without_pyogrio_the_extra_is_named(class_map, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(pf.PatchfreeError, match=r"Writing p\.gpkg needs the package pyogrio.*patchfree\[vector\]"):
        pf.vectorize(class_map, tmp_path / "p.gpkg")


def test_a_full_disk_leaves_the_old_polygons(class_map, tmp_path):
    out = pf.vectorize(class_map, tmp_path / "out" / "p.gpkg", min_area="20px")
    before = contents(out.parent)
    with full_disk(8192), pytest.raises(pf.PatchfreeError, match=r"p\.gpkg could not be written: .*untouched"):
        pf.vectorize(class_map, out)
    assert contents(out.parent) == before


# --- strip by strip


def noise():
    """Three classes and holes at random: many areas touch at corners only."""
    return np.random.default_rng(5).integers(0, 4, (40, 31)).astype(np.uint8)


def rings():
    """Rings within rings, and a comb whose teeth join at the lower end only."""
    distance = np.abs(np.mgrid[-20:21, -15:16]).max(0)
    made = (distance % 5 // 2 + 1).astype(np.uint8)
    made[2:-2, 3:28:4], made[-2] = 3, 3
    return made


def traced(values, **more):
    batches = list(outlines(values, **more))
    assert [last for *_, last in batches] == [False] * (len(batches) - 1) + [True]
    areas = np.concatenate([areas for areas, _, _ in batches])
    return areas, np.concatenate([classes for _, classes, _ in batches])


@pytest.mark.parametrize("rows", [1, 2, 7, 39])
@pytest.mark.parametrize("make", [noise, rings, lambda: np.full((40, 3), 7, np.uint16)], ids=["noise", "rings", "one"])
def test_strips_give_the_polygons_of_the_whole(make, rows):
    values = make()
    (whole, expected), (found, classes) = traced(values), traced(values, rows=rows)
    assert shapely.is_valid(found).all()
    assert (shapely.get_type_id(found) == 3).all()
    assert sorted(shapely.area(found)) == sorted(shapely.area(whole)) == areas(values)
    assert shapely.get_num_coordinates(found).sum() == shapely.get_num_coordinates(whole).sum()
    one, two = (
        sorted(zip(shapely.normalize(a), c, strict=True), key=lambda p: p[0].wkb)
        for a, c in ((whole, expected), (found, classes))
    )
    assert one == two
    np.testing.assert_array_equal(
        rasterize(zip(found, classes.tolist(), strict=True), values.shape, dtype="uint16"), values
    )


@pytest.mark.parametrize("least", [2, 9])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_small_areas_are_merged_on_disk_as_in_memory(tmp_path, monkeypatch, least, dtype):
    values = (noise().astype(dtype) * (1 if dtype == np.uint8 else 256)).astype(dtype)
    expected = merge_small(values, least)
    monkeypatch.setattr("patchfree.outlines.STRIP_PIXELS", 100)
    np.testing.assert_array_equal(merge_small(values, least, folder=tmp_path), expected)
    assert not np.array_equal(expected, values)


def test_a_map_in_strips_and_batches_gives_the_same_layer(values, class_map, tmp_path, monkeypatch):
    _, whole, table = features(pf.vectorize(class_map, tmp_path / "whole.gpkg"))
    monkeypatch.setattr("patchfree.outlines.STRIP_PIXELS", 1000)
    monkeypatch.setattr("patchfree.polygons.BATCH", 20)
    _, parts, found = features(pf.vectorize(class_map, tmp_path / "parts.gpkg"))
    assert list(contents(tmp_path)) == ["map.tif", "parts.gpkg", "whole.gpkg"]
    assert len(parts) == len(whole) > 60
    for name in ("class", "pixels"):
        assert sorted(found[name].tolist()) == sorted(table[name].tolist())
    np.testing.assert_array_equal(burnt(parts, found["class"], values.shape), values)


def test_a_map_without_classes_is_refused(cli, tmp_path):
    empty = write_raster(tmp_path / "m.tif", np.zeros((5, 5), np.uint8))
    cli.refused(2, "holds no class: all pixels are 0", "vectorize", empty, "--out", tmp_path / "p.gpkg")
    assert not (tmp_path / "p.gpkg").exists()
