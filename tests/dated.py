"""Small pairs of scenes with planted changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import rasterio
from affine import Affine

from conftest import synthetic
from patchfree.change.pair import pair_up

PLACE = Affine(30, 0, 362_000, 0, -30, 5_810_000)


def two_dates(*, rows=48, cols=56, bands=12, noise=0.1, seed=0):
    """BEFORE, AFTER under another light with blobs of another land cover, and where those lie."""
    before, _ = synthetic(rows=rows, cols=cols, bands=bands, noise=0, seed=seed)
    rng = np.random.default_rng(seed + 1)
    r, c = np.mgrid[:rows, :cols]
    truth = np.zeros((rows, cols), bool)
    for row, col, radius in ((10, 12, 4), (30, 40, 5), (38, 9, 3)):
        truth |= (r - row) ** 2 + (c - col) ** 2 < radius**2
    values = before.values.astype(np.float64)
    after = values.copy()
    after[:, truth] = rng.normal(2.5, 0.6, bands)[:, None]
    gain, offset = rng.uniform(0.7, 1.4, (bands, 1, 1)), rng.normal(0, 0.2, (bands, 1, 1))
    after = after * gain + offset
    first, second = (v + noise * rng.normal(size=v.shape) for v in (values, after))
    return (
        replace(before, name="before", values=first.astype(np.float32)),
        replace(before, name="after", values=second.astype(np.float32)),
        truth,
    )


def planted_pair(**how):
    """The pair of the two dates, and where it changed."""
    before, after, truth = two_dates(**how)
    return pair_up(before, after), truth


def write_date(path, values, *, place=PLACE, crs="EPSG:32633", nodata=None, wavelengths=None):
    """A GeoTIFF of these values, written by rasterio alone."""
    count, height, width = values.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **profile, crs=crs, transform=place, nodata=nodata) as target:
        target.write(values)
        for band, wavelength in enumerate(wavelengths if wavelengths is not None else (), 1):
            target.update_tags(band, wavelength=str(wavelength), wavelength_units="Nanometers")
    return path
