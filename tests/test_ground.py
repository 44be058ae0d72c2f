"""Metres and hectares, against GDAL's own reprojection of the corners of a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.warp import transform as reproject

from patchfree.ground import crs_name, crs_units, pixel_hectares, pixel_metres
from patchfree.scene import Grid

UTM33 = CRS.from_epsg(32633).to_wkt()
DEGREES = CRS.from_epsg(4326).to_wkt()


def test_a_pixel_in_metres_is_as_large_as_the_transform_says():
    grid = Grid(40, 50, UTM33, (30.0, 0.0, 300_000.0, 0.0, -20.0, 5_800_000.0))
    assert pixel_metres(grid) == (20, 30)
    assert pixel_hectares(grid) == pytest.approx(0.06)
    assert (crs_units(grid), crs_name(grid)) == ("m", "EPSG:32633, WGS 84 / UTM zone 33N")


def test_a_turned_pixel_keeps_its_sides_and_area():
    c, s = np.cos(0.4), np.sin(0.4)
    grid = Grid(40, 50, UTM33, (30 * c, 20 * s, 300_000.0, 30 * s, -20 * c, 5_800_000.0))
    assert pixel_metres(grid) == pytest.approx((20, 30))
    assert pixel_hectares(grid) == pytest.approx(0.06)


def test_feet_are_turned_into_metres():
    grid = Grid(4, 5, CRS.from_epsg(2263).to_wkt(), (100.0, 0.0, 9e5, 0.0, -100.0, 2e5))  # New York, US survey feet
    assert pixel_metres(grid) == pytest.approx((30.48006, 30.48006))
    assert "foot" in crs_units(grid)


@pytest.mark.parametrize("latitude", [-54.8, -0.5, 13.0, 52.4, 78.2])
def test_degrees_agree_with_a_reprojection_of_the_middle_pixel(latitude):
    step = 0.0003
    grid = Grid(2, 2, DEGREES, (step, 0.0, 15.0 - step, 0.0, -step, latitude + step))
    high, wide = pixel_metres(grid)
    zone = CRS.from_string(f"+proj=tmerc +lat_0={latitude} +lon_0=15 +k=1 +datum=WGS84 +units=m")
    x, y = reproject(DEGREES, zone, [15.0, 15.0 + step, 15.0], [latitude, latitude, latitude + step])
    assert wide == pytest.approx(np.hypot(x[1] - x[0], y[1] - y[0]), rel=1e-5)
    assert high == pytest.approx(np.hypot(x[2] - x[0], y[2] - y[0]), rel=1e-5)
    assert pixel_hectares(grid) == pytest.approx(high * wide / 1e4)
    assert crs_units(grid) == "degrees"


def test_a_system_that_a_file_gives_by_its_parameters_has_the_name_of_its_code():
    from rasterio.crs import CRS

    crs = CRS.from_proj4("+proj=utm +zone=4 +datum=WGS84 +units=m +no_defs").to_wkt()
    assert crs.split('"')[1] == "unknown"
    grid = Grid(4, 5, crs, (30.0, 0.0, 0.0, 0.0, -30.0, 0.0))
    assert crs_name(grid) == "EPSG:32604, WGS 84 / UTM zone 4N"


def test_without_a_coordinate_system_nothing_is_made_up():
    bare = Grid(4, 5)
    assert (pixel_metres(bare), pixel_hectares(bare), crs_name(bare), crs_units(bare)) == (
        None,
        None,
        None,
        "map units",
    )
    placed = Grid(4, 5, None, (30.0, 0.0, 0.0, 0.0, -30.0, 0.0))
    assert pixel_metres(placed) is None
    local = Grid(4, 5, 'LOCAL_CS["site",UNIT["metre",1]]', (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    assert (pixel_metres(local), crs_name(local), crs_units(local)) == (None, "site", "map units")
