"""Where a training stands, on disk: one that was killed goes on, and ends as if it had not been.

Weights, optimizer, history, the state of early stopping and of dropout's random numbers are kept; the order of faces
and their augmentation follow from seed and epoch. So the network is the same to the bit, on the same machine, which
Keras' own BackupAndRestore does not give. Lost are at most `every` seconds of training and the epoch under way.
"""

import glob
import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class State:
    """A training after some epochs.

    history: column name -> a value per epoch. network, optimizer, best: their variables' values, `best` those of the
    epoch to keep so far (empty: none yet). wait, best_value, best_epoch, stopped: of early stopping. seconds,
    cpu_seconds: taken so far. resumed: after how many epochs it was taken up again.
    """

    history: dict[str, list]
    network: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray]
    wait: int
    best_value: float | None
    best_epoch: int
    stopped: bool
    seconds: float
    cpu_seconds: float
    resumed: list[int]

    @property
    def epochs(self) -> int:
        return len(self.history["epoch"])


ARRAYS = ("network", "optimizer", "best")


@dataclass(frozen=True)
class Checkpoint:
    """A file for the state of one training. about: what that is; a file of any other is not used."""

    path: Path
    about: dict
    every: float = 30.0

    def part(self, name: str) -> "Checkpoint":
        """For one of several trainings of a run."""
        return Checkpoint(self.path.with_name(f"{self.path.stem}.{name}.npz"), {**self.about, "part": name}, self.every)

    def read(self) -> State | None:
        """None where there is nothing to go on from: no file, a damaged one, or one of another training."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                about, values = json.loads(str(file["about"])), json.loads(str(file["values"]))
                counts = {name: values.pop(f"{name}_count") for name in ARRAYS}
                arrays = {name: [file[f"{name}_{i}"] for i in range(count)] for name, count in counts.items()}
        except UNREADABLE:
            return None
        return State(**arrays, **values) if about == json.loads(json.dumps(self.about)) else None

    def write(self, state: State) -> None:
        values = {name: value for name, value in vars(state).items() if name not in ARRAYS}
        arrays = {}
        for name in ARRAYS:
            arrays |= {f"{name}_{i}": array for i, array in enumerate(getattr(state, name))}
            values[f"{name}_count"] = len(getattr(state, name))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f"{self.path.name}.partial")
        with open(aside, "wb") as file:
            np.savez(file, about=json.dumps(self.about), values=json.dumps(values), **arrays)
        os.replace(aside, self.path)

    def remove(self) -> None:
        for path in self.path.parent.glob(f"{glob.escape(self.path.stem)}.*"):  # parts, and what a kill left
            path.unlink(missing_ok=True)
