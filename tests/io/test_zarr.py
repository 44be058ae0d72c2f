"""Zarr stores of both versions, as xarray writes them, give the scene that went in."""

import sys

import numpy as np
import pytest
import rasterio.crs
import xarray
import zarr
from fixtures import random_cube

from patchfree.errors import MissingExtra, SceneError
from patchfree.io import find_reader, open_scene

CUBE = random_cube(4, 6, 7, seed=7) / 256
NM = [450.5, 550.0, 650.0, 850.0]
UTM33 = rasterio.crs.CRS.from_epsg(32633)


@pytest.fixture(params=[2, 3], ids=["v2", "v3"])
def version(request):
    return request.param


def dataset(cube=CUBE):
    """As rioxarray has it: centres of the pixels, the CRS in a variable `spatial_ref`."""
    array = xarray.DataArray(
        cube.transpose(1, 2, 0),
        dims=("y", "x", "band"),
        coords={"y": 4999985.0 - 30 * np.arange(6), "x": 500015.0 + 30 * np.arange(7)},
    )
    array = array.assign_coords(wavelength=("band", NM, {"units": "nm"}), spatial_ref=0)
    array.spatial_ref.attrs["crs_wkt"] = UTM33.to_wkt()
    array.encoding["grid_mapping"] = "spatial_ref"
    return array.to_dataset(name="reflectance")


def write(path, data, version, **encoding):
    data.to_zarr(
        path, zarr_format=version, consolidated=False, encoding={"reflectance": encoding} if encoding else None
    )
    return path


def test_pixels_wavelengths_and_map_position_come_back(tmp_path, version):
    scene = open_scene(write(tmp_path / "a.zarr", dataset(), version))
    np.testing.assert_array_equal(scene.values, CUBE)
    assert scene.bands.wavelengths_nm == tuple(NM)
    assert scene.grid.transform == (30, 0, 500000, 0, -30, 5000000)
    assert rasterio.crs.CRS.from_wkt(scene.grid.crs) == UTM33
    assert scene.details["format"] == f"Zarr v{version}"
    assert scene.name == "a.zarr"


def test_missing_values_and_scale_are_undone_as_xarray_does(tmp_path, version):
    cube = CUBE.copy()
    cube[2, 1, 3] = np.nan
    path = write(
        tmp_path / "a.zarr", dataset(cube), version, dtype="int16", _FillValue=np.int16(-999), scale_factor=1 / 256
    )
    scene = open_scene(path)
    opened = xarray.open_zarr(path, consolidated=False, chunks=None)["reflectance"].transpose("band", "y", "x").values
    assert np.argwhere(~scene.valid).tolist() == [[1, 3]] == np.argwhere(np.isnan(opened).any(0)).tolist()
    np.testing.assert_allclose(scene.values[:, scene.valid], opened[:, scene.valid], rtol=1e-6)


def test_a_packed_fill_value_of_floats_is_unpacked(tmp_path, version):
    cube = CUBE.copy()
    cube[:, 4, 5] = np.nan
    path = write(tmp_path / "a.zarr", dataset(cube), version, dtype="float32", _FillValue=np.float32(-9999))
    scene = open_scene(path)
    assert scene.details["nodata"] == -9999
    assert np.argwhere(~scene.valid).tolist() == [[4, 5]]


def test_a_variable_in_a_group_is_named(tmp_path, version):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    for name, cube in (("first", CUBE), ("second", CUBE + 1)):
        root.create_group(name).create_array("cube", data=cube.transpose(1, 2, 0))
    np.testing.assert_array_equal(open_scene(f"{tmp_path / 'a.zarr'}:second/cube").values, CUBE + 1)
    with pytest.raises(SceneError, match=r"several arrays that fit: .*as a\.zarr:"):
        open_scene(tmp_path / "a.zarr")


def test_a_store_that_is_one_array_is_read(tmp_path, version):
    zarr.create_array(tmp_path / "cube", data=CUBE.transpose(1, 2, 0), zarr_format=version)
    np.testing.assert_array_equal(open_scene(tmp_path / "cube").values, CUBE)


def test_a_scene_saved_through_xarray_comes_back(tmp_path, version):
    scene = open_scene(write(tmp_path / "a.zarr", dataset(), version))
    again = scene.to_xarray().drop_vars("band").to_dataset(name="reflectance")
    copy = open_scene(write(tmp_path / "b.zarr", again, version))
    np.testing.assert_array_equal(copy.values, scene.values)
    assert copy.bands.wavelengths_nm == scene.bands.wavelengths_nm
    assert copy.grid.as_dict() == scene.grid.as_dict()


def test_a_window_reads_only_its_pixels(tmp_path, version, monkeypatch):
    path = write(tmp_path / "a.zarr", dataset(), version)
    sizes, plain = [], zarr.Array.__getitem__

    def spy(self, selection):
        values = plain(self, selection)
        sizes.append(np.size(values))
        return values

    monkeypatch.setattr(zarr.Array, "__getitem__", spy)
    assert find_reader(path).read((slice(1, 3), slice(2, 5))).shape == (4, 2, 3)
    assert sizes == [2 * 3 * 4]


def test_a_damaged_block_is_an_error(tmp_path, version):
    path = write(tmp_path / "a.zarr", dataset(), version)
    block = path / "reflectance" / ("0.0.0" if version == 2 else "c/0/0/0")
    block.write_bytes(block.read_bytes()[:20])
    with pytest.raises(SceneError, match=r"reading the Zarr store failed .*copy the whole folder again"):
        open_scene(path)


def test_a_block_without_a_file_is_told(tmp_path, version):
    """It may have been left out because it is empty, or be lost: only the user can know."""
    path = write(tmp_path / "a.zarr", dataset(), version)
    assert not [note for note in open_scene(path).notes if "chunks" in note]
    (path / "reflectance" / ("0.0.0" if version == 2 else "c/0/0/0")).unlink()
    (told,) = [note for note in find_reader(path).describe().notes if "chunks" in note]
    assert told.startswith("1 of ")
    assert "hold the fill value" in told


def test_damaged_metadata_is_an_error(tmp_path, version):
    path = write(tmp_path / "a.zarr", dataset(), version)
    mark = path / ("zarr.json" if version == 3 else ".zgroup")
    mark.write_text(mark.read_text()[:-5])
    with pytest.raises(SceneError, match="reading the Zarr store failed"):
        open_scene(path)


def test_an_empty_folder_of_this_ending_is_an_error(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(SceneError, match="reading the Zarr store failed"):
        open_scene(tmp_path / "a.zarr")


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zarr", dataset(), 3)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtra, match=r"Reading a\.zarr needs the package zarr.*patchfree\[zarr\]"):
        open_scene(path)
