"""Objects: connected pixels that a method found, with their spectra, as a list and as a GeoPackage.

Dimension key: c bands, h rows, w columns.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from jaxtyping import Bool, Float, Float64, Int
from rasterio.features import shapes
from scipy import ndimage

from patchfree.errors import ConfigError
from patchfree.files import replacing
from patchfree.ground import pixel_hectares
from patchfree.polygons import placed, vector_libraries
from patchfree.scene import Grid
from patchfree.unsupervised.view import View, blocks

NEIGHBOURS = np.ones((3, 3), int)  # pixels that share a corner belong together


@dataclass(frozen=True, eq=False)
class FoundObject:
    """Connected pixels that a method found.

    Attributes:
        number: from 1, by falling peak score or by falling number of pixels.
        pixels: how many.
        area_ha: on the ground, or None where the size of a pixel is not known.
        peak: highest score.
        mean_score: mean score.
        row: of the pixel with the peak, from 0.
        col: of the pixel with the peak, from 0.
        spectrum: mean of its pixels, one value a band of the scene.
    """

    number: int
    pixels: int
    area_ha: float | None
    peak: float
    mean_score: float
    row: int
    col: int
    spectrum: Float64[np.ndarray, " c"]


def find_objects(
    scores: Float[np.ndarray, "h w"],
    found: Bool[np.ndarray, "h w"],
    view: View,
    grid: Grid,
    *,
    largest: int | None = None,
) -> tuple[list[FoundObject], Int[np.ndarray, "h w"]]:
    """The objects in their order, and the number of the object that each pixel belongs to (0 for none).

    Args:
        scores: of the pixels, not NaN where one is found.
        found: which pixels are found.
        view: the scene.
        grid: of the scene.
        largest: only the objects with most pixels, at most so many, largest first; None for all, highest peak first.
    """
    index, count = ndimage.label(found, NEIGHBOURS)
    if not count:
        return [], index
    numbers = np.arange(1, count + 1)
    peaks = np.asarray(ndimage.maximum(scores, index, numbers))
    if largest is None:
        order = np.argsort(-peaks, kind="stable")
    else:
        sizes = np.bincount(index.ravel(), minlength=count + 1)[1:]
        order = np.lexsort((-peaks, -sizes))[:largest]
        numbers = numbers[: len(order)]
    renamed = np.zeros(count + 1, np.int32)
    renamed[order + 1] = numbers
    index = renamed[index]
    pixels = np.bincount(index.ravel(), minlength=len(numbers) + 1)[1:]
    means = np.asarray(ndimage.mean(scores, index, numbers))
    places = ndimage.maximum_position(scores, index, numbers)
    spectra = _mean_spectra(view, index, pixels)
    hectares = pixel_hectares(grid)
    objects = [
        FoundObject(
            number=int(number),
            pixels=int(pixels[i]),
            area_ha=None if hectares is None else float(pixels[i] * hectares),
            peak=float(peaks[order[i]]),
            mean_score=float(means[i]),
            row=int(places[i][0]),
            col=int(places[i][1]),
            spectrum=spectra[i],
        )
        for i, number in enumerate(numbers)
    ]
    return objects, index


def _mean_spectra(
    view: View, index: Int[np.ndarray, "h w"], pixels: Int[np.ndarray, " n"]
) -> Float64[np.ndarray, "n c"]:
    """Mean spectrum of each object: windows without any are not read."""
    sums = np.zeros((len(pixels), view.bands))
    for window in view.windows:
        mine = index[window]
        if not mine.any():
            continue
        values, valid = view.read(window)
        chosen: Bool[np.ndarray, "h w"] = valid & (mine > 0)
        for where, spectra in blocks(values, chosen):
            np.add.at(sums, mine.ravel()[where] - 1, spectra.T)
    return sums / pixels[:, None]


def check_name(path: Path) -> None:
    """Refuse any format but GeoPackage.

    Raises:
        ConfigError: the name ends otherwise.
    """
    if path.suffix.lower() != ".gpkg":
        raise ConfigError(f"Got {path.name}; objects are written as a GeoPackage. Choose a name such as objects.gpkg.")


def write_objects(
    path: str | Path,
    objects: list[FoundObject],
    index: Int[np.ndarray, "h w"],
    grid: Grid,
    *,
    layer: str,
    spectra: dict[str, slice],
) -> Path:
    """Write objects as a GeoPackage; an empty list gives an empty layer.

    Attributes: `object`, `pixels`, `area_ha` where the size of a pixel is known, `peak`, `mean_score`, `row`, `col`, and mean
    spectra as JSON lists. Scenes without position give coordinates in pixels, rows counted downwards from 0 (-row).

    Args:
        path: the file.
        objects: what `find_objects` found.
        index: the object of each pixel.
        grid: of the scene.
        layer: name of the layer.
        spectra: names of the attributes with spectra, and which bands each holds.

    Raises:
        ConfigError: the path is no GeoPackage.
        MissingExtra: the extra `vector` is not installed.
        OutputError: it cannot be written.
    """
    path = Path(path)
    check_name(path)
    pyogrio, shapely = vector_libraries(path)
    parts: dict[int, list[object]] = {entry.number: [] for entry in objects}
    for shape, value in shapes(index.astype(np.int32), mask=index > 0, connectivity=4, transform=Affine.identity()):
        parts[int(value)].append(shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]))
    # Parts that touch at a corner only are parts of a multipolygon: one outline around them would not be valid.
    geometries = np.array([shapely.MultiPolygon(parts[entry.number]) for entry in objects], object)
    geometries = shapely.transform(geometries, lambda points: placed(points, grid))
    columns = {
        "object": np.array([entry.number for entry in objects], np.int32),
        "pixels": np.array([entry.pixels for entry in objects], np.int64),
        "peak": np.array([entry.peak for entry in objects], np.float64),
        "mean_score": np.array([entry.mean_score for entry in objects], np.float64),
        "row": np.array([entry.row for entry in objects], np.int32),
        "col": np.array([entry.col for entry in objects], np.int32),
    }
    for name, part in spectra.items():
        columns[name] = np.array(
            [json.dumps([float(f"{v:.6g}") for v in entry.spectrum[part]]) for entry in objects], object
        )
    if pixel_hectares(grid) is not None:
        columns["area_ha"] = np.array([entry.area_ha for entry in objects], np.float64)
    with replacing(path) as new, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # a scene without position has none
        try:
            pyogrio.raw.write(
                new,
                shapely.to_wkb(geometries),
                list(columns.values()),
                list(columns),
                layer=layer,
                driver="GPKG",
                geometry_type="MultiPolygon",
                crs=grid.crs,
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError) as error:
            raise OSError(str(error)) from error
    return path
