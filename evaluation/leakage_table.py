"""How much relatives of the test faces in training flatter: from the records of both arms to rows and a figure."""

from dataclasses import dataclass, replace

import numpy as np

from data_prep.faceset import DataError
from evaluation import collect, entries, uncertainty
from evaluation.leakage_sets import ARMS
from evaluation.tables import Row
from models.runs import Run

ALL, CONTROL = "all", "control"
NO_COPIES = ", no copies"  # of the rows without test faces that have an equal image among their relatives


@dataclass(frozen=True)
class Effect:
    """Test faces under both arms: `all`, those of one label source, either without copies, or the `control`.

    The control are the validation faces: neither arm has a relative of them that is known, so a difference there is
    chance in training, which no interval over test faces knows of.
    with_px, without_px: float64 [S], RMSE of each seed; rmse_with_px, rmse_without_px: over all seeds.
    comparison: with relatives against without, so a negative difference flatters.
    """

    label_source: str
    faces: int
    groups: int
    points: int
    with_px: np.ndarray
    without_px: np.ndarray
    rmse_with_px: float
    rmse_without_px: float
    comparison: uncertainty.Comparison


def what(run: Run) -> dict:
    """What `leakage_sets.arm_data` noted about the run's data. Raises DataError for a run of anything else."""
    noted = (run.config.get("data_source") or {}).get("leakage")
    if not isinstance(noted, dict):
        raise DataError(f"{run.folder} is no run of this experiment; remove it")
    return noted


def by_arm(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each arm in the order of their seeds.

    Raises DataError unless both arms have the same seeds, and all runs the same sets of faces, network and recipe.
    """
    arms = {arm: sorted((r for r in runs if what(r)["arm"] == arm), key=lambda r: r.config["seed"]) for arm in ARMS}
    names = {(arm, run.config["seed"]) for arm, found in arms.items() for run in found}
    seeds = sorted({seed for _, seed in names})
    missing = [f"{arm}-s{seed}" for arm in ARMS for seed in seeds if (arm, seed) not in names]
    if missing or not runs:
        raise DataError(f"no comparison without its other half: {', '.join(missing) or 'runs'} missing")
    for run in runs:
        for key, value, first in (
            ("sets of faces", what(run)["sets_sha256"], what(runs[0])["sets_sha256"]),
            ("model", run.config["model"], runs[0].config["model"]),
            ("recipe", run.config["recipe"], runs[0].config["recipe"]),
        ):
            if value != first:
                raise DataError(f"{run.folder} and {runs[0].folder} differ in {key}; remove one or name another --name")
    # The arms are two data sets with the same test faces, which is what this looks at.
    collect.check_one_table([replace(run, config=run.config | {"data": what(run)["of"]}) for run in runs])
    return arms


def effects(runs: list[Run], copied: frozenset[str] = frozenset()) -> list[Effect]:
    """The effect on all test faces, on those of each label source where there are several, and on the control.

    copied: ids, as text, of test faces of which `with` holds an equal image; a second row leaves them out.
    """
    scored = {arm: [entries.from_run(run) for run in found] for arm, found in by_arm(runs).items()}

    def errors(split: str) -> np.ndarray:  # [arms, S, N, K, 2]
        return np.stack([[getattr(entry, split).errors for entry in scored[arm]] for arm in ARMS])

    test, val = scored[ARMS[0]][0].test, scored[ARMS[0]][0].val
    on_test, kinds = errors("test"), np.unique(test.sources)
    original = np.array([str(identity) not in copied for identity in test.ids])
    subsets = {ALL: np.ones(len(test.ids), dtype=bool)}
    subsets |= {str(kind): test.sources == kind for kind in kinds if len(kinds) > 1}
    found = []
    for label, faces in subsets.items():
        found.append(_effect(label, on_test[:, :, faces], test.groups[faces]))
        if (faces & ~original).any() and (faces & original).any():
            faces = faces & original
            found.append(_effect(label + NO_COPIES, on_test[:, :, faces], test.groups[faces]))
    return [*found, _effect(CONTROL, errors("val"), val.groups)]


def rows(runs: list[Run], found: list[Effect]) -> list[Row]:
    """The rows of leakage.csv; columns as in results/README.md."""
    arms = by_arm(runs)
    first, other = arms["with"][0], arms["without"][0]
    return [
        {
            "data": what(first)["of"],
            "label_source": effect.label_source,
            "model": first.config["model"],
            "recipe": first.config["recipe"]["name"],
            "seeds": " ".join(str(run.config["seed"]) for run in arms["with"]),
            "test_faces": effect.faces,
            "test_groups": effect.groups,
            "points_scored": effect.points,
            "train_faces": _count(first, "train_faces", effect),
            "relatives_in_training": 0 if effect.label_source == CONTROL else _count(first, "relatives", effect),
            "train_points_with": _count(first, "train_points", effect),
            "train_points_without": _count(other, "train_points", effect),
            "rmse_with_px": effect.rmse_with_px,
            "rmse_without_px": effect.rmse_without_px,
            "difference_px": effect.comparison.difference_px,
            "low_px": effect.comparison.low,
            "high_px": effect.comparison.high,
            "difference_pct": 100 * effect.comparison.difference_px / effect.rmse_without_px,
            "difference_min_px": float((effect.with_px - effect.without_px).min()),
            "difference_max_px": float((effect.with_px - effect.without_px).max()),
            "p_value": effect.comparison.p_value,
            "probability_of_improvement": effect.comparison.probability_of_improvement,
            "commit": " ".join(sorted({run.config["commit"] for run in runs})),
            "command": command(first, [run.config["seed"] for run in arms["with"]]),
            "data_note": entries.from_run(first).note,
        }
        for effect in found
    ]


def command(run: Run, seeds: list[int]) -> str:
    """What makes these rows: the command that drew the faces, with the seeds that are there."""
    words = what(run)["command"].partition(" --seeds ")[0]
    return words if seeds == [0, 1, 2] else " ".join([words, "--seeds", *map(str, seeds)])


def in_words(row: Row) -> str:
    """A row as a line for the terminal."""
    return (
        f"{_title(row['label_source'])}: {row['test_faces']:,} faces of {row['test_groups']:,} groups: "
        f"RMSE {row['rmse_with_px']:.2f} px with relatives, {row['rmse_without_px']:.2f} px without; difference "
        f"{row['difference_px']:.3f} px (95 % interval {row['low_px']:.3f} to {row['high_px']:.3f}, "
        f"p = {row['p_value']:.4f})"
    )


def figure(title: str, found: list[Effect]):
    """The RMSE of both arms, and their difference with its 95 % interval, a line per effect; dots are single seeds."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from data_prep.style import STYLE

    colours = {"with": "#D55E00", "without": "#0072B2"}  # as in evaluation.plots
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.7 + 0.75 * len(found)), layout="constrained")
        scores, differences = figure.subplots(1, 2, sharey=True)
        for y, effect in enumerate(found):
            ends = effect.rmse_with_px, effect.rmse_without_px
            scores.plot(ends, (y, y), color="0.75", linewidth=2, zorder=1)
            for arm, pooled, seeds in zip(ARMS, ends, (effect.with_px, effect.without_px), strict=True):
                label = f"{arm} relatives" if y == 0 else None
                scores.plot(pooled, y, "o", color=colours[arm], markersize=8, label=label)
                scores.plot(seeds, np.full(len(seeds), y + 0.22), "|", color=colours[arm], markersize=7)
            result = effect.comparison
            differences.plot((result.low, result.high), (y, y), color="0.15", linewidth=2)
            differences.plot(result.difference_px, y, "o", color="0.15", markersize=8)
            each = effect.with_px - effect.without_px
            differences.plot(each, np.full(len(each), y + 0.22), "|", color="0.45", markersize=7)
        names = [f"{_title(e.label_source)}\n{e.faces} faces, {e.groups} groups" for e in found]
        scores.set_yticks(range(len(found)), names)
        scores.set_ylim(len(found) - 0.45, -0.55)
        scores.set(xlabel="RMSE px (ticks: single seeds)", title="same test faces, two training sets")
        differences.axvline(0, color="0.6", linewidth=1, linestyle="--", zorder=0)
        differences.set(xlabel="with minus without, px (< 0 flatters)", title="difference, 95 % interval")
        figure.suptitle(title, fontsize=10)
        figure.legend(*scores.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _title(label_source: str) -> str:
    named = {ALL: "all test faces", CONTROL: "control (no known relatives)"}
    subset, comma, rest = label_source.partition(",")
    return named.get(subset, f"source {subset}") + comma + rest


def _effect(label: str, errors: np.ndarray, groups: np.ndarray) -> Effect:
    """errors: float64 [arms, S, N, K, 2] in px; groups: [N]."""
    squared, count = uncertainty.per_group(errors, groups)
    with_, without = squared
    return Effect(
        label_source=label,
        faces=len(groups),
        groups=len(count),
        points=int(count.sum()) // 2,
        with_px=uncertainty.rmse(with_, count),
        without_px=uncertainty.rmse(without, count),
        rmse_with_px=float(uncertainty.rmse(with_.mean(axis=0), count)),
        rmse_without_px=float(uncertainty.rmse(without.mean(axis=0), count)),
        comparison=uncertainty.compare(with_, without, count),
    )


def _count(run: Run, key: str, effect: Effect) -> int:
    """A count that was noted per label source, for the sources of one row."""
    per_source = what(run)[key]
    return per_source.get(effect.label_source.partition(",")[0], sum(per_source.values()))
