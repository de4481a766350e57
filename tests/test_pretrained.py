"""Networks that come with the repository: what is noted of them, and that a changed one is refused."""

import hashlib

import numpy as np
import pytest

from data_prep.faceset import DataError
from models import pretrained
from models.apply import load_network
from models.backend import import_keras
from models.runs import Predictions, write_record

keras = import_keras()


@pytest.fixture
def run(tmp_path):
    """A finished run with a network that answers (1, 2) for the only point of a 2x2 image."""
    folder = tmp_path / "run"
    folder.mkdir()
    images = keras.Input((2, 2))
    dense = keras.layers.Dense(2)
    network = keras.Model(images, keras.layers.Reshape((1, 2))(dense(keras.layers.Flatten()(images))))
    dense.set_weights([np.zeros((4, 2)), np.array([1.0, 2.0])])
    network.save(folder / "model.keras")
    (folder / "loss.png").write_bytes(b"a picture")
    none = np.zeros((0, 15, 2), np.float32)
    empty = Predictions(*(np.zeros(0, int),) * 3, none, none, np.zeros((0, 15), bool))
    config = {"run": "run", "schema": "kaggle15"}
    write_record(folder, config, {"epoch": [1.0]}, val=empty, test=empty)
    return folder


def test_a_network_is_copied_with_its_record_and_hash(run, tmp_path):
    weights = tmp_path / "weights"
    folder = pretrained.add(run, "small", weights)
    files = ["config.json", "history.csv", "model.keras", "predictions.npz"]
    assert sorted(path.name for path in folder.iterdir()) == files
    expected = hashlib.sha256((run / "model.keras").read_bytes()).hexdigest()
    assert (weights / "SHA256SUMS").read_text() == f"{expected}  small/model.keras\n"
    (run / "model.onnx").write_bytes(b"the same for others")
    (run / "confidence.json").write_text("{}")
    (run / "more.txt").write_text("stays")
    pretrained.add(run, "other", weights)
    assert (weights / "other/confidence.json").read_text() == "{}"
    assert not (weights / "other/more.txt").exists()
    assert pretrained.sums(weights)["other/model.onnx"] == hashlib.sha256(b"the same for others").hexdigest()
    assert list(pretrained.sums(weights)) == ["other/model.keras", "other/model.onnx", "small/model.keras"]
    # Put there again without it, its hash goes too.
    (run / "model.onnx").unlink()
    pretrained.add(run, "other", weights)
    assert list(pretrained.sums(weights)) == ["other/model.keras", "small/model.keras"]


def test_a_changed_file_is_refused(run, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    path = pretrained.add(run, "small", weights) / "model.keras"
    monkeypatch.setattr(pretrained.check, "__defaults__", (weights,))
    network = load_network(path)
    np.testing.assert_allclose(np.asarray(network(np.zeros((1, 2, 2)))), [[[1, 2]]])
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(DataError, match="is not the file of .*SHA256SUMS"):
        load_network(path)


def test_a_network_damaged_anywhere_is_one_line(tmp_path):
    refused: list[str] = []
    whole, rng = (pretrained.WEIGHTS / "dsnt-tiny" / "model.keras").read_bytes(), np.random.default_rng(0)
    for number in range(30):
        content, begin = bytearray(whole), 0 if number % 2 else len(whole) - 1000  # where the archive's directory is
        content[rng.integers(begin, len(whole))] ^= 1 << number % 8
        (tmp_path / "model.keras").write_bytes(content)
        try:
            load_network(tmp_path / "model.keras")
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 15
    assert not any("\n" in line for line in refused)


def test_what_is_not_accepted(run, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="plain folder name"):
        pretrained.add(run, "../small", tmp_path / "weights")
    with monkeypatch.context() as patch:
        patch.setattr(pretrained, "MOST_BYTES", 100)
        with pytest.raises(DataError, match="at most 0 are accepted"):
            pretrained.add(run, "small", tmp_path / "weights")
    (run / "model.keras").unlink()
    with pytest.raises(DataError, match="does not exist"):
        pretrained.add(run, "small", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_without_a_network_another_run_has_to_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    with pytest.raises(DataError, match="name a run with --run"):
        pretrained.default_run()


def test_the_committed_networks_are_those_of_their_hashes():
    files = sorted(path.relative_to(pretrained.WEIGHTS).as_posix() for path in pretrained.WEIGHTS.glob("*/model.*"))
    assert files == sorted(pretrained.sums())
    for file in files:
        path = pretrained.WEIGHTS / file
        assert path.stat().st_size <= pretrained.MOST_BYTES
        pretrained.check(path)
        if path.suffix == ".keras":
            load_network(path)
