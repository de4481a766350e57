"""A run on disk: what a training leaves behind, and the light record of it that is committed.

A run folder `runs/<data>/<run>/` holds the files of a record plus heavy ones (`model.keras`, `summary.txt`,
`loss.png`, `predictions_test.csv`). A record `results/<data>/runs/<run>/` holds only

    config.json      everything that shaped the run
    history.csv      a row per epoch
    predictions.npz  predictions on validation and test faces with their errors, rounded (models/packing.py)

so every table can be made again without training, without the data and without the model. This module needs
neither TensorFlow nor Keras.
"""

import csv
import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import SCHEMAS, Schema
from models.packing import pack, unpack

RECORD_FILES = ("config.json", "history.csv", "predictions.npz")
HEAVY_FILES = (
    "model.keras", "summary.txt", "loss.png", "predictions_test.csv", "tensorboard",
    "model.onnx", "model.int8.onnx", "model.tflite",  # of inference.export
    "confidence.json", "confidence.csv", "confidence.png",  # of inference.confidence
)  # fmt: skip
# A record is meant to be committed, so it is rounded to steps that keep it small: errors to 1/64 px, or the smallest
# doubling of it with which the file stays below MOST_BYTES. A run's pixel scores come from its errors alone. Positions
# are coarser; labels are positions minus errors, so pictures, eye distances (the normalised errors) and all scores of
# the mean face have the positions' rounding too. results/README.md says how much that is.
FINEST, PREDICTED_STEPS = 1 / 64, 4
MOST_BYTES = 190_000
UNREADABLE = (zipfile.BadZipFile, zlib.error, RecursionError)  # the last of JSON that nests without end
ARRAYS = ("ids", "groups", "sources", "predicted", "error", "observed")


@dataclass(frozen=True)
class Predictions:
    """Predictions for the N faces of one split, and how far they are from the labels.

    ids, groups, sources: [N], as in `data_prep.faceset.FaceSet`.
    predicted: float32 [N, K, 2] in pixels.
    error: float32 [N, K, 2], predicted minus label in pixels; the label is the true one where `observed`, else
        the value that the treatment of missing points filled in (NaN where it fills nothing).
    observed: bool [N, K], the truly labelled points.
    step: pixels; `error` is rounded to multiples of it, `predicted` to `PREDICTED_STEPS` of them (0: not rounded, or to
        float16). So an error is within step / 2 of what it was, `truth` and `filled` within (1 + PREDICTED_STEPS) / 2
        steps.
    """

    ids: np.ndarray
    groups: np.ndarray
    sources: np.ndarray
    predicted: np.ndarray
    error: np.ndarray
    observed: np.ndarray
    step: float = 0.0

    @property
    def filled(self) -> np.ndarray:
        """float32 [N, K, 2]: the labels after treatment, in pixels (NaN where none)."""
        return self.predicted - self.error

    @property
    def truth(self) -> np.ndarray:
        """float32 [N, K, 2]: the true labels in pixels (NaN where unlabelled)."""
        return np.where(self.observed[..., None], self.filled, np.nan)


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder or its record. `history`: column name -> list of floats per epoch."""

    folder: Path
    config: dict
    history: dict[str, list[float]]
    val: Predictions
    test: Predictions

    @property
    def name(self) -> str:
        return self.config["run"]

    @property
    def schema(self) -> Schema:
        return SCHEMAS[self.config["schema"]]


def read_run(folder: Path) -> Run:
    """Read a run folder or a light record. Raises DataError naming the file that is missing or unreadable."""
    folder = Path(folder)
    for name in RECORD_FILES:
        if not (folder / name).is_file():
            raise DataError(f"{folder} is not a finished run: {name} is missing")
    try:
        config = json.loads((folder / "config.json").read_text())
        if not isinstance(config, dict):
            raise TypeError("config.json is not an object")
        with open(folder / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        history = {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
        with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
            step = float(arrays["step_px"]) if "step_px" in arrays else 0.0  # older records are float16
            splits = {
                split: Predictions(*(_opened(name, arrays[f"{split}_{name}"], step) for name in ARRAYS), step=step)
                for split in ("val", "test")
            }
    except (*UNREADABLE, OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(f"{folder} holds a damaged run record: {error}") from error
    return Run(folder=folder, config=config, history=history, **splits)


def write_record(folder: Path, config: dict, history: dict[str, list[float]], **splits: Predictions) -> None:
    """Write the three files of a record into an existing folder. Coordinates are rounded, see `FINEST`."""
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    with open(folder / "history.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(history)
        writer.writerows(zip(*history.values(), strict=True))
    path, step = folder / "predictions.npz", FINEST
    while True:
        try:
            np.savez_compressed(path, step_px=step, **_rounded(splits, step))
        except OverflowError:  # a network that has diverged
            step *= 2
            continue
        if path.stat().st_size <= MOST_BYTES or step >= 1:
            return
        step *= 2


def check_output(folder: Path) -> None:
    """Raise DataError where a run cannot be written to `folder`, for it holds anything else: that would be lost."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name another --output")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in (*RECORD_FILES, *HEAVY_FILES):
            raise DataError(f"{folder} exists and is not a run (it holds {path.name}); name another --output")
    folder.parent.mkdir(parents=True, exist_ok=True)


def check_replaces(output: Path, config: dict) -> None:
    """Raise DataError where `output` holds another run than one made of the same networks in the same way.

    config: of the run that is to be written there, of networks that were trained before.
    """
    if (output / "config.json").is_file():
        found = read_run(output).config
        same = all(found.get(key) == config.get(key) for key in ("model", "trained_with"))
        if not same or list(found.get("parts", ())) != list(config.get("parts", ())):
            raise DataError(f"{output} is another run, {found.get('run')}; name another --output")


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` at once, when the block ends without an error.

    Raises DataError as `check_output` does.
    """
    folder = folder.resolve()
    check_output(folder)
    # A name of its own, so that two processes with one output do not write into each other's files.
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        aside.chmod(0o755)
        yield aside
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def copy_record(run: Run, destination: Path) -> None:
    """Copy a run's light record to `destination` (replacing an older one); no-op when it is already there."""
    if run.folder.resolve() != destination.resolve():
        with publish(destination) as aside:
            for name in RECORD_FILES:
                shutil.copyfile(run.folder / name, aside / name)


def _rounded(splits: dict[str, Predictions], step: float) -> dict[str, np.ndarray]:
    """The arrays of predictions.npz by name."""
    return {
        f"{split}_{name}": pack(array, _step(name, step)) if name in ("predicted", "error") else array
        for split, predictions in splits.items()
        for name in ARRAYS
        for array in [getattr(predictions, name)]
    }


def _step(name: str, step: float) -> float:
    return step * PREDICTED_STEPS if name == "predicted" else step


def _opened(name: str, array: np.ndarray, step: float) -> np.ndarray:
    if array.dtype == np.uint8:
        return unpack(array, _step(name, step))
    return array.astype(np.float32) if array.dtype == np.float16 else array
