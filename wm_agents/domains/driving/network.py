"""The world model of the car: a network for the tyres' forces inside the motion of a rigid body.

What is known of any car is written down and costs nothing to learn: the pedals and the steering
follow commands with a lag (fitted by least squares), accelerations move the body, the slip of an
axle follows from the velocities and the wheelbase, and left and right are alike. What is not known,
the forces, the turning and the heat of the tyres, is predicted by one or several perceptrons: seven
numbers per step, kept within the range that was recorded.

Shape letters: B batch, E ensemble members, H horizon.
"""

import os
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.driving.observations import (
    ENV_OPTIONS,
    MIN_SPEED,
    CircuitMap,
    DerivedColumn,
    car_action_space,
    extend,
    extend_trajectories,
    has_derived_columns,
    make_layout,
    mirrored,
    model_observation_space,
)
from wm_agents.errors import CheckpointError, ConfigError, SpaceError
from wm_agents.networks import Affine, EnsemblePerceptron
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.checkpoints import load_checkpoint
from wm_agents.training.saving import saved_path
from wm_agents.world_models import FitConfig, FitReport
from wm_agents.world_models.losses import (
    PredictionWeights,
    huber,
    masked_mean,
    weighted_cross_entropy,
)
from wm_agents.world_models.neural import NeuralModel, Rescaling
from wm_agents.world_models.normalization import change_of_units, divisors
from wm_agents.world_models.sampling import TrainingBatch
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.dynamics import MAX_STEER, TIME_STEP, TO_FRONT, TO_REAR
from wm_envs.driving.observations import has_left_or_spun
from wm_envs.driving.track import track_of


class Motion(IntEnum):
    """What moves the car, as rows [12] inside the model; the last four are the tyres' temperatures.

    The rest of an observation is geometry, or too slow to matter.
    """

    VX = 0
    VY = 1
    AX = 2
    AY = 3
    YAW_RATE = 4
    STEERING = 5
    THROTTLE = 6
    BRAKE = 7
    HEAT = 8


class Force(IntEnum):
    """What the networks predict, as rows [7]; the last four are changes of temperatures."""

    AX = 0
    AY = 1
    YAW_CHANGE = 2
    HEAT_CHANGE = 3


MOTION_COLUMNS = [
    int(column)
    for column in (
        Column.VELOCITY_X,
        Column.VELOCITY_Y,
        Column.ACCELERATION_X,
        Column.ACCELERATION_Y,
        Column.YAW_RATE,
        Column.STEERING,
        Column.THROTTLE,
        Column.BRAKE,
        Column.TEMPERATURE_FL,
        Column.TEMPERATURE_FR,
        Column.TEMPERATURE_RL,
        Column.TEMPERATURE_RR,
    )
]
"""Columns of an observation that are `Motion`."""
NUM_MOTIONS = len(MOTION_COLUMNS)
NUM_FORCES = 7
NUM_SLIPS = 4
ACTUATORS = slice(Motion.STEERING, Motion.BRAKE + 1)
SMALL_SLIP = 1 / 16  # rad; slips are squashed at both scales, as tyres saturate
LARGE_SLIP = 1 / 4
LOSS_WEIGHTS = {
    Motion.VX: 1.0,
    Motion.VY: 1.0,
    Motion.YAW_RATE: 1.0,
    Motion.AX: 0.5,
    Motion.AY: 0.5,
    Motion.HEAT: 0.2,
    Motion.HEAT + 1: 0.2,
    Motion.HEAT + 2: 0.2,
    Motion.HEAT + 3: 0.2,
}
"""Weights of the columns of `Motion` in the loss; the actuators are not learned by it."""
_MEASURED = ("force_low", "force_high", "feature_mean", "feature_std", "force_mean", "force_std")


@dataclass(frozen=True)
class DrivingModelConfig:
    """Shape and loss of a `DrivingModel`.

    Attributes:
        num_members: Networks, E, whose mean is the prediction.
        widths: Hidden units of each network's layers.
        reward_widths: Hidden units of the reward head.
        termination_widths: Hidden units of the termination head.
        weights: Weights of the loss terms.
        max_positive_weight: A termination counts as often as it is rarer than the rest, but at most
            this many times.
        knows_grip: Whether the networks see the grip of the circuit, `CircuitMap.grips`.
    """

    num_members: int = 1
    widths: tuple[int, ...] = (96, 96)
    reward_widths: tuple[int, ...] = (64,)
    termination_widths: tuple[int, ...] = (64,)
    weights: PredictionWeights = field(default_factory=PredictionWeights)
    max_positive_weight: float = 10.0
    knows_grip: bool = False


class DrivingModel(NeuralModel):
    """Learned forces in known kinematics.

    Observations are the 40 numbers of `observations.COLUMN_NAMES`; `fit` and `start` take the
    environment's 37 as well, for the first circuit of the model's map.

    Attributes:
        intervals: Half widths [H, 2] of 90% intervals of offset (m) and speed (m/s), h + 1 steps
            ahead, see `error_intervals`; None where they were not measured. Files keep them.
        circuit_names: Circuits on which it was fitted, where known. Files keep them.
        grips: Of the circuits of the map [C], as a share of the usual grip; no file keeps them.
    """

    kind = "driving world model"
    config_class = DrivingModelConfig
    config: DrivingModelConfig
    lags: Tensor
    force_low: Tensor
    force_high: Tensor
    change_scale: Tensor
    feature_mean: Tensor
    feature_std: Tensor
    force_mean: Tensor
    force_std: Tensor
    intervals: NDArray[np.float64] | None = None
    circuit_names: tuple[str, ...] | None = None
    grips: Tensor | None = None

    @classmethod
    def for_circuits(
        cls, circuits: CircuitMap, config: DrivingModelConfig | None = None, *, seed: int = 0
    ) -> Self:
        """A model for the circuits of a map.

        Args:
            circuits: Which roads there are; the numbers of their columns `circuit`.
            config: Shape and loss; None takes the defaults.
            seed: Draws the initial weights.
        """
        layout = make_layout("kinematics", circuits)
        spaces = model_observation_space(), car_action_space()
        model = cls(*spaces, config, layout=layout, seed=seed)
        model.grips = circuits.grips
        return model

    @classmethod
    def for_env(
        cls,
        env: Any,
        config: DrivingModelConfig | None = None,
        *,
        seed: int = 0,
        **env_kwargs: Any,
    ) -> Self:
        """A model for the circuit of an environment.

        Args:
            env: The id "wm/Driving-v0", or such an environment, single or vectorized, with extended
                observations in SI units.
            config: Shape and loss; None takes the defaults.
            seed: Draws the initial weights.
            env_kwargs: Options for an id, such as `track`.

        Raises:
            SpaceError: Another environment, or one with other observations.
        """
        return cls.for_circuits(circuit_of(env, **env_kwargs), config, seed=seed)

    @property
    def num_members(self) -> int:  # type: ignore[override]
        """E."""
        return self.config.num_members

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Where imagination begins: observations [B, 40], or [B, 37] of circuit 0."""
        if not has_derived_columns(observations):
            extended = extend(observations.cpu().numpy(), 0)
            observations = torch.from_numpy(extended).to(observations.device)
        return super().start(observations, hidden)

    def fit(self, trajectories: Trajectories, *args: Any, **options: Any) -> FitReport:
        """Learn from recorded episodes, observations [S, 40] or [S, 37]; see `NeuralModel.fit`.

        `fit_driving` does so with the settings that were found for the car.
        """
        if not has_derived_columns(trajectories.observations):
            trajectories = extend_trajectories(trajectories, 0)
        return super().fit(trajectories, *args, **options)

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B, 3]; the members' mean, and how far they are apart."""
        before = state.observations
        motion = before[:, MOTION_COLUMNS]  # [B, 12]
        grip = self.grip_of(before)
        forces = self.forces(motion.expand(self.num_members, -1, -1), actions, grip)  # [E, B, 7]
        disagreement = (forces / self.force_std).std(0, correction=0).square().mean(-1).sqrt()
        mean = torch.clamp(forces.mean(0), self.force_low, self.force_high)
        columns = torch.tensor(MOTION_COLUMNS, device=before.device)
        after = before.index_copy(-1, columns, self.advance(motion, actions, mean))
        for derived in self.layout.derived:
            columns = torch.tensor(derived.columns, device=before.device)
            after = after.index_copy(-1, columns, derived.function(before, after))
        after = torch.clamp(after, self.low, self.high)
        encoded = self.encode_actions(actions)
        transition = torch.cat([self.head_inputs(before), encoded, self.head_inputs(after)], -1)[
            None
        ]
        rewards = self.reward_scale.restore(self.reward_head(transition)[0]).squeeze(-1)
        logits = self.termination_head(transition)[0].squeeze(-1)
        terminations = self.termination_probability(logits)
        return ModelState(after), Prediction(after, rewards, terminations, disagreement)

    def grip_of(self, observations: Tensor) -> Tensor | None:
        """The grip [..., 1] where observations [..., 40] are, or None where it is not asked for.

        Raises:
            ConfigError: The model knows the grip and has no map that says it.
        """
        if not self.config.knows_grip:
            return None
        if self.grips is None:
            raise ConfigError("the model sees the grip: give a CircuitMap with grips")
        grips = self.grips.to(observations.device)
        return grips[observations[..., DerivedColumn.CIRCUIT].long()][..., None]

    def forces(self, motion: Tensor, actions: Tensor, grip: Tensor | None = None) -> Tensor:
        """Accelerations, changes of yaw rate and temperatures [E, B, 7] of motion [E, B, 12].

        A model that knows the grip [..., B, 1] is to be told.
        """
        features = self.features(motion, self.applied(motion, actions))  # [E, B, 16]
        if grip is not None:
            features = torch.cat([features, grip.expand(*features.shape[:-1], 1)], -1)
        scaled = (features - self.feature_mean) / self.feature_std
        output: Tensor = self.dynamics(scaled) * self.force_std + self.force_mean
        return output

    def applied(self, motion: Tensor, actions: Tensor) -> Tensor:
        """Steering, throttle and brake [..., 3] that act in this step."""
        return motion[..., ACTUATORS] + self.lags * (actions - motion[..., ACTUATORS])

    def features(self, motion: Tensor, applied: Tensor) -> Tensor:
        """What a network sees [..., 16] of motion [..., 12] and what is applied [..., 3]."""
        vx = motion[..., Motion.VX]
        vy = motion[..., Motion.VY]
        yaw_rate = motion[..., Motion.YAW_RATE]
        speed = vx.clamp_min(MIN_SPEED)
        front = MAX_STEER * applied[..., 0] - torch.atan((vy + TO_FRONT * yaw_rate) / speed)
        rear = -torch.atan((vy - TO_REAR * yaw_rate) / speed)
        slips = torch.stack(
            [front / SMALL_SLIP, rear / SMALL_SLIP, front / LARGE_SLIP, rear / LARGE_SLIP], -1
        )
        body = motion[..., : Motion.STEERING]
        return torch.cat([body, applied, motion[..., Motion.HEAT :], torch.tanh(slips)], -1)

    def advance(self, motion: Tensor, actions: Tensor, forces: Tensor) -> Tensor:
        """The motion [..., 12] after a step.

        The frame turns by the mean yaw rate, gained velocity by half of it.
        """
        yaw_rate = motion[..., Motion.YAW_RATE] + forces[..., Force.YAW_CHANGE]
        turned = 0.5 * TIME_STEP * (motion[..., Motion.YAW_RATE] + yaw_rate)
        cosine, sine = torch.cos(turned), torch.sin(turned)
        half_cosine, half_sine = torch.cos(0.5 * turned), torch.sin(0.5 * turned)
        vx = motion[..., Motion.VX]
        vy = motion[..., Motion.VY]
        gained_x = TIME_STEP * forces[..., Force.AX]
        gained_y = TIME_STEP * forces[..., Force.AY]
        new_vx = cosine * vx + sine * vy + half_cosine * gained_x + half_sine * gained_y
        new_vy = cosine * vy - sine * vx + half_cosine * gained_y - half_sine * gained_x
        body = [new_vx, new_vy, forces[..., Force.AX], forces[..., Force.AY], yaw_rate]
        applied = self.applied(motion, actions).expand(*motion.shape[:-1], 3)
        heat = motion[..., Motion.HEAT :] + forces[..., Force.HEAT_CHANGE :]
        return torch.cat([torch.stack(body, -1), applied, heat], -1)

    def loss(self, segment: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:  # noqa: ARG002
        """Open-loop error over the segment, and the heads' errors on its first transition."""
        segment = segment.map(lambda tensor: tensor.unflatten(0, (self.num_members, -1)))
        truth = segment.observations[..., MOTION_COLUMNS]  # [E, B, H + 1, 12]
        motion = segment.inputs[..., MOTION_COLUMNS]  # [E, B, 12]
        grip = self.grip_of(segment.observations[:, :, 0])
        compared = list(LOSS_WEIGHTS)
        weights = torch.tensor(list(LOSS_WEIGHTS.values()), device=self.device)
        errors = []
        for step in range(segment.mask.shape[-1]):
            actions = segment.actions[:, :, step]
            motion = self.advance(motion, actions, self.forces(motion, actions, grip))
            error = (motion - truth[:, :, step + 1])[..., compared] / self.change_scale
            squashed = F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none")
            errors.append((squashed * weights).mean(-1))
        return {
            "state": masked_mean(torch.stack(errors, -1), segment.mask),
            **self._head_losses(segment),
        }

    def _head_losses(self, segment: TrainingBatch) -> dict[str, Tensor]:
        inputs = self.head_inputs(segment.observations[:, :, :2])
        encoded = self.encode_actions(segment.actions[:, :, 0])
        pairs = torch.cat([inputs[:, :, 0], encoded, inputs[:, :, 1]], -1)
        transitions = pairs.flatten(0, 1)[None]
        rewards = self.reward_scale.normalize(segment.rewards[:, :, 0].reshape(-1, 1)).squeeze(-1)
        reward_errors = huber(self.reward_head(transitions)[0].squeeze(-1), rewards)
        termination_errors = weighted_cross_entropy(
            self.termination_head(transitions)[0].squeeze(-1),
            segment.terminations[:, :, 0].flatten(),
            self.positive_weight,
        )
        mask = segment.mask[:, :, 0].flatten()
        return {
            "reward": masked_mean(reward_errors, mask),
            "termination": masked_mean(termination_errors, mask),
        }

    def for_all_members(self, segment: TrainingBatch) -> TrainingBatch:
        """The segment once per member."""
        return segment.map(lambda tensor: tensor.repeat(self.num_members, *[1] * (tensor.ndim - 1)))

    def adapt(self, trajectories: Trajectories) -> None:
        """Measure again for a warm start; see `NeuralModel.adapt`."""
        # `change_units` needs the scales that the weights were learned in.
        self._before: dict[str, Tensor] = {}
        if self.is_measured:
            self._before = {name: getattr(self, name).clone() for name in _MEASURED}
        super().adapt(trajectories)

    def change_units(self, change: Rescaling) -> None:
        """Change first and last layers so that they mean the same in other units."""
        before = self._before
        is_learned = torch.ones_like(self.feature_std, dtype=torch.bool)
        old = (before["feature_mean"], before["feature_std"])
        new = (self.feature_mean, self.feature_std)
        self.dynamics.change_inputs(change_of_units(old, new, is_learned))
        scale = before["force_std"].double() / self.force_std.double()
        shift = (before["force_mean"].double() - self.force_mean.double()) / self.force_std.double()
        self.dynamics.change_outputs(Affine(torch.diag(scale), shift))
        self.force_low.copy_(torch.minimum(self.force_low, before["force_low"]))
        self.force_high.copy_(torch.maximum(self.force_high, before["force_high"]))
        self.reward_head.change_inputs(change.transition)
        self.reward_head.change_outputs(change.reward)
        self.termination_head.change_inputs(change.transition)
        self.termination_head.change_outputs(change.termination)

    def save(
        self, path: str | os.PathLike[str], surroundings: dict[str, Any] | None = None
    ) -> Path:
        """Write weights, scales, configuration and intervals to one file and return its path.

        The suffix .safetensors is added where there is none. The map of the circuits is not in it.

        Args:
            path: The file.
            surroundings: JSON of whatever wraps this model.
        """
        return super().save(saved_path(path), surroundings)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: Any = None,
        *,
        device: str = "auto",
        given: CircuitMap | None = None,
    ) -> Self:
        """Read a file that `save` wrote.

        Args:
            path: The file, with or without its suffix.
            env: A driving environment whose circuit the model is used on.
            device: Where the model goes; "auto" takes an accelerator where there is one.
            given: The map of the circuits that it is used on, which no file holds; None takes that
                of `env`.

        Raises:
            CheckpointError: The file is damaged or of another kind of model, or neither map nor
                environment is given.
            SpaceError: The environment is not one for this model.
        """
        if given is None and env is None:
            raise CheckpointError(
                f"{path} holds no map of a circuit: give an environment, or "
                "given=CircuitMap.of(...)"
            )
        circuits = circuit_of(env) if given is None else given
        path = saved_path(path)
        derived = make_layout("kinematics", circuits).derived
        model = super().load(path, device=device, given=derived)
        model.grips = circuits.grips
        if model.intervals is None:  # older files have them in the entry of what wraps a model
            model.restore(load_checkpoint(path, kind=cls.kind).metadata.get("surroundings", {}))
        return model

    def describe(self) -> dict[str, Any]:
        """The intervals and the names of the circuits, for files."""
        description: dict[str, Any] = {}
        if self.intervals is not None:
            description["bands"] = self.intervals.tolist()
        if self.circuit_names is not None:
            description["circuits"] = list(self.circuit_names)
        return description

    def restore(self, description: dict[str, Any]) -> None:
        """Take over what `describe` gave.

        Raises:
            CheckpointError: Intervals that are no numbers [H, 2].
        """
        if "bands" in description:
            intervals = np.array(description["bands"])
            if intervals.dtype.kind != "f" or intervals.ndim != 2 or intervals.shape[1] != 2:
                raise CheckpointError(
                    f"the model's intervals are numbers [H, 2], got {description['bands']!r}"
                )
            self.intervals = intervals
        if "circuits" in description:
            self.circuit_names = tuple(map(str, description["circuits"]))

    def _measure(self, trajectories: Trajectories, is_again: bool = False) -> None:
        super()._measure(trajectories, is_again)
        source = torch.as_tensor(trajectories.observation_of_step)
        before = torch.as_tensor(trajectories.observations)[source][:, MOTION_COLUMNS]  # [S, 12]
        after = torch.as_tensor(trajectories.next_observations)[:, MOTION_COLUMNS]
        actions = torch.as_tensor(trajectories.actions)
        self._measure_lags(before, after, actions)
        features = self.features(before, self.applied(before, actions)).double()
        grip = self.grip_of(torch.as_tensor(trajectories.observations)[source])
        if grip is not None:
            features = torch.cat([features, grip.double()], -1)
        self.feature_mean.copy_(features.mean(0))
        self.feature_std.copy_(divisors(features.std(0)))
        change = after - before
        accelerations = after[:, Motion.AX : Motion.AY + 1]
        turning = change[:, Motion.YAW_RATE : Motion.YAW_RATE + 1]
        heating = change[:, Motion.HEAT :]
        forces = torch.cat([accelerations, turning, heating], 1)  # [S, 7]
        self.force_low.copy_(forces.amin(0))
        self.force_high.copy_(forces.amax(0))
        self.force_mean.copy_(forces.double().mean(0))
        self.force_std.copy_(divisors(forces.double().std(0)))
        # In the order of LOSS_WEIGHTS.
        scales = [
            change[:, [Motion.VX, Motion.VY, Motion.YAW_RATE]].double().std(0),
            accelerations.double().std(0),
            heating.double().std(0),
        ]
        self.change_scale.copy_(divisors(torch.cat(scales)))

    def _measure_lags(self, before: Tensor, after: Tensor, actions: Tensor) -> None:
        """The share of the way to a command that an actuator goes in a step, by least squares."""
        wanted = actions - before[:, ACTUATORS]
        moved = after[:, ACTUATORS] - before[:, ACTUATORS]
        moments = wanted.double().square().sum(0)
        shares = (moved * wanted).double().sum(0) / divisors(moments)
        # An actuator that was never asked to move keeps what it had.
        self.lags.copy_(torch.where(moments > 0, shares, self.lags))

    def _build(self, generator: torch.Generator) -> None:
        config = self.config
        num_features = NUM_MOTIONS + NUM_SLIPS + int(config.knows_grip)
        sizes = {
            "lags": 3,
            "force_low": NUM_FORCES,
            "force_high": NUM_FORCES,
            "force_mean": NUM_FORCES,
            "force_std": NUM_FORCES,
            "change_scale": len(LOSS_WEIGHTS),
            "feature_mean": num_features,
            "feature_std": num_features,
        }
        for name, size in sizes.items():
            self.register_buffer(name, torch.ones(size))
        transition = 2 * self.num_head_inputs + self.encode_actions.size
        self.dynamics = EnsemblePerceptron(
            config.num_members,
            (num_features, *config.widths, NUM_FORCES),
            "silu",
            generator,
            output_gain=0.1,
        )
        self.reward_head = EnsemblePerceptron(
            1, (transition, *config.reward_widths, 1), "silu", generator
        )
        self.termination_head = EnsemblePerceptron(
            1, (transition, *config.termination_widths, 1), "silu", generator
        )


def circuit_of(env: Any, **env_kwargs: Any) -> CircuitMap:
    """The map of an environment's circuit; arguments and errors as for `DrivingModel.for_env`."""
    if isinstance(env, str):
        options: dict[str, Any] = ENV_OPTIONS | env_kwargs
        env = gym.make(env, **options)
    parameters: Any = getattr(env.unwrapped, "parameters", None)
    names = getattr(getattr(parameters, "dtype", None), "names", None) or ()
    if not {"curvature", "is_extended", "is_normalised"} <= set(names):
        raise SpaceError(f"expected wm/Driving-v0, got {env}")
    if parameters["is_normalised"][0] or not parameters["is_extended"][0]:
        raise SpaceError(
            "the model reads extended observations in SI units: make wm/Driving-v0 with "
            'observation="extended" and normalize=False'
        )
    return CircuitMap([track_of(parameters)])


def member_of(model: DrivingModel, number: int) -> DrivingModel:
    """One network of a model by itself."""
    config = replace(model.config, num_members=1)
    alone = DrivingModel(
        model.observation_space, model.action_space, config, layout=model.layout, seed=model.seed
    )
    weights = {
        name: value[number : number + 1] if name.startswith("dynamics.") else value
        for name, value in model.state_dict().items()
    }
    alone.load_state_dict(weights)
    alone.grips = model.grips
    return alone


@torch.no_grad()
def expected_end(model: DrivingModel, observations: Tensor, actions: Tensor) -> Tensor:
    """Observations [B, 40] to expect after actions [B, H, 3], given that the car is still driving.

    Every member imagines a future of its own, since near a spin the mean of forces leads where no
    future does. A future that leaves the road or spins holds still there, as the environment does,
    and is left out of the mean unless all futures do.
    """
    ends = []
    for number in range(model.num_members):
        member = member_of(model, number)
        state = member.start(observations)
        has_ended = torch.zeros(len(observations), dtype=torch.bool)
        for step in range(actions.shape[1]):
            next_state, _ = member.step(state, actions[:, step])
            held = torch.where(has_ended[:, None], state.observations, next_state.observations)
            state = ModelState(held)
            has_ended = has_ended | is_off_or_spun(held)
        ends.append((state.observations, has_ended))
    futures = torch.stack([observation for observation, _ in ends])  # [E, B, 40]
    is_driving = ~torch.stack([has_ended for _, has_ended in ends])[..., None]
    counted = torch.where(is_driving.any(0), is_driving, torch.ones_like(is_driving)).float()
    return (futures * counted).sum(0) / counted.sum(0)


def is_off_or_spun(observations: Tensor) -> Tensor:
    """Where the environment ends an episode [B], but for standstill."""
    return torch.from_numpy(has_left_or_spun(observations.cpu().numpy())).to(observations.device)


def fit_driving(
    model: DrivingModel,
    trajectories: Trajectories,
    num_updates: int,
    seed: int,
    *,
    is_warm_start: bool = False,
    batch_size: int = 1024,
) -> FitReport:
    """Fit to driving and its mirror image, with the settings found on the training circuits.

    Args:
        model: What is fitted.
        trajectories: Extended observations; every twentieth episode is held out.
        num_updates: Optimizer steps.
        seed: Draws batches.
        is_warm_start: Go on from the present weights, more carefully.
        batch_size: Transitions per update and member.
    """
    is_held_out = np.arange(trajectories.num_episodes) % 20 == 0
    kept = trajectories.select(np.flatnonzero(~is_held_out))
    held_out = trajectories.select(np.flatnonzero(is_held_out))
    config = FitConfig(
        num_updates=num_updates,
        batch_size=batch_size,
        horizon=16,
        learning_rate=1e-3 if is_warm_start else 3e-3,
        curriculum_start=0.2 if is_warm_start else 0.6,
        num_warmup=200,
        is_warm_start=is_warm_start,
        evaluate_every=500,
        seed=seed,
    )
    both = Trajectories.concatenate([kept, mirrored(kept)])
    return model.fit(both, config, validation=held_out, progress=False)


@torch.no_grad()
def error_intervals(
    model: NeuralModel,
    trajectories: Trajectories,
    horizon: int,
    coverage: float = 0.9,
    num_windows: int = 600,
) -> NDArray[np.float64]:
    """Half widths [H, 2] of intervals of offset (m) and speed (m/s), h + 1 steps ahead.

    Split conformal prediction: the quantile of the absolute errors, with one rank more for what is
    finite.

    Args:
        model: Predicts.
        trajectories: Episodes that were not fitted.
        horizon: Steps ahead, H.
        coverage: Share of the errors that an interval is to hold.
        num_windows: Starts at most, evenly spaced.
    """
    num_windows = min(num_windows, trajectories.num_steps)
    starts = torch.linspace(0, trajectories.num_steps - 1, num_windows).round().long()
    windows = trajectories.windows(horizon, starts.numpy()).map(torch.as_tensor)
    rollout = model.rollout(windows.observations[:, 0], windows.actions)
    columns = [Column.OFFSET, Column.VELOCITY_X]
    errors = (rollout.observations - windows.observations)[:, 1:, columns].abs()
    errors[~windows.mask] = torch.nan
    level = min(coverage * (1 + 1 / len(errors)), 1.0)
    return torch.nanquantile(errors, level, dim=0).double().numpy()
