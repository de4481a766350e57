"""Training from end to end on a handful of embedded faces: what a run leaves, that it repeats, how it refuses."""

import csv
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from data_prep import __main__ as data_prep
from data_prep.faceset import DataError
from data_prep.prepared import SPLITS, load
from evaluation import before_after
from models import apply, run_output, trainer
from models.fitting import fit
from models.recipe import RECIPES, Recipe, get_recipe
from models.registry import Network, get_network
from models.runs import read_run

SHORT = ("--epochs", "2", "--batch-size", "16")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "base-tiny"
    assert trainer.main("base", ["--data", str(data), *SHORT, "--output", str(folder)]) == 0
    return folder


def test_a_run_leaves_everything(run):
    expected = ("config.json", "history.csv", "predictions.npz", "model.keras", "summary.txt", "loss.png")
    assert sorted(path.name for path in run.iterdir()) == sorted((*expected, "predictions_test.csv"))
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"]["name"] == "quick+epochs=2+batch_size=16"
    assert (config["epochs"], config["train_faces"], config["treatment"]) == (2, 64, "none")
    assert config["command"].startswith("python -m models.base --data")
    assert config["data_command"].startswith("python -m data_prep --source synthetic --count 80 --missing none")
    assert "Total params" in (run / "summary.txt").read_text()


def test_history_has_a_row_per_epoch(run):
    history = read_run(run).history
    losses = ["loss", "mae", "mse", "val_loss", "val_mae", "val_mse"]
    assert list(history) == ["epoch", *losses, "learning_rate", "seconds"]
    assert history["epoch"] == [1, 2]
    assert np.isfinite(history["loss"]).all()


def test_record_holds_predictions_and_errors(run, data):
    prepared, test = load(data), read_run(run).test
    np.testing.assert_array_equal(test.ids, prepared.test.ids)
    np.testing.assert_array_equal(test.observed, prepared.test.observed)
    # a prediction rounded to 1/16 px minus an error rounded to 1/64 px: off by half of both
    seen = test.observed
    np.testing.assert_allclose(test.truth[seen], prepared.test.keypoints[seen], atol=0.0391)
    assert np.isnan(test.truth[~seen]).all()


def test_prediction_table_has_a_row_per_face_and_keypoint(run, data):
    prepared = load(data)
    with open(run / "predictions_test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * 15
    first = rows[0]
    assert first["keypoint"] == "left_eye_center"
    assert float(first["truth_x"]) == pytest.approx(float(prepared.test.keypoints[0, 0, 0]), abs=5e-4)
    hidden = [row for row in rows if row["observed"] == "0"]
    assert len(hidden) == int((~prepared.test.observed).sum())
    assert all(row["truth_x"] == "" for row in hidden)


def test_same_seed_repeats_another_differs(run, data, tmp_path):
    for seed in (0, 1):
        options = ["--data", str(data), *SHORT, "--seed", str(seed), "--output", str(tmp_path / str(seed))]
        assert trainer.main("base", options) == 0
    first, same, other = (read_run(folder).test.predicted for folder in (run, tmp_path / "0", tmp_path / "1"))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0.1


def test_a_finished_run_is_not_trained_again(run, data, capsys):
    before = (run / "model.keras").stat().st_mtime_ns
    assert trainer.main("base", ["--data", str(data), *SHORT, "--output", str(run)]) == 0
    assert "finished run" in capsys.readouterr().out
    assert (run / "model.keras").stat().st_mtime_ns == before


def test_a_finished_run_of_other_options_is_refused(run, data, capsys):
    for change in (["--seed", "5"], ["--learning-rate", "0.01"], ["--precision", "float32"]):
        options = ["--data", str(data), *SHORT, *change, "--output", str(run)]
        assert trainer.main("base", options) == (0 if read_run(run).config["precision"] == change[-1] else 2)
    assert "another recipe; --overwrite" in capsys.readouterr().err


def test_augmentation_is_part_of_the_recipe(data, tmp_path):
    options = ["--epochs", "1", "--batch-size", "16", "--augmentation", "geometric", "--output", str(tmp_path / "new")]
    assert trainer.main("base", ["--data", str(data), *options]) == 0
    recipe = read_run(tmp_path / "new").config["recipe"]
    assert (recipe["name"], recipe["augmentation"]) == (
        "quick+epochs=1+batch_size=16+augmentation=geometric", "geometric")  # fmt: skip


@pytest.mark.parametrize(("content", "lacking"), [("{}", "lacks run, data"), ("[]", "is not an object")])
def test_a_damaged_config_is_one_line(run, data, tmp_path, capsys, content, lacking):
    damaged = shutil.copytree(run, tmp_path / "damaged")
    (damaged / "config.json").write_text(content)
    commands = {
        apply: ["--run", str(damaged), "--data", str(data), "--output", str(tmp_path / "new")],
        before_after: ["--run", str(damaged), "--data", str(data), "--output", str(tmp_path / "new")],
    }
    for module, options in commands.items():
        assert module.main(options) == 2
        error = capsys.readouterr().err
        assert f"config.json {lacking}" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert trainer.main("base", ["--data", str(data), *SHORT, "--output", str(damaged)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_kept_epoch_is_the_one_of_least_pooled_validation_loss(run, data):
    recorded = read_run(run)
    best = int(np.argmin(recorded.history["val_mse"]))
    assert recorded.config["best_epoch"] == best + 1
    # Missing points stay out of it: the kept network's own error over labelled points is that very number.
    labelled = recorded.val.error[recorded.val.observed]
    assert np.mean(labelled**2) == pytest.approx(recorded.history["val_mse"][best], rel=0.05)  # bfloat16 training


def test_tensorboard_that_is_not_installed_is_said_at_once(data, tmp_path, capsys):
    if importlib.util.find_spec("tensorboard"):
        pytest.skip("tensorboard is installed")
    options = ["--data", str(data), *SHORT, "--tensorboard", "--output", str(tmp_path / "new")]
    assert trainer.main("base", options) == 2
    assert "needs tensorboard" in capsys.readouterr().err


def test_logs_lie_beside_a_run_until_it_is_written(data, tmp_path):
    beside = []

    def logged(*arguments):
        *arguments, logs, checkpoint = arguments
        logs.mkdir()
        (logs / "events").write_text("")
        beside.extend(path.name for path in tmp_path.iterdir())
        return fit(*arguments, None, checkpoint)

    recipe = get_recipe("quick").with_changes(epochs=1, batch_size=16)
    asked = (get_network("lenet5"), load(data), recipe, 0, "float32", tmp_path / "run", "python -m toy", True)
    trainer.train(*asked, fit=logged)
    assert beside == ["run.tensorboard"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert (tmp_path / "run" / "tensorboard" / "events").is_file()
    # A training that was killed after its last epoch has nothing more to log.
    trainer.train(*asked, fit=lambda *arguments: fit(*arguments[:-2], None, arguments[-1]))
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_applied_to_its_own_data_it_predicts_the_same(run, data, tmp_path):
    assert apply.main(["--run", str(run), "--data", str(data), "--output", str(tmp_path / "again")]) == 0
    again = read_run(tmp_path / "again")
    np.testing.assert_allclose(again.test.predicted, read_run(run).test.predicted, atol=0.07)  # of two precisions
    assert again.config["trained_on"] == "tiny"
    assert apply.main(["--run", str(run), "--data", str(data), "--mirrored", "--output", str(tmp_path / "more")]) == 0
    more = read_run(tmp_path / "more")
    assert more.config["model"] == f"{again.config['model']} and mirrored"
    assert np.abs(more.test.predicted - again.test.predicted).max() > 0.1


def test_an_applied_record_tells_how_its_own_data_were_prepared(run, tmp_path):
    other = tmp_path / "other"
    options = ("--source", "synthetic", "--count", "40", "--missing", "none", "--no-analysis", "--output", str(other))
    assert data_prep.main(list(options)) == 0
    assert apply.main(["--run", str(run), "--data", str(other), "--output", str(tmp_path / "new")]) == 0
    config = read_run(tmp_path / "new").config
    assert (config["run"], config["data"], config["trained_on"]) == ("new", "other", "tiny")
    assert config["data_command"] == shlex.join(["python", "-m", "data_prep", *options])


def test_trains_on_jax_without_tensorflow(data, tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed (requirements-dev.txt has it)")
    from tests.test_models import WITHOUT_TENSORFLOW

    options = ["--data", str(data), *SHORT, "--output", str(tmp_path / "jax")]
    code = f"{WITHOUT_TENSORFLOW}\nfrom models.trainer import main\nsys.exit(main('v1', {options!r}))"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    config = read_run(tmp_path / "jax").config
    assert config["backend"] == "jax"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "slow"], "unknown recipe 'slow'; accepted: reference, quick"),
        (["--epochs", "0"], "epochs"),
        (["--learning-rate", "-1"], "learning rate"),
        (["--data", "/nowhere"], "/nowhere is not a prepared data set"),
    ],
)
def test_bad_options_are_one_line(options, message, data, capsys, tmp_path):
    where = [] if "--data" in options else ["--data", str(data)]
    assert trainer.main("base", [*where, *options, "--output", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("vgg_face", ["--width", "0"], "--width is 0; 1/64 (0.015625) or more is accepted"),
        ("efficientnet_b0", ["--weights", "absent.h5"], "--weights is 'absent.h5'; imagenet, none or a file"),
        ("base", ["--recipe", "head_first"], "base has no pre-trained part"),
        ("efficientnet_b0", ["--recipe", "head_first", "--epochs", "5"], "the head alone learns for 5 epochs; more"),
    ],
)
def test_bad_options_of_a_network_are_one_line(model, options, message, data, capsys, tmp_path):
    assert trainer.main(model, ["--data", str(data), *options, "--output", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def build_with_backbone(image_size, mean_face):
    """A network of two dense layers, one of them in what passes for a pre-trained part."""
    import keras

    from models.layers import gray_input, keypoint_output

    images, x = gray_input(image_size)
    backbone = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.AveragePooling2D(16),
                                 keras.layers.Flatten(), keras.layers.Dense(4)], name="backbone")  # fmt: skip
    return keras.Model(images, keypoint_output(backbone(x), image_size, mean_face))


def test_a_kept_epoch_that_diverged_is_no_success(data):
    """The first epoch has negligible steps and a finite loss; the second, which is kept, has steps of 1e30."""
    prepared = load(data)
    recipe = Recipe("try", epochs=2, batch_size=16, learning_rate=1e30, restore_best=False,
                    head_epochs=1, head_learning_rate=1e-12)  # fmt: skip
    face = np.array(prepared.manifest["mean_face"])
    toy = Network("toy", {}, build_with_backbone)
    with pytest.raises(DataError, match="diverged: no finite validation loss in epoch 2, which is kept"):
        fit(toy, prepared.train, prepared.val, prepared.schema, face, recipe, 0, "float32")


@pytest.mark.parametrize(
    ("loss", "shape_weight", "restore_best", "unit", "kept"),
    [
        ("mse", None, True, "mean squared error, px²", "epoch of least validation MSE, kept"),
        ("smooth_l1", None, False, "smooth L1, px", "last epoch, kept"),
        ("l1", 1.0, False, "mean absolute error, px + maps' divergence", "last epoch, kept"),
    ],
)
def test_the_loss_plot_says_what_it_shows(loss, shape_weight, restore_best, unit, kept):
    recipe = Recipe("try", 2, 8, 1e-3, loss=loss, shape_weight=shape_weight, restore_best=restore_best)
    config = {"run": "toy", "recipe": recipe.as_dict(), "best_epoch": 2}
    [ax] = run_output.loss_figure({"epoch": [1, 2], "loss": [4, 1], "val_loss": [5, 2]}, config).axes
    assert ax.get_ylabel() == unit
    assert [line.get_label() for line in ax.lines] == ["training", "validation", kept]


@pytest.mark.parametrize(("head_rate", "rate", "moved"), [(1e-2, 1e-12, False), (1e-12, 1e-2, True)])
def test_the_head_learns_first(data, tmp_path, head_rate, rate, moved):
    """A stage of negligible steps moves nothing; the backbone moves in the second stage only, the head in both."""
    import keras

    built = []

    def build(image_size, mean_face):
        network = build_with_backbone(image_size, mean_face)
        layers = [network.get_layer(name) for name in ("backbone", "outputs")]
        built.append([np.array(layer.get_weights()[0]) for layer in layers])
        return network

    recipe = Recipe("try", epochs=3, batch_size=16, learning_rate=rate, restore_best=False,
                    head_epochs=1, head_learning_rate=head_rate)  # fmt: skip
    output = tmp_path / "toy"
    trainer.train(Network("toy", {}, build), load(data), recipe, 0, "float32", output, "python -m toy")
    trained = keras.saving.load_model(output / "model.keras")
    after = [np.array(trained.get_layer(name).get_weights()[0]) for name in ("backbone", "outputs")]
    changes = [np.abs(new - old).max() for new, old in zip(after, built[0], strict=True)]
    assert (changes[0] > 1e-4) == moved
    assert changes[1] > 1e-4
    recorded = read_run(output)
    assert recorded.history["epoch"] == [1, 2, 3]
    np.testing.assert_allclose(recorded.history["learning_rate"], [head_rate, rate, rate], rtol=1e-6)
    assert recorded.config["recipe"]["head_epochs"] == 1
    assert "head_epochs" not in RECIPES["quick"].as_dict()  # as in the records from before


def test_a_folder_that_is_no_run_is_left_alone(data, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert trainer.main("base", ["--data", str(data), *SHORT, "--output", str(tmp_path)]) == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert "is not a run (it holds thesis.txt)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.parent.glob(f"{tmp_path.name}.*")] == []


def test_an_output_that_cannot_be_written_is_refused_before_the_training(data, tmp_path, monkeypatch, capsys):
    (tmp_path / "thesis").write_text("years of work")
    monkeypatch.setattr(trainer, "resolve", lambda precision: pytest.fail("it is about to train"))
    data = load(data)
    with pytest.raises(DataError, match="thesis is a file; name another --output"):
        trainer.train(get_network("base"), data, RECIPES["quick"], 0, "auto", tmp_path / "thesis", "python -m toy")


def test_a_run_of_images_of_another_size_is_another_run(run, data):
    data, record = load(data), read_run(run)
    asked = (run, get_network("base"), data, Recipe(**record.config["recipe"]), record.config["seed"], "auto")
    trainer.check_same(*asked)
    smaller = replace(data, train=replace(data.train, images=data.train.images[:, :64, :64]))
    with pytest.raises(DataError, match="is a finished run with another image_size;"):
        trainer.check_same(*asked[:2], smaller, *asked[3:])


def test_a_seed_that_numpy_takes_not(data, capsys):
    with pytest.raises(SystemExit) as stop:
        trainer.main("base", ["--data", str(data), "--seed", str(2**32)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--seed 4294967296; accepted: 0 to 4294967295")


def test_a_damaged_record_is_named(run, tmp_path):
    for name in ("config.json", "history.csv"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    whole = (run / "predictions.npz").read_bytes()
    (tmp_path / "predictions.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged run record"):
        read_run(tmp_path)


def test_recipes_are_what_the_study_says():
    reference = RECIPES["reference"]
    assert (reference.learning_rate, reference.batch_size, reference.epochs) == (1e-5, 32, 200)
    assert (reference.loss, reference.schedule, reference.patience, reference.min_delta) == ("mse", "constant", 20, 0)
    assert reference.restore_best


def test_a_changed_recipe_says_so():
    assert get_recipe("quick").with_changes(epochs=None).name == "quick"
    assert get_recipe("quick").with_changes(epochs=3).name == "quick+epochs=3"
    with pytest.raises(TypeError):
        get_recipe("quick").with_changes(momentum=0.9)


# --- the picture of before and after


def test_before_training_is_the_network_that_the_run_started_from(run, data, tmp_path):
    prepared = load(data)
    network = before_after.untrained(read_run(run), load(data))
    images = np.asarray(prepared.test.images)
    before = network.predict_on_batch(images)
    np.testing.assert_array_equal(before, before_after.untrained(read_run(run), load(data)).predict_on_batch(images))
    # Its head starts at the mean face, and training moved it.
    assert np.abs(before - prepared.manifest["mean_face"]).mean() < 3
    assert np.abs(before - read_run(run).test.predicted).max() > 1
    shown = before_after.choose(prepared)
    labelled = prepared.test.observed[shown].sum(axis=1)
    assert len(set(prepared.test.groups[shown])) == len(shown)
    assert (labelled == prepared.test.observed.sum(axis=1).max()).all()
    # Embedded faces may be shown to anyone.
    assert before_after.write(run, prepared, tmp_path) == tmp_path / "before_after_base.png"
    assert (tmp_path / "before_after_base.png").stat().st_size > 10_000


def test_before_and_after_of_real_faces_stays_outside_git(run, data, tmp_path, monkeypatch):
    real = shutil.copytree(data, tmp_path / "real")
    manifest = (real / "manifest.json").read_text().replace('"kind": "synthetic"', '"kind": "kaggle"')
    (real / "manifest.json").write_text(manifest)
    monkeypatch.setattr("data_prep.prepared.PROJECT", tmp_path)
    with pytest.raises(DataError, match="would show real faces"):
        before_after.write(run, load(real), tmp_path / "docs")
    assert not (tmp_path / "docs").exists()
    results = tmp_path / "results/tiny"
    assert before_after.write(run, load(real), results) == results / "faces/before_after_base.png"


def test_before_and_after_of_other_faces_is_refused(run, data, tmp_path, capsys):
    other = tmp_path / "other"
    options = ("--source", "synthetic", "--count", "80", "--seed", "1", "--missing", "none", "--no-analysis")
    assert data_prep.main([*options, "--output", str(other)]) == 0
    assert before_after.main(["--run", str(run), "--data", str(other), "--output", str(tmp_path / "results")]) == 2
    assert "holds other test faces than" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "results").exists()


def test_a_start_from_a_run_that_saw_the_test_faces_is_refused(run, data, tmp_path, capsys, monkeypatch):
    """Split anew: what the first network trained on, the second would be tested on; as a zip or out of it."""
    folder, output = tmp_path / "before", tmp_path / "after"
    shutil.copytree(run, folder)
    photographs = replace(
        load(data), manifest={**load(data).manifest, "source": {"kind": "kaggle", "sha256": "5" * 64}}
    )
    config = json.loads((folder / "config.json").read_text())
    monkeypatch.setattr(trainer, "get_network", lambda name: Network(name, {}, None, read_run(folder)))
    seen = "it would be tested on faces it saw"
    for seed, sha256, expected in ((1, "5" * 64, seen), (1, "6" * 64, seen), (0, "5" * 64, "no fit")):
        source = {"kind": "kaggle", "sha256": sha256}
        changed = {**config, "data_source": source, "split": {**config["split"], "seed": seed}}
        (folder / "config.json").write_text(json.dumps(changed))
        args = trainer.parse_arguments("models.base", "base", ["--data", str(data), "--output", str(output)])

        def fit(*anything):
            raise DataError("no fit")

        assert trainer.make_run("models.base", "base", args, load=lambda path: photographs, fit=fit) == 2
        assert expected in capsys.readouterr().err


def test_faces_of_other_labels_are_others_whatever_they_are_called(run, data):
    found, data = read_run(run), load(data)
    assert trainer.labels_in_common(found, data) == 1
    moved = {part: replace(getattr(data, part), keypoints=getattr(data, part).keypoints + 2) for part in SPLITS}
    assert trainer.labels_in_common(found, replace(data, **moved)) == 0
    renamed = {part: replace(getattr(data, part), ids=np.asarray(getattr(data, part).ids) + 1000) for part in SPLITS}
    assert trainer.labels_in_common(found, replace(data, **renamed)) == 0


def test_a_run_with_other_options_is_another(run, data):
    prepared, recipe = load(data), get_recipe("quick").with_changes(epochs=2, batch_size=16)
    for options, problem in (({}, None), ({"weights": "elsewhere/model.keras"}, "another options")):
        network = Network("base", options, None)
        if problem is None:
            trainer.check_same(run, network, prepared, recipe, 0, "auto")
        else:
            with pytest.raises(DataError, match=problem):
                trainer.check_same(run, network, prepared, recipe, 0, "auto")
