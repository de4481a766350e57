"""Split 80/10/10 into train, validation and test, whole groups at a time; or as a data set was published."""

import numpy as np

from data_prep.faceset import DataError

SPLITS = ("train", "val", "test")


def split_sizes(count: int) -> dict[str, int]:
    """Faces per split: a tenth each, rounded, for validation and test (7,049 -> 5639/705/705)."""
    tenth = round(count / 10)
    return {"train": count - 2 * tenth, "val": tenth, "test": tenth}


def split_by_group(groups: np.ndarray, sources: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Row positions of each split, in file order.

    groups, sources: int [N]. Groups never straddle; every label source gets its share of each split. Groups
    are visited in random order and taken where they fit, which meets the sizes exactly as long as enough
    small groups are left to fill up with; else the split stays a little short and training gets the rest.

    Raises DataError where validation or test would stay empty.
    """
    rng = np.random.default_rng(seed)
    names, group_of_row = np.unique(groups, return_inverse=True)
    kinds, source_of_row = np.unique(sources, return_inverse=True)
    rows_per_group = np.zeros((len(names), len(kinds)), dtype=int)  # [groups, sources]
    np.add.at(rows_per_group, (group_of_row, source_of_row), 1)

    assigned = np.full(len(names), "train", dtype="<U5")
    for split in ("test", "val"):
        wanted = split_sizes(len(groups))[split]
        room = _shares(wanted, rows_per_group.sum(axis=0))
        for group in rng.permutation(len(names)):
            rows = rows_per_group[group]
            if assigned[group] == "train" and (rows <= room).all() and rows.sum() > 0:
                assigned[group] = split
                room = room - rows
        if room.sum() == wanted:
            raise DataError(f"{len(groups)} faces in {len(names)} groups are too few to split 80/10/10")
    return {split: np.flatnonzero(assigned[group_of_row] == split) for split in SPLITS}


def split_as_published(
    in_test: np.ndarray, groups: np.ndarray, sources: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Row positions of each split, in file order, with the published test faces as test set.

    in_test: bool [N]; groups, sources: int [N]. Validation is a tenth of the other faces in whole groups, so it is
    honest towards training. The test faces are not: their groups may be in all three. Raises as `split_by_group`.
    """
    rest = np.flatnonzero(~in_test)
    rows = {name: rest[part] for name, part in split_by_group(groups[rest], sources[rest], seed).items()}
    train = np.sort(np.concatenate([rows["train"], rows["test"]]))
    return {"train": train, "val": rows["val"], "test": np.flatnonzero(in_test)}


def _shares(total: int, weights: np.ndarray) -> np.ndarray:
    """`total` in whole parts proportional to `weights` (largest remainders get the odd ones)."""
    exact = total * weights / weights.sum()
    parts = np.floor(exact).astype(int)
    parts[np.argsort(parts - exact, kind="stable")[: total - parts.sum()]] += 1
    return parts
