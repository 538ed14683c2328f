"""Checks of environment options: each gives the value back or raises OptionError that names it and what is allowed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wm_envs.errors import OptionError
from wm_envs.rules import UNLIMITED


def check_integer(name: str, value: Any, low: int, high: int = UNLIMITED) -> int:
    """Return the value or raise OptionError unless it is an integer within the bounds."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        allowed = f"at least {low}" if high == UNLIMITED else f"from {low} to {high}"
        raise OptionError(f"{name} is an integer {allowed}, got {value!r}")
    return int(value)


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


def check_reward_weights(given: Mapping[str, float] | None, defaults: Mapping[str, float]) -> dict[str, float]:
    """The weight of each reward component, defaults where none is given; raises OptionError."""
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not set(given) <= set(defaults):
        raise OptionError(f"reward_weights maps names among {list(defaults)} to weights, got {given!r}")
    weights = {**defaults, **given}
    for name, weight in weights.items():
        is_number = isinstance(weight, int | float | np.number) and not isinstance(weight, bool)
        if not is_number or not np.isfinite(weight):
            raise OptionError(f"the reward weight of {name} is a finite number, got {weight!r}")
    return weights
