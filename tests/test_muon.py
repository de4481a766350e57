"""Muon for convolutions: what it does to a kernel, and what it leaves to AdamW."""

import numpy as np
import pytest

from models.backend import import_keras

keras = import_keras()

from models.fitting import compile_network  # noqa: E402  (needs Keras' backend set up first)
from models.losses import masked_mse  # noqa: E402
from models.muon import ConvMuon  # noqa: E402


def steps(shape, name="kernel", **settings):
    """What one step of rate 1 adds to a weight of zeros whose gradient is random."""
    weight = keras.Variable(np.zeros(shape, np.float32), name=name)
    gradient = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ConvMuon(1.0, weight_decay=0.0, adam_weight_decay=0.0, **settings).apply([gradient], [weight])
    return np.asarray(weight), gradient


@pytest.mark.parametrize("shape", [(3, 3, 8, 6), (1, 1, 4, 16), (20, 5)])
def test_a_kernels_step_is_nearly_orthogonal(shape):
    """Against singular values of all sizes in the gradient: those of its step are about 0.2 times the root of the
    longer side (Liu et al. 2025), as far as five Newton-Schulz steps take them (0.7 to 1.2: Jordan et al. 2024)."""
    step, gradient = (array.reshape(-1, shape[-1]) for array in steps(shape))
    found = np.linalg.svd(step, compute_uv=False) / (0.2 * np.sqrt(max(step.shape)))
    assert ((found > 0.6) & (found < 1.3)).all()
    assert np.ptp(np.linalg.svd(gradient, compute_uv=False)) > 1  # which the gradient itself is not
    # Against the gradient, along its own directions: U V^T of its decomposition.
    u, _, v = np.linalg.svd(gradient, full_matrices=False)
    cosine = -(step * (u @ v)).sum() / np.linalg.norm(step) / np.linalg.norm(u @ v)
    assert cosine > 0.95


@pytest.mark.parametrize(("shape", "name"), [((16,), "gamma"), ((1, 1, 4, 8), "maps")])
def test_the_rest_learns_by_adam(shape, name):
    step, gradient = steps(shape, name, exclude_layers=["maps"])
    np.testing.assert_allclose(step, -np.sign(gradient), rtol=1e-3)  # Adam's first step has the size of the rate


def test_a_network_learns_by_it():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(2)]
    )
    compile_network(keras, network, masked_mse, 1e-2, "muon", weight_decay=0.02)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(32, 8, 8, 1)).astype(np.float32)
    truth = images[:, 2:4, 2, 0]
    losses = [network.train_on_batch(images, truth)[0] for _ in range(40)]
    assert losses[-1] < losses[0] / 4
