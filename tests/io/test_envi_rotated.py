"""A rotated ENVI grid lies where its header says: the reference pixel at its coordinates, pixels of the stated size."""

import math

import pytest
import rasterio
from affine import Affine
from fixtures import at, random_cube, write_envi

from conftest import synthetic
from jobs import short
from patchfree.io import open_scene
from patchfree.training import train

ANGLES = [-135.0, -90.0, -16.5, 30.0, 42.0, 90.0, 179.0, 181.0, 270.0, 359.0]
UTM = "{UTM, 1, 1, 581226.666764, 7916192.56364, 5.2, 5.2, 4, North, WGS-84, units=Meters"
WKT = (
    '{PROJCS["UTM_Zone_4N",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],'
    'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["False_Easting",500000.0],PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",-159.0],'
    'PARAMETER["Scale_Factor",0.9996],PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]}'
)


def grid_of(folder, map_info, **fields):
    return open_scene(write_envi(folder, random_cube(2, 6, 5), map_info=map_info, **fields)).grid


def gdal(folder):
    with rasterio.open(folder / "x", driver="ENVI") as file:
        return file.transform, file.crs


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(
    "start",
    [
        UTM,
        "{UTM, 1, 1, 300000, 6250000, 30, 30, 56, South, WGS-84, units=Meters",
        "{Geographic Lat/Lon, 1, 1, 12.5, 52.5, 0.0001, 0.0001, WGS-84, units=Degrees",
        "{Geographic Lat/Lon, 1, 1, 45000, 189000, 0.36, 0.36, WGS-84, units=Seconds",
    ],
    ids=["north", "south", "degrees", "seconds"],
)
def test_square_pixels_from_the_first_pixel_lie_where_gdal_puts_them(tmp_path, start, angle):
    grid = grid_of(tmp_path, f"{start}, rotation={angle}}}")
    transform, crs = gdal(tmp_path)
    assert grid.transform == pytest.approx(tuple(transform)[:6], abs=1e-9)
    assert rasterio.crs.CRS.from_wkt(grid.crs) == crs


def test_a_flight_line_of_aviris_ng_lies_where_its_archive_says(tmp_path):
    """The header and gdalinfo's answer for ang20170714t213741, as ORNL DAAC prints them."""
    grid = grid_of(tmp_path, UTM + ", rotation=42.00000000}", coordinate_system_string=WKT)
    a, b, d, e = 3.86435309248245, 3.479479153066063, 3.479479153066063, -3.86435309248245
    assert grid.transform == pytest.approx((a, b, 581226.666764, d, e, 7916192.56364), abs=1e-9)
    assert grid.pixel_size == pytest.approx((5.2, 5.2))
    assert 'central_meridian",-159' in grid.crs


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("reference", [(1, 1), (1.5, 1.5), (3, 2), (-4.5, 7)])
@pytest.mark.parametrize("size", [(30, 30), (30, 20)])
def test_the_reference_pixel_has_its_coordinates_and_pixels_their_size(tmp_path, angle, reference, size):
    column, row = reference
    grid = grid_of(
        tmp_path,
        f"{{UTM, {column}, {row}, 362175, 5809965, {size[0]}, {size[1]}, 33, North, WGS-84, rotation={angle}}}",
    )
    affine = Affine(*grid.transform)
    assert at(row - 1, column - 1, affine) == pytest.approx((362175, 5809965))
    assert grid.pixel_size == pytest.approx((size[1], size[0]))
    assert math.degrees(math.atan2(affine.d, affine.a)) % 360 == pytest.approx(angle % 360)
    assert affine.a * affine.b + affine.d * affine.e == pytest.approx(0, abs=1e-9)  # rows at right angles to columns
    assert affine.determinant == pytest.approx(-size[0] * size[1])  # not mirrored


def test_an_angle_written_with_spaces_counts(tmp_path):
    spaced = grid_of(tmp_path, UTM + " , rotation = 30.0 }")
    plain = grid_of(tmp_path, UTM + ",rotation=30}")
    assert spaced.transform == pytest.approx(plain.transform)
    assert spaced.transform[1] == pytest.approx(2.6)


def test_half_a_turn_is_read_as_gdal_reads_it_and_noted(tmp_path):
    scene = open_scene(write_envi(tmp_path, random_cube(2, 6, 5), map_info=UTM + ", rotation=180}"))
    assert scene.grid.transform == pytest.approx(tuple(gdal(tmp_path)[0])[:6])
    assert any("rotation=180: read as rows that run to the north" in note for note in scene.notes)


def test_an_arbitrary_system_may_be_rotated(tmp_path):
    grid = grid_of(tmp_path, "{Arbitrary, 1, 1, 100, 200, 2, 2, 0, North, rotation=10}")
    assert grid.crs is None
    assert math.degrees(math.atan2(grid.transform[3], grid.transform[0])) == pytest.approx(10)


def test_a_damaged_angle_leaves_the_position_to_gdal(tmp_path):
    grid = grid_of(tmp_path, UTM + ", rotation=some}")
    assert grid.transform == pytest.approx(tuple(gdal(tmp_path)[0])[:6])


def test_the_map_of_a_rotated_scene_lies_on_its_grid(tmp_path):
    made, labels = synthetic(rows=24, cols=28)
    header = write_envi(
        tmp_path,
        made.values,
        map_info="{UTM, 3, 2, 362175, 5809965, 30, 20, 33, South, WGS-84, rotation=-16.5}",
        wavelength=[round(v, 2) for v in made.bands.wavelengths_nm],
        wavelength_units="Nanometers",
    )
    scene = open_scene(header)
    run = train(scene, labels, recipe=short(2), controls=(), device="cpu")
    run.predict(scene, device="cpu").save_map(tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        assert tuple(file.transform)[:6] == pytest.approx(scene.grid.transform, abs=1e-6)
        assert file.crs == rasterio.crs.CRS.from_epsg(32733)
        assert file.shape == (24, 28)
