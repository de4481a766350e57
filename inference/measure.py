"""How far the points of photos are from labels: found by the detector and cut out as labelled, one pass and two.

    python -m inference.measure --photos ../shared/data/photos --run runs/kaggle15/RUN

--photos: photographs, each with a 68-point iBUG .pts file, which are reduced to the 15 points. The error is the mean
distance of the 15 points over the distance of the eyes' centres, in percent (NME).
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.faceset import DataError
from inference.crop_fit import eye_distance, labelled, right_box

PASSES = (1, 2)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference.measure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="with .pts files beside them")
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--run", type=Path, metavar="DIR", help="run folder with a model.keras")
    network.add_argument("--model", type=Path, metavar="FILE", help="a .onnx or .keras file")
    args = parser.parse_args(argv)
    try:
        measure(args.photos, args.model or args.run / "model.keras")
    except (DataError, OSError) as error:
        print(f"inference.measure: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def measure(folder: Path, model: Path) -> None:
    """Print the table."""
    from inference import crop
    from inference.detectors import haar
    from inference.locate import locate
    from inference.network import open_network

    faces, network = labelled(folder), open_network(model)
    detect, start = haar(network.size), time.perf_counter()
    boxes = [right_box(detect(photo), points) for photo, points in tqdm(faces, disable=None)]
    detection = 1000 * (time.perf_counter() - start) / len(faces)
    photos, truth = [photo.gray for photo, _ in faces], np.array([points for _, points in faces])
    hits = [k for k, box in enumerate(boxes) if box is not None]
    print(f"{len(hits)} of {len(faces)} faces found, {detection:.0f} ms a photo")
    haar_crops = [network.from_kaggle(crop.from_box(boxes[k], network.size)) for k in hits]
    label_crops = [network.from_kaggle(from_labels(points, network.size)) for points in truth]
    for name, rows, crops in (
        ("Haar's boxes", hits, haar_crops),
        ("as labelled, the same faces", hits, [label_crops[k] for k in hits]),
        ("as labelled, all faces", range(len(faces)), label_crops),
    ):
        for passes in PASSES if len(rows) else ():
            grays, start = [photos[k] for k in rows], time.perf_counter()
            errors = nme(network.fifteen(locate(grays, crops, network, passes)[0]), truth[list(rows)])
            each = 1000 * (time.perf_counter() - start) / len(crops)
            print(f"{name:28} {passes} pass(es): NME {errors.mean():5.2f} %, median {np.median(errors):5.2f}, "
                  f"worst {errors.max():5.2f}; {each:.1f} ms a face")  # fmt: skip


def from_labels(points: np.ndarray, size: int) -> np.ndarray:
    """The crop that `data_prep --source pts` makes of a face with these 15 points, as a matrix to the photo."""
    import cv2

    from data_prep.schema import KAGGLE15
    from data_prep.sources.photo import face_affine

    return cv2.invertAffineTransform(face_affine(points, KAGGLE15, size, "labels"))


def nme(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float [N]: percent of the eyes' distance, for points [N, 15, 2] in one frame."""
    distances = np.hypot(*np.moveaxis(found - truth, -1, 0)).mean(axis=1)
    return 100 * distances / [eye_distance(points) for points in truth]


if __name__ == "__main__":
    sys.exit(main())
