"""How well inferred rewards foresee episodes that they were not inferred from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wm_agents.errors import DemonstrationError
from wm_agents.irl.decision_model import DecisionModel, Floats
from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.maxent import MaxEntConfig, MaxEntIRL


@dataclass(frozen=True)
class HeldOut:
    """Log-likelihoods of held-out actions, in nats per step.

    Attributes:
        log_likelihood: Of the inferred reward's policy.
        uniform: Of choosing evenly among the allowed actions.
        frequencies: Of choosing as often as in the training episodes, whatever the state.
        by_episode: [K], sums over each episode under the inferred reward.
        weights: [folds, F], scaled weights of each fold's fit.
    """

    log_likelihood: float
    uniform: float
    frequencies: float
    by_episode: Floats
    weights: Floats


def cross_validate(
    model: DecisionModel,
    demonstrations: Any,
    config: MaxEntConfig | None = None,
    *,
    num_folds: int = 5,
    seed: int = 0,
) -> HeldOut:
    """Fit on all but one part of the episodes, score the part left out, part by part; episodes are never cut.

    Raises:
        DemonstrationError: Fewer episodes than folds.
    """
    given = Demonstrations.of(demonstrations)
    if not 2 <= num_folds <= given.num_episodes:
        raise DemonstrationError(
            f"{num_folds} folds of {given.num_episodes} episodes: give 2 to as many as episodes"
        )
    folds = np.array_split(np.random.default_rng(seed).permutation(given.num_episodes), num_folds)
    sums, weights = np.zeros((given.num_episodes, 3)), []
    for part in folds:
        training = given.select(np.setdiff1d(np.arange(given.num_episodes), part))
        tested = given.select(part)
        irl = MaxEntIRL(model, config)
        weights.append(irl.fit(training).scaled_weights)
        sums[part] = _scores(irl, training, tested)
    means = sums.sum(0) / given.num_steps
    return HeldOut(float(means[0]), float(means[1]), float(means[2]), sums[:, 0], np.stack(weights))


def _scores(irl: MaxEntIRL, training: Demonstrations, tested: Demonstrations) -> Floats:
    """Log-likelihoods [K, 3] of episodes.

    The fit, even choice, and the frequencies of the training episodes.
    """
    allowed = irl.model.mask[tested.states]
    actions = tested.trajectories.actions.astype(np.int64)
    steps = np.arange(tested.num_steps)
    fitted = irl.policy().log_probabilities[tested.times, tested.states, actions]
    counts = (
        np.bincount(training.trajectories.actions.astype(np.int64), minlength=irl.model.num_actions)
        + 0.5
    )
    shares = np.where(allowed, counts, 0.0)
    columns = np.stack(
        [fitted, -np.log(allowed.sum(1)), np.log(shares[steps, actions] / shares.sum(1))], 1
    )
    sums: Floats = np.add.reduceat(columns, tested.trajectories.step_starts, axis=0)
    return sums


def choose_prior_std(
    model: DecisionModel,
    demonstrations: Any,
    candidates: Sequence[float] = (0.3, 1.0, 3.0, 10.0),
    config: MaxEntConfig | None = None,
    *,
    num_folds: int = 5,
    seed: int = 0,
) -> float:
    """The prior standard deviation under which held-out episodes are most probable.

    The best of several scores flatters: how well the chosen one foresees is measured on episodes
    that it was not chosen by.

    Raises:
        DemonstrationError: Fewer episodes than folds.
    """
    config = MaxEntConfig() if config is None else config
    scores = {
        std: cross_validate(
            model,
            demonstrations,
            replace(config, prior_std=std, num_resamples=0),
            num_folds=num_folds,
            seed=seed,
        ).log_likelihood
        for std in candidates
    }
    return max(scores, key=lambda std: scores[std])
