"""E networks that learned the same data from different starts.

Their spread says where the model does not know.

Probabilistic ensembles with trajectory sampling follow Chua et al. 2018 (PETS). Means are trained
by squared error and variances by likelihood with the means held fixed (Stirn et al. 2023, Faithful
Heteroscedastic Regression), so that learning the noise never costs accuracy of the mean.
"""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.networks import EnsemblePerceptron, normal_like
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.world_models.exporting import export_step
from wm_agents.world_models.losses import (
    PredictionWeights,
    column_mean,
    huber,
    masked_mean,
    weighted_cross_entropy,
)
from wm_agents.world_models.neural import NeuralModel, Rescaling
from wm_agents.world_models.sampling import BatchSampler, TrainingBatch
from wm_envs.data.display import short_repr
from wm_envs.data.trajectories import Trajectories

# Denser towards 1, where intervals are asked for.
_COVERAGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class EnsembleWeights(PredictionWeights):
    """Weights of the loss terms, dimensionless.

    Attributes:
        spread: Likelihood of the state's errors under the predicted variances.
        reward_spread: The same for the reward.
    """

    spread: float = 0.01
    reward_spread: float = 0.01


@dataclass(frozen=True)
class EnsembleConfig:
    """Shape and loss of an `EnsembleModel`.

    Attributes:
        num_members: E.
        dynamics_widths: Hidden units of each member's layers from (observation, action) to the
            difference.
        reward_widths: Hidden units of the reward head, which sees the observation, the action and
            what they led to.
        termination_widths: Hidden units of the termination head, which sees the same.
        spread_widths: Hidden units of the heads for the log-variances of state and reward.
        activation: "elu", "relu", "silu" or "tanh".
        dropout: Probability that a hidden unit is silent in training, and in imagination that
            draws.
        sampling: With a generator a row follows one member for good ("tsinf") or another one each
            step ("ts1").
        smallest_log_variance: Lower bound, in standardized units.
        largest_log_variance: Upper bound, in standardized units.
        calibration_horizon: Steps for which intervals are calibrated; later steps use the last.
        weights: Weights of the loss terms.
        max_positive_weight: A termination counts as often as it is rarer than the rest, but at most
            this many times.
    """

    num_members: int = 5
    dynamics_widths: tuple[int, ...] = (256, 256)
    reward_widths: tuple[int, ...] = (128, 128)
    termination_widths: tuple[int, ...] = (64, 64)
    spread_widths: tuple[int, ...] = (64,)
    activation: str = "silu"
    dropout: float = 0.0
    sampling: Literal["tsinf", "ts1"] = "tsinf"
    smallest_log_variance: float = -14.0
    largest_log_variance: float = 2.0
    calibration_horizon: int = 16
    weights: EnsembleWeights = field(default_factory=EnsembleWeights)
    max_positive_weight: float = 10.0

    def __post_init__(self) -> None:
        require_integers(
            1, num_members=self.num_members, calibration_horizon=self.calibration_horizon
        )
        if self.sampling not in ("tsinf", "ts1"):
            raise ConfigError(f'sampling is "tsinf" or "ts1", got {self.sampling!r}')


@dataclass(frozen=True)
class Intervals:
    """Ranges [B, H, O] that are to hold the observations 1 to H with the asked-for probability.

    Feature by feature.

    Attributes:
        low: Lower ends.
        high: Upper ends.
        is_calibrated: Whether their widths were measured on held-out episodes; else the probability
            is a guess.
    """

    low: Tensor
    high: Tensor
    is_calibrated: bool = True

    __repr__ = short_repr


class EnsembleModel(NeuralModel):
    """Gaussian predictions of E members, evaluated as one tensor program.

    Without a generator a step is the mean of all members. With one, each row follows a member that
    is drawn for it, and noise is drawn from that member's variance; the member's number then is
    `hidden[0]`.
    """

    kind = "ensemble world model"
    config_class = EnsembleConfig
    selection_terms: ClassVar[tuple[str, ...]] = ("state", "reward", "termination")
    config: EnsembleConfig
    error_quantiles: Tensor
    is_calibrated = False
    """Whether `intervals` were calibrated on episodes that the fit did not learn from."""

    @property
    def num_members(self) -> int:  # type: ignore[override]
        """E."""
        return self.config.num_members

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Observations [B, O], and as `hidden[0]` each row's member [B]: -1, to be drawn by a step."""
        state = super().start(observations, hidden)
        if state.hidden:
            return state
        # Drawn with the first step, whose generator is then the caller's.
        undrawn = torch.full((len(state.observations),), -1, device=self.device)
        return ModelState(state.observations, (undrawn,))

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B] or [B, A].

        Disagreement is that of the members' means.
        """
        acts, inputs = self.encode_actions(actions), self.inputs(state.observations)
        joint = self._for_each_member(torch.cat([inputs, acts], -1))
        means = self.dynamics(joint, generator)
        # Spread of the members' means, in standard deviations of the targets: what more data would
        # reduce. Not torch's std, which warns where nothing is to be predicted.
        disagreement = column_mean((means - means.mean(0)).square().mean(0)).sqrt()
        # Without a generator the prediction is the mean, the same each time.
        if generator is None:
            output, hidden = means.mean(0), state.hidden
        else:
            members = self._draw_members(state, generator)
            output, hidden = self._draw_output(means, joint, members, generator), (members,)
        after = self.decode(state.observations, output, acts)
        # Rewards and ends of the imagined transition, in each member's own judgment.
        seen = [self.head_inputs(state.observations), acts, self.head_inputs(after)]
        transition = self._for_each_member(torch.cat(seen, -1))
        rewards = self.reward_scale.restore(self.reward_head(transition)).squeeze(-1)
        logits = self.termination_head(transition).squeeze(-1)
        terminations = self.termination_probability(logits).mean(0)
        # A drawn future has one member's reward, as it has one member's dynamics.
        reward = rewards.mean(0) if generator is None else _chosen(rewards, hidden[0])
        return ModelState(after, hidden), Prediction(after, reward, terminations, disagreement)

    def loss(self, segment: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Open-loop errors of each member on its own share of the windows.

        And the spreads' likelihoods.
        """
        segment = self._share_out(segment)
        acts = self.encode_actions(segment.actions)
        errors, spreads, present = [], [], segment.inputs
        for step in range(segment.mask.shape[-1]):
            joint = torch.cat([self.inputs(present), acts[:, :, step]], -1)
            # No dropout while held-out windows are judged.
            output = self.dynamics(joint, generator if torch.is_grad_enabled() else None)
            error = (output - self.targets(present, segment.observations[:, :, step + 1])).square()
            errors.append(column_mean(error))
            # Detached: the variance is fitted to the errors and must not excuse them.
            spreads.append(self._likelihood(self.spread_head, joint.detach(), error.detach()))
            # Each member imagines on from its own answer.
            present = self.decode(present, output, acts[:, :, step])
        seen = self.head_inputs(segment.observations)
        transitions = torch.cat([seen[:, :, :-1], acts, seen[:, :, 1:]], -1).flatten(1, 2)
        shape = segment.mask.shape
        rewards = self.reward_scale.normalize(segment.rewards[..., None]).view(shape)
        predicted = self.reward_head(transitions).view(shape)
        logits = self.termination_head(transitions).view(shape)
        # On recorded observations: the noise of the reward is not that of imagination.
        joint = torch.cat([self.inputs(segment.observations[:, :, :-1]), acts], -1).flatten(1, 2)
        reward_errors = (predicted - rewards).square().detach().view(*joint.shape[:2], 1)
        reward_spreads = self._likelihood(self.reward_spread_head, joint, reward_errors).view(shape)
        end_errors = weighted_cross_entropy(logits, segment.terminations, self.positive_weight)
        return {
            "state": masked_mean(torch.stack(errors, -1), segment.mask),
            "reward": masked_mean(huber(predicted, rewards), segment.mask),
            "termination": masked_mean(end_errors, segment.mask),
            "spread": masked_mean(torch.stack(spreads, -1), segment.mask),
            "reward_spread": masked_mean(reward_spreads, segment.mask),
        }

    def intervals(
        self,
        start: ModelState | Tensor,
        actions: Tensor,
        coverage: float,
        *,
        num_particles: int = 20,
        seed: int = 0,
    ) -> Intervals:
        """Calibrated ranges of the next observations under action sequences [B, H, ...].

        A model that was fitted without held-out episodes takes the spread of its members as it is,
        and warns: nothing was there to measure how far that falls short.

        Args:
            start: Where imagination begins; a tensor [B, O] or a state.
            actions: [B, H] or [B, H, A].
            coverage: Probability from 0 to 0.98 with which each feature is to lie in its range.
            num_particles: Imagined futures per row, at least 2, since their spread is what is
                scaled.
            seed: Draws them.

        Raises:
            ConfigError: Fewer than 2 particles.
        """
        require_integers(2, num_particles=num_particles)
        mean, std = self._particles(start, actions, num_particles, seed)
        if not self.is_calibrated:
            warnings.warn(
                f"intervals of this {type(self).__name__} are not calibrated: it was fitted "
                "without held-out episodes, "
                f"so that {coverage:.0%} is a guess; fit with holdout or validation, or call "
                "calibrate(other episodes)",
                stacklevel=2,
            )
        return self._interval(mean, std, coverage)

    def calibrate(self, trajectories: Trajectories, num_windows: int = 200) -> None:
        """Measure on held-out episodes how many predicted standard deviations real errors are.

        Step by step.

        Give episodes that the model was not fitted to: on those that it was, errors are too small
            and later intervals
        too narrow. This is split conformal prediction: quantiles of |error| / std become the half
            widths of later
        intervals.
        """
        horizon = min(self.config.calibration_horizon, int(trajectories.lengths.max()))
        # Evenly spaced windows of the held-out episodes.
        segment = BatchSampler(trajectories, self.device).spread(num_windows, horizon)
        mean, std = self._particles(segment.inputs, segment.actions, 20, 0)
        # How many predicted standard deviations each real error is.
        ratios = (segment.observations[:, 1:] - mean).abs() / std
        # Steps beyond an end say nothing; not a number is what `nanquantile` leaves out.
        ratios[segment.mask == 0] = torch.nan
        levels = torch.tensor(_COVERAGES, device=self.device)
        quantiles = torch.nanquantile(ratios, levels, dim=0)  # [L, H, O]
        # A step that no window reached takes the first step's quantiles.
        quantiles = torch.where(quantiles.isnan(), quantiles[:, :1], quantiles)
        # Beyond the longest held-out episode the last step's quantiles go on.
        later = quantiles[:, -1:].expand(-1, self.config.calibration_horizon - horizon, -1)
        self.error_quantiles.copy_(torch.cat([quantiles, later], 1))
        self.is_calibrated = True

    def finish(self, held_out: Trajectories | None) -> None:
        """Calibrate on the held-out episodes, if there are any; `fit` calls it at its end."""
        self.is_calibrated = False
        if held_out is not None:
            self.calibrate(held_out)
        else:
            # Without data of its own the model can only be taken at its word.
            self.error_quantiles.copy_(self._normal_quantiles())

    def describe(self) -> dict[str, Any]:
        """Whether the intervals are calibrated, for `save`."""
        return {"is_calibrated": self.is_calibrated}

    def restore(self, description: dict[str, Any]) -> None:
        """What `describe` gave.

        Files from before it was written down do not say, and are taken as calibrated.
        """
        self.is_calibrated = bool(description.get("is_calibrated", True))

    def for_all_members(self, segment: TrainingBatch) -> TrainingBatch:
        """The segment once per member."""
        # Evaluation asks all members the same questions.
        return segment.map(lambda tensor: tensor.repeat(self.num_members, *[1] * (tensor.ndim - 1)))

    def export_onnx(self, path: str | os.PathLike[str]) -> Path:
        """Write `predict` as an ONNX file and return its path; see `exporting.export_step`.

        Raises:
            NotFittedError: The model was never fitted.
            MissingExtraError: onnx and onnxscript are not installed.
            ConfigError: A derived feature has no counterpart in ONNX.
        """
        return export_step(self, path)

    def change_units(self, change: Rescaling) -> None:
        """Change first and last layers so that they mean the same in other units."""
        outputs = {
            self.dynamics: (change.joint, change.targets),
            self.spread_head: (change.joint, change.log_variances),
            self.reward_spread_head: (change.joint, change.reward_log_variance),
            self.reward_head: (change.transition, change.reward),
            self.termination_head: (change.transition, change.termination),
        }
        for network, (to_old, to_new) in outputs.items():
            network.change_inputs(to_old)
            network.change_outputs(to_new)

    def _particles(
        self, start: ModelState | Tensor, actions: Tensor, num_particles: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [B, H, O] of imagined futures."""
        state = start if isinstance(start, ModelState) else self.start(start)
        generator = torch.Generator().manual_seed(checked_seed(seed))
        # The plain start: each particle draws a member of its own.
        rows = ModelState(state.observations).repeat(num_particles)
        rollout = self.rollout(rows, actions.repeat_interleave(num_particles, 0), generator)
        futures = rollout.observations[:, 1:].unflatten(0, (-1, num_particles))
        # Never exactly 0, by which errors are divided.
        return futures.mean(1), torch.maximum(futures.std(1), 1e-6 * self._spreads())

    def _spreads(self) -> Tensor:
        """How much each observation column varies [O].

        Where no input says so, the width of its bounds.
        """
        # Columns without a measured unit of their own are compared with their range.
        spreads = (self.high - self.low).clamp_min(torch.finfo(torch.float32).tiny * 1e6)
        plain = self.layout.plain_inputs
        spreads[list(plain)] = self.input_scale.std[: len(plain)]
        return spreads

    def _interval(self, mean: Tensor, std: Tensor, coverage: float) -> Intervals:
        levels = torch.tensor(_COVERAGES, device=self.device)
        if isinstance(coverage, str) or not 0 <= coverage <= _COVERAGES[-1]:
            raise ConfigError(
                f"coverage is a probability from 0 to {_COVERAGES[-1]}, got {coverage!r}"
            )
        # Between the two neighboring levels linearly.
        upper = min(int(torch.searchsorted(levels, coverage)), len(levels) - 1)
        lower = max(upper - 1, 0)
        share = (coverage - _COVERAGES[lower]) / max(_COVERAGES[upper] - _COVERAGES[lower], 1e-9)
        factors = torch.lerp(self.error_quantiles[lower], self.error_quantiles[upper], share)
        # Longer rollouts than were calibrated take the last step's factor.
        steps = torch.arange(mean.shape[1], device=self.device).clamp_max(len(factors) - 1)
        reach = factors[steps] * std
        return Intervals(mean - reach, mean + reach, self.is_calibrated)

    def _for_each_member(self, rows: Tensor) -> Tensor:
        return rows.expand(self.num_members, *rows.shape)

    def _share_out(self, segment: TrainingBatch) -> TrainingBatch:
        """[E * B, ...] as [E, B, ...]."""
        return segment.map(lambda tensor: tensor.unflatten(0, (self.num_members, -1)))

    def _likelihood(
        self, head: EnsemblePerceptron, joint: Tensor, squared_errors: Tensor
    ) -> Tensor:
        """Negative log-likelihood [E, B] of errors under a head's variances.

        Without the constant.
        """
        # Of a Gaussian, but for a constant.
        log_variance = self._bounded(head(joint))
        return 0.5 * column_mean(squared_errors * torch.exp(-log_variance) + log_variance)

    def _bounded(self, log_variance: Tensor) -> Tensor:
        """Smoothly between the bounds (Chua et al. 2018, appendix A.1)."""
        high, low = self.config.largest_log_variance, self.config.smallest_log_variance
        return low + F.softplus(high - F.softplus(high - log_variance) - low)

    def _draw_members(self, state: ModelState, generator: torch.Generator) -> Tensor:
        keeps_members = bool(state.hidden) and self.config.sampling == "tsinf"
        # TS-infinity keeps a row's member for its whole future, TS1 draws one a step (Chua et al.
        # 2018, section 5).
        if keeps_members and bool((state.hidden[0] >= 0).all()):
            return state.hidden[0]
        num_rows = (len(state.observations),)
        # Drawn where the generator is, then moved: equal seeds are equal futures on every device.
        drawn = torch.randint(
            self.num_members, num_rows, generator=generator, device=generator.device
        ).to(self.device)
        if not keeps_members:
            return drawn
        members = state.hidden[0]
        # Only rows without a member get one.
        return torch.where(members >= 0, members, drawn)

    def _draw_output(
        self, means: Tensor, joint: Tensor, members: Tensor, generator: torch.Generator
    ) -> Tensor:
        # Each row's variance from its own member alone, which spares the others' networks.
        log_variance = self._bounded(self.spread_head.forward_members(joint[0], members))
        noise = normal_like(log_variance, generator)
        return _chosen(means, members) + torch.exp(0.5 * log_variance) * noise

    def _build(self, generator: torch.Generator) -> None:
        config, layout, num_acts = self.config, self.layout, self.encode_actions.size

        def make(
            inputs: int, widths: tuple[int, ...], outputs: int, **options: Any
        ) -> EnsemblePerceptron:
            sizes = (inputs, *widths, outputs)
            return EnsemblePerceptron(
                config.num_members, sizes, config.activation, generator, **options
            )

        joint, transition = layout.num_inputs + num_acts, 2 * self.num_head_inputs + num_acts
        self.dynamics = make(
            joint,
            config.dynamics_widths,
            layout.num_targets,
            output_gain=0.1,
            dropout=config.dropout,
        )
        self.reward_head = make(transition, config.reward_widths, 1)
        self.termination_head = make(transition, config.termination_widths, 1)
        # Small outputs: the variances start equal for all inputs.
        self.spread_head = make(joint, config.spread_widths, layout.num_targets, output_gain=0.1)
        self.reward_spread_head = make(joint, config.spread_widths, 1, output_gain=0.1)
        self.register_buffer("error_quantiles", self._normal_quantiles())
        self.is_calibrated = False

    def _normal_quantiles(self) -> Tensor:
        """Half widths [coverages, H, O] in standard deviations if particles are Gaussian.

        As before calibration.
        """
        normal = torch.distributions.Normal(0.0, 1.0, validate_args=False)
        quantiles = normal.icdf(torch.tensor([(1 + coverage) / 2 for coverage in _COVERAGES]))
        shape = (len(_COVERAGES), self.config.calibration_horizon, self.layout.num_features)
        return quantiles[:, None, None].expand(shape).clone()


def _chosen(values: Tensor, members: Tensor) -> Tensor:
    """Row b of member `members[b]`: [E, B, ...] -> [B, ...]."""
    return values[members, torch.arange(len(members), device=members.device)]
