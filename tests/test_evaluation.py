"""`python -m evaluation` from records to tables and pictures, on eight faces whose scores fit on paper."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15
from data_prep.sources import known
from evaluation import collect, entries, faces, flags, plots, tables
from evaluation.__main__ import main
from models.runs import Predictions, read_run, write_record

ROOT = Path(__file__).parents[1]
N, K = 8, len(KAGGLE15)
TABLES = ("performance.csv", "per_keypoint.csv", "by_source.csv")
PLOTS = (
    "learning_curves.png",
    "error_per_keypoint.png",
    "cumulative_error.png",
    "truth_against_prediction.png",
    "mean_face_errors.png",
)


def predictions(error=(3, 4), filled_error=None, ids=None, move=0.0):
    """Eight faces: every point at (50, 50) on even faces and at (56, 58) on odd ones; point 3 of face 0 has
    no label. Every prediction is off by `error`; the filled value of the missing point by `filled_error`."""
    truth = np.full((N, K, 2), 50, np.float32) + move
    truth[1::2] += (6, 8)
    observed = np.ones((N, K), bool)
    observed[0, 3] = False
    errors = np.full((N, K, 2), error, np.float32)
    errors[0, 3] = np.nan if filled_error is None else filled_error
    return Predictions(
        ids=np.arange(N) * 10 if ids is None else ids,
        groups=np.arange(N) // 2,
        sources=np.array([1] * 3 + [2] * 5),
        predicted=truth + np.float32(error),
        error=errors,
        observed=observed,
    )


def make_run(folder, model="base", error=(3, 4), *, data="toy", test=None, filled_error=None, **changes):
    """A finished run's record at `folder`, named like the folder."""
    config = {
        "run": folder.name,
        "data": data,
        "data_source": {"kind": "synthetic", "sha256": next(iter(known.NOTES))},  # of a stand-in
        "trained_on": data,
        "split": {"train": 60, "val": 8, "test": 8, "seed": 0},
        "model": model,
        "recipe": {"name": "quick"},
        "treatment": "none" if filled_error is None else "ffill",
        "seed": 0,
        "image_size": [96, 96],
        "schema": "kaggle15",
        "mean_face": [[50.0, 50.0]] * K,
        "parameters": 1234,
        "epochs": 3,
        "best_epoch": 2,
        "train_seconds": 12.34,
        "train_faces": 60,
        "precision": "float32",
        "backend": "tensorflow",
        "commit": "abc1234",
        "command": f"python -m models.{model} --seed 0",
    } | changes
    history = {"epoch": [1, 2, 3], "loss": [9.0, 4.0, 2.0], "val_loss": [8.0, 4.0, 5.0]}
    folder.mkdir(parents=True)
    test = test or predictions(error, filled_error)
    write_record(folder, config, history, val=predictions(error), test=test)
    return folder


def make_baseline(folder, model="ridge", error=(3, 4), **changes):
    """A baseline's record, as `models.pixel_baselines` writes it: no epochs, no seed."""
    config = {"baseline": True, "recipe": {"name": "closed form"}, "seed": None, "epochs": None, "best_epoch": None}
    make_run(folder, model, error, **(config | changes))
    (folder / "history.csv").write_text("epoch,loss,val_loss\n")
    return folder


def read_entries(*folders):
    """The entries of these records, and the mean face."""
    runs = [collect.read(folder) for folder in folders]
    return [*map(entries.from_run, runs), entries.mean_face(runs)]


def make_images(prepared, kind="synthetic", ids=None):
    prepared.mkdir(parents=True)
    np.save(prepared / "test_images.npy", np.random.default_rng(0).integers(0, 256, (N, 96, 96), np.uint8))
    np.save(prepared / "test_ids.npy", np.arange(N) * 10 if ids is None else ids)
    (prepared / "manifest.json").write_text(json.dumps({"source": {"kind": kind}}))


def read_table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def everything_under(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """For tests of what is written where: pictures are empty files, which takes no time."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: Path(path).touch())


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The project folder after one evaluation of two runs: base is off by (3, 4), v1 by (0, 1)."""
    folder = tmp_path_factory.mktemp("toy")
    make_run(folder / "runs/toy/base-s0", filled_error=(30, 40))
    make_run(folder / "runs/toy/v1-s0", "v1", (0, 1))
    make_images(folder / "data/prepared/toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([]) == 0
    return folder


# --- numbers


def test_performance_by_hand(toy):
    rows = read_table(toy / "results/toy/performance.csv")
    assert [row["run"] for row in rows] == ["v1-s0", "base-s0", "mean_face"]
    v1, base, mean = rows
    # 8 faces of 15 points less the one without a label
    assert {row["points_scored"] for row in rows} == {"119"}
    assert {row["faces"] for row in rows} == {"8"}
    # v1: |0| and |1| at every point; sqrt(1 / 2); distance 1
    assert (v1["mae_px"], v1["rmse_px"]) == ("0.5000", "0.7071")
    assert (v1["within_1px_pct"], v1["val_rmse_px"]) == ("100.00", "0.7071")
    # base: (3 + 4) / 2; sqrt((9 + 16) / 2); distance 5
    assert (base["mae_px"], base["rmse_px"]) == ("3.5000", "3.5355")
    assert (base["within_3px_pct"], base["within_5px_pct"]) == ("0.00", "100.00")
    assert base["split"] == "60/8/8 seed 0"
    assert (base["train_seconds"], base["parameters"]) == ("12.3", "1234")
    assert base["command"] == "python -m models.base --seed 0"


def test_mean_face_by_hand(toy):
    mean = read_table(toy / "results/toy/performance.csv")[-1]
    # It predicts (50, 50): right on 59 labelled points, off by (-6, -8) on the 60 of the odd faces.
    assert float(mean["mae_px"]) == pytest.approx(60 * 14 / 238, abs=1e-4)
    assert float(mean["rmse_px"]) == pytest.approx((60 * 100 / 238) ** 0.5, abs=1e-4)
    assert float(mean["within_5px_pct"]) == pytest.approx(100 * 59 / 119, abs=0.01)
    assert mean["within_10px_pct"] == "100.00"
    assert (mean["recipe"], mean["treatment"], mean["parameters"], mean["mae_px_with_filled"]) == ("",) * 4


def test_filled_values_count_in_their_own_columns_only(toy):
    v1, base, _ = read_table(toy / "results/toy/performance.csv")
    # base: 119 points off by (3, 4) and the filled one off by (30, 40), a distance of 50
    assert base["points_scored_with_filled"] == "120"
    assert float(base["mae_px_with_filled"]) == pytest.approx((119 * 7 + 70) / 240, abs=1e-4)
    assert float(base["rmse_px_with_filled"]) == pytest.approx(((119 * 25 + 2500) / 240) ** 0.5, abs=1e-4)
    assert float(base["within_15px_with_filled_pct"]) == pytest.approx(100 * 119 / 120, abs=0.01)
    # v1's treatment filled nothing
    assert {value for name, value in v1.items() if "with_filled" in name} == {""}


def test_per_keypoint_and_by_source_by_hand(toy):
    rows = {(r["run"], r["keypoint"]): r for r in read_table(toy / "results/toy/per_keypoint.csv")}
    assert len(rows) == 3 * K
    point = rows["base-s0", KAGGLE15.points[3]]
    assert (point["points_scored"], point["rmse_px"], point["median_distance_px"]) == (
        "7",
        "3.5355",
        "5.0000",
    )
    assert [point[f"{name}_px"] for name in ("bias_x", "bias_y", "spread_x")] == [
        "3.0000",
        "4.0000",
        "0.0000",
    ]
    rows = {(r["run"], r["label_source"]): r for r in read_table(toy / "results/toy/by_source.csv")}
    assert [rows["v1-s0", s]["points_scored"] for s in "12"] == ["44", "75"]
    # Source 1 holds faces 0, 1, 2, of which one is odd: 15 of 44 points are off by (-6, -8).
    mean = rows["mean_face", "1"]
    assert float(mean["rmse_px"]) == pytest.approx((15 * 100 / 88) ** 0.5, abs=1e-4)


def test_scores_of_faces_by_hand(tmp_path):
    # Eyes 40 px apart on every face; all points of the eight faces off by 0, 5, 10, ... 35 px: 0, 12.5, 25, ... %.
    like = predictions()
    truth = np.full((N, K, 2), 50, np.float32)
    truth[:, 0, 0], truth[:, 1, 0] = 70, 30
    error = np.arange(N, dtype=np.float32)[:, None, None] * np.full((N, K, 2), (3, 4), np.float32)
    observed = np.ones((N, K), bool)
    observed[7, 1] = False  # without its right eye the last face does not count
    observed[1, 3:] = False
    test = Predictions(like.ids, like.groups, like.sources, truth + error, error, observed)
    [entry, _] = read_entries(make_run(tmp_path / "base-s0", test=test))
    [row] = tables.performance([entry])
    assert row["nme_faces"] == 7
    # (0 + 12.5 + 25 + 37.5 + 50 + 62.5 + 75) / 7; above 8 and 10 %: six of seven; below 10 %: the one without error
    assert row["nme_pct"] == pytest.approx(262.5 / 7)
    assert (row["failure_8_pct"], row["failure_10_pct"]) == (pytest.approx(600 / 7),) * 2
    assert row["auc_10_pct"] == pytest.approx(100 / 7)
    # Source 1 holds faces 0, 1, 2.
    first = tables.by_source([entry])[0]
    assert (first["nme_faces"], first["nme_pct"]) == (3, pytest.approx(12.5))
    # Point 3 has no label on face 1: (262.5 - 12.5) / 6
    point = tables.per_keypoint([entry])[3]
    assert (point["nme_faces"], point["nme_pct"]) == (6, pytest.approx(250 / 6))


def test_eyes_at_one_place_give_no_normalised_error(toy):
    # All true points of the toy's faces coincide.
    for row in read_table(toy / "results/toy/performance.csv"):
        assert row["nme_faces"] == "0"
        assert [row[name] for name in ("nme_pct", "failure_8_pct", "failure_10_pct", "auc_10_pct")] == [""] * 4


def test_every_column_is_explained(toy):
    text = (ROOT / "results/README.md").read_text()
    explained = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]*)\|", text, flags=re.M))))
    for name in TABLES:
        columns = set(read_table(toy / "results/toy" / name)[0])
        assert columns <= explained, f"{name}: {columns - explained} not explained"


def test_errors_at_another_image_size_are_scaled_to_96(tmp_path):
    run = read_run(make_run(tmp_path / "base-s0", image_size=[192, 192]))
    entry = entries.from_run(run)
    # Off by (3, 4) at 192 is (1.5, 2) at 96. The mean face moves by half-pixels: (50 + 0.5) / 2 - 0.5.
    assert tables.performance([entry])[0]["mae_px"] == pytest.approx(1.75)
    assert entries.mean_face([run]).test.predicted[0, 0] == pytest.approx(24.75)


def test_main_runs_are_chosen_by_validation_not_by_test(tmp_path):
    folders = [
        make_run(tmp_path / "base-s0", error=(0, 2), test=predictions((0, 1))),
        make_run(tmp_path / "base-s1", error=(0, 1), test=predictions((0, 2)), seed=1),
    ]
    chosen = entries.main_entries([entries.from_run(read_run(f)) for f in folders], 4)
    assert [entry.name for entry in chosen] == ["base-s1"]


def with_validation(entry, ids, *errors):
    """The entry with these validation faces, every point of a face off by (0, its error)."""
    of_faces = np.zeros((len(ids), K, 2)) + np.array(errors)[:, None, None] * (0, 1)
    return replace(entry, val=replace(entry.val, ids=np.array(ids, int), errors=of_faces))


def test_validation_ranks_on_the_faces_that_all_have(tmp_path):
    folders = [make_run(tmp_path / f"{name}-s0", name) for name in ("base", "v1", "lenet5")]
    base, v1, lenet5 = read_entries(*folders)[:3]
    # v1 lacks the hard faces, as with `drop`: 2 px on all it has, where base has 1 px; over its own base has more.
    base = with_validation(base, [1, 2, 3, 4], 1, 9, 1, 9)
    v1 = with_validation(v1, [3, 1], 2, 2)
    nothing = with_validation(lenet5, [], *())
    assert entries.by_validation([v1, nothing, base]) == [base, v1, nothing]
    assert list(entries.by_label([v1, base])) == ["base (quick, none)", "v1 (quick, none)"]
    assert entries.main_entries([v1, base, nothing], 1) == [base]


def test_the_mean_face_comes_from_the_finest_record(tmp_path):
    runs = [read_run(make_run(tmp_path / name)) for name in ("a-s0", "b-s0")]
    coarse = replace(runs[0], test=replace(runs[0].test, step=1 / 8, error=runs[0].test.error + 0.25))
    # The truth of b, whose record is rounded least: (50, 50), not less by a quarter.
    assert entries.mean_face([coarse, runs[1]]).test.truth[0, 0].tolist() == [50, 50]


# --- baselines, flags, the noise floor


def test_a_baseline_is_a_row_but_no_network(tmp_path):
    [base, ridge, mean] = read_entries(make_run(tmp_path / "base-s0"), make_baseline(tmp_path / "ridge-none"))
    assert (base.is_baseline, ridge.is_baseline, mean.is_baseline) == (False, True, True)
    assert (base.label, ridge.label, mean.label) == ("base (quick, none)", "ridge (none)", "mean face")
    rows = {row["run"]: row for row in tables.performance([base, ridge, mean])}
    assert [rows["ridge-none"][key] for key in ("recipe", "treatment", "seed")] == ["", "none", None]
    assert rows["ridge-none"]["rmse_px"] == rows["base-s0"]["rmse_px"]
    assert entries.main_entries([base, ridge, mean], 4) == [base]
    assert len(plots.learning_curves([base, ridge, mean]).axes) == 1


def test_a_second_look_has_no_curve_of_its_own(tmp_path):
    """Its network was trained in a run of the same table; one that was trained on other data has no other place."""
    run, look, other, _ = read_entries(
        make_run(tmp_path / "base-s0"),
        make_run(tmp_path / "base-s0-mirrored", model="base and mirrored", trained_on="toy", trained_with="a command"),
        make_run(tmp_path / "base-s0-from-x", trained_on="x", trained_with="a command"),
    )
    assert [len(plots.learning_curves(shown).axes) for shown in ([run], [run, look], [run, look, other])] == [1, 1, 2]
    assert entries.main_entries([look, run], 4) == [run]


def test_only_a_baseline_may_lack_epochs(tmp_path):
    folder = make_baseline(tmp_path / "a-s0", "a", baseline=False)
    with pytest.raises(DataError, match="has no epochs"):
        collect.read(folder)


def test_plots_show_each_baseline_once_and_apart(tmp_path):
    folders = [make_run(tmp_path / "base-s0")]
    folders += [
        make_baseline(tmp_path / f"ridge-{t}", error=e, treatment=t) for t, e in (("none", (0, 1)), ("ffill", (0, 2)))
    ]
    folders += [make_baseline(tmp_path / "nearest_neighbour-none", "nearest_neighbour", (0, 3))]
    shown = plots.cumulative_errors(read_entries(*folders)).axes[0].lines
    # The better ridge by validation; four lines, no two baselines alike.
    names = ["ridge (none)", "nearest neighbour (none)", "base (quick, none)", "mean face"]
    assert sorted(line.get_label() for line in shown) == sorted(names)
    gray = [line for line in shown if line.get_color() == plots.BASELINE]
    assert len({str(line._dash_pattern) for line in gray}) == 3


def test_baselines_alone_make_a_table(here):
    make_baseline(here / "runs/toy/ridge-none")
    assert main([]) == 0
    rows = read_table(here / "results/toy/performance.csv")
    assert [row["run"] for row in rows] == ["ridge-none", "mean_face"]
    assert set(PLOTS) <= {path.name for path in (here / "results/toy").iterdir()}


# The mean face's RMSE on the toy's faces is sqrt(6000 / 238) = 5.0210 px, see `test_mean_face_by_hand`.
@pytest.mark.parametrize(
    ("error", "flag"),
    [
        ((0, 1), None),  # 0.71 px
        ((3, 4), "worse than ridge (none)"),  # 3.5355 px, as the baseline: not below
        ((4, 4.9), "worse than ridge (none)"),  # 4.4727 px, 10.9 % below the mean face
        ((4.5, 4.6), "mean-face collapse"),  # 4.5503 px, 9.4 % below
        ((5, 5.9), "mean-face collapse"),  # 5.4685 px, 8.9 % above
        ((5.6, 5.6), "worse than mean face and ridge (none)"),  # 5.6 px, 11.5 % above
    ],
)
def test_flags_by_hand(tmp_path, error, flag):
    all_entries = read_entries(make_run(tmp_path / "base-s0", error=error), make_baseline(tmp_path / "ridge-none"))
    flagged = {row["run"]: row["flag"] for row in tables.performance(all_entries)}
    assert flagged == {"base-s0": flag, "ridge-none": None, "mean_face": None}


@pytest.mark.parametrize(("share", "flag"), [(0.05, "mean-face collapse"), (0.15, "")])
def test_predictions_that_stand_still_are_a_collapse(tmp_path, share, flag):
    # Predictions move between (50, 50) and `share` of the way to the odd faces' (56, 58); those are 20 px further
    # off, so the RMSE is far from the mean face's. 10 % of the true movement is the limit.
    like = predictions()
    truth = np.where(like.observed[..., None], like.predicted - like.error, np.nan)
    predicted = np.full((N, K, 2), 50, np.float32)
    predicted[1::2] += np.float32(share) * np.array([6, 8], np.float32)
    predicted -= np.float32(20)
    test = Predictions(like.ids, like.groups, like.sources, predicted, predicted - truth, like.observed)
    found = flags.flags(read_entries(make_run(tmp_path / "base-s0", test=test)))["base-s0"]
    assert found == (flag or "worse than mean face")


def test_the_terminal_shows_flags(tmp_path):
    lines = tables.to_terminal(
        tables.performance(read_entries(make_run(tmp_path / "base-s0", error=(5, 5))))
    ).splitlines()
    assert lines[0].endswith("  flag")
    assert [line.endswith("mean-face collapse") for line in lines[1:]] == [True, False]
    assert not any(line.endswith(" ") for line in lines)


FLOOR = {"rmse_px": 1.5, "pairs": 120, "simulated": False}


def test_the_noise_floor_is_a_row_and_a_line(tmp_path):
    run = make_run(tmp_path / "base-s0", noise_floor=FLOOR)
    floor = entries.noise_floor([read_run(run)])
    assert floor == FLOOR
    found = read_entries(run)
    row = tables.performance(found, floor)[0]
    filled = {key: value for key, value in row.items() if value is not None}
    note = f"{next(iter(known.NOTES.values()))}; from 120 pairs of labels of one image"
    label = {"run": "label_noise", "model": "label_noise", "data": "toy"}
    assert filled == {**label, "rmse_px": 1.5, "data_note": note}
    simulated = tables.performance(found, floor | {"simulated": True})[0]
    assert simulated["flag"] == "simulated: the disagreement was added, judge no network by it"
    assert "label_noise" in tables.to_csv([row])
    assert "label_noise" in tables.to_terminal([row])
    # Without a floor: no row, no line.
    assert [row["run"] for row in tables.performance(found)] == ["base-s0", "mean_face"]
    drawn, without = (plots.error_per_keypoint(found, noise_floor=given).axes[0].lines for given in (floor, None))
    assert len(drawn) == len(without) + 1
    [line] = [line for line in drawn if "label noise" in line.get_label()]
    assert set(line.get_xdata()) == {1.5}


def test_evaluation_writes_the_noise_floor(here, undrawn):
    make_run(here / "runs/toy/base-s0", noise_floor=FLOOR)
    assert main([]) == 0
    rows = {row["run"]: row for row in read_table(here / "results/toy/performance.csv")}
    assert rows["label_noise"]["rmse_px"] == "1.5000"
    assert {row["run"] for row in read_table(here / "results/toy/per_keypoint.csv")} == {"base-s0", "mean_face"}


def test_the_noise_floor_is_that_of_the_data_set_itself(tmp_path):
    runs = [
        make_run(tmp_path / "a-s0", noise_floor={**FLOOR, "pairs": 7}),
        make_run(tmp_path / "b-s0", noise_floor=FLOOR),
        make_run(tmp_path / "c-s0", noise_floor=None),
        make_run(tmp_path / "d-s0-from-other", trained_on="other", noise_floor={**FLOOR, "pairs": 999}),
    ]
    assert entries.noise_floor([read_run(run) for run in runs]) == FLOOR
    assert entries.noise_floor([read_run(run) for run in runs[2:]]) is None


@pytest.mark.parametrize(
    "floor", [1.5, {"rmse_px": 1.5}, {**FLOOR, "rmse_px": float("nan")}, {**FLOOR, "rmse_px": "x"}]
)
def test_a_malformed_noise_floor_is_refused(tmp_path, floor):
    with pytest.raises(DataError, match=r"noise_floor|damaged"):
        collect.read(make_run(tmp_path / "base-s0", noise_floor=floor))


# --- pictures


@pytest.mark.parametrize("name", [*PLOTS, "sample_faces_base.png", "sample_faces_v1.png"])
def test_pictures_decode_and_show_something(toy, name):
    pixels = matplotlib.image.imread(toy / "results/toy" / name)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels @ [1, 256, 65536])) > 50
    assert 0.005 < (pixels.min(axis=-1) < 0.9).mean() < 0.95


def test_faces_from_outside_go_where_git_ignores_them(here, undrawn, capsys):
    make_run(here / "runs/toy/base-s0")
    make_images(here / "data/prepared/toy", kind="kaggle")
    assert main([]) == 0
    assert [p.name for p in (here / "results/toy").rglob("sample_faces*")] == ["sample_faces_base.png"]
    assert (here / "results/toy/faces/sample_faces_base.png").is_file()
    assert "1 run(s) on 8 test faces (stand-in: " in capsys.readouterr().out
    with open(here / "results/toy/performance.csv", newline="") as file:
        assert all(row["data_note"].startswith("stand-in: ") for row in csv.DictReader(file))


def test_images_of_other_faces_are_not_drawn(tmp_path):
    ids = np.arange(N)
    assert faces.load_images(tmp_path, ids) == (None, f"{tmp_path / 'test_images.npy'} is absent")
    make_images(tmp_path / "other", ids=ids + 1)
    images, why_not = faces.load_images(tmp_path / "other", ids)
    assert images is None
    assert "other test faces" in why_not


def test_picked_faces_by_hand():
    errors = np.array([5.0, 1.0, np.nan, 2.0, 4.0, 3.0])
    groups = np.array([0, 1, 2, 1, 3, 4])
    # Best to worst 1, 3, 5, 4, 0; face 2 has no label. Face 3 is of face 1's group: never beside it.
    picked = faces.pick_faces(errors, groups, count=2)
    assert picked == {"best": [1, 5], "median": [3, 5], "worst": [0, 4]}


def test_many_runs_stay_within_the_limits_of_a_plot(tmp_path):
    names = [f"model{i}" for i in range(11)]
    folders = [make_run(tmp_path / f"{m}-s0", m, (0, 1 + i / 8)) for i, m in enumerate(names)]
    many = [entries.from_run(read_run(f)) for f in folders]
    ax = plots.error_per_keypoint(many).axes[0]
    assert len(ax.lines) == plots.MOST_PER_KEYPOINT
    assert "6 of 11" in ax.get_title()
    assert len(plots.truth_against_prediction(many).axes) == 2 * plots.MOST_PANELS
    looks = plots.Looks(many)
    assert len({(looks.colour(e), str(looks.line(e))) for e in many}) == 11


# --- records


def test_a_clone_with_records_alone_gives_the_same_files(toy, here):
    shutil.copytree(toy / "results", here / "results")
    shutil.copytree(toy / "data", here / "data")
    before = everything_under(toy / "results")
    assert main([]) == 0
    assert everything_under(here / "results") == before


def test_records_are_copied_and_hold_no_more_than_the_record(toy):
    for name in ("base-s0", "v1-s0"):
        files = everything_under(toy / "results/toy/runs" / name)
        assert files == everything_under(toy / "runs/toy" / name)


def test_a_fresh_run_replaces_its_record_and_joins_the_others(here, undrawn, capsys):
    make_run(here / "results/toy/runs/base-s0")
    make_run(here / "results/toy/runs/v1-s0", "v1", (0, 1))
    make_run(here / "elsewhere/base-s0", error=(0, 0.5))
    unfinished = make_run(here / "elsewhere/v2-s0")
    (unfinished / "history.csv").unlink()
    assert main(["--runs", "elsewhere", "--output", "results/toy"]) == 0
    rows = read_table(here / "results/toy/performance.csv")
    assert [(row["run"], row["mae_px"]) for row in rows[:2]] == [("base-s0", "0.2500"), ("v1-s0", "0.5000")]
    assert read_run(here / "results/toy/runs/base-s0").test.error[1, 0].tolist() == [0, 0.5]
    warnings = capsys.readouterr().err.splitlines()
    assert warnings[0] == "warning: skipped: elsewhere/v2-s0 is not a finished run: history.csv is missing"
    assert "1 unusable" in warnings[1]
    assert not list(here.rglob("*.partial"))


# --- refusals


def refused(capsys, arguments):
    """The one line of an evaluation that ends with exit code 2."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("name", ["config.json", "history.csv", "predictions.npz"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_run_that_was_named_is_refused(here, capsys, name, damage):
    path = make_run(here / "runs/toy/base-s0") / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    if (name, damage) == ("history.csv", "cut"):
        path.write_bytes(content.replace(b"9.0", b"nine"))  # half a history would still be one
    line = refused(capsys, ["--runs", "runs/toy/base-s0", "--output", "results/toy"])
    assert "runs/toy/base-s0" in line
    assert not (here / "results").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "kaggle16"}, "schema 'kaggle16' is none of kaggle15, ibug68"),
        ({"schema": "ibug68"}, r"mean_face in config.json is not \[68, 2\]"),
        ({"image_size": 96}, "image_size in config.json is 96"),
        ({"run": "../../x"}, "not a plain folder name"),
        ({"recipe": "quick"}, "recipe in config.json has no name"),
        ({"test": predictions((np.nan, 0))}, "test predictions are not finite"),
    ],
)
def test_runs_that_cannot_be_scored_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        collect.read(make_run(tmp_path / "base-s0", **changes))


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (predictions(ids=np.arange(N) * 10 + 1), "8 of 8 ids differ"),
        (predictions(move=0.5), "other labels on the test faces (up to 0.50 px apart)"),
    ],
)
def test_runs_on_other_test_faces_are_refused_by_name(here, capsys, test, message):
    make_run(here / "runs/toy/base-s0")
    make_run(here / "runs/toy/base-s1", seed=1)
    make_run(here / "runs/toy/a-s0", "a", test=test)
    line = refused(capsys, ["--runs", "runs"])
    assert "runs/toy/a-s0 does not belong in one table with the other 2 runs" in line
    assert message in line
    assert not (here / "results").exists()


def test_rounding_in_the_record_is_no_other_test_set(tmp_path):
    # Truth is stored as prediction minus error, each rounded to float16: on each run differently.
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 96, (N, K, 2)).astype(np.float32)
    runs = []
    for seed in range(2):
        error = rng.normal(0, 12, (N, K, 2)).astype(np.float32)
        like = predictions()
        test = Predictions(like.ids, like.groups, like.sources, truth + error, error, np.ones((N, K), bool))
        runs.append(read_run(make_run(tmp_path / f"base-s{seed}", test=test)))
    assert np.abs(runs[0].test.truth - runs[1].test.truth).max() > 0.01
    collect.check_one_table(runs)


def test_runs_of_another_data_set_are_refused(here, capsys):
    make_run(here / "results/toy/runs/base-s0")
    make_run(here / "runs/other/v1-s0", "v1", data="other")
    before = everything_under(here)
    line = refused(capsys, ["--runs", "runs/other/v1-s0", "--output", "results/toy"])
    assert "data other, not toy" in line or "data toy, not other" in line
    assert everything_under(here) == before


def test_two_different_runs_of_one_name_are_refused(here, capsys):
    make_run(here / "a/base-s0")
    make_run(here / "b/base-s0", commit="fffffff")
    assert "two different runs are called base-s0: a/base-s0 and b/base-s0" in refused(capsys, ["--runs", "a", "b"])


def test_nothing_to_evaluate_is_said_in_one_line(here, capsys):
    assert "no usable runs: nothing in runs/ and results/*/runs/" in refused(capsys, [])
    assert "absent is not a folder" in refused(capsys, ["--runs", "absent"])
    (here / "empty").mkdir()
    assert "no runs in empty" in refused(capsys, ["--runs", "empty"])


def test_a_failure_while_writing_leaves_the_old_files(here, monkeypatch, capsys):
    make_run(here / "results/toy/runs/base-s0")
    (here / "results/toy/performance.csv").write_text("old\n")
    before = everything_under(here)

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full_disk)
    assert "No space left" in refused(capsys, [])
    assert everything_under(here) == before


def test_neither_tensorflow_nor_keras_is_imported():
    code = """if True:
        import sys, evaluation.__main__
        assert "matplotlib" not in sys.modules, "--help would pay for it"
        import evaluation.faces, evaluation.plots, evaluation.tables
        assert not {"tensorflow", "keras", "jax"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
