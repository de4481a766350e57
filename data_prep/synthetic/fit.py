"""Fit the embedded face model to a set of faces with 68 points.

    python -m data_prep.synthetic.fit --input ../shared/data/youtube68 --kaggle training.csv

Writes statistics only (means, modes, covariances, counts); no photograph is kept. About a minute on 2 cores.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15, kaggle15_from_ibug68
from data_prep.synthetic import model as face_model
from data_prep.synthetic.mesh import CANVAS, Mesh, with_lips_apart
from data_prep.synthetic.model import FaceModel, mirrored_shapes

EYE_DISTANCE = 36.0  # canvas pixels; near the Kaggle crops', so that drawn faces are neither enlarged nor shrunk
EYE_LEVEL = 54.0  # canvas row of the eyes
SHAPE_MODES = 30
TEXTURE_MODES = 240
WORST = 0.03  # share of faces dropped as badly labelled: largest texture residual or most unusual shape


def fit(images: list, keypoints: np.ndarray, labels: tuple, shape_modes: int, texture_modes: int) -> FaceModel:
    """The model of these faces.

    images: gray uint8 images of any size. keypoints: float [N, 68, 2], pixels of each image.
    labels: (label_mean, label_covariance, patterns, pattern_counts) as in `FaceModel`.
    """
    canonical = _canonical_mean(keypoints)
    shapes, similarity = _aligned(keypoints, canonical)
    shapes = with_lips_apart(shapes)
    mean = _symmetric(shapes.mean(axis=0))
    keep = _usual(((shapes - mean) ** 2).sum(axis=(1, 2)))
    mesh = Mesh(mean)
    textures = np.stack(
        [_to_canvas(mesh, images[i], shapes[i], similarity[i]) for i in np.flatnonzero(keep)]
    )
    shapes = shapes[keep]
    weight = _face_weight(mean)
    brightness, textures = _normalised(textures, weight)
    # A first, small model finds the faces whose points are off: their texture does not look like a face.
    rough = _modes(textures, weight, 60)
    keep = _usual(rough.residual)
    shapes, textures, brightness = shapes[keep], textures[keep], brightness[keep]

    texture = _modes(textures, weight, texture_modes)
    shape = _shape_modes(shapes - mean, shape_modes)
    coefficients, parity = _standardised(shape, texture, brightness)
    report = [len(shapes), shape.held, texture.held]
    return FaceModel(
        mean_shape=mean,
        shape_basis=shape.basis,
        triangles=mesh.triangles,
        texture_mean=texture.mean,
        texture_basis=texture.basis,
        texture_residual=texture.residual_map,
        brightness_mean=brightness.mean(axis=0),
        brightness_std=brightness.std(axis=0),
        # A face and its mirror image weigh the same, so coefficients of unlike parity do not correlate.
        correlation=np.corrcoef(coefficients.T) * (parity[:, None] == parity[None, :]),
        label_mean=labels[0],
        label_covariance=labels[1],
        patterns=labels[2],
        pattern_counts=labels[3],
        report=np.array(report),
    )


class _Modes:
    """Principal modes in units of their standard deviation.

    basis: [M, ...]; scores: [N, M], standardised; parity: [M], +1 symmetric, -1 antisymmetric; held: share
    of variance; mean and residual_map: [H, W]; residual: [N], mean square that the modes leave of a face.
    """

    def __init__(self, basis, scores, parity, held, mean=None, residual_map=None, residual=None):
        self.basis, self.scores, self.parity, self.held = basis, scores, parity, held
        self.mean, self.residual_map, self.residual = mean, residual_map, residual


def _parity_modes(even: np.ndarray, odd: np.ndarray, count: int):
    """PCA of symmetric and antisymmetric parts, [N, D] each: unit modes [M, D], std [M], scores, parity, held.

    Over a set and its mirror image the two parts do not correlate, so each has its own modes.
    """
    parts = []
    for sign, part in ((1, even), (-1, odd)):
        small = part @ part.T if len(part) < part.shape[1] else part.T @ part
        values, vectors = np.linalg.eigh(small)
        values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
        values = np.maximum(values, 1e-12)
        unit = (part.T @ vectors / np.sqrt(values)).T if len(part) < part.shape[1] else vectors.T
        parts.append((values / len(part), unit, part @ unit.T, np.full(len(values), sign)))
    values, unit, scores, parity = (
        np.concatenate([a, b], axis=axis) for a, b, axis in zip(*parts, (0, 0, 1, 0), strict=True)
    )
    order = np.argsort(values)[::-1][:count]
    held = values[order].sum() / ((even**2).sum() + (odd**2).sum()) * len(even)
    std = np.sqrt(values[order])
    return unit[order], std, scores[:, order] / std, parity[order], held


def _shape_modes(displacements: np.ndarray, count: int) -> _Modes:
    """Modes of displacements [N, 68, 2] from the symmetric mean."""
    centre = np.zeros_like(displacements[:1])
    centre[..., 0] = (CANVAS - 1) / 2
    mirror = mirrored_shapes(displacements + centre) - centre
    n = len(displacements)
    even, odd = ((displacements + s * mirror).reshape(n, -1) / 2 for s in (1, -1))
    unit, std, scores, parity, held = _parity_modes(even, odd, count)
    return _Modes((unit * std[:, None]).reshape(-1, 68, 2), scores, parity, held)


def _modes(textures: np.ndarray, weight: np.ndarray, count: int) -> _Modes:
    """Modes of textures [N, CANVAS, CANVAS]; weight [CANVAS, CANVAS] says where errors matter most."""
    n, half = len(textures), CANVAS // 2
    left, right = textures[:, :, :half], textures[:, :, ::-1][:, :, :half]
    mean = (left.mean(axis=0) + right.mean(axis=0)) / 2
    root = np.sqrt(weight[:, :half])
    even = (((left + right) / 2 - mean) * root).reshape(n, -1)
    odd = ((left - right) / 2 * root).reshape(n, -1)
    unit, std, scores, parity, held = _parity_modes(even, odd, count)
    basis = (unit * std[:, None]).reshape(-1, CANVAS, half)
    lost = np.zeros((CANVAS, half))
    residual = np.zeros(n)
    for part, sign in ((even, 1), (odd, -1)):
        chosen = parity == sign
        error = part - scores[:, chosen] @ basis[chosen].reshape(-1, CANVAS * half)
        residual += (error**2).mean(axis=1)
        lost += (error**2).mean(axis=0).reshape(CANVAS, half)
    basis = basis / root
    return _Modes(
        np.concatenate([basis, parity[:, None, None] * basis[:, :, ::-1]], axis=2),
        scores,
        parity,
        held,
        np.concatenate([mean, mean[:, ::-1]], axis=1),
        np.concatenate([m := np.sqrt(lost) / root, m[:, ::-1]], axis=1),
        residual,
    )


def _standardised(shape: _Modes, texture: _Modes, brightness: np.ndarray):
    """All coefficients side by side, [N, S + M + 2], and their parity (brightness is symmetric)."""
    coefficients = np.concatenate([shape.scores, texture.scores, brightness], axis=1)
    return coefficients, np.concatenate([shape.parity, texture.parity, [1, 1]])


def _canonical_mean(keypoints: np.ndarray) -> np.ndarray:
    """Symmetric mean of 68 points, [68, 2], with its eyes at the canvas' place and distance."""
    reference = keypoints[0]
    for _ in range(3):
        shapes, _ = _aligned(keypoints, reference)
        reference = shapes.mean(axis=0)
        eyes = kaggle15_from_ibug68(reference[None])[0, :2]
        # rotation and scale that put the eyes level, EYE_DISTANCE apart
        z = _complex(reference)
        left, right = _complex(eyes)
        z = (z - (left + right) / 2) * EYE_DISTANCE / (left - right)
        reference = np.stack([z.real + (CANVAS - 1) / 2, z.imag + EYE_LEVEL], axis=-1)
        reference = _symmetric(reference)
    return reference


def _symmetric(shape: np.ndarray) -> np.ndarray:
    return (shape + mirrored_shapes(shape[None])[0]) / 2


def _complex(points: np.ndarray) -> np.ndarray:
    return points[..., 0] + 1j * points[..., 1]


def _aligned(keypoints: np.ndarray, reference: np.ndarray):
    """Least-squares similarity of each face onto the reference by their 15 points.

    The 15 stand for the 68 so that faces drawn from 15-point label statistics stand the same way.
    Returns shapes [N, 68, 2] and (a, b) [N, 2] complex, with shape = a * points + b.
    """
    few = _complex(kaggle15_from_ibug68(keypoints))
    goal = _complex(kaggle15_from_ibug68(reference[None])[0])
    centred = few - few.mean(axis=1, keepdims=True)
    a = (centred.conj() * (goal - goal.mean())).sum(axis=1) / (np.abs(centred) ** 2).sum(axis=1)
    b = goal.mean() - a * few.mean(axis=1)
    z = a[:, None] * _complex(keypoints) + b[:, None]
    return np.stack([z.real, z.imag], axis=-1), np.stack([a, b], axis=1)


def _to_canvas(mesh: Mesh, image: np.ndarray, shape: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """One image seen in the mean shape: float32 [CANVAS, CANVAS], gray levels."""
    a, b = similarity
    z = (_complex(mesh.place(shape[None])[0]) - b) / a
    if abs(a) < 1:  # the image is larger than the canvas: smooth before reading fewer pixels
        image = cv2.GaussianBlur(image, (0, 0), 0.5 / abs(a))
    lookup = mesh.lookup(mesh.vertices, np.stack([z.real, z.imag], axis=-1), CANVAS)
    return cv2.remap(image.astype(np.float32), lookup, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def _normalised(textures: np.ndarray, weight: np.ndarray):
    """Brightness [N, 2] (mean, log std over the face) and textures without it, clipped to 4 std."""
    w = (weight / weight.sum()).astype(np.float32)
    mean = np.einsum("nhw,hw->n", textures, w)
    std = np.sqrt(np.einsum("nhw,hw->n", (textures - mean[:, None, None]) ** 2, w)) + 1e-3
    normal = np.clip((textures - mean[:, None, None]) / std[:, None, None], -4, 4)
    return np.stack([mean, np.log(std)], axis=1), normal


def _face_weight(mean_shape: np.ndarray) -> np.ndarray:
    """Weights [CANVAS, CANVAS]: 1 on the face, falling to 0.15 on hair and background."""
    weight = np.zeros((CANVAS, CANVAS), np.float32)
    hull = cv2.convexHull(mean_shape.astype(np.float32)).round().astype(np.int32)
    cv2.fillConvexPoly(weight, hull, 1.0)
    return 0.15 + 0.85 * cv2.GaussianBlur(weight, (0, 0), 6)


def _usual(badness: np.ndarray) -> np.ndarray:
    """bool [N]: all but the worst few."""
    return badness <= np.quantile(badness, 1 - WORST)


def kaggle_labels(path: Path):
    """(label_mean, label_covariance, patterns, pattern_counts) of the first source in a training.csv."""
    columns = list(KAGGLE15.columns)
    import pandas

    try:
        table = pandas.read_csv(path, usecols=columns, nrows=2284)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the labels of {path}: {str(error).splitlines()[0]}") from error
    points = table[columns].to_numpy(np.float64).reshape(-1, len(KAGGLE15), 2)
    seen = ~np.isnan(points).any(axis=2)
    patterns, counts = np.unique(seen, axis=0, return_counts=True)
    order = np.lexsort([-counts, ~patterns.all(axis=1)])
    complete = points[seen.all(axis=1)].reshape(-1, 2 * len(KAGGLE15))
    mean = complete.mean(axis=0).reshape(-1, 2)
    return mean, np.cov(complete.T), patterns[order], counts[order]


def read_crops(folder: Path):
    """Gray images (as they come, any size), keypoints [N, 68, 2] and person names of a YouTube-layout folder."""
    import pandas

    images, keypoints, people = [], [], []
    for part in ("training", "test"):
        table = folder / f"{part}_frames_keypoints.csv"
        if not table.is_file():
            continue
        rows = pandas.read_csv(table)
        for name, values in zip(rows.iloc[:, 0], rows.iloc[:, 1:].to_numpy(np.float64), strict=True):
            image = cv2.imread(str(folder / part / name), cv2.IMREAD_GRAYSCALE)
            if image is None:
                raise DataError(f"cannot read the image {folder / part / name}")
            points = values.reshape(68, 2)
            slack = 0.1 * max(image.shape)
            if points.min() < -slack or (points > np.array(image.shape[::-1]) + slack).any():
                continue  # points far outside the crop: a failed track
            images.append(image)
            keypoints.append(points)
            people.append(name.rsplit("_", 1)[0])
    if not images:
        raise DataError(f"no training_frames_keypoints.csv or test_frames_keypoints.csv in {folder}")
    return images, np.array(keypoints), np.array(people)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.synthetic.fit", description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="folder in the YouTube 68-point layout")
    parser.add_argument("--output", type=Path, default=face_model.MODEL_FILE)
    parser.add_argument("--kaggle", type=Path, help="training.csv whose label statistics to imitate "
                        "(default: keep those of the present model)")
    parser.add_argument("--shape-modes", type=int, default=SHAPE_MODES)
    parser.add_argument("--texture-modes", type=int, default=TEXTURE_MODES)
    args = parser.parse_args(argv)
    try:
        if args.kaggle:
            labels = kaggle_labels(args.kaggle)
        else:
            present = face_model.load()
            labels = present.label_mean, present.label_covariance, present.patterns, present.pattern_counts
        images, keypoints, _ = read_crops(args.input)
        model = fit(images, keypoints, labels, args.shape_modes, args.texture_modes)
        face_model.save(model, args.output)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    size = args.output.stat().st_size
    print(f"{args.output}: {size / 1e6:.2f} MB, {model.report[0]:.0f} faces, {len(model.shape_basis)} shape modes "
          f"hold {model.report[1]:.1%}, {len(model.texture_basis)} texture modes hold {model.report[2]:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
