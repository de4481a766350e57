"""`python -m inference`: photos of every kind in, points out; with networks whose predictions fit on paper."""

import csv
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.faceset import DataError
from data_prep.schema import IBUG68, KAGGLE15, KAGGLE15_FROM_IBUG68, kaggle15_from_ibug68
from data_prep.sources import photo as limits
from inference import crop, detectors, network, photos
from inference.__main__ import main
from inference.confidence import Calibration
from inference.network import Network
from inference.pipeline import in_order
from models.label_rules import BY_SOURCE

onnx = pytest.importorskip("onnx", reason="onnx is not installed (requirements-export.txt)")
ROOT = Path(__file__).resolve().parent.parent
MEAN = np.array([crop.MEAN_FACE[name] for name in KAGGLE15.points])
ORIENTATION = 0x0112  # the EXIF tag


def make_onnx(path, points=BY_SOURCE.points, size=96, first=0.0, named=None, mean_face=None):
    """A network that says for every crop, whatever it shows, the mean face and (for the 17th outputs) (1, 2).

    first: times the crop's first pixel, what is added to every coordinate. named: what the metadata say.
    """
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    bias = np.full((len(points), 2), (1.0, 2.0), np.float32)
    bias[: len(MEAN)] = MEAN[: len(points)]
    kernel = np.zeros((size * size, bias.size), np.float32)
    kernel[0] = first
    constants = {"kernel": kernel, "bias": bias.ravel(), "flat": np.array([-1, size * size]),
                 "shape": np.array([-1, *bias.shape])}  # fmt: skip
    nodes = [("Reshape", ["images", "flat"], "x"), ("MatMul", ["x", "kernel"], "y"), ("Add", ["y", "bias"], "z"),
             ("Reshape", ["z", "shape"], "keypoints")]  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes],
        "toy",
        [helper.make_tensor_value_info("images", floats, ["N", size, size])],
        [helper.make_tensor_value_info("keypoints", floats, ["N", *bias.shape])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    known = {"points": " ".join(points if named is None else named)}
    helper.set_model_props(model, known | ({} if mean_face is None else {"mean_face": mean_face}))
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_onnx(tmp_path_factory.mktemp("networks") / "toy.onnx")


@pytest.fixture
def run(toy, tmp_path, monkeypatch):
    """`run(*arguments)` in a folder of its own with --output out, and the toy network where no other is named."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model=toy):
        return main(["--output", "out", "--model", str(model), *map(str, arguments)])

    return run


def picture(size=(40, 30), colour=(200, 100, 50)):
    return Image.new("RGB", size, colour)


def rows(path="out/keypoints.csv"):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def errors(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("inference: ")]


# What comes out


def test_a_whole_image_by_hand(run, capsys):
    picture((192, 96)).save("a.png")
    assert run("a.png", "--whole-image", "--pts") == 0
    # 192 pixels on 96, two to a pixel, the middle (95.5, 47.5) on the crop's (47.5, 47.5): x -> 2 x + 0.5,
    # y -> 2 y - 47.5. The first point (65.60, 38.84) is at (131.7, 30.18).
    found = rows()
    assert [row["point"] for row in found] == list(KAGGLE15.points)
    first = {"file": "a.png", "face": "1", "point": "left_eye_center", "x": "131.70", "y": "30.18", "confidence": ""}
    assert found[0] == first
    text = json.loads(Path("out/keypoints.json").read_text())
    assert (text["faces_from"], text["passes"], text["left_out"]) == ("whole image", 2, [])
    (only,) = text["photos"]
    assert [only[key] for key in ("file", "width", "height", "drawn")] == ["a.png", 192, 96, "a_keypoints.png"]
    assert only["faces"][0]["box"] == [0, 0, 192, 96]
    assert only["faces"][0]["points"]["left_eye_center"] == [131.7, 30.18]
    lines = Path("out/a_1.pts").read_text().splitlines()
    assert lines[:4] == ["version: 1", "n_points: 15", "{", "132.700 31.180"]  # 1-based
    assert lines[-1] == "}"
    assert sorted(os.listdir("out")) == ["a_1.pts", "a_keypoints.png", "keypoints.csv", "keypoints.json"]
    assert "1 photo(s), 1 face(s), 0 photo(s) without a face, 0 left out" in capsys.readouterr().out


def test_points_are_drawn_where_they_are(run):
    picture((960, 960), (0, 0, 0)).save("a.png")
    assert run("a.png", "--whole-image") == 0
    drawn = np.array(Image.open("out/a_keypoints.png"))
    # The nose tip (49.06, 63.28) of 96 is at 10 * 49.06 + 4.5 = 495.1 and 637.3.
    window = drawn[637 - 30 : 637 + 31, 495 - 30 : 495 + 31, 0].astype(float)
    y, x = np.mgrid[-30:31, -30:31]
    assert [(x * window).sum() / window.sum(), (y * window).sum() / window.sum()] == pytest.approx([0.1, 0.3], abs=0.2)


def test_boxes_are_faces_in_the_order_given(run, monkeypatch):
    monkeypatch.setattr(crop, "HAAR_SHIFT", (0, 0))
    monkeypatch.setattr(crop, "HAAR_SIDE", 1)
    picture((300, 200)).save("a.png")
    assert run("a.png", "--box", "10,20,96,96", "--box", "100,0,192,192") == 0
    nose = [(row["face"], row["x"], row["y"]) for row in rows() if row["point"] == "nose_tip"]
    # (49.06, 63.28) moved by (10, 20); and two pixels to one, (2 * 49.06 + 0.5 + 100, 2 * 63.28 + 0.5)
    assert nose == [("1", "59.06", "83.28"), ("2", "198.62", "127.06")]


def test_all_faces_of_many_photos_are_predicted_together_in_parts(run, monkeypatch):
    calls = []

    def predict(images):
        calls.append(len(images))
        return np.repeat(MEAN[None], len(images), axis=0)

    monkeypatch.setattr(network, "open_network", lambda path: Network("toy", 96, predict))
    monkeypatch.setattr("inference.pipeline.AT_ONCE", 2400)  # two photos of 40x30
    for name in "abcde":
        picture().save(f"{name}.png")
    assert (
        run("a.png", "b.png", "c.png", "d.png", "e.png", "--box", "0,0,20,20", "--box", "5,5,9,9", "--passes", "1") == 0
    )
    assert calls == [4, 4, 2]
    assert [row["file"] for row in rows()[::30]] == [f"{name}.png" for name in "abcde"]


def test_inputs_of_one_name_do_not_overwrite_each_other(run):
    for name in ("a/face.png", "b/face.png", "c/FACE.jpg", "d/face-2.png"):
        Path(name).parent.mkdir()
        picture().save(name)
    before = {path: path.read_bytes() for path in Path().glob("*/*")}
    assert run("d", "a", "b", "c/FACE.jpg", "a/face.png", "--whole-image") == 0  # a/face.png is named twice
    assert [row["file"] for row in rows()[::15]] == ["d/face-2.png", "a/face.png", "b/face.png", "c/FACE.jpg"]
    names = {photo["file"]: photo["drawn"] for photo in json.loads(Path("out/keypoints.json").read_text())["photos"]}
    assert names == {
        "d/face-2.png": "face-2_keypoints.png",
        "a/face.png": "face_keypoints.png",
        "b/face.png": "face-3_keypoints.png",
        "c/FACE.jpg": "FACE-4_keypoints.jpg",
    }
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(os.listdir()) == ["a", "b", "c", "d", "out"]


def test_odd_names(run):
    names = ["[1] *.png", "x" * 250 + ".png", "größe\n.png", os.fsdecode(b"\xff.png")]
    for name in names:
        picture().save(name)
    assert run(*names, "--whole-image") == 0
    assert {row["file"] for row in rows()} == {*names[:2], "größe\ufffd.png", "\ufffd.png"}
    assert len(list(Path("out").glob("*_keypoints.png"))) == 4


def test_folders_and_patterns(run, capsys):
    Path("in/deeper").mkdir(parents=True)
    for name in ("in/b.PNG", "in/a.jpg", "in/.hidden.png", "in/deeper/c.png"):
        picture().save(name)
    Path("in/a.pts").write_text("not a photo")
    assert run("in", "--whole-image") == 0
    assert [row["file"] for row in rows()[::15]] == ["in/a.jpg", "in/b.PNG"]
    assert run("in/**/*.png", "in", "--whole-image") == 0
    assert [row["file"] for row in rows()[::15]] == ["in/deeper/c.png", "in/a.jpg", "in/b.PNG"]
    assert errors(capsys) == []


# Several threads


def test_one_thread_and_several_write_the_same(run, monkeypatch):
    image = Image.fromarray(astronaut())
    for k in range(8):
        image.crop((10 * k, 0, 512, 500)).save(f"{k}.jpg")
        picture((40 + k, 30)).save(f"{k}.png")
    written = []
    for threads in (1, 4):
        monkeypatch.setattr("inference.pipeline.THREADS", threads)
        assert run(*(f"{k}.{end}" for k in range(8) for end in ("jpg", "png")), "--output", f"out{threads}") == 0
        written.append({path.name: path.read_bytes() for path in Path(f"out{threads}").iterdir()})
    assert written[0] == written[1]
    assert len({row["file"] for row in rows("out1/keypoints.csv")}) == 8


def test_photos_and_errors_keep_their_order_however_long_each_takes(run, monkeypatch, capsys):
    monkeypatch.setattr("inference.pipeline.THREADS", 4)
    for k, side in enumerate((3000, 40, 2000, 40, 1000, 40, 40)):
        picture((side, side)).save(f"{k}a.png")
        picture((side // 4, side)).save(f"{k}b.png")  # those of 40 pixels are left by the box
        Path(f"{k}c.png").write_bytes(b"" if side == 40 else huge_png(side, side))
    assert run("*.png", "--box", "0,0,20,20", "--passes", "1") == 1
    good = ["0a", "0b", "1a", "2a", "2b", "3a", "4a", "4b", "5a", "6a"]
    assert [row["file"] for row in rows()[::15]] == [f"{name}.png" for name in good]
    wrong = ["0c", "1b", "1c", "2c", "3b", "3c", "4c", "5b", "5c", "6b", "6c"]
    assert [line.split(": ")[2] for line in errors(capsys)] == [f"{name}.png" for name in wrong]


def test_only_a_few_photos_are_begun_before_they_are_asked_for(monkeypatch):
    monkeypatch.setattr("inference.pipeline.THREADS", 2)
    begun = []
    with ThreadPoolExecutor(2) as pool:
        done = in_order(pool, begun.append, range(100))
        next(done)
        assert len(begun) <= 3
        assert len(list(done)) == 99
    assert sorted(begun) == list(range(100))


def test_stopped_by_ctrl_c_nothing_is_left(run, monkeypatch, capsys):
    def predict(images):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(network, "open_network", lambda path: Network("toy", 96, predict))
    monkeypatch.setattr("inference.pipeline.AT_ONCE", 1)
    for k in range(20):
        picture().save(f"{k}.png")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told its jobs to ignore it
    try:
        assert run(*(f"{k}.png" for k in range(20)), "--whole-image") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert "inference: stopped; nothing was written" in errors(capsys)
    assert not Path("out").exists()


# Photos of every kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(run, monkeypatch, orientation):
    """Points are those of the photo as it is shown: 100 wide, 60 high, a white dot at (70, 20)."""
    upright = np.zeros((60, 100), np.uint8)
    upright[18:23, 68:73] = 255
    # How each orientation stores a photo, from the EXIF standard: 6, say, is to be turned clockwise for showing.
    stored = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
        6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1),
    }[orientation](upright)  # fmt: skip
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save("a.png", exif=exif)

    def follows(images):
        y, x = np.mgrid[:100, :100]
        return np.array([[[(x * i).sum() / i.sum(), (y * i).sum() / i.sum()]] * 15 for i in images])

    monkeypatch.setattr(network, "open_network", lambda path: Network("toy", 100, follows))
    assert run("a.png", "--whole-image", "--passes", "1") == 0
    assert (rows()[0]["x"], rows()[0]["y"]) == ("70.00", "20.00")
    with Image.open("out/a_keypoints.png") as drawn:
        assert drawn.size == (100, 60)
        assert not drawn.getexif()


def transparent():
    image = Image.new("RGBA", (40, 30), (200, 100, 50, 255))
    image.paste((0, 0, 0, 0), (20, 0, 40, 30))  # the right half is clear
    return image


# (200, 100, 50) is 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2.
KINDS = {
    "rgb.png": (picture, {}, 124),
    "gray.png": (lambda: Image.new("L", (40, 30), 77), {}, 77),
    "bits.png": (lambda: Image.new("1", (40, 30), 1), {}, 255),
    "deep.png": (lambda: Image.fromarray(np.full((30, 40), 100 * 257, np.uint16)), {}, 100),
    "deep.tif": (lambda: Image.fromarray(np.full((30, 40), 100 * 257, np.uint16)), {}, 100),
    "palette.png": (lambda: picture().quantize(4), {}, 124),
    "palette.gif": (lambda: picture().quantize(4), {}, 124),
    "animated.gif": (
        lambda: picture().quantize(4),
        {"save_all": True, "append_images": [Image.new("P", (40, 30))]},
        124,
    ),
    "alpha.png": (transparent, {}, 124),
    "gray_alpha.png": (lambda: Image.new("LA", (40, 30), (77, 255)), {}, 77),
    "photo.jpg": (picture, {"quality": 95}, 124),
    "cmyk.jpg": (lambda: picture().convert("CMYK"), {"quality": 95}, 124),
    "photo.webp": (picture, {"lossless": True}, 124),
    "photo.bmp": (picture, {}, 124),
    "photo.tiff": (picture, {}, 124),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_photo_of_any_kind(run, name):
    make, options, gray = KINDS[name]
    make().save(name, **options)
    photo = photos.read(Path(name))
    assert photo.rgb.shape == (30, 40, 3)
    assert photo.rgb.dtype == photo.gray.dtype == np.uint8
    assert abs(int(photo.gray[15, 5]) - gray) <= 1
    assert run(name, "--whole-image") == 0
    assert Path(f"out/{Path(name).stem}_keypoints.{'jpg' if photo.lossy else 'png'}").exists()
    assert photo.lossy == name.endswith((".jpg", ".webp"))


def test_what_is_transparent_is_white(tmp_path):
    for name, image in (("rgba.png", transparent()), ("palette.gif", transparent())):
        image.save(tmp_path / name)
        assert photos.read(tmp_path / name).rgb[15, 35].tolist() == [255, 255, 255]


# What cannot be read


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width, height):
    """A PNG of a few bytes that promises this many pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


BAD = {
    "huge.png": (huge_png(30_000, 30_000), "too large, accepted are up to 50 megapixels and 32,766 pixels a side"),
    "long.png": (huge_png(40_000, 1), "too large, accepted are up to 50 megapixels"),
    "warned.png": (huge_png(10_000, 10_000), "too large"),  # of this size Pillow would warn, not refuse
    "truncated.jpg": (jpeg()[:900], "cannot be decoded (image file is truncated"),
    "damaged.png": (huge_png(10, 10), "cannot be decoded"),
    "empty.jpg": (b"", "the file is empty"),
    "text.jpg": (b"not a photo at all", "not an image (JPEG, PNG, WEBP, TIFF, BMP, GIF are read)"),
    "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_photo_that_cannot_be_read_is_named_and_the_others_are_done(run, name, capsys):
    data, message = BAD[name]
    Path(name).write_bytes(data)
    picture().save("good.png")
    assert run(name, "--output", "new/out") == 2
    capsys.readouterr()
    assert not Path("new/out").exists()
    assert run(name, "good.png", "--whole-image") == 1
    (line,) = errors(capsys)
    assert line.startswith(f"inference: error: {name}: ")
    assert message in line
    assert {row["file"] for row in rows()} == {"good.png"}
    assert json.loads(Path("out/keypoints.json").read_text())["left_out"] == [line.removeprefix("inference: error: ")]


def test_pixels_that_no_gray_value_follows_from(tmp_path):
    for array in (np.full((9, 9), 0.5, np.float32), np.full((9, 9), 70_000, np.int32)):
        Image.fromarray(array).save(tmp_path / "a.tif")
        with pytest.raises(ValueError, match="a.tif: cannot be decoded"):
            photos.read(tmp_path / "a.tif")


def test_sixteen_bits_of_which_white_is_zero(tmp_path):
    """As TIFF may store them (PhotometricInterpretation 0); 8 bits of that kind Pillow turns by itself."""
    stored = np.linspace(0, 65535, 12 * 16).reshape(12, 16).astype(np.uint16)
    Image.fromarray(stored).save(tmp_path / "a.tif", tiffinfo={262: 1})
    content = (tmp_path / "a.tif").read_bytes()
    tag = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert content.count(tag) == 1
    (tmp_path / "b.tif").write_bytes(content.replace(tag, struct.pack("<HHIHH", 262, 3, 1, 0, 0)))
    np.testing.assert_array_equal(255 - photos.read(tmp_path / "b.tif").gray, photos.read(tmp_path / "a.tif").gray)


def test_a_turned_tiff_is_not_taken_as_stored(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for name in ("a.tif", "a.png"):
        picture().save(tmp_path / name, exif=exif)
        assert photos.read(tmp_path / name).gray.shape == (40, 30)  # 30 high and 40 wide, turned
    assert photos.read(tmp_path / "a.png", upright=False).gray.shape == (30, 40)
    with pytest.raises(DataError, match="a.tif: .*a PNG or JPEG is accepted"):
        photos.read(tmp_path / "a.tif", upright=False)


def test_a_folder_in_the_way_of_a_table_leaves_no_half(run, capsys):
    Path("out/keypoints.json").mkdir(parents=True)
    picture().save("a.png")
    assert run("a.png", "--whole-image") == 2
    assert errors(capsys) == ["inference: error: out/keypoints.json is a folder, where a file would be written"]
    assert os.listdir("out") == ["keypoints.json"]


def test_names_that_opencv_takes_not(run, capsys):
    picture().save("a.png")
    name = os.fsdecode(b"m\xe9.onnx")
    Path(name).write_bytes(b"")
    assert run("a.png", "--detector", "yunet", "--detector-model", name) == 2
    assert errors(capsys) == ["inference: error: m\N{REPLACEMENT CHARACTER}.onnx: a name in UTF-8 is accepted here"]


@pytest.mark.parametrize("number", ["-1", "2147483648", "a"])
def test_a_camera_that_cannot_be(number, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--camera", number, "--output", "out"])
    assert "argument --camera: invalid camera value" in capsys.readouterr().err


def test_inputs_that_name_no_photo(run, capsys, monkeypatch):
    Path("bare").mkdir()
    os.mkfifo("pipe")
    picture().save("large.png")
    monkeypatch.setattr(limits, "MAX_BYTES", 10)
    assert run("bare", "nowhere.jpg", "*.gif", "pipe", "large.png", "--whole-image") == 2
    said = errors(capsys)
    assert [line.split(": ")[2] for line in said] == ["bare", "nowhere.jpg", "*.gif", "pipe", "large.png"]
    for line, part in zip(
        said, ("a folder without photos (.jpg", "no such", "no such", "not a file", "larger than 10 bytes"), strict=True
    ):
        assert part in line
    assert not Path("out").exists()


@pytest.mark.parametrize("where", ["a.png", "a.png/new", "photos"])
def test_an_output_that_would_do_harm_is_refused_before_the_work(run, where, capsys, monkeypatch):
    Path("photos").mkdir()
    picture().save("a.png")
    picture().save("photos/x_keypoints.png")
    monkeypatch.setattr(network, "open_network", lambda path: pytest.fail("begun"))
    assert run("a.png", "photos", "--whole-image", "--output", where) == 2
    (line,) = errors(capsys)
    assert f"--output {where} " in line
    assert sorted(os.listdir()) == ["a.png", "photos"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--box", "1,2,3"), "invalid box value: '1,2,3'"),
        (("--box", "0,0,0,10"), "invalid box value"),
        (("--box", "0,0,nan,10"), "invalid box value"),
        (("--box", "0,0,9,9", "--whole-image"), "not allowed with"),
        (("--passes", "3"), "invalid choice"),
        (("--detector", "yunet"), "--detector yunet and --detector-model are given together"),
        (("--detector-model", "y.onnx"), "--detector yunet and --detector-model are given together"),
        (("--detector", "yunet", "--detector-model", "y.onnx"), "--detector-model y.onnx does not exist"),
        (("--detector", "yunet", "--detector-model", "a.png"), "--detector-model a.png is not a YuNet model"),
    ],
)
def test_wrong_arguments(run, arguments, message, capsys):
    picture().save("a.png")
    try:
        code = run("a.png", *arguments)
    except SystemExit as error:  # argparse
        code = error.code
    assert code == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not Path("out").exists()


def test_a_box_that_leaves_a_photo(run, capsys):
    picture((40, 30)).save("a.png")
    picture((90, 90)).save("b.png")
    assert run("a.png", "b.png", "--box", "20,0,30,30") == 1
    assert errors(capsys) == ["inference: error: a.png: --box 20,0,30,30 leaves its 40x30"]
    assert {row["file"] for row in rows()} == {"b.png"}
    assert run("a.png", "--box", "20,0,30,30", "--output", "other") == 2


# Networks


def test_the_second_labelling_rules_outputs_are_not_answered(toy):
    opened = network.open_network(toy)
    points, confidence = opened.predict(np.zeros((3, 96, 96), np.uint8))
    assert np.isnan(confidence).all()  # it draws no maps
    np.testing.assert_allclose(points, np.repeat(MEAN[None], 3, axis=0), atol=1e-4)  # not the 17th outputs' (1, 2)


def test_gray_values_reach_the_network_as_they_are(tmp_path):
    opened = network.open_network(make_onnx(tmp_path / "a.onnx", KAGGLE15.points, first=0.5))
    points, _ = opened.predict(np.full((1, 96, 96), 7, np.uint8))
    np.testing.assert_allclose(points[0], MEAN + 3.5, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"named": KAGGLE15.points[::-1]}, "is not of `python -m inference.export`"),
        ({"named": ()}, "is not of `python -m inference.export`"),
        ({"named": KAGGLE15.points, "points": IBUG68.points}, "predicts [1, 68, 2] for 1 faces, not [N, K, 2]"),
        ({"first": float("nan")}, "predicts values that are no numbers"),
        (None, "is not an ONNX network"),
        ("absent", "does not exist"),
    ],
)
def test_an_onnx_file_that_does_not_fit(run, tmp_path, changes, message, capsys):
    picture().save("a.png")
    path = tmp_path / "other.onnx"
    if changes is None:
        path.write_bytes(b"no network")
    elif changes != "absent":
        make_onnx(path, **changes)
    assert run("a.png", "--whole-image", model=path) == 2
    (line,) = errors(capsys)
    assert message in line
    assert not Path("out").exists()


@pytest.mark.parametrize("side", [0, 9000, None, "side"])
def test_crops_of_a_size_that_cannot_be(side):
    with pytest.raises(DataError, match=r"a.onnx: square images \[N, H, W\] in"):
        network.checked(Path("a.onnx"), (None, side, side), (None, 15, 2))


def test_a_run_folder(tmp_path, monkeypatch, capsys):
    """A Keras network with 17 outputs: the mean face, whatever it sees."""
    from models.backend import import_keras

    keras = import_keras()
    monkeypatch.chdir(tmp_path)
    picture((96, 96)).save("a.png")

    def save(folder, count, size=96):
        images = keras.Input((size, size), name="images")
        dense = keras.layers.Dense(2 * count)
        x = dense(keras.layers.Flatten()(images))
        bias = np.full((count, 2), (1.0, 2.0), np.float32)
        bias[:15] = MEAN[:count]
        dense.set_weights([np.zeros((size * size, 2 * count), np.float32), bias.ravel()])
        Path(folder).mkdir()
        keras.Model(images, keras.layers.Reshape((count, 2))(x)).save(Path(folder, "model.keras"))

    save("by_source", 17)
    save("many", 30)
    assert main(["a.png", "--whole-image", "--output", "out", "--run", "by_source"]) == 0
    assert (rows()[10]["x"], rows()[10]["y"]) == ("49.06", "63.28")  # the first source's nose tip
    assert main(["a.png", "--output", "new", "--run", "many"]) == 2
    assert main(["a.png", "--output", "new", "--run", "nowhere"]) == 2
    monkeypatch.setattr("models.pretrained.WEIGHTS", tmp_path / "weights")
    assert main(["a.png", "--output", "new"]) == 2
    messages = (
        "15 or 68 points [N, K, 2] out are accepted",
        "nowhere/model.keras does not exist",
        "name a run with --run",
    )
    for line, message in zip(errors(capsys), messages, strict=True):
        assert message in line
    assert not Path("new").exists()


def test_sixty_eight_points_lie_in_their_own_crop():
    """The crop of a network whose faces lie elsewhere than Kaggle's: mean face on mean face."""
    rng = np.random.default_rng(0)
    own = rng.uniform(20, 70, (68, 2))
    fifteen = kaggle15_from_ibug68(own[None])[0]
    place = network.place(own, 96, Path("a.onnx"))
    # A similarity, least squares: its own mean face, taken to Kaggle's frame, is the mean face turned and scaled best.
    moved = fifteen @ place[:, :2].T + place[:, 2]
    assert np.isclose(place[0, 0], place[1, 1])
    assert np.isclose(place[0, 1], -place[1, 0])
    np.testing.assert_allclose(moved.mean(axis=0), MEAN.mean(axis=0), atol=8)
    # Where the faces lie as Kaggle's do but half as large, the crop is twice as large, about the corner (-0.5, -0.5).
    half = np.zeros((68, 2))
    for name, parts in KAGGLE15_FROM_IBUG68.items():
        half[list(parts)] = (np.array(crop.MEAN_FACE[name]) + 0.5) / 2 - 0.5
    shared = kaggle15_from_ibug68(half[None])[0]
    place = network.place(half, 96, Path("a.onnx"))
    found = shared @ place[:, :2].T + place[:, 2]
    np.testing.assert_allclose(found, 2 * (shared + 0.5) - 0.5, atol=2)  # brows and lips share points: not exactly
    assert network.place(None, 96, Path("a.onnx")) is None
    assert network.mean_face_of("[[1, 2]]", 15, Path("a.onnx")) is None


@pytest.mark.parametrize(
    "text", ["", "[1,2", "5", "null", "{}", str([["a", "b"]] * 68), str([[3, 4]] * 68), "[[1, 2]]"]
)
def test_a_damaged_mean_face_is_one_line(run, tmp_path, text, capsys):
    path = make_onnx(tmp_path / "many.onnx", IBUG68.points, mean_face=text)
    picture((96, 96)).save("a.png")
    assert run("a.png", "--box", "0,0,96,96", model=path) == 2
    (line,) = errors(capsys)
    assert "many.onnx: its mean face is not 68 points" in line


def test_arguments_in_any_order(run, capsys):
    picture((96, 96)).save("a.png")
    picture((96, 96)).save("b.png")
    assert main(["a.png", "--whole-image", "--output", "new", "b.png", "--passes", "1"]) == 0
    assert {row["file"] for row in rows("new/keypoints.csv")} == {"a.png", "b.png"}
    with pytest.raises(SystemExit):
        main(["--glasses", "a.png", "--output", "other"])
    assert "--glasses took a.png as its picture" in capsys.readouterr().err


def test_no_input_is_overwritten(run, capsys):
    Path("out").mkdir()
    picture((96, 96)).save("out/a_keypoints.png")
    os.symlink("out/a_keypoints.png", "a.png")
    assert run("a.png", "--whole-image") == 2
    Path("a.png").unlink()
    picture((96, 96)).save("a.png")
    picture((96, 96)).save("out/a_glasses.png")
    assert run("a.png", "--whole-image", "--glasses", "out/a_glasses.png") == 2
    os.symlink("loop", "loop")
    assert run("a.png", "--whole-image", "--output", "loop") == 2
    said = errors(capsys)
    assert ["name another" in line for line in said] == [True, True, False]
    assert sorted(os.listdir("out")) == ["a_glasses.png", "a_keypoints.png"]


def test_a_name_with_signs_that_are_none_of_a_line(run, capsys):
    name = "a\rb\x1b[31m\nred.png"
    picture((96, 96)).save(name)
    assert run(name, "--whole-image") == 0
    with open("out/keypoints.csv", newline="") as file:
        lines = file.read().splitlines()
    assert len(lines) == 16
    assert main(["--video", "no\nsuch.mp4", "--output", "new"]) == 2
    assert len(errors(capsys)) == 1


def test_sixty_eight_points_come_out(run, tmp_path, capsys):
    path = make_onnx(tmp_path / "many.onnx", IBUG68.points)
    picture((96, 96)).save("a.png")
    # Without a mean face nobody knows how its faces lie.
    assert run("a.png", "--box", "0,0,96,96", model=path) == 2
    assert "does not say how its faces lie" in errors(capsys)[0]
    assert run("a.png", "--whole-image", "--passes", "1", "--pts", model=path) == 0
    assert [row["point"] for row in rows()] == list(IBUG68.points)
    assert Path("out/a_1.pts").read_text().splitlines()[1] == "n_points: 68"


def test_confidences_come_out(run, monkeypatch):
    def predict(images):
        spread = np.full((len(images), 15), 96 * np.exp(-1.0))
        return np.repeat(MEAN[None], len(images), axis=0), spread

    sure = Network("toy", 96, predict, calibration=Calibration(-2.0, (0.0,) * 15))
    monkeypatch.setattr(network, "open_network", lambda path: sure)
    picture((96, 96)).save("a.png")
    assert run("a.png", "--whole-image") == 0
    assert {row["confidence"] for row in rows()} == {"0.881"}  # 1 / (1 + e^-2)
    (face,) = json.loads(Path("out/keypoints.json").read_text())["photos"][0]["faces"]
    assert face["confidence"]["nose_tip"] == 0.881


# Filters and videos


def test_filters_are_put_on_in_place_of_points(run):
    picture((300, 300), (90, 120, 90)).save("a.png")
    Image.fromarray(np.full((20, 60, 4), (255, 0, 0, 255), np.uint8)).save("solid.png")
    clear = np.full((20, 60, 4), (255, 0, 0, 255), np.uint8)
    clear[:, 28:32, 3] = 0
    Image.fromarray(clear).save("red.png")
    assert run("a.png", "--whole-image", "--glasses", "--moustache", "--hat") == 0
    assert Path("out/a_glasses_moustache_hat.png").exists()
    assert not Path("out/a_keypoints.png").exists()
    assert len(rows()) == 15
    assert run("a.png", "--whole-image", "--glasses", "red.png") == 0
    drawn = np.array(Image.open("out/a_glasses.png"))
    x, y = (3.125 * (MEAN[1] + 0.5) - 0.5).round().astype(int)  # the subject's right eye
    assert drawn[y, x].tolist() == [255, 0, 0]
    assert run("a.png", "--whole-image", "--glasses", "solid.png", "--output", "other") == 2
    assert not Path("other").exists()


def test_a_video(run, capsys):
    import cv2

    writer = cv2.VideoWriter("clip.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, (512, 512))
    for _ in range(8):
        writer.write(np.ascontiguousarray(astronaut()[..., ::-1]))
    writer.release()
    assert main(["--video", "clip.mp4", "--output", "out", "--hat", "--seconds", "0.5"]) == 0
    assert "out/: 5 frame(s), 5 with a face, 1 face(s) in all" in capsys.readouterr().out
    assert sorted(os.listdir("out")) == ["clip_hat.mp4", "clip_keypoints.csv"]
    last = rows("out/clip_keypoints.csv")[-15]
    assert (last["frame"], last["face"], last["point"]) == ("4", "1", "left_eye_center")
    assert np.hypot(float(last["x"]) - 247, float(last["y"]) - 103) < 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of them is accepted, and needed"),
        (("a.png", "--video", "a.mp4"), "one of them is accepted, and needed"),
        (("a.png", "--seconds", "3"), "--seconds is for --video and --camera"),
        (("--video", "a.mp4", "--pts"), "are for photos"),
        (("--video", "a.mp4"), "--video a.mp4 does not exist"),
        (("--video", "empty.mp4"), "empty.mp4 cannot be opened as a video"),
        (("--video", "empty.mp4", "--seconds", "-1"), "--seconds is -1; more than 0 is accepted"),
        (("a.png", "--glasses", "nowhere.png"), "nowhere.png"),
    ],
)
def test_what_does_not_go_together_is_one_line(tmp_path, monkeypatch, arguments, message, capsys):
    monkeypatch.chdir(tmp_path)
    picture().save("a.png")
    Path("empty.mp4").write_bytes(b"")
    try:
        code = main([*arguments, "--output", "out"])
    except SystemExit as error:  # argparse
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("out").exists()


def test_onnx_needs_no_keras(toy, tmp_path):
    picture((96, 96)).save(tmp_path / "a.png")
    code = (
        "import sys\n"
        "from inference.__main__ import main\n"
        f"code = main([r'{tmp_path}/a.png', '--output', r'{tmp_path}/out', '--model', r'{toy}'])\n"
        "assert code == 0\n"
        "assert not {'tensorflow', 'keras', 'jax', 'torch', 'matplotlib'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no face found" in done.stderr  # by Haar, in one colour


# Detection


def astronaut():
    """NASA's portrait of Eileen Collins, in the public domain, 512 x 512."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed (requirements-dev.txt)")
    return data.astronaut()


@pytest.mark.parametrize("factor", [1, 3])
def test_the_astronauts_face_is_found(run, factor, capsys):
    image = Image.fromarray(astronaut())
    image.resize((512 * factor, 512 * factor)).save("astronaut.png")
    picture().save("bare.png")
    assert run("astronaut.png", "bare.png") == 0
    assert errors(capsys) == ["inference: bare.png: no face found"]
    faces = json.loads(Path("out/keypoints.json").read_text())["photos"]
    assert (len(faces[0]["faces"]), faces[1]["faces"], faces[1]["drawn"]) == (1, [], None)
    x, y, width, height = np.array(faces[0]["faces"][0]["box"]) / factor
    assert 80 < width == height < 130
    # By eye, in an enlarged copy. A network that says the mean face whatever it sees is near already, as in training.
    points = faces[0]["faces"][0]["points"]
    for name, place in (
        ("right_eye_center", (204, 101)),
        ("left_eye_center", (247, 103)),
        ("mouth_center_bottom_lip", (224, 152)),
    ):
        assert np.hypot(*np.subtract(np.array(points[name]) / factor, place)) < 8


def test_faces_come_largest_first():
    image = np.zeros((600, 900), np.uint8)
    face = np.array(Image.fromarray(astronaut()).convert("L"))[30:230, 120:320]
    image[:200, :200] = face
    image[100:500, 300:700] = np.array(Image.fromarray(face).resize((400, 400)))
    found = detectors.haar(96)(photos.Photo("two", np.repeat(image[..., None], 3, axis=2), image))
    assert len(found) == 2
    assert found[0].box[0] > 300
    assert found[0].box[2] == pytest.approx(2 * found[1].box[2], rel=0.15)


def test_all_faces_of_a_group_are_found_where_they_are():
    face = Image.fromarray(astronaut()).convert("L").crop((120, 30, 320, 230))
    image, places = Image.new("L", (800, 600), 128), []
    for k in range(12):  # from a face in 48 pixels, a 17th of the photo, to one in 95
        side, corner = 100 + 9 * k, (200 * (k % 4), 200 * (k // 4))
        image.paste(face.resize((side, side)), corner)
        places.append((*corner, side))
    gray = np.array(image)
    found = detectors.haar(96)(photos.Photo("group", np.repeat(gray[..., None], 3, axis=2), gray))
    assert len(found) == 12
    for (x, y, side), face in zip(places[::-1], found, strict=True):
        middle = np.array(face.box[:2]) + np.array(face.box[2:]) / 2
        # A single search of the portrait, in steps of 1.05, has the box at (176, 66) and 96 wide; in the face's own
        # picture of 200 pixels its middle is (104, 84).
        np.testing.assert_allclose((middle - (x, y)) * 200 / side, (104, 84), atol=2.5)
        assert face.box[2] * 200 / side == pytest.approx(96, abs=6)


def test_a_faces_box_follows_the_face():
    """Moved by 7 pixels, or in twice as many pixels: the box is the same to a twentieth of its side."""
    image = Image.fromarray(astronaut()).convert("L")
    boxes = []
    for copy in (image, image.crop((7, 7, 512, 512)), image.resize((1024, 1024))):
        gray = np.array(copy)
        (face,) = detectors.haar(96)(photos.Photo("a", np.repeat(gray[..., None], 3, axis=2), gray))
        boxes.append(np.array(face.box))
    np.testing.assert_allclose(boxes[1] + (7, 7, 0, 0), boxes[0], atol=0.05 * boxes[0][2])
    np.testing.assert_allclose(boxes[2] / 2, boxes[0], atol=0.05 * boxes[0][2])


def test_threads_share_a_detector():
    image = Image.fromarray(astronaut()).convert("L")
    grays = [np.array(image.crop((9 * k, 0, 512, 500))) for k in range(12)]
    shots = [photos.Photo(str(k), np.repeat(gray[..., None], 3, axis=2), gray) for k, gray in enumerate(grays)]
    detect = detectors.haar(96)
    with ThreadPoolExecutor(4) as pool:
        together = [[face.box for face in faces] for faces in pool.map(detect, shots)]
        barrier = threading.Barrier(4)
        own = detectors.each_thread_its_own(object)
        assert len(set(pool.map(lambda _: (barrier.wait(), own(), own())[1:], range(4)))) == 4
    assert together == [[face.box for face in detect(shot)] for shot in shots]
    assert all(together)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (30, 3000), (19, 19)])
def test_photos_too_small_for_a_face(shape):
    gray = np.full(shape, 128, np.uint8)
    assert detectors.haar(96)(photos.Photo("small", np.repeat(gray[..., None], 3, axis=2), gray)) == []


def test_an_opencv_without_cascades_is_named(monkeypatch):
    import cv2

    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(ValueError, match="has no Haar cascades: install opencv-python-headless<5"):
        detectors.haar(96)
