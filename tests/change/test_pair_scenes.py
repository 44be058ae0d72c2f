"""A pair is a scene: BEFORE's bands, then AFTER's, on BEFORE's grid, with data where both dates hold data."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from rasterio.warp import transform as move

from dated import PLACE, two_dates, write_date
from patchfree.change.pair import pair_up
from patchfree.errors import BandMismatch, ConfigError, SceneError
from patchfree.io import _pairing, open_scene
from patchfree.io.pair import Dates
from patchfree.io.source import SceneSource
from patchfree.scene import DATES, Bands, Grid

CRS33 = "EPSG:32633"


def test_the_stacked_scene_holds_both_dates_and_is_not_copied():
    before, after, _ = two_dates()
    pair = pair_up(before, after)
    stacked = pair.stacked()
    np.testing.assert_array_equal(stacked.values, np.concatenate([before.values, after.values]))
    assert stacked.values is pair.before.values.base
    assert stacked.bands.numbers == tuple(range(1, 25))
    assert stacked.bands.wavelengths_nm == before.bands.wavelengths_nm * 2
    assert stacked.details[DATES] == ["before", "after"]
    assert stacked.name == "before to after"


def test_a_swapped_pair_has_its_halves_swapped():
    before, after, _ = two_dates()
    pair = pair_up(before, after)
    there, back = pair.stacked(), pair.swapped().stacked()
    np.testing.assert_array_equal(back.values, np.concatenate([there.values[12:], there.values[:12]]))
    assert back.bands.wavelengths_nm == there.bands.wavelengths_nm


def test_there_is_data_only_where_both_dates_hold_data():
    before, after, _ = two_dates()
    one, other = before.valid.copy(), after.valid.copy()
    one[:5], other[:, :7] = False, False
    pair = pair_up(replace(before, valid=one), replace(after, valid=other))
    np.testing.assert_array_equal(pair.before.valid, one & other)
    assert (pair.stacked().values[:, ~(one & other)] == 0).all()
    assert any("hold data at both dates" in note for note in pair.notes)
    with pytest.raises(SceneError, match=r"No pixel holds data at both dates: BEFORE has 2408"):
        pair_up(replace(before, valid=one), replace(after, valid=~one))


def shuffled(scene, order, wavelengths=None):
    found = scene.select(order)
    bands = replace(found.bands, numbers=tuple(range(1, len(order) + 1)), total=len(order))
    return replace(found, bands=bands if wavelengths is None else replace(bands, wavelengths_nm=wavelengths))


def test_bands_are_matched_by_wavelength_whatever_their_order():
    before, after, _ = two_dates()
    order = np.random.default_rng(3).permutation(12).tolist()
    pair = pair_up(before, shuffled(after, order))
    np.testing.assert_array_equal(pair.after.values, after.values)
    near = tuple(w + 0.5 for w in after.bands.wavelengths_nm)
    assert any("up to 0.5 nm apart" in n for n in pair_up(before, shuffled(after, list(range(12)), near)).notes)


def test_bands_without_a_partner_are_left_out_and_too_few_partners_refused():
    before, after, _ = two_dates()
    pair = pair_up(before, shuffled(after, [0, 2, 3, 4, 5, 6, 8, 9]))
    np.testing.assert_array_equal(pair.before.values, before.values[[0, 2, 3, 4, 5, 6, 8, 9]])
    assert "8 bands have a partner at the other date, of BEFORE's 12 and AFTER's 8" in pair.notes[0]
    other = tuple(w + 50.0 for w in after.bands.wavelengths_nm)
    with pytest.raises(
        BandMismatch, match=r"0 of BEFORE's 12 and AFTER's 12 bands have a partner within 2 nm .*--by-number"
    ):
        pair_up(before, shuffled(after, list(range(12)), other))
    assert len(pair_up(before, shuffled(after, list(range(12)), other), by_number=True).bands) == 12


def test_without_wavelengths_bands_are_matched_by_number_and_must_be_as_many():
    before, after, _ = two_dates()
    bare = replace(after, bands=Bands(after.bands.numbers, 12))
    pair = pair_up(before, bare)
    assert "Bands were matched by number: AFTER states no wavelengths." in pair.notes
    with pytest.raises(
        BandMismatch, match=r"BEFORE has 12 bands and AFTER has 7, and they can only be matched by their numbers"
    ):
        pair_up(before, shuffled(bare, list(range(7))))
    gap = replace(bare.select([0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]))
    pair = pair_up(before, gap)
    np.testing.assert_array_equal(pair.before.values, before.values[[0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]])
    assert "11 of 12 bands are usable at both dates" in pair.notes[0]


def test_other_sizes_without_position_are_refused_with_both_sizes():
    before, after, _ = two_dates()
    cut = replace(after, values=after.values[:, :-1], valid=after.valid[:-1], grid=Grid(47, 56))
    with pytest.raises(SceneError, match=r"BEFORE has 48 x 56 pixels, AFTER 47 x 56, and neither has a map position"):
        pair_up(before, cut)
    placed = replace(before, grid=Grid(48, 56, None, tuple(PLACE)[:6]))
    with pytest.raises(SceneError, match="and only one has a map position"):
        pair_up(placed, cut)
    assert any("Only one of the two dates has a map position" in n for n in pair_up(placed, after).notes)


def smooth(rows, cols, place, crs=CRS33):
    """A scene whose values are a smooth function of the map position in zone 33."""
    c, r = np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
    x, y = place @ (c, r)
    if crs != CRS33:
        x, y = (np.reshape(v, c.shape) for v in move(crs, CRS33, x.ravel(), y.ravel()))
    east, north = (x - 362_000) / 30, (5_810_000 - y) / 30
    values = np.stack([np.sin(east / 17) + 2, np.cos(north / 13) + 2, (east + north) / 100])
    return values.astype(np.float32)


@pytest.mark.parametrize("crs", [CRS33, "EPSG:32632"])
def test_another_grid_is_warped_onto_that_of_before(tmp_path, crs):
    far = Affine(20, 0, 361_900, 0, -20, 5_810_050)
    if crs != CRS33:
        (x,), (y,) = move(CRS33, crs, [361_700], [5_810_300])
        far = Affine(20, 0, x, 0, -20, y)
    write_date(tmp_path / "a.tif", smooth(60, 70, PLACE))
    write_date(tmp_path / "b.tif", smooth(140, 160, far, crs), place=far, crs=crs)
    before, after = open_scene(tmp_path / "a.tif"), open_scene(tmp_path / "b.tif")
    pair = pair_up(before, after)
    assert any("was warped onto BEFORE's grid (60 x 70), resampling bilinear" in n for n in pair.notes)
    assert pair.before.valid.mean() > 0.95
    inner = pair.before.valid
    np.testing.assert_allclose(pair.after.values[:, inner], pair.before.values[:, inner], atol=0.01)
    with pytest.raises(ConfigError, match="there are bilinear, nearest, cubic, average"):
        pair_up(before, after, resampling="lanczos")


def test_another_grid_that_lies_elsewhere_is_refused(tmp_path):
    write_date(tmp_path / "a.tif", smooth(20, 20, PLACE))
    away = Affine(30, 0, 500_000, 0, -30, 5_810_000)
    write_date(tmp_path / "b.tif", smooth(20, 20, away), place=away)
    with pytest.raises(SceneError, match="Check that both show the same place"):
        pair_up(open_scene(tmp_path / "a.tif"), open_scene(tmp_path / "b.tif"))


@pytest.mark.parametrize("warped", [False, True])
def test_windows_of_a_pair_on_disk_hold_what_the_pair_in_memory_holds(tmp_path, monkeypatch, warped):
    monkeypatch.setattr(_pairing, "BLOCK_PX", 32)
    place = Affine(25, 3, 361_900, 2, -25, 5_810_100) if warped else PLACE
    shape = (120, 130) if warped else (60, 70)
    rng = np.random.default_rng(0)
    one = rng.integers(1, 900, (3, 60, 70)).astype("float32")
    two = rng.integers(1, 900, (3, *shape)).astype("float32")
    one[:, :4, :9], two[1, 30:33, 40:60] = -1, -1
    waves = (500.0, 600.0, 700.0)
    write_date(tmp_path / "a.tif", one, nodata=-1, wavelengths=waves)
    write_date(tmp_path / "b.tif", two[::-1].copy(), nodata=-1, wavelengths=waves[::-1], place=place)
    dates = Dates(SceneSource(str(tmp_path / "a.tif")), SceneSource(str(tmp_path / "b.tif")))
    whole = pair_up(open_scene(tmp_path / "a.tif"), open_scene(tmp_path / "b.tif")).stacked()
    assert dates.bands.numbers == whole.bands.numbers
    assert dates.bands.wavelengths_nm == whole.bands.wavelengths_nm
    for window in [(slice(0, 60), slice(0, 70)), (slice(3, 40), slice(30, 65)), (slice(59, 60), slice(0, 1))]:
        values, valid = dates.read(window)
        np.testing.assert_array_equal(valid, whole.valid[window])
        np.testing.assert_array_equal(values, whole.values[:, *window])
    stored = open_scene(dates.write(tmp_path / "both.pair.json"))
    np.testing.assert_array_equal(stored.values, whole.values)
    assert stored.details[DATES] == ["a.tif", "b.tif"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is no pair of scenes"),
        ('{"before": "a.tif"}', "is no pair of scenes"),
        ("{", "cannot be read as a pair"),
        ('{"before": "a", "after": "b", "resample": "x"}', "has the setting 'resample'; there are axes, by_number"),
        ('{"before": "a.tif", "after": "b.tif"}', r"a\.tif does not exist"),
    ],
)
def test_a_file_that_names_no_two_scenes_is_refused(tmp_path, text, message):
    (tmp_path / "x.pair.json").write_text(text)
    with pytest.raises(SceneError, match=message):
        open_scene(tmp_path / "x.pair.json")


def test_a_pair_file_may_be_moved_with_its_scenes(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("a", "b"):
        write_date(tmp_path / "there" / f"{name}.tif", smooth(20, 20, PLACE))
    path = tmp_path / "there" / "x.pair.json"
    path.write_text(json.dumps({"before": "a.tif", "after": "b.tif", "drop_bands": [2]}))
    assert len(open_scene(path).bands) == 4
