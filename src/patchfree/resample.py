"""The bands of a run made from the finer bands of another scene: Gaussian means that lie and spread as the run's do.

A band is taken as a Gaussian of its centre and full width at half maximum (FWHM). Squared widths add: the mean of bands
of width f with Gaussian weights of width k has the width sqrt(f² + k²). So the weights get k² = (wanted width)² - f², and
not less than the scene's spacing, below which a mean would be one band and lie beside its place. Where the scene's bands
are as wide as the wanted ones, the made ones are therefore up to sqrt(2) times wider than wanted.

Dimension key: c bands.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float64

from patchfree.errors import BandMismatch
from patchfree.scene import MADE_BANDS, WAVELENGTH_TOLERANCE_NM, Bands, Scene

SAME_WIDTH = 1.1
"""Widths that differ by less than this factor are the same: calibrations of one sensor differ by that."""
NEXT = 1.5
"""Neighbours farther apart than this many widths have lost a band between them (sensors sample at 0.7 to 1.1 widths)."""
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
NEGLIGIBLE = 1e-4  # of the largest weight


def resample(scene: Scene, wanted: Bands) -> Scene:
    """The scene with the wanted bands, made from its own, and a note that says how.

    Raises:
        BandMismatch: a wanted band cannot be made from the scene's.
    """
    weights = resampling_weights(scene.bands, wanted)
    values = np.empty((len(wanted), *scene.grid.shape), np.float32)
    for band, row in enumerate(weights):
        used = np.flatnonzero(row)
        values[band] = np.tensordot(row[used].astype(np.float32), scene.values[used], 1)
    note = describe_resampling(weights)
    details = scene.details | {MADE_BANDS: note}
    return dataclasses.replace(scene, values=values, bands=wanted, notes=(*scene.notes, note), details=details)


def describe_resampling(weights: Float64[np.ndarray, "c_wanted c_have"]) -> str:
    """What was made of what, in a sentence."""
    wanted, have = weights.shape
    made = int((np.count_nonzero(weights, axis=1) > 1).sum())
    return (
        f"Resampled: {made} of the run's {wanted} bands were made from the scene's {have} as Gaussian "
        f"means by wavelength and width; {wanted - made} were taken as they are."
    )


def resampling_weights(have: Bands, wanted: Bands) -> Float64[np.ndarray, "c_wanted c_have"]:
    """What each wanted band takes of each band that is there; rows add up to 1.

    A band that is there already (within 2 nm, as wide within 10 %) is taken as it is.

    Args:
        have: bands of the scene; wavelengths need not increase.
        wanted: bands to make.

    Raises:
        BandMismatch: one side states no wavelengths or widths; or a wanted band is not covered to half its maximum
            by bands that follow each other without a gap and are no wider than it.
    """
    for name, bands in (("scene", have), ("run", wanted)):
        lacks = "wavelengths" if bands.wavelengths_nm is None else "widths (FWHM)" if bands.fwhm_nm is None else None
        if lacks:
            raise BandMismatch(
                f"The bands of the {name} have no {lacks}, so none can be made from others. Add them to its file (ENVI: "
                "wavelength, wavelength units, fwhm), or map without resampling a scene that has the run's bands."
            )
    centres, widths = np.asarray(have.wavelengths_nm, float), np.asarray(have.fwhm_nm, float)
    numbers = np.asarray(have.numbers)
    weights = np.zeros((len(wanted), len(have)))
    problems = []
    assert wanted.wavelengths_nm is not None
    assert wanted.fwhm_nm is not None
    for row, (number, centre, width) in enumerate(
        zip(wanted.numbers, wanted.wavelengths_nm, wanted.fwhm_nm, strict=True)
    ):
        # Two detectors can have a band at the same wavelength: the one of the same number goes first.
        nearest = int((np.abs(centres - centre) + 1e-6 * np.abs(numbers - number)).argmin())
        alike = 1 / SAME_WIDTH <= widths[nearest] / width <= SAME_WIDTH
        if abs(centres[nearest] - centre) <= WAVELENGTH_TOLERANCE_NM and alike:
            weights[row, nearest] = 1
            continue
        made = _gaussian(centres, widths, centre, width)
        if isinstance(made, str):
            problems.append(f"the band at {centre:.1f} nm (width {width:.1f} nm): {made}")
        else:
            weights[row] = made
    if problems:
        raise BandMismatch(
            f"{len(problems)} of the run's {len(wanted)} bands cannot be made from the scene's {len(have)}, first "
            f"{problems[0]}. Use a scene that samples the run's range more finely, or train a new run on this scene."
        )
    return weights


def _gaussian(
    centres: Float64[np.ndarray, " c"], widths: Float64[np.ndarray, " c"], centre: float, width: float
) -> Float64[np.ndarray, " c"] | str:
    """Weights of all bands for a mean at a centre with a width, or why there are none."""
    order = np.argsort(centres, kind="stable")
    at, spread = centres[order], widths[order]
    low, high = centre - width / 2, centre + width / 2
    first = max(int(np.searchsorted(at, low, "right")) - 1, 0)
    last = min(int(np.searchsorted(at, high, "left")), len(at) - 1)
    part, part_spread = at[first : last + 1], spread[first : last + 1]
    if part[0] - part_spread[0] / 2 > low or part[-1] + part_spread[-1] / 2 < high:
        return f"the scene's bands from {at[0]:.1f} to {at[-1]:.1f} nm do not cover it"
    if part_spread.max() > width * SAME_WIDTH:
        return f"the scene's bands there are wider, up to {part_spread.max():.1f} nm"
    gaps = np.diff(part)
    wide = gaps > np.minimum(NEXT * np.maximum(part_spread[:-1], part_spread[1:]), SAME_WIDTH * width)
    if wide.any():
        hole = int(np.flatnonzero(wide)[0])
        return f"the scene has no band between {part[hole]:.1f} and {part[hole + 1]:.1f} nm"
    spacing = float(gaps.max()) if len(gaps) else float(part_spread[0])
    kernel = math.sqrt(max(width**2 - float(part_spread.mean()) ** 2, spacing**2)) / FWHM_PER_SIGMA
    # Each band stands for the stretch that it samples: half the way to its neighbours, not across a hole.
    between = np.diff(at, prepend=-np.inf, append=np.inf)
    stretch = np.minimum(between[:-1], NEXT * spread) + np.minimum(between[1:], NEXT * spread)
    found = stretch * np.exp(-0.5 * ((at - centre) / kernel) ** 2)
    found[found < NEGLIGIBLE * found.max()] = 0
    weights = np.zeros_like(found)
    weights[order] = found / found.sum()
    return weights
