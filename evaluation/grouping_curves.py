"""How well single pairs of faces are told apart: precision against recall, on persons the map has not seen.

The persons are dealt into five parts. The map is fitted on the youtube68 crops of all parts but one and judged on
the pairs of faces of that one; the pairs of all parts are pooled. Pairs of equal pictures do not count.

    precision(t) = T(t) / (T(t) + w F(t)),    w = D / d

T(t), F(t): pairs of one person and of two whose similarity is at least t. d: pairs of two persons that were judged,
which is a fifth of D, all such pairs in the set, since held-out persons meet each other only. Without w precision would
look better than it is. recall(t): pairs of one clip (or person) with similarity of at least t, over all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from data_prep import relatives, relatives_fit
from evaluation.grouping_truth import FOLDS, UNKNOWN, Known

AIM_PRECISION, AIM_RECALL = 0.95, 0.60
MAP, GRADIENTS, PIXELS = "linear map", "gradients", "pixels"
SMALL = relatives.SMALL**2  # the small image is the last part of a description
PARTS = {GRADIENTS: slice(None, -SMALL), PIXELS: slice(-SMALL, None)}

Looks = tuple[np.ndarray, np.ndarray]
Embedding = Callable[[Looks], Looks]  # descriptions of faces and mirror images -> unit vectors of both


@dataclass(frozen=True)
class Pairs:
    """M pairs of held-out faces. similarity: float32 [M]; one_person, one_clip: bool [M].

    all_different: D of the module's formula, pairs of two persons in the whole set.
    """

    similarity: np.ndarray
    one_person: np.ndarray
    one_clip: np.ndarray
    all_different: int


@dataclass(frozen=True)
class Curve:
    """Falling similarity thresholds [P], with precision and both recalls (0 to 1) of the pairs from there up."""

    similarity: np.ndarray
    precision: np.ndarray
    recall_clip: np.ndarray
    recall_person: np.ndarray


def embeddings(teacher: Known) -> dict[str, list[Embedding]]:
    """Each method's embedding for each fold, learned from the faces of `teacher` that are not in it.

    `MAP`: as shipped, refitted. `GRADIENTS`, `PIXELS`: that part of the description as it is, less the mean face's;
    the cosine of two such is Pearson's correlation after the mean is taken away.
    """
    found = {method: [] for method in (MAP, *PARTS)}
    for held_out in tqdm(range(FOLDS), desc="fitting without a fifth of the persons", disable=None):
        rows = teacher.fold != held_out
        looks = tuple(look[rows] for look in teacher.looks)
        found[MAP].append(mapped(relatives_fit.fit_looks(looks, teacher.persons[rows])))
        for method, part in PARTS.items():
            found[method].append(_centred(part, np.concatenate([look[:, part] for look in looks]).mean(axis=0)))
    return found


def mapped(model: dict[str, np.ndarray]) -> Embedding:
    """`relatives.embed` on descriptions. model: a linear map of `relatives_fit`."""
    return lambda looks: tuple(relatives.vectors(look, model) for look in looks)


def _centred(part: slice, mean: np.ndarray) -> Embedding:
    return lambda looks: tuple(relatives.normalised(look[:, part] - mean) for look in looks)


def held_out_pairs(known: Known, by_fold: list[Embedding]) -> Pairs:
    """The pairs among the faces of each fold, with the similarity of that fold's embedding."""
    parts = []
    for held_out, embed in enumerate(by_fold):
        rows = np.flatnonzero(known.fold == held_out)
        vectors = embed(tuple(look[rows] for look in known.looks))
        similarity = np.concatenate(list(relatives.similarities(*vectors)))
        a, b = (rows[side] for side in np.triu_indices(len(rows), 1))
        counts = known.equal[a] != known.equal[b]
        same = (labels[a] == labels[b] for labels in (known.persons, known.clips))
        parts.append([column[counts] for column in (similarity, *same)])
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Pairs(*columns, all_different=different_pairs(known))


def different_pairs(known: Known) -> int:
    """Pairs of two persons in the whole set, among faces whose person is known."""
    faces = np.bincount(known.persons[known.persons != UNKNOWN])
    return int(faces.sum() ** 2 - (faces**2).sum()) // 2


def curve(pairs: Pairs) -> Curve:
    """Precision and recall at every similarity that occurs, by the module's formula."""
    order = np.argsort(-pairs.similarity, kind="stable")
    similarity, person, clip = (a[order] for a in (pairs.similarity, pairs.one_person, pairs.one_clip))
    right, wrong, of_clip = np.cumsum(person), np.cumsum(~person), np.cumsum(clip)
    weight = pairs.all_different / max(wrong[-1], 1)
    last = np.append(similarity[1:] != similarity[:-1], True)  # of pairs that are equally similar
    return Curve(
        similarity=similarity[last],
        precision=(right / (right + weight * wrong))[last],
        recall_clip=(of_clip / max(of_clip[-1], 1))[last],
        recall_person=(right / max(right[-1], 1))[last],
    )


def at_precision(found: Curve, precision: float) -> int | None:
    """The position with the highest recall among those of at least this precision; None where there is none."""
    good = np.flatnonzero(found.precision >= precision)
    return int(good[-1]) if len(good) else None


def rows(found: Curve) -> list[dict]:
    """The curve at each full percent of recall, and where precision last is what was aimed at, as table rows."""
    steps = np.searchsorted(found.recall_clip, np.arange(1, 101) / 100 - 1e-9)
    positions = {int(step): None for step in steps}
    if (aim := at_precision(found, AIM_PRECISION)) is not None:
        positions[aim] = f"most recall at {AIM_PRECISION:.0%} precision"
    return [
        {
            "similarity": float(found.similarity[i]),
            "precision_pct": 100 * float(found.precision[i]),
            "recall_clip_pct": 100 * float(found.recall_clip[i]),
            "recall_person_pct": 100 * float(found.recall_person[i]),
            "note": positions[i],
        }
        for i in sorted(positions)
    ]
