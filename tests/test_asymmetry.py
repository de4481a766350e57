"""How far labels lie to one side: on faces whose labels are mirror-symmetric but for what the test adds."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from data_prep import __main__ as data_prep
from data_prep.augment import Flip, Pipeline
from data_prep.prepared import Split, load
from data_prep.schema import KAGGLE15
from models import apply, asymmetry, trainer
from models.recipe import RECIPES
from models.runs import read_run
from models.second_look import SecondLook

EYE, OTHER_EYE, NOSE = (KAGGLE15.index(p) for p in ("left_eye_center", "right_eye_center", "nose_tip"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """More faces than other tests need."""
    folder = tmp_path_factory.mktemp("prepared") / "faces"
    words = ("--source", "synthetic", "--count", "500", "--missing", "none", "--no-analysis", "--output", str(folder))
    assert data_prep.main([*words]) == 0
    return folder


def with_mirror_images(split):
    """The faces of a split and their mirror images: together these have no left and right."""
    images, labels = np.asarray(split.images), np.asarray(split.keypoints)
    mirrored, mirrored_labels = Pipeline((Flip(share=1.0),), KAGGLE15)(images, labels, 0)
    keypoints = np.concatenate([labels, mirrored_labels])
    sources = np.tile(np.asarray(split.sources), 2)
    return replace(split, images=np.concatenate([images, mirrored]), keypoints=keypoints, filled=keypoints,
                   observed=~np.isnan(keypoints).any(axis=-1), sources=sources)  # fmt: skip


def test_odd_part_by_hand():
    """In an image 96 wide eyes at (70, 30) and (31, 34), a nose at (50, 60).

    The mirror image's left eye is at 95 - 31 = 64, its right one at 25, its nose at 45.
    """
    keypoints = np.full((1, 15, 2), np.nan)
    keypoints[0, [EYE, OTHER_EYE, NOSE]] = [[70, 30], [31, 34], [50, 60]]
    odd = asymmetry.odd_part(keypoints, KAGGLE15, 96)
    np.testing.assert_array_equal(odd[0, [EYE, OTHER_EYE, NOSE]], [[3, -2], [3, 2], [2.5, 0]])
    assert np.isnan(odd).any(axis=-1).sum() == 12


def test_faces_and_their_mirror_images_have_none(data):
    found = asymmetry.of_labels(with_mirror_images(load(data).train), KAGGLE15)
    assert sorted(found) == [1, 2]
    np.testing.assert_allclose(found[1], 0, atol=1e-3)


def test_what_was_added_to_one_source_is_found(data):
    train = with_mirror_images(load(data).train)
    first = (train.sources == 1)[:, None]
    moved = np.array(train.keypoints)
    moved[..., 0] += np.where(first, 1.5, 0)  # all to the right
    moved[:, [EYE, OTHER_EYE], 1] += np.where(first, [0.25, -0.25], 0)  # and one eye lower than the other
    found = asymmetry.of_labels(replace(train, keypoints=moved), KAGGLE15)
    expected = np.tile([1.5, 0], (15, 1))
    expected[[EYE, OTHER_EYE], 1] = 0.25, -0.25
    np.testing.assert_allclose(found[1], expected, atol=1e-3)
    np.testing.assert_allclose(found[2], 0, atol=1e-3)


def test_it_is_a_mirror_image_of_its_own_negative(data):
    """What is to the left on one side of the face is to the left on the other; what is lower there is higher here."""
    found = asymmetry.of_labels(load(data).train, KAGGLE15)[1]
    assert np.abs(found).max() > 0.001  # a few faces do not balance
    mirrored = found[KAGGLE15.mirror] * [1, -1]
    np.testing.assert_allclose(found, mirrored, atol=2e-3)


def test_a_constant_mean_by_hand():
    """A hundred faces that vary as one, at 0, and one on its own, at 1; each with noise of variance s = 0.05.

    The inverse of a block of n ones with s on the diagonal, times ones, is 1 / (n + s): the hundred weigh 100 / 100.05
    together, the one 1 / 1.05. A plain mean would be 1 / 101.
    """
    kernel = np.zeros((101, 101))
    kernel[:100, :100] = 1
    kernel[100, 100] = 1
    values = np.zeros((101, 1, 2))
    values[100] = 1
    one, hundred = 1 / 1.05, 100 / 100.05
    np.testing.assert_allclose(asymmetry.constant_mean(kernel, values), [[one / (one + hundred)] * 2])


def test_faces_that_look_to_one_side_are_told_from_labels_that_lie_there(data):
    """Of symmetric faces those with the nose to the right and a fifth of the others: a plain mean is off by pixels."""
    train = with_mirror_images(load(data).train)
    odd = asymmetry.odd_part(train.keypoints, KAGGLE15, 96)[:, NOSE, 0]
    rng = np.random.default_rng(0)
    rows = (odd > 0) | (rng.random(len(odd)) < 0.2)
    names = ("images", "keypoints", "filled", "observed", "sources")
    skewed = replace(train, **{name: getattr(train, name)[rows] for name in names})
    found = asymmetry.of_labels(skewed, KAGGLE15)
    for source in (1, 2):
        plain = np.nanmean(odd[rows & (train.sources == source)])
        assert plain > 2
        assert abs(found[source][NOSE, 0]) < 0.4 * plain


def test_few_faces_say_nothing(data):
    values = np.ones((asymmetry.FEWEST, 2, 2))
    values[0, 1] = np.nan
    found = asymmetry.constant_mean(np.zeros((asymmetry.FEWEST,) * 2), values)
    np.testing.assert_allclose(found, [[1, 1], [0, 0]])
    train = load(data).train
    few = Split(**{name: np.asarray(getattr(train, name))[:3] for name in Split.__dataclass_fields__})
    assert all((points == 0).all() for points in asymmetry.of_labels(few, KAGGLE15).values())


def test_equal_images_give_the_plain_mean(data):
    train = load(data).train
    blank = replace(train, images=np.full(train.images.shape, 9, np.uint8))
    plain = np.nanmean(asymmetry.odd_part(np.asarray(train.keypoints)[np.asarray(train.sources) == 1], KAGGLE15, 96), 0)
    np.testing.assert_allclose(asymmetry.of_labels(blank, KAGGLE15)[1][NOSE], plain[NOSE], atol=2e-3)


def test_taken_off_and_added_again(data):
    train = load(data).train
    off = {2: np.tile([1.0, -0.5], (15, 1))}
    before, after = train, asymmetry.without(train, off)
    second = np.asarray(train.sources) == 2
    np.testing.assert_array_equal(after.filled[~second], before.filled[~second])
    np.testing.assert_allclose(after.filled[second] + np.float32([1, -0.5]), before.filled[second], atol=1e-5)
    moves = asymmetry.moves(off, train.sources, 15)
    np.testing.assert_allclose(after.keypoints + moves, before.keypoints, atol=1e-5)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["--data", str(data), "--epochs", "1", "--symmetric", "--output", str(folder)]
    assert trainer.main("lenet5", words) == 0
    return folder


def test_a_run_answers_with_its_sources_asymmetry(data, run):
    """The record's predictions are the saved network's outputs and what its config says was taken off."""
    record, prepared = read_run(run), load(data)
    lean = asymmetry.of_config(record.config)
    assert lean[1].tolist() == asymmetry.of_labels(prepared.train, prepared.schema)[1].tolist()
    assert record.config["recipe"]["symmetric"] is True
    network = apply.load_network(run / "model.keras")
    outputs = np.asarray(network.predict_on_batch(np.asarray(prepared.test.images)))
    expected = outputs + np.stack([lean[int(source)] for source in prepared.test.sources])
    np.testing.assert_allclose(record.test.predicted, expected, atol=0.04)  # kept in steps of 1/16 px


def test_applied_to_its_own_data_it_is_added_too(data, run, tmp_path):
    words = ["--run", str(run), "--data", str(data), "--output", str(tmp_path / "again")]
    assert apply.main(words) == 0
    again, record = read_run(tmp_path / "again"), read_run(run)
    np.testing.assert_allclose(again.test.predicted, record.test.predicted, atol=0.07)
    assert again.config["label_asymmetry"] == record.config["label_asymmetry"]


def test_a_second_look_gets_it_once(data, run, tmp_path):
    words = ["--run", str(run), "--data", str(data), "--mirrored", "--output", str(tmp_path / "mirrored")]
    assert apply.main(words) == 0
    record, prepared = read_run(tmp_path / "mirrored"), load(data)
    lean = asymmetry.of_config(record.config)
    looks = SecondLook(apply.load_network(run / "model.keras")).predict_on_batch(np.asarray(prepared.test.images))
    expected = looks + np.stack([lean[int(source)] for source in prepared.test.sources])
    np.testing.assert_allclose(record.test.predicted, expected, atol=0.04)


def test_sources_of_other_data_are_others(data, run, tmp_path):
    """On faces of another kind of file nothing is added, and the record says nothing of it."""
    other = tmp_path / "other"
    shutil.copytree(data, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["source"]["kind"] = "kaggle"
    (other / "manifest.json").write_text(json.dumps(manifest | {"name": "other"}))
    assert apply.main(["--run", str(run), "--data", str(other), "--output", str(tmp_path / "record")]) == 0
    record = read_run(tmp_path / "record")
    assert "label_asymmetry" not in record.config
    outputs = apply.load_network(run / "model.keras").predict_on_batch(np.asarray(load(other).test.images))
    np.testing.assert_allclose(record.test.predicted, outputs, atol=0.04)


def test_with_outputs_by_source_too(data, tmp_path):
    """The second source's nose, output 15 of 17, gets the second source's asymmetry of the nose."""
    words = ["--data", str(data), "--epochs", "1", "--symmetric", "--label-rules", "by_source"]
    assert trainer.main("lenet5", [*words, "--output", str(tmp_path / "run")]) == 0
    record, prepared = read_run(tmp_path / "run"), load(data)
    outputs = np.asarray(apply.load_network(tmp_path / "run" / "model.keras").predict_on_batch(prepared.test.images))
    second = np.asarray(prepared.test.sources) == 2
    expected = outputs[second, 15] + record.config["label_asymmetry"]["2"][NOSE]
    np.testing.assert_allclose(record.test.predicted[second, NOSE], expected, atol=0.04)


def test_the_best_recipe_is_symmetric():
    assert RECIPES["best"].symmetric
    without = RECIPES["best"].with_changes(symmetric=False)
    assert (without.name, "symmetric" in without.as_dict()) == ("best+symmetric=False", False)
    assert "symmetric" not in RECIPES["quick"].as_dict()  # older records lack it
