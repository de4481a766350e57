"""The mean of several networks: its answers, its record, what it may teach, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from data_prep import __main__ as data_prep
from evaluation import summary
from evaluation.entries import from_run
from models import apply, ensemble, taught, trainer
from models.run_output import outputs
from models.runs import read_run

SHORT = ("--epochs", "1", "--batch-size", "16")


@pytest.fixture(scope="module")
def members(data, tmp_path_factory):
    """Two networks that differ in their seed, and one of another recipe."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [folder / name for name in ("lenet5-s0", "lenet5-s1", "other-s2")]
    for seed, (run, more) in enumerate(zip(runs, ((), (), ("--learning-rate", "0.01")), strict=True)):
        words = ["--data", str(data), *SHORT, *more, "--seed", str(seed), "--output", str(run)]
        assert trainer.main("lenet5", words) == 0
    return runs


@pytest.fixture(scope="module")
def merged(data, members, tmp_path_factory):
    output = tmp_path_factory.mktemp("merged") / "both"
    words = ["--data", str(data), "--output", str(output), "--runs", *map(str, members[:2])]
    assert ensemble.main(words) == 0
    return output


def edit(run, **changes):
    """Change a run's config.json; None takes a key out."""
    config = json.loads((run / "config.json").read_text()) | changes
    (run / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_it_answers_with_the_mean(merged, members):
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96)).astype(np.uint8)
    one, two, both = (outputs(apply.load_network(run / "model.keras"), images) for run in (*members[:2], merged))
    assert np.abs(one - two).max() > 0.1
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-4)


def test_its_record_tells_of_each(merged, members):
    one, both = read_run(members[0]), read_run(merged)
    two = read_run(members[1])
    assert both.config["model"] == "lenet5, mean of 2"
    assert list(both.config["parts"]) == ["lenet5-s0", "lenet5-s1"]
    assert [part["seed"] for part in both.config["parts"].values()] == [0, 1]
    assert both.config["parameters"] == 2 * one.config["parameters"]
    assert both.config["train_seconds"] == pytest.approx(
        one.config["train_seconds"] + two.config["train_seconds"], abs=0.06
    )
    assert "models.ensemble" in both.config["command"]
    np.testing.assert_allclose(both.test.predicted, (one.test.predicted + two.test.predicted) / 2, atol=0.07)  # rounded


def test_in_tables_it_is_one_ensemble_and_in_no_plot_of_trainings(merged, members):
    entries = [from_run(read_run(run)) for run in (members[0], merged)]
    assert [entry.reuses_runs for entry in entries] == [False, True]
    notes = {row["variant"].split(" (")[0]: row["note"] for row in summary.summary(entries)}
    assert notes == {"lenet5": "one seed", "lenet5, mean of 2": "one ensemble"}


def test_it_can_teach(merged, data, tmp_path, capsys):
    words = [
        "--teacher",
        str(merged),
        "--model",
        "base",
        "--data",
        str(data),
        *SHORT,
        "--output",
        str(tmp_path / "run"),
    ]
    assert taught.main(words) == 0
    config = read_run(tmp_path / "run").config
    assert config["teacher"]["model"] == "lenet5, mean of 2"
    assert config["treatment"] == "taught_by_several"
    assert taught.main([*words, "--gaps"]) == 2
    assert "is the mean of several networks; --gaps is for one" in capsys.readouterr().err


def test_what_is_no_ensemble_is_one_line(data, members, tmp_path, capsys):
    light = tmp_path / "light"
    shutil.copytree(members[1], light, ignore=shutil.ignore_patterns("model.keras"))
    lacking, otherwise = (shutil.copytree(members[1], tmp_path / name) for name in ("lacking", "otherwise"))
    edit(lacking, command=None)
    edit(otherwise, precision="mixed_bfloat16")
    for runs, why in (
        (members[:1], "--runs names one run; two or more are accepted"),
        ([members[0], members[0]], "--runs names a seed twice: 0, 0"),
        (members[1:], "differ in recipe, not in the seed alone"),
        ([members[0], light], "model.keras does not exist"),
        ([members[0], tmp_path], "is not a finished run: config.json is missing"),
        ([members[0], lacking], "config.json lacks command"),
        ([members[0], otherwise], "differ in precision, not in the seed alone"),
    ):
        words = ["--data", str(data), "--output", str(tmp_path / "none"), "--runs", *map(str, runs)]
        assert ensemble.main(words) == 2
        said = capsys.readouterr().err
        assert why in said
        assert said.count("\n") == 1
        assert not (tmp_path / "none").exists()


def test_neither_a_trained_run_nor_other_labels(data, members, merged, tmp_path, capsys):
    """A run that was trained is not replaced, an ensemble is; labels filled in are not what the members learned."""
    runs = ["--runs", *map(str, members[:2])]
    trained = (members[0] / "model.keras").read_bytes()
    assert ensemble.main(["--data", str(data), *runs, "--output", str(members[0])]) == 2
    assert "is another run, " in capsys.readouterr().err
    assert (members[0] / "model.keras").read_bytes() == trained
    assert ensemble.main(["--data", str(data), *runs, "--output", str(merged)]) == 0
    assert ensemble.main(["--data", str(data), *runs[:1], *runs[:0:-1], "--output", str(merged)]) == 2  # others' mean
    assert apply.main(["--run", str(members[0]), "--data", str(data), "--output", str(merged)]) == 2
    assert capsys.readouterr().err.count("is another run, ") == 2
    capsys.readouterr()
    filled = tmp_path / "tiny"
    words = ("--source", "synthetic", "--count", "80", "--missing", "mean", "--no-analysis", "--output", str(filled))
    assert data_prep.main([*words]) == 0
    assert ensemble.main(["--data", str(filled), *runs, "--output", str(tmp_path / "none")]) == 2
    assert "was prepared with --missing mean; the runs need none" in capsys.readouterr().err
