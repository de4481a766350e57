"""The scores, as pure functions of keypoint errors.

An error array is float [..., K, 2], predicted minus true (x, y) in pixels, NaN where a point is unlabelled.
Unlabelled points are left out of every score. Where nothing at all is labelled a score is NaN, never 0.
Sums run in float64 whatever the input.
"""

from collections.abc import Sequence

import numpy as np

# Kaggle's images: the frame in which every pixel figure of this study is given.
REFERENCE_SIZE = 96


def keypoint_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Predicted minus true, float64 [..., K, 2]; both coordinates NaN where the true point lacks either.

    predicted, truth: float [..., K, 2] in the same pixels; truth is NaN where unlabelled.
    Raises ValueError for unequal shapes (broadcasting would give a plausible wrong score) and where a
    labelled point has no finite prediction (masking it would reward a network for failing).
    """
    if predicted.shape != truth.shape or predicted.shape[-1:] != (2,):
        raise ValueError(f"predicted and truth must both be [..., K, 2], got {predicted.shape} and {truth.shape}")
    labelled = ~np.isnan(truth).any(axis=-1, keepdims=True)
    if not np.isfinite(predicted[np.broadcast_to(labelled, predicted.shape)]).all():
        raise ValueError("predictions must be finite wherever the truth is labelled")
    return np.where(labelled, predicted.astype(np.float64) - truth, np.nan)


def scaled_to_reference(errors: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """Errors in pixels of an image of `image_size` (height, width) -> pixels of the same image at 96x96."""
    height, width = image_size
    return errors * (REFERENCE_SIZE / np.array([width, height], dtype=np.float64))


def mae_px(errors: np.ndarray) -> float:
    """Mean absolute coordinate error: mean(|dx|, |dy|) over all labelled coordinates.

    errors: float [..., 2]. Source: `sklearn.metrics.mean_absolute_error` on the labelled coordinates.
    """
    return _mean(np.abs(_labelled(errors)))


def rmse_px(errors: np.ndarray) -> float:
    """Root mean squared coordinate error: sqrt(mean(dx^2, dy^2)) over all labelled coordinates at once.

    errors: float [..., 2]. Source: the score of Kaggle's Facial Keypoints Detection
    (kaggle.com/c/facial-keypoints-detection, Evaluation). Pooled over coordinates, not a mean of per-face or
    per-keypoint values; a factor sqrt(2) below the root mean square of Euclidean distances.
    """
    return float(np.sqrt(_mean(_labelled(errors) ** 2)))


def distances_px(errors: np.ndarray) -> np.ndarray:
    """Euclidean distance of each point, float64 [...] for errors [..., 2]; NaN where unlabelled."""
    return np.sqrt((errors.astype(np.float64) ** 2).sum(axis=-1))


def mean_distance_px(errors: np.ndarray) -> float:
    """Mean Euclidean distance over labelled points. errors: float [..., 2]."""
    return _mean(distances_px(_labelled(errors)))


def median_distance_px(errors: np.ndarray) -> float:
    """Median Euclidean distance over labelled points. errors: float [..., 2]."""
    distances = distances_px(_labelled(errors))
    return float(np.median(distances)) if distances.size else float("nan")


def within_px(errors: np.ndarray, limit: float, image_size: Sequence[int] = (96, 96)) -> float:
    """Percent of labelled points at most `limit` pixels (Euclidean) from the truth, measured at 96x96.

    errors: float [..., 2] in pixels of images of `image_size` (height, width), scaled to 96x96 here.
    Source: percentage of correct keypoints (Yang & Ramanan 2013) with a limit in pixels, as the original
    study counts accuracy within 5, 10 and 15 px.
    """
    return float(cumulative_error(errors, [limit], image_size)[0])


def cumulative_error(errors: np.ndarray, limits: Sequence[float], image_size: Sequence[int] = (96, 96)) -> np.ndarray:
    """The cumulative error curve: percent of labelled points within each limit, float64 [L].

    errors: float [..., 2] in pixels of images of `image_size`; limits: [L], in pixels at 96x96.
    Source: the curves of the 300-W challenge (Sagonas et al. 2013), over points instead of faces because many
    faces here carry four points only.
    """
    limits = np.asarray(limits, dtype=np.float64)
    distances = np.sort(distances_px(scaled_to_reference(_labelled(errors), image_size)))
    if not distances.size:
        return np.full(limits.shape, np.nan)
    return 100.0 * np.searchsorted(distances, limits, side="right") / distances.size


def face_errors_px(errors: np.ndarray) -> np.ndarray:
    """Mean Euclidean distance of each face over its labelled points, float64 [N]; NaN for a face without any.

    errors: float [N, K, 2].
    """
    distances = distances_px(errors)
    count = (~np.isnan(distances)).sum(axis=1)
    total = np.nansum(distances, axis=1)
    return np.divide(total, count, out=np.full(len(errors), np.nan), where=count > 0)


def count_points(errors: np.ndarray) -> int:
    """How many points are labelled. errors: float [..., 2]."""
    return len(_labelled(errors))


def bias_and_spread_px(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean error and standard deviation over faces, each float64 [K, 2]; NaN for a point never labelled.

    errors: float [N, K, 2]. The deviation is the population's (divided by the number of labelled faces).
    """
    points = [_labelled(errors[:, k]) for k in range(errors.shape[1])]
    nothing = np.full(2, np.nan)
    bias = np.stack([p.mean(axis=0) if len(p) else nothing for p in points])
    spread = np.stack([p.std(axis=0) if len(p) else nothing for p in points])
    return bias, spread


def _labelled(errors: np.ndarray) -> np.ndarray:
    """float64 [M, 2]: the points with both coordinates, flattened."""
    flat = errors.reshape(-1, 2).astype(np.float64)
    return flat[~np.isnan(flat).any(axis=1)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
