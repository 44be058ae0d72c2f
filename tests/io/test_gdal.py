"""Tags, masks, scales and colours of a raster mean what GDAL says they mean."""

import numpy as np
import pytest
import rasterio
from fixtures import UTM33, placed, random_cube, write_tif
from PIL import Image

from patchfree.errors import LabelError, SceneError
from patchfree.io import find_reader, open_scene
from patchfree.io.reference import read_labels


def tag_bands(**columns):
    """An `edit` for write_tif: one tag a band under each key."""

    def edit(file):
        for i in file.indexes:
            file.update_tags(
                i, **{key: values if isinstance(values, str) else values[i - 1] for key, values in columns.items()}
            )

    return edit


def describe_bands(*texts):
    def edit(file):
        file.descriptions = texts

    return edit


def test_band_tags_give_wavelengths_widths_and_bad_bands(tmp_path):
    edit = tag_bands(wavelength=[450.5, 550, 650], wavelength_units="Nanometers", fwhm=[8, 9, 10], bbl=[1, 0, 1])
    cube = random_cube(3, 4, 5)
    scene = open_scene(write_tif(tmp_path / "a.tif", cube, edit=edit))
    assert scene.bands.wavelengths_nm == (450.5, 650.0)
    assert scene.bands.fwhm_nm == (8.0, 10.0)
    assert scene.bands.numbers == (1, 3)
    np.testing.assert_array_equal(scene.values, cube[[0, 2]])


def test_tags_in_micrometres_are_converted(tmp_path):
    edit = tag_bands(wavelength=[0.45, 0.55], wavelength_units="Micrometers", fwhm=[0.01, 0.012])
    bands = open_scene(write_tif(tmp_path / "a.tif", random_cube(2, 4, 5), edit=edit)).bands
    assert bands.wavelengths_nm == pytest.approx((450, 550))
    assert bands.fwhm_nm == pytest.approx((10, 12))


def test_the_imagery_domain_gives_wavelengths(tmp_path):
    def edit(file):
        for i, (centre, width) in enumerate([("0.4505", "0.01"), ("0.55", "0.012")], 1):
            file.update_tags(i, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=centre, FWHM_UM=width)

    bands = open_scene(write_tif(tmp_path / "a.tif", random_cube(2, 4, 5), edit=edit)).bands
    assert bands.wavelengths_nm == (450.5, 550.0)
    assert bands.fwhm_nm == (10.0, 12.0)


@pytest.mark.parametrize(
    "texts", [("Band 1 (450.5 Nanometers)", "Band 2 (550 Nanometers)"), ("450.5 nm", "550nm"), ("0.4505 µm", "0.55 um")]
)
def test_band_descriptions_give_wavelengths_with_a_note(tmp_path, texts):
    scene = open_scene(write_tif(tmp_path / "a.tif", random_cube(2, 4, 5), edit=describe_bands(*texts)))
    assert scene.bands.wavelengths_nm == (450.5, 550.0)
    assert "Wavelengths were taken from the band descriptions." in scene.notes


def test_descriptions_without_wavelengths_are_no_wavelengths(tmp_path):
    scene = open_scene(write_tif(tmp_path / "a.tif", random_cube(2, 4, 5), edit=describe_bands("B1 blue", "550 nm")))
    assert scene.bands.wavelengths_nm is None
    assert "The file states no wavelengths; bands are known by number only." in scene.notes


def test_wavelength_tags_that_are_no_numbers_are_left_out_with_a_note(tmp_path):
    edit = tag_bands(wavelength=["blue", "green"])
    scene = open_scene(write_tif(tmp_path / "a.tif", random_cube(2, 4, 5), edit=edit))
    assert scene.bands.wavelengths_nm is None
    assert any("wavelengths in the band tags are not numbers" in note for note in scene.notes)


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 255), ("int16", -9999), ("float32", -3.4e38), ("float64", np.nan)]
)
def test_nodata_of_every_type_is_masked(tmp_path, dtype, nodata):
    cube = random_cube(2, 4, 5, dtype)
    cube[0, 1, 2] = nodata
    scene = open_scene(write_tif(tmp_path / "a.tif", cube, nodata=nodata))
    assert np.argwhere(~scene.valid).tolist() == [[1, 2]]
    assert "1 of 20 pixels (5.0%) lack data in at least one band and are masked." in scene.notes


def test_scale_and_offset_give_physical_values(tmp_path):
    def edit(file):
        file.scales, file.offsets = (0.0001, 2), (0, -5)

    cube = random_cube(2, 4, 5, "int16")
    cube[0, 0, 0] = -1
    scene = open_scene(write_tif(tmp_path / "a.tif", cube, edit=edit, nodata=-1))
    np.testing.assert_allclose(scene.values[0].ravel()[1:], cube[0].ravel()[1:] * 0.0001, rtol=1e-6)
    np.testing.assert_allclose(scene.values[1].ravel()[1:], cube[1].ravel()[1:] * 2.0 - 5, rtol=1e-6)
    assert not scene.valid[0, 0]
    assert (scene.details["scale"], scene.details["offset"]) == ([0.0001, 2.0], [0.0, -5.0])


def test_a_huge_nodata_value_does_not_overflow_when_scaled(tmp_path):
    def edit(file):
        file.scales = (1000.0, 1000.0)

    cube = random_cube(2, 4, 5)
    cube[:, 0, 0] = -3.4e38
    scene = open_scene(write_tif(tmp_path / "a.tif", cube, edit=edit, nodata=-3.4e38))  # a warning is an error here
    assert scene.values.max() == cube.max() * 1000


def masked_tif(path, values, hidden):
    """A raster with a mask of its own that hides some pixels."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        return write_tif(path, values, edit=lambda file: file.write_mask(~hidden))


def test_the_files_own_mask_hides_pixels(tmp_path):
    hidden = np.zeros((4, 5), bool)
    hidden[1:3, 2] = True
    scene = open_scene(masked_tif(tmp_path / "a.tif", random_cube(2, 4, 5, "uint8"), hidden))
    np.testing.assert_array_equal(scene.valid, ~hidden)


def test_the_own_mask_of_a_label_raster_hides_labels(tmp_path):
    hidden = np.zeros((4, 5), bool)
    hidden[0] = True
    scene = open_scene(write_tif(tmp_path / "scene.tif", random_cube(2, 4, 5)))
    labels = read_labels(masked_tif(tmp_path / "labels.tif", np.full((4, 5), 3, "uint8"), hidden), scene)
    np.testing.assert_array_equal(labels.index > 0, ~hidden)


def test_an_alpha_band_hides_pixels(tmp_path):
    cube = random_cube(4, 4, 5, "uint8")
    cube[3] = 255
    cube[3, 2, 2] = 0
    scene = open_scene(write_tif(tmp_path / "a.tif", cube, photometric="RGB", alpha="yes"))
    assert np.argwhere(~scene.valid).tolist() == [[2, 2]]


@pytest.mark.parametrize("transform", [placed(), placed(angle=30)], ids=["north up", "rotated"])
def test_the_map_position_is_kept(tmp_path, transform):
    grid = open_scene(write_tif(tmp_path / "a.tif", random_cube(2, 4, 5), transform=transform)).grid
    assert grid.transform == pytest.approx(tuple(transform)[:6])
    assert rasterio.crs.CRS.from_wkt(grid.crs) == rasterio.crs.CRS.from_user_input(UTM33)
    assert grid.pixel_size == pytest.approx((30, 30))


def test_a_raster_without_map_position_says_so(tmp_path):
    scene = open_scene(write_tif(tmp_path / "a.tif", random_cube(2, 4, 5), crs=None, transform=None))
    assert (scene.grid.crs, scene.grid.transform) == (None, None)
    assert "The scene is not georeferenced; maps are written in pixel coordinates." in scene.notes


def test_a_colour_table_colours_the_classes(tmp_path):
    def edit(file):
        file.write_colormap(1, {3: (10, 20, 250, 255), 7: (30, 140, 40, 255)})

    values = np.array([[3, 7, 0], [3, 3, 7]], "uint8")
    scene = open_scene(write_tif(tmp_path / "scene.tif", random_cube(2, 2, 3)))
    labels = read_labels(write_tif(tmp_path / "labels.tif", values, edit=edit), scene)
    assert [(e.value, e.colour) for e in labels.legend] == [(3, (10, 20, 250)), (7, (30, 140, 40))]


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_pictures_of_class_values_are_labels(tmp_path, ending):
    values = np.random.default_rng(0).integers(0, 4, (6, 7)).astype("uint8")
    Image.fromarray(values).save(tmp_path / f"labels.{ending}")
    scene = open_scene(write_tif(tmp_path / "scene.tif", random_cube(2, 6, 7)))
    labels = read_labels(tmp_path / f"labels.{ending}", scene)
    np.testing.assert_array_equal(labels.restore(labels.index), values)


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_the_palette_of_a_picture_colours_the_classes(tmp_path, ending):
    picture = Image.new("P", (3, 2))
    picture.putdata([0, 1, 2, 2, 1, 1])
    picture.putpalette([0, 0, 0, 200, 10, 20, 30, 140, 40])
    picture.save(tmp_path / f"labels.{ending}")
    scene = open_scene(write_tif(tmp_path / "scene.tif", random_cube(2, 2, 3)))
    labels = read_labels(tmp_path / f"labels.{ending}", scene)
    assert [(e.value, e.colour) for e in labels.legend] == [(1, (200, 10, 20)), (2, (30, 140, 40))]


def test_a_coloured_picture_is_refused_as_labels(tmp_path):
    Image.fromarray(np.zeros((4, 5, 3), "uint8")).save(tmp_path / "labels.png")
    scene = open_scene(write_tif(tmp_path / "scene.tif", random_cube(2, 4, 5)))
    with pytest.raises(
        LabelError, match=r"has 3 bands \(3, 4, 5\).*coloured picture of the classes, export the class values"
    ):
        read_labels(tmp_path / "labels.png", scene)


def test_a_truncated_tif_is_refused(tmp_path):
    path = write_tif(tmp_path / "a.tif", random_cube(3, 300, 300), compress="deflate")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(SceneError, match=r"(?s)a\.tif.*(truncated|file is complete)"):
        open_scene(path)


@pytest.mark.parametrize("size", [0, 3, 40])
def test_the_stump_of_a_tif_is_refused(tmp_path, size):
    path = write_tif(tmp_path / "a.tif", random_cube(3, 4, 5))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SceneError, match=r"(?s)a\.tif.*(truncated|file is complete)"):
        open_scene(path)


def test_a_text_file_is_no_raster(tmp_path):
    (tmp_path / "notes.txt").write_text("no raster")
    with pytest.raises(SceneError, match=r"notes\.txt cannot be opened as a raster.*patchfree reads ENVI, GeoTIFF"):
        open_scene(tmp_path / "notes.txt")


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_numbers_are_refused(tmp_path, dtype):
    cube = random_cube(2, 4, 5, "complex64")
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "count": 2, "height": 4, "width": 5, "crs": UTM33, "transform": placed()}
    with rasterio.open(path, "w", dtype=dtype, **profile) as file:
        file.write(cube)
    with pytest.raises(SceneError, match="holds complex numbers"):
        open_scene(path)


def test_a_variable_cannot_be_named_in_a_raster(tmp_path):
    path = write_tif(tmp_path / "a.tif", random_cube(2, 4, 5))
    with pytest.raises(SceneError, match="no file with named variables; leave out ':data'"):
        open_scene(f"{path}:data")


def test_the_description_names_the_driver(tmp_path):
    assert find_reader(write_tif(tmp_path / "a.tif", random_cube(2, 4, 5))).describe().format == "GTiff"
