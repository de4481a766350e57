"""Compare finished runs: tables and pictures from their records. Trains nothing, needs no TensorFlow.

    python -m evaluation                              every data set in runs/ and results/
    python -m evaluation --runs runs/kaggle15         into results/kaggle15/
    python -m evaluation --runs runs/kaggle15/base-quick-ffill-s0 --output results/NAME

The records already in the output folder are part of its table. Where studies/NAME.toml says which runs the table of
results/NAME needs, one that is missing is an error: a table would not say that it has shrunk.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_prep.faceset import DataError
from evaluation import collect
from models.runs import Run, copy_record

RUNS, RESULTS, PREPARED, STUDIES = Path("runs"), Path("results"), Path("data/prepared"), Path("studies")
DPI = 120


@dataclass(frozen=True)
class Job:
    """One output folder and the runs that stand in its table."""

    output: Path
    runs: list[Run]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    runs_help = "run folders, or folders with runs one or two levels down (default: all in runs/ and results/)"
    parser.add_argument("--runs", type=Path, nargs="+", metavar="DIR", help=runs_help)
    output_help = "where to write (default: results/<data set of the runs>)"
    parser.add_argument("--output", type=Path, metavar="results/NAME", help=output_help)
    study_help = "study file with the runs that the table needs (default: studies/NAME.toml where there is one)"
    parser.add_argument("--study", type=Path, metavar="FILE", help=study_help)
    options = parser.parse_args(arguments)
    try:
        jobs, skipped = plan(options.runs, options.output)
        for line in skipped:
            print(f"warning: skipped: {line}", file=sys.stderr)
        if skipped:
            print(f"warning: {len(skipped)} unusable run folder(s) skipped", file=sys.stderr)
        for job in jobs:
            check_complete(job, options.study)
        for job in jobs:
            evaluate(job)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write the results: {error}", file=sys.stderr)
        return 2
    return 0


def plan(folders: list[Path] | None, output: Path | None) -> tuple[list[Job], list[str]]:
    """What to evaluate, all of it read and checked before anything is written; and what was skipped, why."""
    if folders is not None:
        fresh, skipped = collect.find_runs(folders)
    else:
        # With --output alone, its own data set's run folders; else everything there is.
        fresh, skipped = _find_if_any(RUNS / output.name if output else RUNS)
    if output:
        outputs = [output]
    else:
        names = {run.config["data"] for run in fresh}
        if folders is None:
            names |= {path.parent.name for path in RESULTS.glob("*/runs")}
        outputs = [RESULTS / name for name in sorted(names)]
    jobs = []
    for place in outputs:
        records, unusable = _find_if_any(place / "runs")
        skipped += [line for line in unusable if line not in skipped]
        in_place = {run.folder.resolve() for run in records}
        # An output that was asked for takes all runs, and refuses those of another data set below.
        new = [
            run
            for run in fresh
            if run.folder.resolve() not in in_place and (output or run.config["data"] == place.name)
        ]
        runs = collect.merge(new, records)
        if runs:
            collect.check_one_table(runs)
            jobs.append(Job(place, sorted(runs, key=lambda run: run.name)))
    if not jobs:
        searched = f"{RUNS / output.name}/ and {output / 'runs'}/" if output else "runs/ and results/*/runs/"
        problem = "; ".join(skipped) or f"nothing in {searched}"
        raise DataError(f"no usable runs: {problem}; train one with python -m models.base")
    return jobs, skipped


def check_complete(job: Job, study: Path | None = None) -> None:
    """Raise DataError naming the runs that a study requires of this table and that are not among its runs.

    study: a study file; None for studies/<name of the output>.toml, where nothing is required if there is none.
    """
    path = study or STUDIES / f"{job.output.name}.toml"
    if study is None and not path.is_file():
        return
    from evaluation.study_file import missing_runs, read_study

    if missing := missing_runs(read_study(path), job.runs):
        raise DataError(
            f"{job.output} would lack {len(missing)} run(s) that {path} requires: {', '.join(missing)}; "
            f"make them with python -m evaluation.study {path}, or write elsewhere with --output"
        )


def evaluate(job: Job) -> None:
    """Write all tables, pictures and records of one output folder, and print the table."""
    # Imported here: matplotlib costs most of a second, which --help and a refusal should not.
    from evaluation import entries as entry_forms
    from evaluation import faces, interval_plots, plots, summary, tables

    baseline = entry_forms.mean_face(job.runs)
    # Other baselines are runs; a further score is a column in `tables`.
    entries = [*map(entry_forms.from_run, job.runs), baseline]
    noise_floor = entry_forms.noise_floor(job.runs)
    rows = tables.performance(entries, noise_floor)
    place = {row["run"]: i for i, row in enumerate(rows)}
    entries.sort(key=lambda entry: place[entry.name])
    texts = {"performance.csv": rows, "per_keypoint.csv": tables.per_keypoint(entries)}
    if by_source := tables.by_source(entries):
        texts["by_source.csv"] = by_source
    variants = summary.summary(entries)
    texts["summary.csv"] = variants
    if comparisons := summary.comparisons(entries):
        texts["comparisons.csv"] = comparisons
    writers: dict[str, Callable[[Path], object]] = {
        name: lambda path, rows=table: path.write_text(tables.to_csv(rows)) for name, table in texts.items()
    }

    figures = {
        "intervals.png": interval_plots.intervals(variants, noise_floor),
        "learning_curves.png": plots.learning_curves(entries),
        "error_per_keypoint.png": plots.error_per_keypoint(entries, noise_floor),
        "cumulative_error.png": plots.cumulative_errors(entries),
        "truth_against_prediction.png": plots.truth_against_prediction(entries),
        "mean_face_errors.png": plots.mean_face_errors(entries, baseline.test.predicted[0]),
    }
    folders = [
        PREPARED / baseline.data,
        *(Path(run.config["data_folder"]) for run in job.runs if "data_folder" in run.config),
    ]
    for prepared in dict.fromkeys(folders):
        images, why_not = faces.load_images(prepared, baseline.test.ids)
        if images is not None:
            break
    if images is not None:
        for run in entry_forms.main_entries(entries, plots.MOST_PANELS):
            folder = "" if faces.may_be_published(prepared, run) else "faces/"
            name = re.sub(r"[^\w-]+", "_", run.model).strip("_")
            figures[f"{folder}sample_faces_{name}.png"] = faces.sample_faces(run, images)
    for name, figure in figures.items():
        # Without the version of matplotlib, equal input gives equal files.
        writers[name] = lambda path, figure=figure: figure.savefig(path, dpi=DPI, metadata={"Software": None})

    stale = [
        path
        for pattern in ("sample_faces_*.png", "faces/sample_faces_*.png")
        for path in (job.output.glob(pattern) if images is not None else ())
        if path.relative_to(job.output).as_posix() not in figures
    ]
    # Tables that only some runs give.
    stale += [
        job.output / name
        for name in ("by_source.csv", "comparisons.csv")
        if name not in texts and (job.output / name).exists()
    ]
    write_together(job.output, writers)
    for path in stale:
        path.unlink()
    for run in job.runs:
        copy_record(run, job.output / "runs" / run.name)

    faces_tested = f"{len(job.runs)} run(s) on {len(baseline.test.ids)} test faces"
    print(f"\n{baseline.data}: {faces_tested}{f' ({baseline.note})' if baseline.note else ''}\n")
    print(f"{tables.to_terminal(rows)}\n\n{summary.to_terminal(variants)}")
    if images is None:
        print(f"\nsample faces not drawn: {why_not}")
    print(f"\nwritten to {job.output}/: {', '.join(writers)}, runs/ ({len(job.runs)} records)")


def write_together(output: Path, writers: dict[str, Callable[[Path], object]]) -> None:
    """Write files aside and move them into `output` when all are complete: a failure leaves the old ones."""
    aside = output.with_name(output.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        for name, write in writers.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            write(aside / name)
        for name in writers:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside / name, output / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _find_if_any(folder: Path) -> tuple[list[Run], list[str]]:
    """The runs below a folder that need not exist or hold any."""
    return collect.find_below(folder) if folder.is_dir() else ([], [])


if __name__ == "__main__":
    sys.exit(main())
