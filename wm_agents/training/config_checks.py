"""Ranges of configuration values, checked in one line each."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def checked_seed(seed: Any, name: str = "seed") -> int:
    """The seed as a Python integer, which every generator takes; raises ConfigError."""
    number = as_integer(seed)
    if number is None or not 0 <= number < 2**63:
        raise ConfigError(f"{name} is an integer from 0 to 2**63 - 1, got {seed!r}")
    return number


def checked_outcomes(outcomes: "ArrayLike") -> NDArray[np.bool_]:
    """What happened as truth values; raises ConfigError, since NaN and 2 would pass for True."""
    values = np.asarray(outcomes)
    is_outcome = np.isin(values, (0, 1))
    if not is_outcome.all():
        wrong = values[~is_outcome].ravel()[0]
        raise ConfigError(f"outcomes are True or False, 1 or 0, got {wrong!r}: leave it out")
    return values.astype(np.bool_)


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


def _renamed_attribute(owner: str, old: str, new: str) -> property:
    def read(self: Any) -> Any:
        warnings.warn(f"{old} of {owner} is now {new}", DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(read)


AnyConfig = TypeVar("AnyConfig", bound=type[Any])


def renamed_settings(**names: str) -> Callable[[AnyConfig], AnyConfig]:
    """A class decorator: old keywords and attributes serve for one release, with a warning.

    The class gets `earlier_names`, old name -> new name, for those that check keywords before it.

    Args:
        **names: Old name = the new one.
    """

    def decorate(config: AnyConfig) -> AnyConfig:
        construct = config.__init__

        @functools.wraps(construct)
        def __init__(self: Any, *args: Any, **settings: Any) -> None:  # noqa: N807
            for old, new in names.items():
                if old in settings:
                    warnings.warn(
                        f"{old} of {config.__name__} is now {new}", DeprecationWarning, stacklevel=2
                    )
                    # It wins, since `replace` gives the present value of the new one beside it.
                    settings[new] = settings.pop(old)
            construct(self, *args, **settings)

        config.__init__ = __init__
        config.earlier_names = dict(names)
        for old, new in names.items():
            setattr(config, old, _renamed_attribute(config.__name__, old, new))
        return config

    return decorate
