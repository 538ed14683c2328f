"""What a player of Pong can remember beyond the observation: the fields of a memory row, and where features are.

`memory` fills the rows; `paddle`, `enemy` and `ball` follow one object each.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.kernel import kernel

Array = NDArray[Any]

STACK = 4  # frames in an observation
NUM_PAST = 8  # earlier steps of the paddles and of the actions
NUM_FLIGHT = 4  # places of the ball in its present or last flight
UNKNOWN_ACTION = 6
FIRST_WAIT, LAST_WAIT = (
    9,
    20,
)  # the wait for the first serve is told apart by how far the enemy had got
LONGEST_ABSENCE = 40  # steps; beyond, one is as good as another
PULLS = np.array([0, 0, -1, 1, -1, 1])  # of the actions on the player's paddle
STEP = 1_000_000  # pull is counted in millionths of a step
HIGHEST_ENEMY = -15  # px
MOST_MISFITS = 100
NUM_GUESSES = 12  # of where the actions have pulled the player
PULL, HELD, PHASE, COST = range(4)  # columns of a guess
PER_PIXEL, MOST_PIXELS = 2, 8  # what a guess pays for a wrong place
SURE = 3  # a phase is known when all guesses of the other cost so much more
DEAREST, NEVER = 16, 1_000_000  # what a guess may cost to be followed on; the cost of no guess
NEAR = 3  # px: a ball that is nearer to the line where it turns is near a wall
HIGHEST_PLACE, NUM_PLACES = -3, 19  # px: of a ball on a paddle, from top edge to top edge
MOST_SPEED = 4  # px per frame, of a ball that is taken for one
FASTEST = 16  # px per step, along each axis
COURT = (
    "top",
    "bottom",
    "left_goal",
    "right_goal",
    "stride",
    "aim",
    "gain",
    "top_speed",
)  # as in `PongView`

# Columns of a frame
PLAYER_X, PLAYER_Y, ENEMY_X, ENEMY_Y, BALL_X, BALL_Y, PLAYER_SCORE, ENEMY_SCORE = (
    0,
    1,
    4,
    5,
    8,
    9,
    12,
    13,
)
PLAYER_LEFT, ENEMY_LEFT, PADDLE_WIDTH, BALL_WIDTH = 140, 16, 4, 2  # constant columns
NUM_FEATURES = 14

DECIDED = (PLAYER_Y, BALL_X, BALL_Y, ENEMY_Y, PLAYER_SCORE, ENEMY_SCORE)
"""The columns of a frame that change, in the order in which a model decides them."""

MEMORY = np.dtype(
    [
        ("player_y", np.int32, (NUM_PAST + 1,)),  # newest first, as everywhere
        ("enemy_y", np.int32, (NUM_PAST + 1,)),
        ("ball_x", np.int32, (STACK,)),  # 0 without a ball
        ("ball_y", np.int32, (STACK,)),
        ("player_score", np.int32, (STACK,)),
        ("enemy_score", np.int32, (STACK,)),
        ("action", np.int32, (NUM_PAST,)),
        ("flight_x", np.int32, (NUM_FLIGHT,)),  # places of the ball while there was one
        ("flight_y", np.int32, (NUM_FLIGHT,)),
        ("flight_length", np.int32),  # how many of these belong to the last flight
        (
            "step_x",
            np.int32,
        ),  # pixels that the ball moves in a step at the speed that it has or had last
        ("step_y", np.int32),
        ("is_steady", np.int32),  # 1: this speed is certain
        ("absence", np.int32),  # steps without a ball
        (
            "exit",
            np.int32,
        ),  # frames that the ball lasted in the step in which it went; in a new game from FIRST_WAIT
        ("beat", np.int32),  # steps, modulo 2, since the enemy made a full stride; 2: it never did
        (
            "misfits",
            np.int32,
            (4,),
        ),  # steps that a pause of the enemy in this frame does not explain
        ("guesses", np.int32, (NUM_GUESSES, 4)),  # best first: pull, push held last, phase, cost
        (
            "phase",
            np.int32,
        ),  # quarters of a step, 0 or 1, before the player's paddle goes on; 2: unknown
        (
            "pull",
            np.int32,
        ),  # millionths of a step: where the actions have pulled the player; -1: unknown
        ("held", np.int32),  # the push of the action that was executed last
        ("reach", np.int32),  # millionths of a step from end to end
        (
            "rest_offset",
            np.int32,
        ),  # millionths: the paddle rests at the odd pixel 2 * floor(offset + rate * pull) + 1
        ("rest_rate", np.int32),  # millionths per step
        ("highest", np.int32),  # pixel above which the paddle never goes
        # After a game's first serve, by the ball's first place across modulo 4: frame of the
        # enemy's pauses, plus 4 if the next one is a step further off; -1: unknown.
        ("first_pauses", np.int32, (4,)),
        *((name, np.int32) for name in COURT),
        (
            "bounces",
            np.int32,
            (2, NUM_PLACES),
        ),  # px per frame down after a ball met the player or the enemy, by place
    ]
)
MEMORY_SIZE = MEMORY.itemsize // 4


@kernel
def shift(values: Array, newest: int) -> None:
    """Put a value before the others and forget the last."""
    for age in range(len(values) - 1, 0, -1):
        values[age] = values[age - 1]
    values[0] = newest


@kernel
def fill(values: Array, value: int) -> None:
    """The same value everywhere."""
    for age in range(len(values)):
        values[age] = value
