"""How far two dates are shifted against each other, by phase correlation.

The cross-power spectrum of the dates, divided by its absolute value, is the Fourier transform of a peak at the shift. Spectra of
several bands are added up, so that what is common to them counts. The peak is found to a whole pixel by a fast Fourier transform
and to a twentieth of one by a discrete transform around it.

References: C. D. Kuglin, D. C. Hines (1975), The Phase Correlation Image Alignment Method, IEEE Conference on Cybernetics and
Society, 163-165; M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup (2008), Efficient Subpixel Image Registration Algorithms, Optics
Letters 33(2), 156-158 (the second step).
Differences: gradients of the bands enter, which are less changed by light and season than values; several bands are added up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Float64
from scipy import fft
from scipy.signal.windows import hann

from patchfree.unsupervised.view import View
from patchfree.windows import Window, cover

SIDE = 512  # px of the part of the scene that is compared
LEAST_SIDE = 16
MOST_BANDS = 8
FINENESS = 20  # parts of a pixel
NOTABLE_PX = 0.5
CLEAR = 20.0
"""The peak must rise so many standard deviations above the mean of the correlation. Chance gives about 5, pairs of 256 px of new
buildings under another sun 8 to 18 (at shifts that are not there), pairs that are alike 40 to 260."""
FEWEST_HELD = 0.5


@dataclass(frozen=True)
class Shift:
    """How far AFTER lies from BEFORE.

    Attributes:
        rows: downwards, in pixels.
        cols: to the right, in pixels.
        clear: whether the peak stands out; if not, the numbers mean nothing.
    """

    rows: float
    cols: float
    clear: bool

    @property
    def pixels(self) -> float:
        """Its length in pixels."""
        return float(np.hypot(self.rows, self.cols))

    @property
    def note(self) -> str:
        """What it means, in a sentence; "" if there is nothing to say."""
        if not self.clear:
            return "How far the dates are shifted against each other could not be told: too little of what they show is alike."
        if self.pixels <= NOTABLE_PX:
            return ""
        return (
            f"AFTER seems to be shifted by {self.rows:+.2f} rows and {self.cols:+.2f} columns against BEFORE: more than half a pixel, so edges will look like change. "
            "Register the two first (for instance with AROSICS), or trust large objects only."
        )


def find_shift(view: View) -> Shift | None:
    """The shift of AFTER against BEFORE in the part of the scene with most data; None if it is too small to tell.

    Args:
        view: the stacked pair.
    """
    window = _fullest(view)
    if window is None:
        return None
    values, valid = view.read(window)
    c = view.bands // 2
    chosen = np.unique(np.linspace(0, c - 1, min(c, MOST_BANDS)).round().astype(int))
    rows, cols = valid.shape
    taper = np.outer(hann(rows, sym=False), hann(cols, sym=False)) * valid
    power: Complex[np.ndarray, "h w"] = np.zeros((rows, cols), np.complex128)
    for band in chosen:
        first, second = (fft.fft2(_gradients(values[i], valid) * taper) for i in (band, c + band))
        cross = first.conj() * second
        largest = float(np.abs(cross).max())
        if largest > 0:  # a band of one value tells nothing
            power += cross / np.maximum(np.abs(cross), 1e-12 * largest)
    if not power.any():
        return None
    surface = np.abs(fft.ifft2(power))
    place = np.unravel_index(int(surface.argmax()), surface.shape)
    clear = bool(surface.max() > surface.mean() + CLEAR * surface.std())
    coarse = [float(p - n if p > n // 2 else p) for p, n in zip(place, surface.shape, strict=True)]
    return Shift(*_refined(power, coarse), clear)


def _fullest(view: View) -> Window | None:
    """The window with most data, the first of the middle row by row; None if none holds enough."""
    height, width = view.shape
    if min(height, width) < LEAST_SIDE:
        return None
    middle = np.array([height, width]) / 2
    windows = sorted(
        cover(view.shape, SIDE),
        key=lambda w: float(np.hypot(*(np.array([(p.start + p.stop) / 2 for p in w]) - middle))),
    )
    best, share = None, FEWEST_HELD
    for window in windows:
        held = (
            float(view.read(window)[1].sum()) / SIDE**2
            if min(height, width) >= SIDE
            else float(view.read(window)[1].mean())
        )
        if held > share and min(p.stop - p.start for p in window) >= LEAST_SIDE:
            best, share = window, held
        if held > 0.99:
            break
    return best


def _gradients(band: Float[np.ndarray, "h w"], valid: np.ndarray) -> Complex[np.ndarray, "h w"]:
    """Differences to the neighbours, along columns and (imaginary) rows, with mean 0; 0 beside pixels without data."""
    filled = np.where(valid, band, 0.0)
    found = np.zeros(band.shape, np.complex128)
    inner = (slice(1, -1), slice(1, -1))
    held = valid[1:-1, 2:] & valid[1:-1, :-2] & valid[2:, 1:-1] & valid[:-2, 1:-1] & valid[inner]
    found[inner] = (filled[1:-1, 2:] - filled[1:-1, :-2]) + 1j * (filled[2:, 1:-1] - filled[:-2, 1:-1])
    found[inner] *= held
    return found - found.mean()


def _refined(power: Complex[np.ndarray, "h w"], coarse: list[float]) -> tuple[float, float]:
    """The peak of the inverse transform within a pixel around a place, on a grid of twentieths of a pixel."""
    offsets: Float64[np.ndarray, " n"] = np.arange(-FINENESS, FINENESS + 1) / FINENESS
    rows, cols = (
        np.exp(2j * np.pi * np.outer(offsets + at, fft.fftfreq(n))) for at, n in zip(coarse, power.shape, strict=True)
    )
    surface = np.abs(rows @ power @ cols.T)
    i, j = np.unravel_index(int(surface.argmax()), surface.shape)
    return coarse[0] + float(offsets[i]), coarse[1] + float(offsets[j])
