"""The Kaggle reader, on small files written here in all its forms; no picture is needed to follow a test."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15
from data_prep.sources import kaggle, sha256_of

NAN = np.nan
NAMES = [*KAGGLE15.columns, "Image"]
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 96, 96), dtype=np.uint8)

# Row 0 has all points, point k at (k + 0.25, 2k); row 1 only the nose; row 2 nothing; row 3 the eyes.
KEYPOINTS = np.full((4, 15, 2), NAN)
KEYPOINTS[0] = np.stack([np.arange(15) + 0.25, 2 * np.arange(15)], axis=-1)
KEYPOINTS[1, 10] = (48.5, 57.125)
KEYPOINTS[3, :2] = [(66.03, 39.0), (30.2, 36.4)]

# The columns in another order, the image in the middle.
SHUFFLED = [NAMES[i] for i in np.random.default_rng(1).permutation(31)]


@pytest.fixture(scope="module")
def text(csv_text) -> str:
    return csv_text(KEYPOINTS, IMAGES)


def zipped(member: str, data: bytes | str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(member, data)
        archive.writestr("test.csv", "ImageId,Image\n")
    return buffer.getvalue()


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def write_pair(folder: Path, pictures: np.ndarray, table: str) -> Path:
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "face_images.npz", face_images=pictures)
    write(folder / "facial_keypoints.csv", table)
    return folder


def competition(text: str) -> bytes:
    return zipped("training.zip", zipped("training.csv", text), zipfile.ZIP_STORED)


FORMS = {
    "csv": lambda d, t: write(d / "training.csv", t),
    "csv of another name": lambda d, t: write(d / "my faces.CSV", t),
    "csv with byte order mark": lambda d, t: write(d / "training.csv", b"\xef\xbb\xbf" + t.encode()),
    "csv with Windows lines": lambda d, t: write(d / "training.csv", t.replace("\n", "\r\n")),
    "csv with blank lines": lambda d, t: write(d / "training.csv", t.replace("\n", "\n\n")),
    "zip": lambda d, t: write(d / "training.zip", zipped("training.csv", t)),
    "zip with a folder": lambda d, t: write(d / "x.zip", zipped("a/training.csv", t)),
    "zip stored": lambda d, t: write(d / "training.zip", zipped("training.csv", t, zipfile.ZIP_STORED)),
    "competition": lambda d, t: write(d / "facial-keypoints-detection.zip", competition(t)),
    "competition deflated": lambda d, t: write(d / "c.zip", zipped("training.zip", zipped("training.csv", t))),
    "folder with csv": lambda d, t: write(d / "training.csv", t).parent,
    "folder with zip": lambda d, t: write(d / "training.zip", zipped("training.csv", t)).parent,
    "folder with competition": lambda d, t: write(d / "facial-keypoints-detection.zip", competition(t)).parent,
}


def check(source, path: Path) -> None:
    faces = source.faces
    np.testing.assert_array_equal(faces.images, IMAGES)
    np.testing.assert_array_equal(faces.keypoints, KEYPOINTS.astype(np.float32))
    assert faces.images.dtype == np.uint8
    assert faces.ids.tolist() == faces.groups.tolist() == [0, 1, 2, 3]
    assert faces.sources.tolist() == [1, 2, 2, 2]  # row 0 alone has points beyond the second source's four
    assert faces.schema is KAGGLE15
    assert source.skipped == ()
    if path.is_file():
        assert source.sha256 == sha256_of([path])


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same_faces(tmp_path, text, form):
    path = FORMS[form](tmp_path, text)
    check(kaggle.read(path), path)


def test_columns_are_found_by_name(tmp_path, csv_text):
    path = write(tmp_path / "training.csv", csv_text(KEYPOINTS, IMAGES, SHUFFLED))
    check(kaggle.read(path), path)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("axis", [0, 2])
def test_pair(tmp_path, csv_text, dtype, axis):
    """[N, 96, 96] and, as published, [96, 96, N]; named by the folder or by either file."""
    folder = write_pair(tmp_path / "pair", np.moveaxis(IMAGES, 0, axis).astype(dtype), csv_text(KEYPOINTS))
    for path in (folder, folder / "face_images.npz", folder / "facial_keypoints.csv"):
        source = kaggle.read(path)
        check(source, folder)
        assert source.sha256 == sha256_of([folder / "face_images.npz", folder / "facial_keypoints.csv"])


def test_pair_columns_are_found_by_name(tmp_path, csv_text):
    order = [name for name in SHUFFLED if name != "Image"]
    folder = write_pair(tmp_path / "pair", IMAGES, csv_text(KEYPOINTS, None, order))
    check(kaggle.read(folder), folder)


def test_the_hash_is_of_the_bytes(tmp_path):
    # SHA-256 of "abc": FIPS 180-2, appendix B.1
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    a, b = write(tmp_path / "a", "abc"), write(tmp_path / "b", "abc")
    assert sha256_of([a]) == abc
    assert len({sha256_of([a]), sha256_of([a, b]), sha256_of([b, a])}) == 3


def cells(text: str) -> list[list[str]]:
    return [line.split(",") for line in text.splitlines()]


def joined(rows: list[list[str]]) -> str:
    return "\n".join(map(",".join, rows)) + "\n"


def with_cell(row: int, column: str, value: str | Callable[[str], str]) -> Callable[[str], str]:
    """The table with one cell of data row `row` replaced."""

    def changed(text: str) -> str:
        rows = cells(text)
        old = rows[row + 1][NAMES.index(column)]
        rows[row + 1][NAMES.index(column)] = value(old) if callable(value) else value
        return joined(rows)

    return changed


def with_pixel(value: str, row: int = 2, at: int = 5000) -> Callable[[str], str]:
    def changed(image: str) -> str:
        pixels = image.split()
        pixels[at] = value
        return " ".join(pixels)

    return with_cell(row, "Image", changed)


def without_columns(*names: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        rows = cells(text)
        keep = [i for i, name in enumerate(NAMES) if name not in names]
        return joined([[row[i] for i in keep] for row in rows])

    return changed


HUGE = "99999999999999999999999999"  # beyond 64 bits

# One row is bad: what was done to it, and what the message must name beside the row.
BAD_ROWS = {
    "short image": (with_cell(2, "Image", lambda image: image.rsplit(" ", 1)[0]), "9215 pixels, expected 9216"),
    "long image": (with_cell(2, "Image", lambda image: image + " 7"), "9217 pixels, expected 9216"),
    "no image": (with_cell(2, "Image", ""), "0 pixels, expected 9216"),
    "blank image": (with_cell(2, "Image", " "), "0 pixels, expected 9216"),
    "word in the image": (with_pixel("black"), "'black', expected 9216 integers 0-255"),
    "float pixel": (with_pixel("12.5"), "'12.5', expected 9216 integers 0-255"),
    "nan pixel": (with_pixel("nan"), "'nan', expected"),
    "pixel 256": (with_pixel("256"), "'256', expected 9216 integers 0-255"),
    "pixel -1": (with_pixel("-1"), "'-1', expected 9216 integers 0-255"),
    "pixel -0": (with_pixel("-0"), "'-0', expected"),
    "huge pixel": (with_pixel(HUGE), f"'{HUGE[:20]}', expected"),
    "huge negative pixel": (with_pixel(f"-{HUGE}"), f"'-{HUGE[:19]}', expected"),
    "sign alone at the end": (with_pixel("-", at=9215), "'-', expected"),
    "sign alone": (with_pixel("+"), "'+', expected"),
    "pixel with an underscore": (with_pixel("1_0"), "'1_0', expected"),
    "Arabic digits": (with_pixel("\u0661"), "'\u0661', expected"),
    "NUL in the image": (with_pixel("1\x002"), r"'1\x002', expected"),
    "word as keypoint": (with_cell(2, "nose_tip_x", "left"), "nose_tip_x is 'left', expected a number or nothing"),
    "infinite keypoint": (with_cell(2, "nose_tip_y", "inf"), "nose_tip_y is inf"),
    "overflowing keypoint": (with_cell(2, "nose_tip_y", "-1e999"), "nose_tip_y is -inf"),
    "far outside": (with_cell(2, "nose_tip_y", "145"), "nose_tip_y is 145, more than half an image outside"),
    "far outside to the left": (with_cell(2, "nose_tip_x", "-49"), "nose_tip_x is -49, more than half"),
    "few cells": (lambda t: joined([r[:20] if i == 3 else r for i, r in enumerate(cells(t))]), "20 cells, expected"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_refused_or_left_out(tmp_path, text, case):
    change, found = BAD_ROWS[case]
    path = write(tmp_path / "training.csv", change(text))
    with pytest.raises(DataError) as error:
        kaggle.read(path)
    assert f"{path}, row 2 (0-based): " in str(error.value)
    assert found in str(error.value)
    assert len(str(error.value).splitlines()) == 1

    source = kaggle.read(path, skip_bad_rows=True)
    assert source.faces.ids.tolist() == [0, 1, 3]  # the file's numbers, not renumbered
    np.testing.assert_array_equal(source.faces.images, IMAGES[[0, 1, 3]])
    np.testing.assert_array_equal(source.faces.keypoints, KEYPOINTS[[0, 1, 3]].astype(np.float32))
    assert len(source.skipped) == 1
    assert "row 2 (0-based): " in source.skipped[0]
    assert found in source.skipped[0]


def test_every_bad_row_is_named(tmp_path, text):
    path = write(tmp_path / "training.csv", with_pixel("999", row=0)(with_cell(3, "nose_tip_x", "?")(text)))
    source = kaggle.read(path, skip_bad_rows=True)
    assert source.faces.ids.tolist() == [1, 2]
    assert [line.split(": ")[0].rsplit(", ")[1] for line in source.skipped] == ["row 0 (0-based)", "row 3 (0-based)"]


def test_no_usable_row(tmp_path, text):
    rows = cells(text)
    path = write(tmp_path / "training.csv", joined([rows[0], *(row[:5] for row in rows[1:])]))
    with pytest.raises(DataError, match="no usable rows"):
        kaggle.read(path, skip_bad_rows=True)


def test_points_up_to_half_an_image_outside_are_kept(tmp_path, text):
    change = with_cell(1, "nose_tip_x", "-48"), with_cell(1, "nose_tip_y", "144")
    path = write(tmp_path / "training.csv", change[0](change[1](text)))
    assert kaggle.read(path).faces.keypoints[1, 10].tolist() == [-48, 144]


@pytest.mark.parametrize("column", ["nose_tip_x", "nose_tip_y"])
@pytest.mark.parametrize("blank", ["", "  ", "nan"])
def test_a_point_with_one_coordinate_is_unlabelled(tmp_path, text, column, blank):
    faces = kaggle.read(write(tmp_path / "training.csv", with_cell(1, column, blank)(text))).faces
    assert np.isnan(faces.keypoints[1]).all()  # the nose was the row's only point
    assert faces.observed[:, 10].tolist() == [True, False, False, False]


def test_quoted_cells(tmp_path, text):
    quoted = joined([[f'"{cell}"' for cell in row] for row in cells(text)])
    path = write(tmp_path / "training.csv", quoted)
    check(kaggle.read(path), path)


def directory(data: bytes) -> int:
    """Where a zip's first directory entry begins: 4 bytes at offset 16 of its end record, which is 22 bytes long."""
    return int.from_bytes(data[-6:-2], "little")


def claiming(data: bytes, size: int) -> bytes:
    """The zip with another uncompressed size in its first directory entry (offset 24, little-endian)."""
    at = directory(data) + 24
    return data[:at] + size.to_bytes(4, "little") + data[at + 4 :]


def encrypted(data: bytes) -> bytes:
    """The zip with the flag set that says its first member is encrypted (offset 8 of the directory entry)."""
    at = directory(data) + 8
    return data[:at] + bytes([data[at] | 1]) + data[at + 1 :]


def corrupted(data: bytes) -> bytes:
    """Bytes overwritten in the middle of the compressed data."""
    middle = len(data) // 2
    return data[:middle] + bytes(200) + data[middle + 200 :]


# Files that are bad as a whole: file name, content made from a good table, and what the message must name.
BAD_FILES = {
    "empty": ("training.csv", lambda t: "", "is empty"),
    "blank lines only": ("training.csv", lambda t: "\n\n", "is empty"),
    "header only": ("training.csv", lambda t: t.splitlines()[0] + "\n", "has no usable rows"),
    "one column missing": ("training.csv", without_columns("nose_tip_x"), "lacks 1 of 31 columns: nose_tip_x"),
    "two columns missing": (
        "training.csv",
        without_columns("nose_tip_y", "Image"),
        "lacks 2 of 31 columns: nose_tip_y, Image",
    ),
    "one column more": ("training.csv", lambda t: "Image," + t, "names the column Image 2 times; once is accepted"),
    "the test set": ("test.csv", lambda t: "ImageId,Image\n1,0 0\n", "lacks 30 of 31 columns: left_eye_center_x, "),
    "no header": ("training.csv", lambda t: t.split("\n", 1)[1], "lacks 31 of 31 columns"),
    "not UTF-8": ("training.csv", lambda t: t.encode() + b"\xff\xfe\n", "not a table in UTF-8 text"),
    "UTF-16": ("training.csv", lambda t: t.encode("utf-16"), "not a table in UTF-8 text"),
    "endless line": ("training.csv", lambda t: t + "1 " * 2**20, "a line has 1,048,576 characters or more"),
    "open quote": ("training.csv", lambda t: t + '"' + "\n".join(["7" * 1000] * 1100), "field larger than field limit"),
    # All rows up to the next quote would be one, and none of them missed.
    "a quote too many": ("training.csv", lambda t: t.replace("\n", '\n"', 1), "a quote in line 2 does not end"),
    "an unknown suffix": ("training.txt", lambda t: t, "is not a .csv or .zip file"),
    "zip cut in half": (
        "training.zip",
        lambda t: zipped("training.csv", t)[: len(zipped("training.csv", t)) // 2],
        "damaged, cut short",
    ),
    "zip cut by one byte": ("training.zip", lambda t: zipped("training.csv", t)[:-1], "damaged, cut short"),
    "zip of no bytes": ("training.zip", lambda t: b"", "damaged, cut short"),
    "text called zip": ("training.zip", lambda t: t, "damaged, cut short"),
    "encrypted zip": ("training.zip", lambda t: encrypted(zipped("training.csv", t)), "encrypted"),
    "zip without the table": ("training.zip", lambda t: zipped("other.csv", t), "holds neither training.csv nor"),
    "inner zip cut": ("c.zip", lambda t: zipped("training.zip", zipped("training.csv", t)[:999]), "damaged, cut short"),
    "inner zip without the table": (
        "c.zip",
        lambda t: zipped("training.zip", zipped("other.csv", t)),
        "holds neither training.csv nor",
    ),
    "zip that unpacks to 4 GB": (
        "training.zip",
        lambda t: claiming(zipped("training.csv", t), 2**32 - 2),
        "training.csv unpacks to 4,294,967,294 bytes",
    ),
    "inner zip that unpacks to 4 GB": (
        "c.zip",
        lambda t: zipped("training.zip", claiming(zipped("training.csv", t), 2**32 - 2)),
        "training.csv unpacks to 4,294,967,294 bytes",
    ),
    "inner zip of 4 GB": (
        "c.zip",
        lambda t: claiming(competition(t), 2**32 - 2),
        "training.zip unpacks to 4,294,967,294 bytes",
    ),
}


@pytest.mark.parametrize("skip", [False, True], ids=["", "skip"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused(tmp_path, text, case, skip):
    name, make, found = BAD_FILES[case]
    path = write(tmp_path / name, make(text))
    with pytest.raises(DataError) as error:
        kaggle.read(path, skip_bad_rows=skip)
    assert str(path) in str(error.value)
    assert found in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_corrupted_zip_is_refused(tmp_path, text, method):
    path = write(tmp_path / "training.zip", corrupted(zipped("training.csv", text, method)))
    with pytest.raises(DataError):  # the row that the damage spoils may come before the checksum
        kaggle.read(path)
    with pytest.raises(DataError, match="training.zip is damaged, cut short"):
        kaggle.read(path, skip_bad_rows=True)


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; accepted: training.csv, training.zip"):
        kaggle.read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no Kaggle training set; accepted: training.csv, training.zip"):
        kaggle.read(tmp_path)
    (tmp_path / "training.csv").mkdir()
    for path in (tmp_path, tmp_path / "training.csv"):
        with pytest.raises(DataError, match="holds no Kaggle training set"):
            kaggle.read(path)


BAD_PAIRS = {
    "fewer rows": (lambda i: i[:3], lambda t: t, "holds 3 images, .* 4 rows"),
    "wrong shape": (lambda i: i[:, :95], lambda t: t, r"shape \(4, 95, 96\); accepted: \[N, 96, 96\]"),
    "flat": (lambda i: i.reshape(4, -1), lambda t: t, r"shape \(4, 9216\)"),
    "text": (lambda i: i.astype(str), lambda t: t, "accepted: numbers"),
    "complex": (lambda i: i.astype(complex), lambda t: t, "accepted: numbers"),
    "pickled": (lambda i: i.astype(object), lambda t: t, "not an npz file of plain arrays"),
    "missing column": (lambda i: i, lambda t: t.replace("nose_tip_x", "nose"), "lacks 1 of 30 columns: nose_tip_x"),
    "empty table": (lambda i: i, lambda t: "", "facial_keypoints.csv is empty"),
    "table not text": (lambda i: i, lambda t: b"\xff" + t.encode(), "facial_keypoints.csv is not a table in UTF-8"),
}


@pytest.mark.parametrize("case", BAD_PAIRS)
def test_a_bad_pair_is_refused(tmp_path, csv_text, case):
    pictures, table, found = BAD_PAIRS[case]
    folder = write_pair(tmp_path / "pair", pictures(IMAGES), table(csv_text(KEYPOINTS)))
    with pytest.raises(DataError, match=found):
        kaggle.read(folder)


@pytest.mark.parametrize(
    ("dtype", "value", "found"),
    [(np.int16, 256, "256"), (np.int64, -1, "-1"), (np.float32, 0.5, "0.5"), (np.float64, NAN, "nan")],
)
def test_a_bad_picture_in_a_pair_names_its_row(tmp_path, csv_text, dtype, value, found):
    pictures = IMAGES.astype(dtype)
    pictures[2, 5, 7] = value
    folder = write_pair(tmp_path / "pair", pictures, csv_text(KEYPOINTS))
    with pytest.raises(DataError, match=rf"row 2 \(0-based\): the image holds {found}, expected integers 0-255"):
        kaggle.read(folder)
    source = kaggle.read(folder, skip_bad_rows=True)
    assert source.faces.ids.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(source.faces.images, IMAGES[[0, 1, 3]])


def test_a_bad_keypoint_in_a_pair_names_its_row(tmp_path, csv_text):
    folder = write_pair(tmp_path / "pair", IMAGES, csv_text(KEYPOINTS).replace("57.125", "low"))
    with pytest.raises(DataError, match=r"row 1 \(0-based\): nose_tip_y is 'low'"):
        kaggle.read(folder)
    source = kaggle.read(folder, skip_bad_rows=True)
    assert source.faces.ids.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(source.faces.images, IMAGES[[0, 2, 3]])
    assert "row 1 (0-based)" in source.skipped[0]


def test_half_a_pair(tmp_path, csv_text):
    folder = write_pair(tmp_path / "pair", IMAGES, csv_text(KEYPOINTS))
    (folder / "facial_keypoints.csv").unlink()
    with pytest.raises(DataError, match="facial_keypoints.csv is missing"):
        kaggle.read(folder / "face_images.npz")
    with pytest.raises(DataError, match="holds no Kaggle training set"):
        kaggle.read(folder)


def npy(shape: tuple[int, ...]) -> bytes:
    """An array file whose header promises `shape` and that holds ten bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(10)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"not a zip", "damaged, cut short"),
        (zipped("face_images.npy", b"\x93NUMPY\x01\x00"), "not an npz file of plain arrays"),
        (zipped("face_images.npy", b""), "accepted: numbers"),  # not marked as an array, so read as plain bytes
        (zipped("face_images.npy", npy((96, 96, 10**9))), "not an npz file of plain arrays"),  # 9 TB
        (zipped("face_images.npy", npy((10**9, 10**9, 10**9))), "not an npz file of plain arrays"),  # over 64 bits
        (claiming(zipped("face_images.npy", npy((10,))), 2**32 - 2), "unpacks to 4,294,967,294 bytes"),
        (zipped("face_images.txt", b"hello"), "accepted: numbers"),
    ],
    ids=["text", "half a header", "empty array", "9 TB", "overflow", "unpacks to 4 GB", "no array"],
)
def test_a_damaged_npz_is_refused(tmp_path, csv_text, content, found):
    folder = write_pair(tmp_path / "pair", IMAGES, csv_text(KEYPOINTS))
    write(folder / "face_images.npz", content)
    with pytest.raises(DataError, match=found) as error:
        kaggle.read(folder)
    assert "face_images.npz" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def labelled(*rows: str) -> np.ndarray:
    """A row of keypoints for each word: `rich` has all points, `four` the second source's, `eyes`, `none`."""
    points = {"rich": range(15), "four": (0, 1, 10, 14), "eyes": (0, 1), "none": ()}
    keypoints = np.full((len(rows), 15, 2), NAN)
    for row, kind in enumerate(rows):
        keypoints[row, list(points[kind])] = 1
    return keypoints


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["rich", "rich", "four", "eyes"], [1, 1, 2, 2]),
        (["rich", "rich", "rich"], [1, 1, 1]),
        (["four", "eyes", "none"], [2, 2, 2]),
        (["none"], [2]),
        # a sparse row among rich ones is the first source's: a border after row 3 misplaces row 1 alone, one
        # after row 0 rows 2 and 3
        (["rich", "four", "rich", "rich", "four"], [1, 1, 1, 1, 2]),
        # after row 0 or after row 2 one row is misplaced either way: the first is taken
        (["rich", "none", "rich", "eyes"], [1, 2, 2, 2]),
        # one rich row far into the second source does not move the border
        (["rich", "rich", "four", "four", "rich", "four"], [1, 1, 2, 2, 2, 2]),
    ],
)
def test_label_sources(rows, expected):
    assert kaggle.label_sources(labelled(*rows)).tolist() == expected


def test_label_sources_of_the_kaggle_set():
    # 2,284 rows of the first source, here every 40th as sparse as the second's, then 4,765 of the second
    rows = ["four" if row % 40 == 39 else "rich" for row in range(2284)] + ["four"] * 4290 + ["eyes"] * 475
    assert np.bincount(kaggle.label_sources(labelled(*rows))).tolist() == [0, 2284, 4765]
