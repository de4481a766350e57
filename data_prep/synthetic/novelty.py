"""Show that drawn faces are nobody's: none lies closer to a training face than two people lie to each other.

    python -m data_prep.synthetic.novelty --input ../shared/data/youtube68

Every face, real or drawn, is turned and scaled to the mean position by its points (its own shape stays) and
its brightness over the face is normalised. The distance of two faces is the root mean square difference
over the face, in standard deviations of a face's gray levels. Mirror images count as training faces too.
About a minute on 2 cores. Writes novelty.csv, and faces/novelty.png with the closest pairs (not for
publication: it shows photographs).
"""

import argparse
import csv
import os
import sys
from pathlib import Path

import cv2
import numpy as np

from data_prep.faceset import DataError, FaceSet
from data_prep.schema import IBUG68, kaggle15_from_ibug68
from data_prep.synthetic import model as face_model
from data_prep.synthetic.mesh import CANVAS
from data_prep.synthetic.sampler import sample
from data_prep.synthetic.shapes import alignment

SAMPLES, SEED = 1000, 2026
ALLOWED, QUANTILE = 0.01, 0.01  # at most this share of samples below this quantile of real distances
FINE = 1.0  # pixels of blur on both sides: noise and grain are no likeness
EDGE = 16  # canvas pixels cut from each side
PAIRS = 10


def posed(faces: FaceSet, mean_shape: np.ndarray) -> np.ndarray:
    """Faces with 68 points in the mean position, brightness-normalised: float32 [N, CANVAS - 2 EDGE squared]."""
    goal = kaggle15_from_ibug68(mean_shape[None].astype(np.float64))[0]
    similarity = alignment(kaggle15_from_ibug68(faces.keypoints.astype(np.float64)), goal)
    weight = face_window(mean_shape)
    pictures = []
    for image, (a, b) in zip(faces.images, similarity, strict=True):
        scale = abs(a)
        if scale < 1:
            image = cv2.GaussianBlur(image, (0, 0), 0.5 / scale)
        turn = np.array([[a.real, -a.imag, b.real - EDGE], [a.imag, a.real, b.imag - EDGE]])
        size = (CANVAS - 2 * EDGE,) * 2
        picture = cv2.warpAffine(image.astype(np.float32), turn, size, borderMode=cv2.BORDER_REFLECT_101)
        picture = cv2.GaussianBlur(picture, (0, 0), FINE)
        mean = (picture * weight).sum()
        pictures.append((picture - mean) / (np.sqrt(((picture - mean) ** 2 * weight).sum()) + 1e-3))
    return np.array(pictures, np.float32)


def face_window(mean_shape: np.ndarray) -> np.ndarray:
    """Weights that sum to 1: the face's outline, soft-edged, in the frame of `posed`."""
    window = np.zeros((CANVAS - 2 * EDGE,) * 2, np.float32)
    cv2.fillConvexPoly(window, cv2.convexHull(mean_shape.astype(np.float32) - EDGE).round().astype(np.int32), 1.0)
    window = cv2.GaussianBlur(window, (0, 0), 3)
    return window / window.sum()


def distances(one: np.ndarray, other: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Root mean square differences [N, M] of pictures [N, H, W] and [M, H, W] under the window's weights."""
    root = np.sqrt(window).ravel()
    a, b = one.reshape(len(one), -1) * root, other.reshape(len(other), -1) * root
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(square, 0))


def measure(training: FaceSet, drawn: dict[str, FaceSet], mean_shape: np.ndarray) -> tuple[list[dict], np.ndarray]:
    """Rows of statistics, one per kind of comparison, and the closest pairs of the first drawn set as a picture.

    training: faces with 68 points, `groups` their people. drawn: sets of drawn faces by name.
    """
    window, real = face_window(mean_shape), posed(training, mean_shape)
    both = np.concatenate([real, real[:, :, ::-1]])
    people = np.concatenate([training.groups, training.groups])
    between = distances(real, both, window)
    same = training.groups[:, None] == people
    others = np.where(same, np.inf, between).min(axis=1)
    own = np.where(same & (between > 0.02), between, np.inf).min(axis=1)  # another picture of the same person
    threshold = np.quantile(others, QUANTILE)
    rows = [_row("training face to another person", others, threshold)]
    rows.append(_row("training face to the same person", own[np.isfinite(own)], threshold))
    pairs = None
    for name, faces in drawn.items():
        pictures = posed(faces, mean_shape)
        to_real = distances(pictures, both, window)
        nearest, near = to_real.argmin(axis=1), to_real.min(axis=1)
        rows.append(_row(name, near, threshold))
        if pairs is None:
            closest = np.argsort(near)[:PAIRS]
            pairs = np.vstack([np.hstack(pictures[closest]), np.hstack(both[nearest[closest]])])
    return rows, np.clip(128 + 50 * pairs, 0, 255).astype(np.uint8)


def _row(name: str, values: np.ndarray, threshold: float) -> dict:
    lowest, first, fifth, middle = np.quantile(values, [0, 0.01, 0.05, 0.5]).round(4).tolist()
    share = round(float((values < threshold).mean()), 4)
    return {
        "nearest_distance_of": name,
        "faces": len(values),
        "minimum": lowest,
        "percentile_1": first,
        "percentile_5": fifth,
        "median": middle,
        "share_below_threshold": share,
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.synthetic.novelty", description="Distance of drawn faces to the training faces."
    )
    parser.add_argument("--input", type=Path, required=True, help="the folder or zip that the model was fitted to")
    parser.add_argument("--output", type=Path, default=Path("results/synthetic"), help="folder for the results")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    args = parser.parse_args(argv)
    try:
        if args.samples < PAIRS:
            raise DataError(f"--samples {args.samples}: at least {PAIRS} are needed")
        from data_prep.sources import youtube_faces

        model = face_model.load()
        training = youtube_faces.read(args.input, size=160, skip_bad_rows=True).faces
        drawn = {
            "drawn face, plain model": sample(args.samples, SEED, IBUG68, photo=False),
            "drawn face, photographed": sample(args.samples, SEED, IBUG68),
        }
        rows, pairs = measure(training, drawn, model.mean_shape)
        (args.output / "faces").mkdir(parents=True, exist_ok=True)
    except DataError as error:
        print(f"novelty: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"novelty: --output {args.output}: {error.strerror}", file=sys.stderr)
        return 2
    table = args.output / "novelty.csv"
    aside = table.with_name(table.name + ".partial")
    with open(aside, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(aside, table)
    cv2.imwrite(str(args.output / "faces" / "novelty.png"), pairs)
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    worst = max(row["share_below_threshold"] for row in rows[2:])
    print(f"{table}: at most {worst:.2%} of drawn faces below the threshold, {ALLOWED:.0%} allowed")
    return 0 if worst <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
