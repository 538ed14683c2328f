"""The expert driver.

Follows the racing line with curvature preview, counter-steering and a profile below the limit.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wm_envs.driving import dynamics
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.raceline import RacingLine, racing_line, speed_profile
from wm_envs.driving.track import TABLES, Track, track_of
from wm_envs.kernel import Row, empty_rows, kernel
from wm_envs.rules import Array

# Of the grip that the profile is made for: the rest is for corrections.
GRIP_SHARE = 0.89
# Of the peak: below, with a hot tyre, the whole profile is driven slower.
FADED_GRIP = 0.97
# s: about the lags of the actuators.
STEER_PREVIEW, PEDAL_PREVIEW = 0.09, 0.10
LINE_FREQUENCY, DAMPING = 2.2, 1.0  # rad/s; of the return to the line
COUNTER_STEER = 0.9
SPEED_GAIN = 4.0  # 1/s
# m over which the slope of the profile is taken.
SLOPE_LENGTH = 4.0
MAX_LINE_ERROR, MAX_COURSE_ERROR = 3.0, 0.3  # m, rad
# Of what an axle has left for longitudinal force.
USED_GRIP = 0.95
# What follows is of the mended expert alone.
# rad, of the way back against the line, in place of MAX_LINE_ERROR: a line that crosses the road
# leads a car that is far off it over the edge, unless the way back is about as steep.
MAX_APPROACH, MAX_TURN = 0.5, 0.8
# Of the lateral grip that the way back to the line may ask for at the speed that is driven.
SAVING_GRIP = 1.0
# rad that the car slides more than its bend explains: pedals are full up to the first, none at
# the second.
MIN_SLIDE, MAX_SLIDE = 0.10, 0.20

LINE = np.dtype(
    [
        ("length", np.float64),
        ("inverse_spacing", np.float64),
        ("grip_scale", np.float64),
        ("is_mended", np.bool_),
        ("offset", np.float64, (dynamics.MAX_TRACK_POINTS + 1,)),
        ("course", np.float64, (dynamics.MAX_TRACK_POINTS + 1,)),
        ("curvature", np.float64, (dynamics.MAX_TRACK_POINTS + 1,)),
        ("speed", np.float64, (dynamics.MAX_TRACK_POINTS + 1,)),
    ],
    align=True,
)


class Expert:
    """Actions from states, or from observations in SI units.

    Args:
        parameters: The parameter row [1] of the environment's rules.
        grip_share: Share of the peak grip that the speed profile uses: 0.89 laps fifteen real
            circuits without leaving the road, 1 is the quasi-steady limit.
        is_mended: The expert of `wm/Driving-v1`: its line keeps its margins between the knots, it
            slows down where the way back to the line asks for more grip than there is, and lifts
            where the car slides. Without it, that of `wm/Driving-v0`.

    Attributes:
        line: The racing line of the circuit, with its profile and limit.
    """

    def __init__(
        self, parameters: Array, grip_share: float = GRIP_SHARE, *, is_mended: bool = False
    ) -> None:
        self.line = line_of(parameters, is_mended=is_mended)
        self.table = line_table(parameters, self.line)
        self.table["is_mended"] = is_mended
        grip = grip_share * dynamics.PEAK_GRIP * float(parameters["grip_scale"][0])
        steps = np.diff(self.line.place, append=self.line.length)
        speed = speed_profile(self.line.curvature, steps, grip)
        self.table["speed"][0, : len(speed) + 1] = np.append(speed, speed[0])

    def actions(self, states: Array) -> NDArray[np.float32]:
        """Steering, throttle and brake [B, 3] for state rows [B]."""
        actions = np.empty((len(states), 3), np.float32)
        act_on_states(states, self.table, actions)
        return actions

    def actions_on(
        self, observations: NDArray[np.float32], paces: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Steering, throttle and brake [B, 3] for observations [B, 34 or more] in SI units.

        Args:
            observations: What the cars see.
            paces: Factors on the speed profile [B]; 1 by default.
        """
        actions = np.empty((len(observations), 3), np.float32)
        act_on_observations(
            observations,
            self.table,
            np.ones(len(observations)) if paces is None else paces,
            actions,
        )
        return actions


def line_of(parameters: Array, *, is_mended: bool = False) -> RacingLine:
    """The racing line of the circuit in a parameter row [1]; the last sixteen are kept."""
    track = track_of(parameters)
    grip_scale = float(parameters.reshape(-1)[0]["grip_scale"])
    tables = (getattr(track, name).tobytes() for name in TABLES)
    return _line(track.length, grip_scale, is_mended, *tables)


@lru_cache(maxsize=16)
def _line(length: float, grip_scale: float, is_mended: bool, *tables: bytes) -> RacingLine:
    """From all tables of a circuit, since roads of one centre line differ in their widths."""
    arrays = dict(zip(TABLES, map(np.frombuffer, tables), strict=True))
    return racing_line(Track("circuit", length, **arrays), grip_scale, is_mended=is_mended)


def line_table(parameters: Array, line: RacingLine) -> Array:
    """The line as a structured row [1] that the kernels read, closed by its first point."""
    table = empty_rows(1, LINE)
    row, num_points = parameters.reshape(-1)[0], len(line.offset)
    table["length"], table["inverse_spacing"] = row["length"], row["inverse_spacing"]
    table["grip_scale"] = row["grip_scale"]
    for name in ("offset", "course", "curvature", "speed"):
        values = getattr(line, name)
        table[name][0, : num_points + 1] = np.append(values, values[0])
    return table


@kernel
def slip_for(lateral: float, available: float) -> float:
    """The slip angle at which an axle gives a lateral force."""
    share = min(max(lateral / available, -0.97), 0.97)
    return math.tan(math.asin(share) / 1.5) / dynamics.STIFFNESS


@kernel
def steering_command(
    line: Row,
    vx: float,
    vy: float,
    distance: float,
    offset: float,
    chi: float,
    front: float,
    rear: float,
) -> tuple[float, float, float]:
    """Steering -1 .. 1 along the line, the lateral force that it is for, and the slide.

    A sum of the line's curvature ahead, the return to it, the slip of both axles and
    counter-steering. The force is per metre of the wheelbase, N/m; the slide is the sideslip beyond
    that of the bend, rad.

    `front` and `rear` are the grip of the axles, N.
    """
    speed = max(math.sqrt(vx * vx + vy * vy), 3.0)
    place = distance * line.inverse_spacing
    index = int(place)
    share = place - index
    aside = offset - (line.offset[index] + share * (line.offset[index + 1] - line.offset[index]))
    sideslip = math.atan2(vy, max(vx, 1.0))
    course = (
        chi
        + sideslip
        - (line.course[index] + share * (line.course[index + 1] - line.course[index]))
    )
    if line.is_mended:
        # Both gains are as below; what is limited is the angle of the way back, not the distance.
        slope = 2.0 * DAMPING * speed / LINE_FREQUENCY
        aside = min(max(aside, -MAX_APPROACH * slope), MAX_APPROACH * slope)
        course = min(max(course, -MAX_TURN), MAX_TURN)
    else:
        aside = min(max(aside, -MAX_LINE_ERROR), MAX_LINE_ERROR)
        course = min(max(course, -MAX_COURSE_ERROR), MAX_COURSE_ERROR)
    # Steered for where the car will be once the actuators have followed.
    ahead = distance + STEER_PREVIEW * speed
    ahead = ahead - line.length if ahead >= line.length else ahead
    curvature = line.curvature[int(ahead * line.inverse_spacing)]
    back = (
        -LINE_FREQUENCY * LINE_FREQUENCY * aside - 2.0 * DAMPING * LINE_FREQUENCY * speed * course
    )
    curvature += back / (speed * speed)
    lateral = dynamics.MASS * speed * speed * curvature / dynamics.WHEELBASE
    # Each axle carries the lateral force in the share of the other one's distance.
    slip_f = slip_for(lateral * dynamics.TO_REAR, front)
    slip_r = slip_for(lateral * dynamics.TO_FRONT, rear)
    expected = dynamics.TO_REAR * curvature - slip_r
    slide = sideslip - expected
    angle = dynamics.WHEELBASE * curvature + slip_f - slip_r + COUNTER_STEER * slide
    return min(max(angle / dynamics.MAX_STEER, -1.0), 1.0), lateral, slide


@kernel
def force_command(line: Row, factor: float, vx: float, distance: float) -> float:
    """The longitudinal force, N, that follows the profile: its slope, the speed error, and drag."""
    ahead = distance + PEDAL_PREVIEW * vx
    ahead = ahead - line.length if ahead >= line.length else ahead
    further = ahead + SLOPE_LENGTH
    further = further - line.length if further >= line.length else further
    here = factor * line.speed[int(ahead * line.inverse_spacing)]
    there = factor * line.speed[int(further * line.inverse_spacing)]
    slope = 0.5 * (there * there - here * here) / SLOPE_LENGTH
    return dynamics.MASS * (slope + SPEED_GAIN * (here - vx)) + dynamics.DRAG * vx * vx


@kernel
def saving_force(
    force: float, vx: float, needed: float, slide: float, front: float, rear: float
) -> float:
    """The longitudinal force, N, less where the way back to the line needs the grip.

    `needed` is the lateral force per metre of the wheelbase, N/m, at the speed that is driven. A
    car that asks an axle for more than it has is driven no faster than the axle would hold, and one
    that slides gets less of its pedals until it does not.
    """
    used = abs(needed) * max(dynamics.TO_REAR / front, dynamics.TO_FRONT / rear)
    if used > SAVING_GRIP:
        # The force goes with the square of the speed.
        held = vx * math.sqrt(SAVING_GRIP / used)
        force = min(force, dynamics.MASS * SPEED_GAIN * (held - vx))
    share = (MAX_SLIDE - abs(slide)) / (MAX_SLIDE - MIN_SLIDE)
    return force * min(max(share, 0.0), 1.0)


@kernel
def axle_grip(
    left: float, right: float, left_wear: float, right_wear: float, scale: float
) -> float:
    """The friction of an axle from the temperatures, C, and the wear of its tyres."""
    return 0.5 * (dynamics.grip(left, left_wear, scale) + dynamics.grip(right, right_wear, scale))


@kernel
def axle_limits(mu_f: float, mu_r: float, vx: float, ax: float) -> tuple[float, float]:
    """The largest forces, N, of the front and the rear axle at their loads now."""
    squared, mass = vx * vx, dynamics.MASS
    static = mass * dynamics.GRAVITY / dynamics.WHEELBASE
    pitch = mass * dynamics.HEIGHT / dynamics.WHEELBASE * ax
    front = mu_f * max(
        static * dynamics.TO_REAR + dynamics.DOWNFORCE_FRONT * squared - pitch, 1000.0
    )
    rear = mu_r * max(
        static * dynamics.TO_FRONT + dynamics.DOWNFORCE_REAR * squared + pitch, 1000.0
    )
    return front, rear


@kernel
def pedals(
    force: float, vx: float, lateral: float, front: float, rear: float, used_grip: float
) -> tuple[float, float]:
    """Throttle and brake for a longitudinal force, N.

    Within what `lateral`, N over the wheelbase, leaves of the axles' friction circles, of which
    `used_grip` is used, and within what the engine has.
    """
    left_f = used_grip * math.sqrt(
        max(front * front - (lateral * dynamics.TO_REAR) ** 2, 0.04 * front * front)
    )
    left_r = used_grip * math.sqrt(
        max(rear * rear - (lateral * dynamics.TO_FRONT) ** 2, 0.04 * rear * rear)
    )
    if force >= 0.0:
        # Either the force or the power of the engine is the limit.
        engine = min(dynamics.MAX_DRIVE, dynamics.MAX_POWER / max(vx, 1.0))
        return min(force, left_r, engine) / engine, 0.0
    max_braking = min(
        left_f / dynamics.BRAKE_FRONT, left_r / (1.0 - dynamics.BRAKE_FRONT), dynamics.MAX_BRAKE
    )
    return 0.0, min(-force, max_braking) / dynamics.MAX_BRAKE


@kernel
def act(
    line: Row,
    vx: float,
    vy: float,
    ax: float,
    ay: float,
    distance: float,
    offset: float,
    chi: float,
    mu_f: float,
    mu_r: float,
    hottest: float,
    pace: float,
) -> tuple[float, float, float]:
    """Steering, throttle and brake.

    `mu_f` and `mu_r` are the friction of the axles, `hottest` is the temperature of a tyre.

    `pace` is a factor on the speed profile.
    """
    front, rear = axle_limits(mu_f, mu_r, vx, ax)
    steering, needed, slide = steering_command(line, vx, vy, distance, offset, chi, front, rear)
    too_hot = max(hottest - dynamics.BEST_TEMPERATURE, 0.0)
    # A hot tyre has less grip than the profile was made for.
    faded = math.exp(-dynamics.GRIP_FALL * too_hot * too_hot) / FADED_GRIP
    force = force_command(line, pace * math.sqrt(min(faded, 1.0)), vx, distance)
    if line.is_mended:
        force = saving_force(force, vx, needed, slide, front, rear)
    lateral = dynamics.MASS * abs(ay) / dynamics.WHEELBASE
    throttle, brake = pedals(force, vx, lateral, front, rear, USED_GRIP)
    return steering, throttle, brake


@kernel
def act_on_states(states: Array, table: Array, actions: Array) -> None:
    """Write the actions [B, 3] for state rows [B]."""
    line = table[0]
    for row in range(len(states)):
        state = states[row]
        scale = line.grip_scale
        hot_fl, hot_fr = state.temperature_fl, state.temperature_fr
        hot_rl, hot_rr = state.temperature_rl, state.temperature_rr
        mu_f = axle_grip(hot_fl, hot_fr, state.wear_fl, state.wear_fr, scale)
        mu_r = axle_grip(hot_rl, hot_rr, state.wear_rl, state.wear_rr, scale)
        hottest = max(max(hot_fl, hot_fr), max(hot_rl, hot_rr))
        steering, throttle, brake = act(
            line, state.vx, state.vy, state.ax, state.ay,
            state.distance, state.offset, state.heading_error, mu_f, mu_r, hottest, 1.0,
        )  # fmt: skip
        actions[row, 0], actions[row, 1], actions[row, 2] = steering, throttle, brake


@kernel
def act_on_observations(observations: Array, table: Array, paces: Array, actions: Array) -> None:
    """Write the actions [B, 3] for observations [B, 34 or more] in SI units."""
    line = table[0]
    for row in range(len(observations)):
        obs = observations[row]
        scale = line.grip_scale
        hot_fl, hot_fr = obs[Column.TEMPERATURE_FL], obs[Column.TEMPERATURE_FR]
        hot_rl, hot_rr = obs[Column.TEMPERATURE_RL], obs[Column.TEMPERATURE_RR]
        mu_f = axle_grip(hot_fl, hot_fr, obs[Column.WEAR_FL], obs[Column.WEAR_FR], scale)
        mu_r = axle_grip(hot_rl, hot_rr, obs[Column.WEAR_RL], obs[Column.WEAR_RR], scale)
        hottest = float(max(max(hot_fl, hot_fr), max(hot_rl, hot_rr)))
        # The end of the lap is its beginning, and the tables stop short of it.
        position = min(max(float(obs[Column.TRACK_POSITION]), 0.0), 0.9999999)
        steering, throttle, brake = act(
            line,
            float(obs[Column.VELOCITY_X]),
            float(obs[Column.VELOCITY_Y]),
            float(obs[Column.ACCELERATION_X]),
            float(obs[Column.ACCELERATION_Y]),
            position * line.length,
            float(obs[Column.OFFSET]),
            float(obs[Column.HEADING_ERROR]),
            mu_f,
            mu_r,
            hottest,
            paces[row],
        )
        actions[row, 0], actions[row, 1], actions[row, 2] = steering, throttle, brake
