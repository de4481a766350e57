"""Keypoints as small integers that compress well: how a light record holds predictions and errors.

Steps of 1/64 px would need 16 bits a coordinate and leave deflate nothing to find. But a point moves much as its
neighbour on the face does, and a face much as the one before it in the file (often the same clip), so the differences
are small; with their sign in the last bit nearly all high bytes are 0. A third to a half of float16.
"""

import numpy as np

ABSENT = np.int16(-(2**15))  # no value (NaN)
LARGEST = 2**15 - 1


def pack(points: np.ndarray, step: float) -> np.ndarray:
    """uint8 [2, N, K, 2], low and high bytes, of float points [N, K, 2] rounded to multiples of `step`.

    What is not finite becomes NaN. Raises OverflowError where a value is more than `LARGEST` steps.
    """
    finite = np.isfinite(points)
    whole = np.round(np.where(finite, points, 0.0) / step)
    if np.abs(whole).max(initial=0) > LARGEST:
        raise OverflowError(f"{np.abs(whole).max():.0f} steps of {step} px, at most {LARGEST} fit")
    changes = np.where(finite, whole, ABSENT).astype(np.int16)
    for axis in (1, 0):  # from point to point, then from face to face; differences wrap modulo 2^16, as sums do
        changes = np.diff(changes, axis=axis, prepend=np.int16(0))
    folded = ((changes << 1) ^ (changes >> 15)).view(np.uint16)  # 0, -1, 1, -2 ... become 0, 1, 2, 3 ...
    return np.stack([folded & 255, folded >> 8]).astype(np.uint8)


def unpack(packed: np.ndarray, step: float) -> np.ndarray:
    """float32 [N, K, 2]: what `pack` rounded, NaN where it was not finite."""
    low, high = packed.astype(np.uint16)
    folded = low | (high << 8)
    changes = (folded >> 1).view(np.int16) ^ -(folded & 1).view(np.int16)
    for axis in (0, 1):
        changes = np.cumsum(changes, axis=axis, dtype=np.int16)
    return np.where(changes == ABSENT, np.float32(np.nan), changes * np.float32(step))
