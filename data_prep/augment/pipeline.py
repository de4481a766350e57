"""Steps one after the other, on images and keypoints together, and the way back.

- All steps that move pixels (geometry.py) are composed to one matrix per face and one bilinear warp; whatever their
  place in the list, they come before those that change gray values (pixels.py), which follow in their order.
- **Beyond the border the outermost pixels are repeated**: an even fill would put a sharp edge next to the face, which
  no face in use has, and tell the network how the face was turned.
- **A point outside the image has no label (NaN)**, whether it was outside before or is after: the network is asked
  for nothing that it cannot see. NaN stays NaN. A covered point keeps its label.
- In a mirror image every point takes the name of its counterpart: the left eye is a right eye there.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import Schema


@dataclass(frozen=True)
class Drawn:
    """What a pipeline does to B faces; made by `Pipeline.draw`.

    matrices: float64 [B, 2, 3], from pixels (x, y, 1) of the original to pixels of the changed image.
    flipped: bool [B], where left and right are exchanged. size: (height, width) of the images, before and after.
    """

    matrices: np.ndarray
    flipped: np.ndarray
    size: tuple[int, int]
    schema: Schema
    moves: bool  # whether there is a step that moves pixels
    pixel_steps: tuple
    pixel_seed: np.random.SeedSequence

    def apply(self, images: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [B, H, W] and keypoints float32 [B, K, 2] in pixels, changed; new arrays, the same each time.

        Raises DataError where they are not those of B faces of this size and schema.
        """
        expected = (len(self.matrices), *self.size), (len(self.matrices), len(self.schema), 2)
        if (images.shape, keypoints.shape) != expected or images.dtype != np.uint8:
            raise DataError(
                f"images {images.dtype} {list(images.shape)} and keypoints {list(keypoints.shape)}; "
                f"the draw accepts uint8 {list(expected[0])} and {list(expected[1])}"
            )
        changed, rng = self._warp(images), np.random.default_rng(self.pixel_seed)
        for step in self.pixel_steps:
            changed = step(changed, rng)
        return changed, self.forward(keypoints)

    def forward(self, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints [B, K, 2] of the original faces on the changed ones, float32; NaN outside either image."""
        moved = transform(self.matrices, self._inside(keypoints))
        return self._exchange(self._inside(moved)).astype(np.float32)

    def inverse(self, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints [B, K, 2] on the changed faces, such as predictions, on the original ones, float32."""
        back = np.linalg.inv(self.matrices[:, :, :2])
        inverted = np.concatenate([back, -back @ self.matrices[:, :, 2:]], axis=2)
        return transform(inverted, self._exchange(keypoints)).astype(np.float32)

    def _warp(self, images: np.ndarray) -> np.ndarray:
        if not self.moves:
            return images.copy()
        import cv2

        changed, size = np.empty_like(images, order="C"), self.size[::-1]
        for image, matrix, result in zip(images, self.matrices, changed, strict=True):
            cv2.warpAffine(image, matrix, size, dst=result, borderMode=cv2.BORDER_REPLICATE)
        return changed

    def _exchange(self, keypoints: np.ndarray) -> np.ndarray:
        return np.where(self.flipped[:, None, None], keypoints[:, self.schema.mirror], keypoints)

    def _inside(self, keypoints: np.ndarray) -> np.ndarray:
        """NaN for points outside the image, which reaches half a pixel beyond the centres of its outermost ones."""
        inside = (keypoints >= -0.5) & (keypoints <= np.array(self.size[::-1]) - 0.5)
        return np.where(inside.all(axis=-1, keepdims=True), keypoints, np.nan)


class Pipeline:
    """Steps of geometry.py and pixels.py for faces with the points of a schema.

    A pipeline is a function `(images, keypoints, seed) -> (images, keypoints)`; images uint8 [B, H, W], keypoints
    float32 [B, K, 2] in pixels, NaN where unlabelled; the seed is an int or a tuple of ints, each 0 or more.
    """

    def __init__(self, steps: tuple, schema: Schema):
        self.geometry = tuple(step for step in steps if hasattr(step, "matrices"))
        self.pixel_steps = tuple(step for step in steps if not hasattr(step, "matrices"))
        self.schema = schema

    def __call__(self, images: np.ndarray, keypoints: np.ndarray, seed) -> tuple[np.ndarray, np.ndarray]:
        return self.draw(len(images), images.shape[1:], seed).apply(images, keypoints)

    def draw(self, count: int, size: tuple[int, int], seed) -> Drawn:
        """What the call does with `count` images of this (height, width) and this seed.

        Raises DataError where the steps do not leave images of that size.
        """
        for_geometry, for_pixels = np.random.SeedSequence(seed).spawn(2)
        rng, matrices, left = np.random.default_rng(for_geometry), np.tile(np.eye(3), (count, 1, 1)), tuple(size)
        for step in self.geometry:
            matrices = step.matrices(rng, count, left) @ matrices
            left = step.size_after(left)
        if left != tuple(size):
            raise DataError(
                f"the steps make images of {left[0]}x{left[1]} pixels from {size[0]}x{size[1]}; "
                "the same size is needed, for a network has one"
            )
        flipped = np.linalg.det(matrices[:, :2, :2]) < 0
        moves = bool(self.geometry)
        return Drawn(matrices[:, :2], flipped, left, self.schema, moves, self.pixel_steps, for_pixels)


def transform(matrices: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Points [B, K, 2] by matrices [B, 2, 3], float64; NaN where either coordinate is."""
    return keypoints @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]
