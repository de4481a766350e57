"""An output of its own for each rule by which a point was labelled.

The Kaggle file has two label sources, and for two of their shared points these mean different places: the second puts
the nose tip lower and the bottom lip higher (`data_prep.faceset.FaceSet.sources` says whose a row is). A network with
one output per point learns a compromise that is right for neither. Under a recipe's `label_rules = "by_source"` it
has 17 outputs, the 15 points by the first source's rule and these two by the second's; every row teaches those of its
own source, and is answered by them.
"""

from dataclasses import replace

import numpy as np

from data_prep.prepared import Split
from data_prep.schema import KAGGLE15, Schema

LABEL_RULES = ("one", "by_source")
DIFFERENT = ("nose_tip", "mouth_center_bottom_lip")
PLACES = [KAGGLE15.index(point) for point in DIFFERENT]
SECOND = 2  # what `sources` calls the second source
BY_SOURCE = replace(
    KAGGLE15,
    name="kaggle15, by source",
    points=(*KAGGLE15.points, *(f"second_source_{point}" for point in DIFFERENT)),
)


def lessons(
    rules: str, train: Split, val: Split, schema: Schema, mean_face: np.ndarray
) -> tuple[Split, Split, Schema, np.ndarray]:
    """What a network learns under a recipe's `label_rules`: the same, or with outputs of their own for each source."""
    if rules != "by_source":
        return train, val, schema, mean_face
    if not has_two(train, schema):
        if len(schema) != len(BY_SOURCE):  # these were asked for before, by a network that is taught
            print("label rules by source: all training rows have one, so each point has one output", flush=True)
        return train, val, schema, mean_face
    train, val = with_own_outputs(train), with_own_outputs(val)
    return train, val, BY_SOURCE, mean_outputs(train, mean_face)


def has_two(train: Split, schema: Schema) -> bool:
    """Whether rows of both sources are there to learn from; everywhere else one rule holds for all."""
    return schema is KAGGLE15 and len(np.unique(np.asarray(train.sources))) > 1


def with_own_outputs(split: Split) -> Split:
    """The split with labels [N, 17, 2] in place of [N, 15, 2]: NaN for outputs of the other source's rule."""
    sources = np.asarray(split.sources)
    labels = {name: spread(np.asarray(getattr(split, name)), sources) for name in ("keypoints", "filled")}
    return replace(split, observed=~np.isnan(labels["keypoints"]).any(axis=-1), **labels)


def spread(keypoints: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Labels [N, 15, 2] at the outputs [N, 17, 2] that they teach. sources: int [N]."""
    second = (sources == SECOND)[:, None, None]
    own = keypoints[:, PLACES]
    found = np.concatenate([keypoints, np.where(second, own, np.nan)], axis=1)
    found[:, PLACES] = np.where(second, np.nan, own)
    return found


def answers(outputs: np.ndarray, sources: np.ndarray | None = None) -> np.ndarray:
    """Keypoints [N, K, 2] of outputs (or [N, K] of what each has one of): of 17 the 15 of each row's source.

    Any other number of outputs is left as it is.

    sources: int [N]; None: every row by the first source's rule.
    """
    if outputs.shape[1] != len(BY_SOURCE):
        return outputs
    found = outputs[:, : len(KAGGLE15)].copy()
    if sources is not None:
        second = np.asarray(sources) == SECOND
        found[np.ix_(second, PLACES)] = outputs[second, len(KAGGLE15) :]
    return found


def mean_outputs(train: Split, mean_face: np.ndarray) -> np.ndarray:
    """float [17, 2]: the mean face in pixels, and for the outputs that a source has of its own the mean of its labels.

    train: as `with_own_outputs` gives it.
    """
    own = [*PLACES, *range(len(KAGGLE15), len(BY_SOURCE))]
    found = np.concatenate([mean_face, np.zeros((len(DIFFERENT), 2))])
    found[own] = np.nanmean(train.filled[:, own], axis=0, dtype=np.float64)
    return found
