"""A scene in tiles: a folder of rasters, or a list of them, put together on their common grid.

Holes between tiles hold no data. Nothing is resampled: tiles must lie on one grid.
"""

from __future__ import annotations

import csv
import dataclasses
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from patchfree.errors import SceneError
from patchfree.io._reader import Description, Reader, Window
from patchfree.io.gdal import Gdal
from patchfree.scene import Grid

SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2")
POINTS = {"row", "x", "lon"}  # a table of labelled points, whatever else it has
COLUMNS = {3: ("image", "scene"), 2: ("mask", "label", "labels")}


def is_mosaic(path: Path) -> bool:
    """True for a folder with rasters, and for a table with a column of files."""
    if path.is_dir():
        return True
    if path.suffix.lower() != ".csv":
        return False
    header = _header(path)
    return not header & POINTS and any(name in header for names in COLUMNS.values() for name in names)


def _header(path: Path) -> set[str]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        return {name.strip().lower() for name in next(csv.reader(file), [])}


class Mosaic(Reader):
    """Tiles of one grid as one raster.

    A folder stands for all its rasters. A CSV stands for the files in its column `image` (for a scene) or
    `mask` (for labels); they are looked for as written, beside the table, and by name in its subfolders.
    """

    def _tiles(self) -> list[Path]:
        if self.path.is_dir():
            tiles = sorted(p for p in self.path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not tiles:
                raise SceneError(f"The folder {self.path} holds no raster ({', '.join(SUFFIXES)}).")
            return tiles
        with self.path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = [
                {(k or "").strip().lower(): (v or "").strip() for k, v in row.items()} for row in csv.DictReader(file)
            ]
        column = next((name for name in COLUMNS[self.layers] if rows and name in rows[0]), None)
        if column is None:
            raise SceneError(f"{self.path} has no column {' or '.join(COLUMNS[self.layers])} that lists the tiles.")
        tiles = [self._find(row[column]) for row in rows if row[column]]
        if not tiles:
            raise SceneError(f"The column {column} of {self.path} lists no tile.")
        return tiles

    def _find(self, entry: str) -> Path:
        listed = Path(entry)
        roots = [listed, self.path.parent / listed, self.path.parent / listed.name]
        parts = listed.parts[-2:]
        roots.append(self.path.parent.joinpath(*parts))
        for candidate in roots:
            if candidate.is_file():
                return candidate
        raise SceneError(
            f"{self.path} lists {entry}, which is not there; looked in {', '.join(sorted({str(r.parent) for r in roots}))}."
        )

    @cached_property
    def _placed(self) -> tuple[Description, list[tuple[Path, int, int, Grid]]]:
        """The description of the whole, and row and column of each tile in it."""
        tiles = [(path, Gdal(path).describe()) for path in self._tiles()]
        first_path, first = tiles[0]
        if first.grid.transform is None:
            raise SceneError(f"{first_path} has no map position; tiles can only be put together by their position.")
        a, b, x0, d, e, y0 = first.grid.transform
        inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
        placed = []
        for path, tile in tiles:
            grid = tile.grid
            same = grid.transform is not None and np.allclose(
                np.array(grid.transform)[[0, 1, 3, 4]], [a, b, d, e], rtol=1e-9
            )
            if grid.crs != first.grid.crs or not same or len(tile.bands) != len(first.bands):
                raise SceneError(
                    f"{path} does not fit {first_path.name}: tiles need the same CRS, pixel size and number of bands "
                    f"({len(tile.bands)} and {len(first.bands)} bands). Leave it out or warp it onto the grid first."
                )
            if _coding(tile) != _coding(first):
                raise SceneError(
                    f"{path} stores its numbers in another way than {first_path.name}: nodata, scale and offset are "
                    f"{_coding(tile)} and {_coding(first)}. Leave it out or convert it first."
                )
            assert grid.transform is not None
            shift = inverse @ np.array([grid.transform[2] - x0, grid.transform[5] - y0])
            col, row = np.rint(shift).astype(int)
            if np.abs(shift - [col, row]).max() > 0.01:
                raise SceneError(
                    f"{path} lies {shift[0]:.3f} columns and {shift[1]:.3f} rows from {first_path.name}: not whole pixels. "
                    "Warp it onto the grid first."
                )
            placed.append((path, int(row), int(col), grid))
        top, left = min(p[1] for p in placed), min(p[2] for p in placed)
        height = max(p[1] + p[3].height for p in placed) - top
        width = max(p[2] + p[3].width for p in placed) - left
        corner = (a, b, x0 + a * left + b * top, d, e, y0 + d * left + e * top)
        whole = dataclasses.replace(
            first,
            format=f"mosaic of {len(placed)} {first.format} tiles",
            dtype=np.result_type(*(tile.dtype for _, tile in tiles)),
            grid=Grid(height, width, first.grid.crs, corner),
            bad_bands=tuple(sorted({band for _, tile in tiles for band in tile.bad_bands})),
            notes=(*first.notes, f"{len(placed)} tiles were put together; holes between them hold no data."),
        )
        return whole, [(path, row - top, col - left, grid) for path, row, col, grid in placed]

    @property
    def kept_bytes(self) -> int:
        """What it takes to unpack large strips or tiles of one of the files: they are read one after the other."""
        return max(Gdal(path).kept_bytes for path, _, _, _ in self._placed[1])

    @property
    def files(self) -> list[Path]:
        """The tiles, and the table that lists them."""
        return [*([] if self.path.is_dir() else [self.path]), *(path for path, _, _, _ in self._placed[1])]

    def describe(self) -> Description:
        """Read the metadata of every tile."""
        return self._placed[0]

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers; nodata in holes. Where tiles overlap, the last one with data counts."""
        whole, tiles = self._placed
        rows, cols = window or (slice(0, whole.grid.height), slice(0, whole.grid.width))
        nodata = whole.nodata or (None,) * len(whole.bands)
        fill = np.array([0 if v is None else v for v in nodata], whole.dtype)[:, None, None]
        values = np.tile(fill, (1, rows.stop - rows.start, cols.stop - cols.start))
        for path, row, col, grid in tiles:
            cut, target = _overlap(row, col, grid, rows, cols)
            if cut is not None:
                part, masked = Gdal(path).read(cut), Gdal(path).outside(cut)
                data = ~_empty(part, nodata) if masked is None else ~(_empty(part, nodata) | masked)
                np.copyto(values[:, *target], part, where=data)
        return values

    def outside(self, window: Window | None = None) -> Bool[np.ndarray, "h w"]:
        """True between the tiles, and where the tiles' own masks say that there is nothing."""
        whole, tiles = self._placed
        rows, cols = window or (slice(0, whole.grid.height), slice(0, whole.grid.width))
        outside = np.ones((rows.stop - rows.start, cols.stop - cols.start), bool)
        for path, row, col, grid in tiles:
            cut, target = _overlap(row, col, grid, rows, cols)
            if cut is not None:
                masked = Gdal(path).outside(cut)
                outside[target] &= False if masked is None else masked
        return outside


def _overlap(row: int, col: int, grid: Grid, rows: slice, cols: slice) -> tuple[Window | None, Window]:
    """What a tile and a window share: as pixels of the tile (None if nothing), and of the window."""
    above, below = max(row, rows.start), min(row + grid.height, rows.stop)
    left, right = max(col, cols.start), min(col + grid.width, cols.stop)
    target = slice(above - rows.start, below - rows.start), slice(left - cols.start, right - cols.start)
    if above >= below or left >= right:
        return None, target
    return (slice(above - row, below - row), slice(left - col, right - col)), target


def _coding(tile: Description) -> str:
    """Nodata, scale and offset in short; as text, so that NaN equals NaN."""
    return ", ".join(
        "none" if v is None else str(v[0] if len(set(map(str, v))) == 1 else v)
        for v in (tile.nodata, tile.scale, tile.offset)
    )


def _empty(part: Shaped[np.ndarray, "c h w"], nodata: tuple[float | None, ...]) -> Bool[np.ndarray, "h w"]:
    """True where every band is nodata: there a tile leaves what an overlapping one holds."""
    bands = [np.isnan(band) | (False if v is None else band == v) for band, v in zip(part, nodata, strict=True)]
    return np.all(bands, axis=0)
