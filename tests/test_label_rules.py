"""Outputs of their own for the points that two label sources mark by different rules."""

from dataclasses import replace

import numpy as np

from data_prep.augment import Flip, Pipeline
from data_prep.prepared import load
from data_prep.schema import IBUG68, KAGGLE15
from models import trainer
from models.label_rules import BY_SOURCE, answers, has_two, mean_outputs, spread, with_own_outputs
from models.recipe import RECIPES
from models.runs import read_run

NOSE, LIP = 10, 14  # places among the 15 points, read off data_prep/schema.py; 15 and 16 are the second source's
# Two faces, point k at (k, 100 + k) in both: of the first source and of the second.
LABELS = np.tile(np.stack([np.arange(15.0), 100 + np.arange(15.0)], axis=-1), (2, 1, 1)).astype(np.float32)
SOURCES = np.array([1, 2])


def test_every_row_teaches_the_outputs_of_its_source():
    first, second = spread(LABELS, SOURCES)[..., 0]
    assert first[:15].tolist() == list(range(15))
    assert np.isnan(first[15:]).all()
    assert second[15:].tolist() == [NOSE, LIP]
    assert np.isnan(second[[NOSE, LIP]]).all()
    assert second[[0, 9, 11, 13]].tolist() == [0, 9, 11, 13]


def test_answers_undo_it():
    outputs = np.nan_to_num(spread(LABELS, SOURCES), nan=-1)  # the other rule's outputs say -1
    np.testing.assert_array_equal(answers(outputs, SOURCES), LABELS)
    # Nothing known of the sources: the first one's rule, of which the second face has no answer here.
    assert answers(outputs)[1, [NOSE, LIP, 0], 0].tolist() == [-1, -1, 0]
    assert answers(LABELS, SOURCES) is LABELS


def test_a_mirror_image_keeps_the_rules_apart():
    flip = Pipeline((Flip(share=1.0),), BY_SOURCE)
    images = np.zeros((2, 200, 200), np.uint8)
    _, flipped = flip(images, spread(LABELS, SOURCES), 0)
    # x becomes 199 - x. The second source's nose and lip stay its own; the left eye is a right eye now.
    assert flipped[1, 15:, 0].tolist() == [199 - NOSE, 199 - LIP]
    assert np.isnan(flipped[0, 15:]).all()
    assert flipped[0, KAGGLE15.index("right_eye_center"), 0] == 199 - KAGGLE15.index("left_eye_center")


def test_means_of_the_outputs(data):
    train = load(data).train
    face = np.full((15, 2), 7.0)
    means = mean_outputs(with_own_outputs(train), face)
    sources, labels = np.asarray(train.sources), np.asarray(train.filled, dtype=np.float64)
    for source, place, output in ((1, NOSE, NOSE), (1, LIP, LIP), (2, NOSE, 15), (2, LIP, 16)):
        expected = np.nanmean(labels[sources == source, place], axis=0)
        np.testing.assert_allclose(means[output], expected, atol=1e-6)
    assert (means[0] == 7).all()


def test_two_rules_need_two_sources(data):
    train = load(data).train
    assert has_two(train, KAGGLE15)
    assert not has_two(train, IBUG68)
    assert not has_two(replace(train, sources=np.ones(len(train), int)), KAGGLE15)


def test_a_run_by_source_has_the_fifteen_points_in_its_record(data, tmp_path, capsys):
    options = ["--data", str(data), "--epochs", "1", "--label-rules", "by_source", "--output", str(tmp_path / "run")]
    assert trainer.main("base", options) == 0
    run = read_run(tmp_path / "run")
    assert run.config["recipe"]["label_rules"] == "by_source"
    assert run.test.predicted.shape[1:] == (15, 2)
    # Base's last layer has a weight per feature and a bias for x and for y of each of two more points.
    plain = tmp_path / "plain"
    assert trainer.main("base", ["--data", str(data), "--epochs", "1", "--output", str(plain)]) == 0
    more = run.config["parameters"] - read_run(plain).config["parameters"]
    assert more == 2 * 2 * (hidden_of_base() + 1)


def hidden_of_base() -> int:
    """Features that base's output layer sees."""
    from models.registry import get_builder

    return get_builder("base")((96, 96), np.full((15, 2), 48.0)).get_layer("outputs").kernel.shape[0]


def test_the_best_recipe_tells_the_sources_apart():
    assert RECIPES["best"].label_rules == "by_source"
    assert "label_rules" not in RECIPES["quick"].as_dict()  # older records lack it
