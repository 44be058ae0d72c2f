"""A statistic gathered over windows is that of the whole, to double precision."""

import numpy as np
import pytest
import torch

from patchfree.models._statistics import OF_THE_SCENE, Gathering, Part, Recorded, Recording, Unknown, merge
from patchfree.windows import cover, expand, inside

GROUPS = 4
SHAPE = (8, 37, 45)
SIZES = [8, 16, 24, 64]


def values(*, mean=0.0, masked=False, seed=0):
    """Values with a trend, and where they count; they are 0 elsewhere."""
    rng = np.random.default_rng(seed)
    x = mean + rng.normal(size=SHAPE) * np.arange(1, 9)[:, None, None] + np.linspace(0, 2, SHAPE[2])
    valid = np.ones(SHAPE[1:], bool)
    if masked:
        valid = rng.random(SHAPE[1:]) > 0.3
        valid[:, 24:] = False  # windows without any data
        valid[:8, :8] = False
    x = torch.from_numpy((x * valid).astype(np.float32))[None]
    return x, torch.from_numpy(valid).float()[None, None] if masked else None


def expected(x, valid):
    """Mean of each channel, mean and variance of each group, by numpy in double precision."""
    mask = np.ones(SHAPE[1:], bool) if valid is None else valid[0, 0].numpy() > 0
    inner = x[0].numpy().astype(np.float64)[:, mask]
    grouped = inner.reshape(GROUPS, -1)
    return inner.mean(1), grouped.mean(1), grouped.var(1)


def handed_in(ask, *arguments):
    """The part with which a window answers a question for what is not known."""
    with pytest.raises(Unknown, match="norm") as raised:
        ask(*arguments)
    assert raised.value.part.key == "norm"
    return raised.value.part


def parts_of(x, valid, size, *, halo=8, moments=True):
    """What every window hands in."""
    for core in cover(SHAPE[1:], size, align=8):
        window = expand(core, halo, SHAPE[1:], align=8)
        seen = None if valid is None else valid[..., *window]
        statistics = Gathering({}, inside(core, window))
        ask = statistics.moments if moments else statistics.mean
        rest = (GROUPS,) if moments else ()
        yield handed_in(ask, "norm", x[..., *window], seen, *rest)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mean", [0.0, 5.0, 1e4, 1e5], ids="mean {}".format)
def test_mean_and_variance_of_groups_are_those_of_the_whole(mean, masked, size):
    x, valid = values(mean=mean, masked=masked)
    found = merge(parts_of(x, valid, size))
    _, means, variances = expected(x, valid)
    assert sorted(found) == ["norm.mean", "norm.variance"]
    assert found["norm.mean"].dtype == found["norm.variance"].dtype == torch.float32
    np.testing.assert_allclose(found["norm.mean"], means, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["norm.variance"], variances, rtol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mean", [5.0, 1e4], ids="mean {}".format)
def test_means_of_channels_are_those_of_the_whole(mean, masked, size):
    x, valid = values(mean=mean, masked=masked)
    found = merge(parts_of(x, valid, size, moments=False))
    assert sorted(found) == ["norm.mean"]
    np.testing.assert_allclose(found["norm.mean"], expected(x, valid)[0], rtol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_the_whole_scene_gives_the_same_numbers(masked):
    x, valid = values(mean=5.0, masked=masked)
    channels, means, variances = expected(x, valid)
    np.testing.assert_allclose(OF_THE_SCENE.mean("norm", x, valid)[0], channels, rtol=1e-5)
    mean, variance = OF_THE_SCENE.moments("norm", x, valid, GROUPS)
    np.testing.assert_allclose(mean[0], means, rtol=1e-5)
    np.testing.assert_allclose(variance[0], variances, rtol=1e-5)


def test_what_lies_in_the_halo_does_not_count():
    x, _ = values()
    core, window = (slice(8, 16), slice(8, 16)), (slice(0, 24), slice(0, 24))
    other = x.clone()
    other[..., 16:, :] += 100
    a, b = (
        handed_in(Gathering({}, inside(core, window)).moments, "norm", y[..., *window], None, GROUPS)
        for y in (x, other)
    )
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.squares, b.squares)
    assert a.count == b.count == 64 * 2  # values of a group of two channels


def test_in_the_same_order_the_bits_are_the_same():
    x, valid = values(mean=1e4, masked=True)
    first, second = (merge(parts_of(x, valid, 16)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_windows_without_data_change_nothing():
    x, valid = values(mean=1e4, masked=True)
    parts = list(parts_of(x, valid, 8))
    empty = [part for part in parts if not part.count]
    assert empty
    assert all(not part.mean.any() and not part.squares.any() for part in empty)
    some, whole = merge(part for part in parts if part.count), merge(parts)
    assert all(torch.equal(some[name], whole[name]) for name in whole)


def test_without_any_data_the_statistics_are_0_as_those_of_the_whole_scene():
    x, valid = torch.zeros(1, *SHAPE), torch.zeros(1, 1, *SHAPE[1:])
    found = merge(parts_of(x, valid, 16))
    mean, variance = OF_THE_SCENE.moments("norm", x, valid, GROUPS)
    assert torch.equal(found["norm.mean"], mean[0])
    assert torch.equal(found["norm.variance"], variance[0])
    assert not found["norm.variance"].any()


def test_merging_is_the_formula_of_chan_golub_and_leveque():
    numbers = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    cut = [
        Part("k", float(len(some)), np.array([some.mean()]), np.array([((some - some.mean()) ** 2).sum()]))
        for some in (numbers[:1], numbers[1:4], numbers[4:])
    ]
    found = merge(cut)
    assert found["k.mean"].tolist() == pytest.approx([numbers.mean()])
    assert found["k.variance"].tolist() == pytest.approx([numbers.var()])


def test_what_is_known_is_given_and_not_gathered():
    x, valid = values(masked=True)
    known = {"norm.mean": torch.arange(4.0), "norm.variance": torch.arange(4.0) + 1, "se.mean": torch.arange(8.0)}
    for statistics in (Recorded(known), Gathering(known, (slice(0, 8), slice(0, 8)))):
        mean, variance = statistics.moments("norm", x.expand(3, -1, -1, -1), valid.expand(3, -1, -1, -1), GROUPS)
        assert mean.tolist() == [[0, 1, 2, 3]] * 3
        assert variance.tolist() == [[1, 2, 3, 4]] * 3
        assert statistics.mean("se", x, valid).tolist() == [list(range(8))]


@pytest.mark.parametrize("masked", [False, True])
def test_what_was_recorded_comes_back_bit_for_bit(masked):
    x, valid = values(mean=5.0, masked=masked)
    recording = Recording()
    mean, (centre, variance) = recording.mean("se", x, valid), recording.moments("norm", x, valid, GROUPS)
    assert sorted(recording.values) == ["norm.mean", "norm.variance", "se.mean"]
    assert torch.equal(mean, OF_THE_SCENE.mean("se", x, valid))
    assert torch.equal(centre, OF_THE_SCENE.moments("norm", x, valid, GROUPS)[0])
    again = Recorded(recording.values)
    assert torch.equal(again.mean("se", x, valid), mean)
    assert torch.equal(again.moments("norm", x, valid, GROUPS)[0], centre)
    assert torch.equal(again.moments("norm", x, valid, GROUPS)[1], variance)
