"""`python -m data_prep` from file to arrays, its checks, and the grouping of duplicates."""

import ast
import csv
import json
import os
import re
import resource
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep import prepared
from data_prep.__main__ import main
from data_prep.checks import Check, check_prepared, check_raw, far_from_mean, write_checks
from data_prep.duplicates import group_duplicates
from data_prep.faceset import DataError, FaceSet
from data_prep.grouping import find_groups
from data_prep.missing import mean_face
from data_prep.schema import KAGGLE15
from data_prep.sources import kaggle, sha256_of
from data_prep.split import SPLITS
from data_prep.synthetic.sampler import sample

REPOSITORY = Path(__file__).parents[1]
ARRAYS = ("images", "keypoints", "filled", "observed", "groups", "ids", "sources")
FILES = {"manifest.json", *(f"{split}_{name}.npy" for split in SPLITS for name in ARRAYS)}

# 60 faces: rows 0-24 of the first source (rows 20-24 lack the nose), 25-59 of the second with four points.
# Rows 30-35 are three pairs of equal pixels.
ROWS, FIRST = 60, 25
FOUR = [0, 1, 10, 14]
PAIRS = [(30, 31), (32, 33), (34, 35)]


def sixty_faces() -> tuple[np.ndarray, np.ndarray]:
    faces = sample(ROWS, seed=0, missing_structure=False)  # people, since noise looks like noise: one group
    images, keypoints = faces.images, faces.keypoints
    keypoints[20:FIRST, 10] = np.nan
    second = np.full((ROWS - FIRST, 15, 2), np.nan, np.float32)
    second[:, FOUR] = keypoints[FIRST:, FOUR]
    keypoints[FIRST:] = second
    for a, b in PAIRS:
        images[b] = images[a]
    return images, keypoints


@pytest.fixture(scope="module")
def table(tmp_path_factory, csv_text) -> Path:
    images, keypoints = sixty_faces()
    path = tmp_path_factory.mktemp("input") / "training.csv"
    path.write_text(csv_text(keypoints, images))
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """Every test runs in a folder of its own: the command writes to relative paths by default."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def run(table: Path, *more: str) -> int:
    return main(["--source", "kaggle", "--input", str(table), "--no-analysis", *more])


def arrays(folder: Path | str) -> dict[str, np.ndarray]:
    return {path.name: np.load(path, allow_pickle=False) for path in sorted(Path(folder).glob("*.npy"))}


def all_rows(found: dict[str, np.ndarray], name: str) -> np.ndarray:
    """One array over all splits, in the order of the file."""
    ids = np.concatenate([found[f"{split}_ids.npy"] for split in SPLITS])
    return np.concatenate([found[f"{split}_{name}.npy"] for split in SPLITS])[np.argsort(ids)]


# ---- the arrays and the manifest


def test_what_is_written(table):
    assert run(table, "--output", "out") == 0
    assert {path.name for path in Path("out").iterdir()} == FILES
    assert [path.name for path in Path().iterdir()] == ["out"]
    found = arrays("out")
    images, keypoints = sixty_faces()
    for split, count in {"train": 48, "val": 6, "test": 6}.items():
        shapes = {name: (found[f"{split}_{name}.npy"].dtype, found[f"{split}_{name}.npy"].shape) for name in ARRAYS}
        assert shapes == {
            "images": (np.uint8, (count, 96, 96)),
            "keypoints": (np.float32, (count, 15, 2)),
            "filled": (np.float32, (count, 15, 2)),
            "observed": (np.bool_, (count, 15)),
            "groups": (np.int64, (count,)),
            "ids": (np.int64, (count,)),
            "sources": (np.int64, (count,)),
        }
        assert not np.isnan(found[f"{split}_filled.npy"]).any()
        assert (np.diff(found[f"{split}_ids.npy"]) > 0).all()
    assert all_rows(found, "ids").tolist() == list(range(ROWS))
    np.testing.assert_array_equal(all_rows(found, "images"), images)
    np.testing.assert_array_equal(all_rows(found, "keypoints"), keypoints)
    np.testing.assert_array_equal(all_rows(found, "observed"), ~np.isnan(keypoints[..., 0]))
    assert np.bincount(all_rows(found, "sources")).tolist() == [0, 25, 35]
    groups = all_rows(found, "groups")
    np.testing.assert_array_equal(groups, find_groups(kaggle.read(table))[0])
    assert {len({split for split in SPLITS if g in found[f"{split}_groups.npy"]}) for g in groups} == {1}
    for a, b in PAIRS:
        assert groups[a] == groups[b]
        assert any(np.isin([a, b], found[f"{split}_ids.npy"]).all() for split in SPLITS)


def test_ffill_over_training_rows(table):
    """The documented rule, face by face: the last earlier training row that labels the point, else the mean."""
    assert run(table, "--output", "out") == 0
    found = arrays("out")
    _, keypoints = sixty_faces()
    train = found["train_ids.npy"]
    mean = mean_face(keypoints[train])
    for split in SPLITS:
        for row, filled in zip(found[f"{split}_ids.npy"], found[f"{split}_filled.npy"], strict=True):
            for point in range(15):
                earlier = [t for t in train if t < row and not np.isnan(keypoints[t, point, 0])]
                expected = keypoints[earlier[-1], point] if earlier else mean[point]
                if not np.isnan(keypoints[row, point, 0]):
                    expected = keypoints[row, point]
                np.testing.assert_array_equal(filled[point], expected)


def test_manifest(table):
    arguments = ["--source", "kaggle", "--input", str(table), "--no-analysis", "--output", "my set-mean"]
    assert main([*arguments, "--missing", "mean", "--seed", "3"]) == 0
    manifest = json.loads(Path("my set-mean/manifest.json").read_text())
    found = arrays("my set-mean")
    assert manifest["name"] == "my set"  # of the data, without its treatment
    assert manifest["source"] == {
        "kind": "kaggle",
        "path": str(table),
        "sha256": sha256_of([table]),
        "note": None,  # nothing is known against this file
    }
    assert manifest["schema"] == {"name": "kaggle15", "points": list(KAGGLE15.points)}
    assert manifest["image_size"] == [96, 96]
    assert manifest["treatment"] == "mean"
    assert manifest["seed"] == 3
    assert manifest["faces"] == {"train": 48, "val": 6, "test": 6}
    assert sum(manifest["complete_faces"].values()) == 20  # rows 0-19
    assert sum(manifest["labelled_points"].values()) == 20 * 15 + 5 * 14 + 35 * 4
    assert manifest["labelled_points"]["val"] == found["val_observed.npy"].sum()
    assert manifest["skipped"] == []
    groups = all_rows(found, "groups")
    assert manifest["grouping"] == {
        "method": "relatives",
        "groups": len(set(groups)),
        "largest": np.bincount(groups).max(),
        "similarity": 0.25,
    }
    assert manifest["noise_floor"]["pairs"] == len(PAIRS)
    assert manifest["noise_floor"]["simulated"] is False
    assert manifest["command"].startswith("python -m data_prep --source kaggle --input ")
    assert manifest["command"].endswith("--output 'my set-mean' --missing mean --seed 3")
    assert set(manifest["versions"]) >= {"python", "numpy"}
    np.testing.assert_allclose(manifest["mean_face"], mean_face(found["train_keypoints.npy"]), atol=1e-4)


def test_the_seed_repeats_every_byte(table):
    for name, seed in {"a": "0", "b": "0", "c": "1"}.items():
        assert run(table, "--output", name, "--seed", seed) == 0
    for name in FILES - {"manifest.json"}:
        assert (Path("a") / name).read_bytes() == (Path("b") / name).read_bytes()
    assert Path("a/test_ids.npy").read_bytes() != Path("c/test_ids.npy").read_bytes()
    first, again = (json.loads((Path(name) / "manifest.json").read_text()) for name in "ab")
    assert {key for key in first if first[key] != again[key]} <= {"name", "command", "written"}


def test_treatments_share_the_test_set(table):
    for treatment in ("ffill", "mean", "drop", "none"):
        assert run(table, "--output", treatment, "--missing", treatment) == 0
    found = {treatment: arrays(treatment) for treatment in ("ffill", "mean", "drop", "none")}
    for treatment in ("mean", "drop", "none"):
        for name in set(ARRAYS) - {"filled"}:
            np.testing.assert_array_equal(found[treatment][f"test_{name}.npy"], found["ffill"][f"test_{name}.npy"])
    for split in ("train", "val"):
        complete = found["ffill"][f"{split}_observed.npy"].all(axis=1)
        assert 0 < complete.sum() < len(complete)
        for name in set(ARRAYS) - {"filled"}:
            thinned = found["ffill"][f"{split}_{name}.npy"][complete]
            np.testing.assert_array_equal(found["drop"][f"{split}_{name}.npy"], thinned)
            np.testing.assert_array_equal(found["none"][f"{split}_{name}.npy"], found["ffill"][f"{split}_{name}.npy"])
        np.testing.assert_array_equal(found["drop"][f"{split}_filled.npy"], found["drop"][f"{split}_keypoints.npy"])
    for split in SPLITS:  # nothing filled
        np.testing.assert_array_equal(found["none"][f"{split}_filled.npy"], found["none"][f"{split}_keypoints.npy"])
    assert np.isnan(found["drop"]["test_filled.npy"]).any()


def test_drop_that_leaves_nothing(tmp_path, csv_text, capsys):
    images, keypoints = sixty_faces()
    keypoints[:, 3] = np.nan
    path = tmp_path / "training.csv"
    path.write_text(csv_text(keypoints, images))
    assert run(path, "--missing", "drop", "--output", "out") == 2
    assert "--missing drop leaves no face in train" in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_skipped_rows_are_named_and_counted(tmp_path, table, capsys):
    lines = table.read_text().splitlines()
    lines[1 + 7] = lines[1 + 7].replace(",", ",left", 1)
    lines[1 + 40] += " 8"
    path = tmp_path / "training.csv"
    path.write_text("\n".join(lines))
    assert run(path, "--skip-bad-rows", "--output", "out") == 0
    out, err = capsys.readouterr()
    assert [line.split(": ")[0] for line in err.splitlines()] == ["left out", "left out"]
    assert "row 7 (0-based)" in err.splitlines()[0]
    assert "row 40 (0-based)" in err.splitlines()[1]
    assert "46 train, 6 val, 6 test faces" in out  # of 58: a tenth is 5.8
    assert all_rows(arrays("out"), "ids").tolist() == [row for row in range(ROWS) if row not in (7, 40)]
    assert len(json.loads(Path("out/manifest.json").read_text())["skipped"]) == 2


def test_analysis_is_written(table):
    assert main(["--source", "kaggle", "--input", str(table), "--output", "x/faces60"]) == 0
    written = {path.name for path in Path("results/faces60/data").iterdir()}
    assert {"checks.csv", "summary.csv"} <= written
    with open("results/faces60/data/checks.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["stage"] for row in rows} == {"raw", "prepared"}
    assert not [row for row in rows if row["result"] == "FAILED"]
    # the faces are from outside: their pictures go where git ignores them
    assert Path("results/faces60/faces").is_dir()


# ---- which source, which paths


def test_data_raw_is_found(table, elsewhere, capsys):
    raw = elsewhere / "data" / "raw"
    raw.mkdir(parents=True)
    with zipfile.ZipFile(raw / "training.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(table, "training.csv")
    assert main(["--no-analysis"]) == 0
    manifest = json.loads(Path("data/prepared/kaggle/manifest.json").read_text())
    assert (manifest["source"]["kind"], manifest["source"]["path"]) == ("kaggle", "data/raw")
    assert manifest["source"]["sha256"] == sha256_of([raw / "training.zip"])
    assert capsys.readouterr().out == "data/prepared/kaggle: 48 train, 6 val, 6 test faces\n"
    assert main(["--no-analysis", "--missing", "none"]) == 0
    assert json.loads(Path("data/prepared/kaggle-none/manifest.json").read_text())["name"] == "kaggle"


def test_without_any_data_embedded_faces_are_used(elsewhere, capsys):
    (elsewhere / "data" / "raw").mkdir(parents=True)
    (elsewhere / "data" / "raw" / ".gitkeep").touch()
    assert main(["--count", "40", "--no-analysis"]) == 0
    said, done = capsys.readouterr().out.splitlines()
    assert "using the embedded faces" in said
    assert done == "data/prepared/synthetic: 32 train, 4 val, 4 test faces"


def test_synthetic_repeats_for_a_seed():
    for name, seed in {"a": "0", "b": "0", "c": "1"}.items():
        assert main(["--source", "synthetic", "--count", "20", "--seed", seed, "--no-analysis", "--output", name]) == 0
    a, b, c = (all_rows(arrays(name), "images") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert a.shape == (20, 96, 96)


def test_synthetic_68_points():
    assert main(["--source", "synthetic", "--count", "20", "--schema", "68", "--no-analysis", "--output", "a"]) == 0
    assert prepared.load(Path("a")).schema.name == "ibug68"
    assert all_rows(arrays("a"), "keypoints").shape == (20, 68, 2)


def test_without_kagglehub_one_line_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kagglehub", None)  # importing it then fails, as where it is not installed
    assert main(["--source", "kaggle", "--no-analysis"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install kagglehub" in line
    assert "data/raw/" in line
    assert "--input" in line


def test_an_earlier_data_set_is_replaced_whole(table):
    for seed in ("0", "1"):
        assert run(table, "--output", "nowhere/yet/out", "--seed", seed) == 0
    assert json.loads(Path("nowhere/yet/out/manifest.json").read_text())["seed"] == 1
    assert [path.name for path in Path("nowhere/yet").iterdir()] == ["out"]


def test_output_may_be_a_link_or_the_folder_itself(table, elsewhere, monkeypatch):
    (elsewhere / "disk").mkdir()
    (elsewhere / "link").symlink_to(elsewhere / "disk")
    assert run(table, "--output", "link") == 0
    assert {path.name for path in Path("disk").iterdir()} == FILES
    assert Path("link").is_symlink()
    (elsewhere / "here").mkdir()
    monkeypatch.chdir(elsewhere / "here")
    assert run(table, "--output", ".") == 0
    assert json.loads((elsewhere / "here" / "manifest.json").read_text())["name"] == "here"


@pytest.mark.parametrize("foreign", ["notes.txt", "manifest.json and thesis.pdf", "train_images.npy", "a file"])
def test_what_is_not_a_prepared_data_set_is_not_overwritten(table, elsewhere, capsys, foreign):
    out = elsewhere / "out"
    if foreign == "a file":
        out.write_text("precious")
    else:
        out.mkdir()
        for name in foreign.split(" and "):
            (out / name).write_text("precious")
    before = sorted(elsewhere.rglob("*"))
    assert run(table, "--output", "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("data_prep: error: out ")
    assert sorted(elsewhere.rglob("*")) == before
    assert all(path.read_text() == "precious" for path in before if path.is_file())


# ---- bad input: exit code 2, one line, nothing written

HEADER = ",".join([*KAGGLE15.columns, "Image"])
POINTS = ",".join(["40"] * 30)
PIXELS = " ".join(["7"] * 9216)


def one_row(points: str = POINTS, pixels: str = PIXELS) -> bytes:
    return f"{HEADER}\n{POINTS},{PIXELS}\n{points},{pixels}\n".encode()


def zip_of(name: str, data: bytes) -> bytes:
    path = Path("made.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    content = path.read_bytes()
    path.unlink()
    return content


BAD_INPUT = {
    "missing columns": ("kaggle", "t.csv", lambda: b"nose_tip_x,Image\n40,0 0\n", "lacks 29 of 31 columns"),
    "short image": ("kaggle", "t.csv", lambda: one_row(pixels="1 2 3"), "row 1 (0-based): the image has 3 pixels"),
    "word as pixel": ("kaggle", "t.csv", lambda: one_row(pixels="a" + PIXELS), "row 1 (0-based): the image holds 'a7'"),
    "pixel 256": (
        "kaggle",
        "t.csv",
        lambda: one_row(pixels="256" + PIXELS[1:]),
        "row 1 (0-based): the image holds '25",
    ),
    "word as keypoint": ("kaggle", "t.csv", lambda: one_row("x" + POINTS), "left_eye_center_x is 'x40'"),
    "far outside": ("kaggle", "t.csv", lambda: one_row("9" + POINTS), "left_eye_center_x is 940"),
    "empty": ("kaggle", "t.csv", lambda: b"", "is empty"),
    "header only": ("kaggle", "t.csv", lambda: HEADER.encode(), "no usable rows"),
    "too few rows": ("kaggle", "t.csv", one_row, "2 faces in 1 groups are too few to split"),
    "not text": ("kaggle", "t.csv", lambda: b"\xff\xfe\x00", "not a table in UTF-8 text"),
    "truncated zip": ("kaggle", "t.zip", lambda: zip_of("training.csv", one_row())[:300], "damaged, cut short"),
    "truncated inner zip": (
        "kaggle",
        "t.zip",
        lambda: zip_of("training.zip", zip_of("training.csv", one_row())[:300]),
        "damaged, cut short",
    ),
    "zip of something else": ("kaggle", "t.zip", lambda: zip_of("a.txt", b"hello"), "holds neither training.csv"),
    "another file": ("kaggle", "t.png", lambda: b"\x89PNG", "is not a .csv or .zip file"),
    "youtube68 from text": ("youtube68", "t.csv", one_row, "not a readable zip"),
    "youtube68 from the Kaggle zip": ("youtube68", "t.zip", lambda: zip_of("training.csv", b""), "neither CSV file"),
    "pts from a file": ("pts", "t.pts", lambda: b"n_points: 68", "expected a folder"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case, tmp_path, capsys):
    source, name, make, found = BAD_INPUT[case]
    path = tmp_path / name
    path.write_bytes(make())
    assert main(["--source", source, "--input", str(path), "--output", "out"]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("data_prep: error: ")
    assert found in line
    assert name in line or case == "too few rows"
    assert out == ""
    assert not list(Path().iterdir())


@pytest.mark.parametrize("source", ["kaggle", "youtube68", "pts"])
@pytest.mark.parametrize("path", ["nowhere", "two\nlines", "x" * 300, "with\0nul", "empty folder", "."])
def test_paths_that_lead_nowhere(source, path, capsys, elsewhere):
    if path == "empty folder":
        (elsewhere.parent / path).mkdir()
        path = f"../{path}"
    assert main(["--source", source, "--input", path, "--output", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("data_prep: error: ")
    assert not list(Path().iterdir())


@pytest.mark.parametrize("output", ["file/out", "file", "/proc/out", "x" * 300])
def test_outputs_that_cannot_be(table, output, capsys, elsewhere):
    (elsewhere / "file").write_text("precious")
    assert run(table, "--output", output) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("data_prep: error: ")
    assert [path.name for path in Path().iterdir()] == ["file"]
    assert Path("file").read_text() == "precious"


@pytest.mark.parametrize(
    ("results", "found"),
    [
        ("file", "--results file is a file"),
        ("out", "--results out is the folder of the prepared data"),
        (str(REPOSITORY / "analysis/x"), "--results .*/analysis/faces/samples.png would show real faces"),
    ],
)
def test_results_that_cannot_be(table, results, found, capsys, elsewhere):
    (elsewhere / "file").write_text("precious")
    assert main(["--source", "kaggle", "--input", str(table), "--output", "out", "--results", results]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(found, line)
    assert [path.name for path in Path().iterdir()] == ["file"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read and write everything")
def test_files_without_permission(table, tmp_path, capsys):
    secret = tmp_path / "training.csv"
    secret.write_bytes(table.read_bytes())
    secret.chmod(0)
    assert run(secret, "--output", "out") == 2
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert run(table, "--output", str(locked / "out")) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--source", "mars"],
        ["--missing", "median"],
        ["--seed", "-1"],
        ["--seed", "one"],
        ["--count", "9"],
        ["--count", "1000000000000"],
        ["--source", "synthetic", "--input", "x.csv"],
        ["training.zip"],
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--source", "youtube68"], "--source youtube68 needs --input"),
        (["--source", "pts"], "--source pts needs --input"),
        (["--source", "kaggle", "--input", "x.csv", "--schema", "68"], "the Kaggle set has 15 points"),
        (["--input", "x.csv", "--schema", "68"], "the Kaggle set has 15 points"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, found, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert found in line


# ---- what the command imports, and how fast it answers

HEAVY = ["tensorflow", "keras", "torch", "jax", "sklearn", "pandas"]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


IMPORTED = f"print('imported:', [name for name in {HEAVY} if name in sys.modules])"


def test_help_is_quick_and_light():
    code = f"""
import sys
from data_prep.__main__ import main
try:
    main(["--help"])
except SystemExit as stop:
    print("exit:", stop.code)
{IMPORTED}
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = python(code).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "--missing {ffill,mean,drop,none}" in out
    assert "exit: 0" in out
    assert "imported: []" in out
    # processor time, since other work on the machine stretches the clock's
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_a_whole_run_needs_no_tensorflow(table):
    code = f"""
import sys
from data_prep.__main__ import main
assert main(["--source", "kaggle", "--input", sys.argv[1], "--output", "out", "--results", "there"]) == 0
{IMPORTED}
"""
    imported = python(code, str(table)).stdout.split("imported: ")[1]
    assert not {"tensorflow", "keras", "torch", "jax"} & set(ast.literal_eval(imported))
    assert Path("there/checks.csv").is_file()


def test_a_module_run_says_one_line(tmp_path):
    """As typed: no traceback, no progress bar where nobody watches, exit code 2."""
    (tmp_path / "training.zip").write_bytes(b"PK\x03\x04 cut short")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "data_prep", "--source", "kaggle", "--input", tmp_path / "training.zip"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("data_prep: error: ")
    assert "training.zip is damaged, cut short" in line


# ---- reading it back


def test_load(table):
    assert run(table, "--output", "out") == 0
    data = prepared.load(Path("out"))
    assert data.name == "out"
    assert data.schema is KAGGLE15
    assert [len(split) for split in (data.train, data.val, data.test)] == [48, 6, 6]
    assert isinstance(data.train.images, np.memmap)
    np.testing.assert_array_equal(data.val.observed, ~np.isnan(data.val.keypoints).any(axis=-1))


def damage_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"'shape': (", b"'shape': ((", 1))


def with_array(change):
    return lambda path: np.save(path, change(np.load(path)))


DAMAGE = {
    "fewer images": ("train_images.npy", with_array(lambda a: a[:-1]), r"train keypoints are \[48, 15, 2\], not \[47"),
    "images of floats": ("val_images.npy", with_array(lambda a: a / 1.0), "val images are float64"),
    "a name that leads away": (
        "manifest.json",
        lambda p: p.write_text(p.read_text().replace('"out"', '"../../x"', 1)),
        "its name is '../../x', no folder's",
    ),
    "nested manifest": ("manifest.json", lambda p: p.write_text("[" * 100_000), "damaged"),
    "missing array": ("val_filled.npy", Path.unlink, r"val_filled.npy is missing.*make it with: python -m data_prep"),
    "missing manifest": ("manifest.json", Path.unlink, "manifest.json is missing"),
    "empty array": ("val_ids.npy", lambda p: p.write_bytes(b""), "damaged"),
    "cut array": ("train_images.npy", lambda p: p.write_bytes(p.read_bytes()[:5000]), "damaged"),
    "array header": ("train_images.npy", damage_header, "damaged"),
    "cut manifest": ("manifest.json", lambda p: p.write_text(p.read_text()[:50]), "damaged"),
    "foreign manifest": ("manifest.json", lambda p: p.write_text('{"icons": []}'), "damaged"),
    "listed manifest": ("manifest.json", lambda p: p.write_text("[]"), "damaged"),
    "unknown schema": ("manifest.json", lambda p: p.write_text(p.read_text().replace("kaggle15", "x")), "damaged"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_data_set_is_named(table, case):
    name, damage, found = DAMAGE[case]
    assert run(table, "--output", "out") == 0
    damage(Path("out") / name)
    with pytest.raises(DataError, match=found):
        prepared.load(Path("out"))


def test_load_from_paths_that_lead_nowhere(elsewhere):
    (elsewhere / "file").touch()
    for path in ("nowhere", "file", "."):
        with pytest.raises(DataError):
            prepared.load(Path(path))


def test_writing_that_fails_leaves_the_old_and_no_half(table, elsewhere):
    assert run(table, "--output", "out") == 0
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    data = prepared.load(Path("out"))
    splits = {"train": data.train, "val": data.val, "test": replace(data.test, ids=np.array([object()]))}
    with pytest.raises(ValueError, match="allow_pickle=False"):
        prepared.write(Path("out"), splits, data.manifest)
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    assert [path.name for path in elsewhere.iterdir()] == ["out"]


# ---- duplicates


def face_set(values: list[int], groups: list[int]) -> FaceSet:
    """Faces of 2x2 pixels; equal values are equal pixels."""
    rows = np.arange(len(values))
    images = np.zeros((len(values), 2, 2), np.uint8)
    images[:, 1, 1] = values
    keypoints = np.ones((len(values), 15, 2), np.float32)
    return FaceSet(images, keypoints, np.array(groups), rows, np.zeros(len(values), np.int64), KAGGLE15)


@pytest.mark.parametrize(
    ("values", "groups", "expected"),
    [
        # rows 0 and 2 show the same picture
        ([5, 6, 5, 7], [0, 1, 2, 3], [{0, 2}, {1}, {3}]),
        # nothing is equal: groups stay, whatever their numbers
        ([5, 6, 7, 8], [40, 9, 40, 7], [{0, 2}, {1}, {3}]),
        # a chain: persons 0 {0, 1}, 1 {2, 3}, 2 {4, 5}; row 1 equals row 2 and row 3 equals row 4
        ([1, 2, 2, 3, 3, 4, 9], [0, 0, 1, 1, 2, 2, 3], [{0, 1, 2, 3, 4, 5}, {6}]),
        ([1, 1, 1], [2, 1, 0], [{0, 1, 2}]),
        ([1], [17], [{0}]),
    ],
    ids=["equal pixels", "unequal", "chain", "all equal", "one"],
)
def test_duplicates(values, groups, expected):
    found = group_duplicates(face_set(values, groups))
    assert found.dtype == np.int64
    assert sorted(set(found)) == list(range(len(expected)))  # renumbered from 0
    assert sorted(({*np.flatnonzero(found == g)} for g in set(found)), key=min) == expected


# ---- checks


def found(checks: list[Check]) -> dict[str, tuple[str, bool | None]]:
    return {check.name: (check.found, check.passed) for check in checks}


def test_raw_findings():
    faces = face_set([1, 2, 2, 0, 4], [0, 1, 2, 3, 4])
    faces.keypoints[:, 3:] = np.nan
    faces.keypoints[1, 0] = (1.6, 0)  # the image of 2 pixels ends at 1.5
    faces.keypoints[2, 1] = (1, 1.75)
    faces.keypoints[1, 2] = np.nan
    faces.keypoints[4] = np.nan
    results = found(check_raw(faces, np.array([0, 1, 1, 2, 3]), ("row 9: bad",)))
    assert results["faces"] == ("5", None)
    assert results["rows left out"] == ("1: row 9: bad", False)
    assert results["faces without any label"] == ("1: 4", None)
    assert results["faces with a point outside the image"] == ("2: 1, 2", None)
    assert results["images of one single gray value"] == ("1: 3", False)
    assert results["faces in a group with others"] == ("2", None)
    assert results["largest group"] == ("2", None)
    # Rows 1 and 2 are equal and label points 0 and 1 in common: (0.6, -1) and (0, -0.75); two labels, each
    # with the variance v, differ by 2v: sqrt((0.36 + 1 + 0 + 0.5625) / 4 / 2) = 0.4902 px of an image of 2, which
    # is 48 times as much of one of 96.
    disagreement = "23.530 per coordinate at 96x96 over 1 pairs"
    assert results["label disagreement within equal images, px"] == (disagreement, None)


def test_far_from_mean_by_source():
    # Ten rows a source. The median is 1 and its deviations are 0, so the spread counts as 1 px and the limit is 5.
    faces = face_set(list(range(20)), list(range(20)))
    faces.sources[:] = np.repeat([1, 2], 10)
    faces.keypoints[10:] = 50  # the second source's own place
    faces.keypoints[3, 7, 1] = 6.5
    faces.keypoints[4, 7, 1] = 5.5
    faces.keypoints[12, 2, 0] = 1  # ordinary in the first source only
    faces.keypoints[5:8, 9] = np.nan
    assert np.flatnonzero(far_from_mean(faces)).tolist() == [3, 12]


def splits_of(count: int = 20) -> dict[str, prepared.Split]:
    """Prepared splits without a fault: 16, 2 and 2 faces of different pixels."""
    rows = np.arange(count)
    images = np.zeros((count, 2, 2), np.uint8)
    images[:, 0, 1] = rows
    keypoints = np.ones((count, 15, 2), np.float32)
    parts = {"train": rows[:16], "val": rows[16:18], "test": rows[18:]}
    return {
        name: prepared.Split(
            images=images[part],
            keypoints=keypoints[part],
            filled=keypoints[part].copy(),
            observed=np.ones((len(part), 15), bool),
            groups=part,
            ids=part,
            sources=np.zeros(len(part), np.int64),
        )
        for name, part in parts.items()
    }


def test_sound_splits_pass_every_check():
    checks = check_prepared(splits_of(), 20, "ffill")
    assert all(check.passed for check in checks)
    assert len(checks) == 3 * 6 + 3 * 2  # six for each split, two for each pair of splits


def changed(splits, name: str, **arrays: np.ndarray) -> dict[str, prepared.Split]:
    return {**splits, name: replace(splits[name], **arrays)}


def with_value(array: np.ndarray, at, value) -> np.ndarray:
    array = array.copy()
    array[at] = value
    return array


FAULTS = {
    "train/test: shared groups": lambda s: changed(s, "test", groups=np.array([3, 19])),
    "val/test: identical images": lambda s: changed(s, "val", images=s["test"].images),
    "val: unlabelled points left": lambda s: changed(
        s,
        "val",
        keypoints=with_value(s["val"].keypoints, (0, 3), np.nan),
        filled=with_value(s["val"].filled, (0, 3), np.nan),
        observed=with_value(s["val"].observed, (0, 3), False),
    ),
    "train: true labels kept by the treatment": lambda s: changed(
        s, "train", filled=with_value(s["train"].filled, (5, 3, 1), 2)
    ),
    "train: observed = no NaN in the true labels": lambda s: changed(
        s, "train", observed=with_value(s["train"].observed, (0, 0), False)
    ),
    "train: labels": lambda s: changed(s, "train", filled=s["train"].filled.astype(np.float64)),
    "test: images": lambda s: changed(s, "test", images=s["test"].images.astype(np.int16)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fails_its_check_and_no_other(fault):
    failed = [check.name for check in check_prepared(FAULTS[fault](splits_of()), 20, "ffill") if not check.passed]
    assert failed == [fault]


def test_a_split_may_miss_its_size_by_less_than_the_largest_group():
    # 20 faces in ten pairs: 16/2/2, and one more or less in a split is as close as whole pairs allow.
    splits = splits_of()
    for split in splits.values():
        split.groups[:] = split.groups // 2
    sizes = {c.name: c for c in check_prepared(splits, 20, "ffill") if c.name.endswith(": faces")}
    assert sizes["val: faces"].expected == "2, or 1 to 2"
    assert all(check.passed for check in sizes.values())
    # Of each of two label sources: both may lack one.
    for split in splits.values():
        split.sources[:] = np.arange(len(split)) % 2 + 1
    sizes = {c.name: c for c in check_prepared(splits, 20, "ffill") if c.name.endswith(": faces")}
    assert sizes["train: faces"].expected == "16, or 16 to 20"


def test_sizes_are_checked():
    failed = [check.name for check in check_prepared(splits_of(), 30, "ffill") if not check.passed]
    assert failed == ["train: faces", "val: faces", "test: faces"]  # of 30: 24, 3 and 3
    # `drop` may thin train and validation, never the test set
    failed = [check.name for check in check_prepared(splits_of(), 30, "drop") if check.passed is False]
    assert failed == ["test: faces"]


def test_checks_as_csv():
    write_checks(Path("checks.csv"), [Check("raw", "a, b", "1", "", None), Check("prepared", "c", "2", "3", False)])
    with open("checks.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["stage", "check", "found", "expected", "result"],
            ["raw", "a, b", "1", "", ""],
            ["prepared", "c", "2", "3", "FAILED"],
        ]
