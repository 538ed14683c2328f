"""The four loggers of a training run: console, JSON, TensorBoard, Weights & Biases."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wm_agents.domains.debate.model import write_json
from wm_agents.errors import ConfigError
from wm_agents.training import loggers as scalars
from wm_envs.data.paths import absolute_path
from wm_envs.data.streams import can_write
from wm_envs.debate.tendencies import TENDENCIES, Tendency

if TYPE_CHECKING:
    from wm_agents.domains.debate.trainer import EpochMetrics, TrainConfig, TrainHistory
    from wm_agents.domains.debate.validation import ValidationResult

# The order in which the guide prints them.
CONSOLE_ORDER = (
    Tendency.SURVIVAL,
    Tendency.MEANING,
    *(t for t in TENDENCIES if t not in ("survival", "meaning")),
)


class DebateLogger(Protocol):
    """Follows a training run; `close` is always called, `finish` only after a whole run."""

    def start(self, config: TrainConfig) -> None:
        """The run begins."""

    def log_epoch(self, metrics: EpochMetrics, validation: ValidationResult | None) -> None:
        """An epoch is over; `validation` is None without labels."""

    def finish(self, history: TrainHistory) -> None:
        """The run is over."""

    def close(self) -> None:
        """Let go of files; may be called twice."""


class ConsoleLogger:
    """Prints four lines for each epoch."""

    def start(self, config: TrainConfig) -> None:
        """Nothing to print yet."""

    def log_epoch(self, metrics: EpochMetrics, validation: ValidationResult | None) -> None:
        """Winner, allocations and validation."""
        if can_write(sys.stdout):
            print("\n".join(epoch_lines(metrics, validation)), flush=True)

    def finish(self, history: TrainHistory) -> None:
        """Nothing more to print."""

    def close(self) -> None:
        """Nothing to let go of."""


class JSONLogger:
    """Keeps a file `{"config": {...}, "epochs": [...]}`, whole after every epoch.

    Args:
        path: The file; missing folders are made.

    Raises:
        ConfigError: It cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = absolute_path(path)
        self._data: dict[str, Any] = {}

    def start(self, config: TrainConfig) -> None:
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


class ScalarLogger:
    """Sends numbers to a scalar logger of `wm_agents.training.loggers`, one step for each epoch."""

    def __init__(self, scalar_logger: scalars.Logger) -> None:
        self._logger = scalar_logger

    def start(self, config: TrainConfig) -> None:
        """Nothing to send yet."""

    def log_epoch(self, metrics: EpochMetrics, validation: ValidationResult | None) -> None:
        """Scores, allocations, changes and validation."""
        self._logger.log(metrics.epoch, epoch_scalars(metrics, validation))

    def finish(self, history: TrainHistory) -> None:
        """Nothing more to send."""

    def close(self) -> None:
        """Flush."""
        self._logger.close()


class TensorBoardLogger(ScalarLogger):
    """Writes TensorBoard event files.

    Args:
        directory: Folder, for example "runs/experiment1".
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__(scalars.TensorBoardLogger(directory))


class WandbLogger(ScalarLogger):
    """Sends the run to Weights & Biases.

    Args:
        project: Name of the project.
        run_name: Name of the run; None for one that wandb makes up.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(self, project: str, run_name: str | None = None) -> None:
        super().__init__(scalars.WandbLogger(project, run_name))


def epoch_lines(metrics: EpochMetrics, validation: ValidationResult | None) -> list[str]:
    """What the console shows of an epoch."""
    winner = "NONE" if metrics.winner is None else metrics.winner.value.upper()
    shares = ", ".join(f"{t.value}={metrics.allocations[t]:.1%}" for t in CONSOLE_ORDER)
    lines = [
        f"EPOCH {metrics.epoch} (lr={metrics.learning_rate:.3f})",
        f"  Winner: {winner} (score: {metrics.winning_score:.3f})",
        f"  Allocations: {shares}",
    ]
    if validation is None:
        return [*lines, "  Validation: none (no held-out observation has a label)"]
    return [
        *lines,
        f"  Validation: {validation.accuracy:.1%} accuracy (p={validation.p_value:.3f}){validation.stars}",
    ]


def epoch_scalars(metrics: EpochMetrics, validation: ValidationResult | None) -> dict[str, float]:
    """An epoch as names to numbers."""
    numbers = {
        "learning_rate": metrics.learning_rate,
        "winning_score": metrics.winning_score,
        "total_stakes": float(metrics.total_stakes),
        "total_change": metrics.total_change,
    }
    for tendency in TENDENCIES:
        numbers[f"score/{tendency}"] = metrics.scores[tendency]
        numbers[f"allocation/{tendency}"] = metrics.allocations[tendency]
    if validation is not None:
        numbers |= {
            "validation/accuracy": validation.accuracy,
            "validation/p_value": validation.p_value,
        }
    return numbers
