"""A racing policy: the expert's laws with a fuller use of the grip, on a line of its own.

The expert asks an axle for lateral force as if nothing else did, and leaves a tenth of the grip for
what it gets wrong. The racer steers for what the pedals leave of the friction ellipse, looks at the
bend that is coming before it presses a pedal, and takes the line that opens the sharpest bends. What
its speed profile risks is not decided here: a planner scales it from place to place.

Its constants were found on five training circuits, by cross-entropy search over laps.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.driving.observations import LAST_POSITION
from wm_envs.driving import dynamics, expert
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.raceline import RacingLine, racing_line, speed_profile
from wm_envs.driving.track import TABLES, Track, track_of
from wm_envs.kernel import Row, empty_rows, kernel
from wm_envs.rules import Array

RACING_GRIP = 0.94  # share of the peak grip of the profile; hot tyres have .96 to .99 of the peak
LINE_EXPONENT = 3.0  # of the curvature; 2 is the expert's line, 4 laps slower again
LINE_MARGIN = 0.8  # m; half a car, so that the whole car is on the road

STEER_PREVIEW, PEDAL_PREVIEW, BEND_PREVIEW = 0.07, 0.10, 0.07  # s
LINE_FREQUENCY, DAMPING = 2.5, 0.95  # rad/s; of the return to the line
COUNTER_STEER = 0.9
SPEED_GAIN = 5.0  # 1/s
USED_GRIP = 0.96  # of what an axle has left for longitudinal force,
LATERAL_RESERVE = 1.02  # after this many times what cornering takes
MAX_LINE_ERROR, MAX_COURSE_ERROR = 3.0, 0.3  # m, rad

POLICY = np.dtype(
    [("is_racer", np.bool_), *((name, expert.LINE[name]) for name in expert.LINE.names or ())],
    align=True,
)
"""A row of a policy's tables: which of the two follows the line, and those of the expert's line.

In this order, since Numba takes a row that begins as the expert's does for one of his, with a warning.
"""


class Racer:
    """Actions from observations in SI units, or in compiled rollouts from `table`.

    Args:
        parameters: The parameter row [1] of the environment's rules.
        grip_share: Share of the peak grip that the speed profile uses.

    Attributes:
        line: The racing line of the circuit, with the fastest profile on it.
        table: Its `POLICY` row [1].
    """

    def __init__(self, parameters: Array, grip_share: float = RACING_GRIP) -> None:
        self.line = racer_line(parameters)
        grip = grip_share * dynamics.PEAK_GRIP * float(parameters["grip_scale"][0])
        steps = np.diff(self.line.place, append=self.line.length)
        table = expert.line_table(parameters, self.line)
        speed = speed_profile(self.line.curvature, steps, grip)
        table["speed"][0, : len(speed) + 1] = np.append(speed, speed[0])
        self.table = policy_table(table)
        self.table["is_racer"] = True

    def actions_on(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Steering, throttle and brake [B, 3] for observations [B, 34 or more] in SI units."""
        actions = np.empty((len(observations), 3), np.float32)
        act_on_observations(observations, self.table, actions)
        return actions


def policy_table(line: Array) -> Array:
    """The table [1] of an `Expert`, or of a line, as a `POLICY` row [1]."""
    table = empty_rows(1, POLICY)
    for name in expert.LINE.names or ():
        table[name] = line[name]
    return table


def racer_line(parameters: Array) -> RacingLine:
    """The racer's line of the circuit in a parameter row [1]; the last sixteen are kept."""
    track = track_of(parameters)
    grip_scale = float(parameters.reshape(-1)[0]["grip_scale"])
    return _line(track.length, grip_scale, *(getattr(track, name).tobytes() for name in TABLES))


@lru_cache(maxsize=16)
def _line(length: float, grip_scale: float, *tables: bytes) -> RacingLine:
    arrays = dict(zip(TABLES, map(np.frombuffer, tables), strict=True))
    track = Track("circuit", length, **arrays)
    return racing_line(track, grip_scale, LINE_MARGIN, exponent=LINE_EXPONENT)


@kernel
def left_of(used: float, front: float) -> float:
    """What a share of an axle's grip leaves of it for forces across."""
    share = min(abs(used) / front, dynamics.MAX_USE)
    return front * math.sqrt(1.0 - share * share)


@kernel
def steer(
    line: Row,
    vx: float,
    vy: float,
    distance: float,
    offset: float,
    chi: float,
    front: float,
    rear: float,
) -> float:
    """Steering -1 .. 1 along the line; `front` and `rear` are left for lateral force, N.

    As `expert.steering_command`, with other gains.
    """
    speed = max(math.sqrt(vx * vx + vy * vy), 3.0)
    place = distance * line.inverse_spacing
    index = int(place)
    share = place - index
    aside = offset - (line.offset[index] + share * (line.offset[index + 1] - line.offset[index]))
    sideslip = math.atan2(vy, max(vx, 1.0))
    target = line.course[index] + share * (line.course[index + 1] - line.course[index])
    course = chi + sideslip - target
    aside = min(max(aside, -MAX_LINE_ERROR), MAX_LINE_ERROR)
    course = min(max(course, -MAX_COURSE_ERROR), MAX_COURSE_ERROR)
    curvature = curvature_ahead(line, distance, STEER_PREVIEW * speed)
    back = (
        -LINE_FREQUENCY * LINE_FREQUENCY * aside - 2.0 * DAMPING * LINE_FREQUENCY * speed * course
    )
    curvature += back / (speed * speed)
    lateral = dynamics.MASS * speed * speed * curvature / dynamics.WHEELBASE
    slip_f = expert.slip_for(lateral * dynamics.TO_REAR, front)
    slip_r = expert.slip_for(lateral * dynamics.TO_FRONT, rear)
    slide = sideslip - (dynamics.TO_REAR * curvature - slip_r)
    angle = dynamics.WHEELBASE * curvature + slip_f - slip_r + COUNTER_STEER * slide
    return min(max(angle / dynamics.MAX_STEER, -1.0), 1.0)


@kernel
def curvature_ahead(line: Row, distance: float, ahead: float) -> float:
    """Curvature of the line some metres on, 1/m."""
    place = distance + ahead
    place = place - line.length if place >= line.length else place
    return float(line.curvature[int(place * line.inverse_spacing)])


@kernel
def force_command(line: Row, pace: float, vx: float, distance: float) -> float:
    """The longitudinal force, N, that follows the profile; as the expert's with a higher gain."""
    ahead = distance + PEDAL_PREVIEW * vx
    ahead = ahead - line.length if ahead >= line.length else ahead
    further = ahead + expert.SLOPE_LENGTH
    further = further - line.length if further >= line.length else further
    here = pace * line.speed[int(ahead * line.inverse_spacing)]
    there = pace * line.speed[int(further * line.inverse_spacing)]
    slope = 0.5 * (there * there - here * here) / expert.SLOPE_LENGTH
    return dynamics.MASS * (slope + SPEED_GAIN * (here - vx)) + dynamics.DRAG * vx * vx


@kernel
def act(
    line: Row,
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
    pace: float,
) -> tuple[float, float, float]:
    """Steering, throttle and brake.

    `throttle` and `brake` are as applied now, `mu_f` and `mu_r` the friction of the axles, `pace` a
    factor on the speed profile.
    """
    squared = vx * vx
    front, rear = expert.axle_limits(mu_f, mu_r, vx, ax)
    engine = min(dynamics.MAX_DRIVE, dynamics.MAX_POWER / max(vx, 1.0))
    braking = dynamics.MAX_BRAKE * brake
    steering = steer(
        line,
        vx,
        vy,
        distance,
        offset,
        chi,
        left_of(dynamics.BRAKE_FRONT * braking, front),
        left_of(throttle * engine - (1.0 - dynamics.BRAKE_FRONT) * braking, rear),
    )
    force = force_command(line, pace, vx, distance)
    # The bend that is coming asks for its force when the pedal acts.
    coming = squared * abs(curvature_ahead(line, distance, BEND_PREVIEW * vx))
    lateral = LATERAL_RESERVE * dynamics.MASS * max(coming, abs(ay)) / dynamics.WHEELBASE
    used, braked = expert.pedals(force, vx, lateral, front, rear, USED_GRIP)
    return steering, used, braked


@kernel
def act_on_observations(observations: Array, table: Array, actions: Array) -> None:
    """Write the actions [B, 3] for observations [B, 34 or more] in SI units."""
    line = table[0]
    for row in range(len(observations)):
        obs = observations[row]
        mu_f = expert.axle_grip(
            obs[Column.TEMPERATURE_FL],
            obs[Column.TEMPERATURE_FR],
            obs[Column.WEAR_FL],
            obs[Column.WEAR_FR],
            line.grip_scale,
        )
        mu_r = expert.axle_grip(
            obs[Column.TEMPERATURE_RL],
            obs[Column.TEMPERATURE_RR],
            obs[Column.WEAR_RL],
            obs[Column.WEAR_RR],
            line.grip_scale,
        )
        position = min(max(float(obs[Column.TRACK_POSITION]), 0.0), LAST_POSITION)
        steering, throttle, brake = act(
            line,
            float(obs[Column.VELOCITY_X]),
            float(obs[Column.VELOCITY_Y]),
            float(obs[Column.ACCELERATION_X]),
            float(obs[Column.ACCELERATION_Y]),
            float(obs[Column.THROTTLE]),
            float(obs[Column.BRAKE]),
            position * line.length,
            float(obs[Column.OFFSET]),
            float(obs[Column.HEADING_ERROR]),
            mu_f,
            mu_r,
            1.0,
        )
        actions[row, 0], actions[row, 1], actions[row, 2] = steering, throttle, brake
