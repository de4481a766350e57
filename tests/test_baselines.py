"""Ridge regression and the nearest neighbour: what they learn, from which faces, and the record they leave."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from data_prep import __main__ as data_prep
from data_prep.prepared import load
from evaluation import collect, entries, metrics
from models import nearest_neighbour, ridge
from models.pixel_baselines import main
from models.small_pixels import small_pixels

ROOT = Path(__file__).parents[1]
BASELINES = {
    "ridge": ("closed form", ridge.GRID, ridge.fit),
    "nearest_neighbour": ("exact search", nearest_neighbour.GRID, nearest_neighbour.fit),
}


@pytest.fixture(params=BASELINES)
def name(request):
    return request.param


def run(name, *options):
    return main(name, *BASELINES[name], [str(option) for option in options])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """150 embedded faces under two treatments: gaps left open, and gaps filled from the face before."""
    folder = tmp_path_factory.mktemp("prepared")
    for treatment in ("none", "ffill"):
        options = ("--source", "synthetic", "--count", "150", "--missing", treatment, "--no-analysis")
        assert data_prep.main([*options, "--output", str(folder / treatment)]) == 0
    return folder


@pytest.fixture(scope="module")
def noise():
    """40 images of noise and 3 points each, all different; no face carries all of them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 32), np.uint8)
    labels = rng.uniform(0, 32, (40, 3, 2)).astype(np.float32)
    labels[::2, 0] = np.nan
    labels[1::2, 1] = np.nan
    labels[::2, 2] = np.nan
    return images, labels


# --- pixels


def test_small_pixels_average_areas_and_even_out_contrast():
    rng = np.random.default_rng(0)
    small = rng.integers(60, 120, (5, 8, 8), np.uint8)
    blocks = small.repeat(4, axis=1).repeat(4, axis=2)  # the average of a block is the block
    pixels = small_pixels(blocks, 8)
    assert pixels.shape == (5, 64)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, small_pixels(small, 8), atol=1e-4)
    # Another brightness changes nothing; twice the contrast next to nothing; one gray value is all zero.
    np.testing.assert_allclose(small_pixels(small + np.uint8(50), 8), pixels, atol=1e-4)
    assert np.corrcoef(small_pixels(2 * small, 8).ravel(), pixels.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(small_pixels(np.full((1, 96, 96), 7, np.uint8), 8), np.zeros((1, 64)))


def test_small_pixels_take_any_shape():
    assert small_pixels(np.zeros((2, 50, 70), np.uint8), 24).shape == (2, 576)


# --- what is learned


def test_ridge_finds_a_linear_map_and_a_large_penalty_the_mean():
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8), np.uint8)
    pixels = small_pixels(images, 8)
    weights = np.random.default_rng(1).normal(0, 1, (64, 6))
    labels = (40 + pixels @ weights).reshape(300, 3, 2).astype(np.float32)
    found = ridge.fit(images[:200], labels[:200], side=8, alpha=1e-3)
    np.testing.assert_allclose(found.predict_on_batch(images[200:]), labels[200:], atol=0.05)
    assert found.parameters == 65 * 6  # 64 weights and a constant per coordinate
    mean = ridge.fit(images[:200], labels[:200], side=8, alpha=1e9).predict_on_batch(images[200:])
    np.testing.assert_allclose(mean, np.broadcast_to(labels[:200].mean(axis=0), mean.shape), atol=0.01)


def test_ridge_fits_each_point_on_the_faces_that_carry_it(noise):
    images, labels = noise
    predicted = ridge.fit(images, labels, side=8, alpha=10.0).predict_on_batch(images)
    assert predicted.dtype == np.float32
    for k in range(3):
        rows = ~np.isnan(labels[:, k, 0])
        alone = Ridge(alpha=10.0).fit(small_pixels(images[rows], 8), labels[rows, k])
        np.testing.assert_allclose(predicted[:, k], alone.predict(small_pixels(images, 8)), atol=1e-3)


def test_nearest_neighbour_copies_from_the_nearest_face_that_carries_the_point(noise):
    images, labels = noise
    predicted = nearest_neighbour.fit(images, labels, side=8).predict_on_batch(images)
    # A face of the training set is nearest to itself, so it keeps the points that it carries.
    carried = ~np.isnan(labels)
    np.testing.assert_array_equal(predicted[carried], labels[carried])
    for k in range(3):
        rows = ~np.isnan(labels[:, k, 0])
        alone = KNeighborsRegressor(n_neighbors=1).fit(small_pixels(images[rows], 8), labels[rows, k])
        np.testing.assert_allclose(predicted[:, k], alone.predict(small_pixels(images, 8)))


# --- the run


@pytest.mark.parametrize("treatment", ["none", "ffill"])
def test_leaves_a_record_that_evaluation_takes(name, treatment, prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(name, "--data", prepared / treatment) == 0
    folder = tmp_path / "runs" / treatment / f"{name}-{treatment}"  # the data set is named like its folder
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "history.csv", "predictions.npz"]
    found = collect.read(folder)
    config, data = found.config, load(prepared / treatment)
    assert (config["run"], config["model"], config["treatment"], config["seed"]) == (folder.name, name, treatment, None)
    assert (config["backend"], config["train_faces"], found.history) == ("scikit-learn", 120, {})
    assert config["command"] == f"python -m models.{name} --data {prepared / treatment}"
    np.testing.assert_array_equal(found.test.ids, data.test.ids)
    # Settings are those of the least validation error over true labels, which the record itself shows.
    grid = BASELINES[name][1]
    assert [{key: tried[key] for key in grid[0]} for tried in config["tried"]] == grid
    best = min(config["tried"], key=lambda tried: tried["val_rmse_px"])
    assert {key: config["recipe"][key] for key in grid[0]} == {key: best[key] for key in grid[0]}
    entry = entries.from_run(found)
    assert entry.is_baseline
    assert metrics.rmse_px(entry.val.errors) == pytest.approx(best["val_rmse_px"], abs=0.01)
    assert capsys.readouterr().out.count("validation RMSE") == len(grid)


def test_ridge_beats_the_mean_face(prepared, tmp_path):
    assert run("ridge", "--data", prepared / "none", "--output", tmp_path / "ridge") == 0
    found = collect.read(tmp_path / "ridge")
    own, mean = entries.from_run(found), entries.mean_face([found])
    assert metrics.rmse_px(own.test.errors) < 0.9 * metrics.rmse_px(mean.test.errors)


def test_a_second_run_gives_the_same(name, prepared, tmp_path, capsys):
    for folder in ("a", "b"):
        assert run(name, "--data", prepared / "none", "--output", tmp_path / folder) == 0
    first, second = (collect.read(tmp_path / folder).test.predicted for folder in ("a", "b"))
    np.testing.assert_array_equal(first, second)
    # The finished one is left as it is, unless it is asked for again, or is of other data.
    capsys.readouterr()
    assert run(name, "--data", prepared / "none", "--output", tmp_path / "a") == 0
    assert "a is a finished run (--overwrite makes it again)" in capsys.readouterr().out
    assert run(name, "--data", prepared / "ffill", "--output", tmp_path / "a") == 2
    assert "a finished run with another treatment; --overwrite it" in capsys.readouterr().err
    assert run(name, "--data", prepared / "ffill", "--output", tmp_path / "a", "--overwrite") == 0
    assert collect.read(tmp_path / "a").config["treatment"] == "ffill"


def test_what_cannot_be_used_is_one_line(name, prepared, tmp_path, capsys):
    assert run(name, "--data", tmp_path / "absent") == 2
    assert "absent is not a prepared data set" in capsys.readouterr().err
    # A point without any label in training: nothing could be predicted for it.
    shutil.copytree(prepared / "none", tmp_path / "gap")
    manifest = json.loads((tmp_path / "gap/manifest.json").read_text())
    manifest["mean_face"][3] = [float("nan")] * 2
    (tmp_path / "gap/manifest.json").write_text(json.dumps(manifest))
    assert run(name, "--data", tmp_path / "gap", "--output", tmp_path / "new") == 2
    assert capsys.readouterr().err.count("\n") == 1
    # A folder of somebody else.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    assert run(name, "--data", prepared / "none", "--output", tmp_path / "mine") == 2
    assert "is not a run (it holds thesis.txt)" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gap", "mine"]


def test_needs_no_keras_and_help_is_light(name, prepared, tmp_path):
    code = f"""if True:
        import sys, runpy
        sys.argv = ["x", "--help"]
        try: runpy.run_module("models.{name}", run_name="__main__")
        except SystemExit: pass
        assert not {{"sklearn", "scipy", "cv2", "keras"}} & set(sys.modules), "heavy import"
        sys.argv = ["x", "--data", {str(prepared / "none")!r}, "--output", {str(tmp_path / "new")!r}]
        try: runpy.run_module("models.{name}", run_name="__main__")
        except SystemExit as end: assert end.code == 0, end.code
        assert not {{"tensorflow", "keras", "jax", "matplotlib"}} & set(sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m models.{name}" in done.stdout
    assert collect.read(tmp_path / "new").config["model"] == name
