"""How long a training takes: as long as those that are finished, else what the benchmark says."""

import csv
import json
from pathlib import Path

from data_prep.prepared import Prepared
from evaluation.study_runs import Training
from models import specialist
from models.precision import cpu_has_bfloat16


class Times:
    """Reads the finished runs below runs/ and results/, and results/benchmark/speed.csv, once."""

    def __init__(self, runs: Path, results: Path):
        folders = [*runs.glob("*/*/config.json"), *results.glob("*/runs/*/config.json")]
        self.finished = [config for config in map(_read, sorted(folders)) if config]
        self.speeds = _speeds(results / "benchmark/speed.csv")

    def expected(self, run: Training, data: str, prepared: Prepared | None) -> float | None:
        """Expected seconds of a training on the data set of this name; None where nothing tells.

        From finished runs of the same model and recipe: their time per training face times the faces; while the data
        is not prepared, their mean time, if possible on data of this name. Else faces x epochs / images/s.
        The specialist learns complete faces twice, once by each of its networks.
        """
        recipe = (run.network, run.recipe.name if run.recipe else None)
        alike = [config for config in self.finished if _recipe_of(config) == recipe]
        if prepared is None:
            alike = [config for config in alike if ("parts" in config) == (run.own_way == specialist.TREATMENT)]
            close = [config for config in alike if config.get("data") == data] or alike
            return sum(config["train_seconds"] for config in close) / len(close) if close else None
        faces = len(prepared.train)
        if run.own_way == specialist.TREATMENT:
            faces += prepared.manifest["complete_faces"]["train"]
        if alike:
            return sum(config["train_seconds"] for config in alike) / sum(map(_faces_of, alike)) * faces
        if run.recipe and run.model in self.speeds:
            return run.recipe.epochs * faces / self.speeds[run.model]
        return None


def _recipe_of(config: dict) -> tuple[str, str | None]:
    """A finished run's model and recipe, in the form of the study's: a baseline has none."""
    return config.get("model"), None if config.get("seed") is None else config["recipe"]["name"]


def _faces_of(config: dict) -> int:
    """Faces that an epoch of a finished run showed to its network, or to each of the specialist's two."""
    return sum(part["train_faces"] for part in config.get("parts", {"all": config}).values())


def _read(path: Path) -> dict:
    """A finished training's config; empty where it is none, for an estimate needs no complaint."""
    try:
        config = json.loads(path.read_text())
        usable = config["train_seconds"] > 0 and _faces_of(config) > 0 and "trained_with" not in config
        return config if usable and _recipe_of(config) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _speeds(path: Path) -> dict[str, float]:
    """Training images/s by model, at the precision that `--precision auto` takes on this CPU."""
    precision = "mixed_bfloat16" if cpu_has_bfloat16() else "float32"
    wanted = {"what": "training", "framework": "keras", "precision": precision, "status": "measured"}
    if not path.is_file():
        return {}
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row.get(key) == value for key, value in wanted.items())]
    return {row["model"]: float(row["images_per_s"]) for row in rows}


def in_words(seconds: float | None) -> str:
    """`45 s`, `12 min`, `1 h 5 min`, or `unknown`."""
    if seconds is None:
        return "unknown"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
