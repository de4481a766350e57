"""Learning from another network's answers: how they and the labels are put together, and a run from end to end."""

import hashlib

import numpy as np
import pytest

from data_prep import __main__ as data_prep
from data_prep.prepared import load
from models import label_rules, taught, trainer
from models.runs import read_run

SHORT = ("--epochs", "1", "--batch-size", "16")


def prepare(folder, *options):
    words = ("--source", "synthetic", "--count", "80", "--no-analysis", *options, "--output", str(folder))
    assert data_prep.main([*words]) == 0
    return folder


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    assert trainer.main("lenet5", ["--data", str(data), *SHORT, "--output", str(folder)]) == 0
    return folder


def test_answers_and_labels_by_hand():
    nan = np.nan
    labels = np.array([[[10, 20], [nan, nan]], [[nan, nan], [5, 5]]], np.float32)
    answers = np.array([[[12, 20], [30, 40]], [[1, 2], [6, 9]]], np.float32)
    half = [[[11, 20], [30, 40]], [[1, 2], [5.5, 7]]]
    gaps = [[[10, 20], [30, 40]], [[1, 2], [5, 5]]]
    np.testing.assert_array_equal(taught.put_together(labels, answers, 0.5), np.array(half, np.float32))
    np.testing.assert_array_equal(taught.put_together(labels, answers, 0.0), np.array(gaps, np.float32))


@pytest.mark.parametrize("rules", ["one", "by_source"])
@pytest.mark.parametrize("treatment", taught.TREATMENTS)
def test_what_a_network_learns(data, teacher, rules, treatment):
    """True labels are those of every training face's own source; the answers of a network of 15 outputs likewise."""
    found = taught.Teaching(read_run(teacher), treatment)
    prepared = found.load(data)
    faces = prepared.train, prepared.val, prepared.schema, np.full((15, 2), 48.0)
    train, *_ = label_rules.lessons(rules, *faces)
    learned = found.taught(train, {})
    assert learned.shape[1] == {"one": 15, "by_source": 17}[rules]
    # What has neither label nor answer: a row says nothing of the two points that the other source puts elsewhere.
    np.testing.assert_array_equal(np.isnan(learned).any(axis=-1).sum(axis=1), {"one": 0, "by_source": 2}[rules])
    seen = np.asarray(train.observed)
    same = np.isclose(learned, train.keypoints).all(axis=-1)[seen]
    assert same.all() if treatment == "taught_gaps" else not same.any()


def test_a_teacher_of_both_rules_tells_of_both(data, tmp_path):
    """A network of 17 outputs fills in all of them, and answers 15 points by each face's own source."""
    run = tmp_path / "run"
    words = ["--data", str(data), *SHORT, "--label-rules", "by_source", "--output", str(run)]
    assert trainer.main("lenet5", words) == 0
    found = taught.Teaching(read_run(run), "taught_gaps")
    prepared = found.load(data)
    faces = prepared.train, prepared.val, prepared.schema, np.full((15, 2), 48.0)
    of_both = found.taught(label_rules.lessons("by_source", *faces)[0], {})
    of_one = found.taught(prepared.train, {})
    assert not np.isnan(of_both).any()
    gaps = ~np.asarray(prepared.train.observed)
    expected = label_rules.answers(of_both, prepared.train.sources)
    np.testing.assert_allclose(of_one[gaps], expected[gaps], atol=1e-4)


@pytest.mark.parametrize("rules", ["one", "by_source"])
def test_answers_get_what_labels_have_to_one_side(data, teacher, rules):
    """2 px to the right for the second source: its gaps are filled 2 px further right, those of the first as before."""
    found = taught.Teaching(read_run(teacher), "taught_gaps")
    prepared = found.load(data)
    faces = prepared.train, prepared.val, prepared.schema, np.full((15, 2), 48.0)
    train, *_ = label_rules.lessons(rules, *faces)
    plain, moved = found.taught(train, {}), found.taught(train, {2: np.tile([2.0, 0.0], (15, 1))})
    gaps = np.isnan(train.filled).any(axis=-1) & ~np.isnan(plain).any(axis=-1)
    second = (np.asarray(train.sources) == 2)[:, None] & gaps
    assert second.any()
    np.testing.assert_allclose((moved - plain)[second], np.tile([2.0, 0.0], (second.sum(), 1)), atol=1e-4)
    np.testing.assert_array_equal(moved[~second], plain[~second])


def test_a_run_names_its_teacher(data, teacher, tmp_path, capsys):
    options = ["--teacher", str(teacher), "--model", "base", "--data", str(data), *SHORT]
    output = ["--output", str(tmp_path / "run")]
    assert taught.main([*options, *output]) == 0
    config = read_run(tmp_path / "run").config
    assert (config["treatment"], config["model"], config["teacher"]["model"]) == ("taught", "base", "lenet5")
    assert config["teacher"]["sha256"] == hashlib.sha256((teacher / "model.keras").read_bytes()).hexdigest()
    assert "--teacher" in config["command"]
    assert taught.main([*options, *output]) == 0
    assert "is a finished run" in capsys.readouterr().out
    assert taught.main([*options, *output, "--gaps"]) == 2
    assert "another treatment" in capsys.readouterr().err


def test_what_cannot_teach_is_named(data, teacher, tmp_path, capsys):
    def says(*words):
        assert taught.main([*SHORT, "--model", "base", *words, "--output", str(tmp_path / "run")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "--teacher is missing" in says("--data", str(data))
    assert "is not a finished run" in says("--data", str(data), "--teacher", str(tmp_path))
    assert "unknown model 'bse'" in says("--model", "bse", "--teacher", str(teacher))
    filled = prepare(tmp_path / "filled", "--missing", "mean")
    assert "a teacher needs --missing none" in says("--data", str(filled), "--teacher", str(teacher))
    other = prepare(tmp_path / "other", "--missing", "none", "--schema", "68")
    assert "was trained for kaggle15" in says("--data", str(other), "--teacher", str(teacher))
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_has_seen_the_test_faces_is_refused(data, teacher, tmp_path, monkeypatch):
    """Of a file split anew. Embedded faces of another seed are other faces, so the source is said to be a file."""
    prepared, run = load(data), read_run(teacher)
    for config in (prepared.manifest["source"], run.config["data_source"]):
        config.update(kind="kaggle", sha256="one")
    run.config["split"] = {**run.config["split"], "seed": 9}
    monkeypatch.setattr(taught, "load", lambda folder: prepared)
    with pytest.raises(taught.DataError, match="it would be tested on faces it saw"):
        taught.Teaching(run, "taught").load(data)
