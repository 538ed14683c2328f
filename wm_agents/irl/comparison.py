"""Inferred rewards judged by behavior: against each other, and against held-out episodes.

Two rewards are as far apart as the behavior that they lead to in the same situations: pairwise
distances, with bootstrap intervals and clustering. A reward predicts as well as its policy makes
episodes probable that it was not inferred from: cross-validation, by which the prior is chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from wm_agents.errors import ConfigError, DemonstrationError
from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.maxent import MaxEntConfig, MaxEntIRL
from wm_agents.irl.mdp import Floats, TabularMDP
from wm_agents.irl.uncertainty import RewardFit
from wm_agents.training.config_checks import checked_seed

_NUM_NEIGHBORS = 5
_STABLE = 0.7  # adjusted Rand index from which on two halves agree on clusters
_PSEUDO_COUNT = 0.5  # of each action, so that one that training lacks has no probability of 0
_JITTER = 1e-12  # on the diagonal of a covariance, for its Cholesky factor


@dataclass(frozen=True)
class Comparison:
    """C demonstrators, compared over the same situations.

    Attributes:
        names: C names.
        distances: [C, C], root mean square difference between what they would do, from 0 to 1.
            Weights that are not identified change no choice and so no distance.
        low: [C, C], lower limits.
        high: [C, C], upper limits.
        confidence: Of the limits.
        tree: [C - 1, 4], hierarchical clustering by Ward's linkage, as scipy gives it.
        stability: Number of clusters -> adjusted Rand index between the clusters of two halves of
            the episodes: 1 for the same, 0 for chance. Empty where no halves were given.
        positions: [C, 2], the map: distances in two dimensions (classical scaling).
        shares: [2], of the squared distances that each axis of the map holds.
    """

    names: tuple[str, ...]
    distances: Floats
    low: Floats
    high: Floats
    confidence: float
    tree: Floats
    stability: dict[int, float]
    positions: Floats
    shares: Floats

    def clusters(self, num_clusters: int) -> NDArray[np.int64]:
        """Cluster numbers [C], from 0 on in order of size."""
        return _by_size(fcluster(self.tree, num_clusters, "maxclust"))

    @property
    def stable_clusters(self) -> list[int]:
        """Numbers of clusters that the halves agree on: an adjusted Rand index of 0.7 or more."""
        return [number for number, index in self.stability.items() if index >= _STABLE]

    def nearest(self, name: str, num: int = _NUM_NEIGHBORS) -> list[tuple[str, float]]:
        """The closest others with their distances."""
        row = self.distances[self.names.index(name)]
        others = [i for i in np.argsort(row, kind="stable") if self.names[i] != name]
        return [(self.names[i], float(row[i])) for i in others[:num]]


def compare(
    fits: Mapping[str, RewardFit],
    situations: Floats,
    *,
    action_values: "ArrayLike | None" = None,
    halves: Sequence[Mapping[str, RewardFit]] = (),
    num_draws: int = 100,
    confidence: float = 0.9,
    cluster_numbers: Sequence[int] = (2, 3, 4, 5, 6, 8),
    seed: int = 0,
) -> Comparison:
    """Compare demonstrators.

    Args:
        fits: By name, on the same features; those of `fit_many`.
        situations: [N, A, F] features of single choices that all are put before.
        action_values: [A], where the actions lie on a line, such as 1, 0 and -1 for yes, abstain
            and no: differences are then between expected values. None compares the probabilities
            of all actions.
        halves: Two sets of fits to two halves of the episodes, for the stability of clusters.
        num_draws: Draws of weights from the bootstrap, or from the Laplace approximation where
            there is none.
        confidence: Of the intervals.
        cluster_numbers: Numbers of clusters to examine.
        seed: Of the draws.

    Raises:
        ConfigError: Fewer than three demonstrators, other features, halves that lack somebody, or
            action values that do not fit or are all equal.
    """
    names = tuple(fits)
    _check(fits, situations, halves)
    if action_values is not None:
        _check_action_values(action_values, situations.shape[1])

    def profiles_of(weights: Floats) -> Floats:
        return behavior_profiles(weights, situations, action_values)

    generator = np.random.default_rng(checked_seed(seed))
    profiles = profiles_of(np.stack([fit.weights for fit in fits.values()]))
    distances = distance_matrix(profiles)
    # The same number of draws for everybody, drawn in the order of the names.
    draws = np.stack([_draw(fit, num_draws, generator) for fit in fits.values()], 1)  # [D, C, F]
    drawn = np.stack([distance_matrix(profiles_of(weights)) for weights in draws])  # [D, C, C]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    # Noise pushes points apart, so that drawn distances are too large on average; the limits are
    # moved back by that.
    excess = drawn.mean(0) - distances
    half_profiles = [
        profiles_of(np.stack([half[name].weights for name in names])) for half in halves
    ]
    positions, shares = scaled_to_two(profiles)
    return Comparison(
        names=names,
        distances=distances,
        # The estimate itself always lies within its limits.
        low=np.maximum(np.minimum(low - excess, distances), 0),
        high=np.maximum(high - excess, distances),
        confidence=confidence,
        tree=_tree(distances),
        stability=_stability(half_profiles, [n for n in cluster_numbers if n < len(names)]),
        positions=positions,
        shares=shares,
    )


def choice_profiles(weights: Floats, situations: Floats) -> Floats:
    """Choice probabilities [C, N, A] for weights [C, F] in situations [N, A, F]."""
    # Situations x actions x features by features.
    utilities = np.tensordot(weights, situations, ([1], [2]))
    # The largest is taken off, so that no exponential overflows.
    utilities -= utilities.max(2, keepdims=True)
    exponentials = np.exp(utilities)
    probabilities: Floats = exponentials / exponentials.sum(2, keepdims=True)
    return probabilities


def behavior_profiles(
    weights: Floats, situations: Floats, action_values: "ArrayLike | None" = None
) -> Floats:
    """Points [C, D] for weights [C, F], whose Euclidean distances are `Comparison.distances`."""
    profiles = choice_profiles(weights, situations)
    if action_values is None:
        # Half of the squared Euclidean distance of two distributions is at most 1.
        return profiles.reshape(len(weights), -1) / np.sqrt(2 * len(situations))
    values = np.asarray(action_values, np.float64)
    # Values in units of their range: distances do not depend on how an action is coded.
    unit_values = values / (values.max() - values.min())
    points: Floats = profiles @ unit_values / np.sqrt(len(situations))
    return points


def distance_matrix(points: Floats) -> Floats:
    """Euclidean distances [C, C] between points [C, D]."""
    squares = (points**2).sum(1)
    # Rounding may leave a square a hair below 0.
    distances: Floats = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0))
    np.fill_diagonal(distances, 0)
    return distances


def scaled_to_two(points: Floats) -> tuple[Floats, Floats]:
    """Points [C, 2] whose distances are close to those of points [C, D].

    Classical scaling of Euclidean distances is principal components. The sign of an axis is free:
    the most extreme stands on its positive side.

    Returns:
        Points [C, 2], and the share [2] of the squared distances that each axis holds.
    """
    # Classical scaling by singular values: distances to two dimensions.
    left, values, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    places = np.zeros((len(points), 2))
    size = min(2, len(values))
    places[:, :size] = left[:, :size] * values[:size]
    # Signs are free; the extremes are on the positive side, so that pictures do not flip.
    extremes = places[np.abs(places).argmax(0), [0, 1]]
    places *= np.where(extremes < 0, -1.0, 1.0)
    shares = np.zeros(2)
    shares[:size] = values[:size] ** 2 / max(float((values**2).sum()), 1e-300)
    return places, shares


def adjusted_rand(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Agreement of two partitions, corrected for chance (Hubert and Arabie 1985)."""
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)

    def pairs(counts: Floats) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both = pairs(table)
    rows = pairs(table.sum(1))
    columns = pairs(table.sum(0))
    expected = rows * columns / pairs(np.array([len(first)]))
    # Both partitions are trivial: they agree as far as anything can.
    largest = (rows + columns) / 2
    if largest <= expected:
        return 1.0
    return (both - expected) / (largest - expected)


def card(fit: RewardFit, comparison: Comparison, name: str) -> dict[str, Any]:
    """What is known of one demonstrator: weights with intervals and flags, and who is nearest."""
    return {
        "name": name,
        "num_steps": fit.num_steps,
        "weights": fit.table(),
        "flags": list(fit.flags),
        "nearest": comparison.nearest(name),
    }


def _draw(fit: RewardFit, num_draws: int, generator: np.random.Generator) -> Floats:
    """Weights [D, F] as they might have come out."""
    # The bootstrap where there is one, else the normal around the estimate.
    if len(fit.resampled):
        scaled = fit.resampled[generator.integers(len(fit.resampled), size=num_draws)]
    else:
        root = np.linalg.cholesky(fit.covariance + _JITTER * np.eye(len(fit.covariance)))
        noise = generator.normal(size=(num_draws, len(root)))
        scaled = fit.scaled_weights + noise @ root.T
    drawn: Floats = scaled / fit.scale
    return drawn


def _tree(distances: Floats) -> Floats:
    return linkage(distances[np.triu_indices(len(distances), 1)], "ward")


def _stability(halves: Sequence[Floats], numbers: list[int]) -> dict[int, float]:
    """Agreement of clusters between two sets of points, by number of clusters."""
    if not halves:
        return {}
    first, second = (_tree(distance_matrix(points)) for points in halves)
    stability = {}
    for number in numbers:
        of_first = fcluster(first, number, "maxclust") - 1
        of_second = fcluster(second, number, "maxclust") - 1
        stability[number] = adjusted_rand(of_first, of_second)
    return stability


def _by_size(labels: NDArray[Any]) -> NDArray[np.int64]:
    # Numbered by size, so that cluster 0 is the largest in every comparison.
    values, counts = np.unique(labels, return_counts=True)
    order = values[np.argsort(-counts, kind="stable")]
    rank = {label: place for place, label in enumerate(order)}
    return np.array([rank[label] for label in labels])


def _check_action_values(action_values: "ArrayLike", num_actions: int) -> None:
    if np.shape(action_values) != (num_actions,) or not np.ptp(action_values):
        raise ConfigError(
            f"action_values are one per action and not all equal, got {action_values!r}"
        )


def _check(
    fits: Mapping[str, RewardFit], situations: Floats, halves: Sequence[Mapping[str, RewardFit]]
) -> None:
    names = {fit.feature_names for fit in fits.values()}
    if len(fits) < 3 or len(names) != 1:
        raise ConfigError(
            "comparing needs three demonstrators on the same features, got "
            f"{len(fits)} on {len(names)}"
        )
    num_features = len(next(iter(names)))
    if situations.ndim != 3 or situations.shape[2] != num_features or not len(situations):
        raise ConfigError(
            f"situations have shape {situations.shape}: give [N, A, {num_features}] with N at "
            "least 1"
        )
    if len(halves) not in (0, 2) or any(set(fits) - set(half) for half in halves):
        raise ConfigError("halves are two sets of fits with everybody in both, or none")


@dataclass(frozen=True)
class _HeldOut:
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
) -> _HeldOut:
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
    # Whole episodes: steps of one would be on both sides.
    order = np.random.default_rng(checked_seed(seed)).permutation(given.num_episodes)
    sums = np.zeros((given.num_episodes, 3))
    weights = []
    for part in np.array_split(order, num_folds):
        training = given.select(np.setdiff1d(np.arange(given.num_episodes), part))
        irl = MaxEntIRL(mdp, config)
        weights.append(irl.fit(training).scaled_weights)
        sums[part] = _scores(irl, training, given.select(part))
    means = sums.sum(0) / given.num_steps
    return _HeldOut(
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
    # What a step is worth without any reward: how often the action was chosen elsewhere.
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
        # Resampling would cost hundreds of fits, and says nothing here.
        settings = replace(config, prior_std=std, num_resamples=0)
        held_out = cross_validate(mdp, demonstrations, settings, num_folds=num_folds, seed=seed)
        scores[std] = held_out.log_likelihood
    return max(scores, key=lambda std: scores[std])
