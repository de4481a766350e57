"""A moustache between nose and lip, as wide as the face is; it turns with eyes and mouth."""

from functools import cache

import numpy as np

from inference.filters import overlay
from inference.filters.overlay import Picture

HELD_BY = "left_eye_center", "right_eye_center", "mouth_left_corner", "mouth_right_corner"
BELOW = "nose_tip", "mouth_center_top_lip"
SHARE = 0.78  # its middle lies so far on the way from the nose's tip to the lip

# Half of it, face units about its middle: the edges between which its hairs lie, from the middle to the tip.
UPPER = [(0, -0.06), (0.08, -0.115), (0.2, -0.105), (0.34, -0.02), (0.46, 0.015), (0.56, -0.04), (0.6, -0.15)]
LOWER = [(0, 0.0), (0.06, 0.075), (0.18, 0.125), (0.33, 0.14), (0.49, 0.105), (0.595, 0.0), (0.604, -0.15)]
SHADES = (  # of hairs, the lowest first, and how many of each lie in a half
    *(((26, 16, 11), 150), ((78, 50, 31), 190), ((40, 25, 16), 170), ((112, 76, 48), 90), ((52, 32, 21), 130)),
    *(((20, 12, 8), 70), ((150, 106, 70), 36)),
)
UNIT = 480


def put_on(rgb: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """A photo, uint8 [H, W, 3], with a moustache on the face that has these points, [15, 2]."""
    matrix = overlay.placement(keypoints, HELD_BY)
    nose, lip = overlay.points_of(keypoints, BELOW)
    return overlay.lay_on(rgb, (picture(), np.column_stack([matrix[:, :2], nose + SHARE * (lip - nose)])))


@cache
def picture() -> Picture:
    from inference.filters.drawing import Canvas, mirrored, smooth

    canvas, rng = Canvas(-0.72, -0.28, 0.72, 0.28, UNIT), np.random.default_rng(0)
    upper, lower = smooth(UPPER), smooth(LOWER)
    half = np.concatenate([upper, lower[::-1]])
    body = np.maximum(canvas.area(half), canvas.area(mirrored(half)))
    canvas.paint(canvas.soft(body, 0.03, (0, 0.035)), (40, 15, 5), 0.45)  # its shadow on the lip
    canvas.paint(canvas.soft(body, 0.006), (34, 21, 14), 0.95)
    for shade, count in SHADES:
        hairs = [hair(upper, lower, rng) for _ in range(count)]
        hairs += [mirrored(hair(upper, lower, rng)) for _ in range(count)]
        canvas.paint(canvas.lines(hairs, 0.004), shade, 0.75)
    sheen = canvas.soft(body * (abs(canvas.y + 0.02 - 0.25 * abs(canvas.x)) < 0.016), 0.02)
    canvas.paint(sheen * body, (190, 150, 115), 0.3)
    return canvas.picture()


def hair(upper: np.ndarray, lower: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One that runs along between two edges, a little outwards."""
    start, across = rng.uniform(-0.05, 0.9), rng.uniform(-0.06, 1.02)
    along = np.clip(np.linspace(start, start + rng.uniform(0.08, 0.25), 8), 0, 1)
    across = np.clip(across + np.linspace(0, rng.uniform(-0.12, 0.2), 8), -0.1, 1.1)[:, None]
    places = np.rint(along * (len(upper) - 1)).astype(int)
    return upper[places] * (1 - across) + lower[places] * across
