"""Photo filters: things that are laid on a face, held by its keypoints.

    put_on = get_filter("glasses")
    dressed = put_on(rgb, keypoints)

To add one: a file `inference/filters/<name>.py` with `put_on(rgb, keypoints)`, like moustache.py, and its name here.
rgb is a photo, uint8 [H, W, 3], which stays as it is; keypoints float64 [15, 2] are its pixels, (0, 0) the centre of
the top left one. What comes back is a new photo of the same size. Where a point that holds the thing is NaN, or no
face can lie as the points do, nothing is laid on.
"""

import importlib
from collections.abc import Callable

import numpy as np

from data_prep.faceset import DataError

Filter = Callable[[np.ndarray, np.ndarray], np.ndarray]
FILTERS = ("glasses", "moustache", "hat")


def put_on_all(rgb: np.ndarray, faces: list[np.ndarray], put_on: list[Filter]) -> np.ndarray:
    """A photo with filters on every face, each [15, 2]: the last first, as the largest come first in photos."""
    for keypoints in reversed(faces):
        for one in put_on:
            rgb = one(rgb, keypoints)
    return rgb


def get_filter(name: str) -> Filter:
    """`put_on` of a filter. Raises DataError naming the known filters for an unknown name."""
    if name not in FILTERS:
        raise DataError(f"unknown filter {name!r}; accepted: {', '.join(FILTERS)}")
    return importlib.import_module(f"inference.filters.{name}").put_on
