"""How the ball flies, frame by frame.

Where it turns at walls and paddles, where it stands and is gone.
"""

from typing import Any

from numpy.typing import NDArray

from wm_agents.domains.pong.enemy import enemy_at, pause_now
from wm_agents.domains.pong.layout import (
    BALL_WIDTH,
    ENEMY_LEFT,
    FASTEST,
    HIGHEST_PLACE,
    LONGEST_ABSENCE,
    NEAR,
    NUM_FLIGHT,
    NUM_PLACES,
    PADDLE_WIDTH,
    PLAYER_LEFT,
    shift,
)
from wm_agents.domains.pong.paddle import lateness, player_at
from wm_envs.kernel import Row, kernel

Array = NDArray[Any]


@kernel
def contact(ball_x: int, step_x: int, left: int) -> int:
    """The frame 0..3 of a step in which a ball that keeps its speed overlaps a paddle's columns.

    4: in none.
    """
    for frame in range(4):
        x = ball_x + frame * step_x // 4
        if left - BALL_WIDTH < x < left + PADDLE_WIDTH:
            return frame
    return 4


@kernel
def is_behind(memory: Row, ball_x: int) -> bool:
    """Whether a ball is so far behind a paddle that it stands there, and a point is due."""
    return ball_x <= memory.left_goal or ball_x >= memory.right_goal


@kernel
def exit_frame(memory: Row, ball_x: int, step_x: int) -> int:
    """Frames 0..5 until a ball that keeps its speed stands behind a paddle."""
    for frame in range(5):
        x = ball_x + frame * step_x // 4
        if is_behind(memory, x):
            return frame
    return 5


@kernel
def is_near_wall(memory: Row, ball_y: int, step_y: int) -> bool:
    """Whether a ball may meet a wall before the last frame of a step."""
    last = ball_y + 3 * step_y // 4
    return last < memory.top + NEAR or last > memory.bottom - NEAR


@kernel
def is_known(memory: Row) -> bool:
    """Whether there is a ball of certain speed."""
    return memory.absence == 0 and memory.flight_length > 1 and memory.is_steady == 1


@kernel
def has_scored(memory: Row) -> int:
    """1 when the last step brought a point."""
    is_same = (
        memory.player_score[0] == memory.player_score[1]
        and memory.enemy_score[0] == memory.enemy_score[1]
    )
    return 0 if is_same else 1


@kernel
def height(memory: Row, action: int, decided: Array, frame: int) -> int:
    """Where on a paddle the ball is in a frame, from the paddle's top edge."""
    ball = int(memory.flight_y[0]) + frame * int(memory.step_y) // 4
    if memory.step_x > 0:
        return ball - player_at(memory, action, int(decided[0]), frame, 0)
    return ball - enemy_at(memory, frame)


@kernel
def is_on_paddle(place: int, ball_y: int, is_player: bool) -> bool:
    """Whether a ball whose top edge is at this place of a paddle meets it.

    Corners count on every other line.
    """
    if not is_player:
        return -3 <= place <= 15
    is_odd = ball_y % 2 == 1
    return -2 <= place <= 14 or (place == -3 and not is_odd) or (place == 15 and is_odd)


@kernel
def has_fire(action: int) -> int:
    """1 for FIRE, alone or with a direction."""
    return 1 if action == 1 or action == 4 or action == 5 else 0


@kernel
def is_beside(ball_x: int, left: int) -> bool:
    """Whether a ball is in the columns of a paddle."""
    return left - BALL_WIDTH < ball_x < left + PADDLE_WIDTH


@kernel
def bounce(memory: Row, side: int, place: int) -> int:
    """The speed down, in pixels a frame, of a ball that was met at a place of a paddle."""
    return int(memory.bounces[side, min(max(place - HIGHEST_PLACE, 0), NUM_PLACES - 1)])


@kernel
def fly(
    memory: Row, action: int, following: int, pause: int
) -> tuple[int, int, int, int, int, int]:
    """Where a ball of known speed is after a step, its speed there, and the frame in which it met a paddle, else 4.

    The last number is where the enemy is then, if it pauses in the frame `pause`. Frame by frame
    the ball stands behind a paddle, or turns at a wall, or at the paddle that it is on, and moves;
    FIRE in the frame before makes a ball that meets the player faster.
    """
    x, y = int(memory.flight_x[0]), int(memory.flight_y[0])
    speed_x, speed_y = int(memory.step_x) // 4, int(memory.step_y) // 4
    enemy, met = int(memory.enemy_y[0]), 4
    late = lateness(memory, action, following)
    for frame in range(4):
        if is_behind(memory, x):
            break
        if (y <= memory.top and speed_y < 0) or (y >= memory.bottom and speed_y > 0):
            speed_y = -speed_y
            y += speed_y + (1 if speed_y > 0 else -1)
        else:
            is_firing = (
                has_fire(memory.action[0] if frame == 0 or frame - 1 < late else action) == 1
            )
            player = player_at(memory, action, following, frame, late)
            if is_beside(x, PLAYER_LEFT) and is_on_paddle(y - player, y, True):
                speed_x = (
                    -min(int(memory.top_speed), abs(speed_x) + int(memory.gain))
                    if is_firing
                    else -abs(speed_x)
                )
                speed_y, met = bounce(memory, 0, y - player), min(met, frame)
            elif is_beside(x, ENEMY_LEFT) and is_on_paddle(y - enemy, y, False):
                speed_x, speed_y, met = abs(speed_x), bounce(memory, 1, y - enemy), min(met, frame)
            y += speed_y
        x += speed_x
        if frame != pause and y - memory.aim != enemy:
            enemy += int(memory.stride) if y - memory.aim > enemy else -int(memory.stride)
    return x, y, speed_x, speed_y, met, enemy


@kernel
def meeting(memory: Row, action: int, decided: Array) -> int:
    """The frame 0..3 of this step in which a ball of known speed meets a paddle, 4 if in none."""
    return fly(memory, action, int(decided[0]), pause_now(memory))[4] if is_known(memory) else 4


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
            moved_x, moved_y, frames = (
                moved_x - frame * step_x // 4,
                moved_y - frame * step_y // 4,
                4 - frame,
            )
            if not memory.top + NEAR <= y + frame * step_y // 4 <= memory.bottom - NEAR:
                frames = 5  # too much at once
        elif moved_y != step_y and is_near_wall(memory, y, step_y):
            moved_y = -step_y
        elif moved_y != step_y:
            frames = 5
        if frame == 4 and moved_x != step_x:
            frames = 5
        if frame == 4 and exit_frame(memory, ball_x, step_x) == 0:
            memory.is_steady = (
                1  # behind the paddle: it stands still, and the speed is kept for the serve
            )
            return
    if frames == 5 or moved_x % frames != 0 or moved_y % frames != 0:
        memory.step_x, memory.step_y = ball_x - x, ball_y - y
        return
    memory.step_x, memory.step_y = 4 * (moved_x // frames), 4 * (moved_y // frames)
    is_sane = 4 <= abs(memory.step_x) <= FASTEST and abs(memory.step_y) <= FASTEST
    is_clear = (
        contact(ball_x, 0, ENEMY_LEFT if memory.step_x > 0 else PLAYER_LEFT) == 4
    )  # else it may be met again
    memory.is_steady = 1 if is_sane and is_clear else 0


@kernel
def follow_ball(
    memory: Row,
    ball_x: int,
    ball_y: int,
    flown: tuple[int, int, int, int, int, int],
    is_flown: bool,
) -> None:
    """Lengthen the flight, begin another or count how long the ball has been gone."""
    if ball_x == 0:
        if memory.absence == 0:
            memory.exit = exit_frame(
                memory, int(memory.flight_x[0]), int(memory.step_x)
            ) - has_scored(memory)
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
