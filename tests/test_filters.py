"""Photo filters: where a picture comes to lie, how it is blended, and that each filter goes with the face."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15
from inference.filters import FILTERS, get_filter, glasses, overlay
from inference.filters.overlay import FACE, Picture

ROOT = Path(__file__).resolve().parent.parent
UNITS = np.array([FACE[name] for name in KAGGLE15.points])  # the mean face in face units
AT = np.array([[1.0, 0, 0], [0, 1, 0]])  # a placement in which face units are the photo's pixels


def face(eyes=40.0, middle=(150, 160), degrees=0.0):
    """The mean face in a photo: the distance of its eyes, their middle, and by how much it leans to the right."""
    turn = np.exp(1j * np.radians(degrees))
    return eyes * UNITS @ [[turn.real, turn.imag], [-turn.imag, turn.real]] + middle


def noise(height=300, width=300):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def plain(value, height=300, width=300):
    return np.full((height, width, 3), value, np.uint8)


def picture(rgba, origin=(0, 0), unit=1.0):
    return Picture(np.array(rgba, np.uint8), unit, origin)


def square(colour, side):
    return np.full((side, side, 4), colour, np.uint8)


def point(keypoints, name):
    return keypoints[KAGGLE15.index(name)]


def seen_through(put_on, keypoints):
    """How much of the photo shows at each pixel, 0 to 1: what white and black photos differ by."""
    light, dark = (put_on(plain(value), keypoints).astype(int) for value in (255, 0))
    return (light - dark).mean(axis=2) / 255


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int))


def test_face_units():
    assert FACE["left_eye_center"] == pytest.approx((0.5, 0), abs=1e-12)
    assert FACE["right_eye_center"] == pytest.approx((-0.5, 0), abs=1e-12)
    assert FACE["nose_tip"][0] == pytest.approx(0, abs=1e-12)
    assert FACE["mouth_left_corner"] == pytest.approx(FACE["mouth_right_corner"] * (-1, 1))


def test_similarity_by_hand():
    source = np.array([[0.0, 0], [1, 0], [0, 1]])
    target = np.array([[5.0, 7], [5, 9], [3, 7]])  # x becomes y and y minus x: a quarter turn, twice as large
    np.testing.assert_allclose(overlay.similarity(source, target), [[0, -2, 5], [2, 0, 7]], atol=1e-12)


def test_similarity_takes_the_mean_of_what_does_not_fit():
    source = np.array([[-1.0, 0], [1, 0], [0, 0]])
    target = np.array([[-1.0, 0], [1, 0], [0, 3]])  # the middle one is 3 too low: all move down by 1
    np.testing.assert_allclose(overlay.similarity(source, target), [[1, 0, 0], [0, 1, 1]], atol=1e-12)


@pytest.mark.parametrize("degrees", [0, 30, -100])
def test_a_placement_takes_the_mean_face_to_the_face(degrees):
    matrix = overlay.placement(face(50, (100, 80), degrees), glasses.HELD_BY)
    # x to the subject's left: by 50 pixels along the eyes
    turn = np.radians(degrees)
    np.testing.assert_allclose(matrix[:, 0], [50 * np.cos(turn), 50 * np.sin(turn)], atol=1e-9)
    np.testing.assert_allclose(matrix[:, 2], [100, 80], atol=1e-9)


def test_an_opaque_picture_replaces_and_a_half_transparent_one_mixes():
    opaque = overlay.lay_on(plain(50, 10, 10), (picture(square((200, 100, 0, 255), 2), (-4, -3)), AT))
    assert (opaque[3:5, 4:6] == (200, 100, 0)).all()
    half = overlay.lay_on(plain(50, 10, 10), (picture(square((200, 100, 0, 128), 2), (-4, -3)), AT))
    # 50 + 128 / 255 * (200 - 50) = 125.3; 50 + 128 / 255 * 50 = 75.1; 50 - 128 / 255 * 50 = 24.9
    assert (half[3:5, 4:6] == (125, 75, 25)).all()
    for laid in (opaque, half):
        laid[3:5, 4:6] = 50
        assert (laid == 50).all()


def test_the_last_picture_is_on_top():
    red, blue = (picture(square((*colour, 255), 2)) for colour in ((255, 0, 0), (0, 0, 255)))
    assert (overlay.lay_on(plain(9, 4, 4), (red, AT), (blue, AT))[:2, :2] == (0, 0, 255)).all()


def test_half_a_pixel_aside_the_edge_is_half_there():
    matrix = AT + [[0, 0, 0.5], [0, 0, 0]]
    laid = overlay.lay_on(plain(0, 4, 8), (picture(square((200, 200, 200, 255), 4)), matrix))
    assert laid[1, :, 0].tolist() == [100, 200, 200, 200, 100, 0, 0, 0]


@pytest.mark.parametrize("scale", [0.13, 0.5, 1.0, 3.7])
def test_no_fringe_of_the_colour_below_what_is_transparent(scale):
    rgba = np.zeros((60, 60, 4), np.uint8)  # black where transparent
    rgba[20:40, 20:40] = 255
    laid = overlay.lay_on(plain(255, 80, 80), (picture(rgba), scale * AT + [[0, 0, 3.3], [0, 0, 4.8]]))
    assert (laid == 255).all()


def test_shrinking_averages():
    rgba = np.full((1000, 1000, 4), 255, np.uint8)
    rgba[:, ::2, :3] = 0  # stripes finer than a pixel of the photo
    laid = overlay.lay_on(plain(0, 50, 50), (picture(rgba), 0.037 * AT + [[0, 0, 5.2], [0, 0, 4.1]]))
    inside = laid[8:38, 8:38].astype(int)
    assert np.abs(inside - 127.5).max() < 6


def test_a_shrunk_picture_stays_in_its_place():
    laid = overlay.lay_on(
        plain(0, 40, 40), (picture(square((255, 255, 255, 255), 100)), 0.1 * AT + [[0, 0, 9.55], [0, 0, 19.55]])
    )
    # Its 100 pixels from -0.5 to 99.5 fall on 9.5 to 19.5 and on 19.5 to 29.5: pixels 10 to 19 and 20 to 29.
    expected = np.zeros((40, 40))
    expected[20:30, 10:20] = 255
    assert difference(laid[..., 0], expected).max() <= 1


def test_in_parts_it_is_the_same(monkeypatch):
    rgba = np.random.default_rng(1).integers(0, 256, (60, 80, 4), np.uint8)
    turned = np.array([[1.2, -0.9, 90], [0.9, 1.2, 40]])
    whole = overlay.lay_on(noise(), (picture(rgba), turned))
    monkeypatch.setattr(overlay, "AT_ONCE", 1500)
    assert difference(overlay.lay_on(noise(), (picture(rgba), turned)), whole).max() <= 1


def test_unknown_filters_are_refused():
    with pytest.raises(DataError, match="unknown filter 'beard'; accepted: glasses, moustache, hat"):
        get_filter("beard")


def test_the_package_is_cheap_to_import():
    code = "import sys, inference.filters; assert not {'cv2', 'PIL', 'keras'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", FILTERS)
class TestEachFilter:
    def test_it_lays_something_on_a_copy(self, name):
        photo, keypoints = noise(), face()
        before = photo.copy(), keypoints.copy()
        laid = get_filter(name)(photo, keypoints)
        assert laid.shape == photo.shape
        assert laid.dtype == np.uint8
        assert (laid != photo).any(axis=2).sum() > 500
        np.testing.assert_array_equal(photo, before[0])
        np.testing.assert_array_equal(keypoints, before[1])

    def test_it_turns_with_the_face(self, name):
        photo, keypoints = plain(160, 300, 340), face(degrees=10)
        x, y = keypoints.T  # a quarter turn to the left takes (x, y) to (y, 339 - x)
        turned = get_filter(name)(np.rot90(photo).copy(), np.stack([y, 339 - x], axis=1))
        apart = difference(turned, np.rot90(get_filter(name)(photo, keypoints)))
        assert apart.mean() < 0.1
        assert apart.max() < 30

    def test_it_grows_with_the_face(self, name):
        small = get_filter(name)(plain(160), face())
        large = get_filter(name)(plain(160, 600, 600), 2 * face() + 0.5)
        halved = large.reshape(300, 2, 300, 2, 3).mean(axis=(1, 3))
        apart = difference(halved, small)
        assert apart.mean() < 0.5
        assert (apart > 40).mean() < 0.001

    def test_far_from_the_face_nothing_changes(self, name):
        photo, keypoints = noise(600, 600), face(40, (300, 300))
        changed = (get_filter(name)(photo, keypoints) != photo).any(axis=2)
        rows, columns = np.nonzero(changed)
        assert np.hypot(rows - 300, columns - 300).max() < 40 * 3.5

    def test_a_part_of_a_photo_gets_the_part_of_it(self, name):
        photo, keypoints = noise(), face()
        whole = get_filter(name)(photo, keypoints)
        part = get_filter(name)(photo[90:, 140:], keypoints - (140, 90))
        assert difference(part, whole[90:, 140:]).max() <= 2

    @pytest.mark.parametrize("middle", [(-500, 100), (900, 100), (150, -500), (150, 900), (1e9, 1e9)])
    def test_outside_of_the_photo_nothing_changes(self, name, middle):
        np.testing.assert_array_equal(get_filter(name)(noise(), face(middle=middle)), noise())

    @pytest.mark.parametrize("bad", ["one eye", "nan", "inf", "one spot"])
    def test_no_face_no_filter(self, name, bad):
        keypoints = face()
        keypoints[: 1 if bad == "one eye" else 15] = {"one spot": 77.0, "inf": np.inf}.get(bad, np.nan)
        np.testing.assert_array_equal(get_filter(name)(noise(), keypoints), noise())

    def test_a_face_as_flat_as_a_line_raises_nothing(self, name):
        keypoints = face()
        keypoints[:, 1] = 100
        assert get_filter(name)(noise(), keypoints).shape == (300, 300, 3)

    @pytest.mark.parametrize("eyes", [0.02, 0.5, 3])
    def test_a_tiny_face_gets_a_tiny_thing(self, name, eyes):
        changed = (get_filter(name)(noise(), face(eyes)) != noise()).any(axis=2)
        assert changed.sum() <= (2 + 4.2 * eyes) * (2 + 2.6 * eyes)  # the hat's picture is 4.2 x 2.6 units large

    def test_in_a_huge_face_the_photo_shows_a_spot_of_the_thing(self, name):
        spot = {"glasses": (0, -0.075), "moustache": (0.2, 0.93), "hat": (0, -1.5)}[name]
        seen = seen_through(get_filter(name), face(3000, np.array([150, 150]) - 3000 * np.array(spot)))
        assert seen[100:200, 100:200].max() < 0.1


def test_eyes_are_seen_through_the_glasses_and_their_bridge_is_opaque():
    keypoints = face()
    seen = seen_through(get_filter("glasses"), keypoints)
    for side in ("left", "right"):
        x, y = np.rint(point(keypoints, f"{side}_eye_center")).astype(int)
        assert 0.6 < seen[y - 2 : y + 3, x - 2 : x + 3].mean() < 0.95
    assert seen[160 - 3, 150] < 0.1  # at (0, -0.075) face units


def test_an_arm_is_seen_on_the_side_that_the_face_turns_to_the_camera():
    keypoints = face()
    keypoints[KAGGLE15.index("nose_tip")] += (0.1 * 40, 0)  # turned to the subject's left, so the right ear is seen
    columns = np.nonzero((seen_through(get_filter("glasses"), keypoints) < 0.5).any(axis=0))[0]
    # Glasses stand 0.5 * 0.1 units to the left. To the left the frame ends at 1.06 units; to the right the hinge is at
    # 1.03, the arm 0.13 + 3 * 0.1 long and half faded at 0.85 of it.
    assert columns.max() == pytest.approx(150 + 40 * (0.05 + 1.06), abs=1.5)
    assert columns.min() == pytest.approx(150 + 40 * (0.05 - 1.03 - 0.85 * 0.43), abs=2.5)


def test_a_moustache_lies_between_nose_and_lip():
    keypoints = face()
    rows, columns = np.nonzero(seen_through(get_filter("moustache"), keypoints) < 0.1)
    assert point(keypoints, "nose_tip")[1] - 2 < rows.min()
    assert rows.max() < point(keypoints, "mouth_center_bottom_lip")[1]
    nose, lip = point(keypoints, "nose_tip"), point(keypoints, "mouth_center_top_lip")
    middle = nose + 0.78 * (lip - nose)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(middle[0], abs=1)
    assert np.median(rows) == pytest.approx(middle[1], abs=3)


def test_a_hat_lies_above_the_brows_and_as_wide_as_the_head():
    keypoints = face(30, (150, 200))
    rows, columns = np.nonzero(seen_through(get_filter("hat"), keypoints) < 0.1)
    assert rows.max() == pytest.approx(200 - 30 * 0.59, abs=2)  # the brim: 0.84 units above the eyes, half 0.25 high
    assert (columns.max() - columns.min()) / 2 == pytest.approx(30 * 1.9, abs=2)
    assert rows.max() < point(keypoints, "left_eyebrow_inner_end")[1]


def dotted(wide=440, high=200):
    """A picture, nearly transparent, with dots where the eyes lie: 1.1 times as wide as the brows."""
    rgba = np.zeros((high, wide, 4), np.uint8)
    unit = wide / (2 * 1.1 * FACE["left_eyebrow_outer_end"][0])
    rows, columns = np.mgrid[:high, :wide]
    for colour, side in (((255, 0, 0), 1), ((0, 255, 0), -1)):
        x, y = (wide - 1) / 2 + side * unit / 2, (high - 1) / 2
        rgba[np.hypot(columns - x, rows - y) < 15] = (*colour, 255)
    return rgba


@pytest.mark.parametrize("degrees", [0, 25, -60])
@pytest.mark.parametrize("made", [np.array, glasses.own], ids=["array", "made once"])
def test_the_eyes_of_a_users_picture_land_on_the_eyes(degrees, made):
    keypoints = face(40, (150.3, 149.6), degrees)
    laid = glasses.put_on(plain(0), keypoints, made(dotted()))
    for channel, side in enumerate(("left", "right")):
        rows, columns = np.nonzero(laid[..., channel] > 100)
        assert (columns.mean(), rows.mean()) == pytest.approx(point(keypoints, f"{side}_eye_center"), abs=0.3)


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 4)), np.zeros((0, 4, 4), np.uint8)])
def test_an_array_that_is_no_picture_is_refused(bad):
    with pytest.raises(DataError, match=r"expected uint8 \[h, w, 4\]"):
        glasses.put_on(noise(), face(), bad)


def test_a_picture_file_is_read_without_its_transparent_margin(tmp_path):
    rgba = np.zeros((30, 50, 4), np.uint8)
    rgba[10:15, 20:40] = (10, 20, 30, 200)
    rgba[12, 25, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "mine.png")
    np.testing.assert_array_equal(glasses.read_picture(tmp_path / "mine.png"), rgba[10:15, 20:40])


def test_a_large_picture_file_is_reduced(tmp_path):
    rgba = np.full((100, 4000, 4), 255, np.uint8)
    rgba[40:60, 1000:2000, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "mine.png")
    assert glasses.read_picture(tmp_path / "mine.png").shape == (26, 1024, 4)  # 100 * 1024 / 4000 = 25.6


def write(path, image):
    if image is None:
        path.write_bytes(b"no picture")
    else:
        image.save(path)


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("text.png", None, "not an image"),
        ("photo.jpg", Image.new("RGB", (8, 8)), "no transparency, expected a picture with an alpha channel"),
        ("opaque.png", Image.new("RGBA", (8, 8), (1, 2, 3, 255)), "no transparency, all of its pixels are opaque"),
        ("empty.png", Image.new("RGBA", (8, 8)), "all of its pixels are transparent"),
        ("large.png", Image.new("1", (40_000, 1)), "too large"),
    ],
)
def test_bad_picture_files_are_refused_in_one_line(tmp_path, name, image, message):
    write(tmp_path / name, image)
    with pytest.raises(DataError, match=message) as caught:
        glasses.read_picture(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_picture_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        glasses.read_picture(tmp_path / "none.png")
