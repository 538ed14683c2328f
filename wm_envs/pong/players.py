"""Scripted players, functions from observations [N, O] to actions [N], for `wm_envs.record`.

They see what an agent sees, keep a little memory per row and draw from their own generator, so that
a new player with the same seed plays the same games. All are written for a frame skip of about
four.

>>> from wm_envs import record
>>> from wm_envs.pong.players import Interceptor
>>> recording = record("wm/Pong-v0", episodes=1, policy=Interceptor(seed=0), seed=0)
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.pong import dynamics
from wm_envs.pong.columns import PongFeature
from wm_envs.pong.dynamics import FIRE, LEFT, LEFT_FIRE, NOOP, RIGHT, RIGHT_FIRE
from wm_envs.pong.planner import PlanningPlayer

Array = NDArray[Any]
Floats = NDArray[np.float64]

# Indexed by the action without FIRE.
WITH_FIRE = np.array([FIRE, FIRE, RIGHT_FIRE, LEFT_FIRE, RIGHT_FIRE, LEFT_FIRE])
# px that one step of an action moves the place where the paddle comes to rest.
STRIDE = 22.0
# Steps after an action, and how far the paddle has come by then.
SHARE_OF_STRIDE = ([0.0, 1.0, 2.0, 3.0], [0.0, 0.45, 0.9, 1.0])
# px: a paddle there stands in the middle of the court.
MIDDLE = 104.0
TOP = float(dynamics.TOP_WALL - dynamics.BALL_TOP)
BOTTOM = float(dynamics.BOTTOM_WALL - dynamics.BALL_TOP)
MEETING_X = float(dynamics.PLAYER_REACH[0] - dynamics.BALL_LEFT)
# px: a ball beyond is close enough to the agent to press FIRE.
NEAR_X = 110.0
# px: of the ball's top edge below the paddle's.
HIGHEST_PART, CENTRE_PART, LOWEST_PART = -2.0, 6.0, 14.0


class Ball:
    """What the last frames tell of the ball, by row."""

    def __init__(self, observations: Array) -> None:
        x = [_newest(observations, PongFeature.BALL_X, age) for age in range(3)]
        y = [_newest(observations, PongFeature.BALL_Y, age) for age in range(3)]
        self.x, self.y, self.is_there = x[0], y[0], x[0] > 0
        is_flying = self.is_there & (x[1] > 0)
        self.dx = np.where(is_flying, x[0] - x[1], 0.0)  # px per step
        self.dy = np.where(is_flying, y[0] - y[1], 0.0)
        # The step in which the ball leaves a wall shows neither its old nor its new speed.
        before = np.where(is_flying & (x[2] > 0), y[1] - y[2], 0.0)
        # Nearer to a wall than one step of its flight.
        is_at_wall = (self.y - TOP < np.abs(before)) | (BOTTOM - self.y < np.abs(before))
        self.dy = np.where(is_at_wall & (np.abs(self.dy) < np.abs(before)), -before, self.dy)

        # Until the ball reaches the agent.
        # One pixel a step at least, so that a ball that stands or flies away divides by no zero.
        self.num_steps = np.clip((MEETING_X - self.x) / np.maximum(self.dx, 1.0), 0.0, None)

    def arrival(self) -> Floats:
        """The height at which the ball will reach the agent, folded at the walls.

        The present one if it flies away.
        """
        # Unfolded first: the way that the ball would take without walls.
        height = self.y + self.dy * self.num_steps - TOP
        # A triangle wave: the walls reflect, so that the height repeats after twice the court.
        folded = np.abs((height + (BOTTOM - TOP)) % (2 * (BOTTOM - TOP)) - (BOTTOM - TOP))
        return np.where(self.dx > 0, TOP + folded, self.y)


def _newest(observations: Array, feature: PongFeature, age: int = 0) -> Floats:
    return np.asarray(observations[:, feature.column(age)], np.float64)


def resting_place(observations: Array) -> Floats:
    """Where the top edges of the paddles come to rest without an action.

    On by about a third of their last step.
    """
    paddle = _newest(observations, PongFeature.PLAYER_Y)
    last = _newest(observations, PongFeature.PLAYER_Y, 1)
    # A movement leaves a quarter of itself for each next step: 1/4 + 1/16 + ... is a third.
    return paddle + (paddle - last) / 3.0


def steer(observations: Array, targets: Array) -> NDArray[np.int64]:
    """Actions that bring the top edges of the paddles near the targets [N]."""
    error = targets - resting_place(observations)
    return np.where(error > STRIDE / 2, LEFT, np.where(error < -STRIDE / 2, RIGHT, NOOP))


def meet(observations: Array, ball: Ball, parts: Array) -> NDArray[np.int64]:
    """Actions that meet the balls with these parts of the paddles [N], or at least somewhere.

    One step of an action moves the paddle by more than its own height, so that not every part can
    be had at rest; some balls can only be met on the way.
    """
    share = np.interp(ball.num_steps, *SHARE_OF_STRIDE)[:, None]
    # The three actions as columns [N, 3].
    moves = np.array([0.0, -STRIDE, STRIDE]) * share
    met = ball.arrival()[:, None] - (resting_place(observations)[:, None] + moves)
    is_missed = (met < HIGHEST_PART) | (met > LOWEST_PART)
    # A miss costs more than any part of the paddle.
    cost = np.abs(met - parts[:, None]) + 100.0 * is_missed
    return np.array([NOOP, RIGHT, LEFT])[cost.argmin(1)]


# Held, because single random actions of a paddle cancel each other before it has moved.
class RandomHolder:
    """Uniformly random actions, each held for a uniformly random number of steps.

    Args:
        seed: Of the player's own random numbers.
        max_hold: The longest hold.
    """

    def __init__(self, seed: int, *, max_hold: int = 12) -> None:
        self._generator = np.random.default_rng(seed)
        self._max_hold = max_hold
        self._actions = self._holds = np.zeros(0, np.int64)

    def __call__(self, observations: Array) -> NDArray[np.int64]:
        """Actions [N]."""
        num_rows = len(observations)
        # A player does not know how many games are played until it sees the first observations.
        if len(self._holds) != num_rows:
            self._actions, self._holds = np.zeros((2, num_rows), np.int64)
        # Drawn for all rows, needed or not, so that the stream does not depend on the holds.
        drawn = self._generator.integers(6, size=num_rows)
        holds = self._generator.integers(1, self._max_hold + 1, size=num_rows)
        is_over = self._holds == 0
        self._actions = np.where(is_over, drawn, self._actions)
        self._holds = np.where(is_over, holds, self._holds) - 1
        return self._actions


class BallTracker:
    """Follows the ball's height with errors, and sometimes does anything.

    Args:
        seed: Of the player's own random numbers.
        noise: Standard deviation of the error of the aimed height in px, drawn anew in each step.
        random_share: Probability of a uniformly random action.
        fire_share: Probability of pressing FIRE beside the movement.
    """

    def __init__(
        self, seed: int, *, noise: float = 8.0, random_share: float = 0.1, fire_share: float = 0.05
    ) -> None:
        self._generator = np.random.default_rng(seed)
        self._noise, self._random_share, self._fire_share = noise, random_share, fire_share

    def __call__(self, observations: Array) -> NDArray[np.int64]:
        """Actions [N]."""
        ball, num_rows = Ball(observations), len(observations)
        errors = self._generator.normal(0.0, self._noise, num_rows)
        height = np.where(ball.is_there, ball.y - CENTRE_PART, MIDDLE)
        # Half of a stride is the dead zone: within it any movement makes the error larger.
        actions = steer(observations, height + errors)
        actions = np.where(
            self._generator.random(num_rows) < self._fire_share, WITH_FIRE[actions], actions
        )
        drawn = self._generator.integers(6, size=num_rows)
        return np.where(self._generator.random(num_rows) < self._random_share, drawn, actions)


class Interceptor:
    """Meets the ball with a part of the paddle that it draws, and fires to make it fast.

    Args:
        seed: Of the player's own random numbers.
        fire_share: Probability, drawn for each return, of pressing FIRE while the ball is near.
        edge_share: Probability, drawn for each return, of meeting the ball with an edge of the
            paddle, which sends it off steeply; else with a uniformly random part.
    """

    def __init__(self, seed: int, *, fire_share: float = 0.7, edge_share: float = 0.7) -> None:
        self._generator = np.random.default_rng(seed)
        self._fire_share, self._edge_share = fire_share, edge_share
        self._parts, self._fires = np.zeros(0), np.zeros(0, np.bool_)

    def __call__(self, observations: Array) -> NDArray[np.int64]:
        """Actions [N]."""
        ball = Ball(observations)
        self._plan_returns(ball)
        is_coming = ball.dx > 0
        waiting = steer(observations, np.full(len(observations), MIDDLE))
        actions = np.where(is_coming, meet(observations, ball, self._parts), waiting)
        is_firing = self._fires & is_coming & (ball.x > NEAR_X)
        return np.where(is_firing, WITH_FIRE[actions], actions)

    def _plan_returns(self, ball: Ball) -> None:
        """Settle the next return of each row while its ball flies away."""
        num_rows = len(ball.x)
        # Drawn while the ball flies away, so that a return is not decided anew in every step.
        is_away = (ball.dx <= 0) if len(self._parts) == num_rows else np.ones(num_rows, np.bool_)
        if len(self._parts) != num_rows:
            self._parts, self._fires = np.zeros(num_rows), np.zeros(num_rows, np.bool_)
        # Everything is drawn for every row, used or not, so that streams do not depend on the
        # games.
        edges = np.where(self._generator.random(num_rows) < 0.5, HIGHEST_PART, LOWEST_PART)
        anywhere = self._generator.uniform(HIGHEST_PART, LOWEST_PART, num_rows)
        parts = np.where(self._generator.random(num_rows) < self._edge_share, edges, anywhere)
        self._parts = np.where(is_away, parts, self._parts)
        self._fires = np.where(
            is_away, self._generator.random(num_rows) < self._fire_share, self._fires
        )


class Explorer:
    """Stretches of random held actions between stretches of tracking.

    FIRE is pressed whenever the ball is near.

    Made for data: fast balls, which random play hardly ever sees, are in about a quarter of its
    frames.

    Args:
        seed: Of the player's own random numbers.
        random_share: Share of the stretches that are random.
        max_stretch: The longest stretch in steps.
        fire_share: Probability of pressing FIRE in a step with the ball near.
    """

    def __init__(
        self,
        seed: int,
        *,
        random_share: float = 0.3,
        max_stretch: int = 20,
        fire_share: float = 0.8,
    ) -> None:
        self._generator = np.random.default_rng(seed)
        self._holder = RandomHolder(seed + 1)
        # Fires by its own rule below.
        self._interceptor = Interceptor(seed + 2, fire_share=0.0)
        self._random_share = random_share
        self._max_stretch = max_stretch
        self._fire_share = fire_share
        self._is_random, self._left = np.zeros(0, np.bool_), np.zeros(0, np.int64)

    def __call__(self, observations: Array) -> NDArray[np.int64]:
        """Actions [N]."""
        num_rows = len(observations)
        self._draw_stretches(num_rows)
        actions = np.where(
            self._is_random, self._holder(observations), self._interceptor(observations)
        )
        # Far from the agent FIRE does nothing.
        is_firing = (Ball(observations).x > NEAR_X) & (
            self._generator.random(num_rows) < self._fire_share
        )
        return np.where(is_firing, WITH_FIRE[actions], actions)

    def _draw_stretches(self, num_rows: int) -> None:
        if len(self._left) != num_rows:
            self._is_random, self._left = np.zeros(num_rows, np.bool_), np.zeros(num_rows, np.int64)
        is_random = self._generator.random(num_rows) < self._random_share
        lengths = self._generator.integers(1, self._max_stretch + 1, size=num_rows)
        is_over = self._left == 0
        self._is_random = np.where(is_over, is_random, self._is_random)
        self._left = np.where(is_over, lengths, self._left) - 1


PLAYERS: dict[str, Callable[[int], Callable[[Array], NDArray[np.int64]]]] = {
    "holder": RandomHolder,
    "tracker": BallTracker,
    "interceptor": Interceptor,
    "explorer": Explorer,
    "planner": PlanningPlayer,
}
"""Name -> a function from a seed, for the planner that of the recording, to a player."""
