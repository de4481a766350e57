"""data_prep.augment: a pixel and its keypoint move alike, the way back, lost points, gray values, seeds, the sheet."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import __main__ as prepare
from data_prep import prepared as prepared_data
from data_prep.augment import (
    PIPELINES,
    Blur,
    Brightness,
    Contrast,
    Flip,
    Noise,
    Occlude,
    Pipeline,
    RandomCrop,
    Rescale,
    Rotate,
    Scale,
    Shift,
)
from data_prep.augment import __main__ as command
from data_prep.augment.geometry import shifts
from data_prep.faceset import DataError
from data_prep.schema import IBUG68, KAGGLE15

ROOT = Path(__file__).resolve().parents[1]
SIZE = (20, 30)  # height, width: not square, so that one taken for the other shows


class Fixed:
    """A step drawn once and for all: that of a step's matrices with given numbers instead of random ones."""

    def __init__(self, step, *values):
        self.step, self.values = step, values

    def size_after(self, size):
        return self.step.size_after(size)

    def matrices(self, rng, count, size):
        return self.step.matrices(self, count, size)

    def uniform(self, low, high, size):
        return np.broadcast_to(self.values, size)

    def integers(self, low, high, size, endpoint):
        return np.broadcast_to(self.values, size)


TURN = Fixed(Rotate(90), 90)
DOUBLE = Fixed(Scale(0.5, 2), np.log(2))
RIGHT_AND_DOWN = Fixed(Shift(1), 0.1, 0.2)
MIRROR = Flip(share=1)


def faces(count, schema=KAGGLE15, size=(96, 96), seed=0, margin=30):
    """Noise with points at least `margin` from the border, so that they stay inside; every third one unlabelled."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *size), dtype=np.uint8)
    height, width = size
    x, y = rng.uniform(margin, width - 1 - margin, (2, count, len(schema))) * ([[[1]], [[(height - 1) / (width - 1)]]])
    keypoints = np.stack([x, y], axis=-1).astype(np.float32)
    keypoints[:, ::3] = np.nan
    return images, keypoints


def move(steps, x, y, size=SIZE):
    """Where steps take a bright spot of 2x2 pixels whose top-left one is (x, y), and where its keypoint: two (x, y).

    The spot's place is the centroid of its gray values. All 15 points are at its middle.
    """
    images = np.zeros((1, *size), np.uint8)
    images[0, y : y + 2, x : x + 2] = 250
    keypoints = np.full((1, 15, 2), (x + 0.5, y + 0.5), np.float32)
    changed, points = Pipeline(steps, KAGGLE15)(images, keypoints, 0)
    weight = changed[0].astype(float)
    rows, columns = np.indices(size)
    spot = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
    assert (points == points[0, 0]).all()
    return spot, tuple(points[0, 0].tolist())


# --- a step at a time, by hand: images are 30 wide and 20 high, so their centre is (14.5, 9.5)


@pytest.mark.parametrize(
    ("steps", "start", "goal"),
    [
        # The spot's middle (18.5, 7.5) is (4, -2) from the centre. A quarter turn clockwise, y being downwards, takes
        # (dx, dy) to (-dy, dx) = (2, 4).
        ((TURN,), (18, 7), (16.5, 13.5)),
        ((DOUBLE,), (18, 7), (22.5, 5.5)),  # (8, -4) from the centre
        ((RIGHT_AND_DOWN,), (18, 7), (21.5, 11.5)),  # by a tenth of 30 and a fifth of 20
        ((MIRROR,), (18, 7), (10.5, 7.5)),  # 29 - 18.5
        # Twice as large, (18.5 + 0.5) * 2 - 0.5 = 37.5 and 15.5; minus the crop's corner (12, 4).
        ((Rescale(pixels=40), Fixed(RandomCrop(factor=0.5), 12, 4)), (18, 7), (25.5, 11.5)),
        # (17.5, 8.5) is (3, -1) from the centre; turned (1, 3); doubled (2, 6): (16.5, 15.5); mirrored 29 - 16.5.
        ((TURN, DOUBLE, MIRROR), (17, 8), (12.5, 15.5)),
        # The order counts: the shift first, (21.5, 11.5), is (7, 2) from the centre, turned (-2, 7).
        ((RIGHT_AND_DOWN, TURN), (18, 7), (12.5, 16.5)),
        # And the other way: turned (16.5, 13.5), then shifted by (3, 4).
        ((TURN, RIGHT_AND_DOWN), (18, 7), (19.5, 17.5)),
    ],
)
def test_a_bright_spot_and_its_keypoint_move_alike(steps, start, goal):
    spot, point = move(steps, *start)
    assert point == pytest.approx(goal, abs=1e-4)
    assert spot == pytest.approx(goal, abs=0.05)  # the warp counts in 1/32 of a pixel


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([Rotate(25), Scale(0.8, 1.25), Shift(0.05), Flip()]), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_drawn_steps_take_the_spot_where_they_take_the_point(steps, seed):
    """The spot is a Gaussian here, which is round: its centroid is its place in whatever way it is turned."""
    rows, columns = np.indices((96, 96))
    at = np.array([52.3, 41.6])
    images = 250 * np.exp(-((columns - at[0]) ** 2 + (rows - at[1]) ** 2) / (2 * 3**2))
    keypoints = np.full((1, 15, 2), at, np.float32)
    changed, points = Pipeline(tuple(steps), KAGGLE15)(images[None].round().astype(np.uint8), keypoints, seed)
    weight = changed[0].astype(float)
    found = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
    assert found == pytest.approx(tuple(points[0, 0]), abs=0.1)


def test_rescale_of_an_integer_factor_is_that_of_opencv():
    """An independent resize has the same frame: a crop of the whole makes it the rescaled picture's top-left part."""
    import cv2

    images, keypoints = faces(1, size=(32, 32), margin=12)
    smooth = cv2.GaussianBlur(images[0], (0, 0), 3)
    steps = (Rescale(factor=2), Fixed(RandomCrop(pixels=32), 0, 0))
    changed, _ = Pipeline(steps, KAGGLE15)(smooth[None], keypoints, 0)
    expected = cv2.resize(smooth, (64, 64), interpolation=cv2.INTER_LINEAR)[:32, :32]
    assert np.abs(changed[0].astype(int) - expected).max() <= 1


# --- left and right


def test_a_flip_exchanges_left_and_right_and_twice_it_is_none():
    images, keypoints = faces(2)
    keypoints[:, :] = np.nan
    left, right, nose = map(KAGGLE15.index, ("left_eye_center", "right_eye_center", "nose_tip"))
    keypoints[:, left], keypoints[:, nose] = (66, 38), (48, 60)
    flipped, points = Pipeline((MIRROR,), KAGGLE15)(images, keypoints, 0)
    assert (flipped == images[:, :, ::-1]).all()
    assert points[0, right].tolist() == [29, 38]  # 95 - 66
    assert points[0, nose].tolist() == [47, 60]
    assert np.isnan(points[0, left]).all()
    drawn = Pipeline((MIRROR, MIRROR), KAGGLE15).draw(2, (96, 96), 0)
    assert not drawn.flipped.any()
    for again, same in (drawn.apply(images, keypoints), Pipeline((MIRROR,), KAGGLE15)(flipped, points, 1)):
        np.testing.assert_array_equal(again, images)
        np.testing.assert_array_equal(same, keypoints)


def test_about_half_of_the_faces_are_flipped():
    flipped = Pipeline((Flip(),), KAGGLE15).draw(1000, (96, 96), 0).flipped
    assert 430 < flipped.sum() < 570  # 500 within 4.4 standard deviations of 16


# --- the way back


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("schema", [KAGGLE15, IBUG68], ids=lambda schema: schema.name)
@pytest.mark.parametrize("size", [(96, 96), (224, 224), (101, 97)])
def test_the_inverse_brings_points_back(name, schema, size):
    images, keypoints = faces(20, schema, size)
    drawn = Pipeline(PIPELINES[name], schema).draw(20, size, (3, 1, 4))
    changed, points = drawn.apply(images, keypoints)
    assert (changed.shape, changed.dtype, points.shape, points.dtype) == (images.shape, "uint8", keypoints.shape, "f4")
    back = drawn.inverse(points)
    stayed = ~np.isnan(back)
    assert stayed.sum() > 0.8 * (~np.isnan(keypoints)).sum()
    assert np.abs(back - keypoints)[stayed].max() < 1e-3
    assert not (stayed & np.isnan(keypoints)).any()
    assert back.dtype == np.float32
    # Predictions have every point, and the inverse keeps them all, also beyond the border.
    assert np.isfinite(drawn.inverse(np.full_like(keypoints, 500))).all()


def test_back_and_forth_by_hand():
    """Mirrored (18.5 -> 10.5), then shifted by (3, 4): a right eye at (13.5, 11.5) was a left one at (18.5, 7.5)."""
    drawn = Pipeline((MIRROR, RIGHT_AND_DOWN), KAGGLE15).draw(1, SIZE, 0)
    predicted = np.full((1, 15, 2), np.nan, np.float32)
    predicted[0, KAGGLE15.index("right_eye_center")] = 13.5, 11.5
    back = drawn.inverse(predicted)
    assert back[0, KAGGLE15.index("left_eye_center")] == pytest.approx((18.5, 7.5), abs=1e-5)
    assert np.isnan(back).sum() == 28
    np.testing.assert_allclose(drawn.matrices[0], [[-1, 0, 32], [0, 1, 4]])  # 29 - x + 3


# --- points that nobody sees


def test_unlabelled_stays_so_and_a_point_that_leaves_has_no_label():
    images, keypoints = np.zeros((1, *SIZE), np.uint8), np.full((1, 15, 2), np.nan, np.float32)
    # Shifted by (3, 4): the image ends half a pixel beyond the last centre, at 29.5 and 19.5.
    cases = [((26.4, 5), True), ((26.6, 5), False), ((5, 15.4), True), ((5, 15.6), False), ((-1, 5), False)]
    for k, (point, _) in enumerate(cases):  # the last one lies outside before, inside after: nothing is seen there
        keypoints[0, k] = point
    _, moved = Pipeline((RIGHT_AND_DOWN,), KAGGLE15)(images, keypoints, 0)
    assert [not np.isnan(point).any() for point in moved[0, :5]] == [stays for _, stays in cases]
    assert np.isnan(moved[0, 5:]).all()
    np.testing.assert_allclose(moved[0, 0], (29.4, 9), atol=1e-5)
    keypoints[0, 6] = np.nan, 5  # half a label is none
    assert np.isnan(Pipeline((RIGHT_AND_DOWN,), KAGGLE15)(images, keypoints, 0)[1][0, 6]).all()


def test_the_border_is_repeated():
    images, keypoints = np.full((1, *SIZE), 90, np.uint8), np.full((1, 15, 2), 5, np.float32)
    images[0, :, 0] = 200
    changed, _ = Pipeline((RIGHT_AND_DOWN,), KAGGLE15)(images, keypoints, 0)
    assert (changed[0, :, :4] == 200).all()  # three columns more of the first one's
    assert (changed[0, :, 4:] == 90).all()


def test_a_covered_point_keeps_its_label():
    images, keypoints = faces(8)
    changed, points = Pipeline((Occlude(low=1, high=1, share=1),), KAGGLE15)(images, keypoints, 0)
    assert all(len(np.unique(image)) == 1 for image in changed)  # all of it covered
    np.testing.assert_array_equal(points, keypoints)


# --- gray values


@pytest.mark.parametrize("step", [Brightness(200), Contrast(3, 5), Blur(share=1)])
def test_gray_values_never_wrap(step):
    """One half black and one white: a sum that wraps around makes the black half the brighter one."""
    images = np.zeros((40, 96, 96), np.uint8)
    images[:, :, 48:] = 255
    changed = step(images, np.random.default_rng(0))
    black, white = changed[:, :, :44], changed[:, :, 52:]  # four pixels off the edge, which a blur softens
    assert (black.max(axis=(1, 2)) <= white.min(axis=(1, 2))).all()


def test_noise_never_wraps():
    """Four standard deviations of up to 60 are the most it adds: 0 becomes 240 at most, 255 no less than 15."""
    changed = [
        Noise(60, share=1)(np.full((40, 96, 96), level, np.uint8), np.random.default_rng(0)) for level in (0, 255)
    ]
    assert 100 < changed[0].max() <= 240
    assert 155 > changed[1].min() >= 15


def test_brightness_and_contrast_by_hand():
    half = np.zeros((1, 4, 4), np.uint8)
    half[0, :2], half[0, 2:] = 100, 140  # mean 120
    assert np.unique(Brightness(200)(half, Fixed(None, 116))).tolist() == [
        216,
        255,
    ]  # 140 + 116 = 256 is beyond the end
    assert np.unique(Brightness(200)(half, Fixed(None, -120))).tolist() == [0, 20]
    assert np.unique(Contrast(0.5, 2)(half, Fixed(None, np.log(1.5)))).tolist() == [90, 150]


def test_noise_blur_and_occlusion_meet_a_share_of_the_faces():
    even = np.full((400, 32, 32), 120, np.uint8)
    rng = np.random.default_rng(1)
    noisy = Noise(deviation=10, share=0.25)(even, rng)
    deviations = noisy.std(axis=(1, 2))
    assert 60 < (deviations > 0).sum() < 140  # 100 within 4.6 standard deviations of 8.7
    assert deviations.max() == pytest.approx(10, abs=1)  # uniform up to 10
    assert noisy.mean() == pytest.approx(120, abs=0.1)
    spots = np.zeros((400, 32, 32), np.uint8)
    spots[:, 16, 16] = 255
    blurred = Blur(1, 1, share=0.25)(spots, rng)
    touched = blurred[:, 16, 16] < 255
    assert 60 < touched.sum() < 140
    assert blurred[touched, 16, 16].mean() == pytest.approx(255 / (2 * np.pi), abs=2)  # a Gaussian's peak, sigma 1
    covered = Occlude(0.25, 0.25, share=0.25)(even, rng) != 120
    sizes = covered.sum(axis=(1, 2))
    assert set(sizes.tolist()) == {0, 64}  # 8x8 pixels
    assert 60 < (sizes > 0).sum() < 140


# --- seeds and inputs


def test_a_seed_gives_the_same_bytes_and_another_one_others():
    images, keypoints = faces(6)
    before = images.copy(), keypoints.copy()
    standard = Pipeline(PIPELINES["standard"], KAGGLE15)
    first, again, other = (standard(images, keypoints, seed) for seed in ((0, 1, 2), (0, 1, 2), (0, 1, 3)))
    for one, same, different in zip(first, again, other, strict=True):
        assert one.tobytes() == same.tobytes() != different.tobytes()
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(keypoints, before[1])
    drawn = standard.draw(6, (96, 96), (0, 1, 2))
    for _ in range(2):  # a draw may be applied again
        assert drawn.apply(images, keypoints)[0].tobytes() == first[0].tobytes()


def test_nothing_to_do_gives_copies():
    images, keypoints = faces(3)
    changed, points = Pipeline(PIPELINES["none"], KAGGLE15)(images, keypoints, 0)
    np.testing.assert_array_equal(changed, images)
    np.testing.assert_array_equal(points, keypoints)
    assert not np.shares_memory(changed, images)
    assert not np.shares_memory(points, keypoints)


def test_the_68_point_projects_steps():
    """Rescale(250) and RandomCrop(224) leave 224 pixels as 224; 96 pixels they do not, and both sizes are said."""
    steps = (Rescale(250), RandomCrop(224))
    assert Pipeline(steps, IBUG68).draw(2, (224, 224), 0).size == (224, 224)
    with pytest.raises(DataError, match="224x224 pixels from 96x96; the same size is needed"):
        Pipeline(steps, IBUG68).draw(2, (96, 96), 0)
    with pytest.raises(DataError, match="RandomCrop of 300x300 pixels from an image of 250x250"):
        Pipeline((Rescale(250), RandomCrop(300)), IBUG68).draw(2, (224, 224), 0)
    corners = Pipeline(steps, IBUG68).draw(500, (224, 224), 0).matrices[:, :, 2] - (250 / 224 - 1) / 2
    assert corners.min(axis=0) == pytest.approx([-26, -26])  # 250 - 224: every place is possible
    assert corners.max(axis=0) == pytest.approx([0, 0])


@given(st.integers(8, 600), st.integers(8, 600))
def test_rescale_crop_fits_any_size(height, width):
    assert Pipeline(PIPELINES["rescale_crop"], KAGGLE15).draw(1, (height, width), 0).size == (height, width)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scale(0, 1),
        lambda: Scale(1.2, 0.8),
        lambda: Scale(float("nan"), 1),
        lambda: Rescale(),
        lambda: Rescale(pixels=250, factor=2),
        lambda: RandomCrop(pixels=-1),
        lambda: Contrast(0, 1),
        lambda: Blur(2, 1),
        lambda: Occlude(0.5, 1.5),
        lambda: Occlude(share=-0.1),
        lambda: Scale(0.5, float("inf")),
        lambda: Rotate(-1),
        lambda: Rotate(float("nan")),
        lambda: Shift(1.1),
        lambda: Flip(share=1.1),
        lambda: Rescale(factor=float("inf")),
        lambda: RandomCrop(factor=1.1),
        lambda: Brightness(-5),
        lambda: Brightness(256),
        lambda: Noise(deviation=-1),
        lambda: Noise(share=2),
        lambda: Blur(share=float("nan")),
        lambda: Pipeline((), KAGGLE15)(*faces(2, IBUG68), 0),
        lambda: Pipeline((), KAGGLE15)(faces(2)[0] / 255, faces(2)[1], 0),
    ],
)
def test_what_cannot_be_is_refused(make):
    with pytest.raises(DataError):
        make()


def test_a_step_out_of_range_says_what_is_accepted():
    with pytest.raises(DataError, match=r"Flip\(share=3\): share is 3; accepted: 0 to 1"):
        Flip(share=3)
    with pytest.raises(DataError, match=r"low is 1.2, high is 0.8; accepted: the lower one first"):
        Scale(1.2, 0.8)


def test_a_composed_draw_is_the_product_of_its_steps():
    drawn = Pipeline((TURN, RIGHT_AND_DOWN), KAGGLE15).draw(1, SIZE, 0)
    turn = TURN.matrices(None, 1, SIZE)
    np.testing.assert_allclose(drawn.matrices, (shifts(np.array([[3, 4]])) @ turn)[:, :2], atol=1e-12)


# --- the sheet


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "tiny"
    options = ("--source", "synthetic", "--count", "40", "--missing", "none", "--no-analysis")
    assert prepare.main([*options, "--output", str(folder)]) == 0
    return folder


def test_the_sheet(prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["--data", str(prepared), "--faces", "2", "--draws", "2"]) == 0
    written = tmp_path / "results/tiny/augmentation.png"
    assert str(written.relative_to(tmp_path)) in capsys.readouterr().out
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == [written]
    first = written.read_bytes()
    assert command.main(["--data", str(prepared), "--faces", "2", "--draws", "2"]) == 0
    assert written.read_bytes() == first


def test_real_faces_stay_outside_git(prepared, tmp_path, monkeypatch, capsys):
    real = tmp_path / "real"
    real.mkdir()
    for path in prepared.iterdir():
        (real / path.name).write_bytes(path.read_bytes().replace(b'"kind": "synthetic"', b'"kind": "kaggle"'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prepared_data, "PROJECT", tmp_path)
    assert command.main(["--data", "real", "--faces", "1", "--draws", "1"]) == 0
    assert (tmp_path / "results/tiny/faces/augmentation.png").is_file()
    for place in ("results/tiny/augmentation.png", "docs/faces/augmentation.png"):
        assert command.main(["--data", "real", "--output", place]) == 2
        assert f"--output {place} would show real faces" in capsys.readouterr().err
        assert not (tmp_path / place).exists()


def test_where_other_peoples_faces_may_lie(tmp_path, monkeypatch):
    """As .gitignore has it: results/*/faces/."""
    assert "results/*/faces/" in (ROOT / ".gitignore").read_text().split()
    monkeypatch.chdir(ROOT / "tests")
    inside = ROOT / "results/kaggle15/faces"
    for place in (inside, inside / "features/x", "../results/kaggle15/faces/a.png", tmp_path / "a.png", ROOT.parent):
        prepared_data.refuse_public(place)
    for place in ("faces/a.png", "results/x/faces/a.png", ROOT, ROOT / "results/a.png", ROOT / "results/faces/a.png",
                  ROOT / "results/x/y/faces/a.png", inside / "../a.png"):  # fmt: skip
        with pytest.raises(DataError, match="would show real faces"):
            prepared_data.refuse_public(place)
    (tmp_path / "link").symlink_to(ROOT / "results/kaggle15")
    with pytest.raises(DataError):
        prepared_data.refuse_public(tmp_path / "link/a.png")


def test_embedded_faces_are_told_by_the_source():
    assert prepared_data.embedded({"kind": "synthetic"})
    for source in ({"kind": "kaggle"}, {}, None, [], "synthetic"):
        assert not prepared_data.embedded(source)


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--data", "nowhere"], "nowhere is not a prepared"), (["--output", "a.jpg"], ".png")]
)
def test_bad_input_ends_with_one_line(prepared, arguments, words, capsys):
    assert command.main(["--data", str(prepared), *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert words in lines[0]


def test_help_needs_no_heavy_imports():
    command = [sys.executable, "-X", "importtime", "-m", "data_prep.augment", "--help"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: python -m data_prep.augment" in found.stdout
    for heavy in ("cv2", "matplotlib", "scipy", "keras"):
        assert f" {heavy}\n" not in found.stderr
