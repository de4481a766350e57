"""What lies in results/: tables that follow from the records beside them, and nothing that is too much or amiss."""

import csv
import re
from pathlib import Path

import pytest

from evaluation import collect, tables
from evaluation import entries as entry_forms
from evaluation.study_file import read_study
from evaluation.study_runs import missing_runs

ROOT = Path(__file__).resolve().parents[1]
TABLES = sorted(path.parent for path in ROOT.glob("results/*/performance.csv"))
# Trained before their code was committed. They cannot be made anew without base and v1 beside them: another machine
# draws other faces from the same seed.
BEFORE_THEIR_COMMIT = ("synthetic/ridge-none", "synthetic/nearest_neighbour-none")
STUDIES = sorted(ROOT.glob("studies/*.toml"))


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module", params=TABLES, ids=lambda path: path.name)
def results(request):
    """A results folder and the runs that are recorded in it."""
    runs, skipped = collect.find_below(request.param / "runs")
    assert not skipped
    return request.param, sorted(runs, key=lambda run: run.name)


def test_the_table_follows_from_the_records(results):
    folder, runs = results
    entries = [*map(entry_forms.from_run, runs), entry_forms.mean_face(runs)]
    rows = tables.performance(entries, entry_forms.noise_floor(runs))
    assert (folder / "performance.csv").read_text() == tables.to_csv(rows)


def test_every_variant_has_a_line_in_the_summary(results):
    folder, runs = results
    entries = [*map(entry_forms.from_run, runs), entry_forms.mean_face(runs)]
    with open(folder / "summary.csv", newline="") as file:
        written = [row["variant"] for row in csv.DictReader(file)]
    assert sorted(written) == sorted({entry.label for entry in entries})


def test_every_run_says_where_it_comes_from(results):
    for run in results[1]:
        for key in ("data", "data_source", "split", "treatment", "model", "commit", "command"):
            assert run.config.get(key), f"{run.folder}: {key}"
        name = f"{run.config['data']}/{run.name}"
        assert not run.config["commit"].endswith("+changes") or name in BEFORE_THEIR_COMMIT, run.folder


def test_records_are_light(results):
    for run in results[1]:
        size = sum(path.stat().st_size for path in run.folder.iterdir())
        assert size <= 200_000, f"{run.folder} has {size:,} bytes"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_has_all_its_runs(path):
    study = read_study(path)
    for data in study.data:
        folder = ROOT / "results" / data.name / "runs"
        if not folder.is_dir():
            pytest.skip(f"no table of {data.name} is committed")
        assert missing_runs(study, collect.find_below(folder)[0]) == []


@pytest.mark.parametrize("path", ["README.md", "results/README.md", "models/weights/README.md"])
def test_no_placeholder_is_left(path):
    assert re.findall(r"^[A-Z_]+$", (ROOT / path).read_text(), re.MULTILINE) == []
