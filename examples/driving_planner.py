"""A planner for the car: candidates are the expert's policy, disturbed, and rolled out in a model, true or learned.

Each decision draws disturbances of steering, pedals and pace as a few knots, imagines where the policy goes with each
of them, and takes the first action of the best. The best disturbance is carried to the next decision, one step further
on. The search is the same for both models; only the function that imagines differs. Compiled, so that one car is
planned for in real time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from examples.driving_model import SLOWEST
from wm_agents.world_models import DeterministicModel
from wm_envs.driving import dynamics, expert
from wm_envs.driving.expert import Expert
from wm_envs.driving.raceline import speed_profile
from wm_envs.kernel import Row, empty_rows, kernel
from wm_envs.rules import Array

Floats = NDArray[np.float64]
Imagine = Callable[[Floats, Array], Floats]
"""Disturbances [N, H, 3] and the policy's line -> (driven, offset, speed, sideslip, course, action) [N, H, 8]."""

GRIP_LEVELS = np.linspace(0.76, 1.0, 7)  # shares of the peak grip for which profiles are kept

DRIVEN, OFFSET, SPEED, SIDESLIP, COURSE, FIRST_ACTION = 0, 1, 2, 3, 4, slice(5, 8)
TERMS = ("time_gained", "edge", "sideslip", "speed_limit", "terminal_line", "left_road")


@dataclass(frozen=True)
class PlannerConfig:
    """Settings, found on training circuits.

    Attributes:
        horizon: Steps, H, of 0.02 s.
        num_candidates: N per round.
        num_rounds: Rounds of drawing around the best.
        num_knots: Of the disturbance, linear in between.
        steering_std: Of the knots of the steering.
        pedal_std: Of the knots of the pedals: throttle above 0, brake below.
        pace_std: Of the knots of the factor on the policy's speed profile.
        policy_grip: Share of the grip that the policy's profile uses.
        limit_grip: Share of the grip of the profile that bounds the last speed; below 1, so that there is a way on.
        edge_margin: Distance from the edge at which it begins to cost, m.
        max_sideslip: Sideslip at which it begins to cost, rad.
        has_policy: False plans from scratch: the disturbances are the actions themselves.
    """

    horizon: int = 45
    num_candidates: int = 24
    num_rounds: int = 1
    num_knots: int = 6
    steering_std: float = 0.05
    pedal_std: float = 0.15
    pace_std: float = 0.03
    policy_grip: float = 0.97
    limit_grip: float = 0.97
    edge_margin: float = 0.6
    max_sideslip: float = 0.12
    has_policy: bool = True


@dataclass(frozen=True)
class Decision:
    """What was chosen, and what else was imagined.

    Attributes:
        action: Steering, throttle and brake [3].
        paths: All imagined paths of the last round [N, H, 8].
        costs: Their cost terms [N, len(TERMS)], s; the sum is minimised.
        chosen: Index of the best.
    """

    action: NDArray[np.float32]
    paths: Floats
    costs: Floats
    chosen: int


class DrivingPlanner:
    """Plans for one car on one circuit.

    Args:
        parameters: The parameter row [1] of the environment.
        config: Settings.
        seed: Draws the disturbances.
    """

    def __init__(self, parameters: Array, config: PlannerConfig, seed: int = 0) -> None:
        self.config = config
        self.driver = Expert(parameters, config.policy_grip)
        self._tables = [Expert(parameters, config.policy_grip * level).table for level in GRIP_LEVELS]
        self._generator = np.random.default_rng(seed)
        self._parameters = parameters
        line = self.driver.line
        steps = np.diff(line.place, append=line.length)
        grip = config.limit_grip * dynamics.PEAK_GRIP * float(parameters["grip_scale"][0])
        limits = [speed_profile(line.curvature, steps, level * grip) for level in GRIP_LEVELS]
        durations = steps / (0.5 * (limits[-1] + np.roll(limits[-1], -1)))
        self._limits = [np.append(limit, limit[0]) for limit in limits]
        self._clock = np.append(0.0, np.cumsum(durations))
        self._carried: Floats = np.zeros((config.horizon, 3))
        places = np.linspace(0, config.num_knots - 1, config.horizon)
        knots = np.arange(config.num_knots)
        self._spread = np.maximum(1.0 - np.abs(places[:, None] - knots), 0.0)  # [H, K], linear between the knots
        self._stds = np.array([config.steering_std, config.pedal_std, config.pace_std])

    def decide(self, imagine: Imagine, distance: float, grip: float = 1.0) -> Decision:
        """The action for a car whose future `imagine` knows.

        Args:
            imagine: The model, bound to the present state.
            distance: Along the lap, m.
            grip: Of the worse axle now, as a share of the peak: tyres off their temperature have less.
        """
        config, best = self.config, self._carried
        level = max(int(np.searchsorted(GRIP_LEVELS, grip, side="right")) - 1, 0)
        table, limit = self._tables[level], self._limits[level]
        for round_number in range(config.num_rounds):
            disturbances = self._candidates(best, 0.5**round_number)
            paths = imagine(disturbances, table)
            costs = np.empty((len(paths), len(TERMS)))
            judge(paths, distance, self._parameters, table, limit, self._clock, config.edge_margin,
                  config.max_sideslip, costs)  # fmt: skip
            chosen = int(costs.sum(axis=1).argmin())
            best = disturbances[chosen]
        self._carried = np.vstack([best[1:], best[-1:]])
        return Decision(paths[chosen, 0, FIRST_ACTION].astype(np.float32), paths, costs, chosen)

    def _candidates(self, best: Floats, scale: float) -> Floats:
        """Around the carried plan, with it and, at first, the bare policy at three paces [N, H, 3]."""
        knots = self._generator.normal(size=(self.config.num_candidates, self.config.num_knots, 3))
        disturbances: Floats = best + scale * self._stds * np.einsum("hk,nka->nha", self._spread, knots)
        disturbances[0] = best
        if scale == 1.0 and self.config.has_policy:
            disturbances[1:4] = 0.0
            disturbances[2, :, 2], disturbances[3, :, 2] = -0.04, -0.1
        return disturbances


@kernel
def judge(
    paths: Array,
    start: float,
    parameters: Array,
    table: Array,
    limit: Array,
    clock: Array,
    edge_margin: float,
    max_sideslip: float,
    costs: Array,
) -> None:
    """Write the cost terms [N, 6] of imagined paths [N, H, 8], in seconds.

    Gained is the time that the fastest profile takes for what was driven; the other terms are penalties.
    """
    rules, line = parameters[0], table[0]
    horizon = paths.shape[1]
    lap = clock[len(clock) - 1]
    first_place = start * rules.inverse_spacing
    index = int(first_place)
    begun = clock[index] + (first_place - index) * (clock[index + 1] - clock[index])
    for n in range(len(paths)):
        edge = slide = left_road = hurry = 0.0
        for h in range(horizon):
            distance = dynamics.wrap_distance(start + paths[n, h, DRIVEN], rules.length)
            offset = paths[n, h, OFFSET]
            beyond = max(offset - dynamics.left_at(rules, distance), -offset - dynamics.right_at(rules, distance))
            over = max(beyond + dynamics.HALF_WIDTH + edge_margin, 0.0)
            edge += 0.02 * over * over
            if beyond > 0.5 * dynamics.HALF_WIDTH:
                left_road = max(left_road, 2.0 + (horizon - h) * 0.1)
            # A plan that brakes later and harder than the profile relies on what the model may only dream of.
            fast = paths[n, h, SPEED] - 1.01 * limit[int(distance * rules.inverse_spacing)]
            if fast > 0.0:
                hurry += 0.02 * 0.1 * fast * fast
            sliding = max(abs(paths[n, h, SIDESLIP]) - max_sideslip, 0.0)
            slide += 2.0 * sliding * sliding
            if abs(paths[n, h, SIDESLIP]) > 0.5:
                left_road = max(left_road, 2.0 + (horizon - h) * 0.1)
        last = paths[n, horizon - 1]
        distance = dynamics.wrap_distance(start + last[DRIVEN], rules.length)
        place = distance * rules.inverse_spacing
        index = int(place)
        share = place - index
        ended = clock[index] + share * (clock[index + 1] - clock[index])
        gained = ended - begun + (lap if start + last[DRIVEN] >= rules.length else 0.0)
        fastest = limit[index] + share * (limit[index + 1] - limit[index])
        excess = last[SPEED] - fastest
        # Too fast cannot be undone; too slow costs the time until the speed is there again.
        speed_cost = 0.08 * excess * excess if excess > 0.0 else excess * excess / (20.0 * max(fastest, 10.0))
        aside = last[OFFSET] - line.offset[index]
        course = last[COURSE] - line.course[index]
        costs[n, 0] = -gained
        costs[n, 1] = edge
        costs[n, 2] = slide
        costs[n, 3] = speed_cost + hurry
        costs[n, 4] = 0.03 * aside * aside + 10.0 * course * course
        costs[n, 5] = left_road


# The two models


def true_imagination(state: Array, parameters: Array, has_policy: bool = True) -> Imagine:
    """The car's own rules, with one integration step instead of two."""
    coarse = parameters.copy()
    coarse["num_substeps"] = 1

    def imagine(disturbances: Floats, table: Array) -> Floats:
        rows = empty_rows(len(disturbances), state.dtype)
        rows[:] = state
        paths = np.empty((*disturbances.shape[:2], 8))
        imagine_truth(rows, coarse, table, disturbances, has_policy, paths)
        return paths

    return imagine


@kernel
def policy_action(
    line: Row, has_policy: bool, vx: float, vy: float, ax: float, ay: float, distance: float, offset: float, chi: float,
    mu_f: float, mu_r: float, hottest: float, disturbance: Array,
) -> tuple[float, float, float]:  # fmt: skip
    """The disturbed policy within the bounds of the action space; without a policy, the disturbance itself."""
    steering = throttle = brake = 0.0
    if has_policy:
        pace = 1.0 + disturbance[2]
        steering, throttle, brake = expert.act(line, vx, vy, ax, ay, distance, offset, chi, mu_f, mu_r, hottest, pace)
    # One pedal at a time: nobody has recorded full throttle against full brakes, and a model dreams of what it does.
    pedal = min(max(throttle - brake + disturbance[1], -1.0), 1.0)
    return min(max(steering + disturbance[0], -1.0), 1.0), max(pedal, 0.0), max(-pedal, 0.0)


@kernel
def write_step(
    path: Array, driven: float, offset: float, vx: float, vy: float, chi: float,
    steering: float, throttle: float, brake: float,
) -> None:  # fmt: skip
    """One row [8] of a path."""
    sideslip = math.atan2(vy, max(vx, 1.0))
    path[0], path[1], path[2], path[3], path[4] = driven, offset, math.sqrt(vx * vx + vy * vy), sideslip, chi + sideslip
    path[5], path[6], path[7] = steering, throttle, brake


@kernel
def imagine_truth(
    states: Array, parameters: Array, table: Array, disturbances: Array, has_policy: bool, paths: Array
) -> None:
    """Roll the policy with disturbances [N, H, 3] out in the true rules; the states are changed."""
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
                max(state.temperature_fl, state.temperature_fr), max(state.temperature_rl, state.temperature_rr)
            )
            steering, throttle, brake = policy_action(
                line, has_policy, state.vx, state.vy, state.ax, state.ay, state.distance, state.offset,
                state.heading_error, mu_f, mu_r, hottest, disturbances[n, h],
            )  # fmt: skip
            dynamics.apply_actuators(state, steering, throttle, brake)
            driven += dynamics.drive_step(state, rules)
            write_step(
                paths[n, h], driven, state.offset, state.vx, state.vy, state.heading_error, steering, throttle, brake
            )


class CompiledModel:
    """The dynamics network of a deterministic model of the kinematics layout, as plain arrays for compiled rollouts.

    Scales are folded into the first and the last layer.

    Args:
        model: Fitted, without an encoder, two hidden layers, activation "silu".
    """

    def __init__(self, model: DeterministicModel) -> None:
        if model.encoder is not None or model.config.activation != "silu" or len(model.config.dynamics_widths) != 2:
            raise ValueError("expected a network without an encoder, with two hidden layers of silu")
        with torch.no_grad():
            weights = [layer.weight.T.double() for layer in model.dynamics.layers]  # type: ignore[operator, union-attr]
            biases = [layer.bias.double() for layer in model.dynamics.layers]  # type: ignore[operator, union-attr]
            num_seen = model.layout.num_inputs
            first = weights[0].clone()
            first[:num_seen] /= model.input_scale.std.double()[:, None]
            biases[0] = biases[0] - model.input_scale.mean.double() @ first[:num_seen]
            weights[0] = first
            weights[2] = weights[2] * model.target_scale.span.double()
            biases[2] = biases[2] * model.target_scale.span.double() + model.target_scale.mean.double()
        self.arrays = tuple(
            np.ascontiguousarray(tensor.numpy(), np.float32)
            for pair in zip(weights, biases, strict=True)
            for tensor in pair
        )


def learned_imagination(
    observation: NDArray[np.float32], parameters: Array, model: CompiledModel, has_policy: bool = True
) -> Imagine:
    """The learned model from an observation [37] in SI units, with the circuit's map."""
    start = observation.astype(np.float64)

    def imagine(disturbances: Floats, table: Array) -> Floats:
        paths = np.empty((*disturbances.shape[:2], 8))
        imagine_learned(start, parameters, table, disturbances, has_policy, *model.arrays, paths)
        return paths

    return imagine


@kernel
def imagine_learned(
    start: Array, parameters: Array, table: Array, disturbances: Array, has_policy: bool,
    weight_1: Array, bias_1: Array, weight_2: Array, bias_2: Array, weight_3: Array, bias_3: Array, paths: Array,
) -> None:  # fmt: skip
    """Roll the policy with disturbances [N, H, 3] out in the network; speeds learned, place by geometry."""
    rules, line = parameters[0], table[0]
    scale = line.grip_scale
    width = len(bias_1)
    seen, first = np.empty(len(weight_1), np.float32), np.empty(width, np.float32)
    second, output = np.empty(width, np.float32), np.empty(len(bias_3), np.float32)
    heat, dt = np.empty(4), dynamics.TIME_STEP
    for n in range(len(disturbances)):
        vx, vy, ax, ay, r = start[0], start[1], start[3], start[4], start[8]
        steer, gas, stop = start[9], start[10], start[11]
        heat[:] = start[12:16]
        distance, offset, chi = min(start[21], 0.9999999) * rules.length, start[22], start[23]
        driven = 0.0
        for h in range(paths.shape[1]):
            mu_f = 0.5 * (dynamics.grip(heat[0], start[16], scale) + dynamics.grip(heat[1], start[17], scale))
            mu_r = 0.5 * (dynamics.grip(heat[2], start[18], scale) + dynamics.grip(heat[3], start[19], scale))
            hottest = max(max(heat[0], heat[1]), max(heat[2], heat[3]))
            steering, throttle, brake = policy_action(
                line, has_policy, vx, vy, ax, ay, distance, offset, chi, mu_f, mu_r, hottest, disturbances[n, h]
            )
            speed = max(vx, SLOWEST)
            seen[0], seen[1], seen[2], seen[3], seen[4] = vx, vy, ax, ay, r
            seen[5], seen[6], seen[7] = steer, gas, stop
            for i in range(4):
                seen[8 + i] = heat[i]
            seen[12], seen[13] = vy / speed, r / speed
            seen[14], seen[15], seen[16] = steering, 2.0 * throttle - 1.0, 2.0 * brake - 1.0
            layer(seen, weight_1, bias_1, first)
            silu(first)
            layer(first, weight_2, bias_2, second)
            silu(second)
            layer(second, weight_3, bias_3, output)
            middle_vx, middle_vy, middle_r = vx + 0.5 * output[0], vy + 0.5 * output[1], r + 0.5 * output[2]
            vx, vy, r = vx + output[0], vy + output[1], r + output[2]
            steer, gas, stop = steer + output[3], gas + output[4], stop + output[5]
            for i in range(4):
                heat[i] += output[6 + i]
            ax, ay = float(output[10]), float(output[11])
            ahead = dynamics.wrap_distance(distance + 0.5 * dt * middle_vx, rules.length)
            bend = dynamics.curvature_at(rules, ahead)
            rate, aside = middle_vx / max(1.0 - offset * bend, dynamics.MIN_FACTOR), 0.0
            for _ in range(2):
                middle = chi + 0.5 * dt * (middle_r - bend * rate)
                aside = middle_vx * math.sin(middle) + middle_vy * math.cos(middle)
                factor = max(1.0 - (offset + 0.5 * dt * aside) * bend, dynamics.MIN_FACTOR)
                rate = (middle_vx * math.cos(middle) - middle_vy * math.sin(middle)) / factor
            distance = dynamics.wrap_distance(distance + dt * rate, rules.length)
            driven += dt * rate
            offset = min(max(offset + dt * aside, -20.0), 20.0)
            chi = dynamics.wrap_angle(chi + dt * (middle_r - bend * rate))
            write_step(paths[n, h], driven, offset, vx, vy, chi, steering, throttle, brake)


@kernel
def layer(inputs: Array, weights: Array, bias: Array, outputs: Array) -> None:
    """Write bias + inputs @ weights, the inner loop over neighbours in memory."""
    outputs[:] = bias
    for i in range(len(inputs)):
        value = inputs[i]
        for j in range(len(outputs)):
            outputs[j] += value * weights[i, j]


@kernel
def silu(values: Array) -> None:
    """Replace x by x / (1 + exp(-x))."""
    one = np.float32(1.0)
    for j in range(len(values)):
        values[j] = values[j] / (one + math.exp(-values[j]))


def grip_share(observation: NDArray[np.float32]) -> float:
    """The grip of the worse axle as a share of the peak, from temperatures and wear of an observation in SI units."""
    heat, wear = observation[12:16].astype(np.float64), observation[16:20]
    grips = np.exp(-dynamics.GRIP_FALL * (heat - dynamics.BEST_TEMPERATURE) ** 2) * (0.7 + 0.3 * wear)
    return float(min(grips[:2].mean(), grips[2:].mean()))


def drive_laps(
    env: Any, planner: DrivingPlanner, model: CompiledModel | None, num_laps: int, on_decision: Any = None
) -> dict[str, Any]:
    """Drive from the line until the laps are done or the car is off; `model=None` asks the true rules.

    Args:
        env: A single `wm/Driving-v0`, extended, in SI units, not wrapped.
        planner: Plans for its circuit.
        model: The learned dynamics.
        num_laps: Laps.
        on_decision: Called with (step, observation, decision, state) at each step.
    """
    import time

    observation, _ = env.reset(seed=0)
    lap_times: list[float] = []
    seconds, num_decisions, has_ended = 0.0, 0, False
    while len(lap_times) < num_laps and not has_ended:
        state = env.clone_state()
        began = time.process_time()
        imagine = (
            true_imagination(state, env.parameters, planner.config.has_policy)
            if model is None
            else learned_imagination(observation, env.parameters, model, planner.config.has_policy)
        )
        decision = planner.decide(imagine, float(state["distance"]), grip_share(observation))
        seconds += time.process_time() - began
        if on_decision is not None:
            on_decision(num_decisions, observation, decision, state)
        num_decisions += 1
        observation, _, terminated, truncated, info = env.step(decision.action)
        has_ended = terminated or truncated
        if info["lap_time"] > 0:
            lap_times.append(float(info["lap_time"]))
    return {
        "is_clean": len(lap_times) == num_laps,
        "lap_times": lap_times,
        "decisions_per_second": num_decisions / max(seconds, 1e-9),
        "num_decisions": num_decisions,
        "cause": int(info["cause"]),
    }
