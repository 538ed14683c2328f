"""Checks of environment options.

Each gives the value back or raises OptionError that names it and what is allowed.
"""

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from wm_envs.data.errors import OptionError

UNLIMITED = 2**62  # a time limit that no episode reaches


def as_integer(value: Any) -> int | None:
    """The value as a Python integer, None where it is no integer: the one rule for counts and seeds.

    Integers are those of Python and NumPy and arrays without axes. Truth values and floats are
    none, 4.0 included: a float where a count belongs is more often a mistake than a number.
    """
    dtype = getattr(value, "dtype", None)
    is_truth_value = isinstance(value, bool) or str(dtype).endswith("bool")
    if is_truth_value or getattr(value, "ndim", 0) != 0:
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def check_row_seeds(
    seed: Any, num_envs: int, error: type[ValueError] = OptionError
) -> list[int | None]:
    """One seed or None for each row of a batch; raises `error`."""
    seeds = list(seed) if np.iterable(seed) and not isinstance(seed, str) else [seed]
    numbers = [None if one is None else as_integer(one) for one in seeds]
    is_wrong = any(
        given is not None and (number is None or number < 0)
        for given, number in zip(seeds, numbers, strict=True)
    )
    if len(seeds) != num_envs or is_wrong:
        raise error(
            f"expected {num_envs} seeds that are None or integers from 0 on, or the first "
            f"one, got {seed!r}"
        )
    return numbers


def check_integer(name: str, value: Any, low: int, high: int = UNLIMITED) -> int:
    """Return the value or raise OptionError unless it is an integer within the bounds."""
    number = as_integer(value)
    if number is not None and low <= number <= high:
        return number
    is_too_large = number is not None and number > high
    allowed = f"from {low} to {high}" if is_too_large or high < UNLIMITED else f"at least {low}"
    raise OptionError(f"{name} is an integer {allowed}, got {value!r}")


def check_seed(value: Any, name: str = "seed") -> int:
    """Return the seed, an integer from 0 on without an upper end, or raise OptionError."""
    number = as_integer(value)
    if number is None or number < 0:
        raise OptionError(f"{name} is an integer at least 0, got {value!r}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """Return the value or raise OptionError unless it is a truth value."""
    if not isinstance(value, bool | np.bool_):
        raise OptionError(f"{name} is True or False, got {value!r}")
    return bool(value)


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """Return the value or raise OptionError unless it is a number within the bounds."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # False for NaN
        raise OptionError(f"{name} is a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def check_reward_weights(
    given: Mapping[str, float] | None, defaults: Mapping[str, float]
) -> dict[str, float]:
    """The weight of each reward component, defaults where none is given; raises OptionError."""
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not set(given) <= set(defaults):
        raise OptionError(
            f"reward_weights maps names among {list(defaults)} to weights, got {given!r}"
        )
    weights = {**defaults, **given}
    for name, weight in weights.items():
        is_number = isinstance(weight, int | float | np.number) and not isinstance(weight, bool)
        if not is_number or not np.isfinite(weight):
            raise OptionError(f"the reward weight of {name} is a finite number, got {weight!r}")
    return weights
