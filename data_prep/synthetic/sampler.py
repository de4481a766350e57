"""Draw labelled faces from the embedded model.

    from data_prep.synthetic.sampler import sample
    faces = sample(7049, seed=0)

Labels follow the Kaggle file's first source: 15 points drawn from the Gaussian of its labels (which fixes
position, scale, rotation and the visible part of shape), the other points and the texture from the model's
joint Gaussian given those 15. The picture is then painted so that its features lie where the labels are.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.faceset import DataError, FaceSet
from data_prep.schema import IBUG68, KAGGLE15, Schema, kaggle15_from_ibug68
from data_prep.synthetic import model as face_model
from data_prep.synthetic import structure
from data_prep.synthetic.background import head_mask, scene
from data_prep.synthetic.mesh import CANVAS
from data_prep.synthetic.model import FaceModel
from data_prep.synthetic.photo import photographed
from data_prep.synthetic.shapes import alignment, inverse, moved, smooth_moves, with_lips_apart

SIZE = 96  # pixels a side of the pictures
CHUNK = 256  # faces per random stream and matrix product
LABEL_NOISE = 0.7  # px, Gaussian: by how much the labels of rows with the same picture differ
GRAIN = 0.7  # share of the detail that the modes leave out, given back as fine noise; more looks like film
SCENES = 0.5  # share of faces before a drawn scene instead of the model's own background
FIT_TOLERANCE = 0.6  # px: how closely the 68 points keep to the 15 drawn labels before posing


def sample(
    count: int,
    seed: int,
    schema: Schema = KAGGLE15,
    missing_structure: bool = True,
    photo: bool = True,
    spread: float = 1.0,
    model: FaceModel | None = None,
) -> FaceSet:
    """`count` faces of 96x96 pixels, the same for the same seed on one machine.

    missing_structure: with 15 points, leave out labels and repeat pictures as the Kaggle training file does
        (`structure.draw`); repeated pictures carry labels that differ by Gaussian noise of 0.7 px, all
        others are exact. Otherwise every face has all its points and `sources` is 0.
    photo: add light, occluders, blur, noise and compression; without it the plain model speaks.
    spread: factor on the standard deviation of the labels about their mean.
    model: another model than the embedded one.
    """
    if schema not in (KAGGLE15, IBUG68):
        raise DataError(f"faces can be drawn with {KAGGLE15.name} or {IBUG68.name}, not {schema.name}")
    if count < 1:
        raise DataError(f"count must be at least 1, got {count}")
    painter = Painter(model or face_model.load())
    face_seed, structure_seed = np.random.SeedSequence(seed).spawn(2)
    images, points = [], []
    for start, stream in zip(range(0, count, CHUNK), face_seed.spawn(-(-count // CHUNK)), strict=True):
        drawn = painter.draw(min(CHUNK, count - start), np.random.default_rng(stream), spread)
        images.append(painter.paint(drawn, photo))
        points.append(drawn.points)
    images, points = np.concatenate(images), np.concatenate(points)
    keypoints = points if schema is IBUG68 else kaggle15_from_ibug68(points)
    sources = np.zeros(count, np.int64)
    if missing_structure and schema is KAGGLE15:
        rng = np.random.default_rng(structure_seed)
        drawn = structure.draw(count, painter.model.patterns, painter.model.pattern_counts, rng)
        images, keypoints = images[drawn.original], keypoints[drawn.original]
        repeated = drawn.original != np.arange(count)
        keypoints[repeated] += rng.normal(0, LABEL_NOISE, keypoints[repeated].shape)
        keypoints[~drawn.carried] = np.nan
        sources = drawn.sources
    rows = np.arange(count, dtype=np.int64)
    return FaceSet(images, keypoints.astype(np.float32), rows, rows.copy(), sources, schema)


@dataclass(frozen=True)
class Drawn:
    """Faces before painting. points: [N, 68, 2], pixels of the 96x96 picture. shapes: [N, 68, 2], the same
    points in the canvas. similarity: complex [N, 2] (a, b), picture = a * canvas + b. textures: float32
    [N, CANVAS, CANVAS], gray levels in the mean shape. rng: the stream that drew them.
    """

    points: np.ndarray
    shapes: np.ndarray
    similarity: np.ndarray
    textures: np.ndarray
    rng: np.random.Generator


class Painter:
    """The model turned into the matrices that drawing needs."""

    def __init__(self, model: FaceModel):
        self.model, self.mesh = model, model.mesh
        shape, rest = model.blocks()
        few = kaggle15_from_ibug68(model.shape_basis.astype(np.float64)).reshape(len(model.shape_basis), -1)
        self.reference = kaggle15_from_ibug68(model.mean_shape[None].astype(np.float64))[0]
        # Shape coefficients given 15 aligned points: Gaussian conditioning with a little label noise.
        gain = np.linalg.solve(few.T @ few + FIT_TOLERANCE**2 * np.eye(30), few.T).T  # [S, 30]
        self.from_labels = gain
        self.shape_rest = _root(np.eye(len(gain)) - gain @ few.T)
        label_mean = model.label_mean[None].astype(np.float64)
        self.label_centre = moved(label_mean, alignment(label_mean, self.reference))[0]
        # The two sets' means differ by up to 2 px; reaching that with shape modes would press the eyes shut.
        mean_shape = model.mean_shape.astype(np.float64)
        self.mean_shape = mean_shape + smooth_moves(self.label_centre - self.reference, mean_shape)
        # Texture and brightness given shape.
        within, across, other = (
            model.correlation[shape, shape],
            model.correlation[rest, shape],
            model.correlation[rest, rest],
        )
        self.texture_from_shape = across @ np.linalg.pinv(within, rcond=1e-3)
        self.texture_rest = _root(other - self.texture_from_shape @ across.T)
        self.label_root = _root(model.label_covariance.astype(np.float64))
        self.background = head_mask(model.mean_shape, CANVAS)
        self.basis = model.texture_basis.reshape(len(model.texture_basis), -1)

    def draw(self, count: int, rng: np.random.Generator, spread: float = 1.0) -> Drawn:
        """Points, poses and textures of `count` faces."""
        labels = self.model.label_mean + spread * (rng.standard_normal((count, 30)) @ self.label_root.T).reshape(
            count, 15, 2
        )
        to_canvas = alignment(labels, self.reference)
        wanted = (moved(labels, to_canvas) - self.label_centre).reshape(count, 30)
        shape = wanted @ self.from_labels.T + rng.standard_normal((count, len(self.from_labels))) @ self.shape_rest.T
        shapes = self._unfolded(shape)
        others = shape @ self.texture_from_shape.T
        others += rng.standard_normal(others.shape) @ self.texture_rest.T
        textures = self._textures(others.astype(np.float32), rng)
        to_picture = inverse(to_canvas)
        return Drawn(moved(shapes, to_picture), shapes, to_picture, textures, rng)

    def _unfolded(self, shape: np.ndarray) -> np.ndarray:
        """Shapes [N, 68, 2] of coefficients [N, S]; a face whose mesh folds is drawn nearer the mean."""
        factor = np.ones(len(shape))
        for _ in range(12):
            moves = np.tensordot(factor[:, None] * shape, self.model.shape_basis, 1)
            shapes = with_lips_apart(self.mean_shape + moves)
            folded = self.mesh.folded(self.mesh.place(shapes))
            if not folded.any():
                break
            factor[folded] *= 0.85
        return shapes

    def _textures(self, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Gray levels [N, CANVAS, CANVAS] of texture and brightness coefficients [N, M + 2]."""
        model = self.model
        normal = (others[:, :-2] @ self.basis).reshape(-1, *model.texture_mean.shape) + model.texture_mean
        detail = rng.standard_normal(normal.shape, dtype=np.float32)
        for face, grain in zip(normal, detail, strict=True):
            face += GRAIN * model.texture_residual * cv2.GaussianBlur(grain, (0, 0), 0.7)
        mean, log_std = (model.brightness_mean + model.brightness_std * others[:, -2:]).T
        return (mean[:, None, None] + np.exp(log_std)[:, None, None] * normal).astype(np.float32)

    def paint(self, drawn: Drawn, photo: bool = True) -> np.ndarray:
        """uint8 [N, 96, 96]: each texture warped from the mean shape to its face's points."""
        pictures = np.empty((len(drawn.points), SIZE, SIZE), np.uint8)
        targets = moved(self.mesh.place(drawn.shapes), drawn.similarity)
        lookups = self.mesh.lookups(targets, self.mesh.vertices[None], SIZE)
        for i, lookup in enumerate(lookups):
            texture = drawn.textures[i]
            if photo and drawn.rng.random() < SCENES:
                texture = texture + self.background * (scene(CANVAS, drawn.rng) - texture)
            picture = cv2.remap(texture, lookup, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
            if photo:
                pictures[i] = photographed(picture, drawn.points[i], drawn.rng)
            else:
                pictures[i] = np.clip(picture, 0, 255).round()
        return pictures


def _root(covariance: np.ndarray) -> np.ndarray:
    """A matrix R with R R^T = covariance; rounding may have made small eigenvalues negative."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0))
