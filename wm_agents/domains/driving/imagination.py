"""Where the expert's policy leads when it is disturbed: compiled rollouts in the true rules and in the learned model.

Both give the same numbers for many disturbances at once, so that a planner or a warning never knows
which one it asks. Disturbances have three or five columns: what is added to the steering and to the
pedals (throttle above 0, brake below), the share by which the policy's speed profile is raised,
and, for drivers who use both pedals at once, what is added to throttle and to brake.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.domains.driving.model import SLOWEST
from wm_agents.domains.driving.network import LARGE_SLIP, SMALL_SLIP, CarModel
from wm_envs.driving import dynamics, expert
from wm_envs.kernel import Row, empty_rows, kernel
from wm_envs.rules import Array

Floats = NDArray[np.float64]
Imagine = Callable[[Floats, Array], Floats]
"""Disturbances [N, H, 3 or 5] and the policy's line -> paths [N, H, 8], whose columns follow."""

DRIVEN, OFFSET, SPEED, SIDESLIP, COURSE, FIRST_ACTION = 0, 1, 2, 3, 4, slice(5, 8)
NUM_COLUMNS = 8
NUM_FEATURES = 16


# What both have in common


@kernel
def policy_action(
    line: Row, has_policy: bool, vx: float, vy: float, ax: float, ay: float, distance: float, offset: float, chi: float,
    mu_f: float, mu_r: float, hottest: float, disturbance: Array,
) -> tuple[float, float, float]:  # fmt: skip
    """The disturbed policy within the bounds of the action space.

    Without a policy, the disturbance itself.
    """
    steering = throttle = brake = 0.0
    if has_policy:
        pace = 1.0 + disturbance[2]
        steering, throttle, brake = expert.act(
            line, vx, vy, ax, ay, distance, offset, chi, mu_f, mu_r, hottest, pace
        )
    # One pedal at a time, unless both are disturbed on their own.
    pedal = throttle - brake + disturbance[1]
    throttle, brake = max(pedal, 0.0), max(-pedal, 0.0)
    if len(disturbance) > 3:
        throttle, brake = throttle + disturbance[3], brake + disturbance[4]
    return (
        min(max(steering + disturbance[0], -1.0), 1.0),
        min(max(throttle, 0.0), 1.0),
        min(max(brake, 0.0), 1.0),
    )


@kernel
def write_step(
    path: Array, driven: float, offset: float, vx: float, vy: float, chi: float,
    steering: float, throttle: float, brake: float,
) -> None:  # fmt: skip
    """One row [8] of a path."""
    sideslip = math.atan2(vy, max(vx, 1.0))
    path[0], path[1], path[2], path[3], path[4] = (
        driven,
        offset,
        math.sqrt(vx * vx + vy * vy),
        sideslip,
        chi + sideslip,
    )
    path[5], path[6], path[7] = steering, throttle, brake


# The true rules


def true_imagination(state: Array, parameters: Array, has_policy: bool = True) -> Imagine:
    """The car's own rules, with one integration step instead of two, from a state row."""
    coarse = parameters.copy()
    coarse["num_substeps"] = 1

    def imagine(disturbances: Floats, table: Array) -> Floats:
        rows = empty_rows(len(disturbances), state.dtype)
        rows[:] = state
        paths = np.empty((*disturbances.shape[:2], NUM_COLUMNS))
        imagine_truth(rows, coarse, table, disturbances, has_policy, paths)
        return paths

    return imagine


@kernel
def imagine_truth(
    states: Array,
    parameters: Array,
    table: Array,
    disturbances: Array,
    has_policy: bool,
    paths: Array,
) -> None:
    """Roll the policy with disturbances out in the true rules; the states are changed."""
    rules, line = parameters[0], table[0]
    scale = line.grip_scale
    for n in range(len(states)):
        state = states[n]
        driven = 0.0
        for h in range(paths.shape[1]):
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
                line, has_policy, state.vx, state.vy, state.ax, state.ay, state.distance, state.offset,
                state.heading_error, mu_f, mu_r, hottest, disturbances[n, h],
            )  # fmt: skip
            dynamics.apply_actuators(state, steering, throttle, brake)
            driven += dynamics.drive_step(state, rules)
            write_step(
                paths[n, h],
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


class CompiledModel:
    """The dynamics of a `CarModel` as plain arrays for compiled rollouts, one set for each member.

    Scales are folded into the first and the last layer.

    Args:
        model: Fitted, with two hidden layers.
    """

    def __init__(self, model: CarModel) -> None:
        if len(model.config.widths) != 2:
            raise ValueError(f"expected two hidden layers, got {model.config.widths}")
        bounds = [model.lags, model.force_low, model.force_high]
        self.bounds = tuple(bound.double().numpy() for bound in bounds)
        self.members = [self._member(model, number) for number in range(model.num_members)]

    @torch.no_grad()
    def _member(self, model: CarModel, number: int) -> tuple[NDArray[np.float32], ...]:
        weights = [weight[number].double() for weight in model.dynamics.weights]
        biases = [bias[number, 0].double() for bias in model.dynamics.biases]
        weights[0] = weights[0] / model.feature_std.double()[:, None]
        biases[0] = biases[0] - model.feature_mean.double() @ weights[0]
        biases[2] = biases[2] * model.force_std.double() + model.force_mean.double()
        weights[2] = weights[2] * model.force_std.double()
        pairs = zip(weights, biases, strict=True)
        return tuple(
            np.ascontiguousarray(tensor.numpy(), np.float32) for pair in pairs for tensor in pair
        )


def learned_imagination(
    observations: NDArray[np.float32],
    parameters: Array,
    model: CompiledModel,
    has_policy: bool = True,
    member: int = 0,
) -> Imagine:
    """One member of the learned model, with the circuit's map.

    Args:
        observations: Where imagination begins, [37] or one for each row of the disturbances [N,
            37], in SI units.
        parameters: The parameter row [1] of the circuit.
        model: The learned dynamics.
        has_policy: False takes the disturbances as the actions.
        member: Which network.
    """

    def imagine(disturbances: Floats, table: Array) -> Floats:
        starts = np.broadcast_to(observations, (len(disturbances), observations.shape[-1])).astype(
            np.float64
        )
        paths = np.empty((*disturbances.shape[:2], NUM_COLUMNS))
        arrays: Any = (*model.bounds, *model.members[member])
        imagine_learned(starts, parameters, table, disturbances, has_policy, *arrays, paths)
        return paths

    return imagine


@kernel
def imagine_learned(
    starts: Array, parameters: Array, table: Array, disturbances: Array, has_policy: bool,
    lags: Array, force_low: Array, force_high: Array,
    weight_1: Array, bias_1: Array, weight_2: Array, bias_2: Array, weight_3: Array, bias_3: Array, paths: Array,
) -> None:  # fmt: skip
    """Roll the policy with disturbances out in the network, all rows step by step.

    Its forces move a rigid body.
    """
    rules, line = parameters[0], table[0]
    num_rows, scale = len(disturbances), line.grip_scale
    car = np.empty((num_rows, 12))
    road = np.empty((num_rows, 4))  # distance, offset, heading error, driven
    seen = np.empty((num_rows, NUM_FEATURES), np.float32)
    first = np.empty((num_rows, len(bias_1)), np.float32)
    second = np.empty((num_rows, len(bias_2)), np.float32)
    output = np.empty((num_rows, len(bias_3)), np.float32)
    forces, commands = np.empty(len(bias_3)), np.empty((num_rows, 3))
    for n in range(num_rows):
        begin(starts[n], rules.length, car[n], road[n])
    for h in range(paths.shape[1]):
        for n in range(num_rows):
            c, begun = car[n], starts[n]
            mu_f = 0.5 * (
                dynamics.grip(c[8], begun[16], scale) + dynamics.grip(c[9], begun[17], scale)
            )
            mu_r = 0.5 * (
                dynamics.grip(c[10], begun[18], scale) + dynamics.grip(c[11], begun[19], scale)
            )
            hottest = max(max(c[8], c[9]), max(c[10], c[11]))
            steering, throttle, brake = policy_action(
                line, has_policy, c[0], c[1], c[2], c[3], road[n, 0], road[n, 1], road[n, 2], mu_f, mu_r, hottest,
                disturbances[n, h],
            )  # fmt: skip
            commands[n, 0], commands[n, 1], commands[n, 2] = steering, throttle, brake
            for i in range(3):
                c[5 + i] += lags[i] * (commands[n, i] - c[5 + i])
            write_features(c, seen[n])
        np.dot(seen, weight_1, first)
        add_and_activate(first, bias_1)
        np.dot(first, weight_2, second)
        add_and_activate(second, bias_2)
        np.dot(second, weight_3, output)
        for n in range(num_rows):
            for i in range(len(forces)):
                forces[i] = min(max(output[n, i] + bias_3[i], force_low[i]), force_high[i])
            advance(rules, forces, car[n], road[n])
            write_step(
                paths[n, h], road[n, 3], road[n, 1], car[n, 0], car[n, 1], road[n, 2],
                commands[n, 0], commands[n, 1], commands[n, 2],
            )  # fmt: skip


@kernel
def begin(seen: Array, length: float, car: Array, road: Array) -> None:
    """Motion [12] and place [4] from an observation [37] in SI units."""
    car[0], car[1], car[2], car[3], car[4] = seen[0], seen[1], seen[3], seen[4], seen[8]
    car[5:12] = seen[9:16]
    road[0], road[1], road[2], road[3] = (
        min(max(seen[21], 0.0), 0.9999999) * length,
        seen[22],
        seen[23],
        0.0,
    )


@kernel
def write_features(car: Array, seen: Array) -> None:
    """What a network sees [16] of the motion [12] whose actuators have moved already.

    `CarModel.features`.
    """
    speed = max(car[0], SLOWEST)
    front = dynamics.MAX_STEER * car[5] - math.atan((car[1] + dynamics.TO_FRONT * car[4]) / speed)
    rear = -math.atan((car[1] - dynamics.TO_REAR * car[4]) / speed)
    for i in range(12):
        seen[i] = car[i]
    seen[12], seen[13] = math.tanh(front / SMALL_SLIP), math.tanh(rear / SMALL_SLIP)
    seen[14], seen[15] = math.tanh(front / LARGE_SLIP), math.tanh(rear / LARGE_SLIP)


@kernel
def add_and_activate(values: Array, bias: Array) -> None:
    """Replace x by silu(x + bias); the logistic function by a quotient of polynomials, which runs four times as fast.

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
def advance(rules: Row, forces: Array, car: Array, road: Array) -> None:
    """Move a car by two accelerations and changes of yaw rate and temperatures [7].

    `CarModel.advance`, geometry.
    """
    dt, vx, vy, r = dynamics.TIME_STEP, car[0], car[1], car[4]
    car[2], car[3], car[4] = forces[0], forces[1], r + forces[2]
    middle_r = 0.5 * (r + car[4])
    turned = dt * middle_r
    cosine, sine = math.cos(turned), math.sin(turned)
    half_cosine, half_sine = math.cos(0.5 * turned), math.sin(0.5 * turned)
    car[0] = cosine * vx + sine * vy + dt * (half_cosine * forces[0] + half_sine * forces[1])
    car[1] = cosine * vy - sine * vx + dt * (half_cosine * forces[1] - half_sine * forces[0])
    for i in range(4):
        car[8 + i] += forces[3 + i]
    middle_vx, middle_vy = 0.5 * (vx + car[0]), 0.5 * (vy + car[1])
    distance, offset, chi = road[0], road[1], road[2]
    bend = dynamics.curvature_at(
        rules, dynamics.wrap_distance(distance + 0.5 * dt * middle_vx, rules.length)
    )
    rate, aside = middle_vx / max(1.0 - offset * bend, dynamics.MIN_FACTOR), 0.0
    for _ in range(2):
        middle = chi + 0.5 * dt * (middle_r - bend * rate)
        aside = middle_vx * math.sin(middle) + middle_vy * math.cos(middle)
        factor = max(1.0 - (offset + 0.5 * dt * aside) * bend, dynamics.MIN_FACTOR)
        rate = (middle_vx * math.cos(middle) - middle_vy * math.sin(middle)) / factor
    road[0] = dynamics.wrap_distance(distance + dt * rate, rules.length)
    road[1] = min(max(offset + dt * aside, -20.0), 20.0)
    road[2] = dynamics.wrap_angle(chi + dt * (middle_r - bend * rate))
    road[3] += dt * rate
