"""What a player of Pong can remember beyond the observation, and how it reads as symbols.

A world model of symbols (`wm_agents.world_models.objects`) asks three things of a domain, all compiled here: a memory
row for each game, filled from the recorded observations and actions and nothing else; the symbols that each object's
network reads from it; and the next row.

Much of the game is written down here and not learned: where walls, paddles and goals are, frame by frame how the ball
turns there, how the paddle follows the actions (its integrator and its lag), how far the enemy moves in a frame and
when it pauses. How a ball leaves each place of a paddle and how far the actions pull are measured
(`wm_envs.pong.measuring`); where a serve goes, what noise does and what else the rules here leave open is learned.
A result that rests on this module has to say so.
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
FIRST_WAIT, LAST_WAIT = 9, 20  # the wait for the first serve is told apart by how far the enemy had got
LONGEST_ABSENCE = 40  # steps; beyond, one is as good as another
PULLS = np.array([0, 0, -1, 1, -1, 1])  # of the actions on the player's paddle
STEP = 1_000_000  # pull is counted in millionths of a step
HIGHEST_ENEMY = -15  # px
STRIDE = 2  # pixels that the enemy moves in a frame
AIM = 1  # pixels from the enemy's top edge down to the ball's when it rests
MOST_MISFITS = 100
NUM_GUESSES = 12  # of where the actions have pulled the player
PULL, HELD, PHASE, COST = range(4)  # columns of a guess
PER_PIXEL, MOST_PIXELS = 2, 8  # what a guess pays for a wrong place
SURE = 3  # a phase is known when all guesses of the other cost so much more
DEAREST, NEVER = 16, 1_000_000  # what a guess may cost to be followed on; the cost of no guess
HIGH, LOW = 34, 189  # px: a ball beyond is near a wall
TOP, BOTTOM = 31, 192  # px: where a ball turns
HIGHEST_PLACE, NUM_PLACES = -3, 19  # px: of a ball on a paddle, from top edge to top edge
MOST_SPEED = 4  # px per frame
FASTEST = 16  # px per step, along each axis

# Columns of a frame
PLAYER_X, PLAYER_Y, ENEMY_X, ENEMY_Y, BALL_X, BALL_Y, PLAYER_SCORE, ENEMY_SCORE = 0, 1, 4, 5, 8, 9, 12, 13
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
        ("step_x", np.int32),  # pixels that the ball moves in a step at the speed that it has or had last
        ("step_y", np.int32),
        ("is_steady", np.int32),  # 1: this speed is certain
        ("absence", np.int32),  # steps without a ball
        ("exit", np.int32),  # frames that the ball lasted in the step in which it went; in a new game from FIRST_WAIT
        ("beat", np.int32),  # steps, modulo 2, since the enemy made a full stride; 2: it never did
        ("misfits", np.int32, (4,)),  # steps that a pause of the enemy in this frame does not explain
        ("guesses", np.int32, (NUM_GUESSES, 4)),  # best first: pull, push held last, phase, cost
        ("phase", np.int32),  # quarters of a step, 0 or 1, before the player's paddle goes on; 2: unknown
        ("pull", np.int32),  # millionths of a step: where the actions have pulled the player; -1: unknown
        ("held", np.int32),  # the push of the action that was executed last
        ("reach", np.int32),  # millionths of a step from end to end
        ("rest_offset", np.int32),  # millionths: the paddle rests at the odd pixel 2 * floor(offset + rate * pull) + 1
        ("rest_rate", np.int32),  # millionths per step
        ("highest", np.int32),  # pixel above which the paddle never goes
        ("bounces", np.int32, (2, NUM_PLACES)),  # px per frame down after a ball met the player or the enemy, by place
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


# Geometry and time


@kernel
def contact(ball_x: int, step_x: int, left: int) -> int:
    """The frame 0..3 of a step in which a ball that keeps its speed overlaps a paddle's columns; 4: in none."""
    for frame in range(4):
        x = ball_x + frame * step_x // 4
        if left - BALL_WIDTH < x < left + PADDLE_WIDTH:
            return frame
    return 4


@kernel
def exit_frame(ball_x: int, step_x: int) -> int:
    """Frames 0..5 until a ball that keeps its speed is behind a paddle by more than the paddle's width thrice."""
    for frame in range(5):
        x = ball_x + frame * step_x // 4
        if x <= ENEMY_LEFT - 3 * PADDLE_WIDTH - 1 or x >= PLAYER_LEFT + 4 * PADDLE_WIDTH:
            return frame
    return 5


@kernel
def is_near_wall(ball_y: int, step_y: int) -> bool:
    """Whether a ball may meet a wall before the last frame of a step."""
    last = ball_y + 3 * step_y // 4
    return last < HIGH or last > LOW


@kernel
def majority(memory: Row) -> int:
    """1: the player's paddle goes on in the first frame of a step and the third, 0: second and fourth, 2: unknown."""
    return 2 if memory.phase == 2 else 1 - int(memory.phase)


@kernel
def resting(memory: Row, pull: int) -> int:
    """Where the player's paddle rests at a pull."""
    place = 2 * ((int(memory.rest_offset) + int(memory.rest_rate) * pull // STEP) // STEP) + 1
    return max(place, int(memory.highest))


@kernel
def rest(memory: Row, push: int, quarters: int) -> int:
    """Where the player's paddle would rest after some quarters of a step of a push up (-1), down (1) or none."""
    return resting(memory, min(max(int(memory.pull) + push * quarters * STEP // 4, 0), int(memory.reach)))


@kernel
def distance_from_rest(memory: Row) -> int:
    """Pixels between the player's paddle and where its pull would let it rest; 99 if that is unknown."""
    return 99 if memory.pull < 0 else memory.player_y[0] - rest(memory, 0, 0)


@kernel
def pause_frame(memory: Row) -> int:
    """The frame 0..3 in which the enemy pauses in every other step; 4: unknown, 5: even, 6: odd."""
    best, num_best = 0, 0
    for frame in range(4):
        if memory.misfits[frame] < memory.misfits[best]:
            best = frame
    for frame in range(4):
        is_fitting = majority(memory) == 2 or majority(memory) == 1 - frame % 2
        if memory.misfits[frame] == memory.misfits[best] and is_fitting:
            best, num_best = frame, num_best + 1
    if num_best == 1:
        return best
    return 4 if majority(memory) == 2 else 6 - majority(memory)


@kernel
def pause_now(memory: Row) -> int:
    """The frame 0..3 of this step in which the enemy pauses; from 4 on it does not, or it is unknown."""
    return pause_frame(memory) if memory.beat == 0 else 4


@kernel
def rhythm(memory: Row) -> int:
    """What is known of the phase of both paddles, 0..20."""
    return pause_frame(memory) * 3 + int(memory.beat)


@kernel
def chase(memory: Row, frames: int, pause: int) -> int:
    """Where the enemy is after some frames in which it follows a ball that keeps its speed, but for a pause."""
    enemy = int(memory.enemy_y[0])
    for passed in range(1, frames + 1):
        ball = int(memory.flight_y[0]) + passed * int(memory.step_y) // 4 - AIM
        if passed == pause + 1 or ball == enemy:
            continue
        enemy += STRIDE if ball > enemy else -STRIDE
    return enemy


@kernel
def is_known(memory: Row) -> bool:
    """Whether there is a ball of certain speed."""
    return memory.absence == 0 and memory.flight_length > 1 and memory.is_steady == 1


@kernel
def lateness(memory: Row, action: int, following: int) -> int:
    """Frames of a step that still went by the action before, as the player's new place says; 0 if that is unclear."""
    push = PULLS[action] if action < UNKNOWN_ACTION else 0
    best, least = 0, NEVER
    if memory.pull < 0 or memory.phase == 2 or memory.held == push:
        return 0
    for late in range(5):
        place = led(memory, int(memory.pull), int(memory.held), push, late, int(memory.phase))
        if abs(place - following) < least:
            best, least = late, abs(place - following)
    return best


@kernel
def player_at(memory: Row, action: int, following: int, frame: int, late: int) -> int:
    """About where the player's paddle is in a frame of the step: it goes on in every second one."""
    before = int(memory.player_y[0])
    if memory.pull < 0 or memory.phase == 2:
        return before + (following - before) * frame // 4
    if frame <= memory.phase:
        return before
    if memory.phase == 0 and frame == 3:
        return following
    push = PULLS[action] if action < UNKNOWN_ACTION else 0
    pull = pulled(memory, int(memory.pull), int(memory.held), push, late, int(memory.phase))
    return (before + resting(memory, pull)) // 2


@kernel
def enemy_at(memory: Row, frame: int) -> int:
    """About where the enemy's paddle is in a frame of the step: it follows the ball."""
    return chase(memory, frame, pause_now(memory))


@kernel
def height(memory: Row, action: int, decided: Array, frame: int) -> int:
    """Where on a paddle the ball is in a frame, from the paddle's top edge."""
    ball = int(memory.flight_y[0]) + frame * int(memory.step_y) // 4
    if memory.step_x > 0:
        return ball - player_at(memory, action, int(decided[0]), frame, 0)
    return ball - enemy_at(memory, frame)


@kernel
def is_on_paddle(place: int, ball_y: int, is_player: bool) -> bool:
    """Whether a ball whose top edge is at this place of a paddle meets it; corners count on every other line."""
    if not is_player:
        return -3 <= place <= 15
    is_odd = ball_y % 2 == 1
    return -2 <= place <= 14 or (place == -3 and not is_odd) or (place == 15 and is_odd)


@kernel
def has_fire(action: int) -> int:
    """1 for FIRE, alone or with a direction."""
    return 1 if action == 1 or action == 4 or action == 5 else 0


@kernel
def is_behind(ball_x: int) -> bool:
    """Whether a ball is behind a paddle by more than the paddle's width thrice: there it stands, and a point is due."""
    return ball_x <= ENEMY_LEFT - 3 * PADDLE_WIDTH - 1 or ball_x >= PLAYER_LEFT + 4 * PADDLE_WIDTH


@kernel
def is_beside(ball_x: int, left: int) -> bool:
    """Whether a ball is in the columns of a paddle."""
    return left - BALL_WIDTH < ball_x < left + PADDLE_WIDTH


@kernel
def bounce(memory: Row, side: int, place: int) -> int:
    """The speed down, in pixels a frame, of a ball that was met at a place of a paddle."""
    return int(memory.bounces[side, min(max(place - HIGHEST_PLACE, 0), NUM_PLACES - 1)])


@kernel
def fly(memory: Row, action: int, following: int, pause: int) -> tuple[int, int, int, int, int, int]:
    """Where a ball of known speed is after a step, its speed there, and the frame in which it met a paddle, else 4.

    The last number is where the enemy is then, if it pauses in the frame `pause`. Frame by frame the ball stands behind
    a paddle, or turns at a wall, or at the paddle that it is on, and moves; FIRE in the frame before makes a ball that
    meets the player faster.
    """
    x, y = int(memory.flight_x[0]), int(memory.flight_y[0])
    speed_x, speed_y = int(memory.step_x) // 4, int(memory.step_y) // 4
    enemy, met = int(memory.enemy_y[0]), 4
    late = lateness(memory, action, following)
    for frame in range(4):
        if is_behind(x):
            break
        if (y <= TOP and speed_y < 0) or (y >= BOTTOM and speed_y > 0):
            speed_y = -speed_y
            y += speed_y + (1 if speed_y > 0 else -1)
        else:
            is_firing = has_fire(memory.action[0] if frame == 0 or frame - 1 < late else action) == 1
            player = player_at(memory, action, following, frame, late)
            if is_beside(x, PLAYER_LEFT) and is_on_paddle(y - player, y, True):
                speed_x = -min(MOST_SPEED, abs(speed_x) + 1) if is_firing else -abs(speed_x)
                speed_y, met = bounce(memory, 0, y - player), min(met, frame)
            elif is_beside(x, ENEMY_LEFT) and is_on_paddle(y - enemy, y, False):
                speed_x, speed_y, met = abs(speed_x), bounce(memory, 1, y - enemy), min(met, frame)
            y += speed_y
        x += speed_x
        if frame != pause and y - AIM != enemy:
            enemy += STRIDE if y - AIM > enemy else -STRIDE
    return x, y, speed_x, speed_y, met, enemy


@kernel
def meeting(memory: Row, action: int, decided: Array) -> int:
    """The frame 0..3 of this step in which a ball of known speed meets a paddle, 4 if in none."""
    return fly(memory, action, int(decided[0]), pause_now(memory))[4] if is_known(memory) else 4


@kernel
def has_scored(memory: Row) -> int:
    """1 when the last step brought a point."""
    is_same = memory.player_score[0] == memory.player_score[1] and memory.enemy_score[0] == memory.enemy_score[1]
    return 0 if is_same else 1


@kernel
def follow_speed(memory: Row, ball_x: int, ball_y: int, frame: int) -> None:
    """The speed after a step, from where it began, the frame in which it met a paddle, and where it ended."""
    x, y, length = int(memory.flight_x[0]), int(memory.flight_y[0]), memory.flight_length
    step_x, step_y, was_steady = int(memory.step_x), int(memory.step_y), memory.is_steady == 1
    moved_x, moved_y, frames = ball_x - x, ball_y - y, 4
    memory.is_steady = 0
    if length == 0:
        return
    if length > 1 and was_steady:
        if frame < 4:
            moved_x, moved_y, frames = moved_x - frame * step_x // 4, moved_y - frame * step_y // 4, 4 - frame
            if not HIGH <= y + frame * step_y // 4 <= LOW:
                frames = 5  # too much at once
        elif moved_y != step_y and is_near_wall(y, step_y):
            moved_y = -step_y
        elif moved_y != step_y:
            frames = 5
        if frame == 4 and moved_x != step_x:
            frames = 5
        if frame == 4 and exit_frame(ball_x, step_x) == 0:
            memory.is_steady = 1  # behind the paddle: it stands still, and the speed is kept for the serve
            return
    if frames == 5 or moved_x % frames != 0 or moved_y % frames != 0:
        memory.step_x, memory.step_y = ball_x - x, ball_y - y
        return
    memory.step_x, memory.step_y = 4 * (moved_x // frames), 4 * (moved_y // frames)
    is_sane = 4 <= abs(memory.step_x) <= FASTEST and abs(memory.step_y) <= FASTEST
    is_clear = contact(ball_x, 0, ENEMY_LEFT if memory.step_x > 0 else PLAYER_LEFT) == 4  # else it may be met again
    memory.is_steady = 1 if is_sane and is_clear else 0


@kernel
def follow_ball(
    memory: Row, ball_x: int, ball_y: int, flown: tuple[int, int, int, int, int, int], is_flown: bool
) -> None:
    """Lengthen the flight, begin another or count how long the ball has been gone."""
    if ball_x == 0:
        if memory.absence == 0:
            memory.exit = exit_frame(int(memory.flight_x[0]), int(memory.step_x)) - has_scored(memory)
        memory.absence = min(memory.absence + 1, LONGEST_ABSENCE)
        return
    if memory.absence > 0:
        memory.flight_length = 0
    if is_flown and memory.flight_length > 0 and flown[0] == ball_x and flown[1] == ball_y:
        memory.step_x, memory.step_y = 4 * flown[2], 4 * flown[3]
    else:
        follow_speed(memory, ball_x, ball_y, flown[4])
    memory.absence = 0
    memory.flight_length = min(memory.flight_length + 1, NUM_FLIGHT)
    shift(memory.flight_x, ball_x)
    shift(memory.flight_y, ball_y)


@kernel
def pulled(memory: Row, pull: int, held: int, push: int, late: int, quarters: int) -> int:
    """Where a pull gets in some quarters of a step; in the first few, `late`, the push held before goes on."""
    for quarter in range(quarters):
        pull = min(max(pull + (held if quarter < late else push) * STEP // 4, 0), int(memory.reach))
    return pull


@kernel
def led(memory: Row, pull: int, held: int, push: int, late: int, phase: int) -> int:
    """Where the player's paddle is after a step: twice it goes half of the way to where it would rest."""
    place = int(memory.player_y[0])
    for number in range(2):
        place = (place + resting(memory, pulled(memory, pull, held, push, late, phase + 2 * number))) // 2
    return place


@kernel
def propose(guesses: Array, pull: int, held: int, phase: int, cost: int) -> None:
    """Put a guess in its place among the others, best first, unless it is worse than all or there at less."""
    place = 0
    while place < NUM_GUESSES and guesses[place, COST] <= cost:
        guess = guesses[place]
        if guess[PULL] == pull and guess[HELD] == held and guess[PHASE] == phase:
            return
        place += 1
    if place == NUM_GUESSES:
        return
    last = place
    while last < NUM_GUESSES - 1 and guesses[last, COST] < NEVER:
        guess = guesses[last]
        if guess[PULL] == pull and guess[HELD] == held and guess[PHASE] == phase:
            break
        last += 1
    for number in range(last, place, -1):
        guesses[number] = guesses[number - 1]
    guesses[place, PULL], guesses[place, HELD], guesses[place, PHASE], guesses[place, COST] = pull, held, phase, cost


@kernel
def guess_rest(memory: Row, cost: int) -> None:
    """Guess that the player's paddle is at rest where it is, with no push and either phase."""
    pairs = STEP * (int(memory.player_y[0]) // 2) + STEP // 2 - int(memory.rest_offset)
    pull = min(max(pairs * STEP // int(memory.rest_rate), 0), int(memory.reach))
    for phase in range(2):
        propose(memory.guesses, pull, 0, phase, cost)


@kernel
def settle(memory: Row) -> int:
    """Take the best guess and say what it cost; others are counted from it."""
    best = int(memory.guesses[0, COST])
    if best >= NEVER:
        return 0
    dearer = NEVER
    for number in range(NUM_GUESSES):
        if memory.guesses[number, COST] < NEVER:
            memory.guesses[number, COST] -= best
            if memory.guesses[number, PHASE] != memory.guesses[0, PHASE]:
                dearer = min(dearer, int(memory.guesses[number, COST]))
    memory.pull, memory.held = memory.guesses[0, PULL], memory.guesses[0, HELD]
    memory.phase = memory.guesses[0, PHASE] if dearer >= SURE else 2
    return best


@kernel
def follow_player(memory: Row, player_y: int, action: int) -> int:
    """Guess from the paddle's new place how many frames of the step still went by the action before.

    Sticky actions repeat the action executed last, frame by frame; without them no frame is late. Guesses are followed
    as by Viterbi (1967): each pays one for every late frame, and for the pixels between its place and the true one.
    The cost of the best, which is returned, says how well the constants of the paddle explain the recording.
    """
    push = PULLS[action] if action < UNKNOWN_ACTION else 0
    before = memory.guesses.copy()
    memory.guesses[:, COST] = NEVER
    for number in range(NUM_GUESSES):
        pull, held, phase, cost = before[number]
        if cost > DEAREST:
            break
        for late in range(5 if held != push else 1):
            misfit = min(abs(led(memory, pull, held, push, late, phase) - player_y), MOST_PIXELS)
            after = pulled(memory, pull, held, push, late, 4)
            propose(memory.guesses, after, held if late == 4 else push, phase, cost + late + PER_PIXEL * misfit)
    shift(memory.player_y, player_y)
    is_still = memory.player_y[1] == player_y and memory.player_y[2] == player_y and memory.player_y[3] == player_y
    if is_still and action < UNKNOWN_ACTION and push == 0 and memory.action[0] < UNKNOWN_ACTION:
        guess_rest(memory, PER_PIXEL * MOST_PIXELS)
    return settle(memory)


@kernel
def follow_enemy(memory: Row, enemy_y: int, is_straight: bool) -> None:
    """Keep the beat of the enemy's pauses, and find out in which frame of a step they come."""
    if memory.beat == 0 and is_straight:
        for frame in range(4):
            if chase(memory, 4, frame) != enemy_y:
                memory.misfits[frame] = min(memory.misfits[frame] + 1, MOST_MISFITS)
    if memory.beat < 2:
        memory.beat = 1 - memory.beat
    if abs(enemy_y - memory.enemy_y[0]) == 4 * STRIDE:
        memory.beat = 0
    shift(memory.enemy_y, enemy_y)


@kernel
def advance(memory: Row, action: int, decided: Array) -> None:
    """Remember a step: the action and the values of DECIDED that it led to."""
    is_flown, flown = is_known(memory), (0, 0, 0, 0, 4, 0)
    if is_flown:
        flown = fly(memory, action, decided[0], pause_now(memory))
    is_straight = is_flown and flown[4] == 4 and not is_near_wall(int(memory.flight_y[0]), int(memory.step_y))
    follow_player(memory, decided[0], action)
    shift(memory.action, action)
    follow_enemy(memory, decided[3], is_straight)
    follow_ball(memory, decided[1], decided[2], flown, is_flown)
    shift(memory.ball_x, decided[1])
    shift(memory.ball_y, decided[2])
    shift(memory.player_score, decided[4])
    shift(memory.enemy_score, decided[5])


@kernel
def begin(memory: Row, observation: Array, charge: Array) -> None:
    """A memory of nothing but the four frames of an observation; four equal ones are taken for a new game."""
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
    for number in range(2 * NUM_PLACES):
        memory.bounces[number // NUM_PLACES, number % NUM_PLACES] = charge[5 + number]
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
        memory.absence = 1  # the wait for the first serve starts here, or frames before it: the enemy is on its way
        strides = (int(observation[ENEMY_Y * STACK]) - HIGHEST_ENEMY) // STRIDE
        memory.exit = FIRST_WAIT + min(max(strides, 0), LAST_WAIT - FIRST_WAIT)
        for phase in range(2):
            propose(memory.guesses, charge[1], 0, phase, 0)
        settle(memory)


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
