"""specialist: a network for the four points of both label sources, and one for all fifteen, on complete rows.

A way to meet missing points, to compare with the treatments of `data_prep.missing`: nothing is filled, and no row is
left out. Most rows of the Kaggle file carry four points only (`SECOND_SOURCE_POINTS`). The same network is trained
twice by the same recipe and seed: with an output for those four on every row, each row counting with the points it
has, and with all fifteen on the complete rows. The first then replaces its four points in the second. The other
eleven are what `--missing drop` would give. The epoch to keep is chosen likewise: on all validation rows, and on the
complete ones.

    python -m models.specialist --model v1 --data data/prepared/kaggle15-none --recipe quick

A run like any other, of treatment `specialist`; `model.keras` is one network with both in it. In its config.json
parameters and seconds are those of both, `epochs` is of the part that went on for longer, `best_epoch` of the fifteen
points, and `parts` tells of each. In its history.csv the columns of the four points begin with `four_`.
"""

import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.prepared import Prepared, Split, load
from data_prep.schema import KAGGLE15, SECOND_SOURCE_POINTS, Schema
from models import fitting, trainer
from models.backend import import_keras
from models.checkpoint import Checkpoint
from models.fitting import Fitted
from models.recipe import Recipe
from models.registry import Network

TREATMENT = "specialist"
DESCRIPTION = "the four points of every row by a network of their own, the others learned from complete rows"
SHARED = [KAGGLE15.index(point) for point in SECOND_SOURCE_POINTS]  # ascending, as `merge` needs it
FOUR = replace(KAGGLE15, name="kaggle15, second source", points=SECOND_SOURCE_POINTS)


def main(argv: list[str] | None = None) -> int:
    try:
        args = trainer.parse_with_model(
            "models.specialist",
            "v1",
            argv,
            description="Train a network for the four points of every row, and once more for all fifteen on the "
            "complete rows, and write the run folder of the two merged.",
        )
    except DataError as error:
        print(f"models.specialist: error: {error}", file=sys.stderr)
        return 2
    return trainer.make_run("models.specialist", args.model, args, load=load_unfilled, fit=fit)


def load_unfilled(folder: Path) -> Prepared:
    """A prepared data set, under the treatment `specialist`.

    Raises DataError where it does not have the fifteen points, its gaps are filled or its rows left out, or no row of
    training or of validation is complete.
    """
    data = load(folder)
    if data.schema is not KAGGLE15:
        raise DataError(f"{folder} has the points of {data.schema.name}; the specialist is for those of kaggle15")
    if (treatment := data.manifest["treatment"]) != "none":
        raise DataError(f"{folder} was prepared with --missing {treatment}; the specialist needs --missing none")
    for name in ("train", "val"):
        if not complete(getattr(data, name)).any():
            raise DataError(f"{folder}: no row of {name} has all fifteen points labelled; the specialist needs some")
    return replace(data, manifest={**data.manifest, "treatment": TREATMENT})


def fit(
    model: Network, train: Split, val: Split, schema: Schema, mean_face: np.ndarray, recipe: Recipe, seed: int,
    policy: str, tensorboard: Path | None = None, checkpoint: Checkpoint | None = None,
) -> Fitted:  # fmt: skip
    """`models.fitting.fit`, twice: the parts `four_points` and `fifteen_points`, merged."""
    parts, about = {}, {}
    for name, schema_, points, faces in (
        ("four_points", FOUR, SHARED, [with_points(split, SHARED) for split in (train, val)]),
        ("fifteen_points", schema, slice(None), [with_rows(split, complete(split)) for split in (train, val)]),
    ):
        print(f"{name}: {len(faces[0])} training and {len(faces[1])} validation faces", flush=True)
        logs = tensorboard and tensorboard / name
        kept = checkpoint and checkpoint.part(name)
        part = fitting.fit(model, *faces, schema_, mean_face[points], recipe, seed, policy, logs, kept)
        parts[name] = part
        about[name] = {
            "train_faces": len(faces[0]),
            "val_faces": len(faces[1]),
            "parameters": part.network.count_params(),
            **trainer.times(part),
        }
    four, fifteen = parts.values()
    return Fitted(
        network=merge(four.network, fifteen.network),
        history=merged_history(four.history, fifteen.history),
        best_epoch=fifteen.best_epoch,
        seconds=round(four.seconds + fifteen.seconds, 1),
        cpu_seconds=round(four.cpu_seconds + fifteen.cpu_seconds, 1),
        parts=about,
        resumed=four.resumed + fifteen.resumed,
    )


def complete(split: Split) -> np.ndarray:
    """bool [N]: the rows with every point labelled."""
    return np.asarray(split.observed).all(axis=1)


def with_rows(split: Split, rows: np.ndarray) -> Split:
    """The rows (bool [N]) of a split."""
    return Split(**{name: getattr(split, name)[rows] for name in Split.__dataclass_fields__})


def with_points(split: Split, points: list[int]) -> Split:
    """Every row of a split with these points only."""
    labels = ("keypoints", "filled", "observed")
    return replace(split, **{name: getattr(split, name)[:, points] for name in labels})


def merge(four, fifteen):
    """One network of two: gray images [B, H, W] -> keypoints [B, 15, 2] in pixels.

    four: its output [B, 4, 2] takes the place of the points `SHARED`. fifteen: its output [B, 15, 2] gives the rest.
    Built of Keras' own layers, which copy and compute nothing, so a saved model loads anywhere.
    """
    keras = import_keras()
    images = keras.Input(fifteen.input.shape[1:], name="images")
    # Wrapped, since the two bear the same name, and names must differ within a network.
    four, fifteen = (
        keras.Model(network.input, network.output, name=name)(images)
        for network, name in ((four, "four_points"), (fifteen, "fifteen_points"))
    )
    runs = []
    for shared, points in groupby(range(fifteen.shape[1]), key=SHARED.__contains__):
        points = list(points)
        output, first = (four, SHARED.index(points[0])) if shared else (fifteen, points[0])
        crop = keras.layers.Cropping1D((first, output.shape[1] - first - len(points)), name=f"points{points[0]}")
        runs.append(crop(output))
    return keras.Model(images, keras.layers.Concatenate(axis=1, name="keypoints")(runs), name="specialist")


def merged_history(four: dict[str, list], fifteen: dict[str, list]) -> dict[str, list]:
    """The columns of both, the four points' with `four_` before their names; NaN after the end of the shorter one."""
    epochs = max(four["epoch"], fifteen["epoch"], key=len)
    columns = {"epoch": epochs, **_without_epoch(fifteen)}
    columns |= {f"four_{name}": values for name, values in _without_epoch(four).items()}
    return {name: values + [float("nan")] * (len(epochs) - len(values)) for name, values in columns.items()}


def _without_epoch(history: dict[str, list]) -> dict[str, list]:
    return {name: values for name, values in history.items() if name != "epoch"}


if __name__ == "__main__":
    sys.exit(main())
