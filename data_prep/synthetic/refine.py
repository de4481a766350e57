"""Move tracked points to where the face model sees them.

Points tracked through video sit a pixel or two off, and a mean over misplaced eyes is a blurred eye. Each
face is compared with its own reconstruction from few modes, which has its features in the mean places; the
optical flow between the two, averaged around each point, says how far the point is off (a groupwise
registration in the sense of Cootes et al., "Groupwise construction of appearance models", BMVC 2005).
"""

import cv2
import numpy as np

STEP = 0.7  # share of the measured flow to follow per round
LIMIT = 3.0  # canvas pixels; a larger flow is a mismatch, not a correction


def corrections(faces: np.ndarray, reconstructions: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far each point is off, [N, K, 2] in canvas pixels, zero on average over the faces.

    faces, reconstructions: float [N, H, W] in the mean shape, normalised brightness. points: [K, 2], the mean
    shape. The average is taken out because the points' mean is the labelling rule, which is kept.
    """
    flow_of = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow_of.setPatchSize(8)
    flow_of.setPatchStride(3)
    flow_of.setFinestScale(0)
    x, y = points.astype(np.float32).T[:, :, None]
    moves = np.empty((len(faces), len(points), 2))
    for i, (face, model) in enumerate(zip(faces, reconstructions, strict=True)):
        flow = flow_of.calc(_bytes(model), _bytes(face), None)
        flow = cv2.GaussianBlur(flow, (0, 0), 2.0)
        moves[i] = cv2.remap(flow, x, y, cv2.INTER_LINEAR)[:, 0]
    moves = np.clip(moves, -LIMIT, LIMIT)
    return STEP * (moves - moves.mean(axis=0))


def _bytes(texture: np.ndarray) -> np.ndarray:
    return np.clip(128 + 45 * texture, 0, 255).astype(np.uint8)
