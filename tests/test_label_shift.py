"""What label sources are off by, worked out by hand."""

import numpy as np

from models import apply, trainer
from models.label_shift import shifted, shifts
from models.runs import Predictions, read_run

NAN = np.nan
# Faces of sources 1, 2, 2; the last point of the second face is not labelled (its error is of a filled value).
ERROR = np.array([[[1, 0], [3, 2]], [[-1, -1], [50, 50]], [[-2, 0], [-3, 1]]], np.float32)
OBSERVED = np.array([[1, 1], [1, 0], [1, 1]], bool)


def predictions():
    rows = np.arange(3)
    return Predictions(rows, rows, np.array([1, 2, 2]), np.full((3, 2, 2), 40, np.float32), ERROR, OBSERVED)


def test_shifts_by_hand():
    found = shifts(predictions())
    assert {source: shift.tolist() for source, shift in found.items()} == {1: [-2, -1], 2: [2, 0]}


def test_shifted_predictions_are_off_by_nothing_on_average():
    moved = shifted(predictions(), {2: np.array([2, 0])})  # no shift is known of source 1
    np.testing.assert_array_equal(moved.predicted[:, 0], [[40, 40], [42, 40], [42, 40]])
    np.testing.assert_array_equal(moved.error[1:, 0], [[1, -1], [0, 0]])
    np.testing.assert_array_equal(moved.truth[0], predictions().truth[0])
    np.testing.assert_allclose(moved.truth[2], predictions().truth[2])  # the labels stay where they are
    assert shifts(moved)[2].tolist() == [0, 0]


def test_a_shifted_record(data, tmp_path):
    """Learned from validation faces, on which the mean error is then none."""
    run, words = tmp_path / "run", ["--data", str(data)]
    assert trainer.main("lenet5", [*words, "--epochs", "1", "--output", str(run)]) == 0
    assert apply.main(["--run", str(run), *words, "--shifted", "--output", str(tmp_path / "shifted")]) == 0
    before, after = read_run(run), read_run(tmp_path / "shifted")
    assert after.config["model"] == "lenet5 and shifted"
    by_source = after.config["label_shift"]
    assert sorted(by_source) == ["1", "2"]
    for source, shift in by_source.items():
        rows = before.test.sources == int(source)
        moved = after.test.predicted[rows] - before.test.predicted[rows]
        np.testing.assert_allclose(moved, np.broadcast_to(shift, moved.shape), atol=0.1)
