"""How far labels of one and the same image are apart: the error that a perfect network would still show."""

import numpy as np

from data_prep.faceset import FaceSet, observed

REFERENCE_SIZE = 96  # pixels in which the study gives every figure


def noise_floor(faces: FaceSet) -> dict | None:
    """The spread of one label, from images that were labelled more than once; None without such images.

    rmse_px: root mean square of the coordinate differences between two labels of one image, over sqrt(2), in
        pixels at 96x96: with independent errors of equal spread, what a perfect prediction scores against one
        of the labels (Bland & Altman 1996, within-subject standard deviation from duplicate measurements).
    pairs: pairs of labels (each further copy of an image against its first) with a point in common. Pairs that agree
        to the last digit do not count: there a label was copied, not made again.
    points: how many points they have in common.
    """
    flat = np.ascontiguousarray(faces.images).reshape(len(faces), -1)
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(image.tobytes(), row), row) for row, image in enumerate(flat)]
    pairs = [(a, b) for a, b in pairs if a != b]
    if not pairs:
        return None
    a, b = np.array(pairs).T
    height, width = faces.images.shape[1:]
    scale = REFERENCE_SIZE / np.array([width, height])
    difference = (faces.keypoints[a].astype(np.float64) - faces.keypoints[b]) * scale
    both = observed(difference)
    both &= (np.where(both[..., None], difference, 0) != 0).any(axis=(1, 2))[:, None]
    if not both.any():
        return None
    return {
        "rmse_px": round(float(np.sqrt(np.mean(difference[both] ** 2) / 2)), 4),
        "pairs": int(both.any(axis=1).sum()),
        "points": int(both.sum()),
    }
