"""A trained network as an ONNX or a LiteRT file, which run without TensorFlow and Keras.

    pip install -r requirements-export.txt
    python -m inference.export --run runs/kaggle15/RUN
    python -m inference.export --run models/weights/dsnt-best --output keypoints.onnx --int8
    python -m inference.export --run models/weights/dsnt-best --format litert --output keypoints.tflite

Input `images`: float32 [N, H, W], gray values 0-255; LiteRT: N is 1. First output: float32 [N, K, 2], (x, y) in pixels,
(0, 0) the centre of the top-left pixel. Second output, of a network that draws maps: float32 [N, K], how widely each
lies about its keypoint. An ONNX file's metadata name the K points in order, and hold the mean face and the calibration
of confidences, so `python -m inference --model FILE.onnx` needs nothing else.

What was written is loaded again and compared with the Keras network on 64 embedded faces; if any point is further than
1e-3 px away, it is not kept. --int8 (ONNX) quantises the convolutions to eight bits, calibrated on other embedded
faces: a quarter of the size, somewhat faster, and less exact by what is printed; then 2 px are the limit.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from inference import confidence
from models import litert_files
from models.apply import load_network
from models.onnx_files import POINTS, open_session, quantise, write
from models.pretrained import refuse_own
from models.runs import read_run

PACKAGES = {"onnx": ("onnx", "tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
SUFFIX = {"onnx": ".onnx", "litert": ".tflite"}
SAME_PX, SAME_INT8_PX = 1e-3, 2.0
FACES, FACES_SEED, CALIBRATION_SEED = 64, 0, 1
CALLS = 100  # of which the median latency is taken


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="DIR", help="run folder with a model.keras")
    source.add_argument("--model", type=Path, metavar="FILE.keras", help="a saved network")
    parser.add_argument("--format", choices=tuple(SUFFIX), default="onnx", help="default: onnx")
    parser.add_argument("--int8", action="store_true", help="eight-bit convolutions; ONNX only")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: beside the network, .onnx or .tflite")
    args = parser.parse_args(argv)
    path = args.model or args.run / "model.keras"
    ending = (".int8" if args.int8 else "") + SUFFIX[args.format]
    try:
        export(path, args.output or path.with_suffix(ending), args.format, args.int8)
    except (DataError, OSError) as error:
        print(f"inference.export: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def export(path: Path, output: Path, form: str = "onnx", int8: bool = False) -> None:
    """Write the network of a `.keras` file as ONNX or LiteRT, check it, and print what it costs.

    Raises DataError where a package is missing, the file is no network of this project, or the two disagree.
    """
    if absent := [name for name in PACKAGES[form] if importlib.util.find_spec(name) is None]:
        raise DataError(f"{', '.join(absent)} is not installed (pip install -r requirements-export.txt)")
    if int8 and form != "onnx":
        raise DataError("--int8 is for --format onnx: in LiteRT's eight bits a keypoint is off by several pixels")
    if output.suffix != SUFFIX[form] or output.is_dir():
        raise DataError(f"--output {output}: a {SUFFIX[form]} file is accepted")
    refuse_own(output)
    network = load_network(path)
    points = names_of(network, path)
    faces = some_faces(network.input.shape[1:], FACES_SEED)
    expected, limit = np.asarray(network(faces)), SAME_INT8_PX if int8 else SAME_PX
    from models.layers import with_spread

    network = with_spread(network) or network
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, suffix=".partial") as folder:
        aside = Path(folder) / output.name
        if form == "onnx":
            write(network, aside, metadata(path, points))
            if int8:
                quantise(aside, some_faces(network.input.shape[1:], CALIBRATION_SEED))
        else:
            litert_files.write(network, aside)
        run = opened(aside)
        errors = np.abs(np.concatenate([run(face[None]) for face in faces]) - expected)
        if not errors.max() <= limit:
            raise DataError(f"{path}: {form} is {errors.max():.2g} px from Keras on some face; {limit:g} is accepted")
        os.replace(aside, output)
    apart = f"{np.sqrt((errors**2).mean()):.1g} px from Keras (RMSE), {errors.max():.1g} px at most"
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB, {len(points)} points, {apart}")
    print(f"one face, Keras: {milliseconds(network.predict_on_batch, faces[:1]):.2f} ms")
    for threads in (1, 2):
        print(f"one face, {form}, {threads} thread(s): {milliseconds(opened(output, threads), faces[:1]):.2f} ms")


def metadata(path: Path, points: tuple[str, ...]) -> dict[str, str]:
    """What an ONNX file says of itself: the points' names and, of a run's network, what stands beside it."""
    found, calibration = {"points": " ".join(points)}, path.parent / confidence.FILE
    if path.name == "model.keras" and (path.parent / "config.json").is_file():
        found["mean_face"] = json.dumps(read_run(path.parent).config.get("mean_face"))
    if calibration.is_file():
        text = calibration.read_text()
        found["confidence"] = confidence.from_text(text, len(points), calibration).as_text()
    return found


def opened(path: Path, threads: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """A file's network: a function from one image [1, H, W] to keypoints [1, K, 2]."""
    if path.suffix == ".onnx":
        session = open_session(path, threads)
        return lambda image: session.run(None, {"images": image})[0]
    return litert_files.open_runner(path, threads)


def names_of(network, path: Path) -> tuple[str, ...]:
    """The points of a network's outputs, in order. Raises DataError for a network with other inputs or outputs."""
    inputs, outputs = (getattr(getattr(network, side, None), "shape", None) for side in ("input", "output"))
    if not inputs or len(inputs) != 3 or not outputs or outputs[1:] not in [(count, 2) for count in POINTS]:
        raise DataError(f"{path} is not a network of this project: images [N, H, W] in and keypoints [N, K, 2] out")
    return POINTS[outputs[1]]


def some_faces(size: tuple[int, int], seed: int) -> np.ndarray:
    """float32 [64, H, W], embedded faces in gray values 0-255."""
    import cv2

    from data_prep.synthetic.sampler import sample

    images = sample(FACES, seed).images
    return np.stack([cv2.resize(image, size[::-1]) for image in images]).astype(np.float32)


def milliseconds(run: Callable, image: np.ndarray) -> float:
    """Median time of a call with this face, after a few to warm up."""
    times = []
    for _ in range(CALLS + 10):
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times[10:]))


if __name__ == "__main__":
    sys.exit(main())
