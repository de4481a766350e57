"""Batch normalisation with its gradient in closed form: by hand, and beside Keras' own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.backend import import_keras

keras = import_keras()

from models.batch_norm import QuickBatchNormalization, normalised, quicken  # noqa: E402  (needs Keras' backend)
from models.registry import parse  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
FACE = np.random.default_rng(1).uniform(20, 76, (15, 2))


def test_values_and_gradient_by_hand():
    """1, 1, 3, 3: mean 2, deviation 1, so normalised -1, -1, 1, 1. The loss is the first output.

    Its gradient d is 1, 0, 0, 0, whose mean is 1/4, as is, negative, that of d times the normalised. The input's is
    gamma (d - 1/4 - normalised * -1/4) = 2 (1/2, -1/2, 0, 0); gamma's is -1, beta's 1.
    """
    x = np.array([[1], [1], [3], [3]], np.float32)
    inputs = keras.layers.Embedding(4, 1, embeddings_initializer=keras.initializers.Constant(x))
    gamma, beta = (
        keras.layers.Embedding(1, 1, embeddings_initializer=keras.initializers.Constant(v)) for v in (2, 0.5)
    )

    class Normalised(keras.layers.Layer):
        def call(self, x, gamma, beta):
            return normalised(x, gamma[0], beta[0], np.float32([2]), np.float32([1]))

    rows = keras.Input((), dtype="int32")
    network = keras.Model(rows, Normalised()(inputs(rows), gamma(rows * 0), beta(rows * 0)))
    assert keras.ops.convert_to_numpy(network(np.arange(4))).ravel().tolist() == [-1.5, -1.5, 2.5, 2.5]
    network.compile(keras.optimizers.SGD(1.0), lambda truth, found: found[0, 0], jit_compile=False)
    network.train_on_batch(np.arange(4), x)
    after = [keras.ops.convert_to_numpy(layer.embeddings).ravel() for layer in (inputs, gamma, beta)]
    np.testing.assert_allclose(after[0], [1 - 1, 1 + 1, 3, 3], atol=1e-6)
    assert [after[1].item(), after[2].item()] == pytest.approx([2 + 1, 0.5 - 1])


def small(seed: int = 0):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(5, 3),
            layers.BatchNormalization(momentum=0.8),
            layers.Activation("tanh"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    network.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    return network


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request):
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("trainable", [True, False])
def test_it_trains_as_keras_own_does(trainable, policy):
    rng = np.random.default_rng(0)
    images, labels = rng.normal(2, 3, (24, 8, 8, 3)).astype(np.float32), rng.normal(size=(24, 2)).astype(np.float32)
    plain, quick = small(), small()
    quicken(quick)
    assert isinstance(quick.layers[1], QuickBatchNormalization)
    for network in (plain, quick):
        network.layers[1].trainable = trainable
        network.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        network.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for expected, found in zip(plain.get_weights(), quick.get_weights(), strict=True):
        loose = policy != "float32"  # where numbers have 8 bits
        np.testing.assert_allclose(found, expected, rtol=2e-2 if loose else 2e-5, atol=2e-2 if loose else 2e-6)
    moved = np.abs(quick.layers[1].get_weights()[2]).max()  # the moving mean starts at 0
    assert (moved > 0.1) if trainable else (moved == 0)


def test_a_whole_network_answers_as_before():
    plain, quick = (parse("dsnt:size=tiny").build((96, 96), FACE) for _ in range(2))
    quick.set_weights(plain.get_weights())
    quicken(quick)
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96)).astype(np.uint8)
    np.testing.assert_array_equal(quick.predict_on_batch(images), plain.predict_on_batch(images))


def test_what_it_cannot_do_is_left_to_keras():
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((4, 4, 2)), layers.BatchNormalization(axis=1), layers.BatchNormalization(scale=False)]
    )
    quicken(network)
    assert [type(layer) for layer in network.layers] == 2 * [layers.BatchNormalization]


def test_a_training_has_it_and_what_is_saved_has_not(data):
    from data_prep.prepared import load
    from models import fitting
    from models.recipe import get_recipe

    prepared, recipe = load(data), get_recipe("quick").with_changes(epochs=1)
    face = np.array(prepared.manifest["mean_face"])
    faces = prepared.train, prepared.schema, face, recipe, 0, "float32"
    kinds = {type(layer) for layer in fitting.set_up(parse("v1"), *faces).network.layers}
    assert QuickBatchNormalization in kinds
    assert keras.layers.BatchNormalization not in kinds
    fitted = fitting.fit(parse("v1"), prepared.train, prepared.val, *faces[1:])
    kinds = {type(layer) for layer in fitted.network.layers}
    assert keras.layers.BatchNormalization in kinds
    assert QuickBatchNormalization not in kinds


def test_on_jax():
    """Gradient and values of the first test by another backend, which has to trace what is written here."""
    pytest.importorskip("jax", reason="JAX is not installed (requirements-dev.txt has it)")
    code = "import sys, pytest; sys.exit(pytest.main(['-q', '-k', 'by_hand or float32', 'tests/test_batch_norm.py']))"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[0] == "..."  # three tests, each passed
