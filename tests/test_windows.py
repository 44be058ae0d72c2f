"""Cores cover a raster once, and a core's place in its window is its place in the raster."""

import numpy as np
import pytest

from patchfree.windows import at_stride, cover, expand, inside


def cases(count=40):
    """Random rasters: shape, size of a core, alignment, halo."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        align = int(rng.choice([1, 2, 4, 8]))
        shape = int(rng.integers(1, 70)), int(rng.integers(1, 70))
        yield shape, align * int(rng.integers(1, 6)), align, int(rng.integers(0, 30))


CASES = [((1, 1), 1, 1, 0), ((1, 40), 8, 8, 3), ((40, 1), 64, 8, 8), ((16, 16), 16, 8, 16), *cases()]
every_case = pytest.mark.parametrize(("shape", "size", "align", "halo"), CASES, ids=str)


@every_case
def test_the_cores_are_a_partition(shape, size, align, halo):
    times = np.zeros(shape, int)
    for core in cover(shape, size, align=align):
        times[core] += 1
    assert (times == 1).all()


@every_case
def test_cores_begin_at_multiples_and_only_the_last_are_smaller(shape, size, align, halo):
    for core in cover(shape, size, align=align):
        for part, length in zip(core, shape, strict=True):
            assert part.start % align == 0
            assert part.stop - part.start == size or (part.stop == length and part.stop - part.start < size)


@every_case
def test_cores_come_row_by_row(shape, size, align, halo):
    starts = [(rows.start, cols.start) for rows, cols in cover(shape, size, align=align)]
    assert starts == sorted(starts)


@every_case
def test_a_window_holds_all_pixels_within_the_halo_and_begins_at_a_multiple(shape, size, align, halo):
    rows, cols = np.indices(shape)
    for core in cover(shape, size, align=align):
        window = expand(core, halo, shape, align=align)
        near = np.ones(shape, bool)
        for places, part in zip((rows, cols), core, strict=True):
            near &= (places >= part.start - halo) & (places < part.stop + halo)
        found = np.zeros(shape, bool)
        found[window] = True
        assert found[near].all()
        for part, own, length in zip(window, core, shape, strict=True):
            assert part.start % align == 0
            assert 0 <= part.start <= own.start < own.stop <= part.stop <= length
            assert own.start - part.start < halo + align
            assert part.stop - own.stop < halo + align


@every_case
def test_the_core_is_found_in_its_window(shape, size, align, halo):
    raster = np.arange(shape[0] * shape[1]).reshape(shape)
    for core in cover(shape, size, align=align):
        window = expand(core, halo, shape, align=align)
        np.testing.assert_array_equal(raster[window][inside(core, window)], raster[core])


@every_case
def test_in_a_coarser_map_the_windows_are_those_of_its_pixels(shape, size, align, halo):
    """A map of stride s holds the raster's pixels [::s, ::s]."""
    raster = np.arange(shape[0] * shape[1]).reshape(shape)
    strides = [s for s in (1, 2, 4, 8) if align % s == 0]
    for stride in strides:
        coarse, times = raster[::stride, ::stride], np.zeros_like(raster[::stride, ::stride])
        for core in cover(shape, size, align=align):
            window = expand(core, halo, shape, align=align)
            np.testing.assert_array_equal(coarse[at_stride(window, stride)], raster[window][::stride, ::stride])
            part = coarse[at_stride(window, stride)][inside(core, window, stride=stride)]
            np.testing.assert_array_equal(part, raster[core][::stride, ::stride])
            times[at_stride(core, stride)] += 1
        assert (times == 1).all()


@pytest.mark.parametrize(("size", "align"), [(0, 1), (-8, 8), (12, 8), (4, 8)])
def test_cores_that_would_not_begin_at_multiples_are_refused(size, align):
    with pytest.raises(ValueError, match=rf"Got size={size}; need a positive multiple of {align}"):
        cover((20, 20), size, align=align)
