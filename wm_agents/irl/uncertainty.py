"""How far inferred weights can be trusted: units, priors, identifiability, Laplace and bootstrap.

Which weights demonstrations can identify at all does not depend on what was chosen in them. A
weight matters only through differences between actions: of the feature itself and of what is
expected to follow. The second moment of these differences in the visited states, under even-handed
choice, is the Fisher information at zero weights. Directions in its null space change no
probability; demonstrations say nothing about them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.irl.likelihood import Likelihood
from wm_agents.irl.mdp import Floats, TabularMDP
from wm_agents.training.config_checks import checked_seed
from wm_agents.training.newton import minimize_convex
from wm_agents.training.trainer import FitReport
from wm_envs.data.display import short_repr

TOLERANCE = 1e-9
"""Share of the largest eigenvalue below which one counts as zero."""

_MIN_SPREAD = 1e-10  # relative to the size, below which a feature counts as constant
_MAX_NULL_PART = 1e-4  # of a unit weight within the null space of one that is identified
_MIN_SHOWN_PART = 0.05  # of a null direction, to be named in words
_ROUNDING = 1e-9
_MIN_PIVOT = 1e-8  # below which a column of the null space counts as zero


@dataclass(frozen=True)
class Scaling:
    """Units of F features, so that one prior fits them all.

    Features are scaled and never centered: a constant added to every step would reward long
    episodes, so that centering changes the problem wherever lengths vary.

    Attributes:
        scale: [F], the standard deviation over allowed actions in the states that were visited; for
            a constant feature its size, or 1 where it is 0 everywhere.
        is_constant: [F] bool.
    """

    scale: Floats
    is_constant: NDArray[np.bool_]

    __repr__ = short_repr

    @classmethod
    def of(cls, mdp: TabularMDP, states: NDArray[np.int64]) -> "Scaling":
        """The units of an MDP's features over the states [N] that were visited."""
        # Each state once: how often it was visited says nothing of the unit.
        visited = np.unique(states)
        rows = mdp.features[visited][mdp.mask[visited]]
        size = np.abs(rows).max(0)
        size = np.where(size > 0, size, 1.0)
        spread = (rows / size).std(0)  # divided first: squares of very large features overflow
        is_constant = spread < _MIN_SPREAD
        return cls(np.where(is_constant, 1.0, spread) * size, is_constant)

    @classmethod
    def none(cls, num_features: int) -> "Scaling":
        """Features as they are."""
        return cls(np.ones(num_features), np.zeros(num_features, np.bool_))

    @classmethod
    def common(cls, scalings: Sequence["Scaling"]) -> "Scaling":
        """Root mean square of units, over the demonstrators for whom a feature varies."""
        squares = np.stack([scaling.scale**2 for scaling in scalings])  # [C, F]
        does_vary = np.stack([~scaling.is_constant for scaling in scalings])
        num_varying = does_vary.sum(0)
        # Where a feature is constant it has no unit to contribute.
        varying_mean = np.where(does_vary, squares, 0.0).sum(0) / np.maximum(num_varying, 1)
        is_constant = num_varying == 0
        return cls(np.sqrt(np.where(is_constant, squares.mean(0), varying_mean)), is_constant)


@dataclass(frozen=True)
class Prior:
    """A normal distribution of F scaled weights, before any demonstration.

    Attributes:
        mean: [F].
        precision: [F, F], the inverse covariance.
    """

    mean: Floats
    precision: Floats

    @classmethod
    def independent(cls, num_features: int, std: float) -> "Prior":
        """Zero mean and one standard deviation for all."""
        return cls(np.zeros(num_features), np.eye(num_features) / std**2)

    @classmethod
    def population(
        cls, weights: Sequence[Floats], covariances: Sequence[Floats], std: float
    ) -> "Prior":
        """The population from which demonstrators seem to be drawn.

        One step of expectation maximization.

        Args:
            weights: Posterior means [C] of [F].
            covariances: Posterior covariances [C] of [F, F].
            std: The prior standard deviation of one by itself, whose square enters as a C-th part
                of one more demonstrator, so that few demonstrators do not make the population
                narrow.
        """
        stacked = np.stack(weights)
        mean = stacked.mean(0)
        centered = stacked - mean
        # Wishart's pseudo-count: as much as one demonstrator of the original prior.
        pseudo_count = std**2 * np.eye(len(mean)) / len(stacked)
        spread = centered.T @ centered + np.sum(covariances, 0) + pseudo_count
        return cls(mean, np.linalg.inv(spread / len(stacked)))

    @property
    def std(self) -> Floats:
        """[F], of each weight by itself."""
        return np.sqrt(np.diag(np.linalg.inv(self.precision)))

    def value_and_gradient(self, weights: Floats) -> tuple[float, Floats]:
        """The log density up to a constant, and its gradient."""
        distance = weights - self.mean
        gradient: Floats = -self.precision @ distance
        return 0.5 * float(distance @ gradient), gradient


@dataclass(frozen=True)
class Identifiability:
    """Rank and null directions of the covariance of feature differences, in standardized units.

    Attributes:
        feature_names: F names.
        eigenvalues: [F], falling; the information per decision along each axis.
        rank: How many directions are identified.
        null_directions: [F - rank, F], unit vectors along which nothing is.
        is_identified: [F] bool, False for weights that have a part in a null direction.
    """

    feature_names: tuple[str, ...]
    eigenvalues: Floats
    rank: int
    null_directions: Floats
    is_identified: NDArray[np.bool_]

    __repr__ = short_repr

    @property
    def is_full(self) -> bool:
        """Whether every weight is identified."""
        return self.rank == len(self.feature_names)

    def sentences(self) -> tuple[str, ...]:
        """Each null direction in words, largest parts first."""
        return tuple(self._sentence(direction) for direction in self.null_directions)

    def _sentence(self, direction: Floats) -> str:
        parts = [
            f"{direction[i]:+.2f} {self.feature_names[i]}"
            for i in np.argsort(-np.abs(direction))
            if abs(direction[i]) > _MIN_SHOWN_PART
        ]
        return f"not identified: {' '.join(parts)}"


def identify(
    information: Floats,
    feature_names: tuple[str, ...],
    *,
    floor: float = 0.0,
    tolerance: float = TOLERANCE,
) -> Identifiability:
    """Split weights into those that demonstrations identify and those that they cannot.

    Args:
        information: [F, F], mean outer product of feature differences.
        feature_names: F names.
        floor: Information that rounding alone can bring about, which counts as zero.
        tolerance: Share of the largest eigenvalue below which one counts as zero.
    """
    # Symmetric up to rounding, which the solver takes literally.
    values, vectors = np.linalg.eigh((information + information.T) / 2)
    # Largest first.
    order = np.argsort(-values)
    values = np.maximum(values[order], 0.0)
    vectors = vectors[:, order]
    rank = int((values > max(tolerance * values[0], floor)).sum())
    null_directions = np.zeros((0, len(values)))
    if rank < len(values):
        null_directions = _row_echelon(vectors[:, rank:])
    # How much of each weight lies in directions that nothing tells.
    null_parts = np.sqrt((vectors[:, rank:] ** 2).sum(1))
    return Identifiability(
        feature_names, values, rank, null_directions, null_parts < _MAX_NULL_PART
    )


def _row_echelon(basis: Floats) -> Floats:
    # Gauss elimination with pivoting.
    """The same null space spanned by rows with few parts each, so that they can be read."""
    rows = basis.T.copy()
    pivot = 0
    for column in range(rows.shape[1]):
        if pivot == len(rows):
            break
        best = pivot + int(np.abs(rows[pivot:, column]).argmax())
        # A direction without this feature has its pivot further right.
        if abs(rows[best, column]) < _MIN_PIVOT:
            continue
        rows[[pivot, best]] = rows[[best, pivot]]
        rows[pivot] /= rows[pivot, column]
        others = np.arange(len(rows)) != pivot
        rows[others] -= np.outer(rows[others, column], rows[pivot])
        pivot += 1
    scaled: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def laplace_covariance(information: Floats, prior: Prior) -> Floats:
    """The inverse of information plus prior precision [F, F].

    The normal approximation of the posterior.
    """
    return np.asarray(np.linalg.inv(information + prior.precision), np.float64)


def clustered_stds(
    likelihood: Likelihood,
    weights: Floats,
    prior: Prior,
    information: Floats,
    counts: Floats | None = None,
) -> Floats:
    """Standard deviations [F] of scaled weights by how much the scores of whole episodes vary.

    The sandwich estimate with episodes as clusters (Liang and Zeger 1986, equation 8): it does not
    believe the model that steps of an episode are independent given the weights. The prior counts as
    one more cluster, so that what nothing identifies varies as the prior does.

    Args:
        likelihood: Of K episodes.
        weights: [F], the estimate.
        prior: Of the estimate.
        information: [F, F], of all steps at the estimate.
        counts: [K], how often each episode counts; None for once.
    """
    scores = likelihood.scores(weights)
    if counts is None:
        counts = np.ones(len(scores))
    meat = (scores * counts[:, None]).T @ scores + prior.precision
    bread = laplace_covariance(information, prior)
    # Rounding alone can make a variance negative.
    return np.sqrt(np.maximum(np.diag(bread @ meat @ bread), 0.0))


def laplace_limits(weights: Floats, covariance: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Lower and upper limits [F]."""
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * np.sqrt(np.diag(covariance))
    return weights - reach, weights + reach


def bootstrap_weights(
    likelihood: Likelihood, weights: Floats, prior: Prior, num_resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Weights fitted again to episodes drawn with replacement, and their `clustered_stds`.

    By Fisher scoring from the estimate. Whole episodes are drawn, since the steps of one are not
    independent. Each refit has a prior mean of its own, drawn from the prior: with a fixed one all
    refits are drawn to the same place, and vary less than the weights are uncertain, most of all
    where the demonstrations say little (the weighted likelihood bootstrap of Newton and Raftery
    1994 with a proper prior; in a linear model its variance is that of the posterior).

    Returns:
        Both [R, F], scaled.
    """
    generator = np.random.default_rng(checked_seed(seed))
    num_episodes = likelihood.num_episodes
    probabilities = np.full(num_episodes, 1 / num_episodes)
    counts = generator.multinomial(num_episodes, probabilities, num_resamples)  # [R, K]
    # The root of the prior's covariance.
    root = np.linalg.cholesky(np.linalg.inv(prior.precision))
    refitted = []
    stds = []
    for row in counts:
        # An episode that was drawn twice counts twice.
        step_weights = row[likelihood.episodes].astype(float)
        # The prior is drawn, too, so that weights on which the data say nothing vary as the prior
        # does.
        shift = root @ generator.normal(size=len(root))
        drawn = Prior(prior.mean + shift, prior.precision)
        found, information = _refit(likelihood, weights, step_weights, drawn)
        refitted.append(found)
        stds.append(clustered_stds(likelihood, found, drawn, information, row.astype(float)))
    return np.stack(refitted), np.stack(stds)


def _refit(
    likelihood: Likelihood, weights: Floats, step_weights: Floats, prior: Prior
) -> tuple[Floats, Floats]:
    def problem(points: Floats) -> tuple[Floats, Floats, Floats]:
        value, gradient, information = likelihood.weighted(points[0], step_weights)
        log_prior, slope = prior.value_and_gradient(points[0])
        losses = np.array([-value - log_prior])
        return losses, -(gradient + slope)[None], (information + prior.precision)[None]

    # From the fit to all episodes, from which a resample is a few steps away.
    start = weights[None]
    found = minimize_convex(problem, start, "the likelihood of resampled demonstrations")[0]
    return found, likelihood.weighted(found, step_weights)[2]


@dataclass(frozen=True, kw_only=True, repr=False)
class RewardFit(FitReport):
    """Weights inferred from one demonstrator, with what can be said about them.

    Attributes:
        feature_names: F names.
        weights: [F], per unit of each feature.
        scaled_weights: [F], per standard deviation of each feature: those that can be compared with
            each other.
        scale: [F], the standard deviations.
        covariance: [F, F] of the scaled weights (Laplace).
        low: [F], lower limits of `weights` (Laplace).
        high: [F], upper limits.
        confidence: Of the limits.
        resampled: [R, F] scaled weights of the bootstrap; R may be 0.
        clustered_stds: [F], standard deviations of the scaled weights with episodes as clusters.
        resampled_stds: [R, F], those of each refit.
        identifiability: What the demonstrations can identify.
        is_constant: [F] bool, features that never vary.
        is_weak: [F] bool, weights of which the data say little beyond the prior.
        flags: Warnings in words; none where all is well.
        log_likelihood: Of all demonstrated actions.
        information: [F, F], mean Fisher information of a step about the scaled weights, at the fit.
        num_steps: Demonstrated.
        num_episodes: Demonstrated.
        has_converged: Whether the optimizer reached the maximum.
    """

    feature_names: tuple[str, ...]
    weights: Floats
    scaled_weights: Floats
    scale: Floats
    covariance: Floats
    low: Floats
    high: Floats
    confidence: float
    clustered_stds: Floats
    resampled: Floats
    resampled_stds: Floats
    identifiability: Identifiability
    is_constant: NDArray[np.bool_]
    is_weak: NDArray[np.bool_]
    flags: tuple[str, ...]
    log_likelihood: float
    information: Floats
    num_steps: int
    num_episodes: int
    has_converged: bool

    __repr__ = short_repr

    @property
    def direction(self) -> Floats:
        """The scaled weights at length 1.

        Near-unanimous demonstrators fix the direction and not the length.
        """
        norm = float(np.linalg.norm(self.scaled_weights))
        # Weights that are all 0 have no direction.
        return self.scaled_weights / norm if norm > 0 else self.scaled_weights

    @property
    def is_trusted(self) -> NDArray[np.bool_]:
        """[F]: identified, and not a mere repetition of the prior."""
        return self.identifiability.is_identified & ~self.is_weak

    def ranked(self) -> list[tuple[str, float]]:
        """Features by the size of their scaled weights, without those that cannot be trusted."""
        order = np.argsort(-np.abs(self.scaled_weights))
        return [
            (self.feature_names[i], float(self.scaled_weights[i]))
            for i in order
            if self.is_trusted[i]
        ]

    def bootstrap_limits(self) -> tuple[Floats, Floats]:
        """Limits [F] of `weights` by percentile-t, infinite for a single episode.

        Each refit's distance from the estimate counts in its own standard deviations (Efron and
        Tibshirani 1993, section 12.5), which have episodes as clusters like the estimate's own:
        where few episodes tell about a weight their spread is itself uncertain, and the refits know
        by how much (Cameron, Gelbach and Miller 2008, section 3).

        Raises:
            ConfigError: The fit was made without resamples, or with too few for its confidence.
        """
        num_resamples = len(self.resampled)
        if not num_resamples:
            raise ConfigError("no bootstrap was asked for: fit with num_resamples, such as 200")
        if self.num_episodes < 2:
            return np.full_like(self.weights, -np.inf), np.full_like(self.weights, np.inf)
        tail = (1 - self.confidence) / 2
        # Otherwise a limit would lie beyond the most extreme refit.
        if num_resamples * tail < 1 - _ROUNDING:
            raise ConfigError(
                f"{num_resamples} resamples say nothing about limits at confidence "
                f"{self.confidence}: fit with num_resamples={int(np.ceil(1 / tail - _ROUNDING))} "
                "or more"
            )
        # In standard errors of each refit: percentile-t corrects for spreads that differ.
        distances = (self.resampled - self.scaled_weights) / self.resampled_stds
        # Between R refits lie R + 1 gaps, into each of which the next distance falls as likely:
        # quantiles that count R - 1 gaps have limits too close for few refits.
        low, high = np.quantile(distances, [tail, 1 - tail], axis=0, method="weibull")
        std = self.clustered_stds
        # A refit that lies too high says that the estimate may lie as much too high itself.
        lower = self.scaled_weights - high * std
        upper = self.scaled_weights - low * std
        return lower / self.scale, upper / self.scale

    def table(self) -> dict[str, dict[str, Any]]:
        """Each feature's weight, interval and standing, for a summary."""
        is_trusted = self.is_trusted
        return {
            name: {
                "weight": float(self.weights[i]),
                "low": float(self.low[i]),
                "high": float(self.high[i]),
                "scaled_weight": float(self.scaled_weights[i]),
                "is_identified": bool(is_trusted[i]),
            }
            for i, name in enumerate(self.feature_names)
        }


AnyFit = TypeVar("AnyFit", bound=FitReport)


def fit_to_state(fit: Any) -> dict[str, Any]:
    """A fit of F weights as nested plain values, for `pack_state`."""
    return {**vars(fit), "identifiability": vars(fit.identifiability)}


def fit_from_state(
    kind: type[AnyFit], state: Mapping[str, Any], feature_names: tuple[str, ...]
) -> AnyFit:
    """The inverse of `fit_to_state`.

    Raises:
        CheckpointError: Weights of other features.
    """
    # A fit that speaks of other features would give rewards without complaint.
    for name in ("weights", "scaled_weights", "scale", "low", "high"):
        if np.asarray(state[name], np.float64).shape != (len(feature_names),):
            raise CheckpointError(f"{name} are not one number for each of {feature_names}")
    if tuple(state["feature_names"]) != feature_names:
        raise CheckpointError(f"a fit of {state['feature_names']}, not of {feature_names}")
    return kind(**{**state, "identifiability": Identifiability(**state["identifiability"])})
