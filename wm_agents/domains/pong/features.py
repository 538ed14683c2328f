"""What a policy reads of Pong: numbers of order one, from an estimated state and nothing else.

Beside positions and speeds there is the place where the ball will arrive if it keeps its speed and
is folded at the walls, relative to the paddle and to the place where the paddle will come to rest.
Walls and paddles are where the game's rules have them; nothing of that is learned.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong.state import NUM_PAST, UNKNOWN_ACTION
from wm_agents.domains.pong.tracking import distance_from_rest, paddle_parity
from wm_envs.kernel import Row, kernel
from wm_envs.pong import dynamics
from wm_envs.pong.columns import STACK, PongFeature

Array = NDArray[Any]

NUM_BINS = 15  # of the ball's arrival, relative to a paddle
BIN_WIDTH = 5.0  # px
PADDLE_CENTER = 6.0  # px from the paddle's top to a ball that meets its middle
MAX_ARRIVAL_STEPS = 8  # until the arrival of a ball that are told apart
NUM_SPEEDS = 4
NUM_ACTIONS_TOLD = 2

# Where groups of features begin
TO_PLAYER = 19
TO_REST = TO_PLAYER + NUM_BINS
ARRIVAL_STEPS = TO_REST + NUM_BINS
SPEEDS = ARRIVAL_STEPS + MAX_ARRIVAL_STEPS + 1
ACTIONS = SPEEDS + NUM_SPEEDS
NUM_FEATURES = ACTIONS + NUM_ACTIONS_TOLD * UNKNOWN_ACTION


@kernel
def folded(y: float, top: float, bottom: float) -> float:
    """A height beyond the walls as the height of a ball that was thrown back."""
    span = bottom - top
    offset = (y - top) % (2 * span)
    return top + (offset if offset <= span else 2 * span - offset)


@kernel
def write_bins(out: Array, first: int, distance: float) -> None:
    """A distance in px as shares of the two nearest bins, so that near distances look alike."""
    place = min(max(distance / BIN_WIDTH + NUM_BINS // 2, 0.0), NUM_BINS - 1.0)
    lower = int(place)
    out[first + lower] = 1.0 - (place - lower)
    if lower + 1 < NUM_BINS:
        out[first + lower + 1] = place - lower


@kernel
def write_paddles(state: Row, lag: float, out: Array) -> None:
    """Where both paddles are and go."""
    player = float(state.player_y[0])
    enemy = float(state.enemy_y[0])
    out[0] = player / 80.0 - 1.3
    out[1] = (player - lag) / 80.0 - 1.3
    out[2] = lag / 20.0
    out[3] = (player - state.player_y[1]) / 20.0
    out[4] = enemy / 80.0 - 1.3
    out[5] = (enemy - state.enemy_y[1]) / 8.0
    out[6] = 1.0 if state.enemy_phase == 0 else 0.0
    out[7] = 1.0 if paddle_parity(state) == 0 else 0.0


@kernel
def write_ball(state: Row, lag: float, top: float, bottom: float, out: Array) -> None:
    """Where a ball is, and where it will arrive."""
    x = float(state.flight_x[0])
    y = float(state.flight_y[0])
    player = float(state.player_y[0])
    enemy = float(state.enemy_y[0])
    rest = player - lag
    velocity_x = 0.0
    velocity_y = 0.0
    if state.flight_length > 1:
        velocity_x = float(state.velocity_x)
        velocity_y = float(state.velocity_y)
    out[8] = 1.0
    out[9] = x / 80.0 - 1.0
    out[10] = y / 80.0 - 1.3
    out[11] = velocity_x / 8.0
    out[12] = velocity_y / 8.0
    out[13] = (y - player) / 40.0
    out[14] = (y - enemy) / 40.0
    speed = min(int(abs(velocity_x)) // 4, NUM_SPEEDS)
    # A slower ball than one pixel a frame falls into the column before, which its steps overwrite.
    out[SPEEDS + speed - 1] = 1.0 if velocity_x != 0 else 0.0
    if velocity_x > 0:
        steps = max(dynamics.PLAYER_X - x, 0.0) / velocity_x
        arrival = folded(y + velocity_y * steps, top, bottom) - PADDLE_CENTER
        out[15] = min(steps, 10.0) / 10.0
        out[16] = (arrival - player) / 40.0
        out[17] = (arrival - rest) / 40.0
        write_bins(out, TO_PLAYER, arrival - player)
        write_bins(out, TO_REST, arrival - rest)
        out[ARRIVAL_STEPS + min(int(steps), MAX_ARRIVAL_STEPS)] = 1.0
    elif velocity_x < 0:
        steps = max(x - dynamics.ENEMY_X - dynamics.PADDLE_WIDTH, 0.0) / -velocity_x
        arrival = folded(y + velocity_y * steps, top, bottom) - PADDLE_CENTER
        out[18] = (arrival - enemy) / 40.0


@kernel
def write_features(state: Row, top: float, bottom: float, out: Array) -> None:
    """The features [NUM_FEATURES] of one row."""
    out[:] = 0.0
    lag = float(distance_from_rest(state)) if state.setpoint >= 0 else 0.0
    write_paddles(state, lag, out)
    if state.steps_absent == 0:
        write_ball(state, lag, top, bottom, out)
    else:
        out[15] = state.steps_absent / 20.0
    for age in range(min(NUM_ACTIONS_TOLD, NUM_PAST)):
        if state.action[age] < UNKNOWN_ACTION:
            out[ACTIONS + age * UNKNOWN_ACTION + state.action[age]] = 1.0


@kernel
def feature_rows(states: Array, top: float, bottom: float, out: Array) -> None:
    """Features [B, NUM_FEATURES] of all rows."""
    for row in range(len(states)):
        write_features(states[row], top, bottom, out[row])


def is_flying_to_enemy(observations: Array) -> NDArray[np.bool_]:
    """Whether the ball [B] moves away from the agent, from observations [B, 56].

    A potential for reward shaping.
    """
    newest = PongFeature.BALL_X * STACK + STACK - 1
    x = observations[:, newest]
    x_before = observations[:, newest - 1]
    return (x > 0) & (x_before > 0) & (x < x_before)
