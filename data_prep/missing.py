"""Fill missing keypoints, or not: the label treatments that the study compares.

Every treatment learns from training rows only. It changes the labels that training and validation loss use,
never the true labels that scores are made on.
"""

import numpy as np

from data_prep.faceset import observed

TREATMENTS = {
    "ffill": "the previous available value in file order, over training rows only (the original study's way)",
    "mean": "the mean of the training rows",
    "drop": "rows with a missing point are left out of training and validation",
    "none": "nothing is filled: the loss counts labelled points only",
}


def mean_face(train_keypoints: np.ndarray) -> np.ndarray:
    """float32 [K, 2]: each point's mean over the rows that label it; NaN for a point that no row labels."""
    seen = observed(train_keypoints)[..., None]
    total = np.where(seen, train_keypoints, 0).sum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (total / seen.sum(axis=0)).astype(np.float32)


def fill(
    treatment: str, train: np.ndarray, train_order: np.ndarray, other: np.ndarray, other_order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labels after treatment, for the training rows and for the rows of another split.

    train, other: float32 [N, K, 2] and [M, K, 2] in pixels, NaN where unlabelled.
    train_order, other_order: int [N], [M], positions in the source file, ascending.

    ffill: a gap takes the last earlier training row's label of that point; where there is none, the training
    mean. mean: a gap takes the training mean. drop, none: returned as they are (`drop` leaves rows out, see
    `kept`). A point that no training row labels stays NaN.
    """
    if treatment not in TREATMENTS:
        raise ValueError(f"unknown treatment {treatment!r}; accepted: {', '.join(TREATMENTS)}")
    if treatment in ("drop", "none"):
        return train.copy(), other.copy()
    mean = mean_face(train)
    if treatment == "mean":
        return _where_observed(train, mean), _where_observed(other, mean)
    last = _last_labelled(train)
    before_other = np.searchsorted(train_order, other_order)
    return (
        _where_observed(train, _take(train, last[:-1], mean)),
        _where_observed(other, _take(train, last[before_other], mean)),
    )


def kept(treatment: str, keypoints: np.ndarray) -> np.ndarray:
    """bool [N]: the rows of a training or validation split that a treatment keeps."""
    if treatment == "drop":
        return observed(keypoints).all(axis=1)
    return np.ones(len(keypoints), dtype=bool)


def _last_labelled(keypoints: np.ndarray) -> np.ndarray:
    """int [N + 1, K]: entry [i, k] is the last row before the i-th that labels point k, or -1."""
    rows = np.where(observed(keypoints), np.arange(len(keypoints))[:, None], -1)
    first = np.full((1, keypoints.shape[1]), -1)
    return np.maximum.accumulate(np.concatenate([first, rows]), axis=0)


def _take(keypoints: np.ndarray, rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Labels of the given rows [M, K] per point; the mean face where the row is -1. Returns [M, K, 2]."""
    values = np.take_along_axis(keypoints, np.maximum(rows, 0)[..., None], axis=0)
    return np.where(rows[..., None] >= 0, values, mean)


def _where_observed(keypoints: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    return np.where(observed(keypoints)[..., None], keypoints, otherwise).astype(np.float32)
