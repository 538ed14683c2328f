"""A player that looks ahead with the true rules.

The expert of `wm/Pong-v0`, and through a simulator copy that of the original.

Each of 22 options goes some strides up or down, with or without FIRE from then on; the one whose
future is best over `HORIZON` steps is begun, and the next step decides anew. A future is drawn with
noise of its own, so that the planner knows the rules but not what the noise of the actions will be.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from wm_envs.data.moved import renamed
from wm_envs.data.options import check_seed
from wm_envs.errors import StateError
from wm_envs.kernel import empty_rows, seed_rows
from wm_envs.pong.dynamics import FIRE, LEFT, LEFT_FIRE, NOOP, RIGHT, RIGHT_FIRE
from wm_envs.rules import Array, Rules

# Until the next release.
__getattr__ = renamed(__name__, {"Planner": "wm_envs.pong.planner.PlanningPlayer"})

# Steps: enough for a slow ball to cross the court and come back.
HORIZON = 64
# A step, so that a point lost later is better.
DISCOUNT = 0.98
# Steps of 22 px: enough for the whole court from its middle.
MAX_STRIDES = 5


def _options() -> NDArray[np.int64]:
    """Action sequences [22, HORIZON].

    The shorter ways come first, so that they are preferred among equals.
    """
    sequences = []
    # By the number of strides first: the shortest way comes first among equals.
    for strides in sorted(range(-MAX_STRIDES, MAX_STRIDES + 1), key=abs):
        # With and without FIRE, which makes the return faster.
        for up, down, wait in ((RIGHT, LEFT, NOOP), (RIGHT_FIRE, LEFT_FIRE, FIRE)):
            move = up if strides < 0 else down
            sequences.append([move] * abs(strides) + [wait] * (HORIZON - abs(strides)))
    return np.array(sequences)


OPTIONS = _options()


def plan(rules: Rules, states: Array, *, seed: int = 0) -> NDArray[np.int64]:
    """The first actions [B] of the best options.

    Args:
        rules: The compiled game's.
        states: State rows [B], which are not changed.
        seed: Of the noise in the futures.
    """
    # All options of all rows side by side: one call of the rules a step.
    returns = np.zeros(len(states) * len(OPTIONS))
    rows = empty_rows(len(returns), rules.state_dtype)
    rows[:] = np.repeat(np.asarray(states), len(OPTIONS))
    first = check_seed(seed)
    # Fresh noise: with the rows' own the planner would know the future.
    seed_rows(rows, range(first, first + len(rows)))
    observations = np.zeros((len(rows), len(rules.observation_fields)), np.float32)
    outcomes = empty_rows(len(rows), rules.outcome_dtype)
    for step in range(HORIZON):
        actions = np.tile(OPTIONS[:, step], len(states))
        rules.step_rows(rows, rules.parameters, actions, observations, outcomes, False)
        returns += DISCOUNT**step * outcomes["point"]
    # The first maximum, hence the shortest way among equals.
    best = returns.reshape(len(states), -1).argmax(1)
    return OPTIONS[best, 0]


class PlanningPlayer:
    """A policy for `wm_envs.record` on either game.

    Plans in a compiled simulator copy that plays the same games.

    Args:
        seed: The recording's, since equal seeds and actions give equal games.
        env_kwargs: The options that are recorded.
    """

    # The copy is made with the first observation, which says how many rows there are.
    def __init__(self, seed: int, *, env_kwargs: dict[str, Any] | None = None) -> None:
        self._seed, self._options = seed, dict(env_kwargs or {})
        self._simulator: Any = None
        self._expected: Array = np.zeros(0)
        self._num_calls = 0

    def __call__(self, observations: Array) -> NDArray[np.int64]:
        """Actions [N]; raises StateError where the copy observes something else."""
        if self._simulator is None:
            mode = AutoresetMode.NEXT_STEP
            self._simulator = gym.make_vec(
                "wm/Pong-v0", len(observations), autoreset_mode=mode, **self._options
            )
            self._expected, _ = self._simulator.reset(seed=self._seed)
        # Bitwise, since both are the same compiled rules.
        # Another seed or option would plan for a game that nobody plays.
        if not np.array_equal(self._expected, observations):
            raise StateError(
                "the planner observes another game than its simulator copy: give it the seed and "
                "the options of this one"
            )
        # Other noise in each call, the same in each run.
        self._num_calls += 1
        actions = self._simulator.expert_actions(seed=self._num_calls)
        self._expected = self._simulator.step(actions)[0]
        return actions
