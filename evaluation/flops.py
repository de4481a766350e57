"""Floating-point operations of a network per image, counted from its layers.

Counted: the multiply-adds of convolutions and dense layers, two operations each. Left out, as is usual: biases,
activations, pooling, normalisation; in the networks here they are below 2 %, though not of the time.
"""

import math

from data_prep.faceset import DataError

# Backward, a layer makes one product for the gradient of its input and one for that of its weights, each as large
# as the forward one. (The first layer needs no gradient of its input; counted all the same, as everyone does.)
TRAINING_OVER_FORWARD = 3


def forward_flops(network) -> int:
    """Operations of one forward pass for one image through a built Keras model, models inside it included.

    Raises DataError for a layer that has a kernel and no rule here, rather than count it as free.
    """
    import keras

    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            total += forward_flops(layer)
        else:
            total += 2 * _multiply_adds(layer, keras.layers)
    return total


def _multiply_adds(layer, layers) -> int:
    """Every weight of a kernel is used once per position: of the output map, or of the input for a transposed one."""
    kernels = [w for w in layer.weights if "kernel" in w.name]
    weights = sum(math.prod(w.shape) for w in kernels)
    if not kernels:
        return 0
    if isinstance(layer, layers.Conv2DTranspose):
        return weights * _positions(layer, layer.input.shape)
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
        return weights * _positions(layer, layer.output.shape)
    if isinstance(layer, layers.Dense):
        return weights * math.prod(layer.output.shape[1:-1])
    raise DataError(f"no rule in evaluation/flops.py for layer {layer.name!r} ({type(layer).__name__})")


def _positions(layer, shape) -> int:
    """Height x width of a map [B, H, W, C], or [B, C, H, W] where the layer says so."""
    return math.prod(shape[1:3] if layer.data_format == "channels_last" else shape[2:4])
