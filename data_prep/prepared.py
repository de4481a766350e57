"""The prepared data set on disk: plain arrays per split and a manifest. Written once, read by all the rest."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import SCHEMAS, Schema
from data_prep.split import SPLITS

MANIFEST = "manifest.json"
DAMAGED = (ValueError, EOFError, OverflowError, TokenError, SyntaxError, KeyError, TypeError, OSError, RecursionError)
PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Split:
    """One split of a prepared data set; arrays are memory-mapped.

    images uint8 [N, H, W]; keypoints float32 [N, K, 2] true labels in pixels, NaN where unlabelled; filled
    float32 [N, K, 2] the labels after treatment, which training and validation loss use; observed bool [N, K];
    groups, ids, sources [N]. Coordinates as in `data_prep.faceset.FaceSet`.
    """

    images: np.ndarray
    keypoints: np.ndarray
    filled: np.ndarray
    observed: np.ndarray
    groups: np.ndarray
    ids: np.ndarray
    sources: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Prepared:
    """A prepared data set. `manifest` is the content of manifest.json."""

    folder: Path
    manifest: dict
    train: Split
    val: Split
    test: Split

    @property
    def name(self) -> str:
        return self.manifest["name"]

    @property
    def schema(self) -> Schema:
        return SCHEMAS[self.manifest["schema"]["name"]]


def load(folder: Path) -> Prepared:
    """Open what `python -m data_prep` wrote. Raises DataError naming what is missing or damaged."""
    folder = Path(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        splits = {
            split: Split(
                **{
                    name: np.load(folder / _file(split, name), mmap_mode="r", allow_pickle=False)
                    for name in Split.__dataclass_fields__
                }
            )
            for split in SPLITS
        }
        schema = SCHEMAS[manifest["schema"]["name"]]
        if manifest["name"] != Path(manifest["name"]).name:
            raise ValueError(f"its name is {manifest['name']!r}, no folder's")
        for split, arrays in splits.items():
            _check_shapes(split, arrays, len(schema))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} is not a prepared data set ({Path(error.filename).name} is missing); "
            f"make it with: python -m data_prep --output {folder}"
        ) from error
    except DAMAGED as error:
        raise DataError(
            f"{folder} holds a damaged data set ({type(error).__name__}: {error}); make it again"
        ) from error
    return Prepared(folder=folder, manifest=manifest, **splits)


def _check_shapes(name: str, split: Split, points: int) -> None:
    """ValueError where arrays of a split are not of the same faces."""
    n = len(split.images)
    if split.images.dtype != np.uint8 or split.images.ndim != 3:
        raise ValueError(f"{name} images are {split.images.dtype} {list(split.images.shape)}, not uint8 [N, H, W]")
    wanted = dict.fromkeys(Split.__dataclass_fields__, (n,))
    wanted |= {"images": split.images.shape, "observed": (n, points)}
    wanted |= dict.fromkeys(("keypoints", "filled"), (n, points, 2))
    for array, shape in wanted.items():
        if (found := getattr(split, array).shape) != shape:
            raise ValueError(f"{name} {array} are {list(found)}, not {list(shape)}")


def write(folder: Path, splits: dict[str, Split], manifest: dict) -> None:
    """Write arrays and manifest, replacing the folder at once when everything is on disk."""
    refuse_foreign(folder)
    folder = Path(folder).resolve()  # where a link leads; and "." has a name
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for split, arrays in splits.items():
            for name in Split.__dataclass_fields__:
                np.save(aside / _file(split, name), getattr(arrays, name), allow_pickle=False)
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def embedded(source: object) -> bool:
    """Whether faces are the project's own sampled ones, which anybody may see.

    source: what a manifest has under `source`, or a run's config under `data_source`; anything else tells of no faces.
    """
    return isinstance(source, dict) and source.get("kind") == "synthetic"


def refuse_public(place: Path, option: str = "--output") -> None:
    """Raise DataError where git could see a picture of other people's faces: a file at or below `place`.

    Accepted are results/*/faces/ of the project, which git ignores, and whatever lies outside the project's folder.
    option: which led there.
    """
    path = Path(place).resolve()
    if not path.is_relative_to(PROJECT):
        return
    parts = path.relative_to(PROJECT).parts
    if len(parts) < 3 or parts[0] != "results" or parts[2] != "faces":
        raise DataError(
            f"{option} {place} would show real faces; results/NAME/faces/, outside git, or another project is accepted"
        )


def refuse_foreign(folder: Path) -> None:
    """Raise DataError where `folder` holds anything that `write` did not write, for `write` replaces it whole."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; --output accepts a folder")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    own = {MANIFEST, *(_file(split, name) for split in SPLITS for name in Split.__dataclass_fields__)}
    if found and (MANIFEST not in found or found - own):
        example = min(found - own or found)
        raise DataError(f"{folder} holds {example} and is not a prepared data set; name another --output")


def _file(split: str, name: str) -> str:
    return f"{split}_{name}.npy"
