"""The piecewise-affine warp between the model's canvas and an image.

The canvas is the square in which every face has the mean shape. Around the 68 points lie a halo (forehead,
temples, neck) that follows the face in part, and a frame outside the canvas that does not deform at all;
both move with the face's position, scale and rotation, so hair and background come along.
"""

import cv2
import numpy as np

CANVAS = 128  # pixels a side; a 96-pixel face needs the rest when it is small, turned or off-centre
FRACTION_BITS = 4  # of cv2's fixed-point polygon vertices
HALO_FOLLOWS = 0.8  # share of the nearest face points' displacement that the halo takes over
NOSE_TIP = 30
INNER_LIPS = np.arange(60, 68)
LIP_GAP = 0.25  # canvas pixels left between closed lips, so that no triangle turns over
SLIVER = 0.3  # square pixels; moves the points of the smallest triangles by less than a tenth of a pixel
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
        # Delaunay's triangles have no fixed orientation; a fold is a change of sign against the mean.
        self.large = (np.abs(self.mean_area) > 6.0) & ~np.isin(self.triangles, INNER_LIPS).any(axis=1)

    def place(self, shapes: np.ndarray) -> np.ndarray:
        """Face points [N, 68, 2] in canvas pixels -> all vertices [N, 68 + A, 2], anchors included."""
        moved = self.anchors + np.einsum("ak,nkd->nad", self.follow, shapes - self.mean_shape)
        return np.concatenate([shapes, moved], axis=1)

    def folded(self, vertices: np.ndarray) -> np.ndarray:
        """bool [N]: faces in which a triangle turns over clearly, but for slight ones and the inner lips'.

        vertices: [N, V, 2].
        """
        ratio = _areas(vertices, self.triangles)[:, self.large] / self.mean_area[self.large]
        return (ratio < -0.15 * np.median(ratio, axis=1, keepdims=True)).any(axis=1)

    def lookup(self, targets: np.ndarray, sources: np.ndarray, size: int) -> np.ndarray:
        """Where each pixel of one face's output square reads from: float32 [size, size, 2], (x, y).

        targets: [V, 2] vertex positions in the output. sources: [V, 2] the same vertices where the pixels
        come from. One affine map per triangle (target -> source); pixels outside all triangles follow the
        similarity that best fits the frame.
        """
        affine = _affine(targets[self.triangles], sources[self.triangles])  # [T, 2, 3]
        outside = _affine(targets[None, -16:], sources[None, -16:])  # least squares over the frame
        affine = np.concatenate([affine, outside]).astype(np.float32)
        index = np.full((size, size), len(self.triangles), np.int16)
        corners = np.round(targets[self.triangles] * (1 << FRACTION_BITS)).astype(np.int32)
        for triangle, polygon in enumerate(corners):
            cv2.fillConvexPoly(index, polygon, triangle, cv2.LINE_8, FRACTION_BITS)
        a = affine[index]
        x = np.arange(size, dtype=np.float32)
        return a[..., 0] * x[None, :, None] + a[..., 1] * x[:, None, None] + a[..., 2]


def _delaunay(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import Delaunay

    triangles = Delaunay(points).simplices
    # Painted in this order, so that in a turned head the middle of the face covers what lies behind it.
    far = np.linalg.norm(points[triangles].mean(axis=1) - points[NOSE_TIP], axis=1)
    return triangles[np.argsort(-far)].astype(np.int16)


def with_lips_apart(shapes: np.ndarray) -> np.ndarray:
    """Shapes [N, 68, 2] in canvas pixels whose inner upper lip is never below the lower one.

    Tracked points of a closed mouth cross over by a pixel or so; mouths are level enough here to compare y.
    """
    shapes = shapes.copy()
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        middle = (shapes[:, upper, 1] + shapes[:, lower, 1]) / 2
        shapes[:, upper, 1] = np.minimum(shapes[:, upper, 1], middle - LIP_GAP / 2)
        shapes[:, lower, 1] = np.maximum(shapes[:, lower, 1], middle + LIP_GAP / 2)
    return shapes


def _affine(targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Least-squares affine maps target -> source: [T, V, 2], [T, V, 2] -> [T, 2, 3].

    Drawn slightly towards a plain shift, because a closed mouth gives triangles of no area.
    """
    centre, origin = targets.mean(axis=1, keepdims=True), sources.mean(axis=1, keepdims=True)
    t, s = targets - centre, sources - origin
    gram = t.transpose(0, 2, 1) @ t + SLIVER * np.eye(2)
    cross = t.transpose(0, 2, 1) @ s + SLIVER * np.eye(2)
    linear = np.linalg.solve(gram, cross).transpose(0, 2, 1)  # source = linear @ target
    shift = origin[:, 0] - np.einsum("tij,tj->ti", linear, centre[:, 0])
    return np.concatenate([linear, shift[..., None]], axis=-1)


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
    """16 points around the canvas, outside it, so that a long chin does not press the halo against them."""
    first, last = -FRAME_MARGIN, CANVAS - 1 + FRAME_MARGIN
    steps = np.linspace(first, last, 5)
    low, high = np.full(4, first), np.full(4, last)
    sides = [(steps[:-1], low), (high, steps[:-1]), (steps[:0:-1], high), (low, steps[:0:-1])]
    return np.concatenate([np.stack(side, axis=1) for side in sides])
