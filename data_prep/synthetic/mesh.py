"""The piecewise-affine warp between the model's canvas and an image.

The canvas is the square in which every face has the mean shape. Around the 68 points lie a halo (forehead,
temples, neck) that follows the face in part, and a frame outside the canvas that does not deform at all;
both move with the face's position, scale and rotation, so hair and background come along.
"""

from collections.abc import Iterator

import cv2
import numpy as np

CANVAS = 128  # pixels a side; a 96-pixel face needs the rest when it is small, turned or off-centre
FRACTION_BITS = 4  # of cv2's fixed-point polygon vertices
HALO_FOLLOWS = 0.8  # share of the nearest face points' displacement that the halo takes over
NOSE_TIP = 30
INNER_LIPS = np.arange(60, 68)
SLIVER = 0.3  # square pixels; moves the points of the smallest triangles by less than a tenth of a pixel
FRAME_POINTS = 16
FRAME_MARGIN = 32.0  # canvas pixels
_BROWS = np.arange(17, 27)
_JAW = np.arange(17)


class Mesh:
    """Triangles over the mean shape, its halo and the canvas frame.

    mean_shape: float [68, 2], (x, y) in canvas pixels.
    anchors: float [A, 2], halo then frame, in canvas pixels. triangles: int [T, 3] into 68 points + anchors,
        Delaunay's unless given (the model file keeps them, so that a face does not depend on SciPy's version).
    """

    def __init__(self, mean_shape: np.ndarray, triangles: np.ndarray | None = None):
        self.mean_shape = np.asarray(mean_shape, np.float64)
        halo, frame = _halo(self.mean_shape), _frame()
        self.anchors = np.concatenate([halo, frame])
        self.vertices = np.concatenate([self.mean_shape, self.anchors])
        self.triangles = _delaunay(self.vertices) if triangles is None else triangles
        distance = np.linalg.norm(halo[:, None] - self.mean_shape[None], axis=-1)
        near = np.exp(-((distance / 12.0) ** 2) / 2) + 1e-12
        follow = HALO_FOLLOWS * near / near.sum(axis=1, keepdims=True)
        self.follow = np.concatenate([follow, np.zeros((len(frame), len(self.mean_shape)))])  # [A, 68]
        self.mean_area = _areas(self.vertices[None], self.triangles)[0]
        self.large = (np.abs(self.mean_area) > 6.0) & ~np.isin(self.triangles, INNER_LIPS).any(axis=1)
        inside = (self.triangles < len(self.mean_shape)).all(axis=1)
        # Within the face nothing may turn over; around it a little, as where a turned jaw hides the neck.
        self.least = np.where(inside, 0.0, -0.15)[self.large]

    def place(self, shapes: np.ndarray) -> np.ndarray:
        """Face points [N, 68, 2] in canvas pixels -> all vertices [N, 68 + A, 2], anchors included."""
        moved = self.anchors + np.einsum("ak,nkd->nad", self.follow, shapes - self.mean_shape)
        return np.concatenate([shapes, moved], axis=1)

    def folded(self, vertices: np.ndarray) -> np.ndarray:
        """bool [N]: faces in which a triangle turns over, but for slight ones and the inner lips'.

        vertices: [N, V, 2]. Delaunay's triangles have no fixed orientation: their mean areas' signs tell.
        """
        ratio = _areas(vertices, self.triangles)[:, self.large] / self.mean_area[self.large]
        return (ratio < self.least * np.median(ratio, axis=1, keepdims=True)).any(axis=1)

    def lookups(self, targets: np.ndarray, sources: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """For each face, where each pixel of its output square reads from: float32 [size, size, 2], (x, y).

        targets: [N, V, 2] vertex positions in the outputs. sources: [N or 1, V, 2] the same vertices where the
        pixels come from. One affine map per triangle (target -> source); pixels outside all triangles
        follow the one that best fits the frame.
        """
        sources = np.broadcast_to(sources, targets.shape)
        inside = _affine(targets[:, self.triangles], sources[:, self.triangles])  # [N, T, 2, 3]
        outside = _affine(targets[:, None, -FRAME_POINTS:], sources[:, None, -FRAME_POINTS:])
        maps = np.concatenate([inside, outside], axis=1).astype(np.float32)
        corners = np.round(targets[:, self.triangles] * (1 << FRACTION_BITS)).astype(np.int32, order="C")
        line = np.arange(size, dtype=np.float32)
        x, y = np.tile(line, size), np.repeat(line, size)
        for face, polygons in zip(maps, corners, strict=True):
            index = np.full((size, size), len(polygons), np.int16)
            for triangle, polygon in enumerate(polygons):
                cv2.fillConvexPoly(index, polygon, triangle, cv2.LINE_8, FRACTION_BITS)
            a = face.reshape(-1, 6)[index.ravel()].T
            source = np.stack([a[0] * x + a[1] * y + a[2], a[3] * x + a[4] * y + a[5]], axis=1)
            yield source.reshape(size, size, 2)


def _delaunay(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import Delaunay

    triangles = Delaunay(points).simplices
    # Painted in this order, so that in a turned head the middle of the face covers what lies behind it.
    far = np.linalg.norm(points[triangles].mean(axis=1) - points[NOSE_TIP], axis=1)
    return triangles[np.argsort(-far)].astype(np.int16)


def _affine(targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Least-squares affine maps target -> source: [..., V, 2], [..., V, 2] -> [..., 2, 3].

    Drawn slightly towards a plain shift, because a closed mouth gives triangles of no area.
    """
    centre, origin = targets.mean(axis=-2, keepdims=True), sources.mean(axis=-2, keepdims=True)
    t, s = targets - centre, sources - origin
    gram = np.einsum("...vi,...vj->...ij", t, t) + SLIVER * np.eye(2)
    cross = np.einsum("...vi,...vj->...ij", s, t) + SLIVER * np.eye(2)
    determinant = gram[..., 0, 0] * gram[..., 1, 1] - gram[..., 0, 1] ** 2
    adjugate = np.stack([gram[..., 1, 1], -gram[..., 0, 1], -gram[..., 0, 1], gram[..., 0, 0]], axis=-1).reshape(
        gram.shape
    )
    linear = cross @ (adjugate / determinant[..., None, None])  # source = linear @ target
    shift = origin.swapaxes(-1, -2) - linear @ centre.swapaxes(-1, -2)
    return np.concatenate([linear, shift], axis=-1)


def _areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Signed areas [N, T] of the triangles of vertices [N, V, 2]."""
    a, b, c = (vertices[:, triangles[:, i]] for i in range(3))
    u, v = b - a, c - a
    return (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]) / 2


def _halo(shape: np.ndarray) -> np.ndarray:
    """Points around the head, [H, 2]: the jaw pushed outward, the brows pushed up twice (forehead, hair)."""
    centre = shape[27]  # top of the nose bridge
    jaw = centre + 1.22 * (shape[_JAW[::2]] - centre)
    middle = shape[_BROWS].mean(axis=0)
    width = np.ptp(shape[_BROWS][:, 0])
    angles = np.radians([200, 230, 270, 310, 340])
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    forehead = middle + arc * (0.58 * width, 0.40 * width)
    return np.concatenate([jaw, forehead])


def _frame() -> np.ndarray:
    """FRAME_POINTS points around the canvas, outside it, so that a long chin does not press the halo against them."""
    first, last = -FRAME_MARGIN, CANVAS - 1 + FRAME_MARGIN
    steps = np.linspace(first, last, FRAME_POINTS // 4 + 1)
    low, high = np.full(FRAME_POINTS // 4, first), np.full(FRAME_POINTS // 4, last)
    sides = [(steps[:-1], low), (high, steps[:-1]), (steps[:0:-1], high), (low, steps[:0:-1])]
    return np.concatenate([np.stack(side, axis=1) for side in sides])
