"""How the enemy follows the ball.

A stride in every frame but for a pause in every eighth, found by its misfits.
"""

from wm_agents.domains.pong.layout import MOST_MISFITS, shift
from wm_agents.domains.pong.paddle import majority
from wm_envs.kernel import Row, kernel


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
    """The frame 0..3 of this step in which the enemy pauses.

    From 4 on it does not, or it is unknown.
    """
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
        ball = int(memory.flight_y[0]) + passed * int(memory.step_y) // 4 - int(memory.aim)
        if passed == pause + 1 or ball == enemy:
            continue
        enemy += int(memory.stride) if ball > enemy else -int(memory.stride)
    return enemy


@kernel
def enemy_at(memory: Row, frame: int) -> int:
    """About where the enemy's paddle is in a frame of the step: it follows the ball."""
    return chase(memory, frame, pause_now(memory))


@kernel
def settle_pauses(memory: Row, ball_x: int) -> None:
    """Take the pauses from the first sight of a game's first ball.

    They keep time with its serve.
    """
    found = int(memory.first_pauses[ball_x % 4])
    if found < 0:
        return
    memory.beat = found // 4
    for frame in range(4):
        memory.misfits[frame] = 0 if frame == found % 4 else MOST_MISFITS


@kernel
def follow_enemy(memory: Row, enemy_y: int, is_straight: bool) -> None:
    """Keep the beat of the enemy's pauses, and find out in which frame of a step they come."""
    if memory.beat == 0 and is_straight:
        for frame in range(4):
            if chase(memory, 4, frame) != enemy_y:
                memory.misfits[frame] = min(memory.misfits[frame] + 1, MOST_MISFITS)
    if memory.beat < 2:
        memory.beat = 1 - memory.beat
    if abs(enemy_y - memory.enemy_y[0]) == 4 * memory.stride:
        memory.beat = 0
    shift(memory.enemy_y, enemy_y)
