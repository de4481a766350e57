"""The scores, as pure functions of keypoint errors.

An error array is float [..., K, 2], predicted minus true (x, y) in pixels, NaN where a point is unlabelled.
Unlabelled points are left out of every score. Where nothing at all is labelled a score is NaN, never 0.
Sums run in float64 whatever the input.
"""

from collections.abc import Sequence

import numpy as np

# Kaggle's images: the frame in which every pixel figure of this study is given.
REFERENCE_SIZE = 96

# Eyes nearer than this at 96x96 coincide: a record holds true positions rounded (`models.runs`), by 0.3 px in large
# ones of 68 points, and an error divided by such a distance would say nothing about the network.
LEAST_EYE_DISTANCE_PX = 1.0


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


def smooth_l1_224(errors: np.ndarray) -> float:
    """Smooth L1 on the targets of the 68-point projects, (p - 100) / 50 at 224x224; no unit.

    errors: float [..., 2] in pixels at 96x96. With e = error * 224 / 96 / 50 a coordinate counts e^2 / 2 below 1 and
    |e| - 1 / 2 from there, averaged over all labelled coordinates. Source: Girshick 2015, Fast R-CNN (ICCV); PyTorch's
    `SmoothL1Loss` with its default beta of 1, which those projects use.
    """
    return _mean(_smooth_l1(in_targets_224(_labelled(errors))))


def mse_224(errors: np.ndarray) -> float:
    """Mean squared error on the same targets, over all labelled coordinates; no unit. errors: as there."""
    return _mean(in_targets_224(_labelled(errors)) ** 2)


def in_targets_224(errors: np.ndarray | float) -> np.ndarray | float:
    """Errors in pixels at 96x96 -> errors of the targets (p - 100) / 50 at 224x224."""
    return errors * (224 / REFERENCE_SIZE / 50)


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


def face_nme_pct(errors: np.ndarray, eye_distance: np.ndarray) -> np.ndarray:
    """Normalised mean error of each face in percent, float64 [N]; NaN for a face that does not count.

    The mean Euclidean distance over the face's labelled points, divided by the distance between its eyes. errors:
    float [N, K, 2]; eye_distance: float [N], of the true labels, in the same pixels at 96x96 (`Schema.eye_distance`).
    A face without a labelled point, with an unlabelled eye, or with eyes that coincide (`LEAST_EYE_DISTANCE_PX`)
    does not count. Source: Sagonas et al. 2013, 300-W (ICCV workshops), with the outer eye corners; for 15 points the
    eye centres stand in for them, so the percentages of the two schemas do not compare.
    """
    apart = np.asarray(eye_distance, dtype=np.float64) >= LEAST_EYE_DISTANCE_PX
    return 100.0 * np.divide(face_errors_px(errors), eye_distance, out=np.full(len(errors), np.nan), where=apart)


def nme_pct(face_nme: np.ndarray) -> float:
    """Normalised mean error: the mean over the faces that count, in percent.

    face_nme: float [N], of `face_nme_pct`. Source: as there. Every face weighs the same, however many labels it has.
    """
    return _mean(_counting(face_nme))


def failure_rate_pct(face_nme: np.ndarray, limit_pct: float) -> float:
    """Percent of the faces that count whose normalised mean error is above `limit_pct`.

    face_nme: float [N], of `face_nme_pct`. Source: Wu et al. 2018, Look at Boundary (CVPR), WFLW, with 10 %; 8 % is
    the limit usual on 300-W since Trigeorgis et al. 2016, Mnemonic Descent Method (CVPR). The limit is no failure.
    """
    return 100.0 * _mean(_counting(face_nme) > limit_pct)


def area_under_curve_pct(face_nme: np.ndarray, limit_pct: float) -> float:
    """Area under the cumulative error curve of the faces from 0 to `limit_pct`, in percent of the whole: 100 is best.

    face_nme: float [N], of `face_nme_pct`. The curve is the share of faces with an error of at most x, a step
    function; a face with error e adds the stretch from e to the limit, so the area is exactly the mean of
    max(0, 1 - e / limit). Source: Wu et al. 2018 (10 %); Bulat & Tzimiropoulos 2017, How far are we from solving the
    2D & 3D face alignment problem (ICCV), who divide by the size of the face's box instead.
    """
    return 100.0 * _mean(np.maximum(0.0, 1.0 - _counting(face_nme) / limit_pct))


def count_faces(face_nme: np.ndarray) -> int:
    """How many faces count in `nme_pct` and its like. face_nme: float [N]."""
    return len(_counting(face_nme))


def variation_px(points: np.ndarray) -> float:
    """How much points move between faces: root mean square distance from their mean over faces, per coordinate.

    points: float [N, K, 2] in pixels, NaN where a point does not count. NaN where no point counts.
    """
    mean, _ = bias_and_spread_px(points)
    return rmse_px(points - mean)


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


def _counting(face_nme: np.ndarray) -> np.ndarray:
    """float64 [M]: without the faces that do not count."""
    return face_nme[~np.isnan(face_nme)].astype(np.float64)


def _smooth_l1(errors: np.ndarray) -> np.ndarray:
    size = np.abs(errors)
    return np.where(size < 1, size**2 / 2, size - 0.5)


def _labelled(errors: np.ndarray) -> np.ndarray:
    """float64 [M, 2]: the points with both coordinates, flattened."""
    flat = errors.reshape(-1, 2).astype(np.float64)
    return flat[~np.isnan(flat).any(axis=1)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
