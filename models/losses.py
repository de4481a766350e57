"""Losses and metrics over labelled points only. Labels [B, K, 2] in pixels, NaN where there is none.

Predictions are [B, K, 2] or, where a network's maps are trained too, [B, K, 2 + cells] (`layers.with_maps`): what
follows the coordinates matters to `masked_shape` alone.
"""

import math

import keras
from keras import ops


def _masked_difference(y_true, y_pred):
    """Difference with zeros where unlabelled, and the mask, both [B, K, 2].

    The label is replaced before it is subtracted: `where(isnan(t), 0, (p - t) ** 2)` has a finite value and a
    NaN gradient, since the gradient of the branch not taken is 0 * NaN.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred[..., :2], "float32")
    labelled = ops.logical_not(ops.isnan(y_true))
    return y_pred - ops.where(labelled, y_true, y_pred), ops.cast(labelled, "float32")


def masked_mse(y_true, y_pred):
    """Mean squared error in px^2 over the labelled coordinates of a batch; 0 where none is labelled."""
    difference, labelled = _masked_difference(y_true, y_pred)
    return ops.sum(difference**2) / ops.maximum(ops.sum(labelled), 1.0)


def masked_smooth_l1(transition_px: float):
    """Smooth L1 (Girshick 2015, arXiv 1504.08083) in px over the labelled coordinates of a batch; 0 where none is.

    d^2 / (2 t) for a difference d below the transition t, |d| - t / 2 above it.
    """

    def smooth_l1(y_true, y_pred):
        difference, labelled = _masked_difference(y_true, y_pred)
        size = ops.abs(difference)
        quadratic = size**2 / (2 * transition_px)
        values = ops.where(size < transition_px, quadratic, size - transition_px / 2)
        return ops.sum(values) / ops.maximum(ops.sum(labelled), 1.0)

    return smooth_l1


def masked_l1(y_true, y_pred):
    """Mean absolute error in px over the labelled coordinates of a batch; 0 where none is labelled."""
    difference, labelled = _masked_difference(y_true, y_pred)
    return ops.sum(ops.abs(difference)) / ops.maximum(ops.sum(labelled), 1.0)


def masked_wing(width_px: float, curvature_px: float):
    """Wing loss (Feng et al. 2018, arXiv 1711.06753) over the labelled coordinates of a batch; 0 where none is.

    w ln(1 + |d| / e) below the width w, |d| - c above it, where c makes both meet: errors of some pixels weigh more
    than under L1, outliers no more.
    """
    offset = width_px - width_px * math.log(1 + width_px / curvature_px)

    def wing(y_true, y_pred):
        difference, labelled = _masked_difference(y_true, y_pred)
        size = ops.abs(difference)
        values = ops.where(size < width_px, width_px * ops.log1p(size / curvature_px), size - offset)
        return ops.sum(values) / ops.maximum(ops.sum(labelled), 1.0)

    return wing


def masked_shape(places, sigma_px: float):
    """How far maps are from a Gaussian about the label, over labelled points: Jensen-Shannon divergence, 0 to ln 2.

    Nibali et al. 2018 (arXiv 1801.07372), equation 8 and section 4.3, where it does best with a sigma of one cell.
    places: float [cells, 2], the cells' centres in pixels. Predictions are [B, K, 2 + cells]. 0 where no point is
    labelled.
    """
    tiny = 1e-12  # 0 ln 0 is 0
    half_squares = (places**2).sum(axis=-1) / 2

    def entropy(p):
        return -ops.sum(p * ops.log(p + tiny), axis=-1)

    def shape(y_true, y_pred):
        labelled = ops.logical_not(ops.any(ops.isnan(y_true), axis=-1))  # [B, K]
        label = ops.where(labelled[..., None], ops.cast(y_true, "float32"), 0.0)
        # -|label - place|^2 / 2 without |label|^2 / 2, which a softmax does not see
        log_wanted = ops.log_softmax((ops.matmul(label, places.T) - half_squares) / sigma_px**2, axis=-1)
        wanted = ops.exp(log_wanted)
        drawn = y_pred[..., 2:]
        of_wanted = -ops.sum(wanted * log_wanted, axis=-1)
        found = entropy((wanted + drawn) / 2) - (of_wanted + entropy(drawn)) / 2
        labelled = ops.cast(labelled, "float32")
        return ops.sum(found * labelled) / ops.maximum(ops.sum(labelled), 1.0)

    return shape


def get_loss(name: str, image_width: int):
    """The loss of a recipe, `(labels, predictions) -> scalar`, for images that many pixels wide.

    `smooth_l1` has its transition at 50 px of a 224 px image, as in the 68-point projects, whose targets are
    (p - 100) / 50 there and whose loss has it at 1. `wing` has its authors' width and curvature, 10 and 2 px of 256.
    """
    if name == "smooth_l1":
        return masked_smooth_l1(image_width * 50 / 224)
    if name == "wing":
        return masked_wing(image_width * 10 / 256, image_width * 2 / 256)
    return {"mse": masked_mse, "l1": masked_l1}[name]


class _Pooled(keras.metrics.Metric):
    """A mean over all labelled coordinates of an epoch, whatever batches they came in."""

    def __init__(self, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_weight(name="total", initializer="zeros", dtype="float32")
        self.count = self.add_weight(name="count", initializer="zeros", dtype="float32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        difference, labelled = _masked_difference(y_true, y_pred)
        self.total.assign_add(ops.sum(self.of(difference)))
        self.count.assign_add(ops.sum(labelled))

    def result(self):
        return self.total / ops.maximum(self.count, 1.0)


@keras.saving.register_keras_serializable(package="keypoints")
class MaskedMAE(_Pooled):
    """Mean absolute error in pixels."""

    def __init__(self, name="mae", **kwargs):
        super().__init__(name=name, **kwargs)

    def of(self, difference):
        return ops.abs(difference)


@keras.saving.register_keras_serializable(package="keypoints")
class MaskedMSE(_Pooled):
    """Mean squared error in px^2: the loss, exactly.

    What Keras reports as `loss` is the mean of the batches' losses, weighted by faces; where batches differ in
    how many points are labelled, that is not the mean over points. Early stopping therefore watches this.
    """

    def __init__(self, name="mse", **kwargs):
        super().__init__(name=name, **kwargs)

    def of(self, difference):
        return difference**2
