"""A pair of scenes with planted changes, and labels of some of its pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from conftest import synthetic
from patchfree.change.pair import pair_up
from patchfree.change.reference import change_labels


def planted_pair(*, side=48, bands=8, noise=0.3, share=0.08, seed=0):
    """Two dates, and where they differ: the second has another gain, offset and noise, and in blobs another material."""
    scene, labels = synthetic(rows=side, cols=side, bands=bands, noise=noise, seed=seed)
    rng = np.random.default_rng(seed + 1)
    blobs = ndimage.gaussian_filter(rng.normal(size=(side, side)), 3)
    changed = blobs > np.quantile(blobs, 1 - share)
    classes = len(labels.legend)
    spectra = np.stack([scene.values[:, labels.index == k].mean(1) for k in range(1, classes + 1)])
    other = spectra[labels.index % classes].transpose(2, 0, 1) + noise * rng.normal(size=scene.values.shape)
    after = 1.3 * np.where(changed, other, scene.values) + 0.2 + 0.5 * noise * rng.normal(size=scene.values.shape)
    second = dataclasses.replace(scene, values=after.astype(np.float32), name="after")
    return pair_up(dataclasses.replace(scene, name="before"), second), changed


def some_labels(changed, *, share=0.3, seed=3):
    """Labels of a share of the pixels of both kinds."""
    known = np.random.default_rng(seed).random(changed.shape) < share
    return change_labels(~changed & known, changed & known)
