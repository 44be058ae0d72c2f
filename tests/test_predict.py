"""The map follows from the scores: nothing where there is no data, and no class that was not learnt."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import rasterio
import torch
from rasterio.crs import CRS

from conftest import UTM33
from patchfree.errors import SceneError
from patchfree.labels import LandCover
from patchfree.models.freenet import FreeNet
from patchfree.predict import Prediction, predict_scores, probabilities
from patchfree.scene import Grid
from patchfree.standardise import Standardisation

LEGEND = (LandCover(1, "water", (0, 0, 200)), LandCover(10, "wood", (0, 150, 0)), LandCover(14, "sand", (240, 220, 90)))
CPU = torch.device("cpu")
ZERO = (0.0, 0.0, 0.0)


class TestProbabilities:
    @pytest.fixture
    def scores(self):
        return np.random.default_rng(0).normal(0, 3, (3, 5, 6)).astype(np.float32)

    @pytest.fixture
    def valid(self):
        return np.arange(30).reshape(5, 6) % 4 > 0

    def test_they_sum_to_one_where_there_is_data_and_are_0_elsewhere(self, scores, valid):
        found = probabilities(scores, valid, offsets=ZERO, temperature=1.5, untrained=())
        np.testing.assert_allclose(found.sum(0), valid, atol=1e-6)
        assert found.dtype == np.float32

    @pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
    def test_the_temperature_changes_how_sure_the_map_is_and_not_the_map(self, scores, valid, temperature):
        found = probabilities(scores, valid, offsets=ZERO, temperature=temperature, untrained=())
        assert (found.argmax(0) == scores.argmax(0))[valid].all()

    def test_the_logarithm_of_their_ratio_is_the_difference_of_the_scores_over_the_temperature(self, scores, valid):
        first, second, _ = probabilities(scores, valid, offsets=ZERO, temperature=2.0, untrained=())[:, valid]
        difference = (scores[0] - scores[1])[valid]
        np.testing.assert_allclose(np.log(first / second), difference / 2, rtol=1e-4, atol=1e-4)

    def test_offsets_are_added_to_the_scores(self, scores, valid):
        offsets = (0.5, -2.0, 0.1)
        moved = scores + np.array(offsets, np.float32)[:, None, None]
        found = probabilities(scores, valid, offsets=offsets, temperature=1.5, untrained=())
        expected = probabilities(moved, valid, offsets=ZERO, temperature=1.5, untrained=())
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_a_higher_temperature_is_less_sure(self, scores, valid):
        sure, unsure = (
            probabilities(scores, valid, offsets=ZERO, temperature=t, untrained=()).max(0)[valid] for t in (0.5, 2.0)
        )
        assert (sure > unsure).all()

    def test_classes_without_a_training_pixel_are_never_mapped(self, scores, valid):
        before = scores.copy()
        found = probabilities(scores, valid, offsets=ZERO, temperature=1.0, untrained=(1,))
        assert not found[1].any()
        np.testing.assert_allclose(found.sum(0), valid, atol=1e-6)
        assert (scores == before).all()


class TestScores:
    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        return FreeNet(bands=12, classes=3, width=0.25)

    def test_they_are_those_of_the_network_with_the_data_mask(self, model, holed):
        values = Standardisation.of(holed).apply(holed)
        found = predict_scores(model.train(), values, holed.valid, device=CPU)
        with torch.no_grad():
            expected = model(torch.from_numpy(values)[None], torch.from_numpy(holed.valid)[None])[0].numpy()
        assert found.shape == (3, 40, 48)
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_scores_that_are_not_finite_are_refused(self, model, scene):
        values = Standardisation.of(scene).apply(scene)
        values[0, 3, 3] = np.inf
        with pytest.raises(SceneError, match=r"scores are not finite.*far outside those of the training scene"):
            predict_scores(model, values, scene.valid, device=CPU)


class TestPrediction:
    @pytest.fixture
    def prediction(self):
        chances = np.array([[[0.7, 0, 1 / 3, 0]], [[0.2, 1, 1 / 3, 0]], [[0.1, 0, 1 / 3, 0]]], np.float32)
        grid = Grid(
            1, 4, crs=CRS.from_user_input(UTM33).to_wkt(), transform=(30.0, 0.0, 500_000.0, 0.0, -30.0, 5_000_000.0)
        )
        return Prediction(chances, np.array([[True, True, True, False]]), LEGEND, grid, {"model_hash": "abc"})

    def test_the_likeliest_class_is_mapped_under_the_value_of_the_labels(self, prediction):
        assert prediction.index.tolist() == [[1, 2, 1, 0]]
        assert prediction.values.tolist() == [[1, 10, 1, 0]]

    def test_entropy_is_0_for_certainty_and_1_for_ignorance(self, prediction):
        expected = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1)) / np.log(3)
        np.testing.assert_allclose(prediction.entropy, [[expected, 0, 1, np.nan]], atol=1e-6)

    def test_the_margin_is_the_lead_of_the_first_class(self, prediction):
        np.testing.assert_allclose(prediction.margin, [[0.5, 1, 0, np.nan]], atol=1e-6)

    def test_a_saved_map_holds_the_values_the_names_and_the_place(self, prediction, tmp_path):
        with rasterio.open(prediction.save_map(tmp_path / "map.tif")) as file:
            assert file.read(1).tolist() == prediction.values.tolist()
            assert file.colormap(1)[10][:3] == (0, 150, 0)
            assert file.transform.to_gdal() == (500_000.0, 30.0, 0.0, 5_000_000.0, 0.0, -30.0)
            assert file.crs.to_epsg() == 32633
            assert file.tags(ns="PATCHFREE")["model_hash"] == "abc"

    @pytest.mark.parametrize(("tags", "expected"), [({}, "scene"), ({"statistics": "run"}, "run")])
    def test_every_file_says_which_statistics_of_a_whole_scene_the_network_used(
        self, prediction, tmp_path, tags, expected
    ):
        made = dataclasses.replace(prediction, tags=tags)
        for path in (made.save_map(tmp_path / "m.tif"), made.save_probabilities(tmp_path / "p.tif"), made.save_uncertainty(tmp_path / "u.tif")):  # fmt: skip
            with rasterio.open(path) as file:
                assert file.tags(ns="PATCHFREE")["statistics"] == expected

    def test_saved_layers_hold_the_amounts_and_nan_where_there_is_no_data(self, prediction, tmp_path):
        with rasterio.open(prediction.save_probabilities(tmp_path / "p.tif")) as file:
            np.testing.assert_array_equal(file.read(), np.where(prediction.valid, prediction.probabilities, np.nan))
            assert file.descriptions == ("water", "wood", "sand")
        with rasterio.open(prediction.save_uncertainty(tmp_path / "u.tif")) as file:
            np.testing.assert_array_equal(file.read(), np.stack([prediction.entropy, prediction.margin]))
            assert file.descriptions == ("entropy", "margin")
