"""Scores against values worked out on paper and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error

from evaluation import metrics

NAN = float("nan")

# Two faces, two points. Distances by the 3-4-5 and 6-8-10 triangles: 5, unlabelled; 0, 10.
ERRORS = np.array([[[3.0, 4.0], [NAN, NAN]], [[0.0, 0.0], [-6.0, 8.0]]])

SCALARS = (metrics.mae_px, metrics.rmse_px, metrics.mean_distance_px, metrics.median_distance_px)


def test_errors_by_hand():
    # (3 + 4 + 0 + 0 + 6 + 8) / 6 coordinates
    assert metrics.mae_px(ERRORS) == pytest.approx(21 / 6)
    # (9 + 16 + 0 + 0 + 36 + 64) / 6 = 125 / 6
    assert metrics.rmse_px(ERRORS) == pytest.approx((125 / 6) ** 0.5)
    # (5 + 0 + 10) / 3 points, the middle one of 0, 5, 10
    assert metrics.mean_distance_px(ERRORS) == pytest.approx(5)
    assert metrics.median_distance_px(ERRORS) == 5
    assert metrics.count_points(ERRORS) == 3


def test_distances_keep_the_place_of_unlabelled_points():
    np.testing.assert_array_equal(metrics.distances_px(ERRORS), [[5, NAN], [0, 10]])


def test_within_counts_the_limit_itself():
    assert metrics.within_px(ERRORS, 4.99) == pytest.approx(100 / 3)  # the point at 0
    assert metrics.within_px(ERRORS, 5) == pytest.approx(200 / 3)
    assert metrics.within_px(ERRORS, 10) == 100


def test_within_is_measured_at_96():
    # 10 px in an image of 192 are 5 px at 96; width and height scale apart: (6, 8) at 48x192 is (3, 16).
    assert metrics.within_px(ERRORS, 5, image_size=(192, 192)) == 100
    wide = metrics.scaled_to_reference(np.array([6.0, 8.0]), image_size=(48, 192))
    np.testing.assert_allclose(wide, [3, 16])


def test_cumulative_error_by_hand():
    np.testing.assert_allclose(metrics.cumulative_error(ERRORS, [0, 5, 9, 10]), [100 / 3, 200 / 3, 200 / 3, 100])


def test_face_errors_are_means_over_labelled_points():
    # Face 0 has one labelled point at 5, face 1 has 0 and 10, face 2 has none.
    errors = np.concatenate([ERRORS, np.full((1, 2, 2), NAN)])
    np.testing.assert_array_equal(metrics.face_errors_px(errors), [5, 5, NAN])


def test_bias_and_spread_by_hand():
    bias, spread = metrics.bias_and_spread_px(np.concatenate([ERRORS, np.full((2, 1, 2), NAN)], axis=1))
    # Point 0: x of 3 and 0 has mean 1.5 and deviation 1.5; y of 4 and 0 has 2 and 2. Point 1: one label.
    np.testing.assert_array_equal(bias, [[1.5, 2], [-6, 8], [NAN, NAN]])
    np.testing.assert_array_equal(spread, [[1.5, 2], [0, 0], [NAN, NAN]])


def test_agrees_with_scikit_learn_on_labelled_coordinates():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 96, (40, 15, 2))
    truth[rng.random((40, 15)) < 0.4] = NAN
    predicted = rng.uniform(0, 96, (40, 15, 2))
    errors = metrics.keypoint_errors(predicted, truth)
    labelled = ~np.isnan(truth)
    assert metrics.mae_px(errors) == pytest.approx(mean_absolute_error(truth[labelled], predicted[labelled]))
    mse = mean_squared_error(truth[labelled], predicted[labelled])
    assert metrics.rmse_px(errors) == pytest.approx(mse**0.5)


@pytest.mark.parametrize("score", SCALARS)
@pytest.mark.parametrize("shape", [(3, 2, 2), (0, 15, 2)])
def test_nothing_labelled_is_nan_and_not_perfect(score, shape):
    assert np.isnan(score(np.full(shape, NAN)))
    assert np.isnan(metrics.within_px(np.full(shape, NAN), 5))


@pytest.mark.parametrize("score", SCALARS)
def test_half_a_label_counts_for_nothing(score):
    half = ERRORS.copy()
    half[1, 1, 0] = NAN  # y alone is left of the point at distance 10
    without = ERRORS.copy()
    without[1, 1] = NAN
    assert score(half) == score(without)


@pytest.mark.parametrize("score", SCALARS)
def test_float32_input_is_summed_in_float64(score):
    # 2^24 + 1 is not a float32: summing many equal values in float32 would drift.
    errors = np.full((20_000, 15, 2), 0.1, dtype=np.float32)
    one = np.full((1, 1, 2), np.float32(0.1))
    assert score(errors) == pytest.approx(score(one), rel=1e-12)


def test_shapes_must_be_equal():
    # [1, 2, 2] - [3, 2, 2] would broadcast without complaint.
    with pytest.raises(ValueError, match=r"\(1, 2, 2\) and \(3, 2, 2\)"):
        metrics.keypoint_errors(np.zeros((1, 2, 2)), np.zeros((3, 2, 2)))


def test_failed_predictions_are_refused_where_they_count():
    predicted = np.array([[[1.0, 2.0], [NAN, NAN]]])
    truth = np.array([[[1.0, 1.0], [NAN, NAN]]])
    np.testing.assert_array_equal(metrics.keypoint_errors(predicted, truth), [[[0, 1], [NAN, NAN]]])
    with pytest.raises(ValueError, match="finite"):
        metrics.keypoint_errors(predicted[:, ::-1], truth)
