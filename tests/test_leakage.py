"""`python -m evaluation.leakage`: the sets it draws, the table it makes of records, and what it refuses."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from data_prep.faceset import DataError, FaceSet
from data_prep.prepared import Split, load, write
from data_prep.schema import KAGGLE15
from evaluation import leakage, leakage_sets, leakage_table
from evaluation.leakage import main
from models.recipe import get_recipe
from models.runs import Predictions, read_run, write_record

ROOT = Path(__file__).parents[1]
K = len(KAGGLE15)


def make_faces(groups, sources, points, ids=None, size=8):
    """Faces with these numbers of labelled points each; point k lies at (10 + k, 20)."""
    n = len(groups)
    keypoints = np.full((n, K, 2), np.nan, np.float32)
    for row, count in zip(keypoints, points, strict=True):
        row[:count] = [(10 + k, 20) for k in range(count)]
    return FaceSet(
        images=np.random.default_rng(0).integers(0, 256, (n, size, size), np.uint8),
        keypoints=keypoints,
        groups=np.array(groups, np.int64),
        ids=np.arange(n) if ids is None else np.array(ids),
        sources=np.array(sources, np.int64),
        schema=KAGGLE15,
    )


def crowd(size=8):
    """400 faces: of each source 25 groups of four, 25 pairs and 50 single faces, 15 points in source 1, 4 in 2."""
    groups = np.concatenate([np.repeat(np.arange(25), 4), 25 + np.repeat(np.arange(25), 2), 50 + np.arange(50)])
    return make_faces([*groups, *groups + 100], [1] * 200 + [2] * 200, [15] * 200 + [4] * 200, size=size)


def make_prepared(folder, faces):
    """The faces as a prepared data set, shuffled and split at will."""
    rows = np.random.default_rng(5).permutation(len(faces))
    splits = {}
    for name, part in zip(("train", "val", "test"), np.split(rows, [len(rows) // 2, len(rows) * 3 // 4]), strict=True):
        taken = faces.take(part)
        splits[name] = Split(
            taken.images, taken.keypoints, taken.keypoints, taken.observed, taken.groups, taken.ids, taken.sources
        )
    manifest = {
        "name": "toy",
        "source": {"kind": "kaggle", "path": None, "sha256": "0" * 64, "note": None},
        "schema": {"name": "kaggle15", "points": list(KAGGLE15.points)},
        "image_size": list(faces.images.shape[1:]),
        "treatment": "none",
        "seed": 0,
    }
    write(folder, splits, manifest)
    return folder


# --- the sets


@pytest.mark.parametrize("seed", range(4))
def test_the_training_sets_differ_in_kinship_only(seed):
    faces = crowd()
    sets = leakage_sets.choose(faces, seed, test_faces=40)
    groups, points = faces.groups, faces.observed.sum(axis=1)
    with_, without = sets.train("with"), sets.train("without")
    assert 0 < len(sets.test) <= 40
    # kinship: each test face has a relative in `with`, none in `without` or among the validation faces
    assert np.isin(groups[sets.test], groups[with_]).all()
    assert not np.isin(groups[sets.test], groups[without]).any()
    for part in (sets.test, with_, without):
        assert not np.isin(groups[sets.val], groups[part]).any()
    # all else: as many faces of either source, with as many labels, in as many groups
    assert len(with_) == len(without)
    assert sorted(faces.sources[with_]) == sorted(faces.sources[without])
    assert points[with_].sum() == points[without].sum()
    sizes = [sorted(np.unique(groups[part], return_counts=True)[1]) for part in (sets.relatives, sets.others)]
    assert sizes[0] == sizes[1]
    every = np.concatenate([*vars(sets).values()])
    assert len(every) == len(set(every))
    assert np.setdiff1d(with_, sets.relatives).tolist() == np.setdiff1d(without, sets.others).tolist()


def test_one_seed_draws_the_same_sets_and_another_others():
    faces = crowd()
    first, again, other = (leakage_sets.choose(faces, seed).test.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_a_third_of_a_group_is_tested_and_the_limits_are_kept():
    # 20 groups of six: two faces of each are tested, four left behind. Test groups and those in their place may
    # hold 74 % of 120 faces, 88.8: seven pairs of groups.
    faces = make_faces(np.repeat(np.arange(20), 6), [1] * 120, [4] * 120)
    sets = leakage_sets.choose(faces, 0)
    assert (len(sets.test), len(sets.relatives), len(sets.others)) == (7 * 2, 7 * 4, 7 * 4)
    assert (np.unique(faces.groups[sets.test], return_counts=True)[1] == 2).all()
    # Of 20 test faces a twentieth, one, may be of one group: groups of six are then too large.
    with pytest.raises(DataError, match="no face can be tested"):
        leakage_sets.choose(faces, 0, test_faces=20)


def test_the_replacement_is_the_face_most_alike():
    # Faces 0 and 1, of source 2 with 4 points, are the only relatives. Like them is face 2 alone: face 3 is of the
    # other source, the rest has 15 points.
    alike = [(0, 2, 4), (0, 2, 4), (1, 2, 4), (2, 1, 4)]
    rest = [(10 + i, 1 + i % 2, 15) for i in range(30)]
    faces = make_faces(*zip(*alike, *rest, strict=True))
    for seed in range(5):
        sets = leakage_sets.choose(faces, seed)
        assert sorted([*sets.test, *sets.relatives]) == [0, 1]
        assert sets.others.tolist() == [2]


def test_a_group_that_no_other_can_replace_is_not_tested():
    # Six faces of one person would leave four behind, and all other groups are pairs.
    faces = make_faces([0] * 6 + list(np.repeat(np.arange(1, 41), 2)), [1] * 86, [15] * 86)
    for seed in range(10):
        assert not (faces.groups[leakage_sets.choose(faces, seed, test_faces=40).test] == 0).any()


def test_the_published_test_faces_are_tested_where_there_is_a_published_split():
    people = np.repeat(np.arange(40), 10)
    ids = [f"{'test' if i % 10 < 2 else 'training'}/Person_{i:03d}_01.jpg" for i in range(400)]
    faces = make_faces(people, [0] * 400, [15] * 400, ids)
    sets = leakage_sets.choose(faces, 0)
    assert all(faces.ids[row].startswith("test/") for row in sets.test)
    assert all(faces.ids[row].startswith("training/") for row in sets.relatives)
    # 74 % of 400 faces, 296: 14 pairs of people with ten faces, two of them published test faces
    assert (len(sets.test), len(sets.relatives), len(sets.others)) == (28, 112, 112)


def test_a_face_without_a_label_is_not_tested():
    faces = crowd()
    blank = faces.keypoints.copy()
    blank[::2] = np.nan
    sets = leakage_sets.choose(replace(faces, keypoints=blank), 0)
    assert (sets.test % 2 == 1).all()


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        (make_faces(range(50), [1] * 50, [15] * 50), "no group has a labelled face, a relative of it, and a group"),
        # the only pair is of source 2, and nothing else is
        (make_faces([0, 0, *range(1, 49)], [2, 2] + [1] * 48, [15] * 50), "no face can be tested"),
        # one pair is tested and one replaces it; the validation faces may be 6 % of ten, less than a pair
        (make_faces(np.repeat(range(5), 2), [1] * 10, [15] * 10), "10 faces in 5 groups are too few"),
    ],
)
def test_faces_that_do_not_serve_are_refused(faces, message):
    with pytest.raises(DataError, match=message):
        leakage_sets.choose(faces, 0)


def test_the_arms_as_prepared_data(tmp_path):
    data = load(make_prepared(tmp_path / "toy-none", crowd()))
    faces = leakage_sets.pool(data)
    assert faces.ids.tolist() == list(range(400))  # how it was split leaves no trace
    assert np.array_equal(faces.images, crowd().images)
    # One arm of each name; labels of the relatives moved, so that a mean over them would show.
    sets = leakage_sets.choose(faces, 0, test_faces=40)
    faces.keypoints[sets.relatives] += 50
    for arm in leakage_sets.ARMS:
        made = leakage_sets.arm_data(data, faces, sets, arm, tmp_path / f"leakage-toy-{arm}", 0, "the command")
        write(made.folder, {name: getattr(made, name) for name in ("train", "val", "test")}, made.manifest)
        read = load(made.folder)
        assert read.name == f"leakage-toy-{arm}"
        assert read.train.ids.tolist() == sets.train(arm).tolist()
        assert read.test.ids.tolist() == sets.test.tolist()
        assert np.array_equal(read.train.filled, read.train.keypoints, equal_nan=True)
        assert (read.manifest["treatment"], read.manifest["faces"]["val"]) == ("none", len(sets.val))
        # Every label of the common faces lies at (10 + k, 20).
        assert read.manifest["mean_face"] == [[10 + k, 20] for k in range(K)]
        what = read.manifest["source"]["leakage"]
        assert what["relatives"] == {
            kind: int((faces.sources[sets.relatives] == int(kind)).sum()) if arm == "with" else 0 for kind in "12"
        }
        assert sum(what["train_faces"].values()) == len(sets.train(arm))


def test_a_keypoint_without_any_label_is_refused(tmp_path):
    data = load(make_prepared(tmp_path / "toy", replace(crowd(), keypoints=crowd().keypoints * np.nan)))
    faces = leakage_sets.pool(data)
    sets = leakage_sets.choose(crowd(), 0)
    with pytest.raises(DataError, match="no label in the faces common to both"):
        leakage_sets.arm_data(data, faces, sets, "with", tmp_path / "x", 0, "")


# --- the table

# Four groups of two faces. Groups 0 and 1 are of source 1, 2 and 3 of source 2; face 0 lacks its point 3.
GROUPS, SOURCES = np.repeat(np.arange(4), 2), np.array([1] * 4 + [2] * 4)


def predictions(error, groups=GROUPS, sources=SOURCES):
    """Every prediction is off by `error`, every point lies at (50, 50)."""
    truth = np.full((len(groups), K, 2), 50, np.float32)
    observed = np.ones((len(groups), K), bool)
    observed[0, 3] = False
    errors = np.broadcast_to(np.array(error, np.float32), truth.shape).copy()
    errors[0, 3] = np.nan
    return Predictions(np.arange(len(groups)) * 10, groups, sources, truth + np.float32(error), errors, observed)


def make_run(folder, error, test=None, what=None, **changes):
    """A finished run named like its folder, `with-s0` or the like."""
    arm, seed = folder.name.split("-s")
    noted = {
        "arm": arm,
        "of": "toy",
        "sets_sha256": "f" * 64,
        "train_faces": {"1": 60, "2": 40},
        "train_points": {"1": 900, "2": 160 if arm == "with" else 161},
        "relatives": {"1": 7, "2": 3} if arm == "with" else {"1": 0, "2": 0},
        "command": "python -m evaluation.leakage --data toy",
    } | (what or {})
    config = {
        "run": folder.name,
        "data": f"leakage-toy-{arm}",
        "data_source": {"kind": "kaggle", "sha256": "0" * 64, "leakage": noted},
        "model": "v1",
        "recipe": get_recipe("quick").as_dict(),
        "treatment": "none",
        "seed": int(seed),
        "image_size": [96, 96],
        "schema": "kaggle15",
        "mean_face": [[50.0, 50.0]] * K,
        "commit": "abc1234",
    } | changes
    test = test or predictions(error)
    folder.mkdir(parents=True)
    val = predictions((1, 1), groups=np.array([8, 9]), sources=np.array([1, 2]))
    write_record(folder, config, {"epoch": [1], "loss": [4.0], "val_loss": [5.0]}, val=val, test=test)
    return folder


def make_experiment(runs):
    """Both arms, two seeds: off by 1 and 3 px in x with relatives, by 2 and 4 px without."""
    for name, error in (("with-s0", 1), ("with-s1", 3), ("without-s0", 2), ("without-s1", 4)):
        make_run(runs / name, (error, 0))


def read_table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def everything_under(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The results of the experiment of `make_experiment`, from its records."""
    folder = tmp_path_factory.mktemp("toy")
    make_experiment(folder / "results/leakage/toy/runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([]) == 0
    return folder / "results/leakage/toy"


def test_the_table_by_hand(toy):
    everyone, first, second, control = read_table(toy / "leakage.csv")
    assert [row["label_source"] for row in (everyone, first, second, control)] == ["all", "1", "2", "control"]
    # 8 faces of 15 points less the one without a label, which is of source 1
    assert [row["points_scored"] for row in (everyone, first, second)] == ["119", "59", "60"]
    assert [(row["test_faces"], row["test_groups"]) for row in (everyone, first)] == [("8", "4"), ("4", "2")]
    # Squared errors in x, averaged over seeds: (1 + 9) / 2 = 5 with, (4 + 16) / 2 = 10 without; half of the
    # coordinates are y, without error: sqrt(2.5) and sqrt(5).
    for row in (everyone, first, second):
        assert (row["rmse_with_px"], row["rmse_without_px"]) == ("1.5811", "2.2361")
        assert (row["difference_px"], row["difference_pct"]) == ("-0.6549", "-29.29")
        # All groups err alike, so every resample gives the same.
        assert (row["low_px"], row["high_px"]) == ("-0.6549", "-0.6549")
        # Seeds: sqrt(1/2) - sqrt(4/2) and sqrt(9/2) - sqrt(16/2), both -sqrt(1/2)
        assert (row["difference_min_px"], row["difference_max_px"]) == ("-0.7071", "-0.7071")
        # Of the pairs of seeds (1, 2), (1, 4), (3, 2), (3, 4) three are better with relatives.
        assert row["probability_of_improvement"] == "0.7500"
    # Four groups of one sign: two of the 2^4 patterns of signs are as far from 0. Two groups: two of 2^2.
    assert [row["p_value"] for row in (everyone, first)] == ["0.1250", "0.5000"]
    counts = ("train_faces", "relatives_in_training", "train_points_with", "train_points_without")
    assert [everyone[name] for name in counts] == ["100", "10", "1060", "1061"]
    assert [second[name] for name in counts] == ["40", "3", "160", "161"]
    # The validation faces (two, off by 1 px in x and y under either arm) have no relatives in training.
    assert [control[name] for name in ("test_faces", *counts)] == ["2", "100", "0", "1060", "1061"]
    assert (control["rmse_with_px"], control["difference_px"]) == ("1.0000", "0.0000")
    assert (everyone["data"], everyone["model"], everyone["recipe"], everyone["seeds"]) == ("toy", "v1", "quick", "0 1")
    assert everyone["commit"] == "abc1234"
    assert everyone["command"] == "python -m evaluation.leakage --data toy --seeds 0 1"


def test_one_label_source_has_one_row(tmp_path):
    for arm, error in (("with", 1), ("without", 2)):
        make_run(tmp_path / f"{arm}-s0", (error, 0), predictions((error, 0), sources=np.zeros(8, int)))
    runs = [read_run(tmp_path / f"{arm}-s0") for arm in leakage_sets.ARMS]
    assert [effect.label_source for effect in leakage_table.effects(runs)] == ["all", "control"]


def test_every_column_is_explained(toy):
    text = (ROOT / "results/README.md").read_text().split("## leakage/", 1)[1]
    explained = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]*)\|", text, flags=re.M))))
    columns = set(read_table(toy / "leakage.csv")[0])
    assert columns <= explained, f"{columns - explained} not explained"


def test_the_picture_shows_something(toy):
    pixels = matplotlib.image.imread(toy / "leakage.png")[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert 0.005 < (pixels.min(axis=-1) < 0.9).mean() < 0.95


def test_without_data_the_records_make_the_same_files_again(toy, monkeypatch):
    before = everything_under(toy)
    monkeypatch.chdir(toy.parents[2])
    (toy / "leakage.csv").unlink()
    assert main([]) == 0
    assert everything_under(toy) == before


# --- the experiment


@pytest.fixture
def finished(here):
    """Prepared data and the finished runs of both arms, seed 0, in runs/."""
    data = load(make_prepared(here / "data/prepared/toy-none", crowd()))
    faces = leakage_sets.pool(data)
    sets = leakage_sets.choose(faces, 0)
    for arm, error in (("with", 1), ("without", 2)):
        made = leakage_sets.arm_data(data, faces, sets, arm, here / "x", 0, "the command")
        test = predictions((error, 0), made.test.groups, made.test.sources)
        what = made.manifest["source"]["leakage"]
        make_run(here / f"runs/leakage/toy/{arm}-s0", (error, 0), test, what=what)
    return here


ASKED = ["--data", "data/prepared/toy-none", "--seeds", "0"]


def test_what_is_finished_is_not_trained_again(finished, capsys):
    assert main(ASKED) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "[1/2] with-s0: runs/leakage/toy/with-s0 is a finished run"
    # off by 1 and 2 px in x alone: sqrt(1 / 2) and sqrt(4 / 2)
    assert "RMSE 0.71 px with relatives, 1.41 px without; difference -0.707 px" in lines[4]
    assert not (finished / "data/prepared/leakage-toy-with").exists()
    run, record = (everything_under(finished / p / "with-s0") for p in ("runs/leakage/toy", "results/leakage/toy/runs"))
    assert run == record
    # It will do in the place of the run, with the same result.
    table = (finished / "results/leakage/toy/leakage.csv").read_bytes()
    (finished / "runs").rename(finished / "gone")
    assert main(ASKED) == 0
    assert "results/leakage/toy/runs/with-s0 is a finished run" in capsys.readouterr().out
    assert (finished / "results/leakage/toy/leakage.csv").read_bytes() == table
    assert not (finished / "runs").exists()


def test_dry_run_prints_sizes_and_commands_and_writes_nothing(finished, capsys):
    before = everything_under(finished)
    assert main([*ASKED[:-1], "0", "4", "--epochs", "2", "--name", "short", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # 6 % of 400 faces
    assert re.fullmatch(r"short: \d+ test faces of \d+ groups, 24 validation and control faces", lines[0])
    assert lines[-1] == (
        "to do  python -m models.v1 --data data/prepared/leakage-short-without --recipe quick --epochs 2 --seed 4 "
        "--output runs/leakage/short/without-s4"
    )
    assert len(lines) == 2 + 4
    assert main([*ASKED, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("done   python -m models.v1 --data data/prepared/leak")
    assert main([*ASKED, "--overwrite", "--dry-run"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("to do  python -m models.v1")
    assert line.endswith(" --overwrite")
    assert everything_under(finished) == before


def test_a_training_that_fails_is_told_with_its_last_line(here, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ["models.v1", "--data", "absent", "--output", "runs/x/with-s0"]
    job = leakage.Job("with-s0", here / "runs/x/with-s0", here / "record", words)
    with pytest.raises(DataError, match=r"with-s0 failed \(exit code 2\): models.v1: error: absent is not a prepared"):
        leakage.train(job)


@pytest.mark.slow
def test_the_whole_experiment(here, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    make_prepared(here / "data/prepared/toy-none", crowd(size=96))
    assert main([*ASKED, "--model", "base", "--epochs", "1"]) == 0
    row = read_table(here / "results/leakage/toy/leakage.csv")[0]
    config = json.loads((here / "results/leakage/toy/runs/without-s0/config.json").read_text())
    assert row["recipe"] == "quick+epochs=1"
    assert int(row["train_faces"]) == config["train_faces"]
    assert config["command"].startswith("python -m models.base --data data/prepared/leakage-toy-without")
    assert "trained in" in capsys.readouterr().out


# --- refusals


def refused(capsys, arguments):
    """The one line of a call that ends with exit code 2."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "v9"], "unknown model 'v9'; accepted: base, v1"),
        (["--recipe", "slow"], "unknown recipe 'slow'; accepted: "),
        (["--epochs", "0"], "epochs and batch size must be 1 or more"),
        (["--data", "absent"], "absent is not a prepared data set"),
        (["--epochs", "2"], "runs/leakage/toy/with-s0 is a finished run with another recipe; --overwrite it"),
        (["--split-seed", "1"], "runs/leakage/toy/with-s0 is a finished run with another choice of faces"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(finished, capsys, more, message):
    before = everything_under(finished)
    assert message in refused(capsys, [*ASKED, *more])
    assert everything_under(finished) == before


@pytest.mark.parametrize("arguments", [["--data", "x", "--seeds", "-1"], ["--data", "x", "--name", "../x"]])
def test_a_wrong_command_is_refused_by_argparse(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_records_of_other_seeds_must_be_of_the_same_experiment(finished, capsys):
    make_run(finished / "results/leakage/toy/runs/with-s7", (1, 0))  # of other faces
    assert "runs/with-s7 is a finished run with another choice of faces" in refused(capsys, ASKED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"what": {"sets_sha256": "0" * 64}}, "differ in sets of faces"),
        ({"model": "base"}, "differ in model"),
        ({"recipe": get_recipe("reference").as_dict()}, "differ in recipe"),
        ({"data_source": {"sha256": "0" * 64}}, "is no run of this experiment"),
        ({"test": predictions((1, 0), sources=SOURCES[:6], groups=GROUPS[:6])}, "6 test faces, not 8"),
    ],
)
def test_records_that_do_not_belong_together_are_refused(here, capsys, changes, message):
    runs = here / "results/leakage/toy/runs"
    make_run(runs / "with-s0", (1, 0))
    make_run(runs / "without-s0", (2, 0), **changes)
    assert message in refused(capsys, [])
    assert not (here / "results/leakage/toy/leakage.csv").exists()


def test_a_missing_or_damaged_record_fails_the_table(here, capsys):
    assert "no records below results/leakage" in refused(capsys, [])
    assert "no records in results/leakage/toy/runs" in refused(capsys, ["--name", "toy"])
    runs = here / "results/leakage/toy/runs"
    make_experiment(runs)
    (runs / "without-s1").rename(here / "without-s1")
    assert "no comparison without its other half: without-s1 missing" in refused(capsys, [])
    (runs / "with-s1/history.csv").unlink()
    assert "with-s1 is not a finished run: history.csv is missing" in refused(capsys, [])


def test_help_answers_without_heavy_imports():
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        "try: runpy.run_module('evaluation.leakage', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'keras', 'jax', 'matplotlib', 'scipy'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m" in done.stdout
