"""Study files, the plan they give, and small studies of real commands from end to end."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.faceset import DataError
from data_prep.prepared import load
from evaluation import child, study
from evaluation.study_file import read_study, with_data
from evaluation.study_plan import DIFFERS, DONE, RECORDED, TO_DO, find_prepared, plan
from evaluation.study_runs import Training, missing_runs
from evaluation.study_times import in_words
from models import pixel_baselines, specialist, trainer
from models.recipe import get_recipe
from models.registry import NAMES, get_network
from models.runs import Predictions, read_run, write_record
from models.taught import Teaching

ROOT = Path(__file__).resolve().parents[1]

SMALL = """
[data.tiny]
source = "synthetic"
options = ["--count", "80"]
folders.none = "data/prepared/tiny"
[seeds]
quick = [0, 1]
[[train]]
models = ["base"]
recipes = ["quick"]
treatments = ["none"]
epochs = 1
[baselines]
models = ["ridge", "nearest_neighbour"]
treatments = ["none"]
"""
NETWORKS = [f"base-quick+epochs=1-none-s{seed}" for seed in (0, 1)]
BASELINES = ["ridge-none", "nearest_neighbour-none"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with data/prepared/tiny as the study prepares it: 80 embedded faces, 64/8/8."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(ROOT))
        step = plan(read(SMALL))[0]
        assert child.run(step.words) == 0
    return folder


@pytest.fixture
def here(prepared, tmp_path, monkeypatch):
    """A project folder with the prepared data, where `python -m models.base` finds the code."""
    shutil.copytree(prepared / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def read(text, name="tiny.toml"):
    Path(name).write_text(text)
    return read_study(Path(name))


def finish(folder, name, *, seconds=10.0, **changes):
    """The record of a finished run of the data in data/prepared/tiny, as the trainer would leave it."""
    data = load(Path("data/prepared/tiny"))
    model, _, rest = name.partition("-")
    baseline = model in ("ridge", "nearest_neighbour")
    recipe = get_recipe("quick").with_changes(epochs=None if "+" not in rest else 1)
    config = {
        "run": name,
        "data": "tiny",
        "data_source": data.manifest["source"],
        "trained_on": "tiny",
        "split": trainer.split_of(data),
        "schema": "kaggle15",
        "image_size": [96, 96],
        "treatment": "none",
        "model": model,
        "recipe": {"name": "closed form"} if baseline else recipe.as_dict(),
        "seed": None if baseline else int(name[-1]),
        "precision": "float32",
        "mean_face": data.manifest["mean_face"],
        "train_faces": 64,
        "train_seconds": seconds,
        "commit": "abc",
        "command": "by hand",
    } | changes

    def faces(split):
        zeros = np.zeros((len(split), 15, 2), np.float32)
        return Predictions(split.ids, split.groups, split.sources, zeros, zeros, np.ones(zeros.shape[:2], bool))

    place = Path(folder) / name
    place.mkdir(parents=True)
    write_record(
        place, config, {"epoch": [1], "loss": [1.0], "val_loss": [1.0]}, val=faces(data.val), test=faces(data.test)
    )
    return place


def test_a_run_of_other_faces_is_another_run(here):
    """Another grouping parts as many faces anew, under the same counts and seed."""
    data = load(Path("data/prepared/tiny"))
    run = read_run(finish("runs/tiny", "base-quick+epochs=1-none-s0"))
    assert trainer.same_faces(run, data)
    assert not trainer.same_faces(replace(run, test=replace(run.test, ids=run.test.ids + 1)), data)
    assert not trainer.same_faces(replace(run, val=replace(run.val, ids=run.val.ids + 1)), data)


def change_manifest(**changes):
    path = Path("data/prepared/tiny/manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def states(steps):
    return {step.output.name: step.state for step in steps if step.kind in ("train", "apply")}


# --- the file


def test_a_study_is_a_grid(here):
    found = read(SMALL)
    assert [run.name for run in found.runs] == NETWORKS + BASELINES
    assert found.treatments == ("none",)
    assert found.data[0].preparation("ffill")[-4:] == ("--output", "data/prepared/tiny", "--count", "80")


def test_blocks_follow_one_another_and_may_have_seeds_of_their_own(here):
    block = '[[train]]\nmodels = ["v1", "base"]\nrecipes = ["quick"]\ntreatments = ["ffill", "drop"]\nseeds = [7]\n'
    found = read(SMALL + block)
    # every model with every recipe and treatment: 1 seed x 2 treatments x 2 models
    expected = [f"{model}-quick-{treatment}-s7" for treatment in ("ffill", "drop") for model in ("v1", "base")]
    assert [run.name for run in found.runs if run.name.endswith("s7")] == expected
    assert found.treatments == ("none", "ffill", "drop")
    assert [str(found.data[0].folder(t)) for t in ("none", "ffill", "drop")] == [
        "data/prepared/tiny",
        "data/prepared/tiny",
        "data/prepared/tiny-drop",
    ]


def test_a_block_may_change_its_recipe(here):
    changed = read(SMALL.replace("epochs = 1", 'augmentation = "mild"\nloss = "smooth_l1"'))
    run = changed.runs[0]
    assert run.name == "base-quick+loss=smooth_l1+augmentation=mild-none-s0"
    assert run.recipe.augmentation == "mild"
    options = trainer.parse_arguments("models.base", "base", list(run.words[1:]))
    assert (options.loss, options.augmentation) == ("smooth_l1", "mild")


@pytest.mark.parametrize(
    ("recipe", "value", "option"), [("quick", "true", "--symmetric"), ("best", "false", "--no-symmetric")]
)
def test_a_field_that_is_true_or_false_is_an_option_of_its_own(here, recipe, value, option):
    run = read(
        SMALL.replace('["quick"]', f'["{recipe}"]').replace("epochs = 1", f"symmetric = {value}\nseeds = [0]")
    ).runs[0]
    assert run.name == f"base-{recipe}+symmetric={value.capitalize()}-none-s0"
    assert option in run.words
    assert trainer.parse_arguments("models.base", "base", list(run.words[1:])).symmetric is (value == "true")


def test_a_block_may_set_options_of_its_network(here):
    block = SMALL.replace('["base"]', '["vgg_face"]').replace("epochs = 1", "epochs = 1\noptions.width = 0.0625")
    run = read(block).runs[0]
    assert run.name == "vgg_face-width-0.0625-quick+epochs=1-none-s0"
    options = trainer.parse_arguments("models.vgg_face", "vgg_face", list(run.words[1:]))
    assert options.width == 0.0625


def test_the_studies_of_this_project(monkeypatch):
    monkeypatch.chdir(ROOT)
    synthetic, kaggle15 = (read_study(Path(f"studies/{name}.toml")) for name in ("synthetic", "kaggle15"))
    assert [run.name for run in synthetic.runs] == ["base-quick-none-s0", "v1-quick-none-s0", *BASELINES]
    # 2 networks x (5 seeds of quick + 1 of reference) on ffill; 2 x (3 other treatments and specialist); all networks
    # augmented or, dsnt in its 3 sizes, by its own recipe; v1 on symmetric labels; dsnt taught by itself, and 4 more
    # seeds of it; 2 more seeds of either smaller size, and each for longer; 2 x 2 baselines; 1 applied
    assert len(kaggle15.runs) == 2 * 6 + 2 * (3 + 1) + (len(NAMES) + 2) + 1 + 1 + 4 + 2 * 3 + 2 * 2 + 1
    assert kaggle15.runs[-1].name == "v1-quick-none-s0-from-synthetic"
    commands = [" ".join(one.preparation(t)) for one, t in ((synthetic.data[0], "none"), (kaggle15.data[0], "none"))]
    assert commands == [
        "--source synthetic --missing none --output data/prepared/synthetic",
        "--source kaggle --input ../shared/data/kaggle15/training.zip --missing none "
        "--output data/prepared/kaggle15-none",
    ]


def test_names_are_those_that_the_commands_give(here):
    data = load(Path("data/prepared/tiny"))
    network = read(SMALL).runs[0]
    assert trainer.default_folder(data, "base", network.recipe, 0) == Path("runs/tiny") / network.name
    vgg = Training("vgg_face", network.treatment, "quick", 0)
    assert trainer.default_folder(data, get_network("vgg_face").name, vgg.recipe, 0) == Path("runs/tiny") / vgg.name
    step = plan(read(SMALL))[3]
    assert pixel_baselines.parse_arguments("ridge", list(step.words[1:])).output is None
    assert step.output == Path("runs/tiny/ridge-none")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[data.tiny]", "[data.tiny", "is not a TOML file: "),
        ("[seeds]", "[seed]", "study: unknown field 'seed'; accepted: data, seeds, train, baselines, apply"),
        ("epochs = 1", "epoch = 1", "[[train]] number 1: unknown field 'epoch'; accepted: models, recipes, treatments"),
        ('models = ["base"]', 'models = ["bass"]', "[[train]] number 1: models 'bass' is unknown; accepted: base, v1"),
        ('models = ["base"]', 'models = ["ridge"]', "models 'ridge' is unknown"),
        ('models = ["base"]', 'models = "base"', "models is 'base'; a list with at least one entry is accepted"),
        ('models = ["base"]', "models = []", "models is []; a list"),
        ('models = ["base"]', "models = [1]", "models 1 is unknown"),
        ('models = ["base"]', "", "[[train]] number 1: models is missing"),
        ('["quick"]', '["slow"]', "recipes 'slow' is unknown; accepted: reference, quick"),
        ('["quick"]', '["reference"]', "recipe reference has no seeds, neither here nor in [seeds]"),
        ("quick = [0, 1]", "quick = [0, 0]", "it asks twice for the run base-quick+epochs=1-none-s0"),
        ("quick = [0, 1]", "quick = [-1]", "[seeds]: quick holds -1; whole numbers from 0"),
        ("quick = [0, 1]", "quick = [true]", "[seeds]: quick holds True"),
        ("quick = [0, 1]", "slow = [0]", "[seeds]: unknown field 'slow'"),
        ('treatments = ["none"]\nepochs', 'treatments = ["zero"]\nepochs', "treatments 'zero' is unknown"),
        ("epochs = 1", "epochs = 0", "epochs is 0; a whole number from 1"),
        ("epochs = 1", 'augmentation = "wild"', "augmentation 'wild' is unknown; accepted: none, standard"),
        ("epochs = 1", "symmetric = 1", "symmetric is 1; true or false is accepted"),
        ("[[train]]", "[train]", "study: train is {"),
        ("epochs = 1", "options.width = 0.5", "[[train]] number 1: base has no option 'width'"),
        ('["base"]', '["vgg_face"]\noptions.width = "wide"', "options of vgg_face: {'width': 'wide'}"),
        ("epochs = 1", "options = 3", "[[train]] number 1: options is 3; a table is accepted"),
        ("[data.tiny]", "[data.tiny.x]", "[data.tiny]: unknown field 'x'"),
        ('source = "synthetic"', 'source = "camera"', "source 'camera' is unknown; accepted: synthetic, kaggle"),
        ('source = "synthetic"', 'source = "kaggle"', "source kaggle needs an input"),
        ('source = "synthetic"', 'source = "synthetic"\ninput = "a"', "source synthetic reads no input"),
        ('"--count", "80"', '"--count", "many"', "invalid int value: 'many'"),
        ('"--count", "80"', '"--output", "x"', "options may not hold --output or --missing"),
        ('"data/prepared/tiny"', '"data/prepared/x"', "data/prepared/x would be prepared under the name x"),
        ("[data.tiny]", '[data."../x"]', "'../x' is not a plain folder name"),
        ("epochs = 1", "epochs = 1\n[apply]\nstudy = 'absent.toml'\nruns = ['a']\ntreatment = 'none'", "absent.toml"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, monkeypatch, capsys, old, new, message):
    monkeypatch.chdir(tmp_path)
    assert SMALL.count(old) >= 1
    Path("bad.toml").write_text(SMALL.replace(old, new, 1))
    assert study.main(["bad.toml", "--dry-run"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("evaluation.study: error: bad.toml")
    assert message in said.err


def test_a_run_that_is_asked_for_twice_and_no_run_at_all_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start, train, end = SMALL.index("[seeds]"), SMALL.index("[[train]]"), SMALL.index("[baselines]")
    twice = "it asks twice for the run base-quick+epochs=1-none-s0"
    for text, message in (
        (SMALL + SMALL[train:end], re.escape(twice)),
        (SMALL[:start], "it names no run"),
        ("[data]\n" + SMALL[start:], "it names no data set"),
        ("", "data is missing"),
    ):
        with pytest.raises(DataError, match=message):
            read(text)


def test_two_studies_may_apply_each_others_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    apply = f'[apply]\nstudy = "OTHER.toml"\nruns = ["{NETWORKS[0]}"]\ntreatment = "none"\n'
    for name, other in (("tiny", "other"), ("other", "tiny")):
        text = (SMALL + apply.replace("OTHER", other)).replace("[data.tiny]", f"[data.{name}]")
        Path(f"{name}.toml").write_text(text.replace("prepared/tiny", f"prepared/{name}"))
    assert read_study(Path("tiny.toml")).runs[-1].name == f"{NETWORKS[0]}-from-other"


def test_the_specialist_is_a_treatment_of_data_prepared_with_none(here):
    name = "base-quick+epochs=1-specialist-s0"
    asked = read(SMALL.replace('["none"]', '["none", "specialist"]', 1))
    assert [run.name for run in asked.runs[:4]] == [*NETWORKS, name, name.replace("s0", "s1")]
    assert asked.treatments == ("none",)  # prepared once
    step = next(step for step in plan(asked) if step.output.name == name)
    assert step.command == (
        "python -m models.specialist --data data/prepared/tiny --model base --recipe quick --epochs 1 --seed 0"
    )
    assert (step.state, step.needs) == (TO_DO, (Path("data/prepared/tiny"),))
    recipe = asked.runs[2].recipe
    found = specialist.load_unfilled(Path("data/prepared/tiny"))
    assert trainer.default_folder(found, "base", recipe, 0) == step.output
    finish("runs/tiny", name, treatment="specialist")
    finish("runs/tiny", name.replace("s0", "s1"))
    assert states(plan(asked)) | {name: DONE, name.replace("s0", "s1"): DIFFERS} == states(plan(asked))
    with pytest.raises(DataError, match=r"\[baselines\]: treatments 'specialist' is unknown"):
        read('["specialist"]'.join(SMALL.rsplit('["none"]', 1)))


def test_a_taught_network_names_its_teacher(here):
    finish("runs/other", "lenet5-s0")
    (Path("runs/other/lenet5-s0") / "model.keras").write_bytes(b"a network")
    treatments = SMALL.replace('["none"]', '["taught_gaps"]\nteacher = "runs/other/lenet5-s0"', 1)
    asked, name = read(treatments), "base-quick+epochs=1-taught_gaps-s0"
    assert [run.name for run in asked.runs[:2]] == [name, name.replace("s0", "s1")]
    step = next(step for step in plan(asked) if step.output.name == name)
    assert (step.state, step.needs) == (TO_DO, (Path("data/prepared/tiny"),))
    assert step.command == (
        "python -m models.taught --data data/prepared/tiny --teacher runs/other/lenet5-s0 --model base --gaps"
        " --recipe quick --epochs 1 --seed 0"
    )
    about = Teaching(read_run(Path("runs/other/lenet5-s0")), "taught_gaps").about()
    finish("runs/tiny", name, **about)
    finish("runs/tiny", name.replace("s0", "s1"), **{**about, "teacher": {**about["teacher"], "commit": "another"}})
    assert states(plan(asked)) | {name: DONE, name.replace("s0", "s1"): DIFFERS} == states(plan(asked))
    for wrong in (SMALL.replace('["none"]', '["taught"]', 1), treatments.replace("taught_gaps", "none")):
        with pytest.raises(DataError, match="teacher goes with the treatments taught, taught_gaps"):
            read(wrong)


def test_a_mean_of_networks_teaches_under_its_own_treatment_alone(here):
    finish("runs/other", "mean-s0", model="dsnt (best), mean of 3")
    text = SMALL.replace('["none"]', '["taught_by_several"]\nteacher = "runs/other/mean-s0"', 1)
    assert states(plan(read(text)))["base-quick+epochs=1-taught_by_several-s0"] == TO_DO
    with pytest.raises(DataError, match="runs/other/mean-s0 makes the treatment taught_by_several; name that one"):
        plan(read(text.replace("taught_by_several", "taught")))
    with pytest.raises(DataError, match="runs/other/mean-s0 is the mean of several networks; --gaps is for one"):
        plan(read(text.replace("taught_by_several", "taught_gaps")))
    finish("runs/other", "one-s0", model="dsnt (best)")
    with pytest.raises(DataError, match="runs/other/one-s0 makes the treatment taught; name that one"):
        plan(read(text.replace("mean-s0", "one-s0")))


def test_more_labels_are_a_treatment_with_a_set_of_its_own(here):
    kaggle = SMALL.replace('"synthetic"', '"kaggle"\ninput = "x.zip"').replace('options = ["--count", "80"]\n', "")
    text = kaggle.replace('["none"]', '["more_labels"]', 1)
    with pytest.raises(DataError, match="treatment more_labels needs more_labels, the path of a youtube68 set"):
        read(text)
    Path("x.zip").write_bytes(b"")
    asked = read(text.replace('input = "x.zip"', 'input = "x.zip"\nmore_labels = "y68"'))
    assert asked.runs[0].name == "base-quick+epochs=1-more_labels-s0"
    assert " ".join(asked.data[0].preparation("more_labels")) == (
        "--source kaggle --input x.zip --missing none --more-labels y68 --output data/prepared/tiny-more_labels"
    )


def test_a_network_that_teaches_is_trained_first(here):
    taught = f"""[[train]]
models = ["lenet5"]
recipes = ["quick"]
treatments = ["taught"]
epochs = 1
seeds = [0]
teacher = "{NETWORKS[0]}"
[baselines]"""
    text = SMALL.replace("[baselines]", taught)
    network, pupil = NETWORKS[0], "lenet5-quick+epochs=1-taught-s0"
    step = next(step for step in plan(read(text)) if step.output.name == pupil)
    assert step.needs == (Path("data/prepared/tiny"), Path("runs/tiny") / network)
    # Its record alone teaches nobody; a pupil that is done needs it no more.
    finish("results/tiny/runs", network)
    assert states(plan(read(text)))[network] == TO_DO
    about = Teaching(read_run(Path("results/tiny/runs") / network), "taught").about()
    finish("results/tiny/runs", pupil, **about)
    found = states(plan(read(text)))
    assert (found[network], found[pupil]) == (DONE, DONE)
    # A pupil's pupil, of which there is no record: both that it learns from must be trained first.
    chain = taught.replace(network, pupil).replace('["taught"]', '["taught_gaps"]')
    found = states(plan(read(text.replace("[baselines]", chain))))
    assert {found[network], found[pupil], found["lenet5-quick+epochs=1-taught_gaps-s0"]} == {TO_DO}
    with pytest.raises(DataError, match="teacher 'nobody' is no run of a block before, nor a folder's path"):
        read(text.replace(f'"{network}"', '"nobody"'))


def test_expected_time_of_the_specialist_by_hand(here):
    name = "base-quick+epochs=1-specialist-s1"
    asked = read(SMALL.replace('["none"]', '["none", "specialist"]', 1))
    complete = int(np.load("data/prepared/tiny/train_observed.npy").all(axis=1).sum())
    assert 0 < complete < 64

    def expected(study=asked):
        return {step.output.name: step.seconds for step in plan(study) if step.kind == "train"}

    # Half a second a face; the specialist's two networks learn 64 faces and the complete ones among them.
    finish("runs/tiny", NETWORKS[0], seconds=32.0)
    assert expected()[name] == pytest.approx((64 + complete) / 2)
    assert expected()[NETWORKS[1]] == pytest.approx(32)
    # A finished one of 100 + 20 faces in 28 s: (32 + 28) s for 64 + 120 faces.
    parts = {"four_points": {"train_faces": 100}, "fifteen_points": {"train_faces": 20}}
    finish("runs/other", name, seconds=28.0, treatment="specialist", train_faces=100, parts=parts)
    assert expected()[name] == pytest.approx((64 + complete) * 60 / 184)
    assert expected()[NETWORKS[1]] == pytest.approx(64 * 60 / 184)
    # Before the data are prepared their faces are unknown: as long as others of its kind.
    absent = expected(read(SMALL.replace("tiny", "new").replace('["none"]', '["none", "specialist"]', 1)))
    assert (absent[name], absent[NETWORKS[1]]) == (28, 32)


def test_input_and_name_change_the_single_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("training.zip").touch()
    text = SMALL.replace('"synthetic"', '"kaggle"\ninput = "a.zip"').replace('options = ["--count", "80"]', "")
    found = with_data(read(text), Path("training.zip"), "kaggle").data[0]
    assert " ".join(found.preparation("none")) == (
        "--source kaggle --input training.zip --missing none --output data/prepared/kaggle-none"
    )
    for kept, input, name, message in (
        (text, "absent.zip", None, "absent.zip does not exist"),
        (text, None, "a/b", "'a/b' is not a plain folder name"),
        (SMALL, "training.zip", None, "reads no --input"),
        (text + '[data.two]\nsource = "synthetic"\n', None, "kaggle", "has 2 data sets"),
    ):
        with pytest.raises(DataError, match=message):
            with_data(read(kept), input and Path(input), name)


def test_missing_runs_are_named(here):
    found = [read_run(finish("runs/tiny", name)) for name in (NETWORKS[1], BASELINES[0])]
    assert missing_runs(read(SMALL), found) == [NETWORKS[0], BASELINES[1]]
    assert missing_runs(read(SMALL), []) == NETWORKS + BASELINES


# --- the plan


def test_what_is_done_is_told_from_what_is_not(here):
    finish("runs/tiny", NETWORKS[0])
    finish("results/tiny/runs", BASELINES[0])
    asked = read(SMALL)
    expected = dict(zip(NETWORKS + BASELINES, (DONE, TO_DO, DONE, TO_DO), strict=True))
    assert states(plan(asked)) == expected
    assert [step.state for step in plan(asked) if step.kind == "prepare"] == [DONE]
    # A light record does not count for --retrain; a run folder does.
    assert states(plan(asked, retrain=True)) == expected | {BASELINES[0]: TO_DO}


@pytest.mark.parametrize(
    ("name", "changes", "different"),
    [
        (NETWORKS[0], {"recipe": get_recipe("quick").as_dict()}, "recipe"),
        (NETWORKS[0], {"split": {"train": 64, "val": 8, "test": 8, "seed": 1}}, "split"),
        (NETWORKS[0], {"seed": 3}, "seed"),
        (NETWORKS[0], {"data_source": {"kind": "synthetic", "sha256": "0"}}, "source"),
        (BASELINES[0], {"data_source": {"kind": "kaggle", "sha256": "0"}}, "source"),
        (BASELINES[0], {"treatment": "ffill"}, "treatment"),
    ],
)
def test_another_run_is_not_the_one_asked_for(here, name, changes, different):
    folder = finish("results/tiny/runs", name, **changes)
    assert states(plan(read(SMALL)))[name] == TO_DO  # the record will be replaced
    shutil.move(folder, Path("runs/tiny") / name)
    step = next(step for step in plan(read(SMALL)) if step.output.name == name)
    assert step.state == DIFFERS
    assert f"is a finished run with another {different}" in step.note
    step = next(step for step in plan(read(SMALL), overwrite=True) if step.output.name == name)
    assert (step.state, step.words[-1]) == (TO_DO, "--overwrite")


@pytest.mark.parametrize(
    ("old", "new"), [('"80"', '"90"'), ('"80"', '"80", "--seed", "1"'), ('"80"', '"80", "--schema", "68"')]
)
def test_data_of_other_options_are_prepared_again(here, old, new):
    finish("runs/tiny", NETWORKS[0])
    steps = plan(read(SMALL.replace(old, new)))
    assert steps[0].state == TO_DO
    assert states(steps)[NETWORKS[0]] == RECORDED  # of these data or of others: not known before they are there


def test_prepared_data_count_by_the_hash_of_their_file(here):
    table = "any bytes\n"
    Path("training.csv").write_text(table)
    text = SMALL.replace('"synthetic"', '"kaggle"\ninput = "training.csv"').replace('options = ["--count", "80"]', "")
    asked = read(text)
    data = asked.data[0]
    assert find_prepared(data, "none") is None  # embedded faces lie there
    # As if they had been prepared from that file: only what tells them apart is written by hand.
    made = {"kind": "kaggle", "path": "training.csv", "sha256": hashlib.sha256(table.encode()).hexdigest()}
    command = "python -m data_prep --input ./training.csv --missing none --output data/prepared/tiny --no-analysis"
    change_manifest(source=made, command=command)
    assert find_prepared(data, "none").name == "tiny"
    Path("same.csv").write_text(table)
    assert find_prepared(with_data(asked, Path("same.csv")).data[0], "none")
    Path("training.csv").write_text(table.replace("\n", "\r\n"))
    assert find_prepared(data, "none") is None
    Path("training.csv").unlink()  # gone since: what was prepared from it is all there is
    assert find_prepared(data, "none")


def test_data_that_were_downloaded_count_as_data_of_the_file(here):
    Path("youtube68.zip").write_bytes(b"any bytes")
    sha256 = hashlib.sha256(b"any bytes").hexdigest()
    text = SMALL.replace('"synthetic"', '"youtube68"\ninput = "youtube68.zip"')
    text = text.replace('"--count", "80"', '"--seed", "0"')
    command = f"python -m data_prep --source youtube68 --download --sha256 {sha256} --missing none"
    change_manifest(source={"kind": "youtube68", "path": "data/raw/youtube68.zip", "sha256": sha256}, command=command)
    assert find_prepared(read(text).data[0], "none").name == "tiny"


def test_data_older_than_their_code_are_told(here, capsys):
    assert plan(read(SMALL))[0].note == ""
    change_manifest(written="2001-01-01T00:00:00+00:00")
    assert study.main(["tiny.toml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^note: data/prepared/tiny is older than data_prep/\S+\.py; remove it", said, flags=re.M)


def test_expected_time_by_hand(here):
    baseline, network = BASELINES[0], NETWORKS[0]
    asked = read(SMALL.replace("epochs = 1", ""))

    def expected():
        return {step.output.name: step.seconds for step in plan(asked) if step.kind == "train"}

    assert set(expected().values()) == {None}
    # The benchmark: 20 epochs of quick x 64 training faces at 320 images/s.
    speeds = Path("results/benchmark/speed.csv")
    speeds.parent.mkdir(parents=True)
    rows = [f"training,base,{precision},keras,measured,320" for precision in ("float32", "mixed_bfloat16")]
    speeds.write_text("what,model,precision,framework,status,images_per_s\n" + "\n".join(rows) + "\n")
    assert expected()["base-quick-none-s1"] == pytest.approx(20 * 64 / 320)
    # Finished runs come first. 30 s for 100 faces and 18 s for 60: 0.3 s a face, so 64 x 0.3 s.
    finish("runs/other", "base-quick-none-s0", seconds=30.0, train_faces=100)
    finish("results/other/runs", "base-quick-none-s5", seconds=18.0, train_faces=60)
    assert expected()["base-quick-none-s1"] == pytest.approx(19.2)
    # Another recipe or an applied network says nothing about it.
    finish("runs/other", network, seconds=1000.0)
    finish("runs/other", "base-quick-none-s7", seconds=1000.0, trained_with="elsewhere")
    assert expected()["base-quick-none-s1"] == pytest.approx(19.2)
    finish("runs/other", baseline, seconds=6.4)
    assert expected()[baseline] == pytest.approx(6.4)
    assert expected()["nearest_neighbour-none"] is None


def test_durations_in_words():
    assert [in_words(s) for s in (None, 4.4, 89, 90, 3569, 3590, 7300)] == [
        "unknown", "4 s", "89 s", "2 min", "59 min", "1 h 0 min", "2 h 2 min"
    ]  # fmt: skip


def test_a_network_from_elsewhere_is_trained_first_where_it_is_absent(here):
    apply = f'[apply]\nstudy = "other.toml"\nruns = ["{NETWORKS[0]}"]\ntreatment = "none"\n'
    Path("other.toml").write_text(SMALL.replace("tiny", "other"))
    asked = read(SMALL + apply)
    steps = {str(step.output): step for step in plan(asked)}
    name = f"{NETWORKS[0]}-from-other"
    assert list(steps)[:2] == ["data/prepared/tiny", "data/prepared/other"]
    assert f"runs/other/{NETWORKS[0]}" in steps
    assert steps[f"runs/tiny/{name}"].command == (
        f"python -m models.apply --run runs/other/{NETWORKS[0]} --data data/prepared/tiny"
    )
    # A light record has no network, so there the training stays; with a model file it goes.
    finish("runs/other", NETWORKS[0])
    assert f"runs/other/{NETWORKS[0]}" in [str(step.output) for step in plan(asked)]
    Path(f"runs/other/{NETWORKS[0]}/model.keras").touch()
    assert f"runs/other/{NETWORKS[0]}" not in [str(step.output) for step in plan(asked)]
    # Its record, once there, is recognised by where the network was trained; another is made again.
    shutil.move(finish("spare", NETWORKS[0], trained_on="other"), f"runs/tiny/{name}")
    assert states(plan(asked))[name] == DONE
    shutil.rmtree(f"runs/tiny/{name}")
    shutil.move(finish("spare", NETWORKS[0], trained_on="third"), f"runs/tiny/{name}")
    assert states(plan(asked))[name] == TO_DO


def test_a_dry_run_prints_every_step_and_takes_none(here, capsys):
    finish("runs/tiny", NETWORKS[0], seconds=30.0)
    finish("runs/tiny", BASELINES[0], seconds=3.0)
    before = sorted(here.rglob("*"))
    Path("tiny.toml").write_text(SMALL)
    assert study.main(["tiny.toml", "--dry-run"]) == 0
    assert [path for path in sorted(here.rglob("*")) if path not in before] == [here / "tiny.toml"]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["done", "data/prepared/tiny"] in lines
    assert ["done", f"runs/tiny/{NETWORKS[0]}"] in lines
    command = "python -m models.base --data data/prepared/tiny --recipe quick --epochs 1 --seed 1"
    assert ["to", "do", "30", "s", f"runs/tiny/{NETWORKS[1]}", *command.split()] in lines
    # Left are a network of 30 s and a baseline that nothing is known of.
    steps = len(plan(read(SMALL)))
    assert lines[-1] == f"left: 2 of {steps} steps; about 30 s of training and 1 run(s) of unknown length".split()


# --- doing it

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists processes in /proc")


def ran(*words, **options):
    return subprocess.run([sys.executable, "-m", "evaluation.study", *words], capture_output=True, text=True, **options)


def test_a_failure_is_passed_by_reported_and_made_up_for(here):
    text = SMALL[: SMALL.index("[seeds]")] + SMALL[SMALL.index("[baselines]") :]
    Path("tiny.toml").write_text(text)
    in_the_way = here / "runs/tiny/ridge-none/thesis.txt"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("years of work")
    done = ran("tiny.toml")
    assert done.returncode == 1
    assert "runs/tiny/nearest_neighbour-none: " in done.stdout  # the one after it is there
    failed, left = done.stderr.splitlines()[-2:]
    assert failed.startswith("evaluation.study: failed: runs/tiny/ridge-none: models.ridge: error: ")
    assert failed.endswith("it holds thesis.txt); name another --output (log: runs/tiny/ridge-none.log)")
    assert left.startswith("evaluation.study: not made for that: results/tiny")
    assert not Path("results/tiny/performance.csv").exists()
    assert Path("runs/tiny/ridge-none.log").read_text().startswith("$ python -m models.ridge --data data/prepared/tiny")

    before = Path("runs/tiny/nearest_neighbour-none/config.json").stat().st_mtime_ns
    in_the_way.unlink()
    done = ran("tiny.toml")
    assert done.returncode == 0, done.stderr
    assert Path("runs/tiny/nearest_neighbour-none/config.json").stat().st_mtime_ns == before
    table = Path("results/tiny/performance.csv").read_text()
    assert all(f"\n{name}," in table for name in BASELINES)
    assert json.loads(Path("runs/tiny/ridge-none/config.json").read_text())["command"] == (
        "python -m models.ridge --data data/prepared/tiny"
    )


@linux
def test_an_interrupt_ends_it_cleanly_and_the_next_call_goes_on(here):
    # A thousand epochs outlast the test.
    Path("tiny.toml").write_text(SMALL.replace("epochs = 1", "epochs = 1000"))
    started = subprocess.Popen(
        [sys.executable, "-m", "evaluation.study", "tiny.toml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    log = here / "runs/tiny/base-quick+epochs=1000-none-s0.log"
    wait_for(lambda: log.is_file() and "Epoch 1/" in log.read_text())
    training = children_of(started.pid)
    assert training
    started.send_signal(signal.SIGINT)
    out, error = started.communicate(timeout=30)
    assert started.returncode == 130
    assert error.splitlines()[-1] == "evaluation.study: stopped; the same command goes on from here"
    assert "Traceback" not in error
    assert not any(alive(pid) for pid in training)
    assert [path.name for path in log.parent.iterdir()] == [log.name]  # nothing half-written
    assert states(plan(read(Path("tiny.toml").read_text())))["base-quick+epochs=1000-none-s0"] == TO_DO


@linux
def test_a_killed_parent_takes_its_child_with_it(here):
    code = "from pathlib import Path; from evaluation import child; child.run(('this', '60'), Path('log'))"
    Path("this.py").write_text("import time; time.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: children_of(parent.pid))
    (orphan,) = children_of(parent.pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not alive(orphan))


def test_an_interrupt_that_is_swallowed_is_followed_by_stronger_ones(here, monkeypatch):
    monkeypatch.setattr(child, "PATIENCE", 0.2)
    Path("stubborn.py").write_text("import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)")
    ticks = []

    def tick():
        ticks.append(time.monotonic())
        raise RuntimeError("not wanted any more")

    with pytest.raises(RuntimeError, match="not wanted"):
        child.run(("stubborn",), Path("log"), tick)
    assert time.monotonic() - ticks[0] < 10


def test_the_last_line_is_what_a_bar_left_standing():
    assert child.last_line("a\nreading: 10%\rreading: 100%\rdone\n\n") == "done"
    assert child.last_line("") == ""


def test_help_answers_without_heavy_imports():
    code = (
        "import sys, evaluation.study, evaluation.cluster\n"
        "heavy = {'tensorflow', 'keras', 'jax', 'matplotlib', 'sklearn', 'distributed', 'dask', 'tqdm'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def wait_for(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def children_of(pid):
    """Ids of the processes that any of its threads started, as Linux lists them."""
    return [int(word) for file in Path("/proc").glob(f"{pid}/task/*/children") for word in file.read_text().split()]


def alive(pid):
    """Whether it runs: a zombie, which nobody has buried yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
