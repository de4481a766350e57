"""The fitted face model: what `face_model.npz` holds, and how it is packed.

The fit uses every face together with its mirror image, so each mode is either symmetric or antisymmetric
(its parity, +1 or -1) and the file stores the left half of each texture mode only.
"""

import os
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.synthetic.mesh import CANVAS, Mesh

MODEL_FILE = Path(__file__).with_name("face_model.npz")


@dataclass(frozen=True)
class FaceModel:
    """A joint Gaussian over shape, texture and brightness, and the statistics of the labels to imitate.

    mean_shape: float [68, 2], canvas pixels; symmetric about the canvas' middle column.
    shape_basis: float [S, 68, 2], displacement per standard deviation, in canvas pixels.
    triangles: int [T, 3], the mesh of `Mesh`.
    texture_mean: float [CANVAS, CANVAS], brightness-normalised (0 mean, 1 std over the face).
    texture_basis: float [M, CANVAS, CANVAS], texture per standard deviation.
    texture_residual: float [CANVAS, CANVAS], std of what the modes leave out.
    brightness_mean: float [2], brightness_std: float [2], of (mean, log std) of a face's gray levels.
    correlation: float [S + M + 2, S + M + 2], of the standardised shape, texture and brightness coefficients.
    label_mean: float [15, 2], label_covariance: float [30, 30], of complete Kaggle labels, in pixels at 96x96.
    patterns: bool [P, 15] and pattern_counts: int [P], which points first-source rows carry, complete first.
    report: float [3], the fitting set's faces, and the variance that the shape and texture modes hold.
    """

    mean_shape: np.ndarray
    shape_basis: np.ndarray
    triangles: np.ndarray
    texture_mean: np.ndarray
    texture_basis: np.ndarray
    texture_residual: np.ndarray
    brightness_mean: np.ndarray
    brightness_std: np.ndarray
    correlation: np.ndarray
    label_mean: np.ndarray
    label_covariance: np.ndarray
    patterns: np.ndarray
    pattern_counts: np.ndarray
    report: np.ndarray

    @property
    def mesh(self) -> Mesh:
        return Mesh(self.mean_shape, self.triangles)

    def blocks(self) -> tuple[slice, slice]:
        """Positions of the shape coefficients, and of all others, in `correlation`."""
        shape = len(self.shape_basis)
        return slice(0, shape), slice(shape, len(self.correlation))


def save(model: FaceModel, path: Path, gray_step: float = 0.25) -> None:
    """Write the model as one compressed npz. gray_step: rounding of texture modes, in gray levels per std.

    Modes of little variance span few steps and compress well; a mode beyond int8's range gets wider steps.
    """
    gray = np.exp(model.brightness_mean[1])  # gray levels per unit of normalised texture
    half = CANVAS // 2
    basis = model.texture_basis[:, :, :half]
    sides = model.texture_basis[:, :, ::-1][:, :, :half]
    parity = np.sign((basis * sides).sum(axis=(1, 2)))
    steps = np.maximum(gray_step / gray, np.abs(basis).max(axis=(1, 2)) / 127)
    arrays = {f.name: getattr(model, f.name).astype(np.float32) for f in fields(FaceModel)}
    arrays.update(
        triangles=model.triangles.astype(np.int16),
        texture_mean=model.texture_mean[:, :half].astype(np.float16),
        texture_residual=model.texture_residual[:, :half].astype(np.float16),
        texture_basis=np.round(basis / steps[:, None, None]).astype(np.int8),
        texture_steps=steps.astype(np.float32),
        texture_parity=parity.astype(np.int8),
        correlation=model.correlation.astype(np.float16),
        patterns=model.patterns.astype(bool),
        pattern_counts=model.pattern_counts.astype(np.int32),
    )
    aside = path.with_name(path.name + ".partial")
    with open(aside, "wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(aside, path)


@lru_cache(maxsize=2)
def load(path: Path = MODEL_FILE) -> FaceModel:
    """Read and unpack a model written by `save`."""
    if not Path(path).is_file():
        raise DataError(f"no face model at {path}: write one with `python -m data_prep.synthetic.fit`")
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    parity = arrays.pop("texture_parity").astype(np.float32)[:, None, None]
    basis = arrays["texture_basis"] * arrays.pop("texture_steps")[:, None, None]
    arrays["texture_basis"] = np.concatenate([basis, parity * basis[:, :, ::-1]], axis=2)
    for name in ("texture_mean", "texture_residual"):
        left = arrays[name].astype(np.float32)
        arrays[name] = np.concatenate([left, left[:, ::-1]], axis=1)
    arrays["correlation"] = arrays["correlation"].astype(np.float64)
    return FaceModel(**arrays)
