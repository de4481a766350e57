"""`python -m evaluation.training_profile`: shares by hand, a small real run, bad input."""

import csv

import pytest

from evaluation import training_profile
from evaluation.training_profile import (
    CEILING,
    FACES,
    FORWARD,
    INPUTS,
    LOSS,
    NORMALISATION,
    NOTHING,
    OPTIMIZER,
    STEP,
    WEIGHTS,
    main,
    shares_of,
)
from models.backend import import_keras

SEEN = (FORWARD, INPUTS, WEIGHTS, NORMALISATION, LOSS, OPTIMIZER, FACES)


def test_shares_by_hand():
    """From 100 to 130, any operation runs for 15 + 5; the threads work for 10 + 10 + 5, of which a has 15."""
    operations = [("a", 100, 110), ("b", 105, 115), ("a", 125, 130)]
    found = shares_of(operations, lambda name: name)
    assert found == pytest.approx({"a": 20 / 30 * 15 / 25, "b": 20 / 30 * 10 / 25, NOTHING: 10 / 30})
    # One inside another ends no gap.
    assert shares_of([("a", 0, 10), ("b", 2, 3), ("a", 8, 10)], lambda name: name)[NOTHING] == 0


@pytest.mark.skipif(import_keras().backend.backend() != "tensorflow", reason="asks TensorFlow's profiler")
def test_a_real_step(data, tmp_path, capsys):
    words = f"--models dsnt:size=tiny base --recipe best --steps 1 --repeats 2 --data {data} --output {tmp_path}"
    assert main(words.split()) == 2  # base draws no maps whose shape could count
    assert capsys.readouterr().err.count("\n") == 1
    assert [*tmp_path.iterdir()] == []
    assert main(words.replace(" base", "").split()) == 0
    with open(tmp_path / "training_profile.csv") as file:
        rows = {row["part"]: row for row in csv.DictReader(file)}
    times = {part: float(row["step_ms"]) for part, row in rows.items()}
    assert {row["model"] for row in rows.values()} == {"dsnt:size=tiny"}
    assert rows[STEP]["step_pct"] == "100.0"
    assert all(times[part] > 0 for part in (CEILING, *SEEN))
    parts = [sum(float(rows[part][f"step_ms{end}"]) for part in rows if part not in (STEP, CEILING))
             for end in ("_min", "", "_max")]  # fmt: skip
    assert parts[0] - 1 <= times[STEP] <= parts[2] + 1  # the parts of each repeat make its step


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--steps 0", "--steps is 0; 1 or more is accepted"),
        ("--repeats 0", "--repeats is 0"),
        ("--steps 5", "has faces for 1 of 64"),
        ("--models nobody", "unknown model 'nobody'"),
        ("--recipe none", "unknown recipe 'none'"),
        ("--data nowhere", "nowhere is not a prepared data set"),
    ],
)
def test_bad_input_is_one_line(data, tmp_path, capsys, words, why):
    arguments = ["--data", str(data), "--output", str(tmp_path / "profile"), *words.split()]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1
    assert not (tmp_path / "profile").exists()


def test_parts_of_operations():
    """Names as TensorFlow 2.21 gives them."""
    from types import SimpleNamespace

    from models.batch_norm import SCOPE
    from models.registry import parse

    network = parse("dsnt:size=tiny").build((96, 96), [[0, 0]] * 15)
    network.compile("adam", "mse")
    part = training_profile.part_of(SimpleNamespace(trained=network))
    expected = {
        "dsnt_1/stem_1/convolution:_MklNativeConv2D": FORWARD,
        "gradient_tape/dsnt_1/stem_1/convolution/Conv2DBackpropFilter:_MklNativeConv2DBackpropFilter": WEIGHTS,
        "gradient_tape/dsnt_1/entry_1/convolution/Conv2DBackpropInput:_MklNativeConv2DBackpropInput": INPUTS,
        "dsnt_1/stage2_1_a_norm_1/batchnorm/add_1:AddV2": NORMALISATION,
        "dsnt/stage2_1_a_norm/batchnorm/add_1:AddV2": NORMALISATION,
        f"{SCOPE}_3/mul:Mul": NORMALISATION,
        "gradient_tape/dsnt_1/stage2_1_1/ReluGrad:ReluGrad": training_profile.LAYERS,
        "dsnt/Cast:Cast": training_profile.LAYERS,
        "adam/Sum_6:Sum": OPTIMIZER,
        "gradient_tape/compile_loss/mul_2:Mul": LOSS,
        "AddN_3:AddN": training_profile.OTHER,
    }
    expected = {f"StatefulPartitionedCall/{name}": part for name, part in expected.items()} | {"PyFunc:PyFunc": FACES}
    assert {name: part(name) for name in expected} == expected
