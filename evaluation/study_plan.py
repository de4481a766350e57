"""The steps of a study: what each makes, by which command, whether it is done, and how long it takes."""

import datetime
import importlib.util
import shlex
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import data_prep
from data_prep.faceset import DataError
from data_prep.prepared import Prepared, load
from evaluation.study_file import parse_preparation
from evaluation.study_runs import Application, DataSet, Study, Training
from evaluation.study_times import Times
from models import pixel_baselines, trainer
from models.registry import get_network
from models.runs import RECORD_FILES, read_run
from models.taught import Teaching, treatment_of

RUNS, RESULTS = Path("runs"), Path("results")
CODE = Path(data_prep.__file__).parent
# Options of `python -m data_prep` that do not shape what it writes, or that the manifest's source tells better.
NOT_OF_THE_ARRAYS = ("input", "source", "download", "sha256", "output", "results", "no_analysis", "command")
PREPARE, TRAIN, APPLY, EVALUATE = KINDS = ("prepare", "train", "apply", "evaluate")
DONE, TO_DO = "done", "to do"
ALWAYS = "always"  # tables cost seconds, and show what is there now
RECORDED = "recorded"  # there is a run; whether it is of this data shows when the data is prepared
DIFFERS = "differs"  # there is a finished run, and it is another than the study asks for


@dataclass(frozen=True)
class Step:
    """One command of a study.

    output: what it makes; names the step. words: behind `python -m`. seconds: expected, None where nothing tells.
    needs: outputs of steps before it. note: what differs, or what the trainer warns of. data, run: of a training.
    """

    kind: str
    output: Path
    words: tuple[str, ...]
    state: str = TO_DO
    seconds: float | None = None
    needs: tuple[Path, ...] = ()
    note: str = ""
    data: DataSet | None = None
    run: Training | None = None

    @property
    def command(self) -> str:
        return shlex.join(("python", "-m", *self.words))

    @property
    def log(self) -> Path:
        """Where what a run says is kept: beside its folder."""
        return self.output.with_name(f"{self.output.name}.log")


def plan(study: Study, retrain: bool = False, overwrite: bool = False) -> list[Step]:
    """All steps of a study in the order to take them.

    retrain: a light record does not count as a finished run. overwrite: a finished run that differs from what the
    study asks for is trained again.
    """
    steps: dict[Path, Step] = {}
    times = Times(RUNS, RESULTS)
    for data in study.data:
        prepared = {treatment: find_prepared(data, treatment) for treatment in study.treatments}
        for number, (treatment, found) in enumerate(prepared.items()):
            _add(steps, preparation(data, treatment, found, analysis=number == 0))
        runs = []
        for run in study.runs:
            found = prepared[run.treatment]
            if isinstance(run, Training):
                step = _training(data, run, found, times, records=not retrain)
            else:
                step = _application(data, run, found, records=not retrain)
                if step.state == TO_DO:
                    _add(steps, *_network(run, times))
            _add(steps, step)
            runs.append(step.output)
        _add(steps, *_tables(study, data, tuple(runs)))
    in_order = _with_teachers(sorted(steps.values(), key=lambda step: KINDS.index(step.kind)))
    return [_over(step) if overwrite and step.state == DIFFERS else step for step in in_order]


def _over(step: Step) -> Step:
    return replace(step, state=TO_DO, note="", words=(*step.words, "--overwrite"))


def _add(steps: dict[Path, Step], *new: Step) -> None:
    for step in new:
        steps.setdefault(step.output, step)


# --- the kinds of steps


def preparation(data: DataSet, treatment: str, found: Prepared | None, analysis: bool) -> Step:
    """The step that prepares a data set. found: what there is of it. analysis: with pictures and tables of it."""
    words = ("data_prep", *data.preparation(treatment), *(() if analysis else ("--no-analysis",)))
    step = Step(PREPARE, data.folder(treatment), words)
    return replace(step, state=DONE, note=_age(found)) if found else step


def _training(data: DataSet, run: Training, found: Prepared | None, times: Times, records: bool) -> Step:
    folder = data.folder(run.treatment)
    module, *options = run.words
    seconds = times.expected(run, data.name, found)
    output, needs = RUNS / data.name / run.name, (folder,)
    if run.teacher:
        teacher = _teacher(run, data.name)
        options = ["--teacher", str(teacher), *options]
        needs = needs if "/" in run.teacher else (folder, teacher)
    words = (module, "--data", str(folder), *options)
    step = Step(TRAIN, output, words, seconds=seconds, needs=needs, data=data, run=run)
    step = _with_state(step, lambda place: training_warning(place, run, data.name, found), found, data, records)
    if run.teacher and step.state == TO_DO:
        _check_teacher(run, teacher)
    return step


def _check_teacher(run: Training, teacher: Path) -> None:
    """Raise DataError where the run would be named otherwise, for its teacher is the mean of several networks."""
    if teacher.is_dir() and (found := treatment_of(read_run(teacher), run.own_way == "taught_gaps")) != run.own_way:
        raise DataError(f"{run.name}: its teacher {teacher} makes the treatment {found}; name that one")


def _teacher(run: Training, data: str) -> Path:
    """The folder of the run that teaches a run on the data set of this name."""
    return Path(run.teacher) if "/" in run.teacher else RUNS / data / run.teacher


def _with_teachers(steps: list[Step]) -> list[Step]:
    """The steps, with those to do again whose network has yet to teach and of which there is but a record."""
    steps = {step.output: step for step in steps}
    to_do = [step for step in steps.values() if step.kind == TRAIN and step.state == TO_DO]
    while to_do:
        for output in to_do.pop().needs:
            step = steps.get(output)
            if step and step.kind == TRAIN and step.state != TO_DO and not (output / "model.keras").is_file():
                steps[output] = replace(step, state=TO_DO, note="")
                to_do.append(steps[output])  # it may need a teacher in turn
    return list(steps.values())


def _application(data: DataSet, run: Application, found: Prepared | None, records: bool) -> Step:
    folder, network = data.folder(run.treatment), RUNS / run.trained_on.name / run.network.name
    words = ("models.apply", "--run", str(network), "--data", str(folder))
    step = Step(APPLY, RUNS / data.name / run.name, words, needs=(folder, network))
    step = _with_state(step, lambda place: _application_warning(place, run, found), found, data, records)
    return replace(step, state=TO_DO, note="") if step.state == DIFFERS else step  # it costs seconds: no one is asked


def _network(run: Application, times: Times) -> list[Step]:
    """The steps that train a network of another study, where its model file is absent."""
    data, network = run.trained_on, run.network
    if (RUNS / data.name / network.name / "model.keras").is_file():
        return []
    found = find_prepared(data, network.treatment)
    training = _training(data, network, found, times, records=False)
    return [preparation(data, network.treatment, found, analysis=False), training]


def _tables(study: Study, data: DataSet, runs: tuple[Path, ...]) -> list[Step]:
    results = RESULTS / data.name
    if study.reference:
        words = ("evaluation.ablation", str(study.path), "--output", str(results))
        return [Step(EVALUATE, results, words, ALWAYS, needs=runs)]
    steps = [
        Step(
            EVALUATE, results, ("evaluation", "--output", str(results), "--study", str(study.path)), ALWAYS, needs=runs
        )
    ]
    report = importlib.util.find_spec("evaluation.report")
    if report and report.origin:
        page = results / "report.html"
        steps.append(Step(EVALUATE, page, ("evaluation.report", str(results)), ALWAYS, needs=(results,)))
    return steps


# --- what is done


def find_prepared(data: DataSet, treatment: str) -> Prepared | None:
    """The prepared data set as the study asks for it; None where it is absent or of another file or other options."""
    try:
        found = load(data.folder(treatment))
        made = parse_preparation(shlex.split(found.manifest["command"])[3:], "manifest")
    except (DataError, KeyError, ValueError):
        return None
    asked = parse_preparation(data.preparation(treatment), "study")
    for options in (asked, made):
        for name in NOT_OF_THE_ARRAYS:
            delattr(options, name)
    source = found.manifest["source"]
    same = asked == made and found.name == data.name and source["kind"] == data.source and _same_file(data, source)
    return found if same else None


def _age(found: Prepared) -> str:
    """What to know about data that were prepared before their code changed; empty where it did not."""
    written = datetime.datetime.fromisoformat(found.manifest["written"]).timestamp()
    later = [path for path in CODE.rglob("*.py") if path.stat().st_mtime > written]
    if not later:
        return ""
    newest = max(later, key=lambda path: path.stat().st_mtime).relative_to(CODE.parent)
    return f"{found.folder} is older than {newest}; remove it to prepare it again"


def _same_file(data: DataSet, source: dict) -> bool:
    """Whether the manifest's source is the study's input, by its hash."""
    if data.input is not None and not data.input.exists():
        return source["path"] == str(data.input)  # gone since: what was made of it is all there is
    return source["sha256"] == _sha256(data)


def _sha256(data: DataSet) -> str:
    """The hash that the manifest would hold."""
    from data_prep.sources import kaggle, sha256_of

    if data.source == "synthetic":
        from data_prep.synthetic.model import MODEL_FILE

        return sha256_of([MODEL_FILE])
    if data.source == "kaggle":
        return sha256_of(kaggle._find(data.input))
    if data.input.is_file():
        return sha256_of([data.input])
    from data_prep.__main__ import read_source

    # Of a folder of pictures, those that are used count, and only reading them tells which.
    return read_source(data.source, data.input, parse_preparation(data.preparation("none"), "study")).sha256


def _with_state(
    step: Step, warning: Callable[[Path], str], found: Prepared | None, data: DataSet, records: bool
) -> Step:
    """The step with its state. A run folder counts first, then a light record; `warning` raises where it differs."""
    own, record = step.output, RESULTS / data.name / "runs" / step.output.name
    for place in (own, record) if records else (own,):
        if not all((place / name).is_file() for name in RECORD_FILES):
            continue
        if found is None:
            return replace(step, state=RECORDED)
        try:
            return replace(step, state=DONE, note=warning(place))
        except DataError as error:
            if place == own:
                return replace(step, state=DIFFERS, note=str(error))
    return step


def training_warning(folder: Path, run: Training, name: str, data: Prepared) -> str:
    """What the run's own command warns of at a finished run. Raises DataError where it is not the one asked for.

    name: of the data set that it was trained on, whose runs may have taught it.
    """
    said = StringIO()
    # Its data as it was trained on them: an applied network's are others, and a way to train is a treatment, too.
    changes = {"treatment": run.own_treatment}
    if run.teacher:
        places = (_teacher(run, name), RESULTS / name / "runs" / run.teacher)
        changes = Teaching(read_run(next(filter(Path.is_dir, places), places[0])), run.own_way).about()
    data = replace(data, manifest={**data.manifest, **changes})
    with redirect_stderr(said):
        if run.recipe is None:
            pixel_baselines.check_same(folder, run.model, data)
        else:
            trainer.check_same(folder, get_network(run.model, **dict(run.options)), data, run.recipe, run.seed, "auto")
    return said.getvalue().strip()


def _application_warning(folder: Path, run: Application, data: Prepared) -> str:
    found = read_run(folder).config.get("trained_on")
    if found != run.trained_on.name:
        raise DataError(f"{folder} is a finished run trained on {found}, not {run.trained_on.name}")
    return training_warning(folder, run.network, run.trained_on.name, data)
