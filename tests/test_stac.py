"""A run folder is a valid STAC item: by the schema of STAC 1.1 that pystac carries, and as pystac reads its extensions.

The schema of the MLM extension is not to be had offline; what it requires is checked by its fields and patterns (v1.4.0).
"""

import dataclasses
import json
import re

import numpy as np
import pystac
import pytest
import shapely
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.mlm import MLMExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation.local_validator import get_local_schema_cache
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

import patchfree as pf
from conftest import UTM33, synthetic
from jobs import PLACE, QUICK, contents, read_json, short
from patchfree.scene import Grid
from patchfree.stac import classes, footprint, stac_item

PLACED = Grid(40, 48, CRS.from_string(UTM33).to_wkt(), tuple(PLACE)[:6])
SEMVER = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"


@pytest.fixture(scope="module")
def run():
    scene, labels = synthetic()
    return pf.train(scene, labels, recipe=short(2), controls=(), device="cpu")


@pytest.fixture(scope="module")
def item(run):
    """As another program gets it: through JSON."""
    return json.loads(json.dumps(stac_item(run, {".": PLACED}, ["probabilities.tif"])))


def problems(item):
    """What the schema of STAC items finds wrong, as pystac carries it; extensions are not looked at."""
    from jsonschema import Draft7Validator
    from referencing import Registry, Resource

    schemas = get_local_schema_cache()
    registry = Registry().with_resources([(uri, Resource.from_contents(s)) for uri, s in schemas.items()])
    schema = schemas["https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"]
    return [error.message for error in Draft7Validator(schema, registry=registry).iter_errors(item)]


def test_the_schema_check_finds_what_is_wrong(item):
    assert problems(item | {"bbox": [1, 2]}) != []
    assert problems({key: value for key, value in item.items() if key != "assets"}) != []
    assert problems(item | {"properties": {"datetime": None}}) != []


def test_item_is_valid_with_and_without_position(item, run):
    assert problems(item) == []
    bare = json.loads(json.dumps(stac_item(run, {".": Grid(40, 48)}, [])))
    assert problems(bare) == []
    assert bare["geometry"] is None
    assert "bbox" not in bare
    assert not [name for name in bare["properties"] if name.startswith("proj:")]


def test_pystac_reads_the_model(item, run):
    read = MLMExtension.ext(pystac.Item.from_dict(item))
    assert read.architecture == "FreeNetSmooth"
    assert [str(task) for task in read.tasks] == ["semantic-segmentation"]
    assert read.total_parameters == sum(v.numel() for v in run.weights.values())
    (put_in,), (given,) = read.input, read.output
    assert put_in.input.shape == [-1, 12, -1, -1]
    assert put_in.input.dim_order == ["batch", "bands", "height", "width"]
    assert given.result.shape == [-1, 3, -1, -1]
    assert read.hyperparameters.to_dict()["steps"] == 2


def test_what_the_mlm_schema_requires_is_there(item):
    found = item["properties"]
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= found.keys()
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", found["mlm:name"])
    assert re.match(SEMVER, found["mlm:framework_version"])
    assert all(re.fullmatch("[0-9a-zA-Z_.-]+", name) for name in found["mlm:hyperparameters"])
    assert found["mlm:pretrained"] is False
    assert found["mlm:pretrained_source"] is None
    names = [band["name"] for band in found["bands"]]
    assert found["mlm:input"][0]["bands"] == names
    models = [asset for asset in item["assets"].values() if "mlm:model" in asset["roles"]]
    assert [(m["href"], m["mlm:artifact_type"]) for m in models] == [("./model.safetensors", "safetensors")]


def test_scaling_is_that_of_the_training_scene_band_by_band(item, run):
    # A list of objects with a type, by the extension's schema; pystac 1.15 takes it for one object.
    scaling = item["properties"]["mlm:input"][0]["value_scaling"]
    assert {entry["type"] for entry in scaling} == {"z-score"}
    assert tuple(entry["mean"] for entry in scaling) == run.standardisation.mean
    assert tuple(entry["stddev"] for entry in scaling) == run.standardisation.std


def test_bands_are_given_in_micrometres(item, run):
    bands = item["properties"]["bands"]
    np.testing.assert_allclose([b["eo:center_wavelength"] * 1000 for b in bands], run.bands.wavelengths_nm)
    bare = dataclasses.replace(run, bands=dataclasses.replace(run.bands, wavelengths_nm=None))
    without = stac_item(bare, {".": PLACED}, [])
    assert not [uri for uri in without["stac_extensions"] if "/eo/" in uri]
    assert without["properties"]["bands"][2] == {"name": "B3"}


def test_classes_of_map_and_model_are_those_of_the_legend(item, run):
    asset = pystac.Item.from_dict(item).assets["map"]
    found = ClassificationExtension.ext(asset).classes
    assert [c.value for c in found] == [0, *(e.value for e in run.legend)]
    assert [c.nodata for c in found] == [True, None, None, None]
    assert [c.description for c in found[1:]] == [e.name for e in run.legend]
    assert asset.media_type == pystac.MediaType.COG
    output = item["properties"]["mlm:output"][0]["classification:classes"]
    assert [c["value"] for c in output] == [e.value for e in run.legend]


def test_names_of_classes_are_of_the_allowed_letters():
    made = classes([pf.LandCover(7, "forest & heath", (1, 171, 255)), pf.LandCover(8, "森林", (0, 0, 0))])
    assert [entry["name"] for entry in made] == ["forest-heath", "class-8"]
    assert made[0]["description"] == "forest & heath"
    assert made[0]["color_hint"] == "01ABFF"


def test_place_is_that_of_the_scene(item):
    read = pystac.Item.from_dict(item)
    projection = ProjectionExtension.ext(read)
    assert projection.epsg == 32633
    assert projection.shape == [40, 48]
    assert projection.transform == list(PLACE)[:6]
    left, top = PLACE.c, PLACE.f
    expected = transform_bounds(UTM33, "EPSG:4326", left, top - 40 * 30, left + 48 * 30, top)
    np.testing.assert_allclose(read.bbox, expected, atol=1e-6)
    outline = shapely.geometry.shape(read.geometry)
    assert outline.is_valid
    assert outline.exterior.is_ccw
    np.testing.assert_allclose(outline.bounds, read.bbox)


@pytest.mark.parametrize(
    "transform",
    [(30.0, 0.0, 4e5, 0.0, 30.0, 5e6), (-30.0, 0.0, 4e5, 0.0, -30.0, 5e6), (20.0, 9.0, 4e5, 9.0, -20.0, 5e6)],
)
def test_outline_goes_round_counterclockwise_however_the_grid_lies(transform):
    geometry, bbox = footprint(dataclasses.replace(PLACED, transform=transform))
    assert shapely.geometry.shape(geometry).exterior.is_ccw
    assert bbox[0] < bbox[2]
    assert bbox[1] < bbox[3]


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ('LOCAL_CS["plot",UNIT["metre",1]]', (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)),
        (CRS.from_epsg(32601).to_wkt(), (3000.0, 0.0, 2e5, 0.0, -3000.0, 7e6)),
        (CRS.from_epsg(32633).to_wkt(), (30.0, 0.0, 1e30, 0.0, -30.0, 5e6)),
    ],
    ids=["no place on earth", "across the date line", "beyond the projection"],
)
def test_no_outline_where_there_is_none_to_give(run, crs, transform):
    grid = Grid(400, 400, crs, transform)
    assert footprint(grid) == (None, None)
    assert problems(json.loads(json.dumps(stac_item(run, {".": grid}, [])))) == []


def test_coordinate_system_without_a_code_is_written_out(run):
    own = CRS.from_proj4("+proj=laea +lat_0=50.3 +lon_0=9.7 +datum=WGS84 +units=m")
    item = stac_item(run, {".": Grid(4, 4, own.to_wkt(), (30.0, 0.0, 0.0, 0.0, -30.0, 0.0))}, [])
    assert "proj:code" not in item["properties"]
    assert CRS.from_wkt(item["properties"]["proj:wkt2"]) == own
    assert item["properties"]["proj:wkt2"].startswith("PROJCRS")


def test_item_in_a_run_folder_names_the_files_that_are_there(cli, files, tmp_path):
    words = ("train", files.scene, files.labels, "--out", tmp_path / "run", *QUICK)
    cli.ok(*words)
    hrefs = {a["href"] for a in read_json(tmp_path / "run" / "item.json")["assets"].values()}
    assert {href.removeprefix("./") for href in hrefs} < contents(tmp_path / "run").keys()
    assert "./probabilities.tif" not in hrefs
    cli.ok(*words, "--probabilities", "--uncertainty")
    item = pystac.Item.from_file(str(tmp_path / "run" / "item.json"))
    assert problems(item.to_dict()) == []
    assert {"probabilities", "uncertainty"} <= item.assets.keys()
    assert [band["name"] for band in item.assets["uncertainty"].to_dict()["bands"]] == ["entropy", "margin"]
    assert item.id == f"patchfree-{pf.load_run(tmp_path / 'run').model_hash}"
