"""Principal modes of a set of faces taken together with their mirror images.

Over such a set the symmetric and the antisymmetric part of a face do not correlate, so every mode is one or
the other: its parity is +1 or -1, and half of it tells the whole.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.synthetic.mesh import CANVAS
from data_prep.synthetic.shapes import mirrored

POWER_ROUNDS, SPARE_MODES = 6, 30  # of the randomised decomposition; more changes no digit that is kept


@dataclass(frozen=True)
class Modes:
    """basis: [M, ...], one standard deviation of each mode. scores: [N, M], standardised coefficients.
    parity: [M]. held: share of the variance that the modes hold.
    """

    basis: np.ndarray
    scores: np.ndarray
    parity: np.ndarray
    held: float


@dataclass(frozen=True)
class TextureModes(Modes):
    """mean: [H, W]. residual: [N], mean square of each face that the modes leave; residual_map: [H, W], its
    root over faces.
    """

    mean: np.ndarray
    residual: np.ndarray
    residual_map: np.ndarray


def of_shapes(shapes: np.ndarray, mean: np.ndarray, count: int) -> Modes:
    """Modes of shapes [N, 68, 2] in canvas pixels about a symmetric mean [68, 2]."""
    n = len(shapes)
    around, other = shapes - mean, mirrored(shapes, CANVAS) - mean
    parts = [((around + sign * other) / 2).reshape(n, -1) for sign in (1, -1)]
    unit, std, scores, parity, held = _decomposed(*parts, count)
    return Modes((unit * std[:, None]).reshape(-1, *mean.shape), scores, parity, held)


def of_textures(textures: np.ndarray, weight: np.ndarray, count: int) -> TextureModes:
    """Modes of textures float32 [N, CANVAS, CANVAS]. weight: [CANVAS, CANVAS], where errors matter most."""
    n, half = len(textures), CANVAS // 2
    left, right = textures[:, :, :half], textures[:, :, ::-1][:, :, :half]
    mean = (left.mean(axis=0) + right.mean(axis=0)) / 2
    root = np.sqrt(weight[:, :half]).astype(np.float32)
    even = (((left + right) / 2 - mean) * root).reshape(n, -1)
    odd = ((left - right) / 2 * root).reshape(n, -1)
    unit, std, scores, parity, held = _decomposed(even, odd, count)
    lost, residual = np.zeros(half * CANVAS), np.zeros(n)
    for part, sign in ((even, 1), (odd, -1)):
        chosen = parity == sign
        error = part - (scores[:, chosen] * std[chosen]) @ unit[chosen]
        residual += (error**2).mean(axis=1)
        lost += (error**2).mean(axis=0)
    basis = (unit * std[:, None]).reshape(-1, CANVAS, half) / root
    spread = np.sqrt(lost).reshape(CANVAS, half) / root
    return TextureModes(
        np.concatenate([basis, parity[:, None, None] * basis[:, :, ::-1]], axis=2).astype(np.float32),
        scores,
        parity,
        held,
        np.concatenate([mean, mean[:, ::-1]], axis=1),
        residual,
        np.concatenate([spread, spread[:, ::-1]], axis=1),
    )


def _decomposed(even: np.ndarray, odd: np.ndarray, count: int):
    """The `count` largest modes of two uncorrelated parts [N, D]: unit vectors [M, D], std [M], standardised
    scores [N, M], parity [M], share of variance held.
    """
    parts = [_largest(even, count), _largest(odd, count)]
    unit = np.concatenate([part[0] for part in parts])
    std = np.concatenate([part[1] for part in parts])
    scores = np.concatenate([part[2] for part in parts], axis=1)
    parity = np.repeat([1, -1], [len(part[0]) for part in parts])
    order = np.argsort(-std)[:count]
    total = np.square(even).sum(dtype=np.float64) + np.square(odd).sum(dtype=np.float64)
    held = float((std[order] ** 2).sum() * len(even) / total)
    return unit[order], std[order], scores[:, order], parity[order], held


def _largest(part: np.ndarray, count: int):
    """Leading right singular vectors by randomised power iteration (Halko, Martinsson & Tropp 2011, alg. 4.4).

    A full decomposition of 3,600 faces of 8,192 pixels would take ten times as long.
    """
    width = min(count + SPARE_MODES, *part.shape)
    guess = np.random.default_rng(0).standard_normal((len(part), width)).astype(part.dtype)
    for _ in range(POWER_ROUNDS):
        guess = np.linalg.qr(part @ (part.T @ guess))[0]
    projected = guess.T @ part  # [width, D]
    squares, vectors = np.linalg.eigh((projected @ projected.T).astype(np.float64))
    squares, vectors = squares[::-1][:count], vectors[:, ::-1][:, :count]
    keep = squares > 1e-8 * squares[0]
    values = np.sqrt(squares[keep])
    unit = (vectors[:, keep] / values).T.astype(part.dtype) @ projected
    std = values / np.sqrt(len(part))
    return unit, std, part @ unit.T / std
