"""`python -m evaluation.submission`, with networks whose predictions fit on paper."""

import os

import numpy as np
import pytest

from data_prep.schema import SCHEMAS
from evaluation import submission
from models.backend import import_keras
from models.runs import Predictions, write_record

keras = import_keras()
# Every image is of one gray value: ImageId to gray.
GRAYS = {1: 20, 2: 100, 3: 40}


def make_run(folder, shift=0.0, factor=1.0, coordinates=30, **changes):
    """A finished run whose network says that coordinate c (0 to 29) is factor * first pixel + c + shift."""
    images = keras.Input((96, 96), name="images")
    dense = keras.layers.Dense(coordinates)
    x = dense(keras.layers.Flatten()(images))
    kernel = np.zeros((9216, coordinates), np.float32)
    kernel[0] = factor
    dense.set_weights([kernel, np.arange(coordinates, dtype=np.float32) + shift])
    folder.mkdir(parents=True)
    keras.Model(images, keras.layers.Reshape((coordinates // 2, 2))(x)).save(folder / "model.keras")
    config = {"run": folder.name, "data": "toy", "schema": "kaggle15", "image_size": [96, 96]} | changes
    config |= {"model": "toy", "recipe": {"name": "quick"}, "treatment": "none", "seed": 0}
    points = len(SCHEMAS[config["schema"]])
    config |= {"mean_face": [[48.0, 48.0]] * points}
    none = np.zeros((0, points, 2), np.float32)
    empty = Predictions(*(np.zeros(0, int),) * 3, none, none, np.zeros((0, points), bool))
    history = dict.fromkeys(("epoch", "loss", "val_loss"), [1.0])
    write_record(folder, config, history, val=empty, test=empty)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two runs, a test set of three images, and a lookup of five rows that asks nothing of image 3.

    Of image 1 a brow is asked, so it is of the first label source; of image 2 eyes and nose, of the second.
    """
    folder = tmp_path_factory.mktemp("kaggle")
    make_run(folder / "plain")
    make_run(folder / "shifted", shift=-30)
    make_run(folder / "small", image_size=[48, 48])
    make_run(folder / "many", schema="ibug68")
    make_run(folder / "nan", factor=float("nan"))
    for name, content in (("damaged", "{}"), ("list", "[]")):
        (make_run(folder / name) / "config.json").write_text(content)
    rows = [f"{i},{' '.join([str(gray)] * 9216)}" for i, gray in GRAYS.items()]
    (folder / "test.csv").write_text("\n".join(["ImageId,Image", *rows]) + "\n")
    asked = [(11, 2, "nose_tip_y"), (4, 1, "left_eyebrow_inner_end_x"), (5, 1, "left_eye_center_x"),
             (6, 2, "left_eye_center_x"), (7, 1, "mouth_center_bottom_lip_y")]  # fmt: skip
    lines = ["RowId,ImageId,FeatureName,Location", *(f"{r},{i},{name}," for r, i, name in asked)]
    (folder / "IdLookupTable.csv").write_text("\n".join(lines) + "\n")
    return folder


def submit(place, output, *options, runs=("plain",)):
    named = ["--run", *(str(place / run) for run in runs)]
    files = ["--test", str(place / "test.csv"), "--lookup", str(place / "IdLookupTable.csv"), "--output", str(output)]
    return submission.main([*named, *files, *options])


def lines(path):
    return path.read_text().splitlines()


def test_rows_in_the_order_of_the_lookup_clipped_to_the_image(place, tmp_path, capsys):
    assert submit(place, tmp_path / "new/submission.csv") == 0
    assert lines(tmp_path / "new/submission.csv") == [
        "RowId,Location",
        "11,95.0000",  # nose_tip_y is coordinate 21 of 30: 100 + 21, beyond the last pixel's centre
        "4,32.0000",  # left_eyebrow_inner_end_x is coordinate 12: 20 + 12
        "5,20.0000",  # coordinate 0: 20
        "6,95.0000",  # 100
        "7,49.0000",  # mouth_center_bottom_lip_y is coordinate 29: 20 + 29
    ]
    said = capsys.readouterr().out
    assert "5 rows for 2 images, 1 of label source 1 and 1 of label source 2" in said
    assert "2 location(s) clipped" in said
    assert "1 test image(s) that the lookup asks nothing of" in said
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["submission.csv"]


def test_several_runs_give_their_mean(place, tmp_path):
    assert submit(place, tmp_path / "s.csv", runs=("plain", "shifted")) == 0
    # 15 less than above, clipped after the mean: 121 - 15 and 100 - 15
    assert lines(tmp_path / "s.csv")[1:] == ["11,95.0000", "4,17.0000", "5,5.0000", "6,85.0000", "7,34.0000"]


def test_mirror_images_are_looked_at_too(place, tmp_path):
    assert submit(place, tmp_path / "s.csv", "--mirrored") == 0
    # Images are of one gray value, so are their mirror images, whose right eye (x: 20 + 2) is the image's left eye.
    assert lines(tmp_path / "s.csv")[3] == f"5,{(20 + 95 - 22) / 2:.4f}"


def test_what_was_taken_off_the_labels_is_added(place, tmp_path):
    """2 px to the left and 1 px down for the first source, whose is image 1; nothing is known of the second's."""
    lean = {"1": [[-2, 1]] * 15}
    make_run(place / "off", label_asymmetry=lean, data_source={"kind": "kaggle"})
    assert submit(place, tmp_path / "s.csv", runs=("off",)) == 0
    # Of image 1 an x is 2 less, a y 1 more: 32 - 2, 20 - 2 and 49 + 1.
    assert lines(tmp_path / "s.csv")[1:] == ["11,95.0000", "4,30.0000", "5,18.0000", "6,95.0000", "7,50.0000"]
    make_run(place / "embedded", label_asymmetry=lean, data_source={"kind": "synthetic"})  # sources of its own
    assert submit(place, tmp_path / "t.csv", runs=("embedded",)) == 0
    assert lines(tmp_path / "t.csv")[2] == "4,32.0000"


@pytest.mark.parametrize("lean", [[], {"one": [[0, 0]] * 15}, {"1": [[0, 0]]}, {"1": "right"}, {"1": [[0, None]] * 15}])
def test_a_damaged_asymmetry_is_one_line(place, tmp_path, capsys, lean):
    make_run(tmp_path / "leaning", label_asymmetry=lean, data_source={"kind": "kaggle"})
    assert submit(place, tmp_path / "s.csv", runs=(tmp_path / "leaning",)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "label_asymmetry in the config.json of leaning is damaged" in line


def test_runs_of_the_second_source_predict_its_images_alone(place, tmp_path):
    assert submit(place, tmp_path / "s.csv", "--second-source-run", str(place / "shifted")) == 0
    # image 2 alone is 30 less: 121 - 30 and 100 - 30
    assert lines(tmp_path / "s.csv")[1:] == ["11,91.0000", "4,32.0000", "5,20.0000", "6,70.0000", "7,49.0000"]
    assert submit(place, tmp_path / "t.csv", runs=("shifted",)) == 0
    assert lines(tmp_path / "t.csv")[3] == "5,0.0000"  # 20 - 30 lies left of the image


def test_a_network_trained_by_source_answers_by_each_images_rule(place, tmp_path):
    """34 outputs: the 15 points and, at coordinates 30 to 33, the second source's nose tip and bottom lip."""
    make_run(place / "by_source", coordinates=34)
    assert submit(place, tmp_path / "s.csv", runs=("by_source",)) == 0
    # Of image 2 (gray 100, second source) the nose's y is output 31: 131, clipped; of image 1 (20) the lip is 29's.
    assert lines(tmp_path / "s.csv")[1:] == ["11,95.0000", "4,32.0000", "5,20.0000", "6,95.0000", "7,49.0000"]
    make_run(place / "by_source_darker", shift=-80, coordinates=34)
    assert submit(place, tmp_path / "t.csv", runs=("by_source_darker",)) == 0
    # 100 + 31 - 80, where the first source's rule says 100 + 21 - 80; and 100 - 80
    assert lines(tmp_path / "t.csv")[1] == "11,51.0000"
    assert lines(tmp_path / "t.csv")[4] == "6,20.0000"


def test_label_sources():
    asked = np.zeros((4, 15), bool)
    asked[0] = True
    asked[1, [0, 1, 10, 14]] = True  # eye centres, nose tip, bottom lip: all that the second source labels
    asked[2, [0, 3]] = True  # an outer eye corner beside an eye centre
    assert submission.label_sources(asked).tolist() == [1, 2, 1, 0]


def test_clip_to_width_and_height():
    # x of an image 60 wide and 40 high ends at 59, y at 39
    clipped = submission.clip(np.array([70.0, 70.0, -0.1, 38.5]), np.array([0, 1, 2, 3]), (40, 60))
    assert clipped.tolist() == [59, 39, 0, 38.5]


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        (("small",), "was trained for image size [48, 48], the test set has [96, 96]"),
        (("plain", "many"), "was trained for keypoints ibug68, the test set has kaggle15"),
        (("nan",), "predicts values that are no numbers"),
        (("nowhere",), "is not a finished run: config.json is missing"),
        (("damaged",), "config.json lacks run, data"),
        (("plain", "list"), "config.json is not an object"),
    ],
)
def test_a_run_that_does_not_fit(place, tmp_path, capsys, runs, found):
    old = tmp_path / "submission.csv"
    old.write_text("old")
    assert submit(place, old, runs=runs) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(said) == 1
    assert found in said[0]
    assert old.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_light_record_has_no_network(place, tmp_path, capsys):
    make_run(tmp_path / "light")
    (tmp_path / "light/model.keras").unlink()
    files = ["--test", str(place), "--lookup", str(place), "--output", str(tmp_path / "s.csv")]
    assert submission.main(["--run", str(tmp_path / "light"), *files]) == 2
    assert "model.keras does not exist" in capsys.readouterr().err


def test_an_image_that_the_test_set_lacks(place, tmp_path, capsys):
    (tmp_path / "lookup.csv").write_text("RowId,ImageId,FeatureName\n1,1,nose_tip_x\n2,9,nose_tip_x\n3,8,nose_tip_x\n")
    assert submit(place, tmp_path / "s.csv", "--lookup", str(tmp_path / "lookup.csv")) == 2
    assert "asks for 2 image(s) that the test set lacks, such as 8" in capsys.readouterr().err
    assert not (tmp_path / "s.csv").exists()


def test_inputs_are_not_overwritten(place, capsys):
    before = (place / "IdLookupTable.csv").read_text()
    assert submit(place, place / "IdLookupTable.csv") == 2
    assert submit(place, place) == 2
    said = capsys.readouterr().err
    assert "is an input; name a file of its own" in said
    assert "is a folder; name a file of its own" in said
    assert (place / "IdLookupTable.csv").read_text() == before


def test_inputs_found_in_folders_or_of_a_run_are_not_overwritten(place, tmp_path, capsys):
    inputs = [place / "test.csv", place / "IdLookupTable.csv", place / "plain/model.keras"]
    before = [path.read_bytes() for path in inputs]
    for path in inputs:
        assert submit(place, path, "--test", str(place), "--lookup", str(place)) == 2
        assert f"--output {path} is an input" in capsys.readouterr().err
    assert [path.read_bytes() for path in inputs] == before


def test_a_device_is_no_output_and_a_link_leads_to_the_file(place, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert submit(place, tmp_path / "pipe") == 2
    assert "is a device or a pipe; a file is accepted" in capsys.readouterr().err
    (tmp_path / "far").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "far/s.csv")
    assert submit(place, tmp_path / "link.csv") == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "far/s.csv").read_text().startswith("RowId,Location\n")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(place, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    # A network that predicts no numbers shows that nothing is predicted.
    assert submit(place, tmp_path / "file/new/s.csv", runs=("nan",)) == 2
    assert f"cannot be written: {tmp_path / 'file'} is no folder" in capsys.readouterr().err
