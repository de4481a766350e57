"""A canvas for the filters' pictures: outlines, soft edges and colour gradients, in face units (see overlay.py)."""

import cv2
import numpy as np

from inference.filters.overlay import Picture

BITS = 4  # of the places' fractions, in OpenCV's fixed point


def smooth(points, closed: bool = False, steps: int = 24) -> np.ndarray:
    """A curve through points [n, 2] (Catmull-Rom spline), [m, 2]."""
    points = np.array(points, float)
    ends = (points[-1:], points[:2]) if closed else (2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1])
    padded = np.concatenate([ends[0], points, ends[1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    curve = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        curve.append(b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    return np.concatenate(curve if closed else [*curve, points[-1:]])


def mirrored(points) -> np.ndarray:
    """The same on the face's other side."""
    return np.array(points, float) * (-1, 1)


def round_trip(half) -> np.ndarray:
    """A closed outline from its half on one side, top to bottom."""
    return np.concatenate([half, mirrored(half)[::-1]])


class Canvas:
    """left, top, right, bottom: what it shows, in face units. unit: pixels per face unit."""

    def __init__(self, left: float, top: float, right: float, bottom: float, unit: int):
        self.unit, self.origin = unit, (-left * unit - 0.5, -top * unit - 0.5)
        self.shape = round((bottom - top) * unit), round((right - left) * unit)
        places = (np.arange(length, dtype=np.float32) for length in self.shape[::-1])
        self.x, self.y = np.meshgrid(*((at - start) / unit for at, start in zip(places, self.origin, strict=True)))
        self.colour = np.zeros((*self.shape, 3), np.float32)  # premultiplied
        self.alpha = np.zeros(self.shape, np.float32)

    def area(self, points) -> np.ndarray:
        """How far each pixel lies inside an outline, 0 to 1."""
        mask = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(mask, [self._fixed(points)], 255, cv2.LINE_AA, BITS)
        return mask / np.float32(255)

    def line(self, points, width: float) -> np.ndarray:
        """The same for a line of some width."""
        return self.lines([points], width)

    def lines(self, several, width: float) -> np.ndarray:
        mask = np.zeros(self.shape, np.uint8)
        thick = max(1, round(width * self.unit))
        cv2.polylines(mask, [self._fixed(points) for points in several], False, 255, thick, cv2.LINE_AA, BITS)
        return mask / np.float32(255)

    def soft(self, mask: np.ndarray, width: float, shift=(0.0, 0.0)) -> np.ndarray:
        """A mask blurred by a Gaussian of some width, and shifted."""
        matrix = np.array([[1, 0, shift[0] * self.unit], [0, 1, shift[1] * self.unit]])
        mask = cv2.warpAffine(mask, matrix, self.shape[::-1])
        return cv2.GaussianBlur(mask, (0, 0), width * self.unit, borderType=cv2.BORDER_CONSTANT)

    def paint(self, mask: np.ndarray, colour, opacity=1.0) -> None:
        """Lay a colour (RGB, or one each pixel) over what is there, where a mask says."""
        alpha = np.float32(np.clip(mask * opacity, 0, 1))
        self.colour = self.colour * (1 - alpha[..., None]) + np.asarray(colour, np.float32) * alpha[..., None]
        self.alpha = self.alpha * (1 - alpha) + alpha

    def fade(self, mask: np.ndarray) -> None:
        """Make all that is there as transparent as a mask says."""
        self.colour *= mask[..., None]
        self.alpha *= mask

    def picture(self) -> Picture:
        colour = self.colour / np.maximum(self.alpha, 1e-6)[..., None]
        rgba = np.dstack([np.clip(colour, 0, 255), 255 * self.alpha])
        return Picture(np.rint(rgba).astype(np.uint8), self.unit, self.origin)

    def _fixed(self, points) -> np.ndarray:
        return np.rint((np.asarray(points, float) * self.unit + self.origin) * 2**BITS).astype(np.int32)


def mix(first, second, share: np.ndarray) -> np.ndarray:
    """A colour each pixel: where share is 0 the first, where it is 1 the second."""
    share = np.float32(np.clip(share, 0, 1))[..., None]
    return np.asarray(first, np.float32) * (1 - share) + np.asarray(second, np.float32) * share
