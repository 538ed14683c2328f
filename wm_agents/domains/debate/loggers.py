"""Loggers of a debate's training: console lines, a JSON file, or any logger of scalars."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from wm_agents.domains.debate.history import DebateConfig, EpochMetrics, TrainHistory
from wm_agents.domains.debate.model import write_json
from wm_agents.domains.debate.validation import ValidationResult
from wm_agents.errors import ConfigError
from wm_agents.training.loggers import Logger, WandbLogger
from wm_envs.data.paths import absolute_path
from wm_envs.data.streams import can_write
from wm_envs.debate.tendencies import TENDENCIES, Tendency

# The order in which the guide prints them.
CONSOLE_ORDER = (
    Tendency.SURVIVAL,
    Tendency.MEANING,
    *(t for t in TENDENCIES if t not in ("survival", "meaning")),
)


@runtime_checkable
class DebateLogger(Protocol):
    """Follows a training run; `close` is always called, `finish` only after a whole run."""

    def start(self, config: DebateConfig) -> None:
        """The run begins."""

    def log_epoch(self, metrics: EpochMetrics, validation: ValidationResult | None) -> None:
        """An epoch is over; `validation` is None without labels."""

    def finish(self, history: TrainHistory) -> None:
        """The run is over."""

    def close(self) -> None:
        """Let go of files; may be called twice."""


AnyLogger = DebateLogger | Logger
"""What follows a run: a logger of debates, or one of scalars, which gets a step for each epoch."""


class DebateConsoleLogger:
    """Prints four lines for each epoch."""

    def start(self, config: DebateConfig) -> None:
        """Nothing to print yet."""

    def log_epoch(self, metrics: EpochMetrics, validation: ValidationResult | None) -> None:
        """Winner, allocations and validation."""
        if can_write(sys.stdout):
            print("\n".join(epoch_lines(metrics, validation)), flush=True)

    def finish(self, history: TrainHistory) -> None:
        """Nothing more to print."""

    def close(self) -> None:
        """Nothing to let go of."""


class DebateJSONLogger:
    """Keeps a file `{"config": {...}, "epochs": [...]}`, whole after every epoch.

    Args:
        path: The file; missing folders are made.

    Raises:
        ConfigError: It cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = absolute_path(path)
        self._data: dict[str, Any] = {}

    def start(self, config: DebateConfig) -> None:
        """Write the configuration."""
        self._data = {"config": asdict(config), "epochs": []}
        self._write()

    def log_epoch(self, metrics: EpochMetrics, validation: ValidationResult | None) -> None:
        """Add an epoch."""
        record = asdict(metrics)
        record["validation"] = None if validation is None else validation.to_plain()
        self._data["epochs"].append(record)
        self._write()

    def finish(self, history: TrainHistory) -> None:
        """Add how the run ended."""
        names = ("epochs_run", "converged", "best_epoch")
        self._data["result"] = {name: getattr(history, name) for name in names}
        self._write()

    def close(self) -> None:
        """Nothing stays open."""

    def _write(self) -> None:
        try:
            write_json(self.path, self._data)
        except OSError as error:
            raise ConfigError(
                f"cannot write {self.path}: {error.strerror}; give a writable file"
            ) from error


class DebateWandbLogger(WandbLogger):
    """Weights & Biases with the arguments of the guide.

    Args:
        project: Name of the project.
        run_name: Name of the run; None for one that wandb makes up.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(self, project: str, run_name: str | None = None) -> None:
        super().__init__(project, run_name)


class _EpochScalars:
    """A logger of scalars as one of debates."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def start(self, config: DebateConfig) -> None:
        """Nothing to send yet."""

    def log_epoch(self, metrics: EpochMetrics, validation: ValidationResult | None) -> None:
        """Scores, allocations, changes and validation."""
        self._logger.log(metrics.epoch, metrics.scalars(validation))

    def finish(self, history: TrainHistory) -> None:
        """Nothing more to send."""

    def close(self) -> None:
        """Flush."""
        self._logger.close()


def as_debate_loggers(loggers: AnyLogger | Iterable[AnyLogger] | None) -> list[DebateLogger]:
    """What users give as `logger`, none, one or several, as loggers of debates.

    Raises:
        ConfigError: Something that logs neither debates nor scalars.
    """
    if loggers is None:
        return []
    if isinstance(loggers, DebateLogger | Logger):
        return [_as_debate_logger(loggers)]
    return [_as_debate_logger(logger) for logger in loggers]


def _as_debate_logger(logger: AnyLogger) -> DebateLogger:
    if isinstance(logger, DebateLogger):
        return logger
    if isinstance(logger, Logger):
        return _EpochScalars(logger)
    raise ConfigError(
        f"{logger!r} has neither log_epoch nor log: give a logger of debates or of scalars"
    )


def epoch_lines(metrics: EpochMetrics, validation: ValidationResult | None) -> list[str]:
    """What the console shows of an epoch."""
    winner = "NONE" if metrics.winner is None else metrics.winner.value.upper()
    shares = ", ".join(f"{t.value}={metrics.allocations[t]:.1%}" for t in CONSOLE_ORDER)
    return [
        f"EPOCH {metrics.epoch} (lr={metrics.learning_rate:.3f})",
        f"  Winner: {winner} (score: {metrics.winning_score:.3f})",
        f"  Allocations: {shares}",
        f"  Validation: {_validation_text(validation)}",
    ]


def _validation_text(validation: ValidationResult | None) -> str:
    if validation is None:
        return "none (no held-out observation has a label)"
    accuracy = f"{validation.accuracy:.1%} accuracy (p={validation.p_value:.3f})"
    return f"{accuracy}{validation.stars}"
