"""How a memory of Pong reads as symbols: what the network of each part sees.

Each symbol is a number in a range of its own within one table; `put` writes one and moves on to the
next range.
"""

from typing import Any

from numpy.typing import NDArray

from wm_agents.domains.pong.ball import exit_frame, has_fire, has_scored, height, meeting
from wm_agents.domains.pong.enemy import rhythm
from wm_agents.domains.pong.layout import (
    COST,
    LAST_WAIT,
    LONGEST_ABSENCE,
    NEVER,
    NUM_PAST,
    PULL,
    PULLS,
    STEP,
    UNKNOWN_ACTION,
)
from wm_agents.domains.pong.paddle import distance_from_rest, led, majority
from wm_agents.domains.pong.situations import BALL_X, BALL_Y, ENEMY, PLAYER, doubt, held, pursue
from wm_envs.kernel import Row, kernel

Array = NDArray[Any]


@kernel
def put(out: Array, place: Array, value: int, low: int, high: int) -> None:
    """Write a value, held within low..high, as a symbol.

    Place holds the next column and the next free symbol.
    """
    out[place[0]] = place[1] + min(max(value, low), high) - low
    place[0] += 1
    place[1] += high - low + 1


@kernel
def late_by(memory: Row, action: int, late: int) -> int:
    """How much further the player's paddle gets if some frames still go by the action before."""
    pull, before, phase, push = int(memory.pull), int(memory.held), int(memory.phase), PULLS[action]
    return held(
        led(memory, pull, before, push, late, phase) - led(memory, pull, before, push, 0, phase),
        -40,
        40,
    )


@kernel
def put_player(out: Array, place: Array, memory: Row, action: int) -> None:
    """What the player's paddle follows from.

    Its past, the actions and where they have pulled it.
    """
    push = PULLS[action] + 1 if action < UNKNOWN_ACTION else 1
    kind = push * 3 + majority(memory)
    lag = held(distance_from_rest(memory), -50, 51) + 50
    known = (int(memory.held) + 1) * 6 + doubt(memory)
    put(out, place, lag * 9 + kind, 0, 102 * 9)
    put(out, place, (lag * 9 + kind) * 3 + int(memory.held) + 1, 0, 102 * 27)
    put(out, place, known * 9 + kind, 0, 18 * 9)
    for late in range(1, 4):
        is_known_phase = memory.pull >= 0 and memory.phase < 2
        put(
            out,
            place,
            late_by(memory, action, late) * 9 + kind if is_known_phase else -41 * 9,
            -41 * 9,
            41 * 9,
        )
    for guess in range(1, 4):
        is_there = memory.guesses[guess, COST] < NEVER and memory.guesses[0, COST] < NEVER
        quarters = (
            held((int(memory.guesses[guess, PULL]) - int(memory.pull)) * 4 // STEP, -7, 7)
            if is_there
            else 8
        )
        cost = held(int(memory.guesses[guess, COST]), 0, 5)
        put(out, place, ((quarters + 7) * 6 + cost) * 9 + kind, 0, 96 * 9)
    put(out, place, memory.pull // (STEP // 10) * 9 + kind, -9, 90 * 9)
    put(out, place, (int(memory.player_y[0]) % 4) * 9 + kind, 0, 4 * 9)
    for age in range(3):
        put(out, place, memory.player_y[age], 20, 195)
    for age in range(NUM_PAST):
        put(out, place, (memory.player_y[age] - memory.player_y[age + 1]) * 3 + push, -75, 77)
    for age in range(NUM_PAST):
        put(out, place, memory.action[age] * 3 + push, 0, UNKNOWN_ACTION * 3 + 2)


@kernel
def put_ball(out: Array, place: Array, part: int, memory: Row, action: int, decided: Array) -> None:
    """What the ball follows from: its flight, and where it meets a paddle."""
    is_there = memory.absence == 0
    x, y, step_x, step_y = (
        int(memory.flight_x[0]),
        int(memory.flight_y[0]),
        int(memory.step_x),
        int(memory.step_y),
    )
    frame = meeting(memory, action, decided)
    side = 0 if frame == 4 else (1 if step_x > 0 else 2)
    kind = frame + 5 * side
    put(out, place, x if is_there else 0, 0, 160)
    put(out, place, y if is_there else 0, 0, 200)
    put(out, place, step_x * 15 + kind, -17 * 15, 17 * 15)
    put(out, place, step_y * 15 + kind, -17 * 15, 17 * 15)
    put(out, place, x - int(memory.flight_x[1]) if memory.flight_length > 1 else -20, -20, 20)
    put(out, place, y - int(memory.flight_y[1]) if memory.flight_length > 1 else -20, -20, 20)
    put(out, place, memory.is_steady * 5 + memory.flight_length, 0, 9)
    put(out, place, y + step_y if is_there else 0, 0, 220)
    put(out, place, memory.absence * 21 + memory.exit, 0, LONGEST_ABSENCE * 21 + LAST_WAIT)
    put(out, place, memory.absence * 3 + (1 if step_x > 0 else 0), 0, LONGEST_ABSENCE * 3 + 3)
    for passed in range(4):
        place_on = held(height(memory, action, decided, passed), -20, 30) + 20
        put(out, place, place_on * 15 + kind, 0, 51 * 15)
    put(out, place, held(y - int(memory.player_y[0]), -30, 40), -30, 40)
    put(out, place, held(y - int(memory.enemy_y[0]), -30, 40), -30, 40)
    put(
        out,
        place,
        held(int(decided[PLAYER]) - int(memory.player_y[0]), -25, 25) * 15 + kind,
        -25 * 15,
        26 * 15,
    )
    put(out, place, (has_fire(action) * 2 + has_fire(memory.action[0])) * 15 + kind, 0, 60)
    put(out, place, rhythm(memory), 0, 20)
    put(out, place, memory.player_y[0] - memory.player_y[1], -25, 25)
    put(out, place, memory.enemy_y[0] - memory.enemy_y[1], -9, 9)
    if part == BALL_Y:
        put(out, place, (int(decided[BALL_X]) - x) * 15 + kind, -20 * 15, 20 * 15)
        put(out, place, int(decided[BALL_X]) if not is_there else 0, 0, 160)


@kernel
def put_enemy(out: Array, place: Array, memory: Row, action: int, decided: Array) -> None:
    """What the enemy's paddle follows from: its past, and where the ball was and is."""
    was_there, is_there = memory.absence == 0, decided[BALL_X] > 0
    enemy, beat = int(memory.enemy_y[0]), rhythm(memory)
    after = held(int(decided[BALL_Y]) - enemy, -50, 49) if is_there else 50
    before = held(int(memory.flight_y[0]) - enemy, -50, 49) if was_there else 50
    put(out, place, (after + 50) * 21 + beat, 0, 101 * 21)
    put(out, place, (before + 50) * 21 + beat, 0, 101 * 21)
    put(
        out,
        place,
        int(decided[BALL_Y]) - int(memory.flight_y[0]) if was_there and is_there else -26,
        -26,
        25,
    )
    put(out, place, memory.step_y, -17, 17)
    put(out, place, meeting(memory, action, decided) * 2 + (1 if memory.step_x > 0 else 0), 0, 10)
    put(out, place, pursue(memory, action, decided, 9) * 2 + 1, -17, 17)
    for pause in range(4):
        put(out, place, pursue(memory, action, decided, pause) * 21 + beat, -8 * 21, 8 * 21 + 20)
    put(out, place, enemy if not is_there else -20, -20, 200)
    put(out, place, enemy, -20, 200)
    put(out, place, int(memory.absence) * 21 + beat, 0, LONGEST_ABSENCE * 21 + 21)
    put(out, place, int(decided[BALL_X]) if was_there != is_there else 0, 0, 165)
    put(
        out,
        place,
        exit_frame(memory, int(memory.flight_x[0]), int(memory.step_x)) if not is_there else 6,
        0,
        6,
    )
    for age in range(4):
        put(out, place, memory.enemy_y[age] - memory.enemy_y[age + 1], -9, 9)


@kernel
def put_score(out: Array, place: Array, memory: Row, decided: Array) -> None:
    """What a point follows from: the ball's flight and whether it is still there."""
    x, step_x = int(memory.flight_x[0]), int(memory.step_x)
    is_there = memory.absence == 0
    put(out, place, x if is_there else 0, 0, 165)
    put(out, place, (step_x + 17) * 8 + exit_frame(memory, x, step_x) if is_there else 0, 0, 35 * 8)
    put(out, place, int(decided[BALL_X]), 0, 165)
    gone = (
        held(int(memory.absence), 0, 3) * 4 + (2 if decided[BALL_X] > 0 else 0) + has_scored(memory)
    )
    put(out, place, gone * 2 + (1 if step_x > 0 else 0), 0, 32)


@kernel
def put_symbols(
    out: Array, place: Array, part: int, memory: Row, action: int, decided: Array
) -> None:
    """The symbols of a part."""
    if part == PLAYER:
        put_player(out, place, memory, action)
    elif part in (BALL_X, BALL_Y):
        put_ball(out, place, part, memory, action, decided)
    elif part == ENEMY:
        put_enemy(out, place, memory, action, decided)
    else:
        put_score(out, place, memory, decided)


@kernel
def symbol_rows(
    part: int, memories: Array, actions: Array, decided: Array, out: Array, place: Array
) -> None:
    """Symbols [B, K] of a part in every row; place ends as (K, number of different symbols)."""
    for row in range(len(memories)):
        place[0] = 0
        place[1] = 0
        put_symbols(out[row], place, part, memories[row], actions[row], decided[row])
