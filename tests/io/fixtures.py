"""Writers of raster and vector files for the tests, all independent of patchfree: text, NumPy, rasterio, pyogrio."""

import contextlib
import math
import warnings

import numpy as np
import pyogrio
import rasterio
import shapely
from affine import Affine

UTM33 = "EPSG:32633"
ENVI_CODES = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "c8": 6, "c16": 9, "u2": 12, "u4": 13, "i8": 14, "u8": 15}
ENVI_AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}


def placed(row=0.0, col=0.0, *, pixel=30.0, angle=0.0):
    """A transform whose upper left corner lies at (row, column) of the usual grid of 30 m, turned by degrees."""
    cos, sin = math.cos(math.radians(angle)) * pixel, math.sin(math.radians(angle)) * pixel
    return Affine(cos, sin, 362175.0 + 30 * col, sin, -cos, 5809965.0 - 30 * row)


def at(row, col, transform):
    """Map coordinates of a place in the pixel grid."""
    return transform.a * col + transform.b * row + transform.c, transform.d * col + transform.e * row + transform.f


def part_of(grid, row, col):
    """The transform of a window of a grid whose upper left pixel is (row, column)."""
    x, y = at(row, col, grid)
    return Affine(grid.a, grid.b, x, grid.d, grid.e, y)


def random_cube(c, h, w, dtype="float32", *, low=1, high=200, seed=0):
    """Values from `low` to below `high` of any type, so that neither 0 nor a usual nodata value occurs by chance."""
    return np.random.default_rng(seed).integers(low, high, (c, h, w)).astype(dtype)


@contextlib.contextmanager
def no_georeference_is_fine():
    """Silence rasterio, which warns when a raster without map position is opened or written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


HERE = placed()


def write_tif(path, cube, *, crs=UTM33, transform=HERE, driver="GTiff", edit=None, **profile):
    """A raster of a channel-first cube or one band; `edit(file)` may add tags, masks and colours."""
    cube = cube[None] if cube.ndim == 2 else cube
    profile |= {"count": cube.shape[0], "height": cube.shape[1], "width": cube.shape[2], "dtype": cube.dtype}
    with (
        no_georeference_is_fine(),
        rasterio.open(path, "w", driver=driver, crs=crs, transform=transform, **profile) as file,
    ):
        file.write(cube)
        if edit is not None:
            edit(file)
    return path


def write_envi(folder, cube, *, header="x.hdr", binary="x", interleave="bsq", order="<", offset=0, drop=(), **fields):
    """Header as text and binary as bytes; `fields` (underscores are spaces) are added or replace the usual ones."""
    stored = np.ascontiguousarray(cube.transpose(ENVI_AXES[interleave]), cube.dtype.newbyteorder(order))
    (folder / binary).write_bytes(b"\7" * offset + stored.tobytes())
    c, h, w = cube.shape
    usual = {"samples": w, "lines": h, "bands": c, "header offset": offset, "data type": ENVI_CODES[cube.dtype.str[1:]]}
    usual |= {"interleave": interleave, "byte order": int(order == ">")}
    usual |= {key.replace("_", " "): value for key, value in fields.items()}
    lines = ["ENVI", *(f"{key} = {braces(value)}" for key, value in usual.items() if key not in drop)]
    (folder / header).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / header


def braces(value):
    """A list as ENVI writes it."""
    return "{" + ", ".join(map(str, value)) + "}" if isinstance(value, list | tuple) else value


def square(row, col, rows=1, cols=1, transform=HERE):
    """The polygon of a block of whole pixels."""
    corners = [(row, col), (row, col + cols), (row + rows, col + cols), (row + rows, col)]
    return shapely.Polygon([at(*corner, transform) for corner in corners])


def centre(row, col, transform=HERE):
    """The point in the middle of a pixel."""
    return shapely.Point(*at(row + 0.5, col + 0.5, transform))


def write_vector(path, shapes, *, crs=UTM33, layer=None, append=False, **columns):
    """A layer of shapes; each keyword is an attribute with one entry a shape."""
    kinds = {shape.geom_type for shape in shapes if shape is not None}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        pyogrio.raw.write(
            path,
            np.array([None if shape is None else shapely.to_wkb(shape) for shape in shapes], object),
            [np.asarray(column) for column in columns.values()],
            list(columns),
            geometry_type=kinds.pop() if len(kinds) == 1 else "Unknown",
            crs=crs,
            layer=layer,
            append=append,
        )
    return path
