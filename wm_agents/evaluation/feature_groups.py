"""Which columns of an observation belong together: one-hots, angles and flattened blocks, found in spaces and data.

A model is judged by its worst group. Were it judged by columns, a one-hot of 24 hours would count
24 times; were it judged by their mean, 24 easy columns would hide one that nobody can predict.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wm_agents.errors import TrajectoryError

_MAX_CIRCLE_ERROR = 1e-4
"""Largest deviation of cos^2 + sin^2 from 1, which float32 keeps to 1e-7 and rounded recordings to about this."""


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
    """Every column in exactly one group: as given, else by the space, else as the data show, else by itself.

    Args:
        names: Names of the O features.
        rows: All recorded observations [N, O].
        space: The observation space before it was flattened. Each key of a Dict is a group, as is
            an array of two or more axes; None, or one of another size, says nothing.
        given: Columns by name of the group.

    Raises:
        TrajectoryError: Given columns that do not exist, or of which one is in two groups.
    """
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
            f"groups name columns from 0 to {num_features - 1}, at least one each, got {dict(given)}"
        )
    if len(set(columns)) < len(columns):
        raise TrajectoryError(f"a column is in one group, got {dict(given)}")
    return groups


def _space_groups(space: Any, num_features: int) -> list[FeatureGroup]:
    """The groups of a space whose flattened form has this many numbers."""
    if (
        not isinstance(space, spaces.Space)
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
    """Name, size and whether it has one unit of each block, in the order in which Gymnasium flattens them."""
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
        yield (name or "observation") if is_array else name, spaces.flatdim(space), is_array


def _one_hots(names: Sequence[str], rows: NDArray[np.float32]) -> Iterator[FeatureGroup]:
    """Neighbouring columns of zeros and ones that sum to one in every row, at least two of which vary."""
    is_binary = ((rows == 0) | (rows == 1)).all(axis=0)
    varies = np.ptp(rows, axis=0) > 0
    first, total = 0, np.zeros(len(rows), np.int32)
    for column in range(len(names)):
        if not is_binary[column]:
            first, total = column + 1, np.zeros_like(total)
            continue
        total += rows[:, column] == 1
        # Two ones in a row: the leftmost columns belong to something else.
        while total.max() > 1:
            total -= rows[:, first] == 1
            first += 1
        if total.min() == 1:
            columns = tuple(range(first, column + 1))
            if varies[first : column + 1].sum() > 1:
                yield FeatureGroup(_common_name(names, columns), columns, has_one_unit=True)
            first, total = column + 1, np.zeros_like(total)


def _angles(names: Sequence[str], rows: NDArray[np.float32]) -> Iterator[FeatureGroup]:
    """Pairs of columns on the unit circle in every row, which are the cosine and the sine of one angle."""
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
