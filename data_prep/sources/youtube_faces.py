"""The Udacity / YouTube Faces layout: face crops in two folders, 68 points each in two CSV files."""

import csv
import io
import re
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.faceset import DataError, FaceSet
from data_prep.schema import IBUG68, KAGGLE15, Schema, kaggle15_from_ibug68
from data_prep.sources import Source, photo, sha256_of
from data_prep.sources.kaggle_table import DAMAGED, coordinate_of, numbered_rows

FOLDERS = ("training", "test")
LAYOUT = "training/, test/, training_frames_keypoints.csv and test_frames_keypoints.csv"
COLUMNS = 1 + 2 * len(IBUG68)


def read(path: Path, *, schema: Schema = IBUG68, size: int = 96, skip_bad_rows: bool = False) -> Source:
    """Read the layout from a folder or a zip of it, with or without one folder around it.

    schema: IBUG68, or KAGGLE15 for the 15 points that follow from the 68.
    size: each crop, whatever its shape, is turned gray and stretched to [size, size].
    skip_bad_rows: leave bad rows out and list them in `skipped`; otherwise the first raises DataError.

    ids are `training/NAME.jpg` and `test/NAME.jpg`, training first, each in its CSV's order. The published
    split is that prefix; its people are the same on both sides. `groups` are people: the file name without
    its last `_NN`, numbered as they first appear. An image that no CSV lists is named in `skipped`.
    """
    if schema not in (IBUG68, KAGGLE15):
        raise ValueError(f"schema must be ibug68 or kaggle15, got {schema.name}")
    path = Path(path)
    root = _root(path)
    tables = {folder: photo.read_bytes(root / _table(folder), _table(folder)) for folder in FOLDERS}
    lines = [line for folder in FOLDERS for line in _lines(folder, tables[folder])]
    ids, images, keypoints, skipped, seen = [], [], [], [], set()
    for folder, where, cells in tqdm(lines, desc="reading faces", unit="face", disable=None):
        try:
            identity, points = _row(folder, where, cells, seen)
            image = _image(root, identity, points, f"{where} ({identity})")
        except DataError as error:
            if not skip_bad_rows:
                raise
            skipped.append(str(error))
            continue
        image, points = photo.resize(image, points, size)
        ids.append(identity)
        images.append(image)
        keypoints.append(points)
    if not ids:
        raise DataError(f"{path}: no usable face in {len(lines)} rows")
    keypoints = np.stack(keypoints)
    if schema == KAGGLE15:
        keypoints = kaggle15_from_ibug68(keypoints)
    people = {}
    faces = FaceSet(
        images=np.stack(images),
        keypoints=keypoints.astype(np.float32),
        groups=np.array([people.setdefault(_person(identity), len(people)) for identity in ids]),
        ids=np.array(ids),
        sources=np.zeros(len(ids), np.int64),
        schema=schema,
    )
    used = [path] if path.is_file() else [*(root / _table(f) for f in FOLDERS), *(root / i for i in ids)]
    return Source(faces, sha256_of(used), (*skipped, *_unlisted(root, lines)), persons_known=True)


def in_published_test(ids: np.ndarray) -> np.ndarray:
    """bool [N]: which of `read`'s faces the published split tests on."""
    return np.char.startswith(ids, "test/")


def _table(folder: str) -> str:
    return f"{folder}_frames_keypoints.csv"


def _root(path: Path) -> Path | zipfile.Path:
    """The folder that holds the layout: `path` itself, or the one folder within that does."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder, expected a folder or zip with {LAYOUT}")
    try:
        top = path if path.is_dir() else zipfile.Path(_archive(path))
    except (*DAMAGED, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable zip ({error}), expected {LAYOUT}") from None
    places = [top, *sorted((p for p in top.iterdir() if p.is_dir()), key=lambda p: p.name)]
    found = [place for place in places if any((place / _table(folder)).is_file() for folder in FOLDERS)]
    if not found:
        raise DataError(f"{path}: found neither CSV file, expected {LAYOUT}")
    for folder in FOLDERS:
        if not (found[0] / _table(folder)).is_file():
            raise DataError(f"{path}: {_table(folder)} is missing, expected {LAYOUT}")
        if not (found[0] / folder).is_dir():
            raise DataError(f"{path}: folder {folder}/ is missing, expected {LAYOUT}")
    return found[0]


def _archive(path: Path) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(path)
    if any(name.startswith("/") for name in archive.namelist()):  # `zipfile.Path` may loop for ever on these
        raise zipfile.BadZipFile("it holds a file with an absolute path")
    return archive


def _lines(folder: str, table: bytes) -> list[tuple[str, str, list[str]]]:
    """The table's rows after its header, each as (folder, `FILE line N`, cells)."""
    name = _table(folder)
    try:
        text = io.StringIO(table.decode("utf-8-sig"), newline="")
        rows = [(folder, f"{name} line {number}", cells) for number, cells in numbered_rows(text)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name}: not a text table ({error}), expected {COLUMNS} columns a row") from None
    if not rows or len(rows[0][2]) != COLUMNS or rows[0][2][0].lower().endswith(photo.SUFFIXES):
        raise DataError(f"{name}: expected a header of {COLUMNS} columns first (file name, x0, y0, x1, ...)")
    return rows[1:]


def _row(folder: str, where: str, cells: list[str], seen: set[str]) -> tuple[str, np.ndarray]:
    """One row's id, added to `seen`, and its points, float [68, 2] in the crop's own pixels."""
    name, values = cells[0], cells[1:]
    if not name or set(name) & set("/\\:\0") or not name.lower().endswith(photo.SUFFIXES):
        raise DataError(f"{where}: file name {name[:40]!r}, expected a plain name such as First_Last_00.jpg")
    identity = f"{folder}/{name}"
    if identity in seen:
        raise DataError(f"{where}: {name} is listed twice, expected each file once")
    seen.add(identity)
    if len(cells) != COLUMNS:
        raise DataError(f"{where} ({name}): {len(values)} values, expected {COLUMNS - 1}")
    return identity, np.array([_number(v, f"{where} ({name})") for v in values]).reshape(-1, 2)


def _image(root: Path | zipfile.Path, identity: str, points: np.ndarray, name: str) -> np.ndarray:
    """The row's crop, uint8 [H, W], once its points are known to belong to it."""
    image = photo.decode_gray(photo.read_bytes(root / identity, name), name)
    photo.check_points(points, image, name)
    return image


def _number(text: str, where: str) -> float:
    try:
        value = coordinate_of(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{where}: value {text[:40]!r}, expected a finite number")
    return value


def _person(identity: str) -> str:
    """`training/Luis_Fonsi_21.jpg` -> `Luis_Fonsi`."""
    return re.sub(r"_\d+$", "", Path(identity).stem)


def _unlisted(root: Path | zipfile.Path, lines: list[tuple[str, str, list[str]]]) -> list[str]:
    listed = {f"{folder}/{cells[0]}" for folder, _, cells in lines}
    found = sorted(f"{folder}/{p.name}" for folder in FOLDERS for p in (root / folder).iterdir())
    images = [name for name in found if name.lower().endswith(photo.SUFFIXES)]
    return [f"{name}: not listed in {_table(name.split('/')[0])}" for name in images if name not in listed]
