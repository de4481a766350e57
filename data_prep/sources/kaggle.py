"""Read the Kaggle competition "Facial Keypoints Detection": 96x96 gray faces with up to 15 points.

`training.csv` has 30 coordinate columns, then `Image`: 9,216 integers 0-255 separated by spaces, row by row.
An empty cell is a missing label. Also read: the zips it comes in, and the pair `face_images.npz` +
`facial_keypoints.csv` of the Kaggle data set nagasai524/facial-keypoint-detection.
"""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.faceset import DataError, FaceSet, observed
from data_prep.schema import KAGGLE15
from data_prep.sources import Source, sha256_of

SIZE = 96
TABLE, NPZ, NPZ_TABLE = "training.csv", "face_images.npz", "facial_keypoints.csv"
INNER_ZIP = "training.zip"
ACCEPTED = f"{TABLE}, {INNER_ZIP}, the competition's zip, {NPZ} + {NPZ_TABLE}, or a folder with one of them"

# The points that the second source labels. Everything beyond them marks a row of the first source.
SECOND_SOURCE_POINTS = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")


def read(path: Path, *, skip_bad_rows: bool = False) -> Source:
    """Read a Kaggle training set from any of the forms in `ACCEPTED`.

    `ids` are 0-based row numbers of the file; `sources` is 1 for rows of the first label source (up to 15
    points), 2 for the second (at most 4), see `label_sources`.

    Raises DataError for a missing column, an image that is not 9,216 integers in 0-255, a keypoint that is
    not a number or lies more than half an image outside, a damaged zip, an empty file. With `skip_bad_rows` a
    row that cannot be used is left out and named in the result's `skipped`.
    """
    path = Path(path)
    files = _find(path)
    skipped: list[str] = []
    try:
        if len(files) == 2:
            faces = _read_pair(*files, skip_bad_rows, skipped)
        else:
            with _open_table(files[0]) as text:
                faces = _read_table(text, files[0], skip_bad_rows, skipped)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{files[0]} is damaged or cut short ({error}); accepted: {ACCEPTED}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{files[0]} is not text at byte {error.start}; accepted: {ACCEPTED}") from error
    return Source(faces=faces, sha256=sha256_of(files), skipped=tuple(skipped))


def label_sources(keypoints: np.ndarray) -> np.ndarray:
    """Which of the two labelling rules each row follows: int64 [N], 1 for the first rows, 2 from some row on.

    The file is two sets, one after the other, and does not say where the second begins; it labels only
    `SECOND_SOURCE_POINTS`. The border is where it misplaces the fewest rows, counting a row with any other
    point as the first source's. keypoints: float [N, 15, 2] in file order.
    """
    other = [i for i, point in enumerate(KAGGLE15.points) if point not in SECOND_SOURCE_POINTS]
    rich = observed(keypoints)[:, other].any(axis=1)
    poor_before = np.concatenate([[0], np.cumsum(~rich)])
    rich_after = rich.sum() - np.concatenate([[0], np.cumsum(rich)])
    border = int(np.argmin(poor_before + rich_after))
    return np.where(np.arange(len(keypoints)) < border, 1, 2)


def _find(path: Path) -> list[Path]:
    """The one file to read, or the pair (images, table)."""
    if not path.exists():
        raise DataError(f"{path} does not exist; accepted: {ACCEPTED}")
    if path.is_dir():
        for names in ((TABLE,), (INNER_ZIP,), (NPZ, NPZ_TABLE), ("facial-keypoints-detection.zip",)):
            if all((path / name).is_file() for name in names):
                return [path / name for name in names]
        raise DataError(f"{path} holds no Kaggle training set; accepted: {ACCEPTED}")
    if path.name in (NPZ, NPZ_TABLE):
        pair = [path.with_name(NPZ), path.with_name(NPZ_TABLE)]
        for file in pair:
            if not file.is_file():
                raise DataError(f"{file} is missing: {NPZ} and {NPZ_TABLE} must lie in one folder")
        return pair
    if path.suffix.lower() not in (".csv", ".zip"):
        raise DataError(f"{path} is not a .csv or .zip file; accepted: {ACCEPTED}")
    return [path]


@contextmanager
def _open_table(file: Path) -> Iterator[io.TextIOBase]:
    """Open training.csv as text, reading through one or two layers of zip without unpacking to disk."""
    if file.suffix.lower() == ".csv":
        with open(file, encoding="utf-8", newline="") as text:
            yield text
        return
    with zipfile.ZipFile(file) as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        if TABLE not in members and INNER_ZIP in members:
            inner = io.BytesIO(archive.read(members[INNER_ZIP]))
            with zipfile.ZipFile(inner) as nested, _open_member(nested, file) as text:
                yield text
        else:
            with _open_member(archive, file) as text:
                yield text


@contextmanager
def _open_member(archive: zipfile.ZipFile, file: Path) -> Iterator[io.TextIOBase]:
    names = [name for name in archive.namelist() if Path(name).name == TABLE]
    if not names:
        raise DataError(f"{file} holds neither {TABLE} nor {INNER_ZIP}; it holds {archive.namelist()[:5]}")
    with archive.open(names[0]) as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as text:
        yield text


def _read_table(text: io.TextIOBase, file: Path, skip_bad_rows: bool, skipped: list[str]) -> FaceSet:
    csv.field_size_limit(2**24)  # an image cell has some 35,000 characters, the default limit is 131,072
    reader = csv.reader(text)
    columns = _columns(next(reader, []), (*KAGGLE15.columns, "Image"), file)
    images, keypoints, ids = [], [], []
    for number, row in enumerate(tqdm(reader, desc=f"reading {file.name}", unit=" rows", disable=None)):
        if not row:
            continue  # a blank line, most often the file's last
        try:
            cells = [row[column] for column in columns]
            face = _parse_image(cells[-1]), _parse_keypoints(cells[:-1])
        except IndexError:
            problem = f"has {len(row)} cells where the header has {max(columns) + 1} or more"
        except ValueError as error:
            problem = str(error)
        else:
            images.append(face[0])
            keypoints.append(face[1])
            ids.append(number)
            continue
        _refuse(f"{file}, row {number} (0-based): {problem}", skip_bad_rows, skipped)
    return _faceset(images, keypoints, ids, file)


def _read_pair(npz: Path, table: Path, skip_bad_rows: bool, skipped: list[str]) -> FaceSet:
    try:
        with np.load(npz, allow_pickle=False) as arrays:
            images = arrays[arrays.files[0]]
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{npz} is not an npz file of plain arrays ({error})") from error
    if images.ndim == 3 and images.shape[:2] == (SIZE, SIZE) != images.shape[1:]:
        images = np.moveaxis(images, 2, 0)  # the published file has the rows last
    if images.ndim != 3 or images.shape[1:] != (SIZE, SIZE):
        raise DataError(f"{npz} holds an array of shape {images.shape}; accepted: [N, 96, 96] or [96, 96, N]")
    if not (np.isfinite(images).all() and images.min(initial=0) >= 0 and images.max(initial=0) <= 255):
        raise DataError(f"{npz} holds pixels outside 0-255")
    keypoints, ids = [], []
    with open(table, encoding="utf-8", newline="") as text:
        reader = csv.reader(text)
        columns = _columns(next(reader, []), KAGGLE15.columns, table)
        for number, row in enumerate(row for row in reader if row):
            try:
                keypoints.append(_parse_keypoints([row[column] for column in columns]))
                ids.append(number)
            except (IndexError, ValueError) as error:
                _refuse(f"{table}, row {number} (0-based): {error}", skip_bad_rows, skipped)
    if len(ids) + len(skipped) != len(images):
        raise DataError(f"{npz} holds {len(images)} images, {table} {len(ids) + len(skipped)} rows")
    return _faceset(images[ids].astype(np.uint8), keypoints, ids, table)


def _faceset(images, keypoints, ids, file: Path) -> FaceSet:
    if not len(ids):
        raise DataError(f"{file} has no usable rows")
    keypoints = np.stack(keypoints)
    return FaceSet(
        images=np.stack(images),
        keypoints=keypoints,
        groups=np.arange(len(ids)),
        ids=np.array(ids, dtype=np.int64),
        sources=label_sources(keypoints),
        schema=KAGGLE15,
    )


def _columns(header: list[str], wanted: tuple[str, ...], file: Path) -> list[int]:
    """Positions of the wanted columns in the header."""
    if not header:
        raise DataError(f"{file} is empty; accepted: {ACCEPTED}")
    missing = [name for name in wanted if name not in header]
    if missing:
        raise DataError(f"{file} lacks {len(missing)} of {len(wanted)} columns: {', '.join(missing[:6])}")
    return [header.index(name) for name in wanted]


def _parse_image(cell: str) -> np.ndarray:
    """uint8 [96, 96] from 9,216 integers; ValueError says what was found instead."""
    try:
        # int64, because narrower types wrap values that are out of range instead of showing them
        pixels = np.fromstring(cell, dtype=np.int64, sep=" ")
    except ValueError:
        word = next((w for w in cell.split() if not w.isdecimal()), cell[:20])
        raise ValueError(f"the image holds {word[:20]!r}, expected {SIZE * SIZE} integers 0-255") from None
    if len(pixels) != SIZE * SIZE:
        raise ValueError(f"the image has {len(pixels)} pixels, expected {SIZE * SIZE}")
    if pixels.min() < 0 or pixels.max() > 255:
        found = pixels.min() if pixels.min() < 0 else pixels.max()
        raise ValueError(f"the image has a pixel of {found}, expected integers 0-255")
    return pixels.astype(np.uint8).reshape(SIZE, SIZE)


def _parse_keypoints(cells: list[str]) -> np.ndarray:
    """float32 [15, 2]; a point with only one coordinate counts as unlabelled."""
    values = []
    for name, cell in zip(KAGGLE15.columns, cells, strict=True):
        try:
            value = float(cell) if cell.strip() else math.nan
        except ValueError:
            raise ValueError(f"{name} is {cell[:20]!r}, expected a number or nothing") from None
        if not math.isnan(value) and not -SIZE / 2 <= value <= SIZE * 1.5:
            raise ValueError(f"{name} is {value:g}, more than half an image outside 0-{SIZE}")
        values.append(value)
    points = np.array(values, dtype=np.float32).reshape(-1, 2)
    points[~observed(points)] = np.nan
    return points


def _refuse(problem: str, skip_bad_rows: bool, skipped: list[str]) -> None:
    if not skip_bad_rows:
        raise DataError(f"{problem} (--skip-bad-rows leaves such rows out)")
    skipped.append(problem)
