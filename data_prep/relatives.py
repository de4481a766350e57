"""Find faces that must not be parted although no list says so: frames of one clip, copies, one person's photos.

From pixels and eye labels alone, for sets that name nobody, such as Kaggle's:

1. each face is turned and scaled until its eyes lie on fixed places, and described by histograms of oriented
   gradients (Dalal & Triggs 2005) of the face, coarser ones of the face with its surroundings, and a small image;
2. a fixed linear map turns the description into a vector such that two looks at one person point the same
   way: linear discriminant analysis with persons as classes ("Fisherfaces", Belhumeur et al. 1997), fitted by
   `data_prep.relatives_fit` on YouTube Faces stills and shipped as relatives.npz;
3. the similarity of two faces is the cosine between their vectors, or with one face mirrored if that is more;
4. clusters by average linkage: two clusters join while the mean similarity between their faces is above
   `SIMILARITY`. A single false link cannot chain two people together, as it can in connected components.

How well it does, and how `SIMILARITY` was chosen: `python -m evaluation.grouping`, results/grouping/.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data_prep.faceset import FaceSet
from data_prep.schema import IBUG68, KAGGLE15, Schema, kaggle15_from_ibug68

MODEL_FILE = Path(__file__).with_name("relatives.npz")
SIMILARITY = 0.25  # mean cosine between two clusters, see results/grouping/clusters.csv
LARGEST = 300  # faces in a cluster; what is larger is parted at a higher similarity
MOST_FACES = 15_000  # the distances of all pairs stand in memory, twice 0.9 GB at this size

EYES = (KAGGLE15.index("right_eye_center"), KAGGLE15.index("left_eye_center"))  # image left to image right
# Windows around the eyes: size in px, half width and reach above the eyes' midpoint in eye distances.
FACE, SURROUNDINGS = (64, 1.15, 0.9), (80, 1.4, 1.15)
SMALL = 24  # side of the small image, px
# Where eyes lie that nobody labelled, as fractions of a Kaggle crop's width and height.
NOMINAL_EYES = np.array([(0.31, 0.39), (0.69, 0.39)])


def cluster(faces: FaceSet, similarity: float = SIMILARITY) -> np.ndarray:
    """int64 [N]: the cluster of each face, numbered from 0. At most `MOST_FACES` faces (ValueError).

    faces: any image size; schema KAGGLE15 or IBUG68. A face whose eyes are unlabelled is aligned by the mean
    eyes of the others. `similarity`: mean cosine at which two clusters still join.
    """
    if len(faces) > MOST_FACES:
        raise ValueError(f"{len(faces)} faces, at most {MOST_FACES} can be compared pair by pair")
    if len(faces) < 2:
        return np.zeros(len(faces), dtype=np.int64)
    return cut(tree(*embed(faces)), similarity)


def embed(faces: FaceSet) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32 [N, D] of the faces, and of their mirror images, by the shipped map."""
    model = shipped()
    return tuple(vectors(look, model) for look in looks(faces))


def shipped() -> dict[str, np.ndarray]:
    """The linear map of relatives.npz, see `relatives_fit.fit`."""
    with np.load(MODEL_FILE, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def vectors(look: np.ndarray, model: dict[str, np.ndarray]) -> np.ndarray:
    """Unit vectors float32 [N, D] of descriptions float32 [N, F]; `model` is what `relatives_fit.fit` returns."""
    return normalised(look @ model["projection"] + model["offset"])


def looks(faces: FaceSet) -> tuple[np.ndarray, np.ndarray]:
    """Descriptions float32 [N, F] of the faces, and of their mirror images."""
    eyes = eye_centres(faces.keypoints, faces.schema, faces.images.shape[1:])
    return describe(faces.images, eyes), describe(*mirrored(faces.images, eyes))


def describe(images: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """The description before the linear map: float32 [N, F] of images uint8 [N, H, W] and eyes [N, 2, 2] in px."""
    fine, coarse = _gradients(FACE[0], 8), _gradients(SURROUNDINGS[0], 16)
    rows = []
    for image, points in zip(images, eyes, strict=True):
        face, around = aligned(image, points, *FACE), aligned(image, points, *SURROUNDINGS)
        small = cv2.resize(around.astype(np.float32), (SMALL, SMALL), interpolation=cv2.INTER_AREA)
        small = (small - small.mean()) / max(small.std(), 5.0)
        # Square roots: histograms compare better so (Hellinger distance, Arandjelovic & Zisserman 2012).
        parts = (np.sqrt(fine.compute(face).ravel()), np.sqrt(coarse.compute(around).ravel()), small.ravel())
        rows.append(np.concatenate(parts, dtype=np.float32))
    return np.stack(rows)


def aligned(image: np.ndarray, eyes: np.ndarray, size: int, half: float, above: float) -> np.ndarray:
    """uint8 [size, size]: the image turned and scaled such that the eyes [2, 2] lie level at fixed places."""
    centre, line = eyes.mean(axis=0), eyes[1] - eyes[0]
    along = size / (2 * half) * line / max(line @ line, 1.0)
    turn = np.array([[along[0], along[1]], [-along[1], along[0]]])
    scale = np.hypot(*along)
    shift = np.array([size / 2, above * size / (2 * half)]) - 0.5 - turn @ centre
    if scale < 0.7:  # shrinking: blur first, or fine detail turns into noise
        image = cv2.GaussianBlur(image, (0, 0), 0.45 / scale)
    return cv2.warpAffine(image, np.column_stack([turn, shift]), (size, size), borderMode=cv2.BORDER_REPLICATE)


def eye_centres(keypoints: np.ndarray, schema: Schema, image_size: tuple[int, int]) -> np.ndarray:
    """float64 [N, 2, 2]: the eye on the image's left, then the other; the mean ones where unlabelled."""
    points = kaggle15_from_ibug68(keypoints) if schema == IBUG68 else keypoints
    eyes = points[:, list(EYES)].astype(np.float64)
    missing = np.isnan(eyes).any(axis=(1, 2)) | (np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1) < 1)
    known = eyes[~missing]
    eyes[missing] = known.mean(axis=0) if len(known) else NOMINAL_EYES * np.array(image_size[::-1]) - 0.5
    return eyes


def mirrored(images: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, H, W] and eyes [N, 2, 2] as in a mirror: the eye on the left is then the other one."""
    flipped = eyes[:, ::-1].copy()
    flipped[..., 0] = images.shape[2] - 1 - flipped[..., 0]
    return images[:, :, ::-1], flipped


def similarities(vectors: np.ndarray, mirror: np.ndarray) -> Iterator[np.ndarray]:
    """For each face i < N - 1 its similarity to faces i+1 ... N-1, float32 [N - 1 - i], from `embed`."""
    step = 512
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        rest = np.maximum(block @ vectors[start:].T, block @ mirror[start:].T)
        for i in range(min(len(block), len(vectors) - 1 - start)):
            yield rest[i, i + 1 :]


def tree(vectors: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """SciPy's linkage matrix of average linkage over 1 - similarity."""
    from scipy.cluster.hierarchy import linkage

    count = len(vectors)
    distances = np.empty(count * (count - 1) // 2)
    at = 0
    for row in similarities(vectors, mirror):
        distances[at : at + len(row)] = np.maximum(1 - row, 0)
        at += len(row)
    return linkage(distances, "average")


def cut(links: np.ndarray, similarity: float) -> np.ndarray:
    """int64 [N]: clusters of `tree` whose mean similarity is at least this.

    Clusters of more than `LARGEST` faces hold many people who merely look alike to the map: these are cut again at
    a similarity higher by 0.05, and so on.
    """
    from scipy.cluster.hierarchy import fcluster

    clusters = fcluster(links, 1 - similarity, "distance").astype(np.int64) - 1
    large = np.bincount(clusters) > LARGEST
    if large.any() and similarity < 1:
        finer = cut(links, min(similarity + 0.05, 1.0))
        clusters = np.where(large[clusters], clusters.max() + 1 + finer, clusters)
        clusters = np.unique(clusters, return_inverse=True)[1]
    return clusters


def normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _gradients(size: int, cell: int) -> cv2.HOGDescriptor:
    """9 directions of the full circle in cells of `cell` px, normalised in blocks of 2x2 cells."""
    sides = ((size, size), (2 * cell, 2 * cell), (cell, cell), (cell, cell))
    # OpenCV's own defaults, but for the last: light to dark is another direction than dark to light.
    return cv2.HOGDescriptor(*sides, 9, 1, -1, 0, 0.2, False, 64, True)
