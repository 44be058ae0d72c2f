"""Plain HDF5, NetCDF4: the array is found by name or shape, and names of axes, coordinates and attributes are heeded."""

import h5py
import numpy as np
import pytest
import rasterio
import rasterio.crs
from fixtures import random_cube

from patchfree.errors import LabelError, SceneError
from patchfree.io import find_reader, open_scene
from patchfree.io.gdal import Gdal
from patchfree.io.hdf5 import Hdf5
from patchfree.io.reference import read_labels
from products_hdf import write_netcdf

CUBE = random_cube(4, 6, 7, "int16", seed=6)  # bands, rows, columns
NM = [450.5, 550.0, 650.0, 850.0]


def in_order(dims):
    return np.ascontiguousarray(CUBE.transpose([("band", "y", "x").index(name) for name in dims]))


@pytest.mark.parametrize("dims", [("band", "y", "x"), ("y", "x", "band"), ("y", "band", "x"), ("band", "x", "y")])
def test_names_of_dimensions_tell_the_axes(tmp_path, dims):
    scene = open_scene(write_netcdf(tmp_path / "a.nc", in_order(dims), dims=dims))
    np.testing.assert_array_equal(scene.values, CUBE)
    assert scene.details["format"] == "NetCDF4"
    window = (slice(1, 4), slice(2, 7))
    np.testing.assert_array_equal(find_reader(tmp_path / "a.nc").read(window), CUBE[:, *window])


def test_the_axes_can_be_given_against_the_names(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE, grid=False)
    np.testing.assert_array_equal(open_scene(path, axes="hwb").values, CUBE.transpose(2, 0, 1))


def test_the_map_position_is_what_gdal_makes_of_the_same_file(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    grid = open_scene(path).grid
    with rasterio.open(f"netcdf:{path}:reflectance") as file:
        assert grid.transform == tuple(file.transform)[:6] == (30, 0, 500000, 0, -30, 5000000)
        assert rasterio.crs.CRS.from_wkt(grid.crs) == file.crs
        assert file.crs.to_epsg() == 32633


def test_rows_from_south_to_north_keep_their_order_with_a_note(tmp_path):
    scene = open_scene(write_netcdf(tmp_path / "a.nc", CUBE, scales={"y": 1000.0 + 30 * np.arange(6)}))
    assert scene.grid.transform == (30, 0, 500000, 0, 30, 985)
    np.testing.assert_array_equal(scene.values, CUBE)
    assert "The rows run from south to north, and so do those of maps made from it." in scene.notes


def test_degrees_without_a_datum_are_wgs84_with_a_note(tmp_path):
    scales = {"lat": 50 - 0.0005 * np.arange(6, dtype="f4"), "lon": 179 + 0.0005 * np.arange(7, dtype="f4")}
    path = write_netcdf(tmp_path / "a.nc", CUBE, dims=("band", "lat", "lon"), scales=scales, grid=False)
    with h5py.File(path, "r+") as file:
        file["lat"].attrs["units"], file["lon"].attrs["units"] = "degrees_north", "degrees_east"
    scene = open_scene(path)
    assert rasterio.crs.CRS.from_wkt(scene.grid.crs).to_epsg() == 4326
    assert scene.grid.transform[2] == pytest.approx(179 - 0.00025, abs=1e-5)
    assert any("degrees without a stated datum; taken as WGS 84" in note for note in scene.notes)


def test_coordinates_that_are_not_even_give_no_map_position(tmp_path):
    scene = open_scene(write_netcdf(tmp_path / "a.nc", CUBE, scales={"x": [0, 30, 60, 95, 120, 150, 180]}))
    assert scene.grid.transform is None
    assert "The coordinate 'x' is not evenly spaced; the map position was left out." in scene.notes


def test_row_numbers_are_no_coordinates(tmp_path):
    scales = {"row": np.arange(6), "col": np.arange(7)}
    path = write_netcdf(tmp_path / "a.nc", CUBE, dims=("band", "row", "col"), scales=scales, grid=False)
    assert open_scene(path).grid.transform is None


def test_a_geotransform_of_the_grid_mapping_serves_without_coordinates(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    with h5py.File(path, "r+") as file:
        file["crs"].attrs["GeoTransform"] = "300000.0 20.0 0.0 4000000.0 0.0 -20.0"
        for name in ("x", "y"):
            file["reflectance"].dims[2 if name == "x" else 1].detach_scale(file[name])
            del file[name]
    scene = open_scene(path, axes="bhw")
    assert scene.grid.transform == (20, 0, 300000, 0, -20, 4000000)
    assert rasterio.crs.CRS.from_wkt(scene.grid.crs).to_epsg() == 32633


def test_a_grid_mapping_without_wkt_is_left_out_with_a_note(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    with h5py.File(path, "r+") as file:
        del file["crs"].attrs["crs_wkt"], file["crs"].attrs["spatial_ref"]
    scene = open_scene(path)
    assert scene.grid.crs is None
    assert any("'transverse_mercator' has parameters but no crs_wkt" in note for note in scene.notes)


def test_a_coordinate_system_that_is_none_is_left_out_with_a_note(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    with h5py.File(path, "r+") as file:
        file["crs"].attrs["crs_wkt"] = file["crs"].attrs["spatial_ref"] = "PROJCS[nonsense"
    assert any("'PROJCS[nonsense' is no coordinate system" in note for note in open_scene(path).notes)


@pytest.mark.parametrize(
    ("name", "factor", "unit"),
    [("wavelength", 1, "nm"), ("wavelength", 0.001, "um"), ("wavelength", 1e-9, "m"), ("wavelengths_nm", 1, None)],
)
def test_wavelengths_come_from_the_coordinate_of_the_bands(tmp_path, name, factor, unit):
    dims = (name, "y", "x") if name == "wavelength" else ("band", "y", "x")
    path = write_netcdf(tmp_path / "a.nc", CUBE, dims=dims, scales={"wavelength": np.array(NM) * factor})
    with h5py.File(path, "r+") as file:
        if name not in file:
            file[name] = np.array(NM)
        if unit:
            file[name].attrs["units"] = unit
    scene = open_scene(path)
    assert scene.bands.wavelengths_nm == pytest.approx(NM)
    assert not any("wavelength" in note for note in scene.notes)


def test_wavelengths_widths_and_good_bands_may_stand_in_another_group(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    with h5py.File(path, "r+") as file:
        file["sensor/wavelengths"], file["sensor/fwhm"] = np.array(NM) / 1000, np.full(4, 0.01)
        file["sensor/wavelengths"].attrs["units"] = "micrometers"
        file["sensor/good_bands"] = np.array([1, 1, 0, 1], "uint8")
    scene = open_scene(path)
    assert scene.bands.wavelengths_nm == pytest.approx((450.5, 550, 850))
    assert scene.bands.fwhm_nm == pytest.approx((10, 10, 10))


def test_wavelengths_of_another_number_are_not_used(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    with h5py.File(path, "r+") as file:
        file["wavelength"] = np.array(NM[:3])
    assert open_scene(path).bands.wavelengths_nm is None


def test_fill_value_scale_and_offset_are_applied(tmp_path):
    cube = CUBE.copy()
    cube[2, 1, 1] = -9999
    given = {"_FillValue": np.int16(-9999), "scale_factor": 0.0001, "add_offset": 0.5}
    scene = open_scene(write_netcdf(tmp_path / "a.nc", cube, **given))
    assert np.argwhere(~scene.valid).tolist() == [[1, 1]]
    np.testing.assert_allclose(scene.values[:, scene.valid], CUBE[:, scene.valid] * 0.0001 + 0.5, rtol=1e-5)


def test_two_fill_values_are_told(tmp_path):
    given = {"_FillValue": np.int16(-1), "missing_value": np.int16(-2)}
    notes = open_scene(write_netcdf(tmp_path / "a.nc", CUBE, **given)).notes
    assert "_FillValue is -1 and missing_value -2; only the first counts as no data." in notes


def test_a_variable_in_a_group_is_named_in_whole_or_by_its_last_part(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE, group="data/level2")
    with h5py.File(path, "r+") as file:
        file["other"] = np.zeros((9, 9, 9))
    for named in ("/data/level2/reflectance", "data/level2/reflectance", "Reflectance"):
        scene = open_scene(f"{path}:{named}")
        np.testing.assert_array_equal(scene.values, CUBE)
        assert scene.grid.transform == (30, 0, 500000, 0, -30, 5000000)


def test_a_missing_variable_is_answered_with_what_there_is(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    with pytest.raises(SceneError, match=r"has no variable 'cube'; it holds .*reflectance \(4, 6, 7\) int16"):
        open_scene(f"{path}:cube")


def test_two_cubes_of_the_same_shape_must_be_told_apart(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    with h5py.File(path, "r+") as file:
        file["uncertainty"] = CUBE
    with pytest.raises(SceneError, match=r"several arrays that fit: .*Name the one you mean as a\.nc:"):
        open_scene(path)
    np.testing.assert_array_equal(open_scene(f"{path}:reflectance").values, CUBE)


def write_plain(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def test_without_names_the_axis_that_fits_the_wavelengths_is_the_bands(tmp_path):
    scene = open_scene(write_plain(tmp_path / "a.h5", cube=CUBE, wavelength=NM))
    np.testing.assert_array_equal(scene.values, CUBE)
    assert scene.details["format"] == "HDF5"
    assert any("the one of 4 fits the wavelengths, so it is the bands" in note for note in scene.notes)


def test_without_names_and_wavelengths_the_custom_is_rows_columns_bands(tmp_path):
    scene = open_scene(write_plain(tmp_path / "a.h5", cube=CUBE.transpose(1, 2, 0)))
    np.testing.assert_array_equal(scene.values, CUBE)
    assert any("taken as (rows, columns, bands); --axes says otherwise" in note for note in scene.notes)


def test_labels_are_found_by_their_two_axes_beside_latitudes(tmp_path):
    truth = np.random.default_rng(0).integers(0, 4, (6, 7)).astype("uint8")
    path = write_plain(
        tmp_path / "a.h5", cube=CUBE.transpose(1, 2, 0), truth=truth, lat=np.ones((6, 7)), lon=np.ones((6, 7))
    )
    scene = open_scene(path)
    labels = read_labels(path, scene)
    np.testing.assert_array_equal(labels.restore(labels.index), truth)
    with pytest.raises(LabelError, match="has no variable 'wrong'"):
        read_labels(f"{path}:wrong", scene)


def test_text_and_complex_numbers_are_no_scene(tmp_path):
    with pytest.raises(SceneError, match="holds no array that can be a scene"):
        open_scene(write_plain(tmp_path / "a.h5", names=np.array([[b"a"]])))
    with pytest.raises(SceneError, match=r"holds complex numbers"):
        open_scene(f"{write_plain(tmp_path / 'b.h5', slc=np.ones((3, 4, 5), 'complex64'))}:slc")


def test_a_window_reads_only_its_pixels(tmp_path, h5py_reads):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    assert find_reader(path).read((slice(1, 3), slice(2, 5))).shape == (4, 2, 3)
    assert h5py_reads == [4 * 2 * 3]


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = write_netcdf(tmp_path / "a.nc", CUBE)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(SceneError, match=r"reading the HDF5 file failed .*damaged or truncated; copy it again"):
        open_scene(path)


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", b"CDF\x05" + bytes(40)])
def test_other_files_of_the_same_ending_stay_with_gdal(tmp_path, content):
    (tmp_path / "a.nc").write_bytes(content)
    assert type(find_reader(tmp_path / "a.nc")) is Gdal
    with pytest.raises(SceneError, match="cannot be opened as a raster"):
        open_scene(tmp_path / "a.nc")


def test_a_netcdf4_file_has_this_reader(tmp_path):
    assert type(find_reader(write_netcdf(tmp_path / "a.nc", CUBE))) is Hdf5


def test_a_variable_of_a_file_without_variables_is_refused(tmp_path):
    (tmp_path / "a.hdr").write_text("ENVI")
    with pytest.raises(SceneError, match="is no file with named variables; leave out ':cube'"):
        find_reader(f"{tmp_path / 'a.hdr'}:cube")
