"""Groups of features, and open-loop errors by feature and horizon with intervals over episodes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from wm_agents.errors import TrajectoryError
from wm_agents.evaluation.windows import EvaluationWindows
from wm_agents.training.config_checks import checked_seed
from wm_envs.data.display import short_repr

_MAX_CIRCLE_ERROR = 1e-4
"""Largest deviation of cos^2 + sin^2 from 1.

Which float32 keeps to 1e-7 and rounded recordings to about this.
"""


@dataclass(frozen=True)
class FeatureGroup:
    """Columns that are judged as one.

    Attributes:
        name: What sentences call it.
        columns: Of the observation, at least one.
        has_one_unit: The columns share a unit, as those of a one-hot, an angle or an image do:
            errors are then divided by the spread of the whole group, so that a category that is
            seen once in a thousand steps weighs as much as it occurs. Else each column is divided
            by its own.
    """

    name: str
    columns: tuple[int, ...]
    has_one_unit: bool = False


def feature_groups(
    names: Sequence[str],
    rows: NDArray[np.float32],
    *,
    space: Any = None,
    given: Mapping[str, Sequence[int]] | None = None,
) -> tuple[FeatureGroup, ...]:
    """Every column in exactly one group.

    As given, else by the space, else as the data show, else by itself.

    Args:
        names: Names of the O features.
        rows: All recorded observations [N, O].
        space: The observation space before it was flattened. Each key of a Dict is a group, as is
            an array of two or more axes; None, or one of another size, says nothing.
        given: Columns by name of the group.

    Raises:
        TrajectoryError: Given columns that do not exist, or of which one is in two groups.
    """
    # What was given wins over what is guessed, and the space over the data.
    groups = _given_groups(given or {}, len(names))
    taken = {column for group in groups for column in group.columns}
    for group in (
        *_space_groups(space, len(names)),
        *_one_hots(names, rows),
        *_angles(names, rows),
    ):
        if taken.isdisjoint(group.columns):
            groups.append(group)
            taken.update(group.columns)
    groups += [
        FeatureGroup(name, (column,)) for column, name in enumerate(names) if column not in taken
    ]
    return tuple(sorted(groups, key=lambda group: group.columns))


def _given_groups(given: Mapping[str, Sequence[int]], num_features: int) -> list[FeatureGroup]:
    groups = [
        FeatureGroup(str(name), tuple(int(column) for column in columns))
        for name, columns in given.items()
    ]
    columns = [column for group in groups for column in group.columns]
    if any(not group.columns for group in groups) or any(
        not 0 <= column < num_features for column in columns
    ):
        raise TrajectoryError(
            f"groups name columns from 0 to {num_features - 1}, at least one each, got "
            f"{dict(given)}"
        )
    if len(set(columns)) < len(columns):
        raise TrajectoryError(f"a column is in one group, got {dict(given)}")
    return groups


def _space_groups(space: Any, num_features: int) -> list[FeatureGroup]:
    """The groups of a space whose flattened form has this many numbers."""
    if (
        not isinstance(space, spaces.Space)
        # Of the unflattened space: names and widths of its parts.
        or not space.is_np_flattenable
        or spaces.flatdim(space) != num_features
    ):
        return []
    groups, first = [], 0
    for name, size, has_one_unit in _blocks(space, ""):
        # A vector at the top says nothing of which of its numbers belong together.
        if name:
            groups.append(FeatureGroup(name, tuple(range(first, first + size)), has_one_unit))
        first += size
    return groups


def _blocks(space: spaces.Space[Any], name: str) -> Iterator[tuple[str, int, bool]]:
    """Name, size and whether it has one unit of each block.

    In the order in which Gymnasium flattens them.
    """
    prefix = f"{name}." if name else ""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _blocks(part, f"{prefix}{key}" if len(space.spaces) > 1 else name)
    elif isinstance(space, spaces.Tuple):
        for place, part in enumerate(space.spaces):
            yield from _blocks(part, f"{prefix}{place}" if len(space.spaces) > 1 else name)
    elif isinstance(space, spaces.MultiDiscrete):
        for place, size in enumerate(space.nvec.ravel()):
            yield f"{name or 'value'}[{place}]", int(size), True
    elif isinstance(space, spaces.Discrete):
        yield name or "state", int(space.n), True
    else:
        is_array = len(space.shape or ()) > 1
        # A vector is left to its columns, an array such as an image is one thing.
        yield (name or "observation") if is_array else name, spaces.flatdim(space), is_array


def _one_hots(names: Sequence[str], rows: NDArray[np.float32]) -> Iterator[FeatureGroup]:
    """Neighbouring columns of zeros and ones that sum to one in every row.

    At least two of which vary.
    """
    is_binary = ((rows == 0) | (rows == 1)).all(axis=0)
    varies = np.ptp(rows, axis=0) > 0
    first, total = 0, np.zeros(len(rows), np.int32)
    for column in range(len(names)):
        if not is_binary[column]:
            # A group cannot reach over a column that is no bit.
            first, total = column + 1, np.zeros_like(total)
            continue
        total += rows[:, column] == 1
        # Two ones in a row: the leftmost columns belong to something else.
        while total.max() > 1:
            total -= rows[:, first] == 1
            first += 1
        if total.min() == 1:
            columns = tuple(range(first, column + 1))
            # A constant one-hot tells nothing, and may be anything.
            if varies[first : column + 1].sum() > 1:
                yield FeatureGroup(_common_name(names, columns), columns, has_one_unit=True)
            first, total = column + 1, np.zeros_like(total)


def _angles(names: Sequence[str], rows: NDArray[np.float32]) -> Iterator[FeatureGroup]:
    """Pairs of columns on the unit circle in every row.

    Which are the cosine and the sine of one angle.
    """
    low, high = rows.min(axis=0), rows.max(axis=0)
    is_candidate = (low >= -1 - _MAX_CIRCLE_ERROR) & (high <= 1 + _MAX_CIRCLE_ERROR) & (low < high)
    # Bits lie on the circle as well, as one-hots of two.
    is_candidate &= ~((rows == 0) | (rows == 1)).all(axis=0)
    candidates: list[int] = np.flatnonzero(is_candidate).tolist()
    squares = {column: rows[:, column].astype(np.float64) ** 2 for column in candidates}
    is_taken: set[int] = set()
    for place, first in enumerate(candidates):
        if first in is_taken:
            continue
        for second in candidates[place + 1 :]:
            if (
                second in is_taken
                # One row rules out nearly all pairs before whole columns are compared.
                or abs(squares[first][0] + squares[second][0] - 1) > _MAX_CIRCLE_ERROR
            ):
                continue
            if np.abs(squares[first] + squares[second] - 1).max() <= _MAX_CIRCLE_ERROR:
                columns = (first, second)
                is_taken.update(columns)
                yield FeatureGroup(
                    f"angle of {names[first]} and {names[second]}", columns, has_one_unit=True
                )
                break


def _common_name(names: Sequence[str], columns: tuple[int, ...]) -> str:
    """What the names of the columns begin with, such as "hour" for "hour 0" to "hour 23".

    Else the first and last.
    """
    first, last = names[columns[0]], names[columns[-1]]
    prefix = first
    for column in columns:
        while not names[column].startswith(prefix):
            prefix = prefix[:-1]
    prefix = prefix.rstrip(" _[(.=:0123456789")
    return prefix if len(prefix) > 1 and prefix != "feature" else f"{first} to {last}"


NON_FINITE_ERROR = 1000.0
"""What a prediction that is not finite, or further off than this, counts as.

Standard deviations of the feature.
"""

_NUM_RESAMPLES = 1000
_NEGLIGIBLE = 1e-12  # a squared error, in squared standard deviations
_CONFIDENCE = 0.95
_UPPER = (1 + _CONFIDENCE) / 2

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorTable:
    """Errors of one method, a row per horizon and a column per feature [horizons, O].

    Totals are in the last column.

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

    __repr__ = short_repr

    @property
    def rmse(self) -> Array:
        """Root mean squared error [horizons, O + 1]."""
        return np.sqrt(self.mean_squared)


@dataclass(frozen=True)
class ErrorCurve:
    """Total root mean squared error in standard deviations at every step [H].

    And its 95% limits by episode.

    Where a single episode lasts so long the limits are 0 and infinity.
    """

    rmse: Array
    low: Array
    high: Array

    __repr__ = short_repr


def error_tables(
    errors: Array,
    windows: EvaluationWindows,
    scale: Array,
    is_counted: NDArray[np.bool_],
    horizons: tuple[int, ...],
    is_integer: NDArray[np.bool_] | None,
    seed: int,
) -> ErrorTable:
    """Errors [W, H, O] as a table, totals over the features that `is_counted` [O].

    Shares of exact predictions are there only where `is_integer` [O] is given.
    """
    # Over features that count, so that constants do not dilute the mean.
    totals = np.mean((errors[..., is_counted] / scale[is_counted]) ** 2, axis=2, keepdims=True)
    rows = [
        _row(errors[scored, step - 1], totals[scored, step - 1], is_integer)
        | _limits_row(errors[:, step - 1], totals[:, step - 1], windows, step, seed)
        for step, scored in zip(horizons, windows.is_scored.T[np.array(horizons) - 1], strict=True)
    ]
    return ErrorTable(**{name: np.stack([row[name] for row in rows]) for name in rows[0]})


def _row(errors: Array, totals: Array, is_integer: NDArray[np.bool_] | None) -> dict[str, Array]:
    """One horizon's row from errors [N, O] and squared totals [N, 1]."""
    sizes = np.abs(errors)
    columns = np.concatenate([sizes, np.sqrt(totals)], axis=1)
    exact = np.full(columns.shape[1], np.nan)
    if is_integer is not None and is_integer.any():
        # Right when it rounds to the recorded number.
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
    errors: Array, totals: Array, windows: EvaluationWindows, step: int, seed: int
) -> dict[str, Array]:
    squares = np.concatenate([errors**2, totals], axis=1)
    low, high = episode_limits(
        squares[:, None], windows.is_scored[:, step - 1 : step], windows.episodes, seed
    )
    return {"mean_squared_low": low[0], "mean_squared_high": high[0]}


def error_curve(scaled_errors: Array, windows: EvaluationWindows, seed: int) -> ErrorCurve:
    """The total error at every step from errors [W, H, O] in standard deviations."""
    squares = np.mean(scaled_errors**2, axis=2)
    counts = windows.is_scored.sum(axis=0)
    mean = (squares * windows.is_scored).sum(axis=0) / counts
    low, high = episode_limits(squares[..., None], windows.is_scored, windows.episodes, seed)
    return ErrorCurve(np.sqrt(mean), np.sqrt(low[:, 0]), np.sqrt(high[:, 0]))


def episode_limits(
    values: Array, mask: NDArray[np.bool_], episodes: NDArray[np.int64], seed: int
) -> tuple[Any, Any]:
    """Percentile limits [H, C] of the mean of values [W, H, C] over masked starts [W, H].

    Episodes resampled.

    The starts of one episode are not independent; resampling starts would make the interval far too
    narrow. A single episode says nothing of how others differ: the limits are 0 and infinity.
    """
    (means,), num = _resampled_means([values], mask, episodes, seed)
    low, high = np.nanquantile(means, [1 - _UPPER, _UPPER], axis=0)
    # Of a single episode nothing can be said about others.
    low[num < 2], high[num < 2] = 0.0, np.inf
    return low, high


def paired_ratios(
    values: Array, others: Array, mask: NDArray[np.bool_], episodes: NDArray[np.int64], seed: int
) -> Array:
    """Ratios of two root mean squared errors on the same starts, with a 95% band [3, H, C].

    Estimate, lower and upper limit. Both errors are computed from the same resampled episodes, so
    that episodes that are hard for both do not widen the band. It holds at all H steps at once, of
    each column by itself: among 32 intervals one would be wrong by chance. It is symmetric in the
    logarithm, its width that of the largest studentized deviation of the resamples at any step, and
    Student's t makes it wider where few episodes last so long. A single episode gives 0 and
    infinity.

    Args:
        values: Squared errors [W, H, C].
        others: Squared errors of what they are compared with [W, H, C].
        mask: Starts that count [W, H].
        episodes: The episode of each start [W].
        seed: Of the bootstrap.
    """
    counts = mask.sum(axis=0)[:, None]
    own, other = ((part * mask[..., None]).sum(axis=0) / counts for part in (values, others))
    (drawn, drawn_other), num = _resampled_means([values, others], mask, episodes, seed)
    estimate, draws = _log_ratio(own, other), _log_ratio(drawn, drawn_other)
    error = np.nanstd(draws, axis=0)
    # Where no resample differs there is nothing to studentize.
    deviations = np.abs(draws - estimate) / np.where(error > 0, error, np.inf)
    is_single = num < 2
    largest = np.nan_to_num(deviations)[:, ~is_single].max(axis=1, initial=0.0)  # [B, C]
    num = np.maximum(num, 2)
    # Resamples of few episodes vary too little, and their spread is itself uncertain.
    small_sample = stdtrit(num - 1, _UPPER) / ndtri(_UPPER) * np.sqrt(num / (num - 1))
    width = np.quantile(largest, _CONFIDENCE, axis=0) * error * small_sample[:, None]
    low, high = np.exp(estimate - width), np.exp(estimate + width)
    low[is_single], high[is_single] = 0.0, np.inf
    return np.stack([np.exp(estimate), low, high])


def _log_ratio(own: Array, other: Array) -> Array:
    """Of the roots; two errors of nothing are equal."""
    ratio: Array = 0.5 * (np.log(own + _NEGLIGIBLE) - np.log(other + _NEGLIGIBLE))
    return ratio


def _resampled_means(
    all_values: Sequence[Array], mask: NDArray[np.bool_], episodes: NDArray[np.int64], seed: int
) -> tuple[list[Array], NDArray[np.int64]]:
    """Means [B, H, C] of each of the values over B resamples, and the number of episodes [H]."""
    numbers, place = np.unique(episodes, return_inverse=True)
    counts = np.zeros((len(numbers), mask.shape[1]))
    np.add.at(counts, place, mask)
    generator = np.random.default_rng(checked_seed(seed))
    # Multinomial counts are the bootstrap of episodes, as one matrix product.
    weights = generator.multinomial(
        len(numbers), np.full(len(numbers), 1 / len(numbers)), size=_NUM_RESAMPLES
    )
    drawn_counts = (weights @ counts)[..., None]
    all_means = []
    for values in all_values:
        sums = np.zeros((len(numbers), *values.shape[1:]))
        np.add.at(sums, place, values * mask[..., None])
        drawn_sums = np.tensordot(weights, sums, axes=1)
        # A resample in which no episode reaches the horizon says nothing about it.
        means = np.where(drawn_counts > 0, drawn_sums / np.maximum(drawn_counts, 1), np.nan)
        all_means.append(means)
    return all_means, (counts > 0).sum(axis=0)
