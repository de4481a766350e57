"""A second look at each image, mirrored: the answer is the mean of both (test-time augmentation).

A network's errors on a face and on its mirror image are partly its own accidents, and these cancel. It takes twice the
time, so a table's row must say so: `python -m models.apply --mirrored`.
"""

import numpy as np

from data_prep.schema import IBUG68, KAGGLE15
from models.label_rules import BY_SOURCE

MIRROR = {len(schema): schema.mirror for schema in (KAGGLE15, BY_SOURCE, IBUG68)}


class SecondLook:
    """Predicts like the network that it is made of, from images and their mirror images."""

    def __init__(self, network):
        self.network = network

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Outputs [N, K, 2] in pixels of images [N, H, W]: left and right exchanged in the mirror image's, and back."""
        first = np.asarray(self.network.predict_on_batch(images))
        return (first + mirrored(np.asarray(self.network.predict_on_batch(images[:, :, ::-1])), images.shape[2])) / 2


def mirrored(points: np.ndarray, width: int) -> np.ndarray:
    """Keypoints [N, K, 2] of images of this width as they are in the mirror images: a left eye is a right eye there."""
    found = points[:, MIRROR[points.shape[1]]].copy()
    found[..., 0] = width - 1 - found[..., 0]
    return found
