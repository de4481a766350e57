"""Rows of hyperparameters.csv: the runs of the 68-point projects' own recipe, training and test loss side by side.

Losses are on the projects' scale, targets (p - 100) / 50 at 224x224, to set theirs beside; RMSE in pixels at 96x96.
The training loss is what Keras reports: a mean over the batches of the kept epoch while the weights move, with dropout
on, so a network that has not overfitted shows a test loss below it.
"""

import numpy as np

from data_prep.schema import IBUG68
from evaluation import metrics
from evaluation.entries import Entry
from evaluation.tables import Row

RECIPE = "udacity"
LOSSES = {"mse": metrics.mse_224, "smooth_l1": metrics.smooth_l1_224}


def rows(entries: list[Entry]) -> list[Row]:
    """A row per 68-point run of the recipe on this data, with whatever changes to it; none where there is no such run.

    What a record lacks is None, a blank cell.
    """
    return [
        _row(entry)
        for entry in entries
        if entry.recipe.split("+")[0] == RECIPE and entry.schema is IBUG68 and "trained_with" not in entry.config
    ]


def _row(entry: Entry) -> Row:
    config, recipe = entry.config, entry.config["recipe"]
    height, width = config["image_size"]
    loss, rate = recipe.get("loss"), recipe.get("learning_rate")
    of_loss = LOSSES.get(loss)
    return {
        "run": entry.name,
        "model": entry.model,
        "image_size": f"{height}x{width}",
        "split": split_of(entry),
        "seed": config["seed"],
        "batch_size": recipe.get("batch_size"),
        "epochs": config.get("epochs"),
        "learning_rate": None if rate is None else f"{rate:g}",
        "loss": loss,
        "train_loss_224": of_loss and on_scale_224(_kept(entry, "loss"), loss, width),
        "val_loss_224": of_loss and on_scale_224(_kept(entry, "val_loss"), loss, width),
        "test_loss_224": of_loss and of_loss(entry.test.errors),
        "train_rmse_px": _rmse_px(entry, "mse"),
        "val_rmse_px": _rmse_px(entry, "val_mse"),
        "test_rmse_px": metrics.rmse_px(entry.test.errors),
    }


def split_of(entry: Entry) -> str:
    """`published` where the data set was split as published, else `by person` or, persons unknown, `by group`."""
    grouping = entry.config.get("grouping") or {}
    return grouping.get("split") or ("by person" if grouping.get("method") == "persons" else "by group")


def on_scale_224(value: float, loss: str, width: int) -> float:
    """A value of a training loss, in pixels of images that wide, on the targets (p - 100) / 50 at 224x224.

    There 50 px of 224 are 1. `mse` is in px^2. `smooth_l1` is in px, with its transition at just those 50
    (models/losses.py), so it scales like a length.
    """
    one = width * 50 / 224
    return value / one**2 if loss == "mse" else value / one


def _rmse_px(entry: Entry, column: str) -> float:
    """RMSE in pixels at 96x96 of the kept epoch."""
    return float(np.sqrt(_kept(entry, column))) * metrics.REFERENCE_SIZE / entry.config["image_size"][1]


def _kept(entry: Entry, column: str) -> float:
    """A column of the history in the kept epoch; NaN where the record lacks the column or does not tell the epoch."""
    epoch, values = entry.config.get("best_epoch"), entry.history.get(column, ())
    return values[epoch - 1] if epoch and epoch <= len(values) else float("nan")
