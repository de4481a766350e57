"""A second look at mirror images: left and right, by hand."""

import numpy as np
import pytest

from data_prep.schema import IBUG68, KAGGLE15
from models.label_rules import BY_SOURCE
from models.second_look import SecondLook, mirrored


@pytest.mark.parametrize("schema", [KAGGLE15, BY_SOURCE, IBUG68], ids=len)
def test_a_mirror_image_of_a_mirror_image(schema):
    points = np.random.default_rng(0).uniform(0, 95, (3, len(schema), 2))
    once = mirrored(points, 96)
    np.testing.assert_allclose(mirrored(once, 96), points)
    assert np.abs(once - points).max() > 1


def test_a_left_eye_becomes_a_right_eye():
    points = np.zeros((1, 15, 2))
    left, right = KAGGLE15.index("left_eye_center"), KAGGLE15.index("right_eye_center")
    points[0, left] = (66, 38)
    assert mirrored(points, 96)[0, right].tolist() == [29, 38]  # 95 - 66


class SeesTheLight:
    """A network that says for each point where the light is, but all too far right, and the left eye too high."""

    def predict_on_batch(self, images):
        y, x = np.mgrid[: images.shape[1], : images.shape[2]]
        middle = [[(x * image).sum() / image.sum(), (y * image).sum() / image.sum()] for image in images]
        found = np.repeat(np.array(middle)[:, None], 15, axis=1) + (2, 0)
        found[:, KAGGLE15.index("left_eye_center")] -= (0, 4)
        return found


def test_what_is_an_accident_of_one_side_cancels():
    images = np.zeros((2, 20, 30))
    images[0, 5, 7] = images[1, 12, 20] = 1
    found = SecondLook(SeesTheLight()).predict_on_batch(images)
    # In the mirror image the light is 2 too far to the right as well, which is to the left in the image. Left eyes were
    # 4 too high and right eyes right: now both are 2 too high.
    expected = np.repeat(np.array([[7.0, 5.0], [20.0, 12.0]])[:, None], 15, axis=1)
    for name in ("left_eye_center", "right_eye_center"):
        expected[:, KAGGLE15.index(name)] -= (0, 2)
    np.testing.assert_allclose(found, expected)
