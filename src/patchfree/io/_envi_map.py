"""Where a rotated ENVI grid lies: airborne scenes (AVIRIS, AVIRIS-NG) are stored along the line of flight.

The header gives one pixel's map coordinates, the pixel's size and the angle `rotation=`. GDAL (3.10) reads rotated
grids whose pixels are square and whose reference pixel is the first one; otherwise it turns the pixel's shape with the
wrong side, or leaves the way from the reference pixel to the corner unturned, or misses an angle written with spaces.
"""

from __future__ import annotations

import math

Transform = tuple[float, float, float, float, float, float]

SECONDS = 3600.0


def place(map_info: str, found: Transform | None) -> tuple[Transform | None, str | None]:
    """The affine of a rotated grid, or the one that GDAL found for any other, and a note if the angle is ambiguous.

    The angle turns the grid counterclockwise, as GDAL reads it: checked by ORNL DAAC on AVIRIS-NG flight line
    ang20170714t213741 (rotation=42), https://github.com/ornldaac/AVIRIS-NG_ENVI-rotatedgrid.

    Args:
        map_info: the header's entry, without braces.
        found: what GDAL read; None if it found no usable position, which then stays so.
    """
    parts = [part.strip() for part in map_info.split(",")]
    named = {key.strip().lower(): value.strip() for key, equals, value in (p.partition("=") for p in parts) if equals}
    try:
        angle = float(named.get("rotation", 0)) % 360
        x_reference, y_reference, east, north, width, height = (float(part) for part in parts[1:7])
    except ValueError:
        return found, None
    if found is None or angle == 0:
        return found, None
    if angle == 180:
        return found, (
            "The header says rotation=180: read as rows that run to the north, as GDAL reads and writes it. If the scene "
            "is turned by half, columns included, its map is mirrored: compare it with another map."
        )
    if named.get("units", "").lower() == "seconds":  # only with Geographic Lat/Lon, whose numbers are in degrees here
        east, north, width, height = (value / SECONDS for value in (east, north, width, height))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    a, b, d, e = cos * width, sin * height, sin * width, -cos * height
    columns, rows = x_reference - 1, y_reference - 1  # the first pixel's outer corner is (1, 1)
    return (a, b, east - a * columns - b * rows, d, e, north - d * columns - e * rows), None
