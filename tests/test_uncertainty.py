"""Intervals and tests over groups: values by hand, and simulations whose answer is known."""

import numpy as np
import pytest

from evaluation.uncertainty import compare, holm, per_group, rmse, rmse_interval

NAN = float("nan")


# --- sums per group


def test_sums_per_group_by_hand():
    errors = np.array(
        [
            [[3, 4], [1, 0]],
            [[NAN, NAN], [NAN, NAN]],  # group 5 has nothing labelled
            [[0, 2], [NAN, NAN]],
            [[1, 1], [1, 1]],
        ],
        np.float32,
    )
    squared, count = per_group(errors, np.array([9, 5, 9, 2]))
    # Group 2: 1 + 1 + 1 + 1 on 4 coordinates. Group 9: 9 + 16 + 1 + 0 and 4, on 4 + 2 coordinates.
    assert squared.tolist() == [4, 30]
    assert count.tolist() == [4, 6]
    assert rmse(squared, count) == pytest.approx((34 / 10) ** 0.5)


def test_runs_stacked_count_the_points_they_share():
    errors = np.ones((2, 3, 2, 2))
    errors[1] = 2
    errors[0, 0, 0] = NAN  # one point that only the second run was scored on
    errors[1, 2] = NAN  # a face, all of its group, that only the first run was scored on
    squared, count = per_group(errors, np.array(["a", "b", "c"]))
    # Group a keeps one point of two coordinates, b both points, c nothing.
    assert count.tolist() == [2, 4]
    assert squared.tolist() == [[2, 4], [8, 16]]
    assert rmse(squared, count).tolist() == [1, 2]


@pytest.mark.parametrize("shape", [(3, 2), (4, 5, 2), (3, 5, 3)])
def test_errors_that_do_not_fit_the_groups_are_refused(shape):
    with pytest.raises(ValueError, match="N = 3 groups"):
        per_group(np.zeros(shape), np.arange(3))


def test_nothing_labelled_is_nan():
    squared, count = per_group(np.full((2, 3, 2), NAN), np.arange(2))
    assert squared.shape == count.shape == (0,)
    assert np.isnan([rmse(squared, count), *rmse_interval(squared, count)]).all()
    result = compare(squared, squared, count)
    assert np.isnan([result.difference_px, result.low, result.p_value, result.probability_of_improvement]).all()


# --- interval


def test_interval_of_two_groups_by_hand():
    # Resamples of two groups with mean squares 1 and 4: both first (RMSE 1), one each, both second (RMSE 2), with
    # probability 1/4, 1/2, 1/4, so the outer 2.5 % on each side are 1 and 2.
    assert rmse_interval(np.array([2.0, 8.0]), np.array([2.0, 2.0])) == (1, 2)
    # Two seeds with these as their mean.
    assert rmse_interval(np.array([[1.0, 6.0], [3.0, 10.0]]), np.array([2.0, 2.0])) == (1, 2)


def test_interval_of_degenerate_groups():
    assert np.isnan(rmse_interval(np.array([8.0]), np.array([2.0]))).all()
    # All groups err alike, whatever their size: sqrt(4) in every resample.
    assert rmse_interval(np.array([8.0, 16.0, 40.0]), np.array([2.0, 4.0, 10.0])) == (2, 2)
    assert rmse_interval(np.zeros(5), np.ones(5)) == (0, 0)


def test_interval_near_the_normal_one_where_groups_are_many():
    # Squares of 2,000 standard normal values: the mean square has variance 2 / n, the root half its deviation:
    # 1 +- 1.96 sqrt(2 / 2000) / 2 = 1 +- 0.031 around what the sample gives.
    squared = np.random.default_rng(0).normal(size=2000) ** 2
    count = np.ones(2000)
    low, high = rmse_interval(squared, count, resamples=1999)
    assert np.array([low, high]) - rmse(squared, count) == pytest.approx([-0.031, 0.031], abs=0.003)
    assert rmse_interval(squared, count, resamples=1999) == (low, high)
    assert rmse_interval(squared, count, resamples=1999, seed=1) != (low, high)
    assert rmse_interval(squared, count, resamples=1999, level=0.8)[0] > low


def test_interval_covers_the_known_rmse_only_if_groups_are_the_unit():
    """300 test sets of 100 groups of 1 to 8 faces: an error shared by the group (SD 1.5) plus the face's own (SD 1)."""
    known = (1.5**2 + 1**2) ** 0.5
    rng = np.random.default_rng(1)
    covered = np.zeros(2)
    for simulation in range(300):
        groups = np.repeat(np.arange(100), rng.integers(1, 9, 100))
        errors = rng.normal(0, 1.5, (100, 1, 2))[groups] + rng.normal(0, 1, (len(groups), 1, 2))
        for i, unit in enumerate((groups, np.arange(len(groups)))):
            low, high = rmse_interval(*per_group(errors, unit), seed=simulation, resamples=199)
            covered[i] += low <= known <= high
    by_group, by_face = covered / 300
    assert 0.91 <= by_group <= 0.98
    # Faces taken for independent: about every fourth "95 %" interval misses.
    assert by_face < 0.8


# --- comparison


def test_comparison_by_hand():
    count = np.full(3, 2.0)
    result = compare(np.array([2.0, 8.0, 8.0]), np.array([2.0, 2.0, 4.0]), count)
    assert result.difference_px == pytest.approx((18 / 6) ** 0.5 - (8 / 6) ** 0.5)
    # Differences 0, 6, 4: of 8 sign patterns two (either sign of the 0) reach the sum of 10, two reach -10.
    assert result.p_value == pytest.approx(4 / 8)
    # a is never better; one tie in three groups counts half.
    assert result.probability_of_improvement == pytest.approx(0.5 / 3)
    # Resamples run from three times the first group (no difference) to three times the second (2 - 1).
    assert (result.low, result.high) == pytest.approx((0, 1))


def test_seeds_are_averaged_for_the_difference_and_paired_for_the_probability():
    a = np.array([[1.0, 5.0], [3.0, 5.0]])
    b = np.array([[2.0, 5.0]])
    result = compare(a, b, np.ones(2))
    # Means over seeds: a = b = (2, 5).
    assert (result.difference_px, result.p_value) == (0, 1)
    # First group: 1 < 2 but 3 > 2; second: two ties. (1 + 0 + 1/2 + 1/2) / 4.
    assert result.probability_of_improvement == 0.5
    assert compare(np.array([[1.0, 4.0], [3.0, 5.0]]), b, np.ones(2)).probability_of_improvement == 0.625


def test_p_value_is_exact_for_few_groups_and_never_zero():
    # Every group worse: of 2^13 sign patterns one has this sum and one its negative.
    assert compare(np.full(13, 2.0), np.ones(13), np.ones(13), resamples=8192).p_value == pytest.approx(2 / 2**13)
    # 2^40 patterns, of which 199 random ones and the observed: 1 of 200 on either side.
    assert compare(np.full(40, 2.0), np.ones(40), np.ones(40), resamples=199).p_value == pytest.approx(2 / 200)
    assert compare(np.ones(40), np.ones(40), np.ones(40), resamples=199).p_value == 1


def test_one_group_gives_a_difference_and_nothing_else():
    result = compare(np.array([18.0]), np.array([2.0]), np.array([2.0]))
    assert result.difference_px == 2
    assert np.isnan([result.low, result.high, result.p_value]).all()


def test_exchanging_the_treatments_turns_the_result_round():
    rng = np.random.default_rng(0)
    count = rng.integers(1, 9, 60) * 2.0
    a, b = rng.gamma(1, 4, (2, 60)) * count, rng.gamma(1, 4.5, (3, 60)) * count
    there, back = compare(a, b, count), compare(b, a, count)
    assert back.difference_px == pytest.approx(-there.difference_px)
    assert back.p_value == there.p_value
    assert 0 < there.p_value < 1
    assert back.probability_of_improvement == pytest.approx(1 - there.probability_of_improvement)
    assert (-back.high, -back.low) == pytest.approx((there.low, there.high), abs=0.003)


def test_treatments_of_other_groups_are_not_compared():
    with pytest.raises(ValueError, match="not the same groups: 3, 1 and 3"):
        compare(np.ones(3), np.ones(1), np.ones(3))


def test_equal_treatments_differ_in_one_of_twenty_comparisons():
    """300 test sets of 200 groups on which two treatments err alike: what one finds hard the other does too."""
    rng = np.random.default_rng(2)
    found = np.zeros(2)
    for simulation in range(300):
        count = rng.integers(1, 5, 200) * 2.0
        difficulty = rng.gamma(2, 1, 200)
        a, b = (difficulty * rng.chisquare(count) for _ in range(2))
        result = compare(a, b, count, seed=simulation, resamples=199)
        found += (result.p_value <= 0.05, not result.low <= 0 <= result.high)
    by_test, by_interval = found / 300
    # 5 %, and twice the binomial deviation of sqrt(0.05 * 0.95 / 300) = 1.26 % to either side.
    assert 0.025 <= by_test <= 0.075
    # A bootstrap is exact only for many groups, and these squared errors have a long tail.
    assert 0.025 <= by_interval <= 0.09


# --- many tests


def test_holm_by_hand():
    # Sorted: 4 x 0.005, 3 x 0.01, 2 x 0.03, 1 x 0.04 but not below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # A test that could not be done is none of the family.
    assert holm([NAN, 0.02, 0.9]) == pytest.approx([NAN, 0.04, 0.9], nan_ok=True)
    assert holm([0.5, 0.6]).tolist() == [1, 1]
    assert holm([]).tolist() == []
