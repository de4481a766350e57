"""Pre-trained weights: fetched, read from a file, refused; and what a trainer makes of them."""

import contextlib
import functools
import http.server
import socket
import threading

import h5py
import numpy as np
import pytest

from data_prep.faceset import DataError
from models import efficientnet_b0
from models.backend import import_keras
from models.registry import get_network
from tests.test_evaluation import make_run

keras = import_keras()

from keras.src.applications import efficientnet  # noqa: E402 Keras decides its backend when first imported
from keras.src.legacy.saving import legacy_h5_format  # noqa: E402

SIZE = (32, 32)  # the least that Keras' EfficientNetB0 takes
MEAN_FACE = np.full((15, 2), 16.0)


@pytest.fixture(autouse=True)
def fresh():
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_global_policy("float32")


def write(path, statistics=(efficientnet_b0.IMAGENET_MEAN, efficientnet_b0.IMAGENET_DEVIATION)):
    """A file like the one that Keras fetches, in the format of that file, with random weights."""
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(*SIZE, 3))
    # Untrained, its normalisation layers damp every image to nothing: let them see one batch.
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.2
    network(np.random.default_rng(0).uniform(0, 255, (16, *SIZE, 3)).astype(np.float32), training=True)
    layer = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    layer.set_weights([*map(np.float32, statistics), np.int32(0)])
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    return str(path)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("weights") / efficientnet_b0.FILE_NAME)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keras' own folder for fetched files, empty. It has to exist, or Keras takes one in /tmp."""
    (tmp_path / "keras").mkdir()
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path / "keras"))
    return tmp_path / "keras"


def build(weights):
    return get_network("efficientnet_b0", weights=weights).build(SIZE, MEAN_FACE)


def test_file_and_hash_are_those_of_keras():
    assert efficientnet_b0.URL == efficientnet.BASE_WEIGHTS_PATH + efficientnet_b0.FILE_NAME
    assert efficientnet_b0.FILE_NAME == "efficientnetb0" + "_notop.h5"  # name + suffix in keras.applications
    assert efficientnet.WEIGHTS_HASHES["b0"][1] == efficientnet_b0.MD5


def test_features_are_those_of_keras_with_imagenet_weights(file, monkeypatch):
    """The same file through Keras' own way, which normalises colours by its own layers."""
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *args, **kwargs: file)
    reference = keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", input_shape=(*SIZE, 3), pooling="avg"
    )
    network = build(file)
    features = keras.Model(network.inputs, network.get_layer("dropout").output)
    gray = np.random.default_rng(0).integers(0, 256, (4, *SIZE)).astype(np.float32)
    expected = np.asarray(reference(np.repeat(gray[..., None], 3, axis=-1)))
    assert expected.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(np.asarray(features(gray)), expected, atol=1e-4 * np.abs(expected).max())


def test_weights_that_are_copied_predict_the_same(file):
    """As the trainer does at its end: what a network learned goes into a new one."""
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE)).astype(np.float32)
    first, second = build(file), build("none")
    second.set_weights(first.get_weights())
    np.testing.assert_array_equal(np.asarray(first(images)), np.asarray(second(images)))


def test_the_name_says_which_weights(file, monkeypatch):
    def name(weights):
        return get_network("efficientnet_b0", weights=weights).name

    assert get_network("efficientnet_b0").name == name("none") == "efficientnet_b0 (no ImageNet)"
    assert name("imagenet") == "efficientnet_b0 (ImageNet)"
    md5 = efficientnet_b0._md5(file)
    assert name(file) == f"efficientnet_b0 (efficientnetb0_notop.h5, md5 {md5[:8]})"
    monkeypatch.setattr(efficientnet_b0, "MD5", md5)  # the very file that Keras would fetch
    assert name(file) == "efficientnet_b0 (ImageNet)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on embedded faces with 68 points, in larger images; and its network."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    make_run(folder, "efficientnet_b0 (no ImageNet)", data="synthetic")
    network = get_network("efficientnet_b0").build((48, 48), np.full((68, 2), 24.0))
    network.save(folder / "model.keras")
    return folder, network


def test_a_runs_backbone_is_taken(run):
    folder, before = run
    network = get_network("efficientnet_b0", weights=str(folder / "model.keras"))
    assert network.name == "efficientnet_b0 (pre-trained on synthetic)"
    built = network.build(SIZE, MEAN_FACE)
    assert built.output_shape == (None, 15, 2)
    backbone = built.get_layer("backbone")
    for found, expected in zip(backbone.get_weights(), before.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    # Another network's differ, so the equality above says something.
    other = build("none").get_layer("backbone")
    assert any(not np.array_equal(a, b) for a, b in zip(backbone.get_weights(), other.get_weights(), strict=True))
    assert {layer.momentum for layer in backbone.layers if hasattr(layer, "momentum")} == {0.8}


def test_the_name_says_all_that_was_trained_on(run, tmp_path):
    for before, after in (
        ("ImageNet", "ImageNet, then kaggle15"),
        ("pre-trained on synthetic", "pre-trained on synthetic, then kaggle15"),
    ):
        folder = make_run(tmp_path / before, f"efficientnet_b0 ({before})", data="kaggle15")
        file = folder / "model.keras"
        file.write_bytes(b"")  # the name is known before the network is read
        assert get_network("efficientnet_b0", weights=str(file)).name == f"efficientnet_b0 ({after})"
    moved = tmp_path / "model.keras"  # a run's network without its run
    moved.write_bytes((run[0] / "model.keras").read_bytes())
    assert get_network("efficientnet_b0", weights=str(moved)).name.startswith("efficientnet_b0 (model.keras, md5 ")


def test_other_networks_and_damaged_files_are_refused(tmp_path):
    base = tmp_path / "base.keras"
    get_network("base").build(SIZE, MEAN_FACE).save(base)
    with pytest.raises(DataError, match="base.keras is not a network of models/efficientnet_b0.py"):
        build(str(base))
    base.write_text("no network")
    with pytest.raises(DataError, match="base.keras is not a Keras model file"):
        build(str(base))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="--weights is 'absent.h5'; imagenet, none or a file of weights is accepted"):
        get_network("efficientnet_b0", weights="absent.h5")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(DataError, match="text.h5 does not hold the weights of an EfficientNetB0 without top"):
        build(str(tmp_path / "text.h5"))
    other = write(tmp_path / "other.h5", statistics=((0, 0, 0), (1, 1, 1)))
    with pytest.raises(DataError, match="other.h5 was trained on colours with another mean and deviation"):
        build(other)


@contextlib.contextmanager
def serving(folder):
    """A server on this machine that serves a folder; yields its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_imagenet_weights_are_fetched_once_and_checked(file, cache, monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet_b0, "MD5", efficientnet_b0._md5(file))
    folder, _, name = file.rpartition("/")
    with serving(folder) as address:
        monkeypatch.setattr(efficientnet_b0, "URL", f"{address}/{name}")
        assert efficientnet_b0._fetched() == str(cache / "models" / name)
    assert efficientnet_b0._fetched() == str(cache / "models" / name)  # the server is gone
    monkeypatch.setattr(efficientnet_b0, "MD5", "0" * 32)
    with pytest.raises(DataError, match="could not be fetched"):
        efficientnet_b0._fetched()


def test_without_network_one_line_says_what_to_fetch(cache, monkeypatch, capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/{efficientnet_b0.FILE_NAME}"  # nobody listens
        monkeypatch.setattr(efficientnet_b0, "URL", url)
        with pytest.raises(DataError) as error:
            build("imagenet")
    for part in (efficientnet_b0.FILE_NAME, efficientnet_b0.MD5, url, "--weights PATH"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
