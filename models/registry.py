"""The networks by name. To add one: a file `models/<name>.py` with `build`, and its name here.

A network may have options: keyword arguments of `build` that its command line takes. Its module then has `OPTIONS`,
each option's settings for argparse, and `title(**options)`, which tells runs with other options apart in a table;
`start(**options)` where the weights to start from may be those of a run.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from data_prep.faceset import DataError
from models.runs import Run

NAMES = ("base", "v1", "lenet5", "naimishnet", "net2", "vgg_face", "efficientnet_b0", "dsnt")


@dataclass(frozen=True)
class Network:
    """A network with its options set. name: what runs and tables call it, such as `vgg_face (width 0.25)`."""

    name: str
    options: dict
    build: Callable  # (image_size, mean_face) -> keras.Model: gray images [B, H, W] in, pixels [B, K, 2] out
    start: Run | None = None  # whose network it starts from


def get_network(name: str, **options) -> Network:
    """A network, with the defaults of the options that are not given.

    Raises DataError naming the known networks for an unknown name, or the accepted values for a bad option.
    """
    options = {**{option: settings["default"] for option, settings in get_options(name).items()}, **options}
    module = _module(name)
    title = f"{name} ({module.title(**options)})" if options else name
    start = module.start(**options) if hasattr(module, "start") else None
    return Network(title, options, partial(module.build, **options), start)


def parse(words: str) -> Network:
    """A network by its name, with options behind colons: `vgg_face:width=1`. Raises like `get_network`."""
    name, *given = words.split(":")
    known, options = get_options(name), {}
    for word in given:
        option, _, value = word.partition("=")
        if option not in known:
            raise DataError(f"{words!r}: {name} has no option {option!r}; accepted: {', '.join(known) or 'none'}")
        try:
            options[option] = known[option].get("type", str)(value)
        except ValueError as error:
            raise DataError(f"{words!r}: {option} is {value!r}") from error
    return get_network(name, **options)


def get_options(name: str) -> dict[str, dict]:
    """The options of a network and their settings for argparse; empty for most. Raises like `get_network`."""
    return getattr(_module(name), "OPTIONS", {})


def get_builder(name: str) -> Callable:
    """`build` of a network with its default options. Raises like `get_network`."""
    return get_network(name).build


def folder_name(network: str) -> str:
    """A network's name as part of a folder's: `vgg_face (width 0.25)` becomes `vgg_face-width-0.25`."""
    return re.sub(r"[^\w.]+", "-", network).strip("-")


def _module(name: str):
    if name not in NAMES:
        raise DataError(f"unknown model {name!r}; accepted: {', '.join(NAMES)}")
    return importlib.import_module(f"models.{name}")
