"""A band made from finer ones measures what a sensor with that band would measure; what cannot be made is refused."""

import dataclasses

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy.integrate import simpson
from scipy.interpolate import interp1d
from scipy.stats import norm

from conftest import synthetic
from jobs import short
from patchfree.errors import BandMismatch
from patchfree.io import open_scene
from patchfree.labels import LandCover
from patchfree.resample import resampling_weights
from patchfree.run import load_run
from patchfree.scene import Bands, Grid, describe_matching, make_scene
from patchfree.standardise import Standardisation
from patchfree.stream import mapping
from patchfree.training import train
from windowed import untrained

FWHM = 2.3548200450309493


def sensor(start, stop, spacing, width, *, skip=()):
    centres = [float(c) for c in np.arange(start, stop + spacing / 2, spacing) if not any(a < c < b for a, b in skip)]
    return Bands(tuple(range(1, len(centres) + 1)), len(centres), tuple(centres), (float(width),) * len(centres))


def single(centre, width):
    return Bands((1,), 1, (float(centre),), (float(width),))


def reflectance(wavelength):
    """A red edge, an absorption 30 nm wide, and a slope."""
    edge = 0.4 / (1 + np.exp(-(wavelength - 715) / 12))
    return 0.05 + edge - 0.1 * np.exp(-(((wavelength - 970) / 15) ** 2)) - 5e-5 * (wavelength - 400)


def measured(bands):
    """What a sensor with Gaussian bands measures of the spectrum, integrated by scipy."""
    centre, width = np.asarray(bands.wavelengths_nm)[:, None], np.asarray(bands.fwhm_nm)[:, None]
    wavelengths = centre + width * np.linspace(-3, 3, 601)
    response = norm(centre, width / FWHM).pdf(wavelengths)
    return simpson(reflectance(wavelengths) * response, x=wavelengths) / simpson(response, x=wavelengths)


FINE = sensor(400, 1100, 2.55, 3.5)  # DESIS
MEDIUM = sensor(400, 1100, 5, 5.5)  # AVIRIS-NG
USUAL = sensor(410.3, 1090, 10, 12)  # PRISMA
SENTINEL2 = Bands((1, 2, 3, 4), 4, (492.3, 703.8, 739.1, 864.0), (65.0, 15.0, 13.0, 21.0))


@pytest.mark.parametrize(
    ("have", "wanted", "tolerance"),
    [
        (FINE, USUAL, 2e-4),
        (FINE, SENTINEL2, 2e-4),
        (MEDIUM, USUAL, 5e-4),
        (MEDIUM, SENTINEL2, 5e-4),
        (USUAL, single(715.6, 21), 1e-3),
        (USUAL, single(735, 65), 5e-4),
    ],
    ids=[
        "fine to usual",
        "fine to Sentinel-2",
        "medium to usual",
        "medium to Sentinel-2",
        "usual to 21",
        "usual to 65",
    ],
)
def test_a_made_band_measures_what_its_sensor_would(have, wanted, tolerance):
    made = resampling_weights(have, wanted) @ measured(have)
    np.testing.assert_allclose(made, measured(wanted), atol=tolerance)
    nearest = np.abs(np.subtract.outer(wanted.wavelengths_nm, have.wavelengths_nm)).argmin(1)
    assert np.abs(measured(have)[nearest] - measured(wanted)).max() > 4 * tolerance  # taking the nearest would not do


def test_bands_of_the_same_width_elsewhere_are_interpolated():
    """The made bands are up to sqrt(2) wider, which flattens the absorption, and lie where they should."""
    have, wanted = sensor(400, 1100, 6.5, 8), sensor(443.25, 1050, 6.5, 8)
    made = resampling_weights(have, wanted) @ measured(have)
    np.testing.assert_allclose(made, measured(wanted), atol=0.006)
    assert np.corrcoef(made, measured(wanted))[0, 1] > 0.9999


@pytest.mark.parametrize("centre", [620.0, 621.7, 623.4, 900.1])
@pytest.mark.parametrize("width", [10.0, 30.0, 90.0])
def test_a_made_band_lies_at_its_centre_and_has_its_width(centre, width):
    (row,) = resampling_weights(MEDIUM, single(centre, width))
    at = np.asarray(MEDIUM.wavelengths_nm)
    assert row.sum() == pytest.approx(1)
    assert row.min() >= 0
    assert row @ at == pytest.approx(centre, abs=0.1)
    variance = row @ (at - centre) ** 2 + (5.5 / FWHM) ** 2  # of the weights, and of the bands themselves
    assert np.sqrt(variance) * FWHM == pytest.approx(width, rel=0.02)


def test_bands_that_are_there_are_taken_as_they_are():
    np.testing.assert_array_equal(resampling_weights(USUAL, USUAL), np.eye(len(USUAL)))
    shifted = dataclasses.replace(
        USUAL,
        wavelengths_nm=tuple(c + 1.5 for c in USUAL.wavelengths_nm),
        fwhm_nm=tuple(w * 1.05 for w in USUAL.fwhm_nm),
    )
    np.testing.assert_array_equal(resampling_weights(USUAL, shifted), np.eye(len(USUAL)))


def test_a_band_at_the_same_place_with_another_width_is_made():
    (row,) = resampling_weights(FINE, single(FINE.wavelengths_nm[100], 15))
    assert np.count_nonzero(row) > 5


def test_two_detectors_with_a_band_at_the_same_wavelength_keep_theirs():
    bands = Bands((1, 2, 3, 4), 4, (900.0, 910.0, 900.0, 910.0), (8.0, 8.0, 8.0, 8.0))
    np.testing.assert_array_equal(resampling_weights(bands, bands), np.eye(4))


def test_the_order_of_the_bands_does_not_matter():
    order = np.random.default_rng(0).permutation(len(MEDIUM))
    weights = resampling_weights(MEDIUM, SENTINEL2)
    np.testing.assert_allclose(resampling_weights(MEDIUM.select(order.tolist()), SENTINEL2), weights[:, order])


def test_uneven_sampling_does_not_pull_the_mean():
    """Where two detectors overlap, bands lie twice as close; they must not count twice."""
    twice = sorted([*MEDIUM.wavelengths_nm, *np.arange(752.5, 800, 5.0).tolist()])
    dense = Bands(tuple(range(1, len(twice) + 1)), len(twice), tuple(twice), (5.5,) * len(twice))
    (row,) = resampling_weights(dense, single(750.6, 40))
    assert row @ np.asarray(twice) == pytest.approx(750.6, abs=0.5)


@pytest.mark.parametrize(
    ("have", "wanted", "message"),
    [
        (USUAL, single(655, 6), r"at 655\.0 nm \(width 6\.0 nm\): the scene's bands there are wider, up to 12\.0 nm"),
        (USUAL, single(400, 30), r"at 400\.0 nm .*: the scene's bands from 410\.3 to 1090\.3 nm do not cover it"),
        (USUAL, single(1200, 20), r"1 of the run's 1 bands cannot be made from the scene's 69, first the band at 1200"),
        (
            sensor(400, 1100, 10, 12, skip=[(925, 985)]),
            single(950, 90),
            r"the scene has no band between 920\.0 and 990\.0 nm",
        ),
        (sensor(400, 1100, 30, 5), single(706, 20), r"the scene has no band between 670\.0 and 700\.0 nm"),
        (sensor(400, 1100, 12, 10), single(610, 10), r"the scene has no band between 604\.0 and 616\.0 nm"),
        (SENTINEL2, single(600, 100), r"the scene has no band between 492\.3 and 703\.8 nm"),
    ],
    ids=["wider", "below", "above", "hole", "sampled too coarsely", "no finer than wanted", "broad bands far apart"],
)
def test_what_cannot_be_made_is_refused_with_the_reason(have, wanted, message):
    with pytest.raises(BandMismatch, match=message):
        resampling_weights(have, wanted)


def test_a_lost_band_of_the_scene_is_refused_where_it_is_needed_only():
    lost = sensor(400, 1100, 6.5, 8, skip=[(600, 606)])
    with pytest.raises(BandMismatch, match=r"no band between 595\.0 and 608\.0 nm"):
        resampling_weights(lost, single(601, 10))
    assert resampling_weights(lost, single(640.5, 10)).sum() == pytest.approx(1)


@pytest.mark.parametrize("side", ["scene", "run"])
@pytest.mark.parametrize(
    ("lacks", "message"), [("wavelengths_nm", "no wavelengths"), ("fwhm_nm", r"no widths \(FWHM\)")]
)
def test_without_wavelengths_or_widths_nothing_is_made(side, lacks, message):
    bare = dataclasses.replace(USUAL, **{lacks: None})
    with pytest.raises(BandMismatch, match=rf"bands of the {side} have {message}.*map without resampling"):
        resampling_weights(*((bare, USUAL) if side == "scene" else (USUAL, bare)))


def scene_of(bands, gap=False):
    values = measured(bands).astype(np.float32)[:, None, None] * np.linspace(0.5, 1.5, 12).reshape(3, 4).astype(
        "float32"
    )
    missing = np.zeros(values.shape, bool)
    missing[:, 1, 2] = gap
    return make_scene(values, missing=missing, bands=bands, grid=Grid(3, 4), name="fine")


def test_a_resampled_scene_has_the_wanted_bands_and_says_so():
    scene = scene_of(FINE, gap=True)
    made = scene.matching(SENTINEL2, resample=True)
    assert made.bands == SENTINEL2
    assert made.values.dtype == np.float32
    expected = resampling_weights(FINE, SENTINEL2) @ scene.values.reshape(len(FINE), -1)
    np.testing.assert_allclose(made.values.reshape(4, -1), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(made.valid, scene.valid)
    assert (made.values[:, 1, 2] == 0).all()
    assert made.notes[-1] == (
        "Resampled: 4 of the run's 4 bands were made from the scene's 276 as Gaussian means by wavelength and width; "
        "0 were taken as they are."
    )
    assert made.matching(SENTINEL2) is made


def test_resampling_to_the_own_bands_changes_nothing():
    scene = scene_of(USUAL)
    np.testing.assert_array_equal(scene.matching(USUAL, resample=True).values, scene.values)


def test_without_resampling_the_nearest_band_within_2_nm_is_taken_and_others_refused():
    assert scene_of(FINE).matching(single(492.3, 65)).bands.fwhm_nm == (3.5,)
    with pytest.raises(BandMismatch, match=r"resample one that has finer bands \(--resample\)"):
        scene_of(USUAL).matching(single(408, 30))


def write_bands(path, values, centres, *, fwhm):
    """A GeoTIFF with wavelengths, or without if there are none."""
    count, height, width = values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": "float32"}
    profile |= {"crs": "EPSG:32633", "transform": Affine(30, 0, 362175, 0, -30, 5809965)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
        for band, centre in enumerate(centres, 1):
            file.update_tags(band, wavelength=str(centre), wavelength_units="Nanometers", fwhm=str(fwhm))
    return path


def test_the_command_line_resamples_when_asked_and_says_so(tmp_path, cli):
    scene, labels = synthetic(rows=24, cols=28)
    bands = dataclasses.replace(scene.bands, fwhm_nm=(200.0,) * len(scene.bands))
    run = train(dataclasses.replace(scene, bands=bands), labels, recipe=short(2), controls=(), device="cpu")
    run.save_model(tmp_path / "run")
    centres = np.arange(330.0, 2530.0, 30.0)
    finer = interp1d(bands.wavelengths_nm, scene.values, axis=0, fill_value="extrapolate")(centres).astype("float32")
    write_bands(tmp_path / "fine.tif", finer, centres, fwhm=35)
    arguments = ("map", tmp_path / "run", tmp_path / "fine.tif", "--out", tmp_path / "map.tif", "--device", "cpu")
    cli.refused(2, r"resample one that has finer bands \(--resample\)", *arguments)
    said = " ".join(cli.ok(*arguments, "--resample").split())
    assert "Resampled: 12 of the run's 12 bands were made from the scene's 74 as Gaussian means" in said
    expected = run.predict(open_scene(tmp_path / "fine.tif").matching(bands, resample=True), device="cpu")
    expected.save_map(tmp_path / "expected.tif")
    with rasterio.open(tmp_path / "map.tif") as made, rasterio.open(tmp_path / "expected.tif") as want:
        np.testing.assert_array_equal(made.read(), want.read())
        assert (made.transform, made.crs) == (want.transform, want.crs)


def moved(scene, path, shift):
    """The scene with wavelengths that differ from band to band by up to a shift; without wavelengths for None."""
    centres = [] if shift is None else np.add(scene.bands.wavelengths_nm, np.linspace(0, shift, len(scene.bands)))
    return write_bands(path, scene.values, centres, fwhm=200)


@pytest.mark.parametrize("windows", [False, True], ids=["one piece", "windows"])
@pytest.mark.parametrize(
    ("shift", "more", "expected"),
    [
        (0.0, (), None),
        (1.1, (), "Matched by wavelength: 11 of 12 bands differ, by 1.1 nm at most."),
        (None, (), "Matched by number: the scene states no wavelengths."),
        (1.1, ("--resample",), "Resampled: 0 of the run's 12 bands were made from the scene's 12"),
    ],
    ids=["the same", "other wavelengths", "no wavelengths", "resampled"],
)
def test_maps_say_of_which_bands_they_were_made(tmp_path, cli, monkeypatch, windows, shift, more, expected):
    scene, _ = synthetic(rows=24, cols=28)
    bands = dataclasses.replace(scene.bands, fwhm_nm=(200.0,) * len(scene.bands))
    legend = tuple(LandCover(value, f"land {value}", (value, 0, 0)) for value in (1, 2, 3))
    standard = Standardisation.of(scene)
    run = untrained("freenet", bands=12, legend=legend)
    dataclasses.replace(run, bands=bands, standardisation=standard).save_model(tmp_path / "run")
    path = moved(scene, tmp_path / "scene.tif", shift)
    if windows:
        monkeypatch.setattr(mapping, "whole_bytes", lambda model, shape: 10**18)
        monkeypatch.setattr(mapping, "windows_at_once", lambda model, memory, most, **shared: (1, 16))
    files = {name: tmp_path / f"{name}.tif" for name in ("out", "probabilities", "uncertainty")}
    words = [word for name, file in files.items() for word in (f"--{name}", file)]
    said = cli.ok("map", tmp_path / "run", path, *words, "--device", "cpu", *more)
    for file in files.values():
        with rasterio.open(file) as made:
            stated = made.tags(ns="PATCHFREE").get("bands")
        assert (stated or "").startswith(expected or "")
        assert (stated is None) == (expected is None)
    assert (expected or "Map: ") in said
    assert ("atched" in said or "Resampled" in said) == (expected is not None)
    told = " ".join(cli.ok("info", files["out"]).split())
    assert "map: statistics scene" in told
    assert f"map: bands {stated}" in told if stated else "map: bands" not in told
    if not windows:  # the same from Python
        opened = open_scene(path).matching(bands, resample=bool(more))
        kept = load_run(tmp_path / "run").predict(opened, device="cpu")
        assert kept.tags.get("bands") == stated


def test_bands_that_neither_side_knows_by_wavelength_are_said_to_be_matched_by_number():
    nameless = Bands((1, 2, 3), 3)
    known = dataclasses.replace(nameless, wavelengths_nm=(500.0, 600.0, 700.0))
    assert describe_matching(nameless, nameless) == (
        "Matched by number: neither the scene nor the run states wavelengths."
    )
    assert describe_matching(known, nameless) == "Matched by number: the run states no wavelengths."
    assert describe_matching(known, known) == ""
