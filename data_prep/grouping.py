"""Which faces must stay in one split: `groups`, by the best that is known of a data set."""

import numpy as np

from data_prep import relatives
from data_prep.duplicates import group_duplicates
from data_prep.sources import Source

METHODS = {
    "persons": "the persons that the data set names",
    "relatives": "clusters of faces that look like one clip or one person, see data_prep.relatives",
    "equal pixels": "equal images only: too many faces to compare pair by pair",
}


def find_groups(source: Source) -> tuple[np.ndarray, str]:
    """int64 [N] groups, numbered from 0, and the name of the method that found them, out of `METHODS`.

    Whatever the method, equal images share a group.
    """
    faces = source.faces
    if source.persons_known:
        return group_duplicates(faces), "persons"
    if len(faces) > relatives.MOST_FACES:
        return group_duplicates(faces), "equal pixels"
    return group_duplicates(faces, relatives.cluster(faces)), "relatives"
