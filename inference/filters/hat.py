"""A top hat on the forehead; it leans with the face and moves back from where the face looks."""

from functools import cache

import numpy as np

from inference.filters import overlay
from inference.filters.overlay import Picture

HELD_BY = (
    *("left_eye_center", "right_eye_center", "left_eyebrow_inner_end", "right_eyebrow_inner_end"),
    *("left_eyebrow_outer_end", "right_eyebrow_outer_end", "mouth_left_corner", "mouth_right_corner"),
)
HEAD_BEHIND = 2.5  # how far the head's middle lies behind the eyes, as a share of how far the nose stands out
MOST_ASIDE = 0.7  # face units, all that follow

BRIM = -0.84, 1.9, 0.25  # its middle's y, half its width, half the height at which it is seen
CURL = 0.2  # how much higher the brim's ends are than its middle
CROWN, TOP = (1.2, -0.92), (1.3, -2.55)  # half the width and y of the crown's foot and of its top
ROUND = 0.15, 0.07  # how much lower foot and top are in their middle, and higher
BAND = 0.22  # the ribbon's height, of the crown's
UNIT = 240


def put_on(rgb: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """A photo, uint8 [H, W, 3], with a hat on the face that has these points, [15, 2]."""
    matrix = overlay.placement(keypoints, HELD_BY)
    aside = np.clip(HEAD_BEHIND * overlay.turned(matrix, keypoints), -MOST_ASIDE, MOST_ASIDE)
    return overlay.lay_on(rgb, (picture(), overlay.moved(matrix, (-aside, 0))))


@cache
def picture() -> Picture:
    from inference.filters.drawing import Canvas, mix

    canvas = Canvas(-2.1, -2.8, 2.1, -0.2, UNIT)
    outlines = brim_outline(), crown_outline(0, 1), crown_outline(0, BAND)
    brim, crown, band = map(canvas.area, outlines)
    head = np.clip((1.2 - abs(canvas.x)) / 0.3, 0, 1)
    canvas.paint(canvas.soft(brim, 0.05, (0, 0.1)) * head, (25, 10, 0), 0.5)  # its shadow on the forehead
    around = canvas.x / CROWN[0]
    canvas.paint(brim, mix((16, 16, 20), (62, 62, 70), np.exp(-(((around + 0.5) / 0.5) ** 2))))
    edge = np.clip(canvas.soft(brim, 0.012) - canvas.soft(brim, 0.012, (0, -0.03)), 0, 1) * brim
    canvas.paint(edge, (190, 190, 205), 0.55)
    canvas.paint(canvas.soft(crown, 0.05, (0, 0.05)) * brim, (0, 0, 0), 0.5)  # the crown's on the brim
    canvas.paint(crown, cylinder((17, 17, 21), (84, 84, 96), around))
    top = np.clip(canvas.soft(crown, 0.012) - canvas.soft(crown, 0.012, (0, 0.03)), 0, 1) * crown
    canvas.paint(top, (200, 200, 215), 0.4)
    canvas.paint(canvas.soft(band, 0.02, (0, -0.02)) * crown, (0, 0, 0), 0.4)
    canvas.paint(band, cylinder((82, 10, 18), (196, 44, 50), around))
    return canvas.picture()


def cylinder(dark, light, around: np.ndarray) -> np.ndarray:
    """The colours of something round in light from the upper right of the subject, and a little from behind."""
    from inference.filters.drawing import mix

    shine = np.exp(-(((around + 0.45) / 0.28) ** 2)) + 0.35 * np.exp(-(((around - 0.72) / 0.16) ** 2))
    return mix(dark, light, shine + 0.12 * (1 - around**2))


def brim_outline() -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    y, wide, high = BRIM
    across = np.cos(turn)
    return np.stack([wide * across, y + high * np.sin(turn) - CURL * across**2], axis=1)


def crown_outline(low: float, high: float) -> np.ndarray:
    """The crown between two heights: 0 is its foot, 1 its top. It is narrower half way up."""
    heights, across = np.linspace(low, high, 40), np.linspace(-1, 1, 80)
    wide = (1 - 0.06 * np.sin(np.pi * heights)) * (CROWN[0] + heights * (TOP[0] - CROWN[0]))
    y = CROWN[1] + heights * (TOP[1] - CROWN[1])
    side = np.stack([wide, y], axis=1)
    bow = (1 - heights) * ROUND[0] - heights * ROUND[1]
    foot, top = (np.stack([wide[i] * across, y[i] + bow[i] * np.sqrt(1 - across**2)], axis=1) for i in (0, -1))
    return np.concatenate([foot, side, top[::-1], (side * (-1, 1))[::-1]])
