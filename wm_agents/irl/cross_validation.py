"""Cross-validation of inferred rewards by episode, and the choice of the prior by it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wm_agents.errors import DemonstrationError
from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.maxent import MaxEntConfig, MaxEntIRL
from wm_agents.irl.mdp import Floats, TabularMDP

_PSEUDO_COUNT = 0.5  # of each action, so that one that training lacks has no probability of 0


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
    mdp: TabularMDP,
    demonstrations: Any,
    config: MaxEntConfig | None = None,
    *,
    num_folds: int = 5,
    seed: int = 0,
) -> HeldOut:
    """Fit on all but one part of the episodes and score that part, part by part.

    Episodes are never cut.

    Raises:
        DemonstrationError: Fewer episodes than folds.
    """
    given = Demonstrations.of(demonstrations)
    if not 2 <= num_folds <= given.num_episodes:
        raise DemonstrationError(
            f"{num_folds} folds of {given.num_episodes} episodes: give 2 to as many as episodes"
        )
    order = np.random.default_rng(seed).permutation(given.num_episodes)
    sums = np.zeros((given.num_episodes, 3))
    weights = []
    for part in np.array_split(order, num_folds):
        training = given.select(np.setdiff1d(np.arange(given.num_episodes), part))
        irl = MaxEntIRL(mdp, config)
        weights.append(irl.fit(training).scaled_weights)
        sums[part] = _scores(irl, training, given.select(part))
    means = sums.sum(0) / given.num_steps
    return HeldOut(
        log_likelihood=float(means[0]),
        uniform=float(means[1]),
        frequencies=float(means[2]),
        by_episode=sums[:, 0],
        weights=np.stack(weights),
    )


def _scores(irl: MaxEntIRL, training: Demonstrations, test: Demonstrations) -> Floats:
    """Log-likelihoods [K, 3] of episodes: the fit, even choice, and the training's frequencies."""
    allowed = irl.mdp.mask[test.states]
    actions = test.actions.astype(np.int64)
    fitted = irl.policy().log_probabilities[test.times, test.states, actions]
    counts = np.bincount(training.actions.astype(np.int64), minlength=irl.mdp.num_actions)
    shares = np.where(allowed, counts + _PSEUDO_COUNT, 0.0)
    frequencies = np.log(shares[np.arange(test.num_steps), actions] / shares.sum(1))
    columns = np.stack([fitted, -np.log(allowed.sum(1)), frequencies], 1)
    sums: Floats = np.add.reduceat(columns, test.step_starts, axis=0)
    return sums


def choose_prior_std(
    mdp: TabularMDP,
    demonstrations: Any,
    candidates: Sequence[float] = (0.3, 1.0, 3.0, 10.0),
    config: MaxEntConfig | None = None,
    *,
    num_folds: int = 5,
    seed: int = 0,
) -> float:
    """The prior standard deviation under which held-out episodes are most probable.

    The best of several scores flatters: how well the selected one predicts is measured on episodes
    that it was not selected by.

    Raises:
        DemonstrationError: Fewer episodes than folds.
    """
    config = MaxEntConfig() if config is None else config
    scores = {}
    for std in candidates:
        settings = replace(config, prior_std=std, num_resamples=0)
        held_out = cross_validate(mdp, demonstrations, settings, num_folds=num_folds, seed=seed)
        scores[std] = held_out.log_likelihood
    return max(scores, key=lambda std: scores[std])
