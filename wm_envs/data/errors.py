"""Errors of recorded data and of spaces; each message names the value and the remedy."""

from gymnasium import error


class TrajectoryError(error.Error, ValueError):
    """Recorded data that are malformed.

    Not finite, of unequal length, of the wrong shape, or a damaged file.
    """


class SpaceError(TypeError):
    """An observation or action space that cannot be served, or a value that is not of its space."""


class MissingExtraError(error.DependencyNotInstalled, ImportError):
    """A feature whose optional dependency is absent; the message names the extra that brings it."""


class DownloadError(error.Error, OSError):
    """Data that cannot be fetched, or are not what they should be; earlier files are unchanged."""


class OptionError(error.Error, ValueError):
    """An argument that is unknown or out of range; nothing was built."""
