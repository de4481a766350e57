"""The specialist: what each of its two networks learns from, that they are merged right, and a run from end to end."""

import json
import zipfile

import numpy as np
import pytest

from data_prep import __main__ as data_prep
from data_prep.prepared import Split, write
from data_prep.schema import IBUG68, KAGGLE15
from evaluation import collect, entries, plots
from models import apply, run_output, specialist, trainer
from models.backend import import_keras
from models.layers import gray_input, keypoint_output
from models.recipe import get_recipe
from models.runs import read_run, write_record

keras = import_keras()

SHORT = ("--epochs", "2", "--batch-size", "16")
# left_eye_center, right_eye_center, nose_tip, mouth_center_bottom_lip among the fifteen points
FOUR, ELEVEN = [0, 1, 10, 14], [2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13]


def prepare(folder, treatment, schema="15"):
    options = ("--source", "synthetic", "--count", "80", "--missing", treatment, "--schema", schema, "--no-analysis")
    assert data_prep.main([*options, "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """80 embedded faces, split 64/8/8, of which 18/3 of training and validation are complete."""
    return prepare(tmp_path_factory.mktemp("prepared") / "tiny", "none")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "specialist"
    options = ["--model", "base", "--data", str(data), *SHORT, "--output", str(folder)]
    assert specialist.main(options) == 0
    return folder


def labels(*observed):
    """Keypoints float32 [N, 15, 2] with the given points labelled: 100 times the row, plus the point."""
    points = np.full((len(observed), 15, 2), np.nan, np.float32)
    for row, seen in enumerate(observed):
        points[row, seen] = 100 * row + np.array(seen)[:, None]
    return points


def split_of(keypoints, size=(8, 8)):
    rows = np.arange(len(keypoints))
    images = np.zeros((len(rows), *size), np.uint8) + rows[:, None, None].astype(np.uint8)
    return Split(images, keypoints, keypoints, ~np.isnan(keypoints).any(-1), rows, rows, rows)


def constant(points):
    """A network that predicts these points [K][2] for every face."""
    images, x = gray_input((8, 8))
    network = keras.Model(images, keypoint_output(keras.layers.Flatten()(x), (8, 8), points), name="same")
    network.get_layer("outputs").set_weights([np.zeros((64, 2 * len(points))), np.zeros(2 * len(points))])
    return network


# --- the parts


def test_four_points_are_learned_from_every_row():
    faces = specialist.with_points(split_of(labels(range(15), FOUR, [10])), specialist.SHARED)
    nan = np.nan
    expected = [[0, 1, 10, 14], [100, 101, 110, 114], [nan, nan, 210, nan]]
    for found in (faces.filled, faces.keypoints):
        np.testing.assert_array_equal(found, np.stack([expected, expected], axis=-1))
    np.testing.assert_array_equal(faces.observed, [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 0]])
    assert [len(faces.images), list(faces.ids)] == [3, [0, 1, 2]]


def test_fifteen_points_are_learned_from_complete_rows():
    split = split_of(labels(FOUR, range(15), ELEVEN, range(15)))
    faces = specialist.with_rows(split, specialist.complete(split))
    np.testing.assert_array_equal(faces.ids, [1, 3])
    np.testing.assert_array_equal(faces.images[:, 0, 0], [1, 3])
    np.testing.assert_array_equal(faces.filled[:, :, 0], [np.arange(100, 115), np.arange(300, 315)])
    assert faces.observed.all()


def test_the_four_points_have_a_mirror_image():
    """The eyes change places, nose and mouth stay: what augmentation asks of a schema."""
    assert specialist.FOUR.points == tuple(KAGGLE15.points[k] for k in FOUR)
    np.testing.assert_array_equal(specialist.FOUR.mirror, [1, 0, 2, 3])


# --- merging


def test_merging_takes_four_points_from_the_one_and_eleven_from_the_other(tmp_path):
    four = constant([[k + 0.5, -k] for k in FOUR])
    fifteen = constant([[k, 100 + k] for k in range(15)])
    merged = specialist.merge(four, fifteen)
    expected = np.array([[k + 0.5, -k] if k in FOUR else [k, 100 + k] for k in range(15)])
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    assert merged.count_params() == four.count_params() + fifteen.count_params()
    merged.save(tmp_path / "model.keras")
    for network in (merged, apply.load_network(tmp_path / "model.keras")):  # which loads in Keras' safe mode
        found = np.asarray(network(images))
        assert (found.shape, found.dtype) == ((3, 15, 2), np.float32)
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)


def test_the_merged_network_is_of_keras_own_layers(run):
    with zipfile.ZipFile(run / "model.keras") as file:
        config = json.loads(file.read("config.json"))
    networks = [layer["config"] for layer in config["config"]["layers"] if layer["class_name"] == "Functional"]
    layers = [layer for network in (config["config"], *networks) for layer in network["layers"]]
    assert len(networks) == 2
    assert {layer["module"] for layer in layers} <= {"keras.layers", "keras.src.models.functional"}
    assert {layer["registered_name"] for layer in layers} <= {None, "Functional"}


def test_histories_of_unequal_length():
    four = {"epoch": [1, 2], "loss": [4.0, 3.0]}
    fifteen = {"epoch": [1, 2, 3], "loss": [9.0, 8.0, 7.0]}
    nan = float("nan")
    np.testing.assert_equal(
        specialist.merged_history(four, fifteen),
        {"epoch": [1, 2, 3], "loss": [9.0, 8.0, 7.0], "four_loss": [4.0, 3.0, nan]},
    )
    np.testing.assert_equal(
        specialist.merged_history(fifteen, four),
        {"epoch": [1, 2, 3], "loss": [4.0, 3.0, nan], "four_loss": [9.0, 8.0, 7.0]},
    )


# --- a run


def test_a_run_is_like_any_other(run):
    config = json.loads((run / "config.json").read_text())
    assert (config["model"], config["treatment"], config["train_faces"]) == ("base", "specialist", 64)
    assert config["command"].startswith("python -m models.specialist --model base --data")
    parts = config["parts"]
    # 64/8 faces in all; 18/3 of them are complete, as the manifest's `complete_faces` says.
    assert [(part["train_faces"], part["val_faces"]) for part in parts.values()] == [(64, 8), (18, 3)]
    assert list(parts) == ["four_points", "fifteen_points"]
    assert config["parameters"] == sum(part["parameters"] for part in parts.values())
    assert config["train_seconds"] == pytest.approx(sum(part["train_seconds"] for part in parts.values()))
    assert config["best_epoch"] == parts["fifteen_points"]["best_epoch"]
    columns = ["loss", "mae", "mse", "val_loss", "val_mae", "val_mse", "learning_rate", "seconds"]
    assert list(read_run(run).history) == ["epoch", *columns, *(f"four_{name}" for name in columns)]


def test_its_folder_is_named_after_the_treatment(data):
    found = specialist.load_unfilled(data)
    assert trainer.default_folder(found, "v1", get_recipe("quick"), 3).as_posix() == "runs/tiny/v1-quick-specialist-s3"


def test_each_part_kept_its_epoch_by_its_own_rows(run):
    """The least validation loss of the four points is the merged network's own error on them, over all rows."""
    record = read_run(run)
    four, fifteen = record.config["parts"].values()
    assert four["best_epoch"] == 1 + int(np.argmin(record.history["four_val_mse"]))
    assert fifteen["best_epoch"] == 1 + int(np.argmin(record.history["val_mse"]))
    error, observed = record.val.error[:, FOUR], record.val.observed[:, FOUR]
    least = min(record.history["four_val_mse"])
    assert np.mean(error[observed] ** 2) == pytest.approx(least, rel=0.05)  # bfloat16 training


def test_the_other_eleven_points_are_those_of_drop(run, tmp_path):
    """The same recipe and seed on the complete rows alone, which `--missing drop` leaves: the same network."""
    dropped = prepare(tmp_path / "tiny-drop", "drop")
    assert trainer.main("base", ["--data", str(dropped), *SHORT, "--output", str(tmp_path / "drop")]) == 0
    own, other = read_run(run), read_run(tmp_path / "drop")
    np.testing.assert_array_equal(own.test.predicted[:, ELEVEN], other.test.predicted[:, ELEVEN])
    assert (np.abs(own.test.predicted - other.test.predicted)[:, FOUR] > 0).any(axis=(0, 2)).all()
    assert own.history["val_mse"] == other.history["val_mse"]


def test_the_saved_network_predicts_what_the_record_says(run, data, tmp_path):
    assert apply.main(["--run", str(run), "--data", str(data), "--output", str(tmp_path / "again")]) == 0
    again = read_run(tmp_path / "again")
    np.testing.assert_allclose(again.test.predicted, read_run(run).test.predicted, atol=0.07)  # one float16 step
    assert again.config["treatment"] == "specialist"


def test_a_finished_run_is_known_again(run, data, capsys):
    before = (run / "model.keras").stat().st_mtime_ns
    options = ["--model", "base", "--data", str(data), *SHORT, "--output", str(run)]
    assert specialist.main(options) == 0
    assert "is a finished run" in capsys.readouterr().out
    assert specialist.main([*options, "--seed", "1"]) == 2
    assert "another seed" in capsys.readouterr().err
    assert trainer.main("base", options[2:]) == 2  # of treatment none
    assert "another treatment" in capsys.readouterr().err
    assert (run / "model.keras").stat().st_mtime_ns == before


def test_it_stands_in_a_table_also_where_one_part_stopped_early(run, tmp_path):
    record = read_run(run)
    history = {name: values[:1] for name, values in record.history.items()}
    longer = specialist.merged_history(record.history, history)
    write_record(tmp_path, record.config, longer, val=record.val, test=record.test)
    entry = entries.from_run(collect.read(tmp_path))
    assert entry.label == "base (quick+epochs=2+batch_size=16, specialist)"
    (ax, *_) = plots.learning_curves([entry]).axes
    assert np.isfinite(ax.get_ylim()).all()
    run_output.plot_loss(tmp_path / "loss.png", longer, record.config)


# --- bad input


def written(folder, schema=KAGGLE15, treatment="none", **gaps):
    """A prepared data set of two rows a split; gaps: the labelled points of the splits that are not complete."""
    splits, points = {}, len(schema)
    for name in ("train", "val", "test"):
        keypoints = np.full((2, points, 2), np.nan, np.float32)
        keypoints[:, gaps.get(name, range(points))] = 1
        splits[name] = split_of(keypoints)
    manifest = {"name": folder.name, "schema": {"name": schema.name}, "treatment": treatment}
    write(folder, splits, manifest)
    return folder


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"treatment": "ffill"}, "was prepared with --missing ffill; the specialist needs --missing none"),
        ({"treatment": "drop"}, "was prepared with --missing drop; the specialist needs --missing none"),
        ({"schema": IBUG68}, "has the points of ibug68; the specialist is for those of kaggle15"),
        ({"train": FOUR}, "no row of train has all fifteen points labelled"),
        ({"val": ELEVEN}, "no row of val has all fifteen points labelled"),
    ],
)
def test_bad_data_are_one_line(tmp_path, capsys, made, message):
    folder = written(tmp_path / "data", **made)
    assert specialist.main(["--data", str(folder), "--output", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("models.specialist: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_complete_data_are_accepted(tmp_path):
    assert specialist.load_unfilled(written(tmp_path / "data")).manifest["treatment"] == "specialist"


def test_bad_options_are_one_line(capsys, tmp_path):
    for options, message in (
        (["--model", "bass"], "unknown model 'bass'; accepted: base, v1"),
        (["--model", "vgg_face", "--width", "0"], "--width is 0"),
        (["--data", "/nowhere"], "/nowhere is not a prepared data set"),
    ):
        assert specialist.main([*options, "--output", str(tmp_path / "new")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_data_are_not_prepared_by_it(capsys):
    with pytest.raises(SystemExit):
        data_prep.main(["--source", "synthetic", "--missing", "specialist"])
    assert "invalid choice: 'specialist'" in capsys.readouterr().err
