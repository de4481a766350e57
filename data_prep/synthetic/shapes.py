"""Arithmetic on face shapes: similarity alignment, mirror images, closed lips."""

import numpy as np

from data_prep.schema import IBUG68, kaggle15_from_ibug68

LIP_GAP = 0.25  # canvas pixels left between closed lips, so that no triangle turns over


def to_complex(points: np.ndarray) -> np.ndarray:
    """[..., 2] -> complex [...], x + iy; a similarity is then z -> a * z + b."""
    return points[..., 0] + 1j * points[..., 1]


def moved(points: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Points [N, K, 2] under each face's similarity, complex [N, 2] (a, b): a * z + b."""
    z = similarity[:, :1] * to_complex(points) + similarity[:, 1:]
    return np.stack([z.real, z.imag], axis=-1)


def inverse(similarity: np.ndarray) -> np.ndarray:
    """The similarities [N, 2] that undo these."""
    a, b = similarity.T
    return np.stack([1 / a, -b / a], axis=1)


def alignment(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Least-squares similarities, complex [N, 2], that take points [N, K, 2] onto reference [K, 2].

    Procrustes in the complex plane (Dryden & Mardia, "Statistical Shape Analysis", 1998, ch. 3).
    """
    z, goal = to_complex(points), to_complex(reference)
    centred = z - z.mean(axis=1, keepdims=True)
    a = (centred.conj() * (goal - goal.mean())).sum(axis=1) / (np.abs(centred) ** 2).sum(axis=1)
    return np.stack([a, goal.mean() - a * z.mean(axis=1)], axis=1)


def mirrored(shapes: np.ndarray, width: float) -> np.ndarray:
    """Shapes [N, 68, 2] seen in a mirror: x becomes width - 1 - x and the points change sides by name."""
    flipped = shapes[:, IBUG68.mirror].copy()
    flipped[..., 0] = width - 1 - flipped[..., 0]
    return flipped


def with_lips_apart(shapes: np.ndarray) -> np.ndarray:
    """Shapes [N, 68, 2] in canvas pixels whose inner upper lip is never below the lower one.

    Tracked points of a closed mouth cross over by a pixel or so; heads are level enough here to compare y.
    """
    shapes = shapes.copy()
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        middle = (shapes[:, upper, 1] + shapes[:, lower, 1]) / 2
        shapes[:, upper, 1] = np.minimum(shapes[:, upper, 1], middle - LIP_GAP / 2)
        shapes[:, lower, 1] = np.maximum(shapes[:, lower, 1], middle + LIP_GAP / 2)
    return shapes


def smooth_moves(moves: np.ndarray, shape: np.ndarray, reach: float = 7.0) -> np.ndarray:
    """Displacements [68, 2] of a shape [68, 2] that move its 15 points by `moves` [15, 2], smoothly.

    Kernel ridge regression with a Gaussian kernel of `reach` pixels.
    """
    places = kaggle15_from_ibug68(shape[None])[0]
    kernel = np.exp(-((shape[:, None] - places[None]) ** 2).sum(axis=-1) / (2 * reach**2))  # [68, 15]
    few = kaggle15_from_ibug68(np.stack([kernel, kernel], -1).transpose(1, 0, 2))[..., 0].T  # [15, 15]
    return kernel @ np.linalg.solve(few.T @ few + 0.02 * np.eye(15), few.T @ moves)
