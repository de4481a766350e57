"""Rows of the result tables. A row is a dict of plain values; None or NaN becomes a blank cell.

Units stand in the column names: `_px` pixels at 96x96, `_pct` percent, `_seconds` seconds.
`results/README.md` explains every column; a test keeps it so.
"""

import csv
import io
import math

import numpy as np

from evaluation import metrics
from evaluation.entries import Entry, Scored

WITHIN = (1, 2, 3, 5, 10, 15)
# The original study's own limits; finer ones are of no use on values that were made up.
WITHIN_FILLED = (5, 10, 15)

Row = dict[str, object]


def performance(entries: list[Entry]) -> list[Row]:
    """A row per entry, best RMSE first."""
    rows = [
        {
            **_identity(entry),
            "faces": len(entry.test.ids),
            **_scores(entry.test.errors, WITHIN),
            **_filled_scores(entry.test),
            "val_rmse_px": metrics.rmse_px(entry.val.errors),
            **_training(entry),
            "data_note": entry.note,
        }
        for entry in entries
    ]
    return sorted(rows, key=lambda row: (_blank(row["rmse_px"]), row["rmse_px"], row["run"]))


def per_keypoint(entries: list[Entry]) -> list[Row]:
    """A row per entry and keypoint, entries in the order given, keypoints in the schema's."""
    rows = []
    for entry in entries:
        bias, spread = metrics.bias_and_spread_px(entry.test.errors)
        for k, point in enumerate(entry.schema.points):
            errors = entry.test.errors[:, k]
            rows.append(
                {
                    **_short_identity(entry),
                    "keypoint": point,
                    **_scores(errors, WITHIN_FILLED),
                    "median_distance_px": metrics.median_distance_px(errors),
                    "bias_x_px": bias[k, 0],
                    "bias_y_px": bias[k, 1],
                    "spread_x_px": spread[k, 0],
                    "spread_y_px": spread[k, 1],
                }
            )
    return rows


def by_source(entries: list[Entry]) -> list[Row]:
    """A row per entry and label source; no rows where the test faces have one source only."""
    rows = []
    for entry in entries:
        sources = np.unique(entry.test.sources)
        for source in sources if len(sources) > 1 else ():
            faces = entry.test.sources == source
            rows.append(
                {
                    **_short_identity(entry),
                    "label_source": int(source),
                    "faces": int(faces.sum()),
                    **_scores(entry.test.errors[faces], WITHIN_FILLED),
                }
            )
    return rows


def to_csv(rows: list[Row]) -> str:
    """Rows as CSV text, rounded to what the unit deserves."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_cell(column, value) for column, value in row.items()] for row in rows)
    return text.getvalue()


def to_terminal(rows: list[Row]) -> str:
    """The performance table at a glance, as aligned text."""
    shown = {
        "run": "run",
        "points_scored": "points",
        "mae_px": "MAE px",
        "rmse_px": "RMSE px",
        "within_1px_pct": "<=1px %",
        "within_3px_pct": "<=3px %",
        "within_5px_pct": "<=5px %",
        "val_rmse_px": "val RMSE px",
        "parameters": "parameters",
        "train_seconds": "train s",
    }
    table = [list(shown.values())]
    table += [[_cell(column, row[column], short=True) for column in shown] for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(shown))]
    aligned = [[line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, len(shown)))] for line in table]
    return "\n".join("  ".join(line) for line in aligned)


def _identity(entry: Entry) -> Row:
    config = entry.config
    split = config.get("split") or {}
    counts = [split.get(part) for part in ("train", "val", "test")]
    return {
        "run": entry.name,
        "data": entry.data,
        "trained_on": config.get("trained_on"),
        "split": f"{'/'.join(map(str, counts))} seed {split.get('seed')}" if split else None,
        "model": entry.model,
        "recipe": entry.recipe,
        "treatment": config.get("treatment"),
        "seed": config.get("seed"),
    }


def _short_identity(entry: Entry) -> Row:
    return {key: _identity(entry)[key] for key in ("run", "model", "recipe", "treatment", "seed")}


def _scores(errors: np.ndarray, limits: tuple[int, ...]) -> Row:
    """Scores of errors [..., 2] at 96x96 on truly labelled points."""
    return {
        "points_scored": metrics.count_points(errors),
        "mae_px": metrics.mae_px(errors),
        "rmse_px": metrics.rmse_px(errors),
        **{f"within_{d}px_pct": metrics.within_px(errors, d) for d in limits},
    }


def _filled_scores(scored: Scored) -> Row:
    """The original study's scores, filled values counted as truth; blank where the treatment filled none."""
    errors = np.full((1, 2), np.nan) if scored.filled_errors is None else scored.filled_errors
    return {
        "points_scored_with_filled": metrics.count_points(errors) or None,
        "mae_px_with_filled": metrics.mae_px(errors),
        "rmse_px_with_filled": metrics.rmse_px(errors),
        **{f"within_{d}px_with_filled_pct": metrics.within_px(errors, d) for d in WITHIN_FILLED},
    }


def _training(entry: Entry) -> Row:
    keys = ("train_faces", "parameters", "epochs", "best_epoch", "train_seconds", "train_cpu_seconds")
    keys += ("precision", "backend")
    size = entry.config.get("image_size")
    return {
        "image_size": "x".join(map(str, size)) if size else None,
        **{key: entry.config.get(key) for key in (*keys, "commit", "command")},
    }


def _cell(column: str, value: object, short: bool = False) -> str:
    if _blank(value):
        return ""
    if isinstance(value, float):
        digits = (1, 2) if "_pct" in column else (0, 1) if column.endswith("_seconds") else (2, 4)
        # Adding zero turns a rounded -0.0 into 0.0.
        return f"{round(value, digits[not short]) + 0.0:.{digits[not short]}f}"
    if short and isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
