"""Where the faces of a photo are: found by a detector, or told.

A detector is a function from a photo to its faces, the largest first; each has a box to show and the crop for the
network. Detection is done on a copy of a fixed size: it takes as long for every photo, and a large photo's texture is
not taken for small faces.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from inference import crop
from inference.crop import Box
from inference.photos import Photo

# Chosen on the 40 labelled photos of inference/crop_fit.py: finds 38 of them, with 3 boxes elsewhere. In copies of 600
# pixels it finds 36; OpenCV's default cascade finds as many, but puts its box a pixel of the crop further off.
CASCADE, LONGEST = "haarcascade_frontalface_alt2.xml", 480
STEP, NEIGHBOURS, SMALLEST = 1.05, 8, LONGEST // 20
YUNET_LONGEST, YUNET_SCORE = 640, 0.7
YUNET_POINTS = ("right_eye_center", "left_eye_center", "nose_tip", "mouth_right_corner", "mouth_left_corner")


@dataclass(frozen=True)
class Found:
    """A face: its box in the photo, and the matrix [2, 3] of its crop (inference/crop.py)."""

    box: Box
    matrix: np.ndarray


Detector = Callable[[Photo], list[Found]]


def haar(size: int) -> Detector:
    """OpenCV's cascade for faces seen from the front, which comes with OpenCV 4."""
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):
        raise DataError(f"OpenCV {cv2.__version__} has no Haar cascades: install opencv-python-headless<5")
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)

    def detect(photo: Photo) -> list[Found]:
        small, factor = shrunk(photo.gray, LONGEST)
        boxes = cascade.detectMultiScale(small, STEP, NEIGHBOURS, minSize=(SMALLEST, SMALLEST))
        boxes = [tuple(float(value) / factor for value in box) for box in boxes]
        return largest_first([Found(box, crop.from_box(box, size)) for box in boxes])

    return detect


def yunet(size: int, model: Path) -> Detector:
    """YuNet (Wu et al. 2023), whose model file OpenCV does not bring along. Its five points place the crop."""
    import cv2

    if not model.is_file():
        raise DataError(f"--detector-model {model} does not exist")
    try:
        network = cv2.FaceDetectorYN.create(str(model), "", (320, 320), YUNET_SCORE)
        network.detect(np.zeros((320, 320, 3), np.uint8))  # any network can be opened; another one fails here
    except cv2.error as error:
        raise DataError(f"--detector-model {model} is not a YuNet model ({error.err or 'unreadable'})") from None

    def detect(photo: Photo) -> list[Found]:
        small, factor = shrunk(photo.rgb, YUNET_LONGEST)
        network.setInputSize(small.shape[1::-1])
        rows = network.detect(np.ascontiguousarray(small[..., ::-1]))[1]
        found = []
        for row in np.zeros((0, 15)) if rows is None else rows.astype(np.float64):
            points = (row[4:14].reshape(5, 2) + 0.5) / factor - 0.5
            box = tuple(float(value) / factor for value in row[:4])
            found.append(Found(box, crop.from_points(points, size, YUNET_POINTS)))
        return largest_first(found)

    return detect


def told(size: int, boxes: list[Box]) -> Detector:
    """The same boxes in every photo, drawn about a face as the Haar detector would."""

    def detect(photo: Photo) -> list[Found]:
        height, width = photo.gray.shape
        for box in boxes:
            if box[0] < 0 or box[1] < 0 or box[0] + box[2] > width or box[1] + box[3] > height:
                raise DataError(f"{photo.name}: --box {','.join(f'{v:g}' for v in box)} leaves its {width}x{height}")
        return [Found(box, crop.from_box(box, size)) for box in boxes]

    return detect


def whole_image(size: int) -> Detector:
    """The photo is a face's crop already, such as the training sets' images are."""

    def detect(photo: Photo) -> list[Found]:
        height, width = photo.gray.shape
        return [Found((0.0, 0.0, float(width), float(height)), crop.whole(photo.gray.shape, size))]

    return detect


def shrunk(image: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """A copy with no side longer than `longest`, and by what factor it is smaller (1: as it is)."""
    import cv2

    factor = min(1.0, longest / max(image.shape[:2]))
    if factor == 1:
        return image, 1.0
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), factor


def largest_first(faces: list[Found]) -> list[Found]:
    return sorted(faces, key=lambda face: (-face.box[2] * face.box[3], face.box))
