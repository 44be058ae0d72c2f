"""A run folder as a STAC item, so that catalogues and other programs find the model, the map and where they hold.

STAC 1.1.0 (https://github.com/radiantearth/stac-spec) with the extensions for machine learning models (MLM 1.4.0),
classification 2.0.0, projection 2.0.0 and, where wavelengths are known, eo 2.0.0. The time of the scene is not known to
patchfree, so the item claims none: its range of time is the open one of the MLM specification's examples.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from rasterio._err import CPLE_BaseError  # warp lets PROJ's errors through as they are
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform

from patchfree.labels import LandCover
from patchfree.models import MODELS
from patchfree.run import Run
from patchfree.scene import Grid

EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
PARTS_OF_A_SIDE = 16  # straight edges in the scene's coordinate system are bent in degrees
UNKNOWN_TIME = {"datetime": None, "start_datetime": "1900-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}


def stac_item(run: Run, grids: Mapping[str, Grid], files: Collection[str]) -> dict[str, Any]:
    """The item of a run folder: plain values for JSON.

    Args:
        run: the trained run.
        grids: of each training scene, by the folder in the run folder that holds its map; "." is the run folder itself.
        files: rasters in the run folder; of the optional ones, those named here become assets.
    """
    geometry, bbox = _around([footprint(grid) for grid in grids.values()])
    extensions = ["mlm/v1.4.0", "classification/v2.0.0"]
    extensions += ["eo/v2.0.0"] if run.bands.wavelengths_nm else []
    alone = next(iter(grids.values())) if len(grids) == 1 else Grid(0, 0)  # several scenes have no projection in common
    extensions += ["projection/v2.0.0"] if alone.crs else []
    scene = run.metrics.get("scene", {}).get("name", "a scene")
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [EXTENSION.format(name) for name in extensions],
        "id": f"patchfree-{run.model_hash}",
        "geometry": geometry,
    }
    if bbox is not None:
        item["bbox"] = bbox
    item["properties"] = {
        "title": f"Land cover of {scene}",
        "description": f"{MODELS[run.model].__name__} trained on {scene}, and its map of all pixels.",
        **UNKNOWN_TIME,
        "bands": _bands(run),
        **_model(run),
        **_projection(alone),
    }
    item["links"] = []
    item["assets"] = _assets(run, grids, files)
    return item


def footprint(grid: Grid) -> tuple[dict[str, Any] | None, list[float] | None]:
    """Outline and bounding box in WGS 84; None where the grid has no position on the earth, or crosses the date line.

    (An outline that crosses the date line would have to be cut in two; without one the item stays valid.)
    """
    if grid.crs is None or grid.transform is None:
        return None, None
    steps = np.arange(PARTS_OF_A_SIDE) / PARTS_OF_A_SIDE
    none, all_ = np.zeros(PARTS_OF_A_SIDE), np.ones(PARTS_OF_A_SIDE)
    rows = np.concatenate([steps, all_, 1 - steps, none]) * grid.height  # down, right, up, left
    cols = np.concatenate([none, steps, all_, 1 - steps]) * grid.width
    a, b, c, d, e, f = grid.transform
    try:
        found = transform(CRS.from_wkt(grid.crs), "EPSG:4326", a * cols + b * rows + c, d * cols + e * rows + f)
    except (CPLE_BaseError, RasterioError):
        return None, None
    points = np.column_stack(found).round(7)
    low, high = points.min(0), points.max(0)
    if not np.isfinite(points).all() or high[0] - low[0] > 180:
        return None, None
    x, y = points.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:  # GeoJSON goes round counterclockwise
        points = points[::-1]
    ring = [*points.tolist(), points[0].tolist()]
    return {"type": "Polygon", "coordinates": [ring]}, [*low.tolist(), *high.tolist()]


def _around(
    outlines: Sequence[tuple[dict[str, Any] | None, list[float] | None]],
) -> tuple[dict[str, Any] | None, list[float] | None]:
    """One geometry and bounding box for all; None where one of them has none, or where they reach around the earth."""
    shapes = [shape for shape, _ in outlines if shape is not None]
    boxes = [box for _, box in outlines if box is not None]
    if len(shapes) < len(outlines):
        return None, None
    if len(outlines) == 1:
        return outlines[0]
    west, south = np.min(boxes, 0)[:2]
    east, north = np.max(boxes, 0)[2:]
    return {"type": "MultiPolygon", "coordinates": [shape["coordinates"] for shape in shapes]}, [
        float(value) for value in (west, south, east, north)
    ]


def _projection(grid: Grid) -> dict[str, Any]:
    if grid.crs is None:
        return {}
    crs = CRS.from_wkt(grid.crs)
    code = crs.to_epsg()
    found: dict[str, Any] = {"proj:code": f"EPSG:{code}"} if code else {"proj:wkt2": crs.to_wkt(version="WKT2_2019")}
    found["proj:shape"] = list(grid.shape)
    if grid.transform is not None:
        found["proj:transform"] = list(grid.transform)
    return found


def _bands(run: Run) -> list[dict[str, Any]]:
    bands = run.bands
    found: list[dict[str, Any]] = [{"name": _band_name(number)} for number in bands.numbers]
    # The extension eo counts in micrometres.
    for entry, wavelength in zip(found, bands.wavelengths_nm or (), strict=False):
        entry["eo:center_wavelength"] = round(wavelength / 1000, 9)
    for entry, width in zip(found, bands.fwhm_nm or (), strict=False):
        entry["eo:full_width_half_max"] = round(width / 1000, 9)
    return found


def _band_name(number: int) -> str:
    return f"B{number}"


def _model(run: Run) -> dict[str, Any]:
    """The fields of the MLM extension."""
    inputs = {
        "name": "scene",
        "bands": [_band_name(number) for number in run.bands.numbers],
        "input": {
            "shape": [-1, len(run.bands), -1, -1],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": std}
            for mean, std in zip(run.standardisation.mean, run.standardisation.std, strict=True)
        ],
        "resize_type": None,
    }
    if run.standardisation.components is not None:  # after the scaling; the weights hold the matrix
        inputs["pre_processing_function"] = {
            "format": "python",
            "expression": "patchfree.standardise.Standardisation.apply_to",
        }
    outputs = {
        "name": "class scores",
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [-1, len(run.legend), -1, -1],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": classes(run.legend),
        "post_processing_function": {"format": "python", "expression": "patchfree.predict.probabilities"},
    }
    found: dict[str, Any] = {
        "mlm:name": f"{run.model}-{run.model_hash[:12]}",
        "mlm:architecture": MODELS[run.model].__name__,
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "pytorch",
        "mlm:total_parameters": sum(value.numel() for value in run.weights.values()),
        "mlm:pretrained": False,
        "mlm:pretrained_source": None,
        "mlm:batch_size_suggestion": 1,
        "mlm:hyperparameters": run.recipe,
        "mlm:input": [inputs],
        "mlm:output": [outputs],
    }
    version = run.metrics.get("versions", {}).get("torch")
    return found | ({"mlm:framework_version": version} if version else {})


def classes(legend: Sequence[LandCover]) -> list[dict[str, Any]]:
    """The classes in the words of the classification extension, whose names are of letters, digits, - and _ only."""
    return [
        {
            "value": entry.value,
            "name": re.sub("[^0-9A-Za-z_-]+", "-", entry.name).strip("-") or f"class-{entry.value}",
            "description": entry.name,
            "color_hint": "{:02X}{:02X}{:02X}".format(*entry.colour),
        }
        for entry in legend
    ]


def _assets(run: Run, folders: Collection[str], files: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": {
            "href": "./model.safetensors",
            "type": "application/octet-stream; application=safetensors",
            "title": "Weights",
            "roles": ["mlm:model", "mlm:weights"],
            "mlm:artifact_type": "safetensors",
            # STAC wants bands at an asset where the item has some; the MLM extension wants them at the item.
            "bands": [{"name": _band_name(number)} for number in run.bands.numbers],
        },
        "settings": _asset("model.json", "application/json", "What is needed to use the weights", ["metadata"]),
    }
    for folder in folders:
        found |= _maps(run, folder, files)
    return found | {
        "metrics": _asset("metrics.json", "application/json", "Measured accuracy", ["metadata"]),
        "report": _asset("report.html", "text/html", "Report", ["overview"]),
    }


def _maps(run: Run, folder: str, files: Collection[str]) -> dict[str, Any]:
    """The rasters of one scene."""
    before, after = ("", "") if folder == "." else (f"{folder}/", f" of {PurePath(folder).name}")
    nothing = {"value": 0, "name": "no-data", "description": "no data", "nodata": True}
    names = [entry.name for entry in run.legend]
    highest = max(entry.value for entry in run.legend)
    found = {
        "map.tif": _asset(f"{before}map.tif", COG, f"Class of every pixel{after}", ["data"])
        | {
            "data_type": "uint8" if highest <= 255 else "uint16",
            "nodata": 0,
            "classification:classes": [nothing, *classes(run.legend)],
        },
        "probabilities.tif": _layers(
            f"{before}probabilities.tif", f"Calibrated probability of each class{after}", names
        ),
        "uncertainty.tif": _layers(
            f"{before}uncertainty.tif", f"Entropy and margin of the probabilities{after}", ["entropy", "margin"]
        ),
    }
    there = {name: asset for name, asset in found.items() if name == "map.tif" or before + name in files}
    return {
        f"{PurePath(before + name).with_suffix('')}".removeprefix("scenes/"): asset for name, asset in there.items()
    }


def _asset(name: str, kind: str, title: str, roles: list[str]) -> dict[str, Any]:
    return {"href": f"./{name}", "type": kind, "title": title, "roles": roles}


def _layers(name: str, title: str, bands: Sequence[str]) -> dict[str, Any]:
    about = {"data_type": "float32", "nodata": "nan", "bands": [{"name": band} for band in bands]}
    return _asset(name, COG, title, ["data"]) | about
