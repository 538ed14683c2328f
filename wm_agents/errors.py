"""The typed errors of `wm_agents`; each message names the value and the remedy."""


class ConfigError(ValueError):
    """A configuration value that cannot work, found before anything starts."""


class NotFittedError(ConfigError, AttributeError):
    """A model that was asked for an answer before `fit`, or before a fitted one was loaded.

    Also an AttributeError, so that `hasattr` is False for what only a fit gives.
    """


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, truncated, altered or of another kind; nothing was loaded."""


class NonFiniteError(FloatingPointError):
    """A loss, gradient or parameter that is not finite; training stopped before it could spoil an update."""


class ConvergenceError(ArithmeticError):
    """An optimizer that stopped before the optimum: its gradient is not near zero, so that nothing is returned."""


class SpaceError(TypeError):
    """An observation or action space that an algorithm cannot serve."""


class TrajectoryError(ValueError):
    """Trajectory data that are malformed: not finite, of unequal length or of the wrong shape."""


class DemonstrationError(TrajectoryError):
    """Demonstrations from which no reward can be inferred: none at all, forbidden actions, impossible transitions."""


class MixedHorizonError(DemonstrationError):
    """Demonstrations of unequal length where the length alone would tell an expert from a learner."""
