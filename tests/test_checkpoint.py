"""A training that was killed and taken up again is the training that was not."""

import numpy as np
import pytest

from data_prep.prepared import load
from models import trainer
from models.checkpoint import Checkpoint, State
from models.fitting import fit
from models.recipe import Recipe, get_recipe
from models.registry import Network, parse
from models.runs import read_run

SMALL = Recipe("try", epochs=4, batch_size=16, learning_rate=1e-3, schedule="cosine", augmentation="mild")


class Killed(Exception):
    pass


class KilledAfter(Checkpoint):
    """Keeps the state, and dies after so many epochs, counted over all that it keeps."""

    def __init__(self, path, epochs, about=None):
        super().__init__(path, about or {"what": "a test"}, every=0)
        object.__setattr__(self, "epochs", epochs)

    def write(self, state):
        super().write(state)
        if state.epochs == self.epochs:
            raise Killed


def trained(data, network, recipe, checkpoint=None):
    prepared = load(data)
    face = np.array(prepared.manifest["mean_face"])
    return fit(network, prepared.train, prepared.val, prepared.schema, face, recipe, 0, "float32", None, checkpoint)


def without_times(history):
    return {name: values for name, values in history.items() if name != "seconds"}


@pytest.mark.parametrize(
    ("network", "recipe", "kills"),
    [
        ("v1", SMALL, (1, 3)),  # with dropout; twice
        ("dsnt:size=tiny", get_recipe("best").with_changes(epochs=3, batch_size=16), (2,)),  # Muon, maps
        ("v1", SMALL, (4,)),  # after the last epoch, before anything was written
        # Stops early, since no epoch is ever 1000 px^2 better: after the first and two more.
        ("lenet5", Recipe("stops", 9, 16, 1e-3, patience=2, min_delta=1000.0), (3,)),
        ("lenet5", Recipe("waits", 9, 16, 1e-3, patience=3, min_delta=1000.0), (2,)),
    ],
)  # fmt: skip
def test_it_ends_as_if_it_had_not_been_killed(data, tmp_path, network, recipe, kills):
    network = parse(network)
    whole = trained(data, network, recipe)
    for epochs in kills:
        with pytest.raises(Killed):
            trained(data, network, recipe, KilledAfter(tmp_path / "state.npz", epochs))
    again = trained(data, network, recipe, KilledAfter(tmp_path / "state.npz", None))
    assert again.resumed == list(kills)
    assert again.best_epoch == whole.best_epoch
    assert without_times(again.history) == without_times(whole.history)
    for ours, theirs in zip(again.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("rate", "better"), [(0.01, 2), (0.2, 1)])
def test_a_head_that_was_learned_is_not_learned_again(data, tmp_path, rate, better):
    """Two stages, two epochs each; killed in the first, at its end, and in the second. better: epoch of the first."""
    recipe = Recipe("try", epochs=4, batch_size=16, learning_rate=1e-3, head_epochs=2, head_learning_rate=rate)
    toy = Network("toy", {}, build_with_backbone)
    whole = trained(data, toy, recipe)
    assert 1 + np.argmin(whole.history["val_mse"][:2]) == better
    for epochs in (1, 2, 3):
        with pytest.raises(Killed):
            trained(data, toy, recipe, KilledAfter(tmp_path / "state.npz", epochs))
    again = trained(data, toy, recipe, KilledAfter(tmp_path / "state.npz", None))
    assert without_times(again.history) == without_times(whole.history)
    for ours, theirs in zip(again.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def build_with_backbone(image_size, mean_face):
    import keras

    from models.layers import gray_input, keypoint_output

    images, x = gray_input(image_size)
    inside = [
        keras.Input(x.shape[1:]),
        keras.layers.AveragePooling2D(16),
        keras.layers.Flatten(),
        keras.layers.Dense(4),
    ]
    return keras.Model(images, keypoint_output(keras.Sequential(inside, name="backbone")(x), image_size, mean_face))


STATE = State({"epoch": [1], "loss": [2.5]}, [np.eye(2)], [np.ones(3)], [], 0, None, 0, False, 1.5, 2.5, [])


def test_another_trainings_state_is_not_used(tmp_path):
    kept = Checkpoint(tmp_path / "runs" / "state.npz", {"seed": 0, "split": {"train": 64}})
    assert kept.read() is None
    kept.write(STATE)
    found = kept.read()
    assert (found.history, found.best_value, found.epochs) == (STATE.history, None, 1)
    np.testing.assert_array_equal(found.network[0], np.eye(2))
    assert Checkpoint(kept.path, {"seed": 1, "split": {"train": 64}}).read() is None
    assert kept.part("four").read() is None
    whole = kept.path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PK nonsense"):
        kept.path.write_bytes(damaged)
        assert kept.read() is None
    kept.part("four").write(STATE)
    kept.path.with_name("state.npz.partial").write_bytes(b"")  # killed in writing
    kept.remove()
    assert list(kept.path.parent.iterdir()) == []


def test_the_same_command_goes_on(data, tmp_path, monkeypatch, capsys):
    """Stopped by Ctrl-C in its third epoch, here: where the state after the second has just been kept."""
    words = ["--data", str(data), "--epochs", "4", "--batch-size", "16"]
    assert trainer.main("lenet5", [*words, "--output", str(tmp_path / "whole")]) == 0
    write = Checkpoint.write

    def stop_after_two(self, state):
        write(self, state)
        if state.epochs == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", stop_after_two)
    monkeypatch.setattr(Checkpoint.__init__, "__defaults__", (0.0,))  # every epoch, not every half minute
    assert trainer.main("lenet5", [*words, "--output", str(tmp_path / "run")]) == 130
    assert "stopped; the same command goes on where it was" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if "run" in path.name] == ["run.checkpoint.npz"]
    monkeypatch.setattr(Checkpoint, "write", write)
    assert trainer.main("lenet5", [*words, "--output", str(tmp_path / "run")]) == 0
    assert "going on after epoch 2" in capsys.readouterr().out
    run, whole = read_run(tmp_path / "run"), read_run(tmp_path / "whole")
    assert run.config["resumed_after_epochs"] == [2]
    assert "resumed_after_epochs" not in whole.config
    np.testing.assert_array_equal(run.test.predicted, whole.test.predicted)
    assert not (tmp_path / "run.checkpoint.npz").exists()
    # Trained again and stopped: the same command, which says --overwrite, goes on too.
    monkeypatch.setattr(Checkpoint, "write", stop_after_two)
    again = [*words, "--output", str(tmp_path / "run"), "--overwrite"]
    assert trainer.main("lenet5", again) == 130
    monkeypatch.setattr(Checkpoint, "write", write)
    assert trainer.main("lenet5", again) == 0
    assert "going on after epoch 2" in capsys.readouterr().out
