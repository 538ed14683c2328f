"""Maximum-entropy inverse reinforcement learning with linear rewards, exact in a tabular MDP."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from torch import Tensor

from wm_agents.errors import ConfigError, NonFiniteError
from wm_agents.irl.demonstrations import Demonstrations, content_hash
from wm_agents.irl.likelihood import Likelihood
from wm_agents.irl.mdp import Floats, SoftPolicy, TabularMDP, soft_value_iteration
from wm_agents.irl.uncertainty import (
    Identifiability,
    Prior,
    RewardFit,
    Scaling,
    bootstrap_weights,
    clustered_stds,
    fit_from_state,
    fit_to_state,
    identify,
    laplace_covariance,
    laplace_limits,
)
from wm_agents.training.checkpoints import Checkpoint
from wm_agents.training.config_checks import checked_seed, renamed_settings, require_integers
from wm_agents.training.fitted import Fitted, check_fitted
from wm_agents.training.packing import pack_state, unpack_state
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import config_from_json
from wm_agents.training.trainer import FitReport, Trainer
from wm_envs.data.progress import progress as progress_bar

Objective = Callable[[Floats], tuple[float, Floats]]
"""Weights [F] -> a value and its gradient [F]."""

_ROUNDING = 1e-20  # square of the relative error of sums of features, with some room
_FLAT = 1e-5  # slope per step at which a stopped line search counts as converged
_MIN_GAIN = 1e-6  # in log-likelihood, over zero weights, of weights that explain anything
_SUSPICIOUS = 0.95  # share of actions predicted by the fit from which on separation is looked into
_LOOSE = 1e3  # times the prior's standard deviation, for the prior that hardly holds weights back
_WEAK = 0.8
"""Posterior as a share of prior standard deviation from which on the data say little.

A third of the variance gone.
"""


@renamed_settings(standardise="standardize")
@dataclass(frozen=True)
class MaxEntConfig:
    """Settings of `MaxEntIRL`.

    Attributes:
        prior_std: Prior standard deviation of each weight on a standardized feature. Choices that
            always go one way would drive weights without bound; the prior stops them.
        standardize: Divide features by their standard deviation over allowed actions.
        max_iterations: Of L-BFGS.
        tolerance: Largest slope of the log posterior per step at which the maximum counts as found.
        confidence: Of the intervals, in (0, 1).
        num_resamples: Of the bootstrap by episode; 0 leaves it out.
        seed: Of the bootstrap.
    """

    prior_std: float = 5.0
    standardize: bool = True
    max_iterations: int = 1000
    tolerance: float = 1e-7
    confidence: float = 0.9
    num_resamples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.prior_std < np.inf:
            raise ConfigError(f"prior_std={self.prior_std}: give a positive number, such as 5")
        object.__setattr__(self, "seed", checked_seed(self.seed))
        require_integers(None, num_resamples=self.num_resamples, max_iterations=self.max_iterations)
        if not 0 < self.confidence < 1 or self.num_resamples < 0 or self.max_iterations < 1:
            raise ConfigError(
                "expected 0 < confidence < 1, num_resamples >= 0 and max_iterations >= 1, got "
                f"{self}"
            )


@dataclass(frozen=True)
class _MapEstimate:
    """The maximum of the posterior.

    Attributes:
        weights: [F], scaled.
        has_converged: Whether the optimizer reached it.
        loss: Minus the log posterior per step, up to a constant.
        num_iterations: Of L-BFGS.
    """

    weights: Floats
    has_converged: bool
    loss: float
    num_iterations: int


def map_estimate(likelihood: Likelihood, prior: Prior, config: MaxEntConfig) -> _MapEstimate:
    """The maximum of the posterior, by L-BFGS.

    Raises:
        NonFiniteError: The likelihood is not finite.
    """
    options = {
        "maxiter": config.max_iterations,
        "maxfun": 10 * config.max_iterations,
        # Pairs that approximate the curvature: more cost little beside the passes that they save.
        "maxcor": 50,
        "ftol": 1e-15,
        "gtol": config.tolerance,
    }
    start = prior.mean
    # A line search tries weights that overflow, and turns back.
    with np.errstate(over="ignore", invalid="ignore"):
        if not likelihood.mdp.is_deterministic:
            # The likelihood is not concave then: start where the concave dual has its maximum.
            dual = _negative(likelihood, likelihood.matching_and_gradient, prior)
            start = minimize(dual, start, jac=True).x
        objective = _negative(likelihood, likelihood.value_and_gradient, prior)
        result = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    if not np.isfinite(result.x).all() or not np.isfinite(result.fun):
        raise NonFiniteError("the likelihood is not finite: standardize the features")
    # Where float64 allows no further progress the line search gives up; a flat gradient says that
    # this is the maximum.
    is_flat = np.abs(result.jac).max() < max(_FLAT, config.tolerance)
    has_converged = bool(result.success or is_flat)
    return _MapEstimate(result.x, has_converged, float(result.fun), int(result.nit))


def _negative(likelihood: Likelihood, function: Objective, prior: Prior) -> Objective:
    """Minus the log posterior per step, for a minimizer."""
    size = likelihood.num_steps

    def negative(weights: Floats) -> tuple[float, Floats]:
        value, gradient = function(weights)
        log_prior, slope = prior.value_and_gradient(weights)
        return -(value + log_prior) / size, -(gradient + slope) / size

    return negative


class MaxEntIRL(Fitted, Savable):
    """Linear rewards under which demonstrated actions are most probable (Ziebart 2010).

    Exact, and convex where the MDP is deterministic. The policy comes from soft value iteration,
    masks and all. Features are standardized, a normal prior keeps weights finite, and L-BFGS finds
    the maximum in float64. Where the MDP is stochastic the concave dual is solved first and the
    likelihood starts from there.

    Args:
        mdp: What could be done; for `fit_many` it may differ by demonstrator.
        config: Settings.

    Attributes:
        fitted: What the last `fit` returned; None before one.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("reward", "rewards", "policy", "log_likelihood")
    kind = "maximum-entropy irl"
    is_cpu_only = True  # float64 in NumPy

    def __init__(self, mdp: TabularMDP, config: MaxEntConfig | None = None) -> None:
        self.mdp = mdp
        self.config = MaxEntConfig() if config is None else config
        self.fitted: RewardFit | None = None

    def fit(
        self,
        demonstrations: Any,
        config: MaxEntConfig | None = None,
        *,
        checkpoints: Any = None,
        progress: bool | None = False,
    ) -> RewardFit:
        """Infer the weights of one demonstrator.

        Args:
            demonstrations: `Demonstrations`, or whatever `Demonstrations.of` takes, in the MDP's
                states.
            config: Settings from now on; None keeps those that are.
            checkpoints: Where to keep the estimate, as `Trainer` takes it; the same call finds it
                there. The fit is one update, most often of less than a second.
            progress: Show a progress bar.

        Raises:
            DemonstrationError: They do not fit the MDP.
            TrajectoryError: They are malformed.
            NonFiniteError: The likelihood is not finite, as with unscaled features of astronomical
                size.
        """
        checked = Demonstrations.of(demonstrations)
        config = self.config if config is None else config
        scaling = _scaling(self.mdp, checked, config)
        prior = Prior.independent(self.mdp.num_features, config.prior_std)
        likelihood = Likelihood(self.mdp, checked, scaling.scale)
        run = _MapRun(likelihood, prior, config)
        report = Trainer(
            # One update: the maximum is found by one call, and a resumed fit finds it done.
            run,
            1,
            description="maximum-entropy IRL",
            checkpoints=checkpoints,
            progress=progress,
        ).train()
        assert run.estimate is not None
        self.config = config
        self.fitted = _reward_fit(likelihood, scaling, prior, run.estimate, config, report)
        self.is_fitted = True
        return self.fitted

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The MDP, so that a file is whole by itself, and the fit."""
        check_fitted(self)
        assert self.fitted is not None
        mdp = self.mdp
        table = mdp.transitions
        arrays = {
            "features": mdp.features,
            "mask": mdp.mask,
            "transitions": None if table is None else (table.data, table.indices, table.indptr),
        }
        tensors, structure = pack_state({"mdp": arrays, "fit": fit_to_state(self.fitted)})
        description = {
            "config": asdict(self.config),
            "feature_names": list(mdp.feature_names),
            "horizon": mdp.horizon,
            "structure": structure,
        }
        return tensors, description

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        metadata = stored.metadata
        state = unpack_state(metadata["structure"], stored.tensors)
        arrays = state["mdp"]
        table = arrays["transitions"]
        if table is not None:
            num_states, num_actions, _ = arrays["features"].shape
            table = sparse.csr_array(table, shape=(num_states * num_actions, num_states))
            table.check_format(full_check=True)  # compiled code believes the indices
        mdp = TabularMDP(
            arrays["features"],
            metadata["feature_names"],
            mask=arrays["mask"],
            transitions=table,
            horizon=metadata["horizon"],
        )
        irl = cls(mdp, config_from_json(MaxEntConfig, metadata["config"]))
        irl.fitted = fit_from_state(RewardFit, state["fit"], mdp.feature_names)
        irl.is_fitted = True
        return irl

    def reward(self, states: Any, actions: Any) -> Floats:
        """The inferred reward [N] of steps: states [N], actions [N].

        Raises:
            NotFittedError: Nothing is fitted yet.
        """
        return self.rewards()[np.asarray(states), np.asarray(actions)]

    def rewards(self) -> Floats:
        """The inferred reward [S, A] of every step."""
        assert self.fitted is not None
        return self.mdp.features @ self.fitted.weights

    def policy(self) -> SoftPolicy:
        """The soft-optimal policy under the inferred reward."""
        return soft_value_iteration(self.mdp, self.rewards())

    def log_likelihood(self, demonstrations: Any) -> float:
        """Of demonstrated actions under the fit, in nats per step.

        Demonstrations that it was not fitted to, say.
        """
        assert self.fitted is not None
        likelihood = Likelihood(self.mdp, Demonstrations.of(demonstrations), self.fitted.scale)
        return float(likelihood.log_probabilities(self.fitted.scaled_weights).mean())


class _MapRun:
    """`map_estimate` as one update of the training loop."""

    def __init__(self, likelihood: Likelihood, prior: Prior, config: MaxEntConfig) -> None:
        self.likelihood = likelihood
        self.prior = prior
        self.config = config
        self.estimate: _MapEstimate | None = None

    def step(self, update: int) -> Mapping[str, float]:  # noqa: ARG002
        """Find the maximum."""
        self.estimate = map_estimate(self.likelihood, self.prior, self.config)
        return {"loss": self.estimate.loss, "num_iterations": self.estimate.num_iterations}

    def state_dict(self) -> dict[str, Any]:
        """The estimate."""
        assert self.estimate is not None
        return asdict(self.estimate)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over an estimate."""
        self.estimate = _MapEstimate(**state)

    def fingerprint(self) -> dict[str, Any]:
        """Settings, and a hash of MDP and demonstrations."""
        given = self.likelihood
        mdp = given.mdp
        arrays = [given.features, mdp.mask, given.times, given.states, given.actions]
        if mdp.transitions is not None:
            table = mdp.transitions
            arrays += [table.indptr, table.indices, table.data]
        return {
            "kind": "maximum-entropy IRL",
            "config": asdict(self.config),
            "horizon": mdp.horizon,
            "problem": content_hash(*arrays),
        }


def fit_many(
    demonstrations: Mapping[str, Demonstrations],
    mdp: TabularMDP | Mapping[str, TabularMDP],
    config: MaxEntConfig | None = None,
    *,
    num_rounds: int = 0,
    show_progress: bool | None = None,
) -> dict[str, RewardFit]:
    """Fit many demonstrators on the same units, each by itself or as members of one population.

    Args:
        demonstrations: By name; `Demonstrations.by_demonstrator()` gives it.
        mdp: One for all, or one by name for demonstrators who faced different choices.
        config: Settings of all fits.
        num_rounds: Rounds of expectation maximization in which the prior becomes the population's
            own mean and covariance (empirical Bayes); those who say little are drawn to the others.
            0 keeps the prior of `config`.
        show_progress: A bar on a terminal, elsewhere lines; None: there only of long work.

    Raises:
        ConfigError: A demonstrator without an MDP, or MDPs with different features.
    """
    config = MaxEntConfig() if config is None else config
    mdps = dict.fromkeys(demonstrations, mdp) if isinstance(mdp, TabularMDP) else dict(mdp)
    _check_mdps(demonstrations, mdps)
    # One scale for all, so that weights can be compared.
    scaling = Scaling.common(
        [_scaling(mdps[name], given, config) for name, given in demonstrations.items()]
    )
    likelihoods = {
        name: Likelihood(mdps[name], given, scaling.scale) for name, given in demonstrations.items()
    }
    prior = Prior.independent(len(scaling.scale), config.prior_std)
    fits = {}
    with progress_bar((num_rounds + 1) * len(mdps), "demonstrators", show_progress) as bar:
        # Empirical Bayes: the population's spread is estimated from everybody's fit, round by
        # round.
        for _ in range(num_rounds):
            prior = _population_prior(likelihoods.values(), prior, config)
            bar.advance(len(likelihoods))
        for name, likelihood in likelihoods.items():
            estimate = map_estimate(likelihood, prior, config)
            fits[name] = _reward_fit(likelihood, scaling, prior, estimate, config)
            bar.advance()
    return fits


def _population_prior(
    likelihoods: Iterable[Likelihood], prior: Prior, config: MaxEntConfig
) -> Prior:
    weights = []
    covariances = []
    for likelihood in likelihoods:
        estimate = map_estimate(likelihood, prior, config).weights
        weights.append(estimate)
        covariances.append(laplace_covariance(likelihood.information(estimate), prior))
    return Prior.population(weights, covariances, config.prior_std)


def _scaling(mdp: TabularMDP, demonstrations: Demonstrations, config: MaxEntConfig) -> Scaling:
    states = demonstrations.states
    # Of a state that the MDP does not have the likelihood says what is wrong.
    if not config.standardize or states.max() >= mdp.num_states:
        return Scaling.none(mdp.num_features)
    return Scaling.of(mdp, states)


def _check_mdps(
    demonstrations: Mapping[str, Demonstrations], mdps: Mapping[str, TabularMDP]
) -> None:
    if not demonstrations:
        raise ConfigError("nobody demonstrated anything: give demonstrations by name")
    missing = set(demonstrations) - set(mdps)
    if missing:
        raise ConfigError(f"no model for {sorted(missing)[:5]}: give one each, or one for all")
    if len({mdps[name].feature_names for name in demonstrations}) > 1:
        raise ConfigError(
            "the models have different features: give all demonstrators the same feature names"
        )


def _reward_fit(
    likelihood: Likelihood,
    scaling: Scaling,
    prior: Prior,
    estimate: _MapEstimate,
    config: MaxEntConfig,
    report: FitReport | None = None,
) -> RewardFit:
    """The estimate with its intervals, identifiability and flags."""
    weights = estimate.weights
    feature_names = likelihood.mdp.feature_names
    # At zero weights, where choices are even: what the features can tell at all.
    evenly = likelihood.information(np.zeros_like(weights)) / likelihood.num_steps
    information = likelihood.information(weights)
    # Below it a direction is rounding and no information.
    floor = _ROUNDING * float(np.square(likelihood.features).mean())
    identifiability = identify(evenly, feature_names, floor=floor)
    covariance = laplace_covariance(information, prior)
    low, high = laplace_limits(weights, covariance, config.confidence)
    # The data narrowed the prior by less than a fifth.
    is_weak = np.sqrt(np.diag(covariance)) > _WEAK * prior.std
    clustered = clustered_stds(likelihood, weights, prior, information)
    resampled = resampled_stds = np.zeros((0, len(weights)))
    if config.num_resamples:
        resampled, resampled_stds = bootstrap_weights(
            likelihood, weights, prior, config.num_resamples, config.seed
        )
    flags = _feature_flags(feature_names, identifiability, scaling, is_weak)
    flags += _choice_flags(likelihood, weights, config)
    if not estimate.has_converged:
        flags.append("the optimizer stopped before the maximum: raise max_iterations")
    log_likelihood = float(likelihood.log_probabilities(weights).sum())
    return RewardFit(
        num_updates=1,
        best_update=1,
        best_loss=estimate.loss,
        is_held_out=False,
        history=[] if report is None else report.history,
        seconds=0.0 if report is None else report.seconds,
        metrics={"log_likelihood": log_likelihood, "num_iterations": estimate.num_iterations},
        feature_names=feature_names,
        weights=weights / scaling.scale,
        scaled_weights=weights,
        scale=scaling.scale,
        covariance=covariance,
        low=low / scaling.scale,
        high=high / scaling.scale,
        confidence=config.confidence,
        clustered_stds=clustered,
        resampled=resampled,
        resampled_stds=resampled_stds,
        identifiability=identifiability,
        is_constant=scaling.is_constant,
        is_weak=is_weak,
        flags=tuple(flags),
        log_likelihood=log_likelihood,
        # A step, so that it can be compared between demonstrators.
        information=information / likelihood.num_steps,
        num_steps=likelihood.num_steps,
        num_episodes=likelihood.num_episodes,
        has_converged=estimate.has_converged,
    )


def _feature_flags(
    feature_names: tuple[str, ...],
    identifiability: Identifiability,
    scaling: Scaling,
    is_weak: NDArray[np.bool_],
) -> list[str]:
    """What the features leave open, whatever was chosen."""
    names = np.array(feature_names)
    flags = [f"constant: {name}" for name in names[scaling.is_constant]]
    flags += identifiability.sentences()
    weak = names[is_weak & identifiability.is_identified]
    flags += [f"weak: {name} rests on the prior" for name in weak]
    return flags


def _choice_flags(likelihood: Likelihood, weights: Floats, config: MaxEntConfig) -> list[str]:
    """What the demonstrated actions leave open."""
    flags = []
    if not likelihood.had_choice.any():
        flags.append("no choice: every demonstrated state allows a single action")
    elif len(np.unique(likelihood.actions[likelihood.had_choice])) == 1:
        # The prior alone keeps such weights finite.
        flags.append(
            "one class: always the same action, so that the prior alone limits the size of the "
            "weights"
        )
    elif _is_separated(likelihood, weights, config):
        flags.append(
            "separated: some weights explain every action, so that the prior alone limits their "
            "size"
        )
    if config.num_resamples and likelihood.num_episodes < 2:
        flags.append(
            "one episode: resampling it tells nothing, so that the bootstrap has no limits"
        )
    return flags


def _is_separated(likelihood: Likelihood, weights: Floats, config: MaxEntConfig) -> bool:
    """Whether some weights make every demonstrated action the most probable one.

    Larger ones would fit ever better.
    """
    # A cheap look first: separation needs nearly every action to be predicted.
    if likelihood.predicted_share(weights) < _SUSPICIOUS:
        return False
    loose_prior = Prior.independent(len(weights), _LOOSE * config.prior_std)
    loose = map_estimate(likelihood, loose_prior, config).weights
    # Where weights change nothing all actions are most probable together, and none is explained.
    before = likelihood.log_probabilities(np.zeros_like(loose))
    gain = float((likelihood.log_probabilities(loose) - before).sum())
    return gain > _MIN_GAIN and likelihood.predicted_share(loose) == 1.0
