"""The split: exact sizes, whole groups, balanced sources, repeatable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.faceset import DataError
from data_prep.split import SPLITS, split_as_published, split_by_group, split_sizes

ROWS, FIRST_SOURCE = 7049, 2284  # of the Kaggle training set


def kaggle_like() -> tuple[np.ndarray, np.ndarray]:
    """Groups and sources as in the Kaggle set: 1,098 rows of the second source share 543 images.

    531 pairs and 12 triples: 531 * 2 + 12 * 3 = 1,098 rows in 531 + 12 = 543 groups.
    """
    groups = np.arange(ROWS)
    shared = np.random.default_rng(5).permutation(np.arange(FIRST_SOURCE, ROWS))[:1098]
    groups[shared] = shared[np.repeat(np.arange(543), [2] * 531 + [3] * 12)]
    return groups, np.where(np.arange(ROWS) < FIRST_SOURCE, 1, 2)


def check_partition(split: dict[str, np.ndarray], groups: np.ndarray) -> None:
    """Full cover, disjoint, file order, no group in two splits."""
    assert tuple(split) == SPLITS
    assert np.sort(np.concatenate(list(split.values()))).tolist() == list(range(len(groups)))
    for rows in split.values():
        assert (np.diff(rows) > 0).all()
    members = [set(groups[rows].tolist()) for rows in split.values()]
    assert sum(map(len, members)) == len(set(groups.tolist()))


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(7049, (5639, 705, 705)), (10, (8, 1, 1)), (60, (48, 6, 6)), (104, (84, 10, 10)), (106, (84, 11, 11))],
)
def test_sizes(count, sizes):
    assert tuple(split_sizes(count).values()) == sizes


def test_the_fixture_is_like_the_kaggle_set():
    groups, _ = kaggle_like()
    members = np.unique(groups, return_counts=True)[1]
    assert members[members > 1].sum() == 1098
    assert (members > 1).sum() == 543


@pytest.mark.parametrize("seed", range(5))
def test_kaggle_like_groups(seed):
    groups, sources = kaggle_like()
    split = split_by_group(groups, sources, seed)
    assert {name: len(rows) for name, rows in split.items()} == {"train": 5639, "val": 705, "test": 705}
    check_partition(split, groups)
    # 705 * 2284 / 7049 = 228.4 rows of the first source, 705 * 4765 / 7049 = 476.6 of the second
    for name in ("val", "test"):
        assert np.bincount(sources[split[name]], minlength=3).tolist() == [0, 228, 477]
    assert np.bincount(sources[split["train"]]).tolist() == [0, 2284 - 2 * 228, 4765 - 2 * 477]


def test_the_seed_decides():
    groups, sources = kaggle_like()
    first, again, other = (split_by_group(groups, sources, seed) for seed in (3, 3, 4))
    for name in SPLITS:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


def test_the_names_of_groups_do_not_matter():
    groups, sources = kaggle_like()
    first, renamed = split_by_group(groups, sources, 0), split_by_group(groups * 7 - 50, sources, 0)
    for name in SPLITS:
        np.testing.assert_array_equal(first[name], renamed[name])


def test_the_last_rows_are_in_every_split():
    """The file's tail is all second source, so an unshuffled split would be biased."""
    split = split_by_group(*kaggle_like(), 0)
    for rows in split.values():
        assert rows[0] < 100
        assert rows[-1] > ROWS - 100


@settings(deadline=None)
@given(st.lists(st.integers(2, 6), max_size=40), st.integers(10, 60), st.integers(0, 2**32))
def test_enough_single_rows_make_the_sizes_exact(big, singles, seed):
    # Validation and test take at most every group that fits; what is left over, single rows fill. A quarter of
    # all rows being single is enough: 2 * round(n / 10) <= n / 5 + 1 <= singles.
    singles += sum(big) // 4 + 2
    sizes = np.array([*big, *[1] * singles])
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    split = split_by_group(groups, np.ones_like(groups), seed)
    check_partition(split, groups)
    assert {name: len(rows) for name, rows in split.items()} == split_sizes(len(groups))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 2)), min_size=10, max_size=120), st.integers(0, 99))
def test_any_groups_are_kept_whole(rows, seed):
    groups, sources = np.array(rows).T
    try:
        split = split_by_group(groups, sources, seed)
    except DataError:
        # only where no group fits into one of the two small splits: with 10 single rows at hand, one always does
        assert (np.unique(groups, return_counts=True)[1] == 1).sum() < 10
        return
    check_partition(split, groups)
    sizes = split_sizes(len(groups))
    assert 0 < len(split["val"]) <= sizes["val"]
    assert 0 < len(split["test"]) <= sizes["test"]


@pytest.mark.parametrize("groups", [np.zeros(50, int), np.repeat([0, 1], 25), np.arange(4)], ids=["one", "two", "few"])
def test_too_few_groups(groups):
    with pytest.raises(DataError, match=f"{len(groups)} faces in .* groups are too few"):
        split_by_group(groups, np.ones_like(groups), 0)


def test_the_published_test_faces_are_the_test_set():
    # 20 persons of 3 faces each, of which the last is published as test: 40 faces are left, a tenth of them validates.
    groups, in_test = np.repeat(np.arange(20), 3), np.tile([False, False, True], 20)
    split = split_as_published(in_test, groups, np.zeros(60, int), seed=1)
    assert split["test"].tolist() == list(range(2, 60, 3))
    assert (len(split["train"]), len(split["val"])) == (36, 4)
    assert np.sort(np.concatenate(list(split.values()))).tolist() == list(range(60))
    assert not set(groups[split["train"]]) & set(groups[split["val"]])  # honest towards training
    assert set(groups[split["test"]]) == set(range(20))  # and shares every person with the others
    assert (np.diff(split["train"]) > 0).all()
