"""The network that predicts: of a run folder through Keras, or an ONNX file, for which Keras is not imported."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15
from models.label_rules import BY_SOURCE, answers
from models.onnx_files import POINTS, open_session

BATCH = 256


@dataclass(frozen=True)
class Network:
    """name: the file. size: the crop's side in pixels. run: float32 [N, size, size] in 0-255 -> [N, K, 2]."""

    name: str
    size: int
    run: Callable[[np.ndarray], np.ndarray]

    def predict(self, crops: np.ndarray) -> np.ndarray:
        """Points float64 [N, 15, 2] in the crop's pixels, for crops uint8 [N, size, size].

        Raises DataError where the network predicts what are no numbers.
        """
        if not len(crops):
            return np.zeros((0, len(KAGGLE15), 2))
        images = crops.astype(np.float32)
        outputs = [np.asarray(self.run(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
        points = answers(np.concatenate(outputs)).astype(np.float64)
        if not np.isfinite(points).all():
            raise DataError(f"{self.name} predicts values that are no numbers")
        return points


def open_network(path: Path, threads: int = 2) -> Network:
    """A .keras or .onnx file. Raises DataError where it is missing or not a network for the 15 points."""
    if path.suffix == ".onnx":
        return from_onnx(path, threads)
    from models.apply import load_network

    network = load_network(path)
    inputs, outputs = (getattr(getattr(network, side, None), "shape", None) or () for side in ("input", "output"))
    return Network(str(path), checked(path, inputs, outputs), network.predict_on_batch)


def from_onnx(path: Path, threads: int) -> Network:
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    if importlib.util.find_spec("onnxruntime") is None:
        raise DataError("onnxruntime is not installed (pip install -r requirements-export.txt)")
    try:
        session = open_session(path, threads)
    except Exception as error:  # onnxruntime's own kinds, which have no common base
        raise DataError(f"{path} is not an ONNX network ({str(error).splitlines()[0][:200]})") from None
    points = tuple(session.get_modelmeta().custom_metadata_map.get("points", "").split())
    inputs = {value.name: value.shape for value in session.get_inputs()}
    if list(inputs) != ["images"] or POINTS.get(len(points)) != points:
        raise DataError(f"{path} is not of `python -m inference.export`: an input `images` and the points' names")
    size = checked(path, inputs["images"], (None, len(points), 2))
    return Network(str(path), size, lambda images: session.run(None, {"images": images})[0])


def checked(path: Path, inputs: tuple, outputs: tuple) -> int:
    """The crop's side, of the shapes of a network's input and output."""
    square = len(inputs) == 3 and isinstance(inputs[1], int) and inputs[1] == inputs[2]
    if not square or tuple(outputs[1:]) not in ((len(KAGGLE15), 2), (len(BY_SOURCE), 2)):
        raise DataError(f"{path}: square images [N, H, W] in and {len(KAGGLE15)} points [N, K, 2] out are accepted")
    return inputs[1]
