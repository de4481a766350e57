"""The networks that come with the repository: run folders below models/weights/, their files known by their hashes.

    python -m models.pretrained --run runs/kaggle15/RUN --name dsnt-best      puts a run's network there

With it go what `inference.confidence` and `inference.export` left in the run's folder, where they did: the calibration
of its confidences and the ONNX file, which `python -m inference` prefers.

They are run folders like any other (`models.runs`), so whatever takes a --run takes one of them, and
`models.apply.load_network` checks the hash. models/weights/README.md is their model card.
"""

import argparse
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

from data_prep.faceset import DataError
from data_prep.sources import sha256_of
from models.runs import RECORD_FILES, publish, read_run

WEIGHTS = Path(__file__).resolve().parent / "weights"
SUMS = "SHA256SUMS"  # in the form of `sha256sum`, which checks it: cd models/weights; sha256sum -c SHA256SUMS
DEFAULTS = {15: "dsnt-best", 68: "dsnt-68"}  # by the number of points, what is used where no run is named
DEFAULT = DEFAULTS[15]
NETWORKS = ("model.keras", "model.onnx")  # whose hashes are noted
EXTRAS = ("model.onnx", "confidence.json")
MOST_BYTES = 5_000_000


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.pretrained",
        description="Put a run's network below models/weights/, with its record and its hash.",
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder with a model.keras")
    parser.add_argument("--name", default=DEFAULT, help="of the folder (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        folder = add(args.run, args.name)
    except (DataError, OSError) as error:
        print(f"models.pretrained: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("models.pretrained: stopped", file=sys.stderr)
        return 130
    for file, value in sums(folder.parent).items():
        if file.startswith(f"{args.name}/"):
            print(f"{folder.parent / file}: {value}")
    return 0


def add(run: Path, name: str, weights: Path = WEIGHTS) -> Path:
    """Copy a run's network and record to weights/name and note the hash; returns the folder.

    Raises DataError for a run without a network, one that is too large, or a name that is no plain folder's.
    """
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise DataError(f"--name is {name!r}; a plain folder name is accepted")
    read_run(run)
    if not (run / "model.keras").is_file():
        raise DataError(f"{run / 'model.keras'} does not exist (a light record has no network; train the run again)")
    files = [*RECORD_FILES, "model.keras", *(file for file in EXTRAS if (run / file).is_file())]
    for file in files:
        if (size := (run / file).stat().st_size) > MOST_BYTES:
            raise DataError(f"{run / file} has {size / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:.0f} are accepted")
    folder = weights / name
    with publish(folder) as aside:
        for file in files:
            shutil.copyfile(run / file, aside / file)
    known = {file: value for file, value in sums(weights).items() if not file.startswith(f"{name}/")}
    known |= {f"{name}/{file}": sha256_of([folder / file]) for file in NETWORKS if (folder / file).is_file()}
    aside = weights / f"{SUMS}.partial"
    aside.write_text("".join(f"{value}  {file}\n" for file, value in sorted(known.items())))
    os.replace(aside, weights / SUMS)
    return folder


def sums(weights: Path = WEIGHTS) -> dict[str, str]:
    """SHA-256 by file, `dsnt-best/model.keras`; empty where nothing is noted."""
    try:
        lines = (weights / SUMS).read_text().splitlines()
    except FileNotFoundError:
        return {}
    words = [line.split() for line in lines]
    if bad := [line for line, found in zip(lines, words, strict=True) if len(found) != 2]:
        raise DataError(f"{weights / SUMS} holds {bad[0]!r}; a hash and a file are accepted")
    return {file: value for value, file in words}


def default_run(points: int = 15) -> Path:
    """The folder of the network to use where none is named. Raises DataError where the repository has none."""
    folder = WEIGHTS / DEFAULTS[points]
    if not (folder / "model.keras").is_file():
        raise DataError(f"{folder} is missing; name a run with --run")
    return folder


def default_file(points: int = 15) -> Path:
    """The file of that network to use: ONNX where its runtime is installed, for it starts in a tenth of Keras' time."""
    folder = default_run(points)
    is_there = (folder / "model.onnx").is_file() and importlib.util.find_spec("onnxruntime") is not None
    return folder / ("model.onnx" if is_there else "model.keras")


def refuse_own(output: Path, weights: Path = WEIGHTS) -> None:
    """Raise DataError for a file to be written below models/weights/, where each has its hash."""
    if output.resolve().is_relative_to(weights.resolve()):
        raise DataError(f"{output} would be among the repository's networks; name another --output")


def check(path: Path, weights: Path = WEIGHTS) -> None:
    """Raise DataError where a file below models/weights/ is not the one whose hash is noted there."""
    path, weights = path.resolve(), weights.resolve()
    if path.is_relative_to(weights):
        file = path.relative_to(weights).as_posix()
        if sums(weights).get(file) != sha256_of([path]):
            raise DataError(f"{path} is not the file of {weights / SUMS}: fetch it again")


if __name__ == "__main__":
    sys.exit(main())
