"""Networks as LiteRT files, which run without TensorFlow and Keras, one image at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError


def write(network, path: Path) -> None:
    """Write a Keras network: input `images` [1, H, W], its outputs in their order.

    Raises DataError where Keras is not on tensorflow, which makes such files.
    """
    from models.backend import import_keras

    keras = import_keras()
    if (backend := keras.backend.backend()) != "tensorflow":
        raise DataError(f"LiteRT files are made with Keras on tensorflow, not on {backend} (KERAS_BACKEND)")
    images = keras.InputSpec(shape=(1, *network.input.shape[1:]), dtype="float32", name="images")
    network.export(path, format="litert", verbose=False, input_signature=[images])


def open_runner(path: Path, threads: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """A function from one image, float32 [1, H, W], to the first output, keypoints [1, K, 2]."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    run = interpreter.get_signature_runner()
    return lambda image: run(images=image)["output_0"]
