"""Which faces are tested, and the two training sets that differ in kinship only.

    test       a part of the faces of some groups
    relatives  the rest of those groups' faces
    others     as many faces of groups that no test face is of, like `relatives` in everything that can be matched
    val        whole further groups: they choose the epoch to keep, and as nobody has relatives of them, are the control
    common     what is left

`with` trains on common + relatives, `without` on common + others; test and val are the same faces for both.
"""

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep import missing
from data_prep.faceset import DataError, FaceSet
from data_prep.prepared import Prepared, Split
from data_prep.split import SPLITS

ARMS = ("with", "without")
TEST_FACES = 600  # at most
TEST_SHARE = 3  # one face in three of a group is tested, at least one
MOST_OF_TEST = 0.05  # of the test faces may be of one group, or it alone would decide
MOST_DRAWN = 0.74  # of each source's faces may be in test groups and those in their relatives' place
# Of validation faces the least of: a number, a share of all, and as many points as leave a record below 200 KB.
VAL_FACES, VAL_SHARE, VAL_POINTS = 400, 0.06, 9000
PUBLISHED = ("training/", "test/")  # ids of a data set that came with a split of its own, see sources.youtube_faces


@dataclass(frozen=True)
class Sets:
    """Positions in the pooled faces, int64 and ascending each; no two overlap."""

    test: np.ndarray
    relatives: np.ndarray
    others: np.ndarray
    val: np.ndarray
    common: np.ndarray

    def train(self, arm: str) -> np.ndarray:
        """The training faces of one arm, ascending."""
        return np.sort(np.concatenate([self.common, self.relatives if arm == "with" else self.others]))


def pool(data: Prepared) -> FaceSet:
    """All faces of a prepared data set in the order of their ids: how it was split leaves no trace."""
    splits = [getattr(data, name) for name in SPLITS]
    arrays = {
        name: np.concatenate([getattr(split, name) for split in splits])
        for name in ("images", "keypoints", "groups", "ids", "sources")
    }
    faces = FaceSet(**arrays, schema=data.schema)
    return faces.take(np.argsort(faces.ids, kind="stable"))


def copied(faces: FaceSet, sets: Sets) -> list[str]:
    """The ids of test faces of which a relative is the same picture, pixel by pixel."""
    pictures = {faces.images[row].tobytes() for row in sets.relatives}
    return [str(faces.ids[row]) for row in sets.test if faces.images[row].tobytes() in pictures]


def choose(faces: FaceSet, seed: int, test_faces: int = TEST_FACES) -> Sets:
    """Draw the sets. Groups are visited in random order and taken where they fit.

    Of a data set with a published split (`PUBLISHED`) the published test faces of a group are tested; else a random
    third of its faces. `others` are drawn a group for a group: each test group's relatives are replaced by as many
    faces of one group of about the same size, face by face of the same label source and with the nearest number of
    labelled points; a group that no other can replace is not tested. Were `others` drawn face by face from all over,
    `without` would see more people than `with`, and its variety would hide part of the leak. What is left of a group
    so used is in neither set, as the test faces are not.

    Raises DataError where too few faces have relatives, or too few have none among the test faces.
    """
    rng = np.random.default_rng(seed)
    members = _members(faces.groups)
    drawn = _test_groups(faces, members, rng, test_faces)
    if not drawn:
        raise DataError("no face can be tested: no group has a labelled face, a relative of it, and a group alike")
    taken = {group for pair in drawn for group in pair}
    free = [group for group in rng.permutation(len(members)) if group not in taken]
    val, room = [], round(min(VAL_FACES, VAL_SHARE * len(faces), VAL_POINTS / len(faces.schema)))
    for group in free:
        if len(members[group]) <= room:
            val.append(group)
            room -= len(members[group])
    common = sorted(set(free) - set(val))
    if not val or not common:
        raise DataError(f"{len(faces)} faces in {len(members)} groups are too few for two training sets")
    test, relatives, others = zip(*drawn.values(), strict=True)
    parts = (test, relatives, others, [members[group] for group in val], [members[group] for group in common])
    return Sets(*(np.sort(np.concatenate(part)) for part in parts))


def arm_data(data: Prepared, faces: FaceSet, sets: Sets, arm: str, folder: Path, seed: int, command: str) -> Prepared:
    """One arm as a prepared data set, named like its folder and not yet on disk; missing points are masked.

    Its manifest is the source's, with `source.leakage` saying what it is. Both arms have the mean face of the common
    part: the networks start from it, and it must not tell the arms apart.
    Raises DataError where a keypoint has no label in the common part.
    """
    rows = {"train": sets.train(arm), "val": sets.val, "test": sets.test}
    mean_face = missing.mean_face(faces.keypoints[sets.common])
    if np.isnan(mean_face).any():
        raise DataError(f"{data.folder}: a keypoint has no label in the faces common to both training sets")
    splits = {split: _split(faces.take(positions)) for split, positions in rows.items()}
    train = splits["train"]
    kinds = np.unique(faces.sources)
    relatives = faces.sources[sets.relatives] if arm == "with" else np.empty(0)
    what = {
        "arm": arm,
        "of": data.name,
        "sets_sha256": _digest(faces, sets),
        # per label source
        "train_faces": {str(kind): int((train.sources == kind).sum()) for kind in kinds},
        "train_points": {str(kind): int(train.observed[train.sources == kind].sum()) for kind in kinds},
        "relatives": {str(kind): int((relatives == kind).sum()) for kind in kinds},
        "command": command,
    }
    manifest = data.manifest | {
        "name": folder.name,
        "source": data.manifest["source"] | {"leakage": what},
        "treatment": "none",
        "seed": seed,
        "faces": {split: len(part) for split, part in splits.items()},
        "complete_faces": {split: int(part.observed.all(axis=1).sum()) for split, part in splits.items()},
        "labelled_points": {split: int(part.observed.sum()) for split, part in splits.items()},
        "command": command,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "mean_face": mean_face.round(4).tolist(),
    }
    return Prepared(folder, manifest, **splits)


def _members(groups: np.ndarray) -> list[np.ndarray]:
    """The rows of each group, ascending; groups in `np.unique` order."""
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    return np.split(order, starts[1:])


def _test_groups(
    faces: FaceSet, members: list[np.ndarray], rng: np.random.Generator, room: int
) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(test group, the group in its place) -> test rows, relatives, others; at most `room` test rows in all."""
    published = _published_test(faces.ids)
    points, labelled = faces.observed.sum(axis=1), faces.observed.any(axis=1)
    kinds = np.unique(faces.sources)
    have = np.array([(faces.sources[rows][:, None] == kinds).sum(axis=0) for rows in members])  # [G, sources]
    mean_points = np.array([points[rows].mean() for rows in members])
    room_in_groups, most = MOST_DRAWN * have.sum(axis=0), max(1, round(MOST_OF_TEST * room))
    order = rng.permutation(len(members))
    free = np.ones(len(members), dtype=bool)
    drawn = {}
    for group in order:
        rows = members[group]
        third = rng.permutation(rows)[: max(1, len(rows) // TEST_SHARE)]
        picked = third if published is None else rows[published[rows]]
        # A face without labels would test nothing.
        test, relatives = picked[labelled[picked]], np.setdiff1d(rows, picked)
        if not (free[group] and 0 < len(test) <= min(room, most) and len(relatives)):
            continue
        need = have[group] - (faces.sources[picked][:, None] == kinds).sum(axis=0)
        alike = order[free[order] & (order != group) & (have[order] >= need).all(axis=1)]
        if not len(alike):
            continue
        unlike = np.abs(mean_points[alike] - points[relatives].mean())
        other = alike[np.lexsort((unlike, have[alike].sum(axis=1)))[0]]
        if (have[group] + have[other] <= room_in_groups).all():
            drawn[int(group), int(other)] = test, relatives, _like(faces.sources, points, relatives, members[other])
            room, room_in_groups = room - len(test), room_in_groups - have[group] - have[other]
            free[[group, other]] = False
    return drawn


def _published_test(ids: np.ndarray) -> np.ndarray | None:
    """bool [N], the faces of the published test folder; None where the data set came without a split."""
    training, test = (np.char.startswith(ids.astype(str), folder) for folder in PUBLISHED)
    return test if (training | test).all() and training.any() and test.any() else None


def _like(sources: np.ndarray, points: np.ndarray, wanted: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each wanted row another of `rows`, of the same label source and with the nearest number of points."""
    from scipy.optimize import linear_sum_assignment

    other_source = sources[wanted][:, None] != sources[rows]
    apart = np.abs(points[wanted][:, None] - points[rows])
    return rows[linear_sum_assignment(apart + 1e6 * other_source)[1]]


def _split(part: FaceSet) -> Split:
    return Split(
        images=part.images,
        keypoints=part.keypoints,
        filled=part.keypoints,
        observed=part.observed,
        groups=part.groups,
        ids=part.ids,
        sources=part.sources,
    )


def _digest(faces: FaceSet, sets: Sets) -> str:
    """Of which faces are in which set and which of the test faces belong together; one for both arms."""
    parts = [faces.ids[rows].tolist() for rows in vars(sets).values()]
    _, test_groups = np.unique(faces.groups[sets.test], return_inverse=True)
    return hashlib.sha256(repr([*parts, test_groups.tolist()]).encode()).hexdigest()
