"""Confidences: what a map's spread is, what the calibration makes of it, and that the fit finds what was put in."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep.faceset import DataError
from data_prep.prepared import load
from data_prep.schema import kaggle15_from_ibug68
from inference import confidence
from inference.confidence import Calibration, between_eyes, calibration_error, fit, from_text, reliability
from models.backend import import_keras

ROOT = Path(__file__).resolve().parents[1]
keras = import_keras()

from models import registry  # noqa: E402  (needs Keras' backend set up first)
from models.apply import load_network  # noqa: E402
from models.label_rules import answers  # noqa: E402
from models.layers import centre_of_mass, with_spread  # noqa: E402
from models.run_output import predict  # noqa: E402
from models.runs import write_record  # noqa: E402


def test_a_maps_spread_by_hand():
    maps = keras.Input((2, 2, 2))
    network = with_spread(keras.Model(maps, centre_of_mass(maps, (4, 8))))
    values = np.full((1, 2, 2, 2), -100, np.float32)
    values[0, 0, 0, 0] = values[0, 0, 1, 0] = 0  # first map: half at (1.5, 0.5), half at (5.5, 0.5)
    values[0, 1, 1, 1] = 0  # second map: all at (5.5, 2.5)
    points, spread = (np.asarray(output)[0] for output in network(values))
    np.testing.assert_allclose(points, [[3.5, 0.5], [5.5, 2.5]], atol=1e-5)
    # Both halves are 2 pixels from their mean; what lies in one place has no spread.
    np.testing.assert_allclose(spread, [2, 0], atol=2e-3)


def test_a_network_without_maps_has_no_spread():
    assert with_spread(registry.get_builder("lenet5")((96, 96), np.full((15, 2), 48.0))) is None


def test_confidence_by_hand():
    # slope -2, intercept 0: at a spread of 1 (a whole crop) log is 0, the chance 1 / 2; at 1 / e it is 1 / (1 + e^-2).
    found = Calibration(-2.0, (0.0, 1.0)).confidence(np.array([[1.0, 1.0], [np.exp(-1), 0.0]]))
    least = 1 / (1 + 1e-6 * np.exp(-1))  # no spread counts as a thousandth: -2 * log(0.001) = log(10^6)
    np.testing.assert_allclose(found, [[0.5, 1 / (1 + np.exp(-1))], [1 / (1 + np.exp(-2)), least]], rtol=1e-12)


def test_the_fit_finds_the_chances_that_were_put_in():
    rng = np.random.default_rng(0)
    truth = Calibration(-3.0, (-6.0, -8.0))
    spread = np.exp(rng.uniform(-4, -1, (20_000, 2)))
    right = rng.random(spread.shape) < truth.confidence(spread)
    distances = np.where(right, 0.05, 0.2)
    distances[:1000, 0] = np.nan  # unlabelled
    found = fit(spread, distances)
    assert [found.slope, *found.intercepts] == pytest.approx([-3, -6, -8], rel=0.06)
    rows = reliability(found.confidence(spread), distances)
    assert sum(row["points"] for row in rows) == 39_000
    assert calibration_error(rows) < 1


def test_the_table_by_hand():
    sure = np.array([[0.2, 0.4], [0.999, 1.0]])
    rows = reliability(sure, np.array([[0.3, 0.05], [0.01, np.nan]]))
    assert rows == [
        {"low": 0, "high": 0.5, "points": 2, "confidence_pct": 30, "right_pct": 50, "mean_error_pct": 17.5},
        {"low": 0.99, "high": 1, "points": 1, "confidence_pct": 99.9, "right_pct": 100, "mean_error_pct": 1},
    ]
    assert calibration_error(rows) == pytest.approx((2 * 20 + 0.1) / 3)
    # A confidence of 1 is in the last row too.
    assert reliability(np.ones((1, 1)), np.zeros((1, 1)))[0]["points"] == 1


def test_what_is_written_is_read():
    calibration = Calibration(-2.5, (0.5, -1.0))
    assert from_text(calibration.as_text(), 2, Path("a.json")) == calibration
    bad = [
        "",
        "[]",
        "{}",
        '{"slope": 1' + 400 * "0" + ', "intercepts": [1, 2]}',
        calibration.as_text().replace("-2.5", "NaN"),
        json.dumps({"slope": 1, "intercepts": [1]}),
    ]
    for text in bad:
        with pytest.raises(DataError, match="a.json: .* a slope and 2 intercepts"):
            from_text(text, 2, Path("a.json"))


def test_all_right_or_none_is_refused():
    with pytest.raises(DataError, match="every validation point is right"):
        fit(np.ones((5, 2)), np.zeros((5, 2)))


def test_the_distance_of_the_eyes_is_of_their_centres_for_both_mark_ups():
    many = np.random.default_rng(0).uniform(0, 96, (3, 68, 2))
    left, right = many[:, 42:48].mean(axis=1), many[:, 36:42].mean(axis=1)  # iBUG's six points about each eye
    expected = np.hypot(*(left - right).T)
    np.testing.assert_allclose(between_eyes(many), expected)
    np.testing.assert_allclose(between_eyes(kaggle15_from_ibug68(many)), expected)


@pytest.mark.parametrize(
    ("run", "message"), [("no/run", "no/run"), ("models/weights/dsnt-best", "data/prepared/nowhere")]
)
def test_bad_input_is_one_line(run, message, capsys):
    assert confidence.main(["--run", run, "--data", "data/prepared/nowhere"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert message in said[0]


def test_points_are_right_where_they_are_and_not_where_a_source_puts_them(data, tmp_path, capsys):
    """A run whose config says that its labels lay 4 px too far right: right is what is near the labels without that."""
    run = shutil.copytree(ROOT / "models" / "weights" / "dsnt-tiny", tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    changes = {"data": load(data).name, "label_asymmetry": {source: [[4.0, 0.0]] * 15 for source in ("1", "2")}}
    words = ["--run", str(run), "--data", str(data), "--output", str(tmp_path / "out")]
    assert confidence.main(words) == 2
    assert "has other validation and test faces than" in capsys.readouterr().err  # it was not trained on these
    network, prepared, test = load_network(run / "model.keras"), load(data), load(data).test
    splits = {name: predict(network, getattr(prepared, name)) for name in ("val", "test")}
    write_record(run, {**config, **changes, "schema": "ibug68"}, {"epoch": [1.0]}, **splits)
    assert confidence.main(words) == 2
    assert "was trained for keypoints ibug68, " in capsys.readouterr().err
    write_record(run, config | changes, {"epoch": [1.0]}, **splits)
    assert confidence.main(words) == 0

    outputs = np.asarray(network.predict_on_batch(np.asarray(test.images)))
    labels = np.asarray(test.keypoints, dtype=np.float64)
    off = np.linalg.norm(answers(outputs, test.sources) - (labels - [4, 0]), axis=-1) / between_eyes(labels)[:, None]
    expected = (off < confidence.WITHIN)[np.asarray(test.observed)]
    with open(tmp_path / "out" / "confidence.csv") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["points"]) for row in rows) == len(expected)
    right = sum(int(row["points"]) * float(row["right_pct"]) / 100 for row in rows)
    assert 0 < expected.sum() < len(expected)
    assert right == pytest.approx(expected.sum(), abs=0.1)
    assert (run / "confidence.json").is_file()
