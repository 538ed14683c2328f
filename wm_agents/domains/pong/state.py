"""The estimated state of a game of Pong: columns of a frame, fields of one row, and constants.

A row holds what a player can remember beyond the observation. `tracking` follows one object each,
`state_estimator` fills whole rows, and `object_encoding` reads them.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.kernel import kernel
from wm_envs.pong.columns import NUM_FEATURES, STACK, PongFeature

Array = NDArray[Any]
# An int, or np.int64 inside a kernel, where it is the same: mypy knows no arithmetic of both.
Integer = Any


class Part(IntEnum):
    """The values that change, in the order in which a model decides them."""

    PLAYER_Y = 0
    BALL_X = 1
    BALL_Y = 2
    ENEMY_Y = 3
    PLAYER_SCORE = 4
    ENEMY_SCORE = 5


class Hypothesis(IntEnum):
    """Columns of a hypothesis about the player's paddle."""

    SETPOINT = 0
    LAST_PUSH = 1
    PHASE = 2
    COST = 3


NUM_PARTS = len(Part)
OBSERVATION_SIZE = NUM_FEATURES * STACK

FEATURE_OF_PART = tuple(int(PongFeature[part.name]) for part in Part)
NEWEST_COLUMNS = tuple(feature * STACK + STACK - 1 for feature in range(NUM_FEATURES))
"""Columns of the newest frame in an observation."""

NUM_PAST = 8  # earlier steps of the paddles and of the actions
NUM_FLIGHT = 4  # places of the ball in its present or last flight
UNKNOWN_ACTION = 6
PUSHES = np.array([0, 0, -1, 1, -1, 1])  # of each action on the player's paddle: up is -1

# The setpoint is where the actions have moved the player's integrator. One step of a push changes
# it by this much, so that integers are fine enough.
UNITS_PER_STEP = 1_000_000
UNITS_PER_FRAME = UNITS_PER_STEP // 4

# Before the first serve of a game `frames_to_exit` holds one of these numbers instead: the wait is
# told apart by how far the enemy had moved.
FIRST_WAIT = 9
LAST_WAIT = 20
MAX_STEPS_ABSENT = 40  # beyond, one is as good as another
HIGHEST_ENEMY = -15  # px

# Hypotheses about the player's paddle, as in Viterbi's algorithm
NUM_HYPOTHESES = 12
COST_PER_PIXEL = 2  # of a wrong place
MAX_PIXELS = 8  # that are counted
CERTAIN_MARGIN = 3  # a phase is known when all hypotheses of the other cost so much more
MAX_COST = 16  # of a hypothesis that is followed
NO_HYPOTHESIS = 1_000_000  # the cost in an empty row
UNKNOWN_PHASE = 2  # of either paddle
MAX_PAUSE_ERRORS = 100
NO_CONTACT = 4  # the frame in which a ball meets no paddle in a step

NEAR_WALL = 3  # px: a ball that is nearer to the line where it turns may turn
HIGHEST_PLACE = -3  # px: of a ball on a paddle, from top edge to top edge
NUM_PLACES = 19
MAX_VELOCITY = 16  # px per step, along each axis

COURT = ("top", "bottom", "left_goal", "right_goal", "stride", "aim", "gain", "top_speed")
"""Fields of `calibration.Court`, in their order."""

ESTIMATE = np.dtype(
    [
        # Histories, newest first
        ("player_y", np.int32, (NUM_PAST + 1,)),
        ("enemy_y", np.int32, (NUM_PAST + 1,)),
        ("ball_x", np.int32, (STACK,)),  # 0 without a ball
        ("ball_y", np.int32, (STACK,)),
        ("player_score", np.int32, (STACK,)),
        ("enemy_score", np.int32, (STACK,)),
        ("action", np.int32, (NUM_PAST,)),
        # The ball
        ("flight_x", np.int32, (NUM_FLIGHT,)),  # places of the ball while there was one
        ("flight_y", np.int32, (NUM_FLIGHT,)),
        ("flight_length", np.int32),  # how many of these belong to the last flight
        ("velocity_x", np.int32),  # px per step that the ball has, or had last
        ("velocity_y", np.int32),
        ("is_velocity_known", np.int32),  # 1: for certain
        ("steps_absent", np.int32),  # without a ball
        # Frames that the ball lasted in the step in which it went; in a new game from FIRST_WAIT
        ("frames_to_exit", np.int32),
        # The enemy
        ("enemy_phase", np.int32),  # steps, modulo 2, since it made a full stride; 2: it never did
        ("pause_errors", np.int32, (4,)),  # steps that a pause in this frame does not explain
        # The player's paddle
        ("hypotheses", np.int32, (NUM_HYPOTHESES, len(Hypothesis))),  # best first
        # Quarters of a step, 0 or 1, before the paddle moves; UNKNOWN_PHASE
        ("paddle_phase", np.int32),
        ("setpoint", np.int32),  # of its integrator, in units; -1: unknown
        ("last_push", np.int32),  # of the action that was executed last
        # Calibration: see `PongView`
        ("reach", np.int32),  # units from end to end
        # The paddle rests at the odd pixel 2 * floor(offset + rate * setpoint) + 1
        ("rest_offset", np.int32),  # millionths
        ("rest_rate", np.int32),  # millionths per step
        ("highest", np.int32),  # pixel above which the paddle never goes
        # After a game's first serve, by the ball's first place across modulo 4: frame of the
        # enemy's pauses, plus 4 if the next one is a step further off; -1: unknown.
        ("first_pauses", np.int32, (4,)),
        *((name, np.int32) for name in COURT),
        # px per frame down after a ball met the player or the enemy, by place
        ("bounces", np.int32, (2, NUM_PLACES)),
    ]
)
ESTIMATE_SIZE = ESTIMATE.itemsize // 4


def as_rows(states: Array) -> Array:
    """States [B, M] of integers as rows [B] of `ESTIMATE`, the same memory."""
    return np.ascontiguousarray(states, np.int32).view(ESTIMATE).reshape(-1)


def as_integers(rows: Array) -> NDArray[np.int32]:
    """Rows [B] of `ESTIMATE` as states [B, M] of integers, the same memory."""
    return rows.view(np.int32).reshape(len(rows), ESTIMATE_SIZE)


@kernel
def shift(values: Array, newest: Integer) -> None:
    """Put a value before the others and forget the last."""
    for age in range(len(values) - 1, 0, -1):
        values[age] = values[age - 1]
    values[0] = newest


@kernel
def fill(values: Array, value: Integer) -> None:
    """The same value everywhere."""
    for age in range(len(values)):
        values[age] = value


@kernel
def clamp(value: Integer, low: Integer, high: Integer) -> Integer:
    """A number within bounds."""
    return int(min(max(value, low), high))
