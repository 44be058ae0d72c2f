"""NetCDF classic: found by its first bytes; arrays by name, wavelengths, coordinates and fill values as in NetCDF4."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
import xarray
from fixtures import random_cube

from patchfree.errors import SceneError
from patchfree.io import find_reader, open_scene
from patchfree.io.reference import read_labels

CUBE = random_cube(4, 6, 7, "int16", seed=6)  # bands, rows, columns
NM = [450.5, 550.0, 650.0, 850.0]


def write(path, *, form="NETCDF3_CLASSIC", **others):
    """A scene as xarray writes it through SciPy."""
    scene = xarray.DataArray(CUBE, dims=("band", "y", "x"), attrs={"_FillValue": np.int16(7), "grid_mapping": "crs"})
    crs = xarray.DataArray(np.int32(0), attrs={"crs_wkt": rasterio.crs.CRS.from_epsg(32633).to_wkt()})
    arrays = {"reflectance": scene, "crs": crs, "wavelength": ("band", NM, {"units": "nm"})} | others
    places = {
        "y": ("y", 5000000.0 - 15 - 30 * np.arange(6), {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", 500000.0 + 15 + 30 * np.arange(7), {"units": "m", "standard_name": "projection_x_coordinate"}),
    }
    xarray.Dataset(arrays, coords=places).to_netcdf(path, format=form, engine="scipy")
    return path


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
def test_what_describes_a_scene_is_heeded(tmp_path, form):
    scene = open_scene(write(tmp_path / "a.nc", form=form))
    assert scene.details["format"] == "NetCDF classic"
    assert scene.bands.wavelengths_nm == tuple(NM)
    assert scene.grid.transform == (30, 0, 500000, 0, -30, 5000000)
    assert rasterio.crs.CRS.from_wkt(scene.grid.crs).to_epsg() == 32633
    np.testing.assert_array_equal(scene.valid, (CUBE != 7).all(0))
    np.testing.assert_array_equal(scene.values[:, scene.valid], CUBE[:, scene.valid])


def test_gdal_reads_the_same_numbers_at_the_same_place(tmp_path):
    path = write(tmp_path / "a.nc")
    with rasterio.open(f"netcdf:{path}:reflectance") as file:
        np.testing.assert_array_equal(file.read(), find_reader(path).read())
        assert tuple(file.transform)[:6] == open_scene(path).grid.transform


def test_an_array_can_be_named(tmp_path):
    path = write(tmp_path / "a.nc", radiance=(("band", "y", "x"), CUBE * 2.0))
    np.testing.assert_array_equal(open_scene(f"{path}:radiance").values, CUBE * 2)
    with pytest.raises(SceneError, match=r"a\.nc has no variable 'nothing'.*radiance"):
        open_scene(f"{path}:nothing")


def test_labels_are_read_by_name(tmp_path):
    classes = np.arange(42).reshape(6, 7) % 3
    path = write(tmp_path / "a.nc", classes=(("y", "x"), classes.astype("int32")))
    labels = read_labels(f"{path}:classes", open_scene(f"{path}:reflectance").grid)
    assert [entry.value for entry in labels.legend] == [1, 2]


def test_an_unlimited_dimension(tmp_path):
    scene = xarray.Dataset({"a": (("y", "x", "band"), CUBE.transpose(1, 2, 0))})
    scene.to_netcdf(tmp_path / "a.nc", format="NETCDF3_CLASSIC", engine="scipy", unlimited_dims=["y"])
    np.testing.assert_array_equal(find_reader(tmp_path / "a.nc").read((slice(2, 5), slice(1, 3))), CUBE[:, 2:5, 1:3])


@pytest.mark.parametrize("length", [3, 4, 20, 200, 500, 1500])
def test_a_truncated_file_is_told(tmp_path, length):
    path = write(tmp_path / "a.nc")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(SceneError, match=r"a\.nc"):
        open_scene(path)


def test_many_threads_read_and_the_file_is_closed_without_a_word(tmp_path):
    reader = find_reader(write(tmp_path / "a.nc"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(4) as pool:
            parts = list(pool.map(lambda _: reader.read((slice(1, 4), slice(2, 6))), range(50)))
    assert all(np.array_equal(part, CUBE[:, 1:4, 2:6]) for part in parts)
