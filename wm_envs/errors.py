"""The typed errors of `wm_envs`; each message names the value and the remedy."""

from gymnasium import error

from wm_envs.data.errors import (
    DownloadError,
    MissingExtraError,
    OptionError,
    SpaceError,
    TrajectoryError,
)

__all__ = [
    "DebateError",
    "DownloadError",
    "InvalidActionError",
    "LanguageModelError",
    "MissingExtraError",
    "ObservationError",
    "OptionError",
    "SpaceError",
    "StateError",
    "TrackError",
    "TrajectoryError",
    "UnknownOptionError",
    "WorkerError",
]


class InvalidActionError(error.InvalidAction, ValueError):
    """An action outside the action space; the state has not changed."""


class UnknownOptionError(OptionError, TypeError):
    """An option that an environment does not have.

    Named as Python names an argument that a function does not have.

    Libraries that try an option and do without it, as TorchRL with `frameskip`, look for that
    TypeError.
    """


class StateError(error.Error, ValueError):
    """A state that does not belong to this environment and its options; nothing was restored."""


class WorkerError(error.Error, RuntimeError):
    """A process that worked for an environment has ended or was interrupted.

    The environment has to be made anew.
    """


class ObservationError(error.Error, ValueError):
    """Observations, labels or a file of them that cannot be debated; nothing was loaded."""


class DebateError(error.Error, ValueError):
    """Stakes, claims or allocations that break the rules of debate; nothing has changed."""


class LanguageModelError(error.Error, RuntimeError):
    """A language model that cannot be reached or does not answer what it was asked for."""


class TrackError(error.Error, ValueError):
    """A race track that cannot be driven; the message names the file, the line and the remedy."""
