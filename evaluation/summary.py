"""Rows of summary.csv and comparisons.csv: one line per trained variant, its seeds together, and who beats whom.

A variant is what runs share that differ in the seed only: network, recipe, treatment of missing points and the data
set it was trained on. Intervals and tests are those of `evaluation.uncertainty`, over groups of test faces.
"""

from collections import Counter
from itertools import combinations

import numpy as np

from data_prep.faceset import DataError
from evaluation import tables, uncertainty
from evaluation.entries import Entry, by_validation
from evaluation.tables import Row
from evaluation.uncertainty import Comparison
from models import asymmetry
from models.ensemble import MEAN_OF
from models.label_rules import BY_SOURCE

PARTS = ("model", "recipe", "treatment", "trained_on")
# The chance of any false verdict in the whole file that is accepted.
ALPHA = 0.05


def summary(entries: list[Entry]) -> list[Row]:
    """A row per variant and baseline, best RMSE first. Errors of several seeds are pooled (squares averaged)."""
    scores = {row["run"]: row for row in tables.performance(entries)}
    rows = [_summary_row(runs, [scores[run.name] for run in runs]) for runs in variants(entries)]
    return sorted(rows, key=lambda row: (np.isnan(row["rmse_px"]), row["rmse_px"], row["variant"]))


def comparisons(entries: list[Entry]) -> list[Row]:
    """A row per pair of variants that differ in one thing only, and per variant against the best baseline.

    The best baseline is chosen by validation (`entries.by_validation`). `p_holm` corrects for the number of rows.
    Raises DataError where a pair was not tested on the same faces.
    """
    trained = [runs for runs in variants(entries) if not runs[0].is_baseline]
    pairs = []
    for a, b in combinations(trained, 2):
        different = [part for part, x, y in zip(PARTS, _key(a[0]), _key(b[0]), strict=True) if x != y]
        if len(different) == 1:
            pairs.append((different[0], a, b))
    pairs.sort(key=lambda pair: PARTS.index(pair[0]))
    if baselines := [entry for entry in entries if entry.is_baseline]:
        best, *_ = by_validation(baselines)
        pairs += [("baseline", runs, [best]) for runs in trained]
    results = [_compare(a, b) for _, a, b in pairs]
    adjusted = uncertainty.holm(np.array([result.p_value for result, _ in results]))
    return [_comparison_row(*of_pair) for of_pair in zip(pairs, results, adjusted, strict=True)]


def to_terminal(rows: list[Row]) -> str:
    """The summary at a glance, as aligned text: a line per row."""
    width = max(len(row["variant"]) for row in rows)
    lines = [f"{'variant':{width}}  RMSE px  95 % interval  seeds  their SD"]
    for row in rows:
        interval = f"{row['rmse_low_px']:.2f} to {row['rmse_high_px']:.2f}".rjust(14)
        seeds = "" if row["seeds"] is None else str(row["seeds"])
        spread = "" if row["seed_sd_px"] is None else f"{row['seed_sd_px']:.3f}"
        line = f"{row['variant']:{width}}  {row['rmse_px']:7.2f} {interval}  {seeds:>5}  {spread:>8}"
        lines.append(f"{line}  {row['flag'] or ''}".rstrip())
    return "\n".join(lines)


def _summary_row(runs: list[Entry], scores: list[Row]) -> Row:
    """scores: the rows of these runs in performance.csv."""
    errors, groups = aligned(runs)
    squared, count = uncertainty.per_group(errors, groups)
    low, high = uncertainty.rmse_interval(squared, count)
    of_seeds = uncertainty.rmse(squared, count)
    first = runs[0]
    seeds = seeds_of(runs)
    trained = seeds is not None
    return {
        "variant": first.label,
        **dict(zip(PARTS, _key(first), strict=True)),
        "seeds": seeds,
        "faces": len(groups),
        "groups": len(count),
        "rmse_px": _root_mean_square(of_seeds),
        "rmse_low_px": low,
        "rmse_high_px": high,
        "seed_sd_px": float(of_seeds.std(ddof=1)) if trained and seeds > 1 else None,
        "rmse_min_px": float(of_seeds.min()) if trained else None,
        "rmse_max_px": float(of_seeds.max()) if trained else None,
        "rmse_of_seeds_px": " ".join(f"{value:.4f}" for value in of_seeds) if trained else None,
        "worst_group_pct": _worst_group_pct(squared),
        "mae_px": _mean([row["mae_px"] for row in scores]),
        "nme_pct": _mean([row["nme_pct"] for row in scores]),
        "val_rmse_px": _root_mean_square(np.array([row["val_rmse_px"] for row in scores])),
        "parameters": scores[0]["parameters"],
        "train_seconds": _mean([row["train_seconds"] for row in scores]),
        "flag": _flags([row["flag"] for row in scores]),
        "note": "; ".join(filter(None, [_one(runs), _told(first), _taught(first)])) or None,
    }


def _one(runs: list[Entry]) -> str:
    """What there is but one of: then nothing tells how far another would be off."""
    if seeds_of(runs) != 1:
        return ""
    return "one ensemble" if MEAN_OF in runs[0].model else "one seed"


def _taught(entry: Entry) -> str:
    """Which network it learned from, beside the labels (`models.taught`); empty for most."""
    teacher = entry.config.get("teacher")
    return f"taught by {teacher['model']}" if teacher else ""


def _told(entry: Entry) -> str:
    """What a network is told of a test face besides its pixels."""
    config = entry.config
    by_source = config.get("recipe", {}).get("label_rules") == "by_source" and not entry.is_baseline
    by_source &= config.get("outputs", len(BY_SOURCE)) == len(BY_SOURCE)  # older records lack the number
    is_told = (by_source or len(asymmetry.of_config(config)) > 1) and len(np.unique(entry.test.sources)) > 1
    return "told each face's label source" if is_told else ""


def _compare(a: list[Entry], b: list[Entry]) -> tuple[Comparison, int]:
    """Two variants on the points that all of their runs were scored on; and the number of groups."""
    errors, groups = aligned([*a, *b])
    squared, count = uncertainty.per_group(errors, groups)
    return uncertainty.compare(squared[: len(a)], squared[len(a) :], count), len(count)


def _comparison_row(pair: tuple[str, list[Entry], list[Entry]], compared: tuple[Comparison, int], p_holm: float) -> Row:
    differs_in, a, b = pair
    result, groups = compared
    seeds = [seeds_of(runs) for runs in (a, b)]
    return {
        "a": a[0].label,
        "b": b[0].label,
        "differs_in": differs_in,
        "seeds_a": seeds[0],
        "seeds_b": seeds[1],
        "groups": groups,
        "difference_px": result.difference_px,
        "low_px": result.low,
        "high_px": result.high,
        "p_value": result.p_value,
        "p_holm": float(p_holm),
        "probability_of_improvement": result.probability_of_improvement,
        "verdict": verdict(p_holm, result.low, result.high),
        "note": _one(a) or _one(b) or None,
    }


def verdict(p_holm: float, low: float, high: float) -> str:
    """In words; a difference is claimed only where the corrected test and the interval both show it."""
    if p_holm < ALPHA and (high < 0 or low > 0):
        return "a better" if high < 0 else "b better"
    return "no difference shown"


def seeds_of(runs: list[Entry]) -> int | None:
    """How many seeds; None for a baseline, which has none."""
    return None if runs[0].is_baseline else len({run.config["seed"] for run in runs})


def _key(entry: Entry) -> tuple[str | None, ...]:
    return (entry.model, entry.recipe, entry.config.get("treatment"), entry.config.get("trained_on"))


def variants(entries: list[Entry]) -> list[list[Entry]]:
    """Runs that differ in the seed only, together and in the order of their seeds; variants by name.

    Raises DataError where two of a variant learned from different teachers (`models.taught`).
    """
    found: dict[tuple, list[Entry]] = {}
    for entry in sorted(entries, key=lambda e: (e.label, e.config.get("seed") or 0, e.name)):
        found.setdefault(_key(entry), []).append(entry)
    for first, *others in found.values():
        for other in others:
            if _teacher(other) != _teacher(first):
                raise DataError(
                    f"{first.name} and {other.name} differ in their teachers, {_teacher(first)[0]} and "
                    f"{_teacher(other)[0]}, so they are no seeds of one network; leave one out (--runs)"
                )
    return list(found.values())


def _teacher(entry: Entry) -> tuple:
    """Which network taught a run; its name, and what tells it from others of that name."""
    teacher = entry.config.get("teacher") or {}
    return tuple(teacher.get(key) for key in ("run", "commit", "command"))


def aligned(runs: list[Entry], split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """Errors [R, N, K, 2] of R runs on the same faces in the same order, and their groups [N]. split: test or val."""
    scored = [getattr(run, split) for run in runs]
    orders = [np.argsort(of_run.ids) for of_run in scored]
    ids = [of_run.ids[order] for of_run, order in zip(scored, orders, strict=True)]
    for run, of_run in zip(runs, ids, strict=True):
        if not np.array_equal(of_run, ids[0]):
            raise DataError(f"{run.name} was not tested on the same faces as {runs[0].name}")
    errors = np.stack([of_run.errors[order] for of_run, order in zip(scored, orders, strict=True)])
    return errors, scored[0].groups[orders[0]]


def _worst_group_pct(squared: np.ndarray) -> float:
    """The share of the squared error [S, G] that one group makes, in percent."""
    of_group = squared.sum(axis=0)
    return float(100 * of_group.max() / of_group.sum()) if of_group.any() else float("nan")


def _root_mean_square(values: np.ndarray) -> float:
    """The RMSE of R runs [R] with their errors pooled: each has the same points."""
    return float(np.sqrt(np.mean(np.square(values))))


def _mean(values: list[float | None]) -> float | None:
    """The mean; None where any is unknown."""
    return None if None in values else float(np.mean(values))


def _flags(flags: list[str | None]) -> str | None:
    """What is wrong with some of R runs, and with how many where not with all."""
    found = Counter(flag for flag in flags if flag)
    texts = [flag if n == len(flags) else f"{flag} ({n} of {len(flags)} seeds)" for flag, n in found.items()]
    return "; ".join(texts) or None
