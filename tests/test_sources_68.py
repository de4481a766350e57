"""Readers of 68-point data, on tiny files written here; expected values are worked out by hand."""

import csv
import io
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.faceset import DataError
from data_prep.schema import IBUG68, KAGGLE15
from data_prep.sources import photo, pts_folder, youtube_faces

SHARED = Path(__file__).parents[2] / "shared" / "data"
NAMES = ("training", "Ann_Lee_00.jpg"), ("training", "Bo_01.png"), ("test", "Ann_Lee_00.jpg")


NOISE = np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def spread(width: int, height: int) -> np.ndarray:
    """68 points along the image's diagonal, from (0, 0) to its last pixel; exact in decimal notation."""
    return np.round(np.linspace((0, 0), (width - 1, height - 1), 68), 3)


def write_layout(root: Path) -> Path:
    """Two training crops (4x2 and 40x40) and a test crop (8x8) that repeats a training file's name."""
    sizes = {NAMES[0]: (4, 2), NAMES[1]: (40, 40), NAMES[2]: (8, 8)}
    for folder in ("training", "test"):
        (root / folder).mkdir(parents=True)
        rows = [["", *range(136)]]
        for (part, name), (width, height) in sizes.items():
            if part == folder:
                (root / folder / name).write_bytes(png(np.full((height, width, 3), 100, np.uint8)))
                rows.append([name, *spread(width, height).ravel()])
        write_table(root, folder, rows)
    return root


def write_table(root: Path, folder: str, rows: list[list]) -> None:
    with open(root / f"{folder}_frames_keypoints.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


def table(root: Path, folder: str = "training") -> list[list[str]]:
    with open(root / f"{folder}_frames_keypoints.csv", newline="") as file:
        return list(csv.reader(file))


def zipped(root: Path, path: Path, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, top + file.relative_to(root).as_posix())
    return path


def pts_text(points: np.ndarray) -> str:
    lines = "\n".join(f"{x:.6f} {y:.6f}" for x, y in points + 1)  # the format counts from 1
    return f"version: 1\nn_points: {len(points)}\n{{\n{lines}\n}}\n"


def face_points(left: float, top: float, width: float, height: float) -> np.ndarray:
    """68 points that fill a box: corners first, the rest in its middle."""
    points = np.full((68, 2), (left + width / 2, top + height / 2))
    points[:2] = (left, top), (left + width, top + height)
    return points


def write_photo(root: Path, name: str, image: np.ndarray, points: np.ndarray) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(image))
    path.with_suffix(".pts").write_text(pts_text(points))


# YouTube Faces layout


def test_a_crop_is_stretched_and_its_points_follow(tmp_path):
    faces = youtube_faces.read(write_layout(tmp_path), size=8).faces
    assert faces.images.shape == (3, 8, 8)
    # 4x2 -> 8x8: x doubles, y quadruples, about pixel centres. (0, 0) -> (0.5 * 2 - 0.5, 0.5 * 4 - 0.5),
    # (3, 1) -> (3.5 * 2 - 0.5, 1.5 * 4 - 0.5).
    np.testing.assert_allclose(faces.keypoints[0, [0, 67]], [[0.5, 1.5], [6.5, 5.5]])
    # 40x40 -> 8x8: a fifth. (39, 39) -> 39.5 / 5 - 0.5.
    np.testing.assert_allclose(faces.keypoints[1, 67], [7.4, 7.4])
    np.testing.assert_allclose(faces.keypoints[2], spread(8, 8), rtol=1e-6)  # 8x8 stays


def test_ids_name_the_folder_and_groups_the_person(tmp_path):
    faces = youtube_faces.read(write_layout(tmp_path)).faces
    assert faces.ids.tolist() == ["training/Ann_Lee_00.jpg", "training/Bo_01.png", "test/Ann_Lee_00.jpg"]
    assert faces.groups.tolist() == [0, 1, 0]
    assert faces.sources.tolist() == [0, 0, 0]


def test_colours_become_luminance(tmp_path):
    root = write_layout(tmp_path)
    blue_green_red = np.tile(np.uint8([200, 100, 50]), (8, 8, 1))
    (root / "test" / "Ann_Lee_00.jpg").write_bytes(png(blue_green_red))
    gray = youtube_faces.read(root, size=8).faces.images[2]
    # ITU-R 601: 0.299 * 50 + 0.587 * 100 + 0.114 * 200 = 96.45
    assert np.abs(gray.astype(int) - 96).max() <= 1


def test_fifteen_points_follow_from_the_68(tmp_path):
    root = write_layout(tmp_path)
    faces = youtube_faces.read(root, schema=KAGGLE15, size=8).faces
    full = youtube_faces.read(root, size=8).faces.keypoints
    np.testing.assert_array_equal(faces.keypoints[:, KAGGLE15.index("nose_tip")], full[:, 30])
    np.testing.assert_allclose(
        faces.keypoints[:, KAGGLE15.index("left_eye_center")], full[:, 42:48].mean(axis=1), rtol=1e-6
    )


@pytest.mark.parametrize("top", ["", "data/"])
def test_a_zip_reads_like_its_folder(tmp_path, top):
    root = write_layout(tmp_path / "folder")
    folder = youtube_faces.read(root)
    archive = youtube_faces.read(zipped(root, tmp_path / "a.zip", top))
    for name in ("images", "keypoints", "groups", "ids"):
        np.testing.assert_array_equal(getattr(archive.faces, name), getattr(folder.faces, name))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "folder"]  # nothing was extracted


def test_a_folder_may_be_one_level_down(tmp_path):
    write_layout(tmp_path / "data")
    assert len(youtube_faces.read(tmp_path).faces) == 3


def test_the_hash_follows_the_pixels(tmp_path):
    root = write_layout(tmp_path)
    before = youtube_faces.read(root).sha256
    assert youtube_faces.read(root).sha256 == before
    (root / "test" / "Ann_Lee_00.jpg").write_bytes(png(np.zeros((8, 8), np.uint8)))
    assert youtube_faces.read(root).sha256 != before


def test_points_a_little_outside_are_kept(tmp_path):
    root = write_layout(tmp_path)
    rows = table(root)
    rows[2][1:3] = ["-20", "59"]  # 40x40, half of it beyond the edges: -20 and 40 + 20 - 1
    write_table(root, "training", rows)
    assert len(youtube_faces.read(root).faces) == 3
    rows[2][1] = "-20.5"
    write_table(root, "training", rows)
    with pytest.raises(DataError, match=r"line 3 .*Bo_01.*point 0 at \(-20.5, 59\).*-20 to 59"):
        youtube_faces.read(root)


def test_an_unlisted_image_is_reported(tmp_path):
    root = write_layout(tmp_path)
    (root / "test" / "extra.jpg").write_bytes(b"never opened")
    assert youtube_faces.read(root).skipped == ("test/extra.jpg: not listed in test_frames_keypoints.csv",)


def bad_row_reads_as(root: Path, message: str) -> None:
    """The layout's Bo_01.png, line 3 of the training table, is named in one line; skipped on request."""
    with pytest.raises(DataError, match=message) as caught:
        youtube_faces.read(root)
    assert "\n" not in str(caught.value)
    assert "training_frames_keypoints.csv line 3" in str(caught.value)
    good = youtube_faces.read(root, skip_bad_rows=True)
    assert good.faces.ids.tolist() == ["training/Ann_Lee_00.jpg", "test/Ann_Lee_00.jpg"]
    assert good.skipped[0] == str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (5, "left", r"\(Bo_01.png\): value 'left', expected a finite number"),
        (5, "", r"\(Bo_01.png\): value ''"),
        (5, "inf", r"\(Bo_01.png\): value 'inf'"),
        (5, "1_0", r"\(Bo_01.png\): value '1_0'"),
        (5, "1e9", r"Bo_01.png\): point 2 at .* is far outside the 40x40 image"),
        (0, "../Bo_01.png", r"file name '\.\./Bo_01.png', expected a plain name"),
        (0, "Bo_02.png", "Bo_02.png.*no such file"),
        (0, "Ann_Lee_00.jpg", "Ann_Lee_00.jpg is listed twice"),
    ],
)
def test_a_bad_cell_is_named(tmp_path, column, value, message):
    rows = table(write_layout(tmp_path))
    rows[2][column] = value
    write_table(tmp_path, "training", rows)
    bad_row_reads_as(tmp_path, message)


def test_a_quote_too_many_swallows_no_row(tmp_path):
    root = write_layout(tmp_path)
    path = root / "training_frames_keypoints.csv"
    path.write_text(path.read_text().replace("Ann_Lee", '"Ann_Lee'))
    with pytest.raises(DataError, match=r"training_frames_keypoints.csv: not a text table \(a quote in line 2 does"):
        youtube_faces.read(root, skip_bad_rows=True)


def test_a_short_row_is_named(tmp_path):
    rows = table(write_layout(tmp_path))
    rows[2].pop()
    write_table(tmp_path, "training", rows)
    bad_row_reads_as(tmp_path, r"\(Bo_01.png\): 135 values, expected 136")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Bo_01.png.*the file is empty"),
        (b"hello", "Bo_01.png.*not an image"),
        (png(NOISE)[:900], "Bo_01.png.*cannot be decoded"),
        (png(NOISE.astype(np.uint16)), r"3 \(training/Bo_01.png\): pixels of mode I;16, expected 8"),
    ],
    ids=["empty", "text", "truncated", "16 bits"],
)
def test_a_bad_image_is_named(tmp_path, data, message):
    (write_layout(tmp_path) / "training" / "Bo_01.png").write_bytes(data)
    bad_row_reads_as(tmp_path, message)


@pytest.mark.parametrize("missing", ["test", "test_frames_keypoints.csv", "training_frames_keypoints.csv"])
def test_a_missing_part_is_named(tmp_path, missing):
    root = write_layout(tmp_path)
    (root / missing).rename(tmp_path / "away")
    with pytest.raises(DataError, match=missing):
        youtube_faces.read(root, skip_bad_rows=True)


def test_a_table_without_header_is_refused(tmp_path):
    root = write_layout(tmp_path)
    write_table(root, "training", table(root)[1:])
    with pytest.raises(DataError, match="training_frames_keypoints.csv: expected a header"):
        youtube_faces.read(root)


def test_a_broken_or_wrong_zip_is_named(tmp_path):
    archive = zipped(write_layout(tmp_path / "folder"), tmp_path / "faces.zip")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match="faces.zip: not a readable zip"):
        youtube_faces.read(archive)
    with zipfile.ZipFile(tmp_path / "absolute.zip", "w") as file:
        file.writestr("//etc/x", "")
    with pytest.raises(DataError, match=r"absolute.zip.*absolute path"):
        youtube_faces.read(tmp_path / "absolute.zip")
    with pytest.raises(DataError, match="nowhere: no such"):
        youtube_faces.read(tmp_path / "nowhere")


def test_a_damaged_zip_member_is_a_bad_row(tmp_path):
    archive = zipped(write_layout(tmp_path / "folder"), tmp_path / "faces.zip")
    data = (tmp_path / "folder/training/Bo_01.png").read_bytes()
    archive.write_bytes(archive.read_bytes().replace(data, b"\0" * len(data)))  # stored, so its bytes show
    with pytest.raises(DataError, match="Bo_01.png.*CRC"):
        youtube_faces.read(archive)
    assert len(youtube_faces.read(archive, skip_bad_rows=True).faces) == 2


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("seed", range(20))
def test_a_zip_damaged_anywhere_is_one_line(tmp_path, method, seed):
    """What zipfile and its decompressors raise is of many kinds."""
    root, path = write_layout(tmp_path / "folder"), tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root))
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, len(content), 8):
        content[place] = rng.integers(256)
    path.write_bytes(content)
    try:
        found = f"{len(youtube_faces.read(path, skip_bad_rows=True).faces)} face(s)"
    except DataError as error:
        found = str(error)
    assert len(found.splitlines()) == 1


def test_no_usable_row_is_an_error(tmp_path):
    root = write_layout(tmp_path)
    for folder, name in NAMES:
        (root / folder / name).unlink()
    with pytest.raises(DataError, match="no usable face in 3 rows"):
        youtube_faces.read(root, skip_bad_rows=True)


# Photographs with .pts files


def test_pts_coordinates_count_from_one():
    text = pts_text(spread(100, 100)).replace("1.000000 1.000000", "1 1")
    np.testing.assert_allclose(pts_folder.parse_pts(text, "a.pts")[0], [0, 0])


@pytest.mark.parametrize(("schema", "size"), [(IBUG68, 96), (IBUG68, 224), (KAGGLE15, 96)])
def test_the_points_box_lies_as_stated(tmp_path, schema, size):
    points = face_points(100, 80, 90, 160)
    points[17], points[57] = points[0], points[1]  # 17 and 57 are among the 15 (outer brow end, bottom lip)
    write_photo(tmp_path, "a.png", np.zeros((400, 300), np.uint8), points)
    keypoints = pts_folder.read(tmp_path, schema=schema, size=size).faces.keypoints[0]
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    x, y, box = photo.FACE_BOX[schema.name]
    # The crop spans -0.5 to size - 0.5. The box keeps its shape, 90:160 = 3:4 squared, so its sides are
    # 3/4 and 4/3 of the stated geometric mean.
    np.testing.assert_allclose((low + high) / 2, np.array([x, y]) * size - 0.5, atol=1e-3)
    np.testing.assert_allclose(high - low, box * size * np.array([3 / 4, 4 / 3]), rtol=1e-5)


@pytest.mark.parametrize("box", [(300, 200, 700, 700), (300.3, 200.6, 41, 43), (20, 15, 9, 9)])
def test_a_painted_dot_stays_at_its_label(tmp_path, box):
    """Shrinking 14-fold, about 1:1 and enlarging: the dot's centre of mass is where the label went."""
    points = face_points(*box)
    points[30] += np.array(box[2:]) * (0.2, -0.1)
    height, width = (1200, 1300) if box[2] > 50 else (400, 500)
    y, x = np.mgrid[:height, :width]
    radius = max(box[2] / 20, 1)  # a smaller dot would not show its centre in the photo itself
    dot = 255 * np.exp(-(((x - points[30, 0]) ** 2 + (y - points[30, 1]) ** 2) / (2 * radius**2)))
    write_photo(tmp_path, "a.png", dot.round().astype(np.uint8), points)
    faces = pts_folder.read(tmp_path).faces
    weight = faces.images[0].astype(float)
    y, x = np.mgrid[:96, :96]
    found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    assert np.abs(found - faces.keypoints[0, 30]).max() < 0.1


def test_shrinking_averages_a_fine_pattern(tmp_path):
    checkers = np.indices((1000, 1000)).sum(axis=0) % 2 * 255
    write_photo(tmp_path, "a.png", checkers.astype(np.uint8), face_points(300, 300, 400, 400))
    crop = pts_folder.read(tmp_path).faces.images[0].astype(int)
    assert np.abs(crop - 127.5).max() < 20  # picking single pixels would give 0 and 255


def test_beyond_the_photo_its_edge_repeats(tmp_path):
    image = np.full((60, 60), 50, np.uint8)
    image[:, 0] = 200
    write_photo(tmp_path, "a.png", image, face_points(0, 10, 40, 40))
    crop = pts_folder.read(tmp_path).faces.images[0]
    assert (crop[:, 0] == 200).all()  # the crop's side is 40 / 0.51 = 78 px, so it starts left of the photo


def test_photos_are_found_in_subfolders_in_order(tmp_path):
    for name in ("sub/b.png", "a.JPG", "sub/a.jpeg"):
        write_photo(tmp_path, name, NOISE, face_points(20, 20, 40, 40))
    (tmp_path / "alone.jpg").write_bytes(b"")
    (tmp_path / "sub" / "lost.pts").write_text("")
    (tmp_path / "sub/b.PTS").write_text("")
    source = pts_folder.read(tmp_path)
    assert source.faces.ids.tolist() == ["a.JPG", "sub/a.jpeg", "sub/b.png"]
    assert source.faces.groups.tolist() == [0, 1, 2]
    assert source.skipped == (
        "alone.jpg: no .pts file of that name",
        "sub/lost.pts: no image of that name",
        "sub/b.PTS: another .pts file has that name",
    )


GOOD_PTS = pts_text(face_points(20, 20, 40, 40))
BAD_PTS = {
    "n_points": (GOOD_PTS.replace("n_points: 68", "n_points: 49"), "n_points 49"),
    "no n_points": (GOOD_PTS.replace("n_points: 68", ""), "n_points missing"),
    "no brace": (GOOD_PTS.replace("}", ""), "braces"),
    "a line less": (GOOD_PTS.replace("21.000000 21.000000\n", ""), "67 lines"),
    "Python's number": (GOOD_PTS.replace("21.000000 21.000000", "2_1 21"), "point 0 is '2_1 21'"),
    "a word": (GOOD_PTS.replace("21.000000 21.000000", "21 up"), "point 0 is '21 up'"),
    "three numbers": (GOOD_PTS.replace("21.000000 21.000000", "21 21 1"), "point 0 is '21 21 1'"),
    "far outside": (GOOD_PTS.replace("21.000000 21.000000", "21 500"), r"point 0 at \(20, 499\)"),
    "one place": (pts_text(np.full((68, 2), 30.0)), "less than one pixel"),
    "empty": ("", "n_points missing"),
}


@pytest.mark.parametrize("kind", BAD_PTS)
def test_a_bad_pts_file_is_named_or_skipped(tmp_path, kind):
    for name in ("a.png", "bad.png"):
        write_photo(tmp_path, name, NOISE, face_points(20, 20, 40, 40))
    text, message = BAD_PTS[kind]
    (tmp_path / "bad.pts").write_text(text)
    with pytest.raises(DataError, match=f"bad.pts.*{message}") as caught:
        pts_folder.read(tmp_path)
    source = pts_folder.read(tmp_path, skip_bad_rows=True)
    assert source.faces.ids.tolist() == ["a.png"]
    assert source.skipped == (str(caught.value),)


def test_pixels_stay_as_stored_whatever_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be shown turned by 90 degrees
    file = io.BytesIO()
    Image.fromarray(NOISE[:20]).save(file, "JPEG", exif=exif)
    assert photo.decode_gray(file.getvalue(), "a.jpg").shape == (20, 80)


def test_a_truncated_jpeg_is_named(tmp_path):
    write_photo(tmp_path, "bad.png", NOISE, face_points(20, 20, 40, 40))
    (tmp_path / "bad.png").unlink()
    data = cv2.imencode(".jpg", NOISE)[1].tobytes()
    (tmp_path / "bad.jpg").write_bytes(data[:-500])
    with pytest.raises(DataError, match=r"bad.jpg: cannot be decoded \(.*truncated"):
        pts_folder.read(tmp_path)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    write_photo(tmp_path, "huge.png", np.zeros((2, 2), np.uint8), face_points(20, 20, 40, 40))
    header = bytearray((tmp_path / "huge.png").read_bytes())
    header[16:24] = (8000).to_bytes(4, "big") * 2  # IHDR's width and height; 64 megapixels
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(header)
    with pytest.raises(DataError, match="huge.png: too large.*50 megapixels"):
        pts_folder.read(tmp_path)


def test_an_empty_or_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="no usable image"):
        pts_folder.read(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        pts_folder.read(tmp_path / "nowhere")


@pytest.mark.skipif(not (SHARED / "photos").is_dir(), reason="../shared/data/photos is absent")
def test_real_photos_lie_as_the_kaggle_crops_do():
    faces = pts_folder.read(SHARED / "photos", schema=KAGGLE15).faces
    assert len(faces) == 40
    # Mean point of the 2,140 complete first-source rows; it varies by 3.4 and 2.6 px from face to face,
    # so the mean of 40 faces by about 0.5.
    np.testing.assert_allclose(faces.keypoints.mean(axis=(0, 1)), [48.3, 48.0], atol=1)
