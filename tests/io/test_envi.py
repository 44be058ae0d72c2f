"""What an independent program reads from an ENVI file is what patchfree reads; a file that contradicts itself is refused."""

import re
import warnings

import numpy as np
import pytest
import rasterio
import spectral.io.envi as spy
from fixtures import ENVI_AXES, no_georeference_is_fine, random_cube, write_envi

from patchfree.errors import SceneError
from patchfree.io import find_reader, open_scene
from patchfree.io.reference import read_labels

MAP_INFO = "{UTM, 1, 1, 362175, 5809965, 30, 30, 33, North, WGS-84}"


def stored(path):
    return find_reader(path).read()


def spy_write(path, cube, *, dtype, interleave, order):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # SPy leaves files open
        spy.save_image(
            str(path), cube.transpose(1, 2, 0), dtype=dtype, interleave=interleave, byteorder=order, ext=".img"
        )


def spy_read(path, binary):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return np.array(spy.open(str(path), str(binary)).open_memmap(interleave="bip")).transpose(2, 0, 1)


def gdal_read(path):
    with no_georeference_is_fine(), rasterio.open(path, driver="ENVI") as file:
        return file.read()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("interleave", sorted(ENVI_AXES))
def test_every_layout_is_read_as_spy_and_gdal_read_it(tmp_path, interleave, dtype, order):
    cube = random_cube(4, 5, 6, dtype)
    header = write_envi(tmp_path, cube, interleave=interleave, order=order, offset=13)
    np.testing.assert_array_equal(stored(header), cube)
    np.testing.assert_array_equal(stored(header), spy_read(header, tmp_path / "x"))
    np.testing.assert_array_equal(stored(header), gdal_read(tmp_path / "x"))
    assert find_reader(header).describe().dtype == np.dtype(order + dtype)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("interleave", sorted(ENVI_AXES))
def test_files_written_by_spy_are_read(tmp_path, interleave, order):
    cube = random_cube(3, 4, 5, "int16", low=-200)
    spy_write(tmp_path / "a.hdr", cube, dtype="int16", interleave=interleave, order=order)
    np.testing.assert_array_equal(open_scene(tmp_path / "a.hdr").values, cube)


@pytest.mark.parametrize("named", ["header", "binary"])
@pytest.mark.parametrize(
    ("header", "binary"),
    [
        ("x.hdr", "x"),
        ("x.hdr", "x.img"),
        ("x.img.hdr", "x.img"),
        ("X.HDR", "X"),
        ("X.HDR", "x.bil"),
        ("x.hdr", "X.DAT"),
    ],
)
def test_header_and_binary_find_each_other(tmp_path, header, binary, named):
    cube = random_cube(2, 3, 4)
    write_envi(tmp_path, cube, header=header, binary=binary)
    scene = open_scene(tmp_path / (header if named == "header" else binary))
    np.testing.assert_array_equal(scene.values, cube)


def test_the_header_with_the_full_name_wins_over_one_with_the_stem(tmp_path):
    write_envi(tmp_path, random_cube(2, 3, 4, seed=1), header="x.hdr", binary="x.dat")
    cube = random_cube(4, 3, 2, seed=2)
    write_envi(tmp_path, cube, header="x.img.hdr", binary="x.img")
    np.testing.assert_array_equal(open_scene(tmp_path / "x.img").values, cube)


@pytest.mark.parametrize(
    ("units", "wavelengths", "widths"),
    [
        ("Nanometers", [450.5, 550.25, 650.125], [10.0, 11.0, 12.5]),
        ("Micrometers", [0.4505, 0.55025, 0.650125], [0.01, 0.011, 0.0125]),
        ("um", [0.4505, 0.55025, 0.650125], [0.01, 0.011, 0.0125]),
        ("Unknown", [450.5, 550.25, 650.125], [10.0, 11.0, 12.5]),
        (None, [0.4505, 0.55025, 0.650125], [0.01, 0.011, 0.0125]),
    ],
)
def test_wavelengths_and_widths_come_in_nanometres(tmp_path, units, wavelengths, widths):
    fields = {"wavelength_units": units} if units else {}
    header = write_envi(tmp_path, random_cube(3, 4, 5), wavelength=wavelengths, fwhm=widths, **fields)
    scene = open_scene(header)
    assert scene.bands.wavelengths_nm == pytest.approx((450.5, 550.25, 650.125), abs=1e-6)
    assert scene.bands.fwhm_nm == pytest.approx((10.0, 11.0, 12.5), abs=1e-6)
    assert any("unit of the wavelengths is not stated" in note for note in scene.notes) == (units in ("Unknown", None))


@pytest.mark.parametrize("units", ["Index", "Wavenumber", "GHz"])
def test_bands_given_in_another_quantity_have_no_wavelengths(tmp_path, units):
    header = write_envi(tmp_path, random_cube(3, 4, 5), wavelength=[1, 2, 3], fwhm=[1, 1, 1], wavelength_units=units)
    scene = open_scene(header)
    assert scene.bands.wavelengths_nm is None
    assert any(f"given in {units}, not as wavelengths" in note for note in scene.notes)


def test_wavelengths_of_zero_are_left_out_with_a_note(tmp_path):
    scene = open_scene(write_envi(tmp_path, random_cube(2, 4, 5), wavelength=[0, 0], fwhm=[1, 1]))
    assert scene.bands.wavelengths_nm is None
    assert any("not all above 0" in note for note in scene.notes)


def test_a_header_without_wavelengths_works_and_says_so(tmp_path):
    scene = open_scene(write_envi(tmp_path, random_cube(2, 4, 5)))
    assert scene.bands.wavelengths_nm is None
    assert "The file states no wavelengths; bands are known by number only." in scene.notes


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("wavelength", [450, 550], "'wavelength' has 2 entries for 3 bands"),
        ("fwhm", [10, 10, 10, 10], "'fwhm' has 4 entries for 3 bands"),
        ("bbl", [1, 0], "'bbl' has 2 entries for 3 bands"),
        ("wavelength", [450, "?", 650], "'wavelength' holds something that is no number"),
    ],
)
def test_a_list_that_does_not_fit_the_bands_is_left_out_with_a_note(tmp_path, key, value, said):
    scene = open_scene(write_envi(tmp_path, random_cube(3, 4, 5), **{key: value}))
    assert len(scene.bands) == 3
    assert scene.bands.wavelengths_nm is None
    assert any(said in note for note in scene.notes)


def test_bad_bands_are_dropped_unless_they_are_asked_for(tmp_path):
    cube = random_cube(4, 5, 6)
    header = write_envi(tmp_path, cube, bbl=[1, 0, "1.0", "0"], wavelength=[500, 600, 700, 800])
    scene = open_scene(header)
    np.testing.assert_array_equal(scene.values, cube[[0, 2]])
    assert (scene.bands.numbers, scene.bands.wavelengths_nm, scene.bands.total) == ((1, 3), (500.0, 700.0), 4)
    assert "Dropped as flagged bad: band 2, 4 (2 of 4)." in scene.notes
    assert open_scene(header, keep_bad_bands=True).bands.numbers == (1, 2, 3, 4)


def test_the_data_ignore_value_masks_pixels(tmp_path):
    cube = random_cube(3, 4, 5, "int16")
    cube[1, 2, 3] = -9999
    scene = open_scene(write_envi(tmp_path, cube, data_ignore_value="-9999"))
    assert np.argwhere(~scene.valid).tolist() == [[2, 3]]
    assert (scene.values[:, 2, 3] == 0).all()


def test_the_reflectance_scale_factor_divides(tmp_path):
    cube = random_cube(2, 4, 5, "int16")
    scene = open_scene(write_envi(tmp_path, cube, reflectance_scale_factor="10000.0"))
    np.testing.assert_allclose(scene.values, cube / 10000, rtol=1e-6)


def test_gain_and_offset_values_apply_a_band_and_not_to_nodata(tmp_path):
    cube = random_cube(2, 4, 5, "int16")
    cube[:, 0, 0] = -1
    header = write_envi(tmp_path, cube, data_gain_values=[0.5, 2], data_offset_values=[1, -3], data_ignore_value="-1")
    scene = open_scene(header)
    expected = cube * np.array([0.5, 2])[:, None, None] + np.array([1, -3])[:, None, None]
    expected[:, 0, 0] = 0
    np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
    assert not scene.valid[0, 0]


@pytest.mark.parametrize(
    "map_info",
    [
        MAP_INFO,
        MAP_INFO[:-1] + ", rotation=30}",
        "{UTM, 3.5, 2, 362175, 5809965, 30, 20, 33, North, WGS-84, units=Meters}",
        "{Geographic Lat/Lon, 1, 1, 13.0, 52.4, 0.001, 0.001, WGS-84}",
    ],
    ids=["utm", "rotated", "other reference pixel", "geographic"],
)
def test_the_map_position_is_that_of_gdal(tmp_path, map_info):
    header = write_envi(tmp_path, random_cube(2, 40, 50), map_info=map_info)
    grid = open_scene(header).grid
    with rasterio.open(tmp_path / "x", driver="ENVI") as file:
        assert grid.transform == pytest.approx(tuple(file.transform)[:6])
        assert rasterio.crs.CRS.from_wkt(grid.crs) == file.crs


def test_a_rotated_map_info_gives_a_rotated_transform(tmp_path):
    header = write_envi(tmp_path, random_cube(2, 40, 50), map_info=MAP_INFO[:-1] + ", rotation=30}")
    grid = open_scene(header).grid
    assert abs(grid.transform[1]) == pytest.approx(15.0)
    assert grid.pixel_size == pytest.approx((30.0, 30.0))


@pytest.mark.parametrize("projection", ["Arbitrary", "UTM", "Unknown"])
def test_a_map_position_without_coordinate_system_is_noted(tmp_path, projection):
    scene = open_scene(write_envi(tmp_path, random_cube(2, 4, 5), map_info=f"{{{projection}, 1, 1, 100, 200, 2, 2}}"))
    assert scene.grid.crs is None
    assert scene.grid.transform == (2.0, 0.0, 100.0, 0.0, -2.0, 200.0)
    assert "The header gives a map position but no coordinate system." in scene.notes


def test_a_coordinate_system_of_another_planet_size_is_not_believed(tmp_path):
    wkt = (
        'PROJCS["UTM_Zone_10N",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",637813..0,298.257223563]],'
        'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
        'PARAMETER["False_Easting",50000.0],PARAMETER["Central_Meridian",-123.0],UNIT["Meter",1.0]]'
    )
    header = write_envi(
        tmp_path,
        random_cube(2, 4, 5),
        map_info="{UTM, 1, 1, 600000, 4000000, 1, 1, 10, North}",
        coordinate_system_string="{" + wkt + "}",
    )
    scene = open_scene(header)
    assert (scene.grid.crs, scene.grid.transform) == (None, None)
    assert any("semi-major axis of 637813 m" in note for note in scene.notes)


def classification(folder, **fields):
    values = np.array([[[0, 1, 2], [2, 2, 1]]], "uint8")
    return write_envi(folder, values, file_type="ENVI Classification", classes=3, **fields)


def test_class_names_and_colours_of_a_classification_become_the_legend(tmp_path):
    header = classification(
        tmp_path, class_names=["Unclassified", "open water", "forest"], class_lookup=[0, 0, 0, 10, 20, 250, 30, 140, 40]
    )
    labels = read_labels(header, open_scene(header))
    assert [(e.value, e.name, e.colour) for e in labels.legend] == [
        (1, "open water", (10, 20, 250)),
        (2, "forest", (30, 140, 40)),
    ]
    assert labels.index.tolist() == [[0, 1, 2], [2, 2, 1]]


def test_an_empty_class_name_does_not_shift_the_others(tmp_path):
    header = classification(tmp_path, class_names=["Unclassified", "", "forest"])
    labels = read_labels(header, open_scene(header))
    assert [e.name for e in labels.legend] == ["class 1", "forest"]


@pytest.mark.parametrize("lookup", ["{red, green, blue}", "{0, 0, 0, 10, 20}"])
def test_a_broken_class_lookup_costs_colours_and_not_labels(tmp_path, lookup):
    header = classification(tmp_path, class_names=["Unclassified", "water", "forest"], class_lookup=lookup)
    labels = read_labels(header, open_scene(header))
    assert [e.name for e in labels.legend] == ["water", "forest"]


HEADER = "ENVI\nsamples = 5\nlines = 4\nbands = 2\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"


def broken(folder, header, *, size=160):
    (folder / "x").write_bytes(bytes(size))
    (folder / "x.hdr").write_text(header)
    return folder / "x.hdr"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("BYTEORDER I\nNROWS 4\n", "no ENVI header: its first line must be 'ENVI', got 'BYTEORDER I'"),
        ("", "its first line must be 'ENVI', got ''"),
        (HEADER + "wavelength = {450,\n550\nfwhm = {1, 1}\n", "line 8: the list of 'wavelength' has no closing brace"),
        (HEADER + "wavelength = {450,\n550\n", "line 8: the list of 'wavelength' has no closing brace"),
        (HEADER.replace("lines = 4\n", ""), "lacks 'lines'; .*Add a line such as 'lines = 100'"),
        (HEADER.replace("samples = 5\nlines = 4\n", ""), "lacks 'samples', 'lines'"),
        (HEADER.replace("bsq", "bsx"), "unknown interleave 'bsx'; need bsq, bil or bip"),
        (HEADER.replace("type = 4", "type = 7"), "unknown data type 7; ENVI defines 1, 2, 3"),
        (HEADER.replace("type = 4", "type = float"), "'data type' must be a whole number, got 'float'"),
        (HEADER.replace("lines = 4", "lines = four"), "'lines' must be a whole number, got 'four'"),
        (HEADER.replace("lines = 4", "lines = 0"), "must be at least 1"),
        (HEADER + "header offset = x\n", "'header offset' must be a whole number, got 'x'"),
        (HEADER + "data ignore value = none\n", "'data ignore value' must be a number, got 'none'"),
        (HEADER + "reflectance scale factor = 1e4x\n", "'reflectance scale factor' must be a number"),
        (HEADER + "file compression = 1\n", "the binary is compressed .*Decompress it with gunzip"),
        (HEADER.replace("type = 4", "type = 6"), r"holds complex numbers \(complex64\)"),
        (HEADER.replace("lines = 4", "lines = 5"), "is truncated: it has 160 bytes, and x.hdr needs 200"),
        (HEADER.replace("lines = 4", "lines = 3"), "is larger than its header says: it has 160 bytes"),
        (
            HEADER.replace("type = 4", "type = 2"),
            "is larger than its header says: it has 160 bytes, and x.hdr needs 80",
        ),
        (HEADER + "header offset = 8\n", r"needs 168 \(offset 8 \+ 4 lines x 5 samples x 2 bands x 4 bytes\)"),
    ],
)
def test_a_broken_header_is_refused_by_name(tmp_path, header, said):
    with pytest.raises(SceneError, match=re.escape(str(tmp_path)) + "(?s:.*)" + said):
        open_scene(broken(tmp_path, header))


def test_comments_blank_lines_case_and_lists_over_lines_are_understood(tmp_path):
    header = broken(
        tmp_path,
        "\ufeffENVI\n; wavelength = {1, 2}\n\nSamples=5\nLINES   = 4\nbands = 2\nData  Type = 4\n"
        "description = {a = b,\n  c}\nwavelength = {\n 450.0,\n 550.0 }\nwavelength units = Nanometers\n",
    )
    scene = open_scene(header, nodata=-1.0)
    assert scene.values.shape == (2, 4, 5)
    assert scene.bands.wavelengths_nm == (450.0, 550.0)


def test_a_truncated_binary_is_refused_with_both_sizes(tmp_path):
    header = write_envi(tmp_path, random_cube(3, 4, 5, "int16"), header="x.hdr", binary="x.img")
    binary = tmp_path / "x.img"
    binary.write_bytes(binary.read_bytes()[:-1])
    with pytest.raises(
        SceneError, match=r"x\.img is truncated: it has 119 bytes, and x\.hdr needs 120.*Copy the file again"
    ):
        open_scene(header)


def test_a_header_without_binary_says_what_it_looked_for(tmp_path):
    header = write_envi(tmp_path, random_cube(1, 2, 2))
    (tmp_path / "x").unlink()
    with pytest.raises(SceneError, match=r"binary is missing: looked for x with the endings none, \.img, \.dat"):
        open_scene(header)
