"""What a study asks for: data sets, runs trained or applied on them, and how their commands and folders are called.

evaluation/study_file.py reads them from a study file, evaluation/study_plan.py makes steps of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.missing import TREATMENTS as FILLED
from data_prep.more_labels import TREATMENT as MORE_LABELS
from models import specialist, taught
from models.recipe import RECIPES, Recipe
from models.registry import folder_name, get_network
from models.runs import Run

TREATMENTS = (*FILLED, MORE_LABELS)  # that data are prepared with
OWN_WAYS = (specialist.TREATMENT, *taught.TREATMENTS)  # of training, which are treatments of missing points too
BASELINES = ("ridge", "nearest_neighbour")  # `python -m models.<name>`, without recipe and seed


@dataclass(frozen=True)
class DataSet:
    """One data set, with its runs in runs/<name> and its table in results/<name>."""

    name: str
    source: str
    input: Path | None = None
    options: tuple[str, ...] = ()  # further ones of `python -m data_prep`
    folders: dict[str, Path] = field(default_factory=dict)  # by treatment, where not the usual one
    more_labels: Path | None = None  # youtube68 set, for the treatment of that name

    def folder(self, treatment: str) -> Path:
        """Where it lies prepared: data/prepared/<name>, or <name>-<treatment> for any other than ffill."""
        usual = Path("data/prepared") / (self.name if treatment == "ffill" else f"{self.name}-{treatment}")
        return self.folders.get(treatment, usual)

    def preparation(self, treatment: str) -> tuple[str, ...]:
        """The words behind `python -m data_prep` that make that folder."""
        input_words = () if self.input is None else ("--input", str(self.input))
        output = str(self.folder(treatment))
        words = ("--missing", treatment)
        if treatment == MORE_LABELS:
            words = ("--missing", "none", "--more-labels", str(self.more_labels))
        return ("--source", self.source, *input_words, *words, "--output", output, *self.options)


@dataclass(frozen=True)
class Training:
    """A run trained on the data set. A baseline has no recipe and no seed.

    changes: fields of the recipe by name, in place of its own.
    treatment: that the data are prepared with. own_way: a treatment that is a way to train, in place of it
    (`OWN_WAYS`). teacher: where that needs one, a run of the study or a run folder's path.
    """

    model: str
    treatment: str
    recipe_name: str | None = None
    seed: int | None = None
    changes: dict = field(default_factory=dict)
    own_way: str | None = None
    teacher: str | None = None
    options: tuple[tuple[str, object], ...] = ()  # of the network, by name

    @property
    def own_treatment(self) -> str:
        """What its folder and its config.json name."""
        return self.own_way or self.treatment

    @property
    def recipe(self) -> Recipe | None:
        return RECIPES[self.recipe_name].with_changes(**self.changes) if self.recipe_name else None

    @property
    def network(self) -> str:
        """What runs and tables call its model."""
        return get_network(self.model, **dict(self.options)).name if self.recipe else self.model

    @property
    def name(self) -> str:
        """What `models.trainer.default_folder` calls its folder."""
        if self.recipe is None:
            return f"{self.model}-{self.treatment}"
        return f"{folder_name(self.network)}-{self.recipe.name}-{self.own_treatment}-s{self.seed}"

    @property
    def words(self) -> tuple[str, ...]:
        """Behind `python -m`, all but the data and the teacher."""
        changes = {f"--{field.replace('_', '-')}": value for field, value in self.changes.items()}
        network = {f"--{option}": value for option, value in self.options}
        given = {**network, "--recipe": self.recipe_name, **changes, "--seed": self.seed}
        options = [word for option, value in given.items() for word in option_words(option, value)]
        if self.own_way in taught.TREATMENTS:
            gaps = ["--gaps"] if self.own_way == "taught_gaps" else []
            module = ("models.taught", "--model", self.model, *gaps)
        elif self.own_way:
            module = ("models.specialist", "--model", self.model)
        else:
            module = (f"models.{self.model}",)
        return (*module, *options)


@dataclass(frozen=True)
class Application:
    """A network of another study, applied to the data set as prepared with `treatment`."""

    network: Training
    trained_on: DataSet
    treatment: str

    @property
    def name(self) -> str:
        """What `models.apply` calls its folder."""
        return f"{self.network.name}-from-{self.trained_on.name}"


@dataclass(frozen=True)
class Study:
    """A grid: every run is required on every data set.

    reference: of an ablation, the run that the others are compared with on validation faces (`evaluation.ablation`).
    """

    path: Path
    data: tuple[DataSet, ...]
    runs: tuple[Training | Application, ...]
    reference: str | None = None

    @property
    def treatments(self) -> tuple[str, ...]:
        """That the data sets are prepared with, in the order of their first run."""
        return tuple(dict.fromkeys(run.treatment for run in self.runs))


def option_words(option: str, value: object) -> tuple[str, ...]:
    """A command-line option with its value; for a boolean `--this` or `--no-this`, for None nothing."""
    if isinstance(value, bool):
        return (option if value else option.replace("--", "--no-", 1),)
    return () if value is None else (option, str(value))


def missing_runs(study: Study, runs: Iterable[Run]) -> list[str]:
    """Names of the runs that the study requires and that are not among these, which are of one data set."""
    found = {run.name for run in runs}
    return [run.name for run in study.runs if run.name not in found]
