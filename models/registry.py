"""The networks by name. To add one: a file `models/<name>.py` with `build`, and its name here."""

import importlib

from data_prep.faceset import DataError

NAMES = ("base", "v1")


def get_builder(name: str):
    """`build(image_size, mean_face) -> keras.Model` of a network: gray images [B, H, W] in, pixels [B, K, 2] out.

    Raises DataError naming the known networks for an unknown name.
    """
    if name not in NAMES:
        raise DataError(f"unknown model {name!r}; accepted: {', '.join(NAMES)}")
    return importlib.import_module(f"models.{name}").build
