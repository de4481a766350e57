"""Faces that look related: alignment and clustering by hand, and copies of sampled faces that must be found."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data_prep import relatives, relatives_fit
from data_prep.faceset import DataError, FaceSet
from data_prep.schema import IBUG68, KAGGLE15
from data_prep.synthetic.sampler import sample

LENGTH, DIRECTIONS = 2916, 200  # 7 * 7 blocks of 4 * 9 values, 4 * 4 coarse ones, 24 * 24 pixels


@pytest.fixture(scope="module")
def people() -> FaceSet:
    """Eight people who do not look alike: no two are more similar than 0.15 (0.25 joins)."""
    return sample(8, seed=20, missing_structure=False)


def moved(faces: FaceSet, degrees: float = 0, scale: float = 1, shift: tuple[float, float] = (0, 0)) -> FaceSet:
    """Turned and scaled about the image's centre, then shifted; the labels go along."""
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(faces.images.shape[:0:-1]) - 1) / 2
    affine = np.column_stack([turn, centre + shift - turn @ centre])
    size = faces.images.shape[:0:-1]
    images = [cv2.warpAffine(image, affine, size, borderMode=cv2.BORDER_REPLICATE) for image in faces.images]
    keypoints = (faces.keypoints @ turn.T + affine[:, 2]).astype(np.float32)
    return replace(faces, images=np.stack(images), keypoints=keypoints)


def mirrored(faces: FaceSet) -> FaceSet:
    """The image flipped; the subject's left eye is then where its right eye was, mirrored."""
    keypoints = faces.keypoints.copy()
    keypoints[..., 0] = faces.images.shape[2] - 1 - keypoints[..., 0]
    keypoints[:, [0, 1]] = keypoints[:, [1, 0]]
    return replace(faces, images=np.ascontiguousarray(faces.images[:, :, ::-1]), keypoints=keypoints)


def encoded_again(faces: FaceSet) -> FaceSet:
    files = [cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1] for image in faces.images]
    return replace(faces, images=np.stack([cv2.imdecode(file, cv2.IMREAD_GRAYSCALE) for file in files]))


def enlarged(faces: FaceSet) -> FaceSet:
    images = np.stack([cv2.resize(image, (224, 224)) for image in faces.images])
    return replace(faces, images=images, keypoints=((faces.keypoints + 0.5) * 224 / 96 - 0.5).astype(np.float32))


def together(*sets: FaceSet) -> FaceSet:
    names = ("images", "keypoints", "groups", "ids", "sources")
    return FaceSet(**{n: np.concatenate([getattr(s, n) for s in sets]) for n in names}, schema=sets[0].schema)


# ---- alignment


@pytest.mark.parametrize(
    "eyes",
    [((50, 40), (150, 40)), ((50, 40), (50, 140)), ((60, 60), (120, 140)), ((80, 90), (120, 90))],
    ids=["level", "upright line", "tilted", "near each other"],
)
def test_aligned_eyes_land_where_promised(eyes):
    image = np.zeros((200, 200), np.uint8)
    for x, y in eyes:
        cv2.circle(image, (x, y), 3, 255, -1)
    # Two eye distances wide, so 50 px each; the window spans -0.5 to 99.5, its middle is 49.5, and the eyes lie
    # 25 px to either side of it, 0.8 * 50 px below the upper edge.
    found = relatives.aligned(image, np.array(eyes, float), size=100, half=1.0, above=0.8).astype(float)
    y, x = np.mgrid[:100, :100]
    for side, expected in ((x < 50, 24.5), (x >= 50, 74.5)):
        weight = found * side
        assert (weight * x).sum() / weight.sum() == pytest.approx(expected, abs=0.15)
        assert (weight * y).sum() / weight.sum() == pytest.approx(39.5, abs=0.15)


def test_eyes_that_are_not_labelled():
    keypoints = np.full((5, 15, 2), np.nan, np.float32)
    right, left = KAGGLE15.index("right_eye_center"), KAGGLE15.index("left_eye_center")
    # The subject's right eye is on the image's left.
    keypoints[0, right], keypoints[0, left] = (30, 40), (60, 42)
    keypoints[1, right], keypoints[1, left] = (34, 38), (70, 40)
    keypoints[2, right] = (30, 40)  # one eye is not enough
    keypoints[3, right] = keypoints[3, left] = (48, 48)  # both at one place give no direction
    eyes = relatives.eye_centres(keypoints, KAGGLE15, (96, 96))
    assert eyes[:2].tolist() == [[[30, 40], [60, 42]], [[34, 38], [70, 40]]]
    for row in (2, 3, 4):
        assert eyes[row].tolist() == [[32, 39], [65, 41]]  # the mean of the first two
    # Nobody labelled any: 0.31 and 0.69 of the width, 0.39 of the height, less half a pixel.
    nominal = relatives.eye_centres(keypoints[4:], KAGGLE15, (50, 100))
    np.testing.assert_allclose(nominal, [[[30.5, 19], [68.5, 19]]])


def test_eyes_of_68_points():
    keypoints = np.full((1, 68, 2), 50, np.float32)
    keypoints[0, 36:42] = [(20, 30), (24, 28), (28, 28), (32, 30), (28, 32), (24, 32)]  # round (26, 30)
    keypoints[0, 42:48] = [(60, 31), (64, 29), (68, 29), (72, 31), (68, 33), (64, 33)]  # round (66, 31)
    np.testing.assert_allclose(relatives.eye_centres(keypoints, IBUG68, (96, 96)), [[[26, 30], [66, 31]]])


def test_mirrored_by_hand_and_twice(people):
    image = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    images, eyes = relatives.mirrored(image, np.array([[[0.5, 1], [2, 0.25]]]))
    assert images.tolist() == [[[2, 1, 0], [5, 4, 3]]]
    assert eyes.tolist() == [[[0, 0.25], [1.5, 1]]]  # x becomes 2 - x, and the right one is the left one now
    eyes = relatives.eye_centres(people.keypoints, KAGGLE15, (96, 96))
    again = relatives.mirrored(*relatives.mirrored(people.images, eyes))
    np.testing.assert_array_equal(again[0], people.images)
    np.testing.assert_allclose(again[1], eyes, atol=1e-9)


# ---- the clusters of faces

COPIES = {
    "shifted": lambda faces: moved(faces, shift=(4, -3)),
    "turned": lambda faces: moved(faces, degrees=12),
    "smaller": lambda faces: moved(faces, scale=0.85),
    "encoded again": encoded_again,
    "mirrored": mirrored,
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_join_their_original_and_people_stay_apart(people, copy):
    originals, copies = relatives.cluster(together(people, COPIES[copy](people))).reshape(2, 8)
    assert len(set(originals)) == 8
    assert copies.tolist() == originals.tolist()


def test_all_copies_at_once_and_a_face_without_eyes(people):
    faces = together(people, *(make(people) for make in COPIES.values()))
    faces.keypoints[0] = np.nan  # aligned by the mean eyes of the others
    found = relatives.cluster(faces).reshape(6, 8)
    assert found.dtype == np.int64
    assert (found == found[0]).all()
    assert sorted(found[0]) == list(range(8))


def test_the_size_of_the_image_does_not_matter(people):
    for ours, theirs in zip(relatives.embed(people), relatives.embed(enlarged(people)), strict=True):
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
        assert ((ours * theirs).sum(axis=1) > 0.9).all()


def test_few_faces_and_too_many(people):
    assert relatives.cluster(people.take(np.arange(0))).tolist() == []
    assert relatives.cluster(people.take(np.arange(1))).tolist() == [0]
    assert sorted(relatives.cluster(people.take(np.arange(2)))) == [0, 1]
    crowd = relatives.MOST_FACES + 1
    rows = np.arange(crowd)
    images, keypoints = np.zeros((crowd, 2, 2), np.uint8), np.ones((crowd, 15, 2), np.float32)
    with pytest.raises(ValueError, match="15001 faces, at most 15000"):
        relatives.cluster(FaceSet(images, keypoints, rows, rows, rows, KAGGLE15))


# ---- similarity and linkage by hand


def test_similarities_by_hand():
    vectors = np.array([(1, 0), (0, 1), (-1, 0)], np.float32)
    mirror = np.array([(1, 0), (1, 0), (0, 1)], np.float32)
    # 0 and 1: 0, but 1 with face 1 mirrored; 0 and 2: -1, mirrored 0; 1 and 2: 0, mirrored 1.
    assert [row.tolist() for row in relatives.similarities(vectors, mirror)] == [[1, 0], [1]]


def test_similarities_of_more_faces_than_one_block():
    rng = np.random.default_rng(0)
    vectors, mirror = relatives.normalised(rng.normal(size=(2, 600, 3)).reshape(-1, 3)).reshape(2, 600, 3)
    expected = np.maximum(vectors @ vectors.T, vectors @ mirror.T)[np.triu_indices(600, 1)]
    np.testing.assert_allclose(np.concatenate(list(relatives.similarities(vectors, mirror))), expected)


def test_average_linkage_does_not_chain():
    # Four directions at 0, 38, 80 and 118 degrees. Neighbours have cosines of 0.788, 0.743 and 0.788: linked one by
    # one, all four are connected. On average a and b are to c and d as
    # (cos 80 + cos 118 + cos 42 + cos 80) / 4 = (0.1736 - 0.4695 + 0.7431 + 0.1736) / 4 = 0.155.
    angles = np.deg2rad([0, 38, 80, 118])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)])
    links = relatives.tree(vectors, vectors)
    a, b, c, d = relatives.cut(links, relatives.SIMILARITY)
    assert (a == b, c == d, a == c) == (True, True, False)
    assert len(set(relatives.cut(links, 0.156))) == 2
    assert len(set(relatives.cut(links, 0.154))) == 1
    assert len(set(relatives.cut(links, 0.8))) == 4


# ---- the map


def test_the_shipped_map(people):
    with np.load(relatives.MODEL_FILE, allow_pickle=False) as arrays:
        found = {name: (arrays[name].dtype, arrays[name].shape) for name in arrays.files}
        assert found == {"projection": (np.float16, (LENGTH, DIRECTIONS)), "offset": (np.float16, (DIRECTIONS,))}
        assert all(np.isfinite(arrays[name]).all() for name in arrays.files)
    look, mirror = relatives.looks(people)
    assert (look.dtype, look.shape, mirror.shape) == (np.float32, (8, LENGTH), (8, LENGTH))
    # The same as in the module, in one's own words.
    model = relatives.shipped()
    by_hand = look.astype(float) @ model["projection"] + model["offset"]
    by_hand /= np.sqrt((by_hand**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(relatives.embed(people)[0], by_hand, atol=1e-4)


def test_a_fit_brings_looks_at_one_person_together():
    people = sample(12, seed=1, missing_structure=False)
    looks = [moved(people, degrees, shift=shift) for degrees, shift in ((0, (0, 0)), (8, (2, 1)), (-8, (-1, 2)))]
    model = relatives_fit.fit(together(*(replace(look, groups=np.arange(12)) for look in looks)))
    # Twelve persons are told apart in eleven directions.
    shapes = {name: (array.dtype, array.shape) for name, array in model.items()}
    assert shapes == {"projection": (np.float32, (LENGTH, 11)), "offset": (np.float32, (11,))}
    unseen = relatives.looks(moved(people, 4, 0.95, (1, -2)))[0]
    similarity = relatives.vectors(unseen, model) @ relatives.vectors(relatives.looks(people)[0], model).T
    assert (similarity.argmax(axis=1) == np.arange(12)).all()
    assert np.diag(similarity).min() > 0.5 > np.mean(similarity[~np.eye(12, dtype=bool)])


def test_a_fit_needs_three_persons(people):
    with pytest.raises(DataError, match=r"faces of 2 person\(s\), at least 3 are needed"):
        relatives_fit.fit(replace(people, groups=np.array([0, 1] * 4)))


def test_a_fit_without_input_is_refused_in_one_line(tmp_path, capsys):
    output = tmp_path / "relatives.npz"
    assert relatives_fit.main(["--input", str(tmp_path / "nowhere"), "--output", str(output)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("data_prep.relatives_fit: error: ")
    assert "nowhere" in line
    assert not list(tmp_path.iterdir())
