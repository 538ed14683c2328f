"""What a policy sees of Pong: numbers of order one, from a memory row and nothing else.

Beside positions and speeds there is the place where the ball will arrive if it keeps its speed and
is folded at the walls, relative to the paddle and to the place where the paddle will come to rest.
Walls and paddles are where the game's rules have them; nothing of that is learned.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong.layout import (
    ENEMY_LEFT,
    NUM_PAST,
    PADDLE_WIDTH,
    PLAYER_LEFT,
    UNKNOWN_ACTION,
)
from wm_agents.domains.pong.paddle import distance_from_rest, majority
from wm_envs.kernel import Row, kernel

Array = NDArray[Any]

NUM_BINS, BIN_WIDTH = 15, 5.0  # px: where the ball will arrive, relative to a paddle
PADDLE_CENTRE = 6.0  # px from the paddle's top to a ball that meets its middle
NUM_ACTIONS_SEEN = 2
MOST_STEPS = 8  # until the arrival of a ball that are told apart
NUM_FEATURES = 19 + 2 * NUM_BINS + MOST_STEPS + 1 + 4 + NUM_ACTIONS_SEEN * UNKNOWN_ACTION


@kernel
def folded(height: float, top: float, bottom: float) -> float:
    """A height beyond the walls as the height of a ball that was thrown back."""
    span = bottom - top
    offset = (height - top) % (2 * span)
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
def write_features(memory: Row, top: float, bottom: float, out: Array) -> None:
    """The features [NUM_FEATURES] of one row."""
    out[:] = 0.0
    is_there = memory.absence == 0
    x, y = float(memory.flight_x[0]), float(memory.flight_y[0])
    step_x, step_y = 0.0, 0.0
    if is_there and memory.flight_length > 1:
        step_x, step_y = float(memory.step_x), float(memory.step_y)
    player, enemy = float(memory.player_y[0]), float(memory.enemy_y[0])
    lag = float(distance_from_rest(memory)) if memory.pull >= 0 else 0.0
    rest = player - lag
    out[0] = player / 80.0 - 1.3
    out[1] = rest / 80.0 - 1.3
    out[2] = lag / 20.0
    out[3] = (player - memory.player_y[1]) / 20.0
    out[4] = enemy / 80.0 - 1.3
    out[5] = (enemy - memory.enemy_y[1]) / 8.0
    out[6] = 1.0 if memory.beat == 0 else 0.0
    out[7] = 1.0 if majority(memory) == 0 else 0.0
    first = 19 + 2 * NUM_BINS
    if is_there:
        out[8] = 1.0
        out[9] = x / 80.0 - 1.0
        out[10] = y / 80.0 - 1.3
        out[11] = step_x / 8.0
        out[12] = step_y / 8.0
        out[13] = (y - player) / 40.0
        out[14] = (y - enemy) / 40.0
        out[first + MOST_STEPS + 1 + min(int(abs(step_x)) // 4, 4) - 1] = (
            1.0 if step_x != 0 else 0.0
        )
        if step_x > 0:
            steps = max(PLAYER_LEFT - x, 0.0) / step_x
            arrival = folded(y + step_y * steps, top, bottom) - PADDLE_CENTRE
            out[15] = min(steps, 10.0) / 10.0
            out[16] = (arrival - player) / 40.0
            out[17] = (arrival - rest) / 40.0
            write_bins(out, 19, arrival - player)
            write_bins(out, 19 + NUM_BINS, arrival - rest)
            out[first + min(int(steps), MOST_STEPS)] = 1.0
        elif step_x < 0:
            steps = max(x - ENEMY_LEFT - PADDLE_WIDTH, 0.0) / -step_x
            out[18] = (folded(y + step_y * steps, top, bottom) - PADDLE_CENTRE - enemy) / 40.0
    else:
        out[15] = memory.absence / 20.0
    first += MOST_STEPS + 1 + 4
    for age in range(NUM_ACTIONS_SEEN):
        if memory.action[age] < UNKNOWN_ACTION and age < NUM_PAST:
            out[first + age * UNKNOWN_ACTION + memory.action[age]] = 1.0


@kernel
def feature_rows(memories: Array, top: float, bottom: float, out: Array) -> None:
    """Features [B, NUM_FEATURES] of all rows."""
    for row in range(len(memories)):
        write_features(memories[row], top, bottom, out[row])


def is_flying_to_enemy(observations: Array) -> NDArray[np.bool_]:
    """Whether the ball [B] moves away from the agent, from observations [B, 56].

    What potential-based shaping pays.
    """
    x, before = observations[:, 35], observations[:, 34]
    return (x > 0) & (before > 0) & (x < before)
