"""Accuracy against time: which variant stands for a network, and where."""

import numpy as np

from evaluation.latency_plot import accuracy_against_time, one_thread_ms

HEAD = "what,model,framework,precision,image_ms\n"
TABLE = (
    HEAD
    + """single_face_one_thread,base,onnx,float32,1.5
single_face_one_thread,base,onnx,int8,1.1
single_face_one_thread,base,litert,float32,1.2
single_face,base,onnx,float32,9
single_face_one_thread,dsnt:size=tiny,onnx,float32,0.25
single_face_one_thread,vgg_face,onnx,float32,
single_face_one_thread,forgotten,onnx,float32,1
"""
)


def row(model, recipe, test, val, seeds=1):
    return {"model": model, "recipe": recipe, "treatment": "none", "seeds": seeds, "val_rmse_px": val,
            "rmse_px": test, "rmse_low_px": test - 0.1, "rmse_high_px": test + 0.2}  # fmt: skip


def test_times_by_the_names_of_the_tables(tmp_path):
    assert one_thread_ms(tmp_path) == {}
    (tmp_path / "speed.csv").write_text(f"{HEAD}single_face_one_thread,v1,onnx,float32,7\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/speed.csv").write_text(TABLE)  # of another machine, with more networks
    assert one_thread_ms(tmp_path) == {"base": 1.5, "dsnt (tiny)": 0.25}


def test_each_network_stands_where_its_best_validated_variant_is():
    rows = [
        row("base", "quick", 1.8, 2.2),  # the better one on test, by luck
        row("base", "long", 1.9, 2.1),
        row("dsnt (tiny)", "best", 1.6, 1.7),
        row("v1", "quick", 1.0, 1.0),  # of which no time is known
        row("ridge", None, 3.0, 3.0, seeds=None),
    ]
    figure = accuracy_against_time(rows, {"base": 1.5, "dsnt (tiny)": 0.25})
    (ax,) = figure.axes
    points = sorted(tuple(np.ravel(line.get_data())) for line in ax.lines if line.get_marker() == "o")
    assert points == [(0.25, 1.6), (1.5, 1.9)]
    assert [text.get_text() for text in ax.texts] == ["dsnt (tiny)\nbest, none", "base\nlong, none"]  # by time


def test_one_network_is_no_comparison():
    assert accuracy_against_time([row("base", "quick", 1.8, 2.2)], {"base": 1.5, "v1": 2.0}) is None
