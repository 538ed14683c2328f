"""The typed errors of `wm_envs`; each message names the value and the remedy."""

from gymnasium import error


class InvalidActionError(error.InvalidAction, ValueError):
    """An action outside the action space; the state has not changed."""


class OptionError(error.Error, ValueError):
    """An option of an environment that is unknown or out of range; nothing was built."""


class UnknownOptionError(OptionError, TypeError):
    """An option that an environment does not have, named as Python names an argument that a function does not have.

    Libraries that try an option and do without it, as TorchRL with `frameskip`, look for that TypeError.
    """


class StateError(error.Error, ValueError):
    """A state that does not belong to this environment and its options; nothing was restored."""


class MissingExtraError(error.DependencyNotInstalled, ImportError):
    """A feature whose optional dependency is absent; the message names the extra that brings it."""


class WorkerError(error.Error, RuntimeError):
    """A process that worked for an environment has ended or was interrupted; the environment has to be made anew."""


class ObservationError(error.Error, ValueError):
    """Observations, labels or a file of them that cannot be debated; nothing was loaded."""


class DebateError(error.Error, ValueError):
    """Stakes, claims or allocations that break the rules of debate; nothing has changed."""


class LanguageModelError(error.Error, RuntimeError):
    """A language model that cannot be reached or answers with something else than it was asked for."""


class TrajectoryError(error.Error, ValueError):
    """A file of records that is malformed; the message names the file and the field."""


class TrackError(error.Error, ValueError):
    """A race track that cannot be driven; the message names the file, the line and the remedy."""
