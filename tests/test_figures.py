"""Pictures show every pixel of the scene in its place and colour; charts show what was measured."""

from __future__ import annotations

import dataclasses
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from conftest import synthetic
from patchfree import figures
from patchfree.labels import PALETTE, LandCover, make_labels
from patchfree.scene import Bands

WHITE = [255, 255, 255]


@pytest.fixture
def holed(scene):
    valid = scene.valid.copy()
    valid[5:9, 30:40] = False
    return dataclasses.replace(scene, valid=valid, values=np.where(valid, scene.values, np.float32(0)))


class TestPictures:
    def test_false_colour_has_the_shape_of_the_scene_and_is_white_without_data(self, holed):
        picture, _ = figures.false_colour(holed)
        assert picture.shape == (40, 48, 3)
        assert picture.dtype == np.uint8
        assert (picture[~holed.valid] == 255).all()

    def test_false_colour_picks_infrared_red_and_green_by_wavelength(self, scene):
        # Bands in another order than their wavelengths: each picked band gets its own ramp.
        wavelengths = (2000.0, 655.0, 1200.0, 862.0, 450.0, 561.0)
        values = np.zeros((6, 40, 48), np.float32)
        values[3], values[1] = np.linspace(0, 1, 48), np.linspace(1, 0, 48)
        values[5] = np.linspace(0, 1, 40)[:, None]
        scene = dataclasses.replace(scene, values=values, bands=Bands(tuple(range(1, 7)), 6, wavelengths))
        picture, text = figures.false_colour(scene)
        assert text == "near infrared, red, green: 862 nm, 655 nm, 561 nm"
        assert picture[0, 0].tolist() == [0, 255, 0]
        assert picture[0, -1].tolist() == [255, 0, 0]
        assert picture[-1, -1].tolist() == [255, 0, 255]

    @pytest.mark.parametrize("wavelengths", [None, tuple(np.linspace(900.0, 2400.0, 12).tolist())])
    def test_false_colour_spreads_its_bands_where_there_is_no_visible_light(self, scene, wavelengths):
        bands = Bands(tuple(range(3, 15)), 20, wavelengths)
        _, text = figures.false_colour(dataclasses.replace(scene, bands=bands))
        assert text == "bands 11, 7, 4"

    @pytest.mark.parametrize("bands", [1, 2, 3])
    def test_false_colour_works_with_few_and_constant_bands(self, scene, bands):
        values = np.full((bands, 40, 48), 0.3, np.float32)
        few = dataclasses.replace(scene, values=values, bands=Bands(tuple(range(1, bands + 1)), bands))
        assert figures.false_colour(few)[0].shape == (40, 48, 3)

    def test_class_pictures_show_the_colours_of_the_legend(self, labels):
        picture = figures.class_picture(np.where(labels.index == 2, 0, labels.index), labels.legend, (1, 2, 3))
        assert picture.shape == (40, 48, 3)
        for i, entry in enumerate(labels.legend, 1):
            assert (picture[labels.index == i] == ((1, 2, 3) if i == 2 else entry.colour)).all()

    def test_split_pictures_tell_the_four_kinds_apart(self):
        picture = figures.split_picture(np.array([[0, 1, 2, 3]], np.uint8))
        assert len(np.unique(picture[0], axis=0)) == 4

    def test_error_pictures_show_right_wrong_and_untested(self):
        picture = figures.error_picture(np.array([[0, 1, 2]]), np.array([[1, 1, 1]]))
        assert picture[0].tolist() == [list(figures.UNTESTED), list(figures.RIGHT), list(figures.WRONG)]

    def test_amounts_grow_brighter_and_are_white_without_data(self):
        picture = figures.amount_picture(np.array([[0.0, 0.25, 0.5, 0.75, 1.0, np.nan]]))
        brightness = picture[0].astype(float) @ [0.299, 0.587, 0.114]
        assert (np.diff(brightness[:5]) > 10).all()
        assert picture[0, 5].tolist() == WHITE

    def test_masked_pixels_are_white_and_the_picture_given_stays(self, holed):
        picture = np.zeros((40, 48, 3), np.uint8)
        shown = figures.mask_picture(picture, holed.valid)
        assert (shown[~holed.valid] == 255).all()
        assert not shown[holed.valid].any()
        assert not picture.any()

    @pytest.mark.parametrize("classes", [2, len(PALETTE), 60])
    def test_no_two_classes_share_a_colour(self, classes):
        legend = make_labels(np.arange(1, classes + 1)[None]).legend
        assert len({entry.colour for entry in legend}) == classes
        assert not {entry.colour for entry in legend} & {(255, 255, 255), (238, 238, 238)}


class TestPng:
    @staticmethod
    def read(data):
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        return Image.open(io.BytesIO(data))

    @pytest.mark.parametrize("colours", [1, 2, 17, 256, 3000])
    def test_every_colour_survives(self, colours):
        rng = np.random.default_rng(colours)
        palette = rng.integers(0, 256, (colours, 3), np.uint8)
        picture = palette[np.resize(np.arange(colours), 60 * 70).reshape(60, 70)]
        image = self.read(figures.png(picture))
        assert (np.asarray(image.convert("RGB")) == picture).all()
        assert image.mode == ("P" if colours <= 256 else "RGB")

    @pytest.mark.parametrize(
        ("shape", "shown"), [((1600, 30), (1600, 30)), ((1601, 30), (801, 15)), ((20, 5000), (5, 1250))]
    )
    def test_pictures_above_1600_pixels_are_thinned_alike_both_ways(self, shape, shown):
        picture = np.zeros((*shape, 3), np.uint8)
        picture[::50] = 200
        assert self.read(figures.png(picture)).size == shown[::-1]


class TestCharts:
    LOG = [  # noqa: RUF012 - read only
        {"phase": "estimate", "number": i, "loss": 1 / i, "validation_accuracy": 0.5 if i % 2 else None}
        for i in range(1, 6)
    ]

    @staticmethod
    def words(figure):
        """The texts of a chart; it must be well-formed."""
        text = figures.svg(figure)
        return {node.text for node in ET.fromstring(text).iter() if node.text and node.text.strip()}

    def test_spectra_have_one_cell_a_class_with_its_name(self, scene, labels):
        words = self.words(figures.spectra_chart(scene, labels))
        assert {"1 land 1", "2 land 2", "3 land 3", "wavelength [nm]"} <= words

    def test_spectra_show_the_mean_of_each_class_and_break_where_bands_were_dropped(self, scene, labels):
        kept = scene.select([0, 1, 2, 3, 8, 9, 10, 11])
        cells = figures.spectra_chart(kept, labels).axes
        first, second = cells[0].lines
        mine = kept.values[:, labels.index == 1].mean(1)
        np.testing.assert_allclose(np.concatenate([first.get_ydata(), second.get_ydata()]), mine, rtol=1e-5)
        assert first.get_xdata().tolist() == kept.wavelengths_nm[:4].tolist()

    def test_spectra_are_in_the_order_of_the_wavelengths(self, scene, labels):
        mixed = scene.select([5, 0, 11, 3, 1, 2, 4, 6, 7, 8, 9, 10])
        (line,) = figures.spectra_chart(mixed, labels).axes[0].lines
        assert line.get_xdata().tolist() == sorted(scene.wavelengths_nm)

    def test_spectra_without_wavelengths_are_drawn_over_band_numbers(self, scene, labels):
        bare = dataclasses.replace(scene, bands=Bands(scene.bands.numbers, 12))
        assert "band number" in self.words(figures.spectra_chart(bare, labels))

    @pytest.mark.parametrize("classes", [1, 5, 6])
    def test_spectra_of_any_number_of_classes_fit(self, classes):
        scene, labels = synthetic(classes=classes)
        visible = [cell for cell in figures.spectra_chart(scene, labels).axes if cell.get_visible()]
        assert len(visible) == classes

    def test_the_confusion_chart_holds_the_counts(self, labels):
        counts = {"counts": [[40, 2, 0], [0, 31, 0], [0, 7, 0]]}
        words = self.words(figures.confusion_chart(counts, labels.legend))
        assert {"40", "2", "31", "7", "land 1 1", "mapped class", "reference class"} <= words

    def test_no_label_of_the_confusion_chart_is_cut_off(self):
        legend = [LandCover(value, f"a rather long name {value}", (value, 0, 0)) for value in range(1, 17)]
        chart = figures.confusion_chart({"counts": np.full((16, 16), 1234)}, legend)
        texts = ET.fromstring(figures.svg(chart)).iter("{http://www.w3.org/2000/svg}text")
        baseline = next(float(text.attrib["x"]) for text in texts if text.text == "reference class")
        assert baseline > 9  # upright letters of 9 px stand to the left of it

    def test_the_training_chart_shows_the_loss_and_the_measured_accuracies(self):
        refit = [entry | {"phase": "refit"} for entry in self.LOG]
        chart = figures.training_chart(self.LOG + refit)
        loss, accuracy = (axes.lines[0] for axes in chart.axes)
        assert loss.get_xdata().tolist() == [1, 2, 3, 4, 5]
        assert accuracy.get_xdata().tolist() == [1, 3, 5]
        assert {"training loss", "validation accuracy"} <= self.words(chart)

    def test_the_training_chart_does_without_validation(self):
        chart = figures.training_chart([entry | {"validation_accuracy": None} for entry in self.LOG])
        assert len(chart.axes) == 1

    @pytest.mark.parametrize("bins", [[], [{"confidence": 0.9, "accuracy": 0.8, "pixels": 12}]])
    def test_the_reliability_chart_has_a_point_for_each_bin(self, bins):
        chart = figures.reliability_chart(bins)
        assert len(chart.axes[0].collections[0].get_offsets()) == len(bins)

    def test_a_chart_is_the_same_svg_each_time_and_a_valid_png(self, scene, labels):
        first, again = (figures.svg(figures.spectra_chart(scene, labels)) for _ in range(2))
        assert first == again
        assert first.startswith("<svg")
        image = TestPng.read(figures.chart_png(figures.training_chart(self.LOG)))
        assert min(image.size) > 300

    def test_no_chart_opens_a_window_or_touches_the_global_state(self, scene, labels):
        from matplotlib import pyplot

        figures.spectra_chart(scene, labels)
        figures.training_chart(self.LOG)
        assert pyplot.get_fignums() == []
