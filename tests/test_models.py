"""What every network of the registry must do. A network that is added is tested by being there."""

import os
import subprocess
import sys

import numpy as np
import pytest

from data_prep.faceset import DataError
from data_prep.schema import IBUG68, KAGGLE15
from models import registry
from models.backend import import_keras

keras = import_keras()

SIZE = (96, 96)


def mean_face(points: int) -> np.ndarray:
    """Any plausible mean face: points spread over the middle of the image."""
    return np.random.default_rng(points).uniform(25, 70, (points, 2)).astype(np.float32)


def faces(count: int = 8, points: int = 15, seed: int = 0):
    """Images of a bright square each, whose place moves all points along: something a network can learn."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, *SIZE), dtype=np.uint8)
    shift = rng.integers(-12, 13, (count, 2))
    for image, (dx, dy) in zip(images, shift, strict=True):
        image[40 + dy : 56 + dy, 40 + dx : 56 + dx] = 220
    return images, mean_face(points) + shift[:, None].astype(np.float32)


def predict(network, images) -> np.ndarray:
    """Eagerly: to trace a graph of hundreds of layers for one batch would be most of the test's time."""
    return np.asarray(network(images, training=False))


@pytest.fixture(params=registry.NAMES)
def name(request):
    return request.param


@pytest.fixture(autouse=True)
def fresh():
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_global_policy("float32")
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("schema", [KAGGLE15, IBUG68], ids=lambda schema: schema.name)
def test_returns_a_pixel_pair_per_keypoint(name, schema):
    images, _ = faces(count=2)
    output = predict(registry.get_builder(name)(SIZE, mean_face(len(schema))), images)
    assert output.shape == (2, len(schema), 2)
    assert output.dtype == np.float32
    # Untrained it stays about the mean face: an output in -1..1 or 0..1 units would not.
    assert np.abs(output - mean_face(len(schema))).mean() < 15


def test_twenty_steps_halve_the_loss_of_a_batch(name):
    images, points = faces(count=16)
    network = registry.get_builder(name)(SIZE, mean_face(15))
    network.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse", run_eagerly=True)
    before = network.evaluate(images, points, verbose=0)
    for _ in range(20):
        network.train_on_batch(images, points)
    assert network.evaluate(images, points, verbose=0) < before / 2
    # The output depends on the image. (Untrained it need not: normalisation that has seen nothing may damp it all.)
    assert predict(network, images).std(axis=0).mean() > 1


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with every network, saved, and what it predicts for the same images."""
    folder = tmp_path_factory.mktemp("networks")
    images, _ = faces()
    np.save(folder / "images.npy", images)
    for name in registry.NAMES:
        keras.utils.set_random_seed(0)
        network = registry.get_builder(name)(SIZE, mean_face(15))
        network.save(folder / f"{name}.keras")
        np.save(folder / f"{name}_expected.npy", network.predict_on_batch(images))
    return folder


# A new process that knows Keras and nothing of this project, loads in safe mode, and predicts.
RELOAD = """
import keras, numpy as np, pathlib
for path in pathlib.Path().glob("*.keras"):
    network = keras.saving.load_model(path, safe_mode=True)
    np.save(f"{path.stem}_{keras.backend.backend()}.npy", network.predict_on_batch(np.load("images.npy")))
"""
# As on a machine where TensorFlow is not installed.
WITHOUT_TENSORFLOW = """
import sys
class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoTensorFlow())
"""


@pytest.mark.parametrize(("backend", "preamble"), [("tensorflow", ""), ("jax", WITHOUT_TENSORFLOW)])
def test_saved_networks_predict_the_same_on_every_backend(saved, backend, preamble):
    if backend == "jax":
        pytest.importorskip("jax", reason="JAX is not installed (requirements-dev.txt has it)")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    run = subprocess.run(
        [sys.executable, "-c", preamble + RELOAD], cwd=saved, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    for name in registry.NAMES:
        expected, found = (np.load(saved / f"{name}_{which}.npy") for which in ("expected", backend))
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)


def test_same_seed_repeats_another_differs(name):
    images, points = faces(count=16)

    def trained(seed):
        keras.utils.set_random_seed(seed)
        network = registry.get_builder(name)(SIZE, mean_face(15))
        network.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse", run_eagerly=True)
        network.fit(images, points, batch_size=8, verbose=0)
        return predict(network, images)

    first = trained(seed=1)
    np.testing.assert_array_equal(first, trained(seed=1))
    assert np.abs(first - trained(seed=2)).max() > 1e-3


def test_mixed_precision_ends_in_float32(name):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    network = registry.get_builder(name)(SIZE, mean_face(15))
    assert any(layer.compute_dtype == "bfloat16" for layer in network.layers)
    assert [layer.compute_dtype for layer in network.layers[-3:]] == ["float32"] * 3  # outputs, points, keypoints
    assert predict(network, faces(count=4)[0]).dtype == np.float32


def test_options_stand_in_the_name():
    quarter, full = (registry.get_network("vgg_face", **options) for options in ({}, {"width": 1.0}))
    assert (quarter.name, full.name) == ("vgg_face (width 0.25)", "vgg_face (width 1)")
    assert registry.folder_name(quarter.name) == "vgg_face-width-0.25"
    assert [registry.get_network("v1").name, registry.folder_name("v1")] == ["v1", "v1"]
    with pytest.raises(DataError, match="--width is 0; 1/64"):
        registry.get_network("vgg_face", width=0.0)


def test_full_width_is_the_published_vgg():
    # Simonyan & Zisserman 2015, configuration D, by hand: 14,714,688 weights of convolutions on colour images, 2 x 576
    # fewer on gray ones; then 3x3x512 maps to 4096, to 4096, to 30.
    network = registry.get_network("vgg_face", width=1.0).build(SIZE, mean_face(15))
    convolutions = 14_714_688 - 2 * 9 * 64
    assert network.count_params() == convolutions + (4608 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 30


def test_unknown_network_is_named():
    with pytest.raises(DataError, match="unknown model 'resnet99'; accepted: " + ", ".join(registry.NAMES)):
        registry.get_builder("resnet99")
