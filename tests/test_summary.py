"""summary.csv, comparisons.csv, their plot, and the study that a table must be complete for."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_evaluation import make_baseline, make_run

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15
from evaluation.__main__ import main
from evaluation.entries import Entry, Scored
from evaluation.interval_plots import intervals
from evaluation.summary import comparisons, summary, to_terminal
from evaluation.tables import to_csv

ROOT = Path(__file__).parents[1]
N, K = 24, len(KAGGLE15)
RUN = {"recipe": {"name": "quick"}, "treatment": "none", "trained_on": "toy", "parameters": 7, "train_seconds": 10.0}


def entry(model="base", error=(3, 4), seed=0, val_error=(1, 1), **changes):
    """A run off by `error` on all 15 points of 24 faces in 12 pairs; a baseline where `seed` is None."""
    config = {} if seed is None else {**RUN, "seed": seed, **changes}
    errors = np.broadcast_to(np.asarray(error, float), (N, K, 2))
    return Entry(
        name=f"{model}-{seed}",
        model=model,
        data="toy",
        schema=KAGGLE15,
        val=scored(np.broadcast_to(np.asarray(val_error, float), (N, K, 2))),
        test=scored(errors),
        config=config,
        history=None if seed is None else {},
    )


def scored(errors):
    truth = np.full((N, K, 2), 50.0)
    truth[:, 0, 0], truth[:, 1, 0] = 70, 30  # eye centres 40 px apart
    return Scored(np.arange(N), np.arange(N) // 2, np.ones(N, int), truth + errors, truth, errors)


def test_a_variant_pools_its_seeds():
    entries = [entry(seed=1, error=(0, 1), train_seconds=20.0), entry(seed=0), entry("mean_face", (6, 8), seed=None)]
    base, mean = summary(entries)
    assert [base[part] for part in ("model", "recipe", "treatment", "trained_on")] == ["base", "quick", "none", "toy"]
    assert (base["seeds"], base["faces"], base["groups"], base["parameters"]) == (2, 24, 12, 7)
    # Seed 0: sqrt((9 + 16) / 2), seed 1: sqrt(1 / 2); together sqrt((25 + 1) / 4); all faces alike, so no spread.
    assert base["rmse_px"] == pytest.approx(6.5**0.5)
    assert (base["rmse_low_px"], base["rmse_high_px"]) == pytest.approx((6.5**0.5, 6.5**0.5))
    assert (base["rmse_min_px"], base["rmse_max_px"]) == pytest.approx((0.5**0.5, 12.5**0.5))
    assert base["rmse_of_seeds_px"] == "3.5355 0.7071"
    # Two values differ by 2 sqrt(2): their standard deviation is that over sqrt(2).
    assert base["seed_sd_px"] == pytest.approx(2)
    # Means of 3.5 and 0.5 px, and of 10 and 20 s; one of twelve equal groups.
    assert (base["mae_px"], base["train_seconds"], base["val_rmse_px"]) == (2, 15, 1)
    # Distances of 5 and 1 px over 40 px between the eyes: 12.5 and 2.5 %.
    assert base["nme_pct"] == pytest.approx(7.5)
    assert base["worst_group_pct"] == pytest.approx(100 / 12)
    assert base["note"] is None
    assert mean["rmse_px"] == pytest.approx(50**0.5)
    assert [mean[name] for name in ("seeds", "seed_sd_px", "rmse_min_px", "rmse_of_seeds_px", "note")] == [None] * 5


def test_a_network_that_was_taught_says_by_whom():
    (row,) = summary([entry(teacher={"run": "dsnt-best-s0", "model": "dsnt (best)"})])
    assert row["note"] == "one seed; taught by dsnt (best)"


def test_two_teachers_are_no_seeds_of_one_network():
    first, second = (entry(seed=seed, teacher={"run": f"dsnt-best-s{seed}", "model": "dsnt (best)"}) for seed in (0, 1))
    with pytest.raises(DataError, match="base-0 and base-1 differ in their teachers, dsnt-best-s0 and dsnt-best-s1"):
        summary([first, second])


def test_told_of_a_label_source_are_networks_that_have_two():
    two = np.arange(N) % 2 + 1
    by_source = {"recipe": {"name": "best", "label_rules": "by_source"}}
    told, of_one, without = (entry(**by_source, outputs=outputs) for outputs in (17, 17, 15))
    told, without = (replace(one, test=replace(one.test, sources=two)) for one in (told, without))
    assert [summary([one])[0]["note"] for one in (told, of_one, without)] == [
        "one seed; told each face's label source",
        "one seed",
        "one seed",
    ]


def test_one_seed_is_said_and_has_no_spread():
    rows = summary([entry(), entry("v1", (0, 1))])
    assert [row["variant"] for row in rows] == ["v1 (quick, none)", "base (quick, none)"]
    assert {row["note"] for row in rows} == {"one seed"}
    assert {row["seed_sd_px"] for row in rows} == {None}


def test_flags_say_how_many_seeds_they_concern():
    entries = [entry(seed=0), entry(seed=1), entry(seed=2, error=(0, 1)), entry("v1"), entry("mean_face", seed=None)]
    # Off by (3, 4) as the mean face is.
    assert {row["variant"]: row["flag"] for row in summary(entries)} == {
        "base (quick, none)": "mean-face collapse (2 of 3 seeds)",
        "v1 (quick, none)": "mean-face collapse",
        "mean face": None,
    }


def test_interval_of_a_summary_is_over_groups():
    # Faces 0 and 1 make one group and are far off, the others are right: which of 12 groups are drawn decides.
    errors = np.zeros((N, 1, 1))
    errors[:2] = 12
    (row,) = summary([entry(error=errors)])
    assert row["rmse_px"] == pytest.approx((144 / 12) ** 0.5)
    assert row["worst_group_pct"] == 100
    assert row["rmse_low_px"] == 0
    # Some draw holds that group three or four times, hardly one more than five times.
    assert (144 * 3 / 12) ** 0.5 <= row["rmse_high_px"] <= (144 * 5 / 12) ** 0.5


def test_the_best_baseline_is_that_of_the_common_validation_faces():
    # Of 24 faces ridge is off by 1 px on the first 12, by 9 on the others; nearest neighbour by 2 px, on 12 alone.
    hard = np.where(np.arange(N) < 12, 1, 9)[:, None, None] * np.ones((N, K, 2))
    ridge, nearest = entry("ridge", seed=None), entry("nearest", seed=None, val_error=(2, 2))
    ridge = replace(ridge, val=scored(hard))
    nearest = replace(nearest, val=replace(nearest.val, ids=np.arange(12), errors=nearest.val.errors[:12]))
    assert [row["b"] for row in comparisons([entry(), nearest, ridge])] == ["ridge"]


def test_pairs_differ_in_one_thing():
    entries = [
        entry("base"),
        entry("v1"),
        entry("v1", recipe={"name": "reference"}),
        entry("v1", treatment="ffill", seed=0),
        entry("v1", treatment="ffill", seed=1),
        entry("v1", trained_on="elsewhere"),
        entry("mean_face", val_error=(9, 9), seed=None),
        entry("ridge", val_error=(2, 2), seed=None),
    ]
    rows = comparisons(entries)
    v1 = "v1 (quick, none)"
    assert [(row["a"], row["b"], row["differs_in"]) for row in rows if row["differs_in"] != "baseline"] == [
        ("base (quick, none)", v1, "model"),
        (v1, "v1 (reference, none)", "recipe"),
        ("v1 (quick, ffill)", v1, "treatment"),
        (v1, "v1 (quick, none, from elsewhere)", "trained_on"),
    ]
    # Against the better baseline by validation only, every variant once.
    baseline = [row for row in rows if row["differs_in"] == "baseline"]
    assert len(baseline) == 5
    assert {row["b"] for row in baseline} == {"ridge"}
    assert [(r["seeds_a"], r["seeds_b"], r["note"]) for r in rows if r["a"] == "v1 (quick, ffill)"] == [
        (2, 1, "one seed"),
        (2, None, None),
    ]


def test_verdicts_by_hand():
    # Squares of an error sum to 25 in a and 200 in d; to 50 and 0 in turn in c, which makes it a's equal.
    turns = np.where(np.arange(N) // 2 % 2, 1, 0)[:, None, None]
    # b is near 1 px everywhere, not quite the same in each group.
    errors = {"a": (3, 4), "b": 1 + np.arange(N)[:, None, None] / 100, "c": turns * np.array([7, 1]), "d": (10, 10)}
    rows = {row["a"][0] + row["b"][0]: row for row in comparisons([entry(*pair) for pair in errors.items()])}
    verdicts = {pair: row["verdict"] for pair, row in rows.items() if pair != "bc"}
    assert verdicts == {
        "ab": "b better",
        "ac": "no difference shown",
        "ad": "a better",
        "bd": "a better",
        "cd": "a better",
    }
    for pair in ("ab", "ad", "bd", "cd"):
        # All 12 groups on one side: 2 of 4096 sign patterns; the smallest of six tests, so six times that.
        assert rows[pair]["p_value"] == pytest.approx(2 / 4096)
        assert rows[pair]["p_holm"] == pytest.approx(12 / 4096)
        assert rows[pair]["probability_of_improvement"] == (0 if pair == "ab" else 1)
    assert rows["ab"]["low_px"] > 0 > rows["bd"]["high_px"]
    # 12.5^0.5 - 100^0.5, the same in all groups
    ad = rows["ad"]
    assert [ad[name] for name in ("low_px", "difference_px", "high_px")] == pytest.approx([12.5**0.5 - 10] * 3)
    ac = rows["ac"]
    assert (ac["difference_px"], ac["p_value"], ac["p_holm"], ac["probability_of_improvement"]) == (0, 1, 1, 0.5)
    assert ac["low_px"] < 0 < ac["high_px"]


def test_an_interval_without_zero_is_not_enough():
    few = np.arange(N) // 6
    a, b = (replace(e, test=replace(e.test, groups=few)) for e in (entry("a", (3, 4)), entry("b", (0, 1))))
    (row,) = comparisons([a, b])
    # Four groups, all better under b: 2 of 16 sign patterns.
    assert (row["groups"], row["p_value"], row["verdict"]) == (4, 0.125, "no difference shown")
    assert row["low_px"] > 0


def test_runs_are_brought_to_the_same_faces():
    errors = np.random.default_rng(0).normal(size=(N, K, 2))
    first, second = entry("a", errors), entry("b", errors)
    turned = {name: getattr(second.test, name)[::-1] for name in ("ids", "groups", "errors")}
    rows = comparisons([first, replace(second, test=replace(second.test, **turned))])
    # The same errors in another order: no difference in any group.
    assert (rows[0]["difference_px"], rows[0]["probability_of_improvement"]) == (0, 0.5)
    other = replace(second, test=replace(second.test, ids=np.arange(N) + 1))
    with pytest.raises(DataError, match="b-0 was not tested on the same faces as a-0"):
        comparisons([first, other])


def test_every_column_is_explained():
    text = (ROOT / "results/README.md").read_text()
    explained = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]*)\|", text, flags=re.M))))
    entries = [entry(), entry("v1", (0, 1)), entry("mean_face", seed=None)]
    for rows in (summary(entries), comparisons(entries)):
        assert set(rows[0]) <= explained, set(rows[0]) - explained
        assert {tuple(row) for row in rows} == {tuple(rows[0])}


# --- shown


def test_plot_has_an_interval_per_row_and_a_dot_per_seed():
    entries = [entry(seed=s, error=(1 + s, 2)) for s in range(3)] + [entry("mean_face", (6, 8), seed=None)]
    rows = summary(entries)
    figure = intervals(rows, noise_floor={"rmse_px": 0.8, "pairs": 3, "simulated": True})
    ax = figure.axes[0]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    # sqrt((x^2 + 4) / 2) for x of 1, 2, 3
    assert dots[0].get_xdata() == pytest.approx([2.5**0.5, 4**0.5, 6.5**0.5], abs=1e-4)
    assert len(dots) == 1
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["base (quick, none), 3 seeds", "2.08", "mean face", "7.07", "simulated label noise 0.80"]
    many = [{**row, "variant": f"v{i}"} for i, row in enumerate(rows * 10)]
    assert intervals(many).get_size_inches()[1] > 2 * figure.get_size_inches()[1]


def test_terminal_shows_a_line_per_row():
    rows = summary([entry(seed=0), entry(seed=1, error=(0, 1)), entry("mean_face", (6, 8), seed=None)])
    assert to_terminal(rows).splitlines() == [
        "variant             RMSE px  95 % interval  seeds  their SD",
        "base (quick, none)     2.55   2.55 to 2.55      2     2.000",
        "mean face              7.07   7.07 to 7.07",
    ]


# --- python -m evaluation


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: Path(path).touch())
    for seed, error in enumerate([(3, 4), (0, 1)]):
        make_run(tmp_path / f"runs/toy/base-quick-none-s{seed}", error=error, seed=seed)
    return tmp_path


def study(folder, seeds):
    folder.mkdir(exist_ok=True)
    path = folder / "toy.toml"
    path.write_text(
        f"""[data.toy]\nsource = "synthetic"\n[seeds]\nquick = {seeds}\n
        [[train]]\nmodels = ["base"]\nrecipes = ["quick"]\ntreatments = ["none"]\n"""
    )
    return path


def test_evaluation_writes_and_prints_them(here, capsys):
    assert main([]) == 0
    with open(here / "results/toy/summary.csv", newline="") as file:
        base, mean = csv.DictReader(file)
    # Pooled over the seeds as above; the eight faces of a run all err alike.
    assert (base["variant"], base["seeds"], base["rmse_px"]) == ("base (quick, none)", "2", "2.5495")
    assert mean["variant"] == "mean face"
    with open(here / "results/toy/comparisons.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["a"], row["b"], row["differs_in"], row["groups"]) == (base["variant"], "mean face", "baseline", "4")
    assert (here / "results/toy/intervals.png").exists()
    assert "\nbase (quick, none)     2.55" in capsys.readouterr().out
    # Equal input gives equal files.
    before = (here / "results/toy/summary.csv").read_text()
    assert main([]) == 0
    assert (here / "results/toy/summary.csv").read_text() == before


def test_baselines_and_noise_floor_from_records(here):
    make_baseline(here / "runs/toy/ridge-none", error=(0, 2))
    make_run(here / "runs/toy/v1-s0", "v1", (1, 1), noise_floor={"rmse_px": 0.5, "pairs": 9, "simulated": False})
    assert main([]) == 0
    with open(here / "results/toy/summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # The noise floor is a line in the plot and a row of performance.csv, no variant.
    assert [row["variant"] for row in rows] == ["v1 (quick, none)", "ridge (none)", "base (quick, none)", "mean face"]
    assert [row["seeds"] for row in rows] == ["1", "", "2", ""]
    assert "label_noise" in (here / "results/toy/performance.csv").read_text()
    with open(here / "results/toy/comparisons.csv", newline="") as file:
        pairs = [(row["a"], row["b"], row["differs_in"]) for row in csv.DictReader(file)]
    assert pairs == [
        ("base (quick, none)", "v1 (quick, none)", "model"),
        ("base (quick, none)", "ridge (none)", "baseline"),
        ("v1 (quick, none)", "ridge (none)", "baseline"),
    ]


def test_a_table_of_pairs_goes_with_its_last_pair(here):
    assert main([]) == 0
    assert (here / "results/toy/comparisons.csv").exists()
    for folder in ("runs", "results/toy/runs"):
        shutil.rmtree(here / folder)
    make_baseline(here / "runs/toy/ridge-none")
    assert main([]) == 0
    assert not (here / "results/toy/comparisons.csv").exists()
    assert (here / "results/toy/summary.csv").exists()


def test_a_missing_seed_fails_the_table(here, capsys):
    study(here / "studies", [0, 1])
    assert main([]) == 0
    before = (here / "results/toy/summary.csv").read_text()
    study(here / "studies", [0, 1, 2, 3])
    capsys.readouterr()
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: results/toy would lack 2 run(s) that studies/toy.toml requires: base-quick-none-s2, "
        "base-quick-none-s3; make them with python -m evaluation.study studies/toy.toml, or write elsewhere with "
        "--output"
    ]
    assert (here / "results/toy/summary.csv").read_text() == before
    # Only the table of that name must be complete, unless the study is named.
    assert main(["--runs", "runs/toy", "--output", "results/trial"]) == 0
    assert main(["--runs", "runs/toy", "--output", "results/trial", "--study", "studies/toy.toml"]) == 2


def test_a_study_that_cannot_be_read_is_refused(here, capsys):
    assert main(["--study", "absent.toml"]) == 2
    assert "absent.toml" in capsys.readouterr().err
    assert not (here / "results").exists()


def test_csv_of_a_row_without_numbers():
    # Nothing labelled: blank cells, not zeros.
    (row,) = summary([entry(error=(np.nan, np.nan), val_error=(np.nan, np.nan))])
    line = next(csv.DictReader(to_csv([row]).splitlines()))
    blank = {"rmse_px", "rmse_low_px", "rmse_high_px", "rmse_min_px", "mae_px", "val_rmse_px", "worst_group_pct"}
    assert {line[name] for name in blank} == {""}
    assert (line["faces"], line["groups"]) == ("24", "0")
