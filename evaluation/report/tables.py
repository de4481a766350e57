"""Tables of the page: a few chosen columns of a CSV under readable headings. The CSV itself has the rest."""

import csv
from dataclasses import dataclass
from pathlib import Path

from data_prep.faceset import DataError

Row = dict[str, str]

# Column -> heading and digits behind the point; None is text. `results/README.md` explains each column.
COLUMNS: dict[str, tuple[str, int | None]] = {
    "variant": ("network and recipe", None),
    "run": ("run", None),
    "label_source": ("label source", None),
    "seeds": ("seeds", 0),
    "seed": ("seed", None),
    "faces": ("faces", 0),
    "points_scored": ("points", 0),
    "rmse_px": ("RMSE px", 2),
    "seed_sd_px": ("SD of seeds px", 2),
    "mae_px": ("MAE px", 2),
    "nme_pct": ("NME %", 2),
    "failure_8_pct": ("NME > 8 %", 1),
    "auc_10_pct": ("AUC %", 1),
    "within_3px_pct": ("≤ 3 px %", 1),
    "within_5px_pct": ("≤ 5 px %", 1),
    "val_rmse_px": ("validation RMSE px", 2),
    "parameters": ("parameters", 0),
    "best_epoch": ("epoch kept", 0),
    "train_seconds": ("training s", 0),
    "flag": ("flag", None),
    "note": ("note", None),
    # leakage.csv
    "test_faces": ("test faces", 0),
    "test_groups": ("in groups", 0),
    "train_faces": ("training faces", 0),
    "relatives_in_training": ("of them relatives", 0),
    "rmse_with_px": ("RMSE px with relatives", 2),
    "rmse_without_px": ("without", 2),
    "difference_px": ("difference px", 2),
    "p_value": ("p", 3),
    # grouping/clusters.csv
    "what": ("judged", None),
    "similarity": ("similarity", 2),
    "groups": ("groups", 0),
    "largest_group_max": ("largest group", 0),
    "clip_in_train_pct": ("clip in train %", 1),
    "person_in_train_pct": ("person in train %", 1),
    "purity_pct": ("purity %", 1),
    # data/*.csv
    "part": ("part", None),
    "distinct_images": ("distinct images", 0),
    "complete_faces": ("complete", 0),
    "labelled_points": ("labelled points", 0),
    "labelled_pct": ("labelled %", 1),
    "gray_mean": ("mean gray", 0),
    "eye_distance_mean_px": ("eye distance px", 1),
    "labelled": ("labelled", 0),
    "stage": ("stage", None),
    "check": ("check", None),
    "found": ("found", None),
    "expected": ("expected", None),
    "result": ("result", None),
    "pattern": ("labelled together", None),
    "points": ("points", 0),
    "faces_pct": ("faces %", 1),
}
# Two columns that make one cell: the lower end's name -> heading and the upper end's name.
INTERVALS = {"rmse_low_px": ("95 % interval", "rmse_high_px"), "low_px": ("95 % interval", "high_px")}


@dataclass(frozen=True)
class Table:
    """What the template draws: the first column heads its row. `file`: the CSV, relative to the results folder."""

    name: str
    file: str
    headings: list[str]
    numeric: list[bool]
    rows: list[list[str]]


def read_csv(path: Path) -> list[Row]:
    """All rows of a CSV with a header. Raises DataError, naming the file, where it is damaged or has no rows."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not rows:
        raise DataError(f"{path} is damaged: it has no rows")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f"{path} is damaged: row {number} does not fit the header")
    return rows


def read_if_any(path: Path) -> list[Row]:
    """The rows of a CSV; none where there is no such file."""
    return read_csv(path) if path.is_file() else []


def chosen(name: str, file: str, rows: list[Row], columns: tuple[str, ...]) -> Table | None:
    """These columns of the rows, without those that are absent or blank in every row; None without rows."""
    if not rows:
        return None
    shown = [column for column in columns if any(row.get(column) for row in rows)]
    headings, cells = [], []
    for column in shown:
        if column in INTERVALS:
            heading, upper = INTERVALS[column]
            headings.append(heading)
            cells.append([interval(file, row, column, upper) for row in rows])
        else:
            heading, digits = COLUMNS[column]
            headings.append(heading)
            cells.append([cell(file, row, column, digits) for row in rows])
    numeric = [column in INTERVALS or COLUMNS[column][1] is not None for column in shown]
    return Table(name, file, headings, numeric, [list(line) for line in zip(*cells, strict=True)])


def pivoted(
    name: str, file: str, rows: list[Row], down: tuple[str, str], across: tuple[str, list[str], list[str]], value: str
) -> Table | None:
    """One column of a CSV spread out: a line per value of `down`, a column per value of `across`; None without rows.

    down: column and its heading; across: column, its values in order, their headings.
    """
    if not rows:
        return None
    (index, heading), (spread, values, headings) = down, across
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        line = lines.setdefault(field(file, row, index), {})
        line[field(file, row, spread)] = cell(file, row, value, COLUMNS[value][1])
    cells = [[words(key), *(line.get(v, "") for v in values)] for key, line in lines.items()]
    return Table(name, file, [heading, *headings], [False] + [True] * len(values), cells)


def field(file: str, row: Row, column: str) -> str:
    """A cell as it stands. Raises DataError where the file lacks the column."""
    if column not in row:
        raise DataError(f"{file} is damaged: it has no column {column}")
    return row[column]


def number(file: str, row: Row, column: str) -> float | None:
    """A cell as a number, None where it is blank. Raises DataError where it is neither."""
    text = field(file, row, column)
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(f"{file} is damaged: {column} is {text!r}, not a number") from None


def cell(file: str, row: Row, column: str, digits: int | None) -> str:
    """A cell as the page shows it."""
    if digits is None:
        return words(row.get(column, "")) if column == "run" else row.get(column, "")
    value = number(file, row, column) if column in row else None
    if value is not None and column.startswith("p_") and value < 0.001:
        return "< 0.001"
    return "" if value is None else decimal(value, digits)


def interval(file: str, row: Row, low: str, high: str) -> str:
    ends = (number(file, row, low), number(file, row, high))
    return "" if None in ends else " to ".join(decimal(end, 2) for end in ends)


def decimal(value: float, digits: int) -> str:
    """1234.5 -> `1,234.5`; with a real minus sign, and never minus zero."""
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "\u2212")


def words(name: str) -> str:
    """`left_eye_center` -> `left eye center`."""
    return name.replace("_", " ")
