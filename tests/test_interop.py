"""A scene that becomes an xarray.DataArray and comes back is the same scene."""

import dataclasses
import sys

import numpy as np
import pytest
import xarray
from rasterio.crs import CRS

from patchfree.errors import MissingExtra, SceneError
from patchfree.interop import from_xarray
from patchfree.scene import Bands, Grid, make_scene

UTM33 = CRS.from_epsg(32633).to_wkt()
NORTH_UP = (30.0, 0.0, 362175.0, 0.0, -30.0, 5809965.0)
ROTATED = (26.0, 15.0, 362175.0, 15.0, -26.0, 5809965.0)
BARE = Bands((1, 2, 3), 3)
FULL = Bands((2, 3, 5), 9, (450.0, 550.0, 650.0), (8.0, 9.0, 10.0))


def scene_of(bands=FULL, crs=UTM33, transform=NORTH_UP):
    rng = np.random.default_rng(0)
    values, missing = rng.normal(size=(3, 6, 7)).astype(np.float32), np.zeros((3, 6, 7), bool)
    missing[1, 2, 3] = True
    return make_scene(values, missing=missing, bands=bands, grid=Grid(6, 7, crs, transform), name="scene")


def assert_same(one, two):
    assert one.fingerprint() == two.fingerprint()
    assert dataclasses.asdict(one.bands) == dataclasses.asdict(two.bands)
    assert one.grid.as_dict() == two.grid.as_dict()
    assert one.name == two.name


@pytest.mark.parametrize("bands", [FULL, BARE], ids=["wavelengths", "bare"])
@pytest.mark.parametrize(("crs", "transform"), [(UTM33, NORTH_UP), (UTM33, ROTATED), (None, NORTH_UP), (None, None)])
def test_there_and_back_is_the_same_scene(bands, crs, transform):
    scene = scene_of(bands, crs, transform)
    assert_same(from_xarray(scene.to_xarray()), scene)


def test_the_array_has_names_coordinates_and_nan_without_data():
    array = scene_of().to_xarray()
    assert array.dims == ("band", "y", "x")
    assert np.isnan(array.values[:, 2, 3]).all()
    assert np.isfinite(array.values).sum() == 3 * 41
    assert array.x.values[:2].tolist() == [362190.0, 362220.0]
    assert array.y.values[:2].tolist() == [5809950.0, 5809920.0]
    assert array.sel(band=5).wavelength_nm == 650.0


def test_a_rotated_scene_has_no_one_dimensional_coordinates():
    assert set(scene_of(transform=ROTATED).to_xarray().coords) == {"band", "wavelength_nm", "fwhm_nm"}


@pytest.mark.parametrize("order", [("y", "x", "band"), ("x", "band", "y")])
def test_dimensions_may_come_in_another_order(order):
    scene = scene_of()
    assert_same(from_xarray(scene.to_xarray().transpose(*order)), scene)


def test_the_array_is_not_changed():
    array = scene_of().to_xarray()
    before = array.copy(deep=True)
    from_xarray(array).values[:] = 7
    xarray.testing.assert_identical(array, before)


def foreign(dims=("wavelength", "lat", "lon"), **coords):
    values = np.random.default_rng(0).normal(size=(3, 6, 7))
    return xarray.DataArray(values, dims=dims, coords={key: (key, value) for key, value in coords.items()})


def test_an_array_of_another_origin_is_placed_by_its_coordinates():
    array = foreign(wavelength=[450.0, 550.0, 650.0], lat=52.5 - 0.001 * np.arange(6), lon=13 + 0.002 * np.arange(7))
    array = array.assign_coords(spatial_ref=xarray.DataArray(0, attrs={"crs_wkt": UTM33}))
    scene = from_xarray(array)
    assert scene.bands.wavelengths_nm == (450.0, 550.0, 650.0)
    assert scene.grid.transform == pytest.approx((0.002, 0, 12.999, 0, -0.001, 52.5005))
    assert scene.grid.crs == UTM33


def test_an_array_without_coordinates_has_no_position():
    scene = from_xarray(foreign())
    assert (scene.grid.transform, scene.grid.crs, scene.bands.numbers) == (None, None, (1, 2, 3))
    assert scene.name == "array"


@pytest.mark.parametrize("axis", ["lat", "lon"])
def test_uneven_coordinates_are_refused(axis):
    coords = {"lat": np.arange(6.0), "lon": np.arange(7.0)}
    coords[axis] = coords[axis] ** 1.1
    with pytest.raises(SceneError, match="coordinates are not evenly spaced; resample the array"):
        from_xarray(foreign(**coords))


def test_other_dimensions_are_refused_with_the_way_to_rename():
    with pytest.raises(SceneError, match=r"has the dimensions \('time', 'y', 'x'\); .* Rename them with array\.rename"):
        from_xarray(foreign(dims=("time", "y", "x")))


def test_complex_numbers_are_refused():
    with pytest.raises(SceneError, match="holds complex128; a scene needs real numbers"):
        from_xarray(foreign() * 1j)


def test_without_xarray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingExtra, match=r"needs the package xarray.*pip install 'patchfree\[xarray\]'"):
        scene_of().to_xarray()
