"""The numbers of the court and of the flight across it, measured from recorded games instead of told.

Known in form: a ball is thrown back at two lines, stands when it is behind a paddle, and becomes
faster by FIRE; the enemy follows it by equal strides. The numbers are those with which a memory
explains most of the recorded steps, sought one after the other from what can be seen directly.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong.ball import fly, is_known
from wm_agents.domains.pong.enemy import pause_now
from wm_agents.domains.pong.layout import BALL_X, BALL_Y, ENEMY_Y, NUM_FEATURES, STACK
from wm_envs.errors import OptionError
from wm_envs.kernel import kernel

Array = NDArray[Any]

REACH = 3  # px or so, from what is seen directly to the number
MOST_SWEEPS = 4
COMMON_SHARE = 0.02  # of the steps in which a movement is no accident


@dataclass(frozen=True)
class Court:
    """In pixels of the screen and pixels per frame; the numbers are the game's own.

    Args:
        top: A ball that rises turns where it is at most so low.
        bottom: A ball that falls turns where it is at least so low.
        left_goal: A ball that is at most so far right stands, and is a point.
        right_goal: A ball that is at least so far right stands, and is a point.
        stride: How far the enemy moves in a frame.
        aim: How far below the enemy's top edge the ball is when the enemy rests.
        gain: What FIRE adds to the speed of a ball that the player meets.
        top_speed: The fastest that a ball flies across.
    """

    top: int = 31
    bottom: int = 192
    left_goal: int = 3
    right_goal: int = 156
    stride: int = 2
    aim: int = 1
    gain: int = 1
    top_speed: int = 4


def seen_court(observations: Array) -> Court:
    """What the extremes of observations [N, 56] say directly.

    Raises OptionError where no ball flies in them.
    """
    frames = observations.reshape(len(observations), NUM_FEATURES, STACK)[:, :, -2:].astype(
        np.int64
    )
    is_there = (frames[:, BALL_X] > 0).all(1)
    if not is_there.any():
        raise OptionError("there is no ball in this recording: record more, with players that play")
    x, y = frames[is_there, BALL_X, 1], frames[is_there, BALL_Y, 1]
    across, strides = (
        _largest(np.abs(np.diff(frames[is_there, one])).ravel()) for one in (BALL_X, ENEMY_Y)
    )
    return Court(
        int(y.min()),
        int(y.max()),
        int(x.min()),
        int(x.max()),
        max(strides // 4, 1),
        0,
        0,
        max(across // 4, 1),
    )


def _largest(movements: Array) -> int:
    """The largest movement that is no accident, such as a ball that is served."""
    values, counts = np.unique(movements, return_counts=True)
    return int(values[counts >= COMMON_SHARE * len(movements)].max(initial=0))


def measure_court(first: Court, cost: Callable[[Court], int]) -> Court:
    """The court near the first one that leaves least unexplained, changed one number at a time."""
    best, least = first, cost(first)
    for _ in range(MOST_SWEEPS):
        before = best
        for name, value in asdict(before).items():
            for changed in range(value - REACH, value + REACH + 1):
                tried = replace(best, **{name: changed})
                now = cost(tried) if changed != value and tried.stride > 0 else least
                if now < least:
                    best, least = tried, now
        if best == before:
            break
    return best


@kernel
def unexplained(memories: Array, actions: Array, decided: Array) -> int:
    """Steps in which the ball is not where it was expected, and those in which no pause explains the enemy's way."""
    count = 0
    for step in range(len(memories)):
        memory, following = memories[step], decided[step]
        if memory.absence > 0 or memory.flight_length < 2 or following[1] == 0:
            continue
        if not is_known(memory):
            count += 2
            continue
        flown = fly(memory, actions[step], following[0], pause_now(memory))
        if flown[0] != following[1] or flown[1] != following[2]:
            count += 1
        is_explained = False
        for pause in range(5):
            is_explained = (
                is_explained or fly(memory, actions[step], following[0], pause)[5] == following[3]
            )
        if not is_explained:
            count += 1
    return count
