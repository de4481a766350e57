"""Where the faces of a photo are: found by a detector, or told.

A detector is a function from a photo to its faces, the largest first; each has a box to show and the crop for the
network. Detection is done on a copy of a fixed size: it takes as long for every photo, and a large photo's texture is
not taken for small faces. Threads may share a detector; each has an OpenCV object of its own in it.

Haar looks twice. A first look at the whole photo in coarse steps of size takes nearly all the time; what it hits at all
is looked at again, cut out at one size, in fine steps and with OpenCV's vote of several hits. A face in many pixels is
then placed as finely as a small one.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from data_prep.faceset import DataError
from inference import crop
from inference.crop import Box
from inference.photos import Photo, for_opencv

# Chosen, by trials that are not kept, on the 40 labelled photos of inference/crop_fit.py, on 200 mirrored and trimmed
# copies of them, and on 24 montages of 456 of their faces. Of these it finds 38, 187 and 401, with 3, 21 and 30 boxes
# elsewhere; one look in steps of 1.05 with 8 neighbours, at four times the cost, found 38, 186 and 357, with 3, 19 and
# 19 elsewhere. OpenCV's default cascade puts its box a pixel of the crop further off.
CASCADE = "haarcascade_frontalface_alt2.xml"
LONGEST, SMALLEST = 480, 28  # pixels of the first look's copy: its longest side, and the smallest face's side. With 24
# it finds the same faces in the 40 photos and takes a fifth longer; the other figures above are of 24.
COARSE = 1.25  # the first look's step; 1.3 is 6 % quicker and 1.4 by a third, but they lose 4 and 6 faces of the 200
ALIKE = 0.4  # of a side: hits closer than that are one face's
FACE, AROUND = 60, 1.8  # the second look: a hit's side in pixels, and the cut's in sides of the hit. From twice the
# cascade's 20 pixels on OpenCV tries a window at every pixel, for smaller faces at every other one.
STEP, NEIGHBOURS, SIDES = 1.05, 8, (0.7, 1.4)  # and its faces' least and largest side, in sides of the hit
YUNET_LONGEST, YUNET_SCORE = 640, 0.7
YUNET_POINTS = ("right_eye_center", "left_eye_center", "nose_tip", "mouth_right_corner", "mouth_left_corner")


@dataclass(frozen=True)
class Found:
    """A face: its box in the photo, and the matrix [2, 3] of its crop (inference/crop.py).

    detected: the crop is as Kaggle's faces lie, and not what a network's own images are.
    """

    box: Box
    matrix: np.ndarray
    detected: bool = True


Detector = Callable[[Photo], list[Found]]
T = TypeVar("T")


def haar(size: int) -> Detector:
    """OpenCV's cascade for faces seen from the front, which comes with OpenCV 4."""
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):
        raise DataError(f"OpenCV {cv2.__version__} has no Haar cascades: install opencv-python-headless<5")
    cascade = each_thread_its_own(lambda: cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE))

    def detect(photo: Photo) -> list[Found]:
        boxes: list[Box] = []
        for hit in first_look(cascade(), photo.gray):
            for box in second_look(cascade(), photo.gray, hit):
                if not any(same_face(box, other) for other in boxes):
                    boxes.append(box)
        return largest_first([Found(box, crop.from_box(box, size)) for box in boxes])

    return detect


def first_look(cascade, gray: np.ndarray) -> list[Box]:
    """Where there may be faces, roughly: one box for all hits of a face, however few."""
    import cv2

    small, factor = shrunk(gray, LONGEST)
    hits = cascade.detectMultiScale(small, COARSE, 0, minSize=(SMALLEST, SMALLEST))
    groups, _ = cv2.groupRectangles([*hits, *hits], 1, ALIKE)  # each hit twice, for it drops groups of one
    return [tuple(float(value) / factor for value in box) for box in groups]


def second_look(cascade, gray: np.ndarray, hit: Box) -> list[Box]:
    """The faces of about a hit's size at its place. Beyond the photo's edge its pixels repeat."""
    x, y, side, _ = hit
    middle, pixels = np.array([x + side / 2, y + side / 2]) - 0.5, round(AROUND * FACE)
    matrix = crop.square(middle, AROUND * side, pixels)
    least, largest = (round(limit * FACE) for limit in SIDES)
    found = cascade.detectMultiScale(
        crop.cut(gray, matrix, pixels), STEP, NEIGHBOURS, minSize=(least, least), maxSize=(largest, largest)
    )
    scale, corner = matrix[0, 0], matrix[:, 2] + 0.5
    boxes = [(*(scale * (box[:2] - 0.5) + corner), *(scale * box[2:])) for box in found]
    return [tuple(float(value) for value in box) for box in boxes]


def same_face(box: Box, other: Box) -> bool:
    """Whether the one's middle lies within the other, and neither is twice as large."""
    (x, y, side, _), (left, top, width, _) = box, other
    apart = max(abs(x + side / 2 - left - width / 2), abs(y + side / 2 - top - width / 2))
    return apart < width / 2 and 0.5 < side / width < 2


def yunet(size: int, model: Path) -> Detector:
    """YuNet (Wu et al. 2023), whose model file OpenCV does not bring along. Its five points place the crop."""
    import cv2

    if not model.is_file():
        raise DataError(f"--detector-model {model} does not exist")
    file = for_opencv(model)
    network = each_thread_its_own(lambda: cv2.FaceDetectorYN.create(file, "", (320, 320), YUNET_SCORE))
    try:
        network().detect(np.zeros((320, 320, 3), np.uint8))  # any network can be opened; another one fails here
    except cv2.error as error:
        raise DataError(f"--detector-model {model} is not a YuNet model ({error.err or 'unreadable'})") from None

    def detect(photo: Photo) -> list[Found]:
        small, factor = shrunk(photo.rgb, YUNET_LONGEST)
        network().setInputSize(small.shape[1::-1])
        rows = network().detect(np.ascontiguousarray(small[..., ::-1]))[1]
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
        return [Found((0.0, 0.0, float(width), float(height)), crop.whole(photo.gray.shape, size), detected=False)]

    return detect


def each_thread_its_own(make: Callable[[], T]) -> Callable[[], T]:
    """A function for what `make` makes, once for each thread that asks: OpenCV's detectors serve one at a time."""
    kept = threading.local()

    def own() -> T:
        if not hasattr(kept, "made"):
            kept.made = make()
        return kept.made

    return own


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
