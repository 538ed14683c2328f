"""The typed errors of `wm_envs`; each message names the value and the remedy."""

from gymnasium import error


class InvalidActionError(error.InvalidAction, ValueError):
    """An action outside the action space; the state has not changed."""


class OptionError(error.Error, ValueError):
    """An option of an environment that is unknown or out of range; nothing was built."""


class StateError(error.Error, ValueError):
    """A state that does not belong to this environment and its options; nothing was restored."""


class MissingExtraError(error.DependencyNotInstalled, ImportError):
    """A feature whose optional dependency is absent; the message names the extra that brings it."""


class TrackError(error.Error, ValueError):
    """A race track that cannot be driven; the message names the file, the line and the remedy."""
