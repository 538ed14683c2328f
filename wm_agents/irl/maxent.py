"""Maximum-entropy inverse reinforcement learning with linear rewards, exact in a finite model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from wm_agents.errors import ConfigError, NonFiniteError
from wm_agents.irl.decision_model import DecisionModel, Floats
from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.identifiability import Identifiability, identify
from wm_agents.irl.likelihood import Likelihood
from wm_agents.irl.soft_induction import SoftPolicy, soft_policy
from wm_agents.irl.standardisation import Scaling
from wm_agents.irl.uncertainty import bootstrap_weights, laplace_covariance, laplace_limits
from wm_agents.training.progress import progress

_WEAK = 0.8
"""Posterior as a share of prior standard deviation from which on the data say little: a third of the variance gone."""


@dataclass(frozen=True)
class MaxEntConfig:
    """Settings of `MaxEntIRL`.

    Attributes:
        prior_std: Prior standard deviation of each weight on a standardised feature. Choices that always go one way
            would drive weights without bound; the prior stops them.
        standardise: Divide features by their standard deviation over allowed actions.
        max_iterations: Of L-BFGS.
        confidence: Of the intervals, in (0, 1).
        num_resamples: Of the bootstrap by episode; 0 leaves it out.
        seed: Of the bootstrap.
    """

    prior_std: float = 5.0
    standardise: bool = True
    max_iterations: int = 1000
    confidence: float = 0.9
    num_resamples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.prior_std < np.inf:
            raise ConfigError(f"prior_std={self.prior_std}: give a positive number, such as 5")
        if not 0 < self.confidence < 1 or self.num_resamples < 0 or self.max_iterations < 1:
            raise ConfigError(f"expected 0 < confidence < 1, num_resamples >= 0 and max_iterations >= 1, got {self}")


@dataclass(frozen=True)
class RewardFit:
    """Weights inferred from one demonstrator, with what can be said about them.

    Attributes:
        feature_names: F names.
        weights: [F], per unit of each feature.
        scaled_weights: [F], per standard deviation of each feature: those that can be compared with each other.
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
    num_steps: int
    num_episodes: int
    has_converged: bool

    @property
    def direction(self) -> Floats:
        """The scaled weights at length 1: near-unanimous demonstrators fix the direction and not the length."""
        norm = float(np.linalg.norm(self.scaled_weights))
        return self.scaled_weights / norm if norm > 0 else self.scaled_weights

    @property
    def is_trusted(self) -> NDArray[np.bool_]:
        """[F]: identified, and not a mere repetition of the prior."""
        return self.identifiability.is_identified & ~self.is_weak

    def ranked(self) -> list[tuple[str, float]]:
        """Features by the size of their scaled weights, without those that cannot be trusted."""
        order = np.argsort(-np.abs(self.scaled_weights))
        return [(self.feature_names[i], float(self.scaled_weights[i])) for i in order if self.is_trusted[i]]

    def bootstrap_limits(self) -> tuple[Floats, Floats]:
        """Percentile limits [F] of `weights`; raises ConfigError without resamples."""
        if not len(self.resampled):
            raise ConfigError("no bootstrap was asked for: fit with num_resamples, such as 200")
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(self.resampled, [tail, 1 - tail], axis=0)
        return low / self.scale, high / self.scale

    def table(self) -> dict[str, dict[str, Any]]:
        """Each feature's weight, interval and standing, for a summary."""
        columns = zip(
            self.feature_names, self.weights, self.low, self.high, self.scaled_weights, self.is_trusted, strict=True
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

    The policy comes from soft backward induction over the model, masks and all. Features are standardised, a normal
    prior keeps weights finite, and L-BFGS finds the maximum in float64. Where the model is stochastic the concave dual
    is solved first and the likelihood starts from there.

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
            demonstrations: `Demonstrations`, or whatever `Demonstrations.of` takes, in the model's states.

        Raises:
            DemonstrationError: They do not fit the model.
            TrajectoryError: They are malformed.
            NonFiniteError: The likelihood is not finite, as with unscaled features of astronomical size.
        """
        checked = Demonstrations.of(demonstrations)
        scaling = Scaling.of(self.model, checked.states) if self.config.standardise else self._unscaled()
        likelihood = Likelihood(self.model, checked, scaling.scale)
        weights, has_converged = most_probable_weights(likelihood, self.config)
        self.fitted = _report(likelihood, weights, scaling, self.config, has_converged)
        return self.fitted

    def reward(self, states: Any, actions: Any) -> Floats:
        """The inferred reward of steps: states [N], actions [N] -> [N]; raises ConfigError before a fit."""
        return self.rewards()[np.asarray(states), np.asarray(actions)]

    def rewards(self) -> Floats:
        """The inferred reward [S, A] of every step."""
        return self.model.features @ self._fit().weights

    def policy(self) -> SoftPolicy:
        """The soft-optimal policy under the inferred reward."""
        return soft_policy(self.model, self.rewards())

    def log_likelihood(self, demonstrations: Any) -> float:
        """Of demonstrated actions under the fit, in nats per step; demonstrations that it has not seen, say."""
        checked = Demonstrations.of(demonstrations)
        fit = self._fit()
        return float(Likelihood(self.model, checked, fit.scale).log_probabilities(fit.scaled_weights).mean())

    def _fit(self) -> RewardFit:
        if self.fitted is None:
            raise ConfigError("nothing is fitted yet: call fit(demonstrations) first")
        return self.fitted

    def _unscaled(self) -> Scaling:
        return Scaling.none(self.model.num_features)


def fit_many(
    demonstrations: Mapping[str, Demonstrations],
    model: DecisionModel | Mapping[str, DecisionModel],
    config: MaxEntConfig | None = None,
    *,
    show_progress: bool | None = None,
) -> dict[str, RewardFit]:
    """Fit each demonstrator by itself, all on the same units.

    Args:
        demonstrations: By name; `Demonstrations.by_demonstrator()` gives it.
        model: One for all, or one by name for demonstrators who faced different choices.
        config: Settings of all fits.
        show_progress: Show a bar; None shows it on a terminal.

    Raises:
        ConfigError: A demonstrator without a model.
    """
    models = dict.fromkeys(demonstrations, model) if isinstance(model, DecisionModel) else dict(model)
    missing = set(demonstrations) - set(models)
    if missing or not demonstrations:
        raise ConfigError(f"no model for {sorted(missing)[:5]}" if missing else "nobody demonstrated anything")
    fits = {}
    with progress(len(demonstrations), "demonstrators", show_progress) as bar:
        for name, given in demonstrations.items():
            fits[name] = MaxEntIRL(models[name], config).fit(given)
            bar.advance()
    return fits


def most_probable_weights(likelihood: Likelihood, config: MaxEntConfig) -> tuple[Floats, bool]:
    """The maximum of the posterior in scaled weights [F], and whether the optimiser found it."""
    precision, size = config.prior_std**-2, max(likelihood.num_steps, 1)

    def objective(function: Any) -> Any:
        def negative(weights: Floats) -> tuple[float, Floats]:
            value, gradient = function(weights)
            penalty = 0.5 * precision * float(weights @ weights)
            return (penalty - value) / size, (precision * weights - gradient) / size

        return negative

    options = {"maxiter": config.max_iterations, "maxfun": 10 * config.max_iterations, "ftol": 1e-14, "gtol": 1e-7}
    start = np.zeros(likelihood.features.shape[2])
    if not likelihood.model.is_deterministic:
        with np.errstate(over="ignore", invalid="ignore"):
            start = minimize(objective(likelihood.matching_and_gradient), start, jac=True, method="L-BFGS-B").x
    with np.errstate(over="ignore", invalid="ignore"):
        found = minimize(
            objective(likelihood.value_and_gradient), start, jac=True, method="L-BFGS-B", options=options
        )
    if not np.isfinite(found.x).all() or not np.isfinite(found.fun):
        raise NonFiniteError("the likelihood is not finite: standardise the features")
    return found.x, bool(found.success)


def _report(
    likelihood: Likelihood, weights: Floats, scaling: Scaling, config: MaxEntConfig, has_converged: bool
) -> RewardFit:
    model, precision = likelihood.model, config.prior_std**-2
    evenly = likelihood.information(np.zeros_like(weights)) / likelihood.num_steps
    identifiability = identify(evenly, model.feature_names)
    covariance = laplace_covariance(likelihood, weights, precision)
    low, high = laplace_limits(weights, covariance, config.confidence)
    is_weak = np.sqrt(np.diag(covariance)) > _WEAK * config.prior_std
    log_probabilities = likelihood.log_probabilities(weights)
    resampled = np.zeros((0, len(weights)))
    if config.num_resamples:
        resampled = bootstrap_weights(likelihood, weights, precision, config.num_resamples, config.seed)
    flags = _flags(likelihood, identifiability, scaling, is_weak, weights)
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
        flags=flags if has_converged else (*flags, "the optimiser stopped before the maximum: raise max_iterations"),
        log_likelihood=float(log_probabilities.sum()),
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
) -> tuple[str, ...]:
    names = np.array(likelihood.model.feature_names)
    flags = [f"constant: {name}" for name in names[scaling.is_constant]]
    flags += identifiability.sentences()
    flags += [f"weak: {name} rests on the prior" for name in names[is_weak & identifiability.is_identified]]
    had_choice = likelihood.model.mask[likelihood.states].sum(1) > 1
    if not had_choice.any():
        flags.append("no choice: every demonstrated state allows a single action")
        return tuple(flags)
    if len(np.unique(likelihood.actions[had_choice])) == 1:
        flags.append("one class: always the same action, so that the prior alone limits the size of the weights")
    elif _is_separated(likelihood, weights, had_choice):
        flags.append("separated: some weights explain every action, so that the prior alone limits their size")
    return tuple(flags)


def _is_separated(likelihood: Likelihood, weights: Floats, had_choice: NDArray[np.bool_]) -> bool:
    """Whether each demonstrated action is the most probable one, so that larger weights would fit ever better."""
    log_probabilities = likelihood.policy(weights).log_probabilities[likelihood.times, likelihood.states]
    own = log_probabilities[np.arange(likelihood.num_steps), likelihood.actions]
    return bool((own[had_choice] >= log_probabilities[had_choice].max(1)).all())
