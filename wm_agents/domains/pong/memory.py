"""What a player of Pong can remember beyond the observation, filled from observations and actions and nothing else.

A world model of symbols (`wm_agents.world_models.objects`) asks three things of a domain, all
compiled here: a memory row for each game, filled from the recorded observations and actions and
nothing else; the symbols that each object's network reads from it
(`wm_agents.domains.pong.symbols`); and the next row.

Much of the game is written down here and not learned: where walls, paddles and goals are, frame by
frame how the ball turns there (`ball`), how the paddle follows the actions (its integrator and its
lag, `paddle`), how far the enemy moves in a frame and when it pauses (`enemy`). How a ball leaves
each place of a paddle and how far the actions pull are measured
(`wm_agents.domains.pong.measuring`); where a serve goes, what noise does and what else the rules
here leave open is learned. A result that rests on this module has to say so.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong.ball import fly, follow_ball, is_known, is_near_wall
from wm_agents.domains.pong.enemy import follow_enemy, pause_now, settle_pauses
from wm_agents.domains.pong.layout import (
    BALL_X,
    BALL_Y,
    COST,
    DECIDED,
    ENEMY_SCORE,
    ENEMY_Y,
    FIRST_WAIT,
    HIGHEST_ENEMY,
    LAST_WAIT,
    LONGEST_ABSENCE,
    NEVER,
    NUM_FEATURES,
    NUM_PLACES,
    PLAYER_SCORE,
    PLAYER_Y,
    STACK,
    STEP,
    UNKNOWN_ACTION,
    fill,
    shift,
)
from wm_agents.domains.pong.paddle import follow_player, propose, settle
from wm_envs.kernel import Row, kernel

Array = NDArray[Any]


@kernel
def is_first_wait(memory: Row) -> bool:
    """Whether there was no ball yet in a game whose beginning was seen."""
    return 0 < memory.absence < LONGEST_ABSENCE and memory.exit >= FIRST_WAIT


@kernel
def advance(memory: Row, action: int, decided: Array) -> None:
    """Remember a step: the action and the values of DECIDED that it led to."""
    is_flown, flown = is_known(memory), (0, 0, 0, 0, 4, 0)
    if is_flown:
        flown = fly(memory, action, decided[0], pause_now(memory))
    is_straight = (
        is_flown
        and flown[4] == 4
        and not is_near_wall(memory, int(memory.flight_y[0]), int(memory.step_y))
    )
    follow_player(memory, decided[0], action)
    shift(memory.action, action)
    follow_enemy(memory, decided[3], is_straight)
    if decided[1] > 0 and is_first_wait(memory):
        settle_pauses(memory, decided[1])
    follow_ball(memory, decided[1], decided[2], flown, is_flown)
    shift(memory.ball_x, decided[1])
    shift(memory.ball_y, decided[2])
    shift(memory.player_score, decided[4])
    shift(memory.enemy_score, decided[5])


@kernel
def begin(memory: Row, observation: Array, charge: Array) -> None:
    """A memory of nothing but the four frames of an observation.

    Four equal ones are taken for a new game.
    """
    fill(memory.player_y, int(observation[PLAYER_Y * STACK]))
    fill(memory.enemy_y, int(observation[ENEMY_Y * STACK]))
    fill(memory.player_score, int(observation[PLAYER_SCORE * STACK]))
    fill(memory.enemy_score, int(observation[ENEMY_SCORE * STACK]))
    fill(memory.action, UNKNOWN_ACTION)
    fill(memory.flight_x, 0)
    fill(memory.flight_y, 0)
    memory.flight_length = 0
    memory.step_x = 0
    memory.step_y = 0
    memory.is_steady = 0
    memory.absence = LONGEST_ABSENCE
    memory.exit = FIRST_WAIT
    memory.beat = 2
    fill(memory.misfits, 0)
    memory.guesses[:, COST] = NEVER
    memory.phase = 2
    memory.pull = -1
    memory.held = 0
    memory.reach = charge[0]
    memory.rest_offset = charge[2]
    memory.rest_rate = charge[3]
    memory.highest = charge[4] // STEP
    for number in range(4):
        memory.first_pauses[number] = charge[5 + number]
    memory.top, memory.bottom, memory.left_goal, memory.right_goal = (
        charge[9],
        charge[10],
        charge[11],
        charge[12],
    )
    memory.stride, memory.aim, memory.gain, memory.top_speed = (
        charge[13],
        charge[14],
        charge[15],
        charge[16],
    )
    for number in range(2 * NUM_PLACES):
        memory.bounces[number // NUM_PLACES, number % NUM_PLACES] = charge[17 + number]
    is_new = True
    for feature in range(NUM_FEATURES):
        for frame in range(1, STACK):
            is_new = is_new and observation[feature * STACK + frame] == observation[feature * STACK]
    decided = np.zeros(6, np.int64)
    for frame in range(STACK):
        for number in range(6):
            decided[number] = int(observation[DECIDED[number] * STACK + frame])
        advance(memory, UNKNOWN_ACTION, decided)
    if is_new:
        # the wait for the first serve starts here, or frames before it: the enemy is on its way
        memory.absence = 1
        strides = (int(observation[ENEMY_Y * STACK]) - HIGHEST_ENEMY) // memory.stride
        memory.exit = FIRST_WAIT + min(max(strides, 0), LAST_WAIT - FIRST_WAIT)
        for phase in range(2):
            propose(memory.guesses, charge[1], 0, phase, 0)
        settle(memory)


@kernel
def write_observation(memory: Row, out: Array) -> None:
    """The four frames, oldest first, at their interleaved places.

    Constant columns are left alone.
    """
    for frame in range(STACK):
        age = STACK - 1 - frame
        out[PLAYER_Y * STACK + frame] = memory.player_y[age]
        out[ENEMY_Y * STACK + frame] = memory.enemy_y[age]
        out[BALL_X * STACK + frame] = memory.ball_x[age]
        out[BALL_Y * STACK + frame] = memory.ball_y[age]
        out[PLAYER_SCORE * STACK + frame] = memory.player_score[age]
        out[ENEMY_SCORE * STACK + frame] = memory.enemy_score[age]


# All rows


@kernel
def begin_rows(memories: Array, observations: Array, charge: Array) -> None:
    """Memories of the frames in observations [B, 56]."""
    for row in range(len(memories)):
        begin(memories[row], observations[row], charge)


@kernel
def advance_rows(memories: Array, actions: Array, decided: Array) -> None:
    """Remember a step of every row; a row whose action is negative has none to remember."""
    for row in range(len(memories)):
        if actions[row] >= 0:
            advance(memories[row], actions[row], decided[row])


@kernel
def observation_rows(memories: Array, out: Array) -> None:
    """Observations [B, 56] whose constant columns are set already."""
    for row in range(len(memories)):
        write_observation(memories[row], out[row])


@kernel
def remember_rows(
    observations: Array,
    actions: Array,
    lengths: Array,
    charge: Array,
    memories: Array,
    decided: Array,
) -> None:
    """The memory [S] before every recorded step, and the values [S, 6] of DECIDED after it."""
    step, seen = 0, 0
    for length in lengths:
        for number in range(length):
            if number == 0:
                begin(memories[step], observations[seen], charge)
            else:
                memories[step] = memories[step - 1]
                advance(memories[step], actions[step - 1], decided[step - 1])
            for column in range(6):
                decided[step, column] = int(
                    observations[seen + 1, DECIDED[column] * STACK + STACK - 1]
                )
            step, seen = step + 1, seen + 1
        seen += 1
