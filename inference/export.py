"""A trained network as an ONNX file, which runs without TensorFlow and Keras.

    pip install -r requirements-export.txt
    python -m inference.export --run runs/kaggle15/RUN
    python -m inference.export --run models/weights/dsnt-best --output keypoints.onnx

Input `images`: float32 [N, H, W], gray values 0-255. Output: float32 [N, K, 2], (x, y) in pixels, (0, 0) the centre of
the top-left pixel; the file's metadata name the K points in order. What was written is loaded again and compared with
the Keras network on 64 embedded faces; if any point is further than 1e-3 px away, it is not kept.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from models.apply import load_network
from models.onnx_files import POINTS, open_session, write

PACKAGES = ("onnx", "tf2onnx", "onnxruntime")
SAME_PX = 1e-3
FACES, FACES_SEED = 64, 0
CALLS = 100  # of which the median latency is taken


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="DIR", help="run folder with a model.keras")
    source.add_argument("--model", type=Path, metavar="FILE.keras", help="a saved network")
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="default: onnx")
    parser.add_argument("--output", type=Path, metavar="FILE.onnx", help="default: the network's file, with .onnx")
    args = parser.parse_args(argv)
    path = args.model or args.run / "model.keras"
    try:
        export(path, args.output or path.with_suffix(".onnx"))
    except (DataError, OSError) as error:
        print(f"inference.export: error: {error}", file=sys.stderr)
        return 2
    return 0


def export(path: Path, output: Path) -> None:
    """Write the network of a `.keras` file as ONNX, check it, and print what it costs.

    Raises DataError where a package is missing, the file is no network of this project, or the two disagree.
    """
    if absent := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise DataError(f"{', '.join(absent)} is not installed (pip install -r requirements-export.txt)")
    if output.suffix != ".onnx" or output.is_dir():
        raise DataError(f"--output {output}: a .onnx file is accepted")
    network = load_network(path)
    points = names_of(network, path)
    faces = some_faces(network.input.shape[1:])
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, suffix=".partial") as folder:
        aside = Path(folder) / output.name
        write(network, aside, points)
        session = open_session(aside)
        apart = float(np.abs(session.run(None, {"images": faces})[0] - np.asarray(network(faces))).max())
        if not apart <= SAME_PX:
            raise DataError(f"{path}: ONNX is {apart:.2g} px from Keras on some face; {SAME_PX:g} is accepted")
        os.replace(aside, output)
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB, {len(points)} points, {apart:.1g} px from Keras at most")
    for threads in (1, 2):
        session = open_session(output, threads)
        print(f"one face, ONNX Runtime, {threads} thread(s): {milliseconds(session, faces[:1]):.2f} ms")


def names_of(network, path: Path) -> tuple[str, ...]:
    """The points of a network's outputs, in order. Raises DataError for a network with other inputs or outputs."""
    inputs, outputs = (getattr(getattr(network, side, None), "shape", None) for side in ("input", "output"))
    if not inputs or len(inputs) != 3 or not outputs or outputs[1:] not in [(count, 2) for count in POINTS]:
        raise DataError(f"{path} is not a network of this project: images [N, H, W] in and keypoints [N, K, 2] out")
    return POINTS[outputs[1]]


def some_faces(size: tuple[int, int]) -> np.ndarray:
    """float32 [64, H, W], embedded faces in gray values 0-255."""
    import cv2

    from data_prep.synthetic.sampler import sample

    images = sample(FACES, FACES_SEED).images
    return np.stack([cv2.resize(image, size[::-1]) for image in images]).astype(np.float32)


def milliseconds(session, image: np.ndarray) -> float:
    """Median time of a call with these faces, after a few to warm up."""
    times = []
    for _ in range(CALLS + 10):
        start = time.perf_counter()
        session.run(None, {"images": image})
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times[10:]))


if __name__ == "__main__":
    sys.exit(main())
