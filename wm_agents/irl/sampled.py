"""Maximum-entropy IRL where states cannot be counted: the partition function from sampled futures.

A stretch of H demonstrated steps with actions a and step features f has probability exp(w . sum f)
/ Z(w). Z is an integral over all action sequences from the same start, estimated by importance
sampling with sequences drawn around the demonstrated one and imagined by a world model or the
oracle (Boularias et al. 2011, equation 9; local sampling as in Kalakrishnan et al. 2013; the
demonstration joins its samples as in Finn et al. 2016):

    Z(w) ~ mean over samples m of exp(w . sum f_m) / q(a_m),   q a normal distribution around the
    demonstrated actions.

Z is itself an estimate. The logarithm of a mean of M samples is too low by half their relative
variance over M: the weights are corrected for that once, and intervals hold the variance and the
bias that sampling leaves (delta method, Owen 2013, "Monte Carlo theory, methods and examples",
section 9.2). Samples closer to the demonstrations than the futures that count make both look small;
they are drawn again from a wider distribution (adaptive importance sampling, Cappé et al. 2004).
The effective sample size says how much of the samples an estimate rests on. A stretch is judged by
what it earns within it: its length has to cover what the demonstrator looks ahead to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from wm_agents.errors import ConfigError, ConvergenceError, DemonstrationError, NonFiniteError
from wm_agents.irl.decision_model import Floats
from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.identifiability import Identifiability, identify
from wm_agents.irl.reward_network import RewardNetwork
from wm_agents.irl.uncertainty import laplace_limits
from wm_agents.protocols import WorldModel
from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import descend
from wm_agents.training.fitted import Fitted, check_fitted

_MAX_WIDENINGS = 4
_WIDE_ENOUGH = (
    1.1  # standard deviations of the noise: the futures that count lie where samples were drawn
)
_TOO_NARROW = 1.25

Futures = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[Any]]
"""(numbers of demonstrated steps [B] to start from, actions [B, H, A]) -> observations [B, H + 1, O]."""

StepFeatures = Callable[[NDArray[Any], NDArray[np.float32]], Floats]
"""(observations [B, H + 1, O], actions [B, H, A]) -> features [B, H, F]."""


@dataclass(frozen=True)
class SampledConfig:
    """Settings of `SampledMaxEntIRL`.

    Attributes:
        horizon: Steps of a stretch, H.
        stride: Steps between the starts of stretches; at least the horizon keeps them independent.
        num_samples: Futures for each stretch.
        noise_std: Standard deviation of sampled around demonstrated actions, in the actions' units:
            one for all or one for each. Bounds are for the futures to apply, as the environment
            does. `fit` widens it where the futures that count lie farther out, unless too few
            effective samples remain.
        hold: Steps over which the noise stays the same: the fewer numbers are drawn, the more
            samples count.
        prior_std: Prior standard deviation of a weight on a feature whose sum has standard
            deviation 1 among samples.
        confidence: Of the intervals.
        min_effective_samples: Effective sample size below which a fit is flagged. With fewer than
            about 30 intervals of 90% were seen to hold the true weight less often than that.
        seed: Of the samples.
    """

    horizon: int = 20
    stride: int = 20
    num_samples: int = 128
    noise_std: float | tuple[float, ...] = 0.3
    hold: int = 1
    prior_std: float = 10.0
    confidence: float = 0.9
    min_effective_samples: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_integers(None, horizon=self.horizon, stride=self.stride)
        require_integers(None, num_samples=self.num_samples, hold=self.hold)
        counts = min(self.horizon, self.stride, self.num_samples, self.hold)
        if counts < 1 or not np.all(np.asarray(self.noise_std) > 0) or self.prior_std <= 0:
            raise ConfigError(
                f"horizon, stride, num_samples, noise_std, hold and prior_std are positive, got {self}"
            )
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence lies in (0, 1), got {self.confidence}")


@dataclass(frozen=True)
class SampledFit:
    """Weights inferred from K stretches.

    Attributes:
        feature_names: F names.
        weights: [F], per unit of each feature and step.
        scaled_weights: [F], per standard deviation of each feature's sum among samples.
        scale: [F], these standard deviations.
        covariance: [F, F] of the scaled weights: of the demonstrations (Laplace) and of the
            samples.
        sampling_covariance: [F, F], the part of the samples: what other samples would have changed.
        noise_std: [A], of the samples that were used, see `SampledConfig`.
        low: [F], lower limits of `weights`.
        high: [F], upper limits.
        identifiability: What the samples can tell apart.
        effective_samples: [K], effective sample size of each stretch's partition function at the
            fit.
        flags: Warnings in words.
        log_likelihood: Per stretch, of the demonstration among its samples.
    """

    feature_names: tuple[str, ...]
    weights: Floats
    scaled_weights: Floats
    scale: Floats
    covariance: Floats
    sampling_covariance: Floats
    noise_std: Floats
    low: Floats
    high: Floats
    identifiability: Identifiability
    effective_samples: Floats
    flags: tuple[str, ...]
    log_likelihood: float


@dataclass(frozen=True)
class Samples:
    """K stretches with M + 1 futures each; the first is the demonstration.

    Attributes:
        observations: [K, M + 1, H + 1, O].
        actions: [K, M + 1, H, A].
        log_proposal: [K, M + 1], log density under the proposal, up to a constant.
    """

    observations: NDArray[Any]
    actions: NDArray[np.float32]
    log_proposal: Floats


@dataclass(frozen=True)
class _Estimate:
    """The most probable weights given one set of samples.

    Attributes:
        sums: [K, M + 1, F], scaled sums of features.
        offsets: [K, M + 1], log densities of the proposal.
        unit: [F], what the sums were divided by.
        is_constant: [F] bool, features that never vary.
        weights: [F], scaled.
    """

    sums: Floats
    offsets: Floats
    unit: Floats
    is_constant: NDArray[np.bool_]
    weights: Floats

    @cached_property
    def chances(self) -> Floats:
        """Share [K, M] of each drawn future in its partition function.

        The demonstration was not drawn.
        """
        return _chances(self.sums[:, 1:], self.offsets[:, 1:], self.weights)

    @property
    def effective(self) -> Floats:
        """(sum of weights)^2 / sum of squares [K], of the drawn futures."""
        effective: Floats = 1 / (self.chances**2).sum(1)
        return effective

    @cached_property
    def _expected(self) -> Floats:
        """Features [K, F] that the drawn futures lead to expect."""
        return np.einsum("km,kmf->kf", self.chances, self.sums[:, 1:])

    def gradient(self) -> Floats:
        """Of the log-likelihood [F], with partition functions of the drawn futures alone."""
        gradient: Floats = (self.sums[:, 0] - self._expected).sum(0)
        return gradient

    def sampling_error(self) -> tuple[Floats, Floats]:
        """What the gradient lacks by sampling, on average [F], and its covariance [F, F] (delta method).

        Expected features are a ratio of means over samples, with bias -sum c^2 (s - E s) and
        covariance sum c^2 (s - E s)(s - E s)' for shares c and sums s of M samples.
        """
        centred = self.sums[:, 1:] - self._expected[:, None]
        squares = self.chances**2
        bias = -np.einsum("km,kmf->f", squares, centred)
        weighted = (centred * np.sqrt(squares)[..., None]).reshape(-1, centred.shape[2])
        return bias, weighted.T @ weighted


class SampledMaxEntIRL(Fitted):
    """Linear rewards, or a reward network, from demonstrations in continuous worlds.

    Args:
        futures: Imagines what actions lead to from a demonstrated step: `model_futures(world_model,
            demonstrations)`, or a function that asks the true dynamics.
        features: Features of each step, see `StepFeatures`.
        feature_names: F names.
        config: Settings.
    """

    def __init__(
        self,
        futures: Futures,
        features: StepFeatures,
        feature_names: Sequence[str],
        config: SampledConfig | None = None,
    ) -> None:
        self.futures, self.features, self.feature_names = futures, features, tuple(feature_names)
        self.config = SampledConfig() if config is None else config
        self._fitted: SampledFit | None = None

    @property
    def fitted(self) -> SampledFit:
        """What the last `fit` found; raises NotFittedError before one."""
        check_fitted(self)
        assert self._fitted is not None
        return self._fitted

    def sample(self, demonstrations: Any) -> Samples:
        """Futures around each stretch of the demonstrations.

        Raises:
            DemonstrationError: Discrete actions, or no episode as long as the horizon.
            NonFiniteError: The model imagines something that is not finite.
        """
        return self._sample(demonstrations, 1.0)

    def _sample(self, demonstrations: Any, widening: Floats | float) -> Samples:
        """Samples whose noise is `widening` [A] times that of the settings."""
        config, given = self.config, Demonstrations.of(demonstrations)
        data = given.trajectories
        if data.actions.ndim != 2:
            raise DemonstrationError(
                "sampling needs Box actions [S, A]: for Discrete ones use MaxEntIRL"
            )
        if int(data.lengths.max()) < config.horizon:
            raise DemonstrationError(f"no episode has {config.horizon} steps: shorten the horizon")
        generator = np.random.default_rng(config.seed)
        starts = data.window_starts(config.horizon)
        starts = starts[given.times[starts] % config.stride == 0]
        steps = starts[:, None] + np.arange(config.horizon)
        noise_std = np.asarray(config.noise_std) * widening
        centre = data.actions[steps].astype(np.float64)
        actions, log_proposal = held_noise(
            centre, config.num_samples, noise_std, config.hold, generator
        )
        rows = np.repeat(starts, config.num_samples + 1)
        imagined = self.futures(rows, actions.reshape(len(rows), config.horizon, -1))
        observations = np.asarray(imagined).reshape(
            len(starts), config.num_samples + 1, config.horizon + 1, -1
        )
        if not np.isfinite(observations).all():
            raise NonFiniteError(
                "the model imagines observations that are not finite: sample closer (noise_std)"
            )
        return Samples(observations, actions, log_proposal)

    def fit(self, demonstrations: Any) -> SampledFit:
        """Infer linear weights; raises as `sample` does, and ConvergenceError."""
        widening = np.ones(Demonstrations.of(demonstrations).trajectories.actions.shape[-1])
        estimate, reach = self._estimate(demonstrations, widening)
        for _ in range(_MAX_WIDENINGS):
            if (reach < _WIDE_ENOUGH).all():
                break
            wider, wider_reach = self._estimate(demonstrations, widening * np.maximum(reach, 1.0))
            # Narrow samples are alike, so that all of them count: few effective samples tell
            # against a width, many do not tell for one.
            size, wider_size = np.median(estimate.effective), np.median(wider.effective)
            if wider_size < min(size, self.config.min_effective_samples):
                break
            widening = widening * np.maximum(reach, 1.0)
            estimate, reach = wider, wider_reach
        self._fitted = self._summarize(estimate, widening, reach)
        self.is_fitted = True
        return self._fitted

    def _estimate(self, demonstrations: Any, widening: Floats) -> tuple["_Estimate", Floats]:
        """The fit to samples of this width, and how far out the futures that count lie [A], in standard deviations."""
        samples = self._sample(demonstrations, widening)
        sums = self._sums(samples)
        scale = (sums - sums.mean(1, keepdims=True)).std((0, 1))
        is_constant = scale < 1e-10 * np.maximum(np.abs(sums).max((0, 1)), 1e-300)
        unit = np.where(is_constant, 1.0, scale)
        scaled = sums / unit
        precision = self.config.prior_std**-2
        weights = _most_probable(scaled, samples.log_proposal, precision)
        estimate = _Estimate(scaled, samples.log_proposal, unit, is_constant, weights)
        noise = (samples.actions[:, 1:] - samples.actions[:, :1]) / (
            np.asarray(self.config.noise_std) * widening
        )
        squares = np.einsum("km,kmha->ka", estimate.chances, noise.astype(np.float64) ** 2)
        return estimate, np.sqrt(squares.mean(0) / self.config.horizon)

    def _summarize(self, estimate: "_Estimate", widening: Floats, reach: Floats) -> SampledFit:
        config, precision = self.config, self.config.prior_std**-2 * np.eye(len(estimate.weights))
        sums, offsets = estimate.sums, estimate.offsets
        information = _information(sums, offsets, estimate.weights)
        laplace = np.asarray(np.linalg.inv(information + precision), np.float64)
        bias, variance = estimate.sampling_error()
        sampling = laplace @ variance @ laplace
        gradient = estimate.gradient() - precision @ estimate.weights
        shift = laplace @ (gradient + bias)
        # The correction is the first term of a series: beyond the error bars it tells a bias, but
        # not its size.
        size = max(float(shift @ np.linalg.solve(laplace + sampling, shift)), 0.0) ** 0.5
        weights = estimate.weights + shift / max(size, 1.0)
        sampling = sampling + np.outer(shift, shift)
        covariance = laplace + sampling
        low, high = laplace_limits(weights, covariance, config.confidence)
        evenly = _information(sums, offsets, np.zeros_like(weights)) / len(sums)
        identifiability = identify(
            evenly, self.feature_names, floor=1e-20 * float(np.square(sums).mean())
        )
        flags = self._flags(identifiability, estimate.is_constant, estimate.effective)
        if (reach > _TOO_NARROW).any():
            flags += (
                f"narrow samples: the futures that count lie {reach.max():.1f} times as far from the demonstrations as "
                "the samples; raise noise_std, and num_samples with it",
            )
        if size > 1.0:
            flags += (
                "biased: the samples move the weights by more than their interval; raise num_samples",
            )
        return SampledFit(
            feature_names=self.feature_names,
            weights=weights / estimate.unit,
            scaled_weights=weights,
            scale=estimate.unit,
            covariance=covariance,
            sampling_covariance=sampling,
            noise_std=np.asarray(config.noise_std) * widening,
            low=low / estimate.unit,
            high=high / estimate.unit,
            identifiability=identifiability,
            effective_samples=estimate.effective,
            flags=flags,
            log_likelihood=_log_likelihood(sums, offsets, weights) / len(sums),
        )

    def fit_network(
        self,
        demonstrations: Any,
        network: RewardNetwork,
        *,
        num_updates: int = 500,
        learning_rate: float = 1e-3,
    ) -> list[float]:
        """Infer a reward network on raw observations by the same likelihood; gives the loss of each update.

        Raises:
            NonFiniteError: A loss or gradient is not finite: nothing was updated with it.
        """
        samples = self.sample(demonstrations)
        shape = samples.actions.shape[:3]
        observations = torch.as_tensor(
            samples.observations[:, :, :-1], dtype=torch.float32
        ).flatten(0, 2)
        actions = torch.as_tensor(samples.actions).flatten(0, 2)
        offsets = torch.as_tensor(samples.log_proposal)
        network.standardise(observations)
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-2)
        losses = []
        for update in range(num_updates):
            sums = network(observations, actions).reshape(shape).sum(2).double()
            loss = -torch.log_softmax(sums - offsets, 1)[:, 0].mean()
            place = f"at update {update} of the reward network"
            losses.append(descend(loss, optimizer, network.named_parameters(), place))
        return losses

    def _sums(self, samples: Samples) -> Floats:
        """Sums of features over each future [K, M + 1, F]."""
        count, each, horizon = samples.actions.shape[:3]
        values = self.features(
            samples.observations.reshape(count * each, horizon + 1, -1),
            samples.actions.reshape(count * each, horizon, -1),
        )
        sums = np.asarray(values, np.float64).sum(1).reshape(count, each, -1)
        if sums.shape[2] != len(self.feature_names) or not np.isfinite(sums).all():
            raise ConfigError(
                f"expected {len(self.feature_names)} finite features, got {sums.shape[2]}"
            )
        return sums

    def _flags(
        self, identifiability: Identifiability, is_constant: NDArray[np.bool_], effective: Floats
    ) -> tuple[str, ...]:
        flags = [f"constant: {self.feature_names[i]}" for i in np.flatnonzero(is_constant)]
        flags += identifiability.sentences()
        middle = float(np.median(effective))
        if middle < self.config.min_effective_samples:
            flags.append(
                f"few effective samples: {middle:.1f} of {self.config.num_samples}; draw more, or hold their noise "
                "longer"
            )
        return tuple(flags)


def held_noise(
    centre: Floats,
    num_samples: int,
    noise_std: float | Sequence[float] | Floats,
    hold: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float32], Floats]:
    """Actions around others, with noise that changes every `hold` steps; the first of each is without noise.

    Args:
        centre: [K, H, A].
        num_samples: M.
        noise_std: One for all actions or one for each.
        hold: Steps.
        generator: Draws the noise.

    Returns:
        Actions [K, M + 1, H, A], and the logarithm of the density of their noise up to a constant
        [K, M + 1].
    """
    num, horizon, size = centre.shape
    white = generator.normal(size=(num, num_samples + 1, -(-horizon // hold), size))
    white[:, 0] = 0
    noise = np.repeat(white, hold, 2)[:, :, :horizon] * np.asarray(noise_std)
    return (centre[:, None] + noise).astype(np.float32), -0.5 * (white**2).sum((2, 3))


def model_futures(model: WorldModel, demonstrations: Any) -> Futures:
    """Futures imagined by a world model that starts from observations."""
    data = Demonstrations.of(demonstrations).trajectories
    seen = torch.from_numpy(data.observations[data.observation_of_step])

    @torch.no_grad()
    def futures(steps: NDArray[np.int64], actions: NDArray[np.float32]) -> NDArray[Any]:
        imagined: Tensor = model.rollout(seen[steps], torch.from_numpy(actions)).observations
        return imagined.numpy()

    return futures


def _most_probable(sums: Floats, offsets: Floats, precision: float) -> Floats:
    def negative(weights: Floats) -> tuple[float, Floats]:
        chances = _chances(sums, offsets, weights)
        value = _log_likelihood(sums, offsets, weights) - 0.5 * precision * float(weights @ weights)
        gradient = (sums[:, 0] - np.einsum("km,kmf->kf", chances, sums)).sum(
            0
        ) - precision * weights
        return -value / len(sums), -gradient / len(sums)

    options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-8}
    found = minimize(
        negative, np.zeros(sums.shape[2]), jac=True, method="L-BFGS-B", options=options
    )
    if not np.isfinite(found.x).all():
        raise NonFiniteError("the likelihood of the samples is not finite: rescale the features")
    if np.abs(found.jac).max() > 1e-4:  # of sums with standard deviation 1, per stretch
        raise ConvergenceError(
            f"the weights were not found: {found.message}; leave out features that nearly repeat"
        )
    return found.x


def _chances(sums: Floats, offsets: Floats, weights: Floats) -> Floats:
    """Share [K, M + 1] of each future in its stretch's partition function."""
    logits = sums @ weights - offsets
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    chances: Floats = exponentials / exponentials.sum(1, keepdims=True)
    return chances


def _log_likelihood(sums: Floats, offsets: Floats, weights: Floats) -> float:
    return float(np.log(np.maximum(_chances(sums, offsets, weights)[:, 0], 1e-300)).sum())


def _information(sums: Floats, offsets: Floats, weights: Floats) -> Floats:
    chances = _chances(sums, offsets, weights)
    centred = sums - np.einsum("km,kmf->kf", chances, sums)[:, None]
    flat = (centred * np.sqrt(chances)[..., None]).reshape(-1, sums.shape[2])
    return flat.T @ flat
