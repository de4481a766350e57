"""Make everything that a study file names: prepare, train, apply, then the tables.

    python -m evaluation.study studies/synthetic.toml
    python -m evaluation.study studies/kaggle15.toml --dry-run       what is done, what is left, how long it takes
    python -m evaluation.study studies/kaggle15.toml --input training.zip --name kaggle      on another file
    python -m evaluation.study studies/kaggle15.toml --scheduler tcp://HOST:8786             on several machines

Each step is the command that one would type. What is finished is skipped, so the same line goes on after an
interruption; what fails is named at the end, and the rest is done. Several machines: see evaluation/cluster.py.
"""

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.faceset import DataError
from evaluation import child
from evaluation.study_file import read_study, with_data
from evaluation.study_plan import ALWAYS, APPLY, DIFFERS, DONE, EVALUATE, PREPARE, TO_DO, TRAIN, Step, plan
from evaluation.study_runs import Study
from evaluation.study_times import in_words


@dataclass
class Outcome:
    """failed: why each step failed, by what it should have made. waiting: what builds on those and was left."""

    failed: dict[Path, str] = field(default_factory=dict)
    waiting: list[Path] = field(default_factory=list)

    def ready(self, step: Step) -> bool:
        """Whether everything that the step needs is there; if not it is noted as waiting."""
        lacking = {*self.failed, *self.waiting} & set(step.needs)
        if lacking:
            self.waiting.append(step.output)
        return not lacking


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        study = with_data(read_study(options.study), options.input, options.name)
        if options.dry_run:
            print(to_terminal(plan(study, options.retrain, options.overwrite)))
            return 0
        outcome = carry_out(study, options.retrain, options.overwrite, options.scheduler)
    except (DataError, OSError) as error:
        print("evaluation.study: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.study: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    for output, why in outcome.failed.items():
        print(f"evaluation.study: failed: {output}: {why}", file=sys.stderr)
    if outcome.waiting:
        print(f"evaluation.study: not made for that: {', '.join(map(str, outcome.waiting))}", file=sys.stderr)
    return 1 if outcome.failed else 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, metavar="studies/NAME.toml")
    parser.add_argument("--input", type=Path, metavar="PATH", help="file or folder to read in place of the study's")
    parser.add_argument("--name", help="name of the data set in place of the study's: runs/NAME, results/NAME")
    parser.add_argument("--retrain", action="store_true", help="train too what has but a light record in results/")
    parser.add_argument("--overwrite", action="store_true", help="train again where a finished run is another")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="train on the workers of this Dask scheduler")
    parser.add_argument("--dry-run", action="store_true", help="print the steps and take none")
    return parser.parse_args(arguments)


def to_terminal(steps: list[Step]) -> str:
    """The plan: a line per step with its state, its expected time, and its command where it is to be run."""
    lines = []
    for step in steps:
        seconds = in_words(step.seconds) if step.kind == TRAIN and step.state != DONE else ""
        detail = step.note if step.state == DIFFERS else "" if step.state == DONE else step.command
        lines.append(f"{step.state:8}  {seconds:>9}  {step.output}  {detail}".rstrip())
    left = [step for step in steps if step.state not in (DONE, ALWAYS)]
    trainings = [step for step in left if step.kind == TRAIN and step.state == TO_DO]
    lines += [f"note: {note}" for note in _notes(steps)]
    return "\n".join([*lines, f"left: {len(left)} of {len(steps)} steps; {_training_time(trainings) or 'no training'}"])


def _training_time(trainings: Iterable[Step], passed: float = 0) -> str:
    """In words. passed: seconds that the first of them has had."""
    known = [step.seconds for step in trainings if step.seconds is not None]
    unknown = sum(step.seconds is None for step in trainings)
    parts = [f"about {in_words(max(0, sum(known) - passed))} of training"] if known else []
    return " and ".join([*parts, *([f"{unknown} run(s) of unknown length"] if unknown else [])])


def carry_out(study: Study, retrain: bool, overwrite: bool, scheduler: str | None) -> Outcome:
    """Take every step that is not done."""
    outcome = Outcome()
    for step in _left(plan(study, retrain, overwrite), PREPARE):
        _speak(step, outcome)
    steps = plan(study, retrain, overwrite)  # again: the prepared data tell which runs are theirs
    outcome.failed |= {step.output: step.note for step in steps if step.state == DIFFERS}
    for note in _notes(steps):
        print(f"warning: {note}", file=sys.stderr)
    trainings = [step for step in _left(steps, TRAIN) if outcome.ready(step)]
    with Progress(trainings, outcome) as progress:
        if scheduler and trainings:
            from evaluation.cluster import spread

            spread(trainings, scheduler, progress.ended)
        else:
            one_by_one(trainings, progress)
    applications = [step for step in _left(steps, APPLY) if outcome.ready(step)]
    with Progress(applications, outcome) as progress:
        one_by_one(applications, progress)
    for step in _left(steps, EVALUATE):
        if outcome.ready(step):
            _speak(step, outcome)
    return outcome


def _notes(steps: list[Step]) -> list[str]:
    """What to know about steps that are done."""
    done = [step for step in steps if step.state == DONE and step.note]
    others = sum(step.kind != PREPARE for step in done)
    notes = [step.note for step in done if step.kind == PREPARE]
    return [*notes, *([f"{others} finished run(s) are of another commit than this one"] if others else [])]


def _left(steps: list[Step], kind: str) -> list[Step]:
    """Not done, or not known to be. What differs has failed already."""
    return [step for step in steps if step.kind == kind and step.state not in (DONE, DIFFERS)]


def _speak(step: Step, outcome: Outcome) -> None:
    """Take a step that shows its own progress and results."""
    print(f"$ {step.command}", flush=True)
    if status := child.run(step.words):
        outcome.failed[step.output] = f"exit code {status}, see above"


def one_by_one(steps: list[Step], progress: "Progress") -> None:
    """Take steps on this machine, one at a time: a training uses all cores."""
    for step in steps:
        progress.bar.set_postfix_str(step.output.name)
        status = child.run(step.words, step.log, progress.tick)
        said = child.last_line(step.log.read_text(errors="replace"))
        progress.ended(step, f"{said} (log: {step.log})" if status else "", said)


class Progress:
    """A line for each run that has ended, and on a terminal a bar; both tell how much training is left."""

    def __init__(self, steps: list[Step], outcome: Outcome):
        from tqdm import tqdm

        self.left = {step.output: step for step in steps}
        self.outcome, self.since = outcome, time.monotonic()
        self.bar = tqdm(total=len(steps), unit="run", disable=None, leave=False)  # None: where there is no terminal

    def __enter__(self) -> "Progress":
        self.tick()
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def tick(self) -> None:
        if self.left:
            passed = time.monotonic() - self.since
            self.bar.set_description_str(f"left: {_training_time(self.left.values(), passed)}")

    def ended(self, step: Step, failure: str, said: str) -> None:
        """Note a step that has ended. failure: why it failed, empty where it did not. said: a line about it."""
        if failure:
            self.outcome.failed[step.output] = failure
        del self.left[step.output]
        self.since = time.monotonic()
        left = f" (left: {_training_time(self.left.values())})" if self.left and self.bar.disable else ""
        self.bar.write(f"failed: {failure}" if failure else said + left)
        self.bar.update()
        self.tick()


if __name__ == "__main__":
    sys.exit(main())
