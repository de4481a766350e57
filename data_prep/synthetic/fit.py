"""Fit the embedded face model to a set of faces with 68 points.

    python -m data_prep.synthetic.fit --input ../shared/data/youtube68 --kaggle ../shared/data/kaggle15

Writes statistics only (means, modes, covariances, counts), no photograph. Two to five minutes on 2 cores.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError, FaceSet, observed
from data_prep.grouping import find_groups
from data_prep.schema import KAGGLE15
from data_prep.sources import Source
from data_prep.split import split_by_group
from data_prep.synthetic import model as face_model
from data_prep.synthetic.model import FaceModel

READ_SIZE = 160  # pixels a side at which the crops are read: about what they have, and what the canvas shows
SHAPE_MODES = 30
TEXTURE_MODES = 320  # what 2 MB hold with room to spare
WORST = 0.05  # share of faces left out as badly labelled: those whose texture looks least like a face

Labels = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def fit(faces: FaceSet, labels: Labels, shape_modes: int, texture_modes: int) -> FaceModel:
    """The model of faces with 68 points.

    labels: (label_mean, label_covariance, patterns, pattern_counts) as in `FaceModel`.
    """
    from data_prep.synthetic import modes, registration

    found = registration.register(faces.images, faces.keypoints)
    rough = modes.of_textures(found.textures, found.weight, 60)
    keep = rough.residual <= np.quantile(rough.residual, 1 - WORST)
    shapes, brightness = found.shapes[keep], found.brightness[keep]
    texture = modes.of_textures(found.textures[keep], found.weight, texture_modes)
    shape = modes.of_shapes(shapes, found.mean_shape, shape_modes)
    coefficients = np.concatenate([shape.scores, texture.scores, brightness], axis=1)
    parity = np.concatenate([shape.parity, texture.parity, [1, 1]])  # brightness has no sides
    return FaceModel(
        mean_shape=found.mean_shape,
        shape_basis=shape.basis,
        triangles=registration.Mesh(found.mean_shape).triangles,
        texture_mean=texture.mean,
        texture_basis=texture.basis,
        texture_residual=texture.residual_map,
        brightness_mean=brightness.mean(axis=0),
        brightness_std=brightness.std(axis=0),
        # A face and its mirror image weigh the same, so coefficients of unlike parity do not correlate.
        correlation=np.corrcoef(coefficients.T) * (parity[:, None] == parity[None, :]),
        label_mean=labels[0],
        label_covariance=labels[1],
        patterns=labels[2],
        pattern_counts=labels[3],
        report=np.array([keep.sum(), shape.held, texture.held]),
    )


def label_statistics(source: Source) -> Labels:
    """What `FaceModel` keeps of a Kaggle set's first source: where labels lie, and which are missing.

    Where labels lie is taken from training rows alone (the study's split, seed 0), so that networks trained on
    drawn faces can be scored on that set's test rows.
    """
    faces = source.faces
    first = faces.sources == 1
    seen = observed(faces.keypoints)
    patterns, counts = np.unique(seen[first], axis=0, return_counts=True)
    order = np.lexsort([-counts, ~patterns.all(axis=1)])
    train = np.zeros(len(faces), dtype=bool)
    train[split_by_group(find_groups(source)[0], faces.sources, seed=0)["train"]] = True
    complete = faces.keypoints[first & train & seen.all(axis=1)].astype(np.float64)
    if len(complete) < 100:
        raise DataError(f"only {len(complete)} rows have all {len(KAGGLE15)} labels, at least 100 are needed")
    return complete.mean(axis=0), np.cov(complete.reshape(len(complete), -1).T), patterns[order], counts[order]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.synthetic.fit", description="Fit the embedded face model to 68-point faces."
    )
    parser.add_argument("--input", type=Path, required=True, help="folder or zip in the YouTube 68-point layout")
    parser.add_argument("--output", type=Path, default=face_model.MODEL_FILE)
    parser.add_argument(
        "--kaggle", type=Path, help="Kaggle training set whose labels to imitate (default: as the present model)"
    )
    parser.add_argument("--shape-modes", type=int, default=SHAPE_MODES)
    parser.add_argument("--texture-modes", type=int, default=TEXTURE_MODES)
    args = parser.parse_args(argv)
    try:
        if args.shape_modes < 1 or args.texture_modes < 1:
            raise DataError("--shape-modes and --texture-modes must be at least 1")
        if not args.output.absolute().parent.is_dir():
            raise DataError(f"--output {args.output}: no such folder {args.output.absolute().parent}")
        from data_prep.sources import kaggle, youtube_faces

        if args.kaggle:
            labels = label_statistics(kaggle.read(args.kaggle))
        else:
            present = face_model.load()
            labels = present.label_mean, present.label_covariance, present.patterns, present.pattern_counts
        faces = youtube_faces.read(args.input, size=READ_SIZE, skip_bad_rows=True).faces
        model = fit(faces, labels, args.shape_modes, args.texture_modes)
        face_model.save(model, args.output)
    except DataError as error:
        print(f"fit: {error}", file=sys.stderr)
        return 2
    megabytes = args.output.stat().st_size / 1e6
    used, shape_held, texture_held = model.report
    print(
        f"{args.output}: {megabytes:.2f} MB, {used:.0f} of {len(faces)} faces, {args.shape_modes} shape modes hold "
        f"{shape_held:.1%}, {args.texture_modes} texture modes {texture_held:.1%} of the variance"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
