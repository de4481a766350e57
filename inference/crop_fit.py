"""Fit the numbers of inference/crop.py: how a training crop lies about the box that the Haar detector draws.

    python -m inference.crop_fit --photos ../shared/data/photos --run results/kaggle15/runs/v1-quick-none-s0

--photos: photographs, each with a 68-point iBUG .pts file. --run: any run or record on kaggle15; its config.json has
the mean face of training. Prints the numbers; nothing is written.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15, kaggle15_from_ibug68
from inference.crop import FRAME


@dataclass(frozen=True)
class Residual:
    """What is left for one face when the map is fitted on the others, in pixels of a crop of 96.

    shift: [2], how far the points' middle is from the mean face's. size: the points' extent over the mean face's.
    distance: mean distance of a point from where the mean face has it, the face's own shape included.
    """

    shift: np.ndarray
    size: float
    distance: float


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference.crop_fit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="with .pts files beside them")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="run or record with the mean face")
    args = parser.parse_args(argv)
    try:
        report(args.photos, args.run)
    except (DataError, OSError) as error:
        print(f"inference.crop_fit: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("inference.crop_fit: stopped", file=sys.stderr)
        return 130
    return 0


def report(folder: Path, run: Path) -> None:
    from inference.detectors import haar

    mean, faces, detect = mean_face(run), labelled(folder), haar(FRAME)
    found = [(points, right_box(detect(photo), points)) for photo, points in tqdm(faces, disable=None)]
    placed = np.array([in_box(points, box) for points, box in found if box is not None])
    print(f"{len(placed)} of {len(faces)} faces found")
    if len(placed) < 3:
        raise DataError(f"{folder}: three faces that the detector finds are needed")
    shift, side = fit(placed, mean)
    print(f"HAAR_SHIFT = ({shift[0]:.3f}, {shift[1]:.3f})\nHAAR_SIDE = {side:.3f}")
    left = leave_one_out(placed, mean)
    shifts, sizes = np.array([r.shift for r in left]), np.array([r.size for r in left])
    x, y = np.sqrt(np.square(shifts).mean(axis=0))
    print(f"left out, in px of {FRAME}: middle off by {x:.2f} in x and {y:.2f} in y (RMS), size by "
          f"{100 * np.sqrt(np.square(np.log(sizes)).mean()):.1f} %, "
          f"points {np.mean([r.distance for r in left]):.2f} from the mean face's")  # fmt: skip


def mean_face(run: Path) -> np.ndarray:
    """float64 [15, 2] in pixels of a crop of 96, from a run's config.json."""
    try:
        config = json.loads((run / "config.json").read_text())
        mean = np.array(config["mean_face"], np.float64)
        right = config["schema"] == KAGGLE15.name and config["image_size"] == [FRAME, FRAME]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{run}/config.json is damaged ({error})") from None
    if not right or mean.shape != (len(KAGGLE15), 2):
        raise DataError(f"{run} has no mean face of {len(KAGGLE15)} points in {FRAME}x{FRAME} pixels")
    return mean


def labelled(folder: Path) -> list:
    """(photo, its 15 points [15, 2]) for every photo with a .pts file. Raises DataError where there is none.

    Pixels stay as stored, whatever the EXIF orientation says, for .pts files refer to these.
    """
    from data_prep.sources.pts_folder import parse_pts
    from inference.photos import SUFFIXES, read

    paths = [p for p in sorted(folder.glob("*")) if p.suffix.lower() in SUFFIXES and p.with_suffix(".pts").exists()]
    if not paths:
        raise DataError(f"{folder} has no photo with a .pts file beside it")
    texts = [(path.with_suffix(".pts").read_text("utf-8-sig", "replace"), path) for path in paths]
    points = kaggle15_from_ibug68(np.array([parse_pts(text, str(path.with_suffix(".pts"))) for text, path in texts]))
    return [(read(path, upright=False), face) for path, face in zip(paths, points, strict=True)]


def right_box(faces: list, points: np.ndarray):
    """The box about the labelled face, of those that a detector found; None where it missed it.

    Right is a box whose middle is within half its side of the points', and that is one to four eye distances wide.
    """
    eyes = eye_distance(points)
    for face in faces:
        x, y, width, height = face.box
        away = np.abs(points.mean(axis=0) - (x + width / 2, y + height / 2))
        if (away < (width / 2, height / 2)).all() and eyes < width < 4 * eyes:
            return face.box
    return None


def eye_distance(points: np.ndarray) -> float:
    left, right = (KAGGLE15.index(name) for name in ("left_eye_center", "right_eye_center"))
    return float(np.hypot(*(points[left] - points[right])))


def in_box(points: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Points [K, 2] from the middle of a box, in its sides."""
    x, y, width, height = box
    return (points + 0.5 - (x + width / 2, y + height / 2)) / np.sqrt(width * height)


def fit(placed: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, float]:
    """The crop's shift from the box's middle and its side, in sides of the box.

    placed: [N, K, 2], of `in_box`. mean: [K, 2] in the crop's pixels. Least squares of shift + side * mean - placed,
    the mean face being taken from the crop's middle in sides of the crop.
    """
    mean = (mean + 0.5) / FRAME - 0.5
    apart, middle = mean - mean.mean(axis=0), placed.mean(axis=0)
    side = float((apart * (middle - middle.mean(axis=0))).sum() / np.square(apart).sum())
    return middle.mean(axis=0) - side * mean.mean(axis=0), side


def leave_one_out(placed: np.ndarray, mean: np.ndarray) -> list[Residual]:
    """For each face what `fit` on all others leaves."""
    left = []
    for k, face in enumerate(placed):
        shift, side = fit(np.delete(placed, k, axis=0), mean)
        points = ((face - shift) / side + 0.5) * FRAME - 0.5
        sizes = [np.sqrt(np.square(shape - shape.mean(axis=0)).sum()) for shape in (points, mean)]
        distance = float(np.hypot(*(points - mean).T).mean())
        left.append(Residual((points - mean).mean(axis=0), sizes[0] / sizes[1], distance))
    return left


if __name__ == "__main__":
    sys.exit(main())
