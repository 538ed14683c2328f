"""Training: debate after debate, influence shifts until the allocations are stable."""

import json
import math
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from wm_agents.domains.debate.loggers import ConsoleLogger, DebateLogger
from wm_agents.domains.debate.model import Agents
from wm_agents.domains.debate.validation import ValidationResult, Validator
from wm_agents.errors import ConfigError
from wm_envs.data.options import as_integer
from wm_envs.debate.allocations import check_allocations, check_bounds
from wm_envs.debate.claims import MAX_REBUTTAL, Arena, DebateResult
from wm_envs.debate.observations import Observations
from wm_envs.debate.relevance import Relevance, Scores, check_scores, default_relevance
from wm_envs.debate.tendencies import TENDENCIES, Tendency
from wm_envs.errors import DebateError, ObservationError

if TYPE_CHECKING:  # it loads torch, which debates do without
    from wm_agents.training.checkpoints import CheckpointManager


@dataclass(frozen=True)
class TrainConfig:
    """How long to train and how fast influence moves."""

    max_epochs: int = 10
    """Debates at most."""
    min_epochs: int = 2
    """Debates before training may stop early."""
    convergence_threshold: float = 0.005
    """Allocations are stable in an epoch whose changes add up to less than this, in absolute value."""
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
        limits = {
            "convergence_threshold": 2.0,
            "initial_lr": 1.0,
            "lr_decay": 1.0,
            "validation_split": 0.9,
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            is_number = (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and math.isfinite(value)
            )
            if not is_number or not 0 <= value <= limit:
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


class Trainer:
    """Runs the epochs.

    Args:
        config: How long and how fast.
        relevance: The scorer; the default one where None. It is asked once, before the first epoch.
        seed: Of the split into training and validation.
        rebuttal: Weight of the answer to each unit by which a stake overreaches.

    Raises:
        ConfigError: A seed or rebuttal below 0, or no number.
    """

    def __init__(
        self,
        config: TrainConfig | None = None,
        *,
        relevance: Relevance | None = None,
        seed: int = 0,
        rebuttal: float = 2.0,
    ) -> None:
        self.config = TrainConfig() if config is None else config
        number = as_integer(seed)
        if number is None or number < 0:
            raise ConfigError(f"seed={seed!r}; give an integer of at least 0")
        if (
            not isinstance(rebuttal, int | float | np.number) or not 0 <= rebuttal <= MAX_REBUTTAL
        ):  # True for NaN
            raise ConfigError(f"rebuttal={rebuttal!r}; give a number from 0 to {MAX_REBUTTAL:g}")
        self.seed = number
        self.rebuttal = float(rebuttal)
        self._relevance = relevance

    def train(
        self,
        observations: Observations,
        agents: Agents | None = None,
        logger: DebateLogger | None = None,
        verbose: bool = True,
        checkpoints: "CheckpointManager | None" = None,
    ) -> tuple[TrainHistory, DebateResult]:
        """Debate until the allocations are stable; the agents keep what they won.

        Args:
            observations: What is known of the person; those with labels are used for validation.
            agents: The tendencies, changed in place; default ones where None.
            logger: Takes every epoch.
            verbose: Print every epoch, unless the logger prints already.
            checkpoints: Where to keep the scorer's answers and the first allocations. An epoch
                takes milliseconds and follows from these alone, so a run that was stopped repeats
                its epochs, to the bit, and the scorer, which may be a language model, is not asked
                again.

        Returns:
            The history and the last debate.

        Raises:
            ObservationError: No observation is left to train on, or the scorer gave no relevance.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
        """
        agents = Agents() if agents is None else agents
        train_store, val_store = self.split_observations(observations)
        labelled = Observations([o for o in val_store if o.owner is not None], val_store.source)
        relevance, test_relevance = self._scores(train_store, labelled, agents, checkpoints)
        loggers: list[DebateLogger] = [] if logger is None else [logger]
        if verbose and not isinstance(logger, ConsoleLogger):
            loggers.append(ConsoleLogger())
        for each in loggers:
            each.start(self.config)
        try:
            history, result = self._run(agents, relevance, labelled, test_relevance, loggers)
            for each in loggers:
                each.finish(history)
        finally:
            for each in loggers:
                each.close()
        return history, result

    def split_observations(self, observations: Observations) -> tuple[Observations, Observations]:
        """The observations to train on and those held out."""
        train_store, val_store = observations.split(self.config.validation_split, self.seed)
        if not len(train_store):
            raise ObservationError(
                f"{len(observations)} observations leave none to train on: give more"
            )
        return train_store, val_store

    def _scores(
        self,
        training: Observations,
        labelled: Observations,
        agents: Agents,
        checkpoints: "CheckpointManager | None",
    ) -> tuple[Scores, Scores]:
        """Relevance of both parts, asked for or kept by an earlier start of this run, which also sets the agents."""
        texts = sha256(json.dumps([training.texts, labelled.texts]).encode()).hexdigest()
        run = {
            "kind": "debate",
            "config": asdict(self.config),
            "rebuttal": self.rebuttal,
            "texts": texts,
        }
        run["strategies"] = [agent.strategy for agent in agents]
        run["relevance"] = None if self._relevance is None else type(self._relevance).__qualname__
        found = None if checkpoints is None else checkpoints.latest_state(run)
        if checkpoints is not None and found is not None:
            from wm_agents.training.checkpoints import refusing_misfits

            with refusing_misfits(checkpoints.directory):
                allocations = [float(share) for share in found[1]["allocations"]]
                relevance = check_scores(found[1]["relevance"], len(training))
                test_relevance = check_scores(found[1]["test_relevance"], len(labelled))
                for agent, allocation in zip(agents, allocations, strict=True):
                    agent.allocation = allocation
            return relevance, test_relevance
        relevance, test_relevance = self._score(training), self._score(labelled)
        if checkpoints is not None:
            allocations = [agent.allocation for agent in agents]
            state = {
                "relevance": relevance,
                "test_relevance": test_relevance,
                "allocations": allocations,
            }
            checkpoints.save_state(0, state, run)
        return relevance, test_relevance

    def _score(self, observations: Observations) -> Scores:
        if not len(observations):
            return np.zeros((0, len(TENDENCIES)))
        scorer = default_relevance() if self._relevance is None else self._relevance
        return check_scores(scorer.score(observations.texts), len(observations))

    def _run(
        self,
        agents: Agents,
        relevance: Scores,
        labelled: Observations,
        test_relevance: Scores,
        loggers: list[DebateLogger],
    ) -> tuple[TrainHistory, DebateResult]:
        config, history, validator = self.config, TrainHistory(), Validator(self._relevance)
        arena = self._arena(agents)
        allocations = check_allocations(
            agents.allocations, config.min_allocation, config.max_allocation
        )
        learning_rate, num_stable = config.initial_lr, 0
        for epoch in range(1, config.max_epochs + 1):
            result = arena.debate(relevance, allocations, learning_rate)
            agents.update(result.allocations)
            allocations = check_allocations(
                result.allocations, config.min_allocation, config.max_allocation
            )
            metrics = _metrics(epoch, learning_rate, result)
            validation = None
            if len(labelled):
                validation = validator.judge(
                    labelled, test_relevance, result.allocations, result.claims
                )
                history.validation_results.append(validation)
            history.metrics.append(metrics)
            for each in loggers:
                each.log_epoch(metrics, validation)
            num_stable = (
                num_stable + 1 if metrics.total_change < config.convergence_threshold else 0
            )
            if num_stable >= config.patience and epoch >= config.min_epochs:
                break
            learning_rate *= config.lr_decay
        history.epochs_run = epoch
        history.converged = num_stable > 0 and epoch >= config.min_epochs
        history.best_epoch = _best_epoch(history)
        return history, result

    def _arena(self, agents: Agents) -> Arena:
        return Arena(
            strategies=tuple(agent.strategy for agent in agents),
            rebuttal=self.rebuttal,
            min_allocation=self.config.min_allocation,
            max_allocation=self.config.max_allocation,
        )


def _metrics(epoch: int, learning_rate: float, result: DebateResult) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch,
        learning_rate=learning_rate,
        winner=result.winner,
        winning_score=result.winning_score,
        scores=result.scores,
        allocations=result.allocations,
        allocation_changes=result.allocation_changes,
        total_stakes=result.total_stakes,
    )


def _best_epoch(history: TrainHistory) -> int:
    if history.validation_results:
        return 1 + int(np.argmax([result.accuracy for result in history.validation_results]))
    return 1 + int(np.argmin([metrics.total_change for metrics in history.metrics]))
