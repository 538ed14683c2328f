"""The rules of Atari Pong as pure compiled functions on one state row, exact to the frame.

A state is integers alone, in the units of the console's memory: `advance` is one frame of the 60 Hz
game, `step` the frames of one action. What the agent may see of a frame is six bytes of that
memory, packed into one word by `look`; a row keeps the words of its last five frames, and `observe`
unpacks them. `wm/PongAtari-v0` fills the same words from the real console's memory, so that both
games share the noise of the actions, the outcome and the observation.

Rules and addresses were found by replaying the original, of which `benchmarks/pong_fidelity.py` is
the proof.
"""

from typing import Any

import numpy as np

from wm_envs.kernel import Row, kernel, random_integer, random_uniform, state_dtype
from wm_envs.pong.columns import STACK
from wm_envs.pong.columns import PongFeature as Feature
from wm_envs.rules import Array, outcome_dtype

Integer = Any

NOOP, FIRE, RIGHT, LEFT, RIGHT_FIRE, LEFT_FIRE = range(6)  # RIGHT is up
POINTS_TO_WIN = 21

# Addresses in the console's memory of 128 bytes.
PLAYER_SCORE_ADDRESS, ENEMY_SCORE_ADDRESS = 14, 13
PLAYER_Y_ADDRESS, ENEMY_Y_ADDRESS = 51, 50
# What the cartridge itself keeps there; the emulator's memory is read at the same addresses.
BALL_X_ADDRESS, BALL_Y_ADDRESS = 49, 54

# Memory units minus these are pixels of the 210 x 160 screen, to the top left corner of an object.
PLAYER_TOP, ENEMY_TOP, BALL_LEFT, BALL_TOP = 13, 15, 49, 14
PLAYER_X, ENEMY_X, PADDLE_WIDTH, PADDLE_HEIGHT, BALL_WIDTH, BALL_HEIGHT = 140, 16, 4, 16, 2, 4

FIRST_BALL_X, LAST_BALL_X = 52, 206  # elsewhere no ball is in play
# A ball that has come so far is a point.
PLAYER_GOAL, ENEMY_GOAL = 205, 52
PLAYER_REACH, ENEMY_REACH = (188, 192), (64, 68)  # where a ball can meet a paddle
TOP_WALL, BOTTOM_WALL = 45, 206
MAX_SPEED = 4

# All numbers of this block were read off the original game and are tested against it frame by
# frame.
SERVE_FRAMES, FIRST_SERVE_FRAMES = 63, 59
SERVE_AHEAD, SERVE_BACK, ENEMY_AT_SERVE = 129, 127, 128

# The player's joystick charges an integrator, which the paddle follows with a lag.
FIRST_CHARGE, MIN_CHARGE, MAX_CHARGE, CHARGE_PER_FRAME = 408823, 27450, 790196, 23000
CHARGE_PER_PLACE, CHARGE_OFFSET, HIGHEST_PLACE = 7987, 31405, 38

# The console's memory when a game begins: there is a height of a ball already, but no ball.
FIRST_COUNTER, FIRST_PLAYER, FIRST_ENEMY, GHOST_BALL_Y = 327, 109, 22, 60
# Of the frame counter; when it comes round, after 18 minutes, the console ends the game.
NUM_COUNTS = 65_536
# Among those of the cartridge, shown in the place of the enemy's score from then on.
# The cartridge holds several games, which are selected by number.
NUMBER_OF_GAME = 1

REWARD_COMPONENTS = ("point",)
OUTCOME = outcome_dtype(
    REWARD_COMPONENTS,
    [("is_success", np.bool_), ("player_score", np.int64), ("enemy_score", np.int64)],
)
PARAMETERS = np.dtype(
    [
        ("time_limit", np.int64),
        ("frame_skip", np.int64),  # frames that an action lasts
        ("max_noops", np.int64),  # frames without an action before an episode starts, at most
        ("has_directions", np.int64),  # 0 or 1
        ("repeat_action_probability", np.float64),
        ("point_weight", np.float64),
    ],
    align=True,
)

SEEN: list[tuple[str, Any]] = [
    ("executed", np.int64),  # the action of the last frame, which the noise may repeat
    ("player_score", np.int64),
    ("enemy_score", np.int64),
    # One more than is observed, since a direction needs the frame before.
    *((f"seen_{age}", np.int64) for age in range(STACK + 1)),  # words of `look`, the newest first
]
STATE = state_dtype(
    [
        *SEEN,
        ("frame", np.int64),  # the game's counter of frames, modulo NUM_COUNTS
        ("charge", np.int64),  # of the player's integrator
        ("player_y", np.int64),
        ("enemy_y", np.int64),
        ("ball_x", np.int64),
        ("ball_y", np.int64),  # 0: no ball
        ("ball_dx", np.int64),
        ("ball_dy", np.int64),
        ("serve_timer", np.int64),  # frames until the ball is served
        ("has_fired", np.bool_),  # FIRE was pressed in the frame before
        ("is_off", np.bool_),  # the console has ended the game
    ]
)


# The rules as functions of numbers, in any unit: learners that estimate the constants call them too


@kernel
def charged(charge: Integer, change: Integer, low: Integer, high: Integer) -> Integer:
    """The charge of the player's integrator after a frame, which ends at both limits."""
    return min(max(charge + change, low), high)


@kernel
def lagged(place: Integer, target: Integer) -> Integer:
    """The player's paddle goes half of the way to where its charge would let it rest."""
    # A shift rounds down, as the console's processor does; division would round towards zero.
    return (place + target) >> 1


@kernel
def turned_at_wall(
    y: Integer, dy: Integer, top: Integer, bottom: Integer
) -> tuple[Integer, Integer, bool]:
    """Height and vertical speed of a ball that a wall may turn and move, and whether one did."""
    if y <= top and dy < 0:
        # The ball is set back to where it was and one line beyond, so that it never stays behind
        # the wall.
        return y - dy + 1, -dy, True
    if y >= bottom and dy > 0:
        return y - dy - 1, -dy, True
    return y, dy, False


@kernel
def is_on_player(height: Integer, ball_y: Integer) -> bool:
    """Whether a ball meets the player at a height on the paddle, in memory units.

    The corners of the paddle count on every second line only.
    """
    # Which of the two corners reach further depends on the ball's line, odd or even.
    is_odd = ball_y % 2 == 1
    is_high_enough = height >= -1 or (height == -2 and not is_odd)
    is_low_enough = height <= 15 or (height == 16 and is_odd)
    return is_high_enough and is_low_enough


@kernel
def is_on_enemy(height: Integer) -> bool:
    """Whether a ball meets the enemy, whose paddle has no such corners, likewise."""
    return -4 <= height <= 14


@kernel
def deflected(height: Integer) -> Integer:
    """The vertical speed that a ball takes from the part of the paddle that it meets."""
    # Parts of four lines each, of which the middle one sends the ball back level.
    return ((height + 3) >> 2) - 2


@kernel
def returned(dx: Integer, has_fired: bool, gain: Integer, max_speed: Integer) -> Integer:
    """The horizontal speed of a ball that has met the player, whom FIRE helps to a faster one."""
    speed = abs(dx)
    if has_fired:
        # FIRE of the frame before counts, as in the cartridge.
        speed = min(max_speed, speed + gain)
    return -speed


@kernel
def pursued(place: Integer, target: Integer, stride: Integer) -> Integer:
    """The enemy's place after a stride towards a target; there is no dead zone."""
    if target > place:
        return place + stride
    if target < place:
        return place - stride
    return place


@kernel
def has_fire(action: Integer) -> bool:
    """Whether an action presses FIRE, alone or with a direction."""
    return action in (FIRE, RIGHT_FIRE, LEFT_FIRE)


# One frame of the game


@kernel
def move_player(state: Row, action: Integer) -> None:
    """The paddle goes half of the way on every second frame; the action charges the integrator."""
    if state.frame % 2 == 0:
        aim = max(HIGHEST_PLACE, 2 * ((state.charge + CHARGE_OFFSET) // CHARGE_PER_PLACE))
        state.player_y = lagged(state.player_y, aim)
    # RIGHT is up, where the numbers of the screen fall.
    if action in (RIGHT, RIGHT_FIRE):
        state.charge = charged(state.charge, -CHARGE_PER_FRAME, MIN_CHARGE, MAX_CHARGE)
    elif action in (LEFT, LEFT_FIRE):
        state.charge = charged(state.charge, CHARGE_PER_FRAME, MIN_CHARGE, MAX_CHARGE)


@kernel
def serve(state: Row) -> None:
    """A slow ball from the middle that keeps its last direction."""
    # A ball that was hit level (0) is served downwards.
    is_ahead, is_down = state.ball_dx > 0, state.ball_dy >= 0
    state.ball_x = SERVE_AHEAD if is_ahead else SERVE_BACK
    state.ball_y = SERVE_AHEAD if is_down else SERVE_BACK
    state.ball_dx = 1 if is_ahead else -1
    state.ball_dy = 1 if is_down else -1
    state.enemy_y = ENEMY_AT_SERVE


@kernel
def bounce_off_wall(state: Row) -> bool:
    """Turn and move a ball that has reached a wall, and say whether one did."""
    state.ball_y, state.ball_dy, has_turned = turned_at_wall(
        state.ball_y, state.ball_dy, TOP_WALL, BOTTOM_WALL
    )
    return has_turned


@kernel
def meets_player(state: Row, player_y: Integer) -> bool:
    """Whether the ball overlaps the player's columns and is on the paddle."""
    is_beside = PLAYER_REACH[0] <= state.ball_x <= PLAYER_REACH[1]
    return is_beside and is_on_player(state.ball_y - player_y, state.ball_y)


@kernel
def meets_enemy(state: Row) -> bool:
    """Whether the ball overlaps the enemy's columns and is on the paddle."""
    is_beside = ENEMY_REACH[0] <= state.ball_x <= ENEMY_REACH[1]
    return is_beside and is_on_enemy(state.ball_y - state.enemy_y)


@kernel
def bounce_off_paddle(state: Row, player_y: Integer) -> None:
    """Turn a ball that meets the player, else one that meets the enemy."""
    if meets_player(state, player_y):
        state.ball_dx = returned(state.ball_dx, state.has_fired, 1, MAX_SPEED)
        state.ball_dy = deflected(state.ball_y - player_y)
    elif meets_enemy(state):
        # The enemy never makes the ball faster, whatever it does.
        state.ball_dx = abs(state.ball_dx)
        state.ball_dy = deflected(state.ball_y - state.enemy_y)


@kernel
def fly(state: Row, player_y: Integer) -> None:
    """Turn and move the ball; the frame in which it leaves a wall ignores the paddles."""
    if not bounce_off_wall(state):
        bounce_off_paddle(state, player_y)
        state.ball_y += state.ball_dy
    # The horizontal motion goes on at a wall: only the vertical one is replaced there.
    state.ball_x += state.ball_dx


@kernel
def move_enemy(state: Row) -> None:
    """Two lines towards the ball on seven frames of eight."""
    # 7/4 lines a frame on average, less than the 2 of the steepest ball: so the enemy can be
    # beaten.
    if state.frame % 8 != 1:
        state.enemy_y = pursued(state.enemy_y, state.ball_y, 2)


@kernel
def move_ball(state: Row, player_y: Integer) -> Integer:
    """Wait for the serve, count a point or fly.

    1 for a point of the player, -1 for one of the enemy, else 0.
    """
    if state.serve_timer > 0:
        state.serve_timer -= 1
        state.ball_y = 0
        if state.serve_timer == 0:
            serve(state)
        return 0
    # Before the flight: the frame of a point moves nothing.
    if state.ball_x <= ENEMY_GOAL:
        state.serve_timer = SERVE_FRAMES
        state.player_score += 1
        return 1
    if state.ball_x >= PLAYER_GOAL:
        state.serve_timer = SERVE_FRAMES
        state.enemy_score += 1
        return -1
    fly(state, player_y)
    return 0


@kernel
def stay_off(state: Row) -> Integer:
    """No ball any more.

    At first the number of the game replaces the enemy's score, which counts as points.
    """
    if state.is_off:
        state.ball_y = 0
        return 0
    state.is_off = True
    # The change of the player's lead that the replaced score makes.
    points = state.enemy_score - NUMBER_OF_GAME
    state.enemy_score = NUMBER_OF_GAME
    return points


@kernel
def advance(state: Row, action: Integer) -> Integer:
    """One frame of the game; the points that it brought."""
    # The ball meets the paddle where it was.
    player_y = state.player_y
    move_player(state, action)
    state.frame = (state.frame + 1) % NUM_COUNTS
    # The counter begins at 327, so that 1 says that it came round.
    points = stay_off(state) if state.is_off or state.frame == 1 else move_ball(state, player_y)
    move_enemy(state)
    state.has_fired = has_fire(action)
    return points


# What is seen of a frame


@kernel
def packed(
    player_y: Integer,
    enemy_y: Integer,
    ball_x: Integer,
    ball_y: Integer,
    player_score: Integer,
    enemy_score: Integer,
) -> Integer:
    """Six bytes as one word, the first one lowest; a ball that is not in play is two zeros."""
    # There is memory outside of the court, too, but nothing of it on the screen.
    if ball_y == 0 or ball_x < FIRST_BALL_X or ball_x > LAST_BALL_X:
        ball_x = 0
        ball_y = 0
    paddles_and_ball = player_y | (enemy_y << 8) | (ball_x << 16) | (ball_y << 24)
    # Six bytes in one word, so that a row remembers five frames in five fields.
    return paddles_and_ball | (player_score << 32) | (enemy_score << 40)


@kernel
def look(state: Row) -> Integer:
    """The word of the present frame."""
    return packed(
        state.player_y,
        state.enemy_y,
        state.ball_x,
        state.ball_y,
        state.player_score,
        state.enemy_score,
    )


@kernel
def remember(state: Row, word: Integer) -> None:
    """Put a new frame before the older ones."""
    state.seen_4 = state.seen_3
    state.seen_3 = state.seen_2
    state.seen_2 = state.seen_1
    state.seen_1 = state.seen_0
    state.seen_0 = word


@kernel
def remember_only(state: Row, word: Integer) -> None:
    """The first frame of an episode, repeated."""
    for _ in range(STACK + 1):
        remember(state, word)


@kernel
def write_frame(word: Integer, out: Array, row: int, frame: int) -> None:
    """The fourteen features of a frame, at its place in the stack."""
    ball_x, ball_y = (word >> 16) & 255, (word >> 24) & 255
    out[row, Feature.PLAYER_X * STACK + frame] = PLAYER_X
    # From the cartridge's units to pixels.
    out[row, Feature.PLAYER_Y * STACK + frame] = (word & 255) - PLAYER_TOP
    out[row, Feature.PLAYER_WIDTH * STACK + frame] = PADDLE_WIDTH
    out[row, Feature.PLAYER_HEIGHT * STACK + frame] = PADDLE_HEIGHT
    out[row, Feature.ENEMY_X * STACK + frame] = ENEMY_X
    out[row, Feature.ENEMY_Y * STACK + frame] = ((word >> 8) & 255) - ENEMY_TOP
    out[row, Feature.ENEMY_WIDTH * STACK + frame] = PADDLE_WIDTH
    out[row, Feature.ENEMY_HEIGHT * STACK + frame] = PADDLE_HEIGHT
    out[row, Feature.BALL_X * STACK + frame] = ball_x - BALL_LEFT if ball_x > 0 else 0
    out[row, Feature.BALL_Y * STACK + frame] = ball_y - BALL_TOP if ball_x > 0 else 0
    out[row, Feature.BALL_WIDTH * STACK + frame] = BALL_WIDTH
    out[row, Feature.BALL_HEIGHT * STACK + frame] = BALL_HEIGHT
    out[row, Feature.PLAYER_SCORE * STACK + frame] = (word >> 32) & 255
    out[row, Feature.ENEMY_SCORE * STACK + frame] = (word >> 40) & 255


@kernel
def write_directions(word: Integer, older: Integer, out: Array, row: int, frame: int) -> None:
    """How the ball moved since the frame before; 0 unless it was in play in both."""
    ball_x, older_x = (word >> 16) & 255, (older >> 16) & 255
    is_flying = ball_x > 0 and older_x > 0
    out[row, Feature.BALL_DX * STACK + frame] = ball_x - older_x if is_flying else 0
    out[row, Feature.BALL_DY * STACK + frame] = (
        ((word >> 24) & 255) - ((older >> 24) & 255) if is_flying else 0
    )


@kernel
def observe(state: Row, rules: Row, out: Array, row: int) -> None:
    """The last four frames, the oldest first."""
    write_frame(state.seen_3, out, row, 0)
    write_frame(state.seen_2, out, row, 1)
    write_frame(state.seen_1, out, row, 2)
    write_frame(state.seen_0, out, row, 3)
    if rules.has_directions:
        write_directions(state.seen_3, state.seen_4, out, row, 0)
        write_directions(state.seen_2, state.seen_3, out, row, 1)
        write_directions(state.seen_1, state.seen_2, out, row, 2)
        write_directions(state.seen_0, state.seen_1, out, row, 3)


# One action


@kernel
def execute(state: Row, rules: Row, action: Integer) -> Integer:
    """The action of the next frame.

    The wanted one, or with some probability that of the frame before.
    """
    probability = rules.repeat_action_probability
    # A quiet game draws nothing: its random stream stays where the reset left it.
    if probability == 0.0 or random_uniform(state) >= probability:
        state.executed = action
    return state.executed


@kernel
def is_over(state: Row) -> bool:
    """Whether one side has won."""
    return state.player_score >= POINTS_TO_WIN or state.enemy_score >= POINTS_TO_WIN


@kernel
def start(state: Row, rules: Row) -> Integer:
    """Begin an episode's book-keeping; the number of frames that it waits before the agent acts."""
    state.time = 0
    state.ended = False
    state.executed = NOOP
    state.player_score = 0
    state.enemy_score = 0
    # One more than the maximum, so that the maximum itself may be drawn.
    return random_integer(state, rules.max_noops + 1)


@kernel
def reset(state: Row, rules: Row) -> None:
    """The state in which the console starts every game, some frames on."""
    num_noops = start(state, rules)
    state.frame = FIRST_COUNTER
    state.charge = FIRST_CHARGE
    state.player_y = FIRST_PLAYER
    state.enemy_y = FIRST_ENEMY
    state.ball_x = 0
    state.ball_y = GHOST_BALL_Y
    state.ball_dx = 0
    state.ball_dy = 0
    state.serve_timer = FIRST_SERVE_FRAMES
    state.has_fired = False
    state.is_off = False
    for _ in range(num_noops):
        advance(state, NOOP)
    remember_only(state, look(state))


@kernel
def judge(state: Row, rules: Row, points: Integer, outcome: Row) -> None:
    """Count the step and report it."""
    state.time += 1
    outcome.point = points
    outcome.reward = rules.point_weight * outcome.point
    outcome.terminated = is_over(state)
    outcome.truncated = state.time >= rules.time_limit
    outcome.is_success = state.player_score >= POINTS_TO_WIN
    outcome.player_score = state.player_score
    outcome.enemy_score = state.enemy_score
    state.ended = outcome.terminated or outcome.truncated


@kernel
def step(state: Row, rules: Row, action: Integer, outcome: Row) -> None:
    """The frames of one action; a game that is won in between stands still."""
    points: Integer = 0
    for _ in range(rules.frame_skip):
        # The noise is drawn in all frames, also after a win: how many numbers a step takes must not
        # depend on the score, for the emulator's environment draws them ahead.
        executed = execute(state, rules, action)
        if not is_over(state):
            points += advance(state, executed)
    # One look a step: frames in between are not observed.
    remember(state, look(state))
    judge(state, rules, points, outcome)


@kernel
def hold_still(outcome: Row) -> None:
    """A row that has ended earns nothing; its flags stay."""
    outcome.reward = 0.0
    outcome.point = 0.0


@kernel
def clear(outcome: Row) -> None:
    """What the outcome says of an episode that has just begun."""
    hold_still(outcome)
    outcome.terminated = False
    outcome.truncated = False
    outcome.is_success = False
    outcome.player_score = 0
    outcome.enemy_score = 0


@kernel
def reset_rows(states: Array, parameters: Array, mask: Array) -> None:
    """Start the masked rows anew."""
    for row in range(len(states)):
        if mask[row]:
            reset(states[row], parameters[0])


@kernel
def observe_rows(states: Array, parameters: Array, observations: Array) -> None:
    """Observations of all rows."""
    for row in range(len(states)):
        observe(states[row], parameters[0], observations, row)


@kernel
def step_rows(
    states: Array,
    parameters: Array,
    actions: Array,
    observations: Array,
    outcomes: Array,
    is_autoreset: bool,
) -> None:
    """Advance all rows.

    One that has ended is reset when `is_autoreset` and else holds still with no reward.
    """
    rules = parameters[0]
    for row in range(len(states)):
        state, outcome = states[row], outcomes[row]
        # Flags of an ended row are kept without autoreset, since its caller asks about them.
        if not state.ended:
            step(state, rules, actions[row], outcome)
        elif is_autoreset:
            clear(outcome)
            reset(state, rules)
        else:
            hold_still(outcome)
        observe(state, rules, observations, row)


# The same book-keeping around real consoles, for chosen rows [N] of a batch


@kernel
def start_rows(states: Array, parameters: Array, rows: Array, num_noops: Array) -> None:
    """Begin an episode in each row; fills the numbers of frames [N] that they wait."""
    for i in range(len(rows)):
        num_noops[i] = start(states[rows[i]], parameters[0])


@kernel
def execute_rows(
    states: Array, parameters: Array, rows: Array, actions: Array, executed: Array
) -> None:
    """Fill the actions [N, frame_skip] that the noise leaves of the wanted ones [B]."""
    for i in range(len(rows)):
        # All at once and before the emulator plays, which happens in other processes.
        for frame in range(executed.shape[1]):
            executed[i, frame] = execute(states[rows[i]], parameters[0], actions[rows[i]])


@kernel
def look_at_memory(state: Row, memories: Array, i: int) -> Integer:
    """The word of a console's memory, row i of uint8 [N, 128]; takes over the scores."""
    state.player_score = np.int64(memories[i, PLAYER_SCORE_ADDRESS])
    state.enemy_score = np.int64(memories[i, ENEMY_SCORE_ADDRESS])
    player_y = np.int64(memories[i, PLAYER_Y_ADDRESS])
    enemy_y = np.int64(memories[i, ENEMY_Y_ADDRESS])
    ball_x = np.int64(memories[i, BALL_X_ADDRESS])
    ball_y = np.int64(memories[i, BALL_Y_ADDRESS])
    return packed(player_y, enemy_y, ball_x, ball_y, state.player_score, state.enemy_score)


@kernel
def see_first_frames(states: Array, rows: Array, memories: Array) -> None:
    """Take the memories, uint8 [N, 128], as the first frames of episodes."""
    for i in range(len(rows)):
        remember_only(states[rows[i]], look_at_memory(states[rows[i]], memories, i))


@kernel
def see_steps(
    states: Array, parameters: Array, rows: Array, memories: Array, outcomes: Array
) -> None:
    """Take the memories, uint8 [N, 128], as what a step led to."""
    for i in range(len(rows)):
        state = states[rows[i]]
        # The reward is the change of the score, because the emulator reports no points.
        score = state.player_score - state.enemy_score
        remember(state, look_at_memory(state, memories, i))
        judge(
            state, parameters[0], state.player_score - state.enemy_score - score, outcomes[rows[i]]
        )


@kernel
def rest_rows(outcomes: Array, rows: Array, is_autoreset: bool) -> None:
    """Outcomes of rows that have ended: cleared where they begin anew, else without a reward."""
    for i in range(len(rows)):
        if is_autoreset:
            clear(outcomes[rows[i]])
        else:
            hold_still(outcomes[rows[i]])
