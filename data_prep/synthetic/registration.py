"""Bring every face of a set into the canvas, where its features have the mean face's places.

Points tracked through video sit a pixel or two off, and a mean over misplaced eyes is a blurred eye. So each
face is compared with its own reconstruction from a few modes, which has its features in the mean places; the
optical flow between the two says how far each point is off, and the points follow it (a groupwise
registration, after Cootes et al., "Groupwise construction of appearance models", BMVC 2005).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.schema import kaggle15_from_ibug68
from data_prep.synthetic import modes
from data_prep.synthetic.mesh import CANVAS, Mesh
from data_prep.synthetic.shapes import alignment, inverse, mirrored, moved, to_complex, with_lips_apart

EYE_DISTANCE = 36.0  # canvas pixels; as in the Kaggle crops, so that drawn faces are neither enlarged nor shrunk
EYE_LEVEL = 54.0  # canvas row of the eyes
ROUNDS = 3
STEP = 0.6  # share of the measured flow to follow per round
LIMIT = 3.0  # canvas pixels; a larger flow is a mismatch, not a correction
BATCH = 256  # faces reconstructed at once
KEPT = 0.3  # share of a correction that the shape modes do not explain but that is followed all the same


@dataclass(frozen=True)
class Registered:
    """shapes: [N, 68, 2], canvas pixels. textures: float32 [N, CANVAS, CANVAS], brightness-normalised, in the
    mean shape. brightness: [N, 2], (mean, log std) of gray levels over the face. mean_shape: [68, 2].
    weight: [CANVAS, CANVAS], 1 on the face, less around it. similarity: complex [N, 2], canvas from image.
    """

    shapes: np.ndarray
    textures: np.ndarray
    brightness: np.ndarray
    mean_shape: np.ndarray
    weight: np.ndarray
    similarity: np.ndarray


def register(images: np.ndarray, keypoints: np.ndarray, rounds: int = ROUNDS) -> Registered:
    """images: uint8 [N, H, W]. keypoints: [N, 68, 2], pixels of the images."""
    keypoints = keypoints.astype(np.float64)
    canonical = _canonical(keypoints)
    # By the 15 points, so that faces drawn from 15-point label statistics stand in the same way.
    similarity = alignment(kaggle15_from_ibug68(keypoints), kaggle15_from_ibug68(canonical[None])[0])
    shapes = with_lips_apart(moved(keypoints, similarity))
    mean = _symmetric(shapes.mean(axis=0))
    mesh, weight = Mesh(mean), _weight(mean)
    for _ in range(rounds):
        textures, _ = _normalised(_canvases(mesh, images, shapes, similarity), weight)
        shapes = _corrected(shapes, textures, mean, weight)
    textures, brightness = _normalised(_canvases(mesh, images, shapes, similarity), weight)
    return Registered(shapes, textures, brightness, mean, weight, similarity)


def _canonical(keypoints: np.ndarray) -> np.ndarray:
    """Symmetric mean of 68 points, [68, 2], with its eyes at the canvas' place and distance."""
    reference = keypoints[0]
    for _ in range(3):
        few = kaggle15_from_ibug68(reference[None])[0]
        reference = moved(keypoints, alignment(kaggle15_from_ibug68(keypoints), few)).mean(axis=0)
        left, right = to_complex(kaggle15_from_ibug68(reference[None])[0, :2])
        a = EYE_DISTANCE / (left - right)
        b = (CANVAS - 1) / 2 + 1j * EYE_LEVEL - a * (left + right) / 2
        reference = _symmetric(moved(reference[None], np.array([[a, b]]))[0])
    return reference


def _symmetric(shape: np.ndarray) -> np.ndarray:
    return (shape + mirrored(shape[None], CANVAS)[0]) / 2


def _weight(mean_shape: np.ndarray) -> np.ndarray:
    face = np.zeros((CANVAS, CANVAS), np.float32)
    cv2.fillConvexPoly(face, cv2.convexHull(mean_shape.astype(np.float32)).round().astype(np.int32), 1.0)
    return 0.15 + 0.85 * cv2.GaussianBlur(face, (0, 0), 6)


def _canvases(mesh: Mesh, images: np.ndarray, shapes: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Every image seen in the mean shape: float32 [N, CANVAS, CANVAS], gray levels."""
    sources = moved(mesh.place(shapes), inverse(similarity))
    textures = np.empty((len(images), CANVAS, CANVAS), np.float32)
    targets = np.broadcast_to(mesh.vertices, sources.shape)
    for i, lookup in enumerate(mesh.lookups(targets, sources, CANVAS)):
        image, scale = images[i], abs(similarity[i, 0])
        if scale < 1:  # the image is larger than the canvas: smooth before reading fewer pixels
            image = cv2.GaussianBlur(image, (0, 0), 0.5 / scale)
        image = image.astype(np.float32)
        textures[i] = cv2.remap(image, lookup, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return textures


def _normalised(textures: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Textures with mean 0 and std 1 over the face, clipped to 4; and brightness as in `Registered`."""
    w = (weight / weight.sum()).astype(np.float32)
    mean = np.einsum("nhw,hw->n", textures, w)
    std = np.sqrt(np.einsum("nhw,hw->n", (textures - mean[:, None, None]) ** 2, w)) + 1e-3
    normal = np.clip((textures - mean[:, None, None]) / std[:, None, None], -4, 4)
    return normal, np.stack([mean, np.log(std)], axis=1).astype(np.float64)


def _corrected(shapes: np.ndarray, textures: np.ndarray, mean: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Shapes moved along the flow, then drawn to what the shape modes can express (3.5 std at most)."""
    few = modes.of_textures(textures, weight, count=40)
    flows = np.empty_like(shapes)
    for start in range(0, len(textures), BATCH):
        scores = few.scores[start : start + BATCH].astype(np.float32)
        models = few.mean + np.tensordot(scores, few.basis, 1)
        for i, model in enumerate(models, start):
            flows[i] = _flow(model, textures[i], mean)
    flows = np.clip(flows, -LIMIT, LIMIT)
    # The mean of the points is the labelling rule: it stays.
    wanted = shapes + STEP * (flows - flows.mean(axis=0))
    usual = modes.of_shapes(shapes, mean, count=40)
    basis = usual.basis.reshape(len(usual.basis), -1)
    variance = np.square(basis).sum(axis=1)
    scores = np.clip((wanted - mean).reshape(len(shapes), -1) @ basis.T / variance, -3.5, 3.5)
    explained = mean + (scores @ basis).reshape(shapes.shape)
    return with_lips_apart(KEPT * wanted + (1 - KEPT) * explained)


def _flow(start: np.ndarray, end: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Optical flow at `points` [K, 2] from one texture to the other, averaged around each, [K, 2] pixels."""
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)
    method.setVariationalRefinementIterations(0)  # most of the time for a field that is smoothed anyway
    gray = [np.clip(128 + 45 * texture, 0, 255).astype(np.uint8) for texture in (start, end)]
    flow = cv2.GaussianBlur(method.calc(*gray, None), (0, 0), 2.0)
    x, y = points.astype(np.float32).T[:, :, None]
    return cv2.remap(flow, x, y, cv2.INTER_LINEAR)[:, 0]
