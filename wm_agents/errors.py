"""The typed errors of `wm_agents`; each message names the value and the remedy."""

from wm_envs.data.errors import MissingExtraError, SpaceError, TrajectoryError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ConvergenceError",
    "DemonstrationError",
    "MissingExtraError",
    "MixedHorizonError",
    "NonFiniteError",
    "NotFittedError",
    "ProgramError",
    "SpaceError",
    "TrajectoryError",
]


class ConfigError(ValueError):
    """A configuration value that cannot work, found before anything starts."""


class NotFittedError(ConfigError, AttributeError):
    """A model that was asked for an answer before `fit`, or before a fitted one was loaded.

    Also an AttributeError, so that `hasattr` is False for what only a fit gives.
    """


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, truncated, altered or of another kind; nothing was loaded."""


class NonFiniteError(FloatingPointError):
    """A loss, gradient or parameter that is not finite.

    Training stopped before it could spoil an update.
    """


class ConvergenceError(ArithmeticError):
    """An optimizer that stopped before the optimum.

    Its gradient is not near zero, so that nothing is returned.
    """


class ProgramError(ValueError):
    """A rule program outside the grammar, without end, or with a step that makes no sense.

    The line and the remedy are named; nothing of a program is ever executed as Python.
    """


class DemonstrationError(TrajectoryError):
    """Demonstrations from which no reward can be inferred.

    None at all, forbidden actions, impossible transitions.
    """


class MixedHorizonError(DemonstrationError):
    """Demonstrations of unequal length where the length alone would tell an expert from a learner."""
