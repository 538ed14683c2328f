"""What a planned path of the car is worth, in seconds: a sum of named terms.

Gained is the time that the fastest profile of speed takes for what was driven; the other terms are
penalties. Kernels count costs, of which the objective is the negative.
"""

import numpy as np
import torch
from torch import Tensor

from wm_agents.domains.driving.rollouts import Floats, PathColumn
from wm_agents.protocols import Rollout
from wm_envs.driving import dynamics
from wm_envs.driving.expert import line_of, line_table
from wm_envs.driving.raceline import RacingLine, speed_profile
from wm_envs.kernel import Row, kernel
from wm_envs.rules import Array

GRIP_LEVELS = np.linspace(0.76, 1.0, 13)  # shares of the peak grip for which profiles are kept
TERMS = ("time_gained", "edge", "sideslip", "speed_limit", "terminal_line", "left_road")
TIME_GAINED, EDGE, SIDESLIP, SPEED_LIMIT, TERMINAL_LINE, LEFT_ROAD = range(len(TERMS))

# Weights, found on training circuits; each makes seconds of what it stands before.
EDGE_WEIGHT = 0.02  # per squared metre and step within the margin
SIDESLIP_WEIGHT = 2.0  # per squared radian and step
OVERSPEED_WEIGHT = 0.02 * 0.1  # per squared m/s and step above the profile
OVERSPEED_FACTOR = 1.01  # of the profile, which tyres on the way exceed now and then
TERMINAL_EXCESS_WEIGHT = 0.08  # per squared m/s
TERMINAL_OFFSET_WEIGHT = 0.03  # per squared metre
TERMINAL_COURSE_WEIGHT = 10.0  # per squared radian
LEAVING_COST = 2.0  # s, and as many steps earlier as it happens:
LEAVING_COST_PER_STEP = 0.1  # s
LOST_SIDESLIP = 0.5  # rad; a car that slides more is given up as one that has left


class LapObjective:
    """The value of imagined paths on one circuit.

    Args:
        parameters: The parameter row [1] of the environment.
        line: Which line paths should end on; None takes the expert's.
        limit_grip: Share of the grip of the profile that bounds the speed; below 1, so that there
            is a way on.
        edge_margin: Distance from the edge at which it begins to cost, m.
        max_sideslip: Sideslip at which it begins to cost, rad.

    The defaults were found on training circuits.

    Attributes:
        term_names: Names of the terms, K.
    """

    term_names = TERMS

    def __init__(
        self,
        parameters: Array,
        line: RacingLine | None = None,
        *,
        limit_grip: float = 0.94,
        edge_margin: float = 0.6,
        max_sideslip: float = 0.06,
    ) -> None:
        self._edge_margin = edge_margin
        self._max_sideslip = max_sideslip
        self._parameters = parameters
        line = line or line_of(parameters)
        self._line = line_table(parameters, line)
        steps = np.diff(line.place, append=line.length)
        grip = limit_grip * dynamics.PEAK_GRIP * float(parameters["grip_scale"][0])
        limits = [speed_profile(line.curvature, steps, level * grip) for level in GRIP_LEVELS]
        durations = steps / (0.5 * (limits[-1] + np.roll(limits[-1], -1)))
        # Closed by the first point, as the tables of the circuit are.
        self._limits = [np.append(limit, limit[0]) for limit in limits]
        self._clock = np.append(0.0, np.cumsum(durations))

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        """The value [N] of paths [N, H + 1, 9]; what led there does not matter."""
        # NumPy's sum, whose order of additions does not depend on the number of rows.
        return torch.from_numpy(self.terms(rollout, actions).numpy().sum(axis=1))

    def terms(self, rollout: Rollout, actions: Tensor) -> Tensor:  # noqa: ARG002
        """What the value is made of [N, K]; each row has the grip with which its path began."""
        paths = rollout.observations.numpy()
        levels = np.searchsorted(GRIP_LEVELS, paths[:, 0, PathColumn.GRIP], side="right") - 1
        levels = np.maximum(levels, 0)
        if (levels == levels[0]).all():  # candidates of one car
            return torch.from_numpy(-self._costs(paths, self._limits[levels[0]]))
        costs = np.empty((len(paths), len(TERMS)))
        for level in np.unique(levels):
            rows = np.flatnonzero(levels == level)
            costs[rows] = self._costs(paths[rows], self._limits[level])
        return torch.from_numpy(-costs)

    def _costs(self, paths: Floats, limit: Floats) -> Floats:
        costs = np.empty((len(paths), len(TERMS)))
        write_costs(
            paths,
            self._parameters,
            self._line,
            limit,
            self._clock,
            self._edge_margin,
            self._max_sideslip,
            costs,
        )
        return costs


@kernel
def beyond_edge(rules: Row, distance: float, offset: float) -> float:
    """How far the middle of the car is beyond the nearer edge of the road, m; below 0 on it."""
    return max(
        offset - dynamics.left_at(rules, distance),
        -offset - dynamics.right_at(rules, distance),
    )


@kernel
def hinge(value: float, limit: float) -> float:
    """How far a value is above a limit, or 0."""
    return max(value - limit, 0.0)


@kernel
def time_at(clock: Array, place: float) -> float:
    """When the fastest profile is at a place counted in points, s since the line."""
    index = int(place)
    return clock[index] + (place - index) * (clock[index + 1] - clock[index])


@kernel
def time_gained(rules: Row, clock: Array, start: float, end: float) -> float:
    """What the fastest profile takes between two distances, the second maybe in the next lap."""
    first = time_at(clock, start * rules.inverse_spacing)
    distance = dynamics.wrap_distance(end, rules.length)
    last = time_at(clock, distance * rules.inverse_spacing)
    return last - first + (clock[len(clock) - 1] if end >= rules.length else 0.0)


@kernel
def terminal_speed_cost(speed: float, fastest: float) -> float:
    """Too fast cannot be undone; too slow costs the time until the speed is there again."""
    excess = speed - fastest
    if excess > 0.0:
        return TERMINAL_EXCESS_WEIGHT * excess * excess
    return excess * excess / (20.0 * max(fastest, 10.0))


@kernel
def write_costs(
    paths: Array,
    parameters: Array,
    table: Array,
    limit: Array,
    clock: Array,
    edge_margin: float,
    max_sideslip: float,
    costs: Array,
) -> None:
    """Write the costs [N, K] of paths [N, H + 1, 9], s.

    `limit` is the profile of speed that bounds paths, `clock` when the fastest profile is where.
    """
    rules, line = parameters[0], table[0]
    horizon = paths.shape[1] - 1
    for n in range(len(paths)):
        edge = slide = left_road = overspeed = 0.0
        for h in range(horizon):
            here = paths[n, h + 1]
            distance = dynamics.wrap_distance(here[PathColumn.DISTANCE.value], rules.length)
            sideslip = abs(here[PathColumn.SIDESLIP.value])
            beyond = beyond_edge(rules, distance, here[PathColumn.OFFSET.value])
            over = max(beyond + dynamics.HALF_WIDTH + edge_margin, 0.0)
            edge += EDGE_WEIGHT * over * over
            # A plan that brakes later and harder than the profile relies on what the model may only
            # dream of.
            fast = (
                here[PathColumn.SPEED.value]
                - OVERSPEED_FACTOR * limit[int(distance * rules.inverse_spacing)]
            )
            if fast > 0.0:
                overspeed += OVERSPEED_WEIGHT * fast * fast
            sliding = hinge(sideslip, max_sideslip)
            slide += SIDESLIP_WEIGHT * sliding * sliding
            if beyond > 0.5 * dynamics.HALF_WIDTH or sideslip > LOST_SIDESLIP:
                left_road = max(left_road, LEAVING_COST + (horizon - h) * LEAVING_COST_PER_STEP)
        last = paths[n, horizon]
        end = last[PathColumn.DISTANCE.value]
        place = dynamics.wrap_distance(end, rules.length) * rules.inverse_spacing
        index = int(place)
        fastest = limit[index] + (place - index) * (limit[index + 1] - limit[index])
        aside = last[PathColumn.OFFSET.value] - line.offset[index]
        course = last[PathColumn.COURSE.value] - line.course[index]
        start = paths[n, 0, PathColumn.DISTANCE.value]
        costs[n, TIME_GAINED] = -time_gained(rules, clock, start, end)
        costs[n, EDGE] = edge
        costs[n, SIDESLIP] = slide
        costs[n, SPEED_LIMIT] = (
            terminal_speed_cost(last[PathColumn.SPEED.value], fastest) + overspeed
        )
        costs[n, TERMINAL_LINE] = (
            TERMINAL_OFFSET_WEIGHT * aside * aside + TERMINAL_COURSE_WEIGHT * course * course
        )
        costs[n, LEFT_ROAD] = left_road
