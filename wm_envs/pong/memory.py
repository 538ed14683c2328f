"""What a player of Pong can remember beyond the observation, and how it reads as symbols.

A world model of symbols (`wm_agents.world_models.objects`) asks three things of a domain, all compiled here: a memory
row for each game, filled from the recorded observations and actions and nothing else; the symbols that each object's
network reads from it; and the next row. Only geometry and time are told: which places overlap if speeds last, how long
the ball has been gone, how far the actions have pulled the paddle. What follows from them is learned.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.kernel import Row, kernel

Array = NDArray[Any]

STACK = 4  # frames in an observation
NUM_PAST = 8  # earlier steps of the paddles and of the actions
NUM_FLIGHT = 4  # places of the ball in its present or last flight
UNKNOWN_ACTION = 6
LONGEST_ABSENCE = 40  # steps; beyond, one is as good as another
PULLS = np.array([0, 0, -1, 1, -1, 1])  # of the actions on the player's paddle
FULL_STRIDE = 8  # pixels that the enemy moves in a step without its pause
SHORTEST_STRIDE, LARGE_STRIDE, LONGEST_STRIDE = 5, 8, 11  # pixels of the player's first step from rest
MOST_VOTES = 4

# Columns of a frame
PLAYER_X, PLAYER_Y, ENEMY_X, ENEMY_Y, BALL_X, BALL_Y, PLAYER_SCORE, ENEMY_SCORE = 0, 1, 4, 5, 8, 9, 12, 13
PLAYER_LEFT, ENEMY_LEFT, PADDLE_WIDTH, BALL_WIDTH = 140, 16, 4, 2  # constant columns
NUM_FEATURES = 14

DECIDED = (PLAYER_Y, BALL_X, BALL_Y, ENEMY_Y, PLAYER_SCORE, ENEMY_SCORE)
"""The columns of a frame that change, in the order in which a model decides them."""

MEMORY = np.dtype(
    [
        ("player_y", np.int16, (NUM_PAST + 1,)),  # newest first, as everywhere
        ("enemy_y", np.int16, (NUM_PAST + 1,)),
        ("ball_x", np.int16, (STACK,)),  # 0 without a ball
        ("ball_y", np.int16, (STACK,)),
        ("player_score", np.int16, (STACK,)),
        ("enemy_score", np.int16, (STACK,)),
        ("action", np.int16, (NUM_PAST,)),
        ("flight_x", np.int16, (NUM_FLIGHT,)),  # places of the ball while there was one
        ("flight_y", np.int16, (NUM_FLIGHT,)),
        ("flight_length", np.int16),  # how many of these belong to the last flight
        ("absence", np.int16),  # steps without a ball
        ("beat", np.int16),  # steps, modulo 2, since the enemy made a full stride; 2: it never did
        ("vote", np.int16),  # small first strides of the player's paddle from rest, less large ones
        ("pull", np.int16),  # hundredths of a step: where the actions have pulled the player; -1: unknown
        ("reach", np.int16),  # hundredths of a step from end to end
        ("top", np.int16),  # hundredths of a pixel: where the paddle rests at pull 0
        ("slope", np.int16),  # hundredths of a pixel that a step's pull moves that place
        ("highest", np.int16),  # pixel above which the paddle never goes
    ]
)
MEMORY_SIZE = MEMORY.itemsize // 2


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


@kernel
def follow_ball(memory: Row, ball_x: int, ball_y: int) -> None:
    """Lengthen the flight, begin another or count how long the ball has been gone."""
    if ball_x == 0:
        memory.absence = min(memory.absence + 1, LONGEST_ABSENCE)
        return
    if memory.absence > 0:
        memory.flight_length = 0
    memory.absence = 0
    memory.flight_length = min(memory.flight_length + 1, NUM_FLIGHT)
    shift(memory.flight_x, ball_x)
    shift(memory.flight_y, ball_y)


@kernel
def follow_player(memory: Row, player_y: int, action: int) -> None:
    """Pull the paddle by the action within its reach, and notice a move from rest."""
    pull = PULLS[action] if action < UNKNOWN_ACTION else 0
    if memory.pull >= 0:
        memory.pull = min(max(memory.pull + 100 * pull, 0), memory.reach)
    was_at_rest = memory.player_y[0] == memory.player_y[1] and memory.player_y[1] == memory.player_y[2]
    stride = abs(player_y - memory.player_y[0])
    if was_at_rest and pull != 0 and SHORTEST_STRIDE <= stride <= LONGEST_STRIDE:
        ballot = 1 if stride < LARGE_STRIDE else -1
        memory.vote = min(max(memory.vote + ballot, -MOST_VOTES), MOST_VOTES)
    shift(memory.player_y, player_y)


@kernel
def follow_enemy(memory: Row, enemy_y: int) -> None:
    """Keep the beat of the enemy's pauses."""
    if memory.beat < 2:
        memory.beat = 1 - memory.beat
    if abs(enemy_y - memory.enemy_y[0]) == FULL_STRIDE:
        memory.beat = 0
    shift(memory.enemy_y, enemy_y)


@kernel
def advance(memory: Row, action: int, decided: Array) -> None:
    """Remember a step: the action and the values of DECIDED that it led to."""
    follow_player(memory, decided[0], action)
    shift(memory.action, action)
    follow_ball(memory, decided[1], decided[2])
    shift(memory.ball_x, decided[1])
    shift(memory.ball_y, decided[2])
    follow_enemy(memory, decided[3])
    shift(memory.player_score, decided[4])
    shift(memory.enemy_score, decided[5])


@kernel
def begin(memory: Row, observation: Array, charge: Array) -> None:
    """A memory of nothing but the four frames of an observation; four equal ones are taken for a new game."""
    fill(memory.player_y, int(observation[PLAYER_Y * STACK]))
    fill(memory.enemy_y, int(observation[ENEMY_Y * STACK]))
    fill(memory.action, UNKNOWN_ACTION)
    fill(memory.flight_x, 0)
    fill(memory.flight_y, 0)
    memory.flight_length = 0
    memory.absence = LONGEST_ABSENCE
    memory.beat = 2
    memory.vote = 0
    memory.reach = charge[0]
    memory.top = charge[2]
    memory.slope = charge[3]
    memory.highest = charge[4] // 100
    is_new = True
    for feature in range(NUM_FEATURES):
        for frame in range(1, STACK):
            is_new = is_new and observation[feature * STACK + frame] == observation[feature * STACK]
    memory.pull = charge[1] if is_new else -1
    decided = np.zeros(6, np.int64)
    for frame in range(STACK):
        for number in range(6):
            decided[number] = int(observation[DECIDED[number] * STACK + frame])
        advance(memory, UNKNOWN_ACTION, decided)
    if is_new:
        memory.absence = 1  # the wait for the first serve starts here


@kernel
def write_observation(memory: Row, out: Array) -> None:
    """The four frames, oldest first, at their interleaved places; constant columns are left alone."""
    for frame in range(STACK):
        age = STACK - 1 - frame
        out[PLAYER_Y * STACK + frame] = memory.player_y[age]
        out[ENEMY_Y * STACK + frame] = memory.enemy_y[age]
        out[BALL_X * STACK + frame] = memory.ball_x[age]
        out[BALL_Y * STACK + frame] = memory.ball_y[age]
        out[PLAYER_SCORE * STACK + frame] = memory.player_score[age]
        out[ENEMY_SCORE * STACK + frame] = memory.enemy_score[age]


# Symbols. Each is a number in a range of its own within one table; `put` writes one and moves on to the next range.


@kernel
def put(out: Array, place: Array, value: int, low: int, high: int) -> None:
    """Write a value, held within low..high, as a symbol; place holds the next column and the next free symbol."""
    out[place[0]] = place[1] + min(max(value, low), high) - low
    place[0] += 1
    place[1] += high - low + 1


@kernel
def moved(memory: Row, values: Array, age: int) -> int:
    """How the ball moved in the step that many steps ago, in pixels; -17 where it was not in flight."""
    return values[age] - values[age + 1] if memory.flight_length > age + 1 else -17


@kernel
def speed(values: Array, others: Array, length: int, age: int) -> int:
    """Quarter-steps of the motion at `age`, with a turn at a wall understood: 4 * pixels per frame, 99 if unknown."""
    if length < age + 2:
        return 99
    last = values[age] - values[age + 1]
    if length < age + 3:
        return last
    before = values[age + 1] - values[age + 2]
    if last != before and others[age] - others[age + 1] == others[age + 1] - others[age + 2]:
        return -before  # the other axis went on as it was: a wall
    return last


@kernel
def contact(ball_x: int, step_x: int, left: int) -> int:
    """The frame 0..3 of a step in which a ball that keeps its speed overlaps a paddle's columns; 4: in none."""
    for frame in range(4):
        x = ball_x + frame * step_x // 4
        if left - BALL_WIDTH < x < left + PADDLE_WIDTH:
            return frame
    return 4


@kernel
def put_contact(
    out: Array, place: Array, memory: Row, age: int, paddle: Array, following: int, left: int
) -> None:
    """Where a paddle is met, if at all, in the step after the flight's place `age`; `following` is its next place."""
    length = memory.flight_length
    step_x = memory.flight_x[age] - memory.flight_x[age + 1] if length > age + 1 else 99
    step_y = speed(memory.flight_y, memory.flight_x, length, age)
    frame = contact(memory.flight_x[age], step_x, left) if step_x != 99 and (age > 0 or memory.absence == 0) else 4
    fall = step_y if step_y != 99 else 0
    ball_y = memory.flight_y[age] + frame * fall // 4
    stride = following - paddle[age]
    height = ball_y - paddle[age]
    put(out, place, 64 * frame + min(max(height, -24), 39) + 24, 0, 64 * 5 - 1)
    put(out, place, 64 * frame + min(max(ball_y - following, -24), 39) + 24, 0, 64 * 5 - 1)
    put(out, place, 64 * frame + min(max(height - stride * frame // 4, -24), 39) + 24, 0, 64 * 5 - 1)
    put(out, place, 51 * frame + min(max(stride, -25), 25) + 25, 0, 51 * 5 - 1)
    put(out, place, 36 * frame + min(max(step_x, -17), 17) + 17, 0, 36 * 5 - 1)
    put(out, place, 36 * frame + min(max(fall, -17), 17) + 17, 0, 36 * 5 - 1)


@kernel
def put_flight(out: Array, place: Array, memory: Row) -> None:
    """Where the ball is or was, how it moves or moved, and how long it has been gone."""
    is_gone = memory.absence > 0
    x, y = memory.flight_x[0], memory.flight_y[0]
    step_x, step_y = moved(memory, memory.flight_x, 0), moved(memory, memory.flight_y, 0)
    before_x, before_y = moved(memory, memory.flight_x, 1), moved(memory, memory.flight_y, 1)
    where = x * 34 + step_x + 17
    put(out, place, where if not is_gone else 0, 0, 161 * 34)
    put(out, place, where if is_gone else 0, 0, 161 * 34)
    put(out, place, (y * 34 + step_y + 17) if not is_gone else 0, 0, 200 * 34)
    put(out, place, (step_x + 17) * 34 + before_x + 17, 0, 34 * 34)
    put(out, place, (step_y + 17) * 34 + before_y + 17, 0, 34 * 34)
    put(out, place, memory.absence, 0, LONGEST_ABSENCE)
    put(out, place, x if not is_gone else 0, 0, 165)
    put(out, place, y if not is_gone else 0, 0, 200)
    put(out, place, (y + step_y) if not is_gone else 0, 0, 215)
    put(out, place, moved(memory, memory.flight_x, 2), -17, 16)
    put(out, place, moved(memory, memory.flight_y, 2), -17, 16)
    put(out, place, memory.flight_length, 0, NUM_FLIGHT)


@kernel
def majority(memory: Row) -> int:
    """0: large first strides prevail, 1: small ones, 2: neither."""
    return 2 if memory.vote == 0 else (1 if memory.vote > 0 else 0)


@kernel
def distance_from_rest(memory: Row) -> int:
    """Pixels between the player's paddle and where its pull would let it rest; 99 if that is unknown."""
    if memory.pull < 0:
        return 99
    rest = (memory.top + int(memory.slope) * int(memory.pull) // 100) // 100
    return memory.player_y[0] - max(rest, memory.highest)


@kernel
def put_player(out: Array, place: Array, memory: Row, action: int) -> None:
    """What the player's paddle follows from: its past, the actions and where they have pulled it."""
    pull = memory.pull // 25 + 1
    y, parity = memory.player_y[0], majority(memory)
    push = PULLS[action] + 1 if action < UNKNOWN_ACTION else 1
    lag = min(max(distance_from_rest(memory), -64), 65) + 64
    put(out, place, (pull * 3 + push) * 3 + parity, 0, 41 * 9)
    put(out, place, (lag * 3 + push) * 3 + parity, 0, 130 * 9)
    put(out, place, (lag * 4 + y % 4) * 3 + parity, 0, 130 * 12)
    put(out, place, lag * 41 + pull, 0, 130 * 41)
    for age in range(4):
        put(out, place, memory.player_y[age], 20, 195)
    for age in range(NUM_PAST):
        put(out, place, memory.player_y[age] - memory.player_y[age + 1], -25, 25)
    put(out, place, action, 0, UNKNOWN_ACTION)
    for age in range(NUM_PAST):
        put(out, place, memory.action[age], 0, UNKNOWN_ACTION)


@kernel
def put_ball(out: Array, place: Array, memory: Row, action: int, decided: Array) -> None:
    """What the ball follows from: its flight, and both paddles where it may meet them."""
    put_flight(out, place, memory)
    put_contact(out, place, memory, 0, memory.player_y, decided[0], PLAYER_LEFT)
    put_contact(out, place, memory, 0, memory.enemy_y, memory.enemy_y[0], ENEMY_LEFT)
    put_contact(out, place, memory, 1, memory.player_y, memory.player_y[0], PLAYER_LEFT)
    put_contact(out, place, memory, 1, memory.enemy_y, memory.enemy_y[0], ENEMY_LEFT)
    step_x = moved(memory, memory.flight_x, 0) + 17
    put(out, place, (step_x * 7 + action) * 7 + memory.action[0], 0, 34 * 49)
    put(out, place, memory.action[1], 0, UNKNOWN_ACTION)
    put(out, place, memory.player_y[0] - memory.player_y[1], -25, 25)
    put(out, place, memory.enemy_y[0] - memory.enemy_y[1], -9, 9)
    put(out, place, memory.beat, 0, 2)
    put(out, place, majority(memory) * 3 + memory.beat, 0, 9)
    put(out, place, distance_from_rest(memory), -40, 41)


@kernel
def put_enemy(out: Array, place: Array, memory: Row, decided: Array) -> None:
    """What the enemy's paddle follows from: its past, and where the ball was and is."""
    was_there, is_there = memory.absence == 0, decided[1] > 0
    y, beat = memory.enemy_y[0], memory.beat
    after = min(max(decided[2] - y, -50), 49) if is_there else 50
    before = min(max(memory.flight_y[0] - y, -50), 49) if was_there else 50
    put(out, place, (after + 50) * 3 + beat, 0, 101 * 3)
    put(out, place, (before + 50) * 3 + beat, 0, 101 * 3)
    put(out, place, decided[2] - memory.flight_y[0] if was_there and is_there else -26, -26, 25)
    put(out, place, y if not is_there else -20, -20, 200)
    put(out, place, y, -20, 200)
    put(out, place, memory.absence * 3 + beat, 0, LONGEST_ABSENCE * 3 + 3)
    put(out, place, decided[1] if was_there != is_there else 0, 0, 165)
    put(out, place, memory.flight_x[0] * 34 + moved(memory, memory.flight_x, 0) + 17 if not is_there else 0, 0, 161 * 34)
    put(out, place, ((after + 50) * 3 + beat) * 3 + majority(memory), 0, 101 * 9)
    for age in range(2):
        put(out, place, moved(memory, memory.flight_y, age), -17, 16)
    for age in range(NUM_PAST):
        put(out, place, memory.enemy_y[age] - memory.enemy_y[age + 1], -9, 9)


@kernel
def put_scores(out: Array, place: Array, memory: Row, decided: Array) -> None:
    """What a point follows from: the ball's flight and whether it is still there."""
    is_gone = memory.absence > 0
    where = memory.flight_x[0] * 34 + moved(memory, memory.flight_x, 0) + 17
    put(out, place, where if not is_gone else 0, 0, 161 * 34)
    put(out, place, where if is_gone else 0, 0, 161 * 34)
    put(out, place, decided[1], 0, 165)
    put(out, place, min(memory.absence, 3) * 2 + (1 if decided[1] > 0 else 0), 0, 7)


@kernel
def put_symbols(out: Array, place: Array, factor: int, memory: Row, action: int, decided: Array) -> None:
    """The symbols of one object: 0 player, 1 ball, 2 enemy, 3 scores."""
    if factor == 0:
        put_player(out, place, memory, action)
    elif factor == 1:
        put_ball(out, place, memory, action, decided)
    elif factor == 2:
        put_enemy(out, place, memory, decided)
    else:
        put_scores(out, place, memory, decided)


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
def symbol_rows(
    factor: int, memories: Array, actions: Array, decided: Array, out: Array, place: Array
) -> None:
    """Symbols [B, K] of one object in every row; place ends as (K, number of different symbols)."""
    for row in range(len(memories)):
        place[0] = 0
        place[1] = 0
        put_symbols(out[row], place, factor, memories[row], actions[row], decided[row])


@kernel
def observation_rows(memories: Array, out: Array) -> None:
    """Observations [B, 56] whose constant columns are set already."""
    for row in range(len(memories)):
        write_observation(memories[row], out[row])


@kernel
def remember_rows(
    observations: Array, actions: Array, lengths: Array, charge: Array, memories: Array, decided: Array
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
                decided[step, column] = int(observations[seen + 1, DECIDED[column] * STACK + STACK - 1])
            step, seen = step + 1, seen + 1
        seen += 1
