"""Where a photo's face comes to lie in the crop, and the way back: by hand, as a property, and how it is fitted."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.schema import IBUG68, KAGGLE15
from data_prep.sources.photo import transform
from inference import crop, crop_fit, detectors, measure
from inference.locate import locate
from inference.network import Network
from inference.photos import Photo

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT.parent / "shared/data/photos"
RECORD = ROOT / "results/kaggle15/runs/v1-quick-none-s0"
MEAN = np.array([crop.MEAN_FACE[name] for name in KAGGLE15.points])


def dot(x, y, shape=(240, 320), spread=6.0):
    """A soft white dot on black, its middle at (x, y)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.round(255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))).astype(np.uint8)


def middle(image):
    """(x, y) of an image's bright part."""
    weights = image.astype(float)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


def test_from_box_by_hand(monkeypatch):
    monkeypatch.setattr(crop, "HAAR_SHIFT", (0.1, -0.05))
    monkeypatch.setattr(crop, "HAAR_SIDE", 1.2)
    matrix = crop.from_box((30, 40, 80, 80), 96)
    # The box's middle is at (30 + 40, 40 + 40) - 0.5, the crop's (8, -4) from it; a crop's pixel is 1.2 * 80 / 96 = 1.
    assert transform(matrix, np.array([[47.5, 47.5], [0, 0]])) == pytest.approx(np.array([[77.5, 75.5], [30, 28]]))


def test_a_box_that_is_not_square_counts_as_a_square_of_its_area(monkeypatch):
    monkeypatch.setattr(crop, "HAAR_SHIFT", (0, 0))
    monkeypatch.setattr(crop, "HAAR_SIDE", 1)
    # 20 x 80 about (10, 40) and 40 x 40 about the same place
    np.testing.assert_allclose(crop.from_box((0, 0, 20, 80), 96), crop.from_box((-10, 20, 40, 40), 96))


def test_a_whole_image_of_the_networks_size_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (96, 96), np.uint8)
    np.testing.assert_array_equal(crop.cut(image, crop.whole((96, 96), 96), 96), image)


def test_shrinking_by_two_gives_the_mean_of_four_pixels():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    # The first pixel is (0 + 1 + 8 + 9) / 4 = 4.5; a step to the right adds 2, one down 16. Halves round to even.
    expected = np.add.outer(16 * np.arange(4), 2 * np.arange(4)) + 4.5
    assert np.abs(crop.cut(image, crop.whole((8, 8), 4), 4) - expected).max() <= 0.5


def test_stripes_finer_than_a_pixel_of_the_crop_become_gray():
    image = np.zeros((1000, 1000), np.uint8)
    image[:, ::2] = 255
    shrunk = crop.cut(image, crop.whole((1000, 1000), 96), 96)
    assert np.abs(shrunk.astype(int) - 127).max() < 12  # by bilinear sampling alone: 0 to 255


def test_beyond_the_photo_its_edge_repeats():
    image = np.full((10, 20), 50, np.uint8)
    image[:, 0], image[0, :] = 100, 200
    # A pixel of the crop is one of the photo: the crop begins 5 pixels left of it and above it.
    cut = crop.cut(image, crop.square(np.array([4.5, 4.5]), 20, 20), 20)
    assert (cut[:6] == 200).all()
    assert (cut[6:, :6] == 100).all()
    assert (cut[6:, 6:] == 50).all()


def test_a_photo_wider_than_high_lies_in_the_middle():
    matrix = crop.whole((100, 192), 96)
    # 192 pixels are 96, so a pixel is two; the photo's middle (95.5, 49.5) is the crop's.
    np.testing.assert_allclose(transform(matrix, np.array([[47.5, 47.5], [0, 47.5]])), [[95.5, 49.5], [0.5, 49.5]])


@settings(max_examples=60, deadline=None)
@given(
    place=st.tuples(st.floats(60, 260), st.floats(60, 180)),
    off=st.tuples(st.floats(-0.15, 0.15), st.floats(-0.15, 0.15)),
    side=st.floats(80, 900),
    degrees=st.floats(-180, 180),
    size=st.sampled_from([48, 96]),
)
def test_what_is_cut_out_maps_back_to_where_it_was(place, off, side, degrees, size):
    """A dot in a photo, cut out at any place, scale and angle: its middle in the crop maps back to its place."""
    scale = side / size
    turn = np.radians(degrees)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = (size - 1) / 2
    shift = np.array(place) - linear @ (centre + size * np.array(off))  # the dot is `off` from the crop's middle
    matrix = np.c_[linear, shift]
    spread = max(4.0, side / 40)  # pixels, so that the dot is in the crop and no smaller than a pixel of it
    image = crop.cut(dot(*place, (600, 600), min(spread, 8)), matrix, size)
    found = transform(matrix, middle(image)[None])[0]
    assert np.abs(found - place).max() < 0.05 * scale + 0.1


def test_a_turned_face_becomes_upright_and_as_large_as_the_mean_face():
    # The mean face as large, turned by a right angle (x, y) -> (-y, x), and moved
    turned = np.c_[-MEAN[:, 1], MEAN[:, 0]] + (200, 30)
    matrix = crop.from_points(turned, 96)
    np.testing.assert_allclose(matrix, [[0, -1, 200], [1, 0, 30]], atol=1e-9)
    np.testing.assert_allclose(transform(matrix, MEAN), turned, atol=1e-9)


def test_five_points_or_a_smaller_crop_give_the_same_place():
    face = 3 * MEAN + 10
    full = crop.from_points(face, 96)
    places = [KAGGLE15.index(name) for name in detectors.YUNET_POINTS]
    np.testing.assert_allclose(crop.from_points(face[places], 96, detectors.YUNET_POINTS), full, atol=1e-9)
    # A crop of 48 pixels: its pixel p is at 2 p + 0.5 of that of 96.
    small = crop.from_points(face, 48)
    np.testing.assert_allclose(transform(small, np.array([[10.0, 20.0]])), transform(full, np.array([[20.5, 40.5]])))


def follows(images):
    """A network that sees a dot: the mean face, moved such that its middle is on the dot."""
    return np.array([MEAN - MEAN.mean(axis=0) + middle(image) for image in images])


@pytest.mark.parametrize("passes", [1, 2])
def test_points_come_back_to_the_photo(passes):
    network = Network("dot", 96, follows)
    # Two faces of one photo: crops of 192 pixels, two to a pixel, and of 96, about places near the dot.
    photo = dot(150.25, 100.5)
    crops = [crop.square(np.array([140.0, 110.0]), 192, 96), crop.square(np.array([155.0, 98.0]), 96, 96)]
    points, _ = locate([photo, photo], crops, network, passes)
    for found, scale in zip(points, (2, 1), strict=True):
        np.testing.assert_allclose(found, scale * (MEAN - MEAN.mean(axis=0)) + (150.25, 100.5), atol=0.1)


def test_the_answer_is_the_mean_of_both_passes():
    seen = []

    def moves(images):
        seen.append(len(images))
        return np.repeat(MEAN[None] + 8 * (len(seen) - 1), len(images), axis=0)

    # First the mean face. The second crop is then the first again, where the network says 8 pixels further.
    points, _ = locate([np.zeros((96, 96), np.uint8)], [crop.whole((96, 96), 96)], Network("moves", 96, moves), 2)
    np.testing.assert_allclose(points[0], MEAN + 4, atol=1e-6)


def test_no_face_is_no_work_and_a_point_for_all_is_no_crash():
    network = Network("one point", 96, lambda images: np.full((len(images), 15, 2), 48.0))
    assert locate([], [], network)[0].shape == (0, 15, 2)
    assert np.isfinite(locate([dot(5, 5)], [crop.whole((240, 320), 96)], network)[0]).all()


def test_the_mean_face_is_that_of_training():
    recorded = json.loads((RECORD / "config.json").read_text())["mean_face"]
    np.testing.assert_allclose(MEAN, recorded, atol=0.006)


def test_fit_finds_how_a_crop_lies_about_a_box():
    # A crop of side 1.5 boxes, its middle (0.1, -0.2) boxes from the box's; in all faces alike.
    placed = np.repeat((((MEAN + 0.5) / 96 - 0.5) * 1.5 + (0.1, -0.2))[None], 4, axis=0)
    shift, side = crop_fit.fit(placed, MEAN)
    assert [*shift, side] == pytest.approx([0.1, -0.2, 1.5])
    assert [r.distance for r in crop_fit.leave_one_out(placed, MEAN)] == pytest.approx([0] * 4, abs=1e-9)
    # One face 0.15 boxes to the right of where the others have it: 0.1 crops, 9.6 pixels.
    placed[0] += (0.15, 0)
    left = crop_fit.leave_one_out(placed, MEAN)[0]
    assert (left.shift.tolist(), left.size, left.distance) == (
        pytest.approx([9.6, 0]),
        pytest.approx(1),
        pytest.approx(9.6),
    )


def test_in_box_and_right_box_by_hand():
    # The middle of a box at 10 to 30 is 19.5 in pixels, and its left edge 9.5.
    assert crop_fit.in_box(np.array([[19.5, 19.5], [9.5, 29.5]]), (10, 10, 20, 20)).tolist() == [[0, 0], [-0.5, 0.5]]
    # The mean face's eyes are 34.7 apart and its points' middle is at (47.9, 49.4).
    near, far, small = (0, 0, 96, 96), (80, 80, 96, 96), (35, 35, 20, 20)
    boxes = [detectors.Found(box, np.eye(3)[:2]) for box in (far, small, near)]
    assert crop_fit.right_box(boxes, MEAN) == near
    assert crop_fit.right_box(boxes[:2], MEAN) is None


def test_nme_by_hand():
    truth = np.zeros((1, 15, 2))
    truth[0, KAGGLE15.index("left_eye_center")] = (50, 0)
    # All points are (3, 4), that is 5 pixels, away, and the eyes are 50 apart.
    assert measure.nme(truth + (3, 4), truth).tolist() == [10]


@pytest.fixture
def labelled(tmp_path):
    """Four photos of a dot with .pts files: 68 points about (100, 100); and a photo without one."""
    from PIL import Image

    points = np.full((68, 2), 101.0)  # 1-based
    points[36:42] = (91, 101)  # the right eye, 20 pixels from the left one
    points[42:48] = (111, 101)
    points[57] = (101, 121)  # the lower lip
    text = "\n".join(["version: 1", "n_points: 68", "{", *(f"{x} {y}" for x, y in points), "}"])
    for k in range(4):
        Image.fromarray(dot(100, 100)).save(tmp_path / f"{k}.png")
        (tmp_path / f"{k}.pts").write_text(text, encoding="utf-8-sig" if k == 0 else "utf-8")
    Image.fromarray(dot(100, 100)).save(tmp_path / "without.png")
    return tmp_path


def test_both_commands_on_labelled_photos(labelled, capsys, monkeypatch):
    # A detector of boxes of 40 pixels whose middle is the labels'; in the fourth photo it finds nothing.
    def haar(size):
        def detect(photo):
            box = (80.5, 80.5, 40.0, 40.0)
            return [] if photo.name.endswith("3.png") else [detectors.Found(box, crop.from_box(box, size))]

        return detect

    monkeypatch.setattr(detectors, "haar", haar)
    assert crop_fit.main(["--photos", str(labelled), "--run", str(RECORD)]) == 0
    said = capsys.readouterr().out
    assert "3 of 4 faces found" in said
    assert "HAAR_SIDE = " in said
    assert len(list(labelled.iterdir())) == 9  # nothing was written

    monkeypatch.setattr("inference.network.open_network", lambda path: Network("dot", 96, follows))
    assert measure.main(["--photos", str(labelled), "--run", "toy"]) == 0
    said = capsys.readouterr().out
    assert said.count("NME") == 6
    assert "as labelled, all faces       2 pass(es)" in said
    monkeypatch.setattr(detectors, "haar", lambda size: lambda photo: [])
    assert measure.main(["--photos", str(labelled), "--run", "toy"]) == 0
    said = capsys.readouterr().out
    assert "0 of 4 faces found" in said
    assert said.count("NME") == 2  # of all faces as labelled


@pytest.mark.parametrize(
    ("photos", "run", "message"),
    [
        ("empty", RECORD, "has no photo with a .pts file"),
        (".", "nowhere", "nowhere/config.json"),
        (".", "damaged", "damaged/config.json is damaged ('mean_face')"),
        (".", "other", "has no mean face of 15 points in 96x96 pixels"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(labelled, photos, run, message, capsys, monkeypatch):
    monkeypatch.chdir(labelled)
    other = {"mean_face": [[1, 2]] * 68, "schema": IBUG68.name, "image_size": [96, 96]}
    for name, config in (("damaged", {}), ("other", other)):
        Path(name).mkdir()
        Path(name, "config.json").write_text(json.dumps(config))
    Path("empty").mkdir()
    assert crop_fit.main(["--photos", photos, "--run", str(run)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert message in said[0]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="../shared/data/photos is not there")
def test_the_numbers_are_those_that_the_fit_gives(capsys):
    assert crop_fit.main(["--photos", str(PHOTOS), "--run", str(RECORD)]) == 0
    said = re.findall(r"-?\d\.\d{3}", capsys.readouterr().out)[:3]
    # A box is a whole number of pixels of a small copy, so another OpenCV may find it elsewhere by a little.
    assert [float(value) for value in said] == pytest.approx([*crop.HAAR_SHIFT, crop.HAAR_SIDE], abs=0.01)


def test_yunets_points_place_the_crop(monkeypatch, tmp_path):
    """A stand-in for YuNet, whose model is not to be had here: in a copy half as large as the photo it sees a face."""
    import cv2

    places = [KAGGLE15.index(name) for name in detectors.YUNET_POINTS]
    face = 2 * MEAN + 300  # in the photo of 1280 pixels
    seen = {}

    class Fake:
        def setInputSize(self, size):
            seen["size"] = size

        def detect(self, image):
            seen["first pixel"] = image[0, 0].tolist()
            points = (face[places] + 0.5) / 2 - 0.5
            rows = [[1, 2, 10, 20, *points.ravel(), 0.8], [150, 150, 100, 120, *points.ravel(), 0.9]]
            return 1, np.array(rows, np.float32)

    (tmp_path / "yunet.onnx").write_bytes(b"")
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *arguments: Fake())
    rgb = np.full((960, 1280, 3), (10, 20, 30), np.uint8)
    found = detectors.yunet(96, tmp_path / "yunet.onnx")(Photo("toy", rgb, rgb[..., 0]))
    assert seen == {"size": (640, 480), "first pixel": [30, 20, 10]}  # OpenCV's order of colours
    assert [face.box for face in found] == [(300, 300, 200, 240), (2, 4, 20, 40)]  # the larger one first
    np.testing.assert_allclose(transform(found[0].matrix, MEAN), face, atol=1e-3)
