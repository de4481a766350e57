"""Steps that move pixels: each gives a 3x3 matrix per face, so that any number of them is one warp.

A step has `size_after(size) -> size`, sizes being (height, width), and `matrices(rng, count, size) -> float64
[B, 3, 3]`, which map pixels (x, y, 1) of an image of that size to where they are after the step. (0, 0) is the
centre of the top-left pixel. A matrix with a negative determinant is a mirror image, see pipeline.py.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.augment.ranges import check_number, check_range
from data_prep.faceset import DataError

Size = tuple[int, int]


class SameSize:
    """For steps that leave an image of the same size."""

    def size_after(self, size: Size) -> Size:
        return size


@dataclass(frozen=True)
class Rotate(SameSize):
    """About the image's centre by an angle drawn from -degrees to degrees; a positive one turns it clockwise."""

    degrees: float

    def __post_init__(self):
        check_number(self, "degrees", 0, 180)

    def matrices(self, rng: np.random.Generator, count: int, size: Size) -> np.ndarray:
        angles = np.radians(rng.uniform(-self.degrees, self.degrees, count))
        cos, sin = np.cos(angles), np.sin(angles)
        return about_centre(np.stack([cos, -sin, sin, cos], axis=1).reshape(count, 2, 2), size)


@dataclass(frozen=True)
class Scale(SameSize):
    """About the image's centre by a factor from low to high, uniform in its logarithm: 1/2 is as likely as 2."""

    low: float
    high: float

    def __post_init__(self):
        check_range(self, 0.01, 100)

    def matrices(self, rng: np.random.Generator, count: int, size: Size) -> np.ndarray:
        factors = np.exp(rng.uniform(np.log(self.low), np.log(self.high), count))
        return about_centre(factors[:, None, None] * np.eye(2), size)


@dataclass(frozen=True)
class Shift(SameSize):
    """By up to a share of the image's width and, drawn apart, of its height, either way."""

    share: float

    def __post_init__(self):
        check_number(self, "share", 0, 1)

    def matrices(self, rng: np.random.Generator, count: int, size: Size) -> np.ndarray:
        return shifts(rng.uniform(-self.share, self.share, (count, 2)) * size[::-1])


@dataclass(frozen=True)
class Flip(SameSize):
    """Left and right exchanged in a share of the faces: x -> W - 1 - x."""

    share: float = 0.5

    def __post_init__(self):
        check_number(self, "share", 0, 1)

    def matrices(self, rng: np.random.Generator, count: int, size: Size) -> np.ndarray:
        found = np.tile(np.eye(3), (count, 1, 1))
        found[rng.random(count) < self.share] = [[-1, 0, size[1] - 1], [0, 1, 0], [0, 0, 1]]
        return found


@dataclass(frozen=True)
class Rescale:
    """The whole image in another size: its shorter side becomes `pixels` long, or both sides `factor` times as long.

    A length s times as long takes a point p to (p + 0.5) * s - 0.5, for p counts from a pixel's centre.
    """

    pixels: int | None = None
    factor: float | None = None

    def __post_init__(self):
        check_either(self, 100)

    def size_after(self, size: Size) -> Size:
        return rounded(size, self.factor or self.pixels / min(size))

    def matrices(self, rng: np.random.Generator, count: int, size: Size) -> np.ndarray:
        height, width = np.divide(self.size_after(size), size)
        matrix = np.diag([width, height, 1.0])
        matrix[:2, 2] = 0.5 * width - 0.5, 0.5 * height - 0.5
        return np.tile(matrix, (count, 1, 1))


@dataclass(frozen=True)
class RandomCrop:
    """A part of the image, at a place drawn at random: `pixels` square, or `factor` of its height and width."""

    pixels: int | None = None
    factor: float | None = None

    def __post_init__(self):
        check_either(self, 1)

    def size_after(self, size: Size) -> Size:
        left = rounded(size, self.factor) if self.factor else (self.pixels, self.pixels)
        if left[0] > size[0] or left[1] > size[1]:
            raise DataError(f"RandomCrop of {left[0]}x{left[1]} pixels from an image of {size[0]}x{size[1]}")
        return left

    def matrices(self, rng: np.random.Generator, count: int, size: Size) -> np.ndarray:
        room = np.subtract(size, self.size_after(size))[::-1]
        return shifts(-rng.integers(0, room, (count, 2), endpoint=True))


def about_centre(linear: np.ndarray, size: Size) -> np.ndarray:
    """[B, 3, 3] from linear maps [B, 2, 2], with the image's centre at rest."""
    centre = (np.array(size[::-1]) - 1) / 2
    found = shifts(centre - linear @ centre)
    found[:, :2, :2] = linear
    return found


def shifts(by: np.ndarray) -> np.ndarray:
    """[B, 3, 3] from shifts [B, 2] in pixels."""
    found = np.tile(np.eye(3), (len(by), 1, 1))
    found[:, :2, 2] = by
    return found


def rounded(size: Size, factor: float) -> Size:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def check_either(step: Rescale | RandomCrop, most: float) -> None:
    """Raise DataError unless the step has either pixels or a factor of at most `most`."""
    if (step.pixels is None) == (step.factor is None):
        raise DataError(f"{step}: either pixels or a factor is needed")
    if step.pixels is None:
        check_number(step, "factor", 0.01, most)
    else:
        check_number(step, "pixels", 1, 10_000)
