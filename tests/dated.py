"""Small pairs of scenes with planted changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import rasterio
from affine import Affine
from scipy import ndimage

from conftest import synthetic
from patchfree.change.pair import pair_up
from patchfree.change.reference import change_labels

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


def pair_with_blobs(*, side=48, bands=8, noise=0.3, share=0.08, seed=0):
    """Two dates, and where they differ: the second has another gain, offset and noise, and in blobs another material."""
    scene, labels = synthetic(rows=side, cols=side, bands=bands, noise=noise, seed=seed)
    rng = np.random.default_rng(seed + 1)
    blobs = ndimage.gaussian_filter(rng.normal(size=(side, side)), 3)
    changed = blobs > np.quantile(blobs, 1 - share)
    classes = len(labels.legend)
    spectra = np.stack([scene.values[:, labels.index == k].mean(1) for k in range(1, classes + 1)])
    other = spectra[labels.index % classes].transpose(2, 0, 1) + noise * rng.normal(size=scene.values.shape)
    after = 1.3 * np.where(changed, other, scene.values) + 0.2 + 0.5 * noise * rng.normal(size=scene.values.shape)
    second = replace(scene, values=after.astype(np.float32), name="after")
    return pair_up(replace(scene, name="before"), second), changed


def some_labels(changed, *, share=0.3, seed=3):
    """Labels of a share of the pixels of both kinds."""
    known = np.random.default_rng(seed).random(changed.shape) < share
    return change_labels(~changed & known, changed & known)
