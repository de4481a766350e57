"""What the clusters keep together: leakage through a split by them, their size and their purity.

Out of fold, all faces of a set are clustered by a map that never saw a fifth of the persons; only the faces of these
persons are judged, and the counts of the five parts are added up. As shipped, the map has seen every person.
"""

import os
import time
from dataclasses import dataclass, fields

import numpy as np
from tqdm import tqdm

from data_prep import relatives
from data_prep.duplicates import group_duplicates
from data_prep.grouping import find_groups
from data_prep.sources import Source
from data_prep.split import split_by_group
from evaluation.grouping_curves import Embedding, different_pairs, mapped
from evaluation.grouping_truth import FOLDS, UNKNOWN, Known

THRESHOLDS = (0.40, 0.35, 0.30, 0.25, 0.20, 0.15)
SEEDS = tuple(range(20))  # of the splits
EQUAL, OUT_OF_FOLD, SHIPPED = "equal images only", "out of fold", "as shipped (in-sample)"
DATA_PREP = "the split of data_prep (in-sample)"


@dataclass(frozen=True)
class Judged:
    """Counts of one grouping on the judged faces; `+` adds those of other faces.

    Per split seed, int64 [S]: judged faces in test, those of them whose clip or person is also in train, and groups in
    the whole test split. groups, largest: lists, one entry per clustering. pure: judged faces in a group most of whose
    known faces are of their person. Pairs of judged faces, equal pictures left out: clip_pairs of one clip and
    different_pairs of two persons, found or not; right, right_clip and wrong are found: of one person, of one clip and
    of two persons.
    """

    test: np.ndarray
    clip_in_train: np.ndarray
    person_in_train: np.ndarray
    test_groups: np.ndarray
    groups: list[int]
    largest: list[int]
    faces: int
    pure: int
    clip_pairs: int
    different_pairs: int
    right: int
    right_clip: int
    wrong: int

    def __add__(self, other: "Judged") -> "Judged":
        names = [field.name for field in fields(self)]
        return Judged(**{name: getattr(self, name) + getattr(other, name) for name in names})


def judge(known: Known, groups: np.ndarray, faces: np.ndarray, seeds: tuple[int, ...] = SEEDS) -> Judged:
    """Split all faces by `groups`, int64 [N], once per seed, and judge those of `faces`, bool [N], of known clip."""
    faces = faces & (known.persons != UNKNOWN)
    per_seed = []
    for seed in seeds:
        split = split_by_group(groups, known.faces.sources, seed)
        test = split["test"][faces[split["test"]]]
        leaks = [np.isin(labels[test], labels[split["train"]]).sum() for labels in (known.clips, known.persons)]
        per_seed.append((len(test), *leaks, len(np.unique(groups[split["test"]]))))
    test, clip_in_train, person_in_train, test_groups = np.array(per_seed).T

    group, person, clip, equal = (a[faces] for a in (groups, known.persons, known.clips, known.equal))
    right = _pairs(group, person) - _pairs(group, person, equal)
    return Judged(
        test=test,
        clip_in_train=clip_in_train,
        person_in_train=person_in_train,
        test_groups=test_groups,
        groups=[len(np.unique(groups))],
        largest=[int(np.bincount(groups).max())],
        faces=int(faces.sum()),
        pure=int((_majority(groups, known.persons)[group] == person).sum()),
        clip_pairs=_pairs(clip) - _pairs(clip, equal),
        different_pairs=_pairs(np.zeros_like(person)) - _pairs(person),
        right=right,
        right_clip=_pairs(group, clip) - _pairs(group, clip, equal),
        wrong=_pairs(group) - _pairs(group, person),
    )


def table(known: Known, by_fold: list[Embedding]) -> list[dict]:
    """Rows of clusters.csv. by_fold: the linear map's embedding for each fold."""
    everyone = np.ones(len(known), bool)
    rows = [_row(known, EQUAL, None, judge(known, known.equal, everyone))]
    for threshold, judged in out_of_fold(known, by_fold).items():
        rows.append(_row(known, OUT_OF_FOLD, threshold, judged))
    for threshold, judged in sweep(known, mapped(relatives.shipped()), everyone).items():
        rows.append(_row(known, SHIPPED, threshold, judged))
    return [*rows, _of_data_prep(known)]


def sweep(known: Known, embed: Embedding, faces: np.ndarray) -> dict[float, Judged]:
    """Cluster at each of `THRESHOLDS` and judge `faces`. Equal images share a group, as `find_groups` has it."""
    links = relatives.tree(*embed(known.looks))
    groups = (group_duplicates(known.faces, relatives.cut(links, threshold)) for threshold in THRESHOLDS)
    return {threshold: judge(known, found, faces) for threshold, found in zip(THRESHOLDS, groups, strict=True)}


def out_of_fold(known: Known, by_fold: list[Embedding]) -> dict[float, Judged]:
    """`sweep` with each fold's embedding on the faces of that fold, added up."""
    total = {}
    for held_out in tqdm(range(FOLDS), desc=f"clustering {known.name}", disable=None):
        for threshold, judged in sweep(known, by_fold[held_out], known.fold == held_out).items():
            total[threshold] = total[threshold] + judged if threshold in total else judged
    return total


def _of_data_prep(known: Known) -> dict:
    """The row of what `python -m data_prep` does with the faces where it is told no persons, split seed 0."""
    begin, cpu = time.perf_counter(), time.process_time()
    groups, _ = find_groups(Source(known.faces, sha256=""))
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    split = split_by_group(groups, known.faces.sources, seed=0)
    pictures = np.concatenate([np.unique(known.equal[part]) for part in split.values()])
    return _row(known, DATA_PREP, relatives.SIMILARITY, judge(known, groups, np.ones(len(known), bool), (0,)), (0,)) | {
        "equal_images_parted": len(pictures) - len(np.unique(pictures)),
        "grouping_seconds": seconds,
        "grouping_cpu_seconds": cpu_seconds,
        "load": f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
    }


def _row(known: Known, what: str, similarity: float | None, judged: Judged, seeds: tuple[int, ...] = SEEDS) -> dict:
    """One row; precision by the formula of `evaluation.grouping_curves`."""
    # Of splits that have a face to judge; another's share would be 0 of 0.
    leak = [_pct(part, whole) for part, whole in zip(judged.clip_in_train, judged.test, strict=True) if whole]
    weight = different_pairs(known) / max(judged.different_pairs, 1)
    found = judged.right + weight * judged.wrong
    return {
        "what": what,
        "similarity": similarity,
        "default": "yes" if similarity == relatives.SIMILARITY else None,
        "groups": round(np.mean(judged.groups)),
        "largest_group_min": min(judged.largest),
        "largest_group_max": max(judged.largest),
        "clip_in_train_pct": _pct(judged.clip_in_train.sum(), judged.test.sum()),
        "clip_in_train_min_pct": min(leak, default=float("nan")),
        "clip_in_train_max_pct": max(leak, default=float("nan")),
        "person_in_train_pct": _pct(judged.person_in_train.sum(), judged.test.sum()),
        "purity_pct": _pct(judged.pure, judged.faces),
        "pair_precision_pct": _pct(judged.right, found),
        "pair_recall_clip_pct": _pct(judged.right_clip, judged.clip_pairs),
        "faces": len(known),
        "known_faces": judged.faces,
        "judged_test_faces": round(judged.test.mean()),
        "test_groups": round(judged.test_groups.mean() / len(judged.groups)),
        "splits": len(seeds),
        **dict.fromkeys(("equal_images_parted", "grouping_seconds", "grouping_cpu_seconds", "load")),
    }


def _majority(groups: np.ndarray, persons: np.ndarray) -> np.ndarray:
    """int64 [groups]: the person most of a group's known faces are of (of equally many the first), or `UNKNOWN`."""
    winner = np.full(groups.max() + 1, UNKNOWN)
    known = persons != UNKNOWN
    members, count = np.unique(np.stack([groups[known], persons[known]]), axis=1, return_counts=True)
    order = np.argsort(-count, kind="stable")
    first = np.unique(members[0, order], return_index=True)[1]
    group, person = members[:, order[first]]
    winner[group] = person
    return winner


def _pairs(*labels: np.ndarray) -> int:
    """How many pairs of faces agree in all labels."""
    count = np.unique(np.stack(labels), axis=1, return_counts=True)[1]
    return int((count * (count - 1) // 2).sum())


def _pct(part: float, whole: float) -> float:
    return 100 * float(part) / float(whole) if whole else float("nan")
