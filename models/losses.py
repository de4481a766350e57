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


@keras.saving.register_keras_serializable(package="keypoints")
class MaskedMAE(keras.metrics.Metric):
    """Mean absolute error in pixels, pooled over all labelled coordinates of an epoch."""

    def __init__(self, name="mae", **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_weight(name="total", initializer="zeros", dtype="float32")
        self.count = self.add_weight(name="count", initializer="zeros", dtype="float32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        difference, labelled = _masked_difference(y_true, y_pred)
        self.total.assign_add(ops.sum(ops.abs(difference)))
        self.count.assign_add(ops.sum(labelled))

    def result(self):
        return self.total / ops.maximum(self.count, 1.0)
