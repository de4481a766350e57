"""What each idea is worth: runs that differ from a reference in one thing, compared on the validation faces.

    python -m evaluation.study studies/kaggle15-ablation.toml         trains what is missing, then this
    python -m evaluation.ablation studies/kaggle15-ablation.toml      table and plot again, from the records

The study file names the reference under [ablation]. Choices are made by this table, so it never looks at test faces; a
row that did not help stays in it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from evaluation import summary, tables, uncertainty
from evaluation.__main__ import RESULTS, check_complete, plan
from evaluation.entries import Entry, from_run
from evaluation.study_file import read_study
from evaluation.study_runs import Study
from evaluation.tables import Row


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, metavar="studies/NAME.toml")
    output_help = "whose runs to compare, and where to write (default: that of the study's data set)"
    parser.add_argument("--output", type=Path, metavar="results/NAME", help=output_help)
    args = parser.parse_args(argv)
    try:
        study = read_study(args.study)
        if study.reference is None:
            raise DataError(f"{args.study} names no reference: [ablation], reference = RUN")
        for output in [args.output] if args.output else [RESULTS / data.name for data in study.data]:
            write(study, output)
    except (DataError, OSError) as error:
        print(f"evaluation.ablation: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.ablation: stopped", file=sys.stderr)
        return 130
    return 0


def write(study: Study, output: Path) -> None:
    """Write ablation.csv, ablation.png and the runs' records into `output`, and print the table."""
    jobs, skipped = plan(None, output)
    for line in skipped:
        print(f"warning: skipped: {line}", file=sys.stderr)
    job = jobs[0]
    check_complete(job, study.path)
    rows = ablation([from_run(run) for run in job.runs], study.reference)

    from evaluation.output import DPI, write_together
    from models.runs import copy_record

    picture = figure(rows)
    write_together(
        output,
        {
            "ablation.csv": lambda path: path.write_text(tables.to_csv(rows)),
            "ablation.png": lambda path: picture.savefig(path, dpi=DPI, metadata={"Software": None}),
        },
    )
    for run in job.runs:
        copy_record(run, output / "runs" / run.name)
    print(to_terminal(rows))
    print(f"\nwritten to {output}/: ablation.csv, ablation.png, runs/ ({len(job.runs)} records)")


def ablation(entries: list[Entry], reference: str) -> list[Row]:
    """A row per variant, the reference first, then by validation RMSE. reference: the name of one of its runs.

    The difference to the reference is paired: both on the same validation faces, groups as the unit; `p_holm` corrects
    for the number of rows. Raises DataError where the reference is not among the entries.
    """
    variants = summary.variants(entries)
    base = next((runs for runs in variants if any(run.name == reference for run in runs)), None)
    if base is None:
        raise DataError(f"the reference {reference} is not among the runs")
    others = [runs for runs in variants if runs is not base]
    compared = [_compare(runs, base) for runs in others]
    adjusted = uncertainty.holm(np.array([result.p_value for result in compared]))
    rows = [_row(base, base), *map(_row, others, [base] * len(others), compared, adjusted)]
    return [rows[0], *sorted(rows[1:], key=lambda row: (row["val_rmse_px"], row["variant"]))]


def _compare(runs: list[Entry], base: list[Entry]) -> uncertainty.Comparison:
    errors, groups = summary.aligned([*runs, *base], "val")
    squared, count = uncertainty.per_group(errors, groups)
    return uncertainty.compare(squared[: len(runs)], squared[len(runs) :], count)


def _row(
    runs: list[Entry],
    base: list[Entry],
    result: uncertainty.Comparison | None = None,
    p_holm: float | None = None,
) -> Row:
    errors, groups = summary.aligned(runs, "val")
    squared, count = uncertainty.per_group(errors, groups)
    low, high = uncertainty.rmse_interval(squared, count)
    config = runs[0].config
    return {
        "variant": runs[0].label,
        "change": change(runs[0], base[0]),
        "seeds": summary.seeds_of(runs),
        "val_faces": len(groups),
        "val_groups": len(count),
        "val_rmse_px": float(np.sqrt(np.mean(uncertainty.rmse(squared, count) ** 2))),
        "val_rmse_low_px": low,
        "val_rmse_high_px": high,
        "difference_px": result and result.difference_px,
        "low_px": result and result.low,
        "high_px": result and result.high,
        "p_value": result and result.p_value,
        "p_holm": p_holm,
        "verdict": "reference" if result is None else _verdict(p_holm, result),
        "parameters": config.get("parameters"),
        "epochs": config.get("epochs"),
        "train_cpu_seconds": float(np.mean([run.config.get("train_cpu_seconds", np.nan) for run in runs])),
        "commit": config.get("commit"),
        "command": config.get("command"),
        "data_note": runs[0].note,
    }


def _verdict(p_holm: float, result: uncertainty.Comparison) -> str:
    words = {"a better": "helps", "b better": "hurts"}
    return words.get(summary.verdict(p_holm, result.low, result.high), "no difference shown")


def change(run: Entry, base: Entry) -> str:
    """What a run does otherwise than the reference, in words: `loss wing, epochs 20`."""
    recipes = [entry.config["recipe"] for entry in (run, base)]
    parts = [] if run.model == base.model else [run.model]
    fields = dict.fromkeys(field for recipe in recipes for field in recipe if field != "name")
    for field in fields:
        now, before = (recipe.get(field, DEFAULTS.get(field)) for recipe in recipes)
        if now != before:
            parts.append(f"{field.replace('_', ' ')} {now}")
    for field in ("treatment", "trained_on"):
        if run.config.get(field) != base.config.get(field):
            parts.append(f"{field.replace('_', ' ')} {run.config.get(field)}")
    return ", ".join(parts)


# Of fields that a recipe's record leaves out where they are not used (`models.recipe.Recipe.as_dict`).
DEFAULTS = {"augmentation": "none", "label_rules": "one", "optimizer": "adam", "symmetric": False}


def figure(rows: list[Row]):
    """The differences to the reference with their intervals; left of the line an idea helps."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from data_prep.style import STYLE
    from evaluation.plots import COLOURS

    reference, *others = rows
    colours = {"helps": COLOURS[2], "hurts": COLOURS[1], "no difference shown": "0.4"}
    with rc_context(STYLE):
        drawn = Figure(figsize=(7.0, 1.4 + 0.34 * len(others)), layout="constrained")
        ax = drawn.subplots()
        for y, row in enumerate(others):
            middle, low, high = row["difference_px"], row["low_px"], row["high_px"]
            ax.errorbar(middle, y, xerr=[[middle - low], [high - middle]], fmt="D", ms=5, capsize=3,
                        color=colours[row["verdict"]])  # fmt: skip
        ax.axvline(0, color="0.3", lw=1, ls="--", zorder=0.5)
        ax.set_yticks(range(len(others)), [row["change"] for row in others])
        ax.set_ylim(len(others) - 0.4, -0.6)
        # The figure's own, since the axes are narrow beside long names.
        drawn.supxlabel("RMSE less the reference's (px at 96x96), validation faces", fontsize="medium")
        drawn.suptitle(f"{reference['variant']}:\n{reference['val_rmse_px']:.2f} px, the reference", fontsize="medium")
    return drawn


def to_terminal(rows: list[Row]) -> str:
    """The table at a glance."""
    width = max(len(row["change"] or row["variant"]) for row in rows)
    lines = [f"{'change':{width}}  val RMSE px  difference  95 % interval"]
    for row in rows:
        line = f"{row['change'] or row['variant']:{width}}  {row['val_rmse_px']:11.3f}"
        if row["difference_px"] is not None:
            line += f"  {row['difference_px']:+10.3f}  {row['low_px']:+.3f} to {row['high_px']:+.3f}  {row['verdict']}"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
