"""The data analysis, on twelve faces whose counts fit on paper."""

import csv
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from data_prep import explore_plots, explore_sheets
from data_prep.checks import Check
from data_prep.explore import explore, gray_values, pattern_name
from data_prep.faceset import FaceSet
from data_prep.prepared import Split
from data_prep.schema import IBUG68, KAGGLE15

ROOT = Path(__file__).parents[1]
TABLES = ("summary.csv", "missing.csv", "patterns.csv", "positions.csv", "checks.csv")
PLOTS = ("missing.png", "keypoints.png", "pixels.png")
SHEETS = ("samples.png", "samples_filled.png")
CHECKS = [Check("raw", "faces", "12", "", None), Check("prepared", "test: faces", "1", "1", True)]
N, SOURCE_1 = 12, 5
FOUR = [KAGGLE15.index(p) for p in ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")]
NEVER = KAGGLE15.index("mouth_center_top_lip")


def make_faces(schema=KAGGLE15) -> FaceSet:
    """Face i has gray values i and 255 - i, half and half, and point k at (10 + k, 20 + k + i).

    Faces 0-4 are source 1: labelled but for `NEVER`, face 2 without any label. The other seven are source 2 with
    four points, face 11 with its eyes alone. Face 6 repeats the image of face 5.
    """
    values = np.arange(N)
    values[6] = 5
    images = np.zeros((N, 96, 96), np.uint8) + values[:, None, None].astype(np.uint8)
    images[:, 48:] = 255 - images[:, 48:]
    points = np.arange(len(schema), dtype=np.float32)
    keypoints = np.stack([np.tile(10 + points, (N, 1)), 20 + points + np.arange(N)[:, None]], axis=-1)
    keypoints = keypoints.astype(np.float32)
    if schema is KAGGLE15:
        rest = np.setdiff1d(np.arange(len(schema)), FOUR)
        keypoints[:, NEVER] = np.nan
        keypoints[SOURCE_1:, rest] = np.nan
        keypoints[11, FOUR[2:]] = np.nan
        keypoints[2] = np.nan
    return FaceSet(
        images=images,
        keypoints=keypoints,
        groups=np.arange(N),
        ids=np.arange(N) * 10,
        sources=np.where(np.arange(N) < SOURCE_1, 1, 2),
        schema=schema,
    )


def make_splits(faces: FaceSet, fill: float = 50.0, left_out=()) -> dict[str, Split]:
    """Faces 3 and 8 are validation, 4 and 9 test; every gap is filled with `fill` (NaN: none is)."""
    rows = {"val": [3, 8], "test": [4, 9]}
    rows["train"] = [i for i in range(len(faces)) if i not in (3, 4, 8, 9, *left_out)]
    splits = {}
    for name in ("train", "val", "test"):
        part = faces.take(np.array(rows[name]))
        filled = np.where(part.observed[..., None], part.keypoints, np.float32(fill))
        splits[name] = Split(part.images, part.keypoints, filled, part.observed, part.groups, part.ids, part.sources)
    return splits


@pytest.fixture(scope="module")
def analysed(tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("toy") / "data"
    faces = make_faces()
    explore(results, faces, make_splits(faces), CHECKS, embedded=True)
    return results


def read_table(path: Path, *key: str) -> dict:
    """Rows of a CSV file by the values of the key columns."""
    with open(path, newline="") as file:
        return {tuple(row[k] for k in key): row for row in csv.DictReader(file)}


def is_picture(path: Path) -> bool:
    image = matplotlib.image.imread(path)
    return min(image.shape[:2]) > 60 and len(np.unique(image[..., 0])) > 10


# --- tables


def test_summary(analysed):
    table = read_table(analysed / "summary.csv", "part")
    assert [part for (part,) in table] == ["all", "source 1", "source 2", "train", "val", "test"]
    row = table["all",]
    counts = ("faces", "distinct_images", "complete_faces", "unlabelled_faces", "labelled_points", "points_outside")
    # Source 1: four faces with 14 points and one with none; source 2: six with 4 and one with 2.
    assert [row[name] for name in counts] == ["12", "11", "0", "1", str(4 * 14 + 6 * 4 + 2), "0"]
    assert float(row["labelled_pct"]) == pytest.approx(100 * 82 / (12 * 15), abs=1e-3)
    assert float(table["source 1",]["labelled_pct"]) == pytest.approx(100 * 56 / (5 * 15), abs=1e-3)
    # Half i, half 255 - i: mean 127.5, contrast 127.5 - i. Only face 0 is black and white.
    gray = ("gray_mean", "gray_min", "gray_max", "image_mean_std")
    assert [float(row[name]) for name in gray] == [127.5, 0, 255, 0]
    assert float(row["contrast_mean"]) == pytest.approx(127.5 - (sum(range(12)) - 1) / 12, abs=1e-3)
    assert float(row["black_pct"]) == float(row["white_pct"]) == pytest.approx(100 / 24, abs=1e-3)
    assert float(table["source 2",]["black_pct"]) == 0
    # Eye centres are points 0 and 1: one pixel apart in x and in y.
    assert (row["eye_distance_faces"], row["eye_distance_mean_px"], row["eye_distance_std_px"]) == (
        "11",
        "1.414",
        "0.000",
    )
    assert [table[part,]["faces"] for part in ("train", "val", "test")] == ["8", "2", "2"]


def test_missing_points_per_source(analysed):
    table = read_table(analysed / "missing.csv", "keypoint", "part")
    assert len(table) == 15 * 6
    rows = [table["nose_tip", part] for part in ("all", "source 1", "source 2")]
    found = [(row["faces"], row["labelled"], row["missing"]) for row in rows]
    assert found == [("12", "10", "2"), ("5", "4", "1"), ("7", "6", "1")]
    assert table["nose_tip", "source 1"]["missing_pct"] == "20.000"
    assert table["mouth_center_top_lip", "all"]["missing_pct"] == "100.000"


def test_patterns_by_number_of_faces(analysed):
    rows = list(read_table(analysed / "patterns.csv", "pattern").values())
    four = "left_eye_center right_eye_center nose_tip mouth_center_bottom_lip"
    found = [(r["pattern"], r["points"], r["faces"], r["faces_source_1"], r["faces_source_2"]) for r in rows]
    assert found == [
        (four, "4", "6", "0", "6"),
        ("all but mouth_center_top_lip", "14", "4", "4", "0"),
        ("left_eye_center right_eye_center", "2", "1", "0", "1"),
        ("none", "0", "1", "1", "0"),
    ]
    assert pattern_name(("a", "b"), np.array([True, True])) == "all"


def test_positions(analysed):
    table = read_table(analysed / "positions.csv", "keypoint", "part")
    row = table["left_eye_center", "source 2"]  # faces 5 to 11, point 0 at (10, 20 + i)
    assert [row[c] for c in ("labelled", "x_mean_px", "x_std_px")] == ["7", "10.000", "0.000"]
    assert [row[c] for c in ("y_mean_px", "y_std_px", "y_min_px", "y_max_px")] == [
        "28.000",
        "2.000",
        "25.000",
        "31.000",
    ]
    row = table["mouth_center_top_lip", "all"]
    assert (row["labelled"], row["x_mean_px"], row["y_max_px"]) == ("0", "", "")


def test_checks_are_written(analysed):
    table = read_table(analysed / "checks.csv", "stage", "check")
    assert [table["raw", "faces"]["result"], table["prepared", "test: faces"]["result"]] == ["", "passed"]


def test_every_column_and_file_is_explained(analysed):
    text = (ROOT / "results/README.md").read_text().split("## The data analysis")[1]
    explained = set(re.findall(r"`([\w.]+)`", "\n".join(re.findall(r"^\| (`[^|]*)\|", text, flags=re.M))))
    for name in TABLES:
        columns = set((analysed / name).read_text().splitlines()[0].split(","))
        assert columns <= explained, f"{name}: {columns - explained} not explained"
    assert {path.name for path in analysed.iterdir()} <= explained


def test_gray_values_of_two_images():
    gray = gray_values(np.array([[[0, 255]], [[7, 7]]], np.uint8))
    assert gray.histograms[0, [0, 255]].tolist() == [1, 1]
    assert gray.histograms[1, 7] == 2
    assert gray.means.tolist() == [127.5, 7]
    assert gray.contrasts.tolist() == [127.5, 0]


# --- pictures


def test_pictures_decode(analysed):
    assert {path.name for path in analysed.iterdir()} == {*TABLES, *PLOTS, *SHEETS}
    for name in (*PLOTS, *SHEETS):
        assert is_picture(analysed / name), name


def test_faces_from_outside_stay_out_of_the_committed_folder(tmp_path, monkeypatch):
    faces = make_faces()
    seen = {}
    draw = explore_plots.keypoints
    monkeypatch.setattr(
        explore_plots, "keypoints", lambda f, s, averages: seen.update(averages) or draw(f, s, averages)
    )
    explore(tmp_path / "outside" / "data", faces, make_splits(faces), CHECKS, embedded=False)
    assert {path.name for path in (tmp_path / "outside/faces").iterdir()} == set(SHEETS)
    assert {path.name for path in (tmp_path / "outside/data").iterdir()} == {*TABLES, *PLOTS}
    assert seen == {}  # an average of so few images shows who they are


def test_average_image_of_many_faces_from_outside_is_drawn(tmp_path, monkeypatch):
    faces = make_faces()
    rows = np.repeat(np.arange(N), 20)
    images = np.random.default_rng(0).integers(0, 255, (len(rows), 96, 96), dtype=np.uint8)
    many = replace(faces.take(rows), images=images, ids=np.arange(len(rows)))
    repeated = replace(many, images=images[np.where(many.sources == 2, 0, np.arange(len(rows)))])
    seen = {}
    monkeypatch.setattr(
        explore_plots, "keypoints", lambda f, s, averages: seen.update(averages) or explore_plots.Figure()
    )
    explore(tmp_path / "data", repeated, make_splits(repeated), CHECKS, embedded=False)
    assert list(seen) == ["source 1"]  # source 2 is one image, many times
    assert seen["source 1"] == pytest.approx(repeated.images[many.sources == 1].mean(axis=0), abs=1e-3)


def test_same_bytes_again_in_another_process(analysed, tmp_path):
    code = (
        "import pathlib, sys; sys.path.insert(0, 'tests'); from test_explore import *; f = make_faces();"
        f"explore(pathlib.Path({str(tmp_path)!r}) / 'data', f, make_splits(f), CHECKS, embedded=True)"
    )
    # Another hash seed too: images are told apart by their hashes.
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    for path in analysed.iterdir():
        assert path.read_bytes() == (tmp_path / "data" / path.name).read_bytes(), path.name


def test_68_points_of_one_source_with_nothing_missing(tmp_path):
    faces = make_faces(IBUG68)
    faces = replace(faces, sources=np.zeros(N, dtype=int), ids=np.array([f"folder/{i}.png" for i in range(N)]))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/samples_filled.png").write_bytes(b"of another treatment")
    explore(tmp_path / "data", faces, make_splits(faces), CHECKS, embedded=True)
    for name in (*PLOTS, "samples.png"):
        assert is_picture(tmp_path / "data" / name), name
    assert not (tmp_path / "data/samples_filled.png").exists()  # nothing is filled, and the old sheet is gone
    assert [part for (part,) in read_table(tmp_path / "data/summary.csv", "part")] == ["all", "train", "val", "test"]
    assert list(read_table(tmp_path / "data/patterns.csv", "pattern")) == [("all",)]
    assert "faces_source_1" not in (tmp_path / "data/patterns.csv").read_text()


def test_68_points_with_gaps_and_another_image_size(tmp_path):
    faces = make_faces(IBUG68)
    keypoints = faces.keypoints.copy()
    keypoints[1, 5] = keypoints[7:, :17] = np.nan
    faces = replace(faces, keypoints=keypoints, images=np.zeros((N, 120, 100), np.uint8))
    explore(tmp_path / "data", faces, make_splits(faces, np.nan), CHECKS, embedded=True)
    assert is_picture(tmp_path / "data/missing.png")


# --- which faces a sheet shows


def test_sheet_shows_each_source_complete_and_with_gaps():
    faces = make_faces()
    keypoints = faces.keypoints.copy()
    keypoints[:2, NEVER] = 50
    faces = replace(faces, keypoints=keypoints)
    lines = explore_sheets.choose(faces, make_splits(faces))
    shown = {}
    for line in lines:
        shown.setdefault(line.title.replace("\n", " "), []).extend(line.rows.tolist())
    # From the fewest labels to the most, in file order among equals.
    assert shown == {
        "source 1 complete": [0, 1],
        "source 1 with gaps": [2, 3, 4],
        "source 2 with gaps": [11, 5, 6, 7, 8, 9, 10],
    }


def test_faces_left_out_by_a_treatment_are_not_shown():
    faces = make_faces()
    lines = explore_sheets.choose(faces, make_splits(faces, left_out=(2, 11)))
    assert not {2, 11} & {row for line in lines for row in line.rows.tolist()}


def test_filled_points_are_drawn_apart_from_true_ones(monkeypatch):
    faces = make_faces()
    sheets = []
    monkeypatch.setattr(explore_sheets, "_sheet", lambda f, lines, filled, title: sheets.append(filled))
    lines = explore_sheets.choose(faces, make_splits(faces))
    explore_sheets.true_points(faces, lines)
    explore_sheets.treated_points(faces, make_splits(faces), lines)
    true, treated = sheets
    assert np.isnan(true).all()
    assert np.isnan(treated[faces.observed]).all()
    assert (treated[~faces.observed] == 50).all()


def test_density_counts_labels_in_their_cells():
    points = np.array([[[0, 1], [np.nan, np.nan]], [[0.2, 1.2], [99, 0]]], np.float32)
    cells = explore_plots.density(points, np.array([[1, 0, 0], [0, 1, 0]]), (4, 4), per_pixel=1)
    assert np.argwhere(cells[..., 3]).tolist() == [[1, 0]]  # row y, column x; beyond the image nothing
    assert cells[1, 0].tolist() == pytest.approx([1, 0, 0, 0.8])
