"""Compare finished runs: tables and pictures from their records. Trains nothing, needs no TensorFlow.

    python -m evaluation                              every data set in runs/ and results/
    python -m evaluation --runs runs/kaggle15         into results/kaggle15/
    python -m evaluation --runs runs/kaggle15/base-quick-ffill-s0 --output results/NAME

The records already in the output folder are part of its table. Where studies/NAME.toml says which runs the table of
results/NAME needs, one that is missing is an error: a table would not say that it has shrunk.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from data_prep.faceset import DataError
from evaluation import collect
from models.runs import Run

RUNS, RESULTS, STUDIES = Path("runs"), Path("results"), Path("studies")


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
        refused = []
        for job in list(jobs):
            try:
                check_complete(job, options.study)
            except DataError as error:  # the other tables are made all the same
                refused.append(str(error))
                jobs.remove(job)
        from evaluation.output import write_results  # matplotlib costs most of a second: not for --help or a refusal

        for job in jobs:
            write_results(job.output, job.runs)
        if refused:
            raise DataError("; ".join(refused))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write the results: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation: stopped", file=sys.stderr)
        return 130
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
            names -= {path.parent.name for path in RESULTS.glob("*/ablation.csv")}  # of evaluation.ablation
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
    from evaluation.study_file import read_study
    from evaluation.study_runs import missing_runs

    if missing := missing_runs(read_study(path), job.runs):
        raise DataError(
            f"{job.output} would lack {len(missing)} run(s) that {path} requires: {', '.join(missing)}; "
            f"make them with python -m evaluation.study {path}, or write elsewhere with --output"
        )


def _find_if_any(folder: Path) -> tuple[list[Run], list[str]]:
    """The runs below a folder that need not exist or hold any."""
    return collect.find_below(folder) if folder.is_dir() else ([], [])


if __name__ == "__main__":
    sys.exit(main())
