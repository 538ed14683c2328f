"""How a memory of Pong reads to a world model: what is expected, and which situation it is.

Each value that changes is one part, in the order of `layout.DECIDED`; later parts see what was
decided before them. What is expected of the ball is that it keeps its speed but for walls and
paddles. A situation is a number that should have one outcome, relative to what is expected,
wherever the rules are exact; 0 says that there is no such number, and a network has to tell from
`symbols`. Which situations there are was decided by hand, with the game's rules in view; only their
outcomes come from recordings.
"""

from typing import Any

from numpy.typing import NDArray

from wm_agents.domains.pong.ball import (
    exit_frame,
    fly,
    has_fire,
    has_scored,
    height,
    is_behind,
    is_known,
    is_near_wall,
    meeting,
)
from wm_agents.domains.pong.enemy import pause_frame, pause_now, rhythm
from wm_agents.domains.pong.layout import (
    COST,
    ENEMY_LEFT,
    FIRST_WAIT,
    HIGHEST_ENEMY,
    PADDLE_WIDTH,
    PLAYER_LEFT,
    PULLS,
)
from wm_agents.domains.pong.paddle import led
from wm_envs.kernel import Row, kernel

Array = NDArray[Any]

PLAYER, BALL_X, BALL_Y, ENEMY, PLAYER_SCORE, ENEMY_SCORE = range(6)
POINTS_TO_WIN = 21
GONE = -14  # px: where the enemy looks for a ball that is not there
FAR = 20  # px: at more than this the enemy goes all the way


@kernel
def packed(a: int, b: int, c: int, d: int, e: int) -> int:
    """Five numbers from -500 to 499 as one positive number."""
    return (
        ((((1000 + a + 500) * 1000 + b + 500) * 1000 + c + 500) * 1000 + d + 500) * 1000 + e + 500
    )


@kernel
def held(value: int, low: int, high: int) -> int:
    """A number within bounds."""
    return int(min(max(value, low), high))


@kernel
def expected(part: int, memory: Row, action: int, decided: Array) -> int:
    """The value of a part if nothing happens."""
    if part == PLAYER and (memory.pull < 0 or memory.phase == 2):
        return int(memory.player_y[0])
    if part == PLAYER:
        return led(memory, int(memory.pull), int(memory.held), PULLS[action], 0, int(memory.phase))
    if part == ENEMY:
        return int(memory.enemy_y[0])
    if part == PLAYER_SCORE:
        return int(memory.player_score[0])
    if part == ENEMY_SCORE:
        return int(memory.enemy_score[0])
    if not is_known(memory):
        return int(memory.ball_x[0]) if part == BALL_X else int(memory.ball_y[0])
    flown = fly(memory, action, int(decided[PLAYER]), pause_now(memory))
    return flown[0] if part == BALL_X else flown[1]


@kernel
def last_point(memory: Row) -> int:
    """1 when one side is a point from the end of the game, which then stands still."""
    return 1 if max(memory.player_score[0], memory.enemy_score[0]) == POINTS_TO_WIN - 1 else 0


@kernel
def ball_situation(part: int, memory: Row, action: int, decided: Array) -> int:
    """Of the ball's place, first across, then down."""
    x, y = int(memory.flight_x[0]), int(memory.flight_y[0])
    step_x, step_y = int(memory.step_x), int(memory.step_y)
    if memory.absence > 0:
        if part == BALL_Y and decided[BALL_X] == 0:
            return packed(10, 0, 0, 0, 0)
        sign = 0 if memory.exit >= FIRST_WAIT else (1 if step_x > 0 else -1)
        if part == BALL_X:
            return packed(11, int(memory.absence), int(memory.exit), sign, 0)
        falls = 1 if step_y > 0 else (0 if step_y == 0 else -1)
        is_near = memory.exit < FIRST_WAIT and is_near_wall(memory, y, step_y)
        last = (step_y, y) if is_near else (falls, 0)
        return packed(12 if is_near else 9, int(memory.absence), int(memory.exit), last[0], last[1])
    if part == BALL_Y and decided[BALL_X] == 0:
        return packed(13, 0, 0, 0, 0)
    if memory.flight_length == 1:
        return packed(14, x, y, 0, 0)
    if not is_known(memory):
        return 0
    flown = fly(memory, action, int(decided[PLAYER]), pause_now(memory))
    if flown[4] < 4:
        return contact_situation(part, memory, action, decided, flown)
    frames = exit_frame(memory, x, step_x)
    if frames < 5:
        timing = packed(17, x, step_x, has_scored(memory), last_point(memory))
        return (
            timing
            if part == BALL_X
            else packed(19, frames, has_scored(memory), last_point(memory), 0)
        )
    return packed(18, 1 if is_near_wall(memory, y, step_y) else 0, 0, 0, 0)


@kernel
def contact_situation(
    part: int, memory: Row, action: int, decided: Array, flown: tuple[int, int, int, int, int, int]
) -> int:
    """Of a ball that meets a paddle.

    Whether it is sure where the paddle is and what is pressed, and the place.
    """
    frame, is_player = flown[4], memory.step_x > 0
    place = held(height(memory, action, decided, frame), -30, 40)
    is_certain = memory.phase < 2 if is_player else pause_frame(memory) < 4 and memory.beat < 2
    fire = has_fire(memory.action[0]) * 2 + has_fire(action) if is_player else 0
    late = 1 if is_player and memory.held != PULLS[action] else 0
    if part == BALL_Y and decided[BALL_X] != flown[0]:
        return 0
    if is_certain:
        return packed(20 + part, 1 if is_player else 0, fire, late, place if part == BALL_Y else 0)
    doubtful = rhythm(memory) + 1
    return packed(30 + frame, int(memory.step_x) + part, place, fire, doubtful)


@kernel
def player_situation(memory: Row, action: int) -> int:
    """Of the player's paddle, which is expected to follow the action at once.

    Whether it may not.
    """
    if memory.pull < 0 or memory.phase == 2:
        return 0
    return packed(0 if memory.held == PULLS[action] else 1, doubt(memory), 0, 0, 0)


@kernel
def doubt(memory: Row) -> int:
    """What the second guess of the pull on the player's paddle costs: the less, the less is known.

    At most 5.
    """
    return held(int(memory.guesses[1, COST]), 0, 5)


@kernel
def ball_at(memory: Row, action: int, decided: Array, passed: int) -> int:
    """About how high the ball is after 1..4 frames of a step whose end is known.

    Above everything where it is gone.
    """
    y, step_y = int(memory.flight_y[0]), int(memory.step_y)
    straight = y + passed * step_y // 4
    if memory.absence > 0:
        return GONE
    frame = meeting(memory, action, decided)
    if decided[BALL_X] == 0:
        left = exit_frame(memory, int(memory.flight_x[0]), int(memory.step_x)) - has_scored(memory)
        return (
            straight if passed <= left else (y + left * step_y // 4 if passed == left + 1 else GONE)
        )
    if frame < 4:
        met = y + frame * step_y // 4
        return (
            straight
            if passed <= frame
            else met + (passed - frame) * (int(decided[BALL_Y]) - met) // (4 - frame)
        )
    before = y + (passed - 1) * step_y // 4
    if int(decided[BALL_Y]) - y == step_y or memory.top < before < memory.bottom:
        return straight
    return int(decided[BALL_Y]) + (4 - passed) * step_y // 4


@kernel
def pursue(memory: Row, action: int, decided: Array, pause: int) -> int:
    """How far the enemy gets in a step in which it follows the ball, but for a frame of pause."""
    enemy = int(memory.enemy_y[0])
    if is_known(memory) and not is_behind(memory, int(decided[BALL_X])):
        flown = fly(memory, action, int(decided[PLAYER]), pause)
        if flown[0] == decided[BALL_X] and flown[1] == decided[BALL_Y]:
            return flown[5] - enemy
    for passed in range(1, 5):
        ball = ball_at(memory, action, decided, passed) - int(memory.aim)
        if passed == pause + 1 or ball == enemy:
            continue
        enemy += int(memory.stride) if ball > enemy else -int(memory.stride)
    return enemy - int(memory.enemy_y[0])


@kernel
def pursuit(memory: Row, action: int, decided: Array) -> int:
    """The same with what is known of the pauses.

    99 where it makes a difference that is not known.
    """
    found = pause_frame(memory)
    if memory.beat == 1:
        return pursue(memory, action, decided, 9)
    low, high, step = (
        (found, found, 1) if found < 4 else (0 if found != 6 else 1, 3, 1 if found == 4 else 2)
    )
    distance = pursue(memory, action, decided, low)
    for pause in range(low, high + 1, step):
        if pursue(memory, action, decided, pause) != distance:
            return 99
    if memory.beat == 2 and pursue(memory, action, decided, 9) != distance:
        return 99
    return distance


@kernel
def enemy_situation(memory: Row, action: int, decided: Array) -> int:
    """Of the enemy's paddle.

    How far it would get after the ball, or where the ball is for it and was.
    """
    enemy, beat = int(memory.enemy_y[0]), rhythm(memory)
    was_there, is_there = memory.absence == 0, decided[BALL_X] > 0
    if is_there and not was_there:
        return packed(11, int(decided[BALL_X]), int(decided[BALL_Y]), beat, 0)
    is_certain = is_known(memory) or not was_there
    distance = pursuit(memory, action, decided)
    if is_certain and distance < 99:
        kind = (
            0
            if not was_there
            else (1 if not is_there else (2 if meeting(memory, action, decided) < 4 else 3))
        )
        if kind == 3 and int(decided[BALL_Y]) - int(memory.flight_y[0]) != memory.step_y:
            kind = 4
        lowest = min(enemy + distance, HIGHEST_ENEMY + 1) if kind < 2 else 0
        return packed(20 + kind, distance, lowest, last_point(memory) if kind == 1 else 0, 0)
    before = int(memory.flight_y[0]) - enemy
    if not is_there:
        return 0
    after = int(decided[BALL_Y]) - enemy
    if (before > FAR and after > FAR) or (before < -FAR and after < -FAR):
        return packed(13, 1 if before > 0 else -1, int(memory.beat), 0, 0)
    is_free = is_known(memory) and meeting(memory, action, decided) == 4
    return packed(
        held(after, -90, 90),
        held(before, -90, 90),
        int(memory.step_y) if is_free else 99,
        beat,
        100,
    )


@kernel
def score_situation(memory: Row, decided: Array) -> int:
    """Of the scores: whether the ball is or will be behind a paddle."""
    if memory.absence > 0:
        side = (1 if memory.step_x > 0 else -1) + 3 * has_scored(memory)
        # A fast ball is out of sight before its point.
        return (
            packed(10, 0, 0, 0, 0)
            if memory.absence > 2
            else packed(10, memory.absence, memory.exit, 1, side)
        )
    x, step_x = int(memory.flight_x[0]), int(memory.step_x)
    if ENEMY_LEFT - PADDLE_WIDTH < decided[BALL_X] < PLAYER_LEFT + PADDLE_WIDTH:
        return packed(11, 0, 0, 0, 0)
    return (
        packed(12, x, step_x, int(decided[BALL_X]), has_scored(memory)) if is_known(memory) else 0
    )


@kernel
def situation(part: int, memory: Row, action: int, decided: Array) -> int:
    """The situation of a part."""
    if part == PLAYER:
        return player_situation(memory, action)
    if part in (BALL_X, BALL_Y):
        return ball_situation(part, memory, action, decided)
    if part == ENEMY:
        return enemy_situation(memory, action, decided)
    return score_situation(memory, decided)


# All rows


@kernel
def situation_rows(
    part: int,
    memories: Array,
    actions: Array,
    decided: Array,
    out_expected: Array,
    out_situations: Array,
) -> None:
    """What is expected [B] and the situations [B] of a part in every row."""
    for row in range(len(memories)):
        out_expected[row] = expected(part, memories[row], actions[row], decided[row])
        out_situations[row] = situation(part, memories[row], actions[row], decided[row])
