"""A study file: the data sets and the runs that a table needs. studies/kaggle15.toml explains every field.

`python -m evaluation.study` makes what a study file names; `python -m evaluation` refuses a table that lacks a part
of it. Paths in a study file start where those of the command line do: in the project's folder.
"""

import contextlib
import io
import re
import tomllib
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from data_prep import __main__ as data_prep
from data_prep.augment import PIPELINES
from data_prep.faceset import DataError
from evaluation.study_fields import checked, count, list_of, one_of, rate, seed, table, text, weight, yes_or_no
from evaluation.study_runs import (
    BASELINES,
    MORE_LABELS,
    OWN_WAYS,
    TREATMENTS,
    Application,
    DataSet,
    Study,
    Training,
)
from models import taught
from models.label_rules import LABEL_RULES
from models.recipe import LOSSES, OPTIMIZERS, RECIPES
from models.registry import NAMES, get_network, get_options

CHANGES = {  # of a recipe's fields, that a block may make
    "epochs": count,
    "batch_size": count,
    "learning_rate": rate,
    "loss": one_of(LOSSES),
    "augmentation": one_of(PIPELINES),
    "weight_decay": rate,
    "label_rules": one_of(LABEL_RULES),
    "optimizer": one_of(OPTIMIZERS),
    "shape_weight": weight,
    "symmetric": yes_or_no,
}


def with_data(study: Study, input: Path | None = None, name: str | None = None) -> Study:
    """The study on another file, or with another name for its data set.

    Raises DataError where it has several data sets, reads no file, or the file does not exist.
    """
    if input is None and name is None:
        return study
    if len(study.data) > 1:
        raise DataError(f"{study.path} has {len(study.data)} data sets; --input and --name change a single one")
    data = study.data[0]
    if input is not None:
        if data.input is None:
            raise DataError(f"{study.path} has source {data.source}, which reads no --input")
        if not input.exists():
            raise DataError(f"--input {input} does not exist")
        data = replace(data, input=input)
    if name is not None:
        data = replace(data, name=name, folders={})
        _check_data(data, study.treatments, "--name")
    return replace(study, data=(data,))


def read_study(path: Path) -> Study:
    """Read and check a study file. Raises DataError: the file, the field, and what would be accepted."""
    return _read(Path(path), applied=True)


def _read(path: Path, applied: bool) -> Study:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no TOML, or not even text
        raise DataError(f"{path} is not a TOML file: {' '.join(str(error).split())}") from error
    try:
        return _study(path, content, applied)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _study(path: Path, content: dict, applied: bool) -> Study:
    blocks = {"seeds": table, "train": list_of(table), "baselines": table, "apply": table, "ablation": table}
    top = checked("study", content, {"data": table}, blocks)
    data = tuple(_data_set(name, fields) for name, fields in top["data"].items())
    seeds = checked("[seeds]", top["seeds"] or {}, {}, dict.fromkeys(RECIPES, list_of(seed)))
    runs: list[Training | Application] = []
    for number, block in enumerate(top["train"] or (), 1):
        more = _trainings(f"[[train]] number {number}", block, seeds)
        if unknown := {run.teacher for run in more if run.teacher and "/" not in run.teacher} - {r.name for r in runs}:
            raise DataError(
                f"[[train]] number {number}: teacher {unknown.pop()!r} is no run of a block before, nor a folder's path"
            )
        runs += more
    if top["baselines"] is not None:
        grid = {"models": list_of(one_of(BASELINES)), "treatments": list_of(one_of(TREATMENTS))}
        block = checked("[baselines]", top["baselines"], grid)
        runs += [Training(model, treatment) for treatment in block["treatments"] for model in block["models"]]
    if top["apply"] is not None and applied:
        runs += _applications(top["apply"])
    if not data or not runs:
        raise DataError(f"study: it names no {'run' if data else 'data set'}")
    if twice := [name for name, times in Counter(run.name for run in runs).items() if times > 1]:
        raise DataError(f"it asks twice for the run {twice[0]}")
    reference = None
    if top["ablation"] is not None:
        names = [run.name for run in runs]
        reference = checked("[ablation]", top["ablation"], {"reference": one_of(names)})["reference"]
    study = Study(path, data, tuple(runs), reference)
    for one in data:
        _check_data(one, study.treatments, f"[data.{one.name}]")
    return study


def _data_set(name: str, fields: object) -> DataSet:
    kinds = {"input": text, "options": list_of(text), "folders": table, "more_labels": text}
    values = checked(f"[data.{name}]", fields, {"source": one_of(data_prep.SOURCES)}, kinds)
    if (values["input"] is None) != (values["source"] == "synthetic"):
        needs = "needs an" if values["input"] is None else "reads no"
        raise DataError(f"[data.{name}]: source {values['source']} {needs} input")
    folders = checked(f"[data.{name}.folders]", values["folders"] or {}, {}, dict.fromkeys(TREATMENTS, text))
    return DataSet(
        name=name,
        source=values["source"],
        input=None if values["input"] is None else Path(values["input"]),
        options=values["options"] or (),
        folders={treatment: Path(folder) for treatment, folder in folders.items() if folder},
        more_labels=Path(values["more_labels"]) if values["more_labels"] else None,
    )


def _trainings(where: str, fields: dict, seeds: dict[str, tuple[int, ...] | None]) -> list[Training]:
    """Every model with every recipe, treatment and seed of the block."""
    grid = {"models": NAMES, "recipes": RECIPES, "treatments": (*TREATMENTS, *OWN_WAYS)}
    required = {name: list_of(one_of(names)) for name, names in grid.items()}
    block = checked(where, fields, required, {"seeds": list_of(seed), "options": table, "teacher": text, **CHANGES})
    changes = {field: block[field] for field in CHANGES}
    options = tuple((block["options"] or {}).items())
    for model in block["models"]:
        if unknown := [name for name, _ in options if name not in get_options(model)]:
            raise DataError(f"{where}: {model} has no option {unknown[0]!r}")
        try:
            get_network(model, **dict(options))  # refuses values that it does not take
        except TypeError as error:  # of another kind
            raise DataError(f"{where}: options of {model}: {dict(options)} ({error})") from error
    if (block["teacher"] is not None) != any(treatment in taught.TREATMENTS for treatment in block["treatments"]):
        raise DataError(f"{where}: teacher goes with the treatments {', '.join(taught.TREATMENTS)}, and they with it")
    if without := [recipe for recipe in block["recipes"] if not (block["seeds"] or seeds[recipe])]:
        raise DataError(f"{where}: recipe {without[0]} has no seeds, neither here nor in [seeds]")
    return [
        Training(
            model=model,
            treatment="none" if treatment in OWN_WAYS else treatment,
            recipe_name=recipe,
            seed=number,
            changes=changes,
            own_way=treatment if treatment in OWN_WAYS else None,
            teacher=block["teacher"] if treatment in taught.TREATMENTS else None,
            options=options,
        )
        for recipe in block["recipes"]
        for treatment in block["treatments"]
        for number in block["seeds"] or seeds[recipe]
        for model in block["models"]
    ]


def _applications(fields: dict) -> list[Application]:
    kinds = {"study": text, "runs": list_of(text), "treatment": one_of(TREATMENTS)}
    block = checked("[apply]", fields, kinds)
    other = _read(Path(block["study"]), applied=False)  # its trainings alone: two studies may apply each other's
    if len(other.data) > 1:
        raise DataError(f"[apply]: {other.path} has {len(other.data)} data sets; a study with one is accepted")
    networks = {run.name: run for run in other.runs if isinstance(run, Training) and run.recipe_name}
    names = checked("[apply]", {"runs": fields["runs"]}, {"runs": list_of(one_of(networks))})["runs"]
    return [Application(networks[name], other.data[0], block["treatment"]) for name in names]


def _check_data(data: DataSet, treatments: Iterable[str], where: str) -> None:
    """Raise DataError where `python -m data_prep` would refuse the words, or give the data set another name."""
    if not re.fullmatch(r"\w[\w.-]*", data.name, re.ASCII):
        raise DataError(f"{where}: {data.name!r} is not a plain folder name")
    for treatment in treatments:
        named = data.folder(treatment).name.removesuffix(f"-{treatment}")
        if named != data.name:
            raise DataError(f"{where}: {data.folder(treatment)} would be prepared under the name {named}")
        if treatment == MORE_LABELS and data.more_labels is None:
            raise DataError(f"{where}: treatment {MORE_LABELS} needs more_labels, the path of a youtube68 set")
        asked = parse_preparation(data.preparation(treatment), where)
        missing = "none" if treatment == MORE_LABELS else treatment
        if (asked.output, asked.missing) != (data.folder(treatment), missing):
            raise DataError(f"{where}: options may not hold --output or --missing; the study sets them")


def parse_preparation(words: Iterable[str], where: str) -> Namespace:
    """The options of `python -m data_prep` as it reads them itself. Raises DataError where it refuses them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return data_prep.parse_arguments(list(words))
    except SystemExit:
        raise DataError(f"{where}: {(said.getvalue().splitlines() or ['no options'])[-1]}") from None
