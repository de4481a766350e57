"""How much does a score flatter when relatives of the test faces are among the training faces?

One network is trained twice a seed, on two equally large training sets that differ in kinship only, and tested on
the same faces (evaluation/leakage_sets.py draws them; `groups` of the prepared data are the relatives).

    python -m evaluation.leakage --data data/prepared/kaggle15-none
    python -m evaluation.leakage --data data/prepared/youtube68 --dry-run     sizes and commands, nothing written
    python -m evaluation.leakage                                              from the records in results/leakage/

Writes data/prepared/leakage-NAME-with and -without, runs/leakage/NAME/ and results/leakage/NAME/.
A finished run is not trained again.
"""

import argparse
import re
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from data_prep.faceset import DataError
from data_prep.prepared import Prepared, load, write
from data_prep.split import SPLITS
from evaluation import child, collect, leakage_table, tables
from evaluation.leakage_sets import ARMS, Sets, arm_data, choose, copied, pool
from models.recipe import Recipe, get_recipe
from models.registry import NAMES, get_network
from models.runs import RECORD_FILES, Run, copy_record
from models.trainer import MOST_SEEDS

PREPARED, RUNS, RESULTS = Path("data/prepared"), Path("runs/leakage"), Path("results/leakage")


@dataclass(frozen=True)
class Job:
    """One training: `words` are its command as a person would type it, after `python -m`."""

    name: str
    output: Path
    record: Path
    words: list[str]


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        if args.data is None:
            for name in names_of(args):
                write_tables(RESULTS / name)
        else:
            experiment(args)
    except (DataError, OSError) as error:
        print("evaluation.leakage: error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        goes_on = "the command goes on without --overwrite" if args.overwrite else "the same command goes on"
        print(f"evaluation.leakage: stopped; finished runs are kept, {goes_on}", file=sys.stderr)
        return 130
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.leakage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="prepared data set with groups, whatever its own split (default: none, tables from the records)",
    )
    parser.add_argument("--name", help="of the experiment's folders (default: the data folder's, without -none)")
    parser.add_argument("--model", default="v1", help=f"{', '.join(NAMES)} (default: v1)")
    parser.add_argument("--recipe", default="quick", help="as in models (default: quick)")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings (default: 0 1 2)")
    parser.add_argument("--split-seed", type=int, default=0, help="of the drawing of the faces (default: 0)")
    parser.add_argument("--dry-run", action="store_true", help="print sizes and commands, write nothing")
    parser.add_argument("--overwrite", action="store_true", help="train finished runs again")
    args = parser.parse_args(argv)
    if not all(0 <= seed < MOST_SEEDS for seed in (args.split_seed, *args.seeds)):
        parser.error(f"--seeds and --split-seed: 0 to {MOST_SEEDS - 1} are accepted")
    if args.name is None and args.data is not None:
        args.name = args.data.resolve().name.removesuffix("-none")
    if args.name is not None and not re.fullmatch(r"\w[\w.-]*", args.name):
        parser.error(f"--name {args.name!r}: letters, digits, '_', '.' and '-' are accepted")
    args.command = shlex.join(["python", "-m", "evaluation.leakage", *(sys.argv[1:] if argv is None else argv)])
    return args


def experiment(args: argparse.Namespace) -> None:
    """Draw the sets, train what is not trained yet, write the results."""
    if args.model not in NAMES:
        raise DataError(f"unknown model {args.model!r}; accepted: {', '.join(NAMES)}")
    recipe = get_recipe(args.recipe).with_changes(epochs=args.epochs)
    data = load(args.data)
    faces = pool(data)
    sets = choose(faces, args.split_seed)
    arms = {
        arm: arm_data(data, faces, sets, arm, PREPARED / f"leakage-{args.name}-{arm}", args.split_seed, args.command)
        for arm in ARMS
    }
    jobs = [plan(args, arm, seed) for seed in sorted(set(args.seeds)) for arm in ARMS]
    finished = find_finished(args, jobs, recipe, arms["with"].manifest["source"]["leakage"]["sets_sha256"])
    print(describe(args.name, sets, arms), flush=True)
    if args.dry_run:
        for job in jobs:
            print("done " if job.name in finished else "to do", "", shlex.join(["python", "-m", *job.words]))
        return
    if len(finished) < len(jobs):
        for arm in arms.values():
            write(arm.folder, {name: getattr(arm, name) for name in SPLITS}, arm.manifest)
    for i, job in enumerate(jobs, 1):
        begin, run = time.perf_counter(), finished.get(job.name)
        copy_record(run or train(job), job.record)
        done = f"{run.folder} is a finished run" if run else f"trained in {time.perf_counter() - begin:.0f} s"
        print(f"[{i}/{len(jobs)}] {job.name}: {done}", flush=True)
    write_tables(RESULTS / args.name, copied(faces, sets))


def describe(name: str, sets: Sets, arms: dict[str, Prepared]) -> str:
    """What was drawn, in two lines."""
    points = {arm: data.manifest["labelled_points"]["train"] for arm, data in arms.items()}
    groups = len(set(arms["with"].test.groups.tolist()))
    return (
        f"{name}: {len(sets.test):,} test faces of {groups:,} groups, {len(sets.val):,} validation and control faces\n"
        f"training sets of {len(sets.train('with')):,} faces: {len(sets.common):,} in both and "
        f"{len(sets.relatives):,} relatives of the test faces ({points['with']:,} labelled points in all) or "
        f"{len(sets.others):,} others ({points['without']:,})"
    )


def plan(args: argparse.Namespace, arm: str, seed: int) -> Job:
    name = f"{arm}-s{seed}"
    output = RUNS / args.name / name
    words = [f"models.{args.model}", "--data", str(PREPARED / f"leakage-{args.name}-{arm}"), "--recipe", args.recipe]
    words += ["--epochs", str(args.epochs)] if args.epochs is not None else []
    words += ["--seed", str(seed), "--output", str(output)]
    words += ["--overwrite"] if args.overwrite else []
    return Job(name, output, RESULTS / args.name / "runs" / name, words)


def find_finished(args: argparse.Namespace, jobs: list[Job], recipe: Recipe, sets_sha256: str) -> dict[str, Run]:
    """The finished run of each job, or its record in the results; none of the jobs' with --overwrite.

    Raises DataError where a run or record that would come into the table is of anything else.
    """
    places = {} if args.overwrite else {job.name: (job.output, job.record) for job in jobs}
    for record in sorted((RESULTS / args.name / "runs").glob("*")):
        if record.name not in {job.name for job in jobs}:  # of a seed not asked for now
            places[record.name] = (record,)
    finished = {}
    for name, folders in places.items():
        for folder in folders:
            if name not in finished and all((folder / file).is_file() for file in RECORD_FILES):
                run = finished[name] = collect.read(folder)
                asked = {
                    "model": get_network(args.model).name,
                    "recipe": recipe.as_dict(),
                    "choice of faces": sets_sha256,
                }
                found = {**run.config, "choice of faces": leakage_table.what(run)["sets_sha256"]}
                if different := [key for key in asked if found[key] != asked[key]]:
                    raise DataError(
                        f"{folder} is a finished run with another {', '.join(different)}; "
                        "--overwrite it, remove it, or give this experiment another --name"
                    )
    return {job.name: finished[job.name] for job in jobs if job.name in finished}


def train(job: Job) -> Run:
    """Train; what it prints goes to a log beside the run's folder. Raises DataError where it fails."""
    log = job.output.with_name(f"{job.name}.log")
    if status := child.run(job.words, log):
        said = child.last_line(log.read_text(errors="replace"))
        raise DataError(f"{job.name} failed (exit code {status}): {said}; all it said is in {log}")
    return collect.read(job.output)


def names_of(args: argparse.Namespace) -> list[str]:
    """The experiments to make tables of: the named one, or all that have records."""
    if args.name is not None:
        return [args.name]
    names = sorted(path.parent.name for path in RESULTS.glob("*/runs"))
    if not names:
        raise DataError(f"no records below {RESULTS}; make them with --data data/prepared/NAME")
    return names


def write_tables(output: Path, copies: list[str] | None = None) -> None:
    """leakage.csv and leakage.png from all records in `output`/runs, and their lines on the terminal.

    copies: of `leakage_sets.copied`; None takes those of copies.csv, which is written with the tables.
    """
    from evaluation.output import DPI, write_together

    runs, unusable = collect.find_below(output / "runs")
    if unusable:
        raise DataError(unusable[0])
    if not runs:
        raise DataError(f"no records in {output / 'runs'}; make them with --data data/prepared/NAME")
    listed = output / "copies.csv"
    if copies is None:
        copies = listed.read_text().split()[1:] if listed.is_file() else []
    effects = leakage_table.effects(runs, frozenset(copies))
    rows = leakage_table.rows(runs, effects)
    first = rows[0]
    title = (
        f"{output.name}: {first['model']} ({first['recipe']}) with and without relatives of the test faces in training"
    )
    figure = leakage_table.figure(title, effects)
    write_together(
        output,
        {
            "copies.csv": lambda path: path.write_text("\n".join(["id", *copies]) + "\n"),
            "leakage.csv": lambda path: path.write_text(tables.to_csv(rows)),
            "leakage.png": lambda path: figure.savefig(path, dpi=DPI, metadata={"Software": None}),
        },
    )
    for row in rows:
        print(leakage_table.in_words(row))
    print(f"written to {output}/: leakage.csv, leakage.png, copies.csv, runs/ ({len(runs)} records)")


if __name__ == "__main__":
    sys.exit(main())
