"""nearest_neighbour: the keypoints of the training face whose small pixels are nearest. A baseline.

What a network must beat to have learned more than the training faces by heart. Each keypoint is copied from the
nearest face that carries it (labels after treatment), by Euclidean distance of pixels with equal local contrast
(Cover & Hart 1967, one neighbour; scikit-learn's `pairwise_distances`). The image side is chosen on validation faces,
by RMSE on truly labelled points.

    python -m models.nearest_neighbour --data data/prepared/kaggle15-none    # ten seconds

Scores: results/kaggle15/summary.csv. Writes a light record: there is no network to save.
"""

import sys
from dataclasses import dataclass

import numpy as np

from models.pixel_baselines import main
from models.small_pixels import small_pixels

GRID = [{"side": side} for side in (16, 24, 32)]


@dataclass(frozen=True)
class NearestFace:
    """The training faces. pixels: float32 [N, side * side]; labels: float32 [N, K, 2], NaN where a face has none."""

    side: int
    pixels: np.ndarray
    labels: np.ndarray
    parameters = None  # it keeps faces, not weights

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W] -> float32 [B, K, 2] in pixels."""
        from sklearn.metrics import pairwise_distances

        distances = pairwise_distances(small_pixels(images, self.side), self.pixels)
        predicted = np.empty((len(images), *self.labels.shape[1:]), np.float32)
        for k, labels in enumerate(self.labels.swapaxes(0, 1)):
            carrying = np.flatnonzero(~np.isnan(labels).any(axis=-1))
            predicted[:, k] = labels[carrying[distances[:, carrying].argmin(axis=1)]]
        return predicted


def fit(images: np.ndarray, labels: np.ndarray, side: int) -> NearestFace:
    """Keep images uint8 [N, H, W] and labels float32 [N, K, 2], NaN where a face does not carry a point."""
    return NearestFace(side, small_pixels(images, side), np.asarray(labels))


if __name__ == "__main__":
    sys.exit(main("nearest_neighbour", "exact search", GRID, fit))
