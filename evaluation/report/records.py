"""What the runs' records say: recipes, machines, versions, commands. From `results/NAME/runs/*/config.json`."""

import json
import shlex
import tomllib
from pathlib import Path

from data_prep.faceset import DataError
from data_prep.prepared import embedded
from evaluation.report.tables import Table
from evaluation.study_runs import OWN_WAYS


def read(folder: Path) -> list[dict]:
    """The settings of every run of a results folder, by name. Raises DataError for a damaged file."""
    return [_config(path) for path in sorted((folder / "runs").glob("*/config.json"))]


def own_faces(configs: list[dict]) -> bool:
    """Whether all test faces are the project's own sampled ones; without any record nobody knows, so no."""
    return bool(configs) and all(embedded(config.get("data_source")) for config in configs)


def recipes(configs: list[dict]) -> dict[str, str]:
    """Name -> `quick: at most 20 epochs, ...`."""
    found = {str(recipe["name"]): recipe for config in configs if "name" in (recipe := _part(config, "recipe"))}
    return {name: _recipe(name, recipe) for name, recipe in found.items()}


def environment(configs: list[dict]) -> Table | None:
    """Runs, machine and versions: a line per combination."""
    if not configs:
        return None
    columns = ("machine", "system", "backend", "precision", "versions")
    groups: dict[tuple[str, ...], list[dict]] = {}
    for config in configs:
        machine, versions = _part(config, "machine"), _part(config, "versions")
        key = (
            ", ".join(f"{machine[k]}{' cores' * (k == 'cores')}" for k in ("cpu", "cores") if machine.get(k)),
            str(machine.get("system", "")),
            str(config.get("backend", "")),
            str(config.get("precision", "")),
            ", ".join(f"{package} {version}" for package, version in versions.items()),
        )
        groups.setdefault(key, []).append(config)
    rows = [
        [str(len(same)), *key, ", ".join(sorted({str(c["commit"]) for c in same if c.get("commit")}))]
        for key, same in groups.items()
    ]
    headings = ["runs", *columns, "commits"]
    return Table("Runs", "runs/", headings, [False] * len(headings), rows)


def commands(folder: Path, name: str, trained: list[str], configs: list[dict]) -> list[str]:
    """The commands that make it all again, in order. trained: those that made the runs."""
    if study := _study(folder.resolve().parent.parent / "studies", name):
        return [f"python -m evaluation.study studies/{study}"]
    prepared = {}
    for config in sorted(configs, key=lambda config: "data_command" in config):  # what was typed has the last word
        where = config.get("data_folder")
        if where and config.get("trained_on") == config.get("data"):
            prepared[where] = config.get("data_command") or _preparation(config)
    data = configs[0].get("data", name) if configs else name
    last = [f"python -m evaluation --runs runs/{data} --output results/{name}"]
    return [*prepared.values(), *trained, *last, f"python -m evaluation.report results/{name}"]


def _study(folder: Path, name: str) -> str | None:
    """The study file that makes the data set: the one of its name, else the first with a table [data.NAME]."""
    if (folder / f"{name}.toml").is_file():
        return f"{name}.toml"
    for path in sorted(folder.glob("*.toml")):
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # another data set's, as far as anyone can tell
            continue
        if name in _part(content, "data"):
            return path.name
    return None


def _preparation(config: dict) -> str:
    """The command that prepared the data, put together from a record that does not hold it: an older one."""
    source = _part(config, "data_source")
    seed = _part(config, "split").get("seed", 0)
    treatment = "none" if config.get("treatment") in OWN_WAYS else config.get("treatment")
    options = {"source": source.get("kind"), "input": source.get("path"), "missing": treatment}
    options |= {"seed": str(seed) if seed else None, "output": config["data_folder"]}
    given = [word for option, value in options.items() if value for word in (f"--{option}", str(value))]
    return shlex.join(["python", "-m", "data_prep", *given])


def _config(path: Path) -> dict:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise DataError(f"{path} is damaged: it is not an object")
    return config


def _part(config: dict, key: str) -> dict:
    """A nested object of a config, empty where there is none."""
    return value if isinstance(value := config.get(key), dict) else {}


def _recipe(name: str, recipe: dict) -> str:
    """`quick: at most 20 epochs, batches of 64, Adam at 0.001 (cosine), loss mse`."""
    if not {"epochs", "batch_size", "learning_rate"} <= recipe.keys():
        return name
    text = f"{name}: at most {recipe['epochs']} epochs, batches of {recipe['batch_size']}, Adam at "
    text += f"{recipe['learning_rate']} ({recipe.get('schedule', 'constant')}), loss {recipe.get('loss', 'mse')}"
    if augmentation := recipe.get("augmentation"):
        text += f", training faces changed at random ({augmentation})"
    patience = recipe.get("patience")
    return f"{text}, stops after {patience} epochs without a better validation loss" if patience else text
