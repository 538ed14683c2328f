"""Statistics of learning results: estimates with intervals, and one arm against another.

A learning claim here stands on at least ten seeds, an interval, and failures that are counted;
`thresholds` counts steps to a score with censoring.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, combinations
from math import comb
from statistics import NormalDist
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import ConfigError
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_envs.data.moved import renamed

Statistic = Callable[..., Any]
"""A reduction in NumPy's manner, `statistic(values, axis=(1, 2))`.

`np.mean`, `np.median`, `interquartile_mean`.
"""

# Resamples are drawn in pieces of at most this many numbers, so that memory stays below some tens
# of megabytes.
_MAX_RESAMPLED_NUMBERS = 2_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate between its confidence limits.

    Attributes:
        estimate: the statistic of the data as they are.
        low: lower confidence limit.
        high: upper confidence limit.
        confidence: coverage that the limits aim at, in (0, 1).
    """

    estimate: float
    low: float
    high: float
    confidence: float = 0.95

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"

    def flatten(self, name: str) -> dict[str, float]:
        """Gives `{name, name_low, name_high}`.

        The form in which a flat summary stores an interval.
        """
        return {name: self.estimate, f"{name}_low": self.low, f"{name}_high": self.high}


@overload
def interquartile_mean(values: "ArrayLike", axis: None = None) -> float: ...


@overload
def interquartile_mean(values: "ArrayLike", axis: int | tuple[int, ...]) -> NDArray[np.float64]: ...


def interquartile_mean(
    values: "ArrayLike", axis: int | tuple[int, ...] | None = None
) -> float | NDArray[np.float64]:
    """Mean of the middle half: a quarter of the values, rounded down, is cut from each end.

    Args:
        values: finite numbers of any shape.
        axis: axis or axes over which to reduce; None reduces over all of them.

    Returns:
        A float when `axis` is None, else an array of the remaining axes.

    Raises:
        ConfigError: when `values` is empty or not finite.
    """
    numbers = finite_array(values, "values")
    axes = (axis,) if isinstance(axis, int) else axis
    if axes is None:
        axes = tuple(range(numbers.ndim))
    # The axes that are reduced become one, at the end.
    moved = np.moveaxis(numbers, axes, range(-len(axes), 0))
    flat = np.sort(moved.reshape(*moved.shape[: numbers.ndim - len(axes)], -1), axis=-1)
    cut = flat.shape[-1] // 4
    middle = np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(axis=-1))
    return float(middle) if axis is None else middle


def stratified_bootstrap(
    values: "ArrayLike",
    statistic: Statistic = interquartile_mean,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval that resamples the runs of each task separately.

    Agarwal et al. 2021, section 4.1.

    Args:
        values: scores [tasks, runs], or [runs] of one task.
        statistic: reduction over both axes of [tasks, runs]; called on a stack of resamples with
            `axis=(1, 2)`.
        confidence: coverage, in (0, 1).
        num_resamples: number of resamples.
        seed: seed of the resampling; equal seeds give equal intervals.

    Raises:
        ConfigError: on values that are not finite or of fewer than two runs, and on a confidence
            outside (0, 1).
    """
    scores = task_scores(values, "values")
    check_resampling(confidence, num_resamples)
    estimate = float(statistic(scores[None], axis=(1, 2))[0])
    low, high = percentile_limits(_resampled(scores, statistic, num_resamples, seed), confidence)
    return Interval(estimate, float(low), float(high), confidence)


def stratified_bootstrap_band(
    curves: "ArrayLike",
    statistic: Statistic = interquartile_mean,
    confidence: float = 0.95,
    num_resamples: int = 2_000,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pointwise estimate and percentile limits of learning curves.

    Args:
        curves: scores [runs, K] or [tasks, runs, K] at K evaluations; whole runs are resampled.
        statistic: as in `stratified_bootstrap`.
        confidence: coverage at each point, in (0, 1).
        num_resamples: number of resamples.
        seed: seed of the resampling.

    Returns:
        Estimate, low and high, each [K].

    Raises:
        ConfigError: as `stratified_bootstrap`.
    """
    numbers = finite_array(curves, "curves")
    if numbers.ndim not in (2, 3) or numbers.shape[-2] < 2:
        raise ConfigError(
            f"curves has shape {numbers.shape}; give [runs, K] or [tasks, runs, K] with at least 2 "
            "runs"
        )
    check_resampling(confidence, num_resamples)
    scores = numbers if numbers.ndim == 3 else numbers[None]
    estimate = np.asarray(statistic(scores[None], axis=(1, 2))[0], dtype=np.float64)
    low, high = percentile_limits(_resampled(scores, statistic, num_resamples, seed), confidence)
    return estimate, low, high


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Score interval of a success rate (Wilson, JASA 22, 1927).

    It stays inside [0, 1] and has width at 0 and at 1.

    Args:
        successes: number of successes, 0..trials.
        trials: number of independent trials, at least 1.
        confidence: coverage, in (0, 1).

    Raises:
        ConfigError: on counts or a confidence outside these ranges.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ConfigError(
            f"successes={successes} of trials={trials}; give 0 <= successes <= trials and trials "
            ">= 1"
        )
    check_resampling(confidence)
    rate, z = successes / trials, NormalDist().inv_cdf(0.5 + confidence / 2)
    # Wilson's interval in its own letters: z the normal quantile, shrink 1 + z^2 / n.
    shrink = 1 + z**2 / trials
    centre = (rate + z**2 / (2 * trials)) / shrink
    half = z / shrink * float(np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)))
    # At the ends the limit is exactly 0 or 1; rounding would leave it a hair off.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return Interval(rate, low, high, confidence)


def finite_array(values: "ArrayLike", name: str) -> NDArray[np.float64]:
    """The values as float64; raises ConfigError when there are none or when one is not finite."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise ConfigError(f"{name} is empty; give at least one value")
    if not np.isfinite(numbers).all():
        where = np.argwhere(~np.isfinite(numbers))[0].tolist()
        raise ConfigError(
            f"{name}{where} is not finite; give a failed run the score that a failure earns"
        )
    return numbers


def task_scores(values: "ArrayLike", name: str) -> NDArray[np.float64]:
    """The scores as [tasks, runs].

    Raises ConfigError on other shapes and on fewer than two runs.
    """
    numbers = finite_array(values, name)
    if numbers.ndim not in (1, 2) or numbers.shape[-1] < 2:
        raise ConfigError(
            f"{name} has shape {numbers.shape}; give [runs] or [tasks, runs] with at least 2 runs"
        )
    return np.atleast_2d(numbers)


def check_resampling(confidence: float, num_resamples: int = 1) -> None:
    """Raises ConfigError unless 0 < confidence < 1 and num_resamples >= 1."""
    if not 0 < confidence < 1:
        raise ConfigError(
            f"confidence={confidence}; give a number between 0 and 1, for example 0.95"
        )
    require_integers(None, num_resamples=num_resamples)
    if num_resamples < 1:
        raise ConfigError(f"num_resamples={num_resamples}; give at least 1, better 2000")


def percentile_limits(
    draws: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The central `confidence` part of draws [N, ...] over the first axis."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def _resampled(
    scores: NDArray[np.float64], statistic: Statistic, num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """The statistic [N, ...] of N resamples of scores [tasks, runs, ...]."""
    num_tasks, num_runs = scores.shape[:2]
    generator, tasks = np.random.default_rng(checked_seed(seed)), np.arange(num_tasks)[:, None]
    # At least one resample a piece, however large the scores are.
    piece = max(1, _MAX_RESAMPLED_NUMBERS // scores.size)
    draws = []
    for start in range(0, num_resamples, piece):
        runs = generator.integers(
            # Runs are drawn within each task, which is what stratified means.
            num_runs,
            size=(min(piece, num_resamples - start), num_tasks, num_runs),
        )
        draws.append(np.asarray(statistic(scores[tasks, runs], axis=(1, 2)), dtype=np.float64))
    return np.concatenate(draws)


def probability_of_improvement(
    x: "ArrayLike",
    y: "ArrayLike",
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Probability that a run of x scores higher than a run of y.

    A tie counting half (Mann-Whitney U / (n_x n_y)).

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
    # A tie is half a win.
    wins = (np.sign(first[:, :, None] - second[:, None, :]) + 1) / 2
    generator = np.random.default_rng(checked_seed(seed))
    shares_x = _resampling_shares(generator, num_resamples, first.shape)
    shares_y = _resampling_shares(generator, num_resamples, second.shape)
    # Shares of resamples on both sides of the table of wins: no draw looks at the scores again.
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
    x: "ArrayLike",
    y: "ArrayLike",
    statistic: Statistic = np.mean,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Statistic of x - y over runs that share their seed.

    With a bootstrap interval that keeps the pairs together.

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
    x: "ArrayLike",
    y: "ArrayLike",
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
    # All arrangements where there are few enough, else drawn ones.
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
    # A drawn test counts the arrangement at hand, so that p is never 0 (Phipson and Smyth 2010).
    p_value = hits / num_arrangements if is_exact else (1 + hits) / (1 + num_samples)
    return PermutationTest(p_value, difference, len(arms), is_exact)


def _all_arms(total: int, size: int) -> NDArray[np.intp]:
    """Every choice [C(total, size), size] of the runs of the first arm."""
    flat = np.fromiter(chain.from_iterable(combinations(range(total), size)), dtype=np.intp)
    return flat.reshape(-1, size)


def _random_arms(total: int, size: int, num_samples: int, seed: int) -> NDArray[np.intp]:
    """Random choices [num_samples, size] of the runs of the first arm."""
    keys = np.random.default_rng(checked_seed(seed)).random((num_samples, total))
    # The indices of the smallest keys are a uniform choice.
    return np.argpartition(keys, size - 1, axis=1)[:, :size]


# Until the next release: they were exported from here as well.
__getattr__ = renamed(
    __name__,
    {
        name: f"wm_agents.evaluation.thresholds.{name}"
        for name in (
            "CensoredMedian",
            "CensoredTimes",
            "ThresholdRatio",
            "steps_to_threshold",
            "threshold_ratio",
        )
    },
)
