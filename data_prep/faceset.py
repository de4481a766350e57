"""The contract: what every source yields and every other part of the study works on."""

from dataclasses import dataclass, replace

import numpy as np

from data_prep.schema import Schema


class DataError(ValueError):
    """Input that cannot be used. Its message is one line: what is wrong, where, what would be accepted."""


@dataclass(frozen=True)
class FaceSet:
    """N labelled faces.

    images: uint8 [N, H, W], gray.
    keypoints: float32 [N, K, 2], (x, y) in pixels, x to the right, y down, (0, 0) the centre of the top-left
        pixel; NaN, NaN where a point is unlabelled.
    groups: int64 [N]; faces of one group must stay in one split (same pixels, or one person).
    ids: [N], int64 row numbers of the source file (0-based) or `folder/name` strings.
    sources: int64 [N], which labelling rule a row follows (1-based; 0 where the data set has only one).
    schema: names the K points.
    """

    images: np.ndarray
    keypoints: np.ndarray
    groups: np.ndarray
    ids: np.ndarray
    sources: np.ndarray
    schema: Schema

    def __post_init__(self):
        n = len(self.images)
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 [N, H, W], got {self.images.dtype} {self.images.shape}")
        if self.keypoints.shape != (n, len(self.schema), 2) or self.keypoints.dtype != np.float32:
            raise ValueError(
                f"keypoints must be float32 [{n}, {len(self.schema)}, 2], "
                f"got {self.keypoints.dtype} {self.keypoints.shape}"
            )
        for name in ("groups", "ids", "sources"):
            if getattr(self, name).shape != (n,):
                raise ValueError(f"{name} must be [{n}], got {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def observed(self) -> np.ndarray:
        """bool [N, K]: the points that carry a label."""
        return observed(self.keypoints)

    def take(self, rows: np.ndarray) -> "FaceSet":
        """The faces at these positions (an index array or a boolean mask), in that order."""
        arrays = ("images", "keypoints", "groups", "ids", "sources")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})


def observed(keypoints: np.ndarray) -> np.ndarray:
    """bool [..., K] for keypoints [..., K, 2]: true where neither coordinate is NaN."""
    return ~np.isnan(keypoints).any(axis=-1)
