"""The network of mean spectra: its means are those of a Gaussian over the pixels with data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from patchfree.models.spectral_mean import HALO, SIGMA, SpectralMean, local_mean


def by_scipy(x, valid):
    def blurred(band):
        return gaussian_filter(band, SIGMA, mode="constant", radius=HALO)

    weight = blurred(valid.astype(float))
    return np.stack([blurred(band * valid) for band in x]) / np.where(weight > 0, weight, 1)


@pytest.mark.parametrize("share", [1.0, 0.8, 0.3])
def test_the_mean_is_that_of_a_gaussian_over_pixels_with_data_inside_of_the_scene(share):
    rng = np.random.default_rng(0)
    x, valid = rng.normal(size=(3, 31, 26)), rng.random((31, 26)) < share
    mask = None if share == 1 else torch.from_numpy(valid)[None, None].double()
    found = local_mean(torch.from_numpy(x)[None], mask)[0].numpy()
    np.testing.assert_allclose(found[:, valid], by_scipy(x, valid)[:, valid], atol=1e-12)


def test_a_mean_of_equal_pixels_is_that_pixel_up_to_the_border():
    x = torch.full((1, 2, 5, 40), 3.0)
    torch.testing.assert_close(local_mean(x, None), x)


def test_means_far_from_any_data_are_finite():
    valid = torch.zeros(1, 1, 40, 40)
    valid[..., :3, :3] = 1
    assert torch.isfinite(local_mean(torch.ones(1, 2, 40, 40), valid)).all()


def test_pixels_farther_than_the_halo_do_not_count():
    torch.manual_seed(0)
    network, x = SpectralMean(bands=4, classes=3).eval(), torch.randn(1, 4, 40, 40)
    other = x.clone()
    other[..., :10, :] += 1
    with torch.no_grad():
        apart = (network(x) - network(other)).abs().amax((0, 1, 3))
    assert (apart[10 + HALO :] == 0).all()
    assert (apart[: 10 + HALO] > 0).all()
