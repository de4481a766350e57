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
        """As Keras' own, but iterated on the Gram matrix of the shorter side: fewer and smaller products.

        X_k = X P_k for a polynomial P_k of the Gram matrix G of X, and so G_k = P_k G P_k.
        """
        matrix = _matrix(x)
        matrix = matrix / (ops.norm(matrix) + 1e-7)
        tall = matrix.shape[0] >= matrix.shape[1]
        turned = ops.transpose(matrix)
        gram = turned @ matrix if tall else matrix @ turned
        unit = ops.eye(gram.shape[0], dtype=gram.dtype)
        product = unit
        for _ in range(steps):
            factor = self.muon_a * unit + self.muon_b * gram + self.muon_c * gram @ gram
            product, gram = factor @ product, factor @ gram @ factor
        return ops.reshape(matrix @ product if tall else product @ matrix, x.shape)

    def lr_adjust(self, x):
        return ops.reshape(super().lr_adjust(_matrix(x)), x.shape)


def _matrix(kernel):
    return ops.reshape(kernel, (-1, kernel.shape[-1]))
