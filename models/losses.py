"""Losses and metrics over labelled points only. Labels [B, K, 2] in pixels, NaN where there is none."""

import keras
from keras import ops


def _masked_difference(y_true, y_pred):
    """Difference with zeros where unlabelled, and the mask, both [B, K, 2].

    The label is replaced before it is subtracted: `where(isnan(t), 0, (p - t) ** 2)` has a finite value and a
    NaN gradient, since the gradient of the branch not taken is 0 * NaN.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    labelled = ops.logical_not(ops.isnan(y_true))
    return y_pred - ops.where(labelled, y_true, y_pred), ops.cast(labelled, "float32")


def masked_mse(y_true, y_pred):
    """Mean squared error in px^2 over the labelled coordinates of a batch; 0 where none is labelled."""
    difference, labelled = _masked_difference(y_true, y_pred)
    return ops.sum(difference**2) / ops.maximum(ops.sum(labelled), 1.0)


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
