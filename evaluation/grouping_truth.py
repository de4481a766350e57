"""Faces of which person and clip are known: the youtube68 frames, and the Kaggle rows that are such frames."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep import relatives, relatives_fit
from data_prep.duplicates import group_duplicates
from data_prep.faceset import DataError, FaceSet
from data_prep.same_pictures import SAME_PICTURE, match
from data_prep.schema import KAGGLE15
from data_prep.sources import Source, known, youtube_faces

UNKNOWN = -1
FOLDS = 5  # parts into which the persons are dealt, each held out once
LEAST_MATCHED = 100  # rows; with fewer nothing can be said


@dataclass(frozen=True)
class Known:
    """N faces with their truth.

    persons, clips, fold: int64 [N], `UNKNOWN` where nobody knows; fold, 0 to `FOLDS` - 1, is when the person is held
        out, the same for a person in every set. equal: int64 [N], one number per picture.
    looks: descriptions of the faces and of their mirror images, float32 [N, F] each, from `relatives.looks`.
    note: what must be known about the data.
    """

    name: str
    faces: FaceSet
    persons: np.ndarray
    clips: np.ndarray
    fold: np.ndarray
    equal: np.ndarray
    looks: tuple[np.ndarray, np.ndarray]
    note: str | None

    def __len__(self) -> int:
        return len(self.faces)


def read_frames(path: Path) -> Source:
    """youtube68 as `youtube_faces.read` gives it, at 224x224. Raises DataError where no clips are known."""
    source = youtube_faces.read(path, schema=KAGGLE15, size=224)
    for identity in source.faces.ids:
        clip_of(str(identity))
    if (people := len(np.unique(source.faces.groups))) < 10:
        raise DataError(f"{path}: {people} person(s), at least 10 are needed to hold a fifth of them out")
    return source


def clip_of(identity: str) -> str:
    """`training/Luis_Fonsi_21.jpg` -> `Luis_Fonsi_2`: person and clip, without the frame. DataError without them."""
    found = re.fullmatch(r"(.+_\d)\d", Path(identity).stem)
    if not found:
        raise DataError(f"{identity}: no clip in this file name, expected PERSON_CF.jpg (C the clip, F the frame)")
    return found[1]


def youtube68(path: Path, frames: Source) -> Known:
    """The frames cut as the Kaggle set's faces lie, see `relatives_fit.kaggle_crops`."""
    crops = relatives_fit.kaggle_crops(path)
    return Known(
        name="youtube68",
        faces=crops,
        persons=crops.groups,
        clips=_clips(frames.faces),
        fold=_folds(frames.faces),
        equal=group_duplicates(frames.faces, np.arange(len(crops))),  # of the frames: each crop has its own jitter
        looks=relatives.looks(crops),
        note=known.note(frames.sha256),
    )


def kaggle(source: Source, frames: Source) -> Known:
    """The Kaggle rows; each that shows the picture of a frame has that frame's person and clip.

    Raises DataError where fewer than `LEAST_MATCHED` rows do.
    """
    best, correlation = match(source.faces, frames.faces)
    found = correlation > SAME_PICTURE
    if found.sum() < LEAST_MATCHED:
        raise DataError(
            f"only {found.sum()} of {len(found)} rows show a frame of the youtube68 folder: no truth to use"
        )
    return Known(
        name="kaggle15",
        faces=source.faces,
        persons=np.where(found, frames.faces.groups[best], UNKNOWN),
        clips=np.where(found, _clips(frames.faces)[best], UNKNOWN),
        fold=np.where(found, _folds(frames.faces)[best], UNKNOWN),
        equal=group_duplicates(source.faces),
        looks=relatives.looks(source.faces),
        note=known.note(source.sha256),
    )


def _clips(frames: FaceSet) -> np.ndarray:
    return np.unique([clip_of(str(identity)) for identity in frames.ids], return_inverse=True)[1]


def _folds(frames: FaceSet) -> np.ndarray:
    persons = frames.groups
    return (np.random.default_rng(0).permutation(persons.max() + 1) % FOLDS)[persons]
