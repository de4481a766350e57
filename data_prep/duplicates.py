"""Group faces with exactly the same pixels."""

import hashlib

import numpy as np

from data_prep.faceset import FaceSet


def group_duplicates(faces: FaceSet, groups: np.ndarray | None = None) -> np.ndarray:
    """int64 [N]: `groups` (default: `faces.groups`) merged such that equal images share one, renumbered from 0.

    Two groups that share an image become one, and so on along chains (connected components).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    digests = np.array([hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in faces.images])
    _, pixels = np.unique(digests, return_inverse=True)
    _, groups = np.unique(faces.groups if groups is None else groups, return_inverse=True)
    links = coo_matrix((np.ones(len(faces)), (groups, groups.max() + 1 + pixels)))
    size = groups.max() + pixels.max() + 2
    links.resize(size, size)
    _, component = connected_components(links, directed=False)
    return component[groups].astype(np.int64)
