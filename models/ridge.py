"""ridge: linear regression from small pixels to keypoints, with a penalty on large weights. A baseline.

What a network must beat to have learned more than a linear map. Each keypoint is fitted on the training faces that
carry it (labels after treatment), in closed form (Hoerl & Kennard 1970; scikit-learn's `Ridge`). Image side and
penalty are chosen on validation faces, by RMSE on truly labelled points.

    python -m models.ridge --data data/prepared/kaggle15-none    # a quarter of a minute

Scores: results/kaggle15/summary.csv. Writes a light record: there is no network to save.
"""

import sys
from dataclasses import dataclass

import numpy as np

from models.pixel_baselines import main
from models.small_pixels import small_pixels

GRID = [{"side": side, "alpha": alpha} for side in (24, 32) for alpha in (100.0, 300.0, 1000.0, 3000.0)]


@dataclass(frozen=True)
class PixelRidge:
    """Fitted regressions. parts: (indices of keypoints, their common scikit-learn `Ridge`); points: K."""

    side: int
    points: int
    parts: list

    @property
    def parameters(self) -> int:
        return sum(ridge.coef_.size + ridge.intercept_.size for _, ridge in self.parts)

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W] -> float32 [B, K, 2] in pixels."""
        pixels = small_pixels(images, self.side)
        predicted = np.empty((len(images), self.points, 2), np.float32)
        for points, ridge in self.parts:
            predicted[:, points] = ridge.predict(pixels).reshape(len(images), -1, 2)
        return predicted


def fit(images: np.ndarray, labels: np.ndarray, side: int, alpha: float) -> PixelRidge:
    """Fit to images uint8 [N, H, W] and labels float32 [N, K, 2], NaN where a face does not carry a point."""
    from sklearn.linear_model import Ridge
    from threadpoolctl import threadpool_limits

    pixels, labels = small_pixels(images, side), np.asarray(labels)
    carried = ~np.isnan(labels).any(axis=-1)
    # Keypoints that the same faces carry share one regression: the work is in the faces, not in the points.
    patterns, pattern_of_point = np.unique(carried, axis=1, return_inverse=True)
    parts = []
    # One thread: more of them change the last bits, and get in each other's way where the machine has other work.
    with threadpool_limits(1):
        for pattern, rows in enumerate(patterns.T):
            points = np.flatnonzero(pattern_of_point.ravel() == pattern)
            targets = labels[rows][:, points].reshape(rows.sum(), -1)
            parts.append((points, Ridge(alpha=alpha, solver="cholesky").fit(pixels[rows], targets)))
    return PixelRidge(side, labels.shape[1], parts)


if __name__ == "__main__":
    sys.exit(main("ridge", "closed form", GRID, fit))
