"""Rounded records: exact to half a step, below their size, and readable beside older ones."""

import numpy as np
import pytest

from models import runs
from models.packing import ABSENT, LARGEST, pack, unpack
from models.runs import Predictions, read_run, write_record

NAN = np.nan
CONFIG = {"schema": "ibug68", "run": "a"}
HISTORY = {"epoch": [1], "loss": [1.0]}


def test_packing_by_hand():
    # Steps of 0.5: 2 and 6; 3 and 4. From point to point 2, +4; 3, +1. From face to face 2, 4; +1, -3.
    # Folded (2n, or -2n - 1 below 0): 4, 8; 2, 5.
    packed = pack(np.array([[[1.0], [3.0]], [[1.6], [2.0]]]), 0.5)
    assert packed[0].ravel().tolist() == [4, 8, 2, 5]
    assert not packed[1].any()  # high bytes
    assert unpack(packed, 0.5).ravel().tolist() == [1.0, 3.0, 1.5, 2.0]


@pytest.mark.parametrize("step", [1 / 64, 0.1, 1.0])
def test_unpacking_gives_the_points_to_half_a_step(step):
    points = np.random.default_rng(0).normal(0, 30, (50, 68, 2)).astype(np.float32)
    points[::7, 3:9] = NAN
    points[1, 1] = (LARGEST * step, -LARGEST * step)  # the differences around it wrap
    found = unpack(pack(points, step), step)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), np.isnan(points))
    np.testing.assert_allclose(found, points, atol=step / 2 * 1.001)


def test_what_does_not_fit_is_refused():
    with pytest.raises(OverflowError, match="32768 steps of 1 px"):
        pack(np.full((1, 1, 2), float(-ABSENT.astype(int))), 1)


def some(faces: int, spread: float, seed: int = 0) -> Predictions:
    """Predictions that no compression makes smaller: independent noise."""
    rng = np.random.default_rng(seed)
    error = rng.normal(0, spread, (faces, 68, 2)).astype(np.float32)
    observed = np.ones((faces, 68), bool)
    observed[0, 0], error[0, 0] = False, NAN
    predicted = rng.normal(48, 10, (faces, 68, 2)).astype(np.float32)
    return Predictions(np.arange(faces), np.arange(faces), np.zeros(faces, int), predicted, error, observed)


@pytest.mark.parametrize(
    ("faces", "step"),
    [
        (20, 1 / 64),  # as fine as it goes
        # 217,600 numbers of noise, each a bit less for each doubling; 7 bits each are 190 kB
        (400, 1 / 4),
    ],
)
def test_a_record_is_as_fine_as_its_size_allows(tmp_path, faces, step):
    val, test = some(faces, 2.0), some(faces, 2.0, seed=1)
    write_record(tmp_path, CONFIG, HISTORY, val=val, test=test)
    assert (tmp_path / "predictions.npz").stat().st_size <= runs.MOST_BYTES
    found = read_run(tmp_path)
    assert found.test.step == found.val.step == pytest.approx(step)
    np.testing.assert_allclose(found.test.error, test.error, atol=0.501 * step)
    np.testing.assert_allclose(found.test.predicted, test.predicted, atol=4 * 0.501 * step)
    np.testing.assert_array_equal(found.val.observed, val.observed)
    assert np.isnan(found.test.truth[0, 0]).all()


def test_a_network_that_has_diverged_keeps_its_record(tmp_path):
    write_record(tmp_path, CONFIG, HISTORY, val=some(5, 1e6), test=some(5, 1e6))
    # 4 million px are at most 32,767 steps from 128 px on.
    assert 64 <= read_run(tmp_path).test.step <= 256


def test_an_older_record_is_read_as_before(tmp_path):
    val, test = some(3, 2.0), some(4, 2.0)
    write_record(tmp_path, CONFIG, HISTORY, val=val, test=test)
    half = {
        f"{split}_{name}": array.astype(np.float16) if array.dtype == np.float32 else array
        for split, part in (("val", val), ("test", test))
        for name in runs.ARRAYS
        for array in [getattr(part, name)]
    }
    np.savez_compressed(tmp_path / "predictions.npz", **half)
    found = read_run(tmp_path).test
    assert found.step == 0
    np.testing.assert_array_equal(found.error, test.error.astype(np.float16).astype(np.float32))
