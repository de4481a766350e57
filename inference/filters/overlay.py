"""Pictures laid on a photo: where they lie by a face's points, and the blending.

Pictures are placed in **face units**: (0, 0) is the middle between the eyes, 1 the distance of their centres, x to the
subject's left (to the right in a photo), y down. FACE has the mean face's 15 points in them, upright and symmetric.
A placement is a matrix [2, 3] from face units (x, y, 1) to the photo's pixels.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_prep.schema import KAGGLE15
from inference.crop import MEAN_FACE

SMALLEST = 1e-3  # pixels between the eyes; less is no face
MOST_TURNED = 0.5  # face units that a nose may stick out to a side
FARTHEST = 1e7  # pixels, of a face and its size
AT_ONCE = 1 << 20  # pixels that are blended together: a face may fill a photo of 50 megapixels


def _mean_face() -> dict[str, np.ndarray]:
    points = np.array([MEAN_FACE[name] for name in KAGGLE15.points])
    left, right = KAGGLE15.index("left_eye_center"), KAGGLE15.index("right_eye_center")
    points -= (points[left] + points[right]) / 2
    points = (points + points[KAGGLE15.mirror] * (-1, 1)) / 2
    points /= points[left, 0] - points[right, 0]
    return dict(zip(KAGGLE15.points, points, strict=True))


FACE = _mean_face()


@dataclass(frozen=True, eq=False)
class Picture:
    """Something to be laid on a face.

    rgba: uint8 [h, w, 4]. unit: its pixels per face unit. origin: (x, y), the pixel that lies between the eyes.
    """

    rgba: np.ndarray
    unit: float
    origin: tuple[float, float]

    @cached_property
    def premultiplied(self) -> np.ndarray:
        """float32 [h, w, 4], each colour times its alpha of 0 to 1: so the mean of two pixels has no fringe."""
        premultiplied = self.rgba.astype(np.float32)
        premultiplied[..., 3] /= 255
        premultiplied[..., :3] *= premultiplied[..., 3:]
        return premultiplied

    @cached_property
    def halves(self) -> list[np.ndarray]:
        """The premultiplied picture and what it becomes as it is halved again and again, down to a few pixels."""
        import cv2

        levels = [self.premultiplied]
        while min(levels[-1].shape[:2]) > 16:
            height, width = levels[-1].shape[:2]
            levels.append(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
        return levels

    @property
    def to_face(self) -> np.ndarray:
        """[3, 3] from the picture's pixels (x, y, 1) to face units."""
        x, y = np.divide(self.origin, self.unit)
        return np.array([[1 / self.unit, 0, -x], [0, 1 / self.unit, -y], [0, 0, 1]])


def points_of(keypoints: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """[len(names), 2] of a face's [15, 2]; NaN for what is infinite too."""
    points = np.asarray(keypoints, np.float64)[[KAGGLE15.index(name) for name in names]]
    return np.where(np.isfinite(points), points, np.nan)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The turn, scale and shift [2, 3] that takes [n, 2] closest to others (least squares); NaN where one is NaN.

    With a point x + iy as a complex number that is a line's fit (see `inference.crop.from_points`).
    """
    source, target = source @ (1, 1j), target @ (1, 1j)
    apart = source - source.mean()
    turn = (apart.conj() * (target - target.mean())).sum() / (abs(apart) ** 2).sum()
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def placement(keypoints: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Where the mean face must lie for its points of these names to fall on a face's, [2, 3].

    NaN where one of them is NaN, or where they lie together on one spot.
    """
    matrix = similarity(np.array([FACE[name] for name in names]), points_of(keypoints, names))
    return matrix if np.hypot(*matrix[:, 0]) > SMALLEST else np.full((2, 3), np.nan)


def in_face_units(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The photo's pixels [n, 2] in face units, by a placement."""
    return np.linalg.solve(matrix[:, :2], (points - matrix[:, 2]).T).T


def turned(matrix: np.ndarray, keypoints: np.ndarray) -> float:
    """How far the nose's tip sticks out to the subject's left, in face units: so far a face is turned to that side.

    It is its distance from the line between the middle of the eyes and that of the mouth.
    """
    names = "left_eye_center", "right_eye_center", "mouth_left_corner", "mouth_right_corner", "nose_tip"
    left, right, mouth_left, mouth_right, nose = in_face_units(matrix, points_of(keypoints, names))
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (nose[1] - eyes[1]) / (mouth[1] - eyes[1])
        aside = nose[0] - eyes[0] - share * (mouth[0] - eyes[0])
    return float(np.clip(aside, -MOST_TURNED, MOST_TURNED))


def moved(matrix: np.ndarray, shift=(0.0, 0.0), stretch=(1.0, 1.0)) -> np.ndarray:
    """A placement in which the thing is first stretched about (0, 0) and then shifted, both in face units."""
    (x, y), (wide, high) = shift, stretch
    return matrix @ np.array([[wide, 0, x], [0, high, y], [0, 0, 1]])


def lay_on(rgb: np.ndarray, *pieces: tuple[Picture, np.ndarray]) -> np.ndarray:
    """A copy of a photo, uint8 [H, W, 3], with pictures on it, each with its placement; the last is on top."""
    laid = rgb.copy()
    for picture, matrix in pieces:
        if (abs(matrix) < FARTHEST).all():  # False for NaN
            _blend(laid, picture, matrix @ picture.to_face)
    return laid


def _blend(photo: np.ndarray, picture: Picture, matrix: np.ndarray) -> None:
    """Blend a picture into a photo. matrix: [2, 3] from its pixels to the photo's."""
    import cv2

    left, top, right, bottom = _touched(photo, picture, matrix)
    if left >= right or top >= bottom:
        return
    source, matrix = _shrunk(picture, matrix)
    rows = max(1, AT_ONCE // (right - left))
    for start in range(top, bottom, rows):
        part = photo[start : min(start + rows, bottom), left:right]
        there = matrix - [[0, 0, left], [0, 0, start]]
        front = cv2.warpAffine(source, there, part.shape[1::-1], flags=cv2.INTER_LINEAR)  # beyond the picture 0
        part[:] = np.rint(front[..., :3] + part * (1 - front[..., 3:]))


def _touched(photo: np.ndarray, picture: Picture, matrix: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what a picture touches of a photo; the ends are exclusive."""
    height, width = picture.rgba.shape[:2]
    corners = np.array([(x, y, 1) for x in (-1, width) for y in (-1, height)]) @ matrix.T
    size = photo.shape[1::-1]
    low = np.clip(np.floor(corners.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, size).astype(int)
    return (*map(int, low), *map(int, high))


def _shrunk(picture: Picture, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture averaged over areas to the size at which it lies on the photo, where it is larger; and its matrix."""
    import cv2

    size = np.array(picture.rgba.shape[1::-1])
    scale = np.minimum(np.linalg.norm(matrix[:, :2], axis=0), 1)
    smaller = np.maximum(np.rint(size * scale), 1).astype(int)
    if (smaller == size).all():
        return picture.premultiplied, matrix
    source = next(level for level in reversed(picture.halves) if (level.shape[1::-1] >= smaller).all())
    factor = size / smaller
    first = (factor - 1) / 2  # where the centre of the small picture's first pixel lies in the large one
    back = np.array([[factor[0], 0, first[0]], [0, factor[1], first[1]], [0, 0, 1]])
    return cv2.resize(source, tuple(map(int, smaller)), interpolation=cv2.INTER_AREA), matrix @ back
