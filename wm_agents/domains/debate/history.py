"""Configuration and history of a debate's training: settings, figures of each epoch, a picture."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wm_agents.domains.debate.validation import ValidationResult
from wm_agents.errors import ConfigError
from wm_envs.data.options import as_integer
from wm_envs.debate.allocations import check_bounds
from wm_envs.debate.tendencies import TENDENCIES, Tendency
from wm_envs.errors import DebateError

COLORS = ("#d55e00", "#e1b428", "#785ec8", "#cc79a7", "#0072b2", "#009e73", "#56b4e9")

# The largest value that each share or rate may have.
_LIMITS = {
    "convergence_threshold": 2.0,  # all influence changes hands: no sum of changes is larger
    "initial_lr": 1.0,
    "lr_decay": 1.0,
    "validation_split": 0.9,
}


@dataclass(frozen=True)
class DebateConfig:
    """How long to train and how fast influence moves."""

    max_epochs: int = 10
    """Debates at most."""
    min_epochs: int = 2
    """Debates before training may stop early."""
    convergence_threshold: float = 0.005
    """Allocations are stable in an epoch whose absolute changes add up to less than this."""
    patience: int = 3
    """Stable epochs in a row after which training stops."""
    initial_lr: float = 0.15
    """Share of the way to its target that each allocation goes in the first epoch."""
    lr_decay: float = 0.9
    """The rate is multiplied by this after each epoch."""
    validation_split: float = 0.2
    """Share of the observations held out for validation."""
    min_allocation: float = 0.03
    """Floor of every allocation."""
    max_allocation: float = 0.50
    """Ceiling of every allocation."""

    def __post_init__(self) -> None:
        for name in ("max_epochs", "min_epochs", "patience"):
            value = getattr(self, name)
            number = as_integer(value)
            if number is None or number < 1:
                raise ConfigError(f"{name}={value!r}; give an integer of at least 1")
        for name, limit in _LIMITS.items():
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= limit:
                raise ConfigError(f"{name}={value!r}; give a number from 0 to {limit:g}")
        try:
            check_bounds(self.min_allocation, self.max_allocation)
        except DebateError as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch.

    Attributes:
        epoch: Number, from 1.
        learning_rate: Share of the way to the targets.
        winner: The best-supported claim, None where no score is positive.
        winning_score: Its net score.
        scores: Net score of each claim.
        allocations: Influence after the epoch.
        allocation_changes: After less before.
        total_stakes: Number of stakes and rebuttals.
    """

    epoch: int
    learning_rate: float
    winner: Tendency | None
    winning_score: float
    scores: dict[Tendency, float]
    allocations: dict[Tendency, float]
    allocation_changes: dict[Tendency, float]
    total_stakes: int

    @property
    def total_change(self) -> float:
        """Sum of the absolute changes."""
        return sum(abs(change) for change in self.allocation_changes.values())

    def scalars(self, validation: ValidationResult | None) -> dict[str, float]:
        """The epoch as names to numbers, for loggers of scalars; validation where there is any."""
        numbers = {
            "learning_rate": self.learning_rate,
            "winning_score": self.winning_score,
            "total_stakes": float(self.total_stakes),
            "total_change": self.total_change,
        }
        for tendency in TENDENCIES:
            numbers[f"score/{tendency}"] = self.scores[tendency]
            numbers[f"allocation/{tendency}"] = self.allocations[tendency]
        if validation is not None:
            numbers["validation/accuracy"] = validation.accuracy
            numbers["validation/p_value"] = validation.p_value
        return numbers


@dataclass
class TrainHistory:
    """A training run.

    Attributes:
        epochs_run: Number of epochs.
        converged: Whether the last epoch, at or after `min_epochs`, left the allocations stable.
        best_epoch: The first of the epochs with the highest validation accuracy; without labels,
            the most stable one.
        metrics: One entry for each epoch.
        validation_results: One entry for each epoch; empty where no held-out observation has a
            label.
    """

    epochs_run: int = 0
    converged: bool = False
    best_epoch: int = 0
    metrics: list[EpochMetrics] = field(default_factory=list)
    validation_results: list[ValidationResult] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "epochs_run": self.epochs_run,
            "converged": self.converged,
            "best_epoch": self.best_epoch,
            "metrics": [asdict(metrics) for metrics in self.metrics],
            "validation_results": [result.to_plain() for result in self.validation_results],
        }


def plot_trajectories(
    history: TrainHistory, path: str | Path, title: str = "Allocations by epoch"
) -> None:
    """Write a PNG.

    One line for each tendency from before the first epoch, and validation below where there is any.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    has_validation = bool(history.validation_results)
    ratios = [3, 1] if has_validation else [1]
    size = (7.5, 6) if has_validation else (7.5, 4.2)
    figure, axes = pyplot.subplots(
        len(ratios), 1, figsize=size, sharex=True, squeeze=False, height_ratios=ratios
    )
    _plot_allocations(axes[0, 0], history, title)
    if has_validation:
        _plot_validation(axes[1, 0], history)
    axes[-1, 0].set_xlabel("epoch")
    axes[-1, 0].xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def _plot_allocations(axes: Any, history: TrainHistory, title: str) -> None:
    first = history.metrics[0]
    for tendency, color in zip(TENDENCIES, COLORS, strict=True):
        # The history begins after the first epoch: what was before is found from its changes.
        start = first.allocations[tendency] - first.allocation_changes[tendency]
        later = [metrics.allocations[tendency] for metrics in history.metrics]
        axes.plot(
            range(history.epochs_run + 1),
            [100 * share for share in (start, *later)],
            color=color,
            marker="o",
            markersize=3,
            linewidth=2,
            label=tendency.value,
        )
    axes.set(ylabel="allocation [%]", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _plot_validation(axes: Any, history: TrainHistory) -> None:
    results = history.validation_results
    accuracies = [100 * result.accuracy for result in results]
    below = [100 * (result.accuracy - result.interval.low) for result in results]
    above = [100 * (result.interval.high - result.accuracy) for result in results]
    epochs = list(range(1, history.epochs_run + 1))
    axes.errorbar(epochs, accuracies, yerr=[below, above], color="#26292f", marker="o", capsize=3)
    axes.axhline(100 / len(TENDENCIES), color="#8c8f94", linestyle="--", label="chance 1/7")
    axes.set(ylabel="held-out accuracy [%]", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _is_number(value: Any) -> bool:
    # True is an int for Python, and no rate for anybody.
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)
