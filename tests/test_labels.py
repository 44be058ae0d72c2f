"""Class values go in and come out unchanged; inside, the k classes are numbered 1..k and 0 is unlabelled."""

from dataclasses import replace

import numpy as np
import pytest

from patchfree.errors import LabelError
from patchfree.labels import MOST_CLASSES, PALETTE, LandCover, make_labels

VALUES = np.random.default_rng(0).choice([0, 1, 10, 11, 12, 13, 14], (9, 11))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
def test_values_are_restored_exactly(dtype):
    labels = make_labels(VALUES.astype(dtype))
    assert labels.values == (1, 10, 11, 12, 13, 14)
    np.testing.assert_array_equal(labels.restore(labels.index), VALUES)


def test_inside_classes_are_numbered_without_gaps_in_the_order_of_their_values():
    labels = make_labels(VALUES)
    assert np.unique(labels.index).tolist() == [0, 1, 2, 3, 4, 5, 6]
    for i, value in enumerate(labels.values, 1):
        np.testing.assert_array_equal(labels.index == i, value == VALUES)


def test_restore_takes_any_shape():
    labels = make_labels(VALUES)
    assert labels.restore(np.array([0, 6, 2])).tolist() == [0, 14, 10]


def test_counts_are_labelled_pixels_a_class():
    labels = make_labels(VALUES)
    assert labels.counts.tolist() == [(value == VALUES).sum() for value in labels.values]


def test_nan_is_unlabelled_and_noted():
    labels = make_labels(np.array([[np.nan, 2.0], [3.0, np.nan]]))
    assert labels.index.tolist() == [[0, 1], [2, 0]]
    assert labels.notes == ("2 label pixels are NaN and count as unlabelled.",)


def test_values_declared_unlabelled_are_no_class():
    labels = make_labels(np.array([[-1, 0, 2], [255, 2, 3]]), unlabelled=(0, -1, 255))
    assert labels.values == (2, 3)
    assert labels.index.tolist() == [[0, 0, 1], [0, 1, 2]]


def test_zero_is_no_class_because_maps_store_no_data_as_zero():
    with pytest.raises(
        LabelError, match=r"hold the class value 0, which stands for 'no data' .*pass --unlabelled 0 too"
    ):
        make_labels(np.array([[0, 1, 255]]), unlabelled=(255,))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([[1.0, 2.5, 0.25]]), "must be whole numbers, one a class; got 2.5, and 1 more"),
        (np.array([[1.0, np.inf]]), "must be whole numbers, one a class; got inf, and 0 more"),
        (np.array([[-2, -1, 3]]), "negative class value -2.*pass --unlabelled -2"),
        (np.zeros((2, 3), int), r"none of the 6 pixels is labelled \(values: \[0\]\)"),
        (np.full((2, 3), np.nan), "none of the 6 pixels is labelled"),
        (np.array([[1, MOST_CLASSES + 1]]), "hold 2 classes up to value 65536; maps store at most 65535"),
        (np.arange(1, MOST_CLASSES + 2)[None], "hold 65536 classes up to value 65536"),
    ],
)
def test_values_that_are_no_classes_are_refused(values, said):
    with pytest.raises(LabelError, match="Fields.tif.*" + said):
        make_labels(values, source="Fields.tif")


def test_the_largest_class_value_that_fits_a_map_is_accepted():
    assert make_labels(np.array([[MOST_CLASSES]])).values == (MOST_CLASSES,)


def test_names_and_colours_are_kept_and_the_gaps_filled():
    labels = make_labels(np.array([[1, 5, 9]]), names={5: "wood"}, colours={1: (1, 2, 3)})
    assert [e.name for e in labels.legend] == ["class 1", "wood", "class 9"]
    assert labels.legend[0].colour == (1, 2, 3)
    assert {e.colour for e in labels.legend[1:]} <= set(PALETTE)


def test_colours_given_are_not_used_again_for_other_classes():
    labels = make_labels(np.arange(1, 10)[None], colours={9: PALETTE[0]})
    assert len({e.colour for e in labels.legend}) == 9


def test_a_hundred_classes_have_a_hundred_colours():
    assert len({e.colour for e in make_labels(np.arange(1, 101)[None]).legend}) == 100


def test_a_known_legend_stands_and_loses_classes_without_pixels():
    legend = (LandCover(1, "wood", (1, 1, 1)), LandCover(2, "field", (2, 2, 2)), LandCover(3, "water", (3, 3, 3)))
    assert make_labels(np.array([[3, 1, 0]]), legend=legend).legend == (legend[0], legend[2])


def test_within_a_mask_the_legend_stays():
    labels = make_labels(VALUES)
    mask = np.zeros(VALUES.shape, bool)
    mask[:2] = True
    part = labels.within(mask)
    np.testing.assert_array_equal(part.restore(part.index), np.where(mask, VALUES, 0))
    assert part.legend == labels.legend


def test_classes_left_out_are_unlabelled_and_the_others_keep_name_and_colour():
    labels = make_labels(VALUES, names={11: "wood"})
    part = labels.without([1, 12])
    np.testing.assert_array_equal(part.restore(part.index), np.where(np.isin(VALUES, [1, 12]), 0, VALUES))
    assert part.legend == tuple(e for e in labels.legend if e.value not in (1, 12))
    assert labels.without([]) is labels


def test_an_unknown_class_cannot_be_left_out():
    with pytest.raises(LabelError, match=r"There is no class \[2, 7\] to leave out; the labels hold \[1, 10"):
        make_labels(VALUES).without([7, 1, 2])


def test_all_classes_cannot_be_left_out():
    with pytest.raises(LabelError, match="none of the 2 pixels is labelled"):
        make_labels(np.array([[1, 2]])).without([1, 2])


def test_the_fingerprint_changes_with_pixels_values_and_names():
    base = np.array([[0, 1, 2]])
    prints = {
        make_labels(values, names=names).fingerprint()
        for values, names in [(base, {}), (base[:, ::-1], {}), (base * 2, {}), (base, {1: "wood"}), (base.T, {})]
    }
    assert len(prints) == 5
    assert make_labels(base).fingerprint() == make_labels(base.astype(float)).fingerprint()


def test_classes_of_one_name_get_the_other_legends_values_whatever_their_numbers():
    theirs = make_labels(np.array([[1, 2, 3]]), names={1: "soil", 2: "tree", 3: "water"})
    ours = make_labels(np.array([[1, 2, 0]]), names={1: "Soil", 2: "Water "})
    matched = ours.matching(theirs.legend)
    assert matched.restore(matched.index).tolist() == [[1, 3, 0]]
    stranger = make_labels(np.array([[1, 2]]), names={1: "building", 2: "water"}).matching(theirs.legend)
    assert stranger.restore(stranger.index).tolist() == [[4, 3]]


def test_values_stay_where_one_side_has_no_names():
    theirs = make_labels(np.array([[1, 2, 3]]), names={1: "soil", 2: "tree", 3: "water"})
    ours = make_labels(np.array([[3, 1]]))
    assert ours.matching(theirs.legend) is ours


def test_names_that_cannot_be_matched_to_bare_numbers_are_refused():
    ours = replace(make_labels(np.array([[1, 2]]), names={1: "soil", 2: "water"}), numbered=True)
    with pytest.raises(LabelError, match=r"cannot be matched: one side has 1 'soil', 2 'water', the other 7, 9"):
        ours.matching(make_labels(np.array([[7, 9]])).legend)


def test_labels_print_as_their_classes_and_counts():
    labels = make_labels(np.array([[0, 10, 14], [1, 10, 0]]), names={10: "meadow"})
    assert repr(labels) == "Labels(4 of 6 pixels; class 1: 1, 10 meadow: 2, class 14: 1)"
