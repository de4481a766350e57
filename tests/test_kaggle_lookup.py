"""The competition's test set and lookup table, on small files in all their forms."""

import io
import zipfile

import numpy as np
import pytest

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15
from data_prep.sources.kaggle import read_test
from data_prep.sources.kaggle_lookup import read_lookup

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)
IDS = [7, 2, 30]  # neither sorted nor without gaps
PICTURES = [" ".join(map(str, image.ravel())) for image in IMAGES]
TEST = "ImageId,Image\n" + "".join(f"{i},{picture}\n" for i, picture in zip(IDS, PICTURES, strict=True))
# nose_tip is point 10 (data_prep/schema.py): its x is column 20, its y column 21
LOOKUP = "RowId,ImageId,FeatureName,Location\n1,7,nose_tip_y,\n3,2,left_eye_center_x,\n2,7,nose_tip_x,\n"
FILES = {"test.csv": (TEST, read_test), "IdLookupTable.csv": (LOOKUP, read_lookup)}


def zipped(**members: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def write(path, content: str | bytes):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


COMPETITION = zipped(
    training_zip=zipped(training_csv="nothing of use"), test_zip=zipped(test_csv=TEST), IdLookupTable_csv=LOOKUP
)
FORMS = {
    "csv": lambda d, name, text: write(d / name, text),
    "csv of another name": lambda d, name, text: write(d / "mine.csv", text),
    "Windows": lambda d, name, text: write(d / name, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()),
    "zip": lambda d, name, text: write(d / "x.zip", zipped(**{name.replace(".", "_"): text})),
    "folder": lambda d, name, text: write(d / name, text).parent,
    "competition": lambda d, name, text: write(d / "facial-keypoints-detection.zip", COMPETITION),
    "folder with competition": lambda d, name, text: write(d / "facial-keypoints-detection.zip", COMPETITION).parent,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_test_set_in_all_forms(tmp_path, form):
    faces = read_test(FORMS[form](tmp_path, "test.csv", TEST))
    np.testing.assert_array_equal(faces.images, IMAGES)
    assert faces.ids.tolist() == IDS
    assert not faces.observed.any()
    assert faces.sources.tolist() == [0, 0, 0]
    assert faces.schema is KAGGLE15


@pytest.mark.parametrize("form", FORMS)
def test_the_lookup_in_all_forms(tmp_path, form):
    lookup = read_lookup(FORMS[form](tmp_path, "IdLookupTable.csv", LOOKUP))
    assert lookup.row_ids.tolist() == [1, 3, 2]  # the file's order, not sorted
    assert lookup.image_ids.tolist() == [7, 2, 7]
    assert lookup.coordinates.tolist() == [21, 0, 20]


BAD = {
    "short image": ("test.csv", lambda t: t.replace(PICTURES[1], PICTURES[1][: PICTURES[1].rindex(" ")]),
                    "row 1 (0-based): the image has 9215 pixels, expected 9216"),
    "word in an image": ("test.csv", lambda t: t.replace("\n2,", "\n2,black "), "row 1 (0-based): the image holds 'bl"),
    "pixel 256": ("test.csv", lambda t: t.replace("\n30,", "\n30,256 "), "row 2 (0-based): the image holds '256'"),
    "no ImageId": ("test.csv", lambda t: t.replace("\n2,", "\n,"), "row 1 (0-based): ImageId is '', expected a whole"),
    "ImageId twice": ("test.csv", lambda t: t.replace("\n30,", "\n7,"), "row 2 (0-based): ImageId 7 stands twice"),
    "training columns": ("test.csv", lambda t: t.replace("ImageId", "nose_tip_x"), "lacks 1 of 2 columns: ImageId"),
    "no image at all": ("test.csv", lambda t: t.split("\n")[0], "has no rows"),
    "empty test": ("test.csv", lambda t: "", "is empty; accepted: test.csv, test.zip"),
    "UTF-16": ("test.csv", lambda t: t.encode("utf-16"), "not a table in UTF-8 text"),
    "unknown point": ("IdLookupTable.csv", lambda t: t.replace("nose_tip_x", "chin_x"),
                      "row 2 (0-based): FeatureName 'chin_x' is unknown, expected left_eye_center_x or alike"),
    "RowId twice": ("IdLookupTable.csv", lambda t: t.replace("\n2,", "\n1,"), "row 2 (0-based): RowId 1 stands twice"),
    "RowId a word": ("IdLookupTable.csv", lambda t: t.replace("\n2,", "\none,"), "RowId is 'one', expected a whole"),
    "negative ImageId": ("IdLookupTable.csv", lambda t: t.replace(",2,", ",-2,"), "row 1 (0-based): ImageId is '-2'"),
    "short row": ("IdLookupTable.csv", lambda t: t + "4,2\n", "row 3 (0-based): has 2 cells, expected at least 3"),
    "columns missing": ("IdLookupTable.csv", lambda t: t.replace("FeatureName", "x").replace("RowId", "y"),
                        "lacks 2 of 3 columns: RowId, FeatureName"),
    "header only": ("IdLookupTable.csv", lambda t: t.split("\n")[0] + "\n", "has no rows"),
    "empty lookup": ("IdLookupTable.csv", lambda t: "", "is empty; accepted: IdLookupTable.csv"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused(tmp_path, case):
    name, change, found = BAD[case]
    text, read = FILES[name]
    path = write(tmp_path / name, change(text))
    with pytest.raises(DataError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert found in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("name", "what"), [("test.csv", "test set"), ("IdLookupTable.csv", "lookup table")])
def test_paths_that_hold_no_table(tmp_path, name, what):
    _, read = FILES[name]
    for path, found in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path, f"holds no Kaggle {what}; accepted: {name}"),
        (write(tmp_path / "x.txt", ""), "is not a .csv or .zip file"),
        (write(tmp_path / "x.zip", zipped(other_csv="")), f"holds neither {name} nor"),
        (write(tmp_path / "cut.zip", COMPETITION[:-9]), "is damaged, cut short or encrypted"),
    ):
        with pytest.raises(DataError, match=found):
            read(path)
