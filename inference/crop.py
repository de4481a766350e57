"""How a photo's face comes to lie in the crop that a network sees: as the faces lay that it was trained on.

A crop is a matrix [2, 3] from the crop's pixels (x, y, 1) to the photo's, so it is both what `cv2.warpAffine` draws
the crop with and the way back for the predicted points. In both, (0, 0) is the centre of the top-left pixel.

**Where the numbers come from.** MEAN_FACE is the mean face of Kaggle's layout that every run on `kaggle15` has in its
config.json. HAAR_SHIFT and HAAR_SIDE are where the crop must lie about the Haar detector's box for the points of a
face to fall on it, least squares over the faces that the detector finds in 40 photographs with labels, reduced to
these 15 points. `python -m inference.crop_fit --photos ../shared/data/photos` fits them again, and says how well they
do on each photo when it is left out of the fit.
"""

import numpy as np

from data_prep.schema import KAGGLE15

FRAME = 96  # pixels, the side of the crop in which MEAN_FACE is given
MEAN_FACE = {
    "left_eye_center": (65.60, 38.84),
    "right_eye_center": (30.92, 39.22),
    "left_eye_inner_corner": (58.82, 39.32),
    "left_eye_outer_corner": (73.53, 38.45),
    "right_eye_inner_corner": (37.56, 39.54),
    "right_eye_outer_corner": (22.68, 38.94),
    "left_eyebrow_inner_end": (55.92, 29.08),
    "left_eyebrow_outer_end": (81.54, 31.30),
    "right_eyebrow_inner_end": (40.59, 29.67),
    "right_eyebrow_outer_end": (14.56, 31.93),
    "nose_tip": (49.06, 63.28),
    "mouth_left_corner": (63.93, 75.09),
    "mouth_right_corner": (33.17, 75.52),
    "mouth_center_top_lip": (48.66, 72.95),
    "mouth_center_bottom_lip": (49.10, 79.67),
}
HAAR_SHIFT = (-0.003, -0.018)  # of the crop's centre from the box's, in sides of the box
HAAR_SIDE = 1.022  # of the crop, in sides of the box

MOST_DRAWN = 8192  # pixels: the side at which a crop is drawn before it is reduced
Box = tuple[float, float, float, float]  # x, y, width, height: x and y the place of its top left pixel's corner


def from_box(box: Box, size: int) -> np.ndarray:
    """The crop of [size, size] pixels about a box as the Haar detector draws it."""
    x, y, width, height = box
    side = np.sqrt(width * height)
    centre = np.array([x + width / 2, y + height / 2]) - 0.5 + side * np.array(HAAR_SHIFT)
    return square(centre, HAAR_SIDE * side, size)


def whole(shape: tuple[int, int], size: int) -> np.ndarray:
    """The crop that holds a whole photo (height, width): its middle in the middle, its longer side as the crop's."""
    height, width = shape
    return square(np.array([width - 1, height - 1]) / 2, max(height, width), size)


def square(centre: np.ndarray, side: float, size: int) -> np.ndarray:
    """The crop of a square that stands upright: its centre (x, y) and its side in the photo's pixels."""
    scale = side / size
    shift = centre - scale * (size - 1) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def from_points(keypoints: np.ndarray, size: int, names: tuple[str, ...] = KAGGLE15.points) -> np.ndarray:
    """The crop in which a face is upright and as large as the mean face: [K, 2] in the photo's pixels, named.

    It is the turn, scale and shift that takes the mean face closest to the points (least squares). With a point
    x + iy as a complex number that is a line's fit: Umeyama 1991's solution in two dimensions.
    """
    mean = (np.array([MEAN_FACE[name] for name in names]) + 0.5) * size / FRAME - 0.5
    source, target = mean @ (1, 1j), np.asarray(keypoints, np.float64) @ (1, 1j)
    source_middle, target_middle = source.mean(), target.mean()
    apart = source - source_middle
    turn = (apart.conj() * (target - target_middle)).sum() / (abs(apart) ** 2).sum()
    shift = target_middle - turn * source_middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def chain(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The matrix [2, 3] that does what `inner` does and then `outer`."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def cut(gray: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Draw a crop of uint8 [H, W] as uint8 [size, size].

    Beyond the photo its edge pixels repeat, as in training. A large face is drawn at a whole multiple of the crop's
    size, at least as fine as the photo, and then averaged over areas: bilinear sampling alone would skip pixels.
    """
    import cv2

    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    fine = int(np.clip(np.ceil(scale), 1, MOST_DRAWN // size))
    drawn_at = matrix.copy()
    drawn_at[:, :2] /= fine
    drawn_at[:, 2] += matrix[:, :2] @ np.full(2, 0.5 / fine - 0.5)  # where the fine grid's first pixel has its centre
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(gray, drawn_at, (size * fine,) * 2, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)
