"""`python -m inference.app`: what it answers, and the page itself in a real browser."""

import base64
import csv
import importlib.util
import io
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.faceset import DataError
from data_prep.schema import IBUG68, KAGGLE15
from inference import app
from inference.detectors import haar, whole_image
from inference.network import Network
from inference.output import COLUMNS
from inference.photos import read
from models import pretrained

ROOT = Path(__file__).parents[1]
LEFT_EYE, RIGHT_EYE = (246, 103), (204, 101)  # the pupils in skimage's astronaut, as seen in the photo
MEMORY = Path(app.MEMORY)


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory):
    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


@pytest.fixture
def network():
    """A network that says for any crop where points lie in it: on its diagonal, for 15 points."""
    points = np.linspace(20, 70, 15)[:, None].repeat(2, axis=1)
    return Network("toy", 96, lambda images: np.repeat(points[None], len(images), axis=0))


@pytest.fixture
def toy(network, monkeypatch):
    """The page's answers from that network."""
    monkeypatch.setattr(app, "opened", lambda points: (network, haar(network.size)))
    return network


def table_of(report):
    """The rows of a report's CSV."""
    text = base64.b64decode(re.search(r'href="data:text/csv;base64,([^"]+)"', report)[1]).decode()
    return list(csv.DictReader(io.StringIO(text)))


def huge_png(side=30_000):
    """An image of one gray with more pixels than are read, in a small file."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# --- what it answers


def test_an_answer_is_a_drawn_photo_and_its_points(toy, astronaut):
    rgb = read(astronaut).rgb
    drawn, report = app.answer(astronaut, 15, ["points"], whole=False)
    assert drawn.shape == rgb.shape
    assert not np.array_equal(drawn, rgb)
    rows = table_of(report)
    assert tuple(rows[0]) == COLUMNS
    assert [row["point"] for row in rows] == list(KAGGLE15.points)
    assert {row["face"] for row in rows} == {"1"}
    assert report.count("<tr>") == 16  # the table on the page has a head
    assert "1 face." in report


def test_all_faces_get_points(toy, astronaut, tmp_path):
    one = Image.open(astronaut)
    two = Image.new("RGB", (1024, 512))
    two.paste(one, (0, 0))
    two.paste(one, (512, 0))
    two.save(tmp_path / "two.png")
    report = app.answer(tmp_path / "two.png", 15, [], whole=False)[1]
    assert [row["face"] for row in table_of(report)] == ["1"] * 15 + ["2"] * 15
    assert "2 faces, the largest first." in report


@pytest.mark.parametrize("thing", app.FILTERS)
def test_a_filter_alone_draws_no_points(toy, astronaut, thing):
    rgb = read(astronaut).rgb
    faces = app.find(read(astronaut), toy, haar(toy.size), whole=False)
    faces = [app.Face(face.box, mean_face(face.box), face.confidence) for face in faces]
    dressed = app.dressed(rgb, faces, toy, [thing])
    assert not np.array_equal(dressed, rgb)
    assert not (dressed == app.draw(rgb, faces)).all()
    assert np.array_equal(app.dressed(rgb, faces, toy, []), rgb)


def mean_face(box):
    """The mean face's points in a face's box."""
    from inference.crop import FRAME, MEAN_FACE

    return np.array([MEAN_FACE[name] for name in KAGGLE15.points]) * box[2] / FRAME + box[:2]


def test_the_whole_picture_is_a_face_on_request(toy, tmp_path):
    Image.new("RGB", (96, 96), "gray").save(tmp_path / "crop.png")
    drawn, report = app.answer(tmp_path / "crop.png", 15, ["points"], whole=False)
    assert drawn is None
    assert "no face was found" in report
    assert "The whole picture is one face" in report
    drawn, report = app.answer(tmp_path / "crop.png", 15, ["points"], whole=True)
    assert drawn.shape == (96, 96, 3)
    assert len(table_of(report)) == 15


def test_a_detectors_crop_is_fitted_to_the_network_and_a_whole_picture_is_not(astronaut):
    seen = []

    def run(images):
        seen.append(images[0])
        return np.linspace(20, 70, 68 * 2).reshape(1, 68, 2)

    plain = Network("toy", 96, run, IBUG68, place=np.eye(2, 3))
    wider = Network("toy", 96, run, IBUG68, place=np.array([[1.5, 0, -24], [0, 1.5, -24]]))
    photo = read(astronaut)
    for detect, whole in ((haar(96), False), (whole_image(96), True)):
        seen.clear()
        for network in (plain, wider):
            app.find(photo, network, detect, whole)
        assert np.array_equal(seen[0], seen[2]) == whole  # the first passes of both


def test_a_photo_is_turned_as_its_camera_was_held(toy, astronaut, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the left as stored
    Image.open(astronaut).rotate(90).save(tmp_path / "held.jpg", quality=95, exif=exif)
    drawn, report = app.answer(tmp_path / "held.jpg", 15, [], whole=False)
    assert np.abs(drawn.astype(float) - read(astronaut).rgb).mean() < 5
    assert "1 face." in report


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no photo\n" * 9, "not an image (JPEG, PNG"),
        (b"", "the file is empty"),
        (huge_png(), "too large, accepted are up to 50 megapixels"),
        (None, "no longer held here"),
    ],
)
def test_what_is_no_photo_is_said(toy, tmp_path, data, message):
    path = tmp_path / "photo.png"
    if data is not None:
        path.write_bytes(data)
    drawn, report = app.answer(path, 15, ["points"], whole=False)
    assert drawn is None
    assert message in report
    assert str(tmp_path) not in report
    assert app.answer(None, 15, ["points"], whole=False) == (None, "")


def test_what_is_said_is_text():
    assert app.said("<script>").count("<script>") == 0


def test_the_camera_is_followed(toy, astronaut):
    frame = read(astronaut).rgb
    drawn, tracker = app.follow(frame, 15, ["points"], None)
    again, same = app.follow(frame, 15, ["points"], tracker)
    assert same is tracker
    assert tracker.frames == 2
    assert not np.array_equal(drawn, frame)
    assert again.shape == frame.shape
    assert app.follow(None, 15, [], tracker) == (None, None)


def test_networks_are_offered_whose_weights_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    assert app.offered() == []
    for count, name in pretrained.DEFAULTS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.keras").touch()
        assert app.offered()[-1] == count


# --- the command


def test_help_is_quick_and_says_how(capsys):
    code = "import sys, inference.app; print({'gradio', 'tensorflow', 'keras', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    with pytest.raises(SystemExit) as ended:
        app.main(["--help"])
    assert ended.value.code == 0
    assert "127.0.0.1" in capsys.readouterr().out


def refused(capsys, *argv):
    """The one line of a refusal."""
    assert app.main([*argv]) == 2
    line = capsys.readouterr().err
    assert line.startswith("inference.app: error: ")
    assert line.count("\n") == 1
    return line


def test_without_gradio_it_names_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install -r requirements-demo.txt" in refused(capsys)


def test_a_port_in_use_and_no_network_are_said(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        assert f"port {port}: " in refused(capsys, "--port", port)
    assert "--port is 70000; " in refused(capsys, "--port", "70000")

    def missing(points):
        raise DataError("weights are missing")

    monkeypatch.setattr(app, "opened", missing)
    assert "weights are missing" in refused(capsys, "--port", str(free_port()))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# --- in a browser


def folders():
    """The folders of pages that are open, in memory."""
    return {path for path in MEMORY.glob("faces-*")} if MEMORY.is_dir() else set()


def files():
    """What lies beside the page's source; gradio would like to write there."""
    return {path.name for path in Path(app.__file__).parent.iterdir()} | {path.name for path in ROOT.iterdir()}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The page's address, and the folder that its process may write to and works in."""
    for package in ("gradio", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (pip install -r requirements-demo.txt)")
    place, port, before, source = tmp_path_factory.mktemp("page"), free_port(), folders(), files()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(place), "HOME": str(place)}
    command = [sys.executable, "-m", "inference.app", "--port", str(port)]
    with open(place / "log", "w") as log:
        process = subprocess.Popen(command, cwd=place, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 120
        while "Ctrl-C" not in (place / "log").read_text():
            assert process.poll() is None, (place / "log").read_text()
            assert time.monotonic() < end, "the page is not there after two minutes"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/", place, process
    finally:
        process.kill()
        process.wait()
        for folder in folders() - before:
            shutil.rmtree(folder, ignore_errors=True)
    assert files() == source


@pytest.fixture(scope="module")
def browser(tmp_path_factory, astronaut):
    """Chromium, whose camera sees the astronaut."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if not found:
        pytest.skip(f"none of {', '.join(names)} is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    film = tmp_path_factory.mktemp("camera") / "astronaut.mjpeg"
    seen = io.BytesIO()
    Image.open(astronaut).save(seen, "JPEG", quality=95)
    film.write_bytes(seen.getvalue() * 5)
    quiet = ["background-networking", "component-update", "sync", "gpu"]
    arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    arguments += [f"--use-{name}-for-media-stream" for name in ("fake-device", "fake-ui")]
    arguments += [f"--use-file-for-fake-video-capture={film}"]
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=found, args=arguments)
        yield chromium
        chromium.close()


def test_the_page(browser, served, astronaut, tmp_path):
    address, place, process = served
    before = folders()
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.set_default_timeout(20_000)
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.get_by_text("Photos stay in the memory of the machine").wait_for()
    upload, report = page.locator("input[type=file]").first, page.locator("#report")

    # What is no photo is said, and the page goes on.
    for name, data, message in (
        ("notes.png", b"no photo\n" * 9, "not an image"),
        ("huge.png", huge_png(), "too large"),
        ("gray.png", png(np.full((300, 300, 3), 128, np.uint8)), "no face was found"),
    ):
        (tmp_path / name).write_bytes(data)
        upload.set_input_files(tmp_path / name)
        report.get_by_text(message).wait_for()
        page.get_by_label("Remove Image").first.click()
        page.wait_for_function("!document.querySelector('#report').innerText.trim()")
    (tmp_path / "heavy.png").write_bytes(os.urandom(app.MOST_BYTES + 1))
    upload.set_input_files(tmp_path / "heavy.png")
    page.get_by_text("exceed the maximum allowed size").wait_for()

    # A photo, its points, and what can be put on.
    upload.set_input_files(astronaut)
    report.locator("tbody tr").nth(14).wait_for()
    rows = [row.split("\t") for row in report.locator("tbody tr").all_inner_texts()]
    assert [row[1] for row in rows] == list(KAGGLE15.points)
    places = {row[1]: np.array(row[2:4], float) for row in rows}
    assert all((place >= 0).all() and (place < 512).all() for place in places.values())
    assert np.hypot(*(places["left_eye_center"] - LEFT_EYE)) < 4
    assert np.hypot(*(places["right_eye_center"] - RIGHT_EYE)) < 4
    pointed = result(page)
    page.get_by_label("points", exact=True).uncheck()
    plain = result(page, pointed)
    assert np.abs(plain - read(astronaut).rgb).mean() < 5
    page.get_by_label("glasses").check()
    changed = np.abs(result(page, plain) - plain).max(axis=2) > 60
    rows_changed, columns_changed = np.nonzero(changed)
    # They lie about the eyes, and nowhere else.
    assert 80 < rows_changed.min() < 103 < rows_changed.max() < 140
    assert 170 < columns_changed.min() < 204 < 246 < columns_changed.max() < 280

    # The file that is downloaded is the table.
    with page.expect_download() as download:
        page.get_by_text("Download CSV").click()
    assert download.value.suggested_filename == "keypoints.csv"
    text = Path(download.value.path()).read_text().splitlines()
    assert text[0] == ",".join(COLUMNS)
    assert [line.split(",")[:4] for line in text[1:]] == [row[:4] for row in rows]

    # The camera, live; what is chosen holds for it too.
    page.get_by_role("tab", name="Live view").click()
    page.get_by_text("Click to Access Webcam").last.click()
    page.get_by_text("Record").click()
    bare = result(page)
    page.get_by_label("hat").check()
    assert (np.abs(result(page, bare) - bare)[:60] > 60).any()
    page.get_by_text("Stop").click()

    assert wrong == []
    hosts = {url.split("/")[2] for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {address.split("/")[2]}
    page.close()

    # While the page is open only uploads are held, in one folder for this user alone; then nothing is.
    assert folders() == before
    mine = next(folder for folder in (*before, *place.glob("faces-*")) if list(folder.rglob("astronaut.png")))
    assert mine.stat().st_mode & 0o077 == 0
    held = {path.name for path in mine.rglob("*") if path.is_file()}
    assert held <= {"astronaut.png", "notes.png", "huge.png", "gray.png"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert not mine.exists()
    left = {path.name for path in place.rglob("*") if path.is_file()}
    assert {name for name in left if not name.startswith("fontlist")} == {"log"}  # matplotlib's, if gradio finds it
    assert "Traceback" not in (place / "log").read_text()


def png(rgb):
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    return file.getvalue()


def result(page, other_than=None):
    """The result that the page shows, float64 [H, W, 3], once some of it differs clearly."""
    picture = page.locator("img[src^='data:image/jpeg']:visible")
    end = time.monotonic() + 20
    while time.monotonic() < end:
        data = base64.b64decode(picture.get_attribute("src").partition(",")[2])
        found = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)
        if other_than is None or np.abs(found - other_than).max() > 100:
            return found
        time.sleep(0.1)
    raise AssertionError("the result stays as it was")
