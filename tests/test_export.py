"""`python -m inference.export`: the file that it leaves says what the Keras network says."""

import sys

import numpy as np
import pytest

from inference import export, network
from inference.confidence import Calibration
from models.backend import import_keras

keras = import_keras()

from models import pretrained, registry  # noqa: E402  (needs Keras' backend set up first)
from models.label_rules import BY_SOURCE  # noqa: E402
from models.layers import with_spread  # noqa: E402

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

    def another(network, path, known):
        for variable in network.get_layer("maps").weights:
            variable.assign(variable + keras.random.normal(variable.shape, seed=1))
        copy = keras.models.clone_model(network)  # other weights than those it is compared with
        real(copy, path, known)

    monkeypatch.setattr(export, "write", another)
    assert export.main(["--model", str(saved), "--output", str(tmp_path / "face.onnx")]) == 2
    assert "px from Keras on some face; 0.001 is accepted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_second_output_is_the_maps_spread(saved, tmp_path):
    assert export.main(["--model", str(saved), "--output", str(tmp_path / "face.onnx")]) == 0
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96)).astype(np.float32)
    expected = with_spread(keras.saving.load_model(saved))(images)
    found = export.open_session(tmp_path / "face.onnx").run(None, {"images": images})
    for output, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(output, np.asarray(value), atol=2e-2)  # a root of differences of large numbers
    # An untrained network's maps are even: of places k * 4 apart, 24 each way, the variance is 16 (24^2 - 1) / 12 each.
    assert found[1].mean() == pytest.approx(np.sqrt(2 * 16 * (24**2 - 1) / 12), rel=0.1)


def test_a_runs_file_holds_what_stands_beside_it(saved, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").write_bytes(saved.read_bytes())
    calibration = Calibration(-2.0, (1.5,) * len(BY_SOURCE))
    (run / "confidence.json").write_text(calibration.as_text())
    assert export.main(["--run", str(run)]) == 0
    known = network.open_network(run / "model.onnx")
    assert known.calibration == calibration
    points, sure = known.predict(np.zeros((2, 96, 96), np.uint8))
    assert (points.shape, sure.shape) == ((2, 15, 2), (2, 15))
    # The Keras file beside it says the same.
    for found, expected in zip(network.open_network(run / "model.keras").predict(np.zeros((2, 96, 96), np.uint8)),
                               (points, sure), strict=True):  # fmt: skip
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_eight_bits_are_smaller_and_nearly_the_same(saved, tmp_path, capsys):
    assert export.main(["--model", str(saved), "--output", str(tmp_path / "face.onnx")]) == 0
    assert export.main(["--model", str(saved), "--int8", "--output", str(tmp_path / "int8.onnx")]) == 0
    sizes = [(tmp_path / name).stat().st_size for name in ("face.onnx", "int8.onnx")]
    assert sizes[1] < 0.55 * sizes[0]
    images = export.some_faces((96, 96), seed=3)[:8]
    full, eight = (export.open_session(tmp_path / name).run(None, {"images": images})[0] for name in
                   ("face.onnx", "int8.onnx"))  # fmt: skip
    assert 0 < np.abs(full - eight).max() < 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face.onnx", "int8.onnx"]


def test_litert_says_what_keras_says(saved, tmp_path, capsys):
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed (requirements-export.txt)")
    assert export.main(["--model", str(saved), "--format", "litert", "--output", str(tmp_path / "face.tflite")]) == 0
    assert "face.tflite" in capsys.readouterr().out
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96)).astype(np.float32)
    expected = np.asarray(keras.saving.load_model(saved)(image))
    np.testing.assert_allclose(export.opened(tmp_path / "face.tflite")(image), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "nowhere.keras"), "nowhere.keras does not exist"),
        (("--run", "nowhere"), "nowhere/model.keras does not exist"),
        (("--model", "other.keras"), "is not a network of this project"),
        (("--model", "other.keras", "--output", "face.tflite"), "a .onnx file is accepted"),
        (("--model", "other.keras", "--format", "litert", "--output", "face.onnx"), "a .tflite file is accepted"),
        (("--run", str(pretrained.default_run())), "would be among the repository's networks; name another --output"),
        (("--model", "other.keras", "--format", "litert", "--int8"), "--int8 is for --format onnx"),
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
