"""Fit the linear map of `data_prep.relatives` on faces whose persons are known, and write relatives.npz.

    python -m data_prep.relatives_fit --input ../shared/data/youtube68

The crops are cut as those of the Kaggle set lie, with the jitter of a detector, because that is where the map
is used. Seconds.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep import relatives
from data_prep.faceset import DataError, FaceSet
from data_prep.schema import KAGGLE15
from data_prep.sources import photo, youtube_faces

COMPONENTS, DIRECTIONS, SHRINKAGE = 400, 200, 0.05


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.relatives_fit",
        description="Fit how similar two looks at one person are, on YouTube Faces stills.",
    )
    parser.add_argument("--input", type=Path, required=True, help="folder or zip in the YouTube Faces layout")
    parser.add_argument("--output", type=Path, default=relatives.MODEL_FILE, help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        faces = kaggle_crops(args.input)
        model = fit(faces)
        aside = args.output.with_suffix(".partial.npz")
        np.savez(aside, **{name: array.astype(np.float16) for name, array in model.items()})
        os.replace(aside, args.output)
    except (DataError, OSError) as error:
        print(f"data_prep.relatives_fit: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("data_prep.relatives_fit: stopped", file=sys.stderr)
        return 130
    print(f"{args.output}: fitted on {len(faces)} faces of {len(np.unique(faces.groups))} people")
    return 0


def kaggle_crops(path: Path, seed: int = 0) -> FaceSet:
    """YouTube Faces stills cut like the Kaggle set's faces: 96x96, 15 points, groups are people.

    The face box varies as `photo.FACE_BOX` says Kaggle's does (6 % in size, 1.7 px in place), the eye labels
    by 0.5 px. Raises DataError as `youtube_faces.read`.
    """
    faces = youtube_faces.read(path, schema=KAGGLE15, size=224).faces
    rng = np.random.default_rng(seed)
    images, keypoints = [], []
    for image, points, identity in zip(faces.images, faces.keypoints, faces.ids, strict=True):
        affine = photo.face_affine(points, KAGGLE15, 96, str(identity))
        scale = np.exp(rng.normal(0, 0.06))
        affine = affine * scale
        affine[:, 2] += 47.5 * (1 - scale) + rng.normal(0, 1.7, 2)
        images.append(photo.crop(image, affine, 96))
        keypoints.append(photo.transform(affine, points) + rng.normal(0, 0.5, points.shape))
    return replace(faces, images=np.stack(images), keypoints=np.stack(keypoints).astype(np.float32))


def fit(faces: FaceSet) -> dict[str, np.ndarray]:
    """The map of `relatives.embed`: projection float32 [F, D] and offset [D]. `faces.groups` are persons.

    Principal components first, then discriminant directions with a shrunken covariance; mirror images count as
    further looks at the same person. Raises DataError below three persons.
    """
    return fit_looks(relatives.looks(faces), faces.groups)


def fit_looks(looks: tuple[np.ndarray, np.ndarray], persons: np.ndarray) -> dict[str, np.ndarray]:
    """`fit` on descriptions that `relatives.looks` made; persons int [N]."""
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    looks, persons = np.concatenate(looks), np.concatenate([persons] * 2)
    people = len(np.unique(persons))
    if people < 3:
        raise DataError(f"faces of {people} person(s), at least 3 are needed")
    # Each part of the description gets the same weight, whatever its units and length.
    weight = _weights(looks)
    components = min(COMPONENTS, len(looks) - people, looks.shape[1])
    pca = PCA(components, svd_solver="randomized", random_state=0).fit(looks * weight)
    reduced = pca.transform(looks * weight)
    directions = min(DIRECTIONS, people - 1, components)
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE, n_components=directions)
    lda.fit(reduced, persons)
    projection = weight[:, None] * (pca.components_.T @ lda.scalings_[:, :directions])
    mean = looks.mean(axis=0) @ projection
    scale = 1 / np.abs(projection).max()  # a cosine does not see it, float16 does
    return {"projection": (projection * scale).astype(np.float32), "offset": (-mean * scale).astype(np.float32)}


def _weights(looks: np.ndarray) -> np.ndarray:
    """float32 [F]: one over the spread of each part times the root of its length."""
    small = relatives.SMALL**2
    fine = 7 * 7 * 4 * 9  # blocks of 2x2 cells at 64 px in cells of 8, 9 directions
    bounds = (0, fine, looks.shape[1] - small, looks.shape[1])
    weight = np.empty(looks.shape[1], dtype=np.float32)
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        weight[start:end] = 1 / (looks[:, start:end].std() * np.sqrt(end - start))
    return weight


if __name__ == "__main__":
    sys.exit(main())
