"""What is written down comes back bit for bit, and a line that was cut off was never written."""

import numpy as np
import pytest

from patchfree.models._statistics import Part
from patchfree.stream.journal import Journal

AWKWARD = np.array([0.1, 1 / 3, np.pi * 1e300, 5e-324, -0.0, 1e16 + 2, np.nextafter(1.0, 2.0), -1.7976931348623157e308])


def part(seed=0, *, squares=True):
    values = np.random.default_rng(seed).normal(size=8) * 10.0 ** np.arange(-12, 12, 3)
    mean = np.concatenate([AWKWARD, values])
    return Part(f"levels.{seed}.0.norm", 1234567.0 + seed, mean, np.flip(mean).copy() if squares else None)


def same(a, b):
    if a is None or b is None:
        return a is b
    return (
        (a.key, a.count) == (b.key, b.count)
        and a.mean.tobytes() == b.mean.tobytes()
        and (a.squares is None) == (b.squares is None)
        and (a.squares is None or a.squares.tobytes() == b.squares.tobytes())
    )


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


def test_the_bits_come_back_in_the_order_of_writing(journal):
    written = [(7, part(1)), (0, None), (3, part(2, squares=False)), (1, part(3))]
    for window, found in written:
        journal.add(2, 5, window, found)
    read = list(journal.read(2, 5))
    assert [window for window, _ in read] == [7, 0, 3, 1]
    assert all(same(a, b) for (_, a), (_, b) in zip(read, written, strict=True))
    assert all(same(a, b) for (_, a), (_, b) in zip(Journal(journal.folder).read(2, 5), written, strict=True))
    assert read[0][1].mean.dtype == np.float64


def test_every_pass_has_a_file_of_its_own(journal):
    journal.add(0, 0, 1, part(1))
    journal.add(0, 1, 2, None)
    journal.add(1, 0, 3, part(2))
    assert [[window for window, _ in journal.read(*which)] for which in ((0, 0), (0, 1), (1, 0))] == [[1], [2], [3]]
    assert same(next(journal.read(1, 0))[1], part(2))


def test_a_pass_that_has_not_begun_has_no_finished_windows(journal):
    assert list(journal.read(3, 1)) == []
    assert list(journal.folder.iterdir()) == []


def test_a_last_line_that_was_cut_off_does_not_count_wherever_it_was_cut(journal):
    journal.add(0, 0, 4, part(1))
    (path,) = journal.folder.iterdir()
    first = path.read_bytes()
    journal.add(0, 0, 5, part(2))
    whole = path.read_bytes()
    for length in (len(first) + 1, len(first) + 40, len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert [window for window, _ in journal.read(0, 0)] == [4], length
        assert path.read_bytes() == first
    path.write_bytes(first[:-1])
    assert list(journal.read(0, 0)) == []


def test_after_a_cut_line_it_is_written_on(journal):
    journal.add(0, 0, 4, part(1))
    journal.add(0, 0, 5, part(2))
    (path,) = journal.folder.iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    assert [window for window, _ in journal.read(0, 0)] == [4]
    journal.add(0, 0, 6, part(3))
    found = list(journal.read(0, 0))
    assert [window for window, _ in found] == [4, 6]
    assert same(found[1][1], part(3))
