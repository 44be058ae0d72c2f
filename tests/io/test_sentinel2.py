"""A Sentinel-2 L2A product is one scene at 20 m: its reflectance with the baseline's offset, its bands, its masks."""

import shutil

import numpy as np
import pytest
import rasterio
from fixtures import no_georeference_is_fine, random_cube

from patchfree.errors import SceneError
from patchfree.io import find_reader, open_scene
from products_xml import S2_BANDS, TILE, write_sentinel2

SHAPE = (4, 5)
VEGETATION = np.full(SHAPE, 4, "uint8")


@pytest.fixture
def cube():
    return random_cube(9, *SHAPE, "uint16", high=9000)


def images(safe):
    return next(safe.glob("GRANULE/*/IMG_DATA/R20m"))


def edit(safe, old, new):
    path = safe / "MTD_MSIL2A.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("part", ["", "MTD_MSIL2A.xml"])
def test_folder_and_xml_give_nine_bands_at_20_metres(tmp_path, cube, part):
    scene = open_scene(write_sentinel2(tmp_path, cube, scl=VEGETATION) / part)
    np.testing.assert_allclose(scene.values, (cube.astype(float) - 1000) / 10000, rtol=1e-5, atol=1e-7)
    assert scene.grid.transform == (20.0, 0.0, 600000.0, 0.0, -20.0, 5000040.0)
    assert scene.grid.crs.endswith('AUTHORITY["EPSG","32632"]]')
    assert scene.bands.wavelengths_nm == (492.3, 559.0, 665.0, 703.8, 739.1, 779.7, 864.0, 1610.4, 2185.7)
    assert scene.details["band_names"] == list(S2_BANDS)
    assert scene.details["format"] == "Sentinel-2 L2A"
    assert scene.all_valid


def test_gdal_reads_the_same_numbers_offsets_and_grid(tmp_path, cube):
    """GDAL's own driver reads the product's XML, too; it stacks only the bands measured at 20 m."""
    safe = write_sentinel2(tmp_path, cube, scl=VEGETATION)
    edit(safe, '<BOA_ADD_OFFSET band_id="12">-1000<', '<BOA_ADD_OFFSET band_id="12">-1500<')
    scene = open_scene(safe)
    with no_georeference_is_fine(), rasterio.open(safe / "MTD_MSIL2A.xml") as product:
        (name,) = [name for name in product.subdatasets if ":20m:" in name]
    with rasterio.open(name) as file:
        assert rasterio.crs.CRS.from_wkt(scene.grid.crs) == file.crs
        assert tuple(file.transform)[:6] == scene.grid.transform
        names = [f"B0{tag[1:]}" if len(tag) == 2 else tag for tag in (file.tags(i)["BANDNAME"] for i in file.indexes)]
        for band in ("B05", "B06", "B07", "B8A", "B11", "B12"):
            number = names.index(band) + 1
            reflectance = (file.read(number).astype(float) + float(file.tags(number)["BOA_ADD_OFFSET"])) / 10000
            np.testing.assert_allclose(scene.values[S2_BANDS.index(band)], reflectance, rtol=1e-5, atol=1e-7)
            nominal = float(file.tags(number)["WAVELENGTH"])
            assert scene.bands.wavelengths_nm[S2_BANDS.index(band)] == pytest.approx(nominal, abs=5)


def test_widths_are_those_of_the_response_at_half_its_maximum(tmp_path, cube):
    """The fixture's responses are triangles over MIN - 1 .. MAX + 1."""
    bands = open_scene(write_sentinel2(tmp_path, cube, scl=VEGETATION)).bands
    assert bands.fwhm_nm == pytest.approx((39, 24, 20.5, 11, 10, 15, 17.5, 71.5, 120), abs=0.6)


def test_without_responses_the_widths_are_unknown(tmp_path, cube):
    scene = open_scene(write_sentinel2(tmp_path, cube, scl=VEGETATION, response=False))
    assert scene.bands.fwhm_nm is None
    assert "The XML holds no spectral responses; the widths of the bands are unknown." in scene.notes


def test_products_before_baseline_4_have_no_offset(tmp_path, cube):
    scene = open_scene(write_sentinel2(tmp_path, cube, scl=VEGETATION, baseline="03.01", offset=None))
    np.testing.assert_allclose(scene.values, cube / 10000, rtol=1e-6)


def test_products_until_2018_name_their_entries_otherwise(tmp_path, cube):
    safe = write_sentinel2(tmp_path, cube, scl=VEGETATION, baseline="02.06", offset=None, quantum="5000")
    edit(safe, "<QUANTIFICATION_VALUES_LIST>", "<L1C_L2A_Quantification_Values_List>")
    edit(safe, "</QUANTIFICATION_VALUES_LIST>", "</L1C_L2A_Quantification_Values_List>")
    edit(safe, "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
    np.testing.assert_allclose(open_scene(safe).values, cube / 5000, rtol=1e-6)


def test_offsets_are_matched_by_band(tmp_path, cube):
    safe = write_sentinel2(tmp_path, cube, scl=VEGETATION)
    edit(safe, '<BOA_ADD_OFFSET band_id="8">-1000<', '<BOA_ADD_OFFSET band_id="8">-2000<')  # B8A
    edit(safe, '<BOA_ADD_OFFSET band_id="7">-1000<', '<BOA_ADD_OFFSET band_id="7">-3000<')  # B08, not read
    expected = (cube.astype(float) - 1000) / 10000
    expected[6] -= 0.1
    np.testing.assert_allclose(open_scene(safe).values, expected, rtol=1e-5, atol=1e-7)


def test_zero_is_no_data_and_not_dark(tmp_path, cube):
    cube[:, 2, 3] = 0
    scene = open_scene(write_sentinel2(tmp_path, cube, scl=VEGETATION))
    assert np.argwhere(~scene.valid).tolist() == [[2, 3]]


def test_each_mask_comes_from_its_scene_classes(tmp_path, cube):
    scl = np.arange(20, dtype="uint8").reshape(SHAPE)  # class n at place n
    masks = find_reader(write_sentinel2(tmp_path, cube, scl=scl)).quality()
    assert {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()} == {
        "cloud": [8, 9],
        "cirrus": [10],
        "shadow": [3],
        "snow": [11],
        "water": [6],
        "saturated": [1],
    }


def test_without_scene_classes_there_are_no_masks_and_a_note(tmp_path, cube):
    scene = open_scene(write_sentinel2(tmp_path, cube))
    assert scene.all_valid
    assert any("lacks SCL at 20 m, so nothing is known of cloud, cirrus" in note for note in scene.notes)


def test_a_new_product_without_offset_is_refused(tmp_path, cube):
    safe = write_sentinel2(tmp_path, cube, offset=None)
    with pytest.raises(SceneError, match=r"processing baseline 05\.11 and no BOA_ADD_OFFSET"):
        open_scene(safe)


def test_a_missing_band_is_named(tmp_path, cube):
    safe = write_sentinel2(tmp_path, cube)
    (images(safe) / f"{TILE}_B8A_20m.jp2").unlink()
    with pytest.raises(SceneError, match=r"R20m lacks one image \(\*_BAND_20m\.jp2\) of B8A"):
        open_scene(safe)


def test_a_product_without_images_or_of_several_tiles_is_refused(tmp_path, cube):
    safe = write_sentinel2(tmp_path, cube)
    granule = images(safe).parents[1]
    shutil.copytree(granule, granule.with_name("another"))
    with pytest.raises(SceneError, match=r"has 2 folders .*R20m; need one\. patchfree reads products of one tile"):
        open_scene(safe)
    shutil.rmtree(safe / "GRANULE")
    with pytest.raises(SceneError, match=r"has 0 folders .*R20m; need one\. Unpack or download"):
        open_scene(safe)


def test_bands_on_different_grids_are_refused(tmp_path, cube):
    safe = write_sentinel2(tmp_path, cube)
    shutil.copy(next(safe.glob("GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2")), images(safe) / f"{TILE}_B05_20m.jp2")
    with pytest.raises(SceneError, match=r"B05_20m\.jp2 does not lie on the grid of .*B02_20m\.jp2"):
        open_scene(safe)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('physicalBand="B8A"', 'physicalBand="B8"', r"no Spectral_Information of B8A"),
        (">05.11<", ">new<", r"PROCESSING_BASELINE or a BOA_ADD_OFFSET is no number"),
        (">10000<", ">0<", r"no BOA_QUANTIFICATION_VALUE above 0"),
        ("</n1:Level-2A_User_Product>", "", r"MTD_MSIL2A\.xml is damaged"),
    ],
)
def test_a_damaged_xml_is_refused(tmp_path, cube, old, new, message):
    safe = write_sentinel2(tmp_path, cube)
    edit(safe, old, new)
    with pytest.raises(SceneError, match=message):
        open_scene(safe)


def test_another_level_is_refused(tmp_path):
    (tmp_path / "S2B_MSIL1C.SAFE").mkdir()
    (tmp_path / "S2B_MSIL1C.SAFE" / "MTD_MSIL1C.xml").write_text("<x/>")
    with pytest.raises(SceneError, match=r"of another level than L2A: it has no MTD_MSIL2A\.xml"):
        open_scene(tmp_path / "S2B_MSIL1C.SAFE")
