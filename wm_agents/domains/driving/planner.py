"""A planner for the car: candidates are the expert's policy, disturbed, and rolled out in a model, true or learned.

Each decision draws disturbances of steering, pedals and pace as a few knots, imagines where the
policy goes with each of them, and takes the first action of the best. The best disturbance is
carried to the next decision, one step further on. The bare policy is always a candidate: another
plan has to beat it by a margin, in the judgement of the member of the model that thinks least of
it. The search is the same for both models; only the functions that imagine differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.driving.imagination import (
    COURSE,
    DRIVEN,
    FIRST_ACTION,
    OFFSET,
    SIDESLIP,
    SPEED,
    Floats,
    Imagine,
)
from wm_envs.driving import dynamics
from wm_envs.driving.expert import Expert
from wm_envs.driving.raceline import speed_profile
from wm_envs.kernel import kernel
from wm_envs.rules import Array

GRIP_LEVELS = np.linspace(0.76, 1.0, 13)  # shares of the peak grip for which profiles are kept
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
        limit_grip: Share of the grip of the profile that bounds the speed; below 1, so that there
            is a way on.
        edge_margin: Distance from the edge at which it begins to cost, m.
        max_sideslip: Sideslip at which it begins to cost, rad.
        margin: Seconds by which a plan has to be better than the bare policy.
        doubt: Degrees by which the tyres are taken to be further from their best temperature than
            they are, when a plan is compared with the bare policy: it has to be better with less
                grip, too.
        has_policy: False plans from scratch: the disturbances are the actions themselves.
    """

    horizon: int = 50
    num_candidates: int = 32
    num_rounds: int = 2
    num_knots: int = 6
    steering_std: float = 0.01
    pedal_std: float = 0.03
    pace_std: float = 0.012
    policy_grip: float = 0.9
    limit_grip: float = 0.94
    edge_margin: float = 0.6
    max_sideslip: float = 0.06
    margin: float = 0.02
    doubt: float = 4.0
    has_policy: bool = True


@dataclass(frozen=True)
class Decision:
    """What was chosen, and what else was imagined.

    Attributes:
        action: Steering, throttle and brake [3].
        paths: All imagined paths of the last round [N, H, 8]; the first is the bare policy's.
        costs: Their cost terms [N, len(TERMS)], s; the sum is minimised.
        chosen: Index of what is done.
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
        self._spread = np.maximum(
            1.0 - np.abs(places[:, None] - knots), 0.0
        )  # [H, K], linear between the knots
        self._stds = np.array([config.steering_std, config.pedal_std, config.pace_std])

    def decide(self, imagines: Sequence[Imagine], distance: float, grip: float = 1.0) -> Decision:
        """The action for a car whose future the members of a model know.

        Args:
            imagines: The first, bound to the present state, searches; all of them judge the
                outcome.
            distance: Along the lap, m.
            grip: Of the worse axle now, as a share of the peak: tyres off their temperature have
                less.
        """
        best = self._carried
        level = max(int(np.searchsorted(GRIP_LEVELS, grip, side="right")) - 1, 0)
        for round_number in range(self.config.num_rounds):
            disturbances = self._candidates(best, 0.5**round_number)
            paths = imagines[0](disturbances, self.driver.table)
            costs = self._costs(paths, distance, level)
            chosen = int(costs.sum(axis=1).argmin())
            best = disturbances[chosen]
        if (
            self.config.has_policy
            and chosen
            and not self._is_better(imagines, disturbances[[0, chosen]], distance, level)
        ):
            chosen = 0
        self._carried = np.vstack([best[1:], best[-1:]])
        return Decision(paths[chosen, 0, FIRST_ACTION].astype(np.float32), paths, costs, chosen)

    def _is_better(
        self, imagines: Sequence[Imagine], both: Floats, distance: float, level: int
    ) -> bool:
        """Whether the second of two plans beats the first, each in the judgement of who thinks least of it."""
        sums = np.array(
            [
                self._costs(imagine(both, self.driver.table), distance, level).sum(axis=1)
                for imagine in imagines
            ]
        )
        bare, plan = sums.max(axis=0)
        return bool(plan < bare - self.config.margin)

    def _costs(self, paths: Floats, distance: float, level: int) -> Floats:
        costs = np.empty((len(paths), len(TERMS)))
        judge(
            paths, distance, self._parameters, self.driver.table, self._limits[level], self._clock,
            self.config.edge_margin, self.config.max_sideslip, costs,
        )  # fmt: skip
        return costs

    def _candidates(self, best: Floats, scale: float) -> Floats:
        """The bare policy, the carried plan, and others drawn around it and, at first, around the policy [N, H, 3]."""
        knots = self._generator.normal(size=(self.config.num_candidates, self.config.num_knots, 3))
        noise: Floats = scale * self._stds * np.einsum("hk,nka->nha", self._spread, knots)
        disturbances = best + noise
        if scale == 1.0 and self.config.has_policy:
            disturbances[2::3] = noise[2::3]
            disturbances[3, :, :], disturbances[3, :, 2] = 0.0, -0.05
        disturbances[0], disturbances[1] = 0.0, best
        if self.config.has_policy:
            # The model is best where it was recorded, around the policy: what is carried on must
            # not drift away.
            np.clip(disturbances, -2.0 * self._stds, 2.0 * self._stds, out=disturbances)
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

    Gained is the time that the fastest profile takes for what was driven; the other terms are
    penalties.
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
            beyond = max(
                offset - dynamics.left_at(rules, distance),
                -offset - dynamics.right_at(rules, distance),
            )
            over = max(beyond + dynamics.HALF_WIDTH + edge_margin, 0.0)
            edge += 0.02 * over * over
            if beyond > 0.5 * dynamics.HALF_WIDTH:
                left_road = max(left_road, 2.0 + (horizon - h) * 0.1)
            # A plan that brakes later and harder than the profile relies on what the model may only
            # dream of.
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
        speed_cost = (
            0.08 * excess * excess
            if excess > 0.0
            else excess * excess / (20.0 * max(fastest, 10.0))
        )
        aside = last[OFFSET] - line.offset[index]
        course = last[COURSE] - line.course[index]
        costs[n, 0] = -gained
        costs[n, 1] = edge
        costs[n, 2] = slide
        costs[n, 3] = speed_cost + hurry
        costs[n, 4] = 0.03 * aside * aside + 10.0 * course * course
        costs[n, 5] = left_road
