"""The network that predicts: of a run folder through Keras, or an ONNX file, for which Keras is not imported."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import IBUG68, KAGGLE15, Schema, kaggle15_from_ibug68
from inference import crop
from inference.confidence import FILE as CONFIDENCE
from inference.confidence import Calibration, from_text
from models.label_rules import BY_SOURCE, answers
from models.onnx_files import POINTS, open_session
from models.pretrained import check

BATCH = 256
OUTPUTS = {len(KAGGLE15): KAGGLE15, len(BY_SOURCE): KAGGLE15, len(IBUG68): IBUG68}


@dataclass(frozen=True)
class Network:
    """What predicts the keypoints of crops.

    name: the file. size: the crop's side in pixels. run: float32 [N, size, size] in 0-255 -> [N, K, 2], or that and
    the maps' spreads [N, K]. place: the matrix [2, 3] from its own crop to a crop in which faces lie as Kaggle's do;
    None where they lie alike.
    """

    name: str
    size: int
    run: Callable[[np.ndarray], np.ndarray | tuple[np.ndarray, np.ndarray]]
    schema: Schema = KAGGLE15
    place: np.ndarray | None = None
    calibration: Calibration | None = None

    def predict(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points float64 [N, K, 2] in the crop's pixels and confidences [N, K], for crops uint8 [N, size, size].

        A confidence is the chance that a point is right (inference/confidence.py), NaN where the network has none.
        Raises DataError where the network predicts what are no numbers.
        """
        points, confidence = np.zeros((0, len(self.schema), 2)), np.zeros((0, len(self.schema)))
        images = crops.astype(np.float32)
        for start in range(0, len(images), BATCH):
            found = self.run(images[start : start + BATCH])
            found, spread = found if isinstance(found, tuple | list) else (found, None)
            found = np.asarray(found, np.float64)
            if spread is None or self.calibration is None:
                sure = np.full(found.shape[:2], np.nan)
            else:
                sure = self.calibration.confidence(np.asarray(spread, np.float64) / self.size)
            points = np.concatenate([points, answers(found)])
            confidence = np.concatenate([confidence, answers(sure)])
        if not np.isfinite(points).all():
            raise DataError(f"{self.name} predicts values that are no numbers")
        return points, confidence

    def from_kaggle(self, matrix: np.ndarray) -> np.ndarray:
        """The crop for this network of a face whose crop as Kaggle's faces lie has this matrix."""
        return matrix if self.place is None else crop.chain(matrix, self.place)

    def fifteen(self, points: np.ndarray) -> np.ndarray:
        """Points [N, K, 2] reduced to the 15 of Kaggle's layout, [N, 15, 2]."""
        return kaggle15_from_ibug68(points) if self.schema is IBUG68 else points


def open_network(path: Path, threads: int = 2) -> Network:
    """A .keras or .onnx file. Raises DataError where it is missing or not a network for 15 or 68 points."""
    if path.suffix == ".onnx":
        return from_onnx(path, threads)
    from models.apply import load_network

    network = load_network(path)
    inputs, outputs = (getattr(getattr(network, side, None), "shape", None) or () for side in ("input", "output"))
    size, calibration = checked(path, inputs, outputs), path.parent / CONFIDENCE
    from models.layers import with_spread

    network = with_spread(network) or network
    return Network(
        str(path), size, network.predict_on_batch, OUTPUTS[outputs[1]],
        place(read_mean_face(path.parent / "config.json"), size),
        from_text(calibration.read_text(), outputs[1]) if calibration.is_file() else None,
    )  # fmt: skip


def from_onnx(path: Path, threads: int) -> Network:
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    check(path)
    if importlib.util.find_spec("onnxruntime") is None:
        raise DataError("onnxruntime is not installed (pip install -r requirements-inference.txt)")
    try:
        session = open_session(path, threads)
    except Exception as error:  # onnxruntime's own kinds, which have no common base
        raise DataError(f"{path} is not an ONNX network ({str(error).splitlines()[0][:200]})") from None
    known = session.get_modelmeta().custom_metadata_map
    points = tuple(known.get("points", "").split())
    inputs = {value.name: value.shape for value in session.get_inputs()}
    if list(inputs) != ["images"] or POINTS.get(len(points)) != points:
        raise DataError(f"{path} is not of `python -m inference.export`: an input `images` and the points' names")
    size = checked(path, inputs["images"], (None, len(points), 2))

    def run(images: np.ndarray):
        found = session.run(None, {"images": images})
        return found if len(found) == 2 else found[0]

    calibration = from_text(known["confidence"], len(points)) if "confidence" in known else None
    return Network(
        str(path), size, run, OUTPUTS[len(points)], place(json.loads(known.get("mean_face", "null")), size), calibration
    )


def checked(path: Path, inputs: tuple, outputs: tuple) -> int:
    """The crop's side, of the shapes of a network's input and output."""
    square = len(inputs) == 3 and isinstance(inputs[1], int) and inputs[1] == inputs[2]
    if not square or tuple(outputs[1:]) not in [(count, 2) for count in OUTPUTS]:
        counts = f"{len(KAGGLE15)} or {len(IBUG68)}"
        raise DataError(f"{path}: square images [N, H, W] in and {counts} points [N, K, 2] out are accepted")
    return inputs[1]


def read_mean_face(config: Path) -> list | None:
    """The mean face of a run's training set, [K, 2] in pixels; None where there is no run."""
    return json.loads(config.read_text()).get("mean_face") if config.is_file() else None


def place(mean_face: list | None, size: int) -> np.ndarray | None:
    """Where a network's crop lies in a crop in which faces lie as Kaggle's do: the matrix that lays mean on mean face.

    mean_face: [K, 2] in pixels of the network's images, or None, which lies as Kaggle's, like every set of 15 points.
    """
    if mean_face is None or len(mean_face) != len(IBUG68):
        return None
    mean = kaggle15_from_ibug68(np.asarray(mean_face, np.float64)[None])[0]
    # The crop that takes Kaggle's mean face to this one, the wrong way round.
    return crop.inverse(crop.from_points(mean, size))
