"""Training of allocations: debate after debate, influence shifts until it is stable."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import numpy as np

from wm_agents.domains.debate.history import DebateConfig, EpochMetrics, TrainHistory
from wm_agents.domains.debate.loggers import (
    AnyLogger,
    DebateConsoleLogger,
    DebateLogger,
    as_debate_loggers,
)
from wm_agents.domains.debate.model import Debaters
from wm_agents.domains.debate.validation import ValidationResult, Validator
from wm_agents.errors import ConfigError
from wm_agents.training import trainer
from wm_agents.training.checkpoints import CheckpointManager
from wm_envs.data.options import as_integer
from wm_envs.debate.allocations import check_allocations
from wm_envs.debate.claims import MAX_REBUTTAL, Arena, DebateResult
from wm_envs.debate.observations import Observations
from wm_envs.debate.relevance import Relevance, Scores, check_scores, default_relevance
from wm_envs.debate.tendencies import TENDENCIES
from wm_envs.errors import ObservationError


class DebateTrainer:
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
        config: DebateConfig | None = None,
        *,
        relevance: Relevance | None = None,
        seed: int = 0,
        rebuttal: float = 2.0,
    ) -> None:
        self.config = DebateConfig() if config is None else config
        number = as_integer(seed)
        if number is None or number < 0:
            raise ConfigError(f"seed={seed!r}; give an integer of at least 0")
        is_number = isinstance(rebuttal, int | float | np.number)
        # Written so that NaN, which no comparison holds for, is refused too.
        if not is_number or not 0 <= rebuttal <= MAX_REBUTTAL:
            raise ConfigError(f"rebuttal={rebuttal!r}; give a number from 0 to {MAX_REBUTTAL:g}")
        self.seed = number
        self.rebuttal = float(rebuttal)
        self._relevance = relevance

    def train(
        self,
        observations: Observations,
        agents: Debaters | None = None,
        logger: AnyLogger | Iterable[AnyLogger] | None = None,
        verbose: bool = True,
        checkpoints: CheckpointManager | None = None,
    ) -> tuple[TrainHistory, DebateResult]:
        """Debate until the allocations are stable; the agents keep what they won.

        Args:
            observations: What is known of the person; those with labels are used for validation.
            agents: The tendencies, changed in place; default ones where None.
            logger: Takes every epoch; several may be given. A logger of scalars
                (`wm_agents.training.loggers`) gets one step for each epoch.
            verbose: Print every epoch, unless a logger prints already.
            checkpoints: Where to keep the scorer's answers and the first allocations. A run that
                was stopped resumes bitwise, and the scorer, which may be a language model, is not
                asked again.

        Returns:
            The history and the last debate.

        Raises:
            ObservationError: No observation is left to train on, or the scorer gave no relevance.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
        """
        loggers = as_debate_loggers(logger)
        if verbose and not any(isinstance(each, DebateConsoleLogger) for each in loggers):
            loggers.append(DebateConsoleLogger())
        training, held_out = self.split_observations(observations)
        run = _DebateRun(
            self.config,
            Debaters() if agents is None else agents,
            training,
            Observations([o for o in held_out if o.owner is not None], held_out.source),
            self._relevance,
            self.rebuttal,
            loggers,
        )
        loop = trainer.Trainer(
            run,
            self.config.max_epochs,
            description="debates",
            evaluate_every=1,
            checkpoints=checkpoints,
            checkpoint_every=1,  # the first one keeps what may have cost hours: the answers
            callback=run.goes_on,
        )
        try:
            report = loop.train()
            history, result = run.finish(report.num_updates)
        finally:
            for each in loggers:
                each.close()
        return history, result

    def split_observations(self, observations: Observations) -> tuple[Observations, Observations]:
        """The observations to train on and those held out."""
        training, held_out = observations.split(self.config.validation_split, self.seed)
        if not len(training):
            raise ObservationError(
                f"{len(observations)} observations leave none to train on: give more"
            )
        return training, held_out


class _DebateRun:
    """The epochs of one person as the training loop sees them (`trainer.TrainingRun`).

    A debate takes milliseconds and follows from relevance, first allocations and its number alone.
    A checkpoint keeps these, and a run that is resumed repeats the debates that it had already
    held: the loggers get every epoch, and the last debate, a tree of thousands of nodes, need not
    be stored.
    """

    def __init__(
        self,
        config: DebateConfig,
        agents: Debaters,
        training: Observations,
        labelled: Observations,
        scorer: Relevance | None,
        rebuttal: float,
        loggers: list[DebateLogger],
    ) -> None:
        self.config = config
        self.agents = agents
        self.training = training
        self.labelled = labelled
        self.scorer = scorer
        self.loggers = loggers
        self.history = TrainHistory()
        self.num_stable = 0
        self.result: DebateResult | None = None
        self.relevance: Scores | None = None
        self.test_relevance: Scores | None = None
        self._first_allocations = [agent.allocation for agent in agents]
        self._learning_rate = config.initial_lr
        self._has_begun = False
        self._validator = Validator(scorer)
        self._arena = Arena(
            strategies=tuple(agent.strategy for agent in agents),
            rebuttal=rebuttal,
            min_allocation=config.min_allocation,
            max_allocation=config.max_allocation,
        )

    def step(self, update: int) -> dict[str, float]:
        """One debate; before it, those that an earlier start of this run has held."""
        self._repeat(update)
        metrics, validation = self._debate()
        return metrics.scalars(validation)

    def state_dict(self) -> dict[str, Any]:
        """What all debates follow from."""
        return {
            "relevance": self.relevance,
            "test_relevance": self.test_relevance,
            "allocations": self._first_allocations,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what an earlier start of this run was told by the scorer."""
        allocations = [float(share) for share in state["allocations"]]
        relevance = check_scores(state["relevance"], len(self.training))
        test_relevance = check_scores(state["test_relevance"], len(self.labelled))
        for agent, allocation in zip(self.agents, allocations, strict=True):
            agent.allocation = allocation
        self._first_allocations = allocations
        self.relevance = relevance
        self.test_relevance = test_relevance

    def fingerprint(self) -> dict[str, Any]:
        """Settings, scripts, scorer and a hash of the texts."""
        texts = json.dumps([self.training.texts, self.labelled.texts])
        return {
            "kind": "debate",
            "config": asdict(self.config),
            "rebuttal": self._arena.rebuttal,
            "texts": sha256(texts.encode()).hexdigest(),
            "strategies": list(self._arena.strategies),
            "relevance": None if self.scorer is None else type(self.scorer).__qualname__,
        }

    def goes_on(self, epoch: int, figures: dict[str, float]) -> bool:  # noqa: ARG002
        """Whether allocations are not stable yet, or not for long enough."""
        is_stable = self.num_stable >= self.config.patience
        return not is_stable or epoch < self.config.min_epochs

    def finish(self, num_epochs: int) -> tuple[TrainHistory, DebateResult]:
        """The whole history and the last debate, those of an earlier start included."""
        self._repeat(num_epochs)
        assert self.result is not None
        history = self.history
        history.epochs_run = num_epochs
        history.converged = self.num_stable > 0 and num_epochs >= self.config.min_epochs
        history.best_epoch = _best_epoch(history)
        for logger in self.loggers:
            logger.finish(history)
        return history, self.result

    def _repeat(self, num_epochs: int) -> None:
        if not self._has_begun:
            self._begin()
        while len(self.history.metrics) < num_epochs:
            self._debate()

    def _begin(self) -> None:
        """Ask the scorer, and only then tell the loggers: one that fails leaves old logs whole."""
        if self.relevance is None or self.test_relevance is None:
            self.relevance = self._score(self.training)
            self.test_relevance = self._score(self.labelled)
        for logger in self.loggers:
            logger.start(self.config)
        self._has_begun = True

    def _score(self, observations: Observations) -> Scores:
        if not len(observations):
            return np.zeros((0, len(TENDENCIES)))
        scorer = default_relevance() if self.scorer is None else self.scorer
        return check_scores(scorer.score(observations.texts), len(observations))

    def _debate(self) -> tuple[EpochMetrics, ValidationResult | None]:
        """One epoch: debate, move the allocations, validate, log."""
        assert self.relevance is not None
        config = self.config
        before = check_allocations(
            self.agents.allocations, config.min_allocation, config.max_allocation
        )
        result = self._arena.debate(self.relevance, before, self._learning_rate)
        self.agents.update(result.allocations)
        metrics = EpochMetrics(
            epoch=len(self.history.metrics) + 1,
            learning_rate=self._learning_rate,
            winner=result.winner,
            winning_score=result.winning_score,
            scores=result.scores,
            allocations=result.allocations,
            allocation_changes=result.allocation_changes,
            total_stakes=result.total_stakes,
        )
        validation = self._validate(result)
        self.history.metrics.append(metrics)
        is_stable = metrics.total_change < config.convergence_threshold
        self.num_stable = self.num_stable + 1 if is_stable else 0
        self.result = result
        self._learning_rate *= config.lr_decay
        for logger in self.loggers:
            logger.log_epoch(metrics, validation)
        return metrics, validation

    def _validate(self, result: DebateResult) -> ValidationResult | None:
        """None where no held-out observation has a label."""
        if not len(self.labelled):
            return None
        assert self.test_relevance is not None
        validation = self._validator.compare(
            self.labelled, self.test_relevance, result.allocations, result.claims
        )
        self.history.validation_results.append(validation)
        return validation


def _best_epoch(history: TrainHistory) -> int:
    if history.validation_results:
        return 1 + int(np.argmax([result.accuracy for result in history.validation_results]))
    return 1 + int(np.argmin([metrics.total_change for metrics in history.metrics]))
