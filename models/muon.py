"""Muon for convolutions: steps along the nearest semi-orthogonal matrix to the momentum, for every kernel.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024
(https://kellerjordan.github.io/posts/muon), which flattens a kernel to a matrix of what it reads by what it writes;
the length of its steps after Liu et al. 2025 (arXiv 2502.16982), so that AdamW's rate and decay serve. Keras' own Muon
takes two-dimensional weights alone. Biases, normalisation and the layers named to it learn by AdamW.
"""

import re

import keras
from keras import ops


class ConvMuon(keras.optimizers.Muon):
    """`keras.optimizers.Muon` whose kernels [h, w, in, out] learn as matrices [h * w * in, out]."""

    def _should_use_adamw(self, variable) -> bool:
        return len(variable.shape) < 2 or any(re.search(name, variable.path) for name in self.exclude_layers)

    def zeropower_via_newtonschulz5(self, x, steps: int):
        return ops.reshape(super().zeropower_via_newtonschulz5(_matrix(x), steps), x.shape)

    def lr_adjust(self, x):
        return ops.reshape(super().lr_adjust(_matrix(x)), x.shape)


def _matrix(kernel):
    return ops.reshape(kernel, (-1, kernel.shape[-1]))
