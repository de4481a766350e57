"""Point names, mirror images, and the map from 68 points to 15."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.faceset import FaceSet, observed
from data_prep.schema import IBUG68, KAGGLE15, SCHEMAS, kaggle15_from_ibug68

# The left/right exchange of the iBUG 68 points, 0-based, as 300-W code has it (HRNet's and menpo's tables):
# entry i is the point that takes i's place in the mirrored picture.
IBUG_FLIP = [
    *(16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),  # jaw
    *(26, 25, 24, 23, 22, 21, 20, 19, 18, 17),  # eyebrows
    *(27, 28, 29, 30),  # nose bridge
    *(35, 34, 33, 32, 31),  # nostrils
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lip
    *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lip
]

# The competition's columns (its data page, in file order), and by hand the column that mirrors each.
KAGGLE_FLIP = {
    "left_eye_center": "right_eye_center",
    "right_eye_center": "left_eye_center",
    "left_eye_inner_corner": "right_eye_inner_corner",
    "left_eye_outer_corner": "right_eye_outer_corner",
    "right_eye_inner_corner": "left_eye_inner_corner",
    "right_eye_outer_corner": "left_eye_outer_corner",
    "left_eyebrow_inner_end": "right_eyebrow_inner_end",
    "left_eyebrow_outer_end": "right_eyebrow_outer_end",
    "right_eyebrow_inner_end": "left_eyebrow_inner_end",
    "right_eyebrow_outer_end": "left_eyebrow_outer_end",
    "nose_tip": "nose_tip",
    "mouth_left_corner": "mouth_right_corner",
    "mouth_right_corner": "mouth_left_corner",
    "mouth_center_top_lip": "mouth_center_top_lip",
    "mouth_center_bottom_lip": "mouth_center_bottom_lip",
}

BOTH = pytest.mark.parametrize("schema", [KAGGLE15, IBUG68], ids=lambda schema: schema.name)


@BOTH
def test_names_are_unique_and_counted(schema):
    assert len(set(schema.points)) == len(schema.points) == len(schema)
    assert len(schema) == {"kaggle15": 15, "ibug68": 68}[schema.name]
    assert SCHEMAS[schema.name] is schema


@BOTH
def test_mirror_twice_is_nothing(schema):
    np.testing.assert_array_equal(schema.mirror[schema.mirror], np.arange(len(schema)))


@BOTH
def test_the_mirror_of_a_left_eye_is_the_right_eye(schema):
    for left, right in zip(schema.left_eye, schema.right_eye, strict=True):
        assert schema.points[schema.mirror[schema.index(left)]] == right
    assert "left" in schema.left_eye[0]


def test_kaggle_points_and_mirror_by_name():
    assert KAGGLE15.points == tuple(KAGGLE_FLIP)
    assert [KAGGLE15.points[i] for i in KAGGLE15.mirror] == list(KAGGLE_FLIP.values())


def test_kaggle_columns_are_x_then_y():
    assert KAGGLE15.columns[:4] == (
        "left_eye_center_x",
        "left_eye_center_y",
        "right_eye_center_x",
        "right_eye_center_y",
    )
    assert len(KAGGLE15.columns) == 30


def test_ibug_mirror_is_the_published_table():
    assert IBUG68.mirror.tolist() == IBUG_FLIP


@BOTH
@settings(max_examples=30, deadline=None)
@given(numbers=arrays(np.int16, (2, 68, 2), elements=st.integers(-48, 144), fill=st.nothing()))
def test_flipping_faces(schema, numbers):
    """x -> W - 1 - x, points exchanged: twice it is the identity, once the left eye lies where the right was."""
    points = numbers[:, : len(schema)].astype(float)

    def flipped(keypoints):
        return np.stack([95 - keypoints[..., 0], keypoints[..., 1]], axis=-1)[:, schema.mirror]

    once = flipped(points)
    np.testing.assert_array_equal(flipped(once), points)
    left, right = schema.index(schema.left_eye[0]), schema.index(schema.right_eye[0])
    np.testing.assert_array_equal(once[:, left, 0], 95 - points[:, right, 0])
    np.testing.assert_array_equal(once[:, right, 1], points[:, left, 1])
    np.testing.assert_allclose(schema.eye_distance(once), schema.eye_distance(points))


def test_from_68_to_15_by_hand():
    # Point i lies at (i, 1000 - 2i), so every expected value is read off the numbered iBUG drawing.
    points = np.stack([np.arange(68.0), 1000 - 2 * np.arange(68.0)], axis=-1)
    few = kaggle15_from_ibug68(np.stack([points, points + 0.5]))
    assert few.shape == (2, 15, 2)
    expected = {
        "left_eye_center": 44.5,  # (42 + ... + 47) / 6
        "right_eye_center": 38.5,  # (36 + ... + 41) / 6
        "left_eye_inner_corner": 42,
        "left_eye_outer_corner": 45,
        "right_eye_inner_corner": 39,
        "right_eye_outer_corner": 36,
        "left_eyebrow_inner_end": 22,
        "left_eyebrow_outer_end": 26,
        "right_eyebrow_inner_end": 21,
        "right_eyebrow_outer_end": 17,
        "nose_tip": 30,
        "mouth_left_corner": 54,
        "mouth_right_corner": 48,
        "mouth_center_top_lip": 51,
        "mouth_center_bottom_lip": 57,
    }
    for point, x in expected.items():
        np.testing.assert_allclose(few[0, KAGGLE15.index(point)], (x, 1000 - 2 * x), err_msg=point)
    np.testing.assert_allclose(few[1], few[0] + 0.5)


def test_from_68_to_15_a_point_lacks_what_it_averages():
    points = np.zeros((1, 68, 2))
    points[0, 40] = np.nan  # of the right eye
    missing = [
        p for p, seen in zip(KAGGLE15.points, observed(kaggle15_from_ibug68(points))[0], strict=True) if not seen
    ]
    assert missing == ["right_eye_center"]


def test_from_68_to_15_commutes_with_the_mirror():
    points = np.random.default_rng(0).normal(size=(3, 68, 2))
    np.testing.assert_allclose(
        kaggle15_from_ibug68(points[:, IBUG68.mirror]), kaggle15_from_ibug68(points)[:, KAGGLE15.mirror]
    )


def test_from_68_to_15_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"\[N, 68, 2\], got \[2, 15, 2\]"):
        kaggle15_from_ibug68(np.zeros((2, 15, 2)))


def test_eye_distance_by_hand():
    points = np.full((2, 15, 2), np.nan)
    points[0, KAGGLE15.index("left_eye_center")] = (63, 44)
    points[0, KAGGLE15.index("right_eye_center")] = (33, 4)  # 30 across, 40 down: 50
    points[1, KAGGLE15.index("left_eye_center")] = (63, 44)
    np.testing.assert_array_equal(KAGGLE15.eye_distance(points), [50, np.nan])


def test_index_names_what_it_does_not_know():
    with pytest.raises(KeyError, match="kaggle15 has no point 'ear'"):
        KAGGLE15.index("ear")


def face_arrays() -> dict:
    rows = np.arange(3)
    return {
        "images": np.zeros((3, 96, 96), np.uint8),
        "keypoints": np.zeros((3, 15, 2), np.float32),
        "groups": rows,
        "ids": rows,
        "sources": rows,
        "schema": KAGGLE15,
    }


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("images", np.zeros((3, 96, 96)), "uint8"),
        ("images", np.zeros((3, 9216), np.uint8), r"\[N, H, W\]"),
        ("keypoints", np.zeros((3, 15, 2)), "float32"),
        ("keypoints", np.zeros((3, 68, 2), np.float32), r"\[3, 15, 2\]"),
        ("keypoints", np.zeros((2, 15, 2), np.float32), r"\[3, 15, 2\]"),
        ("groups", np.arange(4), r"groups must be \[3\]"),
        ("ids", np.zeros((3, 1)), r"ids must be \[3\]"),
        ("sources", np.arange(2), r"sources must be \[3\]"),
    ],
)
def test_a_face_set_checks_its_arrays(name, value, complaint):
    with pytest.raises(ValueError, match=complaint):
        FaceSet(**{**face_arrays(), name: value})


def test_a_face_set_takes_rows_and_sees_half_labels_as_none():
    faces = FaceSet(**face_arrays())
    faces.keypoints[2, 4, 1] = np.nan
    two = faces.take(np.array([2, 0]))
    assert two.ids.tolist() == [2, 0]
    assert len(two) == 2
    assert np.argwhere(~two.observed).tolist() == [[0, 4]]
    assert faces.take(np.array([False, True, False])).ids.tolist() == [1]
