"""The published files load by their names the day a user drops them in; a scene that is not there says what it lacks."""

from __future__ import annotations

import numpy as np
import pyogrio
import pytest
import scipy.io
import shapely

import benchmark_files as published
from patchfree.benchmark.loading import inputs, load
from patchfree.benchmark.protocols import check_protocol
from patchfree.benchmark.scenes import described_scenes, missing_files
from patchfree.errors import ConfigError, LabelError, PatchfreeError, SceneError

SCENES = described_scenes()


@pytest.mark.parametrize("name", published.MATLAB)
def test_the_matlab_scenes_load_by_their_published_names(name, tmp_path):
    published.write_matlab(tmp_path, name)
    loaded = load(SCENES[name], tmp_path)
    bands, count = published.MATLAB[name][5:]
    assert loaded.scene.values.shape == (bands, *published.SHAPE)
    assert (loaded.scene.values == published.cube(bands).transpose(2, 0, 1)).all()
    assert (loaded.labels.restore(loaded.labels.index) == published.classes(count)).all()
    assert loaded.scene.name == SCENES[name].title
    assert [entry.name for entry in loaded.labels.legend] == list(SCENES[name].classes)
    assert len(SCENES[name].classes) == count


@pytest.mark.parametrize("name", published.OFFICIAL)
def test_official_splits_of_whu_hi_lie_beside_their_scene(name, tmp_path):
    for each in published.OFFICIAL:  # three scenes, whose splits have the same file names
        published.write_matlab(tmp_path, each)
    loaded = load(SCENES[name], tmp_path)
    train, test = published.halves(published.classes(published.MATLAB[name][6]))
    assert ((loaded.official.train | loaded.official.val) == (train > 0)).all()
    assert (loaded.official.test == (test > 0)).all()
    assert loaded.official.val.any()
    assert loaded.official.optimistic  # drawn at random by the publisher


def test_an_official_split_that_says_other_classes_than_the_labels_is_refused(tmp_path):
    published.write_matlab(tmp_path, "whu-hi-longkou")
    truth = published.classes(9)
    truth[0, 1:4] = (truth[0, 1:4] + 1) % 9 + 1
    scipy.io.savemat(tmp_path / "WHU-Hi-LongKou" / "WHU_Hi_LongKou_gt.mat", {"WHU_Hi_LongKou_gt": truth})
    with pytest.raises(LabelError, match=r"WHU-Hi LongKou: at 3 of 475 pixels the official split names another class"):
        load(SCENES["whu-hi-longkou"], tmp_path)


def test_other_names_of_the_variables_and_capitals_do_not_matter(tmp_path):
    published.write_matlab(tmp_path, "pavia-university", variable="hyperimg")
    (tmp_path / "Pavia" / "PaviaU.mat").rename(tmp_path / "Pavia" / "paviau.MAT")
    scipy.io.savemat(tmp_path / "Pavia" / "PaviaU_gt.mat", {"hyperimg_gt": published.classes(9)})
    loaded = load(SCENES["pavia-university"], tmp_path)
    assert loaded.scene.values.shape == (103, *published.SHAPE)
    assert len(loaded.labels.legend) == 9


@pytest.mark.parametrize("ending", ["txt", "tif"])
def test_houston_2013_has_its_official_split(ending, tmp_path):
    published.write_houston_2013(tmp_path, ending=ending)
    loaded = load(SCENES["houston-2013"], tmp_path)
    train, test = published.halves(published.classes(15))
    assert loaded.scene.values.shape == (144, *published.SHAPE)
    assert ((loaded.official.train | loaded.official.val) == (train > 0)).all()
    assert (loaded.official.test == (test > 0)).all()
    assert (loaded.labels.restore(loaded.labels.index) == published.classes(15)).all()
    assert loaded.labels.legend[0].name == "healthy grass"


def test_houston_2018_is_labelled_on_a_grid_twice_as_fine(tmp_path):
    published.write_houston_2018(tmp_path)
    loaded = load(SCENES["houston-2018"], tmp_path)
    assert loaded.scene.values.shape == (48, *published.SHAPE)  # two layers of the file are no bands
    assert (loaded.labels.restore(loaded.labels.index) == published.classes(20)).all()
    assert loaded.labels.legend[-1].name == "stadium seats"


@pytest.mark.parametrize("name", published.PUBLISHED_SHAPES)
def test_files_of_the_published_shapes_load(name, tmp_path):
    shape = published.PUBLISHED_SHAPES[name]
    if name in published.MATLAB:
        published.write_matlab(tmp_path, name, shape=shape)
    else:
        write = {"houston-2013": published.write_houston_2013, "houston-2018": published.write_houston_2018}
        write.get(name, published.write_jasper)(tmp_path, shape=shape)
    loaded = load(SCENES[name], tmp_path)
    bands = {"houston-2013": 144, "houston-2018": 48, "jasper-ridge": 198}
    assert loaded.scene.values.shape == (bands.get(name) or published.MATLAB[name][5], *shape)
    assert loaded.labels.index.shape == shape
    assert len(loaded.labels.legend) == len(SCENES[name].classes)
    assert (loaded.official is None) == ("official" not in SCENES[name].protocols)


@pytest.mark.parametrize("by_columns", [True, False])
def test_jasper_ridge_as_a_matlab_file_is_the_same_scene(by_columns, tmp_path):
    for matlab in (True, False):
        (tmp_path / str(matlab)).mkdir()
        truth = published.write_jasper(tmp_path / str(matlab), by_columns=by_columns, matlab=matlab)
    one, other = (load(SCENES["jasper-ridge"], tmp_path / name) for name in ("True", "False"))
    assert (one.scene.values == other.scene.values).all()
    assert (one.labels.index == truth).all()


def test_pixels_that_do_not_fill_the_scene_are_refused(tmp_path):
    published.write_jasper(tmp_path, matlab=True)
    scipy.io.savemat(tmp_path / "jasperRidge2_R198.mat", {"Y": np.ones((198, 9)), "nRow": [[4]], "nCol": [[5]]})
    with pytest.raises(SceneError, match=r"holds Y of the shape \(198, 9\); need bands x 20 pixels \(4 x 5\)"):
        load(SCENES["jasper-ridge"], tmp_path)


@pytest.mark.parametrize("by_columns", [True, False])
def test_jasper_ridge_has_the_class_of_the_largest_abundance_in_either_order_of_the_pixels(by_columns, tmp_path):
    truth = published.write_jasper(tmp_path, by_columns=by_columns)
    loaded = load(SCENES["jasper-ridge"], tmp_path)
    assert (loaded.labels.index == truth).all()
    assert [entry.name for entry in loaded.labels.legend] == ["tree", "water", "soil", "road"]


def test_abundances_of_another_scene_are_refused(tmp_path):
    published.write_jasper(tmp_path)
    scipy.io.savemat(tmp_path / "end4.mat", {"A": np.ones((4, 99)), "M": np.ones((198, 4))})
    with pytest.raises(LabelError, match=r"end4.mat is of 99 pixels and 198 bands; the scene has 24 x 22 pixels"):
        load(SCENES["jasper-ridge"], tmp_path)
    scipy.io.savemat(tmp_path / "end4.mat", {"shares": np.ones((4, 99))})
    with pytest.raises(LabelError, match=r"end4.mat holds shares; need A \(materials by pixels\) and M"):
        load(SCENES["jasper-ridge"], tmp_path)


def test_a_file_that_cannot_be_read_is_named_and_has_a_fingerprint_of_its_own(tmp_path):
    published.write_jasper(tmp_path, matlab=True)
    whole = inputs(SCENES["jasper-ridge"], tmp_path)
    (tmp_path / "end4.mat").write_bytes((tmp_path / "end4.mat").read_bytes()[:200])
    with pytest.raises(
        LabelError, match=r"end4.mat cannot be read as a MATLAB file: .* Get the file from its publisher"
    ):
        load(SCENES["jasper-ridge"], tmp_path)
    assert inputs(SCENES["jasper-ridge"], tmp_path) != whole
    (tmp_path / "jasperRidge2_R198.mat").write_bytes(b"no file of MATLAB")
    with pytest.raises(SceneError, match=r"R198.mat cannot be read as a MATLAB file"):
        load(SCENES["jasper-ridge"], tmp_path)


def test_indian_pines_is_built_in():
    loaded = load(SCENES["indian-pines"], None)
    assert loaded.scene.values.shape == (200, 145, 145)
    assert (loaded.labels.index > 0).sum() == 10_249


def test_the_synthetic_scene_has_the_size_of_pavia_university():
    loaded = load(SCENES["pavia-sized"], None)
    assert loaded.scene.values.shape == (103, 610, 340)
    assert (loaded.labels.counts > 0).all()
    assert len(loaded.labels.legend) == 9


def test_the_real_enmap_scene_has_its_own_split(shared_data):
    loaded = load(SCENES["enmap-potsdam"], shared_data)
    parts = [loaded.labels.within(getattr(loaded.official, name)).counts.tolist() for name in ("train", "val", "test")]
    assert parts == [[402, 704, 847, 1660, 41, 152], [48, 103, 532, 286, 30, 207], [55, 146, 315, 124, 20, 0]]
    assert [entry.name for entry in loaded.labels.legend] == list(SCENES["enmap-potsdam"].classes)


def test_the_real_crop_of_houston_loads(shared_data):
    loaded = load(SCENES["houston-crop"], shared_data)
    assert loaded.scene.values.shape == (48, 128, 128)
    assert int((loaded.labels.index > 0).sum()) == 4185


@pytest.mark.parametrize("name", [name for name, scene in SCENES.items() if scene.scene])
def test_a_scene_that_is_not_there_says_which_file_it_needs(name, tmp_path):
    first = SCENES[name].scene[0].partition(":")[0]
    assert first in missing_files(SCENES[name], tmp_path)
    with pytest.raises(SceneError, match=r"is not below .*Get the file from its publisher"):
        load(SCENES[name], tmp_path)
    with pytest.raises(SceneError, match="no --data folder was given"):
        load(SCENES[name], None)


def test_a_scene_whose_labels_are_not_there_says_so(tmp_path):
    published.write_matlab(tmp_path, "salinas")
    (tmp_path / "Salinas_gt.mat").unlink()
    with pytest.raises(SceneError, match=r"Salinas: Salinas_gt.mat is not below"):
        load(SCENES["salinas"], tmp_path)
    published.write_houston_2013(tmp_path)
    (tmp_path / "2013_IEEE_GRSS_DF_Contest_Samples_VA.txt").unlink()
    with pytest.raises(SceneError, match=r"2013_IEEE_GRSS_DF_Contest_Samples_VA.txt or val_roi.tif is not below"):
        load(SCENES["houston-2013"], tmp_path)


def test_every_described_scene_asks_for_protocols_that_there_are():
    for scene in SCENES.values():
        assert scene.cite
        for protocol in scene.protocols:
            check_protocol(protocol)
        assert ("official" in scene.protocols) <= bool(scene.official)


def test_a_users_scene_is_described_in_a_file_of_the_same_form(tmp_path):
    published.write_matlab(tmp_path, "salinas")
    file = tmp_path / "mine.toml"
    file.write_text('[field]\nscene = "Salinas_corrected.mat"\nlabels = "Salinas_gt.mat"\nclasses = ["maize"]\n')
    found = described_scenes(file)
    assert found.keys() > SCENES.keys()
    loaded = load(found["field"], tmp_path)
    assert loaded.labels.legend[0].name == "maize"
    assert loaded.labels.legend[1].name == "class 2"
    assert loaded.scene.name == "field"


@pytest.fixture
def field(tmp_path):
    """A user's scene in a folder of its own, beside another scene with labels of the same name; both described in one file."""
    for number, folder in enumerate(("b", "a")):
        (tmp_path / folder).mkdir()
        published.write_tif(tmp_path / folder / f"scene-{folder}.tif", published.cube(4, seed=number))
        published.write_tif(tmp_path / folder / "truth.tif", published.classes(3 + number))
    text = '[field]\nscene = "scene-b.tif"\nlabels = "truth.tif"\nignore_classes = [2]\nbands = 3\n'
    (tmp_path / "mine.toml").write_text(text)
    return tmp_path / "mine.toml"


def test_labels_near_the_scene_come_before_others_of_the_same_name(field):
    loaded = load(described_scenes(field)["field"], None)
    assert loaded.labels.values == (1, 3)
    assert (
        loaded.labels.restore(loaded.labels.index) == np.where(published.classes(3) == 2, 0, published.classes(3))
    ).all()
    assert (loaded.scene.values == published.cube(4)[..., :3].transpose(2, 0, 1)).all()


def test_labels_that_do_not_fit_do_not_change_where_the_next_are_looked_for(field):
    published.write_tif(field.parent / "a" / "colours.tif", published.cube(2))
    field.write_text('[field]\nscene = "scene-b.tif"\nlabels = ["colours.tif", "truth.tif"]\n')
    assert load(described_scenes(field)["field"], None).labels.values == (1, 2, 3)


def test_a_scene_beside_its_description_is_found_whatever_the_data_folder(field, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    described = described_scenes(field)["field"]
    assert missing_files(described, tmp_path / "elsewhere") is None
    assert load(described, tmp_path / "elsewhere").scene.values.shape == (3, *published.SHAPE)


def test_names_of_classes_are_not_given_twice(field):
    (field.parent / "b" / "truth.csv").write_text("row,col,class\n1,1,wheat\n2,2,oats\n3,3,soil\n4,4,oats\n")
    text = '[field]\nscene = "scene-b.tif"\nlabels = "truth.csv"\n'
    field.write_text(text)
    assert [entry.name for entry in load(described_scenes(field)["field"], None).labels.legend] == [
        "oats",
        "soil",
        "wheat",
    ]
    field.write_text(text + 'classes = ["wheat", "oats", "bare soil"]\n')
    with pytest.raises(
        LabelError, match=r"The labels name their classes \(oats, soil, wheat\), so `classes` .* has no meaning"
    ):
        load(described_scenes(field)["field"], None)


def test_what_training_is_told_of_a_file_can_be_said_of_a_scene(field):
    values = published.cube(4).astype(np.int16)
    values[3, 5] = -7
    published.write_tif(field.parent / "b" / "scene-b.tif", values, crs="EPSG:32633")
    squares = shapely.to_wkb([shapely.box(0, -20, 20, 0), shapely.box(22.5, -20, 45, 0)])
    facts = [np.array([5, 6]), np.array(["maize", "oats"], object)]
    for layer, first in (("other", 1), ("fields", 0)):
        pyogrio.raw.write(
            field.parent / "b" / "areas.gpkg", squares[first:], [fact[first:] for fact in facts], ["number", "crop"],
            geometry_type="Polygon", crs="EPSG:32633", layer=layer, driver="GPKG", append=first == 0,
        )  # fmt: skip
    field.write_text(
        '[field]\nscene = "scene-b.tif"\nlabels = "areas.gpkg"\nlayer = "fields"\nclass_field = "crop"\nnodata = -7\n'
        "drop_bands = [2]\nbands = 3\n"
    )
    loaded = load(described_scenes(field)["field"], None)
    assert loaded.scene.bands.numbers == (1, 3)
    assert np.argwhere(~loaded.scene.valid).tolist() == [[3, 5]]
    assert [(entry.name, count) for entry, count in zip(loaded.labels.legend, loaded.labels.counts, strict=True)] == [
        ("maize", 64),
        ("oats", 72),
    ]


def test_the_digest_is_that_of_what_is_read_and_classes_are_called_as_today(field):
    described = described_scenes(field)["field"]
    first = inputs(described, None)
    field.write_text(field.read_text() + 'title = "Other"\nclasses = ["wheat"]\nprotocols = ["separate"]\n')
    renamed = inputs(described_scenes(field)["field"], None)
    assert renamed.digest == first.digest
    assert renamed.classes[0] == "1 wheat" != first.classes[0]
    truth = published.classes(3)
    truth[0, 0] = 3
    published.write_tif(field.parent / "b" / "truth.tif", truth)
    changed = inputs(described, None).digest
    assert changed != first.digest
    (field.parent / "b" / "scene-b.tif").unlink()
    assert inputs(described, None).digest not in (first.digest, changed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\nscene = 3\nlabels = 'x'", "scene a has 3 where a name or a list of names is needed"),
        ("[a]\nscene = 'x'", "scene a needs `scene`, and `labels`, `official` or `anomalies`"),
        ("[a]\nscene = 'x'\nlabels = 'y'\ncolour = 1", "scene a has the unknown setting colour; there are abundances"),
        ("[a]\nscene = 'x'\nofficial = { train = 'y' }", "the official split of a has train; it needs train and test"),
        ("[a]\nscene = 'x'\nofficial = 'y'", "scene a has official = 'y'; need { train = FILE, test = FILE }"),
        (
            "[a]\nscene = 'x'\nlabels = 'y'\nignore_classes = ['b']",
            "has ignore_classes = .'b'.; need a list of class values",
        ),
        ("[a]\nscene = 'x'\nlabels = 'y'\nlabel_scale = 0", "has label_scale = 0; need a whole number from 1"),
        ("[a]\nscene = 'x'\nlabels = 'y'\nnodata = 'none'", "has nodata = 'none'; need a number"),
        ("[a]\nscene = 'x'\nlabels = 'y'\ndrop_bands = 3", "has drop_bands = 3; need a list of numbers of bands"),
        ("[a]\nscene = 'x'\nlabels = 'y'\nclass_field = 3", "has class_field = 3; need the name of an attribute"),
        ("[a]\nscene = 'x'\nlabels = 'y'\nofficial_random = 1", "has official_random = 1; need true or false"),
        ("[a]\nbuilt_in = 'x'", "scene a has built_in = 'x'; there is indian_pines"),
        ("[a]\nsynthetic = { rows = 3 }", "scene a has synthetic = {'rows': 3}; need rows, columns, bands and classes"),
        ("a = 3", "a = 3 stands outside of a scene"),
        ("[a", "cannot be read as a list of scenes"),
    ],
)
def test_a_faulty_description_is_refused(text, message, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        described_scenes(tmp_path / "mine.toml")


def test_a_missing_description_is_refused(tmp_path):
    with pytest.raises(PatchfreeError, match=r"none.toml cannot be read as a list of scenes"):
        described_scenes(tmp_path / "none.toml")
