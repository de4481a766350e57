"""Which labels a Kaggle-like set lacks, and which rows repeat another row's picture.

Counts of the Kaggle training file (7,049 rows; see `counts`) scaled to any number of rows.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.schema import KAGGLE15, SECOND_SOURCE_POINTS

ROWS, FIRST, COMPLETE = 7049, 2284, 2140  # the file's rows, first-source rows, complete ones among these
FOUR, EYES = 4290, 466  # second-source rows with all four points, with the eye centres only; 9 have three
REPEATED_FIRST, REPEATED_SECOND = 5, 550  # rows with another row's pixels; nearly all are in the second source


@dataclass(frozen=True)
class Structure:
    """sources: int64 [N], 1 then 2. carried: bool [N, 15], the labels present. original: int64 [N], the row
    whose picture a row shows: its own number, or that of an earlier row of its source.
    """

    sources: np.ndarray
    carried: np.ndarray
    original: np.ndarray


def draw(count: int, patterns: np.ndarray, pattern_counts: np.ndarray, rng: np.random.Generator) -> Structure:
    """The structure of `count` rows. patterns: bool [P, 15] of the first source, the complete one first."""
    first = round(count * FIRST / ROWS)
    second = count - first
    complete = round(first * COMPLETE / FIRST)
    rare = pattern_counts[1:] / pattern_counts[1:].sum() if len(patterns) > 1 else None
    carried = np.zeros((count, len(KAGGLE15)), bool)
    carried[:first] = True
    if first > complete and rare is not None:
        if first - complete == pattern_counts[1:].sum():
            chosen = np.repeat(np.arange(1, len(patterns)), pattern_counts[1:])  # the file's own counts
        else:
            chosen = 1 + rng.choice(len(rare), first - complete, p=rare)
        carried[rng.choice(first, first - complete, replace=False)] = patterns[chosen]
    four = [KAGGLE15.index(point) for point in SECOND_SOURCE_POINTS]
    carried[first:, four] = True
    full = round(second * FOUR / (ROWS - FIRST))
    eyes = min(round(second * EYES / (ROWS - FIRST)), second - full)
    short = first + rng.permutation(second)[: second - full]
    carried[np.ix_(short[:eyes], four[2:])] = False
    carried[short[eyes:], four[3]] = False  # where three points are labelled, it is the lip that lacks
    sources = np.repeat([1, 2], [first, second]).astype(np.int64)
    return Structure(sources, carried, _repeats(count, first, rng))


def _repeats(count: int, first: int, rng: np.random.Generator) -> np.ndarray:
    original = np.arange(count)
    for start, stop, share in ((0, first, REPEATED_FIRST / FIRST), (first, count, REPEATED_SECOND / (ROWS - FIRST))):
        rows = start + rng.permutation(stop - start)
        repeats = min(round((stop - start) * share), (stop - start) // 2)
        pairs = np.sort(np.stack([rows[:repeats], rows[len(rows) - repeats :]]), axis=0)
        original[pairs[1]] = pairs[0]
    return original
