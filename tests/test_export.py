"""`python -m inference.export`: the file that it leaves says what the Keras network says."""

import sys

import numpy as np
import pytest

from inference import export
from models.backend import import_keras

keras = import_keras()

from models import registry  # noqa: E402  (needs Keras' backend set up first)
from models.label_rules import BY_SOURCE  # noqa: E402

pytest.importorskip("tf2onnx", reason="tf2onnx is not installed (requirements-export.txt)")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network with outputs for both label rules, saved."""
    keras.utils.set_random_seed(0)
    network = registry.get_network("dsnt", size="tiny").build((96, 96), np.full((len(BY_SOURCE), 2), 48.0))
    path = tmp_path_factory.mktemp("networks") / "model.keras"
    network.save(path)
    return path


def test_the_file_says_what_keras_says(saved, tmp_path, capsys):
    assert export.main(["--model", str(saved), "--output", str(tmp_path / "new/face.onnx")]) == 0
    assert "17 points" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["face.onnx"]
    session = export.open_session(tmp_path / "new/face.onnx")
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96)).astype(np.float32)
    expected = np.asarray(keras.saving.load_model(saved)(images))
    np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=1e-3)
    names = session.get_modelmeta().custom_metadata_map["points"].split()
    assert names[-1] == "second_source_mouth_center_bottom_lip"
    assert names[0] == "left_eye_center"


def test_a_file_that_says_otherwise_is_not_left(saved, tmp_path, capsys, monkeypatch):
    real = export.write

    def another(network, path, points):
        for variable in network.get_layer("maps").weights:
            variable.assign(variable + keras.random.normal(variable.shape, seed=1))
        copy = keras.models.clone_model(network)  # other weights than those it is compared with
        real(copy, path, points)

    monkeypatch.setattr(export, "write", another)
    assert export.main(["--model", str(saved), "--output", str(tmp_path / "face.onnx")]) == 2
    assert "px from Keras on some face; 0.001 is accepted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "nowhere.keras"), "nowhere.keras does not exist"),
        (("--run", "nowhere"), "nowhere/model.keras does not exist"),
        (("--model", "other.keras"), "is not a network of this project"),
        (("--model", "other.keras", "--output", "face.tflite"), "a .onnx file is accepted"),
    ],
)
def test_bad_input_is_one_line(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save("other.keras")
    assert export.main(list(options)) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert message in said[0]


def test_a_missing_package_is_named(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else name)
    assert export.main(["--model", str(saved), "--output", str(tmp_path / "face.onnx")]) == 2
    assert "tf2onnx is not installed (pip install -r requirements-export.txt)" in capsys.readouterr().err
