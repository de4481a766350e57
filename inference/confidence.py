"""How likely a predicted point is right, from how widely its map lies about it: calibrated on validation faces.

    python -m inference.confidence --run runs/kaggle15/RUN --data data/prepared/kaggle15-none

A point is right where it is less than a tenth of the distance of the eyes' centres from its label. The chance of that
is a logistic function of the logarithm of the map's standard deviation (`models.layers.with_spread`): one slope for all
points, an intercept for each (Platt 1999, with the spread in place of a margin). It holds for faces: of what is none a
network may be as sure. Fitted on the validation faces and written beside the network, confidence.json; tried on the
test faces: confidence.csv and confidence.png say what share of the points with a confidence was right, and how far off
they were.
"""

import argparse
import csv
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import IBUG68, KAGGLE15, kaggle15_from_ibug68

FILE = "confidence.json"
WITHIN = 0.1  # of the distance of the eyes
LEAST = 1e-3  # pixels: a map of one single cell has no spread
EDGES = (0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1)  # of the rows of confidence.csv


@dataclass(frozen=True)
class Calibration:
    """slope, of the logarithm of a map's standard deviation in sides of the crop, and an intercept for each output."""

    slope: float
    intercepts: tuple[float, ...]

    def confidence(self, spread: np.ndarray) -> np.ndarray:
        """Chance in 0-1 that a point is right: float64 [N, K] for spreads [N, K] in sides of the crop."""
        return 1 / (1 + np.exp(-(self.slope * np.log(np.maximum(spread, LEAST)) + np.array(self.intercepts))))

    def as_text(self) -> str:
        return json.dumps({"within_eye_distances": WITHIN, "slope": self.slope, "intercepts": list(self.intercepts)})


def from_text(text: str, outputs: int, path: Path) -> Calibration:
    """What `Calibration.as_text` wrote into a file, for a network of so many outputs. Raises DataError for else."""
    try:
        fields = json.loads(text)
        found = Calibration(float(fields["slope"]), tuple(float(value) for value in fields["intercepts"]))
        right = len(found.intercepts) == outputs and np.isfinite([found.slope, *found.intercepts]).all()
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        right = False
    if not right:
        raise DataError(f"{path}: its calibration of confidences is not a slope and {outputs} intercepts")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference.confidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="run folder with a model.keras")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared data that it was trained on")
    parser.add_argument("--output", type=Path, metavar="DIR", help="for the table and the plot (default: the run's)")
    args = parser.parse_args(argv)
    try:
        calibrate(args.run, args.data, args.output or args.run)
    except (DataError, OSError) as error:
        print(f"inference.confidence: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def calibrate(run: Path, data_folder: Path, output: Path) -> None:
    """Fit, try, write, and print what came of it. Raises DataError for a network without maps or other data."""
    from data_prep.prepared import load
    from models import asymmetry, trainer
    from models.apply import load_network
    from models.backend import import_keras
    from models.label_rules import BY_SOURCE, with_own_outputs
    from models.runs import read_run

    import_keras()
    from models.layers import with_spread

    record, data = read_run(run), load(data_folder)
    config = record.config
    if not trainer.same_faces(record, data):
        raise DataError(f"{run} has other validation and test faces than {data_folder}: it may have learned from these")
    for what, of_run, of_data in (
        ("on", config.get("data"), data.name),
        ("for keypoints", config.get("schema"), data.schema.name),
        ("for image size", config.get("image_size"), trainer.image_size(data)),
    ):
        if of_run != of_data:
            raise DataError(f"{run} was trained {what} {of_run}, {data_folder} has {of_data}")
    network = with_spread(load_network(run / "model.keras"))
    if network is None:
        raise DataError(f"{run}: {config['model']} draws no maps, from which a confidence could be taken")
    found = {}
    for name in ("val", "test"):
        # Where a point is, not where a source puts it: of a face in a photo nobody knows a source.
        split = asymmetry.without(getattr(data, name), asymmetry.of_config(config))
        eyes = between_eyes(np.asarray(split.keypoints, np.float64))
        if network.output[0].shape[1] == len(BY_SOURCE):
            split = with_own_outputs(split)
        points, spread = network.predict(split.images.astype(np.float32), batch_size=256, verbose=0)
        distances = np.hypot(*np.moveaxis(points - split.keypoints, -1, 0)) / eyes[:, None]
        found[name] = spread / split.images.shape[2], distances
    calibration = fit(*found["val"])
    spread, distances = found["test"]
    rows = reliability(calibration.confidence(spread), distances)
    output.mkdir(parents=True, exist_ok=True)
    write(output, rows)
    _replace(run / FILE, calibration.as_text() + "\n")
    print(f"{run / FILE}: points of test faces by confidence (right: within {WITHIN:g} of the eyes' distance)")
    for row in rows:
        print("{low:g}-{high:g}: {points} points, {confidence_pct} % expected, {right_pct} % right, "
              "off by {mean_error_pct} % of the eyes' distance".format(**row))  # fmt: skip
    print(f"expected calibration error: {calibration_error(rows):.2f} %")


def between_eyes(keypoints: np.ndarray) -> np.ndarray:
    """float [N]: the distance of the eyes' centres, for 68 points as for 15."""
    return KAGGLE15.eye_distance(kaggle15_from_ibug68(keypoints) if keypoints.shape[1] == len(IBUG68) else keypoints)


def fit(spread: np.ndarray, distances: np.ndarray) -> Calibration:
    """The calibration of outputs [N, K]: spread in sides of the crop, distance in eyes' distances (NaN: unlabelled)."""
    from sklearn.linear_model import LogisticRegression

    labelled = np.isfinite(distances)
    points = np.nonzero(labelled)[1]
    right = distances[labelled] < WITHIN
    if right.all() or not right.any():
        raise DataError("every validation point is right, or none is: no confidence can be fitted")
    columns = np.concatenate([np.log(np.maximum(spread[labelled], LEAST))[:, None], np.eye(spread.shape[1])[points]], 1)
    # Weakly held to 0 (C), for a point of which all are right has no finite intercept.
    found = LogisticRegression(C=10, fit_intercept=False, max_iter=1000).fit(columns, right).coef_[0]
    return Calibration(float(found[0]), tuple(float(value) for value in found[1:]))


def reliability(confidence: np.ndarray, distances: np.ndarray) -> list[dict]:
    """A row for each range of confidence that has points: what was expected and what share was right, in percent."""
    labelled = np.isfinite(distances)
    confidence, distances, rows = confidence[labelled], distances[labelled], []
    for low, high in zip(EDGES, EDGES[1:], strict=False):
        here = (confidence >= low) & ((confidence < high) | (high == 1))
        if here.any():
            rows.append({
                "low": low, "high": high, "points": int(here.sum()),
                "confidence_pct": round(100 * float(confidence[here].mean()), 2),
                "right_pct": round(100 * float((distances[here] < WITHIN).mean()), 2),
                "mean_error_pct": round(100 * float(distances[here].mean()), 2),
            })  # fmt: skip
    return rows


def calibration_error(rows: list[dict]) -> float:
    """Mean gap in percent between expectation and outcome, every point counting alike (Naeini et al. 2015)."""
    return float(np.average([abs(row["confidence_pct"] - row["right_pct"]) for row in rows],
                            weights=[row["points"] for row in rows]))  # fmt: skip


def write(output: Path, rows: list[dict]) -> None:
    """confidence.csv and confidence.png."""
    aside = output / "confidence.csv.partial"
    with open(aside, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(aside, output / "confidence.csv")
    aside = output / "confidence.png.partial"
    plot(rows).savefig(aside, format="png")
    os.replace(aside, output / "confidence.png")


def plot(rows: list[dict]):
    """Left: the share that was right over the confidence. Right: how far off the points were."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from data_prep.style import STYLE

    expected = [row["confidence_pct"] for row in rows]
    with rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot([0, 100], [0, 100], color="0.7", linewidth=1, label="as expected")
        left.plot(expected, [row["right_pct"] for row in rows], "o-", label="test faces")
        left.set(xlabel="confidence, %", ylabel="points that were right, %", title="is the confidence kept?")
        left.legend()
        right.plot(expected, [row["mean_error_pct"] for row in rows], "o-")
        right.set(xlabel="confidence, %", ylabel="mean error, % of the eyes' distance", title="error by confidence")
        right.set_ylim(bottom=0)
    return figure


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.partial")
    aside.write_text(text)
    os.replace(aside, path)


if __name__ == "__main__":
    sys.exit(main())
