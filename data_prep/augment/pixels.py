"""Steps that change gray values where they are. Each is `step(images, rng) -> images`, uint8 [B, H, W], new ones.

Sums end at 0 and 255 and never wrap around: OpenCV's arithmetic saturates. Gray levels are of 0 to 255.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data_prep.augment.ranges import check_number, check_range

NOISE_UNIT = 32  # steps of the noise bank per standard deviation: four of those fill its 8 bits
NOISE_BANK = 2**20  # values; drawing them face by face would take longer than all other steps together


@dataclass(frozen=True)
class Brightness:
    """Adds up to `levels` gray levels, or takes them away."""

    levels: float = 30

    def __post_init__(self):
        check_number(self, "levels", 0, 255)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return scaled(images, np.ones(len(images)), rng.uniform(-self.levels, self.levels, len(images)))


@dataclass(frozen=True)
class Contrast:
    """Spreads gray values about the face's mean by a factor from low to high, uniform in its logarithm."""

    low: float = 0.7
    high: float = 1.4

    def __post_init__(self):
        check_range(self, 0.01, 100)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        factors = np.exp(rng.uniform(np.log(self.low), np.log(self.high), len(images)))
        return scaled(images, factors, (1 - factors) * means(images))


@dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise, each pixel's its own, to a share of the faces: of up to `deviation` gray levels."""

    deviation: float = 8
    share: float = 0.5

    def __post_init__(self):
        check_number(self, "deviation", 0, 255)
        check_number(self, "share", 0, 1)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        import cv2

        _, height, width = images.shape
        bank, changed = noise_bank(max(NOISE_BANK, 8 * height * width)), images.copy()
        for row in chosen(rng, len(images), self.share):
            start = rng.integers(len(bank) - height * width)
            noise = bank[start : start + height * width].reshape(height, width)
            weight = rng.uniform(0, self.deviation) / NOISE_UNIT
            cv2.addWeighted(images[row], 1, noise, weight, -128 * weight, dst=changed[row])
        return changed


@dataclass(frozen=True)
class Blur:
    """Blurs a share of the faces with a Gaussian of low to high pixels."""

    low: float = 0.4
    high: float = 1.2
    share: float = 0.3

    def __post_init__(self):
        check_range(self, 0.01, 100)
        check_number(self, "share", 0, 1)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        import cv2

        changed = images.copy()
        for row in chosen(rng, len(images), self.share):
            width = rng.uniform(self.low, self.high)
            cv2.GaussianBlur(images[row], (0, 0), width, dst=changed[row], borderType=cv2.BORDER_REPLICATE)
        return changed


@dataclass(frozen=True)
class Occlude:
    """Covers part of a share of the faces by one gray rectangle; its sides are low to high of the image's.

    Its gray level is drawn for each. Labels below it stay: the network should infer them. After DeVries and Taylor,
    "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """

    low: float = 0.1
    high: float = 0.35
    share: float = 0.3

    def __post_init__(self):
        check_range(self, 0, 1)
        check_number(self, "share", 0, 1)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        changed, size = images.copy(), np.array(images.shape[1:])
        for row in chosen(rng, len(images), self.share):
            sides = np.rint(rng.uniform(self.low, self.high, 2) * size).astype(int)
            top, left = rng.integers(0, size - sides, endpoint=True)
            changed[row, top : top + sides[0], left : left + sides[1]] = rng.integers(256)
        return changed


def scaled(images: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """image * factor + offset for each, uint8 [B, H, W], rounded and kept within 0 to 255."""
    import cv2

    changed = np.empty_like(images)
    for image, factor, offset, result in zip(images, factors, offsets, changed, strict=True):
        cv2.addWeighted(image, factor, image, 0, offset, dst=result)
    return changed


def means(images: np.ndarray) -> np.ndarray:
    """Mean of each image's gray values: float64 [B]."""
    import cv2

    return np.array([cv2.mean(image)[0] for image in images])


def chosen(rng: np.random.Generator, count: int, share: float) -> np.ndarray:
    """Positions of the faces that a step changes; each is one with probability `share`."""
    return np.flatnonzero(rng.random(count) < share)


@lru_cache(maxsize=1)
def noise_bank(count: int) -> np.ndarray:
    """uint8 [count], normal with mean 128 and a standard deviation of NOISE_UNIT; the same in every process."""
    values = np.random.default_rng(0).standard_normal(count, dtype=np.float32)
    return np.clip(np.rint(values * NOISE_UNIT + 128), 0, 255).astype(np.uint8)
