"""How large a pixel is on the ground, whatever units its coordinate system has."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from patchfree.scene import Grid

if TYPE_CHECKING:
    from rasterio.crs import CRS

SQUARE_METRES_A_HECTARE = 10_000.0
NAMELESS = ("unnamed", "unknown")  # as GDAL calls what a file gives by its parameters only
WGS84_RADIUS_M, WGS84_ECCENTRICITY_SQUARED = 6_378_137.0, 0.00669437999014


def pixel_metres(grid: Grid) -> tuple[float, float] | None:
    """Height and width of a pixel in metres; None where the coordinate system is unknown or has no position on the earth.

    In a geographic system (degrees) a pixel's width shrinks towards the poles: the size is that at the middle of the
    grid, on the WGS 84 ellipsoid.
    """
    factors = _metres_a_unit(grid)
    if factors is None or grid.transform is None:
        return None
    east, north = factors
    a, b, _, d, e, _ = grid.transform
    return math.hypot(b * east, e * north), math.hypot(a * east, d * north)


def pixel_hectares(grid: Grid) -> float | None:
    """Area of a pixel in hectares, or None, as `pixel_metres`."""
    factors = _metres_a_unit(grid)
    if factors is None or grid.transform is None:
        return None
    a, b, _, d, e, _ = grid.transform
    return abs(a * e - b * d) * factors[0] * factors[1] / SQUARE_METRES_A_HECTARE


def crs_name(grid: Grid) -> str | None:
    """Code and name of the coordinate system, such as "EPSG:32633, WGS 84 / UTM zone 33N"; None if there is none."""
    if grid.crs is None:
        return None
    code = _parsed(grid.crs).to_epsg()
    name = _name(grid.crs)
    if code and name in NAMELESS:
        name = _name(_parsed(f"EPSG:{code}").to_wkt())
    return f"EPSG:{code}, {name}" if code else name


def crs_units(grid: Grid) -> str:
    """Units of the coordinates, for people: "m", "degrees", or "map units" where they are unknown."""
    if grid.crs is None:
        return "map units"
    crs = _parsed(grid.crs)
    if crs.is_geographic:
        return "degrees"
    return {1.0: "m"}.get(crs.linear_units_factor[1], crs.linear_units) if crs.is_projected else "map units"


def _metres_a_unit(grid: Grid) -> tuple[float, float] | None:
    """Metres of one unit of the coordinates to the east and to the north."""
    if grid.crs is None or grid.transform is None:
        return None
    crs = _parsed(grid.crs)
    if crs.is_projected:
        factor = float(crs.linear_units_factor[1])
        return factor, factor
    if not crs.is_geographic:
        return None
    _, _, _, d, e, f = grid.transform
    latitude = math.radians(d * grid.width / 2 + e * grid.height / 2 + f)
    bulge = 1 - WGS84_ECCENTRICITY_SQUARED * math.sin(latitude) ** 2
    east = WGS84_RADIUS_M / math.sqrt(bulge) * math.cos(latitude)
    north = WGS84_RADIUS_M * (1 - WGS84_ECCENTRICITY_SQUARED) / bulge**1.5
    return math.radians(1) * east, math.radians(1) * north


@lru_cache(maxsize=8)
def _parsed(text: str) -> CRS:
    from rasterio.crs import CRS  # slow to import, and not needed for a scene without a map position

    return CRS.from_string(text)


def _name(wkt: str) -> str:
    return wkt.split('"')[1] if '"' in wkt else wkt
