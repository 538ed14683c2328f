"""What a world model of objects reads of Pong: expected values, situations and symbols.

Each value that changes is one part, in the order of `state.Part`; later parts see what was decided
before them. The ball is expected to keep its velocity but for walls and paddles. A situation is a
number that should have one outcome, relative to the expected value, wherever the rules are exact; 0
says that there is no such number, and a network has to tell from symbols. Which situations there
are was decided by hand, with the game's rules in view; only their outcomes come from recordings.

A symbol is a number in a range of its own within one table; `write_symbol` writes one and moves on
to the next range.
"""

from typing import Any

from numpy.typing import NDArray

from wm_agents.domains.pong.state import (
    FIRST_WAIT,
    HIGHEST_ENEMY,
    LAST_WAIT,
    MAX_STEPS_ABSENT,
    NO_CONTACT,
    NO_HYPOTHESIS,
    NUM_PAST,
    PUSHES,
    UNITS_PER_STEP,
    UNKNOWN_ACTION,
    UNKNOWN_PHASE,
    Hypothesis,
    Integer,
    Part,
    clamp,
)
from wm_agents.domains.pong.tracking import (
    Flight,
    contact_frame,
    distance_from_rest,
    exit_frame,
    fly_step,
    has_scored,
    height_on_paddle,
    is_behind,
    is_known,
    is_near_wall,
    is_paddle_known,
    joint_phase,
    paddle_after,
    paddle_parity,
    pause_frame,
    pause_now,
    push_of,
)
from wm_envs.kernel import Row, kernel
from wm_envs.pong import dynamics

Array = NDArray[Any]

NO_BALL_TARGET = -14  # px: where the enemy goes while there is no ball
FAR_FROM_ENEMY = 20  # px: at more than this the enemy makes full strides
NO_PAUSE = 9  # a frame that no step has
UNCERTAIN = 99  # a distance that depends on what is not known


@kernel
def sign(number: Integer) -> Integer:
    """-1, 0 or 1."""
    if number > 0:
        return 1
    return -1 if number < 0 else 0


@kernel
def side_of(velocity_x: Integer) -> Integer:
    """1 for a ball that flies to the player, else -1."""
    return 1 if velocity_x > 0 else -1


@kernel
def situation_code(a: Integer, b: Integer, c: Integer, d: Integer, e: Integer) -> Integer:
    """Five numbers from -500 to 499 as one positive number."""
    code = 1000 + a + 500
    code = code * 1000 + b + 500
    code = code * 1000 + c + 500
    code = code * 1000 + d + 500
    return code * 1000 + e + 500


@kernel
def expected(part: Integer, state: Row, action: Integer, next_values: Array) -> Integer:
    """The value of a part if nothing happens."""
    if part == Part.PLAYER_Y:
        if not is_paddle_known(state):
            return int(state.player_y[0])
        phase = int(state.paddle_phase)
        push = PUSHES[action]
        return paddle_after(state, int(state.setpoint), int(state.last_push), push, 0, phase)
    if part == Part.ENEMY_Y:
        return int(state.enemy_y[0])
    if part == Part.PLAYER_SCORE:
        return int(state.player_score[0])
    if part == Part.ENEMY_SCORE:
        return int(state.enemy_score[0])
    if is_known(state):
        flight = fly_step(state, action, int(next_values[Part.PLAYER_Y]), pause_now(state))
        return flight.x if part == Part.BALL_X else flight.y
    return int(state.ball_x[0]) if part == Part.BALL_X else int(state.ball_y[0])


# Situations


@kernel
def is_last_point(state: Row) -> Integer:
    """1 when one side is a point from the end of the game, which then stands still."""
    score = max(state.player_score[0], state.enemy_score[0])
    return 1 if score == dynamics.POINTS_TO_WIN - 1 else 0


@kernel
def serve_situation(part: Integer, state: Row, next_values: Array) -> Integer:
    """Of the ball's place while there is none: when a serve comes, and where to."""
    y = int(state.flight_y[0])
    velocity_y = int(state.velocity_y)
    waited = int(state.steps_absent)
    frames = int(state.frames_to_exit)
    is_first = frames >= FIRST_WAIT
    if part == Part.BALL_X:
        side = 0 if is_first else side_of(int(state.velocity_x))
        return situation_code(11, waited, frames, side, 0)
    if next_values[Part.BALL_X] == 0:
        return situation_code(10, 0, 0, 0, 0)
    # The serve keeps the last vertical direction, which a wall may have turned out of sight.
    if not is_first and is_near_wall(state, y, velocity_y):
        return situation_code(12, waited, frames, velocity_y, y)
    return situation_code(9, waited, frames, sign(velocity_y), 0)


@kernel
def ball_situation(part: Integer, state: Row, action: Integer, next_values: Array) -> Integer:
    """Of the ball's place, first across, then down."""
    if state.steps_absent > 0:
        return serve_situation(part, state, next_values)
    x = int(state.flight_x[0])
    y = int(state.flight_y[0])
    velocity_x = int(state.velocity_x)
    velocity_y = int(state.velocity_y)
    if part == Part.BALL_Y and next_values[Part.BALL_X] == 0:
        return situation_code(13, 0, 0, 0, 0)
    if state.flight_length == 1:
        return situation_code(14, x, y, 0, 0)
    if not is_known(state):
        return 0
    flight = fly_step(state, action, int(next_values[Part.PLAYER_Y]), pause_now(state))
    if flight.contact < NO_CONTACT:
        return contact_situation(part, state, action, next_values, flight)
    frames = exit_frame(state, x, velocity_x)
    if frames < 5:
        if part == Part.BALL_X:
            return situation_code(17, x, velocity_x, has_scored(state), is_last_point(state))
        return situation_code(19, frames, has_scored(state), is_last_point(state), 0)
    is_near = is_near_wall(state, y, velocity_y)
    return situation_code(18, 1 if is_near else 0, 0, 0, 0)


@kernel
def fire_code(state: Row, action: Integer) -> Integer:
    """Whether FIRE was and is pressed, as 0..3."""
    was_pressed = 1 if dynamics.has_fire(int(state.action[0])) else 0
    is_pressed = 1 if dynamics.has_fire(action) else 0
    return 2 * was_pressed + is_pressed


@kernel
def contact_situation(
    part: Integer, state: Row, action: Integer, next_values: Array, flight: Flight
) -> Integer:
    """Of a ball that meets a paddle: what is pressed, and the place on the paddle.

    Whether it is certain where the paddle is decides what is distinguished.
    """
    is_player = state.velocity_x > 0
    place = clamp(height_on_paddle(state, action, next_values, flight.contact), -30, 40)
    if is_player:
        is_certain = state.paddle_phase < UNKNOWN_PHASE
        fire = fire_code(state, action)
        late = 1 if state.last_push != PUSHES[action] else 0
    else:
        is_certain = pause_frame(state) < 4 and state.enemy_phase < UNKNOWN_PHASE
        fire = 0
        late = 0
    if part == Part.BALL_Y and next_values[Part.BALL_X] != flight.x:
        return 0
    if is_certain:
        place_code = place if part == Part.BALL_Y else 0
        return situation_code(20 + part, 1 if is_player else 0, fire, late, place_code)
    kind = int(state.velocity_x) + part
    return situation_code(30 + flight.contact, kind, place, fire, joint_phase(state) + 1)


@kernel
def player_situation(state: Row, action: Integer) -> Integer:
    """Of the player's paddle, which is expected to follow the action at once.

    Whether it may not.
    """
    if not is_paddle_known(state):
        return 0
    may_be_late = 0 if state.last_push == PUSHES[action] else 1
    return situation_code(may_be_late, uncertainty(state), 0, 0, 0)


@kernel
def uncertainty(state: Row) -> Integer:
    """What the second hypothesis costs: the less, the less is known of the paddle.

    At most 5.
    """
    return clamp(int(state.hypotheses[1, Hypothesis.COST]), 0, 5)


@kernel
def ball_at(state: Row, action: Integer, next_values: Array, passed: Integer) -> Integer:
    """About how high the ball is after 1..4 frames of a step whose end is known.

    Above everything where it is gone.
    """
    y = int(state.flight_y[0])
    velocity_y = int(state.velocity_y)
    next_y = int(next_values[Part.BALL_Y])
    straight = y + passed * velocity_y // 4
    if state.steps_absent > 0:
        return NO_BALL_TARGET
    frame = contact_frame(state, action, next_values)
    if next_values[Part.BALL_X] == 0:
        x = int(state.flight_x[0])
        frames = exit_frame(state, x, int(state.velocity_x)) - has_scored(state)
        if passed <= frames:
            return straight
        # For one frame more it stands behind the paddle.
        return y + frames * velocity_y // 4 if passed == frames + 1 else NO_BALL_TARGET
    if frame < NO_CONTACT:
        if passed <= frame:
            return straight
        at_contact = y + frame * velocity_y // 4
        return at_contact + (passed - frame) * (next_y - at_contact) // (4 - frame)
    before = y + (passed - 1) * velocity_y // 4
    if next_y - y == velocity_y or state.top < before < state.bottom:
        return straight
    return next_y + (4 - passed) * velocity_y // 4


@kernel
def pursuit_distance(state: Row, action: Integer, next_values: Array, pause: Integer) -> Integer:
    """How far the enemy gets in a step in which it follows the ball, but for a frame of pause."""
    enemy: Integer = int(state.enemy_y[0])
    if is_known(state) and not is_behind(state, int(next_values[Part.BALL_X])):
        flight = fly_step(state, action, int(next_values[Part.PLAYER_Y]), pause)
        if flight.x == next_values[Part.BALL_X] and flight.y == next_values[Part.BALL_Y]:
            return flight.enemy_y - enemy
    for passed in range(1, 5):
        if passed != pause + 1:
            ball = ball_at(state, action, next_values, passed) - int(state.aim)
            enemy = dynamics.pursued(enemy, ball, int(state.stride))
    return enemy - int(state.enemy_y[0])


@kernel
def certain_pursuit(state: Row, action: Integer, next_values: Array) -> Integer:
    """How far the enemy gets with what is known of its pauses.

    UNCERTAIN where it makes a difference that is not known.
    """
    if state.enemy_phase == 1:
        return pursuit_distance(state, action, next_values, NO_PAUSE)
    known = pause_frame(state)
    low = known
    high = known
    step = 1
    if known >= 4:  # 4: any frame, 5: the even ones, 6: the odd ones
        low = 1 if known == 6 else 0
        high = 3
        step = 1 if known == 4 else 2
    distance = pursuit_distance(state, action, next_values, low)
    for pause in range(low, high + 1, step):
        if pursuit_distance(state, action, next_values, pause) != distance:
            return UNCERTAIN
    # The phase may be unknown, and then there may be no pause at all.
    without = distance
    if state.enemy_phase == UNKNOWN_PHASE:
        without = pursuit_distance(state, action, next_values, NO_PAUSE)
    return distance if without == distance else UNCERTAIN


@kernel
def pursuit_kind(state: Row, action: Integer, next_values: Array) -> Integer:
    """What the ball does.

    0: there is none, 1: it goes, 2: it meets a paddle, 3: it flies straight on, 4: it turns.
    """
    if state.steps_absent > 0:
        return 0
    if next_values[Part.BALL_X] <= 0:  # an imagined ball may fly beyond the screen
        return 1
    if contact_frame(state, action, next_values) < NO_CONTACT:
        return 2
    moved_y = int(next_values[Part.BALL_Y]) - int(state.flight_y[0])
    return 3 if moved_y == state.velocity_y else 4


@kernel
def enemy_situation(state: Row, action: Integer, next_values: Array) -> Integer:
    """Of the enemy's paddle.

    How far it would get after the ball, or where the ball is for it and was.
    """
    enemy = int(state.enemy_y[0])
    phase = joint_phase(state)
    ball_y = int(next_values[Part.BALL_Y])
    was_there = state.steps_absent == 0
    is_there = next_values[Part.BALL_X] > 0
    if is_there and not was_there:
        return situation_code(11, int(next_values[Part.BALL_X]), ball_y, phase, 0)
    distance = certain_pursuit(state, action, next_values)
    if (is_known(state) or not was_there) and distance < UNCERTAIN:
        kind = pursuit_kind(state, action, next_values)
        lowest = min(enemy + distance, HIGHEST_ENEMY + 1) if kind < 2 else 0
        last_point = is_last_point(state) if kind == 1 else 0
        return situation_code(20 + kind, distance, lowest, last_point, 0)
    if not is_there:
        return 0
    before = int(state.flight_y[0]) - enemy
    after = ball_y - enemy
    is_far_below = before > FAR_FROM_ENEMY and after > FAR_FROM_ENEMY
    is_far_above = before < -FAR_FROM_ENEMY and after < -FAR_FROM_ENEMY
    if is_far_below or is_far_above:
        return situation_code(13, 1 if before > 0 else -1, int(state.enemy_phase), 0, 0)
    is_free = is_known(state) and contact_frame(state, action, next_values) == NO_CONTACT
    velocity_y = int(state.velocity_y) if is_free else 99
    return situation_code(clamp(after, -90, 90), clamp(before, -90, 90), velocity_y, phase, 100)


@kernel
def score_situation(state: Row, next_values: Array) -> Integer:
    """Of the scores: whether the ball is or will be behind a paddle."""
    ball_x = int(next_values[Part.BALL_X])
    if state.steps_absent > 2:
        return situation_code(10, 0, 0, 0, 0)
    if state.steps_absent > 0:
        # A fast ball is out of sight before its point.
        side = side_of(int(state.velocity_x)) + 3 * has_scored(state)
        return situation_code(10, int(state.steps_absent), int(state.frames_to_exit), 1, side)
    left = dynamics.ENEMY_X - dynamics.PADDLE_WIDTH
    if left < ball_x < dynamics.PLAYER_X + dynamics.PADDLE_WIDTH:
        return situation_code(11, 0, 0, 0, 0)
    if not is_known(state):
        return 0
    x = int(state.flight_x[0])
    return situation_code(12, x, int(state.velocity_x), ball_x, has_scored(state))


@kernel
def situation(part: Integer, state: Row, action: Integer, next_values: Array) -> Integer:
    """The situation of a part."""
    if part == Part.PLAYER_Y:
        return player_situation(state, action)
    if part == Part.BALL_X or part == Part.BALL_Y:
        return ball_situation(part, state, action, next_values)
    if part == Part.ENEMY_Y:
        return enemy_situation(state, action, next_values)
    return score_situation(state, next_values)


@kernel
def situation_rows(
    part: Integer,
    states: Array,
    actions: Array,
    next_values: Array,
    out_expected: Array,
    out_situations: Array,
) -> None:
    """Expected values [B] and situations [B] of a part in every row."""
    for row in range(len(states)):
        out_expected[row] = expected(part, states[row], actions[row], next_values[row])
        out_situations[row] = situation(part, states[row], actions[row], next_values[row])


# Symbols


@kernel
def write_symbol(out: Array, cursor: Array, value: Integer, low: Integer, high: Integer) -> None:
    """Write a value, held within low..high, as a symbol.

    The cursor holds the next column and the next free symbol.
    """
    out[cursor[0]] = cursor[1] + min(max(value, low), high) - low
    cursor[0] += 1
    cursor[1] += high - low + 1


@kernel
def late_difference(state: Row, action: Integer, late: Integer) -> Integer:
    """How much further the player's paddle gets if some frames still go by the action before."""
    setpoint = int(state.setpoint)
    last_push = int(state.last_push)
    phase = int(state.paddle_phase)
    push = PUSHES[action]
    place = paddle_after(state, setpoint, last_push, push, late, phase)
    return clamp(place - paddle_after(state, setpoint, last_push, push, 0, phase), -40, 40)


@kernel
def write_player(out: Array, cursor: Array, state: Row, action: Integer) -> None:
    """What the player's paddle follows from: its past, the actions and its setpoint."""
    push = push_of(action) + 1  # 0, 1, 2
    last_push = int(state.last_push) + 1
    kind = push * 3 + paddle_parity(state)  # 0..8
    lag = clamp(distance_from_rest(state), -50, 51) + 50
    known = last_push * 6 + uncertainty(state)
    write_symbol(out, cursor, lag * 9 + kind, 0, 102 * 9)
    write_symbol(out, cursor, (lag * 9 + kind) * 3 + last_push, 0, 102 * 27)
    write_symbol(out, cursor, known * 9 + kind, 0, 18 * 9)
    for late in range(1, 4):
        difference = -41 * 9
        if is_paddle_known(state):
            difference = late_difference(state, action, late) * 9 + kind
        write_symbol(out, cursor, difference, -41 * 9, 41 * 9)
    for number in range(1, 4):
        cost = int(state.hypotheses[number, Hypothesis.COST])
        frames = 8  # no hypothesis
        if cost < NO_HYPOTHESIS and state.hypotheses[0, Hypothesis.COST] < NO_HYPOTHESIS:
            moved = int(state.hypotheses[number, Hypothesis.SETPOINT]) - int(state.setpoint)
            frames = clamp(moved * 4 // UNITS_PER_STEP, -7, 7)
        code = (frames + 7) * 6 + clamp(cost, 0, 5)
        write_symbol(out, cursor, code * 9 + kind, 0, 96 * 9)
    tenths = int(state.setpoint) // (UNITS_PER_STEP // 10)
    write_symbol(out, cursor, tenths * 9 + kind, -9, 90 * 9)
    write_symbol(out, cursor, (int(state.player_y[0]) % 4) * 9 + kind, 0, 4 * 9)
    for age in range(3):
        write_symbol(out, cursor, state.player_y[age], 20, 195)
    for age in range(NUM_PAST):
        moved = int(state.player_y[age]) - int(state.player_y[age + 1])
        write_symbol(out, cursor, moved * 3 + push, -75, 77)
    for age in range(NUM_PAST):
        write_symbol(out, cursor, state.action[age] * 3 + push, 0, UNKNOWN_ACTION * 3 + 2)


@kernel
def contact_kind(state: Row, frame: Integer) -> Integer:
    """When a ball meets which paddle in this step, as 0..14."""
    if frame == NO_CONTACT:
        return frame
    return frame + 5 if state.velocity_x > 0 else frame + 10


@kernel
def write_ball(
    out: Array, cursor: Array, part: Integer, state: Row, action: Integer, next_values: Array
) -> None:
    """What the ball follows from: its flight, and where it meets a paddle."""
    is_there = state.steps_absent == 0
    x = int(state.flight_x[0])
    y = int(state.flight_y[0])
    velocity_x = int(state.velocity_x)
    velocity_y = int(state.velocity_y)
    waited = int(state.steps_absent)
    player_y = int(state.player_y[0])
    kind = contact_kind(state, contact_frame(state, action, next_values))
    write_symbol(out, cursor, x if is_there else 0, 0, 160)
    write_symbol(out, cursor, y if is_there else 0, 0, 200)
    write_symbol(out, cursor, velocity_x * 15 + kind, -17 * 15, 17 * 15)
    write_symbol(out, cursor, velocity_y * 15 + kind, -17 * 15, 17 * 15)
    has_moved = state.flight_length > 1
    write_symbol(out, cursor, x - int(state.flight_x[1]) if has_moved else -20, -20, 20)
    write_symbol(out, cursor, y - int(state.flight_y[1]) if has_moved else -20, -20, 20)
    write_symbol(out, cursor, state.is_velocity_known * 5 + state.flight_length, 0, 9)
    write_symbol(out, cursor, y + velocity_y if is_there else 0, 0, 220)
    last = MAX_STEPS_ABSENT * 21 + LAST_WAIT
    write_symbol(out, cursor, waited * 21 + int(state.frames_to_exit), 0, last)
    is_to_player = 1 if velocity_x > 0 else 0
    write_symbol(out, cursor, waited * 3 + is_to_player, 0, MAX_STEPS_ABSENT * 3 + 3)
    for frame in range(4):
        place = clamp(height_on_paddle(state, action, next_values, frame), -20, 30) + 20
        write_symbol(out, cursor, place * 15 + kind, 0, 51 * 15)
    write_symbol(out, cursor, clamp(y - player_y, -30, 40), -30, 40)
    write_symbol(out, cursor, clamp(y - int(state.enemy_y[0]), -30, 40), -30, 40)
    moved = clamp(int(next_values[Part.PLAYER_Y]) - player_y, -25, 25)
    write_symbol(out, cursor, moved * 15 + kind, -25 * 15, 26 * 15)
    fire = 2 * (fire_code(state, action) % 2) + fire_code(state, action) // 2
    write_symbol(out, cursor, fire * 15 + kind, 0, 60)
    write_symbol(out, cursor, joint_phase(state), 0, 20)
    write_symbol(out, cursor, player_y - int(state.player_y[1]), -25, 25)
    write_symbol(out, cursor, int(state.enemy_y[0]) - int(state.enemy_y[1]), -9, 9)
    if part == Part.BALL_Y:
        next_x = int(next_values[Part.BALL_X])
        write_symbol(out, cursor, (next_x - x) * 15 + kind, -20 * 15, 20 * 15)
        write_symbol(out, cursor, 0 if is_there else next_x, 0, 160)


@kernel
def write_enemy(out: Array, cursor: Array, state: Row, action: Integer, next_values: Array) -> None:
    """What the enemy's paddle follows from: its past, and where the ball was and is."""
    was_there = state.steps_absent == 0
    is_there = next_values[Part.BALL_X] > 0
    enemy = int(state.enemy_y[0])
    y = int(state.flight_y[0])
    next_x = int(next_values[Part.BALL_X])
    next_y = int(next_values[Part.BALL_Y])
    phase = joint_phase(state)
    after = clamp(next_y - enemy, -50, 49) if is_there else 50
    before = clamp(y - enemy, -50, 49) if was_there else 50
    write_symbol(out, cursor, (after + 50) * 21 + phase, 0, 101 * 21)
    write_symbol(out, cursor, (before + 50) * 21 + phase, 0, 101 * 21)
    write_symbol(out, cursor, next_y - y if was_there and is_there else -26, -26, 25)
    write_symbol(out, cursor, state.velocity_y, -17, 17)
    is_to_player = 1 if state.velocity_x > 0 else 0
    contact = contact_frame(state, action, next_values)
    write_symbol(out, cursor, contact * 2 + is_to_player, 0, 10)
    distance = pursuit_distance(state, action, next_values, NO_PAUSE)
    write_symbol(out, cursor, distance * 2 + 1, -17, 17)
    for pause in range(4):
        distance = pursuit_distance(state, action, next_values, pause)
        write_symbol(out, cursor, distance * 21 + phase, -8 * 21, 8 * 21 + 20)
    write_symbol(out, cursor, -20 if is_there else enemy, -20, 200)
    write_symbol(out, cursor, enemy, -20, 200)
    waited = int(state.steps_absent)
    write_symbol(out, cursor, waited * 21 + phase, 0, MAX_STEPS_ABSENT * 21 + 21)
    write_symbol(out, cursor, next_x if was_there != is_there else 0, 0, 165)
    frames = exit_frame(state, int(state.flight_x[0]), int(state.velocity_x))
    write_symbol(out, cursor, 6 if is_there else frames, 0, 6)
    for age in range(4):
        write_symbol(out, cursor, state.enemy_y[age] - state.enemy_y[age + 1], -9, 9)


@kernel
def write_score(out: Array, cursor: Array, state: Row, next_values: Array) -> None:
    """What a point follows from: the ball's flight and whether it is still there."""
    x = int(state.flight_x[0])
    velocity_x = int(state.velocity_x)
    is_there = state.steps_absent == 0
    write_symbol(out, cursor, x if is_there else 0, 0, 165)
    timing = (velocity_x + 17) * 8 + exit_frame(state, x, velocity_x)
    write_symbol(out, cursor, timing if is_there else 0, 0, 35 * 8)
    write_symbol(out, cursor, int(next_values[Part.BALL_X]), 0, 165)
    is_next = 2 if next_values[Part.BALL_X] > 0 else 0
    code = clamp(int(state.steps_absent), 0, 3) * 4 + is_next + has_scored(state)
    is_to_player = 1 if velocity_x > 0 else 0
    write_symbol(out, cursor, code * 2 + is_to_player, 0, 32)


@kernel
def write_part(
    out: Array, cursor: Array, part: Integer, state: Row, action: Integer, next_values: Array
) -> None:
    """The symbols of a part."""
    if part == Part.PLAYER_Y:
        write_player(out, cursor, state, action)
    elif part == Part.BALL_X or part == Part.BALL_Y:
        write_ball(out, cursor, part, state, action, next_values)
    elif part == Part.ENEMY_Y:
        write_enemy(out, cursor, state, action, next_values)
    else:
        write_score(out, cursor, state, next_values)


@kernel
def symbol_rows(
    part: Integer, states: Array, actions: Array, next_values: Array, out: Array, cursor: Array
) -> None:
    """Symbols [B, K] of a part in every row; the cursor ends as (K, number of symbols)."""
    for row in range(len(states)):
        cursor[0] = 0
        cursor[1] = 0
        write_part(out[row], cursor, part, states[row], actions[row], next_values[row])
