"""What photo inference leaves in its folder: a drawn photo each, tables of all, and .pts files on request.

Everything is written into a folder aside, inside the output folder, and moved into place when it is complete. Nothing
goes elsewhere: of a photo's path only the stem becomes part of a name. Points are those of the photo turned upright.
"""

import csv
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.faceset import DataError
from inference.crop import Box
from inference.photos import Photo, shown

CSV, JSON = "keypoints.csv", "keypoints.json"
COLUMNS = ("face", "point", "x", "y", "confidence")
STEM = 50  # characters of a photo's name that are kept: with UTF-8's up to four bytes each a legal name of a file
POINT, BOX, RIM = (255, 60, 60), (80, 220, 255), (0, 0, 0)  # RGB
QUALITY, PNG_LEVEL = 92, 1  # PNG's usual level, 6, takes half a second for a megapixel and saves a tenth of the bytes


@dataclass(frozen=True)
class Face:
    """A face of a photo: the detector's box, its points, float64 [K, 2], and a confidence for each (NaN: not known)."""

    box: Box
    keypoints: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Drawing:
    """What is drawn on a photo: a word for its name, and the function (rgb, faces) -> rgb."""

    name: str
    draw: Callable[[np.ndarray, list[Face]], np.ndarray]


@dataclass(frozen=True)
class Result:
    """A photo that is done. file: as it was named. drawn: the picture's name in the output folder, if it has faces."""

    file: str
    width: int
    height: int
    faces: list[Face]
    drawn: str | None


class Names:
    """Names of their own for photos, so that a/face.jpg and b/face.jpg do not overwrite each other.

    Taken to be equal where only case differs, for some file systems take them so.
    """

    def __init__(self):
        self.taken: set[str] = set()

    def of(self, path: Path) -> str:
        plain = stem(path)
        name, count = plain, 1
        while name.casefold() in self.taken:
            count += 1
            name = f"{plain}-{count}"
        self.taken.add(name.casefold())
        return name


def stem(path: Path) -> str:
    """What a file's name begins with, without signs that are none of a name."""
    return re.sub(r"[^\w.() -]", "_", path.stem)[:STEM]


def check_folder(output: Path, photos: list[Path]) -> None:
    """Raise DataError where the output cannot be a folder, or is an input's, which could then be overwritten."""
    real = Path(os.path.realpath(output))  # Path.resolve refuses links in a circle
    place = next(path for path in (real, *real.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise DataError(f"--output {output} cannot be written: {place} is no folder that takes new files")
    inside = next((path for path in photos if real in folders_of(path)), None)
    if inside is not None:
        raise DataError(f"--output {output} is the folder of the photo {shown(Path(inside.name))}; name another")


def folders_of(path: Path) -> tuple[Path, Path]:
    """Where a file is named to be, and where it is."""
    return Path(os.path.realpath(path.parent)), Path(os.path.realpath(path)).parent


@contextmanager
def folder_aside(output: Path) -> Iterator[Path]:
    """A folder inside `output` to write into. What is left in it is thrown away, as is an empty new `output`."""
    there = output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=output, suffix=".partial") as folder:
            yield Path(folder)
    finally:
        if not there and not any(output.iterdir()):
            output.rmdir()


def publish(aside: Path) -> None:
    """Move what was written aside into the output folder."""
    for path in aside.iterdir():
        if (aside.parent / path.name).is_dir():
            raise DataError(f"{shown(aside.parent / path.name)} is a folder, where a file would be written")
    for path in sorted(aside.iterdir()):
        os.replace(path, aside.parent / path.name)


def write_photo(aside: Path, name: str, photo: Photo, faces: list[Face], drawing: Drawing, pts: bool) -> Result:
    """Draw on a photo, as JPEG where it was one of a lossy format, else PNG; and write its .pts files."""
    drawn = None
    if faces:
        drawn = f"{name}_{drawing.name}.{'jpg' if photo.lossy else 'png'}"
        # Without EXIF: where a photo was taken is nobody's business.
        Image.fromarray(drawing.draw(photo.rgb, faces)).save(aside / drawn, quality=QUALITY, compress_level=PNG_LEVEL)
    for number, face in enumerate(faces if pts else (), start=1):
        (aside / f"{name}_{number}.pts").write_text(pts_text(face.keypoints))
    height, width = photo.gray.shape
    return Result(photo.name, width, height, faces, drawn)


def write_tables(aside: Path, results: list[Result], points: tuple[str, ...], about: dict) -> None:
    """keypoints.csv, a row per point, and keypoints.json with the sizes, boxes and how they came about too."""
    with open(aside / CSV, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", *COLUMNS))
        for result in results:
            writer.writerows((result.file, *row) for row in rows(result.faces, points))
    photos = [vars(result) | {"faces": [json_face(face, points) for face in result.faces]} for result in results]
    text = json.dumps(about | {"photos": photos}, indent=1, ensure_ascii=False)
    (aside / JSON).write_text(text + "\n", encoding="utf-8")


def rows(faces: list[Face], points: tuple[str, ...]) -> Iterator[tuple]:
    """What a table says of faces, a row per point: COLUMNS."""
    for number, face in enumerate(faces, start=1):
        for point, (x, y), sure in zip(points, face.keypoints, face.confidence, strict=True):
            yield number, point, f"{x:.2f}", f"{y:.2f}", "" if np.isnan(sure) else f"{sure:.3f}"


def json_face(face: Face, points: tuple[str, ...]) -> dict:
    found = {"box": rounded(face.box), "points": dict(zip(points, map(rounded, face.keypoints), strict=True))}
    if np.isfinite(face.confidence).all():
        found["confidence"] = dict(zip(points, (round(float(sure), 3) for sure in face.confidence), strict=True))
    return found


def rounded(values) -> list[float]:
    return [round(float(value), 2) for value in values]


def pts_text(keypoints: np.ndarray) -> str:
    """The form of 300-W's .pts files, in which the top left pixel is (1, 1)."""
    lines = [f"{x:.3f} {y:.3f}" for x, y in keypoints + 1]
    return "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}"]) + "\n"


def draw(rgb: np.ndarray, faces: list[Face]) -> np.ndarray:
    """A copy of a photo, uint8 [H, W, 3], with points and boxes; points grow with the face."""
    import cv2

    drawn, bits = rgb.copy(), 4  # of the places' fractions, in OpenCV's fixed point
    for face in faces:
        side = np.sqrt(face.box[2] * face.box[3])
        corners = np.array([face.box[:2], np.add(face.box[:2], face.box[2:])]) - 0.5
        low, high = (tuple(int(v) for v in np.round(corner * 2**bits)) for corner in corners)
        cv2.rectangle(drawn, low, high, BOX, max(1, round(side / 200)), cv2.LINE_AA, bits)
        dot = side / (70 if len(face.keypoints) < 68 else 110)
        for radius, colour in ((dot + 1, RIM), (dot, POINT)):
            for point in face.keypoints:
                place = tuple(int(v) for v in np.round(np.clip(point, -1e5, 1e5) * 2**bits))
                cv2.circle(drawn, place, round(radius * 2**bits), colour, cv2.FILLED, cv2.LINE_AA, bits)
    return drawn
