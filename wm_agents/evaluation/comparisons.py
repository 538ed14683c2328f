"""Is one arm better than another.

Probability of improvement, paired difference, permutation test.
"""

from dataclasses import dataclass
from itertools import chain, combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import ConfigError
from wm_agents.evaluation.intervals import (
    Interval,
    Statistic,
    check_resampling,
    finite_array,
    percentile_limits,
    stratified_bootstrap,
    task_scores,
)


def probability_of_improvement(
    x: ArrayLike, y: ArrayLike, confidence: float = 0.95, num_resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Probability that a run of x scores higher than a run of y, a tie counting half (Mann-Whitney U / (n_x n_y)).

    Averaged over tasks; the interval resamples the runs of each task and arm separately (Agarwal et
    al. 2021, section 4.3). Where every run of x beats every run of y the bootstrap interval shrinks
    to [1, 1]: it then says nothing about runs that were not made, and `exact_permutation_test` is
    the honest companion.

    Args:
        x: scores [tasks, runs of x], or [runs of x] of one task.
        y: scores [tasks, runs of y], or [runs of y] of one task.
        confidence: coverage, in (0, 1).
        num_resamples: number of resamples.
        seed: seed of the resampling.

    Raises:
        ConfigError: on scores that are not finite, of fewer than two runs or of unequally many
            tasks.
    """
    first, second = task_scores(x, "x"), task_scores(y, "y")
    if len(first) != len(second):
        raise ConfigError(
            f"x has {len(first)} tasks and y has {len(second)}; give both arms the same tasks"
        )
    check_resampling(confidence, num_resamples)
    wins = (np.sign(first[:, :, None] - second[:, None, :]) + 1) / 2
    generator = np.random.default_rng(seed)
    shares_x = _resampling_shares(generator, num_resamples, first.shape)
    shares_y = _resampling_shares(generator, num_resamples, second.shape)
    draws = np.einsum("ntx,txy,nty->n", shares_x, wins, shares_y, optimize=True) / len(first)
    low, high = percentile_limits(draws, confidence)
    return Interval(float(wins.mean()), float(low), float(high), confidence)


def _resampling_shares(
    generator: np.random.Generator, num_resamples: int, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """How large a share [N, tasks, runs] of each resample each run makes up."""
    num_tasks, num_runs = shape
    counts = generator.multinomial(
        num_runs, np.full(num_runs, 1 / num_runs), size=(num_resamples, num_tasks)
    )
    return counts / num_runs


def paired_difference(
    x: ArrayLike,
    y: ArrayLike,
    statistic: Statistic = np.mean,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Statistic of x - y over runs that share their seed, with a bootstrap interval that keeps the pairs together.

    Args:
        x: scores [runs] or [tasks, runs].
        y: scores of the same shape; run i of x and run i of y have the same seed.
        statistic: reduction of the differences, as in `stratified_bootstrap`.
        confidence: coverage, in (0, 1).
        num_resamples: number of resamples.
        seed: seed of the resampling.

    Raises:
        ConfigError: when the shapes differ, and as `stratified_bootstrap`.
    """
    first, second = finite_array(x, "x"), finite_array(y, "y")
    if first.shape != second.shape:
        raise ConfigError(
            f"x has shape {first.shape} and y has {second.shape}; pairs need equal shapes"
        )
    return stratified_bootstrap(first - second, statistic, confidence, num_resamples, seed)


@dataclass(frozen=True)
class PermutationTest:
    """Result of `exact_permutation_test`.

    Attributes:
        p_value: two-sided.
        difference: mean of x minus mean of y.
        num_arrangements: how many assignments of runs to arms were looked at.
        is_exact: whether these were all of them.
    """

    p_value: float
    difference: float
    num_arrangements: int
    is_exact: bool


def exact_permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    max_arrangements: int = 200_000,
    num_samples: int = 100_000,
    seed: int = 0,
) -> PermutationTest:
    """Two-sided permutation test on the difference of means (Fisher 1935; Pitman 1937).

    p is the share of all assignments of the pooled runs to the two arms whose |difference of means|
    is at least the observed one. Ten runs against ten have 184,756 assignments and are enumerated.
    Beyond `max_arrangements`, p = (1 + hits) / (1 + samples) of seeded random assignments, which is
    never 0 (Phipson and Smyth 2010).

    Args:
        x: scores [runs of x] of one task.
        y: scores [runs of y] of one task.
        max_arrangements: largest number of assignments that is enumerated.
        num_samples: number of random assignments beyond that.
        seed: seed of the random assignments.

    Raises:
        ConfigError: on scores that are not finite or not one-dimensional.
    """
    first, second = finite_array(x, "x"), finite_array(y, "y")
    if first.ndim != 1 or second.ndim != 1:
        raise ConfigError(
            f"x has shape {first.shape} and y has {second.shape}; give [runs] of one task"
        )
    check_resampling(0.5, num_samples)
    pooled, size = np.concatenate([first, second]), len(first)
    num_arrangements = comb(len(pooled), size)
    is_exact = num_arrangements <= max_arrangements
    arms = (
        _all_arms(len(pooled), size)
        if is_exact
        else _random_arms(len(pooled), size, num_samples, seed)
    )
    sums = pooled[arms].sum(axis=1)
    differences = sums / size - (pooled.sum() - sums) / len(second)
    difference = float(first.mean() - second.mean())
    # Equal differences come out unequal in the last digits when summed in another order.
    tolerance = 1e-9 * float(np.abs(pooled).max())
    hits = int((np.abs(differences) >= abs(difference) - tolerance).sum())
    p_value = hits / num_arrangements if is_exact else (1 + hits) / (1 + num_samples)
    return PermutationTest(p_value, difference, len(arms), is_exact)


def _all_arms(total: int, size: int) -> NDArray[np.intp]:
    """Every choice [C(total, size), size] of the runs of the first arm."""
    flat = np.fromiter(chain.from_iterable(combinations(range(total), size)), dtype=np.intp)
    return flat.reshape(-1, size)


def _random_arms(total: int, size: int, num_samples: int, seed: int) -> NDArray[np.intp]:
    """Random choices [num_samples, size] of the runs of the first arm."""
    keys = np.random.default_rng(seed).random((num_samples, total))
    return np.argpartition(keys, size - 1, axis=1)[:, :size]
