"""Probabilities written as Zarr are what xarray reads: names, coordinates, coordinate system."""

import sys

import numpy as np
import pytest
import rasterio
import xarray
import zarr
from fixtures import UTM33, at, placed
from rasterio.crs import CRS

from patchfree.errors import MissingExtra
from patchfree.labels import LandCover
from patchfree.predict import Prediction
from patchfree.scene import Grid

LEGEND = (LandCover(1, "forest & heath", (0, 158, 115)), LandCover(14, "Wasser", (0, 114, 178)))


def prediction(shape=(600, 530), *, crs=UTM33, transform=None, angle=0.0):
    first = np.random.default_rng(0).random(shape).astype(np.float32)
    valid = np.ones(shape, bool)
    valid[3:9, 4:20] = False
    transform = placed(angle=angle) if transform is None else transform
    grid = Grid(*shape, CRS.from_user_input(crs).to_wkt(), tuple(transform)[:6]) if crs else Grid(*shape)
    return Prediction(np.stack([first, 1 - first]), valid, LEGEND, grid, {"model_hash": "abc"})


def test_xarray_reads_probabilities_classes_and_coordinates(tmp_path):
    made = prediction()
    found = xarray.open_zarr(made.save_probabilities(tmp_path / "p.zarr"), decode_coords="all")
    chances = found["probability"]
    assert chances.dims == ("class", "y", "x")
    np.testing.assert_array_equal(chances, np.where(made.valid, made.probabilities, np.nan))
    assert found["class"].values.tolist() == [1, 14]
    assert found["class"].attrs["names"] == ["forest & heath", "Wasser"]
    x, y = at(7.5, 3.5, placed())
    assert (float(found["x"][3]), float(found["y"][7])) == (x, y)
    assert found["x"].attrs["standard_name"] == "projection_x_coordinate"
    assert found["x"].attrs["units"] == "m"
    assert CRS.from_wkt(found["spatial_ref"].attrs["crs_wkt"]).to_epsg() == 32633
    assert [float(v) for v in found["spatial_ref"].attrs["GeoTransform"].split()] == list(placed().to_gdal())
    assert found.attrs.items() >= {"model_hash": "abc", "statistics": "scene"}.items()


def test_store_is_of_version_3_with_a_class_and_512_pixels_a_chunk(tmp_path):
    store = zarr.open_group(prediction().save_probabilities(tmp_path / "p.zarr"), mode="r")
    assert store.metadata.zarr_format == 3
    assert store["probability"].chunks == (1, 512, 512)
    assert np.isnan(store["probability"].fill_value)


def test_degrees_are_longitude_and_latitude(tmp_path):
    made = prediction((4, 5), crs="EPSG:4326", transform=rasterio.Affine(0.1, 0, 10, 0, -0.1, 50))
    found = xarray.open_zarr(made.save_probabilities(tmp_path / "p.zarr"))
    assert found["y"].attrs["standard_name"] == "latitude"
    assert found["x"].attrs["units"] == "degrees_east"
    np.testing.assert_allclose(found["y"], [49.95, 49.85, 49.75, 49.65])


def test_rotated_grid_has_its_transform_and_no_axes(tmp_path):
    found = xarray.open_zarr(prediction((40, 50), angle=30).save_probabilities(tmp_path / "p.zarr"))
    assert set(found.coords) == {"class"}
    stored = [float(v) for v in found["spatial_ref"].attrs["GeoTransform"].split()]
    assert stored == list(placed(angle=30).to_gdal())


def test_scene_without_position_counts_pixels(tmp_path):
    found = xarray.open_zarr(prediction((40, 50), crs=None).save_probabilities(tmp_path / "p.zarr"))
    assert "spatial_ref" not in found
    np.testing.assert_array_equal(found["y"], np.arange(40) + 0.5)
    np.testing.assert_array_equal(found["x"], np.arange(50) + 0.5)


def test_store_is_replaced_whole_and_a_failure_leaves_the_old_one(tmp_path, monkeypatch):
    path = prediction((40, 50)).save_probabilities(tmp_path / "p.zarr")
    prediction((30, 20)).save_probabilities(path)
    assert xarray.open_zarr(path)["probability"].shape == (2, 30, 20)

    def stop(_):
        raise KeyboardInterrupt("now")

    monkeypatch.setattr("zarr.consolidate_metadata", stop)
    with pytest.raises(KeyboardInterrupt, match="now"):
        prediction((10, 10)).save_probabilities(path)
    assert xarray.open_zarr(path)["probability"].shape == (2, 30, 20)
    assert [p.name for p in tmp_path.iterdir()] == ["p.zarr"]


def test_without_zarr_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtra, match=r"Writing p\.zarr needs the package zarr.*patchfree\[zarr\]"):
        prediction((4, 5)).save_probabilities(tmp_path / "p.zarr")
    assert list(tmp_path.iterdir()) == []
