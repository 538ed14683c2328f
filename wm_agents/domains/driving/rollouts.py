"""Compiled rollouts of the car: where a disturbed policy leads, by the true rules and learned ones.

Both give the same numbers for many disturbances at once, so that a planner or a warning never knows
which one it asks. Disturbances have three or five columns: what is added to the steering and to the
pedals (throttle above 0, brake below), the share by which the policy's speed profile is raised,
and, for drivers who use both pedals at once, what is added to throttle and to brake.

Shape letters: N rows, H horizon.
"""

import math
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.driving import racer
from wm_agents.domains.driving.network import (
    ACTUATORS,
    LARGE_SLIP,
    NUM_FORCES,
    NUM_MOTIONS,
    NUM_SLIPS,
    SMALL_SLIP,
    DrivingModel,
    Force,
    Motion,
)
from wm_agents.domains.driving.observations import (
    LAST_POSITION,
    MAX_OFFSET,
    MIN_SPEED,
    car_action_space,
    env_observation_space,
)
from wm_agents.errors import ConfigError
from wm_agents.protocols import ModelState, Rollout
from wm_envs.driving import dynamics, expert
from wm_envs.driving.columns import WHEELS
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.observations import TEMPERATURES, WEAR
from wm_envs.kernel import Row, empty_rows, kernel
from wm_envs.rules import Array

Floats = NDArray[np.float64]

NUM_FEATURES = NUM_MOTIONS + NUM_SLIPS


class PathColumn(IntEnum):
    """Columns of an imagined path [.., H + 1, 9], the observations of a `Rollout`."""

    DISTANCE = 0  # along the centre line from the start of the lap in which it began, m
    OFFSET = 1  # to the left of the centre line, m
    SPEED = 2  # m/s
    SIDESLIP = 3  # rad
    COURSE = 4  # of the velocity against the centre line, rad
    GRIP = 5  # of the worse axle as a share of the peak, where the path began
    STEERING = 6  # the action that led here; 0 where the path began
    THROTTLE = 7
    BRAKE = 8


NUM_PATH_COLUMNS = len(PathColumn)
PATH_ACTION = slice(PathColumn.STEERING, PathColumn.BRAKE + 1)


class PathModel(Protocol):
    """What the driving planner searches: paths of the car under a disturbed policy."""

    observation_space: spaces.Box
    action_space: spaces.Box

    @property
    def num_members(self) -> int:
        """Models that may disagree, E."""
        ...

    @property
    def num_policies(self) -> int:
        """Policies that rows may disturb."""
        ...

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The state from which paths begin: extended observations [B, 37] in SI units.

        `hidden` may begin with the distances [B] along the lap, m, where they are known better than
        the float32 numbers of an observation tell.
        """
        ...

    def rollout(
        self,
        state: ModelState,
        disturbances: Tensor,
        *,
        policies: NDArray[np.int64] | None = None,
        member: int = 0,
        temperature_margin: float = 0.0,
    ) -> Rollout:
        """Paths [N, H + 1, 9] of N rows under disturbances [N, H, 3 or 5].

        Rewards are the metres driven in each step. No step terminates a path: what leaving the road
        costs is the objective's to say.

        Args:
            state: One row, or N.
            disturbances: Of the policy; without a policy they are the actions.
            policies: Which of the policies each row [N] disturbs; None takes the first.
            member: Which of the models.
            temperature_margin: Degrees by which tyres are taken to be further from their best
                temperature than they are, so that they grip less.
        """
        ...


Policy = expert.Expert | racer.Racer


class _Paths:
    """What both models of paths have: spaces, and where a path begins."""

    def __init__(self, parameters: Array, *policies: Policy | None) -> None:
        self.observation_space = env_observation_space()
        self.action_space = car_action_space()
        self._parameters = parameters
        known = [policy for policy in policies if policy is not None]
        self._has_policy = bool(known)
        self._tables = np.concatenate(
            [
                each.table if isinstance(each, racer.Racer) else racer.policy_table(each.table)
                for each in known or [expert.Expert(parameters)]
            ]
        )
        self._state: ModelState | None = None
        self._starts: Floats = np.zeros((0, NUM_PATH_COLUMNS))

    def _new_paths(self, state: ModelState, disturbances: Tensor) -> Floats:
        """Paths [N, H + 1, 9] of which only the start is filled in."""
        # A plan rolls out from one state several times.
        if state is not self._state:
            self._starts = path_starts(state, self._parameters)
            self._state = state
        num_rows, horizon = disturbances.shape[:2]
        paths = np.empty((num_rows, horizon + 1, NUM_PATH_COLUMNS))
        paths[:, 0] = self._starts
        return paths

    @property
    def num_policies(self) -> int:
        """Policies that rows may disturb."""
        return len(self._tables)

    def _policies(
        self, policies: NDArray[np.int64] | None, disturbances: Tensor
    ) -> NDArray[np.int64]:
        """The policy of each row [N]."""
        if policies is None:
            return np.zeros(len(disturbances), np.int64)
        if len(policies) != len(disturbances) or not (
            policies.min() >= 0 and policies.max() < self.num_policies
        ):
            raise ConfigError(
                f"policies={policies}: give one of 0 to {self.num_policies - 1} for each of the "
                f"{len(disturbances)} rows"
            )
        return policies


class TruePaths(_Paths):
    """Paths by the environment's own rules.

    Args:
        parameters: The parameter row [1] of the environment.
        policies: What is disturbed; None takes the disturbances as actions.
        num_substeps: Integration steps of 0.02 s; planning takes one where the environment has two.
    """

    num_members = 1

    def __init__(self, parameters: Array, *policies: Policy | None, num_substeps: int = 1) -> None:
        super().__init__(parameters.copy(), *policies)
        self._parameters["num_substeps"] = num_substeps

    def hidden_of(self, states: Array) -> tuple[Tensor, ...]:
        """What `start` needs beside observations, from states [B] of `clone_state()`."""
        rows = np.ascontiguousarray(states, dynamics.STATE)
        as_bytes = rows.view(np.uint8).reshape(len(rows), dynamics.STATE.itemsize)
        distances = torch.from_numpy(rows["distance"].copy())
        return distances, torch.from_numpy(as_bytes.copy())

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The state from which paths begin; `hidden` comes from `hidden_of`.

        Raises:
            ConfigError: No states: the true rules start from states, not from observations.
        """
        if not hidden:
            raise ConfigError(
                "the true rules start from environment states: give PlanningAgent the environment "
                "(env=...), or pass hidden=model.hidden_of(env.clone_state())"
            )
        return ModelState(observations, hidden)

    def rollout(
        self,
        state: ModelState,
        disturbances: Tensor,
        *,
        policies: NDArray[np.int64] | None = None,
        member: int = 0,  # noqa: ARG002
        temperature_margin: float = 0.0,
    ) -> Rollout:
        """Paths [N, H + 1, 9]; see `PathModel.rollout`."""
        states = state.hidden[1].numpy().view(dynamics.STATE).reshape(-1)
        rows = empty_rows(len(disturbances), dynamics.STATE)
        rows[:] = states
        for wheel in WHEELS:
            heat = rows[f"temperature_{wheel}"]
            heat += np.copysign(temperature_margin, heat - dynamics.BEST_TEMPERATURE)
        paths = self._new_paths(state, disturbances)
        roll_true(
            rows,
            self._parameters,
            self._tables,
            self._policies(policies, disturbances),
            disturbances.numpy(),
            self._has_policy,
            paths,
        )
        return rollout_of(paths)


class LearnedPaths(_Paths):
    """Paths by the members of a learned model, with the circuit's map.

    Args:
        model: Fitted, with two hidden layers.
        parameters: The parameter row [1] of the environment.
        policies: What is disturbed; None takes the disturbances as actions.
    """

    def __init__(
        self,
        model: "DrivingModel | CompiledDynamics",
        parameters: Array,
        *policies: Policy | None,
    ) -> None:
        super().__init__(parameters, *policies)
        self.dynamics = CompiledDynamics(model) if isinstance(model, DrivingModel) else model

    @property
    def num_members(self) -> int:
        """E."""
        return len(self.dynamics.members)

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The state from which paths begin; see `PathModel.start`."""
        return ModelState(observations, hidden)

    def rollout(
        self,
        state: ModelState,
        disturbances: Tensor,
        *,
        policies: NDArray[np.int64] | None = None,
        member: int = 0,
        temperature_margin: float = 0.0,
    ) -> Rollout:
        """Paths [N, H + 1, 9]; see `PathModel.rollout`."""
        paths = self._new_paths(state, disturbances)
        observations = state.observations.numpy().copy()
        heat = observations[:, TEMPERATURES]
        heat += np.copysign(np.float32(temperature_margin), heat - dynamics.BEST_TEMPERATURE)
        starts = np.empty((len(paths), observations.shape[1]))
        starts[:] = observations
        arrays: Any = (*self.dynamics.bounds, *self.dynamics.members[member], paths)
        roll_learned(
            starts,
            self._parameters,
            self._tables,
            self._policies(policies, disturbances),
            disturbances.numpy(),
            self._has_policy,
            *arrays,
        )
        return rollout_of(paths)


class CompiledDynamics:
    """The networks of a `DrivingModel` as plain arrays for compiled rollouts, one set per member.

    Scales are folded into the first and the last layer.

    Args:
        model: Fitted.
        grip: Of the road, for a model that knows it; a constant within a rollout, and so part of
            the first bias.

    Raises:
        ConfigError: The networks do not have two hidden layers, or the model knows the grip and
            none is given.
    """

    def __init__(self, model: DrivingModel, grip: float | None = None) -> None:
        if model.config.knows_grip != (grip is not None):
            raise ConfigError(
                f"grip={grip} for a model with knows_grip={model.config.knows_grip}: give a grip "
                "to a model that knows it, and to no other"
            )
        if len(model.config.widths) != 2:
            raise ConfigError(
                "compiled rollouts take networks with two hidden layers, got "
                f"widths={model.config.widths}"
            )
        bounds = [model.lags, model.force_low, model.force_high]
        self.grip = grip
        self.bounds: tuple[Any, ...] = tuple(bound.double().cpu().numpy() for bound in bounds)
        self.members = [self._member(model, number) for number in range(model.num_members)]

    @torch.no_grad()
    def _member(self, model: DrivingModel, number: int) -> tuple[Any, ...]:
        """Weights and biases of the three layers in turn, float32."""
        weights = [weight[number].double() for weight in model.dynamics.weights]
        biases = [bias[number, 0].double() for bias in model.dynamics.biases]
        weights[0] = weights[0] / model.feature_std.double()[:, None]
        biases[0] = biases[0] - model.feature_mean.double() @ weights[0]
        if self.grip is not None:
            # The last input, and the only one that does not change on the way.
            biases[0] = biases[0] + self.grip * weights[0][-1]
            weights[0] = weights[0][:-1]
        biases[2] = biases[2] * model.force_std.double() + model.force_mean.double()
        weights[2] = weights[2] * model.force_std.double()
        arrays = []
        for weight, bias in zip(weights, biases, strict=True):
            arrays.append(np.ascontiguousarray(weight.cpu().numpy(), np.float32))
            arrays.append(np.ascontiguousarray(bias.cpu().numpy(), np.float32))
        return tuple(arrays)


def grip_share(observations: NDArray[np.floating[Any]]) -> Floats:
    """The grip of the worse axle [B] as a share of the peak, from observations [B, 37]."""
    off = observations[:, TEMPERATURES].astype(np.float64) - dynamics.BEST_TEMPERATURE
    wear = observations[:, WEAR]
    grips = np.exp(-dynamics.GRIP_FALL * off**2) * (0.7 + 0.3 * wear)  # [B, 4]
    axles = np.stack([grips[:, :2].mean(axis=1), grips[:, 2:].mean(axis=1)])
    result: Floats = axles.min(axis=0)
    return result


def observed_distances(observations: NDArray[np.floating[Any]], parameters: Array) -> Floats:
    """Where cars are along the lap [B], m, as their observations [B, 37] say."""
    positions = observations[:, Column.TRACK_POSITION].astype(np.float64)
    result: Floats = np.minimum(positions, LAST_POSITION) * float(parameters["length"][0])
    return result


def path_starts(state: ModelState, parameters: Array) -> Floats:
    """The first rows [B, 9] of paths from a state."""
    observations = state.observations.numpy()
    obs = observations.astype(np.float64)
    vx = obs[:, Column.VELOCITY_X]
    vy = obs[:, Column.VELOCITY_Y]
    sideslip = np.arctan2(vy, np.maximum(vx, 1.0))
    starts = np.zeros((len(obs), NUM_PATH_COLUMNS))
    starts[:, PathColumn.DISTANCE] = (
        state.hidden[0].numpy() if state.hidden else observed_distances(observations, parameters)
    )
    starts[:, PathColumn.OFFSET] = obs[:, Column.OFFSET]
    starts[:, PathColumn.SPEED] = np.hypot(vx, vy)
    starts[:, PathColumn.SIDESLIP] = sideslip
    starts[:, PathColumn.COURSE] = obs[:, Column.HEADING_ERROR] + sideslip
    starts[:, PathColumn.GRIP] = grip_share(observations)
    return starts


def rollout_of(paths: Floats) -> Rollout:
    """Paths [N, H + 1, 9] as a rollout."""
    distances = paths[:, :, PathColumn.DISTANCE]
    driven = torch.from_numpy(distances[:, 1:] - distances[:, :-1])
    return Rollout(torch.from_numpy(paths), driven, torch.zeros(()).expand_as(driven))


# What both have in common


@kernel
def policy_action(
    line: Row,
    has_policy: bool,
    vx: float,
    vy: float,
    ax: float,
    ay: float,
    throttle: float,
    brake: float,
    distance: float,
    offset: float,
    chi: float,
    mu_f: float,
    mu_r: float,
    hottest: float,
    disturbance: Array,
) -> tuple[float, float, float]:
    """The disturbed policy within the bounds of the action space.

    Without a policy, the disturbance itself. Throttle and brake are as applied now.
    """
    steering = pedal = 0.0
    if has_policy:
        pace = 1.0 + disturbance[2]
        if line.is_racer:
            steering, throttle, brake = racer.act(
                line, vx, vy, ax, ay, throttle, brake, distance, offset, chi, mu_f, mu_r, pace
            )
        else:
            steering, throttle, brake = expert.act(
                line, vx, vy, ax, ay, distance, offset, chi, mu_f, mu_r, hottest, pace
            )
        pedal = throttle - brake
    # One pedal at a time, unless both are disturbed on their own.
    pedal += disturbance[1]
    throttle = max(pedal, 0.0)
    brake = max(-pedal, 0.0)
    if len(disturbance) > 3:
        throttle += disturbance[3]
        brake += disturbance[4]
    return (
        min(max(steering + disturbance[0], -1.0), 1.0),
        min(max(throttle, 0.0), 1.0),
        min(max(brake, 0.0), 1.0),
    )


@kernel
def write_step(
    path: Array,
    start: Array,
    driven: float,
    offset: float,
    vx: float,
    vy: float,
    chi: float,
    steering: float,
    throttle: float,
    brake: float,
) -> None:
    """One row [9] of a path that began at the row `start` [9]."""
    sideslip = math.atan2(vy, max(vx, 1.0))
    path[PathColumn.DISTANCE.value] = start[PathColumn.DISTANCE.value] + driven
    path[PathColumn.OFFSET.value] = offset
    path[PathColumn.SPEED.value] = math.sqrt(vx * vx + vy * vy)
    path[PathColumn.SIDESLIP.value] = sideslip
    path[PathColumn.COURSE.value] = chi + sideslip
    path[PathColumn.GRIP.value] = start[PathColumn.GRIP.value]
    path[PathColumn.STEERING.value] = steering
    path[PathColumn.THROTTLE.value] = throttle
    path[PathColumn.BRAKE.value] = brake


# The true rules


@kernel
def roll_true(
    states: Array,
    parameters: Array,
    tables: Array,
    policies: Array,
    disturbances: Array,
    has_policy: bool,
    paths: Array,
) -> None:
    """Roll the policy with disturbances out in the true rules; the states are changed."""
    rules = parameters[0]
    for n in range(len(states)):
        state = states[n]
        line = tables[policies[n]]
        scale = line.grip_scale
        driven = 0.0
        for h in range(disturbances.shape[1]):
            mu_f = 0.5 * (
                dynamics.grip(state.temperature_fl, state.wear_fl, scale)
                + dynamics.grip(state.temperature_fr, state.wear_fr, scale)
            )
            mu_r = 0.5 * (
                dynamics.grip(state.temperature_rl, state.wear_rl, scale)
                + dynamics.grip(state.temperature_rr, state.wear_rr, scale)
            )
            hottest = max(
                max(state.temperature_fl, state.temperature_fr),
                max(state.temperature_rl, state.temperature_rr),
            )
            steering, throttle, brake = policy_action(
                line,
                has_policy,
                state.vx,
                state.vy,
                state.ax,
                state.ay,
                state.throttle,
                state.brake,
                state.distance,
                state.offset,
                state.heading_error,
                mu_f,
                mu_r,
                hottest,
                disturbances[n, h],
            )
            dynamics.apply_actuators(state, steering, throttle, brake)
            driven += dynamics.drive_step(state, rules)
            write_step(
                paths[n, h + 1],
                paths[n, 0],
                driven,
                state.offset,
                state.vx,
                state.vy,
                state.heading_error,
                steering,
                throttle,
                brake,
            )


# The learned model

# Columns of the place [4] of a car on its way, beside its motion [12].
DISTANCE, OFFSET, HEADING, DRIVEN = range(4)
FIRST_ACTUATOR = ACTUATORS.start


@kernel
def roll_learned(
    starts: Array,
    parameters: Array,
    tables: Array,
    policies: Array,
    disturbances: Array,
    has_policy: bool,
    lags: Array,
    force_low: Array,
    force_high: Array,
    weight_1: Array,
    bias_1: Array,
    weight_2: Array,
    bias_2: Array,
    weight_3: Array,
    bias_3: Array,
    paths: Array,
) -> None:
    """Roll the policy with disturbances out in the network, all rows step by step.

    Its forces move a rigid body.
    """
    rules = parameters[0]
    num_rows = len(disturbances)
    cars = np.empty((num_rows, NUM_MOTIONS))
    places = np.empty((num_rows, 4))
    features = np.empty((num_rows, NUM_FEATURES), np.float32)
    first = np.empty((num_rows, len(bias_1)), np.float32)
    second = np.empty((num_rows, len(bias_2)), np.float32)
    output = np.empty((num_rows, len(bias_3)), np.float32)
    forces = np.empty(NUM_FORCES)
    actions = np.empty((num_rows, 3))
    for n in range(num_rows):
        begin(starts[n], rules.length, cars[n], places[n])
    for h in range(disturbances.shape[1]):
        # All rows take a step together, so that each layer is one product of matrices.
        for n in range(num_rows):
            act(
                tables[policies[n]],
                has_policy,
                cars[n],
                places[n],
                starts[n],
                disturbances[n, h],
                actions[n],
            )
            for i in range(3):
                cars[n, FIRST_ACTUATOR + i] += lags[i] * (
                    actions[n, i] - cars[n, FIRST_ACTUATOR + i]
                )
            write_features(cars[n], features[n])
        np.dot(features, weight_1, first)
        add_and_activate(first, bias_1)
        np.dot(first, weight_2, second)
        add_and_activate(second, bias_2)
        np.dot(second, weight_3, output)
        for n in range(num_rows):
            for i in range(NUM_FORCES):
                forces[i] = min(max(output[n, i] + bias_3[i], force_low[i]), force_high[i])
            advance(rules, forces, cars[n], places[n])
            write_step(
                paths[n, h + 1],
                paths[n, 0],
                places[n, DRIVEN],
                places[n, OFFSET],
                cars[n, Motion.VX.value],
                cars[n, Motion.VY.value],
                places[n, HEADING],
                actions[n, 0],
                actions[n, 1],
                actions[n, 2],
            )


@kernel
def begin(obs: Array, length: float, car: Array, place: Array) -> None:
    """Motion [12] and place [4] from an observation [37] in SI units."""
    car[Motion.VX.value] = obs[Column.VELOCITY_X.value]
    car[Motion.VY.value] = obs[Column.VELOCITY_Y.value]
    car[Motion.AX.value] = obs[Column.ACCELERATION_X.value]
    car[Motion.AY.value] = obs[Column.ACCELERATION_Y.value]
    # Yaw rate, actuators and temperatures follow each other in both.
    car[Motion.YAW_RATE.value :] = obs[Column.YAW_RATE.value : Column.TEMPERATURE_RR.value + 1]
    place[DISTANCE] = min(max(obs[Column.TRACK_POSITION.value], 0.0), LAST_POSITION) * length
    place[OFFSET] = obs[Column.OFFSET.value]
    place[HEADING] = obs[Column.HEADING_ERROR.value]
    place[DRIVEN] = 0.0


@kernel
def act(
    line: Row,
    has_policy: bool,
    car: Array,
    place: Array,
    start: Array,
    disturbance: Array,
    action: Array,
) -> None:
    """Write the action [3] of the disturbed policy; tyres are as worn as at the start."""
    fl, fr = car[Motion.HEAT.value], car[Motion.HEAT.value + 1]
    rl, rr = car[Motion.HEAT.value + 2], car[Motion.HEAT.value + 3]
    scale = line.grip_scale
    mu_f = 0.5 * (
        dynamics.grip(fl, start[Column.WEAR_FL.value], scale)
        + dynamics.grip(fr, start[Column.WEAR_FR.value], scale)
    )
    mu_r = 0.5 * (
        dynamics.grip(rl, start[Column.WEAR_RL.value], scale)
        + dynamics.grip(rr, start[Column.WEAR_RR.value], scale)
    )
    action[0], action[1], action[2] = policy_action(
        line,
        has_policy,
        car[Motion.VX.value],
        car[Motion.VY.value],
        car[Motion.AX.value],
        car[Motion.AY.value],
        car[FIRST_ACTUATOR + 1],
        car[FIRST_ACTUATOR + 2],
        place[DISTANCE],
        place[OFFSET],
        place[HEADING],
        mu_f,
        mu_r,
        max(max(fl, fr), max(rl, rr)),
        disturbance,
    )


@kernel
def write_features(car: Array, features: Array) -> None:
    """What a network sees [16] of the motion [12] whose actuators have moved already.

    `DrivingModel.features`.
    """
    vy, yaw_rate = car[Motion.VY.value], car[Motion.YAW_RATE.value]
    speed = max(car[Motion.VX.value], MIN_SPEED)
    steer = dynamics.MAX_STEER * car[Motion.STEERING.value]
    front = steer - math.atan((vy + dynamics.TO_FRONT * yaw_rate) / speed)
    rear = -math.atan((vy - dynamics.TO_REAR * yaw_rate) / speed)
    for i in range(NUM_MOTIONS):
        features[i] = car[i]
    features[NUM_MOTIONS] = math.tanh(front / SMALL_SLIP)
    features[NUM_MOTIONS + 1] = math.tanh(rear / SMALL_SLIP)
    features[NUM_MOTIONS + 2] = math.tanh(front / LARGE_SLIP)
    features[NUM_MOTIONS + 3] = math.tanh(rear / LARGE_SLIP)


@kernel
def add_and_activate(values: Array, bias: Array) -> None:
    """Replace x by silu(x + bias), four times as fast by a quotient of polynomials.

    tanh(y) = y (135135 + 17325 y^2 + 378 y^4 + y^6) / (135135 + 62370 y^2 + 3150 y^4 + 28 y^6),
    Lambert's continued fraction, is within 1e-4 for |y| < 4.9, where it is cut off.
    """
    for n in range(values.shape[0]):
        for j in range(values.shape[1]):
            x = values[n, j] + bias[j]
            y = min(max(np.float32(0.5) * x, np.float32(-4.9)), np.float32(4.9))
            z = y * y
            above = y * (
                np.float32(135135.0) + z * (np.float32(17325.0) + z * (np.float32(378.0) + z))
            )
            below = np.float32(135135.0) + z * (
                np.float32(62370.0) + z * (np.float32(3150.0) + z * np.float32(28.0))
            )
            values[n, j] = np.float32(0.5) * x * (np.float32(1.0) + above / below)


@kernel
def advance(rules: Row, forces: Array, car: Array, place: Array) -> None:
    """Move a car by two accelerations and changes of yaw rate and temperatures [7].

    `DrivingModel.advance` and `Geometry.motion`.
    """
    dt = dynamics.TIME_STEP
    vx, vy, r = car[Motion.VX.value], car[Motion.VY.value], car[Motion.YAW_RATE.value]
    ax, ay = forces[Force.AX.value], forces[Force.AY.value]
    new_r = r + forces[Force.YAW_CHANGE.value]
    middle_r = 0.5 * (r + new_r)
    turned = dt * middle_r
    cosine, sine = math.cos(turned), math.sin(turned)
    half_cosine, half_sine = math.cos(0.5 * turned), math.sin(0.5 * turned)
    new_vx = cosine * vx + sine * vy + dt * (half_cosine * ax + half_sine * ay)
    new_vy = cosine * vy - sine * vx + dt * (half_cosine * ay - half_sine * ax)
    car[Motion.VX.value] = new_vx
    car[Motion.VY.value] = new_vy
    car[Motion.AX.value] = ax
    car[Motion.AY.value] = ay
    car[Motion.YAW_RATE.value] = new_r
    for i in range(4):
        car[Motion.HEAT.value + i] += forces[Force.HEAT_CHANGE.value + i]
    middle_vx, middle_vy = 0.5 * (vx + new_vx), 0.5 * (vy + new_vy)
    distance, offset, chi = place[DISTANCE], place[OFFSET], place[HEADING]
    bend = dynamics.curvature_at(
        rules, dynamics.wrap_distance(distance + 0.5 * dt * middle_vx, rules.length)
    )
    rate = middle_vx / max(1.0 - offset * bend, dynamics.MIN_FACTOR)
    aside = 0.0
    for _ in range(2):
        middle = chi + 0.5 * dt * (middle_r - bend * rate)
        aside = middle_vx * math.sin(middle) + middle_vy * math.cos(middle)
        factor = max(1.0 - (offset + 0.5 * dt * aside) * bend, dynamics.MIN_FACTOR)
        rate = (middle_vx * math.cos(middle) - middle_vy * math.sin(middle)) / factor
    place[DISTANCE] = dynamics.wrap_distance(distance + dt * rate, rules.length)
    place[OFFSET] = min(max(offset + dt * aside, -MAX_OFFSET), MAX_OFFSET)
    place[HEADING] = dynamics.wrap_angle(chi + dt * (middle_r - bend * rate))
    place[DRIVEN] += dt * rate
