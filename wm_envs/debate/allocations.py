"""Allocations: the influence of each tendency, checked, and moved by the rule of the kernels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.debate import dynamics
from wm_envs.debate.tendencies import NUM_TENDENCIES, TENDENCIES, Tendency
from wm_envs.errors import DebateError

Allocations = NDArray[np.float64]  # [7], in the order of TENDENCIES
# By which given allocations may miss the sum of 1.
TOLERANCE = 1e-6


def to_array(values: Mapping[Tendency, float] | Sequence[float], name: str) -> Allocations:
    """Seven finite numbers, from a mapping of all tendencies or in their order.

    Raises DebateError.
    """
    if isinstance(values, Mapping):
        unknown = set(values) - set(TENDENCIES)
        missing = set(TENDENCIES) - set(values)
        if unknown or missing:
            raise DebateError(
                f"{name} has one number for each tendency: unknown {sorted(unknown)}, missing "
                f"{sorted(missing)}"
            )
        values = [values[tendency] for tendency in TENDENCIES]
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise DebateError(f"{name} is no list of numbers: {error}") from error
    if array.shape != (NUM_TENDENCIES,) or not np.all(np.isfinite(array)):
        raise DebateError(f"{name} is seven finite numbers, got {values!r}")
    return array


def to_mapping(array: NDArray[np.float64]) -> dict[Tendency, float]:
    """By tendency."""
    return dict(zip(TENDENCIES, array.tolist(), strict=True))


def check_bounds(minimum: Any, maximum: Any) -> tuple[float, float]:
    """Return the bounds or raise DebateError unless seven allocations within them can sum to 1."""
    for value in (minimum, maximum):
        # True is an int for Python and no bound for anybody.
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | np.number)
            or not math.isfinite(value)
        ):
            raise DebateError(f"the bounds of an allocation are finite numbers, got {value!r}")
    # Seven shares of at least 1/7, or of at most 1/7, cannot sum to 1 otherwise.
    if not (0 <= minimum <= 1 / NUM_TENDENCIES <= maximum <= 1):
        raise DebateError(
            f"bounds [{minimum}, {maximum}] leave no sum of 1: give 0 <= min <= 1/7 <= max <= 1"
        )
    return float(minimum), float(maximum)


def check_allocations(values: Any, minimum: float = 0.0, maximum: float = 1.0) -> Allocations:
    """Allocations [7] that sum to 1 and lie within the bounds, or DebateError."""
    array = to_array(values, "allocations")
    if abs(array.sum() - 1) > TOLERANCE:
        raise DebateError(f"allocations sum to 1, got {array.sum():.6g}: divide them by their sum")
    if array.min() < minimum - TOLERANCE or array.max() > maximum + TOLERANCE:
        raise DebateError(f"allocations lie in [{minimum}, {maximum}], got {array.tolist()}")
    # Within the tolerance the sum may be off, and rounding would build up over debates.
    # Also repairs a sum that is off within the tolerance.
    dynamics.project(array, minimum, maximum)
    return array


def check_learning_rate(rate: Any) -> float:
    """The rate or DebateError unless it is a number from 0 to 1."""
    if not (isinstance(rate, int | float | np.number) and 0 <= rate <= 1):  # False for NaN
        raise DebateError(f"the learning rate is a number from 0 to 1, got {rate!r}")
    return float(rate)


def reallocated(
    allocations: Mapping[Tendency, float] | Sequence[float],
    scores: Mapping[Tendency, float] | Sequence[float],
    learning_rate: float,
    min_allocation: float = 0.03,
    max_allocation: float = 0.50,
) -> Allocations:
    """Allocations after a debate, [7] in the order of `TENDENCIES`.

    See `dynamics.reallocate` for the rule.

    Raises:
        DebateError: Allocations that do not sum to 1, scores that are not finite, a rate outside
            0..1, or bounds within which no seven allocations sum to 1.
    """
    minimum, maximum = check_bounds(min_allocation, max_allocation)
    # Wide bounds here: what is given may lie outside of those that the move ends in.
    moved = check_allocations(allocations)
    rate = check_learning_rate(learning_rate)
    net_scores = to_array(scores, "scores")
    dynamics.reallocate(moved, net_scores, rate, minimum, maximum)
    return moved
