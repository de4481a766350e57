"""The tables of the page, one function per table: which columns of which file, in what form."""

from itertools import zip_longest
from pathlib import Path

from evaluation.report import tables
from evaluation.report.tables import Row, Table, number, words

SUMMARY = ("variant", "rmse_px", "rmse_low_px", "seeds", "seed_sd_px", "mae_px", "nme_pct", "val_rmse_px")
SUMMARY += ("parameters", "note", "flag")
RUNS = ("run", "rmse_px", "mae_px", "nme_pct", "failure_8_pct", "auc_10_pct", "within_3px_pct", "within_5px_pct")
RUNS += ("val_rmse_px", "best_epoch", "train_seconds", "flag")
LEAKAGE = ("label_source", "test_faces", "test_groups", "train_faces", "relatives_in_training")
LEAKAGE += ("rmse_with_px", "rmse_without_px", "difference_px", "low_px", "p_value")
GROUPING = ("what", "similarity", "groups", "largest_group_max", "clip_in_train_pct", "person_in_train_pct")
GROUPING += ("purity_pct",)
FACES = ("part", "faces", "distinct_images", "complete_faces", "labelled_points", "labelled_pct", "gray_mean")
FACES += ("eye_distance_mean_px",)
CHECKS = ("stage", "check", "found", "expected", "result")
PATTERNS = ("pattern", "points", "faces", "faces_pct")
MOST_PATTERNS = 8


def summary(rows: list[Row]) -> Table | None:
    return tables.chosen("Networks and recipes", "summary.csv", rows, SUMMARY)


def runs(rows: list[Row]) -> Table | None:
    return tables.chosen("Every run", "performance.csv", rows, RUNS)


def leakage(file: str, rows: list[Row]) -> Table | None:
    return tables.chosen("Relatives in training", file, rows, LEAKAGE)


def grouping(file: str, rows: list[Row]) -> Table | None:
    """Before, and at the similarity that data_prep uses."""
    rows = [row for row in rows if row.get("default") or not row.get("similarity")]
    return tables.chosen("Faces whose clip stands on both sides of the split", file, rows, GROUPING)


def by_source(rows: list[Row]) -> Table | None:
    """RMSE of each run on each label source."""
    faces = {tables.field("by_source.csv", row, "label_source"): row.get("faces", "") for row in rows}
    headings = [f"source {source} ({n} faces)" for source, n in faces.items()]
    across = ("label_source", list(faces), headings)
    return tables.pivoted("RMSE px per label source", "by_source.csv", rows, ("run", "run"), across, "rmse_px")


def per_keypoint(rows: list[Row], runs: list[Row]) -> Table | None:
    """RMSE of each keypoint: the best run of each model by validation, and the baselines."""
    chosen: dict[str, tuple[float, str]] = {}
    for row in runs:
        score = number("performance.csv", row, "val_rmse_px") if row.get("val_rmse_px") else None
        rank = (float("inf") if score is None else score, row["run"])
        chosen[row["model"]] = min(rank, chosen.get(row["model"], rank))
    names = [row["run"] for row in runs if row["run"] in {run for _, run in chosen.values()}]
    across = ("run", names, [words(name) for name in names])
    down = ("keypoint", "keypoint")
    return tables.pivoted("RMSE px per keypoint", "per_keypoint.csv", rows, down, across, "rmse_px")


def worst(rows: list[Row]) -> Table | None:
    """The faces missed most: a column per run, the worst on top."""
    if not rows:
        return None
    runs: dict[str, list[str]] = {}
    for row in rows:
        distance = number("worst.csv", row, "mean_distance_px")
        text = f"{tables.field('worst.csv', row, 'id')}: {'' if distance is None else tables.decimal(distance, 1)}"
        runs.setdefault(tables.field("worst.csv", row, "run"), []).append(text)
    lines = [[str(i + 1), *line] for i, line in enumerate(zip_longest(*runs.values(), fillvalue=""))]
    headings = ["", *map(words, runs)]
    return Table("Face and its mean distance in px", "worst.csv", headings, [True] * len(headings), lines)


def data(folder: Path) -> list[Table]:
    """The analysis of the data set, of what there is of it."""
    faces, checks, patterns, missing = (
        tables.read_if_any(folder / f"data/{name}.csv") for name in ("summary", "checks", "patterns", "missing")
    )
    notable = [row for row in checks if row.get("result") != "passed"]
    title = f"Findings and failed checks; {len(checks) - len(notable)} other checks passed"
    frequent = [row | {"pattern": _pattern(row.get("pattern", ""))} for row in patterns[:MOST_PATTERNS]]
    file = "data/missing.csv"
    parts = list(dict.fromkeys(tables.field(file, row, "part") for row in missing))
    down, across = ("keypoint", "keypoint"), ("part", parts, parts)
    found = [
        tables.chosen("Faces", "data/summary.csv", faces, FACES),
        tables.chosen(title, "data/checks.csv", notable, CHECKS),
        tables.chosen("Labelled together", "data/patterns.csv", frequent, PATTERNS),
        tables.pivoted("Labelled faces per keypoint", file, missing, down, across, "labelled"),
    ]
    return [table for table in found if table]


def _pattern(names: str) -> str:
    """`all but nose_tip mouth_left_corner` -> `all but nose tip, mouth left corner`."""
    start = "all but " if names.startswith("all but ") else ""
    return start + words(", ".join(names.removeprefix(start).split()))
