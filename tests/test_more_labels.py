"""Labels of the same pictures in another set: which rows are given them, where they are put, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep import __main__ as data_prep
from data_prep import more_labels
from data_prep.schema import IBUG68, KAGGLE15, kaggle15_from_ibug68
from data_prep.synthetic.sampler import sample

FOUR = more_labels.SHARED


def rows_of(frames):
    """The frames' faces as rows of the second source: four points, nose and mouth by its rule."""
    keypoints = np.full((len(frames), 15, 2), np.nan, np.float32)
    keypoints[:, FOUR[:2]] = kaggle15_from_ibug68(frames.keypoints)[:, FOUR[:2]]
    keypoints[:, FOUR[2]] = frames.keypoints[:, 33]
    keypoints[:, FOUR[3]] = (frames.keypoints[:, 62] + frames.keypoints[:, 66]) / 2
    return replace(frames, keypoints=keypoints, schema=KAGGLE15, sources=np.full(len(frames), 2))


@pytest.fixture(scope="module")
def frames():
    found = sample(12, seed=0, schema=IBUG68, missing_structure=False)
    return replace(found, groups=np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]))


def test_labels_are_moved_by_scale_and_shift(frames):
    """A frame of twice the size, shifted by (10, -4), must give the labels of the row that it was made from."""
    rows = rows_of(frames)
    moved, residual = more_labels.moved_labels(rows.keypoints, 2 * frames.keypoints + np.array([10, -4]))
    np.testing.assert_allclose(moved, kaggle15_from_ibug68(frames.keypoints), atol=1e-3)
    np.testing.assert_allclose(residual, 0, atol=1e-3)


def test_a_frame_that_does_not_fit_says_so(frames):
    """By hand: a row's points at (±1, ±1) about their middle, a frame's likewise but one that is 4 px off in x."""
    rows = rows_of(frames)
    rows.keypoints[0, FOUR[2]] += 8
    rows.keypoints[1, FOUR[3]] = np.nan
    residual = more_labels.moved_labels(rows.keypoints, frames.keypoints)[1]
    assert residual[0] > more_labels.MOST_RESIDUAL
    assert np.isnan(residual[1])
    assert (residual[2:] < 1e-3).all()


def test_who_is_given_labels(frames):
    """Rows 0 to 11 of persons 0 to 5, two each: person 1 is also in validation, person 2 in the test rows."""
    rows = rows_of(frames)
    rows.keypoints[9, FOUR[2]] = np.nan  # lacks one of its four points
    splits = {"train": np.array([0, 1, 2, 4, 6, 7, 8, 9]), "val": np.array([3]), "test": np.array([5])}
    splits["train"] = np.concatenate([splits["train"], [10, 11]])
    others = frames.take(np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))  # of person 5 the set has no picture
    found, counts = more_labels.add(rows, splits, others)
    given = np.flatnonzero((~np.isnan(found.keypoints).any(-1)).sum(axis=1) == 15)
    assert given.tolist() == [0, 1, 6, 7, 8]
    assert counts == {
        "rows": 5, "labels": 55, "persons": 3, "rows_left_out": 2, "persons_left_out": 2, "rows_that_do_not_fit": 1,
    }  # fmt: skip
    # The row's own four labels stay, by its own rule; eleven are new.
    np.testing.assert_array_equal(found.keypoints[:, FOUR], rows.keypoints[:, FOUR])
    rest = [k for k in range(15) if k not in FOUR]
    np.testing.assert_allclose(
        found.keypoints[given][:, rest], kaggle15_from_ibug68(frames.keypoints)[given][:, rest], atol=1e-3
    )
    assert "55 more labels on 5 training rows of 3 persons" in more_labels.in_words(counts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "kaggle", "--input", "x.zip", "--missing", "mean"], "goes with --missing none"),
        (["--source", "synthetic", "--missing", "none"], "--more-labels is for --source kaggle"),
    ],
)
def test_what_it_does_not_go_with(words, message, tmp_path, capsys):
    try:
        status = data_prep.main([*words, "--more-labels", str(tmp_path), "--output", str(tmp_path / "out")])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert message in capsys.readouterr().err
