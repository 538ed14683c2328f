"""Open-loop errors gathered by feature and horizon, with intervals that resample whole episodes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.evaluation.starts import Stretches

NON_FINITE_ERROR = 1000.0
"""What a prediction that is not finite, or further off than this, counts as.

Standard deviations of the feature.
"""

_NUM_RESAMPLES = 1000
_CONFIDENCE = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorTable:
    """Errors of one method, a row per horizon and a column per feature [horizons, O]; totals are in the last column.

    Features are in their own units. The total is in standard deviations of the features, the root
    mean square over features of each start's error, since numbers of different units do not add up.

    Attributes:
        mean_squared: Mean squared error, and its limits.
        mean_squared_low: Lower 95% limit, episodes resampled; 0 where a single episode lasts so
            long.
        mean_squared_high: Upper 95% limit; infinite there.
        mean_absolute: Mean absolute error.
        median: Median absolute error.
        p95: 95th percentile of the absolute error.
        exact: Share of predictions that round to the recorded integer; NaN for features that are
            not integer-valued, and in total the share of starts at which all integer-valued
            features are right.
    """

    mean_squared: Array
    mean_squared_low: Array
    mean_squared_high: Array
    mean_absolute: Array
    median: Array
    p95: Array
    exact: Array

    @property
    def rmse(self) -> Array:
        """Root mean squared error [horizons, O + 1]."""
        return np.sqrt(self.mean_squared)


@dataclass(frozen=True)
class ErrorCurve:
    """Total root mean squared error in standard deviations at every step [H], and its 95% limits by episode.

    Where a single episode lasts so long the limits are 0 and infinity.
    """

    rmse: Array
    low: Array
    high: Array


def error_tables(
    errors: Array,
    stretches: Stretches,
    scale: Array,
    is_counted: NDArray[np.bool_],
    horizons: tuple[int, ...],
    is_integer: NDArray[np.bool_] | None,
    seed: int,
) -> ErrorTable:
    """Errors [W, H, O] as a table, totals over the features that `is_counted` [O].

    Shares of exact predictions are there only where `is_integer` [O] is given.
    """
    totals = np.mean((errors[..., is_counted] / scale[is_counted]) ** 2, axis=2, keepdims=True)
    rows = [
        _row(errors[scored, step - 1], totals[scored, step - 1], is_integer)
        | _limits_row(errors[:, step - 1], totals[:, step - 1], stretches, step, seed)
        for step, scored in zip(
            horizons, stretches.is_scored.T[np.array(horizons) - 1], strict=True
        )
    ]
    return ErrorTable(**{name: np.stack([row[name] for row in rows]) for name in rows[0]})


def _row(errors: Array, totals: Array, is_integer: NDArray[np.bool_] | None) -> dict[str, Array]:
    """One horizon's row from errors [N, O] and squared totals [N, 1]."""
    sizes = np.abs(errors)
    columns = np.concatenate([sizes, np.sqrt(totals)], axis=1)
    exact = np.full(columns.shape[1], np.nan)
    if is_integer is not None and is_integer.any():
        is_right = sizes[:, is_integer] < 0.5
        exact[:-1][is_integer], exact[-1] = is_right.mean(0), is_right.all(1).mean()
    return {
        "mean_squared": np.mean(columns**2, axis=0),
        "mean_absolute": columns.mean(axis=0),
        "median": np.median(columns, axis=0),
        "p95": np.quantile(columns, 0.95, axis=0),
        "exact": exact,
    }


def _limits_row(
    errors: Array, totals: Array, stretches: Stretches, step: int, seed: int
) -> dict[str, Array]:
    squares = np.concatenate([errors**2, totals], axis=1)
    low, high = episode_limits(
        squares[:, None], stretches.is_scored[:, step - 1 : step], stretches.episodes, seed
    )
    return {"mean_squared_low": low[0], "mean_squared_high": high[0]}


def error_curve(scaled_errors: Array, stretches: Stretches, seed: int) -> ErrorCurve:
    """The total error at every step from errors [W, H, O] in standard deviations."""
    squares = np.mean(scaled_errors**2, axis=2)
    counts = stretches.is_scored.sum(axis=0)
    mean = (squares * stretches.is_scored).sum(axis=0) / counts
    low, high = episode_limits(squares[..., None], stretches.is_scored, stretches.episodes, seed)
    return ErrorCurve(np.sqrt(mean), np.sqrt(low[:, 0]), np.sqrt(high[:, 0]))


def episode_limits(
    values: Array, mask: NDArray[np.bool_], episodes: NDArray[np.int64], seed: int
) -> tuple[Any, Any]:
    """Percentile limits [H, C] of the mean of values [W, H, C] over masked starts [W, H], episodes resampled.

    The starts of one episode are not independent; resampling starts would make the interval far too
    narrow. A single episode says nothing of how others differ: the limits are 0 and infinity.
    """
    numbers, place = np.unique(episodes, return_inverse=True)
    sums = np.zeros((len(numbers), *values.shape[1:]))
    counts = np.zeros((len(numbers), mask.shape[1]))
    np.add.at(sums, place, values * mask[..., None])
    np.add.at(counts, place, mask)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(
        len(numbers), np.full(len(numbers), 1 / len(numbers)), size=_NUM_RESAMPLES
    )
    drawn_counts = weights @ counts
    drawn_sums = np.tensordot(weights, sums, axes=1)
    # A resample in which no episode reaches the horizon says nothing about it.
    means = np.where(
        drawn_counts[..., None] > 0, drawn_sums / np.maximum(drawn_counts, 1)[..., None], np.nan
    )
    low, high = np.nanquantile(means, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2], axis=0)
    is_single = (counts > 0).sum(axis=0) < 2
    low[is_single], high[is_single] = 0.0, np.inf
    return low, high
