"""A folder of photographs, each with an iBUG `.pts` file of 68 points beside it (300-W, HELEN, LFPW, AFW)."""

import re
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.faceset import DataError, FaceSet
from data_prep.schema import IBUG68, KAGGLE15, Schema, kaggle15_from_ibug68
from data_prep.sources import Source, photo, sha256_of
from data_prep.sources.kaggle_table import coordinate_of

FORMAT = f"'n_points: {len(IBUG68)}', then {len(IBUG68)} lines 'x y' in braces"


def read(path: Path, *, schema: Schema = IBUG68, size: int = 96, skip_bad_rows: bool = False) -> Source:
    """Read every image below `path` that has a `.pts` file of the same stem, in order of their paths.

    schema: IBUG68, or KAGGLE15 for the 15 points that follow from the 68. It also chooses how the face lies
        in the crop (`photo.FACE_BOX`): as in the YouTube Faces crops, or closer, as in the Kaggle crops.
    size: a square around the points is cut out, gray, [size, size]. A face whose square leaves the photo
        is kept.
    skip_bad_rows: leave bad files out and list them in `skipped`; otherwise the first raises DataError.

    `.pts` coordinates are 1-based and refer to the pixels as stored, whatever the EXIF orientation says.
    ids are paths relative to the folder (`sub/name.jpg`), a group is one photograph. An image without `.pts`,
    or the reverse, is always listed in `skipped`.
    """
    if schema not in (IBUG68, KAGGLE15):
        raise ValueError(f"schema must be ibug68 or kaggle15, got {schema.name}")
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder, expected a folder of images with .pts files beside them")
    pairs, skipped = _pairs(path)
    ids, images, keypoints, used = [], [], [], []
    for image_path, pts_path in tqdm(pairs, desc="reading photos", unit="photo", disable=None):
        try:
            image, points = _face(path, image_path, pts_path, schema, size)
        except DataError as error:
            if not skip_bad_rows:
                raise
            skipped.append(str(error))
            continue
        ids.append(_name(path, image_path))
        images.append(image)
        keypoints.append(points)
        used += [image_path, pts_path]
    if not ids:
        raise DataError(f"{path}: no usable image with a .pts file of the same name, {len(skipped)} left out")
    faces = FaceSet(
        images=np.stack(images),
        keypoints=np.stack(keypoints).astype(np.float32),
        groups=np.arange(len(ids)),
        ids=np.array(ids),
        sources=np.zeros(len(ids), np.int64),
        schema=schema,
    )
    return Source(faces, sha256_of(used), tuple(skipped))


def parse_pts(text: str, name: str) -> np.ndarray:
    """The points of a `.pts` file, float [68, 2], 0-based pixels."""
    declared = re.search(r"^\s*n_points:\s*(\S+)", text, re.MULTILINE)
    if declared is None or declared[1] != str(len(IBUG68)):
        raise DataError(f"{name}: n_points {declared[1] if declared else 'missing'}, expected {FORMAT}")
    body = re.search(r"\{([^{}]*)\}", text)
    if body is None:
        raise DataError(f"{name}: no pair of braces, expected {FORMAT}")
    rows = [line.split() for line in body[1].splitlines() if line.strip()]
    if len(rows) != len(IBUG68):
        raise DataError(f"{name}: {len(rows)} lines of points, expected {FORMAT}")
    return np.array([_point(row, f"{name}: point {k}") for k, row in enumerate(rows)]) - 1


def _point(row: list[str], where: str) -> list[float]:
    try:
        point = [coordinate_of(value) for value in row]
    except ValueError:
        point = []
    if len(point) != 2 or not np.isfinite(point).all():
        raise DataError(f"{where} is {' '.join(row)[:40]!r}, expected two finite numbers")
    return point


def _face(root: Path, image_path: Path, pts_path: Path, schema: Schema, size: int):
    """One face: its crop uint8 [size, size] and the points [K, 2] in the crop's pixels."""
    name, pts_name = _name(root, image_path), _name(root, pts_path)
    text = photo.read_bytes(pts_path, pts_name).decode("utf-8-sig", errors="replace")
    points = parse_pts(text, pts_name)
    image = photo.decode_gray(photo.read_bytes(image_path, name), name)
    photo.check_points(points, image, pts_name)
    if schema == KAGGLE15:
        points = kaggle15_from_ibug68(points[None])[0]
    affine = photo.face_affine(points, schema, size, pts_name)
    return photo.crop(image, affine, size), photo.transform(affine, points)


def _pairs(root: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Images with their `.pts` files, sorted by path; a line for each file that has no counterpart."""
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    images = [p for p in files if p.suffix.lower() in photo.SUFFIXES]
    points = {p.with_suffix(""): p for p in files if p.suffix.lower() == ".pts"}
    pairs = [(p, points[p.with_suffix("")]) for p in images if p.with_suffix("") in points]
    paired = {p for pair in pairs for p in pair}
    alone = [f"{_name(root, p)}: no .pts file of that name" for p in images if p not in paired]
    alone += [f"{_name(root, p)}: no image of that name" for p in points.values() if p not in paired]
    twice = [p for p in files if p.suffix.lower() == ".pts" and p not in points.values()]
    alone += [f"{_name(root, p)}: another .pts file has that name" for p in twice]
    return pairs, alone


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
