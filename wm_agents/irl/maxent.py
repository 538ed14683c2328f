"""Maximum-entropy inverse reinforcement learning with linear rewards, exact in a finite model."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from wm_agents.errors import ConfigError, NonFiniteError, NotFittedError
from wm_agents.irl.decision_model import DecisionModel, Floats
from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.identifiability import Identifiability, identify
from wm_agents.irl.likelihood import Likelihood
from wm_agents.irl.prior import Prior, population
from wm_agents.irl.soft_induction import SoftPolicy, soft_policy
from wm_agents.irl.standardisation import Scaling
from wm_agents.irl.uncertainty import bootstrap_weights, laplace_covariance, laplace_limits
from wm_agents.training.config_checks import require_integers
from wm_agents.training.progress import progress

_ROUNDING = 1e-20  # square of the relative error of sums of features, with some room
# share of actions that the fit holds most probable from which on separation is looked into
_SUSPICIOUS = 0.95

Objective = Callable[[Floats], tuple[float, Floats]]
"""Weights [F] -> a value and its gradient [F]."""

_WEAK = 0.8
"""Posterior as a share of prior standard deviation from which on the data say little.

A third of the variance gone.
"""


@dataclass(frozen=True)
class MaxEntConfig:
    """Settings of `MaxEntIRL`.

    Attributes:
        prior_std: Prior standard deviation of each weight on a standardised feature. Choices that
            always go one way would drive weights without bound; the prior stops them.
        standardise: Divide features by their standard deviation over allowed actions.
        max_iterations: Of L-BFGS.
        tolerance: Largest slope of the log posterior per step at which the maximum counts as found.
        confidence: Of the intervals, in (0, 1).
        num_resamples: Of the bootstrap by episode; 0 leaves it out.
        seed: Of the bootstrap.
    """

    prior_std: float = 5.0
    standardise: bool = True
    max_iterations: int = 1000
    tolerance: float = 1e-7
    confidence: float = 0.9
    num_resamples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.prior_std < np.inf:
            raise ConfigError(f"prior_std={self.prior_std}: give a positive number, such as 5")
        require_integers(None, num_resamples=self.num_resamples, max_iterations=self.max_iterations)
        if not 0 < self.confidence < 1 or self.num_resamples < 0 or self.max_iterations < 1:
            raise ConfigError(
                f"expected 0 < confidence < 1, num_resamples >= 0 and max_iterations >= 1, got {self}"
            )


@dataclass(frozen=True)
class RewardFit:
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
        identifiability: What the demonstrations can tell.
        is_constant: [F] bool, features that never vary.
        is_weak: [F] bool, weights of which the data say little beyond the prior.
        flags: Warnings in words; none where all is well.
        log_likelihood: Of all demonstrated actions.
        information: [F, F], mean Fisher information of a step about the scaled weights, at the fit.
        num_steps: Demonstrated.
        num_episodes: Demonstrated.
        has_converged: Whether the optimiser found the maximum.
    """

    feature_names: tuple[str, ...]
    weights: Floats
    scaled_weights: Floats
    scale: Floats
    covariance: Floats
    low: Floats
    high: Floats
    confidence: float
    resampled: Floats
    identifiability: Identifiability
    is_constant: NDArray[np.bool_]
    is_weak: NDArray[np.bool_]
    flags: tuple[str, ...]
    log_likelihood: float
    information: Floats
    num_steps: int
    num_episodes: int
    has_converged: bool

    @property
    def direction(self) -> Floats:
        """The scaled weights at length 1.

        Near-unanimous demonstrators fix the direction and not the length.
        """
        norm = float(np.linalg.norm(self.scaled_weights))
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
        """Percentile limits [F] of `weights`, infinite for a single episode.

        Raises ConfigError without resamples.
        """
        if not len(self.resampled):
            raise ConfigError("no bootstrap was asked for: fit with num_resamples, such as 200")
        if self.num_episodes < 2:
            return np.full_like(self.weights, -np.inf), np.full_like(self.weights, np.inf)
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(self.resampled, [tail, 1 - tail], axis=0)
        return low / self.scale, high / self.scale

    def table(self) -> dict[str, dict[str, Any]]:
        """Each feature's weight, interval and standing, for a summary."""
        columns = zip(
            self.feature_names,
            self.weights,
            self.low,
            self.high,
            self.scaled_weights,
            self.is_trusted,
            strict=True,
        )
        return {
            name: {
                "weight": float(weight),
                "low": float(low),
                "high": float(high),
                "scaled_weight": float(scaled),
                "is_identified": bool(trusted),
            }
            for name, weight, low, high, scaled, trusted in columns
        }


class MaxEntIRL:
    """Linear rewards under which demonstrated actions are most probable (Ziebart 2010), exactly and convexly.

    The policy comes from soft backward induction over the model, masks and all. Features are
    standardised, a normal prior keeps weights finite, and L-BFGS finds the maximum in float64.
    Where the model is stochastic the concave dual is solved first and the likelihood starts from
    there.

    Args:
        model: What could be done; for `fit_many` it may differ by demonstrator.
        config: Settings.
    """

    def __init__(self, model: DecisionModel, config: MaxEntConfig | None = None) -> None:
        self.model = model
        self.config = MaxEntConfig() if config is None else config
        self.fitted: RewardFit | None = None

    def fit(self, demonstrations: Any) -> RewardFit:
        """Infer the weights of one demonstrator.

        Args:
            demonstrations: `Demonstrations`, or whatever `Demonstrations.of` takes, in the model's
                states.

        Raises:
            DemonstrationError: They do not fit the model.
            TrajectoryError: They are malformed.
            NonFiniteError: The likelihood is not finite, as with unscaled features of astronomical
                size.
        """
        checked = Demonstrations.of(demonstrations)
        scaling = _scaling(self.model, checked, self.config)
        prior = Prior.independent(self.model.num_features, self.config.prior_std)
        self.fitted = _fit(
            Likelihood(self.model, checked, scaling.scale), scaling, prior, self.config
        )
        return self.fitted

    def reward(self, states: Any, actions: Any) -> Floats:
        """The inferred reward of steps: states [N], actions [N] -> [N].

        Raises NotFittedError before a fit.
        """
        return self.rewards()[np.asarray(states), np.asarray(actions)]

    def rewards(self) -> Floats:
        """The inferred reward [S, A] of every step."""
        return self.model.features @ self._checked().weights

    def policy(self) -> SoftPolicy:
        """The soft-optimal policy under the inferred reward."""
        return soft_policy(self.model, self.rewards())

    def log_likelihood(self, demonstrations: Any) -> float:
        """Of demonstrated actions under the fit, in nats per step.

        Demonstrations that it has not seen, say.
        """
        checked = Demonstrations.of(demonstrations)
        fit = self._checked()
        return float(
            Likelihood(self.model, checked, fit.scale).log_probabilities(fit.scaled_weights).mean()
        )

    def _checked(self) -> RewardFit:
        if self.fitted is None:
            raise NotFittedError("nothing is fitted yet: call fit(demonstrations) first")
        return self.fitted


def fit_many(
    demonstrations: Mapping[str, Demonstrations],
    model: DecisionModel | Mapping[str, DecisionModel],
    config: MaxEntConfig | None = None,
    *,
    num_rounds: int = 0,
    show_progress: bool | None = None,
) -> dict[str, RewardFit]:
    """Fit many demonstrators on the same units, each by itself or as members of one population.

    Args:
        demonstrations: By name; `Demonstrations.by_demonstrator()` gives it.
        model: One for all, or one by name for demonstrators who faced different choices.
        config: Settings of all fits.
        num_rounds: Rounds of expectation maximisation in which the prior becomes the population's
            own mean and covariance (empirical Bayes); those who say little are drawn to the others.
            0 keeps the prior of `config`.
        show_progress: Show a bar; None shows it on a terminal.

    Raises:
        ConfigError: A demonstrator without a model, or models with different features.
    """
    config = MaxEntConfig() if config is None else config
    models = (
        dict.fromkeys(demonstrations, model) if isinstance(model, DecisionModel) else dict(model)
    )
    _check_models(demonstrations, models)
    scaling = _common_scaling(
        [_scaling(models[name], given, config) for name, given in demonstrations.items()]
    )
    likelihoods = {
        name: Likelihood(models[name], given, scaling.scale)
        for name, given in demonstrations.items()
    }
    prior = Prior.independent(len(scaling.scale), config.prior_std)
    with progress((num_rounds + 1) * len(models), "demonstrators", show_progress) as bar:
        for _ in range(num_rounds):
            prior = _population(likelihoods.values(), prior, config)
            bar.advance(len(likelihoods))
        fits = {}
        for name, likelihood in likelihoods.items():
            fits[name] = _fit(likelihood, scaling, prior, config)
            bar.advance()
    return fits


def most_probable_weights(
    likelihood: Likelihood, prior: Prior, config: MaxEntConfig
) -> tuple[Floats, bool]:
    """The maximum of the posterior in scaled weights [F], and whether the optimiser found it.

    Raises:
        NonFiniteError: The likelihood is not finite.
    """
    options = {
        "maxiter": config.max_iterations,
        "maxfun": 10 * config.max_iterations,
        # pairs that approximate the curvature: more cost little beside the passes that they save
        "maxcor": 50,
        "ftol": 1e-15,
        "gtol": config.tolerance,
    }
    start = prior.mean
    with np.errstate(over="ignore", invalid="ignore"):
        if not likelihood.model.is_deterministic:
            start = minimize(
                _negative(likelihood, likelihood.matching_and_gradient, prior), start, jac=True
            ).x
        objective = _negative(likelihood, likelihood.value_and_gradient, prior)
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    if not np.isfinite(found.x).all() or not np.isfinite(found.fun):
        raise NonFiniteError("the likelihood is not finite: standardise the features")
    # Where float64 allows no further progress the line search gives up; a flat gradient says that
    # this is the maximum.
    return found.x, bool(found.success or np.abs(found.jac).max() < max(1e-5, config.tolerance))


def _negative(likelihood: Likelihood, function: Objective, prior: Prior) -> Objective:
    """Minus the log posterior per step, for a minimiser."""
    size = likelihood.num_steps

    def negative(weights: Floats) -> tuple[float, Floats]:
        value, gradient = function(weights)
        log_prior, slope = prior.value_and_gradient(weights)
        return -(value + log_prior) / size, -(gradient + slope) / size

    return negative


def _scaling(model: DecisionModel, demonstrations: Demonstrations, config: MaxEntConfig) -> Scaling:
    states = demonstrations.states
    if (
        not config.standardise or states.max() >= model.num_states
    ):  # the likelihood will say what is wrong
        return Scaling.none(model.num_features)
    return Scaling.of(model, states)


def _common_scaling(scalings: list[Scaling]) -> Scaling:
    """Root mean square of units, over the demonstrators for whom a feature varies."""
    squares = np.stack(
        [np.where(scaling.is_constant, np.nan, scaling.scale**2) for scaling in scalings]
    )
    is_constant = np.isnan(squares).all(0)
    own = np.stack([scaling.scale**2 for scaling in scalings])
    known = np.where(np.isnan(squares), 0.0, squares).sum(0) / np.maximum(
        (~np.isnan(squares)).sum(0), 1
    )
    return Scaling(np.sqrt(np.where(is_constant, own.mean(0), known)), is_constant)


def _check_models(
    demonstrations: Mapping[str, Demonstrations], models: Mapping[str, DecisionModel]
) -> None:
    missing = set(demonstrations) - set(models)
    if missing or not demonstrations:
        raise ConfigError(
            f"no model for {sorted(missing)[:5]}" if missing else "nobody demonstrated anything"
        )
    if len({models[name].feature_names for name in demonstrations}) > 1:
        raise ConfigError(
            "the models have different features: give all demonstrators the same feature names"
        )


def _population(likelihoods: Iterable[Likelihood], prior: Prior, config: MaxEntConfig) -> Prior:
    weights, covariances = [], []
    for likelihood in likelihoods:
        weights.append(most_probable_weights(likelihood, prior, config)[0])
        covariances.append(laplace_covariance(likelihood.information(weights[-1]), prior))
    return population(weights, covariances, config.prior_std)


def _fit(likelihood: Likelihood, scaling: Scaling, prior: Prior, config: MaxEntConfig) -> RewardFit:
    model = likelihood.model
    weights, has_converged = most_probable_weights(likelihood, prior, config)
    evenly, information = (
        likelihood.information(np.zeros_like(weights)),
        likelihood.information(weights),
    )
    floor = _ROUNDING * float(np.square(likelihood.features).mean())
    identifiability = identify(evenly / likelihood.num_steps, model.feature_names, floor=floor)
    covariance = laplace_covariance(information, prior)
    low, high = laplace_limits(weights, covariance, config.confidence)
    is_weak = np.sqrt(np.diag(covariance)) > _WEAK * prior.std
    resampled = np.zeros((0, len(weights)))
    if config.num_resamples:
        resampled = bootstrap_weights(likelihood, weights, prior, config.num_resamples, config.seed)
    flags = _flags(likelihood, identifiability, scaling, is_weak, weights, config)
    return RewardFit(
        feature_names=model.feature_names,
        weights=weights / scaling.scale,
        scaled_weights=weights,
        scale=scaling.scale,
        covariance=covariance,
        low=low / scaling.scale,
        high=high / scaling.scale,
        confidence=config.confidence,
        resampled=resampled,
        identifiability=identifiability,
        is_constant=scaling.is_constant,
        is_weak=is_weak,
        flags=flags
        if has_converged
        else (*flags, "the optimiser stopped before the maximum: raise max_iterations"),
        log_likelihood=float(likelihood.log_probabilities(weights).sum()),
        information=information / likelihood.num_steps,
        num_steps=likelihood.num_steps,
        num_episodes=likelihood.num_episodes,
        has_converged=has_converged,
    )


def _flags(
    likelihood: Likelihood,
    identifiability: Identifiability,
    scaling: Scaling,
    is_weak: NDArray[np.bool_],
    weights: Floats,
    config: MaxEntConfig,
) -> tuple[str, ...]:
    names = np.array(likelihood.model.feature_names)
    flags = [f"constant: {name}" for name in names[scaling.is_constant]]
    flags += identifiability.sentences()
    flags += [
        f"weak: {name} rests on the prior"
        for name in names[is_weak & identifiability.is_identified]
    ]
    had_choice = likelihood.model.mask[likelihood.states].sum(1) > 1
    if not had_choice.any():
        flags.append("no choice: every demonstrated state allows a single action")
    elif len(np.unique(likelihood.actions[had_choice])) == 1:
        flags.append(
            "one class: always the same action, so that the prior alone limits the size of the weights"
        )
    elif _is_separated(likelihood, weights, had_choice, config):
        flags.append(
            "separated: some weights explain every action, so that the prior alone limits their size"
        )
    if config.num_resamples and likelihood.num_episodes < 2:
        flags.append(
            "one episode: resampling it tells nothing, so that the bootstrap has no limits"
        )
    return tuple(flags)


def _is_separated(
    likelihood: Likelihood, weights: Floats, had_choice: NDArray[np.bool_], config: MaxEntConfig
) -> bool:
    """Whether some weights make every demonstrated action the most probable one.

    Larger ones would fit ever better.
    """
    if _share_foreseen(likelihood, weights, had_choice) < _SUSPICIOUS:
        return False
    loose = Prior.independent(len(weights), 1e3 * config.prior_std)
    found = most_probable_weights(likelihood, loose, config)[0]
    # Where weights change nothing all actions are most probable together, and none is explained.
    gain = float(
        (
            likelihood.log_probabilities(found) - likelihood.log_probabilities(np.zeros_like(found))
        ).sum()
    )
    return gain > 1e-6 and _share_foreseen(likelihood, found, had_choice) == 1.0


def _share_foreseen(
    likelihood: Likelihood, weights: Floats, had_choice: NDArray[np.bool_]
) -> float:
    log_probabilities = likelihood.policy(weights).log_probabilities[
        likelihood.times, likelihood.states
    ]
    own = log_probabilities[np.arange(likelihood.num_steps), likelihood.actions]
    return float((own[had_choice] >= log_probabilities[had_choice].max(1)).mean())
