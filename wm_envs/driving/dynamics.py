"""The rules of the racing car: pure compiled functions on one state row.

A dynamic single-track model with loads per wheel (Pacejka, Tyre and Vehicle Dynamics, 2012,
chapters 1 and 4) drives on a road given by its curvature: the position is the distance s along the
centre line, the offset n to its left, and the heading error chi against its direction. Each step
holds the applied actuators, the grip and the transferred loads, and integrates velocities and
position with the classical Runge-Kutta method.

Letters inside the short functions: vx, vy velocity in the car's frame (forward, left), m/s; r yaw
rate, rad/s; fx, fy forces of an axle on the car, N; z load on a wheel or an axle, N; alpha slip
angle, rad; kappa curvature, 1/m. Front and rear axle are told apart by f and r at the end of a
name.
"""

import math
from typing import Any

import numpy as np

from wm_envs.driving.columns import PREVIEWS
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.kernel import Row, kernel, random_uniform, state_dtype
from wm_envs.rules import Array, outcome_dtype

TIME_STEP = 0.02  # s
NUM_SUBSTEPS = 2

MASS, YAW_INERTIA = 800.0, 1100.0  # kg, kg m^2
TO_FRONT, TO_REAR, HEIGHT, TRACK_WIDTH = 1.6, 2.0, 0.30, 1.6  # of the centre of mass, m
WHEELBASE = TO_FRONT + TO_REAR
HALF_WIDTH = 0.8  # of the car, m
GRAVITY = 9.81
MAX_STEER = 0.35  # rad
MAX_DRIVE, MAX_POWER = 15_000.0, 700_000.0  # N, W; at the rear axle
# N; with 60 % at the front the car spins.
MAX_BRAKE, BRAKE_FRONT = 25_000.0, 0.66
DOWNFORCE_FRONT, DOWNFORCE_REAR = 0.46 * 3.2156, 0.54 * 3.2156  # N per (m/s)^2
DRAG = 0.5 * 1.225 * 1.5  # N per (m/s)^2
STEER_TIME, THROTTLE_TIME, BRAKE_TIME = 0.06, 0.08, 0.05  # s
STEER_SHARE = 1.0 - math.exp(-TIME_STEP / STEER_TIME)
THROTTLE_SHARE = 1.0 - math.exp(-TIME_STEP / THROTTLE_TIME)
BRAKE_SHARE = 1.0 - math.exp(-TIME_STEP / BRAKE_TIME)
# Of an axle's load, so that the inner wheel keeps some.
MAX_TRANSFER = 0.48
MIN_AXLE_LOAD = 200.0  # N

PEAK_GRIP, BEST_TEMPERATURE, GRIP_FALL = 1.5, 90.0, 2e-4
STIFFNESS = 16.0  # slope of the lateral force
# Largest share of an axle's grip that the longitudinal force takes.
MAX_USE = 0.97
SLIP_RATIO = 0.08  # at full use
AIR_TEMPERATURE, HEAT_CAPACITY = 25.0, 9000.0  # C, J/K
WEAR_RATE, FUEL_RATE = 1e-4, 1e-4  # 1/s
# m/s: kinematic below, dynamic above, blended between.
SLOW, FAST = 3.0, 5.0
RELAXATION = 0.1  # s, of the kinematic model
# Of 1 - n kappa: the coordinates fold at 0.
MIN_FACTOR = 0.1

STANDSTILL_SPEED, STANDSTILL_STEPS = 0.5, 100  # m/s; 2 s
MAX_SIDESLIP = 1.0  # rad
# m/s across the edge: faster is a collision.
BARRIER_SPEED = 3.0
MAX_DENSE_REWARD = 10.0

NUM_PREVIEWS = len(PREVIEWS)
MAX_TRACK_POINTS = 8192

REWARD_COMPONENTS = (
    "progress",
    "alive",
    "speed",
    "centering",
    "heading",
    "slip",
    "smoothness",
    "off_track",
    "collision",
    "standstill",
    "tyre",
    "fuel",
)
REWARD_WEIGHTS = (100.0, 0.02, 0.01, -0.1, -0.5, -1.0, -0.1, -10.0, -100.0, -0.05, 0.05, 0.01)
RUNNING, LEFT_ROAD, SPUN, STOOD_STILL = 0, 1, 2, 3

INFO_FIELDS: list[Any] = [
    ("is_success", np.bool_),  # the laps that were asked for, or one
    ("laps", np.int64),
    ("lap_time", np.float64),  # s, of the lap completed by this step, else 0
    ("cause", np.int64),  # of the termination: RUNNING, LEFT_ROAD, SPUN or STOOD_STILL
    # Curvature at the car, length, half width to the right and to the left.
    ("track", np.float64, (4,)),
]
OUTCOME = outcome_dtype(REWARD_COMPONENTS, INFO_FIELDS)
STATE = state_dtype(
    [
        ("vx", np.float64),
        ("vy", np.float64),
        ("ax", np.float64),  # specific forces: what an accelerometer shows, mean of the last step
        ("ay", np.float64),
        ("yaw_rate", np.float64),
        ("steering", np.float64),  # -1 .. 1 as applied
        ("throttle", np.float64),
        ("brake", np.float64),
        ("temperature_fl", np.float64),
        ("temperature_fr", np.float64),
        ("temperature_rl", np.float64),
        ("temperature_rr", np.float64),
        ("wear_fl", np.float64),  # remaining, 1 is new
        ("wear_fr", np.float64),
        ("wear_rl", np.float64),
        ("wear_rr", np.float64),
        ("fuel", np.float64),
        ("distance", np.float64),  # along the lap, [0, length)
        ("offset", np.float64),
        ("heading_error", np.float64),
        ("driven", np.float64),  # along the centre line since the start
        ("lap_started", np.float64),  # s since the reset
        ("laps", np.int64),
        ("still_steps", np.int64),
        ("cause", np.int64),
        ("num_commands", np.int64),  # 0 until the first action, which has none to differ from
        ("steering_command", np.float64),
        ("throttle_command", np.float64),
        ("brake_command", np.float64),
    ]
)
PARAMETERS = np.dtype(
    [
        ("time_limit", np.int64),
        ("max_laps", np.int64),  # 0: no limit
        ("is_extended", np.bool_),
        ("is_normalised", np.bool_),
        ("is_random_start", np.bool_),
        ("num_substeps", np.int64),
        ("start_speed", np.float64),
        ("start_temperature", np.float64),
        ("grip_scale", np.float64),
        ("weights", np.float64, (len(REWARD_COMPONENTS),)),
        ("num_points", np.int64),
        ("length", np.float64),
        ("inverse_spacing", np.float64),
        # The tables are closed: the first point again after the last.
        ("curvature", np.float64, (MAX_TRACK_POINTS + 1,)),
        ("right", np.float32, (MAX_TRACK_POINTS + 1,)),
        ("left", np.float32, (MAX_TRACK_POINTS + 1,)),
        ("x", np.float32, (MAX_TRACK_POINTS + 1,)),  # for pictures only
        ("y", np.float32, (MAX_TRACK_POINTS + 1,)),
        ("heading", np.float32, (MAX_TRACK_POINTS + 1,)),
    ],
    align=True,
)

# The road


@kernel
def between(points: Array, place: float) -> float:
    """Linear interpolation at a place counted in points."""
    index = int(place)
    low = float(points[index])
    return low + (place - index) * (float(points[index + 1]) - low)


@kernel
def curvature_at(rules: Row, distance: float) -> float:
    """Curvature of the centre line at a distance in [0, 2 length)."""
    if distance >= rules.length:
        distance -= rules.length
    return between(rules.curvature, distance * rules.inverse_spacing)


@kernel
def left_at(rules: Row, distance: float) -> float:
    """Half width to the left at a distance in [0, length)."""
    return between(rules.left, distance * rules.inverse_spacing)


@kernel
def right_at(rules: Row, distance: float) -> float:
    """Half width to the right at a distance in [0, length)."""
    return between(rules.right, distance * rules.inverse_spacing)


@kernel
def wrap_distance(distance: float, length: float) -> float:
    """A distance within [0, length), from at most one length outside."""
    if distance >= length:
        distance -= length
    if distance < 0.0:
        distance += length
    return 0.0 if distance >= length else distance  # -1e-20 + length is length


@kernel
def wrap_angle(angle: float) -> float:
    """An angle within [-pi, pi], from at most one turn outside."""
    if angle > math.pi:
        return angle - 2.0 * math.pi
    if angle < -math.pi:
        return angle + 2.0 * math.pi
    return angle


@kernel
def clip(value: float, low: float, high: float) -> float:
    """The value within the bounds."""
    return min(max(value, low), high)


# Tyres


@kernel
def grip(temperature: float, wear: float, scale: float) -> float:
    """Friction coefficient of a wheel.

    .98 of its peak at 10 C from the best temperature, .73 at 40 C.
    """
    off = temperature - BEST_TEMPERATURE
    return scale * PEAK_GRIP * math.exp(-GRIP_FALL * off * off) * (0.7 + 0.3 * wear)


@kernel
def sine_of_scaled_arctangent(x: float) -> float:
    """sin(1.5 atan(x)), by half angles: a third of the time of the functions that it names."""
    cosine = 1.0 / math.sqrt(1.0 + x * x)
    half = math.sqrt(0.5 * (1.0 - cosine))  # |sin| of half the arctangent
    value = half * (3.0 - 4.0 * half * half)
    return value if x >= 0.0 else -value


@kernel
def use_of_grip(fx: float, available: float) -> float:
    """Share of an axle's grip that a demanded longitudinal force takes, clipped."""
    return clip(fx / available, -MAX_USE, MAX_USE)


@kernel
def lateral_force(available: float, use: float, alpha: float) -> float:
    """Magic formula within the friction ellipse."""
    return available * math.sqrt(1.0 - use * use) * sine_of_scaled_arctangent(STIFFNESS * alpha)


@kernel
def lateral_transfer(axle_load: float, total_load: float, ay: float) -> float:
    """Load that moves from the left to the right wheel of an axle."""
    transfer = MASS * ay * HEIGHT / TRACK_WIDTH * axle_load / total_load
    return clip(transfer, -MAX_TRANSFER * axle_load, MAX_TRANSFER * axle_load)


@kernel
def heated(temperature: float, power: float, load: float, speed: float) -> float:
    """Temperature of a wheel after a step."""
    rate = (
        0.5 * power + 0.010 * load * speed - (20.0 + 2.0 * speed) * (temperature - AIR_TEMPERATURE)
    )
    return clip(temperature + TIME_STEP * rate / HEAT_CAPACITY, 0.0, 200.0)


@kernel
def worn(wear: float, use: float, alpha: float, load: float) -> float:
    """What remains of a tyre after a step."""
    slip = 10.0 * SLIP_RATIO * abs(use) + 5.0 * abs(alpha)
    return max(0.0, wear - TIME_STEP * WEAR_RATE * (1.0 + slip) * load / 5000.0)


# Motion


@kernel
def slip_angle(steer: float, lateral: float, forward: float) -> float:
    """Slip angle of an axle whose velocity is (forward, lateral) in the car's frame."""
    return steer - math.atan(lateral / max(forward, 1.0))


@kernel
def motion(
    rules: Row,
    vx: float,
    vy: float,
    r: float,
    distance: float,
    offset: float,
    chi: float,
    steer: float,
    cos_steer: float,
    sin_steer: float,
    drive: float,
    brake: float,
    grip_f: float,
    grip_r: float,
    static_f: float,
    static_r: float,
) -> tuple[float, ...]:
    """Time derivatives of (vx, vy, r, distance, offset, chi).

    After them come the specific forces ax and ay.
    """
    squared = vx * vx + vy * vy
    speed = math.sqrt(squared)
    available_f = grip_f * max(static_f + DOWNFORCE_FRONT * squared, MIN_AXLE_LOAD)
    available_r = grip_r * max(static_r + DOWNFORCE_REAR * squared, MIN_AXLE_LOAD)
    against = -clip(vx, -1.0, 1.0) * brake
    use_f = use_of_grip(BRAKE_FRONT * against, available_f)
    power_limit = MAX_POWER / max(speed, 1.0)
    use_r = use_of_grip(
        drive * min(MAX_DRIVE, power_limit) + (1.0 - BRAKE_FRONT) * against, available_r
    )
    fx_f, fx_r = use_f * available_f, use_r * available_r
    fy_f = lateral_force(available_f, use_f, slip_angle(steer, vy + TO_FRONT * r, vx))
    fy_r = lateral_force(available_r, use_r, slip_angle(0.0, vy - TO_REAR * r, vx))
    left_f = fy_f * cos_steer + fx_f * sin_steer
    ax = (fx_r + fx_f * cos_steer - fy_f * sin_steer - DRAG * speed * vx) / MASS
    ay = (fy_r + left_f - DRAG * speed * vy) / MASS
    r_rate = (TO_FRONT * left_f - TO_REAR * fy_r) / YAW_INERTIA
    vx_rate, vy_rate = ax + r * vy, ay - r * vx
    # On the whole speed, never on vx alone: a sliding car would stop in a tenth of a second.
    kinematic = clip((FAST - speed) / (FAST - SLOW), 0.0, 1.0)
    if kinematic > 0.0:
        turning = vx * sin_steer / (cos_steer * WHEELBASE)
        dynamic = 1.0 - kinematic
        ax = dynamic * ax + kinematic * (fx_r + fx_f - DRAG * speed * vx) / MASS
        ay = dynamic * ay + kinematic * turning * vx
        vx_rate = dynamic * vx_rate + kinematic * ax
        vy_rate = dynamic * vy_rate + kinematic * (TO_REAR * turning - vy) / RELAXATION
        r_rate = dynamic * r_rate + kinematic * (turning - r) / RELAXATION
    kappa = curvature_at(rules, distance)
    cos_chi, sin_chi = math.cos(chi), math.sin(chi)
    distance_rate = (vx * cos_chi - vy * sin_chi) / max(1.0 - offset * kappa, MIN_FACTOR)
    offset_rate = vx * sin_chi + vy * cos_chi
    return vx_rate, vy_rate, r_rate, distance_rate, offset_rate, r - kappa * distance_rate, ax, ay


@kernel
def move(
    state: Row, rules: Row, grip_f: float, grip_r: float, static_f: float, static_r: float
) -> float:
    """Integrate velocities and position over one step.

    Returns the distance driven along the centre line.
    """
    vx, vy, r = state.vx, state.vy, state.yaw_rate
    start, offset, chi = state.distance, state.offset, state.heading_error
    length = rules.length
    steer = MAX_STEER * state.steering
    cos_steer, sin_steer = math.cos(steer), math.sin(steer)
    drive, brake = state.throttle if state.fuel > 0.0 else 0.0, MAX_BRAKE * state.brake
    substeps = rules.num_substeps
    h = TIME_STEP / substeps
    driven = total_ax = total_ay = 0.0
    for _ in range(substeps):
        s = start + driven
        s = s + length if s < 0.0 else s
        a1, b1, c1, d1, e1, f1, ax1, ay1 = motion(
            rules, vx, vy, r, s, offset, chi,
            steer, cos_steer, sin_steer, drive, brake, grip_f, grip_r, static_f, static_r,
        )  # fmt: skip
        k = 0.5 * h
        a2, b2, c2, d2, e2, f2, ax2, ay2 = motion(
            rules, vx + k * a1, vy + k * b1, r + k * c1,
            max(s + k * d1, 0.0), offset + k * e1, chi + k * f1,
            steer, cos_steer, sin_steer, drive, brake, grip_f, grip_r, static_f, static_r,
        )  # fmt: skip
        a3, b3, c3, d3, e3, f3, ax3, ay3 = motion(
            rules, vx + k * a2, vy + k * b2, r + k * c2,
            max(s + k * d2, 0.0), offset + k * e2, chi + k * f2,
            steer, cos_steer, sin_steer, drive, brake, grip_f, grip_r, static_f, static_r,
        )  # fmt: skip
        a4, b4, c4, d4, e4, f4, ax4, ay4 = motion(
            rules, vx + h * a3, vy + h * b3, r + h * c3,
            max(s + h * d3, 0.0), offset + h * e3, chi + h * f3,
            steer, cos_steer, sin_steer, drive, brake, grip_f, grip_r, static_f, static_r,
        )  # fmt: skip
        k = h / 6.0
        vx += k * (a1 + 2.0 * (a2 + a3) + a4)
        vy += k * (b1 + 2.0 * (b2 + b3) + b4)
        r += k * (c1 + 2.0 * (c2 + c3) + c4)
        driven += k * (d1 + 2.0 * (d2 + d3) + d4)
        offset += k * (e1 + 2.0 * (e2 + e3) + e4)
        chi += k * (f1 + 2.0 * (f2 + f3) + f4)
        total_ax += ax1 + 2.0 * (ax2 + ax3) + ax4
        total_ay += ay1 + 2.0 * (ay2 + ay3) + ay4
    state.vx, state.vy, state.yaw_rate = vx, vy, r
    state.ax, state.ay = total_ax / (6.0 * substeps), total_ay / (6.0 * substeps)
    state.distance = wrap_distance(start + driven, length)
    state.offset, state.heading_error = offset, wrap_angle(chi)
    return driven


@kernel
def apply_actuators(state: Row, steering: float, throttle: float, brake: float) -> None:
    """First-order lag from command to what the car does, held over the step."""
    state.steering += STEER_SHARE * (steering - state.steering)
    state.throttle += THROTTLE_SHARE * (throttle - state.throttle)
    state.brake += BRAKE_SHARE * (brake - state.brake)


@kernel
def drive_step(state: Row, rules: Row) -> float:
    """Loads, grip, motion, tyres and fuel over one step with the applied actuators.

    Returns the distance driven.
    """
    squared = state.vx * state.vx + state.vy * state.vy
    pitch = MASS * state.ax * HEIGHT / WHEELBASE
    static_f = MASS * GRAVITY * TO_REAR / WHEELBASE - pitch
    static_r = MASS * GRAVITY * TO_FRONT / WHEELBASE + pitch
    load_f = max(static_f + DOWNFORCE_FRONT * squared, MIN_AXLE_LOAD)
    load_r = max(static_r + DOWNFORCE_REAR * squared, MIN_AXLE_LOAD)
    roll_f = lateral_transfer(load_f, load_f + load_r, state.ay)
    roll_r = lateral_transfer(load_r, load_f + load_r, state.ay)
    z_fl, z_fr = 0.5 * load_f - roll_f, 0.5 * load_f + roll_f
    z_rl, z_rr = 0.5 * load_r - roll_r, 0.5 * load_r + roll_r
    scale = rules.grip_scale
    mu_fl = grip(state.temperature_fl, state.wear_fl, scale)
    mu_fr = grip(state.temperature_fr, state.wear_fr, scale)
    mu_rl = grip(state.temperature_rl, state.wear_rl, scale)
    mu_rr = grip(state.temperature_rr, state.wear_rr, scale)
    grip_f = (mu_fl * z_fl + mu_fr * z_fr) / load_f
    grip_r = (mu_rl * z_rl + mu_rr * z_rr) / load_r

    driven = move(state, rules, grip_f, grip_r, static_f, static_r)

    # Heat and wear are slow: one step of Euler with the forces at its end.
    speed = math.sqrt(state.vx * state.vx + state.vy * state.vy)
    alpha_f = slip_angle(MAX_STEER * state.steering, state.vy + TO_FRONT * state.yaw_rate, state.vx)
    alpha_r = slip_angle(0.0, state.vy - TO_REAR * state.yaw_rate, state.vx)
    available_f, available_r = grip_f * load_f, grip_r * load_r
    drive = (
        min(MAX_DRIVE, MAX_POWER / max(speed, 1.0)) * state.throttle if state.fuel > 0.0 else 0.0
    )
    against = -clip(state.vx, -1.0, 1.0) * MAX_BRAKE * state.brake
    use_f = use_of_grip(BRAKE_FRONT * against, available_f)
    use_r = use_of_grip(drive + (1.0 - BRAKE_FRONT) * against, available_r)
    power_f = speed * slip_power(available_f, use_f, alpha_f) / load_f
    power_r = speed * slip_power(available_r, use_r, alpha_r) / load_r
    state.temperature_fl = heated(state.temperature_fl, power_f * z_fl, z_fl, speed)
    state.temperature_fr = heated(state.temperature_fr, power_f * z_fr, z_fr, speed)
    state.temperature_rl = heated(state.temperature_rl, power_r * z_rl, z_rl, speed)
    state.temperature_rr = heated(state.temperature_rr, power_r * z_rr, z_rr, speed)
    state.wear_fl = worn(state.wear_fl, use_f, alpha_f, z_fl)
    state.wear_fr = worn(state.wear_fr, use_f, alpha_f, z_fr)
    state.wear_rl = worn(state.wear_rl, use_r, alpha_r, z_rl)
    state.wear_rr = worn(state.wear_rr, use_r, alpha_r, z_rr)
    revolutions = min(15_000.0, 3_000.0 + 130.0 * speed)
    burnt = FUEL_RATE * (0.3 + 0.7 * state.throttle) * revolutions / 15_000.0
    state.fuel = max(0.0, state.fuel - TIME_STEP * burnt)
    return driven


@kernel
def slip_power(available: float, use: float, alpha: float) -> float:
    """Force times slip of an axle, N: the heat per metre driven."""
    fy = lateral_force(available, use, alpha)
    return abs(use) * available * SLIP_RATIO * abs(use) + abs(fy) * min(abs(alpha), 0.5)


# An episode


@kernel
def reset(state: Row, rules: Row) -> None:
    """At the line, or somewhere on the lap near the centre line, rolling."""
    state.time, state.ended, state.cause = 0, False, RUNNING
    state.driven, state.lap_started, state.laps, state.still_steps = 0.0, 0.0, 0, 0
    place, side, turn = random_uniform(state), random_uniform(state), random_uniform(state)
    faster = random_uniform(state)
    if not rules.is_random_start:
        place, side, turn, faster = 0.0, 0.5, 0.5, 0.0
    state.distance = wrap_distance(place * rules.length, rules.length)
    right, left = right_at(rules, state.distance), left_at(rules, state.distance)
    # On the road, should it be a narrow one.
    state.offset = clip(2.0 * (side - 0.5), -right, left)
    state.heading_error = 0.1 * (turn - 0.5)
    state.vx, state.vy = rules.start_speed * (1.0 + 0.5 * faster), 0.0
    state.yaw_rate = state.ax = state.ay = 0.0
    state.steering = state.throttle = state.brake = 0.0
    state.num_commands = 0
    state.steering_command = state.throttle_command = state.brake_command = 0.0
    state.temperature_fl = state.temperature_fr = rules.start_temperature
    state.temperature_rl = state.temperature_rr = rules.start_temperature
    state.wear_fl = state.wear_fr = state.wear_rl = state.wear_rr = 1.0
    state.fuel = 1.0


@kernel
def count_laps(state: Row, rules: Row, driven: float) -> float:
    """Add to the distance.

    The time of a lap that this completes, to a fraction of a step, else 0.
    """
    state.driven += driven
    beyond = state.driven - (state.laps + 1) * rules.length
    if beyond < 0.0 or driven <= 0.0:
        return 0.0
    crossed = (state.time - beyond / driven) * TIME_STEP
    lap_time = crossed - state.lap_started
    state.lap_started = crossed
    state.laps += 1
    return lap_time


@kernel
def cause_of_end(state: Row, left: float, right: float) -> int:
    """Why the episode is over: off the road by half a car, spun, or at a standstill for 2 s."""
    if state.offset > left + HALF_WIDTH or state.offset < -right - HALF_WIDTH:
        return LEFT_ROAD
    is_moving = state.vx * state.vx + state.vy * state.vy > SLOW * SLOW
    is_sideways = is_moving and abs(math.atan2(state.vy, state.vx)) > MAX_SIDESLIP
    if is_sideways or abs(state.heading_error) > 0.5 * math.pi:
        return SPUN
    if state.still_steps >= STANDSTILL_STEPS:
        return STOOD_STILL
    return RUNNING


@kernel
def weigh_rewards(rules: Row, outcome: Row) -> float:
    """The dense terms within bounds, then the events.

    Clipped too, a collision would cost no more than a departure.
    """
    weights = rules.weights
    dense = weights[0] * outcome.progress + weights[1] * outcome.alive + weights[2] * outcome.speed
    dense += (
        weights[3] * outcome.centering + weights[4] * outcome.heading + weights[5] * outcome.slip
    )
    dense += weights[6] * outcome.smoothness + weights[9] * outcome.standstill
    dense += weights[10] * outcome.tyre + weights[11] * outcome.fuel
    dense = clip(dense, -MAX_DENSE_REWARD, MAX_DENSE_REWARD)
    return dense + weights[7] * outcome.off_track + weights[8] * outcome.collision


@kernel
def step(
    state: Row, rules: Row, steering: float, throttle: float, brake: float, outcome: Row
) -> None:
    """Advance by one action."""
    state.time += 1
    change_steering = steering - state.steering_command
    change_throttle = throttle - state.throttle_command
    change_brake = brake - state.brake_command
    is_first = state.num_commands == 0
    state.num_commands += 1
    state.steering_command, state.throttle_command, state.brake_command = steering, throttle, brake
    wear = state.wear_fl + state.wear_fr + state.wear_rl + state.wear_rr
    fuel = state.fuel

    apply_actuators(state, steering, throttle, brake)
    driven = drive_step(state, rules)
    outcome.lap_time = count_laps(state, rules, driven)

    speed = math.sqrt(state.vx * state.vx + state.vy * state.vy)
    state.still_steps = state.still_steps + 1 if speed < STANDSTILL_SPEED else 0
    left, right = left_at(rules, state.distance), right_at(rules, state.distance)
    state.cause = cause_of_end(state, left, right)
    across = state.vx * math.sin(state.heading_error) + state.vy * math.cos(state.heading_error)
    aside = state.offset / (left if state.offset > 0.0 else right)
    turn = state.heading_error / math.pi
    slip = state.vy / max(speed, FAST)
    has_left = state.cause == LEFT_ROAD
    changes = (
        change_steering * change_steering
        + change_throttle * change_throttle
        + change_brake * change_brake
    )

    outcome.progress = driven / rules.length
    outcome.alive = 1.0
    outcome.speed = clip(state.vx / 100.0, 0.0, 1.5)
    outcome.centering = min(aside * aside, 4.0)
    outcome.heading = turn * turn
    outcome.slip = slip * slip
    outcome.smoothness = 0.0 if is_first else changes
    outcome.off_track = 1.0 if has_left else 0.0
    outcome.collision = 1.0 if has_left and abs(across) > BARRIER_SPEED else 0.0
    outcome.standstill = 1.0 if speed < STANDSTILL_SPEED else 0.0
    outcome.tyre = 25.0 * (state.wear_fl + state.wear_fr + state.wear_rl + state.wear_rr - wear)
    outcome.fuel = 100.0 * (state.fuel - fuel)
    outcome.reward = weigh_rewards(rules, outcome)
    outcome.terminated = state.cause != RUNNING
    has_finished = rules.max_laps > 0 and state.laps >= rules.max_laps
    outcome.truncated = has_finished or state.time >= rules.time_limit
    outcome.is_success = state.laps >= max(rules.max_laps, 1)
    outcome.laps = state.laps
    outcome.cause = state.cause
    report(state, rules, outcome)
    state.ended = outcome.terminated or outcome.truncated


@kernel
def report(state: Row, rules: Row, outcome: Row) -> None:
    """What of the road the observation leaves out."""
    outcome.track[0] = curvature_at(rules, state.distance)
    outcome.track[1] = rules.length
    outcome.track[2] = right_at(rules, state.distance)
    outcome.track[3] = left_at(rules, state.distance)


# Observations


@kernel
def observe(state: Row, rules: Row, out: Array, row: int) -> None:
    """Write the observation; SI units or the normalised numbers."""
    normalise = rules.is_normalised
    speed = 1.0 / 100.0 if normalise else 1.0
    force = 1.0 / 50.0 if normalise else 1.0
    turn = 1.0 / 5.0 if normalise else 1.0
    heat = 1.0 / 120.0 if normalise else 1.0
    side = 1.0 / 5.0 if normalise else 1.0
    angle = 1.0 / math.pi if normalise else 1.0
    bend = 1.0 / 0.1 if normalise else 1.0
    out[row, Column.VELOCITY_X] = clip(state.vx, -150.0, 150.0) * speed
    out[row, Column.VELOCITY_Y] = clip(state.vy, -150.0, 150.0) * speed
    out[row, Column.VELOCITY_Z] = 0.0
    out[row, Column.ACCELERATION_X] = clip(state.ax, -100.0, 100.0) * force
    out[row, Column.ACCELERATION_Y] = clip(state.ay, -100.0, 100.0) * force
    out[row, Column.ACCELERATION_Z] = 0.0
    out[row, Column.ROLL_RATE] = 0.0
    out[row, Column.PITCH_RATE] = 0.0
    out[row, Column.YAW_RATE] = clip(state.yaw_rate, -10.0, 10.0) * turn
    out[row, Column.STEERING] = clip(state.steering, -1.0, 1.0)
    out[row, Column.THROTTLE] = clip(state.throttle, 0.0, 1.0)
    out[row, Column.BRAKE] = clip(state.brake, 0.0, 1.0)
    out[row, Column.TEMPERATURE_FL] = state.temperature_fl * heat
    out[row, Column.TEMPERATURE_FR] = state.temperature_fr * heat
    out[row, Column.TEMPERATURE_RL] = state.temperature_rl * heat
    out[row, Column.TEMPERATURE_RR] = state.temperature_rr * heat
    out[row, Column.WEAR_FL] = state.wear_fl
    out[row, Column.WEAR_FR] = state.wear_fr
    out[row, Column.WEAR_RL] = state.wear_rl
    out[row, Column.WEAR_RR] = state.wear_rr
    out[row, Column.FUEL] = state.fuel
    out[row, Column.TRACK_POSITION] = state.distance / rules.length
    out[row, Column.OFFSET] = clip(state.offset, -20.0, 20.0) * side
    out[row, Column.HEADING_ERROR] = clip(state.heading_error, -math.pi, math.pi) * angle
    for index in range(NUM_PREVIEWS):
        ahead = curvature_at(rules, state.distance + PREVIEWS[index])
        out[row, Column.CURVATURE_10M + index] = clip(ahead, -0.5, 0.5) * bend
    if rules.is_extended:
        out[row, Column.CURVATURE_0M] = clip(curvature_at(rules, state.distance), -0.5, 0.5) * bend
        out[row, Column.RIGHT_WIDTH] = min(right_at(rules, state.distance), 20.0) * side
        out[row, Column.LEFT_WIDTH] = min(left_at(rules, state.distance), 20.0) * side


# The loops


@kernel
def hold_still(outcome: Row) -> None:
    """A row that has ended earns nothing; its flags stay."""
    outcome.reward = 0.0
    outcome.progress = 0.0
    outcome.alive = 0.0
    outcome.speed = 0.0
    outcome.centering = 0.0
    outcome.heading = 0.0
    outcome.slip = 0.0
    outcome.smoothness = 0.0
    outcome.off_track = 0.0
    outcome.collision = 0.0
    outcome.standstill = 0.0
    outcome.tyre = 0.0
    outcome.fuel = 0.0
    outcome.lap_time = 0.0


@kernel
def clear_flags(outcome: Row) -> None:
    """A row that was reset has not ended."""
    outcome.terminated = outcome.truncated = outcome.is_success = False
    outcome.laps = outcome.cause = 0


@kernel
def reset_rows(states: Array, parameters: Array, mask: Array) -> None:
    """Start the masked rows anew."""
    for row in range(len(states)):
        if mask[row]:
            reset(states[row], parameters[0])


@kernel
def report_rows(states: Array, parameters: Array, outcomes: Array, mask: Array) -> None:
    """What the masked rows report right after a reset."""
    for row in range(len(states)):
        if mask[row]:
            report(states[row], parameters[0], outcomes[row])


@kernel
def observe_rows(states: Array, parameters: Array, observations: Array) -> None:
    """Observations of all rows."""
    for row in range(len(states)):
        observe(states[row], parameters[0], observations, row)


@kernel
def step_rows(
    states: Array,
    parameters: Array,
    actions: Array,
    observations: Array,
    outcomes: Array,
    is_autoreset: bool,
) -> None:
    """Advance all rows.

    One that has ended is reset when `is_autoreset` and else holds still with no reward.
    """
    rules = parameters[0]
    for row in range(len(states)):
        state, outcome = states[row], outcomes[row]
        if not state.ended:
            step(state, rules, actions[row, 0], actions[row, 1], actions[row, 2], outcome)
        else:
            hold_still(outcome)
            if is_autoreset:
                reset(state, rules)
                clear_flags(outcome)
                report(state, rules, outcome)
        observe(state, rules, observations, row)
