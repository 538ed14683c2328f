"""How paddles and ball move within a step: what an estimated state says of the frames between.

The rules themselves are functions of `wm_envs.pong.dynamics`; here they are run with estimated
constants, in pixels of the screen, from an observation of every fourth frame.

With sticky actions nobody sees which action was executed. A state follows a few hypotheses of how
many frames of a step still went by the action before, as by Viterbi (1967), and the paddle's own
places say which one is right.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.pong.state import (
    CERTAIN_MARGIN,
    COST_PER_PIXEL,
    FIRST_WAIT,
    HIGHEST_PLACE,
    MAX_COST,
    MAX_PAUSE_ERRORS,
    MAX_PIXELS,
    MAX_STEPS_ABSENT,
    MAX_VELOCITY,
    NEAR_WALL,
    NO_CONTACT,
    NO_HYPOTHESIS,
    NUM_FLIGHT,
    NUM_HYPOTHESES,
    NUM_PLACES,
    PUSHES,
    UNITS_PER_FRAME,
    UNITS_PER_STEP,
    UNKNOWN_ACTION,
    UNKNOWN_PHASE,
    Hypothesis,
    Integer,
    Part,
    shift,
)
from wm_envs.kernel import Row, kernel
from wm_envs.pong import dynamics

Array = NDArray[Any]

# From a height on a paddle in pixels of the screen to one in the game's own units
PLAYER_OFFSET = dynamics.BALL_TOP - dynamics.PLAYER_TOP
ENEMY_OFFSET = dynamics.BALL_TOP - dynamics.ENEMY_TOP


class Flight(NamedTuple):
    """Where a ball of known velocity is after a step."""

    x: Integer
    y: Integer
    dx: Integer  # px per frame
    dy: Integer
    contact: Integer  # frame in which it met a paddle, else NO_CONTACT
    enemy_y: Integer


# The player's paddle: an integrator that the actions charge, and a lag


@kernel
def push_of(action: Integer) -> Integer:
    """Which way an action moves the setpoint; an unknown one is taken for none."""
    return int(PUSHES[action]) if action < UNKNOWN_ACTION else 0


@kernel
def paddle_parity(state: Row) -> Integer:
    """1: the player's paddle moves in the first frame of a step and the third.

    0: in the second and the fourth; UNKNOWN_PHASE.
    """
    if state.paddle_phase == UNKNOWN_PHASE:
        return UNKNOWN_PHASE
    return 1 - int(state.paddle_phase)


@kernel
def is_paddle_known(state: Row) -> bool:
    """Whether the paddle's setpoint and phase are known."""
    return state.setpoint >= 0 and state.paddle_phase != UNKNOWN_PHASE


@kernel
def rest_place(state: Row, setpoint: Integer) -> Integer:
    """Where the player's paddle rests at a setpoint."""
    pairs = int(state.rest_offset) + int(state.rest_rate) * setpoint // UNITS_PER_STEP
    return max(2 * (pairs // UNITS_PER_STEP) + 1, int(state.highest))


@kernel
def distance_from_rest(state: Row) -> Integer:
    """Pixels between the player's paddle and where its setpoint would let it rest.

    99 if that is unknown.
    """
    if state.setpoint < 0:
        return 99
    setpoint = dynamics.charged(int(state.setpoint), 0, 0, int(state.reach))
    return int(state.player_y[0]) - rest_place(state, setpoint)


@kernel
def setpoint_after(
    state: Row, setpoint: Integer, last_push: Integer, push: Integer, late: Integer, frames: Integer
) -> Integer:
    """Where a setpoint gets in some frames of a step.

    In the first few, `late`, the push before goes on.
    """
    for frame in range(frames):
        executed = last_push if frame < late else push
        setpoint = dynamics.charged(setpoint, executed * UNITS_PER_FRAME, 0, int(state.reach))
    return setpoint


@kernel
def paddle_after(
    state: Row, setpoint: Integer, last_push: Integer, push: Integer, late: Integer, phase: Integer
) -> Integer:
    """Where the player's paddle is after a step, in which it moves twice."""
    place: Integer = int(state.player_y[0])
    for number in range(2):
        moved = setpoint_after(state, setpoint, last_push, push, late, phase + 2 * number)
        place = dynamics.lagged(place, rest_place(state, moved))
    return place


@kernel
def late_frames(state: Row, action: Integer, next_player: Integer) -> Integer:
    """Frames of a step that still went by the action before, as the player's new place says.

    0 if that is unclear.
    """
    push = push_of(action)
    if not is_paddle_known(state) or state.last_push == push:
        return 0
    best = 0
    least: Integer = NO_HYPOTHESIS
    for late in range(5):
        place = paddle_after(
            state, int(state.setpoint), int(state.last_push), push, late, int(state.paddle_phase)
        )
        if abs(place - next_player) < least:
            best = late
            least = abs(place - next_player)
    return best


@kernel
def player_at(
    state: Row, action: Integer, next_player: Integer, frame: Integer, late: Integer
) -> Integer:
    """About where the player's paddle is in a frame of the step: it moves in every second one."""
    before = int(state.player_y[0])
    if not is_paddle_known(state):
        return before + (next_player - before) * frame // 4
    if frame <= state.paddle_phase:
        return before
    if state.paddle_phase == 0 and frame == 3:
        return next_player
    setpoint = setpoint_after(
        state,
        int(state.setpoint),
        int(state.last_push),
        push_of(action),
        late,
        int(state.paddle_phase),
    )
    return dynamics.lagged(before, rest_place(state, setpoint))


@kernel
def is_same(hypothesis: Array, setpoint: Integer, last_push: Integer, phase: Integer) -> bool:
    """Whether a hypothesis says this."""
    return (
        hypothesis[Hypothesis.SETPOINT] == setpoint
        and hypothesis[Hypothesis.LAST_PUSH] == last_push
        and hypothesis[Hypothesis.PHASE] == phase
    )


@kernel
def add_hypothesis(
    hypotheses: Array, setpoint: Integer, last_push: Integer, phase: Integer, cost: Integer
) -> None:
    """Put a hypothesis in its place, best first, unless it is worse than all or there at less."""
    place = 0
    while place < NUM_HYPOTHESES and hypotheses[place, Hypothesis.COST] <= cost:
        if is_same(hypotheses[place], setpoint, last_push, phase):
            return
        place += 1
    if place == NUM_HYPOTHESES:
        return
    # The same hypothesis at a higher cost makes room, else the last one.
    last = place
    while last < NUM_HYPOTHESES - 1 and hypotheses[last, Hypothesis.COST] < NO_HYPOTHESIS:
        if is_same(hypotheses[last], setpoint, last_push, phase):
            break
        last += 1
    for number in range(last, place, -1):
        hypotheses[number] = hypotheses[number - 1]
    hypotheses[place, Hypothesis.SETPOINT] = setpoint
    hypotheses[place, Hypothesis.LAST_PUSH] = last_push
    hypotheses[place, Hypothesis.PHASE] = phase
    hypotheses[place, Hypothesis.COST] = cost


@kernel
def add_rest_hypotheses(state: Row, cost: Integer) -> None:
    """The player's paddle may be at rest where it is, with no push and either phase."""
    pairs = UNITS_PER_STEP * (int(state.player_y[0]) // 2) + UNITS_PER_STEP // 2
    setpoint = (pairs - int(state.rest_offset)) * UNITS_PER_STEP // int(state.rest_rate)
    setpoint = min(max(setpoint, 0), int(state.reach))
    for phase in range(2):
        add_hypothesis(state.hypotheses, setpoint, 0, phase, cost)


@kernel
def select_hypothesis(state: Row) -> Integer:
    """Take the best hypothesis and say what it cost; the others' costs are relative to it."""
    best = int(state.hypotheses[0, Hypothesis.COST])
    if best >= NO_HYPOTHESIS:
        return 0
    cost_of_other_phase = NO_HYPOTHESIS
    for number in range(NUM_HYPOTHESES):
        if state.hypotheses[number, Hypothesis.COST] < NO_HYPOTHESIS:
            state.hypotheses[number, Hypothesis.COST] -= best
            if state.hypotheses[number, Hypothesis.PHASE] != state.hypotheses[0, Hypothesis.PHASE]:
                cost = int(state.hypotheses[number, Hypothesis.COST])
                cost_of_other_phase = min(cost_of_other_phase, cost)
    state.setpoint = state.hypotheses[0, Hypothesis.SETPOINT]
    state.last_push = state.hypotheses[0, Hypothesis.LAST_PUSH]
    state.paddle_phase = UNKNOWN_PHASE
    if cost_of_other_phase >= CERTAIN_MARGIN:
        state.paddle_phase = state.hypotheses[0, Hypothesis.PHASE]
    return best


@kernel
def update_player(state: Row, player_y: Integer, action: Integer) -> Integer:
    """Infer from the paddle's new place how many frames still went by the action before.

    Sticky actions repeat the action executed last, frame by frame; without them no frame is late.
    Hypotheses are followed as by Viterbi (1967): each costs one for every late frame, and for the
    pixels between its place and the true one. The cost of the best, which is returned, says how
    well the constants of the paddle explain the recording.
    """
    push = push_of(action)
    before = state.hypotheses.copy()
    state.hypotheses[:, Hypothesis.COST] = NO_HYPOTHESIS
    for number in range(NUM_HYPOTHESES):
        setpoint, last_push, phase, cost = before[number]
        if cost > MAX_COST:
            break
        # Where the push stays the same, late frames make no difference.
        for late in range(5 if last_push != push else 1):
            place = paddle_after(state, setpoint, last_push, push, late, phase)
            error = min(abs(place - player_y), MAX_PIXELS)
            add_hypothesis(
                state.hypotheses,
                setpoint_after(state, setpoint, last_push, push, late, 4),
                last_push if late == 4 else push,
                phase,
                cost + late + COST_PER_PIXEL * error,
            )
    shift(state.player_y, player_y)
    is_still = (
        state.player_y[1] == player_y
        and state.player_y[2] == player_y
        and state.player_y[3] == player_y
    )
    if is_still and action < UNKNOWN_ACTION and push == 0 and state.action[0] < UNKNOWN_ACTION:
        add_rest_hypotheses(state, COST_PER_PIXEL * MAX_PIXELS)
    return select_hypothesis(state)


# The enemy: a stride towards the ball in every frame but for a pause in every eighth


@kernel
def pause_frame(state: Row) -> Integer:
    """The frame 0..3 in which the enemy pauses in every other step.

    4: unknown, 5: an even one, 6: an odd one.
    """
    best = 0
    for frame in range(4):
        if state.pause_errors[frame] < state.pause_errors[best]:
            best = frame
    parity = paddle_parity(state)
    num_best = 0
    for frame in range(4):
        # Both paddles follow the game's frame counter, so that one's parity tells the other's.
        is_fitting = parity == UNKNOWN_PHASE or parity == 1 - frame % 2
        if state.pause_errors[frame] == state.pause_errors[best] and is_fitting:
            best = frame
            num_best += 1
    if num_best == 1:
        return best
    return 4 if parity == UNKNOWN_PHASE else 6 - parity


@kernel
def pause_now(state: Row) -> Integer:
    """The frame 0..3 of this step in which the enemy pauses.

    From 4 on it does not, or it is unknown.
    """
    return pause_frame(state) if state.enemy_phase == 0 else 4


@kernel
def joint_phase(state: Row) -> Integer:
    """What is known of the phase of both paddles, 0..20."""
    return pause_frame(state) * 3 + int(state.enemy_phase)


@kernel
def enemy_after(state: Row, frames: Integer, pause: Integer) -> Integer:
    """Where the enemy is after some frames with a ball that keeps its velocity, but for a pause."""
    enemy: Integer = int(state.enemy_y[0])
    for passed in range(1, frames + 1):
        ball = int(state.flight_y[0]) + passed * int(state.velocity_y) // 4 - int(state.aim)
        if passed != pause + 1:
            enemy = dynamics.pursued(enemy, ball, int(state.stride))
    return enemy


@kernel
def enemy_at(state: Row, frame: Integer) -> Integer:
    """About where the enemy's paddle is in a frame of the step: it follows the ball."""
    return enemy_after(state, frame, pause_now(state))


@kernel
def set_first_pauses(state: Row, ball_x: Integer) -> None:
    """Take the pauses from the first sight of a game's first ball.

    They keep time with its serve.
    """
    code = int(state.first_pauses[ball_x % 4])
    if code < 0:
        return
    state.enemy_phase = code // 4
    for frame in range(4):
        state.pause_errors[frame] = 0 if frame == code % 4 else MAX_PAUSE_ERRORS


@kernel
def update_enemy(state: Row, enemy_y: Integer, is_straight: bool) -> None:
    """Follow the phase of the enemy's pauses, and find out in which frame of a step they come."""
    if state.enemy_phase == 0 and is_straight:
        for frame in range(4):
            if enemy_after(state, 4, frame) != enemy_y:
                state.pause_errors[frame] = min(state.pause_errors[frame] + 1, MAX_PAUSE_ERRORS)
    if state.enemy_phase < UNKNOWN_PHASE:
        state.enemy_phase = 1 - state.enemy_phase
    if abs(enemy_y - state.enemy_y[0]) == 4 * state.stride:
        state.enemy_phase = 0
    shift(state.enemy_y, enemy_y)


# The ball


@kernel
def is_beside(ball_x: Integer, left: Integer) -> bool:
    """Whether a ball is in the columns of a paddle."""
    return left - dynamics.BALL_WIDTH < ball_x < left + dynamics.PADDLE_WIDTH


@kernel
def is_behind(state: Row, ball_x: Integer) -> bool:
    """Whether a ball is so far behind a paddle that it stands there, and a point is due."""
    return ball_x <= state.left_goal or ball_x >= state.right_goal


@kernel
def exit_frame(state: Row, ball_x: Integer, velocity_x: Integer) -> Integer:
    """Frames 0..5 until a ball that keeps its velocity stands behind a paddle."""
    for frame in range(5):
        if is_behind(state, ball_x + frame * velocity_x // 4):
            return frame
    return 5


@kernel
def is_near_wall(state: Row, ball_y: Integer, velocity_y: Integer) -> bool:
    """Whether a ball may meet a wall before the last frame of a step."""
    last = ball_y + 3 * velocity_y // 4
    return last < state.top + NEAR_WALL or last > state.bottom - NEAR_WALL


@kernel
def is_known(state: Row) -> bool:
    """Whether there is a ball of certain velocity."""
    return state.steps_absent == 0 and state.flight_length > 1 and state.is_velocity_known == 1


@kernel
def has_scored(state: Row) -> Integer:
    """1 when the last step brought a point."""
    is_same_score = (
        state.player_score[0] == state.player_score[1]
        and state.enemy_score[0] == state.enemy_score[1]
    )
    return 0 if is_same_score else 1


@kernel
def height_on_paddle(state: Row, action: Integer, next_values: Array, frame: Integer) -> Integer:
    """Where on a paddle the ball is in a frame, from the paddle's top edge."""
    ball = int(state.flight_y[0]) + frame * int(state.velocity_y) // 4
    if state.velocity_x > 0:
        return ball - player_at(state, action, int(next_values[Part.PLAYER_Y]), frame, 0)
    return ball - enemy_at(state, frame)


@kernel
def bounce(state: Row, side: Integer, place: Integer) -> Integer:
    """The speed down, in pixels a frame, of a ball that was met at a place of a paddle."""
    return int(state.bounces[side, min(max(place - HIGHEST_PLACE, 0), NUM_PLACES - 1)])


@kernel
def fly_step(state: Row, action: Integer, next_player: Integer, pause: Integer) -> Flight:
    """The flight of a ball of known velocity in a step, if the enemy pauses in a frame.

    Frame by frame as in `dynamics.fly`, with the state's constants: a ball stands behind a paddle,
    or turns at a wall, or at the paddle that it is on, and moves.
    """
    # One type of integers throughout, so that every `Flight` is of the same compiled type.
    x: Integer = np.int64(state.flight_x[0])
    y: Integer = np.int64(state.flight_y[0])
    dx: Integer = np.int64(state.velocity_x) // 4
    dy: Integer = np.int64(state.velocity_y) // 4
    enemy: Integer = np.int64(state.enemy_y[0])
    contact = NO_CONTACT
    late = late_frames(state, action, next_player)
    for frame in range(4):
        if is_behind(state, x):
            break
        y, dy, has_turned = dynamics.turned_at_wall(y, dy, int(state.top), int(state.bottom))
        if not has_turned:
            player = player_at(state, action, next_player, frame, late)
            meets_player = is_beside(x, dynamics.PLAYER_X) and dynamics.is_on_player(
                y - player + PLAYER_OFFSET, y
            )
            if meets_player:
                # FIRE counts in the frame before the contact, by the action executed then.
                is_before = frame == 0 or frame - 1 < late
                executed = int(state.action[0]) if is_before else action
                has_fired = dynamics.has_fire(executed)
                dx = dynamics.returned(dx, has_fired, int(state.gain), int(state.top_speed))
                dy = bounce(state, 0, y - player)
                contact = min(contact, frame)
            elif is_beside(x, dynamics.ENEMY_X) and dynamics.is_on_enemy(y - enemy + ENEMY_OFFSET):
                dx = abs(dx)
                dy = bounce(state, 1, y - enemy)
                contact = min(contact, frame)
            y += dy
        x += dx
        if frame != pause:
            enemy = dynamics.pursued(enemy, y - int(state.aim), int(state.stride))
    return Flight(x, y, dx, dy, contact, enemy)


@kernel
def contact_frame(state: Row, action: Integer, next_values: Array) -> Integer:
    """The frame 0..3 of this step in which a ball of known velocity meets a paddle.

    NO_CONTACT if in none.
    """
    if not is_known(state):
        return NO_CONTACT
    return fly_step(state, action, int(next_values[Part.PLAYER_Y]), pause_now(state)).contact


@kernel
def update_velocity(state: Row, ball_x: Integer, ball_y: Integer, frame: Integer) -> None:
    """The velocity after a step, from where it began, the frame of a contact, and its end."""
    x = int(state.flight_x[0])
    y = int(state.flight_y[0])
    velocity_x = int(state.velocity_x)
    velocity_y = int(state.velocity_y)
    was_known = state.is_velocity_known == 1
    moved_x = ball_x - x
    moved_y = ball_y - y
    frames = 4  # in which the ball moved so far at its new velocity
    is_clear = True
    state.is_velocity_known = 0
    if state.flight_length == 0:
        return
    if state.flight_length > 1 and was_known:
        if frame < NO_CONTACT:
            moved_x -= frame * velocity_x // 4
            moved_y -= frame * velocity_y // 4
            frames = 4 - frame
            at_contact = y + frame * velocity_y // 4
            # A wall and a paddle in one step are too much to tell apart.
            is_clear = state.top + NEAR_WALL <= at_contact <= state.bottom - NEAR_WALL
        else:
            if moved_y != velocity_y:
                is_clear = is_near_wall(state, y, velocity_y)
                moved_y = -velocity_y
            if moved_x != velocity_x:
                is_clear = False
            if exit_frame(state, ball_x, velocity_x) == 0:
                # Behind the paddle it stands still, and its velocity is kept for the serve.
                state.is_velocity_known = 1
                return
    if not is_clear or moved_x % frames != 0 or moved_y % frames != 0:
        state.velocity_x = ball_x - x
        state.velocity_y = ball_y - y
        return
    state.velocity_x = 4 * (moved_x // frames)
    state.velocity_y = 4 * (moved_y // frames)
    is_sane = 4 <= abs(state.velocity_x) <= MAX_VELOCITY and abs(state.velocity_y) <= MAX_VELOCITY
    behind = dynamics.ENEMY_X if state.velocity_x > 0 else dynamics.PLAYER_X
    # A ball that is still in the columns of the paddle that it left may be met again.
    state.is_velocity_known = 1 if is_sane and not is_beside(ball_x, behind) else 0


@kernel
def update_ball(
    state: Row, ball_x: Integer, ball_y: Integer, flight: Flight, is_flown: bool
) -> None:
    """Lengthen the flight, begin another or count how long the ball has been gone."""
    if ball_x == 0:
        if state.steps_absent == 0:
            frames = exit_frame(state, int(state.flight_x[0]), int(state.velocity_x))
            state.frames_to_exit = frames - has_scored(state)
        state.steps_absent = min(state.steps_absent + 1, MAX_STEPS_ABSENT)
        return
    if state.steps_absent > 0:
        state.flight_length = 0
    is_expected = is_flown and flight.x == ball_x and flight.y == ball_y
    if is_expected and state.flight_length > 0:
        state.velocity_x = 4 * flight.dx
        state.velocity_y = 4 * flight.dy
    else:
        update_velocity(state, ball_x, ball_y, flight.contact)
    state.steps_absent = 0
    state.flight_length = min(state.flight_length + 1, NUM_FLIGHT)
    shift(state.flight_x, ball_x)
    shift(state.flight_y, ball_y)


@kernel
def is_first_wait(state: Row) -> bool:
    """Whether there was no ball yet in a game whose beginning was seen."""
    return 0 < state.steps_absent < MAX_STEPS_ABSENT and state.frames_to_exit >= FIRST_WAIT
