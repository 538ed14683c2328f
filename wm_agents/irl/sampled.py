"""Maximum-entropy IRL in continuous spaces: partition functions from sampled rollouts.

A window of H demonstrated steps with actions a and step features f has probability exp(w . sum f)
/ Z(w). Z is an integral over all action sequences from the same start, estimated by importance
sampling with sequences drawn around the demonstrated one and imagined by a world model or the
oracle (Boularias et al. 2011, equation 9; local sampling as in Kalakrishnan et al. 2013; the
demonstration joins its samples as in Finn et al. 2016):

    Z(w) ~ mean over samples m of exp(w . sum f_m) / q(a_m),   q a normal distribution around the demonstrated actions.

Z is itself an estimate. The logarithm of a mean of M samples is too low by half their relative
variance over M: the weights are corrected for that once, and intervals hold the variance and the
bias that sampling leaves (delta method, Owen 2013, "Monte Carlo theory, methods and examples",
section 9.2). Samples closer to the demonstrations than the rollouts that count make both look
small; they are drawn again from a wider distribution (adaptive importance sampling, Cappé et al.
2004). The effective sample size says how much of the samples an estimate rests on. A window is
judged by the rewards within it: its length has to cover what the demonstrator looks ahead to.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, DemonstrationError, NonFiniteError
from wm_agents.irl.demonstrations import Demonstrations, content_hash
from wm_agents.irl.importance_sampling import (
    PartitionEstimate,
    SampledWindows,
    fisher_information,
    held_noise,
    log_likelihood,
    sampled_map,
)
from wm_agents.irl.mdp import Floats
from wm_agents.irl.rewards import RewardNetwork
from wm_agents.irl.uncertainty import (
    Identifiability,
    fit_from_state,
    fit_to_state,
    identify,
    laplace_limits,
)
from wm_agents.protocols import WorldModel
from wm_agents.training.checkpoints import Checkpoint
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.finite import gradient_step
from wm_agents.training.fitted import Fitted, check_fitted
from wm_agents.training.packing import pack_state, unpack_state
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import config_from_json
from wm_agents.training.trainer import FitReport, Trainer

_MAX_WIDENINGS = 4
# Standard deviations of the noise at which the rollouts that count lie where samples were drawn.
_WIDE_ENOUGH = 1.1
_TOO_NARROW = 1.25  # at which a fit is flagged
_MIN_SIZE = 1e-300  # of a feature, to divide by
_ROUNDING = 1e-10  # relative spread below which a feature counts as constant

Imagine = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[Any]]
"""(demonstrated steps [B] to start from, actions [B, H, A]) -> observations [B, H + 1, O]."""

StepFeatures = Callable[[NDArray[Any], NDArray[np.float32]], Floats]
"""(observations [B, H + 1, O], actions [B, H, A]) -> features [B, H, F]."""


@dataclass(frozen=True)
class SampledConfig:
    """Settings of `SampledMaxEntIRL`.

    Attributes:
        horizon: Steps of a window, H.
        stride: Steps between the starts of windows; at least the horizon keeps them independent.
        num_samples: Rollouts for each window, M.
        noise_std: Standard deviation of sampled around demonstrated actions, in the actions' units:
            one for all or one for each. Bounds are for the rollouts to apply, as the environment
            does. `fit` widens it where the rollouts that count lie farther out, unless too few
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
        object.__setattr__(self, "seed", checked_seed(self.seed))
        require_integers(None, horizon=self.horizon, stride=self.stride)
        require_integers(None, num_samples=self.num_samples, hold=self.hold)
        counts = min(self.horizon, self.stride, self.num_samples, self.hold)
        if counts < 1 or not np.all(np.asarray(self.noise_std) > 0) or self.prior_std <= 0:
            raise ConfigError(
                "horizon, stride, num_samples, noise_std, hold and prior_std are positive, got "
                f"{self}"
            )
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence lies in (0, 1), got {self.confidence}")


@dataclass(frozen=True, kw_only=True, repr=False)
class SampledFit(FitReport):
    """Weights inferred from K windows.

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
        identifiability: What the samples can identify.
        effective_samples: [K], effective sample size of each window's partition function at the
            fit.
        flags: Warnings in words.
        log_likelihood: Per window, of the demonstration among its samples.
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


class SampledMaxEntIRL(Fitted, Savable):
    """Linear rewards, or a reward network, from demonstrations in continuous spaces.

    Files hold the fit; the functions are `load(path, given=(imagine, features))`.

    Args:
        imagine: What actions lead to from a demonstrated step: `model_rollouts(world_model,
            demonstrations)`, or a function that asks the true dynamics.
        features: Features of each step, see `StepFeatures`.
        feature_names: F names.
        config: Settings.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("reward",)
    kind = "sampled maximum-entropy irl"
    is_cpu_only = True  # float64 in NumPy

    def __init__(
        self,
        imagine: Imagine,
        features: StepFeatures,
        feature_names: Sequence[str],
        config: SampledConfig | None = None,
    ) -> None:
        self.imagine = imagine
        self.features = features
        self.feature_names = tuple(feature_names)
        self.config = SampledConfig() if config is None else config
        self._fitted: SampledFit | None = None

    @property
    def fitted(self) -> SampledFit:
        """What the last `fit` returned; raises NotFittedError before one."""
        check_fitted(self)
        assert self._fitted is not None
        return self._fitted

    def fit(
        self,
        demonstrations: Any,
        config: SampledConfig | None = None,
        *,
        checkpoints: Any = None,
        progress: bool | None = False,
    ) -> SampledFit:
        """Infer linear weights.

        Each update of the fit is an estimate from samples wider than the last one's.

        Args:
            demonstrations: Whatever `Demonstrations.of` takes, with Box actions.
            config: Settings from now on; None keeps those that are.
            checkpoints: Where to save and to resume from, as `Trainer` takes it.
            progress: A bar on a terminal, elsewhere lines; None: there only of long work.

        Raises:
            DemonstrationError: Discrete actions, or no episode as long as the horizon.
            NonFiniteError: The model imagines something that is not finite.
            ConvergenceError: The weights were not found.
            CheckpointError: The checkpoints are of another run.
        """
        if config is not None:
            # A configuration that is given stays, since `sample` reads it, too.
            self.config = config
        run = _SampledRun(self, Demonstrations.of(demonstrations))
        report = Trainer(
            run,
            1 + _MAX_WIDENINGS,
            description="sampled IRL",
            evaluate_every=1,
            checkpoints=checkpoints,
            checkpoint_every=1,
            progress=progress,
            # Widening goes on until the samples are wide enough.
            callback=lambda _, __: not run.is_done,
        ).train()
        estimate, reach = run.result()
        self._fitted = self._summarize(estimate, run.widening, reach, report)
        self.is_fitted = True
        return self._fitted

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, structure = pack_state(fit_to_state(self.fitted))
        description = {
            "config": asdict(self.config),
            "feature_names": list(self.feature_names),
            "structure": structure,
        }
        return tensors, description

    @classmethod
    def _check_request(cls, path: str | os.PathLike[str], device: str, given: Any) -> None:
        super()._check_request(path, device, given)
        if not (isinstance(given, Sequence) and len(given) == 2 and all(map(callable, given))):
            raise ConfigError(
                f"{path} holds no functions: pass them as given=(imagine, features), got {given!r}"
            )

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        metadata = stored.metadata
        config = config_from_json(SampledConfig, metadata["config"])
        imagine, features = given
        irl = cls(imagine, features, metadata["feature_names"], config)
        state = unpack_state(metadata["structure"], stored.tensors)
        irl._fitted = fit_from_state(SampledFit, state, irl.feature_names)
        irl.is_fitted = True
        return irl

    def reward(self, observations: Any, actions: Any) -> Floats:
        """The inferred reward [B, H] of observations [B, H + 1, O] and actions [B, H, A].

        Raises:
            NotFittedError: Nothing is fitted yet.
        """
        rewards: Floats = self.features(observations, actions) @ self.fitted.weights
        return rewards

    def sample(self, demonstrations: Any, widening: Floats | float = 1.0) -> SampledWindows:
        """Rollouts around each window of the demonstrations.

        Args:
            demonstrations: Whatever `Demonstrations.of` takes, with Box actions.
            widening: How many times wider [A] than in the settings the noise is.

        Raises:
            DemonstrationError: Discrete actions, or no episode as long as the horizon.
            NonFiniteError: The model imagines something that is not finite.
        """
        config = self.config
        data = Demonstrations.of(demonstrations)
        if data.actions.ndim != 2:
            raise DemonstrationError(
                "sampling needs Box actions [S, A]: for Discrete ones use MaxEntIRL"
            )
        if int(data.lengths.max()) < config.horizon:
            raise DemonstrationError(f"no episode has {config.horizon} steps: shorten the horizon")
        generator = np.random.default_rng(config.seed)
        starts = data.window_starts(config.horizon)
        # Every so many steps of an episode, or each step would count `horizon` times.
        starts = starts[data.times[starts] % config.stride == 0]  # [K]
        steps = starts[:, None] + np.arange(config.horizon)
        noise_std = np.asarray(config.noise_std) * widening
        center = data.actions[steps].astype(np.float64)  # [K, H, A]
        actions, log_proposal = held_noise(
            center, config.num_samples, noise_std, config.hold, generator
        )
        # Every candidate of a window starts from the same step.
        rows = np.repeat(starts, config.num_samples + 1)
        imagined = self.imagine(rows, actions.reshape(len(rows), config.horizon, -1))
        shape = (len(starts), config.num_samples + 1, config.horizon + 1, -1)
        observations = np.asarray(imagined).reshape(shape)
        # A model that explodes would decide the partition function by itself.
        if not np.isfinite(observations).all():
            raise NonFiniteError(
                "the model imagines observations that are not finite: sample closer (noise_std)"
            )
        return SampledWindows(observations, actions, log_proposal)

    def estimate(self, demonstrations: Any, widening: Floats) -> tuple[PartitionEstimate, Floats]:
        """The fit to samples of this width [A], and how far out the rollouts that count lie [A]."""
        samples = self.sample(demonstrations, widening)
        sums = self._sums(samples)
        # The spread within windows: differences between windows cancel in the likelihood.
        scale = (sums - sums.mean(1, keepdims=True)).std((0, 1))
        size = np.maximum(np.abs(sums).max((0, 1)), _MIN_SIZE)
        is_constant = scale < _ROUNDING * size
        unit = np.where(is_constant, 1.0, scale)
        weights = sampled_map(sums / unit, samples.log_proposal, self.config.prior_std**-2)
        estimate = PartitionEstimate(sums / unit, samples.log_proposal, unit, is_constant, weights)
        # In units of what the samples were drawn with.
        noise_std = np.asarray(self.config.noise_std) * widening
        noise = (samples.actions[:, 1:] - samples.actions[:, :1]) / noise_std  # [K, M, H, A]
        return estimate, estimate.reach(noise)

    def _summarize(
        self, estimate: PartitionEstimate, widening: Floats, reach: Floats, report: FitReport
    ) -> SampledFit:
        config = self.config
        precision = config.prior_std**-2 * np.eye(len(estimate.weights))
        sums = estimate.sums
        offsets = estimate.offsets
        information = fisher_information(sums, offsets, estimate.weights)
        # The uncertainty of the demonstrations alone, as if the partition functions were exact.
        laplace = np.asarray(np.linalg.inv(information + precision), np.float64)
        bias, variance = estimate.sampling_error()
        # And of the samples, through the same curvature.
        sampling = laplace @ variance @ laplace
        gradient = estimate.gradient() - precision @ estimate.weights
        # One Newton step: what the optimum with exact partition functions would be.
        shift = laplace @ (gradient + bias)
        # The correction is the first term of a series: beyond the error bars it tells a bias, but
        # not its size.
        size = max(float(shift @ np.linalg.solve(laplace + sampling, shift)), 0.0) ** 0.5
        # At most one error bar.
        weights = estimate.weights + shift / max(size, 1.0)
        # The correction itself is no better known than its size.
        sampling = sampling + np.outer(shift, shift)
        covariance = laplace + sampling
        low, high = laplace_limits(weights, covariance, config.confidence)
        evenly = fisher_information(sums, offsets, np.zeros_like(weights)) / len(sums)
        floor = _ROUNDING**2 * float(np.square(sums).mean())
        identifiability = identify(evenly, self.feature_names, floor=floor)
        flags = self._flags(identifiability, estimate)
        if (reach > _TOO_NARROW).any():
            flags.append(
                f"narrow samples: the rollouts that count lie {reach.max():.1f} times as far from "
                "the demonstrations as the samples; raise noise_std, and num_samples with it"
            )
        if size > 1.0:
            flags.append(
                "biased: the samples move the weights by more than their interval; raise "
                "num_samples"
            )
        mean_log_likelihood = log_likelihood(sums, offsets, weights) / len(sums)
        return SampledFit(
            num_updates=report.num_updates,
            best_update=report.best_update,
            best_loss=-mean_log_likelihood,
            is_held_out=False,
            history=report.history,
            seconds=report.seconds,
            metrics={"log_likelihood": mean_log_likelihood},
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
            effective_samples=estimate.effective_samples,
            flags=tuple(flags),
            log_likelihood=mean_log_likelihood,
        )

    def fit_network(
        self,
        demonstrations: Any,
        network: RewardNetwork,
        *,
        num_updates: int = 500,
        learning_rate: float = 1e-3,
    ) -> list[float]:
        """Infer a reward network on raw observations by the same likelihood.

        Returns:
            The loss of each update.

        Raises:
            NonFiniteError: A loss or gradient is not finite: nothing was updated with it.
        """
        run = _NetworkRun(self.sample(demonstrations), network, learning_rate)
        report = Trainer(run, num_updates, description="reward network", evaluate_every=1).train()
        return [row["loss"] for row in report.history]

    def _sums(self, samples: SampledWindows) -> Floats:
        """Sums of features over each rollout [K, M + 1, F]."""
        num_windows, num_each, horizon = samples.actions.shape[:3]
        num_rollouts = num_windows * num_each
        values = self.features(
            samples.observations.reshape(num_rollouts, horizon + 1, -1),
            samples.actions.reshape(num_rollouts, horizon, -1),
        )
        sums = np.asarray(values, np.float64).sum(1).reshape(num_windows, num_each, -1)
        if sums.shape[2] != len(self.feature_names) or not np.isfinite(sums).all():
            raise ConfigError(
                f"expected {len(self.feature_names)} finite features, got {sums.shape[2]}"
            )
        return sums

    def _flags(self, identifiability: Identifiability, estimate: PartitionEstimate) -> list[str]:
        constant = np.flatnonzero(estimate.is_constant)
        flags = [f"constant: {self.feature_names[i]}" for i in constant]
        flags += identifiability.sentences()
        median = float(np.median(estimate.effective_samples))
        if median < self.config.min_effective_samples:
            flags.append(
                f"few effective samples: {median:.1f} of {self.config.num_samples}; draw more, or "
                "hold their noise longer"
            )
        return flags


class _SampledRun:
    """Estimates from ever wider samples, until the rollouts that count lie among them."""

    def __init__(self, irl: SampledMaxEntIRL, data: Demonstrations) -> None:
        self.irl = irl
        self.data = data
        self.widening = np.ones(data.actions.shape[-1])  # [A]
        self.is_done = False
        self._result: tuple[PartitionEstimate, Floats] | None = None

    def step(self, update: int) -> Mapping[str, float]:  # noqa: ARG002
        """The first estimate, or one from wider samples, which is kept where it is better."""
        if self._result is None:
            self._result = self.irl.estimate(self.data, self.widening)
        else:
            self._widen(*self._result)
        estimate, reach = self._result
        self.is_done = self.is_done or bool((reach < _WIDE_ENOUGH).all())
        likelihood = log_likelihood(estimate.sums, estimate.offsets, estimate.weights)
        return {"loss": -likelihood / len(estimate.sums)}

    def _widen(self, estimate: PartitionEstimate, reach: Floats) -> None:
        widening = self.widening * np.maximum(reach, 1.0)
        wider, wider_reach = self.irl.estimate(self.data, widening)
        # Narrow samples are alike, so that all of them count: few effective samples tell against a
        # width, many do not tell for one.
        size = np.median(estimate.effective_samples)
        wider_size = np.median(wider.effective_samples)
        if wider_size < min(size, self.irl.config.min_effective_samples):
            self.is_done = True
            return
        self.widening = widening
        self._result = (wider, wider_reach)

    def result(self) -> tuple[PartitionEstimate, Floats]:
        """The last estimate that was kept, and its reach."""
        if self._result is None:  # resumed at the end: samples follow from their width and the seed
            self._result = self.irl.estimate(self.data, self.widening)
        return self._result

    def state_dict(self) -> dict[str, Any]:
        """The width of the samples, from which the estimate follows."""
        return {"widening": self.widening, "is_done": self.is_done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a width."""
        self.widening = np.asarray(state["widening"], np.float64)
        self.is_done = state["is_done"]
        self._result = self.irl.estimate(self.data, self.widening)

    def fingerprint(self) -> dict[str, Any]:
        """Settings, features and a hash of the demonstrations."""
        return {
            "kind": "sampled maximum-entropy IRL",
            "config": asdict(self.irl.config),
            "features": list(self.irl.feature_names),
            "demonstrations": content_hash(
                self.data.observations, self.data.actions, self.data.lengths
            ),
        }


class _NetworkRun:
    """A reward network by the likelihood of the demonstrations among their samples."""

    def __init__(
        self, samples: SampledWindows, network: RewardNetwork, learning_rate: float
    ) -> None:
        observations = samples.observations[:, :, :-1]
        self.observations = torch.as_tensor(observations, dtype=torch.float32).flatten(0, 2)
        self.actions = torch.as_tensor(samples.actions).flatten(0, 2)
        self.offsets = torch.as_tensor(samples.log_proposal)  # [K, M + 1]
        self.shape = samples.actions.shape[:3]  # K, M + 1, H
        self.network = network
        network.standardize(self.observations)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=learning_rate, weight_decay=1e-2
        )

    def step(self, update: int) -> Mapping[str, float]:
        """One update on all windows."""
        rewards = self.network(self.observations, self.actions).reshape(self.shape)
        sums = rewards.sum(2).double()  # [K, M + 1]
        # The first candidate is the demonstration, as in the linear likelihood.
        loss = -torch.log_softmax(sums - self.offsets, 1)[:, 0].mean()
        place = f"at update {update} of the reward network"
        parameters = self.network.named_parameters()
        return {"loss": gradient_step(loss, self.optimizer, parameters, place)}

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same run."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def fingerprint(self) -> dict[str, Any]:
        """A hash of the samples."""
        samples = content_hash(
            self.observations.numpy(), self.actions.numpy(), self.offsets.numpy()
        )
        return {"kind": "reward network", "samples": samples}


def model_rollouts(model: WorldModel, demonstrations: Any) -> Imagine:
    """Rollouts of a world model from the observations of demonstrated steps."""
    starts = torch.from_numpy(Demonstrations.of(demonstrations).start_observations)

    @torch.no_grad()
    def imagine(steps: NDArray[np.int64], actions: NDArray[np.float32]) -> NDArray[Any]:
        observations: NDArray[Any] = model.rollout(
            starts[steps], torch.from_numpy(actions)
        ).observations.numpy()
        return observations

    return imagine
