"""Find runs on disk, read them, and check that they belong in one table."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import SCHEMAS
from models import asymmetry
from models.runs import PREDICTED_STEPS, RECORD_FILES, Predictions, Run, read_run

# What evaluation cannot do without; everything else in config.json may be absent and leaves a blank cell.
REQUIRED = ("run", "data", "model", "recipe", "treatment", "seed", "image_size", "schema", "mean_face")


def find_runs(folders: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """Read every run at or below these folders: (runs, why each unusable one was skipped).

    A folder is a run, or a parent (`runs/kaggle15`) or grandparent (`runs`, `results/kaggle15`) of runs. A
    damaged or unfinished run raises DataError where the folder itself was named; one found by searching is
    skipped with a line. Raises DataError where a folder holds no run at all.
    """
    runs, skipped, seen = [], [], set()
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; --runs takes run folders or parents of them")
        if _looks_like_a_run(folder):
            found, unusable = [read(folder)], []
        else:
            found, unusable = find_below(folder)
            if not found and not unusable:
                wanted = ", ".join(RECORD_FILES)
                raise DataError(f"no runs in {folder}: no folder with {wanted} one or two levels down")
        runs += [run for run in found if run.folder.resolve() not in seen]
        seen |= {run.folder.resolve() for run in found}
        skipped += [line for line in unusable if line not in skipped]
    return runs, skipped


def find_below(folder: Path) -> tuple[list[Run], list[str]]:
    """Read every run one or two levels below a folder: (runs, why each unusable one was skipped)."""
    runs, skipped = [], []
    for path in _run_folders_below(folder):
        try:
            runs.append(read(path))
        except DataError as error:
            skipped.append(str(error))
    return runs, skipped


def read(folder: Path) -> Run:
    """One run, checked for what evaluation needs. Raises DataError with one line that names the folder."""
    try:
        run = read_run(folder)
        problem = _problem(run)
    except (zipfile.BadZipFile, zlib.error, EOFError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} holds a damaged run record: {error}") from error
    if problem:
        raise DataError(f"{folder} holds a run that cannot be scored: {problem}")
    return run


def merge(fresh: list[Run], records: list[Run]) -> list[Run]:
    """One run of each name, fresh runs first; a fresh run takes the place of the record of the same name.

    Two fresh runs, or two records, of one name are refused unless they are copies of each other.
    """
    chosen = _by_name(fresh)
    for name, run in _by_name(records).items():
        chosen.setdefault(name, run)
    return list(chosen.values())


def _by_name(runs: list[Run]) -> dict[str, Run]:
    named: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.name, str(run.folder))):
        other = named.setdefault(run.name, run)
        if other.config != run.config:
            raise DataError(f"two different runs are called {run.name}: {other.folder} and {run.folder}")
    return named


def check_one_table(runs: list[Run]) -> None:
    """Raise DataError, naming the odd one out, unless all runs were tested on the same faces of one data set.

    The majority is taken as right; where there is none, the earlier in the list.
    """
    same: list[list[Run]] = []
    for run in runs:
        for kind in same:
            if difference(kind[0], run) is None:
                kind.append(run)
                break
        else:
            same.append([run])
    if len(same) < 2:
        return
    majority = max(same, key=len)
    odd = next(kind[0] for kind in same if kind is not majority)
    others = majority[0].folder if len(majority) == 1 else f"the other {len(majority)} runs"
    raise DataError(
        f"{odd.folder} does not belong in one table with {others}: {difference(majority[0], odd)}; "
        "leave it out, remove it, or give it another --output"
    )


def difference(first: Run, second: Run) -> str | None:
    """Why two runs cannot stand in one table, in words; None where they were tested on the same faces."""
    for key in ("data", "schema", "image_size"):
        if first.config[key] != second.config[key]:
            return f"{key.replace('_', ' ')} {second.config[key]}, not {first.config[key]}"
    a, b = first.test, second.test
    if len(a.ids) != len(b.ids):
        return f"{len(b.ids)} test faces, not {len(a.ids)}"
    if not np.array_equal(a.ids, b.ids):
        return f"other test faces ({int((a.ids != b.ids).sum())} of {len(a.ids)} ids differ)"
    if not np.array_equal(a.observed, b.observed):
        return "other labelled points on the test faces"
    gap = np.abs(a.truth - b.truth)[a.observed]
    # A record holds predictions and errors rounded, so truths agree only as far as that resolves them.
    if (gap > _resolution(a) + _resolution(b)).any():
        return f"other labels on the test faces (up to {gap.max():.2f} px apart)"
    return None


def _resolution(predictions: Predictions) -> np.ndarray:
    """float32 [M, 2] for M labelled points: a step of the prediction plus one of the error, in px.

    Float16 steps at least: those of an older record, and finer than any of a record of today.
    """
    labelled = (array[predictions.observed] for array in (predictions.predicted, predictions.error))
    spacing = sum(np.spacing(np.abs(array).astype(np.float16)).astype(np.float32) for array in labelled)
    return spacing + (PREDICTED_STEPS + 1) * predictions.step


def _looks_like_a_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (*RECORD_FILES, "model.keras"))


def _run_folders_below(folder: Path) -> list[Path]:
    """Folders one or two levels down that look like runs, sorted; those still written aside are left out."""
    found = []
    for pattern in ("*", "*/*"):
        for path in sorted(folder.glob(pattern)):
            aside = any(part.endswith(".partial") for part in path.relative_to(folder).parts)
            if path.is_dir() and not aside and _looks_like_a_run(path) and path.parent not in found:
                found.append(path)
    return sorted(found)


def _problem(run: Run) -> str | None:
    """What keeps a readable run from being scored, in words."""
    missing = [key for key in REQUIRED if key not in run.config]
    if missing:
        return f"config.json lacks {', '.join(missing)}"
    if run.config["schema"] not in SCHEMAS:
        return f"schema {run.config['schema']!r} is none of {', '.join(SCHEMAS)}"
    for key in ("run", "data"):  # both become folder names
        if not _plain_name(run.config[key]):
            return f"{key} {run.config[key]!r} is not a plain folder name"
    if not isinstance(run.config["recipe"], dict) or "name" not in run.config["recipe"]:
        return "recipe in config.json has no name"
    if not run.config.get("baseline") and not {"loss", "val_loss"} <= run.history.keys():
        return "history.csv lacks loss or val_loss, or has no epochs"
    size = run.config["image_size"]
    if np.shape(size) != (2,) or not all(isinstance(side, int) and side > 0 for side in size):
        return f"image_size in config.json is {size!r}, not [height, width]"
    points = len(run.schema)
    if np.shape(run.config["mean_face"]) != (points, 2):
        return f"mean_face in config.json is not [{points}, 2]"
    try:
        asymmetry.of_config(run.config)
    except DataError as error:
        return str(error)
    floor = run.config.get("noise_floor")
    if floor is not None and not (
        isinstance(floor, dict) and {"rmse_px", "pairs", "simulated"} <= floor.keys() and np.isfinite(floor["rmse_px"])
    ):
        return "noise_floor in config.json has no finite rmse_px, no pairs or no simulated"
    for split, faces in (("val", run.val), ("test", run.test)):
        n = len(faces.ids)
        shapes = (faces.predicted.shape, faces.error.shape, faces.observed.shape)
        if shapes != ((n, points, 2), (n, points, 2), (n, points)) or len(faces.sources) != n:
            return f"{split} arrays do not fit {n} faces with {points} points"
        if not np.isfinite(faces.predicted).all() or not np.isfinite(faces.error[faces.observed]).all():
            return f"{split} predictions are not finite (did the training diverge?)"
    return None


def _plain_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0\n")
