"""`python -m evaluation.benchmark`: counts and statistics done by hand, bad input, one tiny real run, the twins."""

import csv
import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.faceset import DataError
from evaluation import benchmark, benchmark_measure
from evaluation.benchmark_table import NOT_INSTALLED, Measured, build_rows, ratio, speed_figure, spread, to_csv
from evaluation.benchmark_task import (
    AUGMENTED,
    INFERENCE,
    ONE_THREAD,
    PRODUCT,
    SINGLE,
    TRAINING,
    WITHOUT_TWIN,
    Spec,
    random_faces,
)
from models.registry import NAMES

ROOT = Path(__file__).parents[1]
# The twins run where PyTorch is: in this interpreter, or in the one that the variable names.
TORCH_PYTHON = os.environ.get("TORCH_PYTHON") or (sys.executable if importlib.util.find_spec("torch") else None)


def spec(framework="keras", precision="float32", model="base"):
    return Spec(
        framework,
        model,
        precision,
        threads=1,
        batch_size=4,
        inference_batch=4,
        learning_rate=1e-3,
        seconds=1,
        batches=1,
    )


def measured(what, framework, rates, precision="float32", flops=10_000_000):
    return Measured(what, spec(framework, precision), flops=flops, rates=rates, elsewhere=[0.01, 0.03, 0.02])


# --- operations, by hand


def test_operations_of_a_tiny_network():
    from keras import Model, layers

    from evaluation.flops import forward_flops

    inputs = layers.Input((8, 6, 1))
    x = layers.Conv2D(5, 3, strides=2, padding="same")(inputs)  # 4x3 map, 3*3*1*5 = 45 weights: 540 multiply-adds
    x = layers.BatchNormalization()(x)  # not counted
    x = layers.DepthwiseConv2D(3, padding="same")(x)  # 4x3 map, 3*3*5 = 45 weights: 540
    x = layers.Conv2DTranspose(2, 2, strides=2)(x)  # from a 4x3 map, 2*2*2*5 = 40 weights: 480
    x = layers.Dense(3)(x)  # at each of 8x6 places, 2*3 = 6 weights: 288
    x = layers.Flatten()(x)  # 144
    inner = layers.Input((144,))
    x = Model(inner, layers.Dense(7)(inner))(x)  # 144*7 = 1008
    assert forward_flops(Model(inputs, x)) == 2 * (540 + 540 + 480 + 288 + 1008)


def test_a_layer_without_a_rule_is_refused():
    from keras import Sequential, layers

    from evaluation.flops import forward_flops

    with pytest.raises(DataError, match="no rule.*Conv1D"):
        forward_flops(Sequential([layers.Input((8, 2)), layers.Conv1D(3, 3)]))


# --- statistics, by hand


def test_median_range_and_ratio():
    assert spread([3.0, 1.0, 10.0]) == (3.0, 1.0, 10.0)
    assert spread([4.0, 2.0]) == (3.0, 2.0, 4.0)
    assert spread([]) == (None, None, None)
    assert ratio([10, 12, 30], [5, 4, 60]) == [2.0, 3.0, 0.5]  # repeat by repeat
    assert ratio([10, 12], []) == []


def test_rows():
    results = [
        measured(TRAINING, "keras", [100.0, 300.0, 200.0]),
        measured(TRAINING, "pytorch", [100.0, 100.0, 100.0]),
        measured(SINGLE, "keras", [500.0, 500.0, 500.0]),
        measured(PRODUCT, "keras", [50e9, 60e9, 40e9]),
        measured(PRODUCT, "pytorch", [80e9, 70e9, 60e9]),
    ]
    training, twin, single, product, twin_product = build_rows(results, "abc", "python -m x")
    assert (training["images_per_s"], training["images_per_s_min"], training["images_per_s_max"]) == (200, 100, 300)
    assert training["image_mflop"] == pytest.approx(30)  # three times the 10 of a forward pass
    assert training["gflop_per_s"] == pytest.approx(6)  # 200 images/s of 30 MFLOP
    assert training["ceiling_gflop_per_s"] == pytest.approx(70)  # the faster framework's median
    assert training["ceiling_pct"] == pytest.approx(100 * 6 / 70)
    assert training["keras_over_torch_ratio"] is None
    assert [twin[f"keras_over_torch{part}_ratio"] for part in ("", "_min", "_max")] == [2, 1, 3]
    assert single["image_mflop"] == pytest.approx(10)
    assert single["image_ms"] == pytest.approx(2)
    assert (product["images_per_s"], product["model"]) == (None, "")
    assert product["gflop_per_s"] == pytest.approx(50)
    assert (product["gflop_per_s_min"], product["gflop_per_s_max"]) == pytest.approx((40, 60))
    assert twin_product["ceiling_pct"] == pytest.approx(100)
    assert product["cpu_elsewhere_pct"] == pytest.approx(2)
    assert {row["commit"] for row in build_rows(results, "abc", "x")} == {"abc"}


def test_the_ceiling_is_that_of_the_same_precision_and_pools_all_models():
    slow = measured(PRODUCT, "keras", [50e9, 50e9, 50e9])
    more = measured(PRODUCT, "keras", [90e9, 90e9, 90e9, 90e9, 90e9])
    half = measured(PRODUCT, "keras", [200e9], "mixed_bfloat16")
    float32, bfloat16 = build_rows([slow, more, half], "", "")
    assert (float32["repeats"], float32["ceiling_gflop_per_s"]) == (8, pytest.approx(90))
    assert bfloat16["ceiling_gflop_per_s"] == pytest.approx(200)


def test_augmented_training_beside_plain_training():
    results = [
        measured(TRAINING, "keras", [100.0, 300.0, 200.0]),
        measured(TRAINING, "pytorch", [50.0, 50.0, 50.0]),
        measured(AUGMENTED, "keras", [95.0, 270.0, 196.0]),
        measured(PRODUCT, "keras", [50e9]),
    ]
    plain, twin, augmented, _ = build_rows(results, "", "")
    # Repeat by repeat: 0.95, 0.9, 0.98.
    parts = [augmented[f"augmented_over_plain{part}_ratio"] for part in ("", "_min", "_max")]
    assert parts == pytest.approx([0.95, 0.9, 0.98])
    assert augmented["image_mflop"] == plain["image_mflop"]  # the network's work is the same
    assert (plain["augmented_over_plain_ratio"], twin["augmented_over_plain_ratio"]) == (None, None)


def test_blank_where_nothing_was_measured():
    absent = Measured(INFERENCE, spec("pytorch"), status=NOT_INSTALLED)
    rows = build_rows([measured(INFERENCE, "keras", [8.0]), measured(PRODUCT, "keras", [1e9]), absent], "", "")
    row = next(csv.DictReader(to_csv([r for r in rows if r["framework"] == "pytorch"]).splitlines()))
    assert row["status"] == NOT_INSTALLED
    assert (row["images_per_s"], row["keras_over_torch_ratio"], row["ceiling_pct"]) == ("", "", "")


def test_the_figure_draws_a_bar_for_each_measured_row():
    results = [measured(what, "keras", [8.0, 9.0]) for what in (TRAINING, INFERENCE, SINGLE, PRODUCT)]
    figure = speed_figure(build_rows(results, "", ""), {})
    assert [sum(bar.get_width() == 8.5 for bar in ax.patches) for ax in figure.axes] == [1, 1, 1]


def test_noise_is_the_same_for_both_sides():
    images, keypoints = random_faces(3)
    assert (images.shape, images.dtype, keypoints.shape) == ((3, 96, 96), "uint8", (3, 15, 2))
    assert (images == random_faces(3)[0]).all()


# --- the command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "resnet"], "unknown model 'resnet'; accepted: base"),
        (["--models", "dsnt:size=huge"], "--size is 'huge'; accepted: best, small, tiny"),
        (["--models", "dsnt:width=1"], "dsnt has no option 'width'; accepted: size"),
        (["--models", "vgg_face:width=wide"], "width is 'wide'"),
        (["--precisions", "float16"], "unknown precision 'float16'; accepted: float32"),
        (["--models", "base", "base"], "--models names one twice"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--batch-size", "-1"], "--batch-size is -1"),
        (["--seconds-per-measurement", "nan"], "--seconds-per-measurement is nan"),
        (["--threads", "4096"], "--threads is 4096"),
        (["--output", __file__], "is not a folder"),
        (["--torch-python", "/nowhere/python"], "/nowhere/python is not a program"),
        (["--torch-python", "/bin/false"], "cannot import numpy and torch"),
    ],
)
def test_bad_input_ends_with_one_line(arguments, words, capsys):
    assert benchmark.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert words in lines[0]


def test_help_is_quick():
    start = time.perf_counter()
    command = [sys.executable, "-X", "importtime", "-m", "evaluation.benchmark", "--help"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--torch-python" in found.stdout
    for heavy in ("tensorflow", "keras", "torch", "matplotlib", "pandas"):
        assert f" {heavy}\n" not in found.stderr
    assert time.perf_counter() - start < 10  # under 1 s on a quiet machine


def test_a_worker_that_dies_is_reported():
    worker = benchmark_measure.Worker(Path(sys.executable), spec("pascal"))
    try:
        with pytest.raises(DataError, match="the pascal float32 worker of base failed: KeyError: 'pascal'"):
            worker.hear()
    finally:
        worker.close()


def test_a_tiny_run(tmp_path, capsys):
    words = "--models base --precisions float32 --repeats 1 --batches 1 --batch-size 2 --inference-batch 2"
    assert benchmark.main([*words.split(), "--output", str(tmp_path / "speed")]) == 0
    with open(tmp_path / "speed" / "speed.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = {name: [row["what"] for row in rows if row["framework"] == name] for name in ("keras", "onnx", "litert")}
    assert kinds == {
        "keras": [TRAINING, AUGMENTED, INFERENCE, SINGLE, PRODUCT],
        "onnx": [INFERENCE, INFERENCE, SINGLE, SINGLE, ONE_THREAD, ONE_THREAD],  # float32 and int8
        "litert": [SINGLE, ONE_THREAD],
    }
    assert {row["framework"] for row in rows if row["precision"] == "int8"} == {"onnx"}
    for row in rows:
        assert words in row["command"]
        assert row["commit"]
        if row["status"] == NOT_INSTALLED:
            assert row["framework"] == "pytorch"
            continue
        names = ["gflop_per_s", "gflop_per_s_min", "gflop_per_s_max", "threads"]
        ceiling = ["ceiling_gflop_per_s", "ceiling_pct"]
        if row["what"] == ONE_THREAD or row["precision"] == "int8":
            assert [row[name] for name in ceiling] == ["", ""]
        else:
            names += ceiling
        if row["what"] != PRODUCT:
            names += ["images_per_s", "images_per_s_min", "images_per_s_max", "image_ms", "image_mflop", "parameters"]
        assert all(math.isfinite(float(row[name])) and float(row[name]) >= 0 for name in names)
    # base by hand: three convolutions at 96, 48 and 24 pixels and two dense layers
    forward = 2 * 9 * (96**2 * 16 + 48**2 * 16 * 32 + 24**2 * 32 * 64) + 2 * (9216 * 256 + 256 * 30)
    assert [row["image_mflop"] for row in rows[:1]] == [f"{3 * forward / 1e6:.1f}"]
    machine = json.loads((tmp_path / "speed" / "machine.json").read_text())
    assert {"machine", "versions", "commit", "command", "settings"} <= set(machine)
    assert sorted(path.name for path in (tmp_path / "speed").iterdir()) == ["machine.json", "speed.csv", "speed.png"]
    assert "of ceiling" in capsys.readouterr().out


@pytest.mark.skipif(TORCH_PYTHON is None, reason="PyTorch is not installed; TORCH_PYTHON may name a Python that has it")
@pytest.mark.parametrize("model", [name for name in NAMES if name not in WITHOUT_TWIN])
def test_a_twin_is_the_same_network(model):
    """Same number of parameters, same points within 1e-3 px and the same loss: else `compare_twin` raises."""
    workers = []
    try:
        for python, framework in ((sys.executable, "keras"), (TORCH_PYTHON, "pytorch")):
            workers.append(benchmark_measure.Worker(Path(python), spec(framework, model=model)))
        for worker in workers:
            worker.hear()
        assert benchmark_measure.compare_twin(workers) <= 1e-3
    finally:
        for worker in workers:
            worker.close()
