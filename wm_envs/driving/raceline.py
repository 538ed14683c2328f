"""The racing line of a circuit, its speed profile and the quasi-steady limit of the lap time.

The line minimises the summed squared curvature within the road (Heilmeier et al., Minimum curvature
trajectory planning and control for an autonomous race car, Vehicle System Dynamics 2020). The
profile is the fastest at which both axles hold the lateral force in balance, and longitudinal
forces stay within what their friction ellipses leave: forwards limited by the rear axle and the
power, backwards by both axles at the fixed brake balance (Brayshaw & Harrison, 2005).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.driving import dynamics
from wm_envs.driving.spline import ClosedSpline, evaluate, second_derivatives
from wm_envs.driving.track import Track
from wm_envs.errors import MissingExtraError, OptionError
from wm_envs.kernel import kernel
from wm_envs.rules import Array

Floats = NDArray[np.float64]

GRID = 4.0  # m along the centre line
STEP_SHARES = (1.0, 0.6, 0.3, 0.1)
# Each linearises about the line of the one before.
NUM_PASSES = 12
# M between the middle of the car and the edge, half a car and 0.2 m.
MARGIN = 1.0
# Of offset times curvature: at 1 the coordinates fold.
MAX_FOLD = 0.75
MAX_SPEED = 150.0  # m/s
# 1/m; less counts as if it were as much, where another power than the square is minimised.
STRAIGHT = 0.004
MAX_INTERIOR_STEPS = 40
# Of the mended line: after each round, knots beside a point of the tables that is out of bounds
# get bounds that are tighter by as much.
MAX_TIGHTENINGS = 12
TOLERANCE = 1e-3  # m, of the bounds between the knots


@dataclass(frozen=True)
class RacingLine:
    """The line and its fastest profile as tables over the N points of the circuit's own.

    Attributes:
        offset: To the left of the centre line, [N] m.
        course: Direction of the line against the centre line's, [N] rad.
        curvature: Of the line, [N] 1/m.
        speed: Quasi-steady limit, [N] m/s.
        place: Distance along the line, [N] m.
        length: Of the line, m.
        lap_time: Quasi-steady limit, s.
    """

    offset: Floats
    course: Floats
    curvature: Floats
    speed: Floats
    place: Floats
    length: float
    lap_time: float


def racing_line(
    track: Track,
    grip_scale: float = 1.0,
    margin: float = MARGIN,
    *,
    is_mended: bool = False,
    exponent: float = 2.0,
) -> RacingLine:
    """Line, profile and limit of a circuit; needs scipy, and a second at most.

    Args:
        track: The circuit.
        grip_scale: Factor on the grip, as the environment's option.
        margin: Distance kept from the edges, m.
        is_mended: Keep the bounds of the fold and of the margins at every point of the circuit's
            tables, also on a road that is narrower on one side than the margin. Without it they
            hold at the knots of the line alone, one every 4 m, as in `wm/Driving-v0`.
        exponent: Of the curvature in the integral that the line minimises, 2 or more. At 2 long fast
            bends count for little; the higher it is, the more the sharpest bends are opened.

    Raises:
        OptionError: An exponent below 2.
        MissingExtraError: scipy is not installed.
    """
    if not exponent >= 2.0:
        raise OptionError(f"exponent={exponent}: give 2, for the least squared curvature, or more")
    num_knots = round(track.length / GRID)
    knots = np.linspace(0.0, track.length, num_knots, endpoint=False)
    offsets = (
        _bounded_everywhere(track, knots, margin, exponent)
        if is_mended
        else _least_curved(track, knots, *_bounds(track, knots, margin), exponent)
    )
    line = ClosedSpline(track.position(knots, offsets))
    closed_knots = np.append(knots, track.length)
    distance = np.linspace(0.0, track.length, track.num_points, endpoint=False)
    offset, slope = _between_knots(track, knots, offsets, distance)
    place = np.interp(distance, closed_knots, line.knots)
    _, first, bend = line(place)
    curvature = first[:, 0] * bend[:, 1] - first[:, 1] * bend[:, 0]
    steps = np.diff(place, append=line.length)
    speed = speed_profile(curvature, steps, dynamics.PEAK_GRIP * grip_scale)
    stretch = np.maximum(1.0 - offset * track.curvature, dynamics.MIN_FACTOR)
    return RacingLine(
        offset=offset,
        course=np.arctan2(slope, stretch),
        curvature=curvature,
        speed=speed,
        place=place,
        length=line.length,
        lap_time=float(np.sum(2.0 * steps / (speed + np.roll(speed, -1)))),
    )


def _between_knots(
    track: Track, knots: Floats, offsets: Floats, distance: Floats
) -> tuple[Floats, Floats]:
    """Offset and its slope [M] at distances [M], of the spline through the offsets [K]."""
    # The spline ends where it begins, a lap on.
    closed_knots = np.append(knots, track.length)
    closed = np.append(offsets, offsets[0])[:, None]
    second = second_derivatives(closed_knots, closed)
    offset, slope, _ = evaluate(closed_knots, closed, second, distance)
    return offset[:, 0], slope[:, 0]


def _bounded_everywhere(track: Track, knots: Floats, margin: float, exponent: float) -> Floats:
    """Offsets [K] at the knots [K] whose spline keeps its bounds between them, too.

    A spline overshoots its knots, and the sharpest point of a bend may lie between two of them. So
    each knot takes the tightest bounds of the stretch around it, and whatever the spline still has
    out of bounds tightens the knots beside it for another round.
    """
    fine = np.linspace(0.0, track.length, track.num_points, endpoint=False)
    low, high = _road_bounds(track, fine, margin)
    low_knots, high_knots = _road_bounds(track, knots, margin)
    after = np.minimum((fine / track.length * len(knots)).astype(np.int64), len(knots) - 1)
    beside = (after, (after + 1) % len(knots))
    for index in beside:
        np.maximum.at(low_knots, index, low)
        np.minimum.at(high_knots, index, high)
    for _ in range(MAX_TIGHTENINGS):
        # Where the widest of one side leaves nothing of the other, the middle of what is left.
        middle = 0.5 * (low_knots + high_knots)
        low_knots = np.minimum(low_knots, middle - 0.01)
        high_knots = np.maximum(high_knots, middle + 0.01)
        offsets = _least_curved(track, knots, low_knots, high_knots, exponent)
        offset, _ = _between_knots(track, knots, offsets, fine)
        too_low = low - offset
        too_high = offset - high
        if max(too_low.max(), too_high.max()) <= TOLERANCE:
            break
        for index in beside:
            excess = np.zeros(len(knots))
            np.maximum.at(excess, index, too_low)
            low_knots = low_knots + 1.2 * excess
            excess = np.zeros(len(knots))
            np.maximum.at(excess, index, too_high)
            high_knots = high_knots - 1.2 * excess
    return offsets


def _road_bounds(track: Track, distance: Floats, margin: float) -> tuple[Floats, Floats]:
    """Bounds [M] of the offset at distances [M]: both margins, and the fold.

    A road is 2.5 m wide at least, so that margins of up to 1.25 m leave something between them; it
    need not hold the centre line.
    """
    curvature = track.at(track.curvature, distance)
    fold = MAX_FOLD / np.maximum(np.abs(curvature), 1e-6)
    right, left = track.at(track.right, distance), track.at(track.left, distance)
    margin_there = np.minimum(margin, 0.5 * (right + left) - 0.02)
    low, high = margin_there - right, left - margin_there
    low = np.where(curvature < 0, np.maximum(low, -fold), low)
    high = np.where(curvature > 0, np.minimum(high, fold), high)
    return low, high


def _least_curved(
    track: Track, knots: Floats, low: Floats, high: Floats, exponent: float
) -> Floats:
    """Offsets [K] at the knots [K] that minimise the integral of a power of the curvature."""
    sparse, _ = _scipy()
    base, zeros = track.position(knots, np.zeros_like(knots)), np.zeros_like(knots)
    normal = track.position(knots, zeros + 1.0) - base
    offsets = np.clip(zeros, low, high)
    for _ in range(NUM_PASSES):
        matrix, constant = _curvature_about(base, normal, offsets)
        if exponent != 2.0:
            # Iteratively reweighted least squares: a square counts by what is missing to the power.
            curvature, _ = _curvature(base + offsets[:, None] * normal)
            weights = (curvature**2 + STRAIGHT**2) ** (0.25 * (exponent - 2.0))
            matrix, constant = sparse.diags(weights) @ matrix, weights * constant
        # The small diagonal makes it positive definite where the offsets change nothing.
        hessian = (matrix.T @ matrix + 1e-9 * sparse.identity(len(knots))).tocsc()
        solution = box_quadratic(hessian, matrix.T @ constant, low, high, offsets)
        # The whole step may overshoot in a hairpin: take the share that bends least.
        steps = [offsets + share * (solution - offsets) for share in STEP_SHARES]
        offsets = min(steps, key=lambda step: _bending(base + step[:, None] * normal, exponent))
    return offsets


def _curvature(points: Floats) -> tuple[Floats, Floats]:
    """Curvature of a closed line of points [K, 2], and the lengths [K] around the points."""
    first, second, lengths = _differences(points)
    x, y = points[:, 0], points[:, 1]
    turning = (first @ x) * (second @ y) - (first @ y) * (second @ x)
    return turning / np.hypot(first @ x, first @ y) ** 3, lengths


def _bending(points: Floats, exponent: float) -> float:
    """The integral of a power of the curvature along a closed line of points [K, 2]."""
    curvature, lengths = _curvature(points)
    if exponent == 2.0:
        return float(np.sum(curvature**2 * lengths))
    return float(np.sum((curvature**2 + STRAIGHT**2) ** (0.5 * exponent) * lengths))


def _curvature_about(base: Floats, normal: Floats, offsets: Floats) -> tuple[Any, Floats]:
    """Curvature times the root of the arc length, linear in the offsets.

    Matrix [K, K] and constant [K].

    With unit tangent t and left normal m, a displacement d of the line changes its curvature k by m
    d'' - 2 k t d' and its length by t d'. Without the second terms, a line that shrinks would seem
    to straighten.
    """
    sparse, _ = _scipy()
    points = base + offsets[:, None] * normal
    first, second, lengths = _differences(points)
    tangent = np.stack([first @ points[:, 0], first @ points[:, 1]], axis=1)
    tangent /= np.hypot(*tangent.T)[:, None]
    across = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    curvature = sum(across[:, i] * (second @ points[:, i]) for i in range(2))
    change = sum(
        (
            sparse.diags(across[:, i]) @ second
            - sparse.diags(1.5 * curvature * tangent[:, i]) @ first
        )
        @ sparse.diags(normal[:, i])
        for i in range(2)
    )
    roots = np.sqrt(lengths)
    matrix = sparse.diags(roots) @ change
    return matrix, roots * curvature - matrix @ offsets


def _bounds(track: Track, knots: Floats, margin: float) -> tuple[Floats, Floats]:
    """The offsets within the road that leave the margin and do not come near the fold."""
    curvature = track.at(track.curvature, knots)
    fold = MAX_FOLD / np.maximum(np.abs(curvature), 1e-6)
    # A road that is narrower than both margins still leaves a line to drive.
    high = np.maximum(track.at(track.left, knots) - margin, 0.05)
    low = -np.maximum(track.at(track.right, knots) - margin, 0.05)
    return np.where(curvature < 0, np.maximum(low, -fold), low), np.where(
        curvature > 0, np.minimum(high, fold), high
    )


def _differences(points: Floats) -> tuple[Any, Any, Floats]:
    """First and second derivative by arc length as cyclic matrices [K, K].

    The third value are the lengths [K] around the points.
    """
    sparse, _ = _scipy()
    after = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    before = np.roll(after, 1)
    both, rows = before + after, np.arange(len(points))
    columns = np.concatenate([np.roll(rows, 1), rows, np.roll(rows, -1)])
    matrices = []
    for lower, upper in (
        (-after / (before * both), before / (after * both)),
        (2 / (before * both), 2 / (after * both)),
    ):
        values = np.concatenate([lower, -lower - upper, upper])
        matrices.append(
            sparse.csr_matrix((values, (np.tile(rows, 3), columns)), shape=(len(rows), len(rows)))
        )
    return matrices[0], matrices[1], both / 2


def box_quadratic(hessian: Any, linear: Floats, low: Floats, high: Floats, start: Floats) -> Floats:
    """Minimise x H x / 2 + g x within low <= x <= high.

    A primal-dual interior point method with one slack for each side (Nocedal & Wright, Numerical
    Optimization, 2006, chapter 16.6).

    Args:
        hessian: Sparse positive definite matrix H [K, K].
        linear: g [K].
        low: Lower bounds [K].
        high: Upper bounds [K], above the lower ones.
        start: Anything [K]; it is moved inside.
    """
    sparse, splu = _scipy()
    width = high - low
    # Strictly inside, where both slacks are positive.
    x = np.clip(start, low + 0.02 * width, high - 0.02 * width)
    scale = max(float(np.abs(hessian @ x + linear).mean()), 1e-12)
    dual_low, dual_high = np.full_like(x, scale), np.full_like(x, scale)
    for _ in range(MAX_INTERIOR_STEPS):
        above, below = x - low, high - x
        gap = float((dual_low * above + dual_high * below).mean()) / 2
        residual = hessian @ x + linear - dual_low + dual_high
        if (
            gap < 1e-6 * scale * float(width.mean())
            and float(np.abs(residual).max()) < 1e-4 * scale
        ):
            break
        # The centring of the method: a fixed share of the gap.
        target = 0.15 * gap
        matrix = hessian + sparse.diags(dual_low / above + dual_high / below)
        step = splu(matrix.tocsc()).solve(
            -residual + target / above - dual_low - target / below + dual_high
        )
        step_low = target / above - dual_low - dual_low / above * step
        step_high = target / below - dual_high + dual_high / below * step
        share = min(_longest(above, step), _longest(below, -step))
        dual_share = min(_longest(dual_low, step_low), _longest(dual_high, step_high))
        x = x + share * step
        dual_low, dual_high = dual_low + dual_share * step_low, dual_high + dual_share * step_high
    return x


def _longest(value: Floats, step: Floats) -> float:
    """The share of a step, at most 1, that keeps positive values positive."""
    falling = step < 0
    return float(min(1.0, 0.995 * np.min(-value[falling] / step[falling], initial=np.inf)))


def _scipy() -> tuple[Any, Any]:
    try:
        from scipy import sparse
        from scipy.sparse.linalg import splu
    except ImportError as error:
        raise MissingExtraError(
            'racing lines need scipy: pip install "wm-suite[agents]"'
        ) from error
    return sparse, splu


def speed_profile(curvature: Floats, steps: Floats, grip: float) -> Floats:
    """The fastest quasi-steady speeds [N] on a closed line.

    Args:
        curvature: Of the line, [N] 1/m.
        steps: From each point to the next, the last to the first, [N] m.
        grip: Friction coefficient.
    """
    top: Floats = cornering_speed(np.abs(curvature), grip)
    return _forward_backward(top, np.abs(curvature), steps, grip)


def cornering_speed(curvature: Floats, grip: float) -> Floats:
    """The speed [N] at which the first axle reaches its grip on a curvature [N].

    The yaw moments are in balance.
    """
    squared = np.full_like(curvature, MAX_SPEED**2)
    for share, downforce in (
        (dynamics.TO_REAR / dynamics.WHEELBASE, dynamics.DOWNFORCE_FRONT),
        (dynamics.TO_FRONT / dynamics.WHEELBASE, dynamics.DOWNFORCE_REAR),
    ):
        # N per (m/s)^2, beyond what downforce gives.
        needed = dynamics.MASS * curvature * share - grip * downforce
        held = grip * dynamics.MASS * dynamics.GRAVITY * share
        squared = np.minimum(
            squared, np.where(needed > 0, held / np.maximum(needed, 1e-12), np.inf)
        )
    speed: Floats = np.sqrt(squared)
    return speed


@kernel
def acceleration_limit(speed: float, curvature: float, grip: float) -> float:
    """The largest acceleration, m/s^2.

    Rear grip left by cornering, power, drag, and the front axle not lifted away.
    """
    squared = speed * speed
    lateral = dynamics.MASS * squared * curvature / dynamics.WHEELBASE
    transfer = dynamics.MASS * dynamics.HEIGHT / dynamics.WHEELBASE
    static_r = dynamics.MASS * dynamics.GRAVITY * dynamics.TO_FRONT / dynamics.WHEELBASE
    static_f = dynamics.MASS * dynamics.GRAVITY * dynamics.TO_REAR / dynamics.WHEELBASE
    engine = min(dynamics.MAX_DRIVE, dynamics.MAX_POWER / max(speed, 1.0))
    drag = dynamics.DRAG * squared
    acceleration = 0.0
    # The acceleration loads the rear axle, which decides the acceleration: a fixed point.
    for _ in range(4):
        available = grip * (static_r + dynamics.DOWNFORCE_REAR * squared + transfer * acceleration)
        left = max(available * available - (lateral * dynamics.TO_FRONT) ** 2, 0.0)
        force = min(engine, math.sqrt(left), dynamics.MAX_USE * available)
        acceleration = (force - drag) / dynamics.MASS
    # What keeps the front wheels on the ground while they steer.
    spare = static_f + dynamics.DOWNFORCE_FRONT * squared - lateral * dynamics.TO_REAR / grip
    return min(acceleration, max(spare, 0.0) / transfer)


@kernel
def braking_limit(speed: float, curvature: float, grip: float) -> float:
    """The largest deceleration, m/s^2, positive.

    What the first axle holds at the fixed brake balance, and drag.
    """
    squared = speed * speed
    lateral = dynamics.MASS * squared * curvature / dynamics.WHEELBASE
    transfer = dynamics.MASS * dynamics.HEIGHT / dynamics.WHEELBASE
    static_r = dynamics.MASS * dynamics.GRAVITY * dynamics.TO_FRONT / dynamics.WHEELBASE
    static_f = dynamics.MASS * dynamics.GRAVITY * dynamics.TO_REAR / dynamics.WHEELBASE
    drag = dynamics.DRAG * squared
    deceleration = drag / dynamics.MASS
    # Braking moves load from axle to axle: a fixed point again.
    for _ in range(6):
        front = grip * (static_f + dynamics.DOWNFORCE_FRONT * squared + transfer * deceleration)
        rear = grip * max(
            static_r + dynamics.DOWNFORCE_REAR * squared - transfer * deceleration, 0.0
        )
        left_f = math.sqrt(max(front * front - (lateral * dynamics.TO_REAR) ** 2, 0.0))
        left_r = math.sqrt(max(rear * rear - (lateral * dynamics.TO_FRONT) ** 2, 0.0))
        force = min(
            left_f / dynamics.BRAKE_FRONT, left_r / (1.0 - dynamics.BRAKE_FRONT), dynamics.MAX_BRAKE
        )
        # Half of the way, since the rear axle's share would make it swing.
        deceleration = 0.5 * (deceleration + (force + drag) / dynamics.MASS)
    return deceleration


@kernel
def _forward_backward(top: Array, curvature: Array, steps: Array, grip: float) -> Array:
    """Two rounds each way, so that the ends of the lap meet."""
    speed, size = top.copy(), len(top)
    for count in range(2 * size):
        i, j = count % size, (count + 1) % size
        gained = 2.0 * acceleration_limit(speed[i], curvature[i], grip) * steps[i]
        speed[j] = min(speed[j], math.sqrt(max(speed[i] * speed[i] + gained, 1.0)))
    for count in range(2 * size - 1, -1, -1):
        i, j = count % size, (count + 1) % size
        lost = 2.0 * braking_limit(speed[j], curvature[i], grip) * steps[i]
        speed[i] = min(speed[i], math.sqrt(speed[j] * speed[j] + lost))
    return speed
