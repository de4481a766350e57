"""The points of faces in a video or from a camera: found once, then followed from frame to frame.

A face is cut out by its points of the frame before, centred, upright and as large as the mean face, which is what a
photo's second pass does; so the detector need only look now and then for faces that are new. A face is given up where
the network is not sure of it, or the detector has not seen it for a while: where there is no face at all a network may
be sure of one. The points are smoothed by a One Euro filter (inference/one_euro.py).
"""

import csv
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.faceset import DataError
from inference import crop
from inference.detectors import Detector, Found
from inference.locate import locate, predicted
from inference.network import Network
from inference.one_euro import OneEuro
from inference.output import COLUMNS, Drawing, Face, folder_aside, publish, rows
from inference.photos import Photo, for_opencv, shown

LOOK_EVERY = 0.5  # seconds, between the detector's looks at the whole frame
UNSURE = 0.3  # mean confidence below which a face is given up
UNSEEN = 4  # looks of the detector without a box on it after which a face is given up
SAME = 0.3  # intersection over union of a box and a face that is followed, from which they are one
USUAL_RATE = 25.0  # frames a second where a video does not say, and of a camera's
CODEC, SUFFIX = "mp4v", ".mp4"  # MPEG-4 part 2, which OpenCV's wheels can write


@dataclass
class Followed:
    """A face from frame to frame."""

    number: int
    points: np.ndarray
    confidence: np.ndarray
    smooth: OneEuro
    unseen: int = 0


@dataclass
class Tracker:
    """Follows faces through frames that come `rate` times a second."""

    detect: Detector
    network: Network
    rate: float
    faces: list[Followed] = field(default_factory=list)
    frames: int = 0
    seen: int = 0  # faces so far, each with a number of its own

    def __call__(self, photo: Photo) -> list[Face]:
        """The faces of the next frame, by when they came."""
        crops = [
            self.network.from_kaggle(crop.from_points(points, self.network.size))
            for points in self.network.fifteen(np.array([face.points for face in self.faces]).reshape(-1, *self._shape))
        ]
        found, confidence = predicted([photo.gray] * len(crops), crops, self.network)
        for face, points, sure in zip(self.faces, found, confidence, strict=True):
            face.points, face.confidence = face.smooth(points, side(points)), sure
        self.faces = apart([face for face in self.faces if self._stays(face, photo.gray.shape)])
        if self.frames % max(1, round(LOOK_EVERY * self.rate)) == 0:
            self._look(photo)
        self.frames += 1
        return [Face(box_of(face.points), face.points, face.confidence) for face in self.faces]

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.network.schema), 2

    def _stays(self, face: Followed, shape: tuple[int, int]) -> bool:
        middle, size = face.points.mean(axis=0), side(face.points)
        inside = (middle >= 0).all() and (middle < shape[::-1]).all()
        sure = not face.confidence.mean() < UNSURE  # NaN: not known
        return bool(inside and sure and face.unseen < UNSEEN and 8 < size < 2 * max(shape))

    def _look(self, photo: Photo) -> None:
        """Let the detector look for faces that are not followed yet."""
        boxes = self.detect(photo)
        for face in self.faces:
            seen = any(overlap(box_of(face.points), found.box) > SAME for found in boxes)
            face.unseen = 0 if seen else face.unseen + 1
        known = [box_of(face.points) for face in self.faces]
        fresh = [found for found in boxes if all(overlap(box, found.box) <= SAME for box in known)]
        self.faces += self._begin(photo, fresh)

    def _begin(self, photo: Photo, boxes: list[Found]) -> Iterator[Followed]:
        crops = [self.network.from_kaggle(found.matrix) for found in boxes]
        points, confidence = locate([photo.gray] * len(crops), crops, self.network)
        for place, sure in zip(points, confidence, strict=True):
            self.seen += 1
            smooth = OneEuro(self.rate)
            yield Followed(self.seen, smooth(place), sure, smooth)


def apart(faces: list[Followed]) -> list[Followed]:
    """Of faces that have come to lie on one another, the one that is followed longest."""
    kept: list[Followed] = []
    for face in faces:
        if all(overlap(box_of(face.points), box_of(other.points)) <= SAME for other in kept):
            kept.append(face)
    return kept


def side(points: np.ndarray) -> float:
    """How large a face is: the side of the square as large as the points' box, in pixels."""
    width, height = np.ptp(points, axis=0)
    return float(np.sqrt(max(width, 1) * max(height, 1)))


def box_of(points: np.ndarray) -> crop.Box:
    """A box about a face's points, a bit wider, much as the detector draws it."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    dx, dy = 0.15 * (right - left), 0.15 * (bottom - top)
    return float(left - dx), float(top - dy), float(right - left + 2 * dx), float(bottom - top + 2 * dy)


def overlap(a: crop.Box, b: crop.Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def frames(source: Path | int) -> tuple[Iterator[np.ndarray], float, int | None]:
    """The frames of a video file or a camera, uint8 BGR [H, W, 3], how many come a second, and how many, if known.

    Raises DataError where it cannot be opened or has none.
    """
    import cv2

    said = f"--camera {source}" if isinstance(source, int) else shown(source)
    if isinstance(source, Path) and not source.is_file():
        raise DataError(f"--video {said} does not exist or is no file")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong is said below, in one line
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(source if isinstance(source, int) else for_opencv(source))
    there, first = capture.read() if capture.isOpened() else (False, None)
    if not there:
        raise DataError(f"{said} cannot be opened as a video, or has no frame")
    rate, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def read() -> Iterator[np.ndarray]:
        frame = first
        while frame is not None:
            yield frame
            frame = capture.read()[1]
        capture.release()

    # Two digits: the writer counts in thousandths, of which MPEG-4 has room for 65 a frame at most.
    return read(), round(rate, 2) if 1 <= rate <= 240 else USUAL_RATE, count if count > 0 else None


def write_video(
    source: Path | int, output: Path, name: str, tracker_of: Callable[[float], Tracker],
    drawing: Drawing, points: tuple[str, ...], seconds: float | None = None,
) -> str:  # fmt: skip
    """Write NAME_keypoints.mp4 (named by the drawing) and NAME_keypoints.csv, and return what to say of them.

    tracker_of: from frames a second to a `Tracker`. seconds: of the video, or of the clock before a camera, after which
    to stop; Ctrl-C does so too, and what is done by then is kept. The video has no sound, and an even number of pixels
    each way. Raises DataError.
    """
    import cv2

    for_opencv(output / name)  # now: not after the first frame
    images, rate, count = frames(source)
    tracker, start, done, with_face = tracker_of(rate), time.perf_counter(), 0, 0
    most = None if seconds is None else max(1, round(min(seconds * rate, 1e9)))
    expected = min(filter(None, (count, most)), default=None)  # a file may say less than it holds
    clock = seconds if isinstance(source, int) else None
    with folder_aside(output) as aside:
        video, table = aside / f"{name}_{drawing.name}{SUFFIX}", aside / f"{name}_keypoints.csv"
        writer = None
        with open(table, "w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(("frame", *COLUMNS))
            try:
                for bgr in tqdm(limited(images, most, clock), total=expected, desc="video", unit="frame", disable=None):
                    photo = as_photo(bgr)
                    faces = tracker(photo)
                    if writer is None:
                        writer = cv2.VideoWriter(
                            for_opencv(video), cv2.VideoWriter.fourcc(*CODEC), rate, bgr.shape[1::-1]
                        )
                        if not writer.isOpened():
                            raise DataError(f"{video.name} cannot be written ({CODEC}, {bgr.shape[1]}x{bgr.shape[0]})")
                    writer.write(np.ascontiguousarray(drawing.draw(photo.rgb, faces)[..., ::-1]))
                    lines.writerows((done, *row) for row in rows(faces, points))
                    done, with_face = done + 1, with_face + bool(faces)
            except KeyboardInterrupt:  # how a camera's recording is ended
                if not done:
                    raise
            finally:
                if writer is not None:
                    writer.release()
        publish(aside)
    each = done / (time.perf_counter() - start)
    return f"{done} frame(s), {with_face} with a face, {tracker.seen} face(s) in all, {each:.0f} frames/s"


def limited(images: Iterable[np.ndarray], most: int | None, seconds: float | None) -> Iterator[np.ndarray]:
    """As many images at most, and only until so many seconds have passed."""
    start = time.perf_counter()
    for number, image in enumerate(images, start=1):
        yield image
        if number == most or (seconds is not None and time.perf_counter() - start >= seconds):
            return


def as_photo(bgr: np.ndarray) -> Photo:
    """A frame as photos are: RGB, and gray by the same weights (ITU-R 601)."""
    import cv2

    return Photo("frame", cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))
