"""Read the Kaggle competition "Facial Keypoints Detection": 96x96 gray faces with up to 15 points.

`training.csv` has 30 coordinate columns, then `Image`: 9,216 integers 0-255 separated by spaces, row by row.
An empty cell is a missing label. Also read: the zips it comes in, and the pair `face_images.npz` +
`facial_keypoints.csv` of the Kaggle data set nagasai524/facial-keypoint-detection. `test.csv` has an `ImageId` instead
of labels.
"""

import io
import math
import zipfile
from pathlib import Path
from tokenize import TokenError

import numpy as np
from tqdm import tqdm

from data_prep.faceset import DataError, FaceSet, observed
from data_prep.schema import KAGGLE15, SECOND_SOURCE_POINTS
from data_prep.sources import Source, sha256_of
from data_prep.sources.kaggle_table import Table, cells_of, coordinate_of, number_of, refuse_large, rows_of

SIZE = 96
NPZ, NPZ_TABLE = "face_images.npz", "facial_keypoints.csv"
ACCEPTED = f"training.csv, training.zip, the competition's zip, {NPZ} + {NPZ_TABLE}, or a folder with one of them"
TRAINING = Table("training.csv", "training set", ACCEPTED)
TEST = Table("test.csv", "test set", "test.csv, test.zip, the competition's zip, or a folder with one of them")


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
    with TRAINING.readable(*files):
        if len(files) == 2:
            faces = _read_pair(*files, skip_bad_rows, skipped)
        else:
            with TRAINING.open(files[0]) as text:
                faces = _read_table(text, files[0], skip_bad_rows, skipped)
    return Source(faces=faces, sha256=sha256_of(files), skipped=tuple(skipped))


def read_test(path: Path) -> FaceSet:
    """Read the competition's test set, from any of the forms in `TEST.accepted`: faces without labels.

    `ids` are the file's ImageIds, all keypoints are NaN; `sources` is 0, for the lookup table alone tells them.

    Raises DataError as `read` does; for an ImageId that is not a whole number or stands twice too.
    """
    file = TEST.find(Path(path))
    with TEST.readable(file), TEST.open(file) as text:
        return _read_test(text, file)


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


def holds(folder: Path) -> bool:
    """Whether `read` would find a training set in this folder."""
    try:
        return bool(_find(folder))
    except DataError:
        return False


def _find(path: Path) -> list[Path]:
    """The one file to read, or the pair (images, table)."""
    pair = [(path if path.is_dir() else path.parent) / name for name in (NPZ, NPZ_TABLE)]
    if path.is_file() and path.name in (NPZ, NPZ_TABLE):
        for file in pair:
            if not file.is_file():
                raise DataError(f"{file} is missing: {NPZ} and {NPZ_TABLE} must lie in one folder")
        return pair
    if path.is_dir() and all(file.is_file() for file in pair):
        alone = [path / name for name in (TRAINING.name, TRAINING.zip_name)]
        if not any(file.is_file() for file in alone):  # those come before the pair
            return pair
    return [TRAINING.find(path)]


def _read_table(text: io.TextIOBase, file: Path, skip_bad_rows: bool, skipped: list[str]) -> FaceSet:
    rows = rows_of(text)
    columns = TRAINING.columns(next(rows, []), (*KAGGLE15.columns, "Image"), file)
    images, keypoints, ids = [], [], []
    for number, row in enumerate(tqdm(rows, desc=f"reading {file.name}", unit=" rows", disable=None)):
        try:
            cells = cells_of(row, columns)
            face = _parse_image(cells[-1]), _parse_keypoints(cells[:-1])
        except ValueError as error:
            _refuse(f"{file}, row {number} (0-based): {error}", skip_bad_rows, skipped)
            continue
        images.append(face[0])
        keypoints.append(face[1])
        ids.append(number)
    return _faceset(images, keypoints, ids, file)


def _read_test(text: io.TextIOBase, file: Path) -> FaceSet:
    rows = rows_of(text)
    columns = TEST.columns(next(rows, []), ("ImageId", "Image"), file)
    images: dict[int, np.ndarray] = {}
    for number, row in enumerate(tqdm(rows, desc=f"reading {file.name}", unit=" rows", disable=None)):
        try:
            name, picture = cells_of(row, columns)
            image_id = number_of(name, "ImageId")
            if image_id in images:
                raise ValueError(f"ImageId {image_id} stands twice")
            images[image_id] = _parse_image(picture)
        except ValueError as error:
            raise DataError(f"{file}, row {number} (0-based): {error}") from None
    if not images:
        raise DataError(f"{file} has no rows")
    return FaceSet(
        images=np.stack(list(images.values())),
        keypoints=np.full((len(images), len(KAGGLE15), 2), np.nan, dtype=np.float32),
        groups=np.arange(len(images)),
        ids=np.array(list(images), dtype=np.int64),
        sources=np.zeros(len(images), dtype=np.int64),
        schema=KAGGLE15,
    )


def _read_pair(npz: Path, table: Path, skip_bad_rows: bool, skipped: list[str]) -> FaceSet:
    pictures = _load_pictures(npz)
    images, keypoints, ids = [], [], []
    with open(table, encoding="utf-8-sig", newline="") as text:
        rows = rows_of(text)
        columns = TRAINING.columns(next(rows, []), KAGGLE15.columns, table)
        rows = list(rows)
    if len(rows) != len(pictures):
        raise DataError(f"{npz} holds {len(pictures)} images, {table} {len(rows)} rows; accepted: one for each")
    for number, (picture, row) in enumerate(zip(pictures, rows, strict=True)):
        try:
            face = _check_pixels(picture), _parse_keypoints(cells_of(row, columns))
        except ValueError as error:
            _refuse(f"{table}, row {number} (0-based): {error}", skip_bad_rows, skipped)
            continue
        images.append(face[0])
        keypoints.append(face[1])
        ids.append(number)
    return _faceset(images, keypoints, ids, table)


def _load_pictures(npz: Path) -> np.ndarray:
    """The first array of the file, numbers of any type [N, 96, 96]."""
    with zipfile.ZipFile(npz) as archive:
        for info in archive.infolist():
            refuse_large(info, npz)
    try:
        with np.load(npz, allow_pickle=False) as arrays:
            pictures = arrays[arrays.files[0]]
    except (ValueError, IndexError, OverflowError, MemoryError, TokenError, SyntaxError) as error:
        raise DataError(f"{npz} is not an npz file of plain arrays ({error})") from error
    if not isinstance(pictures, np.ndarray) or pictures.dtype.kind not in "uif":
        raise DataError(f"{npz} holds {type(pictures).__name__} of {getattr(pictures, 'dtype', '')}; accepted: numbers")
    if pictures.ndim == 3 and pictures.shape[:2] == (SIZE, SIZE) != pictures.shape[1:]:
        pictures = np.moveaxis(pictures, 2, 0)  # the published file has the rows last
    if pictures.ndim != 3 or pictures.shape[1:] != (SIZE, SIZE):
        raise DataError(f"{npz} holds an array of shape {pictures.shape}; accepted: [N, 96, 96] or [96, 96, N]")
    return pictures


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


def _parse_image(cell: str) -> np.ndarray:
    """uint8 [96, 96] from 9,216 integers; ValueError says what was found instead."""
    try:
        # int64, because narrower types wrap values that are out of range instead of showing them
        pixels = np.fromstring(cell, dtype=np.int64, sep=" ")
    except ValueError:
        pixels = np.empty(0)
    # a sign is never part of a pixel, and `fromstring` reads "- 1" as -1 and a "-" at the end as 0
    if len(pixels) != SIZE * SIZE or pixels.min() < 0 or pixels.max() > 255 or "-" in cell or "+" in cell:
        words = cell.split()
        odd = next((word for word in words if not _is_pixel(word)), None)
        found = f"has {len(words)} pixels" if odd is None else f"holds {odd[:20]!r}"
        raise ValueError(f"the image {found}, expected {SIZE * SIZE} integers 0-255")
    return pixels.astype(np.uint8).reshape(SIZE, SIZE)


def _is_pixel(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= 20 and int(word) <= 255


def _check_pixels(picture: np.ndarray) -> np.ndarray:
    """uint8 [96, 96] from numbers of any type [96, 96]; ValueError names the first that is no integer 0-255."""
    if picture.dtype == np.uint8:
        return picture
    good = (picture >= 0) & (picture <= 255) & (picture == np.round(picture))
    if not good.all():
        raise ValueError(f"the image holds {picture[~good][0]}, expected integers 0-255")
    return picture.astype(np.uint8)


def _parse_keypoints(cells: list[str]) -> np.ndarray:
    """float32 [15, 2]; a point with only one coordinate counts as unlabelled."""
    values = []
    for name, cell in zip(KAGGLE15.columns, cells, strict=True):
        try:
            value = coordinate_of(cell) if cell.strip() else math.nan
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
