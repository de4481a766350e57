"""Losses over labelled points only, against values worked out by hand."""

import math

import numpy as np
import pytest

from models.backend import import_keras

keras = import_keras()

from models.losses import (  # noqa: E402  (needs Keras' backend set up first)
    MaskedMAE,
    MaskedMSE,
    get_loss,
    masked_l1,
    masked_mse,
    masked_shape,
    masked_smooth_l1,
    masked_wing,
)

NAN = np.nan
# Two faces, two points. Labelled: three points with the differences (1, -2), (3, 0) and (0, 4).
TRUTH = np.array([[[10, 10], [20, 20]], [[NAN, NAN], [40, 40]]], dtype=np.float32)
PREDICTED = np.array([[[11, 8], [23, 20]], [[7, 7], [40, 44]]], dtype=np.float32)


def test_mse_by_hand():
    # (1 + 4 + 9 + 0 + 0 + 16) / 6 labelled coordinates
    assert float(masked_mse(TRUTH, PREDICTED)) == pytest.approx(30 / 6)


def test_mse_of_complete_labels_is_the_common_one():
    truth = np.nan_to_num(TRUTH)
    assert float(masked_mse(truth, PREDICTED)) == pytest.approx(float(np.mean((truth - PREDICTED) ** 2)))


@pytest.mark.parametrize("loss", [masked_mse, masked_smooth_l1(2.0), masked_l1, masked_wing(2, 1)])
def test_nothing_labelled_costs_nothing(loss):
    assert float(loss(np.full_like(TRUTH, NAN), PREDICTED)) == 0
    maps = np.full((2, 2, 5), 1 / 3, np.float32)
    assert float(masked_shape(np.eye(3, 2, dtype=np.float32), 1.0)(np.full_like(TRUTH, NAN), maps)) == 0


def test_smooth_l1_by_hand():
    # Sizes 1, 2, 3, 0, 0, 4 with the transition at 2 px: 1/4 and 4/4 by the square, 3 - 1, 0, 0 and 4 - 1.
    assert float(masked_smooth_l1(2.0)(TRUTH, PREDICTED)) == pytest.approx((0.25 + 1 + 2 + 3) / 6)


def test_l1_by_hand():
    assert float(get_loss("l1", 96)(TRUTH, PREDICTED)) == pytest.approx((1 + 2 + 3 + 0 + 0 + 4) / 6)


def test_wing_by_hand():
    # Width 3, curvature 1: 3 ln(1 + d) for sizes 1, 2, 0, 0; above, d - (3 - 3 ln 4), which at d = 3 is 3 ln 4 too.
    c = 3 - 3 * math.log(4)
    expected = (3 * math.log(2) + 3 * math.log(3) + (3 - c) + (4 - c)) / 6
    assert float(masked_wing(3.0, 1.0)(TRUTH, PREDICTED)) == pytest.approx(expected, rel=1e-6)
    # As published, at 256 px: width 10, curvature 2; an error of 2 px costs 10 ln 2.
    truth, predicted = np.zeros((1, 1, 2), np.float32), np.full((1, 1, 2), 2, np.float32)
    assert float(get_loss("wing", 256)(truth, predicted)) == pytest.approx(10 * math.log(2), rel=1e-6)


def test_the_coordinates_are_all_that_other_losses_see():
    with_maps = np.concatenate([PREDICTED, np.full((2, 2, 4), 99, np.float32)], axis=-1)
    for loss in (masked_mse, masked_l1):
        assert float(loss(TRUTH, with_maps)) == float(loss(TRUTH, PREDICTED))


def test_shape_by_hand():
    """Cells at x = 0, 2 and 4, a sigma of 2: about a label at 2 the weights are e^-1/2, 1, e^-1/2."""
    places = np.array([[0, 0], [2, 0], [4, 0]], np.float32)
    side = math.exp(-0.5) / (1 + 2 * math.exp(-0.5))
    gaussian, elsewhere = [side, 1 - 2 * side, side], [1, 0, 0]
    truth = np.array([[[2, 0], [2, 0], [NAN, 7]]], np.float32)  # the third is unlabelled: half a label is none

    def loss(first, second):
        maps = [[9, 9, *first], [9, 9, *second], [9, 9, 0.2, 0.2, 0.6]]
        return float(masked_shape(places, 2.0)(truth, np.array([maps], np.float32)))

    assert loss(gaussian, gaussian) == pytest.approx(0, abs=1e-6)
    # Half the divergence of each from the mean of both; p ln p / m of [1, 0, 0] is ln 2 / (1 + side).
    mean = [(1 + side) / 2, (1 - 2 * side) / 2, side / 2]
    wanted = sum(p * math.log(p / m) for p, m in zip(gaussian, mean, strict=True))
    expected = (wanted + math.log(1 / mean[0])) / 2
    assert loss(elsewhere, elsewhere) == pytest.approx(expected, rel=1e-5)
    assert loss(elsewhere, gaussian) == pytest.approx(expected / 2, rel=1e-5)  # the mean over two labelled points
    # Far from every cell, where plain exponentials would underflow to 0 / 0.
    truth[0, 0] = 500, 500
    assert 0 < loss(elsewhere, gaussian) <= math.log(2)


def test_smooth_l1_is_that_of_the_68_point_projects():
    """PyTorch's SmoothL1Loss of (p - 100) / 50 at 224x224: 0.5 z^2 below 1, z - 0.5 above; 50 px to the unit."""
    truth, predicted = np.full((1, 1, 2), 100, np.float32), np.array([[[125, 200]]], np.float32)  # z = 0.5 and 2
    scaled = (0.5 * 0.5**2 + (2 - 0.5)) / 2
    assert float(get_loss("smooth_l1", 224)(truth, predicted)) == pytest.approx(50 * scaled)


def test_gradients_are_finite_and_zero_where_unlabelled():
    # By hand: d/dp = 2 (p - t) / 6 on labelled coordinates, 0 elsewhere.
    layer = keras.layers.Dense(4, use_bias=False, kernel_initializer="zeros")
    network = keras.Sequential([keras.Input((1,)), layer, keras.layers.Reshape((2, 2))])
    network.compile(optimizer=keras.optimizers.SGD(1.0), loss=masked_mse, jit_compile=False)
    network.train_on_batch(np.ones((1, 1), np.float32), np.array([[[3, NAN], [NAN, NAN]]], np.float32))
    step = keras.ops.convert_to_numpy(layer.kernel)[0]
    # One coordinate is labelled: 2 (0 - 3) / 1 = -6, so one step of rate 1 goes to +6.
    np.testing.assert_allclose(step, [6, 0, 0, 0], atol=1e-6)


def test_mae_pools_over_batches():
    metric = MaskedMAE()
    metric.update_state(TRUTH[:1], PREDICTED[:1])  # 1 + 2 + 3 + 0 over 4 coordinates
    metric.update_state(TRUTH[1:], PREDICTED[1:])  # 0 + 4 over 2
    assert float(metric.result()) == pytest.approx(10 / 6)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_pooled_mse_is_the_mean_over_points_not_over_batches():
    metric = MaskedMSE()
    metric.update_state(TRUTH[:1], PREDICTED[:1])  # 1 + 4 + 9 + 0 over 4 coordinates: 3.5
    metric.update_state(TRUTH[1:], PREDICTED[1:])  # 0 + 16 over 2: 8
    assert float(metric.result()) == pytest.approx(30 / 6)  # not (3.5 + 8) / 2
