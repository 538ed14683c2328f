"""How many steps until a score is reached.

Where runs that never reach it count as censored and are never dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import ConfigError
from wm_agents.evaluation.statistics import Interval, check_resampling
from wm_agents.training.config_checks import checked_seed
from wm_envs.data.display import short_repr


@dataclass(frozen=True)
class LearningCurve:
    """Mean returns of one run after so many real steps.

    Attributes:
        steps: [K], real steps at each evaluation.
        returns: [K], mean return of each evaluation.
    """

    steps: NDArray[np.int64]
    returns: NDArray[np.float64]

    __repr__ = short_repr

    def steps_to(self, threshold: float) -> float | None:
        """Real steps at the first evaluation that reached the threshold; None where none did."""
        reached = np.flatnonzero(self.returns >= threshold)
        return float(self.steps[reached[0]]) if len(reached) else None


@dataclass(frozen=True)
class CensoredMedian:
    """A median time, or only a lower bound of it.

    Attributes:
        value: the median, or the last time that was looked at when more than half had not finished
            by then.
        is_censored: whether `value` is only a lower bound.
    """

    value: float
    is_censored: bool

    def __str__(self) -> str:
        return f">= {self.value:g}" if self.is_censored else f"{self.value:g}"


@dataclass(frozen=True)
class CensoredTimes:
    """Times at which runs reached a goal.

    Attributes:
        times: [R], in steps; of a censored run the last time at which it was looked at.
        is_censored: [R], whether the run had not reached the goal by then.
    """

    times: NDArray[np.float64]
    is_censored: NDArray[np.bool_]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        times, is_censored = (
            np.asarray(self.times, dtype=np.float64),
            np.asarray(self.is_censored, dtype=np.bool_),
        )
        if times.ndim != 1 or times.shape != is_censored.shape or times.size == 0:
            raise ConfigError(
                f"times {times.shape} and is_censored {is_censored.shape}; give two arrays of "
                "length R >= 1"
            )
        if not (np.isfinite(times) & (times >= 0)).all():
            raise ConfigError(
                "times must be finite and at least 0; a run that failed is censored at its last "
                "step"
            )
        # Frozen: the arrays replace what was given, such as lists.
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "is_censored", is_censored)

    @property
    def num_censored(self) -> int:
        """How many runs did not reach the goal."""
        return int(self.is_censored.sum())

    def median(self) -> CensoredMedian:
        """Kaplan-Meier median: the first time by which half of the runs or more have finished."""
        value, is_censored = _kaplan_meier_medians(self, np.ones((1, len(self.times))))
        return CensoredMedian(float(value[0]), bool(is_censored[0]))


@dataclass(frozen=True)
class ThresholdRatio(Interval):
    """Ratio of two median times; see `threshold_ratio`.

    Attributes:
        is_lower_bound: the numerator's median is censored: the true ratio is at least `estimate`.
        is_upper_bound: the denominator's median is censored: the true ratio is at most `estimate`.
            When both are censored nothing is known: estimate NaN, low 0, high infinity.
    """

    is_lower_bound: bool = False
    is_upper_bound: bool = False

    def __str__(self) -> str:
        if self.is_lower_bound and self.is_upper_bound:
            return "unknown: neither arm's median is known"
        sign = ""
        if self.is_lower_bound:
            sign = ">= "
        elif self.is_upper_bound:
            sign = "<= "
        return sign + super().__str__()


def steps_to_threshold(
    curves: "ArrayLike", steps: "ArrayLike", threshold: float, sustain: int = 1
) -> CensoredTimes:
    """The first step of each run from which its score stays at `threshold` or above.

    It has to do so at `sustain` evaluations in a row.

    Args:
        curves: scores [R, K] of R runs at K evaluations; -inf is allowed for a run that broke down,
            NaN is not.
        steps: [K], the steps (or episodes) done before each evaluation, increasing.
        threshold: score to reach.
        sustain: number of evaluations in a row that must reach it; the time is that of the first of
            them.

    Returns:
        The times; a run that never gets there is censored at the last evaluation.

    Raises:
        ConfigError: on shapes that do not fit, NaN, steps that do not increase, or sustain outside
            1..K.
    """
    scores, grid = np.asarray(curves, dtype=np.float64), np.asarray(steps, dtype=np.float64)
    if scores.ndim != 2 or grid.shape != scores.shape[1:] or scores.size == 0:
        raise ConfigError(f"curves {scores.shape} and steps {grid.shape}; give [R, K] and [K]")
    # Infinite scores are compared like any others.
    if np.isnan(scores).any() or np.isnan(threshold):
        raise ConfigError(
            "curves or threshold has NaN; give a run that broke down the score -inf from there on"
        )
    if not (np.isfinite(grid).all() and grid[0] >= 0 and (np.diff(grid) > 0).all()):
        raise ConfigError("steps must be finite, at least 0 and strictly increasing")
    if not 1 <= sustain <= len(grid):
        raise ConfigError(f"sustain={sustain}; give 1..{len(grid)}, the number of evaluations")
    # The score has to stay there for `sustain` evaluations.
    windows = np.lib.stride_tricks.sliding_window_view(scores >= threshold, sustain, axis=1)
    is_above: NDArray[np.bool_] = np.all(windows, axis=2)
    is_reached: NDArray[np.bool_] = np.any(is_above, axis=1)
    return CensoredTimes(np.where(is_reached, grid[is_above.argmax(axis=1)], grid[-1]), ~is_reached)


def threshold_ratio(
    a: CensoredTimes,
    b: CensoredTimes,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> ThresholdRatio:
    """Median time of a divided by that of b (both Kaplan-Meier).

    With a bootstrap interval that honours censoring.

    A resample whose median of a is censored can have any ratio above its bound, and one whose
    median of b is censored any ratio below: the lower limit takes the smallest ratio that each
    resample allows and the upper limit the largest, so that it is infinite as soon as too many
    resamples of a end censored.

    Args:
        a: times of the slower arm, so that the ratio reads "b needs so many times fewer steps".
        b: times of the faster arm.
        confidence: coverage, in (0, 1).
        num_resamples: number of resamples.
        seed: seed of the resampling.

    Raises:
        ConfigError: when the median of b is 0 steps (it was there before training), and on a wrong
            confidence.
    """
    check_resampling(confidence, num_resamples)
    median_a, median_b = a.median(), b.median()
    if median_b.value == 0:
        raise ConfigError(
            "the median of b is 0 steps: its threshold is met before training; give a higher "
            "threshold"
        )
    # A censored median allows a range of ratios.
    smallest, largest = _resampled_ratios(a, b, num_resamples, seed)
    # Infinite draws cannot be interpolated, so the limits are draws themselves, rounded outwards.
    low = float(np.quantile(smallest, (1 - confidence) / 2, method="lower"))
    high = float(np.quantile(largest, (1 + confidence) / 2, method="higher"))
    is_unknown = median_a.is_censored and median_b.is_censored
    estimate = float("nan") if is_unknown else median_a.value / median_b.value
    # Where neither is known the ratio may be anything.
    low, high = (0.0, float("inf")) if is_unknown else (low, high)
    return ThresholdRatio(
        estimate, low, high, confidence, median_a.is_censored, median_b.is_censored
    )


def _resampled_ratios(
    a: CensoredTimes, b: CensoredTimes, num_resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest and the largest ratio [N] that each resample of both arms allows."""
    generator = np.random.default_rng(checked_seed(seed))
    times_a, is_censored_a = _kaplan_meier_medians(
        a, _resampling_counts(generator, num_resamples, len(a.times))
    )
    times_b, is_censored_b = _kaplan_meier_medians(
        b, _resampling_counts(generator, num_resamples, len(b.times))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        # 0 / 0 is two arms that are both there at once.
        ratios = np.nan_to_num(times_a / times_b, nan=1.0, posinf=np.inf)
    return np.where(is_censored_b, 0.0, ratios), np.where(is_censored_a, np.inf, ratios)


def _resampling_counts(
    generator: np.random.Generator, num_resamples: int, num_runs: int
) -> NDArray[np.float64]:
    """How often [N, R] each run occurs in each resample."""
    counts = generator.multinomial(num_runs, np.full(num_runs, 1 / num_runs), size=num_resamples)
    return counts.astype(np.float64)


def _kaplan_meier_medians(
    observed: CensoredTimes, counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Medians [N] of the runs taken counts [N, R] times.

    And whether each is only a lower bound (Kaplan, Meier 1958).

    Survival after time t_j is the product over j of 1 - d_j / n_j, with d_j the runs that finish at
    t_j and n_j those that have neither finished nor been censored before t_j.
    """
    grid = np.unique(observed.times)
    finishes = (observed.times[:, None] == grid) & ~observed.is_censored[:, None]
    num_finishing = counts @ finishes
    # Kaplan and Meier: a run counts until it finishes or is lost.
    num_at_risk = counts @ (observed.times[:, None] >= grid)
    survival = np.cumprod(1 - num_finishing / np.maximum(num_at_risk, 1), axis=1)
    # The tolerance lets (1 - 1/4)(1 - 1/3) count as one half.
    is_past: NDArray[np.bool_] = survival <= 0.5 + 1e-12
    is_known: NDArray[np.bool_] = np.any(is_past, axis=1)
    # Without a median, the last time at which anybody was watched is its lower bound.
    last = np.where(counts > 0, observed.times, -np.inf).max(axis=1)
    return np.where(is_known, grid[is_past.argmax(axis=1)], last), ~is_known


def median_steps(curves: Sequence[LearningCurve], threshold: float) -> float:
    """Median real steps to the threshold, infinite where most runs never reach it."""
    steps = [curve.steps_to(threshold) for curve in curves]
    return float(np.median([np.inf if step is None else step for step in steps]))
