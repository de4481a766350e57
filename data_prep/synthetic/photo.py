"""What a camera and a scene add to a drawn face: light, things in front, softness, noise, compression.

Every function takes and returns float32 gray levels [H, W] and keeps each pixel's place, so labels stay
exact. Amounts are drawn widely rather than measured: a network trained on the faces should meet more
kinds of photograph than any one data set holds.
"""

import cv2
import numpy as np


def photographed(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All of it, each in part of the faces. points: [68, 2], the face's points in the image. Returns uint8."""
    if rng.random() < 0.5:
        image = lit(image, rng)
    if rng.random() < 0.08:
        image = with_glasses(image, points, rng)
    if rng.random() < 0.12:
        image = occluded(image, points, rng)
    image = exposed(image, rng)
    if rng.random() < 0.5:
        image = softened(image, rng)
    noise = abs(rng.normal(0, 3.0))
    image = image + noise * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.clip(image, 0, 255).round().astype(np.uint8)
    return compressed(image, rng) if rng.random() < 0.4 else image


def lit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light from one side: a smooth gain across the image, at most about three to one."""
    height, width = image.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle, strength = rng.uniform(0, 2 * np.pi), abs(rng.normal(0, 0.3))
    across = x * np.cos(angle) + y * np.sin(angle)
    edge = rng.uniform(0.3, 2.0)  # soft gradient, or a shadow with an edge
    return image * np.exp(strength * np.tanh(across / edge) * min(edge + 0.5, 1.5)).astype(np.float32)


def exposed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another exposure, contrast and tone curve."""
    gamma = np.exp(rng.normal(0, 0.22))
    image = 255 * np.clip(image / 255, 0, 1) ** gamma
    middle = image.mean()
    return middle + np.exp(rng.normal(0, 0.2)) * (image - middle) + rng.normal(0, 12)


def softened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus, or enlarged from a smaller picture."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.4))
    size = image.shape[::-1]
    scale = rng.uniform(0.35, 0.9)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)


def compressed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 -> uint8 through JPEG, quality 30 to 90."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 91))])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def occluded(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand, microphone, lock of hair or caption: an even, soft-edged shape over part of the lower face or edge."""
    height, width = image.shape
    cover = np.zeros_like(image)
    start = points[rng.integers(len(points))] + rng.normal(0, 10, 2)
    kind = rng.integers(3)
    if kind == 0:
        axes = tuple(int(v) for v in rng.uniform(4, 16, 2))
        cv2.ellipse(cover, tuple(start.astype(int).tolist()), axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    elif kind == 1:
        end = start + rng.normal(0, 50, 2)
        thickness = int(rng.integers(2, 12))
        cv2.line(cover, tuple(start.astype(int).tolist()), tuple(end.astype(int).tolist()), 1.0, thickness)
    else:
        cover[int(np.clip(start[1], height * 0.6, height - 1)) :] = 1.0
    cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.4, 1.5))
    tone = rng.uniform(10, 245) + rng.uniform(0, 20) * _blobs(image.shape, rng)
    return image + cover * (tone - image)


def with_glasses(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rims around both eyes and a bridge, thin or thick, dark or pale; sometimes tinted."""
    scale = 16  # fixed-point sub-pixels of cv2's drawing
    right, left = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    across = left - right
    distance = np.linalg.norm(across)
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    axes = distance * np.array([rng.uniform(0.32, 0.42), rng.uniform(0.22, 0.36)])
    drop = np.array([-across[1], across[0]]) / distance * rng.uniform(0, 0.1) * distance
    cover, tint = np.zeros_like(image), np.zeros_like(image)
    thickness = int(rng.integers(1, 3))
    for eye in (right, left):
        centre = tuple(np.round((eye + drop) * scale).astype(int).tolist())
        size = tuple(np.round(axes * scale).astype(int).tolist())
        cv2.ellipse(tint, centre, size, angle, 0, 360, 1.0, -1, cv2.LINE_8, 4)
        cv2.ellipse(cover, centre, size, angle, 0, 360, 1.0, thickness, cv2.LINE_8, 4)
    inner = [eye + drop + side * axes[0] * across / distance for eye, side in ((right, 1), (left, -1))]
    ends = [tuple(np.round(p * scale).astype(int).tolist()) for p in inner]
    cv2.line(cover, ends[0], ends[1], 1.0, thickness, cv2.LINE_8, 4)
    cover = cv2.GaussianBlur(cover, (0, 0), 0.6) * rng.uniform(0.5, 1.0)
    tone = rng.uniform(0, 90) if rng.random() < 0.8 else rng.uniform(140, 230)
    if rng.random() < 0.15:
        image = image + tint * rng.uniform(0.2, 0.7) * (20 - image)
    return image + cover * (tone - image)


def _blobs(shape: tuple, rng: np.random.Generator) -> np.ndarray:
    """Smooth random texture of about unit range, [H, W]."""
    coarse = rng.standard_normal((int(rng.integers(2, 12)), int(rng.integers(2, 12))), dtype=np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
