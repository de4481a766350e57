"""Scenes behind a drawn face.

The model's own backgrounds are averages, soft as fog; photographs have walls, windows, foliage and people
there, with edges as sharp as the face's. What is drawn here is nothing in particular, only as busy.
"""

import cv2
import numpy as np

HEAD_REACH = 7.0  # canvas pixels around the face that stay the model's (hair, ears, neck)


def head_mask(mean_shape: np.ndarray, size: int) -> np.ndarray:
    """float32 [size, size]: 0 on the head, 1 on the background, soft between. mean_shape: [68, 2] there.

    The head is the face's outline together with an ellipse over the forehead, and the neck below the jaw.
    """
    head = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(head, cv2.convexHull(mean_shape.astype(np.float32)).round().astype(np.int32), 1)
    left, right, top = mean_shape[:, 0].min(), mean_shape[:, 0].max(), mean_shape[:, 1].min()
    chin = mean_shape[:, 1].max()
    middle, width = round((left + right) / 2), (right - left) / 2
    cv2.ellipse(head, (middle, round(top + 12)), (round(width), round(0.95 * width)), 0, 180, 360, 1, -1)
    cv2.rectangle(head, (round(middle - 0.6 * width), round(chin - 15)), (round(middle + 0.6 * width), size), 1, -1)
    away = cv2.distanceTransform(1 - head, cv2.DIST_L2, 5)
    return np.clip((away - HEAD_REACH) / 5, 0, 1).astype(np.float32)


def scene(size: int, rng: np.random.Generator) -> np.ndarray:
    """float32 [size, size] gray levels: a shaded ground with blotches, bars and patches, in or out of focus."""
    picture = rng.uniform(10, 245) + rng.uniform(0, 35) * blobs(size, rng)
    for _ in range(rng.integers(0, 9)):
        tone = rng.uniform(0, 255)
        x, y = rng.uniform(0, size, 2)
        kind = rng.integers(3)
        if kind == 0:
            corners = (np.array([x, y]) + rng.normal(0, size / 3, (rng.integers(3, 6), 2))).astype(np.int32)
            cv2.fillPoly(picture, [corners], tone)
        elif kind == 1:
            end = (int(x + rng.normal(0, size)), int(y + rng.normal(0, size)))
            cv2.line(picture, (int(x), int(y)), end, tone, int(rng.integers(1, 9)))
        else:
            axes = (int(rng.uniform(3, size / 3)), int(rng.uniform(3, size / 3)))
            cv2.ellipse(picture, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, tone, -1)
    return cv2.GaussianBlur(picture, (0, 0), np.exp(rng.uniform(np.log(0.4), np.log(6))))


def blobs(size: int, rng: np.random.Generator) -> np.ndarray:
    """float32 [size, size]: smooth random texture of about unit range, coarse or fine."""
    rows, columns = rng.integers(2, 14, 2)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
