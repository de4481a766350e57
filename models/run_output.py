"""What a training leaves in its run folder (`models.runs`): predictions, tables and the plot of the loss."""

import csv
from pathlib import Path

import numpy as np

from data_prep.prepared import Prepared, Split
from data_prep.style import STYLE
from models import asymmetry
from models.fitting import PREDICT_BATCH
from models.label_rules import answers
from models.runs import Predictions, write_record

LOSS_LABELS = {
    "mse": "mean squared error, px²",
    "smooth_l1": "smooth L1, px",
    "l1": "mean absolute error, px",
    "wing": "wing loss, px",
}


def outputs(network, images: np.ndarray) -> np.ndarray:
    """What a network answers, batch by batch: float32 [N, K, 2] in pixels for images [N, H, W]."""
    images = np.asarray(images)
    parts = [
        np.asarray(network.predict_on_batch(images[i : i + PREDICT_BATCH]), dtype=np.float32)
        for i in range(0, len(images), PREDICT_BATCH)
    ]
    return np.concatenate(parts)


def keypoints(outputs: np.ndarray, sources: np.ndarray, label_asymmetry: dict[int, np.ndarray] | None) -> np.ndarray:
    """Keypoints [N, K, 2] of a network's outputs: by each row's source, with what its labels have to one side."""
    found = answers(outputs, sources)
    return found + asymmetry.moves(label_asymmetry or {}, sources, found.shape[1])


def predict(network, split: Split, label_asymmetry: dict[int, np.ndarray] | None = None) -> Predictions:
    """Predictions of a network for one split, and their errors against its labels after treatment.

    label_asymmetry: by source, what was taken off the labels that the network learned; it is added again.
    """
    predicted = keypoints(outputs(network, split.images), split.sources, label_asymmetry)
    return Predictions(
        ids=np.asarray(split.ids),
        groups=np.asarray(split.groups),
        sources=np.asarray(split.sources),
        predicted=predicted,
        error=predicted - split.filled,
        observed=np.asarray(split.observed),
    )


def write_run(folder: Path, network, config: dict, history: dict, data: Prepared) -> None:
    """Everything a run folder holds, see `models.runs`."""
    lean = asymmetry.of_config(config)
    test = predict(network, data.test, lean)
    write_record(folder, config, history, val=predict(network, data.val, lean), test=test)
    network.save(folder / "model.keras")
    with open(folder / "summary.txt", "w") as file:
        network.summary(print_fn=lambda line: print(line, file=file), line_length=100)
    write_prediction_table(folder / "predictions_test.csv", test, data)
    plot_loss(folder / "loss.png", history, config)


def write_prediction_table(path: Path, predictions: Predictions, data: Prepared) -> None:
    """One row per face and keypoint: id, keypoint, truth (empty where unlabelled), prediction, observed."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "keypoint", "truth_x", "truth_y", "predicted_x", "predicted_y", "observed"])
        for face, name in enumerate(predictions.ids):
            for k, point in enumerate(data.schema.points):
                seen = bool(predictions.observed[face, k])
                truth = [f"{v:.3f}" for v in data.test.keypoints[face, k]] if seen else ["", ""]
                predicted = [f"{v:.3f}" for v in predictions.predicted[face, k]]
                writer.writerow([name, point, *truth, *predicted, int(seen)])


def plot_loss(path: Path, history: dict, config: dict) -> None:
    loss_figure(history, config).savefig(path, dpi=110, metadata={"Software": None})


def loss_figure(history: dict, config: dict):
    """Loss of training and validation per epoch, in the unit of the recipe's loss, with the kept epoch marked."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    recipe = config["recipe"]
    kept = "epoch of least validation MSE, kept" if recipe["restore_best"] else "last epoch, kept"
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        for name, label in (("loss", "training"), ("val_loss", "validation")):
            axes.plot(history["epoch"], history[name], label=label)
        axes.axvline(config["best_epoch"], color="0.7", linestyle=":", label=kept)
        unit = LOSS_LABELS[recipe["loss"]] + (" + maps' divergence" if recipe.get("shape_weight") else "")
        axes.set(xlabel="epoch", ylabel=unit, yscale="log", title=config["run"])
        axes.legend()
    return figure
