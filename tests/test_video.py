"""Videos: the One Euro filter by hand, faces followed from frame to frame, files written and refused."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15
from inference import crop, video
from inference.detectors import Found
from inference.network import Network
from inference.one_euro import OneEuro
from inference.output import Drawing
from inference.photos import Photo
from inference.video import Tracker

cv2 = pytest.importorskip("cv2")
MEAN = np.array([crop.MEAN_FACE[name] for name in KAGGLE15.points])
SHAPE = (240, 320)
ROOT = Path(__file__).resolve().parent.parent


def test_one_euro_by_hand():
    # 2 pi Hz cut off at 2 pi frames a second: tau = 1 / (4 pi^2), tau * rate = 1 / (2 pi), share 1 / (1 + 1 / (2 pi)).
    smooth = OneEuro(rate=2 * np.pi, cutoff=2 * np.pi, slope=0, speed_cutoff=1)
    assert smooth(np.array([3.0])) == [3]
    share = 1 / (1 + 1 / (2 * np.pi))
    np.testing.assert_allclose(smooth(np.array([4.0])), [3 + share])
    np.testing.assert_allclose(smooth(np.array([4.0])), [3 + share + share * (1 - share)])


def test_one_euro_calms_what_trembles_and_follows_what_moves():
    rng = np.random.default_rng(0)
    still, moving = rng.normal(0, 1, 500), np.arange(500.0) * 10
    smooth = OneEuro(25)
    calmed = np.array([smooth(np.array([value]), 100)[0] for value in still])
    assert calmed[50:].std() < 0.6
    smooth = OneEuro(25)
    lag = moving - [smooth(np.array([value]), 100)[0] for value in moving]
    assert 0 < lag[50:].max() < 10  # less than a frame


def test_speed_is_relative_to_the_face():
    near, far = OneEuro(25), OneEuro(25)
    steps = np.random.default_rng(1).normal(0, 1, 30).cumsum()
    for value in steps:
        assert near(np.array([4 * value]), 40.0) / 4 == pytest.approx(far(np.array([value]), 10.0))


def frame(x, y):
    """A dot of light in the dark, which stands for a face."""
    gray = np.zeros(SHAPE, np.uint8)
    cv2.circle(gray, (round(x), round(y)), 4, 255, cv2.FILLED)
    return Photo("frame", np.repeat(gray[..., None], 3, axis=2), gray)


def follows(images):
    """A network that sees the dot: the mean face, moved such that its middle is on the dot."""
    y, x = np.mgrid[: images.shape[1], : images.shape[2]]
    return np.array([
        MEAN - MEAN.mean(axis=0) + [(x * image).sum() / max(image.sum(), 1), (y * image).sum() / max(image.sum(), 1)]
        for image in images
    ])  # fmt: skip


class Looks:
    """A detector that finds a box of 96 pixels about each dot, and counts how often it is asked."""

    def __init__(self):
        self.count = 0

    def __call__(self, photo):
        self.count += 1
        amount, _, _, middles = cv2.connectedComponentsWithStats((photo.gray > 99).astype(np.uint8))
        boxes = [(x - 47.5, y - 47.5, 96.0, 96.0) for x, y in middles[1:amount]]
        return [Found(box, crop.from_box(box, 96)) for box in boxes]


def middles(faces):
    return np.array([face.keypoints.mean(axis=0) for face in faces])


def test_a_face_is_followed_between_looks():
    detect = Looks()
    tracker = Tracker(detect, Network("dot", 96, follows), rate=10)
    for step in range(20):
        faces = tracker(frame(100 + 5 * step, 120))
        assert len(faces) == 1
        np.testing.assert_allclose(middles(faces)[0], (100 + 5 * step, 120), atol=4)
    assert detect.count == 4  # every half second
    assert tracker.seen == 1


def test_a_face_that_comes_and_one_that_goes():
    tracker = Tracker(Looks(), Network("dot", 96, follows), rate=2)  # a look every frame
    both = frame(70, 120)
    other = frame(250, 120)
    both = Photo("frame", both.rgb + other.rgb, both.gray + other.gray)
    assert len(tracker(frame(70, 120))) == 1
    faces = tracker(both)
    np.testing.assert_allclose(middles(faces), [(70, 120), (250, 120)], atol=2)  # in the order in which they came
    counts = [len(tracker(frame(250, 120))) for _ in range(8)]
    assert counts[0] == 2  # not given up at once
    assert counts[-1] == 1
    assert tracker.seen == 2


def test_what_the_network_is_not_sure_of_is_given_up():
    from inference.confidence import Calibration

    spreads = iter([0.1, 0.1, 0.1, 90, 90, 90])

    def run(images):
        return follows(images), np.full((len(images), 15), next(spreads))

    # log-odds -log(spread / 96): high for 0.1 pixels, below one half for none of these, so put the middle at 10 pixels.
    calibration = Calibration(-1.0, (float(np.log(10 / 96)),) * 15)
    seen = Looks()
    tracker = Tracker(seen, Network("dot", 96, run, calibration=calibration), rate=100)
    assert len(tracker(frame(100, 120))) == 1  # two passes
    assert len(tracker(frame(100, 120))) == 1
    assert len(tracker(frame(100, 120))) == 0  # a spread of 90


def test_what_the_detector_no_longer_sees_is_given_up_however_sure_the_network_is():
    from inference.confidence import Calibration

    def run(images):
        return follows(images), np.full((len(images), 15), 1e-9)

    network = Network("dot", 96, run, calibration=Calibration(-1.0, (0.0,) * 15))  # sure of everything
    tracker = Tracker(Looks(), network, rate=10)
    assert len(tracker(frame(100, 120))) == 1
    counts = [len(tracker(Photo("frame", np.zeros((*SHAPE, 3), np.uint8), np.full(SHAPE, 60, np.uint8))))
              for _ in range(30)]  # fmt: skip
    assert counts[0] == 1
    assert counts[-1] == 0


def test_two_that_come_to_lie_on_one_face_are_one():
    tracker = Tracker(Looks(), Network("dot", 96, follows), rate=10)
    both = [frame(70, 120), frame(250, 120)]
    assert len(tracker(Photo("frame", sum(one.rgb for one in both), sum(one.gray for one in both)))) == 2
    tracker.faces[1].points = tracker.faces[0].points + 3  # drawn to the other's place
    faces = tracker(frame(70, 120))
    np.testing.assert_allclose(middles(faces), [(70, 120)], atol=2)
    assert tracker.faces[0].number == 1


def test_all_frames_are_done_whatever_the_file_says_of_their_number(clip, tmp_path, monkeypatch):
    real = video.frames

    def says_less(source):
        images, rate, _ = real(source)
        return images, rate, 3

    monkeypatch.setattr(video, "frames", says_less)
    network = Network("dot", 96, follows)
    for seconds, expected in ((None, 12), (float("inf"), 12), (0.001, 1)):
        said = video.write_video(
            clip, tmp_path / "out", "a", lambda rate: Tracker(Looks(), network, rate),
            Drawing("x", lambda rgb, faces: rgb), KAGGLE15.points, seconds,
        )  # fmt: skip
        assert said.startswith(f"{expected} frame(s)")


def test_a_rate_that_mpeg4_has_no_number_for(tmp_path):
    path = tmp_path / "slow.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 239.7612, SHAPE[::-1])
    for _ in range(3):
        writer.write(frame(100, 120).rgb)
    writer.release()
    network = Network("dot", 96, follows)
    said = video.write_video(
        path, tmp_path / "out", "a", lambda rate: Tracker(Looks(), network, rate),
        Drawing("x", lambda rgb, faces: rgb), KAGGLE15.points,
    )  # fmt: skip
    assert said.startswith("3 frame(s)")


def test_ctrl_c_keeps_what_is_done(clip, tmp_path):
    def change(rgb, faces):
        count.append(1)
        if len(count) == 5:
            raise KeyboardInterrupt
        return rgb

    count, network, out = [], Network("dot", 96, follows), tmp_path / "out"
    said = video.write_video(
        clip, out, "a", lambda rate: Tracker(Looks(), network, rate), Drawing("x", change), KAGGLE15.points
    )
    assert said.startswith("4 frame(s)")
    with open(out / "a_keypoints.csv", newline="") as file:
        assert max(int(row["frame"]) for row in csv.DictReader(file)) == 3
    assert sum(1 for _ in video.frames(out / "a_x.mp4")[0]) == 4


def test_overlap_by_hand():
    assert video.overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(2 / 6)
    assert video.overlap((0, 0, 2, 2), (5, 5, 2, 2)) == 0


@pytest.fixture
def clip(tmp_path):
    """A video of 12 frames in which a dot moves by 5 pixels a frame."""
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, SHAPE[::-1])
    for step in range(12):
        writer.write(frame(100 + 5 * step, 120).rgb)
    writer.release()
    return path


def test_a_video_is_written_with_its_points(clip, tmp_path):
    def change(rgb, faces):
        drawn = rgb.copy()
        drawn[:20, :20] = (255, 0, 0) if faces else (0, 0, 0)  # red
        return drawn

    out, network = tmp_path / "out", Network("dot", 96, follows)
    said = video.write_video(
        clip, out, "clip", lambda rate: Tracker(Looks(), network, rate), Drawing("keypoints", change), KAGGLE15.points
    )
    assert said.startswith("12 frame(s), 12 with a face, 1 face(s) in all, ")
    assert sorted(path.name for path in out.iterdir()) == ["clip_keypoints.csv", "clip_keypoints.mp4"]
    with open(out / "clip_keypoints.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * 15
    nose = [(float(row["x"]), float(row["y"])) for row in rows if row["point"] == "nose_tip"]
    offset = MEAN[KAGGLE15.index("nose_tip")] - MEAN.mean(axis=0)
    np.testing.assert_allclose(nose[-1], offset + (155, 120), atol=5)
    images, rate, count = video.frames(out / "clip_keypoints.mp4")
    assert (rate, count) == (10, 12)
    corner = next(iter(images))[5:15, 5:15].mean(axis=(0, 1))
    assert corner[2] > 200 > 60 > corner[0]  # blue, green, red


def test_seconds_end_a_video(clip, tmp_path):
    network = Network("dot", 96, follows)
    said = video.write_video(
        clip, tmp_path / "out", "a", lambda rate: Tracker(Looks(), network, rate), Drawing("x", lambda rgb, faces: rgb),
        KAGGLE15.points, seconds=0.5,
    )  # fmt: skip
    assert said.startswith("5 frame(s)")


def test_a_name_that_looks_like_an_address(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("12:30.mp4").write_bytes(clip.read_bytes())
    assert next(video.frames(Path("12:30.mp4"))[0]).ndim == 3


@pytest.mark.parametrize("content", [None, b"", b"no video at all", "half"])
def test_what_is_no_video_is_one_line(clip, tmp_path, content):
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(clip.read_bytes()[:400] if content == "half" else content)
    with pytest.raises(DataError, match=r"bad.mp4 (does not exist|cannot be opened as a video, or has no frame)"):
        video.frames(path)


def test_a_camera_that_is_not_there_is_one_line(tmp_path):
    if Path("/dev/video7").exists():
        pytest.skip("it is")
    command = [sys.executable, "-m", "inference", "--camera", "7", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "inference: error: --camera 7 cannot be opened as a video, or has no frame\n"
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_where_it_fails(clip, tmp_path):
    def change(rgb, faces):
        raise DataError("no")

    network = Network("dot", 96, follows)
    with pytest.raises(DataError, match="no"):
        video.write_video(
            clip,
            tmp_path / "out",
            "a",
            lambda rate: Tracker(Looks(), network, rate),
            Drawing("x", change),
            KAGGLE15.points,
        )
    assert not (tmp_path / "out").exists()
