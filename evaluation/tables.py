"""Rows of the result tables. A row is a dict of plain values; None or NaN becomes a blank cell.

Units stand in the column names: `_px` pixels at 96x96, `_pct` percent, `_seconds` seconds.
`results/README.md` explains every column; a test keeps it so.
"""

import csv
import io
import math

import numpy as np

from data_prep.schema import IBUG68
from evaluation import metrics
from evaluation.entries import Entry, Scored
from evaluation.flags import flags

WITHIN = (1, 2, 3, 5, 10, 15)
# The original study's own limits; finer ones are of no use on values that were made up.
WITHIN_FILLED = (5, 10, 15)
# Limits of the normalised mean error above which a face counts as failed, see `metrics.failure_rate_pct`.
FAILURE = (8, 10)
AREA = 10

LABEL_NOISE = "label_noise"
SIMULATED = "simulated: the disagreement was added, judge no network by it"

Row = dict[str, object]


def performance(entries: list[Entry], noise_floor: dict | None = None) -> list[Row]:
    """A row per entry, best RMSE first; with a noise floor (`entries.noise_floor`) a row `label_noise` among them."""
    flagged = flags(entries)
    rows = [
        {
            **_identity(entry),
            "faces": len(entry.test.ids),
            "flag": flagged.get(entry.name),
            **_scores(entry.test.errors, WITHIN),
            **_face_scores(entry.test.errors, entry.eye_distance),
            "smooth_l1_224": metrics.smooth_l1_224(entry.test.errors) if entry.schema == IBUG68 else None,
            **_filled_scores(entry.test),
            "val_rmse_px": metrics.rmse_px(entry.val.errors),
            **_training(entry),
            "data_note": entry.note,
        }
        for entry in entries
    ]
    if noise_floor:
        rows.append(_noise_row(rows[0], noise_floor))
    return sorted(rows, key=lambda row: (_blank(row["rmse_px"]), row["rmse_px"], row["run"]))


def per_keypoint(entries: list[Entry]) -> list[Row]:
    """A row per entry and keypoint, entries in the order given, keypoints in the schema's."""
    rows = []
    for entry in entries:
        bias, spread = metrics.bias_and_spread_px(entry.test.errors)
        eye_distance = entry.eye_distance
        for k, point in enumerate(entry.schema.points):
            errors = entry.test.errors[:, k]
            rows.append(
                {
                    **_short_identity(entry),
                    "keypoint": point,
                    **_scores(errors, WITHIN_FILLED),
                    **_nme(metrics.face_nme_pct(errors[:, None], eye_distance)),
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
                    **_face_scores(entry.test.errors[faces], entry.eye_distance[faces]),
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
        "nme_pct": "NME %",
        "within_1px_pct": "<=1px %",
        "within_3px_pct": "<=3px %",
        "within_5px_pct": "<=5px %",
        "val_rmse_px": "val RMSE px",
        "parameters": "parameters",
        "train_seconds": "train s",
        "flag": "flag",
    }
    table = [list(shown.values())]
    table += [[_cell(column, row[column], short=True) for column in shown] for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(shown))]
    # Words to the left, numbers to the right.
    aligned = [
        [
            cell.ljust(width) if name in ("run", "flag") else cell.rjust(width)
            for name, cell, width in zip(shown, line, widths, strict=True)
        ]
        for line in table
    ]
    return "\n".join("  ".join(line).rstrip() for line in aligned)


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
        "label_rules": None if entry.is_baseline else config["recipe"].get("label_rules", "one"),
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


def _face_scores(errors: np.ndarray, eye_distance: np.ndarray) -> Row:
    """Scores of faces by their normalised mean error. errors: [N, K, 2] at 96x96; eye_distance: [N], likewise."""
    face_nme = metrics.face_nme_pct(errors, eye_distance)
    return {
        **_nme(face_nme),
        **{f"failure_{limit}_pct": metrics.failure_rate_pct(face_nme, limit) for limit in FAILURE},
        f"auc_{AREA}_pct": metrics.area_under_curve_pct(face_nme, AREA),
    }


def _nme(face_nme: np.ndarray) -> Row:
    return {"nme_faces": metrics.count_faces(face_nme), "nme_pct": metrics.nme_pct(face_nme)}


def _noise_row(like: Row, noise_floor: dict) -> Row:
    """The row of the noise floor, with the columns and the data set of another row."""
    pairs = f"from {noise_floor['pairs']} pairs of labels of one image"
    return {
        **dict.fromkeys(like),
        "run": LABEL_NOISE,
        "data": like["data"],
        "model": LABEL_NOISE,
        "flag": SIMULATED if noise_floor["simulated"] else None,
        "rmse_px": float(noise_floor["rmse_px"]),
        "data_note": "; ".join(filter(None, [like["data_note"], pairs])),
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
        digits = _digits(column)
        # Adding zero turns a rounded -0.0 into 0.0.
        return f"{round(value, digits[not short]) + 0.0:.{digits[not short]}f}"
    if short and isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _digits(column: str) -> tuple[int, int]:
    """Decimals on the terminal and in a file."""
    if column.endswith("_224"):  # losses on targets of about -2 to 2: good ones are thousandths
        return 4, 6
    return (1, 2) if "_pct" in column else (0, 1) if column.endswith("_seconds") else (2, 4)


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
