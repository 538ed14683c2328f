"""The world model of the car: a network for the tyres' forces inside the motion of a rigid body.

What is known of any car is written down and costs nothing to learn: the pedals and the steering
follow commands with a lag (fitted by least squares), accelerations move the body, the slip of an
axle follows from the velocities and the wheelbase, and left and right are alike. What is not known,
the forces, the turning and the heat of the tyres, is predicted by one or several perceptrons: seven
numbers per step, kept within the range that was recorded.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wm_agents.domains.driving.model import (
    AX,
    AY,
    BRAKE,
    HEADING,
    LEFT,
    OFFSET,
    RIGHT,
    SLOWEST,
    STEERING,
    TEMPERATURES,
    THROTTLE,
    VX,
    VY,
    YAW_RATE,
    action_space,
    model_space,
)
from wm_agents.networks import Affine, EnsemblePerceptron
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models import FeatureLayout, FitConfig, FitReport
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
from wm_envs.driving.dynamics import (
    HALF_WIDTH,
    MAX_SIDESLIP,
    MAX_STEER,
    SLOW,
    TIME_STEP,
    TO_FRONT,
    TO_REAR,
)

MOTION = (VX, VY, AX, AY, YAW_RATE, STEERING, THROTTLE, BRAKE, *TEMPERATURES)
"""Columns that move the car; the rest of an observation is geometry, or too slow to matter."""
NUM_SLIPS = 4
SMALL_SLIP, LARGE_SLIP = 1 / 16, 1 / 4  # rad; slips are squashed at both scales, as tyres saturate
MEASURED = ("force_low", "force_high", "feature_mean", "feature_std", "force_mean", "force_std")
TERM_WEIGHTS = (
    1.0,
    1.0,
    1.0,
    0.5,
    0.5,
    0.2,
    0.2,
    0.2,
    0.2,
)  # of vx, vy, yaw rate, ax, ay and temperatures


@dataclass(frozen=True)
class CarConfig:
    """Shape and loss of a `CarModel`.

    Attributes:
        num_members: Networks, E, whose mean is the prediction.
        widths: Hidden units of each network's layers.
        reward_widths: Hidden units of the reward head.
        termination_widths: Hidden units of the termination head.
        weights: Weights of the loss terms.
        max_positive_weight: A termination counts as often as it is rarer than the rest, but at most
            this many times.
    """

    num_members: int = 1
    widths: tuple[int, ...] = (96, 96)
    reward_widths: tuple[int, ...] = (64,)
    termination_widths: tuple[int, ...] = (64,)
    weights: PredictionWeights = field(default_factory=PredictionWeights)
    max_positive_weight: float = 10.0


class CarModel(NeuralModel):
    """Learned forces in known kinematics; observations are the 40 numbers of `model.COLUMNS`."""

    kind = "driving world model"
    config_class = CarConfig
    config: CarConfig
    lags: Tensor
    force_low: Tensor
    force_high: Tensor
    change_scale: Tensor
    feature_mean: Tensor
    feature_std: Tensor
    force_mean: Tensor
    force_std: Tensor

    @property
    def num_members(self) -> int:  # type: ignore[override]
        """E."""
        return self.config.num_members

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B, 3]; the members' mean, and how far they are apart."""
        before = state.observations
        forces = self.forces(before[:, MOTION].expand(self.num_members, -1, -1), actions)
        spread = (forces / self.force_std).std(0, correction=0).square().mean(-1).sqrt()
        mean = torch.clamp(forces.mean(0), self.force_low, self.force_high)
        motion = self.advance(before[:, MOTION], actions, mean)
        after = before.index_copy(-1, torch.tensor(MOTION), motion)
        for known in self.layout.derived:
            after = after.index_copy(-1, torch.tensor(known.columns), known.function(before, after))
        after = torch.clamp(after, self.low, self.high)
        acts = self.encode_actions(actions)
        transition = torch.cat([self.head_inputs(before), acts, self.head_inputs(after)], -1)[None]
        rewards = self.reward_scale.restore(self.reward_head(transition)[0]).squeeze(-1)
        ends = self.termination_probability(self.termination_head(transition)[0].squeeze(-1))
        return ModelState(after), Prediction(after, rewards, ends, spread)

    def forces(self, motion: Tensor, actions: Tensor) -> Tensor:
        """Accelerations, change of the yaw rate and of four temperatures [E, B, 7] of rows [E, B, 12]."""
        features = (
            self.features(motion, self.applied(motion, actions)) - self.feature_mean
        ) / self.feature_std
        output: Tensor = self.dynamics(features) * self.force_std + self.force_mean
        return output

    def applied(self, motion: Tensor, actions: Tensor) -> Tensor:
        """Steering, throttle and brake [..., 3] that act in this step."""
        return motion[..., 5:8] + self.lags * (actions - motion[..., 5:8])

    def features(self, motion: Tensor, applied: Tensor) -> Tensor:
        """What a network sees [..., 16] of motion [..., 12] and what is applied."""
        vx, vy, yaw_rate = motion[..., 0], motion[..., 1], motion[..., 4]
        speed = vx.clamp_min(SLOWEST)
        front = MAX_STEER * applied[..., 0] - torch.atan((vy + TO_FRONT * yaw_rate) / speed)
        rear = -torch.atan((vy - TO_REAR * yaw_rate) / speed)
        slips = torch.stack(
            [front / SMALL_SLIP, rear / SMALL_SLIP, front / LARGE_SLIP, rear / LARGE_SLIP], -1
        )
        return torch.cat([motion[..., :5], applied, motion[..., 8:], torch.tanh(slips)], -1)

    def advance(self, motion: Tensor, actions: Tensor, forces: Tensor) -> Tensor:
        """The motion [..., 12] after a step.

        The frame turns by the mean yaw rate, gained velocity by half of it.
        """
        yaw_rate = motion[..., 4] + forces[..., 2]
        turned = 0.5 * TIME_STEP * (motion[..., 4] + yaw_rate)
        cosine, sine = torch.cos(turned), torch.sin(turned)
        half_cosine, half_sine = torch.cos(0.5 * turned), torch.sin(0.5 * turned)
        vx, vy = motion[..., 0], motion[..., 1]
        gained_x, gained_y = TIME_STEP * forces[..., 0], TIME_STEP * forces[..., 1]
        new_vx = cosine * vx + sine * vy + half_cosine * gained_x + half_sine * gained_y
        new_vy = cosine * vy - sine * vx + half_cosine * gained_y - half_sine * gained_x
        parts = [torch.stack([new_vx, new_vy, forces[..., 0], forces[..., 1], yaw_rate], -1)]
        parts += [
            self.applied(motion, actions).expand(*motion.shape[:-1], 3),
            motion[..., 8:] + forces[..., 3:],
        ]
        return torch.cat(parts, -1)

    def loss(self, segment: TrainingBatch, generator: torch.Generator) -> dict[str, Tensor]:  # noqa: ARG002
        """Open-loop error over the segment, and the heads' errors on its first transition."""
        segment = segment.map(lambda tensor: tensor.unflatten(0, (self.num_members, -1)))
        truth, present = segment.observations[..., MOTION], segment.inputs[..., MOTION]
        compared = [0, 1, 4, 2, 3, 8, 9, 10, 11]
        weights, errors = torch.tensor(TERM_WEIGHTS), []
        for step in range(segment.mask.shape[-1]):
            actions = segment.actions[:, :, step]
            present = self.advance(present, actions, self.forces(present, actions))
            error = (present - truth[:, :, step + 1])[..., compared] / self.change_scale
            errors.append(
                (F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none") * weights).mean(
                    -1
                )
            )
        seen = self.head_inputs(segment.observations[:, :, :2])
        acts = self.encode_actions(segment.actions[:, :, 0])
        transitions = torch.cat([seen[:, :, 0], acts, seen[:, :, 1]], -1).flatten(0, 1)[None]
        rewards = self.reward_scale.normalize(segment.rewards[:, :, 0].reshape(-1, 1)).squeeze(-1)
        logits = self.termination_head(transitions)[0].squeeze(-1)
        ends = weighted_cross_entropy(
            logits, segment.terminations[:, :, 0].flatten(), self.positive_weight
        )
        first = segment.mask[:, :, 0].flatten()
        return {
            "state": masked_mean(torch.stack(errors, -1), segment.mask),
            "reward": masked_mean(
                huber(self.reward_head(transitions)[0].squeeze(-1), rewards), first
            ),
            "termination": masked_mean(ends, first),
        }

    def for_all_members(self, segment: TrainingBatch) -> TrainingBatch:
        """The segment once per member."""
        return segment.map(lambda tensor: tensor.repeat(self.num_members, *[1] * (tensor.ndim - 1)))

    def adapt(self, trajectories: Trajectories) -> None:
        """Measure again for a warm start; see `NeuralModel.adapt`."""
        self._before = (
            {name: getattr(self, name).clone() for name in MEASURED} if self.is_measured else {}
        )
        super().adapt(trajectories)

    def change_units(self, change: Rescaling) -> None:
        """Change first and last layers so that they mean the same in other units."""
        before = self._before
        is_learned = torch.ones_like(self.feature_std, dtype=torch.bool)
        old, new = (
            (before["feature_mean"], before["feature_std"]),
            (self.feature_mean, self.feature_std),
        )
        self.dynamics.change_inputs(change_of_units(old, new, is_learned))
        scale = before["force_std"].double() / self.force_std.double()
        shift = (before["force_mean"].double() - self.force_mean.double()) / self.force_std.double()
        self.dynamics.change_outputs(Affine(torch.diag(scale), shift))
        self.force_low.copy_(torch.minimum(self.force_low, before["force_low"]))
        self.force_high.copy_(torch.maximum(self.force_high, before["force_high"]))
        for head, outputs in (
            (self.reward_head, change.reward),
            (self.termination_head, change.termination),
        ):
            head.change_inputs(change.transition)
            head.change_outputs(outputs)

    def _measure(self, trajectories: Trajectories, is_again: bool = False) -> None:
        super()._measure(trajectories, is_again)
        before = torch.as_tensor(trajectories.observations)[
            torch.as_tensor(trajectories.observation_of_step)
        ]
        before, after = (
            before[:, MOTION],
            torch.as_tensor(trajectories.next_observations)[:, MOTION],
        )
        wanted = torch.as_tensor(trajectories.actions) - before[:, 5:8]
        moved = after[:, 5:8] - before[:, 5:8]
        moments = wanted.double().square().sum(0)
        self.lags.copy_(
            torch.where(
                moments > 0, (moved * wanted).double().sum(0) / divisors(moments), self.lags
            )
        )
        features = self.features(
            before, self.applied(before, torch.as_tensor(trajectories.actions))
        ).double()
        self.feature_mean.copy_(features.mean(0))
        self.feature_std.copy_(divisors(features.std(0)))
        forces = torch.cat(
            [after[:, 2:4], after[:, 4:5] - before[:, 4:5], after[:, 8:] - before[:, 8:]], 1
        )
        self.force_low.copy_(forces.amin(0))
        self.force_high.copy_(forces.amax(0))
        self.force_mean.copy_(forces.double().mean(0))
        self.force_std.copy_(divisors(forces.double().std(0)))
        change = after - before
        scales = [
            change[:, [0, 1, 4]].double().std(0),
            forces[:, :2].double().std(0),
            change[:, 8:].double().std(0),
        ]
        self.change_scale.copy_(divisors(torch.cat(scales)))

    def _build(self, generator: torch.Generator) -> None:
        config, num_features = self.config, len(MOTION) + NUM_SLIPS
        sizes = {
            "lags": 3,
            "force_low": 7,
            "force_high": 7,
            "force_mean": 7,
            "force_std": 7,
            "change_scale": 9,
        }
        for name, size in (
            sizes | {"feature_mean": num_features, "feature_std": num_features}
        ).items():
            self.register_buffer(name, torch.ones(size))
        transition = 2 * self.num_head_inputs + self.encode_actions.size

        def make(members: int, *sizes: int, **options: Any) -> EnsemblePerceptron:
            return EnsemblePerceptron(members, sizes, "silu", generator, **options)

        self.dynamics = make(config.num_members, num_features, *config.widths, 7, output_gain=0.1)
        self.reward_head = make(1, transition, *config.reward_widths, 1)
        self.termination_head = make(1, transition, *config.termination_widths, 1)


def member_of(model: CarModel, number: int) -> CarModel:
    """One network of a model by itself."""
    alone = new_car_model(model.layout, widths=model.config.widths)
    weights = model.state_dict()
    alone.load_state_dict(
        {n: w[number : number + 1] if n.startswith("dynamics.") else w for n, w in weights.items()}
    )
    return alone


@torch.no_grad()
def expected_end(model: CarModel, starts: Tensor, actions: Tensor) -> Tensor:
    """Observations [B, 40] to expect after actions [B, H, 3], given that the car is still on its way.

    Every member imagines a future of its own, since near a spin the mean of forces leads where no
    future does. A future that leaves the road or spins holds still there, as the environment does,
    and is left out of the mean unless all futures do.
    """
    ends, is_over = [], []
    for number in range(model.num_members):
        alone = member_of(model, number)
        state, has_ended = alone.start(starts), torch.zeros(len(starts), dtype=torch.bool)
        for step in range(actions.shape[1]):
            following, _ = alone.step(state, actions[:, step])
            state = ModelState(
                torch.where(has_ended[:, None], state.observations, following.observations)
            )
            has_ended = has_ended | is_off_or_spun(state.observations)
        ends.append(state.observations)
        is_over.append(has_ended)
    futures, goes_on = torch.stack(ends), ~torch.stack(is_over)[..., None]
    counted = torch.where(goes_on.any(0), goes_on, torch.ones_like(goes_on)).float()
    return (futures * counted).sum(0) / counted.sum(0)


def is_off_or_spun(observations: Tensor) -> Tensor:
    """Where the environment ends an episode [B], but for standstill."""
    vx, vy, offset, heading = (observations[:, c] for c in (VX, VY, OFFSET, HEADING))
    beyond = torch.where(
        offset > 0, offset - observations[:, LEFT], -offset - observations[:, RIGHT]
    )
    is_sideways = (torch.atan2(vy, vx).abs() > MAX_SIDESLIP) & (torch.hypot(vx, vy) > SLOW)
    return (beyond > HALF_WIDTH) | is_sideways | (heading.abs() > torch.pi / 2)


def mirrored(trajectories: Trajectories) -> Trajectories:
    """The same driving seen in a mirror, where left is right."""
    signs = torch.ones(40)
    signs[[VY, AY, YAW_RATE, STEERING, 22, 23, *range(24, 35), 38, 39]] = -1.0
    order = list(range(40))
    for left, right in ((12, 13), (14, 15), (16, 17), (18, 19), (35, 36)):
        order[left], order[right] = right, left
    observations = trajectories.observations[:, order] * signs.numpy()
    return Trajectories.from_arrays(
        observations,
        trajectories.actions * torch.tensor([-1.0, 1.0, 1.0]).numpy(),
        trajectories.rewards,
        trajectories.terminations,
        trajectories.truncations,
        trajectories.lengths,
    )


def new_car_model(
    layout: FeatureLayout,
    *,
    num_members: int = 1,
    widths: tuple[int, ...] = (96, 96),
    seed: int = 0,
) -> CarModel:
    """A model for the circuits of a layout of `model.make_layout("kinematics", ...)`."""
    config = CarConfig(num_members=num_members, widths=widths)
    return CarModel(model_space(), action_space(), config, layout=layout, seed=seed)


def fit_car(
    model: CarModel,
    trajectories: Trajectories,
    num_updates: int,
    seed: int,
    *,
    is_warm_start: bool = False,
    batch_size: int = 1024,
) -> FitReport:
    """Fit to driving and its mirror image, with the settings that were found on the training circuits."""
    is_held_out = np.arange(trajectories.num_episodes) % 20 == 0
    kept, held_out = (
        trajectories.select(np.flatnonzero(mask)) for mask in (~is_held_out, is_held_out)
    )
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
