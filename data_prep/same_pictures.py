"""Which face of one set shows the same picture as a face of another, cropped otherwise or in colour."""

import numpy as np

from data_prep import relatives
from data_prep.faceset import FaceSet

# The window in which a Kaggle row and a frame are compared, as in `relatives.FACE`, and the correlation from which
# they are one picture. No first-source row of kaggle15, none of which is such a frame, comes above 0.94.
WINDOW = (48, 1.15, 0.9)
SAME_PICTURE = 0.95


def match(faces: FaceSet, frames: FaceSet) -> tuple[np.ndarray, np.ndarray]:
    """For each of N faces the frame that looks most like it, int64 [N], and their correlation, float32 [N].

    Pearson's correlation between the gray values of both in `WINDOW`, eyes aligned; at any image size.
    """
    from tqdm import tqdm

    ours, theirs = _window(faces), _window(frames)
    best, correlation = np.empty(len(ours), np.int64), np.empty(len(ours), np.float32)
    for start in tqdm(range(0, len(ours), 512), desc="matching rows with frames", disable=None):
        part = slice(start, start + 512)
        likeness = ours[part] @ theirs.T
        best[part], correlation[part] = likeness.argmax(axis=1), likeness.max(axis=1)
    return best, correlation


def _window(faces: FaceSet) -> np.ndarray:
    eyes = relatives.eye_centres(faces.keypoints, faces.schema, faces.images.shape[1:])
    pairs = zip(faces.images, eyes, strict=True)
    flat = np.stack([relatives.aligned(image, points, *WINDOW).ravel() for image, points in pairs]).astype(np.float32)
    return relatives.normalised(flat - flat.mean(axis=1, keepdims=True))
