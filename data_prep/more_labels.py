"""Labels that another set has of the same pictures: youtube68's, for rows of the Kaggle file that are its frames.

Most second-source rows of `kaggle15` are frames of YouTube Faces, cropped and turned gray, with four points of fifteen
labelled. The frames have 68, and so eleven more of the fifteen (the other two are labelled by another rule, see
models/label_rules.py). Rows and frames are matched by their pixels, and the labels moved by what takes the frame's
four points to the row's: a scale and a shift along each axis, since both are upright crops.

Training rows alone are given labels, and none whose person is on a validation or test row: else a network would learn
the answers. Persons are known from the frames' file names.
"""

from dataclasses import replace

import numpy as np

from data_prep.faceset import FaceSet
from data_prep.same_pictures import SAME_PICTURE, match
from data_prep.schema import KAGGLE15, SECOND_SOURCE_POINTS, kaggle15_from_ibug68

TREATMENT = "more_labels"
DESCRIPTION = "nothing is filled; training rows that are frames of youtube68 have its labels too"
SHARED = [KAGGLE15.index(point) for point in SECOND_SOURCE_POINTS]
NOSE_BASE, INNER_LIPS = 33, (62, 66)  # of iBUG's 68, what the second source calls nose tip and mouth: between the lips
MOST_RESIDUAL = 1.5  # pixels of 96, root mean square of the four points; above it the labels are not of this picture


def add(faces: FaceSet, rows: dict[str, np.ndarray], frames: FaceSet) -> tuple[FaceSet, dict[str, int]]:
    """The faces, with more labels on training rows; how many, and how many were left out.

    faces: the Kaggle set, 15 points. rows: positions of each split. frames: 68 points, `groups` their persons.
    """
    fifteen = replace(frames, keypoints=kaggle15_from_ibug68(frames.keypoints), schema=KAGGLE15)
    best, correlation = match(faces, fifteen)
    found = correlation > SAME_PICTURE
    persons = frames.groups[best]
    in_training = np.zeros(len(faces), bool)
    in_training[rows["train"]] = True
    tested = np.unique(persons[found & ~in_training])
    of_tested = np.isin(persons, tested)
    chosen = np.flatnonzero(found & in_training & ~of_tested)
    moved, residual = moved_labels(faces.keypoints[chosen], frames.keypoints[best[chosen]])
    fits = residual <= MOST_RESIDUAL  # not where one of the four points is missing: NaN
    chosen, moved = chosen[fits], moved[fits]
    keypoints = faces.keypoints.copy()
    keypoints[chosen] = np.where(np.isnan(keypoints[chosen]), moved, keypoints[chosen])
    left_out = found & in_training & of_tested
    return replace(faces, keypoints=keypoints), {
        "rows": len(chosen),
        "labels": int((~np.isnan(keypoints).any(-1)).sum() - (~np.isnan(faces.keypoints).any(-1)).sum()),
        "persons": len(np.unique(persons[chosen])),
        "rows_left_out": int(left_out.sum()),
        "persons_left_out": len(np.unique(persons[left_out])),
        "rows_that_do_not_fit": int((~fits).sum()),
    }


def in_words(counts: dict[str, int]) -> str:
    return (
        f"{counts['labels']} more labels on {counts['rows']} training rows of {counts['persons']} persons; left out: "
        f"{counts['rows_left_out']} rows of {counts['persons_left_out']} persons who are in validation or test"
    )


def moved_labels(keypoints: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames' labels [N, 15, 2] in the rows' pixels, and the root mean square residual [N] of the points they share.

    keypoints: float [N, 15, 2], rows of the second source; frames: [N, 68, 2], of the same pictures. The residual is
    NaN where a row lacks one of its four points.
    """
    wanted = keypoints[:, SHARED].astype(np.float64)
    fifteen = kaggle15_from_ibug68(frames).astype(np.float64)
    lips = frames[:, INNER_LIPS].mean(axis=1)
    nose_and_lips = np.stack([frames[:, NOSE_BASE], lips], axis=1)
    given = np.concatenate([fifteen[:, SHARED[:2]], nose_and_lips], axis=1).astype(np.float64)
    middle, given_middle = (points.mean(axis=1, keepdims=True) for points in (wanted, given))
    wanted, given = wanted - middle, given - given_middle
    scale = (wanted * given).sum(axis=1, keepdims=True) / (given**2).sum(axis=1, keepdims=True)
    residual = np.sqrt(((wanted - scale * given) ** 2).mean(axis=(1, 2)))
    return (scale * (fifteen - given_middle) + middle).astype(np.float32), residual
