"""What each idea is worth: on validation faces, paired with the reference, in words that name the change."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_summary import entry, scored

from data_prep.faceset import DataError
from evaluation.ablation import ablation, figure, to_terminal
from evaluation.study_file import read_study
from evaluation.study_plan import plan

ROOT = Path(__file__).resolve().parents[1]
RECIPE = {"name": "quick", "loss": "mse", "epochs": 20}
N, K = 24, 15


def trained(name, error, model="dsnt (small)", test_error=(9, 9), seed=0, **recipe):
    """A run off by `error` px (x, y) on every point of the 24 validation faces."""
    found = entry(model, test_error, seed, error, recipe={**RECIPE, "name": name, **recipe})
    return replace(found, name=f"{name}-s{seed}")


def test_rows_by_hand():
    entries = [
        trained("quick", (3, 4)),
        trained("quick+loss=wing", (1, 7), loss="wing", test_error=(0, 0)),
        trained("quick+label_rules=by_source", (0, 1), label_rules="by_source"),
        trained("quick", (2, 2), model="dsnt (tiny)"),
    ]
    rows = ablation(entries, "quick-s0")
    assert [row["change"] for row in rows] == ["", "label rules by_source", "dsnt (tiny)", "loss wing"]
    # Square roots of (9 + 16) / 2, 1 / 2, (4 + 4) / 2 and (1 + 49) / 2: the good test error of wing counts for nothing.
    assert [row["val_rmse_px"] for row in rows] == pytest.approx([12.5**0.5, 0.5**0.5, 2, 5])
    assert rows[0]["verdict"] == "reference"
    assert rows[0]["difference_px"] is None
    assert [row["difference_px"] for row in rows[1:]] == pytest.approx(
        [0.5**0.5 - 12.5**0.5, 2 - 12.5**0.5, 5 - 12.5**0.5]
    )
    # All twelve groups of a pair agree: 2 sign patterns of 4,096 are as extreme, times 3 rows by Holm.
    assert [row["p_holm"] for row in rows[1:]] == pytest.approx([3 * 2 / 4096] * 3)
    assert [row["verdict"] for row in rows[1:]] == ["helps", "helps", "hurts"]
    assert "loss wing" in to_terminal(rows)
    assert [text.get_text() for text in figure(rows).axes[0].get_yticklabels()] == [row["change"] for row in rows[1:]]


def test_every_column_is_explained():
    text = (ROOT / "results/README.md").read_text().split("## NAME-ablation/", 1)[1].split("\n## ", 1)[0]
    explained = set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`.+?) \|", text, re.M))))
    assert set(ablation([trained("quick", (1, 1))], "quick-s0")[0]) <= explained


def test_seeds_stand_together():
    entries = [trained("quick", (3, 4)), trained("quick", (0, 1), seed=1), trained("quick+epochs=5", (3, 4), epochs=5)]
    base, short = ablation(entries, "quick-s1")
    assert (base["seeds"], short["seeds"]) == (2, 1)
    assert base["val_rmse_px"] == pytest.approx(((12.5 + 0.5) / 2) ** 0.5)


def test_a_difference_within_chance_is_none():
    wobble = np.where(np.arange(N) // 2 % 2, 1.0, 3.0)[:, None, None] * np.ones((N, K, 2))
    odd = replace(trained("quick+epochs=5", (1, 1), epochs=5), val=scored(4 - wobble))
    rows = ablation([replace(trained("quick", (1, 1)), val=scored(wobble)), odd], "quick-s0")
    assert rows[1]["verdict"] == "no difference shown"


def test_the_reference_must_be_there():
    with pytest.raises(DataError, match="the reference v1-s0 is not among the runs"):
        ablation([trained("quick", (1, 1))], "v1-s0")


STUDY = """
[data.tiny]
source = "synthetic"
folders.none = "data/prepared/tiny"
[ablation]
reference = "base-quick-none-s0"
[[train]]
models = ["base", "v1"]
recipes = ["quick"]
treatments = ["none"]
seeds = [0]
"""


def test_its_study_ends_with_this_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(STUDY)
    study = read_study(path)
    assert study.reference == "base-quick-none-s0"
    steps = [step.words for step in plan(study) if step.kind == "evaluate"]
    assert steps == [("evaluation.ablation", str(path), "--output", "results/tiny")]
    path.write_text(STUDY.replace("base-quick-none-s0", "v1-long-none-s0"))
    with pytest.raises(DataError, match="reference 'v1-long-none-s0' is unknown; accepted: base-quick"):
        read_study(path)
