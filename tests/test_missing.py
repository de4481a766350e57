"""Label treatments on a table small enough to fill by hand."""

import numpy as np
import pytest

from data_prep.missing import TREATMENTS, fill, kept, mean_face

NAN = (np.nan, np.nan)

# Two points, A and B. Four training rows at positions 1, 3, 4, 6 of the file, four others at 0, 2, 5, 7.
TRAIN_ROWS, OTHER_ROWS = np.array([1, 3, 4, 6]), np.array([0, 2, 5, 7])
TRAIN = np.array(
    [
        [(10, 20), NAN],  # row 1
        [NAN, (30, 40)],  # row 3
        [NAN, NAN],  # row 4
        [(16, 26), (34, 48)],  # row 6
    ],
    np.float32,
)
OTHER = np.array(
    [
        [NAN, NAN],  # row 0, before any training row
        [NAN, NAN],  # row 2, after row 1 only
        [(99, 99), NAN],  # row 5
        [NAN, (1, 1)],  # row 7
    ],
    np.float32,
)
MEAN_A, MEAN_B = (13, 23), (32, 44)  # A: rows 1 and 6; B: rows 3 and 6


def filled(treatment: str, train=TRAIN, other=OTHER) -> tuple[np.ndarray, np.ndarray]:
    return fill(treatment, train, TRAIN_ROWS, other, OTHER_ROWS)


def test_mean_face():
    np.testing.assert_array_equal(mean_face(TRAIN), [MEAN_A, MEAN_B])


def test_ffill():
    train, other = filled("ffill")
    expected_train = [
        [(10, 20), MEAN_B],  # no training row before it labels B
        [(10, 20), (30, 40)],
        [(10, 20), (30, 40)],  # A from row 1 over the gap in row 3
        [(16, 26), (34, 48)],
    ]
    expected_other = [
        [MEAN_A, MEAN_B],
        [(10, 20), MEAN_B],
        [(99, 99), (30, 40)],  # its own A; B from row 3
        [(16, 26), (1, 1)],  # A from training row 6, not from row 5, which is no training row
    ]
    np.testing.assert_array_equal(train, np.array(expected_train, np.float32))
    np.testing.assert_array_equal(other, np.array(expected_other, np.float32))
    assert train.dtype == other.dtype == np.float32


def test_mean():
    train, other = filled("mean")
    np.testing.assert_array_equal(train, [[(10, 20), MEAN_B], [MEAN_A, (30, 40)], [MEAN_A, MEAN_B], TRAIN[3]])
    np.testing.assert_array_equal(other, [[MEAN_A, MEAN_B], [MEAN_A, MEAN_B], [(99, 99), MEAN_B], [MEAN_A, (1, 1)]])


@pytest.mark.parametrize("treatment", ["drop", "none"])
def test_drop_and_none_leave_gaps(treatment):
    train, other = filled(treatment)
    np.testing.assert_array_equal(train, TRAIN)
    np.testing.assert_array_equal(other, OTHER)
    assert train is not TRAIN
    assert other is not OTHER


def test_only_drop_leaves_rows_out():
    assert kept("drop", TRAIN).tolist() == [False, False, False, True]  # row 6 alone has both points
    for treatment in set(TREATMENTS) - {"drop"}:
        assert kept(treatment, TRAIN).all()


@pytest.mark.parametrize("treatment", list(TREATMENTS))
def test_inputs_stay_as_they_are_and_labels_are_kept(treatment):
    before = TRAIN.copy(), OTHER.copy()
    for truth, after in zip(before, filled(treatment), strict=True):
        labelled = ~np.isnan(truth)
        np.testing.assert_array_equal(after[labelled], truth[labelled])
    np.testing.assert_array_equal(TRAIN, before[0])
    np.testing.assert_array_equal(OTHER, before[1])


@pytest.mark.parametrize("treatment", ["ffill", "mean"])
def test_nothing_is_learnt_from_other_rows(treatment):
    other = OTHER.copy()
    other[2, 0] = (-7, 300)  # row 5 labels A
    other[1, 1] = (55, 66)  # and row 2 now labels B
    train, changed = filled(treatment, other=other)
    reference_train, reference = filled(treatment)
    np.testing.assert_array_equal(train, reference_train)
    gaps = np.isnan(other).any(axis=-1)
    np.testing.assert_array_equal(changed[gaps], reference[gaps])


def test_ffill_takes_nothing_from_later_rows():
    train = TRAIN.copy()
    train[3] = [(77, 77), (88, 88)]  # row 6
    changed_train, changed = filled("ffill", train=train)
    reference_train, reference = filled("ffill")
    np.testing.assert_array_equal(changed_train[1:3], reference_train[1:3])
    np.testing.assert_array_equal(changed[1, 0], reference[1, 0])
    np.testing.assert_array_equal(changed[2], reference[2])
    np.testing.assert_array_equal(changed[3, 0], (77, 77))  # row 7 comes after it
    np.testing.assert_array_equal(changed[0], [(43.5, 48.5), (59, 64)])  # the means: (10 + 77) / 2, ..., (40 + 88) / 2


@pytest.mark.parametrize("treatment", ["ffill", "mean"])
def test_a_point_that_no_training_row_labels_stays_missing(treatment):
    train = TRAIN.copy()
    train[:, 1] = np.nan
    assert np.isnan(mean_face(train)[1]).all()
    filled_train, other = filled(treatment, train=train)
    assert np.isnan(filled_train[:, 1]).all()
    assert np.isnan(other[:3, 1]).all()
    np.testing.assert_array_equal(other[3, 1], (1, 1))
    assert not np.isnan(filled_train[:, 0]).any()


def test_unknown_treatment():
    with pytest.raises(ValueError, match="unknown treatment 'median'; accepted: ffill, mean, drop, none"):
        filled("median")
