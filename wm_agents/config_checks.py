"""Ranges of configuration values, checked in one line each."""

from wm_agents.errors import ConfigError


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
