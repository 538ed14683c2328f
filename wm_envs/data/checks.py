"""What is checked of recorded arrays; every TrajectoryError names the array and the row."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_envs.data.errors import TrajectoryError

Array = NDArray[Any]


def checked_numbers(name: str, values: "ArrayLike", dtype: type[Any], num_dims: int) -> Array:
    """Finite numbers of this type and number of dimensions."""
    array = converted(name, values, dtype)
    if array.ndim != num_dims:
        raise TrajectoryError(f"{name} has {num_dims} dimensions, got shape {array.shape}")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise TrajectoryError(
            f"{name}, row {bad[0][0]}: {array[tuple(bad[0])]} at index {tuple(map(int, bad[0]))} is not a finite "
            "number; remove or repair the episode"
        )
    return array


def converted(name: str, values: "ArrayLike", dtype: type[Any]) -> Array:
    """An array of numbers of this type."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise TrajectoryError(f"{name} is ragged: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TrajectoryError(f"{name} holds numbers, got {array.dtype}")
    with np.errstate(over="ignore"):  # what becomes infinite is reported as not finite
        return np.ascontiguousarray(array, dtype)


def checked_actions(values: "ArrayLike") -> Array:
    """Integers [S] or finite numbers [S, A]."""
    array = converted("actions", values, np.float64)
    if array.ndim == 2:
        return checked_numbers("actions", array, np.float32, 2)
    if array.ndim != 1 or np.asarray(values).dtype.kind not in "iu":
        raise TrajectoryError(
            f"actions are integers [S] (Discrete) or numbers [S, A] (Box), got {np.asarray(values).dtype} of shape "
            f"{array.shape}"
        )
    return np.ascontiguousarray(values, np.int64)


def checked_flags(name: str, values: "ArrayLike") -> NDArray[np.bool_]:
    """Booleans from zeros and ones."""
    array = checked_numbers(name, values, np.float64, 1)
    odd = np.flatnonzero((array != 0) & (array != 1))
    if len(odd):
        raise TrajectoryError(f"{name}, row {odd[0]}: {array[odd[0]]} is neither 0 nor 1")
    return array.astype(np.bool_)


def checked_lengths(values: "ArrayLike") -> NDArray[np.int64]:
    """Whole numbers of at least 1."""
    array = checked_numbers("lengths", values, np.float64, 1)
    if not len(array):
        raise TrajectoryError("lengths is empty: record at least one episode")
    bad = np.flatnonzero((array < 1) | (array != np.floor(array)))
    if len(bad):
        raise TrajectoryError(
            f"lengths, row {bad[0]}: {array[bad[0]]} is not a whole number of at least 1 step"
        )
    return array.astype(np.int64)


def lengths_between(lasts: NDArray[np.intp], num_steps: int) -> NDArray[np.int64]:
    """Episode lengths from the rows of last steps.

    What follows the last end is an unfinished episode.
    """
    bounds = np.unique(np.concatenate([[-1], lasts, [num_steps - 1]]))
    return np.diff(bounds).astype(np.int64)


def check_length(name: str, array: Array, expected: int, other: str) -> None:
    """Raise TrajectoryError unless an array has as many rows as another."""
    if len(array) != expected:
        raise TrajectoryError(f"{name} has {len(array)} rows, but {other} has {expected}")
