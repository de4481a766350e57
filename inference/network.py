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
MOST_SIDE = 1024  # of a crop, in pixels
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
            batch = images[start : start + BATCH]
            found = self.run(batch)
            found, spread = found if isinstance(found, tuple | list) else (found, None)
            found = np.asarray(found, np.float64)
            outputs = [count for count, schema in OUTPUTS.items() if schema is self.schema]
            if found.shape not in [(len(batch), count, 2) for count in outputs]:
                raise DataError(f"{self.name} predicts {list(found.shape)} for {len(batch)} faces, not [N, K, 2]")
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
        """The crop for this network of a face whose crop as Kaggle's faces lie has this matrix.

        Raises DataError where it is not known how this network's faces lie.
        """
        if self.place is None and self.schema is IBUG68:
            raise DataError(
                f"{self.name} does not say how its faces lie; name its run with --run, or --whole-image and --passes 1"
            )
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
    config = path.parent / "config.json"
    mean_face = mean_face_of(read_text(config), outputs[1], config) if config.is_file() else None
    from models.layers import with_spread

    network = with_spread(network) or network
    return Network(
        str(path), size, network.predict_on_batch, OUTPUTS[outputs[1]],
        place(mean_face, size, path),
        from_text(read_text(calibration), outputs[1], calibration) if calibration.is_file() else None,
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
        try:
            found = session.run(None, {"images": images})
        except Exception as error:
            raise DataError(f"{path} cannot predict ({str(error).splitlines()[0][:200]})") from None
        return found if len(found) == 2 else found[0]

    mean_face = mean_face_of(known["mean_face"], len(points), path) if "mean_face" in known else None
    calibration = from_text(known["confidence"], len(points), path) if "confidence" in known else None
    return Network(str(path), size, run, OUTPUTS[len(points)], place(mean_face, size, path), calibration)


def checked(path: Path, inputs: tuple, outputs: tuple) -> int:
    """The crop's side, of the shapes of a network's input and output."""
    square = len(inputs) == 3 and isinstance(inputs[1], int) and inputs[1] == inputs[2]
    square = square and 1 <= inputs[1] <= MOST_SIDE
    if not square or tuple(outputs[1:]) not in [(count, 2) for count in OUTPUTS]:
        counts = f"{len(KAGGLE15)} or {len(IBUG68)}"
        raise DataError(f"{path}: square images [N, H, W] in and {counts} points [N, K, 2] out are accepted")
    return inputs[1]


def read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def mean_face_of(text: str, outputs: int, path: Path) -> np.ndarray | None:
    """The mean face [68, 2] in a network's pixels, of JSON; None for 15 points, which all lie alike.

    Raises DataError where it is none.
    """
    if OUTPUTS[outputs] is not IBUG68:
        return None
    try:
        found = json.loads(text)
        found = np.array(found["mean_face"] if isinstance(found, dict) else found, np.float64)
        right = found.shape == (outputs, 2) and np.isfinite(found).all() and np.ptp(found, axis=0).min() > 1
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        right = False
    if not right:
        raise DataError(f"{path}: its mean face is not {outputs} points")
    return found


def place(mean_face: np.ndarray | None, size: int, path: Path) -> np.ndarray | None:
    """Where a network's crop lies in a crop in which faces lie as Kaggle's do: the matrix that lays mean on mean face.

    mean_face: [68, 2] in pixels of the network's images, or None for one that lies as Kaggle's, or is not known. Raises
    DataError where no face can lie so.
    """
    if mean_face is None:
        return None
    matrix = crop.from_points(kaggle15_from_ibug68(mean_face[None])[0], size)
    if not np.hypot(*matrix[:, 0]) > 1e-3:
        raise DataError(f"{path}: its mean face is no face")
    import cv2

    return cv2.invertAffineTransform(matrix)  # `from_points` is the crop that takes Kaggle's mean face to this one
