"""Scores against values worked out on paper and against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.stats import ecdf
from sklearn.metrics import auc, mean_absolute_error, root_mean_squared_error
from sklearn.metrics.pairwise import paired_distances

from data_prep.schema import IBUG68, KAGGLE15
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


def test_losses_on_the_original_targets_by_hand():
    # 50 px at 224 are 1 on the targets, and 50 * 96 / 224 = 150 / 7 px at 96. Errors of 0.5, 0, 1 and 3 of these:
    # Smooth L1: 0.5^2 / 2 = 0.125, 0, 1 - 0.5 and 3 - 0.5; squares: 0.25, 0, 1, 9.
    errors = np.array([[[0.5, 0], [NAN, NAN]], [[-1, 3], [NAN, 7]]]) * 150 / 7
    assert metrics.smooth_l1_224(errors) == pytest.approx((0.125 + 0 + 0.5 + 2.5) / 4)
    assert metrics.mse_224(errors) == pytest.approx((0.25 + 0 + 1 + 9) / 4)
    assert np.isnan(metrics.smooth_l1_224(np.full((2, 2, 2), NAN)))


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
    assert metrics.rmse_px(errors) == pytest.approx(root_mean_squared_error(truth[labelled], predicted[labelled]))


# --- scores of faces


def test_normalised_mean_error_by_hand():
    # Mean distances of `ERRORS`: 5 and (0 + 10) / 2. Over eyes 50 and 100 apart: 10 % and 5 %.
    np.testing.assert_allclose(metrics.face_nme_pct(ERRORS, np.array([50.0, 100.0])), [10, 5])
    assert metrics.nme_pct(np.array([10.0, 5.0])) == 7.5


def test_a_face_weighs_the_same_however_many_labels_it_has():
    # One point at 20, and two at 0 and 10: faces give (20 + 5) / 2, points would give 30 / 3.
    errors = ERRORS.copy()
    errors[0, 0] = (12, 16)
    assert metrics.nme_pct(metrics.face_nme_pct(errors, np.array([100.0, 100.0]))) == 12.5


def test_faces_without_label_eyes_or_distance_do_not_count():
    errors = np.concatenate([ERRORS, ERRORS[:1], ERRORS[:1], ERRORS[:1], np.full((1, 2, 2), NAN)])
    # Eyes unlabelled; at one place; 0.02 px apart, as rounding in a record leaves it; and a face without a label.
    face_nme = metrics.face_nme_pct(errors, np.array([50.0, 100.0, NAN, 0.0, 0.02, 40.0]))
    np.testing.assert_array_equal(face_nme, [10, 5, NAN, NAN, NAN, NAN])
    assert metrics.count_faces(face_nme) == 2
    assert metrics.nme_pct(face_nme) == 7.5


def test_failures_are_faces_above_the_limit():
    face_nme = np.array([5, 8, 9, 10, 12, NAN])
    assert metrics.failure_rate_pct(face_nme, 8) == 60  # 9, 10 and 12 of five
    assert metrics.failure_rate_pct(face_nme, 10) == 20


def test_area_under_the_curve_by_hand():
    # Steps of a quarter at 0, 2.5, 10 and 20: the curve is 1/4 up to 2.5 and 2/4 up to 10, then ends.
    # (2.5 / 4 + 7.5 / 2) / 10 = 0.4375
    assert metrics.area_under_curve_pct(np.array([0, 2.5, 10, 20, NAN]), 10) == 43.75
    assert metrics.area_under_curve_pct(np.zeros(3), 10) == 100
    assert metrics.area_under_curve_pct(np.full(3, 10.1), 10) == 0


@pytest.mark.parametrize(("schema", "ends"), [(KAGGLE15, (0, 1)), (IBUG68, (45, 36))], ids=("15", "68"))
def test_scores_of_faces_agree_with_scikit_learn_and_scipy(schema, ends):
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 96, (200, len(schema), 2))
    predicted = truth + rng.normal(0, 4, truth.shape)
    face_nme = metrics.face_nme_pct(predicted - truth, schema.eye_distance(truth))
    # Eye centres of the 15 points; outer eye corners of the 68, which iBUG counts 37 and 46.
    left, right = ends
    expected = [
        100 * paired_distances(p, t).mean() / np.linalg.norm(t[left] - t[right])
        for p, t in zip(predicted, truth, strict=True)
    ]
    np.testing.assert_allclose(face_nme, expected)
    curve = ecdf(np.array(expected)).cdf
    for limit in (8, 10):
        assert 0 < metrics.failure_rate_pct(face_nme, limit) < 100
        assert metrics.failure_rate_pct(face_nme, limit) == pytest.approx(100 * (1 - curve.evaluate(limit)))
    fine = np.linspace(0, 10, 200_001)
    assert metrics.area_under_curve_pct(face_nme, 10) == pytest.approx(
        100 * auc(fine, curve.evaluate(fine)) / 10, abs=1e-3
    )


def test_variation_by_hand():
    # Point 0 at (0, 0) and (6, 8): (3, 4) either side of its mean. Point 1 once: no way from its mean.
    points = np.array([[[0.0, 0.0], [7.0, 7.0]], [[6.0, 8.0], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]])
    # (9 + 16 + 9 + 16 + 0 + 0) / 6 coordinates
    assert metrics.variation_px(points) == pytest.approx((50 / 6) ** 0.5)
    assert np.isnan(metrics.variation_px(np.full((3, 2, 2), NAN)))


@pytest.mark.parametrize("faces", [0, 3])
def test_no_face_that_counts_is_nan_and_not_perfect(faces):
    face_nme = metrics.face_nme_pct(np.full((faces, 2, 2), NAN), np.full(faces, 40.0))
    assert metrics.count_faces(face_nme) == 0
    assert np.isnan([metrics.nme_pct(face_nme), metrics.failure_rate_pct(face_nme, 8)]).all()
    assert np.isnan(metrics.area_under_curve_pct(face_nme, 10))


# --- nothing labelled, half a label, precision


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
