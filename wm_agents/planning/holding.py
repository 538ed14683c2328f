"""Random actions that are held for a while, so that exploration reaches what dithering never does.

Each action lasts for floor(1 / u) steps, u uniform in (0, 1], so that a hold of at least n steps has probability 1 / n.
Source: Dabney, Ostrovski & Barreto 2021 (Temporally-extended epsilon-greedy exploration), whose durations are
zeta-distributed with the same heavy tail.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.planning.scoring import require_at_least


class HeldActionAgent:
    """Draws an action from the space, holds it for a random time, draws the next.

    Args:
        action_space: Where actions come from; its own generator draws them, so seed it.
        longest_hold: No action is held for more steps; 1 draws one at every step.
        seed: Of the durations.

    Raises:
        ConfigError: `longest_hold` below 1.
    """

    def __init__(self, action_space: gym.Space[Any], longest_hold: int, seed: int) -> None:
        require_at_least(1, longest_hold=longest_hold)
        self._action_space = action_space
        self._longest_hold = longest_hold
        self._generator = np.random.default_rng(seed)

    def predict(
        self,
        observation: Any,  # noqa: ARG002
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,  # noqa: ARG002
        deterministic: bool = False,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """The action for one observation; the state is the action with the steps for which it still holds."""
        action, steps_left = state or (None, 0)
        if steps_left == 0:
            action = self._action_space.sample()
            steps_left = min(int(1.0 / (1.0 - self._generator.random())), self._longest_hold)
        return action, (action, steps_left - 1)


class HeldRows:
    """Which rows of a batch in imagination act at random, and what they hold.

    Args:
        num_rows: B.
        num_actions: Of the Discrete action space.
        start_probability: Of beginning to act at random, at each step of a row that does not.
        longest_hold: No action is held for more steps.
    """

    def __init__(self, num_rows: int, num_actions: int, start_probability: float, longest_hold: int) -> None:
        self._actions = torch.zeros(num_rows, dtype=torch.long)
        self._steps_left = torch.zeros(num_rows)
        self._num_actions = num_actions
        self._start_probability = start_probability
        self._longest_hold = longest_hold

    def replace(self, actions: Tensor, generator: torch.Generator) -> Tensor:
        """The actions [B] to take: those given, but in rows that hold one."""
        num_rows = len(actions)
        draws = torch.rand(2, num_rows, generator=generator)
        drawn = torch.randint(self._num_actions, (num_rows,), generator=generator)
        begins = (self._steps_left == 0) & (draws[0] < self._start_probability)
        self._actions = torch.where(begins, drawn, self._actions)
        durations = (1.0 / (1.0 - draws[1])).floor().clamp(max=self._longest_hold)
        self._steps_left = torch.where(begins, durations, self._steps_left)
        is_held = self._steps_left > 0
        self._steps_left = (self._steps_left - 1).clamp(min=0)
        return torch.where(is_held, self._actions, actions)
