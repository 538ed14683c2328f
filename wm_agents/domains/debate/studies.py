"""Studies of training and validation on persons whose drives or labels are known."""

import time
from dataclasses import dataclass

import numpy as np

from wm_agents.domains.debate.history import DebateConfig
from wm_agents.domains.debate.model import Debaters
from wm_agents.domains.debate.trainer import DebateTrainer
from wm_agents.domains.debate.validation import ValidationResult, Validator, summarize
from wm_agents.evaluation.statistics import Interval, stratified_bootstrap
from wm_envs.debate.generator import generate_person
from wm_envs.debate.observations import Observations
from wm_envs.debate.relevance import Relevance, TfidfRelevance
from wm_envs.debate.tendencies import TENDENCIES

# Persons that the scorer is adapted to: apart from every seed of an evaluation.
FIRST_TUNING_SEED = 1_000_000
RECOVERY_CONFIG = DebateConfig(max_epochs=20, initial_lr=0.3)


@dataclass(frozen=True)
class _RecoveryStudy:
    """Spearman correlation of learned allocations and true drives.

    Attributes:
        correlations: One for each person.
        median: With its 95% bootstrap interval over persons.
    """

    correlations: tuple[float, ...]
    median: Interval


def adapted_relevance(num_persons: int = 4, num_observations: int = 165) -> TfidfRelevance:
    """The default scorer, to which labelled observations of some generated persons are added.

    These persons are of no evaluation; see FIRST_TUNING_SEED.
    """
    texts = []
    owners = []
    for number in range(num_persons):
        person = generate_person(FIRST_TUNING_SEED + number, num_observations)
        for observation in person.observations:
            if observation.owner is not None and not observation.metadata["is_distractor"]:
                texts.append(observation.content)
                owners.append(observation.owner.index)
    return TfidfRelevance(texts, owners)


def recovery_study(
    relevance: Relevance,
    num_persons: int = 100,
    num_observations: int = 400,
    config: DebateConfig = RECOVERY_CONFIG,
    seed: int = 0,
) -> _RecoveryStudy:
    """Train on each generated person without labels, and compare with the person's drives."""
    from scipy.stats import spearmanr

    correlations = []
    for number in range(num_persons):
        person = generate_person(seed * 10_000 + number, num_observations)
        agents = Debaters()
        DebateTrainer(config, relevance=relevance, seed=seed).train(
            person.observations, agents, verbose=False
        )
        learned = [agents.allocations[tendency] for tendency in TENDENCIES]
        correlations.append(float(spearmanr(learned, person.drives).statistic))
    return _RecoveryStudy(tuple(correlations), stratified_bootstrap(correlations, np.median))


def null_study(
    relevance: Relevance, num_persons: int = 100, num_observations: int = 165, seed: int = 0
) -> tuple[int, list[ValidationResult]]:
    """Validate persons without signal.

    Gives on how many the validator says "not above chance", and all its results.
    """
    results = []
    for number in range(num_persons):
        person = generate_person(seed * 10_000 + number, num_observations, has_signal=False)
        trainer = DebateTrainer(DebateConfig(max_epochs=5), relevance=relevance, seed=seed)
        history, _ = trainer.train(person.observations, verbose=False)
        results.append(history.validation_results[-1])
    return sum(not result.is_above_chance for result in results), results


def ownership(observations: Observations, relevance: Relevance) -> ValidationResult | None:
    """Accuracy of relevance alone: every tendency has the same influence."""
    even = Debaters(dict.fromkeys(TENDENCIES, 1 / len(TENDENCIES)))
    return Validator(relevance).validate(observations, None, even)


def majority_baseline(train: Observations, test: Observations) -> ValidationResult:
    """Always name the most frequent label of the training persons."""
    labels = [observation.owner for observation in train]
    common = max(TENDENCIES, key=labels.count)
    owners = [observation.owner for observation in test]
    most = max(owners.count(tendency) for tendency in TENDENCIES)
    return summarize(owners.count(common), len(owners), most / len(owners))


def training_seconds(
    seed: int = 1, num_observations: int = 165, num_epochs: int = 5
) -> dict[str, float]:
    """CPU seconds of a training run and of its parts, the fit of the scorer included."""
    observations = generate_person(seed, num_observations).observations
    started = time.process_time()
    scorer = TfidfRelevance()
    fitted = time.process_time()
    trainer = DebateTrainer(
        DebateConfig(max_epochs=num_epochs, convergence_threshold=0.0), relevance=scorer, seed=seed
    )
    history, _ = trainer.train(observations, verbose=False)
    ended = time.process_time()
    assert history.epochs_run == num_epochs
    return {
        "seconds": ended - started,
        "fit_seconds": fitted - started,
        "train_seconds": ended - fitted,
    }
