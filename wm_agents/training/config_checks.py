"""Ranges of configuration values, checked in one line each."""

from typing import Any

from wm_agents.errors import ConfigError
from wm_envs.data.options import as_integer


def require_integers(least: int | None, **values: Any) -> None:
    """Raise ConfigError for the first named value that is no integer, or one below `least`.

    Integers are what they are for the environments: those of Python and NumPy, but no 4.0.

    Args:
        least: None where the caller checks the range by itself.
        values: The settings by their names.
    """
    for name, value in values.items():
        number = as_integer(value)
        if number is None:
            raise ConfigError(f"{name} is an integer, got {value!r}")
        if least is not None and number < least:
            raise ConfigError(f"{name} is at least {least}, got {value}")


def require_at_least(least: float, **values: float) -> None:
    """Raise ConfigError for the first named value below `least`."""
    for name, value in values.items():
        if not value >= least:
            raise ConfigError(f"{name} is at least {least}, got {value}")


def require_positive(**values: float) -> None:
    """Raise ConfigError for the first named value that is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{name} is positive, got {value}")


def require_between(low: float, high: float, **values: float) -> None:
    """Raise ConfigError for the first named value outside [low, high]."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ConfigError(f"{name} lies in [{low}, {high}], got {value}")
