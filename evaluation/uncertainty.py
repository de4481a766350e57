"""How far a score could be off, and whether two scores differ: pure functions on arrays.

The unit is the **group** (faces of one clip, person or image; `groups` of `data_prep.faceset.FaceSet`), never the
face or the point: errors within a group resemble each other, so resampling faces would promise too much (the
cluster bootstrap, Field & Welsh 2007, "Bootstrapping clustered data", J. R. Statist. Soc. B 69).

Everything starts from two sums per group, of squared coordinate errors and of labelled coordinates, since a pooled
RMSE is the square root of the ratio of their totals. What is measured is the chance in *which faces were tested*;
the chance in training shows in the spread over seeds, which stands beside it in the tables.
"""

import warnings
from dataclasses import dataclass

import numpy as np

RESAMPLES = 9999
# Resamples drawn at a time: 500 x 700 groups x 8 bytes are 3 MB an array.
BATCH = 500


@dataclass(frozen=True)
class Comparison:
    """Treatment a against treatment b on the same groups.

    difference_px: RMSE of a minus RMSE of b; negative where a is better.
    low, high: 95 % interval of it, in pixels.
    p_value: two-sided, of the hypothesis that a and b err alike; never 0.
    probability_of_improvement: that a group's error is lower under a than under b, in 0 to 1; a tie is a half.
    """

    difference_px: float
    low: float
    high: float
    p_value: float
    probability_of_improvement: float


def per_group(errors: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squared coordinate errors and number of labelled coordinates of each group.

    errors: float [..., N, K, 2] in pixels, predicted minus true, NaN where unlabelled; groups: [N].
    Returns squared float64 [..., G] in px^2 and count float64 [G], groups in `np.unique` order without those that
    have nothing labelled. To put several runs on the same points stack their errors ([R, N, K, 2], faces in the
    same order): a point counts only where every one of them has an error.
    Raises ValueError where the shapes do not fit.
    """
    if errors.ndim < 3 or errors.shape[-1] != 2 or errors.shape[-3] != len(groups):
        raise ValueError(f"errors must be [..., N, K, 2] with N = {len(groups)} groups, got {errors.shape}")
    labelled = ~np.isnan(errors).any(axis=-1).any(axis=tuple(range(errors.ndim - 3)))
    of_face = (np.where(labelled[..., None], errors.astype(np.float64), 0.0) ** 2).sum(axis=(-2, -1))
    names, member = np.unique(groups, return_inverse=True)
    count = 2.0 * np.bincount(member, weights=labelled.sum(axis=1), minlength=len(names))
    squared = np.zeros((*of_face.shape[:-1], len(names)))
    np.add.at(squared, (..., member), of_face)
    return squared[..., count > 0], count[count > 0]


def rmse(squared: np.ndarray, count: np.ndarray, axis: int = -1) -> np.ndarray:
    """Pooled root mean squared error in px, sqrt(sum of squared / sum of count); NaN without any group.

    squared: px^2, and count, both [..., G] (they broadcast); the axis of groups goes: [S, G] gives one RMSE per
    seed.
    """
    with np.errstate(invalid="ignore"):
        return np.sqrt(squared.sum(axis=axis) / count.sum(axis=axis))


def rmse_interval(
    squared: np.ndarray, count: np.ndarray, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[float, float]:
    """(low, high) in px: interval of the pooled RMSE, by the bias-corrected accelerated (BCa) bootstrap over groups.

    squared: [G] or, per seed, [S, G] (squared errors are averaged over seeds first); count: [G]; see `per_group`.
    BCa (Efron 1987, "Better bootstrap confidence intervals", JASA 82; Efron & Tibshirani 1993, ch. 14; DiCiccio &
    Efron 1996) rather than plain percentiles, because squared errors are skewed. With fewer than two groups there is
    nothing to resample: (NaN, NaN). Where BCa is undefined, as where all resamples are equal, it is the percentile
    interval.
    """
    return _bca((_over_seeds(squared), count), rmse, seed, resamples, level)


def compare(
    squared_a: np.ndarray, squared_b: np.ndarray, count: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Compare treatments a and b, tested on the same groups.

    squared_a: [G] or [S, G], squared_b: [G] or [T, G], in px^2, count: [G], all of the same groups and points; see
    `per_group`. Squared errors are averaged over seeds first, so the interval and the p-value speak of the trained
    networks at hand on further faces, not of further seeds.

    - Interval: BCa bootstrap of the paired difference, both treatments on the same resampled groups.
    - p-value: permutation test that swaps a and b within a group, i.e. flips the sign of its difference of squared
      errors. A swap keeps the total of both, so the sum of differences orders the permutations as the difference of
      the two RMSE does. All 2^G sign patterns where they are no more than `resamples`, else random ones, the observed
      one among them (Phipson & Smyth 2010, "Permutation p-values should never be zero").
    - Probability of improvement: over groups and pairs of seeds (Agarwal et al. 2021, "Deep reinforcement learning at
      the edge of the statistical precipice", the `rliable` library), a group in the place of their task.

    Raises ValueError where the numbers of groups differ (broadcasting would compare other faces).
    """
    if not squared_a.shape[-1] == squared_b.shape[-1] == len(count):
        raise ValueError(f"not the same groups: {squared_a.shape[-1]}, {squared_b.shape[-1]} and {len(count)}")
    a, b = _over_seeds(squared_a), _over_seeds(squared_b)
    low, high = _bca((a, b, count), _difference, seed, resamples, level=0.95)
    return Comparison(
        difference_px=float(_difference(a, b, count)),
        low=low,
        high=high,
        p_value=_sign_flip_p_value(a - b, seed, resamples),
        probability_of_improvement=_probability_of_improvement(squared_a, squared_b),
    )


def difference_interval(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray], seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """(low, high) in px: 95 % interval of the RMSE of a minus that of b, which were tested on different groups.

    a, b: (squared, count) of `per_group`, [G] or [S, G] and [G]; the numbers of groups may differ. Each is resampled by
    itself (percentile bootstrap; of two ratios there is no acceleration to estimate simply). With fewer than two
    groups: (NaN, NaN).
    """
    rng, drawn = np.random.default_rng(seed), []
    for squared, count in (a, b):
        if len(count) < 2:
            return float("nan"), float("nan")
        times = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), size=resamples)  # [R, G]
        drawn.append(np.sqrt((times @ _over_seeds(squared)) / (times @ count)))
    low, high = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
    return float(low), float(high)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number, float64 [M]: each at most 0.05 keeps the chance of any false one below 5 %.

    p_values: [M]; NaN stays NaN and does not count. Source: Holm 1979, "A simple sequentially rejective multiple
    test procedure": the i-th smallest of m times m - i + 1, never below a smaller one's, at most 1.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]  # NaN sorts last
    stepped = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


def _over_seeds(squared: np.ndarray) -> np.ndarray:
    """[G]: the mean over seeds of [S, G]; [G] as it is."""
    return np.atleast_2d(squared).mean(axis=0)


def _difference(a: np.ndarray, b: np.ndarray, count: np.ndarray, axis: int = -1) -> np.ndarray:
    return rmse(a, count, axis) - rmse(b, count, axis)


def _bca(arrays: tuple[np.ndarray, ...], statistic, seed: int, resamples: int, level: float) -> tuple[float, float]:
    from scipy import stats

    if len(arrays[0]) < 2:
        return float("nan"), float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the degenerate cases, which are answered below
        result = stats.bootstrap(
            arrays, statistic, paired=True, vectorized=True, method="BCa", n_resamples=resamples, batch=BATCH,
            confidence_level=level, rng=seed,
        )  # fmt: skip
    interval = np.array(result.confidence_interval)
    if np.isnan(interval).any():
        interval = np.quantile(result.bootstrap_distribution, [(1 - level) / 2, (1 + level) / 2])
    return float(interval[0]), float(interval[1])


def _sign_flip_p_value(difference: np.ndarray, seed: int, resamples: int) -> float:
    """Two-sided p-value that differences [G] are symmetric about 0, by flipping their signs; NaN below two groups."""
    from scipy import stats

    if len(difference) < 2:
        return float("nan")
    result = stats.permutation_test(
        (difference,), np.sum, permutation_type="samples", vectorized=True, n_resamples=resamples, batch=BATCH,
        rng=seed,
    )  # fmt: skip
    return float(result.pvalue)


def _probability_of_improvement(squared_a: np.ndarray, squared_b: np.ndarray) -> float:
    # Both have the same points in a group, so its sum of squares orders as its RMSE does.
    a, b = np.atleast_2d(squared_a)[:, None], np.atleast_2d(squared_b)[None]
    better = (a < b) + 0.5 * (a == b)
    return float(better.mean()) if better.size else float("nan")
