"""Networks as ONNX files, which run without TensorFlow and Keras: written by tf2onnx, opened by ONNX Runtime."""

import contextlib
import io
import logging
import os
import warnings
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import IBUG68, KAGGLE15
from models.label_rules import BY_SOURCE

# ONNX Runtime would keep an id and report its use to microsoft.com; it reads this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Points by their number, as `write` notes them in a file.
POINTS = {len(schema): schema.points for schema in (KAGGLE15, BY_SOURCE, IBUG68)}


def write(network, path: Path, metadata: dict[str, str]) -> None:
    """Write a Keras network: input `images`, its outputs in their order, and metadata.

    Raises DataError where Keras is not on tensorflow, which tf2onnx needs.
    """
    from models.backend import import_keras

    keras = import_keras()
    if (backend := keras.backend.backend()) != "tensorflow":
        raise DataError(f"ONNX files are made with Keras on tensorflow, not on {backend} (KERAS_BACKEND)")
    network(np.zeros((1, *network.input.shape[1:]), np.float32))  # Keras exports a network that has been called
    level = logging.getLogger().level
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            logging.getLogger().setLevel(logging.ERROR)  # tf2onnx tells of every pass
            network.export(path, format="onnx", verbose=False)
    finally:
        logging.getLogger().setLevel(level)
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def quantise(path: Path, images: np.ndarray) -> None:
    """Rewrite an ONNX network with convolutions of eight bits, whose ranges are taken from float32 images [N, H, W].

    The layer that draws the maps stays in float32, as does what follows: a keypoint is a mean of pixels, and eight bits
    would round it. Weights have no sign, for AVX2's product of signed and unsigned bytes overflows.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Faces(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(images)

        def get_next(self):
            image = next(self.rest, None)
            return None if image is None else {"images": image[None]}

    level = logging.getLogger().level
    try:
        logging.getLogger().setLevel(logging.ERROR)
        quant_pre_process(path, path, skip_symbolic_shape=True)
        model = onnx.load(path)
        quantize_static(
            model, path, Faces(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv", "Add", "Relu", "Resize"],
            nodes_to_exclude=[node.name for node in model.graph.node if "/maps/" in node.name],
            activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8,
        )  # fmt: skip
    finally:
        logging.getLogger().setLevel(level)


def open_session(path: Path, threads: int = 1):
    """An ONNX Runtime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
