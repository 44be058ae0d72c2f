"""An EnMAP L2A product gives its reflectance, wavelengths and masks, whichever of its files is named."""

import numpy as np
import pytest
import rasterio
from fixtures import random_cube

from patchfree.errors import SceneError
from patchfree.io import find_reader, open_scene
from patchfree.io.source import SceneSource
from products_xml import ENMAP, raster, write_enmap

SHAPE = (4, 5)
CLEAR = np.zeros(SHAPE, "uint8")
LAYERS = ("CLOUD", "CIRRUS", "CLOUDSHADOW", "HAZE", "SNOW", "CLASSES", "TESTFLAGS")


def layers(**filled):
    """All quality layers, clear unless given."""
    return {f"QUALITY_{name}": filled.get(name, CLEAR) for name in LAYERS}


def at(*places, value=1):
    flags = CLEAR.copy()
    for place in places:
        flags[place] = value
    return flags


@pytest.fixture
def cube():
    return random_cube(3, *SHAPE, "int16", high=9000)


def named(folder, part):
    return next(p for p in folder.iterdir() if part in p.name)


@pytest.mark.parametrize("part", [None, "METADATA", "SPECTRAL_IMAGE"])
@pytest.mark.parametrize(
    ("copy", "ending"), [("", "TIF"), ("_COG", "TIF"), ("_COG", "tiff"), ("", "GEOTIFF"), ("", "tif")]
)
def test_folder_xml_and_cube_give_the_same_scene(tmp_path, cube, part, copy, ending):
    folder = write_enmap(tmp_path, cube, layers=layers(CLOUD=at((0, 0))), copy=copy, ending=ending)
    scene = open_scene(folder if part is None else named(folder, part))
    np.testing.assert_allclose(scene.values[:, scene.valid], cube[:, scene.valid] * 1e-4, rtol=1e-6)
    assert np.argwhere(~scene.valid).tolist() == [[0, 0]]
    assert scene.bands.wavelengths_nm == (418.2, 424.7, 431.2)
    assert scene.bands.fwhm_nm == (8.1, 8.2, 8.3)
    assert scene.details["format"] == "EnMAP L2A"


def test_the_grid_is_that_of_the_cube(tmp_path, cube):
    folder = write_enmap(tmp_path, cube)
    with rasterio.open(named(folder, "SPECTRAL_IMAGE")) as file:
        grid = open_scene(folder).grid
        assert grid.transform == tuple(file.transform)[:6]
        assert rasterio.crs.CRS.from_wkt(grid.crs) == file.crs
        assert grid.shape == file.shape


def test_gain_and_offset_of_the_xml_are_applied(tmp_path, cube):
    scene = open_scene(write_enmap(tmp_path, cube, gain=0.0002, offset=-0.05))
    np.testing.assert_allclose(scene.values, cube * 0.0002 - 0.05, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("nodata", [-32768, None])
def test_background_is_masked_whether_or_not_the_file_says_so(tmp_path, cube, nodata):
    cube[:, 1, 2] = -32768
    scene = open_scene(write_enmap(tmp_path, cube, nodata=nodata))
    assert np.argwhere(~scene.valid).tolist() == [[1, 2]]


def test_bands_of_both_detectors_stay_in_the_order_of_the_file(tmp_path, cube):
    scene = open_scene(write_enmap(tmp_path, cube, centres=[902.2, 911.3, 904.8]))
    assert scene.bands.wavelengths_nm == (902.2, 911.3, 904.8)
    np.testing.assert_allclose(scene.values, cube * 1e-4, rtol=1e-6)


def test_an_empty_band_is_dropped_and_the_others_keep_their_wavelengths(tmp_path, cube):
    cube[1] = -32768
    scene = open_scene(write_enmap(tmp_path, cube))
    assert scene.bands.numbers == (1, 3)
    assert scene.bands.wavelengths_nm == (418.2, 431.2)


def test_each_mask_comes_from_its_layer_and_its_values(tmp_path, cube):
    cirrus = at((1, 0), value=1) + at((1, 1), value=2) + at((1, 2), value=3) + at((1, 3), value=255)
    classes = at((3, 0), value=1) + at((3, 1), value=2) + at((3, 2), value=3)
    flags = at((0, 0), value=0b010000) + at((0, 1), value=0b100001) + at((0, 2), value=0b001100) + at((0, 3), value=255)
    folder = write_enmap(
        tmp_path,
        cube,
        layers=layers(
            CLOUD=at((0, 4)),
            CIRRUS=cirrus,
            CLOUDSHADOW=at((2, 0)),
            HAZE=at((2, 1)),
            SNOW=at((2, 2)),
            CLASSES=classes,
            TESTFLAGS=flags,
        ),
    )
    masks = find_reader(folder).quality()
    assert {name: np.argwhere(mask).tolist() for name, mask in masks.items()} == {
        "cloud": [[0, 4]],
        "cirrus": [[1, 0], [1, 1], [1, 2]],
        "shadow": [[2, 0]],
        "haze": [[2, 1]],
        "snow": [[2, 2]],
        "water": [[3, 1]],
        "saturated": [[0, 0], [0, 1]],
    }


def test_missing_layers_are_noted_and_the_others_used(tmp_path, cube):
    given = layers(CLOUD=at((0, 0)))
    del given["QUALITY_CIRRUS"], given["QUALITY_TESTFLAGS"]
    scene = open_scene(write_enmap(tmp_path, cube, layers=given))
    assert (
        "The product lacks QL_QUALITY_CIRRUS, QL_QUALITY_TESTFLAGS, so nothing is known of cirrus, saturated."
        in scene.notes
    )
    assert not scene.valid[0, 0]


def test_a_complete_product_has_no_note_on_layers(tmp_path, cube):
    scene = open_scene(write_enmap(tmp_path, cube, layers=layers()))
    assert not any("lacks" in note for note in scene.notes)


def test_only_the_window_is_read(tmp_path):
    cube = random_cube(2, 64, 64, "int16")
    folder = write_enmap(tmp_path, cube)
    path = named(folder, "SPECTRAL_IMAGE")
    raster(path, cube, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    with path.open("r+b") as file:  # the last tile is cut off: reading it would fail
        file.truncate(path.stat().st_size - 40)
    np.testing.assert_array_equal(find_reader(folder).read((slice(0, 8), slice(4, 12))), cube[:, :8, 4:12])
    with pytest.raises(SceneError, match="reading the pixels failed"):
        find_reader(folder).read()


def test_a_folder_of_several_products_is_refused_with_a_way_out(tmp_path, cube):
    folder = write_enmap(tmp_path, cube)
    (folder / f"{ENMAP.replace('_008_', '_009_')}-METADATA.XML").write_text("<level_X/>")
    with pytest.raises(SceneError, match=r"holds 2 EnMAP products\. Name one of them by its XML, such as .*_008_"):
        open_scene(folder)
    assert len(open_scene(folder / f"{ENMAP}-METADATA.XML").bands) == 3


def test_another_level_is_refused(tmp_path, cube):
    folder = write_enmap(tmp_path, cube, stem=ENMAP.replace("L2A", "L1C"))
    with pytest.raises(SceneError, match=r"belongs to EnMAP, level L1C; patchfree reads L2A"):
        open_scene(folder)


def test_a_cube_without_its_xml_is_read_as_stored_and_says_so(tmp_path, cube):
    cube[:, 1, 2] = -32768
    folder = write_enmap(tmp_path, cube, layers=layers(CLOUD=at((0, 0))), nodata=None)
    named(folder, "METADATA").unlink()
    scene = open_scene(named(folder, "SPECTRAL_IMAGE"))
    np.testing.assert_array_equal(scene.values[:, scene.valid], cube[:, scene.valid])
    assert np.argwhere(~scene.valid).tolist() == [[0, 0], [1, 2]]
    assert scene.bands.wavelengths_nm is None
    assert scene.notes[0].startswith("The XML of the EnMAP product (...-METADATA.XML) is not beside its cube")


def test_an_xml_without_its_cube_is_refused(tmp_path, cube):
    folder = write_enmap(tmp_path, cube)
    image = named(folder, "SPECTRAL_IMAGE")
    image.rename(folder / "plain.tif")
    with pytest.raises(SceneError, match=r"holds the XML of EnMAP, and not the cube: looked for ENMAP01"):
        open_scene(folder)


def test_an_xml_of_another_number_of_bands_is_refused(tmp_path, cube):
    folder = write_enmap(tmp_path, cube, centres=[450.0, 460.0])
    with pytest.raises(SceneError, match=r"describes 2 bands, and .*SPECTRAL_IMAGE\.TIF has 3"):
        open_scene(folder)


def test_a_layer_of_another_size_is_refused(tmp_path, cube):
    folder = write_enmap(tmp_path, cube, layers={"QUALITY_CLOUD": np.zeros((3, 3), "uint8")})
    with pytest.raises(SceneError, match=r"QL_QUALITY_CLOUD\.TIF has 3 x 3 pixels, and .* 4 x 5"):
        open_scene(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</level_X>", "", r"METADATA\.XML is damaged: no element found"),
        ("<GainOfBand>0.0001</GainOfBand>", "", r"a bandID has nothing as GainOfBand; need a number"),
        ("418.2", "blue", r"a bandID has 'blue' as wavelengthCenterOfBand; need a number"),
    ],
)
def test_a_damaged_xml_is_refused_with_its_place(tmp_path, cube, old, new, message):
    folder = write_enmap(tmp_path, cube)
    metadata = named(folder, "METADATA")
    metadata.write_text(metadata.read_text().replace(old, new))
    with pytest.raises(SceneError, match=message):
        open_scene(folder)


def test_missing_masks_are_told_of_the_scene_on_disk_too(tmp_path, cube):
    path = write_enmap(tmp_path, cube, layers={"QUALITY_CLOUD": np.zeros(cube.shape[1:], "uint8")})
    (usual,) = SceneSource(str(path)).mask_notes
    assert "nothing is known of cirrus, shadow, haze, snow, water, saturated" in usual
    asked = SceneSource(str(path), mask=("snow", "cloud")).mask_notes
    assert asked == (usual, "The scene has no quality mask snow, as --mask asks; it has cloud.")
    assert open_scene(path, mask=("snow", "cloud")).details["mask_notes"] == list(asked)
    assert SceneSource(str(path), mask=()).mask_notes == (usual,)


def test_the_masks_that_were_left_out_are_named(tmp_path, cube):
    path = write_enmap(tmp_path, cube, layers={"QUALITY_CLOUD": np.zeros(cube.shape[1:], "uint8")})
    for mask, named_ones in ((("snow", "cloud"), ("cloud",)), (("snow",), ()), ((), ())):
        source = SceneSource(str(path), mask=mask)
        assert source.masked == named_ones
        whole = source.scene(source.choice(source.description.bands))
        assert whole.details.get("masked", ()) == open_scene(path, mask=mask).details.get("masked", ()) == named_ones
